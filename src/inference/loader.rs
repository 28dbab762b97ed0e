// SPDX-License-Identifier: MIT OR Apache-2.0

//! Loading one network, for any input and on any provider.

use std::sync::Arc;

use ort::{environment::Environment, logging::LogLevel};

use super::{
    cache,
    config::Config,
    engine::OrtEngine,
    event::{Event, EventHandler},
    library::{self, LibraryError, Log},
    providers::LoadError,
    session::Session,
};
use crate::model::{InputSpec, Model};

/// Loads sessions and engines of one model.
pub struct Loader {
    pub(super) environment: &'static Environment,
    pub(super) model: Arc<Model>,
    on_event: EventHandler,
}

impl Loader {
    /// Loads ONNX Runtime itself if this process has not; its messages go to `log`.
    pub fn new(log: Log, model: Arc<Model>, on_event: EventHandler) -> Result<Self, LibraryError> {
        Ok(Self { environment: library::environment(log)?, model, on_event })
    }

    /// The network's input and outputs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Passes an event on.
    pub fn emit(&self, event: Event) {
        (self.on_event)(event);
    }

    pub(super) fn log(&self, level: LogLevel, message: &str) {
        self.emit(Event::Log(level, message));
    }

    /// An engine, which has run once. Without CUDA graphs, where they are asked for and do not work.
    pub fn engine(&self, spec: &InputSpec, config: &Config) -> Result<OrtEngine, LoadError> {
        let load = |config: &Config| OrtEngine::new(self.session(spec, config)?);
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
            Session::new(self, spec, config).map(Arc::new)
        };
        if config.provider.capabilities().shares_sessions {
            cache::get_or_load(&self.model, spec, config, new)
        } else {
            new()
        }
    }
}
