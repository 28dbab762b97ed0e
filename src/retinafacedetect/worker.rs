// SPDX-License-Identifier: MIT OR Apache-2.0

//! What finds the faces of one frame after the other.

use std::{io, sync::Arc, time::Instant};

use super::{imp::CAT, settings::LiveSettings};
use crate::{
    face::Face,
    frame::Layout,
    inference::{
        self, Choice, Execution, LibraryError, LoadError, LogLevel, Notice, OrtEngine, Provider,
        ProviderError,
    },
    meta::{self, MapError},
    model::{InputSpec as Task, Model},
    preprocess::{Form, Pixels},
    retinaface::detector::{Detector, Engine, EngineError, Timings, input_size},
};

/// How many input sizes a worker stays ready for, so that streams which go back and forth between
/// sizes do not load their networks again and again. On a GPU each costs memory for each worker.
const SIZES: usize = 4;
const GPU_SIZES: usize = 2;

/// What the element was started with.
pub struct Network {
    pub model: Arc<Model>,
    pub strides: Vec<u32>,
    /// `None`: the best one that works.
    pub provider: Option<Provider>,
    /// Whom to tell what happens while networks are loaded.
    pub tell: Box<dyn Fn(Notice) + Send + Sync>,
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
    Threads(#[from] io::Error),
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

impl Job {
    /// Its frame's format and what the network looks at of it.
    fn view(&self, network: &Network, provider: Provider) -> Result<Option<View>, DetectError> {
        let format = self.format.as_ref();
        format.map(|format| View::new(network, provider, format, &self.settings)).transpose()
    }
}

/// What a network looks at of a frame.
#[derive(Clone, Copy, PartialEq)]
pub struct View {
    size: (u32, u32),
    form: Form,
}

impl View {
    /// Of frames of this format, on `provider`.
    fn new(
        network: &Network,
        provider: Provider,
        format: &Format,
        settings: &LiveSettings,
    ) -> Result<Self, DetectError> {
        let frame = (format.info.width(), format.info.height());
        let size = input_size(frame, settings.scale, settings.max_size);
        if let Some(fixed) = network.model.fixed_size().filter(|&fixed| fixed != size) {
            return Err(DetectError::Size { frame, size, fixed });
        }
        let form = if provider.is_gpu() {
            let method = settings.parameters().scale_method;
            Form::Pixels(Pixels::least(&format.layout, frame, size, method))
        } else {
            Form::Planes
        };
        Ok(Self { size, form })
    }

    fn task(&self, network: &Network, batch: usize) -> Task {
        let Self { size, form } = *self;
        Task { size, form, strides: network.strides.clone(), batch }
    }
}

/// Chooses what frames of this format run on; `rest` says all but the provider.
pub fn choose(
    network: &Network,
    rest: &Execution,
    format: &Format,
    settings: &LiveSettings,
) -> Result<Choice, DetectError> {
    let view = |provider| View::new(network, provider, format, settings);
    let [planes, pixels] = [view(Provider::Cpu)?, view(Provider::Cuda)?];
    let task = |provider: Provider| {
        let view = if provider.is_gpu() { pixels } else { planes };
        view.task(network, 1)
    };
    let environment = inference::environment(log)?;
    let Network { model, provider, tell, .. } = network;
    Ok(inference::choose(environment, tell, model, task, *provider, rest)?)
}

/// Finds faces on one thread.
pub struct Worker {
    network: Arc<Network>,
    execution: Execution,
    /// The last one used is the last.
    engines: Vec<Engines>,
    detector: Detector,
}

/// Engines that look at the same of a frame: for one frame, for two, four and so on.
struct Engines {
    view: View,
    engines: Vec<OrtEngine>,
    /// Whether there are none for more frames to come.
    complete: bool,
}

impl Engines {
    /// Loads what is missing. Where nothing else was asked for and TensorRT has no engine,
    /// `execution` becomes one on CUDA.
    fn grow(&mut self, network: &Network, execution: &mut Execution) -> Result<(), DetectError> {
        let Network { model, tell, .. } = network;
        let environment = inference::environment(log)?;
        let largest = execution.batch();
        while !self.complete {
            let last = self.engines.last();
            let batch = last.map_or(1, |last| largest.min(2 * last.batch()));
            if last.is_some_and(|last| last.batch() == largest || !last.is_specialised()) {
                self.complete = true;
                continue;
            }
            let task = self.view.task(network, batch);
            match OrtEngine::load(environment, tell, model, &task, execution) {
                Ok(engine) => self.engines.push(engine),
                Err(err) if batch > 1 => {
                    let fewer = format!("No more than {} frames in a run: {err}", batch / 2);
                    tell(Notice::Message(LogLevel::Warning, &fewer));
                    self.complete = true;
                }
                Err(LoadError::Provider(err @ ProviderError::NoEngine))
                    if network.provider.is_none() =>
                {
                    execution.provider = Provider::Cuda;
                    tell(Notice::Instead(Provider::Cuda, &err));
                }
                Err(err) => return Err(err.into()),
            }
        }
        Ok(())
    }
}

impl Worker {
    pub fn new(network: Arc<Network>, execution: Execution) -> Self {
        Self { network, execution, engines: Vec::new(), detector: Detector::default() }
    }

    /// Gets ready for frames of this format, with the first engine for them if it is at hand, in the
    /// thread that it is going to work in.
    pub fn prepare(
        &mut self,
        format: &Format,
        settings: &LiveSettings,
        mut engine: Option<OrtEngine>,
    ) -> Result<(), DetectError> {
        if let Some(engine) = &mut engine {
            // A GPU has something to prepare for each thread.
            engine.run()?;
        }
        let view = View::new(&self.network, self.execution.provider, format, settings)?;
        self.load(view, engine)
    }

    /// Makes the engines for `view` the last.
    fn load(&mut self, view: View, engine: Option<OrtEngine>) -> Result<(), DetectError> {
        match self.engines.iter().position(|engines| engines.view == view) {
            Some(index) => self.engines[index..].rotate_left(1),
            None => {
                let sizes = if self.execution.provider.is_gpu() { GPU_SIZES } else { SIZES };
                if self.engines.len() == sizes {
                    self.engines.remove(0);
                }
                let engines = engine.into_iter().collect();
                self.engines.push(Engines { view, engines, complete: false });
            }
        }
        let Self { network, execution, engines, .. } = self;
        match engines.last_mut() {
            Some(engines) if !engines.complete => engines.grow(network, execution),
            _ => Ok(()),
        }
    }

    /// Finds the faces of the jobs' frames.
    pub fn work(&mut self, jobs: &mut [Job]) {
        for job in &mut *jobs {
            job.faces.clear();
            job.result = Ok(Timings::default());
        }
        let (network, provider) = (Arc::clone(&self.network), self.execution.provider);
        let view = |job: &Job| job.view(&network, provider).ok().flatten();
        for jobs in jobs.chunk_by_mut(|a, b| view(a) == view(b)) {
            if let Err(err) = self.look(jobs)
                && let Some(job) = jobs.iter_mut().find(|job| job.look)
            {
                // After it, none is sent on.
                job.result = Err(err);
            }
        }
    }

    /// Finds the faces of frames of which the network looks at the same.
    fn look(&mut self, jobs: &mut [Job]) -> Result<(), DetectError> {
        let Some(job) = jobs.iter().find(|job| job.look) else { return Ok(()) };
        let Some(view) = job.view(&self.network, self.execution.provider)? else { return Ok(()) };
        self.load(view, None)?;
        let Self { engines, detector, .. } = self;
        let Some(Engines { engines, .. }) = engines.last_mut() else { return Ok(()) };
        let most = engines.last().map_or(1, Engine::batch);
        for jobs in jobs.chunks_mut(most) {
            let frames = jobs.iter().filter(|job| job.look).count();
            let fitting = engines.iter_mut().find(|engine| engine.batch() >= frames);
            if let Some(engine) = fitting.filter(|_| frames > 0) {
                detect(jobs, engine, detector)?;
            }
        }
        Ok(())
    }
}

/// Finds the faces of one batch.
fn detect(
    jobs: &mut [Job],
    engine: &mut OrtEngine,
    detector: &mut Detector,
) -> Result<(), DetectError> {
    for (item, job) in jobs.iter_mut().filter(|job| job.look).enumerate() {
        let (Some(buffer), Some(format)) = (&job.buffer, &job.format) else { continue };
        let method = job.settings.parameters().scale_method;
        let start = Instant::now();
        let filled = meta::with_frame(buffer, &format.info, format.layout, |frame| {
            detector.preprocess(frame, engine, item, method);
        });
        let preprocess = start.elapsed();
        job.result = match filled {
            Ok(()) => Ok(Timings { preprocess, ..Timings::default() }),
            Err(err) => Err(err.into()),
        };
    }
    let start = Instant::now();
    engine.run()?;
    let inference = start.elapsed();
    for (item, job) in jobs.iter_mut().filter(|job| job.look).enumerate() {
        let (Ok(timings), Some(format)) = (&mut job.result, &job.format) else { continue };
        let start = Instant::now();
        let size = (format.info.width(), format.info.height());
        detector.postprocess(size, engine, item, &job.settings.parameters());
        job.faces.extend_from_slice(detector.faces());
        *timings = Timings { inference, postprocess: start.elapsed(), ..*timings };
    }
    Ok(())
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
