// SPDX-License-Identifier: MIT OR Apache-2.0

//! Graphs as the kernels compute them and as [`reference`] does, on every instruction set.

mod reference;

use std::sync::Arc;

use proptest::{prelude::*, sample::select};

use super::{graph::*, instructions::InstructionSet, program::Program, run::Run};

/// Numbers that look random, from −1 to 1.
fn numbers(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A graph being built.
struct Build {
    graph: Graph,
    numbers: Box<dyn FnMut() -> f32>,
}

impl Build {
    fn new(channels: usize, rows: usize, columns: usize, seed: u32) -> Self {
        let shapes = vec![Shape { channels, rows, columns }];
        let graph = Graph { shapes, nodes: Vec::new(), input: 0, outputs: Vec::new() };
        Self { graph, numbers: Box::new(numbers(seed)) }
    }

    fn some(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| (self.numbers)()).collect()
    }

    fn shape(&self, value: Value) -> Shape {
        self.graph.shapes[value]
    }

    fn node(&mut self, operation: Operation, inputs: &[Value], shape: Shape) -> Value {
        let output = self.graph.shapes.len();
        self.graph.shapes.push(shape);
        self.graph.nodes.push(Node { operation, inputs: inputs.to_vec(), outputs: vec![output] });
        output
    }

    /// A convolution of a window, padded at the end for every pixel to be seen.
    fn convolution(
        &mut self,
        input: Value,
        outputs: usize,
        window: Window,
        groups: usize,
        activation: Activation,
    ) -> Value {
        let shape = self.shape(input);
        let taps = window.kernel[0] * window.kernel[1];
        let weights = self.some(outputs * shape.channels / groups * taps);
        let bias = self.some(outputs);
        let [rows, columns] = sizes(shape, window);
        let shape = Shape { channels: outputs, rows, columns };
        let convolution = Convolution { window, groups, weights, bias, activation };
        self.node(Operation::Convolution(convolution), &[input], shape)
    }

    fn leaky(&mut self, input: Value) -> Value {
        let shape = self.shape(input);
        let activation = Activation { slopes: vec![0.1; shape.channels], clip: None };
        self.node(Operation::Activation(activation), &[input], shape)
    }

    fn output(&mut self, value: Value) {
        self.graph.outputs.push(value);
    }

    /// Whether every instruction set, with one thread and with three, computes what the reference does.
    fn check(self) {
        self.check_within(2e-5);
    }

    fn check_within(mut self, tolerance: f32) {
        let input = self.some(self.shape(0).len());
        let expected = reference::outputs(&self.graph, &input);
        let graph = Arc::new(self.graph);
        for set in InstructionSet::all() {
            let program = Program::new(copy(&graph), set).expect("kernels for all of it");
            let program = Arc::new(program);
            for threads in [1, 3] {
                let mut run = Run::new(Arc::clone(&program), threads);
                // Twice: the second run finds what the first one left.
                for round in 0..2 {
                    run.input().copy_from_slice(&input);
                    run.run();
                    for (index, expected) in expected.iter().enumerate() {
                        let size = expected.iter().fold(1.0f32, |size, x| size.max(x.abs()));
                        for (place, (&found, &expected)) in
                            run.output(index).iter().zip(expected).enumerate()
                        {
                            let same = found == expected
                                || (found - expected).abs() <= tolerance * size
                                || found.is_nan() && expected.is_nan();
                            assert!(
                                same,
                                "{set}, {threads} threads, round {round}, output {index}, \
                                 {place}: {found}, not {expected}"
                            );
                        }
                        assert_eq!(run.output(index).len(), expected.len());
                    }
                }
            }
        }
    }
}

fn copy(graph: &Graph) -> Graph {
    let Graph { shapes, nodes, input, outputs } = graph;
    Graph { shapes: shapes.clone(), nodes: nodes.clone(), input: *input, outputs: outputs.clone() }
}

/// Rows and columns of what a window makes of a value: as many as it has places, with up to its own
/// padding at the end.
fn sizes(shape: Shape, window: Window) -> [usize; 2] {
    let size = |axis: usize, size: usize| {
        let Window { kernel, stride, pads } = window;
        (size + 2 * pads[axis]).saturating_sub(kernel[axis]) / stride[axis] + 1
    };
    [size(0, shape.rows), size(1, shape.columns)]
}

fn window() -> impl Strategy<Value = Window> {
    let pair = |most: usize| [1..=most, 1..=most];
    (pair(5), pair(3), [0..5usize, 0..5]).prop_map(|(kernel, stride, pads)| Window {
        kernel,
        stride,
        pads: [pads[0].min(kernel[0] - 1), pads[1].min(kernel[1] - 1)],
    })
}

/// The windows that kernels have ways of their own for, most of the time.
fn usual_window() -> impl Strategy<Value = Window> {
    let usual = [1, 2].into_iter().flat_map(|stride| {
        [[1, 1], [3, 3]].map(|kernel: [usize; 2]| Window {
            kernel,
            stride: [stride, stride],
            pads: [kernel[0] / 2, kernel[1] / 2],
        })
    });
    prop_oneof![3 => select(usual.collect::<Vec<_>>()), 1 => window()]
}

fn activation(channels: usize) -> impl Strategy<Value = Activation> {
    let slopes = prop_oneof![
        Just(Vec::new()),
        Just(vec![0.0; channels]),
        prop::collection::vec(-0.5f32..=1.0, channels),
    ];
    let clip = prop_oneof![Just(None), Just(Some([0.0, 6.0])), Just(Some([-0.5, f32::INFINITY]))];
    (slopes, clip).prop_map(|(slopes, clip)| Activation { slopes, clip })
}

/// A value whose rows are long enough for every way through a kernel, but few.
fn sizes_to_try() -> impl Strategy<Value = (usize, usize)> {
    (prop_oneof![1..6usize, Just(13)], prop_oneof![1..10usize, 10..40usize])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn dense_convolutions(
        (window, channels, outputs, (rows, columns)) in
            (usual_window(), 1..20usize, 1..40usize, sizes_to_try()),
        (activation, seed) in (activation(40), any::<u32>()),
        behind in any::<bool>(),
    ) {
        let mut build = Build::new(channels, rows, columns, seed);
        // Planes are read as they are; what is behind them is in blocks.
        let input = if behind { build.leaky(0) } else { 0 };
        let activation = Activation { slopes: activation.slopes.into_iter().take(outputs).collect(), ..activation };
        let output = build.convolution(input, outputs, window, 1, activation);
        build.output(output);
        build.check();
    }

    #[test]
    fn depthwise_and_grouped_convolutions(
        (window, groups, (rows, columns)) in (usual_window(), 2..20usize, sizes_to_try()),
        (of_group, outputs_of_group) in prop_oneof![3 => Just((1, 1)), 1 => (1..4usize, 1..4usize)],
        seed in any::<u32>(),
    ) {
        let mut build = Build::new(groups * of_group, rows, columns, seed);
        let activation = Activation { slopes: vec![0.25; groups * outputs_of_group], clip: None };
        let output =
            build.convolution(0, groups * outputs_of_group, window, groups, activation);
        build.output(output);
        build.check();
    }

    /// Rows that are computed from rows that are kept for a while only.
    #[test]
    fn chains(
        windows in prop::collection::vec((usual_window(), any::<bool>()), 2..6),
        (channels, rows, columns) in (1..10usize, 1..30usize, 1..30usize),
        seed in any::<u32>(),
    ) {
        let mut build = Build::new(3, rows, columns, seed);
        let mut value = 0;
        for (window, depthwise) in windows {
            let shape = build.shape(value);
            let (outputs, groups) =
                if depthwise { (shape.channels, shape.channels) } else { (channels, 1) };
            value = build.convolution(value, outputs, window, groups, Activation::default());
            value = build.leaky(value);
            // For values to stay of a size.
            let factors = vec![0.3; outputs];
            let offsets = build.some(outputs);
            let shape = build.shape(value);
            value = build.node(Operation::Scale { factors, offsets }, &[value], shape);
        }
        build.output(value);
        build.check();
    }

    #[test]
    fn pooling(
        window in window(),
        kind in select(vec![
            PoolingKind::Max,
            PoolingKind::Average,
            PoolingKind::AverageWithPadding,
        ]),
        (channels, (rows, columns)) in (1..20usize, sizes_to_try()),
        seed in any::<u32>(),
    ) {
        let mut build = Build::new(channels, rows, columns, seed);
        let [rows, columns] = sizes(build.shape(0), window);
        let pooling = Operation::Pooling(Pooling { window, kind });
        // A last window may lie in the padding only.
        let last = |axis: usize, outputs: usize, size: usize| {
            (outputs - 1) * window.stride[axis] < size + window.pads[axis]
        };
        prop_assume!(last(0, rows, build.shape(0).rows) && last(1, columns, build.shape(0).columns));
        let output = build.node(pooling, &[0], Shape { channels, rows, columns });
        build.output(output);
        build.check();
    }

    /// A feature pyramid in small: enlarged, added, concatenated at any channel, with heads.
    #[test]
    fn branches(
        (channels, others, (rows, columns)) in (1..20usize, 1..20usize, sizes_to_try()),
        seed in any::<u32>(),
    ) {
        let three = Window { kernel: [3, 3], stride: [1, 1], pads: [1, 1] };
        let half = Window { stride: [2, 2], ..three };
        let point = Window { kernel: [1, 1], stride: [1, 1], pads: [0, 0] };
        let none = Activation::default;
        let mut build = Build::new(3, rows, columns, seed);
        let large = build.convolution(0, channels, three, 1, none());
        let large = build.leaky(large);
        let small = build.convolution(large, channels, half, 1, none());
        let small = build.leaky(small);
        let shape = build.shape(large);
        let from = build.shape(small);
        let sampling = Sampling {
            rows: (0..rows).map(|row| row * from.rows / rows).collect(),
            columns: (0..columns).map(|column| column * from.columns / columns).collect(),
        };
        let enlarged = build.node(Operation::Sample(sampling), &[small], shape);
        let sum = build.node(Operation::Add(None), &[enlarged, large], shape);
        // Three that read the same, of which one is computed twice.
        let first = build.convolution(sum, others, three, 1, none());
        let second = build.convolution(sum, channels, three, 1, none());
        let mut again = build.graph.nodes[build.graph.nodes.len() - 1].clone();
        let shape = build.shape(second);
        again.outputs = vec![build.graph.shapes.len()];
        build.graph.shapes.push(shape);
        let third = again.outputs[0];
        build.graph.nodes.push(again);
        let third = build.leaky(third);
        let concat = Shape { channels: others + 2 * channels, ..shape };
        let concat = build.node(Operation::Concat, &[first, second, third], concat);
        let active = build.leaky(concat);
        let head = build.convolution(active, others, point, 1, none());
        build.output(head);
        let product = build.node(Operation::Multiply, &[second, third], shape);
        build.output(product);
        build.output(small);
        build.check_within(1e-4);
    }
}

#[test]
fn functions_of_one_number() {
    for function in [
        Function::Sigmoid,
        Function::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Function::HardSwish,
        Function::Swish { alpha: 1.5 },
        Function::PRelu((0..11).map(|channel| channel as f32 / 4.0).collect()),
        Function::Tanh,
        Function::Exp,
    ] {
        let mut build = Build::new(11, 3, 7, 5);
        let shape = build.shape(0);
        let wide = Operation::Scale { factors: vec![5.0; 11], offsets: vec![0.5; 11] };
        let wide = build.node(wide, &[0], shape);
        let output = build.node(Operation::Function(function), &[wide], shape);
        build.output(output);
        build.check();
    }
}

#[test]
fn sizes_between_pixels() {
    for (rows, columns, by) in [(1, 1, 2), (3, 5, 2), (4, 7, 3)] {
        let mut build = Build::new(9, rows, columns, 7);
        let shape = Shape { channels: 9, rows: rows * by, columns: columns * by };
        let output = build.node(Operation::Interpolate, &[0], shape);
        build.output(output);
        build.check();
    }
}

/// The input is an output, a value is an output and goes on, and one value is an output twice.
#[test]
fn outputs_of_any_kind() {
    let point = Window { kernel: [1, 1], stride: [1, 1], pads: [0, 0] };
    let mut build = Build::new(3, 4, 5, 11);
    let first = build.convolution(0, 12, point, 1, Activation::default());
    let second = build.convolution(first, 5, point, 1, Activation::default());
    for value in [0, first, second, second] {
        build.output(value);
    }
    build.check();
}

/// Depthwise and dense at once, and read from the plane of the input.
#[test]
fn one_channel() {
    let point = Window { kernel: [1, 1], stride: [1, 1], pads: [0, 0] };
    let mut build = Build::new(1, 1, 2, 0);
    let output = build.convolution(0, 1, point, 1, Activation::default());
    build.output(output);
    build.check();
}

/// Lanes that no channel needs are not left as other values had them: what becomes of those may be infinite,
/// and times a weight of zero no number.
#[test]
fn lanes_without_channels() {
    let point = Window { kernel: [1, 1], stride: [1, 1], pads: [0, 0] };
    let mut build = Build::new(5, 6, 9, 17);
    let shape = build.shape(0);
    let large = Shape { channels: 64, ..shape };
    let first = build.convolution(0, 64, point, 1, Activation::default());
    let scale = Operation::Scale { factors: vec![1e4; 64], offsets: vec![1e4; 64] };
    let first = build.node(scale, &[first], large);
    // Read by two, for it to be in memory as it is.
    let clip = Activation { slopes: Vec::new(), clip: Some([0.0, 0.1]) };
    let second = build.node(Operation::Activation(clip), &[first], large);
    let tiny = Operation::Scale { factors: vec![1e-6; 64], offsets: vec![0.0; 64] };
    let third = build.node(tiny, &[first], large);
    let [second, third] =
        [second, third].map(|value| build.convolution(value, 5, point, 1, Activation::default()));
    let concat = build.node(Operation::Concat, &[second, third], Shape { channels: 10, ..shape });
    let shape = build.shape(concat);
    let exp = build.node(Operation::Function(Function::Exp), &[concat], shape);
    let output = build.convolution(exp, 3, point, 1, Activation::default());
    build.output(output);
    build.check_within(1e-4);
}

/// What is not a number, or too small for a normal one, gives what it gives anywhere else.
#[test]
fn unusual_numbers() {
    let three = Window { kernel: [3, 3], stride: [1, 1], pads: [1, 1] };
    for (factor, groups, value) in
        [(1.0, 9, f32::NAN), (1.0, 1, f32::NAN), (1e-42, 9, 1e-42), (1e-42, 1, 1e-42)]
    {
        let mut build = Build::new(9, 6, 11, 13);
        let clip = Activation { slopes: vec![0.1; 9], clip: Some([-1e30, 1e30]) };
        let output = build.convolution(0, 9, three, groups, clip);
        build.output(output);
        let mut input = build.some(build.shape(0).len());
        input.iter_mut().for_each(|number| *number *= factor);
        input[3 * 66 + 2 * 11 + 5] = value;
        let expected = reference::outputs(&build.graph, &input);
        for set in InstructionSet::all() {
            let program = Program::new(copy(&build.graph), set).expect("kernels for all of it");
            let mut run = Run::new(Arc::new(program), 1);
            run.input().copy_from_slice(&input);
            run.run();
            for (found, &expected) in run.output(0).iter().zip(&expected[0]) {
                if expected.is_nan() {
                    assert!(found.is_nan(), "{set}: {found}");
                } else if !value.is_nan() {
                    assert!((found - expected).abs() <= 1e-6, "{set}: {found}, not {expected}");
                }
            }
        }
    }
}
