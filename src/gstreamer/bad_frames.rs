// SPDX-License-Identifier: MIT OR Apache-2.0

//! What to do about frames that are not what their caps promise.

use std::time::{Duration, Instant};

use gst::prelude::*;

use super::frame::MapError;

/// So many without a good one before are no accident: the stream is wrong.
const MOST: u64 = 100;
/// Between warnings.
const PAUSE: Duration = Duration::from_secs(10);

/// Counts frames that cannot be mapped. One of them is no reason to end a stream, but a stream of
/// nothing else is.
#[derive(Default)]
pub struct BadFrames {
    count: u64,
    /// Whether there has been a good one.
    any_good: bool,
    warned: Option<Instant>,
    /// About the last one.
    reason: String,
    /// Whether they are dropped rather than passed on.
    dropped: bool,
}

/// What to say about a frame that cannot be mapped.
#[derive(Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// Nothing, as there was a warning a moment ago.
    Again,
    Warning(String),
    /// And to end the stream.
    Error(String),
}

impl BadFrames {
    /// For an element that drops them.
    pub fn dropping() -> Self {
        Self { dropped: true, ..Self::default() }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// A frame that could be mapped.
    pub fn good(&mut self) {
        self.any_good = true;
    }

    /// A frame that could not, at this time.
    pub fn bad(&mut self, err: &MapError, now: Instant) -> BadFrame {
        self.count += 1;
        self.reason = err.to_string();
        if self.count >= MOST && !self.any_good {
            return BadFrame::Error(self.describe_all());
        }
        if self.warned.is_some_and(|warned| now.duration_since(warned) < PAUSE) {
            return BadFrame::Again;
        }
        self.warned = Some(now);
        let outcome = if self.dropped { "dropped" } else { "passed on as it is" };
        BadFrame::Warning(format!(
            "The upstream element sent a frame that does not match its caps, which is {outcome} ({} so \
             far): {err}",
            self.count
        ))
    }

    /// What is wrong with a stream that ends here, unless it is good or there was an error before.
    pub fn at_end(&self) -> Option<String> {
        let all_bad = !self.any_good && (1..MOST).contains(&self.count);
        all_bad.then(|| self.describe_all())
    }

    fn describe_all(&self) -> String {
        format!(
            "The upstream element sent no frame that matches its caps, but {} that do not: {}",
            self.count, self.reason
        )
    }
}

impl BadFrame {
    /// Says it on the bus, as an error or a warning of this code and with these details for developers;
    /// fails where the stream is to end.
    pub fn post(
        self,
        element: &impl IsA<gst::Element>,
        code: gst::StreamError,
        details: Option<&str>,
    ) -> Result<(), gst::FlowError> {
        let (kind, text, outcome) = match self {
            Self::Again => return Ok(()),
            Self::Warning(text) => (gst::ElementMessageType::Warning, text, Ok(())),
            Self::Error(text) => (gst::ElementMessageType::Error, text, Err(gst::FlowError::Error)),
        };
        let (file, line) = (file!(), line!());
        element.message_full(kind, code, Some(&text), details, file, "post", line);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn err() -> MapError {
        MapError::Stride { plane: 0, stride: 5, row: 12 }
    }

    #[test]
    fn warnings_come_at_once_and_then_every_ten_seconds() {
        let mut frames = BadFrames::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        frames.good();
        for (time, warns) in
            [(0, true), (1, false), (9_999, false), (10_000, true), (19_999, false)]
        {
            let said = frames.bad(&err(), at(time));
            assert_eq!(said != BadFrame::Again, warns, "{said:?} at {time}");
        }
        let BadFrame::Warning(text) = frames.bad(&err(), at(20_000)) else { panic!("no warning") };
        assert!(text.contains("6 so far") && text.contains("stride of 5"), "{text}");
        assert_eq!(frames.count(), 6);
    }

    #[test]
    fn a_hundred_without_a_good_one_are_an_error() {
        for good in [false, true] {
            let mut frames = BadFrames::default();
            assert_eq!(frames.at_end(), None, "none is bad");
            for _ in 0..99 {
                assert!(!matches!(frames.bad(&err(), Instant::now()), BadFrame::Error(_)));
                assert!(frames.at_end().is_some());
            }
            if good {
                frames.good();
                assert_eq!(frames.at_end(), None);
            }
            let said = frames.bad(&err(), Instant::now());
            assert_eq!(matches!(said, BadFrame::Error(_)), !good, "{said:?}");
            assert_eq!(frames.at_end(), None, "said before, or not all are bad");
        }
    }
}
