// SPDX-License-Identifier: MIT OR Apache-2.0

//! Passes over a graph that leave fewer nodes. The numbers stay the same, up to float rounding.

use std::mem;

use super::{graph::*, kernels::winograd::Winograd, plan::MOST_PARTS};

/// All of them. `lanes` is how many channels a block has.
pub fn simplify(graph: &mut Graph, lanes: usize) {
    share(graph);
    fuse(graph);
    activate_before_concat(graph);
    fuse(graph);
    add_sampled(graph);
    merge(graph, lanes);
}

impl Graph {
    /// How often each value is read, also as an output.
    pub fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.shapes.len()];
        let inputs = self.nodes.iter().flat_map(|node| &node.inputs);
        inputs.chain(&self.outputs).for_each(|&value| readers[value] += 1);
        readers
    }

    /// The node that computes each value.
    pub fn producers(&self) -> Vec<Option<usize>> {
        let mut producers = vec![None; self.shapes.len()];
        for (index, node) in self.nodes.iter().enumerate() {
            node.outputs.iter().for_each(|&output| producers[output] = Some(index));
        }
        producers
    }

    /// Drops nodes without outputs.
    fn sweep(&mut self) {
        self.nodes.retain(|node| !node.outputs.is_empty());
    }

    /// Reads `new` wherever `old` was read.
    fn replace(&mut self, old: Value, new: Value) {
        let inputs = self.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        for value in inputs.chain(&mut self.outputs).filter(|value| **value == old) {
            *value = new;
        }
    }
}

/// Computes once what is computed twice. Exporters write a layer again for each of its readers.
fn share(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let same = graph.nodes[..index].iter().find(|other| {
            !other.outputs.is_empty()
                && other.inputs == node.inputs
                && other.operation == node.operation
        });
        if let Some(&[same]) = same.map(|other| other.outputs.as_slice()) {
            for output in mem::take(&mut graph.nodes[index].outputs) {
                graph.replace(output, same);
            }
        }
    }
    graph.sweep();
}

/// Merges factors, offsets and activations into the operation before them.
fn fuse(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let (readers, producers) = (graph.readers(), graph.producers());
        let node = &graph.nodes[index];
        let &[input] = node.inputs.as_slice() else { continue };
        let Some(before) = producers[input].filter(|_| readers[input] == 1) else { continue };
        let (nodes, rest) = graph.nodes.split_at_mut(index);
        let (before, node) = (&mut nodes[before], &mut rest[0]);
        if absorb(&mut before.operation, &node.operation) {
            // In its place, for what follows to be computed in order.
            before.outputs = mem::take(&mut node.outputs);
        }
    }
    graph.sweep();
}

/// Makes `next` a part of `operation`, if that can be.
fn absorb(operation: &mut Operation, next: &Operation) -> bool {
    match (operation, next) {
        (Operation::Convolution(convolution), Operation::Scale { factors, offsets })
            if convolution.activation.is_identity() =>
        {
            let row = convolution.weights.len() / convolution.bias.len();
            let rows = convolution.weights.chunks_mut(row).zip(&mut convolution.bias);
            for ((weights, bias), (factor, offset)) in rows.zip(factors.iter().zip(offsets)) {
                weights.iter_mut().for_each(|weight| *weight *= factor);
                *bias = *bias * factor + offset;
            }
            true
        }
        (Operation::Convolution(convolution), Operation::Activation(activation)) => {
            convolution.activation.then(activation)
        }
        _ => false,
    }
}

impl Activation {
    /// Adds what follows, if both can be one.
    fn then(&mut self, next: &Self) -> bool {
        let fits = self.clip.is_none() && (self.slopes.is_empty() || next.slopes.is_empty());
        if fits {
            self.clip = next.clip;
            if self.slopes.is_empty() {
                self.slopes.clone_from(&next.slopes);
            }
        }
        fits
    }
}

/// Moves an activation of concatenated values to where each comes from.
fn activate_before_concat(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let (readers, producers) = (graph.readers(), graph.producers());
        let node = &graph.nodes[index];
        let (Operation::Activation(activation), &[input]) =
            (&node.operation, node.inputs.as_slice())
        else {
            continue;
        };
        let Some(concat) = producers[input].filter(|_| readers[input] == 1) else { continue };
        let free = |&value: &Value| {
            let producer = producers[value].map(|index| &graph.nodes[index].operation);
            let takes = |operation: &Operation| match operation {
                Operation::Convolution(convolution) => {
                    convolution.activation.clone().then(activation)
                }
                _ => false,
            };
            readers[value] == 1 && producer.is_some_and(takes)
        };
        if graph.nodes[concat].operation != Operation::Concat
            || !graph.nodes[concat].inputs.iter().all(free)
        {
            continue;
        }
        let activation = activation.clone();
        let mut first = 0;
        for value in graph.nodes[concat].inputs.clone() {
            let channels = graph.shapes[value].channels;
            let slopes = activation.slopes.get(first..first + channels).unwrap_or_default();
            let part = Activation { slopes: slopes.to_vec(), clip: activation.clip };
            first += channels;
            if let Some(producer) = producers[value] {
                absorb(&mut graph.nodes[producer].operation, &Operation::Activation(part));
            }
        }
        graph.nodes[concat].outputs = mem::take(&mut graph.nodes[index].outputs);
    }
    graph.sweep();
}

/// Adds what is enlarged without enlarging it first.
fn add_sampled(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let (readers, producers) = (graph.readers(), graph.producers());
        let node = &graph.nodes[index];
        let (Operation::Add(None), &[first, second]) = (&node.operation, node.inputs.as_slice())
        else {
            continue;
        };
        for (small, other) in [(second, first), (first, second)] {
            let Some(before) = producers[small].filter(|_| readers[small] == 1) else { continue };
            if let Operation::Sample(sampling) = &graph.nodes[before].operation {
                graph.nodes[index].operation = Operation::Add(Some(sampling.clone()));
                graph.nodes[index].inputs = vec![other, graph.nodes[before].inputs[0]];
                graph.nodes[before].outputs.clear();
                break;
            }
        }
    }
    graph.sweep();
}

/// Merges convolutions by Winograd's method that read the same value: it is transformed once.
fn merge(graph: &mut Graph, lanes: usize) {
    for index in 0..graph.nodes.len() {
        for later in index + 1..graph.nodes.len() {
            let (nodes, rest) = graph.nodes.split_at_mut(later);
            let (node, other) = (&mut nodes[index], &mut rest[0]);
            let (Operation::Convolution(first), Operation::Convolution(second)) =
                (&mut node.operation, &other.operation)
            else {
                continue;
            };
            let alike = node.inputs == other.inputs
                && first.window == second.window
                && first.activation.clip == second.activation.clip
                && !other.outputs.is_empty()
                && node.outputs.len() < MOST_PARTS;
            if alike && Winograd::can(first, lanes) && Winograd::can(second, lanes) {
                append(first, second, lanes);
                node.outputs.append(&mut other.outputs);
            }
        }
    }
    graph.sweep();
}

/// Appends the outputs of `second`, from a new block on.
fn append(first: &mut Convolution, second: &Convolution, lanes: usize) {
    let row = second.weights.len() / second.bias.len();
    let slopes = |convolution: &Convolution| match convolution.activation.slopes.as_slice() {
        [] => vec![1.0; convolution.bias.len()],
        slopes => slopes.to_vec(),
    };
    let mut all = slopes(first);
    let outputs = first.bias.len().next_multiple_of(lanes);
    all.resize(outputs, 1.0);
    all.extend(slopes(second));
    first.activation.slopes = all;
    first.weights.resize(outputs * row, 0.0);
    first.weights.extend(&second.weights);
    first.bias.resize(outputs, 0.0);
    first.bias.extend(&second.bias);
}
