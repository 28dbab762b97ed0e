// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rewriting a network for one input size and the levels that are wanted.
//!
//! Runtimes do much of this on their own, but not all: they do not know the input's size when they
//! plan, that a level is not wanted, that softmax over two scores is a subtraction, nor that the
//! decoder takes any layout. The numbers stay the network's, up to float rounding.

use prost::Message;

use super::pixels;
use super::widen;
use crate::families::{
    ANCHORS, Anatomy, BOXES, Family, HeadConvolutions, LANDMARKS, NetworkLevel, SCORES,
};
use crate::onnx::builder::{GraphBuilder, dimension};
use crate::onnx::convolution::Convolution;
use crate::onnx::graph::{Graph, MAX_STEPS};
use crate::onnx::messages::*;
use crate::onnx::shapes::Shapes;
use crate::{
    families::heads::{Heads, Level, Score, View, cells},
    preprocess::Form,
};

/// What a network is loaded for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Width and height of what it looks at.
    pub size: (u32, u32),
    /// The levels that are wanted.
    pub strides: Vec<u32>,
    /// What it takes of a frame.
    pub form: Form,
    /// How many frames one run looks at.
    pub batch: usize,
}

impl Task {
    /// One frame a run, as planes.
    pub fn new(size: (u32, u32), strides: &[u32]) -> Self {
        Self { size, strides: strides.to_vec(), form: Form::Planes, batch: 1 }
    }
}

/// A network for one task.
pub struct Specialised {
    /// An ONNX file.
    pub model: Vec<u8>,
    /// The name of its input: `[batch, …]`, each frame in the task's form.
    pub input: String,
    /// The names and shapes of its outputs, in the order that [`View::output`] counts. Each is
    /// `[batch, …]`.
    pub outputs: Vec<(String, Vec<i64>)>,
    /// For each frame of the batch.
    pub heads: Heads,
}

/// Why a network is left as it is. It can be run all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSpecialised {
    #[error("the network has none of the wanted strides")]
    NoLevels,
    #[error("the network takes one input size, and this is another")]
    FixedSize,
    #[error("the convolutions behind the network's outputs were not found")]
    Untraced,
    #[error("the convolutions behind a level's outputs cannot be merged into one")]
    Unmergeable,
    #[error("the shapes within the network depend on more than the size of its input")]
    UnknownShapes,
    #[error("nodes of the network read what nothing, or a later node, makes")]
    Unordered,
    #[error("a level of the network has another grid than its stride gives")]
    OtherGrid,
    #[error("the network's operators are of a version that cannot resize its input")]
    OldOperators,
}

/// Rewrites the network `proto` with the image input `input` for `task`. `lanes` is how many channels
/// the runtime computes side by side.
pub fn specialise(
    proto: &ModelProto,
    anatomy: &Anatomy,
    input: &str,
    task: &Task,
    lanes: usize,
) -> Result<Specialised, NotSpecialised> {
    let (width, height) = task.size;
    let wanted = |level: &&NetworkLevel| task.strides.contains(&level.stride);
    let levels: Vec<_> = anatomy.levels.iter().filter(wanted).collect();
    let graph_proto = proto.graph.as_ref().filter(|_| !levels.is_empty());
    let graph_proto = graph_proto.ok_or(NotSpecialised::NoLevels)?;
    let graph = Graph::new(graph_proto);
    let shape = [task.batch, 3, height as usize, width as usize];
    let shapes = Shapes::new(&graph, input, shape.to_vec());
    let heads = levels.into_iter().map(|level| {
        let grid = (cells(width, level.stride), cells(height, level.stride));
        Head::new(&graph, &shapes, anatomy.family, level, grid)
    });
    let heads: Vec<Head> = heads.collect::<Result<_, _>>()?;

    let mut rewrite = Rewrite::new(&graph, &shapes, graph_proto);
    rewrite.keep(heads.iter().map(|head| head.features));
    let levels = heads.iter().enumerate().map(|(output, head)| head.level(output)).collect();
    let shapes: Vec<_> = heads.iter().map(|head| head.shape(task.batch)).collect();
    let names: Vec<_> = heads.into_iter().map(|head| rewrite.add_head(head)).collect();
    let mut builder = rewrite.builder;
    if !builder.is_sound(input) {
        return Err(NotSpecialised::Unordered);
    }
    widen::widen(&mut builder, lanes);
    let input = match task.form {
        Form::Planes => value(input, DataType::Float, shape),
        Form::Pixels(pixels) => {
            if pixels.size != task.size && opset(proto) < RESIZE_TO_SIZES {
                return Err(NotSpecialised::OldOperators);
            }
            let target = (task.batch, task.size);
            let name = pixels::prepend(&mut builder, input, &pixels, target, anatomy.family.mean());
            let (columns, rows) = (pixels.size.0 as usize, pixels.size.1 as usize);
            value(&name, DataType::Uint8, [task.batch, rows, columns, pixels.channels])
        }
    };

    let outputs = names.iter().zip(&shapes);
    let outputs = outputs.map(|(name, shape)| value(name, DataType::Float, *shape)).collect();
    let input_name = input.name().to_owned();
    let model = ModelProto {
        // From this version on, weights need not be listed among the inputs.
        ir_version: Some(proto.ir_version().max(4)),
        opset_import: proto.opset_import.clone(),
        graph: Some(builder.finish(graph_proto.name.clone(), input, outputs)),
        ..ModelProto::default()
    };
    let heads = Heads { coding: anatomy.family.coding(), score: Score::Logit, levels };
    let shapes = shapes.into_iter().map(|shape| shape.map(dimension).to_vec());
    let outputs = names.into_iter().zip(shapes).collect();
    Ok(Specialised { model: model.encode_to_vec(), input: input_name, outputs, heads })
}

/// From this version on, Resize can be told the size to resize to.
const RESIZE_TO_SIZES: i64 = 11;

/// The version of the standard operators that a network is made of.
fn opset(proto: &ModelProto) -> i64 {
    let standard = proto.opset_import.iter().find(|opset| matches!(opset.domain(), "" | "ai.onnx"));
    standard.map_or(0, OperatorSetIdProto::version)
}

fn value(name: &str, data_type: DataType, shape: [usize; 4]) -> ValueInfoProto {
    let fixed = |size: usize| Dimension {
        value: Some(DimensionValue::Value(dimension(size))),
        denotation: None,
    };
    let tensor = TensorType {
        elem_type: Some(data_type as i32),
        shape: Some(TensorShapeProto { dim: shape.map(fixed).to_vec() }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(TypeValue::Tensor(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}

/// The part of a network that is kept, with everything replaced that the input's size decides.
struct Rewrite<'a> {
    graph: &'a Graph<'a>,
    shapes: &'a Shapes<'a>,
    builder: GraphBuilder,
}

impl<'a> Rewrite<'a> {
    fn new(graph: &'a Graph<'a>, shapes: &'a Shapes<'a>, proto: &'a GraphProto) -> Self {
        let values = proto.node.iter().flat_map(|node| &node.output).map(String::as_str);
        let tensors = proto.initializer.iter().map(TensorProto::name);
        let inputs = proto.input.iter().map(ValueInfoProto::name);
        Self { graph, shapes, builder: GraphBuilder::new(values.chain(tensors).chain(inputs)) }
    }

    /// The value that `value` equals, past nodes that pass it on or cut off nothing.
    fn resolve(&self, mut value: &'a str) -> &'a str {
        for _ in 0..MAX_STEPS {
            value = self.graph.source(value).unwrap_or(value);
            let node = self.graph.producer(value).map(|index| &self.graph.nodes[index]);
            match node.and_then(|node| self.unchanged(node)) {
                Some(before) => value = before,
                None => break,
            }
        }
        value
    }

    /// The input of a node that resizes or cuts it to the size that it has.
    fn unchanged(&self, node: &'a NodeProto) -> Option<&'a str> {
        let nearest = node.string("mode").unwrap_or("nearest") == "nearest";
        let may_do_nothing = match node.op() {
            "Resize" | "Upsample" => nearest,
            "Slice" => true,
            _ => false,
        };
        let (input, output) = (node.input.first()?, node.output.first()?);
        let (before, after) = (self.shapes.shape(input)?, self.shapes.shape(output)?);
        (may_do_nothing && before == after).then_some(input)
    }

    /// Whether a value is known without running the network.
    fn is_constant(&self, value: &'a str) -> bool {
        value.is_empty()
            || self.graph.constant(value).is_some()
            || self.shapes.integers(value).is_some()
    }

    /// Keeps all nodes that the values need, in their order.
    fn keep(&mut self, values: impl Iterator<Item = &'a str>) {
        let mut kept = vec![false; self.graph.nodes.len()];
        let mut open: Vec<&str> = values.collect();
        while let Some(value) = open.pop() {
            if self.is_constant(value) {
                continue;
            }
            let Some(index) = self.graph.producer(self.resolve(value)) else { continue };
            if !std::mem::replace(&mut kept[index], true) {
                open.extend(self.graph.nodes[index].input.iter().map(String::as_str));
            }
        }
        let nodes = self.graph.nodes;
        for (node, _) in nodes.iter().zip(kept).filter(|(_, kept)| *kept) {
            let input = node.input.iter().map(|value| self.input(value)).collect();
            let attribute = node.attribute.clone();
            let (op_type, domain) = (node.op_type.clone(), node.domain.clone());
            let (name, output) = (node.name.clone(), node.output.clone());
            self.builder.nodes.push(NodeProto {
                input,
                output,
                name,
                op_type,
                domain,
                attribute,
                ..NodeProto::default()
            });
        }
    }

    /// The name under which a kept node reads a value.
    fn input(&mut self, value: &'a str) -> String {
        if value.is_empty() {
            return String::new();
        }
        let name = self.resolve(value);
        if let Some(tensor) = self.graph.constant(name) {
            self.builder.copy_tensor(name, tensor);
        } else if let Some(integers) = self.shapes.integers(name) {
            self.builder.set_integers(name, &integers);
        }
        name.to_owned()
    }

    /// Adds a level's merged convolution; returns the name of its output.
    fn add_head(&mut self, head: Head<'a>) -> String {
        let name = self.builder.unique_name(&format!("stride{}", head.stride));
        let features = self.input(head.features);
        let rows = head.merged();
        let dims = [dimension(rows.bias.len()), dimension(rows.channels), 1, 1];
        let weights = self.builder.add_floats(&format!("{name}.weight"), &dims, &rows.weights);
        let bias = self.builder.add_floats(&format!("{name}.bias"), &dims[..1], &rows.bias);
        self.builder.nodes.push(NodeProto {
            input: vec![features, weights, bias],
            output: vec![name.clone()],
            name: Some(name.clone()),
            op_type: Some("Conv".to_owned()),
            attribute: vec![AttributeProto::new_ints("kernel_shape", &[1, 1])],
            ..NodeProto::default()
        });
        name
    }
}

/// The weights of a 1×1 convolution: a row of `channels` numbers and a bias for each output.
struct Rows {
    channels: usize,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Rows {
    /// The weights of a node, if it is a pointwise convolution with as many outputs.
    fn new(graph: &Graph, node: &NodeProto, outputs: usize) -> Option<Self> {
        let convolution = Convolution::read(node, |name| graph.constant(name))?;
        let fits = convolution.is_pointwise() && convolution.outputs() == outputs;
        let channels = convolution.inputs();
        let Convolution { weights, bias, .. } = convolution;
        fits.then_some(Self { channels, weights, bias })
    }

    fn row(&self, index: usize) -> &[f32] {
        &self.weights[index * self.channels..][..self.channels]
    }

    fn append(&mut self, other: Rows) {
        self.weights.extend(other.weights);
        self.bias.extend(other.bias);
    }

    /// One output a pair: the second of the pair minus the first.
    fn differences(&self, pairs: [(usize, usize); ANCHORS]) -> Self {
        let difference = |(first, second): (usize, usize)| {
            self.row(second).iter().zip(self.row(first)).map(|(second, first)| second - first)
        };
        Self {
            channels: self.channels,
            weights: pairs.into_iter().flat_map(difference).collect(),
            bias: pairs.map(|(first, second)| self.bias[second] - self.bias[first]).into(),
        }
    }
}

/// The convolutions that a level ends in, and the value that all of them read.
struct Head<'a> {
    stride: u32,
    /// Cells in a row and in a column.
    grid: (usize, usize),
    features: &'a str,
    /// One output an anchor: the face's minus the background's, whose softmax is a sigmoid.
    scores: Rows,
    boxes: Rows,
    landmarks: Option<Rows>,
}

impl<'a> Head<'a> {
    fn new(
        graph: &Graph<'a>,
        shapes: &Shapes,
        family: Family,
        level: &NetworkLevel,
        grid: (usize, usize),
    ) -> Result<Self, NotSpecialised> {
        let nodes = level.convolutions.ok_or(NotSpecialised::Untraced)?;
        let parts = Self::parts(graph, nodes, family).ok_or(NotSpecialised::Unmergeable)?;
        match shapes.shape(parts.features) {
            Some([_, _, rows, columns]) if (*columns, *rows) == grid => {}
            Some(_) => return Err(NotSpecialised::OtherGrid),
            None => return Err(NotSpecialised::UnknownShapes),
        }
        Ok(Self { stride: level.stride, grid, ..parts })
    }

    /// The weights, without the place in the pyramid.
    fn parts(graph: &Graph<'a>, nodes: HeadConvolutions, family: Family) -> Option<Self> {
        let features = |index: usize| graph.source(graph.nodes[index].input.first()?);
        let shared = features(nodes.scores)?;
        let rows = |index: usize, values: usize| {
            let rows = Rows::new(graph, &graph.nodes[index], ANCHORS * values)?;
            (features(index)? == shared).then_some(rows)
        };
        // Background and face of one anchor, then of the other; or both backgrounds first.
        let pairs = match family {
            Family::PyTorch => [(0, 1), (2, 3)],
            Family::InsightFace => [(0, 2), (1, 3)],
        };
        let scores = rows(nodes.scores, SCORES)?.differences(pairs);
        let boxes = rows(nodes.boxes, BOXES)?;
        let landmarks = match nodes.landmarks {
            Some(index) => Some(rows(index, LANDMARKS)?),
            None => None,
        };
        let channels = scores.channels;
        let agrees = boxes.channels == channels
            && landmarks.iter().all(|landmarks| landmarks.channels == channels);
        let head = Self { stride: 0, grid: (0, 0), features: shared, scores, boxes, landmarks };
        agrees.then_some(head)
    }

    /// Of the output of its merged convolution.
    fn shape(&self, batch: usize) -> [usize; 4] {
        let landmarks = self.landmarks.as_ref().map_or(0, |landmarks| landmarks.bias.len());
        let channels = self.scores.bias.len() + self.boxes.bias.len() + landmarks;
        [batch, channels, self.grid.1, self.grid.0]
    }

    /// Scores, boxes and landmarks, in this order.
    fn merged(self) -> Rows {
        let mut rows = self.scores;
        rows.append(self.boxes);
        if let Some(landmarks) = self.landmarks {
            rows.append(landmarks);
        }
        rows
    }

    /// Where the merged convolution's output has the values: a plane for each.
    fn level(&self, output: usize) -> Level {
        let plane = self.grid.0 * self.grid.1;
        let view = |first: usize, values: usize| View {
            output,
            offset: first * plane,
            cell: 1,
            anchor: values * plane,
            channel: plane,
        };
        let landmarks = self.landmarks.is_some();
        Level {
            stride: self.stride,
            grid: self.grid,
            score: view(0, 1),
            boxes: view(ANCHORS, BOXES),
            landmarks: landmarks.then(|| view(ANCHORS * (1 + BOXES), LANDMARKS)),
        }
    }
}
