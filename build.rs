use std::{env, path::Path};

fn main() {
    gst_plugin_version_helper::info();

    // The default network, which scripts/setup fetches, becomes part of the plugin.
    let root = env::var("CARGO_MANIFEST_DIR").expect("set by cargo");
    let model = Path::new(&root).join("models/retinaface_mv1_0.25.onnx");
    println!("cargo:rerun-if-changed={}", model.display());
    println!("cargo:rustc-check-cfg=cfg(embedded_model)");
    if model.exists() {
        println!("cargo:rustc-cfg=embedded_model");
        println!("cargo:rustc-env=RETINAFACE_MODEL={}", model.display());
    }
}
