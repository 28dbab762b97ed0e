// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rewriting a network for one input size and the levels that are wanted.
//!
//! Runtimes do much of this on their own, but not all: they do not know the input's size when they
//! plan, that a level is not wanted, that softmax over two scores is a subtraction, nor that the
//! decoder takes any layout. The numbers stay the network's, up to float rounding.

use prost::Message;

use super::{batch::set_batch, pixels, widen};
use crate::{
    onnx::{
        builder::{GraphBuilder, dimension},
        convolution::Convolution,
        graph::{Graph, MAX_STEPS},
        messages::*,
        shapes::Shapes,
    },
    preprocess::{Form, Normalisation},
};

/// What is wanted of a network.
pub struct Wanted<'a> {
    /// The name of the image input.
    pub input: &'a str,
    /// Width and height of the input.
    pub size: (u32, u32),
    /// Pictures in one run.
    pub batch: usize,
    /// What the rewritten network takes of a frame.
    pub form: Form,
    /// What the network expects of its input. Becomes part of the network where that takes pixels.
    pub normalisation: Normalisation,
    /// At least one.
    pub heads: Vec<Head>,
    /// How many channels the runtime computes side by side.
    pub lanes: usize,
}

/// Convolutions of a level. Those of one pixel that read the same values become one.
pub struct Head {
    /// Of its outputs, changed where the network has the name already.
    pub name: String,
    /// Columns and rows of the outputs.
    pub grid: (usize, usize),
    pub parts: Vec<Part>,
}

/// A convolution of a head.
pub struct Part {
    /// Index of the node.
    pub convolution: usize,
    pub channels: Channels,
}

/// Which of a convolution's channels a head gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Channels {
    /// All, of which there must be so many.
    All(usize),
    /// The second of each pair minus the first; the pairs are all that there are.
    Differences(Vec<(usize, usize)>),
    /// The second of each pair; the pairs are all that there are.
    Seconds(Vec<(usize, usize)>),
}

/// The network that was wanted.
pub struct Specialised {
    /// An ONNX file.
    pub model: Vec<u8>,
    /// The name of its input: `[batch, …]`, each frame in the wanted form.
    pub input: String,
    /// The names and shapes of its outputs: `[batch, channels, rows, columns]`.
    pub outputs: Vec<(String, Vec<i64>)>,
    /// Where the parts of each head are.
    pub places: Vec<Vec<Place>>,
}

/// Where the channels of a part begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which of the outputs.
    pub output: usize,
    pub channel: usize,
}

/// Why a network is left as it is. It can be run all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSpecialised {
    #[error("the network has none of the wanted strides")]
    NoLevels,
    #[error("the network does not take an input of this size")]
    OtherSize,
    #[error("the convolutions behind the network's outputs were not found")]
    Untraced,
    #[error("the convolutions behind a level's outputs are of another kind than heads have")]
    OtherHeads,
    #[error("the shapes within the network depend on more than the size of its input")]
    UnknownShapes,
    #[error("nodes of the network read values that no node, or only a later one, computes")]
    Unordered,
    #[error("a level of the network has another grid than its stride gives")]
    OtherGrid,
    #[error("the network is for one picture at a time")]
    OnePicture,
    #[error("the network's operators are of a version that cannot resize its input")]
    OldOperators,
}

/// Rewrites the network `proto`.
pub fn specialise(proto: &ModelProto, wanted: &Wanted) -> Result<Specialised, NotSpecialised> {
    let (width, height) = wanted.size;
    let graph_proto = proto.graph.as_ref().filter(|_| !wanted.heads.is_empty());
    let graph_proto = graph_proto.ok_or(NotSpecialised::NoLevels)?;
    let mut batched;
    let graph_proto = match wanted.batch {
        1 => graph_proto,
        pictures => {
            let shape = [1, 3, height as usize, width as usize];
            batched = graph_proto.clone();
            set_batch(&mut batched, wanted.input, shape, pictures)
                .map_err(|_| NotSpecialised::OnePicture)?;
            &batched
        }
    };
    let graph = Graph::new(graph_proto);
    let shape = [wanted.batch, 3, height as usize, width as usize];
    let shapes = Shapes::new(&graph, wanted.input, shape.to_vec());
    let mut outputs = Vec::new();
    let mut places = Vec::with_capacity(wanted.heads.len());
    for head in &wanted.heads {
        places.push(gather(&graph, &shapes, head, &mut outputs)?);
    }

    let mut rewrite = Rewrite::new(&graph, &shapes, graph_proto);
    rewrite.keep(outputs.iter().map(|output| output.source.value(&graph)));
    let shapes: Vec<_> = outputs.iter().map(|output| output.shape(wanted.batch)).collect();
    let names: Vec<_> = outputs.into_iter().map(|output| rewrite.add(output)).collect();
    let mut builder = rewrite.builder;
    if !builder.is_sound(wanted.input) {
        return Err(NotSpecialised::Unordered);
    }
    widen::widen(&mut builder, wanted.lanes);
    let input = match wanted.form {
        Form::Planes => value(wanted.input, DataType::Float, shape),
        Form::Pixels(pixels) => {
            if pixels.size != wanted.size && proto.opset() < RESIZE_TO_SIZES {
                return Err(NotSpecialised::OldOperators);
            }
            let target = (wanted.batch, wanted.size);
            let name =
                pixels::prepend(&mut builder, wanted.input, &pixels, target, wanted.normalisation);
            let (columns, rows) = (pixels.size.0 as usize, pixels.size.1 as usize);
            value(&name, DataType::Uint8, [wanted.batch, rows, columns, pixels.channels])
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
    let shapes = shapes.into_iter().map(|shape| shape.map(dimension).to_vec());
    let outputs = names.into_iter().zip(shapes).collect();
    Ok(Specialised { model: model.encode_to_vec(), input: input_name, outputs, places })
}

/// From this version on, Resize can be told the size to resize to.
const RESIZE_TO_SIZES: i64 = 11;

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

    /// Adds an output's convolution, unless it is kept; returns the output's name.
    fn add(&mut self, output: Output<'a>) -> String {
        let (features, rows) = match output.source {
            Source::Pointwise { features, rows } => (features, rows),
            Source::Kept { node, .. } => return self.graph.nodes[node].output[0].clone(),
        };
        let name = self.builder.unique_name(output.name);
        let features = self.input(features);
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
    fn differences(&self, pairs: &[(usize, usize)]) -> Self {
        let difference = |&(first, second): &(usize, usize)| {
            self.row(second).iter().zip(self.row(first)).map(|(second, first)| second - first)
        };
        let bias = |&(first, second): &(usize, usize)| self.bias[second] - self.bias[first];
        Self {
            channels: self.channels,
            weights: pairs.iter().flat_map(difference).collect(),
            bias: pairs.iter().map(bias).collect(),
        }
    }

    /// One output a pair: its second.
    fn seconds(&self, pairs: &[(usize, usize)]) -> Self {
        Self {
            channels: self.channels,
            weights: pairs.iter().flat_map(|&(_, second)| self.row(second)).copied().collect(),
            bias: pairs.iter().map(|&(_, second)| self.bias[second]).collect(),
        }
    }
}

/// One of the outputs.
struct Output<'a> {
    name: &'a str,
    /// Cells in a row and in a column.
    grid: (usize, usize),
    source: Source<'a>,
}

enum Source<'a> {
    /// 1×1 convolutions over these features, merged.
    Pointwise { features: &'a str, rows: Rows },
    /// A convolution as it is, with so many outputs.
    Kept { node: usize, channels: usize },
}

impl<'a> Source<'a> {
    fn new(graph: &Graph<'a>, part: &Part) -> Option<Self> {
        let node = graph.nodes.get(part.convolution)?;
        let rows = match &part.channels {
            Channels::All(count) => Rows::new(graph, node, *count),
            Channels::Differences(pairs) => {
                Rows::new(graph, node, 2 * pairs.len()).map(|rows| rows.differences(pairs))
            }
            Channels::Seconds(pairs) => {
                Rows::new(graph, node, 2 * pairs.len()).map(|rows| rows.seconds(pairs))
            }
        };
        if let Some(rows) = rows {
            let features = graph.source(node.input.first()?)?;
            return Some(Self::Pointwise { features, rows });
        }
        // YuNet's, of 3×3 pixels and a channel each.
        let convolution = Convolution::read(node, |name| graph.constant(name))?;
        let kept =
            part.channels == Channels::All(convolution.outputs()) && !convolution.is_pointwise();
        kept.then_some(Self::Kept { node: part.convolution, channels: convolution.outputs() })
    }

    fn channels(&self) -> usize {
        match self {
            Self::Pointwise { rows, .. } => rows.bias.len(),
            Self::Kept { channels, .. } => *channels,
        }
    }

    /// What the rest of the network has to compute.
    fn value(&self, graph: &Graph<'a>) -> &'a str {
        match self {
            Self::Pointwise { features, .. } => features,
            Self::Kept { node, .. } => graph.nodes[*node].output[0].as_str(),
        }
    }
}

impl Output<'_> {
    fn shape(&self, batch: usize) -> [usize; 4] {
        [batch, self.source.channels(), self.grid.1, self.grid.0]
    }
}

/// Appends the outputs of a head; where its parts are in them.
fn gather<'a>(
    graph: &Graph<'a>,
    shapes: &Shapes,
    head: &'a Head,
    outputs: &mut Vec<Output<'a>>,
) -> Result<Vec<Place>, NotSpecialised> {
    let first = outputs.len();
    let mut places = Vec::with_capacity(head.parts.len());
    for part in &head.parts {
        let source = Source::new(graph, part).ok_or(NotSpecialised::OtherHeads)?;
        match shapes.shape(source.value(graph)) {
            Some([_, _, rows, columns]) if (*columns, *rows) == head.grid => {}
            Some(_) => return Err(NotSpecialised::OtherGrid),
            None => return Err(NotSpecialised::UnknownShapes),
        }
        let merged = (outputs[first..].iter_mut().enumerate()).find_map(|(index, output)| {
            match (&mut output.source, &source) {
                (
                    Source::Pointwise { features, rows },
                    Source::Pointwise { features: other, rows: others },
                ) if features == other && rows.channels == others.channels => Some((index, rows)),
                _ => None,
            }
        });
        match (merged, source) {
            (Some((index, rows)), Source::Pointwise { rows: others, .. }) => {
                places.push(Place { output: first + index, channel: rows.bias.len() });
                rows.append(others);
            }
            (_, source) => {
                places.push(Place { output: outputs.len(), channel: 0 });
                outputs.push(Output { name: &head.name, grid: head.grid, source });
            }
        }
    }
    Ok(places)
}
