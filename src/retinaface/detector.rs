// SPDX-License-Identifier: MIT OR Apache-2.0

//! A frame in, its faces out.

use std::time::Duration;

use thiserror::Error;

use super::{
    decode::{self, Candidate, Outputs},
    nms,
};
use crate::{
    face::{Face, Landmarks},
    families::heads::Heads,
    frame::Frame,
    geometry::Point,
    preprocess::{Preprocessor, ScaleMethod},
};

/// A network ready to run at one input size.
pub trait Engine: Send {
    /// Width and height of what the network looks at.
    fn input_size(&self) -> (u32, u32);

    /// How many frames one run looks at.
    fn batch(&self) -> usize {
        1
    }

    /// What is subtracted from blue, green and red.
    fn mean(&self) -> [f32; 3];

    /// How to read the outputs.
    fn heads(&self) -> &Heads;

    /// Where frame `item` of the batch goes.
    fn input(&mut self, item: usize) -> Input<'_>;

    /// From the inputs to the outputs.
    fn run(&mut self) -> Result<(), EngineError>;

    /// Output `index` for frame `item` of the batch, by [`View::output`](crate::families::heads::View).
    fn output(&self, item: usize, index: usize) -> &[f32];
}

/// Where a frame goes, in one of the [`Form`](crate::preprocess::Form)s.
pub enum Input<'a> {
    Planes(&'a mut [f32]),
    /// Of this width and height.
    Pixels((u32, u32), &'a mut [u8]),
}

/// The outputs for one frame of a batch.
struct Item<'a> {
    engine: &'a dyn Engine,
    item: usize,
}

impl Outputs for Item<'_> {
    fn output(&self, index: usize) -> &[f32] {
        self.engine.output(self.item, index)
    }
}

/// The network did not run.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct EngineError(pub String);

/// Which of the faces that the network sees are wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    pub scale_method: ScaleMethod,
    /// Probability from 0 to 1 above which a box is a face.
    pub score_threshold: f32,
    /// Overlap, intersection over union, above which the weaker of two boxes is dropped.
    pub iou_threshold: f32,
    pub max_detections: usize,
    /// Both sides of a box are at least this, in frame pixels.
    pub min_face_size: f32,
    /// Both sides of a box are at most this, in frame pixels.
    pub max_face_size: f32,
    /// Only the box of the largest area.
    pub largest_only: bool,
    /// Added on each side of a box, as a fraction of its width or height.
    pub margin: f32,
}

/// What each stage of one detection took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    pub preprocess: Duration,
    pub inference: Duration,
    pub postprocess: Duration,
}

/// Width and height of the network's input for a frame: scaled by `scale`, then down to
/// `max_size` on the longer side (0: no limit), at the frame's aspect ratio, at least one pixel.
///
/// Networks run at exactly this size, without padding to a multiple of the strides: convolutions
/// pad on their own, and what a network sees of the frame is all that it was asked to.
pub fn input_size(frame: (u32, u32), scale: f64, max_size: u32) -> (u32, u32) {
    let longest = f64::from(frame.0.max(frame.1));
    let scale = if max_size == 0 { scale } else { scale.min(f64::from(max_size) / longest) };
    let side = |side: u32| (f64::from(side) * scale).round().max(1.0) as u32;
    (side(frame.0), side(frame.1))
}

/// Finds faces with an engine: [`Self::preprocess`] for each frame of a batch, [`Engine::run`], then
/// [`Self::postprocess`] and [`Self::faces`] for each. It allocates only when a frame's size or format
/// changes or holds more faces than any before.
#[derive(Default)]
pub struct Detector {
    preprocessor: Option<Preprocessor>,
    candidates: Vec<Candidate>,
    faces: Vec<Face>,
}

impl Detector {
    /// What was found in the last frame looked at, by falling confidence.
    pub fn faces(&self) -> &[Face] {
        &self.faces
    }

    /// Makes `frame` number `item` of the batch that the next run looks at.
    pub fn preprocess(
        &mut self,
        frame: &Frame,
        engine: &mut dyn Engine,
        item: usize,
        method: ScaleMethod,
    ) {
        let (target, mean) = (engine.input_size(), engine.mean());
        match engine.input(item) {
            Input::Planes(planes) => {
                self.for_frames(frame, target, method, mean).fill(frame, planes)
            }
            Input::Pixels(size, pixels) => {
                self.for_frames(frame, size, method, [0.0; 3]).fill_pixels(frame, pixels);
            }
        }
    }

    /// The preprocessor for frames like this one.
    fn for_frames(
        &mut self,
        frame: &Frame,
        target: (u32, u32),
        method: ScaleMethod,
        mean: [f32; 3],
    ) -> &mut Preprocessor {
        let fits = |preprocessor: &Preprocessor| preprocessor.fits(frame, target, method, mean);
        let fitting = self.preprocessor.take().filter(fits);
        self.preprocessor.insert(fitting.unwrap_or_else(|| {
            let source = (frame.width(), frame.height());
            Preprocessor::new(*frame.layout(), source, target, method, mean)
        }))
    }

    /// Finds the faces of a frame of the size `frame` (width, height) in what the last run gave for
    /// number `item` of the batch.
    pub fn postprocess(
        &mut self,
        frame: (u32, u32),
        engine: &dyn Engine,
        item: usize,
        parameters: &Parameters,
    ) {
        let heads = engine.heads();
        let (width, height) = engine.input_size();
        let scale_x = frame.0 as f32 / width as f32;
        let scale_y = frame.1 as f32 / height as f32;
        let outputs = &Item { engine, item };

        self.candidates.clear();
        decode::candidates(heads, outputs, parameters.score_threshold, &mut self.candidates);
        let sizes = parameters.min_face_size..=parameters.max_face_size;
        self.candidates.retain(|candidate| {
            let bounds = candidate.bounds.scale(scale_x, scale_y);
            sizes.contains(&bounds.width()) && sizes.contains(&bounds.height())
        });
        nms::suppress(&mut self.candidates, parameters.iou_threshold, parameters.max_detections);
        if parameters.largest_only {
            let area = |candidate: &Candidate| candidate.bounds.area();
            let largest =
                self.candidates.iter().copied().max_by(|a, b| area(a).total_cmp(&area(b)));
            self.candidates.clear();
            self.candidates.extend(largest);
        }

        self.faces.clear();
        self.faces.extend(self.candidates.iter().map(|candidate| Face {
            bounds: candidate.bounds.scale(scale_x, scale_y).expand(parameters.margin),
            landmarks: decode::landmarks(heads, outputs, candidate.place).map(|landmarks| {
                Landmarks(landmarks.0.map(|p| Point { x: p.x * scale_x, y: p.y * scale_y }))
            }),
            confidence: Some(candidate.score),
        }));
    }
}
