// SPDX-License-Identifier: MIT OR Apache-2.0

//! What graphs compute, in the plainest way: planes of floats, one operation after another.

use std::collections::HashMap;

use crate::native::graph::*;

/// The outputs of a graph, `[channels, rows, columns]` each.
pub fn outputs(graph: &Graph, input: &[f32]) -> Vec<Vec<f32>> {
    let mut values = HashMap::from([(graph.input, input.to_vec())]);
    for node in &graph.nodes {
        let inputs: Vec<_> = node.inputs.iter().map(|value| values[value].as_slice()).collect();
        let shapes: Vec<_> = node.inputs.iter().map(|&value| graph.shapes[value]).collect();
        let shape = graph.shapes[node.outputs[0]];
        let output = compute(&node.operation, &inputs, &shapes, shape);
        values.insert(node.outputs[0], output);
    }
    graph.outputs.iter().map(|output| values[output].clone()).collect()
}

fn compute(operation: &Operation, inputs: &[&[f32]], shapes: &[Shape], output: Shape) -> Vec<f32> {
    // Zero, or whatever else is beyond the edges.
    let at = |input: usize, channel: usize, row: isize, column: isize| -> Option<f32> {
        let Shape { rows, columns, .. } = shapes[input];
        let inside = row >= 0 && column >= 0 && row < rows as isize && column < columns as isize;
        let place = || (channel * rows + row as usize) * columns + column as usize;
        inside.then(|| inputs[input][place()])
    };
    let each = |value: &dyn Fn(usize, usize, usize) -> f32| {
        let mut values = Vec::with_capacity(output.len());
        for channel in 0..output.channels {
            for row in 0..output.rows {
                for column in 0..output.columns {
                    values.push(value(channel, row, column));
                }
            }
        }
        values
    };
    let same = |input: usize, channel: usize, row: usize, column: usize| {
        at(input, channel, row as isize, column as isize).expect("a pixel")
    };
    match operation {
        Operation::Convolution(convolution) => {
            let Convolution { window, groups, weights, bias, activation } = convolution;
            let of_group = shapes[0].channels / groups;
            each(&|channel, row, column| {
                let group = channel / (output.channels / groups);
                let mut sum = f64::from(bias[channel]);
                for input in 0..of_group {
                    for (tap, row, column) in taps(window, row, column) {
                        let taps = window.kernel[0] * window.kernel[1];
                        let weight = weights[(channel * of_group + input) * taps + tap];
                        let value = at(0, group * of_group + input, row, column).unwrap_or(0.0);
                        sum += f64::from(weight) * f64::from(value);
                    }
                }
                activated(activation, channel, sum as f32)
            })
        }
        Operation::Pooling(Pooling { window, kind }) => each(&|channel, row, column| {
            let seen = taps(window, row, column);
            let seen = seen.filter_map(|(_, row, column)| at(0, channel, row, column));
            let seen: Vec<_> = seen.collect();
            let sum: f32 = seen.iter().sum();
            match kind {
                PoolingKind::Max => seen.into_iter().fold(f32::NEG_INFINITY, f32::max),
                PoolingKind::Average => sum / seen.len() as f32,
                PoolingKind::AverageWithPadding => {
                    sum / (window.kernel[0] * window.kernel[1]) as f32
                }
            }
        }),
        Operation::Scale { factors, offsets } => each(&|channel, row, column| {
            same(0, channel, row, column) * factors[channel] + offsets[channel]
        }),
        Operation::Activation(activation) => each(&|channel, row, column| {
            activated(activation, channel, same(0, channel, row, column))
        }),
        Operation::Function(function) => each(&|channel, row, column| {
            let x = same(0, channel, row, column);
            let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
            match function {
                Function::Sigmoid => sigmoid(x),
                Function::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
                Function::HardSwish => x * ((x + 3.0) / 6.0).clamp(0.0, 1.0),
                Function::Swish { alpha } => x * sigmoid(alpha * x),
                Function::PRelu(slopes) if x < 0.0 => x * slopes[channel],
                Function::PRelu(_) => x,
                Function::Tanh => x.tanh(),
                Function::Exp => x.exp(),
            }
        }),
        Operation::Add(sampling) => each(&|channel, row, column| {
            let second = match sampling {
                Some(sampling) => (sampling.rows[row], sampling.columns[column]),
                None => (row, column),
            };
            same(0, channel, row, column) + same(1, channel, second.0, second.1)
        }),
        Operation::Multiply => each(&|channel, row, column| {
            same(0, channel, row, column) * same(1, channel, row, column)
        }),
        Operation::Concat => inputs.concat(),
        Operation::Sample(Sampling { rows, columns }) => {
            each(&|channel, row, column| same(0, channel, rows[row], columns[column]))
        }
        Operation::Interpolate => each(&|channel, row, column| {
            let place = |index: usize, from: usize, to: usize| {
                let place = (index as f64 + 0.5) * from as f64 / to as f64 - 0.5;
                place.clamp(0.0, (from - 1) as f64)
            };
            let (y, x) = (
                place(row, shapes[0].rows, output.rows),
                place(column, shapes[0].columns, output.columns),
            );
            let mut sum = 0.0;
            for (row, share_down) in [(y.floor(), 1.0 - y.fract()), (y.ceil(), y.fract())] {
                for (column, share) in [(x.floor(), 1.0 - x.fract()), (x.ceil(), x.fract())] {
                    let value = same(0, channel, row as usize, column as usize);
                    sum += f64::from(value) * share_down * share;
                }
            }
            sum as f32
        }),
    }
}

/// The pixels that a window sees: their numbers, rows and columns.
fn taps(window: &Window, row: usize, column: usize) -> impl Iterator<Item = (usize, isize, isize)> {
    let Window { kernel, stride, pads } = *window;
    (0..kernel[0] * kernel[1]).map(move |tap| {
        let row = (row * stride[0] + tap / kernel[1]) as isize - pads[0] as isize;
        let column = (column * stride[1] + tap % kernel[1]) as isize - pads[1] as isize;
        (tap, row, column)
    })
}

fn activated(activation: &Activation, channel: usize, x: f32) -> f32 {
    let slope = activation.slopes.get(channel).copied().unwrap_or(1.0);
    let x = if x < 0.0 { x * slope } else { x };
    match activation.clip {
        Some([low, high]) if x < low => low.min(high),
        Some([_, high]) if x > high => high,
        _ => x,
    }
}
