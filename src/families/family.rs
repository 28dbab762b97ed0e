// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a family of face networks answers, and what is recognised of one network.

use std::{collections::HashMap, fmt};

use super::level::{Cell, Level};
use crate::{
    face::Landmarks,
    geometry::{Point, Rect},
    onnx::{
        graph::Graph,
        messages::{GraphProto, ValueInfoProto},
        shapes::Shapes,
    },
    preprocess::Normalisation,
};

/// Networks that share their training code, and so the meaning of their inputs and outputs.
///
/// Detectors ask it only for the few anchors whose score is over the threshold.
pub trait Family: fmt::Debug + Sync {
    /// What it is called in documents and messages.
    fn name(&self) -> &'static str;

    /// Its value of the property `model-family`.
    fn nick(&self) -> &'static str;

    /// What its networks look like, for people whose network does not.
    fn expects(&self) -> &'static str;

    /// Whether a network is of this family, and where its heads are. An error where it is, but in a
    /// way that cannot be used.
    fn recognise(&self, network: &Network) -> Result<Option<Recognised>, Unusable>;

    /// What the pixels of the training pictures went through.
    fn normalisation(&self) -> Normalisation;

    /// Whether exporters declare an input size that the network does not depend on.
    fn opens_sizes(&self) -> bool {
        false
    }

    /// Whether a box is a pixel wider than its corners are apart, when boxes are compared.
    fn counts_last_pixel(&self) -> bool {
        true
    }

    /// The score of a face where a network gives it in two, both from 0 to 1; no more than
    /// √(`score` · `objectness`).
    fn score(&self, score: f32, objectness: f32) -> f32 {
        score * objectness
    }

    /// What both sides of the training pictures were multiples of.
    fn multiple(&self) -> u32 {
        1
    }

    /// Where the outputs have the values of `level`, of `grid` (columns, rows) cells.
    fn level(
        &self,
        level: &RecognisedLevel,
        scores: Scores,
        grid: (usize, usize),
        others: Others,
    ) -> Level;

    /// The box that the four values of an anchor stand for, in network input pixels.
    fn bounds(&self, cell: &Cell, values: [f32; 4]) -> Rect;

    /// The landmarks that the ten values of an anchor stand for, in network input pixels.
    fn landmarks(&self, cell: &Cell, values: [f32; 10]) -> Landmarks;
}

/// What else is in an output that has all levels one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Anchors of the levels before.
    pub before: usize,
    /// Anchors of all levels, this one included.
    pub all: usize,
}

/// What the convolution that makes a level's scores gives for each anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// Raw scores of its background and of its face, which a softmax compares.
    Pairs(Order),
    /// The same, of which only the face's counts, behind a sigmoid.
    Faces(Order),
    /// The face's alone, behind a sigmoid.
    Logits,
}

/// How backgrounds and faces of several anchors follow each other in channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Background and face of one anchor, then of the next.
    ByAnchor,
    /// The backgrounds of all anchors, then their faces.
    BackgroundsFirst,
}

impl Order {
    /// The channels of background and face of each of `anchors`.
    pub fn channels(self, anchors: usize) -> Vec<(usize, usize)> {
        let channels = |anchor: usize| match self {
            Self::ByAnchor => (2 * anchor, 2 * anchor + 1),
            Self::BackgroundsFirst => (anchor, anchors + anchor),
        };
        (0..anchors).map(channels).collect()
    }
}

/// What makes probabilities of raw scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Over the last axis.
    Softmax,
    Sigmoid,
}

/// Five points whose coordinates are offsets from `centre` in units of `scale`.
pub fn points(centre: Point, scale: f32, offsets: [f32; 10]) -> Landmarks {
    let (offsets, _) = offsets.as_chunks::<2>();
    let mut landmarks = Landmarks::default();
    for (landmark, [dx, dy]) in landmarks.0.iter_mut().zip(offsets) {
        *landmark = Point { x: centre.x + dx * scale, y: centre.y + dy * scale };
    }
    landmarks
}

/// More levels than any published network has; keeps the work for a strange file small.
pub const MAX_LEVELS: usize = 8;

/// A network to recognise.
pub struct Network<'a> {
    pub proto: &'a GraphProto,
    pub graph: Graph<'a>,
    /// The name of the image input.
    pub input: &'a str,
    /// Its width and height, where they are fixed.
    pub size: Option<(u32, u32)>,
    /// Input pixels, across and down, between neighbours in each value.
    pub strides: HashMap<&'a str, (u64, u64)>,
}

impl<'a> Network<'a> {
    pub fn new(proto: &'a GraphProto, input: &'a str, size: Option<(u32, u32)>) -> Self {
        let graph = Graph::new(proto);
        let strides = graph.strides(input);
        Self { proto, graph, input, size, strides }
    }

    /// Width and height of the input: a typical one where a side is open.
    pub fn typical_size(&self) -> (u32, u32) {
        self.size.unwrap_or((640, 640))
    }

    /// What is known of shapes at [`Self::typical_size`].
    pub fn shapes(&self) -> Shapes<'_> {
        let (width, height) = self.typical_size();
        Shapes::new(&self.graph, self.input, vec![1, 3, height as usize, width as usize])
    }

    /// Input pixels between neighbours in the output of a node, where they are known and the same
    /// across and down.
    pub fn stride(&self, node: usize) -> Option<u32> {
        let (across, down) = *self.strides.get(self.graph.nodes[node].output.first()?.as_str())?;
        u32::try_from(across).ok().filter(|_| across == down)
    }
}

/// The size of a dimension of an output, where its file says it.
pub fn declared(output: &ValueInfoProto, axis: usize) -> Option<usize> {
    let (_, dimensions) = output.tensor()?;
    usize::try_from(dimensions.get(axis)?.size()?).ok()
}

/// Why a network of a family that is known cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error(
        "a {0} network that computes boxes from its anchors within the graph, as exports with \
         post-processing do: export it without (outputs straight from the heads)"
    )]
    Decoded(&'static str),
    #[error("a {family} network with other anchors: {found}, where {expected} is known")]
    OtherAnchors { family: &'static str, found: String, expected: String },
}

/// A network's outputs and what they are.
#[derive(Clone, Debug)]
pub struct Recognised {
    pub family: &'static dyn Family,
    /// The names of the outputs that are needed.
    pub outputs: Vec<String>,
    pub scores: Scores,
    /// What the exporter left out behind the outputs with the scores.
    pub missing: Option<Activation>,
    /// In the network's order.
    pub levels: Vec<RecognisedLevel>,
}

/// The outputs of one level of the feature pyramid, as indices into [`Recognised::outputs`].
#[derive(Clone, Debug)]
pub struct RecognisedLevel {
    pub stride: u32,
    /// At each cell.
    pub anchors: usize,
    pub scores: usize,
    pub objectness: Option<usize>,
    pub boxes: usize,
    pub landmarks: Option<usize>,
    /// The convolutions behind the outputs; none where they could not be traced.
    pub convolutions: Option<HeadConvolutions>,
}

/// Indices of the nodes whose outputs are a level's raw numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadConvolutions {
    pub scores: usize,
    pub objectness: Option<usize>,
    pub boxes: usize,
    pub landmarks: Option<usize>,
}

/// Whether no two levels have one stride, which would leave open which anchors are whose.
pub fn distinct(levels: &[RecognisedLevel]) -> bool {
    let earlier = |index: usize| &levels[..index];
    (levels.iter().enumerate())
        .all(|(index, level)| earlier(index).iter().all(|other| other.stride != level.stride))
}
