// SPDX-License-Identifier: MIT OR Apache-2.0

//! Loading one network, for any input and on any provider.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use ort::{environment::Environment, logging::LogLevel, memory::Allocator, value::Tensor};

use super::{
    cache,
    config::Config,
    engine::SessionEngine,
    error::{LoadError, MemoryNeed, SpecialisedError},
    event::{Event, EventHandler},
    library::{self, LibraryError, Log},
    memory,
    network::{Loaded, Network, OrtSession},
    providers::{AsExported, Capabilities},
    session::Session,
};
use crate::{
    model::{InputSpec, Model, Specialised},
    preprocess::Form,
    retinaface::detector::EngineError,
};

/// Loads one model's sessions and engines.
pub struct Loader {
    log: Log,
    model: Arc<Model>,
    on_event: EventHandler,
    /// Whether it was told that the network runs as exported.
    told_as_exported: AtomicBool,
}

impl Loader {
    /// Messages of ONNX Runtime, which is loaded when something needs it, go to `log`.
    pub fn new(log: Log, model: Arc<Model>, on_event: EventHandler) -> Self {
        Self { log, model, on_event, told_as_exported: AtomicBool::new(false) }
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Calls the event handler.
    pub fn emit(&self, event: Event) {
        (self.on_event)(event);
    }

    pub(super) fn log(&self, level: LogLevel, message: &str) {
        self.emit(Event::Log(level, message));
    }

    /// Loads ONNX Runtime itself if this process has not.
    pub(super) fn environment(&self) -> Result<&'static Environment, LibraryError> {
        library::environment(self.log)
    }

    /// An engine, which has run once. Without CUDA graphs, where they are asked for and do not work.
    pub fn engine(&self, spec: &InputSpec, config: &Config) -> Result<SessionEngine, LoadError> {
        let load = |config: &Config| SessionEngine::new(self.session(spec, config)?);
        match load(config) {
            Err(err @ (LoadError::Rejected(_) | LoadError::Run { .. })) if config.cuda_graphs => {
                self.log(LogLevel::Info, &format!("Trying again without CUDA graphs: {err}"));
                load(&Config { cuda_graphs: false, ..config.clone() })
            }
            loaded => loaded,
        }
    }

    /// A session, shared with others in this process where the provider allows that.
    pub fn session(&self, spec: &InputSpec, config: &Config) -> Result<Arc<Session>, LoadError> {
        let new = || {
            let (width, height) = spec.size;
            let loading = format!("Loading the network for {width}×{height} pixels");
            self.log(LogLevel::Info, &loading);
            self.new_session(spec, config).map(Arc::new)
        };
        let session = if config.provider.capabilities().shares_sessions {
            cache::get_or_load(&self.model, spec, config, new)?
        } else {
            new()?
        };
        if let Some(why) = &session.as_exported
            && !self.told_as_exported.swap(true, Ordering::Relaxed)
        {
            self.emit(Event::AsExported(why));
        }
        Ok(session)
    }

    /// What runs of the network take of the memory that there is; none where that is not known, and on
    /// devices with a memory of their own.
    pub fn memory_need(&self, spec: &InputSpec, config: &Config) -> Option<MemoryNeed> {
        if config.provider.capabilities().takes_pixels {
            return None;
        }
        let total = memory::total()?;
        let frames = spec.batch.saturating_mul(config.runs);
        let needed = self.model.memory(spec.size).saturating_mul(frames as u64);
        Some(MemoryNeed { size: spec.size, frames, needed, total })
    }

    /// Refuses to go on where the network would take too much memory.
    fn check_memory(&self, spec: &InputSpec, config: &Config) -> Result<(), LoadError> {
        match self.memory_need(spec, config) {
            Some(need) if need.is_too_much() => return Err(LoadError::Memory(need)),
            Some(need) if need.is_much() => self.emit(Event::MuchMemory(&need)),
            _ => {}
        }
        Ok(())
    }

    /// Loads the network, rewritten for just this input where possible. Where not, and where the
    /// provider takes it, it is loaded as exported.
    fn new_session(&self, spec: &InputSpec, config: &Config) -> Result<Session, LoadError> {
        self.check_memory(spec, config)?;
        let why = match self.specialised(spec, config) {
            Ok(session) => return Ok(session),
            Err(why) => why,
        };
        match (config.provider.capabilities().as_exported, why) {
            (AsExported::Never, SpecialisedError::Rewriting(why)) => {
                Err(config.refused(&why.to_string()).into())
            }
            (AsExported::ByFallback, SpecialisedError::Rewriting(why)) => {
                Err(config.cannot_run(&why.to_string()).into())
            }
            (
                AsExported::Never | AsExported::ByFallback | AsExported::IfNotRewritable,
                SpecialisedError::Loading(err),
            ) => Err(err),
            (AsExported::IfNotRewritable | AsExported::IfNotLoaded, why) => {
                let session = self.as_exported(spec, config)?;
                Ok(Session { as_exported: Some(why.to_string()), ..session })
            }
        }
    }

    /// Loads the network rewritten for this input.
    pub fn specialised(
        &self,
        spec: &InputSpec,
        config: &Config,
    ) -> Result<Session, SpecialisedError> {
        let Capabilities { lanes, batches, .. } = config.provider.capabilities();
        let batch = if batches { spec.batch } else { 1 };
        let Specialised { model: file, input, outputs, heads } =
            self.model.specialise(&InputSpec { batch, ..spec.clone() }, lanes)?;
        let loaded = self.load(spec, config, &file)?;
        Ok(Session {
            spec: spec.clone(),
            input,
            outputs,
            normalisation: self.model.normalisation(),
            heads,
            as_exported: None,
            cuda_graphs: config.cuda_graphs,
            loaded,
        })
    }

    /// Loads the network as its file has it: it takes planes, and one frame a run.
    pub fn as_exported(&self, spec: &InputSpec, config: &Config) -> Result<Session, LoadError> {
        if spec.batch != 1 {
            return Err(LoadError::Batch);
        }
        let model = &self.model;
        let spec = InputSpec { form: Form::Planes, ..spec.clone() };
        // The outputs' shapes are known after a first run; a CUDA graph would keep its addresses.
        let config = Config { cuda_graphs: false, ..config.clone() };
        let (width, height) = spec.size;
        let heads = model.heads(width, height, &spec.strides);
        // Levels that are not wanted are in the outputs as well.
        let all = model.heads(width, height, &model.strides());
        let mut loaded = self.load(&spec, &config, model.exported())?;
        let runtime = match &mut loaded {
            // Nobody else has it yet.
            Loaded::OnnxRuntime(runtime) => Arc::get_mut(runtime),
            Loaded::Native { .. } => None,
        };
        let Some(OrtSession { session, device }) = runtime else {
            return Err(config.cannot_run("only ONNX Runtime runs networks as exported").into());
        };
        let input = model.input_name().to_owned();
        let mut outputs = Vec::new();
        let ran = device.run(&mut || {
            outputs = output_shapes(session, &input, model.output_names(), spec.size)
                .map_err(|err| EngineError(err.to_string()))?;
            Ok(())
        });
        ran.map_err(|source| LoadError::Run { width, height, source })?;
        for (index, (name, shape)) in outputs.iter().enumerate() {
            let found = shape.iter().product::<i64>() as usize;
            let needed = all.output_len(index);
            if found != needed {
                return Err(LoadError::Output { name: name.clone(), width, height, found, needed });
            }
        }
        Ok(Session {
            spec,
            input,
            outputs,
            normalisation: model.normalisation(),
            heads,
            as_exported: Some("it was asked for like this".to_owned()),
            cuda_graphs: false,
            loaded,
        })
    }

    fn load(&self, spec: &InputSpec, config: &Config, file: &[u8]) -> Result<Loaded, LoadError> {
        let on_event = &|event: Event| self.emit(event);
        config.provider.load(&Network { log: self.log, on_event, config, file, spec })
    }
}

/// The outputs' names and shapes, from a run on an empty picture.
fn output_shapes(
    session: &mut ort::session::Session,
    input: &str,
    outputs: &[String],
    (width, height): (u32, u32),
) -> Result<Vec<(String, Vec<i64>)>, ort::Error> {
    let shape = [1, 3, i64::from(height), i64::from(width)];
    let mut picture = Tensor::<f32>::new(&Allocator::default(), shape)?;
    picture.extract_tensor_mut().1.fill(0.0);
    let values = session.run(ort::inputs![input => picture])?;
    let shape = |name: &String| {
        let (shape, _) = values[name.as_str()].try_extract_tensor::<f32>()?;
        Ok((name.clone(), shape.to_vec()))
    };
    outputs.iter().map(shape).collect()
}
