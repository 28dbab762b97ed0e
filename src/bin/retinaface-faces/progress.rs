// SPDX-License-Identifier: MIT OR Apache-2.0

//! A progress bar on the terminal.

use std::time::{Duration, Instant};

use gst::{ClockTime, prelude::*};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What takes no longer needs no bar.
const SOON: Duration = Duration::from_secs(1);

/// Shows how far one input is. On a standard error that is no terminal it shows nothing.
pub struct Progress {
    name: String,
    start: Instant,
    hidden: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn new(name: &str, hidden: bool) -> Self {
        Self { name: name.to_owned(), start: Instant::now(), hidden, bar: None }
    }

    /// Shows that so many frames are done.
    pub fn update(&mut self, pipeline: &gst::Pipeline, frames: u64) {
        let elapsed = self.start.elapsed();
        if self.hidden || frames == 0 || elapsed < SOON {
            return;
        }
        let position = pipeline.query_position::<ClockTime>();
        let duration = pipeline.query_duration::<ClockTime>();
        let bar = self.bar.get_or_insert_with(|| bar(&self.name, duration));
        bar.set_position(position.map_or(0, ClockTime::mseconds));
        let rate = frames as f64 / elapsed.as_secs_f64();
        bar.set_message(describe(frames, rate, position, duration));
    }

    /// Prints a line without disturbing the bar.
    pub fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(name: &str, duration: Option<ClockTime>) -> ProgressBar {
    let length = duration.map(ClockTime::mseconds).filter(|&length| length > 0);
    let template = match length {
        // Within 80 columns, as a line that wraps is not drawn over.
        Some(_) => "{prefix:20!} {wide_bar} {percent:>3}%  {msg}  {eta} left",
        None => "{prefix:20!} {msg}",
    };
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    // Fails for templates that are none.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let file = name.rsplit('/').next().unwrap_or_default();
    bar.with_prefix(file.to_owned())
}

fn describe(
    frames: u64,
    rate: f64,
    position: Option<ClockTime>,
    duration: Option<ClockTime>,
) -> String {
    let time = |time: ClockTime| format!("{}:{:02}", time.minutes(), time.seconds() % 60);
    let mut text = format!("{frames} frames, {rate:.0}/s");
    if let Some(position) = position {
        text += &format!(", {}", time(position));
    }
    if let Some(duration) = duration {
        text += &format!(" of {}", time(duration));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said() {
        let (position, duration) = (ClockTime::from_seconds(65), ClockTime::from_seconds(600));
        let all = describe(100, 24.6, Some(position), Some(duration));
        assert_eq!(all, "100 frames, 25/s, 1:05 of 10:00");
        assert_eq!(describe(100, 24.6, None, None), "100 frames, 25/s");
    }
}
