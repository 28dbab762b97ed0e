// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the analysis branch has found.

use std::collections::VecDeque;

use crate::face::{Face, Landmarks};

/// So many that no frame of the main branch has asked for are no queue, but a main branch that stands
/// still.
const MOST: usize = 1000;

/// The faces of a frame of the analysis branch.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysed {
    /// The frame's running time.
    pub time: gst::ClockTime,
    /// The frame's width and height in pixels, in which the faces are.
    pub size: (u32, u32),
    pub faces: Vec<Face>,
}

/// What is known about a frame.
#[derive(Debug, PartialEq)]
pub enum Answer<'a> {
    /// The analysis branch has had it.
    This(&'a Analysed),
    /// The analysis branch has left it out.
    LeftOut,
    /// The analysis branch may still get it.
    NotYet,
}

/// The frames that the analysis branch has had and that the main branch has not, oldest first.
#[derive(Default)]
pub struct Analysis {
    ahead: VecDeque<Analysed>,
    /// The one before them.
    latest: Option<Analysed>,
}

impl Analysis {
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn push(&mut self, analysed: Analysed) {
        if self.ahead.back().is_some_and(|last| analysed.time < last.time) {
            // Time has begun anew: what was ahead would never be reached.
            self.clear();
        }
        if self.ahead.len() == MOST {
            self.latest = self.ahead.pop_front();
        }
        self.ahead.push_back(analysed);
    }

    /// About the frame with this running time; those before are not asked for again. A frame of the
    /// analysis branch no further away than `tolerance` is the same, the nearest if there are several.
    pub fn find(&mut self, time: gst::ClockTime, tolerance: gst::ClockTime) -> Answer<'_> {
        let distance = |analysed: &Analysed| analysed.time.max(time) - analysed.time.min(time);
        while let Some(front) = self.ahead.front() {
            let is_over = front.time.saturating_add(tolerance) < time;
            let is_nearer = |next| distance(next) <= distance(front);
            if !is_over && !self.ahead.get(1).is_some_and(is_nearer) {
                break;
            }
            self.latest = self.ahead.pop_front();
        }
        match self.ahead.front() {
            Some(front) if front.time <= time.saturating_add(tolerance) => Answer::This(front),
            Some(_) => Answer::LeftOut,
            None => Answer::NotYet,
        }
    }

    /// The last frame before `time` that the analysis branch has had, no older than `most`.
    pub fn latest(&self, time: gst::ClockTime, most: gst::ClockTime) -> Option<&Analysed> {
        self.latest
            .as_ref()
            .filter(|latest| latest.time <= time && time.saturating_sub(latest.time) <= most)
    }
}

impl Analysed {
    /// The faces in a frame of another size that shows the same.
    pub fn faces_at(&self, (width, height): (u32, u32)) -> impl Iterator<Item = Face> {
        let x = width as f32 / self.size.0 as f32;
        let y = height as f32 / self.size.1 as f32;
        self.faces.iter().map(move |face| Face {
            bounds: face.bounds.scale(x, y),
            landmarks: face.landmarks.map(|Landmarks(mut points)| {
                for point in &mut points {
                    (point.x, point.y) = (point.x * x, point.y * y);
                }
                Landmarks(points)
            }),
            ..*face
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{Point, Rect};

    fn at(ms: u64) -> gst::ClockTime {
        gst::ClockTime::from_mseconds(ms)
    }

    fn analysed(ms: u64) -> Analysed {
        Analysed { time: at(ms), size: (10, 10), faces: Vec::new() }
    }

    fn with_frames(times: &[u64]) -> Analysis {
        let mut analysis = Analysis::default();
        times.iter().for_each(|ms| analysis.push(analysed(*ms)));
        analysis
    }

    #[test]
    fn frames_are_found_by_their_time() {
        assert_eq!(Analysis::default().find(at(0), at(1)), Answer::NotYet);
        let mut analysis = with_frames(&[0, 40, 120]);
        assert_eq!(analysis.find(at(0), at(1)), Answer::This(&analysed(0)));
        assert_eq!(analysis.find(at(41), at(1)), Answer::This(&analysed(40)));
        assert_eq!(analysis.find(at(80), at(1)), Answer::LeftOut);
        assert_eq!(analysis.latest(at(80), at(40)), Some(&analysed(40)));
        assert_eq!(analysis.latest(at(81), at(40)), None);
        assert_eq!(analysis.find(at(119), at(1)), Answer::This(&analysed(120)));
        assert_eq!(analysis.find(at(160), at(1)), Answer::NotYet);
        assert_eq!(analysis.latest(at(160), at(1000)), Some(&analysed(120)));
        analysis.clear();
        assert_eq!(analysis.latest(at(160), at(1000)), None);
    }

    #[test]
    fn the_nearest_frame_is_taken() {
        let mut analysis = with_frames(&[0, 10, 20, 100]);
        assert_eq!(analysis.find(at(14), at(20)), Answer::This(&analysed(10)));
        assert_eq!(analysis.find(at(54), at(20)), Answer::LeftOut);
        assert_eq!(analysis.find(at(94), at(20)), Answer::This(&analysed(100)));
        assert_eq!(analysis.find(at(121), at(20)), Answer::NotYet);
    }

    #[test]
    fn time_may_begin_anew() {
        let mut analysis = with_frames(&[1000, 1040]);
        assert_eq!(analysis.find(at(1040), at(1)), Answer::This(&analysed(1040)));
        analysis.push(analysed(0));
        assert_eq!(analysis.find(at(0), at(1)), Answer::This(&analysed(0)));
    }

    #[test]
    fn a_main_branch_that_stands_still_takes_no_memory() {
        let mut analysis = Analysis::default();
        (0..2 * MOST as u64).for_each(|ms| analysis.push(analysed(ms)));
        assert_eq!(analysis.ahead.len(), MOST);
        assert_eq!(analysis.latest.as_ref(), Some(&analysed(MOST as u64 - 1)));
    }

    #[test]
    fn faces_grow_with_the_frame() {
        let points = [1.0, 2.0, 3.0, 4.0, 5.0].map(|x| Point { x, y: -x });
        let face = Face {
            bounds: Rect::new(1.0, 2.0, 3.0, 4.0),
            landmarks: Some(Landmarks(points)),
            confidence: Some(0.5),
            tracking: None,
        };
        let analysed = Analysed { faces: vec![face], ..analysed(0) };
        let large: Vec<_> = analysed.faces_at((20, 50)).collect();
        let points = [2.0, 4.0, 6.0, 8.0, 10.0].map(|x| Point { x, y: -2.5 * x });
        let expected = Face {
            bounds: Rect::new(2.0, 10.0, 6.0, 20.0),
            landmarks: Some(Landmarks(points)),
            ..face
        };
        assert_eq!(large, [expected]);
    }
}
