// SPDX-License-Identifier: MIT OR Apache-2.0

//! Detecting the faces in one batch of frames after the other.

use std::{io, sync::Arc, time::Instant};

use super::settings::LiveSettings;
use crate::{
    face::Face,
    frame::Layout,
    inference::{
        Config, Event, LibraryError, LoadError, Loader, LogLevel, Provider, Request, Selection,
        SessionEngine,
    },
    meta::{self, MapError},
    model::InputSpec,
    orientation::Orientation,
    preprocess::{Form, Look, Pixels, Placement},
    retinaface::{
        detector::{Detector, Engine, EngineError, Timings},
        merge::Found,
    },
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
    /// The looks at a frame, the largest first.
    fn looks(&self, view: &View, settings: &LiveSettings) -> impl Iterator<Item = Look> + use<> {
        let sizes = self.loader.model().sizes();
        sizes.looks(view.size, view.orientation, &settings.scales())
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
    /// What the looks at it have shown so far.
    pub found: Vec<Found>,
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
            found: Vec::new(),
            faces: Vec::new(),
            result: Ok(Timings::default()),
        }
    }
}

/// The input that frames are given to the network as: those with the same one can go together.
#[derive(Clone, Copy, PartialEq)]
struct InputKey {
    size: (u32, u32),
    form: Form,
}

impl InputKey {
    /// For such looks at frames like this on `provider`.
    fn new(
        provider: Provider,
        layout: &Layout,
        view: &View,
        look: &Look,
        settings: &LiveSettings,
    ) -> Self {
        let form = if provider.capabilities().takes_pixels {
            let method = settings.scale_method.into();
            let window = look.stored_window(view.size);
            let source = (window.width, window.height);
            Form::Pixels(Pixels::least(layout, source, &look.placement, method))
        } else {
            Form::Planes
        };
        Self { size: look.placement.input, form }
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
    let whole = Look::only(view.size, Placement::whole(view.size));
    let look = network.looks(view, settings).next().unwrap_or(whole);
    let spec = |provider| InputKey::new(provider, layout, view, &look, settings).spec(network, 1);
    Ok(network.loader.select(&request, spec)?)
}

/// Detects faces on one thread.
pub struct Worker {
    network: Arc<Network>,
    config: Config,
    /// By input; the last one used is the last.
    engines: Vec<BatchEngines>,
    /// How many inputs a frame has; the most so far.
    inputs: usize,
    /// The looks at the frames that are worked on.
    glances: Vec<Glance>,
    detector: Detector,
}

/// One look at one of several frames.
#[derive(Clone, Copy)]
struct Glance {
    input: InputKey,
    /// Indices of the frame, and of the look among those at the frame.
    job: usize,
    index: usize,
    look: Look,
}

/// Engines for one input: for one frame, and for a whole batch. On a GPU each takes seconds to load, with
/// TensorRT minutes to build.
struct BatchEngines {
    input: InputKey,
    engines: Vec<SessionEngine>,
    /// Whether there are none for more frames to come.
    complete: bool,
}

impl BatchEngines {
    /// Loads what is missing. Where the provider's fallback takes over, `config` becomes its own.
    fn grow(&mut self, network: &Network, config: &mut Config) -> Result<(), DetectError> {
        let loader = &network.loader;
        while !self.complete {
            let last = self.engines.last();
            let batch = if last.is_some() { config.batch } else { 1 };
            if last.is_some_and(|last| last.batch() == config.batch || !last.is_specialised()) {
                self.complete = true;
                continue;
            }
            match loader.engine(&self.input.spec(network, batch), config) {
                Ok(engine) => self.engines.push(engine),
                Err(err) if batch > 1 => {
                    let alone = format!("Frames are not batched: {err}");
                    loader.emit(Event::Log(LogLevel::Warning, &alone));
                    self.complete = true;
                }
                Err(LoadError::Provider(err)) => {
                    let asked_for = network.request.provider.is_some();
                    let fallback = config.provider.capabilities().fallback;
                    let Some(provider) = fallback.filter(|_| err.allows_fallback(asked_for)) else {
                        return Err(LoadError::Provider(err).into());
                    };
                    let Config { in_flight, cuda_graphs, .. } = *config;
                    let precision = network.request.precision;
                    let precision = precision.filter(|it| provider.precisions().contains(it));
                    let request =
                        Request { in_flight, cuda_graphs, precision, ..network.request.clone() };
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
        let (engines, glances) = (Vec::new(), Vec::new());
        Self { network, config, engines, inputs: 1, glances, detector: Detector::default() }
    }

    /// Gets ready for frames like this, with the engine for the largest look if it is at hand, in
    /// the thread that it is going to work in.
    pub fn prepare(
        &mut self,
        layout: &Layout,
        view: &View,
        settings: &LiveSettings,
        mut engine: Option<SessionEngine>,
    ) -> Result<(), DetectError> {
        if let Some(engine) = &mut engine {
            // A GPU has something to prepare for each thread.
            engine.run()?;
        }
        for look in self.network.looks(view, settings) {
            let input = InputKey::new(self.config.provider, layout, view, &look, settings);
            self.inputs = self.inputs.max(look.steps as usize);
            self.load(input, engine.take())?;
        }
        Ok(())
    }

    /// Makes the engines for `input` the last.
    fn load(&mut self, input: InputKey, engine: Option<SessionEngine>) -> Result<(), DetectError> {
        match self.engines.iter().position(|engines| engines.input == input) {
            Some(index) => self.engines[index..].rotate_left(1),
            None => {
                let sizes = self.config.provider.capabilities().input_sizes;
                if self.engines.len() >= sizes * self.inputs {
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
        let mut glances = std::mem::take(&mut self.glances);
        glances.clear();
        for (number, job) in jobs.iter_mut().enumerate() {
            job.found.clear();
            job.faces.clear();
            job.result = Ok(Timings::default());
            (self.network.admit)(job);
            let Some(format) = job.format.as_ref().filter(|_| job.detect) else { continue };
            let (provider, layout) = (self.config.provider, &format.layout);
            let looks = self.network.looks(&job.view, &job.settings);
            glances.extend(looks.enumerate().map(|(index, look)| {
                let input = InputKey::new(provider, layout, &job.view, &look, &job.settings);
                self.inputs = self.inputs.max(look.steps as usize);
                Glance { input, job: number, index, look }
            }));
        }
        // Those with the same input go together, in the order of the frames.
        let mut rest = glances.as_mut_slice();
        while let Some(&Glance { input, .. }) = rest.first() {
            rest.sort_unstable_by_key(|glance| (glance.input != input, glance.job, glance.index));
            let same = rest.partition_point(|glance| glance.input == input);
            let (same, others) = rest.split_at_mut(same);
            if let Err((job, err)) = self.detect(jobs, same) {
                // No frame after it is pushed downstream.
                jobs[job].result = Err(err);
            }
            rest = others;
        }
        for job in jobs.iter_mut().filter(|job| job.detect) {
            let Ok(timings) = &mut job.result else { continue };
            let start = Instant::now();
            let parameters = job.settings.parameters();
            let View { size, orientation } = job.view;
            self.detector.merge(size, orientation, &mut job.found, &parameters);
            job.faces.extend_from_slice(self.detector.faces());
            timings.postprocess += start.elapsed();
        }
        self.glances = glances;
    }

    /// Takes looks with the same input. Fails with the first of the frames that are not looked at.
    fn detect(&mut self, jobs: &mut [Job], glances: &[Glance]) -> Result<(), (usize, DetectError)> {
        let Some(&Glance { input, job, .. }) = glances.first() else { return Ok(()) };
        self.load(input, None).map_err(|err| (job, err))?;
        let Self { engines, detector, .. } = self;
        let Some(BatchEngines { engines, .. }) = engines.last_mut() else { return Ok(()) };
        let whole = engines.last().map_or(1, Engine::batch);
        // A batch takes as long as if it were full: too long where most of it would be empty.
        let most = if 4 * glances.len() <= whole { 1 } else { whole };
        for batch in glances.chunks(most) {
            if let Some(engine) = engines.iter_mut().find(|engine| engine.batch() >= batch.len()) {
                detect_batch(jobs, batch, engine, detector).map_err(|err| (batch[0].job, err))?;
            }
        }
        Ok(())
    }
}

/// Takes the looks of one batch.
fn detect_batch(
    jobs: &mut [Job],
    batch: &[Glance],
    engine: &mut SessionEngine,
    detector: &mut Detector,
) -> Result<(), DetectError> {
    for (item, glance) in batch.iter().enumerate() {
        let job = &mut jobs[glance.job];
        let (Some(buffer), Some(format)) = (&job.buffer, &job.format) else { continue };
        let Ok(timings) = &mut job.result else { continue };
        let method = job.settings.scale_method.into();
        let look = (glance.index, &glance.look);
        let start = Instant::now();
        let filled = meta::with_frame(buffer, &format.info, format.layout, |frame| {
            detector.preprocess_look(frame, look, engine, item, method);
        });
        timings.preprocess += start.elapsed();
        if let Err(err) = filled {
            job.result = Err(err.into());
        }
    }
    if batch.iter().all(|glance| jobs[glance.job].result.is_err()) {
        return Ok(());
    }
    let start = Instant::now();
    engine.run()?;
    let inference = start.elapsed();
    let mut before = None;
    for (item, glance) in batch.iter().enumerate() {
        let job = &mut jobs[glance.job];
        let Ok(timings) = &mut job.result else { continue };
        // Once for all of its looks in this run.
        if before.replace(glance.job) != Some(glance.job) {
            timings.inference += inference;
        }
        let start = Instant::now();
        let parameters = job.settings.parameters();
        detector.find(job.view.size, &glance.look, engine, item, &parameters, &mut job.found);
        timings.postprocess += start.elapsed();
    }
    Ok(())
}
