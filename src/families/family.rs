// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a family of face networks answers, and what is recognised of one network.

use std::fmt;

use super::level::{Cell, Level};
use crate::{
    face::Landmarks,
    geometry::{Point, Rect},
    onnx::{graph::Graph, messages::GraphProto},
    preprocess::Normalisation,
};

/// Networks that share their training code, and so the meaning of their inputs and outputs.
///
/// Detectors ask it only for the few anchors whose score is over the threshold.
pub trait Family: fmt::Debug + Sync {
    /// What it is called in documents and messages.
    fn name(&self) -> &'static str;

    /// Whether a network is of this family, and where its heads are.
    fn recognise(&self, network: &Network) -> Result<Option<Recognised>, RawScores>;

    /// What the pixels of the training pictures went through.
    fn normalisation(&self) -> Normalisation;

    /// Anchors at each cell.
    fn anchors(&self) -> usize;

    /// What a level's score convolution gives.
    fn scores(&self) -> Scores;

    /// Whether exporters declare an input size that the network does not depend on.
    fn opens_sizes(&self) -> bool {
        false
    }

    /// Whether a box is a pixel wider than its corners are apart, when boxes are compared.
    fn counts_last_pixel(&self) -> bool {
        true
    }

    /// What both sides of the training pictures were multiples of.
    fn multiple(&self) -> u32 {
        1
    }

    /// Where the outputs have the values of `level`, of `grid` (columns, rows) cells, with
    /// `cells_before` in all levels before it.
    fn level(&self, level: &RecognisedLevel, grid: (usize, usize), cells_before: usize) -> Level;

    /// The box that the four values of an anchor stand for, in network input pixels.
    fn bounds(&self, cell: &Cell, values: [f32; 4]) -> Rect;

    /// The landmarks that the ten values of an anchor stand for, in network input pixels.
    fn landmarks(&self, cell: &Cell, values: [f32; 10]) -> Landmarks;
}

/// What the convolution that makes a level's scores gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scores {
    /// For each anchor, the channels of its background and its face, which a softmax compares.
    Pairs(&'static [(usize, usize)]),
    /// A channel for each anchor, the logit of its face.
    Logits,
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
}

/// The network is of a family but ends in raw scores, as networks exported for training do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawScores;

/// A network's outputs and what they are.
#[derive(Clone, Debug)]
pub struct Recognised {
    pub family: &'static dyn Family,
    /// The names of the outputs that are needed.
    pub outputs: Vec<String>,
    /// In the network's order.
    pub levels: Vec<RecognisedLevel>,
}

/// The outputs of one level of the feature pyramid, as indices into [`Recognised::outputs`].
#[derive(Clone, Debug)]
pub struct RecognisedLevel {
    pub stride: u32,
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
