// SPDX-License-Identifier: MIT OR Apache-2.0

//! Each operator that there is a native kernel for computes what ONNX Runtime computes, however its
//! attributes say that it is to; what there is no kernel for is refused by its name.

mod common;
#[path = "exports/runtime.rs"]
mod runtime;

use common::graph::{Build, value};
use gstretinaface::{
    native::{InstructionSet, Program, Run, Unsupported},
    onnx::messages::{AttributeProto, AttributeType},
};
use prost::Message;
use runtime::Array;

const INPUT: &str = "input";
/// The version of the operators, where nothing depends on it.
const OPSET: i64 = 17;

/// Numbers that look random, from −1 to 1.
fn numbers(count: i64, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        f: Some(value),
        r#type: Some(AttributeType::Float as i32),
        ..AttributeProto::default()
    }
}

impl Build {
    /// A tensor of made-up numbers.
    fn made_up(&mut self, dims: &[i64]) -> String {
        self.seed += 1;
        let numbers = numbers(dims.iter().product(), self.seed);
        self.floats(dims, &numbers)
    }

    /// Adds an attribute to the last node.
    fn attribute(&mut self, attribute: AttributeProto) {
        self.nodes.last_mut().expect("a node").attribute.push(attribute);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.attribute(AttributeProto::new_string(name, value));
    }

    fn convolution(
        &mut self,
        input: &str,
        dims: &[i64; 4],
        attributes: &[(&str, &[i64])],
    ) -> String {
        let (weights, bias) = (self.made_up(dims), self.made_up(&dims[..1]));
        self.node("Conv", &[input, &weights, &bias], attributes)
    }
}

/// A network with one output.
fn network(shape: [i64; 4], opset: i64, build: impl FnOnce(&mut Build) -> String) -> Vec<u8> {
    let mut nodes = Build::seeded(shape[1] as u32);
    let output = build(&mut nodes);
    nodes.outputs.push(value(&output, &[None; 4]));
    nodes.finish(value(INPUT, &shape.map(Some)), opset).encode_to_vec()
}

/// Runs a network on every instruction set and in ONNX Runtime, and compares.
fn compare(place: &str, shape: [i64; 4], file: &[u8]) -> Result<(), Unsupported> {
    let picture = numbers(shape.iter().product(), 7).iter().map(|x| 4.0 * x).collect();
    let picture = Array { shape: shape.to_vec(), values: picture };
    let mut expected = None;
    for set in InstructionSet::available() {
        let program = Program::compile(file, set)?;
        let mut run = Run::new(program.into(), 1);
        run.input().copy_from_slice(&picture.values);
        run.run();
        let outputs = expected.get_or_insert_with(|| runtime::run(file, INPUT, &picture));
        let expected = outputs.values().next().expect("an output");
        let shape = run.program().outputs().next().expect("an output");
        let shape = [1, shape.channels, shape.rows, shape.columns].map(|size| size as i64);
        assert_eq!(shape.as_slice(), expected.shape, "{place}");
        let found = run.output(0);
        let size = expected.values.iter().fold(1.0f32, |size, x| size.max(x.abs()));
        for (index, (found, expected)) in found.iter().zip(&expected.values).enumerate() {
            assert!(
                (found - expected).abs() <= 1e-5 * size,
                "{place}, {set}: {found} for {expected} at {index}"
            );
        }
    }
    Ok(())
}

/// There are kernels, and they compute what ONNX Runtime does.
fn check(place: &str, shape: [i64; 4], opset: i64, build: impl FnOnce(&mut Build) -> String) {
    let file = network(shape, opset, build);
    compare(place, shape, &file).unwrap_or_else(|why| panic!("{place}: {why}"));
}

/// There is no kernel for a network whose last node this is.
fn check_refused(place: &str, shape: [i64; 4], build: impl FnOnce(&mut Build) -> String) {
    let mut operator = String::new();
    let file = network(shape, OPSET, |nodes| {
        let output = build(nodes);
        operator = nodes.nodes.last().expect("a node").op_type().to_owned();
        output
    });
    let Err(why) = Program::compile(&file, InstructionSet::best()) else {
        panic!("{place}: not refused");
    };
    assert_eq!(why, Unsupported::Operator(operator), "{place}");
}

/// Pairs for rows and columns.
type Attributes = &'static [(&'static str, &'static [i64])];

#[test]
fn convolutions() {
    const WINDOWS: [Attributes; 7] = [
        &[],
        &[("strides", &[2, 1])],
        &[("strides", &[3, 2]), ("pads", &[1, 1, 1, 1])],
        &[("dilations", &[2, 3]), ("pads", &[0, 2, 1, 1])],
        &[("pads", &[1, 0, 2, 3])],
        &[("strides", &[2, 2]), ("dilations", &[2, 1]), ("pads", &[2, 1, 0, 0])],
        // The last windows see nothing but padding.
        &[("pads", &[0, 0, 5, 6])],
    ];
    for (channels, groups, outputs) in
        [(1, 1, 1), (3, 1, 5), (9, 1, 20), (9, 3, 6), (9, 9, 9), (4, 4, 8), (1, 1, 3)]
    {
        for kernel in [[1, 1], [3, 3], [2, 3], [4, 1]] {
            for window in WINDOWS {
                let shape = [1, channels, 9, 11];
                let dims = [outputs, channels / groups, kernel[0], kernel[1]];
                let groups = [groups];
                let attributes = [window, &[("group", &groups)]].concat();
                let place = format!("{dims:?}, {attributes:?}");
                let planes = |nodes: &mut Build| nodes.convolution(INPUT, &dims, &attributes);
                let blocks = |nodes: &mut Build| {
                    let input = nodes.node("Relu", &[INPUT], &[]);
                    nodes.convolution(&input, &dims, &attributes)
                };
                if begins_outside(kernel, window) {
                    check_refused(&place, shape, planes);
                } else {
                    check(&place, shape, OPSET, planes);
                    check(&format!("{place}, behind Relu"), shape, OPSET, blocks);
                }
            }
        }
    }
}

/// Whether the first window of a convolution sees nothing but padding.
fn begins_outside(kernel: [i64; 2], window: Attributes) -> bool {
    let number = |name: &str, axis: usize, default: i64| {
        let list = window.iter().find(|(other, _)| *other == name);
        list.map_or(default, |(_, list)| list[axis])
    };
    (0..2).any(|axis| number("pads", axis, 0) > (kernel[axis] - 1) * number("dilations", axis, 1))
}

#[test]
fn windows_are_padded_by_themselves() {
    for padding in ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"] {
        for strides in [[1, 1], [2, 2]] {
            for kernel in [[1, 1], [3, 3], [4, 2]] {
                let place = format!("{padding}, {strides:?}, {kernel:?}");
                let shape = [1, 3, 10, 9];
                check(&place, shape, OPSET, |nodes| {
                    let dims = [5, 3, kernel[0], kernel[1]];
                    let output = nodes.convolution(INPUT, &dims, &[("strides", &strides)]);
                    nodes.text("auto_pad", padding);
                    output
                });
                // ONNX Runtime has none that leaves pixels out.
                let pooling: &[_] =
                    if kernel < strides { &[] } else { &["MaxPool", "AveragePool"] };
                for pooling in pooling {
                    check(&format!("{place}, {pooling}"), shape, OPSET, |nodes| {
                        let attributes: [(&str, &[i64]); 2] =
                            [("kernel_shape", &kernel), ("strides", &strides)];
                        let output = nodes.node(pooling, &[INPUT], &attributes);
                        nodes.text("auto_pad", padding);
                        output
                    });
                }
            }
        }
    }
}

#[test]
fn pooling() {
    const WINDOWS: [Attributes; 5] = [
        &[("kernel_shape", &[2, 2]), ("strides", &[2, 2])],
        &[("kernel_shape", &[3, 3]), ("strides", &[2, 2]), ("pads", &[1, 1, 1, 1])],
        &[("kernel_shape", &[3, 2]), ("strides", &[3, 2]), ("pads", &[1, 0, 2, 1])],
        &[("kernel_shape", &[1, 4])],
        &[("kernel_shape", &[2, 2]), ("strides", &[3, 3])],
    ];
    let mut refused = Vec::new();
    for operator in ["MaxPool", "AveragePool"] {
        for window in WINDOWS {
            for size in [[9, 11], [8, 10], [7, 6]] {
                for (ceil, padding) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let (ceil_mode, count_include_pad) = ([ceil], [padding]);
                    let mut attributes = window.to_vec();
                    attributes.push(("ceil_mode", &ceil_mode));
                    if operator == "AveragePool" {
                        attributes.push(("count_include_pad", &count_include_pad));
                    }
                    let shape = [1, 5, size[0], size[1]];
                    let file =
                        network(shape, OPSET, |nodes| nodes.node(operator, &[INPUT], &attributes));
                    let place = format!("{operator}, {size:?}, {attributes:?}");
                    if compare(&place, shape, &file).is_err() {
                        refused.push((operator, ceil, padding));
                    }
                }
            }
        }
    }
    // Which of the windows' pixels count, the kernel does not know.
    refused.dedup();
    assert_eq!(refused, [("AveragePool", 1, 1)]);
    check_refused("dilated", [1, 5, 9, 9], |nodes| {
        nodes.node("MaxPool", &[INPUT], &[("kernel_shape", &[2, 2]), ("dilations", &[2, 2])])
    });
}

#[test]
fn activations() {
    let shape = [1, 5, 4, 7];
    for operator in ["Relu", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Exp"] {
        check(operator, shape, OPSET, |nodes| nodes.node(operator, &[INPUT], &[]));
        check(&format!("{operator} behind a convolution"), shape, OPSET, |nodes| {
            let convolved = nodes.convolution(INPUT, &[6, 5, 3, 3], &[]);
            nodes.node(operator, &[&convolved], &[])
        });
    }
    for (operator, alpha) in [("LeakyRelu", 0.3), ("LeakyRelu", 1.5), ("HardSigmoid", 0.4)] {
        check(&format!("{operator}, {alpha}"), shape, OPSET, |nodes| {
            let output = nodes.node(operator, &[INPUT], &[]);
            nodes.attribute(float("alpha", alpha));
            output
        });
    }
    check("HardSigmoid's beta", shape, OPSET, |nodes| {
        let output = nodes.node("HardSigmoid", &[INPUT], &[]);
        nodes.attribute(float("beta", 0.7));
        output
    });
    for dims in [&[][..], &[1], &[5, 1, 1], &[1, 5, 1, 1], &[1, 1, 1]] {
        for factor in [0.5, 3.0] {
            check(&format!("PRelu, {dims:?}, {factor}"), shape, OPSET, |nodes| {
                let count = dims.iter().product();
                let slopes: Vec<_> = numbers(count, 3).iter().map(|x| factor * x).collect();
                let slopes = nodes.floats(dims, &slopes);
                nodes.node("PRelu", &[INPUT, &slopes], &[])
            });
        }
    }
    // Of rows and columns.
    for dims in [&[7][..], &[4, 1], &[1, 1, 7], &[1, 4, 7]] {
        check_refused(&format!("PRelu, {dims:?}"), shape, |nodes| {
            let slopes = nodes.made_up(dims);
            nodes.node("PRelu", &[INPUT, &slopes], &[])
        });
    }
}

#[test]
fn clipping() {
    let shape = [1, 5, 4, 7];
    for (min, max) in [(Some(-0.5), Some(1.0)), (None, Some(0.5)), (Some(0.0), None), (None, None)]
    {
        check(&format!("inputs {min:?}, {max:?}"), shape, OPSET, |nodes| {
            let mut bound = |bound: Option<f32>| match bound {
                Some(bound) => nodes.floats(&[], &[bound]),
                None => String::new(),
            };
            let (min, max) = (bound(min), bound(max));
            nodes.node("Clip", &[INPUT, &min, &max], &[])
        });
        check(&format!("attributes {min:?}, {max:?}"), shape, 6, |nodes| {
            let output = nodes.node("Clip", &[INPUT], &[]);
            for (name, bound) in [("min", min), ("max", max)] {
                if let Some(bound) = bound {
                    nodes.attribute(float(name, bound));
                }
            }
            output
        });
    }
    check_refused("a bound that is computed", shape, |nodes| {
        nodes.node("Clip", &[INPUT, INPUT], &[])
    });
}

/// What is merged into convolutions, in orders in which it may be and in others.
#[test]
fn layers_behind_convolutions() {
    const LAYERS: [&[&str]; 9] = [
        &["BatchNormalization"],
        &["BatchNormalization", "Relu", "Clip"],
        &["Relu", "BatchNormalization", "BatchNormalization"],
        &["LeakyRelu", "LeakyRelu"],
        &["Clip", "LeakyRelu"],
        &["Clip", "Clip"],
        &["Mul", "Add", "LeakyRelu", "Clip", "Sub"],
        &["Sigmoid", "BatchNormalization", "Conv", "Relu"],
        &["Relu", "Conv", "Conv", "Relu", "MaxPool", "Conv"],
    ];
    for groups in [1, 8] {
        for layers in LAYERS {
            check(&format!("{layers:?}, {groups} groups"), [1, 8, 9, 11], OPSET, |nodes| {
                let dims = [8, 8 / groups, 3, 3];
                let convolution: [(&str, &[i64]); 2] =
                    [("pads", &[1, 1, 1, 1]), ("group", &[groups])];
                let mut value = nodes.convolution(INPUT, &dims, &convolution);
                for &layer in layers {
                    value = match layer {
                        "BatchNormalization" => {
                            let [scale, offset, mean] = [0; 3].map(|_| nodes.made_up(&[8]));
                            let variance = numbers(8, 5).iter().map(|x| x.abs() + 0.1).collect();
                            let variance: Vec<_> = variance;
                            let variance = nodes.floats(&[8], &variance);
                            let inputs = [&value, &scale, &offset, &mean, &variance];
                            let value = nodes.node(layer, &inputs.map(String::as_str), &[]);
                            nodes.attribute(float("epsilon", 1e-3));
                            value
                        }
                        "Clip" => {
                            let [min, max] = [-0.4, 0.6].map(|bound| nodes.floats(&[], &[bound]));
                            nodes.node(layer, &[&value, &min, &max], &[])
                        }
                        "Add" | "Sub" | "Mul" => {
                            let constant = nodes.made_up(&[8, 1, 1]);
                            nodes.node(layer, &[&value, &constant], &[])
                        }
                        "Conv" => nodes.convolution(&value, &dims, &convolution),
                        "MaxPool" => nodes.node(layer, &[&value], &[("kernel_shape", &[2, 2])]),
                        _ => nodes.node(layer, &[&value], &[]),
                    };
                }
                value
            });
        }
    }
}

#[test]
fn arithmetic_with_constants() {
    let shape = [1, 5, 4, 7];
    for operator in ["Add", "Sub", "Mul", "Div"] {
        for dims in [&[][..], &[1], &[5, 1, 1], &[1, 5, 1, 1], &[1, 1, 1, 1]] {
            for first in [true, false] {
                let build = |nodes: &mut Build| {
                    let constant = nodes.made_up(dims);
                    let inputs = if first { [INPUT, &constant] } else { [&constant, INPUT] };
                    nodes.node(operator, &inputs, &[])
                };
                let place = format!("{operator}, {dims:?}, {first}");
                if operator == "Div" && !first {
                    check_refused(&place, shape, build);
                } else {
                    check(&place, shape, OPSET, build);
                }
            }
        }
        for dims in [&[7][..], &[4, 1], &[4, 7], &[5, 4, 7], &[1, 1, 4, 7], &[1, 1, 7]] {
            check_refused(&format!("{operator}, {dims:?}"), shape, |nodes| {
                let constant = nodes.made_up(dims);
                nodes.node(operator, &[INPUT, &constant], &[])
            });
        }
    }
    // As many columns as channels.
    check_refused("Add to columns", [1, 7, 4, 7], |nodes| {
        let constant = nodes.made_up(&[7]);
        nodes.node("Add", &[INPUT, &constant], &[])
    });
    check_refused("Add of more channels", [1, 1, 4, 7], |nodes| {
        let constant = nodes.made_up(&[5, 1, 1]);
        nodes.node("Add", &[INPUT, &constant], &[])
    });
}

#[test]
fn arithmetic_with_values() {
    let shape = [1, 5, 4, 7];
    for operator in ["Add", "Mul"] {
        check(operator, shape, OPSET, |nodes| {
            let other = nodes.convolution(INPUT, &[5, 5, 1, 1], &[]);
            nodes.node(operator, &[INPUT, &other], &[])
        });
        check(&format!("{operator} to itself"), shape, OPSET, |nodes| {
            nodes.node(operator, &[INPUT, INPUT], &[])
        });
    }
    for operator in ["Sub", "Div"] {
        check_refused(operator, shape, |nodes| nodes.node(operator, &[INPUT, INPUT], &[]));
    }
    check_refused("of one channel", shape, |nodes| {
        let other = nodes.convolution(INPUT, &[1, 5, 1, 1], &[]);
        nodes.node("Mul", &[INPUT, &other], &[])
    });
}

#[test]
fn concatenation() {
    for axis in [1, -3] {
        for channels in [1, 3, 8, 16] {
            check(&format!("{axis}, {channels}"), [1, 3, 4, 7], OPSET, |nodes| {
                let part = nodes.convolution(INPUT, &[channels, 3, 1, 1], &[]);
                let other = nodes.node("Sigmoid", &[&part], &[]);
                let inputs = [&part, INPUT, &other, &part];
                let all = nodes.node("Concat", &inputs, &[("axis", &[axis])]);
                nodes.node("Concat", &[&all, &part], &[("axis", &[axis])])
            });
        }
    }
    for axis in [2, 3, -1] {
        check_refused(&format!("{axis}"), [1, 3, 4, 7], |nodes| {
            nodes.node("Concat", &[INPUT, INPUT], &[("axis", &[axis])])
        });
    }
    check_refused("a constant", [1, 3, 4, 7], |nodes| {
        let constant = nodes.made_up(&[1, 2, 4, 7]);
        nodes.node("Concat", &[INPUT, &constant], &[("axis", &[1])])
    });
}

#[test]
fn slices() {
    const SLICES: [(&[i64], &[i64], &[i64]); 9] = [
        (&[1], &[3], &[2]),
        (&[2], &[1000], &[3]),
        (&[-3], &[-1], &[-1]),
        (&[-1000], &[3], &[-2]),
        (&[1, 2], &[4, 6], &[2, 3]),
        (&[2, 1], &[6, 4], &[3, 2]),
        (&[0, 0, 1], &[1, 5, 3], &[0, 1, 2]),
        (&[0], &[i64::MAX], &[1]),
        (&[i64::MIN], &[-2], &[3]),
    ];
    let shape = [1, 5, 6, 7];
    for (starts, ends, axes) in SLICES {
        let place = format!("{starts:?} to {ends:?} of {axes:?}");
        check(&place, shape, OPSET, |nodes| {
            let steps = vec![1; axes.len()];
            let inputs = [starts, ends, axes, &steps].map(|list| nodes.integers(list));
            let inputs = [INPUT, &inputs[0], &inputs[1], &inputs[2], &inputs[3]];
            nodes.node("Slice", &inputs, &[])
        });
        check(&format!("{place}, attributes"), shape, 9, |nodes| {
            let output = nodes.node("Slice", &[INPUT], &[]);
            for (name, list) in [("starts", starts), ("ends", ends), ("axes", axes)] {
                nodes.attribute(AttributeProto::new_ints(name, list));
            }
            output
        });
    }
    let slice = |starts: [i64; 4], ends: [i64; 4], steps: [i64; 4]| {
        move |nodes: &mut Build| {
            let axes = [0, 1, 2, 3];
            let inputs = [starts, ends, axes, steps].map(|list| nodes.integers(&list));
            let inputs = [INPUT, &inputs[0], &inputs[1], &inputs[2], &inputs[3]];
            nodes.node("Slice", &inputs, &[])
        }
    };
    check("all axes", shape, OPSET, slice([0, 0, 1, 2], [1, 5, 5, 4], [1; 4]));
    check_refused("channels", shape, slice([0, 1, 0, 0], [1, 5, 6, 7], [1; 4]));
    check_refused("steps", shape, slice([0; 4], [1, 5, 6, 7], [1, 1, 2, 1]));
    check_refused("backwards", shape, slice([0, 0, -1, 0], [1, 5, i64::MIN, 7], [1, 1, -1, 1]));
    check_refused("nothing", shape, slice([0, 0, 6, 0], [1, 5, 9, 7], [1; 4]));
}

/// What a network is resized to.
#[derive(Clone, Copy, Debug)]
enum Target {
    Scales([f32; 2]),
    Sizes([i64; 2]),
}

const TARGETS: [Target; 14] = [
    Target::Scales([2.0, 2.0]),
    Target::Scales([3.0, 1.0]),
    Target::Scales([1.5, 2.5]),
    Target::Scales([2.2, 2.2]),
    Target::Scales([0.5, 0.5]),
    Target::Scales([0.6, 0.3]),
    Target::Scales([0.7, 1.7]),
    Target::Scales([1.1, 1.3]),
    Target::Sizes([12, 20]),
    Target::Sizes([7, 11]),
    Target::Sizes([13, 9]),
    Target::Sizes([1, 3]),
    Target::Sizes([3, 10]),
    Target::Sizes([24, 5]),
];

fn resize(nodes: &mut Build, channels: i64, target: Target, texts: &[(&str, &str)]) -> String {
    let output = match target {
        Target::Scales([rows, columns]) => {
            let scales = nodes.floats(&[4], &[1.0, 1.0, rows, columns]);
            nodes.node("Resize", &[INPUT, "", &scales], &[])
        }
        Target::Sizes([rows, columns]) => {
            let sizes = nodes.integers(&[1, channels, rows, columns]);
            nodes.node("Resize", &[INPUT, "", "", &sizes], &[])
        }
    };
    for (name, value) in texts {
        nodes.text(name, value);
    }
    output
}

#[test]
fn resizing() {
    const COORDINATES: [&str; 5] =
        ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric"];
    let scales =
        TARGETS.iter().flat_map(|&target| [[6, 10], [1, 7], [10, 1]].map(|size| (size, target)));
    let sizes = [2, 3, 7, 10, 13].iter().flat_map(|&size| {
        (1..28).step_by(2).map(move |to| ([size, 20 - size], Target::Sizes([to, 28 - to])))
    });
    let cases: Vec<_> = scales.chain(sizes).collect();
    for coordinates in COORDINATES {
        let mut compared = 0;
        for rounding in ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"] {
            for &(size, target) in &cases {
                let shape = [1, 1, size[0], size[1]];
                let texts = [
                    ("mode", "nearest"),
                    ("coordinate_transformation_mode", coordinates),
                    ("nearest_mode", rounding),
                ];
                let file = network(shape, 19, |nodes| resize(nodes, 1, target, &texts));
                let place = format!("{size:?} to {target:?}, {coordinates}, {rounding}");
                compared += usize::from(compare(&place, shape, &file).is_ok());
            }
        }
        // Not those in which rounding errors decide.
        let all = 4 * cases.len();
        let expected = match coordinates {
            "align_corners" | "half_pixel_symmetric" => 0..=0,
            _ => all / 2..=all,
        };
        assert!(expected.contains(&compared), "{coordinates}: {compared} of {all}");
    }
    // What PyTorch makes of odd sizes, and enlarging by whole factors.
    for (size, target) in [
        ([13, 8], Target::Sizes([25, 15])),
        ([10, 6], Target::Sizes([20, 18])),
        ([10, 6], Target::Scales([2.0, 1.5])),
    ] {
        check(&format!("{target:?}"), [1, 3, size[0], size[1]], OPSET, |nodes| {
            let texts =
                [("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")];
            resize(nodes, 3, target, &texts)
        });
    }
    check("the defaults", [1, 3, 6, 10], OPSET, |nodes| resize(nodes, 3, TARGETS[0], &[]));
}

/// There are kernels for enlarging by whole factors only.
#[test]
fn interpolation() {
    let mut whole = Vec::new();
    for target in TARGETS {
        for coordinates in ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"] {
            let shape = [1, 3, 6, 10];
            let texts = [("mode", "linear"), ("coordinate_transformation_mode", coordinates)];
            let file = network(shape, OPSET, |nodes| resize(nodes, 3, target, &texts));
            let place = format!("{target:?}, {coordinates}");
            if compare(&place, shape, &file).is_ok() {
                whole.push(place);
            }
        }
    }
    let expected = ["Scales([2.0, 2.0])", "Scales([3.0, 1.0])", "Sizes([12, 20])"];
    assert_eq!(whole, expected.map(|target| format!("{target}, half_pixel")));
    // 2.2 times two rows are four, but not in the places of twice as many.
    for scale in [1.1, 2.2] {
        let shape = [1, 3, 2, 2];
        let file = network(shape, OPSET, |nodes| {
            resize(nodes, 3, Target::Scales([scale, scale]), &[("mode", "linear")])
        });
        assert!(compare("twice", shape, &file).is_err(), "{scale}");
    }
    check_refused("aspect ratio", [1, 3, 6, 10], |nodes| {
        let texts = [("keep_aspect_ratio_policy", "not_larger")];
        resize(nodes, 3, TARGETS[9], &texts)
    });
    check_refused("cubic", [1, 3, 6, 10], |nodes| {
        resize(nodes, 3, TARGETS[0], &[("mode", "cubic")])
    });
}

/// Resize and Upsample as they were in older versions.
#[test]
fn resizing_of_old() {
    for scales in [[2.0, 2.0], [3.0, 1.0], [1.5, 2.5], [1.7, 1.1]] {
        for (operator, opset) in [("Upsample", 9), ("Resize", 10)] {
            check(&format!("{operator}, {scales:?}"), [1, 3, 6, 10], opset, |nodes| {
                let scales = nodes.floats(&[4], &[1.0, 1.0, scales[0], scales[1]]);
                nodes.node(operator, &[INPUT, &scales], &[])
            });
        }
    }
    // Rounded up where it makes smaller.
    for scales in [[0.5, 0.5], [0.6, 2.0], [0.3, 0.7]] {
        check(&format!("{scales:?}"), [1, 3, 6, 10], 10, |nodes| {
            let scales = nodes.floats(&[4], &[1.0, 1.0, scales[0], scales[1]]);
            nodes.node("Resize", &[INPUT, &scales], &[])
        });
    }
}

/// Values that nodes only pass on, and constants that are nodes.
#[test]
fn constants_of_any_kind() {
    check("Identity of weights and values", [1, 3, 6, 10], OPSET, |nodes| {
        let weights = nodes.made_up(&[4, 3, 1, 1]);
        let weights = nodes.node("Identity", &[&weights], &[]);
        let input = nodes.node("Identity", &[INPUT], &[]);
        let input = nodes.node("Dropout", &[&input], &[]);
        nodes.node("Conv", &[&input, &weights], &[])
    });
}

#[test]
fn what_has_no_kernel_is_refused() {
    let shape = [1, 3, 6, 10];
    for operator in ["Softmax", "Neg", "Softplus", "GlobalAveragePool", "Transpose"] {
        check_refused(operator, shape, |nodes| nodes.node(operator, &[INPUT], &[]));
    }
    check_refused("another domain's", shape, |nodes| {
        let output = nodes.node("Relu", &[INPUT], &[]);
        nodes.nodes[0].domain = Some("org.example".into());
        output
    });
    check_refused("weights that are computed", [1, 3, 3, 3], |nodes| {
        nodes.node("Conv", &[INPUT, INPUT], &[])
    });
    check_refused("a bias that is computed", shape, |nodes| {
        let weights = nodes.made_up(&[4, 3, 1, 1]);
        nodes.node("Conv", &[INPUT, &weights, INPUT], &[])
    });
    check_refused("other channels", shape, |nodes| nodes.convolution(INPUT, &[4, 5, 1, 1], &[]));
    check_refused("many rows", [1, 1, 40, 40], |nodes| {
        nodes.convolution(INPUT, &[1, 1, 17, 1], &[])
    });
    check_refused("two outputs", shape, |nodes| {
        let output = nodes.node("MaxPool", &[INPUT], &[("kernel_shape", &[2, 2])]);
        nodes.nodes[0].output.push("places".into());
        output
    });
}
