// SPDX-License-Identifier: MIT OR Apache-2.0

//! The `stats` property.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::retinaface::detector::Timings;

/// Microseconds in ten minutes: longer stages count as that.
const LONGEST_US: u64 = 600_000_000;

/// Counts and times since the last start.
pub struct Stats {
    frames: u64,
    faces: u64,
    skipped: u64,
    /// Microseconds.
    stages: [(&'static str, Option<Histogram<u32>>); 4],
}

impl Default for Stats {
    fn default() -> Self {
        // Within bounds, so that recording never allocates; two digits are enough for times.
        let histogram = || Histogram::new_with_bounds(1, LONGEST_US, 2).ok();
        let stages = ["preprocess", "inference", "postprocess", "latency"];
        let stages = stages.map(|name| (name, histogram()));
        Self { frames: 0, faces: 0, skipped: 0, stages }
    }
}

impl Stats {
    /// `latency` is the time from a frame's arrival at the element to its leaving.
    pub fn record(&mut self, faces: usize, timings: &Timings, latency: Duration) {
        self.frames += 1;
        self.faces += faces as u64;
        let times = [timings.preprocess, timings.inference, timings.postprocess, latency];
        for ((_, histogram), time) in self.stages.iter_mut().zip(times) {
            if let Some(histogram) = histogram {
                histogram.saturating_record(micros(time));
            }
        }
    }

    /// A frame that passes because it is late.
    pub fn skip(&mut self) {
        self.skipped += 1;
    }

    /// `frames`, `faces`, `skipped`, `bad-frames` (uint64), and `preprocess-mean-ms`, `preprocess-p50-ms`,
    /// `preprocess-p99-ms`, `inference-mean-ms` … (doubles).
    pub fn to_structure(&self, bad_frames: u64) -> gst::Structure {
        let mut structure = gst::Structure::builder("stats")
            .field("frames", self.frames)
            .field("faces", self.faces)
            .field("skipped", self.skipped)
            .field("bad-frames", bad_frames)
            .build();
        for (name, histogram) in &self.stages {
            let Some(histogram) = histogram else { continue };
            structure.set(format!("{name}-mean-ms"), histogram.mean() / 1000.0);
            for (percentile, quantile) in [("p50", 0.5), ("p99", 0.99)] {
                let time = histogram.value_at_quantile(quantile) as f64 / 1000.0;
                structure.set(format!("{name}-{percentile}-ms"), time);
            }
        }
        structure
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(LONGEST_US).min(LONGEST_US)
}
