// SPDX-License-Identifier: MIT OR Apache-2.0

//! A network on its way into what computes it.

use std::sync::Arc;

use ort::{
    environment::Environment,
    ep::ExecutionProviderDispatch,
    session::builder::{GraphOptimizationLevel, SessionBuilder},
};

use super::{
    config::Config,
    device::Device,
    error::{LoadError, ProviderError},
    event::Event,
    library::{self, LibraryError, Log},
};
use crate::{model::InputSpec, native::Program};

/// A network to be loaded.
pub struct Network<'a> {
    /// Where ONNX Runtime's messages go.
    pub log: Log,
    pub on_event: &'a dyn Fn(Event),
    pub config: &'a Config,
    /// An ONNX file.
    pub file: &'a [u8],
    /// What it is loaded for.
    pub spec: &'a InputSpec,
}

/// A network loaded.
pub enum Loaded {
    OnnxRuntime(Arc<OrtSession>),
    /// Each run has so many threads.
    Native {
        program: Arc<Program>,
        threads: usize,
    },
}

/// A network in ONNX Runtime. The session is dropped before what it computes on.
pub struct OrtSession {
    pub session: ort::session::Session,
    pub device: Box<dyn Device>,
}

impl Loaded {
    /// In ONNX Runtime, computed on `device`.
    pub fn on(device: impl Device + 'static, session: ort::session::Session) -> Self {
        Self::OnnxRuntime(Arc::new(OrtSession { session, device: Box::new(device) }))
    }
}

impl Network<'_> {
    /// Loads ONNX Runtime itself if this process has not.
    pub fn environment(&self) -> Result<&'static Environment, LibraryError> {
        library::environment(self.log)
    }

    /// A session builder with so many threads that sleep when there is nothing to do.
    pub fn builder(&self, threads: usize) -> Result<SessionBuilder, LoadError> {
        let environment = self.environment()?;
        let builder = || {
            ort::session::Session::builder(environment)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_op_spinning(false)?
                .with_inter_op_spinning(false)?
                .with_intra_threads(threads)
                .map_err(ort::Error::from)
        };
        builder().map_err(LoadError::Rejected)
    }

    /// Loads the network with these providers, the first of them preferred.
    pub fn load_with(
        &self,
        mut builder: SessionBuilder,
        providers: impl IntoIterator<Item = ExecutionProviderDispatch>,
    ) -> Result<ort::session::Session, LoadError> {
        let provider = self.config.provider;
        if !provider.is_built() {
            return Err(ProviderError::NotBuilt { provider }.into());
        }
        let libraries = provider.libraries();
        library::load_for_provider(&mut builder, &libraries)
            .map_err(|why| self.config.refused(&why))?;
        let providers = providers.into_iter().map(|provider| provider.error_on_failure());
        let mut builder = builder
            .with_execution_providers(providers.collect::<Vec<_>>())
            .map_err(|err| self.config.refused(&err.to_string()))?;
        Ok(builder.commit_from_memory(self.file)?)
    }
}
