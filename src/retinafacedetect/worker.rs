// SPDX-License-Identifier: MIT OR Apache-2.0

//! What finds the faces of one frame after the other.

use std::{io, sync::Arc, time::Instant};

use super::{imp::CAT, settings::LiveSettings};
use crate::{
    face::Face,
    frame::Layout,
    inference::{
        self, Choice, Execution, LibraryError, LoadError, LogLevel, OrtEngine, Provider, Session,
    },
    meta::{self, MapError},
    model::Model,
    retinaface::detector::{Detector, Engine, EngineError, Timings, input_size},
};

/// How many input sizes a worker stays ready for, so that streams which go back and forth between
/// sizes do not load their networks again and again.
const SIZES: usize = 4;

/// What the element was started with.
pub struct Network {
    pub model: Arc<Model>,
    pub strides: Vec<u32>,
    /// `None`: the best one that works.
    pub provider: Option<Provider>,
}

/// What the frames of a stream have in common.
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
    #[error("cannot start threads for the frames in flight: {0}")]
    Threads(io::Error),
    #[error("a fault in this element, which should be reported: {0}")]
    Fault(String),
}

/// A frame and what became of it.
pub struct Job {
    pub buffer: Option<gst::Buffer>,
    pub format: Option<Arc<Format>>,
    pub settings: LiveSettings,
    /// Whether to look for faces at all.
    pub look: bool,
    pub stream_time: Option<gst::ClockTime>,
    pub running_time: Option<gst::ClockTime>,
    /// When the element got it.
    pub arrival: Instant,
    pub faces: Vec<Face>,
    pub result: Result<Timings, DetectError>,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            buffer: None,
            format: None,
            settings: LiveSettings::default(),
            look: false,
            stream_time: None,
            running_time: None,
            arrival: Instant::now(),
            faces: Vec::new(),
            result: Ok(Timings::default()),
        }
    }
}

/// Chooses what frames of this format run on; `rest` says all but the provider.
pub fn choose(
    network: &Network,
    rest: &Execution,
    format: &Format,
    settings: &LiveSettings,
) -> Result<Choice, DetectError> {
    let size = size(network, format, settings)?;
    let environment = inference::environment(log)?;
    let Network { model, strides, provider } = network;
    Ok(Session::choose(environment, log, model, size, strides, *provider, rest)?)
}

/// The session for frames of this format.
pub fn session(
    network: &Network,
    execution: &Execution,
    format: &Format,
    settings: &LiveSettings,
) -> Result<Arc<Session>, DetectError> {
    let size = size(network, format, settings)?;
    let environment = inference::environment(log)?;
    let Network { model, strides, .. } = network;
    Ok(Session::shared(environment, log, model, size, strides, execution)?)
}

/// The network's input for frames of this format.
fn size(
    network: &Network,
    format: &Format,
    settings: &LiveSettings,
) -> Result<(u32, u32), DetectError> {
    let frame = (format.info.width(), format.info.height());
    let size = input_size(frame, settings.scale, settings.max_size);
    match network.model.fixed_size().filter(|&fixed| fixed != size) {
        Some(fixed) => Err(DetectError::Size { frame, size, fixed }),
        None => Ok(size),
    }
}

/// Finds faces on one thread.
pub struct Worker {
    network: Arc<Network>,
    execution: Execution,
    /// The last one used is the last.
    engines: Vec<OrtEngine>,
    detector: Detector,
}

impl Worker {
    pub fn new(network: Arc<Network>, execution: Execution) -> Self {
        Self { network, execution, engines: Vec::new(), detector: Detector::default() }
    }

    /// Gets ready for frames of this format.
    pub fn prepare(&mut self, format: &Format, settings: &LiveSettings) -> Result<(), DetectError> {
        let size = size(&self.network, format, settings)?;
        match self.engines.iter().position(|engine| engine.input_size() == size) {
            Some(last) if last + 1 == self.engines.len() => (),
            Some(index) => self.engines[index..].rotate_left(1),
            None => {
                let session = session(&self.network, &self.execution, format, settings)?;
                if self.engines.len() == SIZES {
                    self.engines.remove(0);
                }
                self.engines.push(OrtEngine::new(session)?);
            }
        }
        Ok(())
    }

    /// Finds the faces of the job's frame.
    pub fn work(&mut self, job: &mut Job) {
        job.faces.clear();
        if job.look {
            job.result = self.detect(job);
            if job.result.is_ok() {
                job.faces.extend_from_slice(self.detector.faces());
            }
        }
    }

    fn detect(&mut self, job: &Job) -> Result<Timings, DetectError> {
        let Job { buffer: Some(buffer), format: Some(format), settings, .. } = job else {
            return Ok(Timings::default());
        };
        self.prepare(format, settings)?;
        let Self { engines, detector, .. } = self;
        let Some(engine) = engines.last_mut() else { return Ok(Timings::default()) };
        Ok(meta::with_frame(buffer, &format.info, format.layout, |frame| {
            detector.detect(frame, engine, &settings.parameters())
        })??)
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
