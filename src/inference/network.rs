// SPDX-License-Identifier: MIT OR Apache-2.0

//! A network on its way into ONNX Runtime.

use ort::{
    environment::Environment,
    ep::ExecutionProviderDispatch,
    session::builder::{GraphOptimizationLevel, SessionBuilder},
};

use super::{config::Config, device::Device, error::LoadError, event::Event, library};
use crate::model::InputSpec;

/// A network to be loaded.
pub struct Network<'a> {
    pub environment: &'a Environment,
    pub on_event: &'a dyn Fn(Event),
    pub config: &'a Config,
    /// An ONNX file.
    pub file: &'a [u8],
    /// What it is loaded for.
    pub spec: &'a InputSpec,
}

/// A network loaded. The session is dropped before what it computes on.
pub struct Loaded {
    pub session: ort::session::Session,
    pub device: Box<dyn Device>,
}

impl Network<'_> {
    /// A session builder with so many threads that sleep when there is nothing to do.
    pub fn builder(&self, threads: usize) -> Result<SessionBuilder, LoadError> {
        let builder = || {
            ort::session::Session::builder(self.environment)?
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
        let libraries = self.config.provider.libraries();
        library::load_for_provider(&mut builder, &libraries)
            .map_err(|why| self.config.refused(&why))?;
        let providers = providers.into_iter().map(|provider| provider.error_on_failure());
        let mut builder = builder
            .with_execution_providers(providers.collect::<Vec<_>>())
            .map_err(|err| self.config.refused(&err.to_string()))?;
        Ok(builder.commit_from_memory(self.file)?)
    }
}
