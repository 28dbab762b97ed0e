// SPDX-License-Identifier: MIT OR Apache-2.0

//! From a graph to steps: which kernel computes what, and where in memory its values are.

use super::{
    graph::*,
    kernels::{
        Epilogue, Rows, dense::Dense, depthwise::Depthwise, simple::Simple, winograd::Winograd,
    },
    memory::{ALIGNMENT, Floats},
    program::Unsupported,
};

/// A network's steps and the memory that they need.
pub struct Plan {
    pub steps: Vec<Step>,
    pub input: Place,
    pub outputs: Vec<Place>,
    /// Floats of all values that are kept between steps.
    pub floats: usize,
    /// Floats that each thread needs within a step.
    pub scratch: usize,
}

/// Where a value is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The first float.
    pub start: usize,
    pub shape: Shape,
    /// 1 for planes.
    pub lanes: usize,
}

/// What is computed at once, by all threads.
pub enum Step {
    /// Convolutions and poolings one after another, row by row: what is between them never leaves the cache.
    /// `together` is how many rows of the output are computed at a time.
    Chain {
        stages: Vec<Stage>,
        together: usize,
        input: Place,
        outputs: Vec<Place>,
    },
    Winograd {
        kernel: Winograd,
        input: Place,
        outputs: Vec<Place>,
    },
    Simple {
        operation: Simple,
        inputs: Vec<Place>,
        output: Place,
    },
}

/// A convolution or pooling of a chain.
pub struct Stage {
    pub kernel: Kernel,
    pub output: Shape,
    /// Rows of its output that are kept, for the next stage to see; none for the last.
    pub kept: usize,
    /// Where they are in the scratch memory.
    pub ring: usize,
}

pub enum Kernel {
    Dense(Dense),
    Depthwise(Depthwise),
    Pooling(Pooling),
}

impl Kernel {
    pub fn window(&self) -> Window {
        match self {
            Self::Dense(dense) => dense.window(),
            Self::Depthwise(depthwise) => depthwise.window(),
            Self::Pooling(pooling) => pooling.window,
        }
    }
}

/// The most stages of a chain.
pub const MOST_STAGES: usize = 16;

/// The most values that a step reads or writes.
pub const MOST_PARTS: usize = 8;

/// The most floats of rows that a chain keeps, for them to stay in the second level cache.
const MOST_KEPT: usize = 64 * 1024;

/// The pixels that are computed at a time, at least, for narrow rows to be worth the while.
const TOGETHER: usize = 160;

/// The rows that are computed at a time of a value of this shape.
fn together(shape: Shape) -> usize {
    TOGETHER.div_ceil(shape.columns).min(8).min(shape.rows)
}

/// A value being planned.
#[derive(Clone, Copy)]
struct Kept {
    /// The value that it is a part of, and its first block there.
    part: Option<(Value, usize)>,
    lanes: usize,
    /// The first and the last step that use it.
    life: Option<(usize, usize)>,
    start: usize,
}

/// Plans a simplified graph for vectors of so many lanes.
pub fn plan(graph: Graph, lanes: usize) -> Result<Plan, Unsupported> {
    let planning = Planning {
        readers: graph.readers(),
        values: vec![Kept { part: None, lanes, life: None, start: 0 }; graph.shapes.len()],
        graph,
        lanes,
        steps: Vec::new(),
        scratch: 0,
    };
    planning.run()
}

struct Planning {
    graph: Graph,
    readers: Vec<usize>,
    values: Vec<Kept>,
    lanes: usize,
    steps: Vec<Pending>,
    scratch: usize,
}

/// A step whose values have no places yet.
struct Pending {
    work: Work,
    inputs: Vec<Value>,
    outputs: Vec<Value>,
}

enum Work {
    Chain(Vec<Stage>, usize),
    Winograd(Winograd),
    Simple(Simple),
}

impl Planning {
    fn run(mut self) -> Result<Plan, Unsupported> {
        self.place_concats();
        let input = self.graph.input;
        self.values[input].lanes = 1;
        // In blocks, for whatever cannot read planes.
        let mut blocks = None;
        let nodes = std::mem::take(&mut self.graph.nodes);
        let next = self.followers(&nodes);
        let mut done = vec![false; nodes.len()];
        for index in 0..nodes.len() {
            if done[index] {
                continue;
            }
            let node = &nodes[index];
            let reads_planes = matches!(&node.operation,
                Operation::Convolution(convolution) if convolution.groups == 1);
            let mut inputs = node.inputs.clone();
            for value in inputs.iter_mut().filter(|value| **value == input && !reads_planes) {
                *value = *blocks.get_or_insert_with(|| self.in_blocks(input));
            }
            match &node.operation {
                Operation::Convolution(convolution)
                    if Winograd::can(convolution, self.lanes) && inputs[0] != input =>
                {
                    let channels = self.graph.shapes[inputs[0]].channels;
                    let kernel = Winograd::new(convolution, channels, self.lanes);
                    self.scratch = self.scratch.max(kernel.scratch(self.lanes));
                    self.push(Work::Winograd(kernel), inputs, node.outputs.clone());
                }
                Operation::Convolution(_) | Operation::Pooling(_) => {
                    let chain = self.chain(&nodes, &next, index);
                    chain.iter().for_each(|&index| done[index] = true);
                    self.push_chain(&nodes, &chain, inputs);
                }
                Operation::Concat => self.copy_parts(node),
                operation => {
                    let channels = self.graph.shapes[inputs[0]].channels;
                    let simple = simple(operation, channels, self.lanes);
                    let simple = simple.ok_or_else(|| {
                        Unsupported::Network("a step of it was not planned".to_owned())
                    })?;
                    self.push(Work::Simple(simple), inputs, node.outputs.clone());
                }
            }
        }
        // Outputs leave as planes.
        let mut outputs = Vec::new();
        for value in self.graph.outputs.clone() {
            let shape = self.graph.shapes[value];
            let planes = self.add(shape, 1);
            let copy = Simple::Copy { channels: shape.channels, first: 0 };
            self.push(Work::Simple(copy), vec![value], vec![planes]);
            outputs.push(planes);
        }
        let floats = self.allocate(&outputs);
        let pending = std::mem::take(&mut self.steps);
        let place = |&value: &Value| self.place(value);
        let steps = pending.into_iter().map(|pending| {
            let inputs: Vec<_> = pending.inputs.iter().map(place).collect();
            let outputs: Vec<_> = pending.outputs.iter().map(place).collect();
            match pending.work {
                Work::Chain(stages, together) => {
                    Step::Chain { stages, together, input: inputs[0], outputs }
                }
                Work::Winograd(kernel) => Step::Winograd { kernel, input: inputs[0], outputs },
                Work::Simple(operation) => Step::Simple { operation, inputs, output: outputs[0] },
            }
        });
        let steps = steps.collect();
        let outputs = outputs.iter().map(place).collect();
        let align = ALIGNMENT / size_of::<f32>();
        Ok(Plan {
            steps,
            input: self.place(input),
            outputs,
            floats,
            scratch: self.scratch.next_multiple_of(align),
        })
    }

    fn add(&mut self, shape: Shape, lanes: usize) -> Value {
        self.graph.shapes.push(shape);
        self.readers.push(1);
        self.values.push(Kept { part: None, lanes, life: None, start: 0 });
        self.values.len() - 1
    }

    fn push(&mut self, work: Work, inputs: Vec<Value>, outputs: Vec<Value>) {
        self.steps.push(Pending { work, inputs, outputs });
    }

    /// The planes of the input, in blocks.
    fn in_blocks(&mut self, input: Value) -> Value {
        let shape = self.graph.shapes[input];
        let blocks = self.add(shape, self.lanes);
        let copy = Simple::Copy { channels: shape.channels, first: 0 };
        self.push(Work::Simple(copy), vec![input], vec![blocks]);
        blocks
    }

    /// Lets values be computed where they are concatenated.
    fn place_concats(&mut self) {
        let producers = self.graph.producers();
        for node in self.graph.nodes.iter().filter(|node| node.operation == Operation::Concat) {
            let whole = node.outputs[0];
            let mut first: usize = 0;
            for (index, &value) in node.inputs.iter().enumerate() {
                let channels = self.graph.shapes[value].channels;
                let last = index + 1 == node.inputs.len();
                let aligned = first.is_multiple_of(self.lanes)
                    && (last || channels.is_multiple_of(self.lanes));
                let free = self.values[value].part.is_none()
                    && producers[value].is_some_and(|producer| {
                        self.graph.nodes[producer].operation != Operation::Concat
                    });
                if aligned && free {
                    self.values[value].part = Some((whole, first / self.lanes));
                }
                first += channels;
            }
        }
    }

    /// Copies what was not computed where it is concatenated.
    fn copy_parts(&mut self, node: &Node) {
        let whole = node.outputs[0];
        let mut first: usize = 0;
        for &value in &node.inputs {
            let channels = self.graph.shapes[value].channels;
            if self.values[value].part != Some((whole, first / self.lanes))
                || !first.is_multiple_of(self.lanes)
            {
                let copy = Simple::Copy { channels, first };
                self.push(Work::Simple(copy), vec![value], vec![whole]);
            }
            first += channels;
        }
    }

    /// For each node the convolution or pooling that alone reads what it computes.
    fn followers(&self, nodes: &[Node]) -> Vec<Option<usize>> {
        let mut followers = vec![None; nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            let &[output] = node.outputs.as_slice() else { continue };
            if self.readers[output] == 1 && self.values[output].part.is_none() {
                followers[index] = nodes.iter().position(|node| {
                    node.inputs == [output]
                        && match &node.operation {
                            Operation::Convolution(convolution) => {
                                !Winograd::can(convolution, self.lanes)
                            }
                            Operation::Pooling(_) => true,
                            _ => false,
                        }
                });
            }
        }
        followers
    }

    /// The nodes that are computed together with the one at `first`, row by row.
    fn chain(&self, nodes: &[Node], next: &[Option<usize>], first: usize) -> Vec<usize> {
        let mut chain = vec![first];
        while let Some(index) = next[chain[chain.len() - 1]] {
            chain.push(index);
            let kept: usize = self.kept(nodes, &chain).iter().map(|&(_, floats)| floats).sum();
            if kept > MOST_KEPT || chain.len() > MOST_STAGES {
                chain.pop();
                break;
            }
        }
        chain
    }

    /// The rows of each of a chain's values but the last that are kept, and their floats.
    fn kept(&self, nodes: &[Node], chain: &[usize]) -> Vec<(usize, usize)> {
        let shape = |index: usize| self.graph.shapes[nodes[index].outputs[0]];
        let mut rows = together(shape(chain[chain.len() - 1]));
        let mut kept = Vec::new();
        for pair in chain.windows(2).rev() {
            let &[before, index] = pair else { continue };
            let Some(Window { kernel, stride, .. }) = window(&nodes[index].operation) else {
                continue;
            };
            let shape = shape(before);
            rows = ((rows - 1) * stride[0] + kernel[0]).min(shape.rows);
            let floats = Rows::len(shape, self.lanes, rows);
            kept.push((rows, floats.next_multiple_of(ALIGNMENT / size_of::<f32>())));
        }
        kept.reverse();
        kept
    }

    fn push_chain(&mut self, nodes: &[Node], chain: &[usize], inputs: Vec<Value>) {
        let mut stages: Vec<Stage> = Vec::new();
        let mut scratch = 0;
        let mut input = (self.graph.shapes[inputs[0]].channels, self.values[inputs[0]].lanes);
        let mut outputs = Vec::new();
        let mut kept = self.kept(nodes, chain).into_iter();
        for &index in chain {
            let node = &nodes[index];
            let (channels, lanes) = input;
            let kernel = match &node.operation {
                Operation::Convolution(convolution)
                    // One channel may be a plane.
                    if convolution.groups == channels
                        && convolution.bias.len() == channels
                        && lanes == self.lanes =>
                {
                    Kernel::Depthwise(Depthwise::new(convolution, self.lanes))
                }
                Operation::Convolution(convolution) => {
                    Kernel::Dense(Dense::new(convolution, channels, lanes, self.lanes))
                }
                Operation::Pooling(pooling) => Kernel::Pooling(*pooling),
                _ => continue,
            };
            let output = self.graph.shapes[node.outputs[0]];
            let (kept, floats) = kept.next().unwrap_or_default();
            stages.push(Stage { kernel, output, kept, ring: scratch });
            scratch += floats;
            input = (output.channels, self.lanes);
            outputs.clone_from(&node.outputs);
        }
        self.scratch = self.scratch.max(scratch);
        let together = together(self.graph.shapes[outputs[0]]);
        self.push(Work::Chain(stages, together), inputs, outputs);
    }

    /// The value whose memory a value is in, and its first block there.
    fn root(&self, value: Value) -> (Value, usize) {
        self.values[value].part.unwrap_or((value, 0))
    }

    fn place(&self, value: Value) -> Place {
        let (root, first) = self.root(value);
        let Shape { rows, columns, .. } = self.graph.shapes[root];
        let lanes = self.values[root].lanes;
        let start = self.values[root].start + first * rows * columns * lanes;
        Place { start, shape: self.graph.shapes[value], lanes }
    }

    /// Gives every value a place that no other has while it is needed; returns the floats of all.
    fn allocate(&mut self, outputs: &[Value]) -> usize {
        for step in 0..self.steps.len() {
            let pending = &self.steps[step];
            for value in pending.inputs.iter().chain(&pending.outputs).copied() {
                let (root, _) = self.root(value);
                let life = &mut self.values[root].life;
                *life = Some(life.map_or((step, step), |(first, _)| (first, step)));
            }
        }
        // The caller's, at any time.
        for value in outputs.iter().copied().chain([self.graph.input]) {
            self.values[value].life = Some((0, usize::MAX));
        }
        let align = ALIGNMENT / size_of::<f32>();
        let len = |value: Value| {
            let Kept { lanes, .. } = self.values[value];
            let shape = self.graph.shapes[value];
            Rows::len(shape, lanes, shape.rows).next_multiple_of(align)
        };
        let mut order: Vec<_> =
            (0..self.values.len()).filter(|&value| self.values[value].life.is_some()).collect();
        order.sort_by_key(|&value| std::cmp::Reverse(len(value)));
        let mut placed: Vec<(usize, usize, (usize, usize))> = Vec::new();
        let mut starts = Vec::new();
        for &value in &order {
            let Some(life) = self.values[value].life else { continue };
            let mut others: Vec<_> = placed
                .iter()
                .filter(|(_, _, other)| other.0 <= life.1 && life.0 <= other.1)
                .map(|&(start, end, _)| (start, end))
                .collect();
            others.sort_unstable();
            // The first gap that is large enough.
            let mut start = 0;
            for (from, end) in others {
                if start + len(value) <= from {
                    break;
                }
                start = start.max(end);
            }
            placed.push((start, start + len(value), life));
            starts.push((value, start));
        }
        for (value, start) in starts {
            self.values[value].start = start;
        }
        placed.iter().map(|&(_, end, _)| end).max().unwrap_or(0)
    }
}

/// The window of an operation that a chain may have.
fn window(operation: &Operation) -> Option<Window> {
    match operation {
        Operation::Convolution(convolution) => Some(convolution.window),
        Operation::Pooling(pooling) => Some(pooling.window),
        _ => None,
    }
}

/// The operation without weights.
fn simple(operation: &Operation, channels: usize, lanes: usize) -> Option<Simple> {
    let epilogue = |offsets: &[f32], activation: &Activation| {
        Epilogue::new(offsets, &activation.slopes, activation.clip, lanes)
    };
    let (ones, zeros) = (vec![1.0; channels], vec![0.0; channels]);
    let filled = |values: &[f32]| {
        let mut floats = Floats::new(values.len().next_multiple_of(lanes));
        floats[..values.len()].copy_from_slice(values);
        floats
    };
    Some(match operation {
        Operation::Add(sampling) => Simple::Add(sampling.clone()),
        Operation::Multiply => Simple::Multiply,
        Operation::Scale { factors, offsets } => {
            Simple::Scale(filled(factors), epilogue(offsets, &Activation::default()))
        }
        Operation::Activation(activation) => {
            Simple::Scale(filled(&ones), epilogue(&zeros, activation))
        }
        Operation::Function(function) => Simple::Function(function.clone()),
        Operation::Sample(sampling) => Simple::Sample(sampling.clone()),
        Operation::Interpolate => Simple::Interpolate,
        Operation::Convolution(_) | Operation::Pooling(_) | Operation::Concat => return None,
    })
}
