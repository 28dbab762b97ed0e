// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files that the property model-file should not name: an error each, soon, and the process goes on.

mod common;

use std::{
    fs::{self, File},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::Command,
};

use gstretinaface::onnx::messages::*;
use prost::Message;

/// The error that a pipeline with this network ends with.
fn error(path: &Path) -> String {
    let text = common::run(&format!(
        "videotestsrc num-buffers=2 ! video/x-raw,width=320,height=240 ! \
         retinafacedetect model-file=\"{}\" ! appsink name=sink",
        path.display()
    ))
    .expect_err("the network is refused");
    assert!(text.contains(&path.display().to_string()), "{text}");
    text
}

#[test]
fn networks_that_end_or_block_runtimes_are_refused() {
    let Some(shared) = common::shared("networks that end or block runtimes") else { return };
    for (name, node, why) in [
        ("abort_kernel_shape", "mobilenet0_conv14_fwd (Conv)", "kernel_shape is [1, 65536]"),
        ("abort_relu_of_weight", "mobilenet0_relu7_fwd (Relu)", "with constants alone"),
        ("hang_pads", "mobilenet0_conv2_fwd (Conv)", "padding is 5000"),
        ("openvino_segv_negative_pad", "mobilenet0_conv15_fwd (Conv)", "padding is -7"),
        ("ort117_segv_no_output", "/fpn/Constant_11 (Constant)", "no output"),
    ] {
        let text = error(&shared.join(format!("cases/models/{name}.onnx")));
        assert!(text.contains(node) && text.contains(why), "{name}: {text}");
    }
}

/// The default network with a change.
fn changed(change: impl FnOnce(&mut GraphProto)) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/retinaface_mv1_0.25.onnx");
    let bytes = fs::read(path).expect("scripts/setup has fetched the network");
    let mut model = ModelProto::decode(bytes.as_slice()).expect("an ONNX file");
    change(model.graph.as_mut().expect("a graph"));
    model.encode_to_vec()
}

/// The values of an attribute of the first node that has it.
fn ints<'a>(graph: &'a mut GraphProto, name: &str) -> &'a mut Vec<i64> {
    let mut attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    &mut attributes.find(|attribute| attribute.name() == name).expect("it is there").ints
}

fn first<'a>(graph: &'a mut GraphProto, operator: &str) -> &'a mut NodeProto {
    let mut nodes = graph.node.iter_mut();
    nodes.find(|node| node.op_type() == operator).expect("it is there")
}

#[test]
fn the_same_of_the_default_network_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("network.onnx");
    type Change = fn(&mut GraphProto);
    let cases: [(Change, &str); 6] = [
        (|graph| ints(graph, "kernel_shape")[1] = 65_536, "(Conv): its kernel_shape is"),
        (|graph| ints(graph, "pads").fill(5000), "(Conv): its padding is 5000"),
        (|graph| ints(graph, "pads")[3] = -7, "(Conv): its padding is -7"),
        (|graph| first(graph, "Constant").output.clear(), "(Constant): it has no output"),
        (
            |graph| {
                let weight = first(graph, "Conv").input[1].clone();
                first(graph, "LeakyRelu").input[0] = weight;
            },
            "(LeakyRelu): it computes with constants alone",
        ),
        (
            |graph| {
                let constant = first(graph, "Constant");
                let tensor = constant.attribute[0].t.as_mut().expect("a tensor");
                tensor.data_location = Some(1);
                tensor.external_data = vec![StringStringEntryProto {
                    key: Some("location".into()),
                    value: Some("/etc/hostname".into()),
                }];
            },
            "/etc/hostname",
        ),
    ];
    for (change, why) in cases {
        fs::write(&path, changed(change)).expect("a file");
        let text = error(&path);
        assert!(text.contains(why), "{text}");
    }
}

/// In messages of GStreamer, names end at the first NUL, which its bindings do not take well.
#[test]
fn names_may_have_any_characters() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("network.onnx");
    let bytes = changed(|graph| {
        graph.input[0].name = Some("im\0age".into());
        graph.node[3].name = Some("\0".into());
    });
    fs::write(&path, bytes).expect("a file");
    error(&path);
    let bytes = changed(|graph| graph.output[0].name = Some("lo\0c".into()));
    fs::write(&path, bytes).expect("a file");
    error(&path);
}

#[test]
fn only_files_are_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let pipe = at("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let _socket = UnixListener::bind(at("socket")).expect("a socket");
    File::create(at("empty")).expect("a file");
    // With a hole: it takes no space.
    File::create(at("large")).and_then(|file| file.set_len(3 << 30)).expect("a file");
    let cases: [(PathBuf, &str); 6] = [
        (folder.path().to_owned(), "a folder"),
        (pipe, "a named pipe"),
        (at("socket"), "a socket"),
        ("/dev/zero".into(), "a device"),
        (at("empty"), "is empty"),
        (at("large"), "less than 2 GiB"),
    ];
    for (path, why) in cases {
        let text = error(&path);
        assert!(text.contains(why), "{}: {text}", path.display());
    }
}

#[test]
fn weights_may_be_in_the_networks_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("network.onnx");
    let mut weights = Vec::new();
    let bytes = changed(|graph| {
        for tensor in &mut graph.initializer {
            let entry = |key: &str, value: String| StringStringEntryProto {
                key: Some(key.into()),
                value: Some(value),
            };
            let raw = tensor.raw_data.take().expect("raw data");
            tensor.data_location = Some(1);
            tensor.external_data = vec![
                entry("location", "network.onnx.data".into()),
                entry("offset", weights.len().to_string()),
                entry("length", raw.len().to_string()),
            ];
            weights.extend_from_slice(&raw);
        }
    });
    fs::write(&path, bytes).expect("a file");
    fs::write(folder.path().join("network.onnx.data"), weights).expect("a file");
    let properties = format!("model-file=\"{}\"", path.display());
    let faces =
        |properties: &str| common::faces(&common::media("astronaut.png"), "BGR", properties);
    assert_eq!(faces(&properties), faces(""));
    fs::remove_file(folder.path().join("network.onnx.data")).expect("removed");
    assert!(error(&path).contains("network.onnx.data"));
}

/// Whatever a network names outside its folder, and whatever way it takes: it is not read.
#[test]
fn weights_elsewhere_are_not_read() {
    let outside = tempfile::tempdir().expect("a folder");
    let folder = outside.path().join("networks");
    let weights = outside.path().join("weights");
    fs::create_dir(&folder).expect("a folder");
    let bytes = |location: &str| {
        changed(|graph| {
            let tensor = &mut graph.initializer[0];
            fs::write(&weights, tensor.raw_data.take().expect("raw data")).expect("a file");
            tensor.data_location = Some(1);
            tensor.external_data = vec![StringStringEntryProto {
                key: Some("location".into()),
                value: Some(location.into()),
            }];
        })
    };
    let path = folder.join("network.onnx");
    std::os::unix::fs::symlink(&weights, folder.join("link")).expect("a link");
    for location in ["../weights", &weights.display().to_string(), "link"] {
        fs::write(&path, bytes(location)).expect("a file");
        let text = error(&path);
        assert!(text.contains(location) && text.contains("that folder"), "{text}");
    }
}
