// SPDX-License-Identifier: MIT OR Apache-2.0

//! A provider that this plugin was built without.

use super::execution_provider::ExecutionProvider;
use crate::inference::{
    config::Precision,
    error::{LoadError, ProviderError},
    network::{Loaded, Network},
    provider::Provider,
};

pub struct LeftOut {
    pub provider: Provider,
    pub name: &'static str,
}

impl ExecutionProvider for LeftOut {
    fn provider(&self) -> Provider {
        self.provider
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn find(&self) -> Result<(), ProviderError> {
        Err(ProviderError::LeftOut { provider: self.provider })
    }

    fn precisions(&self) -> &'static [Precision] {
        &[Precision::Fp32]
    }

    fn tolerance(&self, _precision: Precision) -> f32 {
        0.0
    }

    fn load(&self, _network: &Network) -> Result<Loaded, LoadError> {
        Err(ProviderError::LeftOut { provider: self.provider }.into())
    }
}
