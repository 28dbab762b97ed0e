// SPDX-License-Identifier: MIT OR Apache-2.0

//! `retinafacedetect` in a pipeline that stays.

use gst::prelude::*;
use gstretinaface::{face::Face, meta};
use image::RgbImage;

use crate::common::{self, Error};

pub struct Detector {
    pipeline: gst::Pipeline,
    element: gst::Element,
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
}

impl Detector {
    pub fn new(properties: &str) -> Result<Self, Error> {
        let pipeline = gst::parse::launch(&format!(
            "appsrc name=source format=time ! retinafacedetect name=detect threads=1 {properties} ! \
             appsink name=sink sync=false"
        ))?;
        let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "no pipeline")?;
        let element = pipeline.by_name("detect").ok_or("no element")?;
        let source = pipeline.by_name("source").and_downcast().ok_or("no source")?;
        let sink = pipeline.by_name("sink").and_downcast().ok_or("no sink")?;
        common::play(&pipeline)?;
        Ok(Self { pipeline, element, source, sink })
    }

    pub fn faces(&self, frame: &RgbImage) -> Result<Vec<Face>, Error> {
        let (width, height) = frame.dimensions();
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, width, height);
        let info = info.build()?;
        let stride = info.stride()[0] as usize;
        let mut data = vec![0; info.size()];
        let row = 3 * width as usize;
        for (to, from) in data.chunks_mut(stride).zip(frame.as_raw().chunks(row)) {
            to[..row].copy_from_slice(from);
        }
        let buffer = gst::Buffer::from_mut_slice(data);
        let caps = info.to_caps()?;
        // Where it is not taken, no frame comes out.
        let _ =
            self.source.push_sample(&gst::Sample::builder().caps(&caps).buffer(&buffer).build());
        let failure = |err| common::error(&self.pipeline).unwrap_or_else(|| Error::from(err));
        let sample = self.sink.pull_sample().map_err(failure)?;
        Ok(meta::faces(sample.buffer().ok_or("no frame")?))
    }

    /// Milliseconds that the median frame so far took on one thread.
    pub fn cost(&self) -> Result<f64, Error> {
        let stats: gst::Structure = self.element.property("stats");
        let stages = ["preprocess-p50-ms", "inference-p50-ms", "postprocess-p50-ms"];
        stages.iter().map(|stage| Ok(stats.get::<f64>(*stage)?)).sum()
    }
}

impl Drop for Detector {
    fn drop(&mut self) {
        // Fails for a pipeline that has failed before.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
