// SPDX-License-Identifier: MIT OR Apache-2.0

//! The best picture of each face that is followed.

use std::collections::BTreeMap;

/// When a face was, in frames and in nanoseconds, if known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub frame: u64,
    pub time: Option<u64>,
}

/// The best picture `P` of each face, until it is sent.
#[derive(Debug)]
pub struct Best<P> {
    faces: BTreeMap<u64, Candidate<P>>,
}

#[derive(Debug)]
struct Candidate<P> {
    quality: f32,
    picture: P,
    /// The first moment of which a picture could have been sent.
    first: Moment,
    last_frame: u64,
}

impl<P> Default for Best<P> {
    fn default() -> Self {
        Self { faces: BTreeMap::new() }
    }
}

impl<P> Best<P> {
    /// Takes note that the face `id` is still there.
    pub fn see(&mut self, id: u64, now: Moment) {
        if let Some(candidate) = self.faces.get_mut(&id) {
            candidate.last_frame = now.frame;
        }
    }

    /// Keeps `picture`, unless there was one of the face `id` that is as good.
    pub fn offer(&mut self, id: u64, now: Moment, quality: f32, picture: P) {
        match self.faces.get_mut(&id) {
            Some(candidate) => {
                candidate.last_frame = now.frame;
                if quality > candidate.quality {
                    (candidate.quality, candidate.picture) = (quality, picture);
                }
            }
            None => {
                let candidate = Candidate { quality, picture, first: now, last_frame: now.frame };
                self.faces.insert(id, candidate);
            }
        }
    }

    /// The pictures of faces that were not there for more than `max_age` frames, or of which one could
    /// have been sent `interval` nanoseconds ago, unless that is 0; in the order of their ids.
    pub fn due(&mut self, now: Moment, max_age: u64, interval: u64) -> Vec<P> {
        let is_due = |candidate: &Candidate<P>| {
            let waited = now.time.zip(candidate.first.time);
            // Played in reverse, time goes back.
            let waited = waited.is_some_and(|(now, first)| now.abs_diff(first) >= interval);
            now.frame.saturating_sub(candidate.last_frame) > max_age || interval > 0 && waited
        };
        let ids: Vec<u64> =
            self.faces.iter().filter(|(_, face)| is_due(face)).map(|(id, _)| *id).collect();
        let due = ids.iter().filter_map(|id| self.faces.remove(id));
        due.map(|candidate| candidate.picture).collect()
    }

    /// All that are left, in the order of their ids.
    pub fn take_all(&mut self) -> Vec<P> {
        let faces = std::mem::take(&mut self.faces);
        faces.into_values().map(|candidate| candidate.picture).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(frame: u64) -> Moment {
        Moment { frame, time: Some(frame * 10) }
    }

    #[test]
    fn the_best_picture_is_kept() {
        let mut best = Best::default();
        for (frame, quality) in [0.2, 0.5, 0.5, f32::NAN, 0.4].into_iter().enumerate() {
            best.offer(7, at(frame as u64), quality, frame);
        }
        best.offer(3, at(4), 0.0, 9);
        assert_eq!(best.take_all(), [9, 1]);
        assert!(best.take_all().is_empty());
    }

    #[test]
    fn faces_end_when_they_were_not_there_for_more_frames_than_max_age() {
        let mut best = Best::default();
        best.offer(1, at(0), 0.5, 'a');
        best.offer(2, at(0), 0.5, 'b');
        best.see(2, at(4));
        best.see(3, at(4));
        assert!(best.due(at(5), 5, 0).is_empty());
        assert_eq!(best.due(at(6), 5, 0), ['a']);
        assert!(best.due(at(9), 5, 0).is_empty());
        assert_eq!(best.due(at(10), 5, 0), ['b']);
    }

    #[test]
    fn every_interval_has_its_best() {
        let mut best = Best::default();
        best.offer(1, at(0), 0.9, 'a');
        assert!(best.due(at(2), 5, 30).is_empty());
        assert_eq!(best.due(at(3), 5, 30), ['a']);
        best.offer(1, at(4), 0.1, 'b');
        assert!(best.due(at(6), 5, 30).is_empty());
        // In reverse.
        assert_eq!(best.due(at(1), 5, 30), ['b']);
        best.offer(1, Moment { frame: 8, time: None }, 0.1, 'c');
        assert!(best.due(at(9), 5, 30).is_empty());
    }
}
