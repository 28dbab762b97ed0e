// SPDX-License-Identifier: MIT OR Apache-2.0

//! A frame in, its faces out.

use std::time::Duration;

use thiserror::Error;

use super::{
    decode::{self, Candidate, Outputs},
    merge::{self, Found},
    nms,
};
use crate::{
    face::{Face, Landmarks},
    families::heads::Heads,
    frame::Frame,
    geometry::Rect,
    orientation::Orientation,
    preprocess::{Look, Normalisation, Placement, Preprocessor, ScaleMethod},
};

/// A network ready to run at one input size.
pub trait Engine: Send {
    /// Width and height of the network's input.
    fn input_size(&self) -> (u32, u32);

    /// Frames in one run.
    fn batch(&self) -> usize;

    /// How to read the outputs.
    fn heads(&self) -> &Heads;

    /// Where frame `item` of the batch goes.
    fn input(&mut self, item: usize) -> Input<'_>;

    /// From the inputs to the outputs.
    fn run(&mut self) -> Result<(), EngineError>;

    /// Output `index` for frame `item` of the batch, by [`View::output`](crate::families::level::View).
    fn output(&self, item: usize, index: usize) -> &[f32];
}

/// Where a frame goes, in one of the [`Form`](crate::preprocess::Form)s.
pub enum Input<'a> {
    /// Of the input's size, normalised like this.
    Planes(Normalisation, &'a mut [f32]),
    /// Of this width and height, in the network's normalisation.
    Pixels((u32, u32), Normalisation, &'a mut [u8]),
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

/// How frames are resized, and which of the detections are reported.
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

impl Parameters {
    /// Whether a box in frame pixels is of a size that is reported.
    fn sizes(&self) -> impl Fn(&Rect) -> bool + use<> {
        let sizes = self.min_face_size..=self.max_face_size;
        move |bounds| sizes.contains(&bounds.width()) && sizes.contains(&bounds.height())
    }
}

/// What each stage of one detection took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    pub preprocess: Duration,
    pub inference: Duration,
    pub postprocess: Duration,
}

impl Timings {
    pub fn total(&self) -> Duration {
        self.preprocess + self.inference + self.postprocess
    }
}

/// Finds faces with an engine. For each look at each frame of a batch there is
/// [`Self::preprocess_look`], then one [`Engine::run`], then [`Self::find`] for each; when all looks at
/// a frame have been taken, [`Self::merge`]. Where the only look at a frame is all of it, that is
/// [`Self::preprocess`] and [`Self::postprocess`]. It allocates only when a frame's size, format or
/// looks change or hold more faces than any before.
#[derive(Default)]
pub struct Detector {
    /// By the number of the look.
    preprocessors: Vec<Preprocessor>,
    candidates: Vec<Candidate>,
    found: Vec<Found>,
    faces: Vec<Face>,
}

impl Detector {
    /// The faces in the last frame, by falling confidence.
    pub fn faces(&self) -> &[Face] {
        &self.faces
    }

    /// Writes `frame` to the input, as number `item` of the batch. `placement` is in an input of the
    /// engine's size.
    pub fn preprocess(
        &mut self,
        frame: &Frame,
        placement: &Placement,
        engine: &mut dyn Engine,
        item: usize,
        method: ScaleMethod,
    ) {
        let size = (frame.window().width, frame.window().height);
        let look = Look::only(size, *placement);
        self.preprocess_look(frame, (0, &look), engine, item, method);
    }

    /// Writes what `look`, the frame's look number `index`, sees of `frame` to the input, as number
    /// `item` of the batch.
    pub fn preprocess_look(
        &mut self,
        frame: &Frame,
        (index, look): (usize, &Look),
        engine: &mut dyn Engine,
        item: usize,
        method: ScaleMethod,
    ) {
        let size = (frame.window().width, frame.window().height);
        let frame = &frame.part(&look.stored_window(size));
        let placement = &look.placement;
        match engine.input(item) {
            Input::Planes(normalisation, planes) => {
                self.preprocessor(index, frame, placement, method, normalisation)
                    .fill(frame, planes);
            }
            Input::Pixels(size, normalisation, pixels) => {
                // Of another size than the input's, they are resized by the network.
                let scale = placement.scale.filter(|_| size == placement.input);
                let resized = Placement { picture: size, input: size, scale, ..*placement };
                let placement = if size == placement.input { placement } else { &resized };
                let padding = normalisation.padding.map(|value| value.round() as u8);
                self.preprocessor(index, frame, placement, method, Normalisation::NONE)
                    .fill_pixels(frame, pixels, padding);
            }
        }
    }

    /// The preprocessor of look number `index` for frames like this one.
    fn preprocessor(
        &mut self,
        index: usize,
        frame: &Frame,
        placement: &Placement,
        method: ScaleMethod,
        normalisation: Normalisation,
    ) -> &mut Preprocessor {
        let new = || {
            Preprocessor::new(*frame.layout(), *frame.window(), *placement, method, normalisation)
        };
        if index >= self.preprocessors.len() {
            self.preprocessors.resize_with(index + 1, new);
        }
        let preprocessor = &mut self.preprocessors[index];
        if !preprocessor.fits(frame, placement, method, normalisation) {
            *preprocessor = new();
        }
        preprocessor
    }

    /// Finds the faces of a frame of the size `frame` (width, height), all of which is in the input, in
    /// what the last run gave for number `item` of the batch. A face that is not made of finite numbers
    /// is none.
    pub fn postprocess(
        &mut self,
        frame: (u32, u32),
        placement: &Placement,
        engine: &dyn Engine,
        item: usize,
        parameters: &Parameters,
    ) {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        self.find(frame, &Look::only(frame, *placement), engine, item, parameters, &mut found);
        self.merge(frame, placement.orientation, &mut found, parameters);
        self.found = found;
    }

    /// Adds the faces that `look` shows of a frame of the size `frame` to `found`, from what the last
    /// run gave for number `item` of the batch.
    pub fn find(
        &mut self,
        frame: (u32, u32),
        look: &Look,
        engine: &dyn Engine,
        item: usize,
        parameters: &Parameters,
        found: &mut Vec<Found>,
    ) {
        let heads = engine.heads();
        let outputs = &Item { engine, item };
        let view = merge::View::new(look, look.placement.orientation.turn(frame));

        self.candidates.clear();
        decode::candidates(heads, outputs, parameters.score_threshold, &mut self.candidates);
        if view.is_only() {
            let sizes = parameters.sizes();
            self.candidates.retain(|candidate| sizes(&view.bounds(&candidate.bounds)));
        } else {
            self.candidates.retain(|candidate| view.answers_for(&candidate.bounds));
        }
        let overlap = if heads.family.counts_last_pixel() { nms::overlap } else { Rect::iou };
        let Parameters { iou_threshold, max_detections, .. } = *parameters;
        nms::suppress(&mut self.candidates, overlap, iou_threshold, max_detections);
        found.extend(self.candidates.iter().map(|candidate| {
            let landmarks = decode::landmarks(heads, outputs, candidate.place)
                .map(|landmarks| Landmarks(landmarks.0.map(|point| view.point(point))));
            view.found(view.bounds(&candidate.bounds), candidate.score, landmarks)
        }));
    }

    /// Makes the faces of a frame of the size `frame` out of what all looks at it found.
    pub fn merge(
        &mut self,
        frame: (u32, u32),
        orientation: Orientation,
        found: &mut Vec<Found>,
        parameters: &Parameters,
    ) {
        if found.iter().any(|found| !found.is_only()) {
            let Parameters { iou_threshold, max_detections, .. } = *parameters;
            let sizes = parameters.sizes();
            merge::drop_fragments(found);
            nms::suppress(found, Rect::iou, iou_threshold, usize::MAX);
            found.retain(|found| sizes(&found.bounds));
            found.truncate(max_detections);
        }
        if parameters.largest_only {
            let area = |found: &Found| found.bounds.area();
            let largest = found.iter().copied().max_by(|a, b| area(a).total_cmp(&area(b)));
            found.clear();
            found.extend(largest);
        }
        let stored = (frame.0 as f32, frame.1 as f32);
        self.faces.clear();
        self.faces.extend(found.iter().filter_map(|found| {
            let to_frame = |point| orientation.stored_point(point, stored);
            let face = Face {
                bounds: orientation.stored_rect(&found.bounds.expand(parameters.margin), stored),
                landmarks: found.landmarks.map(|landmarks| Landmarks(landmarks.0.map(to_frame))),
                confidence: Some(found.score),
                tracking: None,
            };
            face.is_finite().then_some(face)
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        families::{family::Family, heads::Score, level::Level, pytorch::RETINAFACE},
        frame::{Colour, Component, Plane, Window},
        geometry::Point,
    };

    /// A network of one level of stride 8 for 32×16 pixels: four cells by two.
    struct Stub {
        heads: Heads,
        planes: Vec<f32>,
        output: Vec<f32>,
    }

    const CELLS: usize = 8;

    impl Stub {
        fn new(landmarks: bool) -> Self {
            let levels = vec![Level::merged(0, 8, (4, 2), 2, landmarks)];
            let heads = Heads { family: &RETINAFACE, score: Score::Probability, levels };
            Self { heads, planes: vec![0.0; 3 * 32 * 16], output: vec![0.0; 30 * CELLS] }
        }

        /// A face at anchor 0, a box of 16 pixels around the middle of the cell.
        fn face(mut self, cell: usize, score: f32) -> Self {
            self.output[cell] = score;
            self
        }
    }

    impl Engine for Stub {
        fn input_size(&self) -> (u32, u32) {
            (32, 16)
        }

        fn batch(&self) -> usize {
            1
        }

        fn heads(&self) -> &Heads {
            &self.heads
        }

        fn input(&mut self, _item: usize) -> Input<'_> {
            Input::Planes(RETINAFACE.normalisation(), &mut self.planes)
        }

        fn run(&mut self) -> Result<(), EngineError> {
            Ok(())
        }

        fn output(&self, _item: usize, _index: usize) -> &[f32] {
            &self.output
        }
    }

    const PARAMETERS: Parameters = Parameters {
        scale_method: ScaleMethod::Nearest,
        score_threshold: 0.5,
        iou_threshold: 0.4,
        max_detections: 10,
        min_face_size: 0.0,
        max_face_size: f32::INFINITY,
        largest_only: false,
        margin: 0.0,
    };

    /// In a frame of 128×32 pixels: x is four times, y twice what the network sees.
    fn faces(engine: &Stub, parameters: &Parameters) -> Vec<Face> {
        let mut detector = Detector::default();
        detector.postprocess((128, 32), &Placement::whole((32, 16)), engine, 0, parameters);
        detector.faces().to_vec()
    }

    #[test]
    fn faces_are_mapped_back_to_the_frame() {
        // Cell 5 is (1, 1): centre (12, 12), from 4 to 20.
        let mut engine = Stub::new(true).face(5, 0.75);
        // Landmarks of anchor 0 begin after two planes of scores and eight of boxes; the third's y is
        // plane 5: 12 − 5·0.1·16 = 4.
        engine.output[(2 + 8 + 5) * CELLS + 5] = -5.0;
        let [face] = faces(&engine, &PARAMETERS)[..] else { panic!("one face") };
        assert_eq!(face.bounds, Rect::new(16.0, 8.0, 80.0, 40.0));
        assert_eq!(face.confidence, Some(0.75));
        let points = face.landmarks.expect("landmarks").0;
        assert_eq!(points[0], Point { x: 48.0, y: 24.0 });
        assert_eq!(points[2], Point { x: 48.0, y: 8.0 });

        let [face] = faces(&Stub::new(false).face(5, 0.75), &PARAMETERS)[..] else {
            panic!("one face")
        };
        assert_eq!(face.landmarks, None);
    }

    #[test]
    fn the_margin_grows_boxes_but_moves_no_landmarks() {
        let parameters = Parameters { margin: 0.25, ..PARAMETERS };
        let [face] = faces(&Stub::new(true).face(5, 0.75), &parameters)[..] else {
            panic!("one face")
        };
        // A quarter of 64 and of 32 pixels on each side.
        assert_eq!(face.bounds, Rect::new(0.0, 0.0, 96.0, 48.0));
        assert_eq!(face.landmarks.expect("landmarks").0[0], Point { x: 48.0, y: 24.0 });
    }

    /// The face is 64×32 pixels in the frame.
    #[test]
    fn sizes_are_limited_in_frame_pixels() {
        let engine = Stub::new(true).face(5, 0.75);
        let count = |min_face_size, max_face_size| {
            faces(&engine, &Parameters { min_face_size, max_face_size, ..PARAMETERS }).len()
        };
        assert_eq!(count(32.0, f32::INFINITY), 1, "both sides are at least this");
        assert_eq!(count(32.5, f32::INFINITY), 0, "the height is less");
        assert_eq!(count(0.0, 64.0), 1, "both sides are at most this");
        assert_eq!(count(0.0, 63.5), 0, "the width is more");
    }

    #[test]
    fn faces_come_by_falling_confidence_up_to_the_limit() {
        // Two cells apart, they overlap by nothing: 16 pixels each at x = 4 and 28.
        let engine = Stub::new(true).face(0, 0.6).face(3, 0.9);
        let confidences = |parameters: &Parameters| {
            faces(&engine, parameters).iter().map(|face| face.confidence).collect::<Vec<_>>()
        };
        assert_eq!(confidences(&PARAMETERS), [Some(0.9), Some(0.6)]);
        let one = Parameters { max_detections: 1, ..PARAMETERS };
        assert_eq!(confidences(&one), [Some(0.9)]);
        let sure = Parameters { score_threshold: 0.7, ..PARAMETERS };
        assert_eq!(confidences(&sure), [Some(0.9)]);
        let none = Parameters { score_threshold: 0.95, ..PARAMETERS };
        assert_eq!(confidences(&none), []);
    }

    /// Boxes at x = 4 and 12, 16 pixels wide: 17·17 pixels each, of which 9·17 in common, 0.36.
    #[test]
    fn overlapping_boxes_are_one_face() {
        let engine = Stub::new(true).face(0, 0.6).face(1, 0.9);
        let count =
            |iou_threshold| faces(&engine, &Parameters { iou_threshold, ..PARAMETERS }).len();
        assert_eq!((count(0.35), count(0.37)), (1, 2));
    }

    #[test]
    fn the_largest_is_not_the_surest() {
        let mut engine = Stub::new(true).face(0, 0.9);
        // Anchor 1 is twice as large; far away, its width e^(0.2·5·ln 2) = 2 times that.
        engine.output[CELLS + 7] = 0.6;
        let parameters = Parameters { largest_only: true, iou_threshold: 1.0, ..PARAMETERS };
        let [face] = faces(&engine, &parameters)[..] else { panic!("one face") };
        assert_eq!(face.confidence, Some(0.6));
    }

    #[test]
    fn a_frame_becomes_the_input() {
        // One gray value: the same in all planes, less the family's mean.
        let component = Component { step: 1, ..Component::default() };
        let luma = crate::frame::Luma::new(true);
        let layout =
            crate::frame::Layout { components: [component; 3], colour: Colour::Gray(luma) };
        let data = [200; 128 * 32];
        let plane = Plane { data: &data, stride: 128 };
        let frame = Frame::new(layout, Window::whole(128, 32), [plane; 3]).expect("a frame");
        let mut engine = Stub::new(true);
        let placement = Placement::whole((32, 16));
        Detector::default().preprocess(&frame, &placement, &mut engine, 0, ScaleMethod::Bilinear);
        for (plane, expected) in engine.planes.chunks(32 * 16).zip([96.0, 83.0, 77.0]) {
            assert!(plane.iter().all(|&value| value == expected), "{expected}: {:?}", plane[0]);
        }
    }

    /// Of an upright picture of 24×8 pixels in the input, which is a third and half of the frame.
    #[test]
    fn faces_in_turned_frames_are_where_they_are_stored() {
        // Cell 1 is (1, 0): from 4 to 20 and −4 to 12, the third landmark at (12, 4 − 5·0.1·16).
        let mut engine = Stub::new(true).face(1, 0.75);
        engine.output[(2 + 8 + 5) * CELLS + 1] = -2.0;
        let face = |orientation: Orientation| {
            let placement =
                Placement { orientation, picture: (24, 8), input: (32, 16), scale: None };
            let mut detector = Detector::default();
            let frame = orientation.turn((72, 16));
            detector.postprocess(frame, &placement, &engine, 0, &PARAMETERS);
            let [face] = detector.faces() else { panic!("one face") };
            (face.bounds, face.landmarks.expect("landmarks").0[2])
        };
        // Upright: from 12 to 60 and −8 to 24; the point at (36, 1.6).
        let (bounds, point) = face(Orientation::Identity);
        assert_eq!(bounds, Rect::new(12.0, -8.0, 60.0, 24.0));
        assert!((point.x - 36.0).abs() < 1e-4 && (point.y - 1.6).abs() < 1e-4, "{point:?}");
        // Stored in 16×72 pixels: x is y, y is 72 − x.
        let (bounds, point) = face(Orientation::Rotate90);
        assert_eq!(bounds, Rect::new(-8.0, 12.0, 24.0, 60.0));
        assert!((point.x - 1.6).abs() < 1e-4 && (point.y - 36.0).abs() < 1e-4, "{point:?}");
        let (bounds, point) = face(Orientation::FlipVertical);
        assert_eq!(bounds, Rect::new(12.0, -8.0, 60.0, 24.0));
        assert!((point.x - 36.0).abs() < 1e-4 && (point.y - 14.4).abs() < 1e-4, "{point:?}");
    }

    #[test]
    fn what_is_no_number_is_no_face() {
        let wrong = |index: usize, value: f32| {
            let mut engine = Stub::new(true).face(5, 0.75).face(0, 0.7);
            engine.output[index * CELLS + 5] = value;
            faces(&engine, &PARAMETERS).iter().map(|face| face.confidence).collect::<Vec<_>>()
        };
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            // The first landmark's x; the centre's x, which nothing can be compared with.
            assert_eq!(wrong(2 + 8, value), [Some(0.7)], "{value}");
            assert_eq!(wrong(2, value), [Some(0.7)], "{value}");
        }
        assert_eq!(wrong(2 + 8, 0.5), [Some(0.75), Some(0.7)]);
    }
}
