// SPDX-License-Identifier: MIT OR Apache-2.0

//! How far apart the frames of a stream are.

use gst::ClockTime;

/// So many distances between frames say what is usual.
const DISTANCES: usize = 5;
/// Where caps say nothing, as x264enc and others assume it.
const ASSUMED: ClockTime = ClockTime::from_mseconds(40);

/// How far apart frames are, as the caps promise and as it turns out: cameras send fewer frames in the
/// dark, and some encoders write a frame rate that is none.
pub struct Spacing {
    /// `None` where the frame rate is variable or unknown.
    promised: Option<ClockTime>,
    last: Option<ClockTime>,
    /// The latest ones, in any order.
    distances: [ClockTime; DISTANCES],
    /// That there have been.
    count: usize,
    expected: ClockTime,
}

impl Default for Spacing {
    fn default() -> Self {
        Self {
            promised: None,
            last: None,
            distances: [ClockTime::ZERO; DISTANCES],
            count: 0,
            expected: ASSUMED,
        }
    }
}

impl Spacing {
    /// Caps say how far apart frames will be, if they do.
    pub fn promise(&mut self, distance: Option<ClockTime>) {
        if self.promised != distance {
            let last = self.last;
            *self = Self { promised: distance, last, ..Self::default() };
            self.expected = distance.unwrap_or(ASSUMED);
        }
    }

    /// The next frame does not follow the last one.
    pub fn interrupt(&mut self) {
        self.last = None;
    }

    /// How many frames after the last one a frame with this timestamp is, where those in between have
    /// been lost; 1 where that is unknown.
    pub fn frames_to(&mut self, pts: Option<ClockTime>) -> u64 {
        let Some(pts) = pts else {
            let promised = self.promised.unwrap_or_default();
            self.last = self.last.map(|last| last.saturating_add(promised));
            return 1;
        };
        let Some(last) = self.last.replace(pts) else { return 1 };
        // Played in reverse, time goes back.
        let distance = last.max(pts) - last.min(pts);
        self.distances[self.count % DISTANCES] = distance;
        self.count += 1;
        let usual = self.usual();
        if self.count >= DISTANCES && usual > self.expected.saturating_add(self.expected / 10) {
            self.expected = usual;
        }
        let Some(promised) = self.promised else { return 1 };
        let usual = usual.max(promised).nseconds();
        (distance.nseconds().saturating_add(usual / 2) / usual).max(1)
    }

    /// How many frames there would be in this time, one at least.
    pub fn frames_in(&self, duration: ClockTime) -> u64 {
        duration.nseconds().div_ceil(self.expected.nseconds().max(1)).max(1)
    }

    /// How far apart frames are to be expected: as promised, or further where it turned out so.
    pub fn expected(&self) -> ClockTime {
        self.expected
    }

    /// The median of the latest distances, the smaller of two.
    fn usual(&self) -> ClockTime {
        let mut distances = self.distances;
        let known = &mut distances[..self.count.min(DISTANCES)];
        known.sort_unstable();
        known.get(known.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> ClockTime {
        ClockTime::from_mseconds(ms)
    }

    /// Of a stream that promises a frame every so many milliseconds: how many frames after the one
    /// before each of these is.
    fn frames(promised: Option<u64>, times: &[u64]) -> Vec<u64> {
        let mut spacing = Spacing::default();
        spacing.promise(promised.map(ms));
        times.iter().map(|time| spacing.frames_to(Some(ms(*time)))).collect()
    }

    #[test]
    fn frames_that_were_lost_count() {
        assert_eq!(frames(Some(40), &[0, 40, 80, 200, 240, 640]), [1, 1, 1, 3, 1, 10]);
        assert_eq!(frames(Some(40), &[640, 600, 480]), [1, 1, 3], "in reverse");
        assert_eq!(frames(Some(40), &[0, 35, 85, 85]), [1, 1, 1, 1], "no frame is lost by jitter");
        assert_eq!(frames(None, &[0, 40, 80, 200]), [1; 4], "the frame rate is variable");
    }

    #[test]
    fn frames_that_are_always_further_apart_than_promised_were_not_lost() {
        assert_eq!(frames(Some(1), &[0, 40, 80, 200, 240]), [1, 1, 1, 3, 1]);
        let twice: Vec<_> = (0..20).map(|frame| frame * 80).collect();
        assert_eq!(frames(Some(40), &twice), [1; 20]);
    }

    #[test]
    fn frames_without_timestamps_are_a_frame_apart() {
        let mut spacing = Spacing::default();
        spacing.promise(Some(ms(40)));
        let times = [Some(ms(0)), None, None, Some(ms(120)), Some(ms(160))];
        assert_eq!(times.map(|time| spacing.frames_to(time)), [1; 5]);
    }

    #[test]
    fn times_are_frames() {
        let spacing = Spacing::default();
        let frames = [0, 1, 40, 41, 120].map(|time| spacing.frames_in(ms(time)));
        assert_eq!(frames, [1, 1, 1, 2, 3]);
    }

    #[test]
    fn what_is_expected_follows_the_caps_and_then_the_frames() {
        let mut spacing = Spacing::default();
        assert_eq!(spacing.expected(), ms(40));
        spacing.promise(Some(ms(20)));
        assert_eq!(spacing.expected(), ms(20));
        // A pause of a second changes nothing, nor do a few ms.
        for time in [0, 20, 1020, 1042, 1064, 1085] {
            spacing.frames_to(Some(ms(time)));
        }
        assert_eq!(spacing.expected(), ms(20));
        for frame in 0..DISTANCES as u64 {
            spacing.frames_to(Some(ms(2000 + 66 * frame)));
        }
        assert_eq!(spacing.expected(), ms(66));
        spacing.interrupt();
        spacing.promise(Some(ms(20)));
        assert_eq!(spacing.expected(), ms(66), "the same caps again");
        spacing.promise(None);
        assert_eq!(spacing.expected(), ms(40));
    }
}
