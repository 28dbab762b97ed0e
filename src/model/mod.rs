// SPDX-License-Identifier: MIT OR Apache-2.0

//! An ONNX file with a RetinaFace network: which heads, strides and anchors it has.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use prost::Message;
use prost::bytes::Bytes;

use crate::families::{
    self, Anatomy, Family, NetworkLevel, Unrecognised,
    heads::{Coding, Heads, Level, Score, View, cells},
};
use crate::onnx::messages::{DataType, GraphProto, ModelProto, ValueInfoProto};
use crate::onnx::passes::specialise;
pub use specialise::{NotSpecialised, Specialised, Task};

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
        "The network's weights are in a file of their own ({0}), and only networks in one file can \
         be used: save it again with the weights inside."
    )]
    ExternalWeights(String),
    #[error(
        "The network's image input must be one float tensor of the shape [1, 3, height, width], \
         with both sizes fixed or both open, but its inputs are {0}."
    )]
    Input(String),
    #[error(
        "The network gives raw scores, as networks exported for training do: export it with the \
         softmax that its scores need."
    )]
    RawScores,
    #[error(
        "The network is not a RetinaFace network: it has the inputs {inputs} and the outputs \
         {outputs}, where boxes, scores and landmarks of two anchors a cell were expected."
    )]
    NotRetinaFace { inputs: String, outputs: String },
}

/// No network has an input of more pixels a side: keeps the arithmetic of grids within bounds.
const MAX_SIZE: u32 = 1 << 16;

/// A RetinaFace network.
pub struct Model {
    bytes: Bytes,
    proto: ModelProto,
    input: String,
    fixed_size: Option<(u32, u32)>,
    anatomy: Anatomy,
}

/// What elements of this process use.
static SHARED: Mutex<Vec<Weak<Model>>> = Mutex::new(Vec::new());

impl Model {
    /// [`Self::parse`], unless somebody in this process uses the same network already.
    pub fn shared(bytes: &[u8]) -> Result<Arc<Model>, ModelError> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|model| model.strong_count() > 0);
        if let Some(model) = shared.iter().filter_map(Weak::upgrade).find(|m| m.bytes == bytes) {
            return Ok(model);
        }
        let model = Arc::new(Self::parse(bytes)?);
        shared.push(Arc::downgrade(&model));
        Ok(model)
    }

    /// Reads an ONNX file and recognises the network in it.
    pub fn parse(bytes: &[u8]) -> Result<Model, ModelError> {
        if bytes.is_empty() {
            return Err(ModelError::Empty);
        }
        // Weights stay slices of this one copy, also where a rewritten network shares them.
        let bytes = Bytes::copy_from_slice(bytes);
        let proto = ModelProto::decode(bytes.clone())?;
        let graph = match &proto.graph {
            Some(graph) if !graph.node.is_empty() => graph,
            _ => return Err(ModelError::NoGraph),
        };
        if let Some(file) = external_weights(graph) {
            return Err(ModelError::ExternalWeights(file));
        }
        let (input, fixed_size) = image_input(graph)?;
        let anatomy = families::recognise(graph, &input, fixed_size).map_err(|why| match why {
            Unrecognised::RawScores => ModelError::RawScores,
            Unrecognised::Foreign => ModelError::NotRetinaFace {
                inputs: describe(&inputs(graph)),
                outputs: describe(&graph.output.iter().collect::<Vec<_>>()),
            },
        })?;
        Ok(Model { bytes, proto, input, fixed_size, anatomy })
    }

    /// The name of the image input: float, `[1, 3, height, width]`.
    pub fn input_name(&self) -> &str {
        &self.input
    }

    /// The names of the outputs that are needed, in the order that [`View::output`] counts.
    pub fn output_names(&self) -> &[String] {
        &self.anatomy.outputs
    }

    /// The only width and height that the network takes, if it does not take every size.
    pub fn fixed_size(&self) -> Option<(u32, u32)> {
        self.fixed_size
    }

    /// The strides of the network's levels, in its order.
    pub fn strides(&self) -> Vec<u32> {
        self.anatomy.levels.iter().map(|level| level.stride).collect()
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the network expects to be subtracted from blue, green and red: the mean of its
    /// training pictures for the PyTorch family, nothing for InsightFace's.
    pub fn mean(&self) -> [f32; 3] {
        self.anatomy.family.mean()
    }

    /// How boxes and landmarks are coded.
    pub fn coding(&self) -> Coding {
        self.anatomy.family.coding()
    }

    /// Where the answers for an input of this size stand in the outputs of the network as it is,
    /// for its levels of these strides.
    pub fn heads(&self, width: u32, height: u32, strides: &[u32]) -> Heads {
        let mut anchors = 0;
        let mut levels = Vec::with_capacity(self.anatomy.levels.len());
        for level in &self.anatomy.levels {
            let grid = (cells(width, level.stride), cells(height, level.stride));
            // Levels that are not asked for are in the outputs all the same.
            if strides.contains(&level.stride) {
                levels.push(match self.anatomy.family {
                    Family::PyTorch => pytorch_views(level, grid, anchors),
                    Family::InsightFace => insightface_views(level, grid),
                });
            }
            anchors += 2 * grid.0 * grid.1;
        }
        Heads { coding: self.coding(), score: Score::Probability, levels }
    }

    /// The network rewritten for one input size and its levels of some strides: an output a
    /// level, with raw scores, and nothing in it that only other levels need.
    ///
    /// `lanes` is how many channels the runtime computes side by side; layers with fewer are
    /// filled up. It is [`cpu_lanes`] for ONNX Runtime's CPU provider and 1 elsewhere.
    pub fn specialise(&self, task: &Task, lanes: usize) -> Result<Specialised, NotSpecialised> {
        if self.fixed_size.is_some_and(|size| size != task.size) {
            return Err(NotSpecialised::FixedSize);
        }
        specialise::specialise(&self.proto, &self.anatomy, &self.input, task, lanes)
    }
}

/// How many channels ONNX Runtime's CPU provider computes side by side on this machine.
pub fn cpu_lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        return 16;
    }
    8
}

/// All levels one after the other, `anchors` before this one; values of an anchor side by side.
fn pytorch_views(level: &NetworkLevel, grid: (usize, usize), anchors: usize) -> Level {
    let view = |output, values| View {
        output,
        offset: anchors * values,
        cell: 2 * values,
        anchor: values,
        channel: 1,
    };
    let scores = view(level.scores, 2);
    Level {
        stride: level.stride,
        grid,
        // Background first, then face.
        score: View { offset: scores.offset + 1, ..scores },
        boxes: view(level.boxes, 4),
        landmarks: level.landmarks.map(|output| view(output, 10)),
    }
}

/// Outputs of their own, one plane a value.
fn insightface_views(level: &NetworkLevel, grid: (usize, usize)) -> Level {
    let plane = grid.0 * grid.1;
    let view = |output, values| View {
        output,
        offset: 0,
        cell: 1,
        anchor: values * plane,
        channel: plane,
    };
    Level {
        stride: level.stride,
        grid,
        // The background of both anchors comes before their faces.
        score: View { offset: 2 * plane, ..view(level.scores, 1) },
        boxes: view(level.boxes, 4),
        landmarks: level.landmarks.map(|output| view(output, 10)),
    }
}

/// The graph's inputs without the weights, which old exporters list among them.
fn inputs(graph: &GraphProto) -> Vec<&ValueInfoProto> {
    let weights: HashSet<_> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    graph.input.iter().filter(|input| !weights.contains(input.name())).collect()
}

/// The name of the image input and its size, where that is fixed.
fn image_input(graph: &GraphProto) -> Result<(String, Option<(u32, u32)>), ModelError> {
    let inputs = inputs(graph);
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
    let size =
        |size: i64| u32::try_from(size).ok().filter(|&size| size <= MAX_SIZE).ok_or_else(refuse);
    match (width.size(), height.size()) {
        (None, None) => Ok((input.name().to_owned(), None)),
        (Some(width), Some(height)) => {
            Ok((input.name().to_owned(), Some((size(width)?, size(height)?))))
        }
        _ => Err(refuse()),
    }
}

/// The file that a tensor's data is in, if it is not in this one.
fn external_weights(graph: &GraphProto) -> Option<String> {
    const EXTERNAL: i32 = 1;
    let tensor = graph.initializer.iter().find(|tensor| tensor.data_location() == EXTERNAL)?;
    let location = tensor.external_data.iter().find(|entry| entry.key() == "location");
    Some(location.map_or_else(|| "of unknown name".to_owned(), |entry| entry.value().to_owned()))
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
            format!("{} {data_type} [{}]", value.name(), sizes.join(", "))
        }
        None => value.name().to_owned(),
    };
    values.iter().map(describe).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
