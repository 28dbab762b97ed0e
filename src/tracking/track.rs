// SPDX-License-Identifier: MIT OR Apache-2.0

//! One face over time.

use std::collections::VecDeque;

use super::motion::Motion;
use crate::{
    face::{Face, Landmarks},
    geometry::{Point, Rect},
};

/// A detection of a face.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    /// The frame's number.
    pub frame: u64,
    /// The frame's time, if it has one.
    pub time: Option<u64>,
    /// Its place among the frame's detections.
    pub detection: usize,
    pub face: Face,
}

/// A face in a frame, detected or not.
pub enum Place {
    Detected(Sighting),
    Held(Face),
}

pub struct Track {
    /// There from [`super::Settings::min_hits`] detections on.
    pub id: Option<u64>,
    pub hits: u32,
    /// The time of its first sighting.
    pub first_seen: Option<u64>,
    /// The first frame that was said to have the face.
    pub first_placed: Option<u64>,
    motion: Motion,
    /// The last sighting before the next frame that is asked for, and all after it.
    sightings: VecDeque<Sighting>,
    last: u64,
}

impl Track {
    pub fn new(sighting: Sighting) -> Self {
        Self {
            id: None,
            hits: 1,
            first_seen: sighting.time,
            first_placed: None,
            motion: Motion::new(&sighting.face.bounds),
            sightings: VecDeque::from([sighting]),
            last: sighting.frame,
        }
    }

    /// `doubt` as in [`Motion::observe`].
    pub fn observe(&mut self, sighting: Sighting, doubt: f32) {
        self.motion.observe(&sighting.face.bounds, sighting.frame - self.last, doubt);
        self.sightings.push_back(sighting);
        self.last = sighting.frame;
        self.hits = self.hits.saturating_add(1);
    }

    /// Frames since its last detection.
    pub fn unseen(&self, now: u64) -> u64 {
        now.saturating_sub(self.last)
    }

    /// Where its next detection is expected.
    pub fn expected(&self, now: u64) -> Rect {
        self.motion.expect(self.unseen(now))
    }

    /// Where it is in a frame, as far as is known by now: between two detections on the way from one to
    /// the other; after the last as it moved before, for up to `hold` frames; before the first as it
    /// moves after it, for `look_ahead`.
    pub fn place(&self, frame: u64, hold: u64, look_ahead: u64) -> Option<Place> {
        let after = self.sightings.partition_point(|sighting| sighting.frame <= frame);
        let before = after.checked_sub(1).and_then(|index| self.sightings.get(index));
        let face = match (before, self.sightings.get(after)) {
            (Some(before), _) if before.frame == frame => return Some(Place::Detected(*before)),
            (Some(before), Some(after)) => between(before, after, frame),
            (Some(before), None) => {
                let frames = frame - before.frame;
                (frames <= hold).then(|| moved_to(&before.face, &self.motion.predict(frames)))?
            }
            (None, Some(after)) => {
                let frames = after.frame - frame;
                let Point { x, y } = self.motion.speed();
                let (x, y) = (x * frames as f32, y * frames as f32);
                (frames <= look_ahead).then(|| shifted(&after.face, -x, -y))?
            }
            (None, None) => return None,
        };
        Some(Place::Held(face))
    }

    /// The time of its last sighting up to a frame; of the first where all are later.
    pub fn last_seen(&self, frame: u64) -> Option<u64> {
        let after = self.sightings.partition_point(|sighting| sighting.frame <= frame);
        self.sightings.get(after.saturating_sub(1))?.time
    }

    /// Forgets what no frame from this one on depends on.
    pub fn forget_before(&mut self, frame: u64) {
        while self.sightings.get(1).is_some_and(|sighting| sighting.frame <= frame) {
            self.sightings.pop_front();
        }
    }
}

/// `face` with other bounds, its landmarks in the same place within them.
fn moved_to(face: &Face, bounds: &Rect) -> Face {
    let from = face.bounds;
    let coordinate = |value: f32, from_min: f32, from_size: f32, to_min: f32, to_size: f32| {
        let fraction = if from_size > 0.0 { (value - from_min) / from_size } else { 0.5 };
        to_min + fraction * to_size
    };
    let landmarks = face.landmarks.map(|landmarks| {
        Landmarks(landmarks.0.map(|point| Point {
            x: coordinate(point.x, from.x_min, from.width(), bounds.x_min, bounds.width()),
            y: coordinate(point.y, from.y_min, from.height(), bounds.y_min, bounds.height()),
        }))
    });
    Face { bounds: *bounds, landmarks, ..*face }
}

fn shifted(face: &Face, x: f32, y: f32) -> Face {
    let Rect { x_min, y_min, x_max, y_max } = face.bounds;
    moved_to(face, &Rect::new(x_min + x, y_min + y, x_max + x, y_max + y))
}

/// On the straight way from one detection to the next; landmarks where both have them.
fn between(before: &Sighting, after: &Sighting, frame: u64) -> Face {
    let fraction = (frame - before.frame) as f32 / (after.frame - before.frame) as f32;
    let mix = |from: f32, to: f32| from + fraction * (to - from);
    let (from, to) = (&before.face, &after.face);
    let bounds = Rect {
        x_min: mix(from.bounds.x_min, to.bounds.x_min),
        y_min: mix(from.bounds.y_min, to.bounds.y_min),
        x_max: mix(from.bounds.x_max, to.bounds.x_max),
        y_max: mix(from.bounds.y_max, to.bounds.y_max),
    };
    let (Some(Landmarks(from)), Some(Landmarks(to))) = (from.landmarks, to.landmarks) else {
        return moved_to(from, &bounds);
    };
    let point = |i: usize| Point { x: mix(from[i].x, to[i].x), y: mix(from[i].y, to[i].y) };
    let landmarks = Some(Landmarks(std::array::from_fn(point)));
    Face { bounds, landmarks, ..before.face }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(frame: u64) -> Sighting {
        let bounds = Rect::new(0.0, 0.0, 10.0, 10.0);
        let face = Face { bounds, ..Face::default() };
        Sighting { frame, time: Some(10 * frame), detection: 0, face }
    }

    #[test]
    fn sightings_are_kept_as_long_as_frames_depend_on_them() {
        let mut track = Track::new(sighting(1));
        for frame in [2, 3, 7] {
            track.observe(sighting(frame), 1.0);
        }
        let last_seen = [0, 1, 2, 5, 7, 9].map(|frame| track.last_seen(frame));
        assert_eq!(last_seen, [10, 10, 20, 30, 70, 70].map(Some));
        track.forget_before(5);
        assert_eq!(track.sightings.iter().map(|it| it.frame).collect::<Vec<_>>(), [3, 7]);
        track.forget_before(7);
        assert_eq!(track.sightings.iter().map(|it| it.frame).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn landmarks_move_with_the_box() {
        let points = |x, y| Some(Landmarks([Point { x, y }; 5]));
        let moved = |from: Rect, landmarks| {
            let face = Face { bounds: from, landmarks, ..Face::default() };
            moved_to(&face, &Rect::new(100.0, 200.0, 120.0, 240.0)).landmarks
        };
        // A quarter and three quarters.
        assert_eq!(moved(Rect::new(0.0, 0.0, 8.0, 4.0), points(2.0, 3.0)), points(105.0, 230.0));
        assert_eq!(moved(Rect::new(0.0, 0.0, 0.5, 0.5), points(0.25, 0.5)), points(110.0, 240.0));
        // Of a box without width or height, they are in the middle.
        assert_eq!(moved(Rect::new(3.0, 0.0, 3.0, 4.0), points(3.0, 1.0)), points(110.0, 210.0));
        assert_eq!(moved(Rect::new(0.0, 3.0, 8.0, 3.0), points(2.0, 3.0)), points(105.0, 220.0));
    }
}
