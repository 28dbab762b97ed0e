use std::{env, path::Path, process};

/// What scripts/setup fetches.
const DEFAULT_MODEL: &str = "models/retinaface_mv1_0.25.onnx";

fn main() {
    gst_plugin_version_helper::info();

    // A network becomes part of the plugin: the default one if it is there, or the one asked for.
    println!("cargo:rustc-check-cfg=cfg(embedded_model)");
    println!("cargo:rerun-if-env-changed=RETINAFACE_MODEL");
    let asked = env::var_os("RETINAFACE_MODEL").filter(|path| !path.is_empty());
    let root = env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo");
    let model = Path::new(&root).join(asked.as_deref().unwrap_or(DEFAULT_MODEL.as_ref()));
    println!("cargo:rerun-if-changed={}", model.display());
    if model.is_file() {
        let name = model.file_stem().unwrap_or_default().display();
        println!("cargo:rustc-cfg=embedded_model");
        println!("cargo:rustc-env=RETINAFACE_MODEL={}", model.display());
        println!("cargo:rustc-env=RETINAFACE_BUILT_IN=the built-in {name}");
    } else if asked.is_none() {
        println!("cargo:rustc-env=RETINAFACE_BUILT_IN=an error, as no network is built in");
    } else {
        eprintln!(
            "error: there is no file {} to build into the plugin (RETINAFACE_MODEL)",
            model.display()
        );
        process::exit(1);
    }
}
