// SPDX-License-Identifier: MIT OR Apache-2.0

//! An ONNX file with a RetinaFace network: which heads, strides and anchors it has.

mod file;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prost::Message;
use prost::bytes::Bytes;

use crate::{
    families::{
        self,
        family::{
            Activation, Family, HeadConvolutions, Network, Others, Recognised, RecognisedLevel,
            Scores, Unusable,
        },
        heads::{Heads, Score},
        input,
        level::{BOX_VALUES, LANDMARK_VALUES, Level, View, cells},
        resembles::resembles,
    },
    onnx::{
        accessors::printable,
        graph::Graph,
        memory,
        messages::{AttributeProto, DataType, GraphProto, ModelProto, NodeProto, ValueInfoProto},
        passes::{
            fold::fold_factors,
            plain::{self, NotPlain},
            specialise::{self, Channels, Head, Part, Wanted},
        },
        shapes::Shapes,
        validate::{Invalid, validate},
    },
    preprocess::{ChannelOrder, Form, InputSizes, Normalisation},
};

pub use file::{FileError, read};
pub use specialise::NotSpecialised;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("The file is empty.")]
    Empty,
    #[error("The file is not an ONNX network, or a part of it is missing ({0}).")]
    Damaged(#[from] prost::DecodeError),
    #[error("The file is not an ONNX network: it describes no graph.")]
    NoGraph,
    #[error(
        "The network's weights are in a file of their own ({0}), which was not looked for: save the \
         network again with the weights inside."
    )]
    ExternalWeights(String),
    #[error(
        "The network contradicts itself or asks for what no detector needs: {0}. Export it again."
    )]
    Invalid(#[from] Invalid),
    #[error(
        "The network's image input must be one float tensor of the shape [1, 3, height, width], but \
         its inputs are {0}."
    )]
    Input(String),
    #[error("The network is {0}.")]
    Unusable(#[from] Unusable),
    #[error("The network cannot be used: {0}.")]
    Unusual(#[from] NotPlain),
    #[error(
        "The network is {resembles}: it has the inputs {inputs} and the outputs {outputs}. Expected \
         was {expected}."
    )]
    Unknown { resembles: String, inputs: String, outputs: String, expected: String },
}

/// No network has an input of more pixels a side: keeps the arithmetic of grids within bounds.
const MAX_SIZE: u32 = 1 << 16;

/// The input size for which networks that take any are checked.
const TYPICAL_SIZE: (u32, u32) = (640, 640);

/// How much more ONNX Runtime's allocator takes than the values that exist at one time: its blocks
/// grow by doubling. For the default network at 3840×2160 and at twice that, [`Model::memory`] gives
/// 632 and 2531 MiB, and a process was measured to take 580 and 2490 MiB more than for small frames.
const ALLOCATED: u64 = 2;

/// What a network is to take of frames and to give of its levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputSpec {
    /// Width and height of the network's input.
    pub size: (u32, u32),
    /// The levels that are wanted.
    pub strides: Vec<u32>,
    /// What it takes of a frame.
    pub form: Form,
    /// Frames in one run.
    pub batch: usize,
}

impl InputSpec {
    /// One frame a run, as planes.
    pub fn new(size: (u32, u32), strides: &[u32]) -> Self {
        Self { size, strides: strides.to_vec(), form: Form::Planes, batch: 1 }
    }
}

/// A network for one input specification.
pub struct Specialised {
    /// An ONNX file.
    pub model: Vec<u8>,
    /// The name of its input: `[batch, …]`, each frame in the specified form.
    pub input: String,
    /// The names and shapes of its outputs, in the order that
    /// [`View::output`](crate::families::level::View::output) counts. Each is `[batch, …]`.
    pub outputs: Vec<(String, Vec<i64>)>,
    /// For each frame of the batch.
    pub heads: Heads,
}

/// What is known of a network beyond its file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// `None`: to be recognised.
    pub family: Option<&'static dyn Family>,
    /// Of the input's planes; `None`: the family's.
    pub order: Option<ChannelOrder>,
    /// Subtracted from samples of 0 to 255, of the planes in their order; `None`: the family's.
    pub mean: Option<[f32; 3]>,
    /// What the difference is multiplied by; `None`: the family's.
    pub scale: Option<f32>,
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        let nick = |known: &Self| known.family.map(|family| family.nick());
        nick(self) == nick(other)
            && (self.order, self.mean, self.scale) == (other.order, other.mean, other.scale)
    }
}

/// A network that finds faces.
pub struct Model {
    /// The file.
    bytes: Bytes,
    known: Known,
    /// What it says, but for sizes that it declares without need, and with what its outputs lack.
    proto: ModelProto,
    /// That as a file.
    exported: Bytes,
    input: String,
    sizes: InputSizes,
    recognised: Recognised,
    normalisation: Normalisation,
}

/// What elements of this process use.
static SHARED: Mutex<Vec<Weak<Model>>> = Mutex::new(Vec::new());

impl Model {
    /// [`Self::new`], unless somebody in this process uses the same network already.
    pub fn shared(bytes: &[u8], known: &Known) -> Result<Arc<Model>, ModelError> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|model| model.strong_count() > 0);
        let same = |model: &Arc<Model>| model.known == *known && model.bytes == bytes;
        if let Some(model) = shared.iter().filter_map(Weak::upgrade).find(same) {
            return Ok(model);
        }
        let model = Arc::new(Self::new(bytes, known)?);
        shared.push(Arc::downgrade(&model));
        Ok(model)
    }

    /// Reads an ONNX file and recognises the network in it.
    pub fn parse(bytes: &[u8]) -> Result<Model, ModelError> {
        Self::new(bytes, &Known::default())
    }

    /// Reads an ONNX file of which something is known, and recognises the rest.
    pub fn new(bytes: &[u8], known: &Known) -> Result<Model, ModelError> {
        if bytes.is_empty() {
            return Err(ModelError::Empty);
        }
        // Weights stay slices of this one copy, also where a rewritten network shares them.
        let bytes = Bytes::copy_from_slice(bytes);
        let mut proto = ModelProto::decode(bytes.clone())?;
        let external = proto.graph.as_ref().and_then(external_weights);
        if let Some(file) = external {
            return Err(ModelError::ExternalWeights(file));
        }
        let mut changed = plain::make_plain(&mut proto)?;
        let graph = match &mut proto.graph {
            Some(graph) if !graph.node.is_empty() => graph,
            _ => return Err(ModelError::NoGraph),
        };
        changed |= fold_factors(graph);
        let (input, mut sizes) = image_input(graph)?;
        let fixed_size = sizes.width.zip(sizes.height);
        let network = Network::new(graph, &input, fixed_size);
        let mut recognised = match known.family {
            Some(family) => family.recognise(&network)?,
            None => families::recognise(&network)?,
        }
        .ok_or_else(|| unknown(&network, known.family))?;
        let family = recognised.family;
        let normalisation = normalisation(&network, family, known);
        let is_open = family.opens_sizes() && is_open(&network.graph, &input, &recognised);
        if is_open {
            sizes = InputSizes::ANY;
        }
        sizes.multiple = multiple(&network.graph, &input, &recognised).max(family.multiple());
        let (width, height) =
            (sizes.width.unwrap_or(TYPICAL_SIZE.0), sizes.height.unwrap_or(TYPICAL_SIZE.1));
        if is_open && fixed_size.is_some() {
            open_sizes(graph, &input);
            changed = true;
        }
        if let Some(activation) = recognised.missing {
            activate(graph, &mut recognised, activation);
            changed = true;
        }
        validate(&proto, &input, &[1, 3, height as usize, width as usize])?;
        let exported = if changed {
            // From this version on, weights need not be listed among the inputs.
            proto.ir_version = Some(proto.ir_version().max(4));
            proto.encode_to_vec().into()
        } else {
            bytes.clone()
        };
        let known = *known;
        Ok(Model { bytes, known, proto, exported, input, sizes, recognised, normalisation })
    }

    /// The name of the image input: float, `[1, 3, height, width]`.
    pub fn input_name(&self) -> &str {
        &self.input
    }

    /// The names of the outputs that are needed, in the order that
    /// [`View::output`](crate::families::level::View::output) counts.
    pub fn output_names(&self) -> &[String] {
        &self.recognised.outputs
    }

    /// The input sizes that the network takes.
    pub fn sizes(&self) -> &InputSizes {
        &self.sizes
    }

    /// The strides of the network's levels, in its order.
    pub fn strides(&self) -> Vec<u32> {
        self.recognised.levels.iter().map(|level| level.stride).collect()
    }

    /// The network as its file has it, for inputs of all [`Self::sizes`].
    pub fn exported(&self) -> &[u8] {
        &self.exported
    }

    /// About how many bytes of memory one frame of this input size takes while it is in the network,
    /// besides the weights.
    pub fn memory(&self, (width, height): (u32, u32)) -> u64 {
        let shape = [1, 3, height as usize, width as usize];
        let graph = self.proto.graph.as_ref();
        let peak = graph.map_or(0, |graph| memory::peak(graph, &self.input, &shape, cpu_lanes()));
        peak.saturating_mul(ALLOCATED)
    }

    /// The family that the network is of.
    pub fn family(&self) -> &'static dyn Family {
        self.recognised.family
    }

    /// What the network, as exported or rewritten for planes, expects of its input.
    pub fn normalisation(&self) -> Normalisation {
        self.normalisation
    }

    /// How to read the outputs of the network as exported, for an input of this size and its levels of
    /// these strides.
    pub fn heads(&self, width: u32, height: u32, strides: &[u32]) -> Heads {
        let levels = &self.recognised.levels;
        let anchors = |level: &RecognisedLevel| {
            let grid = grid((width, height), level.stride);
            level.anchors * grid.0 * grid.1
        };
        let all = levels.iter().map(anchors).sum();
        let mut others = Others { before: 0, all };
        let scores = self.recognised.scores;
        let mut wanted = Vec::with_capacity(levels.len());
        for level in levels {
            let grid = grid((width, height), level.stride);
            // Levels that are not asked for are in the outputs all the same.
            if strides.contains(&level.stride) {
                wanted.push(self.family().level(level, scores, grid, others));
            }
            others.before += anchors(level);
        }
        Heads { family: self.family(), score: Score::Probability, levels: wanted }
    }

    /// The network rewritten for one input size and its levels of some strides: an output a
    /// level, with raw scores, and nothing in it that only other levels need.
    ///
    /// `lanes` is how many channels the runtime computes side by side; layers with fewer are
    /// filled up. It is [`cpu_lanes`] for ONNX Runtime's CPU provider and 1 elsewhere.
    pub fn specialise(
        &self,
        input: &InputSpec,
        lanes: usize,
    ) -> Result<Specialised, NotSpecialised> {
        if !self.sizes.contain(input.size) {
            return Err(NotSpecialised::OtherSize);
        }
        let wanted = |level: &&RecognisedLevel| input.strides.contains(&level.stride);
        let levels: Vec<_> = self.recognised.levels.iter().filter(wanted).collect();
        let head = |level: &&RecognisedLevel| {
            let convolutions = level.convolutions.ok_or(NotSpecialised::Untraced)?;
            Ok(Head {
                name: format!("stride{}", level.stride),
                grid: grid(input.size, level.stride),
                parts: self.parts(convolutions, level.anchors),
            })
        };
        let heads = levels.iter().map(head).collect::<Result<_, _>>()?;
        let wanted = Wanted {
            input: &self.input,
            size: input.size,
            batch: input.batch,
            form: input.form,
            normalisation: self.normalisation(),
            heads,
            lanes,
        };
        let specialise::Specialised { model, input: name, outputs, places } =
            specialise::specialise(&self.proto, &wanted)?;
        let levels = levels.iter().zip(&places).map(|(level, places)| {
            let grid = grid(input.size, level.stride);
            let mut places = places.iter();
            let mut view = |values: usize| {
                let place = places.next()?;
                Some(View::planes(place.output, place.channel, values, grid))
            };
            // In the order of the parts.
            Some(Level {
                stride: level.stride,
                grid,
                anchors: level.anchors,
                score: view(1)?,
                boxes: view(BOX_VALUES)?,
                landmarks: level.landmarks.and_then(|_| view(LANDMARK_VALUES)),
                objectness: level.objectness.and_then(|_| view(1)),
                point_values: 2,
            })
        });
        let levels = levels.collect::<Option<_>>().ok_or(NotSpecialised::OtherHeads)?;
        let heads = Heads { family: self.family(), score: Score::Logit, levels };
        Ok(Specialised { model, input: name, outputs, heads })
    }

    /// Scores, boxes, landmarks and objectness.
    fn parts(&self, convolutions: HeadConvolutions, anchors: usize) -> Vec<Part> {
        let HeadConvolutions { scores, objectness, boxes, landmarks } = convolutions;
        let score = Part {
            convolution: scores,
            channels: match self.recognised.scores {
                // The softmax of two is the sigmoid of their difference.
                Scores::Pairs(order) => Channels::Differences(order.channels(anchors)),
                Scores::Faces(order) => Channels::Seconds(order.channels(anchors)),
                Scores::Logits => Channels::All(anchors),
            },
        };
        let all =
            |convolution, values| Part { convolution, channels: Channels::All(anchors * values) };
        let boxes = all(boxes, BOX_VALUES);
        let landmarks = landmarks.map(|landmarks| all(landmarks, LANDMARK_VALUES));
        let objectness = objectness.map(|objectness| all(objectness, 1));
        [score, boxes].into_iter().chain(landmarks).chain(objectness).collect()
    }
}

/// Why a network is refused that is not of the family that it is said to be of, or of none.
fn unknown(network: &Network, family: Option<&'static dyn Family>) -> ModelError {
    let expected = match family {
        Some(family) => format!("{}: {}", family.name(), family.expects()),
        None => {
            let each = |family: &&dyn Family| format!("{} ({})", family.name(), family.expects());
            families::FAMILIES.iter().map(each).collect::<Vec<_>>().join("; or ")
        }
    };
    let graph = network.proto;
    ModelError::Unknown {
        resembles: resembles(network),
        inputs: describe(&graph.inputs()),
        outputs: describe(&graph.output.iter().collect::<Vec<_>>()),
        expected,
    }
}

/// What the network expects of its input: what is known, or else what its family was trained with, less
/// what the network does itself.
fn normalisation(network: &Network, family: &dyn Family, known: &Known) -> Normalisation {
    let found = input::normalisation(network, family.normalisation());
    let order = known.order.unwrap_or(found.order);
    let mean = match (known.mean, order) {
        (None, _) => found.mean,
        (Some(mean), ChannelOrder::Bgr) => mean,
        (Some([red, green, blue]), ChannelOrder::Rgb) => [blue, green, red],
    };
    // Families that pad with the mean do so with any.
    let padding = if found.padding == found.mean { mean } else { found.padding };
    Normalisation { mean, scale: known.scale.unwrap_or(found.scale), order, padding }
}

/// Adds to the graph what makes probabilities of scores.
fn activate(graph: &mut GraphProto, recognised: &mut Recognised, activation: Activation) {
    let scores = recognised.levels.iter().flat_map(|level| [Some(level.scores), level.objectness]);
    let mut scores: Vec<_> = scores.flatten().collect();
    scores.sort_unstable();
    scores.dedup();
    for index in scores {
        let raw = recognised.outputs[index].clone();
        let name = graph.unique_name(&format!("{raw}.probability"));
        let Some(output) = graph.output.iter_mut().find(|output| output.name() == raw) else {
            continue;
        };
        let rank = output.tensor().map(|(_, dimensions)| dimensions.len());
        // Before opset 11, axes were not counted from the end.
        let last = rank.and_then(|rank| i64::try_from(rank).ok()).map_or(-1, |rank| rank - 1);
        output.name = Some(name.clone());
        let (op, attribute) = match activation {
            Activation::Softmax => ("Softmax", vec![AttributeProto::new_int("axis", last)]),
            Activation::Sigmoid => ("Sigmoid", Vec::new()),
        };
        graph.node.push(NodeProto {
            op_type: Some(op.to_owned()),
            input: vec![raw],
            output: vec![name.clone()],
            attribute,
            ..NodeProto::default()
        });
        recognised.outputs[index] = name;
    }
}

/// Columns and rows of a level's cells for an input of this width and height.
fn grid((width, height): (u32, u32), stride: u32) -> (usize, usize) {
    (cells(width, stride), cells(height, stride))
}

/// How many channels ONNX Runtime's CPU provider computes side by side on this machine.
pub fn cpu_lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        return 16;
    }
    8
}

/// The name of the image input and the sizes that it is declared to have.
fn image_input(graph: &GraphProto) -> Result<(String, InputSizes), ModelError> {
    let inputs = graph.inputs();
    let refuse = || ModelError::Input(describe(&inputs));
    let [input] = inputs.as_slice() else {
        return Err(refuse());
    };
    let Some((data_type, [batch, channels, height, width])) = input.tensor() else {
        return Err(refuse());
    };
    let one_image = batch.size().is_none_or(|batch| batch == 1);
    let three_channels = channels.size().is_none_or(|channels| channels == 3);
    if data_type != DataType::Float as i32 || !one_image || !three_channels {
        return Err(refuse());
    }
    let side =
        |size: i64| u32::try_from(size).ok().filter(|&size| size <= MAX_SIZE).ok_or_else(refuse);
    let width = width.size().map(side).transpose()?;
    let height = height.size().map(side).transpose()?;
    Ok((input.name().to_owned(), InputSizes { width, height, multiple: 1 }))
}

/// Whether the network gives what is expected of it at another size than the one that it declares.
fn is_open(graph: &Graph, input: &str, recognised: &Recognised) -> bool {
    const OTHER: (u32, u32) = (192, 128);
    let (width, height) = OTHER;
    let shapes = Shapes::new(graph, input, vec![1, 3, height as usize, width as usize]);
    let level = |level: &RecognisedLevel| {
        let others = Others::default();
        recognised.family.level(level, recognised.scores, grid(OTHER, level.stride), others)
    };
    let levels: Vec<_> = recognised.levels.iter().map(level).collect();
    recognised.outputs.iter().enumerate().all(|(index, name)| {
        let found = shapes.shape(name).map(|shape| shape.iter().product());
        let needed = levels.iter().map(|level| level.output_len(index)).max();
        found.is_some() && found == needed
    })
}

/// Leaves the sizes of the input open, and so those of everything else.
fn open_sizes(graph: &mut GraphProto, input: &str) {
    for value in graph.input.iter_mut().filter(|value| value.name() == input) {
        value.open_dimensions(2..4);
    }
    for value in &mut graph.output {
        value.open_dimensions(0..usize::MAX);
    }
    graph.value_info.clear();
}

/// What the sides of the input have to be multiples of. Networks that double the size of a level and
/// add the one below only fit together where each level is half of the one below.
fn multiple(graph: &Graph, input: &str, recognised: &Recognised) -> u32 {
    let largest = recognised.levels.iter().map(|level| level.stride).max().unwrap_or(1);
    let fits = |side: u32| {
        let shapes = Shapes::new(graph, input, vec![1, 3, side as usize, side as usize]);
        recognised.levels.iter().all(|level| match &level.convolutions {
            Some(HeadConvolutions { scores, boxes, .. }) => [*scores, *boxes].iter().all(|&node| {
                graph.nodes[node].output.first().is_some_and(|name| shapes.shape(name).is_some())
            }),
            None => false,
        })
    };
    // Where neither is known, any size is tried.
    match largest.checked_mul(2) {
        Some(side) if side < MAX_SIZE && fits(side) && !fits(side + 1) => largest,
        _ => 1,
    }
}

/// The file that a tensor's data is in, if it is not in this one.
fn external_weights(graph: &GraphProto) -> Option<String> {
    let tensor = graph.tensors().find(|tensor| tensor.is_external())?;
    Some(tensor.external("location").map_or_else(|| "of unknown name".to_owned(), printable))
}

/// Values as a list for a message: `input float [1, 3, height, width]`.
fn describe(values: &[&ValueInfoProto]) -> String {
    if values.is_empty() {
        return "none".to_owned();
    }
    let describe = |value: &&ValueInfoProto| match value.tensor() {
        Some((data_type, dimensions)) => {
            let sizes: Vec<_> = dimensions.iter().map(ToString::to_string).collect();
            let data_type = DataType::name(data_type);
            format!("{} {data_type} [{}]", printable(value.name()), sizes.join(", "))
        }
        None => printable(value.name()),
    };
    values.iter().map(describe).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub(crate) mod tests;
