// SPDX-License-Identifier: MIT OR Apache-2.0

//! Detecting the faces in one batch of frames after the other.

use std::{io, sync::Arc, time::Instant};

use super::settings::LiveSettings;
use crate::{
    face::Face,
    frame::Layout,
    inference::{
        Config, Event, LibraryError, LoadError, Loader, LogLevel, OrtEngine, Provider,
        ProviderError, Request, Selection,
    },
    meta::{self, MapError},
    model::InputSpec,
    orientation::Orientation,
    preprocess::{Form, Pixels, Placement},
    retinaface::detector::{Detector, Engine, EngineError, Timings},
};

/// What the element was started with.
pub struct Network {
    pub loader: Loader,
    pub strides: Vec<u32>,
    /// With 0 frames in flight where the number depends on the stream.
    pub request: Request,
    /// Called with each frame when its turn comes; may decide that it is not worth processing any
    /// more.
    pub admit: Box<dyn Fn(&mut Job) + Send + Sync>,
}

impl Network {
    /// Where a frame goes in the input.
    fn place(&self, view: &View, settings: &LiveSettings) -> Placement {
        let sizes = self.loader.model().sizes();
        let LiveSettings { scale, max_size, .. } = *settings;
        let method = settings.parameters().scale_method;
        sizes.place(view.size, view.orientation, scale, max_size, method)
    }
}

/// What the frames of a stream have in common.
pub struct Format {
    pub info: gst_video::VideoInfo,
    pub layout: Layout,
}

/// What of a frame is looked at, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Width and height of what is visible, as it is stored.
    pub size: (u32, u32),
    pub orientation: Orientation,
}

#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("the network does not run: {0}")]
    Run(#[from] EngineError),
    #[error("cannot start the threads that process frames in parallel: {0}")]
    Threads(#[from] io::Error),
    #[error("this element has a bug, which should be reported: {0}")]
    Fault(String),
}

/// A frame and what was detected in it.
pub struct Job {
    pub buffer: Option<gst::Buffer>,
    pub format: Option<Arc<Format>>,
    pub view: View,
    pub settings: LiveSettings,
    /// Whether to detect faces in it at all.
    pub detect: bool,
    pub stream_time: Option<gst::ClockTime>,
    pub running_time: Option<gst::ClockTime>,
    /// When it arrived at the element.
    pub arrival: Instant,
    pub faces: Vec<Face>,
    pub result: Result<Timings, DetectError>,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            buffer: None,
            format: None,
            view: View::default(),
            settings: LiveSettings::default(),
            detect: false,
            stream_time: None,
            running_time: None,
            arrival: Instant::now(),
            faces: Vec::new(),
            result: Ok(Timings::default()),
        }
    }
}

impl Job {
    /// What its frame needs loaded; `None` without a frame.
    fn input_key(&self, network: &Network, provider: Provider) -> Option<InputKey> {
        let format = self.format.as_ref()?;
        Some(InputKey::new(network, provider, &format.layout, &self.view, &self.settings))
    }
}

/// The input that frames are given to the network as: those with the same one can go together.
#[derive(Clone, Copy, PartialEq)]
struct InputKey {
    size: (u32, u32),
    form: Form,
}

impl InputKey {
    /// For frames like this on `provider`.
    fn new(
        network: &Network,
        provider: Provider,
        layout: &Layout,
        view: &View,
        settings: &LiveSettings,
    ) -> Self {
        let placement = network.place(view, settings);
        let form = if provider.capabilities().takes_pixels {
            let method = settings.parameters().scale_method;
            Form::Pixels(Pixels::least(layout, view.size, &placement, method))
        } else {
            Form::Planes
        };
        Self { size: placement.input, form }
    }

    fn spec(&self, network: &Network, batch: usize) -> InputSpec {
        let Self { size, form } = *self;
        InputSpec { size, form, strides: network.strides.clone(), batch }
    }
}

/// Selects the provider for frames like this, of which so many are in flight.
pub fn select(
    network: &Network,
    in_flight: usize,
    layout: &Layout,
    view: &View,
    settings: &LiveSettings,
) -> Result<Selection, DetectError> {
    let request = Request { in_flight, ..network.request.clone() };
    let spec = |provider| InputKey::new(network, provider, layout, view, settings).spec(network, 1);
    Ok(network.loader.select(&request, spec)?)
}

/// Detects faces on one thread.
pub struct Worker {
    network: Arc<Network>,
    config: Config,
    /// By input; the last one used is the last.
    engines: Vec<BatchEngines>,
    detector: Detector,
}

/// Engines for one input: for one frame, for two, four and so on.
struct BatchEngines {
    input: InputKey,
    engines: Vec<OrtEngine>,
    /// Whether there are none for more frames to come.
    complete: bool,
}

impl BatchEngines {
    /// Loads what is missing. Where the provider was not asked for and has no engine, `config` becomes
    /// that of its fallback.
    fn grow(&mut self, network: &Network, config: &mut Config) -> Result<(), DetectError> {
        let loader = &network.loader;
        while !self.complete {
            let last = self.engines.last();
            let batch = last.map_or(1, |last| config.batch.min(2 * last.batch()));
            if last.is_some_and(|last| last.batch() == config.batch || !last.is_specialised()) {
                self.complete = true;
                continue;
            }
            match loader.engine(&self.input.spec(network, batch), config) {
                Ok(engine) => self.engines.push(engine),
                Err(err) if batch > 1 => {
                    let fewer = format!("Batches stay at {} frames: {err}", batch / 2);
                    loader.emit(Event::Log(LogLevel::Warning, &fewer));
                    self.complete = true;
                }
                Err(LoadError::Provider(err @ ProviderError::NoEngine)) => {
                    let fallback = config.provider.capabilities().fallback;
                    let Some(provider) = fallback.filter(|_| network.request.provider.is_none())
                    else {
                        return Err(LoadError::Provider(err).into());
                    };
                    let Config { in_flight, cuda_graphs, .. } = *config;
                    let request = Request { in_flight, cuda_graphs, ..network.request.clone() };
                    *config = request.resolve(provider).map_err(LoadError::from)?;
                    loader.emit(Event::ProviderChanged(provider, &err));
                }
                Err(err) => return Err(err.into()),
            }
        }
        Ok(())
    }
}

impl Worker {
    pub fn new(network: Arc<Network>, config: Config) -> Self {
        Self { network, config, engines: Vec::new(), detector: Detector::default() }
    }

    /// Gets ready for frames like this, with the first engine for them if it is at hand, in the
    /// thread that it is going to work in.
    pub fn prepare(
        &mut self,
        layout: &Layout,
        view: &View,
        settings: &LiveSettings,
        mut engine: Option<OrtEngine>,
    ) -> Result<(), DetectError> {
        if let Some(engine) = &mut engine {
            // A GPU has something to prepare for each thread.
            engine.run()?;
        }
        let input = InputKey::new(&self.network, self.config.provider, layout, view, settings);
        self.load(input, engine)
    }

    /// Makes the engines for `input` the last.
    fn load(&mut self, input: InputKey, engine: Option<OrtEngine>) -> Result<(), DetectError> {
        match self.engines.iter().position(|engines| engines.input == input) {
            Some(index) => self.engines[index..].rotate_left(1),
            None => {
                if self.engines.len() >= self.config.provider.capabilities().input_sizes {
                    self.engines.remove(0);
                }
                let engines = engine.into_iter().collect();
                self.engines.push(BatchEngines { input, engines, complete: false });
            }
        }
        let Self { network, config, engines, .. } = self;
        match engines.last_mut() {
            Some(engines) if !engines.complete => engines.grow(network, config),
            _ => Ok(()),
        }
    }

    /// Finds the faces in the jobs' frames.
    pub fn work(&mut self, jobs: &mut [Job]) {
        for job in &mut *jobs {
            job.faces.clear();
            job.result = Ok(Timings::default());
            (self.network.admit)(job);
        }
        let (network, provider) = (Arc::clone(&self.network), self.config.provider);
        let key = |job: &Job| job.input_key(&network, provider);
        for jobs in jobs.chunk_by_mut(|a, b| key(a) == key(b)) {
            if let Err(err) = self.detect(jobs)
                && let Some(job) = jobs.iter_mut().find(|job| job.detect)
            {
                // No frame after it is pushed downstream.
                job.result = Err(err);
            }
        }
    }

    /// Finds the faces in frames with the same input.
    fn detect(&mut self, jobs: &mut [Job]) -> Result<(), DetectError> {
        let Some(job) = jobs.iter().find(|job| job.detect) else { return Ok(()) };
        let Some(input) = job.input_key(&self.network, self.config.provider) else {
            return Ok(());
        };
        self.load(input, None)?;
        let Self { network, engines, detector, .. } = self;
        let Some(BatchEngines { engines, .. }) = engines.last_mut() else { return Ok(()) };
        let most = engines.last().map_or(1, Engine::batch);
        for jobs in jobs.chunks_mut(most) {
            let frames = jobs.iter().filter(|job| job.detect).count();
            let fitting = engines.iter_mut().find(|engine| engine.batch() >= frames);
            if let Some(engine) = fitting.filter(|_| frames > 0) {
                detect_batch(network, jobs, engine, detector)?;
            }
        }
        Ok(())
    }
}

/// Finds the faces in one batch.
fn detect_batch(
    network: &Network,
    jobs: &mut [Job],
    engine: &mut OrtEngine,
    detector: &mut Detector,
) -> Result<(), DetectError> {
    for (item, job) in jobs.iter_mut().filter(|job| job.detect).enumerate() {
        let (Some(buffer), Some(format)) = (&job.buffer, &job.format) else { continue };
        let method = job.settings.parameters().scale_method;
        let placement = network.place(&job.view, &job.settings);
        let start = Instant::now();
        let filled = meta::with_frame(buffer, &format.info, format.layout, |frame| {
            detector.preprocess(frame, &placement, engine, item, method);
        });
        let preprocess = start.elapsed();
        job.result = match filled {
            Ok(()) => Ok(Timings { preprocess, ..Timings::default() }),
            Err(err) => Err(err.into()),
        };
    }
    if jobs.iter().all(|job| !job.detect || job.result.is_err()) {
        return Ok(());
    }
    let start = Instant::now();
    engine.run()?;
    let inference = start.elapsed();
    for (item, job) in jobs.iter_mut().filter(|job| job.detect).enumerate() {
        let Ok(timings) = &mut job.result else { continue };
        let start = Instant::now();
        let placement = network.place(&job.view, &job.settings);
        let parameters = job.settings.parameters();
        detector.postprocess(job.view.size, &placement, engine, item, &parameters);
        job.faces.extend_from_slice(detector.faces());
        *timings = Timings { inference, postprocess: start.elapsed(), ..*timings };
    }
    Ok(())
}
