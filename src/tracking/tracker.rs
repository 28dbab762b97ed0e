// SPDX-License-Identifier: MIT OR Apache-2.0

//! All faces over time.

use super::track::{Place, Sighting, Track};
use crate::{
    face::{Face, Tracking, TrackingState},
    geometry::Rect,
};

/// How much boxes are grown on each side, in widths and heights, to find faces that moved fast: the
/// second buffer of C-BIoU.
const GROWTH: f32 = 0.5;
/// A face that was not detected and overlaps one that was by more than this is behind it, or the same
/// one: there is nothing of it to be seen.
const HIDDEN: f32 = 0.7;

/// How faces are followed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Confidence of a detection, 0 to 1, from which it starts a face. One without confidence counts
    /// as 1.
    pub score_threshold: f32,
    /// Confidence from which a detection continues a face.
    pub weak_score_threshold: f32,
    /// Least intersection over union of a detection with where its face is expected.
    pub iou_threshold: f32,
    /// The same for detections below `score_threshold`.
    pub weak_iou_threshold: f32,
    /// Detections before a face is one.
    pub min_hits: u32,
    /// Most frames in a row in which a face is put where it is expected.
    pub hold: u64,
    /// Most frames between two detections of one face.
    pub max_age: u64,
    /// Frames that are known already when a frame's faces are asked for.
    pub look_ahead: u64,
}

/// A face in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// With its [`Tracking`].
    pub face: Face,
    /// Which of the frame's detections it is; none for a face that is held.
    pub detection: Option<usize>,
    /// The times of the frames in which it was detected first, and last up to this one; both those of
    /// its first detection where that is still to come.
    pub first_seen: Option<u64>,
    pub last_seen: Option<u64>,
}

/// A detection that may belong to a track.
struct Pair {
    overlap: f32,
    track: usize,
    detection: usize,
}

/// Follows the faces of a stream. Nothing is allocated for a frame once there were as many faces
/// before.
#[derive(Default)]
pub struct Tracker {
    tracks: Vec<Track>,
    last_id: u64,
    /// The numbers of the last frame, and of the last one whose faces were asked for.
    now: u64,
    placed: u64,
    /// The time of the last frame.
    time: Option<u64>,
    pairs: Vec<Pair>,
    /// Where the tracks are expected.
    expected: Vec<Rect>,
    /// The tracks and detections that belong together already.
    taken_tracks: Vec<bool>,
    taken_detections: Vec<bool>,
}

impl Tracker {
    /// Forgets all faces. Their ids are not used again.
    pub fn reset(&mut self) {
        self.tracks.clear();
    }

    /// Takes the detections of a frame, so many frames after the one before it, and its time, in whatever
    /// unit faces are to have theirs. Returns the frame's number, by which [`Self::place`] gives its faces.
    pub fn observe(
        &mut self,
        detections: &[Face],
        frames: u64,
        time: Option<u64>,
        settings: &Settings,
    ) -> u64 {
        self.now = self.now.saturating_add(frames);
        self.time = time;
        let now = self.now;
        // Faces that are gone may still be on frames that have not been asked for.
        self.tracks.retain(|track| track.unseen(self.placed) <= settings.max_age);
        self.expected.clear();
        self.expected.extend(self.tracks.iter().map(|track| track.expected(now)));
        self.taken_tracks.clear();
        self.taken_tracks
            .extend(self.tracks.iter().map(|track| track.unseen(now) > settings.max_age));
        self.taken_detections.clear();
        self.taken_detections.extend(detections.iter().map(|face| !face.is_finite()));

        let Settings { iou_threshold, weak_iou_threshold, hold, .. } = *settings;
        let strong = |face: &Face| confidence(face) >= settings.score_threshold;
        let weak = |face: &Face| confidence(face) >= settings.weak_score_threshold;
        let doubt = |face: &Face| doubt(face, settings.score_threshold);
        self.assign(detections, iou_threshold, 0.0, doubt, |_, face| strong(face));
        // A weak detection proves little, and nothing of a face that was not on the frame before.
        self.assign(detections, weak_iou_threshold, 0.0, doubt, |track, face| {
            weak(face) && !strong(face) && track.unseen(now) <= hold + 1
        });
        self.assign(detections, iou_threshold, GROWTH, doubt, |_, face| strong(face));
        for (detection, face) in detections.iter().enumerate() {
            if !self.taken_detections[detection] && strong(face) {
                self.tracks.push(Track::new(Sighting { frame: now, time, detection, face: *face }));
            }
        }
        for track in &mut self.tracks {
            if track.id.is_none() && track.hits >= settings.min_hits {
                self.last_id += 1;
                track.id = Some(self.last_id);
            }
        }
        now
    }

    /// Gives detections to tracks, those first that overlap most, both grown on each side by
    /// `growth`.
    fn assign(
        &mut self,
        detections: &[Face],
        threshold: f32,
        growth: f32,
        doubt: impl Fn(&Face) -> f32,
        may_belong: impl Fn(&Track, &Face) -> bool,
    ) {
        self.pairs.clear();
        for (detection, face) in detections.iter().enumerate() {
            if self.taken_detections[detection] {
                continue;
            }
            let bounds = face.bounds.expand(growth);
            for (track, expected) in self.expected.iter().enumerate() {
                if self.taken_tracks[track] || !may_belong(&self.tracks[track], face) {
                    continue;
                }
                let overlap = bounds.iou(&expected.expand(growth));
                if overlap > 0.0 && overlap >= threshold {
                    self.pairs.push(Pair { overlap, track, detection });
                }
            }
        }
        // Where two overlap as much, the face that has been there for longer comes first.
        self.pairs.sort_unstable_by(|a, b| {
            b.overlap
                .total_cmp(&a.overlap)
                .then((a.track, a.detection).cmp(&(b.track, b.detection)))
        });
        for &Pair { track, detection, .. } in &self.pairs {
            if self.taken_tracks[track] || self.taken_detections[detection] {
                continue;
            }
            self.taken_tracks[track] = true;
            self.taken_detections[detection] = true;
            let face = detections[detection];
            let sighting = Sighting { frame: self.now, time: self.time, detection, face };
            self.tracks[track].observe(sighting, doubt(&face));
        }
    }

    /// Writes the faces of a frame to `placed`, as far as is known by now; oldest first. Frames are
    /// asked for in their order, each once, and at most [`Settings::look_ahead`] frames late.
    pub fn place(&mut self, frame: u64, settings: &Settings, placed: &mut Vec<Placed>) {
        self.placed = frame;
        placed.clear();
        for track in &self.tracks {
            let Some(id) = track.id else { continue };
            let (face, detection, state) =
                match track.place(frame, settings.hold, settings.look_ahead) {
                    Some(Place::Detected(sighting)) => {
                        (sighting.face, Some(sighting.detection), TrackingState::Detected)
                    }
                    Some(Place::Held(face)) => (face, None, TrackingState::Held),
                    None => continue,
                };
            let age = frame - track.first_placed.unwrap_or(frame);
            let face = Face { tracking: Some(Tracking { id, age, state }), ..face };
            let (first_seen, last_seen) = (track.first_seen, track.last_seen(frame));
            placed.push(Placed { face, detection, first_seen, last_seen });
        }
        hide(placed);
        for track in &mut self.tracks {
            let is_placed = |placed: &Placed| placed.face.tracking.map(|t| t.id) == track.id;
            if track.first_placed.is_none() && placed.iter().any(is_placed) {
                track.first_placed = Some(frame);
            }
            track.forget_before(frame);
        }
    }
}

fn confidence(face: &Face) -> f32 {
    face.confidence.unwrap_or(1.0)
}

/// How much less a detection's box is to be trusted than one with this confidence: a face that is half
/// hidden has a small box, which seems to move as the rest of it disappears.
fn doubt(face: &Face, score_threshold: f32) -> f32 {
    (score_threshold / confidence(face).max(0.01)).max(1.0).powi(2)
}

/// Leaves out the held faces that are behind detected ones.
fn hide(placed: &mut Vec<Placed>) {
    for index in (0..placed.len()).rev() {
        let is_hidden = placed[index].detection.is_none()
            && placed.iter().any(|other| {
                other.detection.is_some()
                    && other.face.bounds.iou(&placed[index].face.bounds) > HIDDEN
            });
        if is_hidden {
            placed.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn face(x: f32, confidence: Option<f32>) -> Face {
        Face { bounds: Rect::new(x, 0.0, x + 10.0, 10.0), confidence, ..Face::default() }
    }

    #[test]
    fn weak_detections_are_doubted_and_those_without_confidence_are_not() {
        for (found, expected) in [
            (Some(0.5), 1.0),
            (Some(0.9), 1.0),
            (Some(0.25), 4.0),
            (Some(0.0), 2500.0),
            (None, 1.0),
        ] {
            // (0.5 / 0.25)² and (0.5 / 0.01)²
            let doubt = doubt(&face(0.0, found), 0.5);
            assert!((doubt - expected).abs() < 1e-3 * expected, "{found:?}: {doubt}");
        }
        assert_eq!(confidence(&face(0.0, None)), 1.0);
    }

    #[test]
    fn faces_behind_detected_ones_are_hidden() {
        let placed = |x, detection| Placed {
            face: face(x, Some(0.9)),
            detection,
            first_seen: None,
            last_seen: None,
        };
        // IoU 9 / 11 of the first with the second; 5 / 15 of the third.
        let mut all = vec![placed(0.0, None), placed(1.0, Some(0)), placed(6.0, None)];
        hide(&mut all);
        assert_eq!(all, [placed(1.0, Some(0)), placed(6.0, None)]);
        // Held faces do not hide each other.
        let mut held = vec![placed(0.0, None), placed(1.0, None)];
        hide(&mut held);
        assert_eq!(held.len(), 2);
    }
}
