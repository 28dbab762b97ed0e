// SPDX-License-Identifier: MIT OR Apache-2.0

use proptest::prelude::*;

use super::{Placed, Settings, Tracker, motion::Motion};
use crate::{
    face::{Face, Landmarks, Tracking, TrackingState},
    geometry::{Point, Rect},
};

const SETTINGS: Settings = Settings {
    score_threshold: 0.6,
    weak_score_threshold: 0.2,
    iou_threshold: 0.2,
    weak_iou_threshold: 0.5,
    min_hits: 1,
    hold: 3,
    max_age: 6,
    look_ahead: 0,
};

/// 20×20 pixels around a middle, with landmarks that are not symmetric.
fn face(x: f32, y: f32, confidence: f32) -> Face {
    let offsets = [(-5.0, -4.0), (5.0, -4.0), (0.0, 1.0), (-3.0, 6.0), (4.0, 6.0)];
    Face {
        bounds: Rect::around(Point { x, y }, 10.0, 10.0),
        landmarks: Some(Landmarks(offsets.map(|(dx, dy)| Point { x: x + dx, y: y + dy }))),
        confidence: Some(confidence),
        tracking: None,
    }
}

/// A tracker and the frames that it was not asked about yet.
struct Stream {
    tracker: Tracker,
    settings: Settings,
    waiting: Vec<u64>,
}

impl Stream {
    fn new(settings: Settings) -> Self {
        Self { tracker: Tracker::default(), settings, waiting: Vec::new() }
    }

    /// A frame, and the faces of the one that leaves for it.
    fn frame(&mut self, detections: &[Face]) -> Option<Vec<Placed>> {
        self.waiting.push(self.tracker.observe(detections, 1, None, &self.settings));
        (self.waiting.len() as u64 > self.settings.look_ahead).then(|| self.leave())
    }

    fn leave(&mut self) -> Vec<Placed> {
        let mut placed = Vec::new();
        self.tracker.place(self.waiting.remove(0), &self.settings, &mut placed);
        placed
    }

    fn end(&mut self) -> Vec<Vec<Placed>> {
        (0..self.waiting.len()).map(|_| self.leave()).collect()
    }
}

/// The faces of every frame.
fn follow(settings: Settings, frames: &[Vec<Face>]) -> Vec<Vec<Placed>> {
    let mut stream = Stream::new(settings);
    let mut placed: Vec<_> = frames.iter().filter_map(|faces| stream.frame(faces)).collect();
    placed.extend(stream.end());
    placed
}

fn tracking(placed: &Placed) -> Tracking {
    placed.face.tracking.expect("a tracked face")
}

/// Id, where the middle is, and whether it was detected.
fn brief(placed: &[Placed]) -> Vec<(u64, f32, bool)> {
    let brief = |placed: &Placed| {
        let is_detected = tracking(placed).state == TrackingState::Detected;
        assert_eq!(is_detected, placed.detection.is_some());
        (tracking(placed).id, placed.face.bounds.middle().x, is_detected)
    };
    placed.iter().map(brief).collect()
}

/// By hand: with a side of 20, a detection's variance is 1, a step adds 1 to the value's and 1/64 to the
/// speed's, which begin with 4 and 1.5625.
#[test]
fn the_filter_computes_what_the_book_says() {
    let bounds = |x: f32| Rect::around(Point { x, y: 50.0 }, 10.0, 10.0);
    let mut motion = Motion::new(&bounds(0.0));
    assert_eq!(motion.predict(5), bounds(0.0));
    motion.observe(&bounds(10.0), 1, 1.0);
    // 1.5625 / 7.5625 of the 10 pixels that it is off.
    assert!((motion.speed().x - 2.066_116).abs() < 1e-4, "{:?}", motion.speed());
    motion.observe(&bounds(20.0), 1, 1.0);
    // 2.066116 + 1.461906 / 4.536286 of 20 - 8.677686 - 2.066116.
    assert!((motion.speed().x - 5.049_109).abs() < 1e-4, "{:?}", motion.speed());
    assert_eq!(motion.speed().y, 0.0);
    let ahead = motion.predict(2);
    assert!((ahead.middle().x - 30.098_217).abs() < 1e-3, "{ahead:?}");
    assert_eq!((ahead.width(), ahead.height()), (20.0, 20.0));
    // 10.743802 + 0.779555 of 20 - 10.743802, and twice the speed.
    let expected = motion.expect(2).middle().x;
    assert!((expected - 28.057_74).abs() < 1e-3, "{expected}");
    // With twice the deviation: 1.5625 / 10.5625 of 10 pixels.
    let mut doubted = Motion::new(&bounds(0.0));
    doubted.observe(&bounds(10.0), 1, 2.0);
    assert!((doubted.speed().x - 1.479_29).abs() < 1e-4, "{:?}", doubted.speed());
}

#[test]
fn the_filter_learns_speed_over_gaps_as_well() {
    for gap in [1, 3, 5] {
        let bounds = |frame: u64| {
            let frame = frame as f32;
            Rect::around(Point { x: 3.0 * frame, y: -2.0 * frame }, 10.0 + frame / 10.0, 10.0)
        };
        let mut motion = Motion::new(&bounds(0));
        for step in 1..40 {
            motion.observe(&bounds(step * gap), gap, 1.0);
        }
        let (predicted, expected) = (motion.predict(2), bounds(39 * gap + 2));
        assert!(predicted.iou(&expected) > 0.95, "{gap}: {predicted:?}, not {expected:?}");
    }
}

#[test]
fn speed_has_both_directions() {
    let at = |frame: f32| {
        Rect::around(Point { x: 50.0 + 2.0 * frame, y: 50.0 - 3.0 * frame }, 10.0, 10.0)
    };
    let mut motion = Motion::new(&at(0.0));
    (1..=8).for_each(|frame| motion.observe(&at(frame as f32), 1, 1.0));
    let Point { x, y } = motion.speed();
    // Both filters are linear, and have the same noise.
    assert!((1.5..=2.0).contains(&x) && (y + 1.5 * x).abs() < 1e-3, "{x}, {y}");
}

#[test]
fn boxes_of_less_than_a_pixel_stay_what_they_are() {
    let bounds = Rect::new(3.0, 4.0, 3.5, 4.25);
    assert_eq!(Motion::new(&bounds).predict(2), bounds);
}

#[test]
fn no_prediction_lets_a_box_vanish_or_explode() {
    for (from, to) in [(40.0, 10.0), (10.0, 40.0)] {
        let bounds = |side: f32| Rect::around(Point::default(), side / 2.0, side / 2.0);
        let mut motion = Motion::new(&bounds(from));
        motion.observe(&bounds(to), 1, 1.0);
        let side = motion.predict(1000).width();
        assert!((to / 1.6..=to * 1.6).contains(&side), "{side} from {from} and {to}");
    }
    // A box without area, or the wrong way round, is no reason to compute with what is no number.
    for bounds in [Rect::new(5.0, 5.0, 5.0, 5.0), Rect::new(9.0, 9.0, 1.0, 1.0)] {
        let mut motion = Motion::new(&bounds);
        motion.observe(&bounds, 3, 1.0);
        assert!(motion.predict(7).is_finite(), "{bounds:?}");
    }
}

#[test]
fn faces_that_move_keep_their_ids() {
    let frames: Vec<_> = (0..20)
        .map(|i| {
            let i = i as f32;
            // Detectors sort by confidence: their order is none.
            let mut faces = vec![
                face(2.0 * i, 20.0, 0.9),
                face(100.0 - 3.0 * i, 80.0, 0.8),
                face(200.0, 40.0 + i, 0.7),
            ];
            faces.rotate_left(i as usize % 3);
            faces
        })
        .collect();
    for (frame, placed) in follow(SETTINGS, &frames).iter().enumerate() {
        assert_eq!(placed.len(), 3);
        for placed in placed {
            let Tracking { id, age, state } = tracking(placed);
            let y = placed.face.bounds.middle().y;
            assert_eq!(
                id,
                if y == 20.0 {
                    1
                } else if y == 80.0 {
                    2
                } else {
                    3
                }
            );
            assert_eq!((age, state), (frame as u64, TrackingState::Detected));
            // Nothing else of a detection changes.
            let detection = frames[frame][placed.detection.expect("a detection")];
            assert_eq!(Face { tracking: None, ..placed.face }, detection);
        }
    }
}

#[test]
fn missed_faces_are_held_and_then_given_up() {
    let mut frames: Vec<_> = (0..4).map(|i| vec![face(10.0 * i as f32, 50.0, 0.9)]).collect();
    frames.extend(vec![vec![]; 5]);
    let placed = follow(SETTINGS, &frames);
    let counts: Vec<_> = placed.iter().map(Vec::len).collect();
    assert_eq!(counts, [1, 1, 1, 1, 1, 1, 1, 0, 0]);
    for (frame, placed) in placed.iter().enumerate().take(7).skip(4) {
        let placed = &placed[0];
        let Tracking { id, age, state } = tracking(placed);
        assert_eq!((id, age, state), (1, frame as u64, TrackingState::Held));
        let Point { x, y } = placed.face.bounds.middle();
        let steps = frame as f32 - 3.0;
        // On the way that it went, if not as fast as that.
        assert!((30.0 + 6.0 * steps..30.0 + 10.0 * steps).contains(&x), "{x} in {frame}");
        assert_eq!((y, placed.face.confidence), (50.0, Some(0.9)));
        let Landmarks(points) = placed.face.landmarks.expect("landmarks");
        let nose = points[2];
        assert!((nose.x - x).abs() < 1e-3 && (nose.y - y - 1.0).abs() < 1e-3, "{nose:?}");
    }
}

#[test]
fn a_face_that_comes_back_in_time_is_the_same() {
    for (missed, id) in [(5, 1), (6, 2)] {
        let mut frames = vec![vec![face(50.0, 50.0, 0.9)]; 3];
        frames.extend(vec![vec![]; missed]);
        frames.push(vec![face(50.0, 50.0, 0.9)]);
        let placed = follow(SETTINGS, &frames);
        assert_eq!(brief(placed.last().expect("frames")), [(id, 50.0, true)], "{missed}");
    }
}

#[test]
fn weak_detections_continue_faces_but_start_none() {
    let frames = [
        vec![face(200.0, 50.0, 0.4)],
        vec![face(50.0, 50.0, 0.6), face(200.0, 50.0, 0.59)],
        vec![face(50.0, 50.0, 0.2)],
        vec![face(50.0, 50.0, 0.19)],
        // Less than half of both: 12 of 28.
        vec![face(58.0, 50.0, 0.4)],
        vec![face(58.0, 50.0, 0.7)],
    ];
    let placed: Vec<_> = follow(SETTINGS, &frames).iter().map(|placed| brief(placed)).collect();
    let expected = [
        vec![],
        vec![(1, 50.0, true)],
        vec![(1, 50.0, true)],
        vec![(1, 50.0, false)],
        vec![(1, 50.0, false)],
        vec![(1, 58.0, true)],
    ];
    assert_eq!(placed, expected);
    let certain = Face { confidence: None, ..face(50.0, 50.0, 0.0) };
    assert_eq!(follow(SETTINGS, &[vec![certain]])[0].len(), 1);
}

/// On every frame in between it was held.
#[test]
fn weak_detections_continue_faces_that_were_on_the_frame_before() {
    for (missed, is_continued) in [(3, true), (4, false)] {
        let mut frames = vec![vec![face(50.0, 50.0, 0.9)]];
        frames.extend(vec![vec![]; missed]);
        frames.push(vec![face(50.0, 50.0, 0.3)]);
        let placed = follow(SETTINGS, &frames);
        assert_eq!(placed.last().expect("frames").len(), usize::from(is_continued), "{missed}");
    }
}

#[test]
fn a_face_is_one_after_as_many_detections_as_wanted() {
    let settings = Settings { min_hits: 3, ..SETTINGS };
    let frame = || vec![face(50.0, 50.0, 0.9)];
    let frames = [frame(), vec![], frame(), frame(), vec![face(300.0, 50.0, 0.9)], frame()];
    let ids = |settings| -> Vec<_> {
        let placed = follow(settings, &frames);
        placed.iter().map(|placed| brief(placed)).collect()
    };
    let expected = [
        vec![],
        vec![],
        vec![],
        vec![(1, 50.0, true)],
        vec![(1, 50.0, false)],
        vec![(1, 50.0, true)],
    ];
    assert_eq!(ids(settings), expected);
    // By the time that they leave, the frames before have a face as well.
    let all = ids(Settings { look_ahead: 3, ..settings });
    assert_eq!(all[0], [(1, 50.0, true)]);
    assert_eq!(all[1], [(1, 50.0, false)]);
    assert_eq!(all[4], [(1, 50.0, false)]);
}

#[test]
fn look_ahead_puts_faces_on_the_frames_before_and_between() {
    let settings = Settings { look_ahead: 2, hold: 1, ..SETTINGS };
    let mut frames = vec![vec![]; 12];
    frames[4] = vec![face(40.0, 50.0, 0.9)];
    frames[8] = vec![face(60.0, 50.0, 0.9)];
    let placed = follow(settings, &frames);
    let middles: Vec<_> = placed.iter().map(|placed| brief(placed)).collect();
    assert_eq!(middles[1], []);
    assert_eq!(middles[2], [(1, 40.0, false)]);
    assert_eq!(middles[3], [(1, 40.0, false)]);
    assert_eq!(middles[4], [(1, 40.0, true)]);
    // Held for one frame, and from two frames before its detection on known again.
    assert_eq!(middles[5], [(1, 40.0, false)]);
    assert_eq!(middles[6], [(1, 50.0, false)]);
    assert_eq!(middles[7], [(1, 55.0, false)]);
    assert_eq!(middles[8], [(1, 60.0, true)]);
    assert_eq!(middles[9].len(), 1);
    assert_eq!(middles[10], []);
    let ages: Vec<_> = placed.iter().flatten().map(|placed| tracking(placed).age).collect();
    assert_eq!(ages, [0, 1, 2, 3, 4, 5, 6, 7]);
    let Landmarks(points) = placed[6][0].face.landmarks.expect("landmarks");
    assert_eq!(points[0], Point { x: 45.0, y: 46.0 });
}

#[test]
fn faces_that_pass_each_other_keep_their_ids() {
    // The one behind is not detected while the other covers it.
    let frames: Vec<_> = (0..41)
        .map(|i| {
            let (right, left) = (4.0 * i as f32, 160.0 - 4.0 * i as f32);
            let mut faces = vec![face(right, 50.0, 0.9)];
            if (right - left).abs() > 12.0 {
                faces.push(face(left, 52.0, 0.9));
            }
            faces
        })
        .collect();
    let settings = Settings { hold: 10, ..SETTINGS };
    let placed = follow(settings, &frames);
    let last = brief(placed.last().expect("frames"));
    assert_eq!(last, [(1, 160.0, true), (2, 0.0, true)]);
    assert!(placed[20].len() == 1, "what is behind a face is not shown: {:?}", placed[20]);
    let all = placed.iter().flatten().map(|placed| tracking(placed).id);
    assert!(all.into_iter().all(|id| id <= 2));
}

#[test]
fn a_small_face_that_starts_to_run_is_the_same() {
    let frames = [vec![face(50.0, 50.0, 0.9)], vec![face(72.0, 50.0, 0.9)]];
    let placed = follow(SETTINGS, &frames);
    assert_eq!(brief(&placed[1]), [(1, 72.0, true)]);
    // But not where another is nearer.
    let frames = [vec![face(50.0, 50.0, 0.9)], vec![face(72.0, 50.0, 0.9), face(52.0, 50.0, 0.7)]];
    let placed = follow(SETTINGS, &frames);
    assert_eq!(brief(&placed[1]), [(1, 52.0, true), (2, 72.0, true)]);
    // Nor where even boxes of twice the size overlap by less than iou-threshold: 12 of 68 columns.
    let frames = [vec![face(50.0, 50.0, 0.9)], vec![face(78.0, 50.0, 0.9)]];
    let placed = follow(SETTINGS, &frames);
    assert!(brief(&placed[1]).contains(&(2, 78.0, true)), "{placed:?}");
}

#[test]
fn ids_are_not_used_again() {
    let mut tracker = Tracker::default();
    let mut placed = Vec::new();
    for id in 1..5 {
        let number = tracker.observe(&[face(50.0, 50.0, 0.9)], 1, None, &SETTINGS);
        tracker.place(number, &SETTINGS, &mut placed);
        assert_eq!(brief(&placed), [(id, 50.0, true)]);
        tracker.reset();
    }
}

#[test]
fn frames_that_were_dropped_count() {
    for (frames, id) in [(6, 1), (7, 2)] {
        let mut tracker = Tracker::default();
        let mut placed = Vec::new();
        for step in [1, frames] {
            let number = tracker.observe(&[face(50.0, 50.0, 0.9)], step, None, &SETTINGS);
            tracker.place(number, &SETTINGS, &mut placed);
        }
        assert_eq!(brief(&placed), [(id, 50.0, true)]);
    }
}

#[test]
fn detections_that_are_no_numbers_are_none() {
    let nowhere = Face { bounds: Rect::new(f32::NAN, 0.0, 1.0, 1.0), ..face(0.0, 0.0, 0.9) };
    let uncertain = Face { confidence: Some(f32::NAN), ..face(0.0, 0.0, 0.9) };
    let frames = vec![vec![nowhere, uncertain, face(50.0, 50.0, 0.9)]; 2];
    for placed in follow(SETTINGS, &frames) {
        assert_eq!(brief(&placed), [(1, 50.0, true)]);
        assert_eq!(placed[0].detection, Some(2));
    }
}

fn any_frames() -> impl Strategy<Value = Vec<Vec<Face>>> {
    let face = (0.0f32..200.0, 0.0f32..100.0, 0.0f32..1.0).prop_map(|(x, y, c)| face(x, y, c));
    prop::collection::vec(prop::collection::vec(face, 0..6), 1..30)
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let numbers = (1u32..4, 0u64..6, 1u64..10, 0u64..6);
    (numbers, 0.0f32..1.0).prop_map(|((min_hits, hold, max_age, look_ahead), iou_threshold)| {
        Settings { min_hits, hold, max_age, look_ahead, iou_threshold, ..SETTINGS }
    })
}

proptest! {
    /// Whatever comes: every frame is told once, no id or detection twice in one, ages grow, and
    /// everything is a number.
    #[test]
    fn whatever_comes(settings in any_settings(), frames in any_frames()) {
        let all = follow(settings, &frames);
        prop_assert_eq!(all.len(), frames.len());
        let mut first = std::collections::BTreeMap::new();
        for (frame, placed) in all.iter().enumerate() {
            let mut ids: Vec<_> = placed.iter().map(|placed| tracking(placed).id).collect();
            ids.sort_unstable();
            ids.dedup();
            prop_assert_eq!(ids.len(), placed.len());
            let mut detections: Vec<_> = placed.iter().filter_map(|placed| placed.detection).collect();
            detections.sort_unstable();
            detections.dedup();
            let detected = placed.iter().filter(|placed| placed.detection.is_some()).count();
            prop_assert_eq!(detections.len(), detected);
            for placed in placed {
                prop_assert!(placed.face.is_finite());
                let first = *first.entry(tracking(placed).id).or_insert(frame);
                prop_assert_eq!(tracking(placed).age, (frame - first) as u64);
            }
        }
    }

    /// A strong detection is never lost, if one is enough.
    #[test]
    fn strong_detections_stay(settings in any_settings(), frames in any_frames()) {
        let settings = Settings { min_hits: 1, ..settings };
        for (faces, placed) in frames.iter().zip(follow(settings, &frames)) {
            for (index, face) in faces.iter().enumerate() {
                if face.confidence >= Some(settings.score_threshold) {
                    prop_assert!(placed.iter().any(|placed| placed.detection == Some(index)));
                }
            }
        }
    }

    /// Looking ahead adds faces to frames, and takes none away.
    #[test]
    fn looking_ahead_only_adds(settings in any_settings(), frames in any_frames()) {
        let now = follow(Settings { look_ahead: 0, min_hits: 1, ..settings }, &frames);
        let later = follow(Settings { min_hits: 1, ..settings }, &frames);
        for (now, later) in now.iter().zip(&later) {
            for placed in now.iter().filter(|placed| placed.detection.is_some()) {
                let id = tracking(placed).id;
                prop_assert!(later.iter().any(|later| tracking(later).id == id));
            }
        }
    }
}
