// SPDX-License-Identifier: MIT OR Apache-2.0

//! Execution providers: selected, missing, broken.

mod common;

use std::{
    env, fs,
    os::unix,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use gst::prelude::*;
use gstretinaface::{
    face::Face,
    inference::{self, Config, Loader, Provider, Request},
    meta,
    model::{InputSpec, Known, Model},
};

/// What came of a picture with one face.
struct Outcome {
    faces: Vec<Face>,
    provider: Option<String>,
    progress: Vec<gst::ProgressType>,
    warnings: Vec<String>,
    error: Option<String>,
    errors: usize,
}

fn detect(picture: &Path, properties: &str) -> Outcome {
    common::init();
    let pipeline = gst::parse::launch(&format!(
        "filesrc location=\"{}\" ! pngdec ! videoconvert ! \
         retinafacedetect name=detect max-size=0 {properties} ! appsink name=sink sync=false",
        picture.display()
    ));
    let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
    let detect = pipeline.by_name("detect").expect("the element");
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("an appsink");
    assert_eq!(detect.property::<Option<String>>("active-execution-provider"), None);
    // Fails where the error below comes soon.
    let _ = pipeline.set_state(gst::State::Playing);
    let sample = sink.pull_sample().ok();
    let faces = sample.and_then(|sample| sample.buffer_owned());
    let faces = faces.map(|buffer| meta::faces(&buffer)).unwrap_or_default();
    let bus = pipeline.bus().expect("a bus");
    let (mut progress, mut warnings) = (Vec::new(), Vec::new());
    let (mut error, mut errors) = (None, 0);
    while let Some(message) = bus.pop() {
        match message.view() {
            gst::MessageView::Progress(message) => progress.push(message.get().0),
            gst::MessageView::Warning(warning) => warnings.push(warning.error().to_string()),
            gst::MessageView::Error(err) => {
                let by_this = err.src().is_some_and(|source| source.name() == "detect");
                errors += usize::from(by_this);
                error.get_or_insert(err.error().to_string());
            }
            _ => (),
        }
    }
    let provider = detect.property("active-execution-provider");
    pipeline.set_state(gst::State::Null).expect("back to NULL");
    Outcome { faces, provider, progress, warnings, error, errors }
}

fn astronaut(properties: &str) -> Outcome {
    detect(&common::media("astronaut.png"), properties)
}

#[test]
fn the_cpu_is_there() {
    let outcome = astronaut("execution-provider=cpu");
    assert_eq!(outcome.error, None);
    assert_eq!(outcome.faces.len(), 1);
    assert_eq!(outcome.provider.as_deref(), Some("cpu"));
}

#[test]
fn a_precision_that_the_provider_lacks_is_an_error() {
    for (provider, name) in [("cpu", "CPU"), ("native", "native")] {
        let outcome = astronaut(&format!("execution-provider={provider} precision=fp16"));
        assert_eq!(outcome.errors, 1, "the decoder offers the caps again");
        let error = outcome.error.expect("an error");
        assert!(error.contains(name) && error.contains("precision"), "{error}");
    }
}

#[test]
fn sessions_are_shared_where_they_are_for_the_same() {
    let model = fs::read("models/retinaface_mv1_0.25.onnx").expect("scripts/setup");
    let model = Model::shared(&model, &Known::default()).expect("a RetinaFace network");
    let session = |size, strides: &[u32], config: &Config| {
        let loader = Loader::new(|_, _| (), Arc::clone(&model), Box::new(|_| ()));
        loader.session(&InputSpec::new(size, strides), config).expect("it loads")
    };
    for provider in [Provider::Cpu, Provider::Native] {
        let config = |in_flight, threads| {
            let request = Request { in_flight, threads, ..Request::default() };
            request.resolve(provider).expect("the default precision")
        };
        let one = session((64, 48), &[32], &config(1, 1));
        // Three workers of one thread each need no thread besides their own.
        for same in [config(1, 1), config(3, 1)] {
            assert!(Arc::ptr_eq(&one, &session((64, 48), &[32], &same)), "{same:?}");
        }
        let others = [
            session((48, 64), &[32], &config(1, 1)),
            session((64, 48), &[16], &config(1, 1)),
            session((64, 48), &[32], &config(1, 2)),
        ];
        assert!(others.iter().all(|other| !Arc::ptr_eq(&one, other)));
    }
}

/// One of these tests, on its own.
fn in_a_process(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().expect("this test"));
    command.args(["--exact", test, "--show-output"]);
    command
}

/// The files of this process that have ONNX Runtime in their names.
fn onnxruntime_files() -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux");
    let files = maps.lines().filter_map(|line| line.split_once('/').map(|(_, file)| file));
    files.filter(|file| file.contains("libonnxruntime")).map(str::to_owned).collect()
}

/// Run by itself below, in a process that has not loaded ONNX Runtime.
#[test]
#[ignore = "run by auto_is_native_and_does_not_load_onnxruntime"]
fn auto_is_native_here() {
    for (properties, warning) in [
        ("", None),
        ("execution-provider=native", None),
        ("precision=fp16 in-flight=2", Some("native does not support the precision fp16")),
    ] {
        let outcome = astronaut(properties);
        assert_eq!((outcome.error, outcome.faces.len()), (None, 1), "{properties}");
        assert_eq!(outcome.provider.as_deref(), Some("native"), "{properties}");
        // A GPU's provider may have one more to say.
        let warned = |text| outcome.warnings.iter().any(|found| found.contains(text));
        assert!(
            warning.map_or(outcome.warnings.is_empty(), warned),
            "{properties}: {:?}",
            outcome.warnings
        );
    }
    assert_eq!(onnxruntime_files(), [""; 0]);
    assert!(!inference::is_loaded());
    // Where it is there for something else, native kernels are compared with it.
    assert_eq!(astronaut("execution-provider=cpu").provider.as_deref(), Some("cpu"));
    assert!(inference::is_loaded() && !onnxruntime_files().is_empty());
    assert_eq!(astronaut("").provider.as_deref(), Some("native"));
}

#[test]
fn auto_is_native_and_does_not_load_onnxruntime() {
    if has_gpu() {
        eprintln!("SKIPPED: auto_is_native_and_does_not_load_onnxruntime: there is a GPU here");
        return;
    }
    let mut test = in_a_process("auto_is_native_here");
    assert!(test.arg("--ignored").status().expect("it runs").success());
}

#[test]
fn a_network_with_an_operator_without_kernel_runs_in_onnxruntime() {
    static LOG: Mutex<String> = Mutex::new(String::new());
    common::init();
    gst::log::set_threshold_for_name("retinafacedetect", gst::DebugLevel::Info);
    gst::log::remove_default_log_function();
    gst::log::add_log_function(|category, _, _, _, _, _, message| {
        if category.name() == "retinafacedetect"
            && let Some(message) = message.get()
        {
            LOG.lock().expect("nobody fails here").push_str(&format!("{message}\n"));
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let network = folder.path().join("network.onnx");
    fs::write(&network, common::with_foreign_operator()).expect("a file");
    let reason = "native cannot run the network: there is no kernel for its operator Neg";
    for (provider, warnings) in [("auto", 0), ("native", 1)] {
        if provider == "auto" && has_gpu() {
            // Not native is the first there, but CUDA.
            continue;
        }
        let properties = format!("execution-provider={provider} in-flight=2 model-file=");
        let outcome = astronaut(&format!("{properties}{}", network.display()));
        assert_eq!((outcome.error, outcome.faces.len()), (None, 1));
        assert_eq!(outcome.provider.as_deref(), Some("cpu"));
        assert_eq!(outcome.warnings.len(), warnings, "{:?}", outcome.warnings);
        let warning = format!("Detecting faces with CPU: {reason}");
        assert!(outcome.warnings.iter().all(|text| text.starts_with(&warning)), "{warning}");
        let log = std::mem::take(&mut *LOG.lock().expect("nobody fails here"));
        assert!(log.contains(&format!("Not using native: {reason}")), "{log}");
    }
}

/// Without the feature nvidia, none that could be used.
fn has_gpu() -> bool {
    Provider::Cuda.leaves_device_idle()
}

/// Those that need a library beside ONNX Runtime: nick and name.
const PROVIDERS: &[(&str, &str)] = &[
    ("openvino", "OpenVINO"),
    #[cfg(feature = "nvidia")]
    ("cuda", "CUDA"),
    #[cfg(feature = "nvidia")]
    ("tensorrt", "TensorRT"),
];

#[cfg(not(feature = "nvidia"))]
#[test]
fn providers_that_were_left_out_are_an_error() {
    for (name, official) in [("cuda", "CUDA"), ("tensorrt", "TensorRT")] {
        let outcome = astronaut(&format!("execution-provider={name}"));
        let error = outcome.error.expect("an error");
        assert!(error.contains(&format!("this plugin was built without {official}")), "{error}");
        assert!(error.contains("feature nvidia"), "what to do: {error}");
        assert!(outcome.faces.is_empty() && outcome.provider.is_none());
    }
    let auto = astronaut("execution-provider=auto");
    assert_eq!((auto.error, auto.faces.len()), (None, 1));
    assert!(auto.warnings.is_empty(), "{:?}", auto.warnings);
}

/// Run by itself below, in a process whose ONNX Runtime is beside the library under test.
#[test]
#[ignore = "run by providers_that_cannot_be_used"]
fn providers_that_cannot_be_used_here() {
    let reason = env::var("REASON").expect("set by the other test");
    // OpenVINO is used only for bf16.
    for (precision, tried) in [("auto", PROVIDERS.len() - 1), ("bf16", PROVIDERS.len())] {
        let outcome = astronaut(&format!("execution-provider=auto precision={precision}"));
        assert_eq!(outcome.error, None);
        assert_eq!((outcome.faces.len(), outcome.provider.as_deref()), (1, Some("native")));
        let tried = if reason.is_empty() { 0 } else { tried };
        // Who has a GPU is told what its provider lacks.
        if precision == "auto" && tried == 0 && !has_gpu() {
            assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);
            continue;
        }
        let [warning] = outcome.warnings.as_slice() else { panic!("{:?}", outcome.warnings) };
        assert!(warning.starts_with("Detecting faces with native: "), "{warning}");
        assert!(reason.is_empty() || warning.matches(&reason).count() == tried, "{warning}");
        let lacks = warning.contains("native does not support the precision bf16");
        assert_eq!(lacks, precision == "bf16", "{warning}");
    }
    assert!(!inference::is_loaded(), "that takes no more than a look at the files");
    for (name, official) in PROVIDERS {
        let outcome = astronaut(&format!("execution-provider={name}"));
        let error = outcome.error.expect("an error");
        assert!(outcome.faces.is_empty() && outcome.provider.is_none());
        let names_it = error.contains(official) || error.contains(&format!("providers_{name}.so"));
        assert!(names_it && error.contains(&reason), "{error}");
        assert!(error.contains("install"), "what to do: {error}");
    }
}

#[test]
fn providers_that_cannot_be_used() {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnxruntime");
    let runtime = env::var_os("ORT_DYLIB_PATH")
        .map_or_else(|| runtime.join("libonnxruntime.so"), Into::into)
        .canonicalize()
        .expect("scripts/setup has fetched it");
    let cases: [(&str, Option<&str>); 3] = [
        ("", None),
        ("an empty file", Some("")),
        ("not a shared library", Some("This is a text, not a library.\n")),
    ];
    for (reason, content) in cases {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("providers");
        // Left over from an earlier run.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        let library = folder.join("libonnxruntime.so");
        unix::fs::symlink(&runtime, &library).expect("a link");
        if let Some(content) = content {
            for (provider, _) in PROVIDERS {
                let path = folder.join(format!("libonnxruntime_providers_{provider}.so"));
                fs::write(path, content).expect("a file");
            }
        }
        let mut test = in_a_process("providers_that_cannot_be_used_here");
        let test = test.arg("--ignored").env("ORT_DYLIB_PATH", &library).env("REASON", reason);
        assert!(test.status().expect("it runs").success(), "with {content:?}");
    }
}

/// Every face that `found` is sure of is in `expected`.
fn assert_among(found: &[Face], expected: &[Face], picture: &Path, iou: f32, score: f32) {
    let confidence = |face: &Face| face.confidence.expect("a confidence");
    for face in found.iter().filter(|face| confidence(face) > 0.6 + score) {
        let overlap = |other: &&Face| other.bounds.iou(&face.bounds);
        let best = expected.iter().max_by(|a, b| overlap(a).total_cmp(&overlap(b)));
        let best = best.expect("faces");
        let (picture, overlap) = (picture.display(), overlap(&best));
        assert!(overlap >= iou, "{picture}: IoU {overlap} of {:?}", face.bounds);
        let difference = (confidence(face) - confidence(best)).abs();
        assert!(difference <= score, "{picture}: score {difference} away at {:?}", face.bounds);
    }
}

/// On pictures, in each precision with how far it may be off: IoU and score.
fn finds_the_cpu_s_faces(test: &str, provider: Provider, nick: &str, off: &[(&str, f32, f32)]) {
    common::init();
    inference::environment(|_, _| ()).expect("ONNX Runtime");
    if let Err(why) = provider.find() {
        eprintln!("SKIPPED: {test}: {why}");
        return;
    }
    for picture in &common::pictures(test) {
        let cpu = detect(picture, "execution-provider=cpu");
        for (precision, iou, score) in off {
            let properties = format!("execution-provider={nick} precision={precision}");
            let other = detect(picture, &properties);
            assert_eq!((other.error, other.provider.as_deref()), (None, Some(nick)));
            assert_among(&other.faces, &cpu.faces, picture, *iou, *score);
            assert_among(&cpu.faces, &other.faces, picture, *iou, *score);
        }
    }
}

#[test]
fn openvino_finds_the_cpu_s_faces() {
    // bf16 has eight bits: boxes of small faces move by a pixel.
    let off = [("auto", 0.98, 0.02), ("bf16", 0.7, 0.2)];
    let test = "openvino_finds_the_cpu_s_faces";
    finds_the_cpu_s_faces(test, Provider::OpenVino, "openvino", &off);
    if Provider::OpenVino.find().is_ok() {
        let selected = |properties| astronaut(properties).provider;
        assert_eq!(selected("precision=bf16").as_deref(), Some("openvino"));
        assert_eq!(selected("").as_deref(), Some("native"), "only for bf16");
    }
}

#[test]
fn cuda_finds_the_cpu_s_faces() {
    let off = [("auto", 0.98, 0.02), ("tf32", 0.9, 0.02)];
    let test = "cuda_finds_the_cpu_s_faces";
    if !has_gpu() {
        eprintln!("SKIPPED: {test}: there is no NVIDIA GPU here");
        return;
    }
    finds_the_cpu_s_faces(test, Provider::Cuda, "cuda", &off);
}

/// Whether ONNX Runtime here is its GPU build, on a machine that has no GPU.
fn is_gpu_build_without_gpu(test: &str) -> bool {
    common::init();
    inference::environment(|_, _| ()).expect("ONNX Runtime");
    let driver = ["/usr/lib", "/usr/lib64", "/lib"].iter().any(|folder| {
        let folders = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut folders = folders.map(|entry| entry.path()).chain([folder.into()]);
        folders.any(|folder| folder.join("libcuda.so.1").exists())
    });
    let is = Provider::Cuda.find().is_ok() && !has_gpu() && !driver;
    if !is {
        eprintln!("SKIPPED: {test}: needs ONNX Runtime's GPU build and no GPU");
    }
    is
}

#[test]
fn without_a_driver_auto_is_native_and_cuda_an_error() {
    if !is_gpu_build_without_gpu("without_a_driver_auto_is_native_and_cuda_an_error") {
        return;
    }
    let error = astronaut("execution-provider=cuda").error.expect("an error");
    assert!(error.contains("CUDA") && error.contains("driver is not installed"), "{error}");
    let error = astronaut("execution-provider=tensorrt").error.expect("an error");
    assert!(error.contains("TensorRT") && error.contains("install"), "{error}");
    let auto = astronaut("execution-provider=auto");
    assert_eq!((auto.error, auto.provider.as_deref()), (None, Some("native")));
    assert!(auto.warnings.is_empty(), "nobody has a GPU to use: {:?}", auto.warnings);
}

/// Run by itself below, in a process with a driver that reports one GPU.
#[test]
#[ignore = "run by a_gpu_that_cannot_be_used"]
fn a_gpu_that_cannot_be_used_here() {
    let error = astronaut("execution-provider=cuda device-id=3").error.expect("an error");
    assert!(error.contains("no GPU 3, only 1"), "{error}");
    let cuda = astronaut("execution-provider=cuda");
    let error = cuda.error.expect("an error");
    assert!(error.contains("libcublas") && error.contains("install CUDA"), "{error}");
    assert!(cuda.progress.is_empty());

    let auto = astronaut("execution-provider=auto");
    assert_eq!((auto.error, auto.provider.as_deref()), (None, Some("native")));
    let [warning] = auto.warnings.as_slice() else { panic!("{:?}", auto.warnings) };
    assert!(warning.contains("with native: CUDA") && warning.contains("install CUDA"), "{warning}");
    assert!(auto.progress.is_empty(), "no engine is built unasked");

    // The bus has the start of a build and its end.
    let reported = [gst::ProgressType::Start, gst::ProgressType::Error];
    let tensorrt = astronaut("execution-provider=tensorrt");
    assert!(tensorrt.error.expect("an error").contains("TensorRT"));
    assert_eq!(tensorrt.progress, reported);
    let auto = astronaut("execution-provider=auto tensorrt-build=true");
    assert_eq!(
        (auto.provider.as_deref(), auto.progress.as_slice()),
        (Some("native"), &reported[..])
    );
}

#[test]
fn a_gpu_that_cannot_be_used() {
    if !is_gpu_build_without_gpu("a_gpu_that_cannot_be_used") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let stubs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stubs.c");
    for library in ["libcuda.so.1", "libcuda.so", "libnvinfer.so.10"] {
        let library = folder.path().join(library);
        let mut compile = Command::new("cc");
        let compile = compile.args(["-shared", "-fPIC", "-o"]).args([&library, &stubs]);
        assert!(compile.status().expect("a C compiler, as Rust needs one").success());
    }
    let mut test = in_a_process("a_gpu_that_cannot_be_used_here");
    let test = test.arg("--ignored").env("LD_LIBRARY_PATH", folder.path());
    let test = test.env("XDG_CACHE_HOME", folder.path().join("cache"));
    assert!(test.status().expect("it runs").success());
}
