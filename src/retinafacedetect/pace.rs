// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which frames to skip where frames come faster than faces are found.

use gst::ClockTime;

/// So long is skipped before it is looked at what that has gained.
const PATIENCE: ClockTime = ClockTime::from_seconds(1);

/// The part of the longest lag that frames may always have: clocks and threads are not exact.
const HARDLY: u64 = 4;

/// How far a stream is behind the pipeline's clock.
#[derive(Debug)]
pub struct Pace {
    /// The lag that frames have without waiting for this element: the latency before it, and after it
    /// where a sink waits for the time of each frame.
    usual: ClockTime,
    /// When frames began to be skipped, or last gained time, and their lag then.
    skipping: Option<(ClockTime, ClockTime)>,
}

impl Pace {
    /// For a source with this latency.
    pub fn new(latency: ClockTime) -> Self {
        Self { usual: latency, skipping: None }
    }

    /// Whether to skip a frame that would leave more than `max_lag` later than usual if it took `work`
    /// to process; both times are running times.
    ///
    /// Where one frame alone takes longer than that, frames that are hardly late are processed all the
    /// same: none would be otherwise.
    ///
    /// Skipping costs next to no time, so what has been held up is soon made up for. Where a second
    /// of it gains nothing, the frames come late by themselves, or wait for their time in the sink:
    /// that is usual then.
    pub fn is_late(
        &mut self,
        frame: ClockTime,
        now: ClockTime,
        work: ClockTime,
        max_lag: ClockTime,
    ) -> bool {
        let lag = now.saturating_sub(frame);
        self.usual = self.usual.min(lag);
        let late = lag - self.usual;
        if late <= max_lag.saturating_sub(work).max(max_lag / HARDLY) {
            self.skipping = None;
            return false;
        }
        let (start, before) = *self.skipping.get_or_insert((now, lag));
        let took = now.saturating_sub(start);
        if took < PATIENCE {
            return true;
        }
        let gains = before.saturating_sub(lag) >= took / 10;
        if gains {
            self.skipping = Some((now, lag));
        } else {
            *self = Self::new(lag);
        }
        gains
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 40;
    const MAX_LAG: u64 = 80;

    /// Frames of a live source that are processed one after the other, each in `work` milliseconds
    /// unless it is skipped; a frame comes `delay` milliseconds after its time. Returns how many of
    /// each 25 are processed, and the lag at the end of each.
    fn run(
        mut pace: Pace,
        seconds: u64,
        work: u64,
        delay: impl Fn(u64) -> u64,
    ) -> Vec<(usize, u64)> {
        let mut now = 0;
        let second = |second| {
            let mut processed = 0;
            for time in (25 * second..25 * second + 25).map(|number| FRAME * number) {
                now = now.max(time + delay(time));
                let [frame, at, work_time, max_lag] =
                    [time, now, work, MAX_LAG].map(ClockTime::from_mseconds);
                if !pace.is_late(frame, at, work_time, max_lag) {
                    now += work;
                    processed += 1;
                }
            }
            (processed, now - FRAME * (25 * second + 24))
        };
        (0..seconds).map(second).collect()
    }

    #[test]
    fn nothing_is_skipped_where_the_element_keeps_up() {
        for latency in [0, 5, 2000] {
            let pace = Pace::new(ClockTime::from_mseconds(latency));
            assert!(run(pace, 10, 39, |_| 5).iter().all(|&(processed, _)| processed == 25));
        }
    }

    #[test]
    fn the_lag_stays_bounded_at_any_load() {
        for work in [41, 60, 100, 300] {
            for (processed, lag) in run(Pace::new(ClockTime::ZERO), 60, work, |_| 5) {
                assert!(lag <= 5 + MAX_LAG.max(work + MAX_LAG / 4), "{work} ms: {lag}");
                // As many as there is time for, less a bit.
                let most = (1000 / work) as usize;
                assert!(
                    (most.min(25) * 2 / 3..=most + 2).contains(&processed),
                    "{work}: {processed}"
                );
            }
        }
    }

    #[test]
    fn what_was_held_up_before_the_first_frame_is_made_up_for() {
        let delays = |time: u64| 3000_u64.saturating_sub(time);
        let seconds = run(Pace::new(ClockTime::from_mseconds(20)), 6, 20, delays);
        assert!(seconds[0].0 < 3, "{seconds:?}");
        assert_eq!(seconds[5].0, 25, "{seconds:?}");
        assert!(seconds[5].1 < 100);
    }

    #[test]
    fn frames_that_come_late_by_themselves_are_skipped_for_a_second_only() {
        // From the third second on, 500 ms later.
        let delays = |time: u64| if time < 2000 { 10 } else { 510 };
        let processed: Vec<_> =
            run(Pace::new(ClockTime::ZERO), 6, 20, delays).iter().map(|second| second.0).collect();
        assert_eq!(processed[..2], [25, 25]);
        assert!(processed[2] <= 2, "{processed:?}");
        assert!(processed[3] >= 23, "{processed:?}");
        assert_eq!(processed[4..], [25, 25]);
    }
}
