// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the plugin file finds ONNX Runtime, and what it says of what it finds.

use std::{
    env, fs,
    os::unix::{self, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use gst::prelude::*;

/// The plugin as cargo has built it for this test.
fn plugin() -> PathBuf {
    let test = env::current_exe().expect("this test");
    test.with_file_name("libgstretinaface.so")
}

/// The build of ONNX Runtime that scripts/setup has fetched.
fn onnxruntime() -> PathBuf {
    let library =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnxruntime/libonnxruntime.so");
    library.canonicalize().expect("scripts/setup has fetched it")
}

fn copy(file: &Path, folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    fs::copy(file, folder.join(file.file_name().expect("a file"))).expect("a copy");
}

/// Run by itself below: loads the plugin file and starts the element.
#[test]
#[ignore = "run by the other tests"]
fn start_here() {
    gst::init().expect("GStreamer starts");
    let environment: Vec<_> = env::vars_os().collect();
    let plugin = gst::Plugin::load_file(env::var_os("PLUGIN").expect("set by the other test"));
    let plugin = plugin.expect("a plugin");
    let registry = gst::Registry::get();
    registry.add_plugin(&plugin).expect("a plugin");
    let pipeline = gst::parse::launch(
        "videotestsrc num-buffers=1 ! video/x-raw,width=64,height=64 ! \
         retinafacedetect execution-provider=cpu ! fakesink",
    );
    let pipeline = pipeline.expect("a pipeline");
    let bus = pipeline.bus().expect("a bus");
    let _ = pipeline.set_state(gst::State::Playing);
    let end = [gst::MessageType::Error, gst::MessageType::Eos];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &end);
    match message.expect("an end").view() {
        gst::MessageView::Error(err) => println!("ERROR {}", err.error()),
        _ => {
            let maps = fs::read_to_string("/proc/self/maps").expect("Linux");
            let library = maps.lines().find(|line| line.contains("/libonnxruntime.so"));
            let library = library.and_then(|line| line.find('/').map(|start| &line[start..]));
            println!("LOADED {}", library.expect("ONNX Runtime"));
        }
    }
    pipeline.set_state(gst::State::Null).expect("back to NULL");
    // Other threads may be reading it.
    assert!(env::vars_os().eq(environment), "the environment has changed");
}

/// The library that this plugin file loads, or the error that it posts.
fn start(plugin: &Path, library: Option<&Path>) -> Result<PathBuf, String> {
    start_with(plugin, library.map(|library| ("ORT_DYLIB_PATH", library)))
}

/// The same with a variable in the environment.
fn start_with(plugin: &Path, variable: Option<(&str, &Path)>) -> Result<PathBuf, String> {
    let mut test = Command::new(env::current_exe().expect("this test"));
    test.args(["--exact", "start_here", "--ignored", "--nocapture"]);
    test.env("PLUGIN", plugin).env_remove("ORT_DYLIB_PATH");
    // With CI, ONNX Runtime reports nothing to Microsoft either.
    test.env("CI", "1").env_remove("ORT_DISABLE_TELEMETRY");
    test.envs(variable);
    let output = test.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let said = |what| text.lines().find_map(|line| line.split_once(what)).map(|(_, rest)| rest);
    match said("LOADED ") {
        Some(library) => Ok(library.into()),
        None => Err(said("ERROR ").expect("an error").to_owned()),
    }
}

#[test]
fn an_installed_plugin_does_not_look_into_the_checkout() {
    let folder = tempfile::tempdir().expect("a folder");
    copy(&plugin(), folder.path());
    match start(&folder.path().join("libgstretinaface.so"), None) {
        Ok(system) => assert!(!system.starts_with(env!("CARGO_MANIFEST_DIR")), "{system:?}"),
        Err(error) => {
            let expected = format!(
                "was not found in {} or where the system looks (libonnxruntime.so: cannot open",
                folder.path().display()
            );
            assert!(error.contains(&expected) && error.contains("scripts/setup"), "{error}");
            assert!(!error.contains(env!("CARGO_MANIFEST_DIR")), "{error}");
        }
    }
}

#[test]
fn an_installed_plugin_finds_the_library_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().canonicalize().expect("a folder");
    let (plugins, libraries) = (folder.join("gstreamer-1.0"), folder.join("gst-plugin-retinaface"));
    copy(&plugin(), &plugins);
    copy(&onnxruntime(), &libraries);
    // As meson installs it.
    let name = onnxruntime();
    let name = name.file_name().expect("a name");
    let link = Path::new("../gst-plugin-retinaface").join(name);
    unix::fs::symlink(link, plugins.join(name)).expect("a link");
    let loaded = start(&plugins.join("libgstretinaface.so"), None);
    assert_eq!(loaded, Ok(libraries.join(name)));
}

#[test]
fn a_library_by_a_distribution_s_name_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().canonicalize().expect("a folder");
    let (plugins, libraries) = (folder.join("plugins"), folder.join("libraries"));
    copy(&plugin(), &plugins);
    copy(&onnxruntime(), &libraries);
    let library = libraries.join(onnxruntime().file_name().expect("a name"));
    // As Debian 13 has it, and one that is too old.
    for name in ["libonnxruntime.so.1.21", "libonnxruntime.so.1.16"] {
        unix::fs::symlink(&library, libraries.join(name)).expect("a link");
    }
    let search = Some(("LD_LIBRARY_PATH", libraries.as_path()));
    let loaded = start_with(&plugins.join("libgstretinaface.so"), search);
    assert_eq!(loaded, Ok(library));
}

#[test]
fn a_build_finds_what_its_own_checkout_has_unless_others_may_write_there() {
    let root = tempfile::tempdir().expect("a folder");
    let root = root.path().canonicalize().expect("a folder");
    let libraries = root.join(".cache/onnxruntime");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"), &root);
    copy(&plugin(), &root.join("target/debug"));
    copy(&onnxruntime(), &libraries);
    let plugin = root.join("target/debug/libgstretinaface.so");
    let library = libraries.join(onnxruntime().file_name().expect("a name"));
    assert_eq!(start(&plugin, None), Ok(library.clone()));

    fs::set_permissions(&libraries, PermissionsExt::from_mode(0o777)).expect("ours");
    match start(&plugin, None) {
        Ok(system) => assert_ne!(system, library),
        Err(error) => {
            let expected = format!("every user may write to {}", libraries.display());
            assert!(error.contains(&expected) && error.contains("chmod o-w"), "{error}");
        }
    }
}

/// Compiles a shared library.
fn compile(library: &Path, arguments: &[&str]) {
    let mut compile = Command::new("cc");
    let compile = compile.args(["-shared", "-fPIC", "-o"]).arg(library).args(arguments);
    assert!(compile.status().expect("a C compiler, as Rust needs one").success());
}

#[test]
fn a_library_that_cannot_be_used_is_an_error_that_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let in_folder = |name: &str| folder.path().join(name);
    let text = in_folder("text.so");
    fs::write(&text, "This is a text, and longer than the header of a library.\n".repeat(99))
        .expect("a file");
    let empty = in_folder("empty.so");
    fs::write(&empty, "").expect("a file");
    let other = in_folder("other.so");
    compile(&other, &["-x", "c", "/dev/null"]);
    let old = in_folder("old.so");
    compile(&old, &[concat!(env!("CARGO_MANIFEST_DIR"), "/tests/old_onnxruntime.c")]);
    let needed = in_folder("libneeded.so");
    compile(&needed, &["-x", "c", "/dev/null"]);
    let needs = in_folder("needs.so");
    compile(&needs, &["-Wl,--no-as-needed", needed.to_str().expect("UTF-8")]);
    fs::remove_file(&needed).expect("a file");
    for (library, why) in [
        (in_folder("missing.so"), "missing.so: cannot open shared object file: No such file"),
        (folder.path().to_owned(), "cannot read file data: Is a directory"),
        (text, "text.so: invalid ELF header"),
        (empty, "empty.so: file too short"),
        (other, "other.so is not ONNX Runtime: "),
        (old, "old.so is ONNX Runtime 1.10.0, and 1.17 or newer is needed"),
        (needs, "libneeded.so: cannot open shared object file: No such file"),
    ] {
        let error = start(&plugin(), Some(&library)).expect_err("it cannot be used");
        assert!(error.contains(why) && !error.contains("not found"), "{error}");
        assert!(error.contains("ORT_DYLIB_PATH") && error.contains("scripts/setup"), "{error}");
    }
}
