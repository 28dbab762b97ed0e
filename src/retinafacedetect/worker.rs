// SPDX-License-Identifier: MIT OR Apache-2.0

//! One frame after the other through one engine.

use std::sync::Arc;

use super::{imp::CAT, settings::LiveSettings};
use crate::{
    face::Face,
    frame::Layout,
    inference::{self, LibraryError, LoadError, LogLevel, OrtEngine, Session},
    meta::{self, MapError},
    model::Model,
    retinaface::detector::{Detector, Engine, EngineError, Timings, input_size},
};

/// What the element was started with.
#[derive(Clone)]
pub struct Network {
    pub model: Arc<Model>,
    pub strides: Vec<u32>,
    pub threads: usize,
}

/// What the frames of a stream have in common.
#[derive(Clone)]
pub struct Format {
    pub info: gst_video::VideoInfo,
    pub layout: Layout,
}

#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(
        "the network takes pictures of {}×{} pixels only, and frames of {}×{} scaled to {}×{} are \
         not: scale or crop the video before this element, or set scale and max-size to match",
        .fixed.0, .fixed.1, .frame.0, .frame.1, .size.0, .size.1
    )]
    Size { frame: (u32, u32), size: (u32, u32), fixed: (u32, u32) },
    #[error("the network does not run: {0}")]
    Run(#[from] EngineError),
}

/// Detects with a network loaded for the input size at hand.
pub struct Worker {
    network: Network,
    engine: Option<OrtEngine>,
    detector: Detector,
}

impl Worker {
    pub fn new(network: Network) -> Self {
        Self { network, engine: None, detector: Detector::default() }
    }

    /// Loads the network for frames of this format, if it is not yet, and runs it once.
    pub fn prepare(
        &mut self,
        format: &Format,
        settings: &LiveSettings,
    ) -> Result<&mut OrtEngine, DetectError> {
        let frame = (format.info.width(), format.info.height());
        let size = input_size(frame, settings.scale, settings.max_size);
        if let Some(fixed) = self.network.model.fixed_size().filter(|&fixed| fixed != size) {
            return Err(DetectError::Size { frame, size, fixed });
        }
        let engine = self.engine.take().filter(|engine| engine.input_size() == size);
        let engine = match engine {
            Some(engine) => engine,
            None => {
                let Network { model, strides, threads } = &self.network;
                let environment = inference::environment(log)?;
                let session = Session::new(environment, log, model, size, strides, *threads)?;
                OrtEngine::new(Arc::new(session))?
            }
        };
        Ok(self.engine.insert(engine))
    }

    /// The faces in a buffer.
    pub fn detect(
        &mut self,
        buffer: &gst::BufferRef,
        format: &Format,
        settings: &LiveSettings,
    ) -> Result<(&[Face], Timings), DetectError> {
        self.prepare(format, settings)?;
        let Self { engine: Some(engine), detector, .. } = self else {
            return Ok((&[], Timings::default()));
        };
        let timings = meta::with_frame(buffer, &format.info, format.layout, |frame| {
            detector.detect(frame, engine, &settings.parameters())
        })??;
        Ok((self.detector.faces(), timings))
    }
}

/// ONNX Runtime's messages, in the element's debug category.
pub fn log(level: LogLevel, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => gst::error!(CAT, "ONNX Runtime: {message}"),
        LogLevel::Warning => gst::warning!(CAT, "ONNX Runtime: {message}"),
        LogLevel::Info => gst::debug!(CAT, "ONNX Runtime: {message}"),
        LogLevel::Verbose => gst::trace!(CAT, "ONNX Runtime: {message}"),
    }
}
