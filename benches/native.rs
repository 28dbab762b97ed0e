// SPDX-License-Identifier: MIT OR Apache-2.0

//! Native kernels, each at sizes that the default network has for 640×480, and the whole network beside
//! ONNX Runtime; on one thread, with every instruction set of the machine.

use std::{fs, path::Path, sync::Arc};

use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use gstretinaface::{
    inference::{Config, Loader, SessionEngine},
    model::{InputSpec, Known, Model},
    native::{InstructionSet, Program, Run},
    retinaface::detector::Engine,
};
use prost::Message;

#[allow(dead_code)]
#[path = "../tests/common/graph.rs"]
mod graph;

use graph::{Build, value};

/// Channels, rows and columns.
type Shape = [i64; 3];

/// A convolution, with the leaky ReLU that follows it in the network.
struct Convolution {
    name: &'static str,
    input: Shape,
    outputs: i64,
    groups: i64,
    kernel: i64,
    stride: i64,
}

const CONVOLUTIONS: [Convolution; 6] = [
    convolution("stem", [3, 480, 640], 8, 1, 3, 2),
    convolution("pointwise", [64, 60, 80], 64, 1, 1, 1),
    convolution("depthwise", [64, 60, 80], 64, 64, 3, 1),
    convolution("depthwise, stride 2", [64, 60, 80], 64, 64, 3, 2),
    convolution("dense, stride 2", [16, 120, 160], 32, 1, 3, 2),
    convolution("Winograd", [64, 60, 80], 64, 1, 3, 1),
];

const fn convolution(
    name: &'static str,
    input: Shape,
    outputs: i64,
    groups: i64,
    kernel: i64,
    stride: i64,
) -> Convolution {
    Convolution { name, input, outputs, groups, kernel, stride }
}

/// A network that `build` makes of the value `input`.
fn network([channels, rows, columns]: Shape, build: impl Fn(&mut Build) -> String) -> Vec<u8> {
    let mut nodes = Build::default();
    let output = build(&mut nodes);
    nodes.outputs.push(value(&output, &[None; 4]));
    let sizes = [1, channels, rows, columns].map(Some);
    nodes.finish(value("input", &sizes), 17).encode_to_vec()
}

/// A run for each instruction set. Its time has that of copying planes into blocks and back in it.
fn measure(group: &mut BenchmarkGroup<WallTime>, name: &str, network: &[u8]) {
    for set in InstructionSet::available() {
        let program = Program::compile(network, set).expect("kernels for all of it");
        let mut run = Run::new(Arc::new(program), 1);
        run.input().fill(0.5);
        group.bench_function(format!("{name}, {set}"), |bencher| bencher.iter(|| run.run()));
    }
}

fn kernels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernels");
    for Convolution { name, input, outputs, groups, kernel, stride } in CONVOLUTIONS {
        let file = network(input, |nodes| {
            let dims = [outputs, input[0] / groups, kernel, kernel];
            let weights = vec![0.01; dims.iter().product::<i64>() as usize];
            let weights = nodes.floats(&dims, &weights);
            let pad = kernel / 2;
            let attributes: [(&str, &[i64]); 3] =
                [("strides", &[stride; 2]), ("pads", &[pad; 4]), ("group", &[groups])];
            let convolved = nodes.node("Conv", &["input", &weights], &attributes);
            nodes.node("LeakyRelu", &[&convolved], &[])
        });
        measure(&mut group, name, &file);
    }
    let pooling = network([64, 60, 80], |nodes| {
        let window: [(&str, &[i64]); 2] = [("kernel_shape", &[2, 2]), ("strides", &[2, 2])];
        nodes.node("MaxPool", &["input"], &window)
    });
    measure(&mut group, "pooling", &pooling);
    let sum = network([64, 60, 80], |nodes| nodes.node("Add", &["input", "input"], &[]));
    measure(&mut group, "sum", &sum);
    group.finish();
}

fn whole_network(criterion: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/retinaface_mv1_0.25.onnx");
    let file = fs::read(path).expect("scripts/setup");
    let model = Model::shared(&file, &Known::default()).expect("a RetinaFace network");
    for size in [(256, 192), (640, 480)] {
        let spec = InputSpec::new(size, &model.strides());
        let mut group = criterion.benchmark_group(format!("network {}x{}", size.0, size.1));
        let network = model.specialise(&spec, 1).expect("it is rewritten");
        measure(&mut group, "native", &network.model);
        let loader = Loader::new(|_, _| (), Arc::clone(&model), Box::new(|_| ()));
        let session = loader.session(&spec, &Config::cpu(1)).expect("scripts/setup");
        let mut engine = SessionEngine::new(session).expect("it runs");
        group.bench_function("ONNX Runtime", |bencher| bencher.iter(|| engine.run()));
        group.finish();
    }
}

criterion_group!(benches, kernels, whole_network);
criterion_main!(benches);
