// SPDX-License-Identifier: MIT OR Apache-2.0

//! Shared by the integration tests.

#![allow(dead_code)]

pub mod graph;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::Once,
};

use gst::prelude::*;
use gstretinaface::{
    face::Face,
    meta,
    onnx::messages::{ModelProto, NodeProto},
    preprocess::ScaleMethod,
    retinaface::detector::Parameters,
};
use prost::Message;

pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().expect("GStreamer starts");
        gstretinaface::plugin_register_static().expect("the plugin registers");
    });
}

/// The folder with pictures, networks and expected faces that are not part of this repository.
/// Without it prints a SKIPPED line, which scripts/test repeats, and gives `None`.
pub fn shared(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = env::var_os("RETINAFACE_SHARED").map_or(beside, PathBuf::from);
    if folder.join("golden").is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: {test}: set RETINAFACE_SHARED to the folder with the test material");
    None
}

/// A file that scripts/setup downloads.
pub fn media(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/media").join(name)
}

/// A decoded picture with one face, 512×512.
pub fn astronaut(format: &str) -> gst::Sample {
    let samples = run(&format!(
        "filesrc location=\"{}\" ! pngdec ! videoconvert ! video/x-raw,format={format} ! \
         appsink name=sink",
        media("astronaut.png").display()
    ));
    samples.expect("scripts/setup has downloaded the picture").remove(0)
}

/// The source of so many frames of the picture with one face, 25 a second, as `pngdec` decodes them. `imagefreeze`
/// cannot count before GStreamer 1.16.
pub fn astronauts(frames: u32) -> String {
    format!(
        "multifilesrc location=\"{}\" stop-index={} caps=image/png,framerate=25/1 ! pngdec",
        media("astronaut.png").display(),
        frames - 1
    )
}

/// Runs a pipeline that ends in an appsink named `sink` until it ends: its frames, or the first
/// error.
pub fn run(description: &str) -> Result<Vec<gst::Sample>, String> {
    init();
    let pipeline = gst::parse::launch(description).map_err(|err| err.to_string())?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("an appsink");
    sink.set_property("sync", false);
    let bus = pipeline.bus().expect("a bus");
    let mut samples = Vec::new();
    let started = pipeline.set_state(gst::State::Playing).is_ok();
    while started && let Ok(sample) = sink.pull_sample() {
        samples.push(sample);
    }
    let error = bus.pop_filtered(&[gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).expect("back to NULL");
    match error.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(err)) => Err(err.error().to_string()),
        _ => Ok(samples),
    }
}

/// The faces that `retinafacedetect` finds, with these properties, in a picture converted to
/// `format`.
pub fn faces(picture: &Path, format: &str, properties: &str) -> Vec<Face> {
    let samples = run(&format!(
        "filesrc location=\"{}\" ! decodebin ! videoconvert ! video/x-raw,format={format} ! \
         retinafacedetect {properties} ! appsink name=sink",
        picture.display()
    ))
    .expect("the picture decodes");
    assert_eq!(samples.len(), 1, "one picture, one frame");
    meta::faces(samples[0].buffer().expect("a buffer"))
}

/// The faces that `retinafacedetect` finds with a network, and these properties, in each of the frames: BGR, of
/// this width and height, all of them.
pub fn faces_in_frames(
    network: &[u8],
    frames: &[&[u8]],
    (width, height): (usize, usize),
    properties: &str,
) -> Result<Vec<Vec<Face>>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("network.onnx"), network).expect("a file");
    fs::write(at("frames"), frames.concat()).expect("a file");
    let samples = run(&format!(
        "filesrc location=\"{}\" blocksize={} ! \
         video/x-raw,format=BGR,width={width},height={height},framerate=1/1 ! \
         retinafacedetect model-file=\"{}\" {properties} ! appsink name=sink",
        at("frames").display(),
        3 * width * height,
        at("network.onnx").display(),
    ))?;
    Ok(samples.iter().map(|sample| meta::faces(sample.buffer().expect("a buffer"))).collect())
}

/// The default network with an operator that [`gstretinaface::native`] has no kernel for, Neg, twice in
/// a row, so that it computes the same.
pub fn with_foreign_operator() -> Vec<u8> {
    let network = fs::read("models/retinaface_mv1_0.25.onnx").expect("scripts/setup");
    let mut network = ModelProto::decode(network.as_slice()).expect("a network");
    let graph = network.graph.as_mut().expect("a graph");
    let first = graph.node.iter().position(|node| node.op() == "Conv").expect("a convolution");
    let output = graph.node[first].output[0].clone();
    let neg = |from: &str, to: &str| NodeProto {
        op_type: Some("Neg".into()),
        input: vec![from.into()],
        output: vec![to.into()],
        ..NodeProto::default()
    };
    graph.node[first].output[0] = "convolved".into();
    graph.node.insert(first + 1, neg("convolved", "negative"));
    graph.node.insert(first + 2, neg("negative", &output));
    network.encode_to_vec()
}

/// A picture with a face that scripts/setup downloads, and those of [`shared`] where it is there.
pub fn pictures(test: &str) -> Vec<PathBuf> {
    let mut pictures = vec![media("astronaut.png")];
    if let Some(shared) = shared(test) {
        let images = fs::read_dir(shared.join("images")).expect("pictures").flatten();
        let images = images.map(|entry| entry.path());
        pictures.extend(images.filter(|path| path.extension() == Some("png".as_ref())));
    }
    pictures
}

/// The element's defaults, with another score threshold.
pub fn parameters(score_threshold: f32) -> Parameters {
    Parameters {
        scale_method: ScaleMethod::Bilinear,
        score_threshold,
        iou_threshold: 0.4,
        max_detections: 750,
        min_face_size: 0.0,
        max_face_size: f32::INFINITY,
        largest_only: false,
        margin: 0.0,
    }
}

/// A JPEG file whose EXIF data say how to turn it.
pub fn with_exif_orientation(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    // TIFF of one entry: tag 274, one SHORT.
    let tiff = [
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(),
        &[orientation, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    let exif = [b"Exif\0\0".as_slice(), &tiff].concat();
    let len = (exif.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], b"\xff\xe1", &len, &exif, &jpeg[2..]].concat()
}

/// Resident memory in KiB.
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}
