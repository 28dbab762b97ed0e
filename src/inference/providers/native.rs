// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernels of this crate, on the CPU and without ONNX Runtime.

use std::sync::Arc;

use super::execution_provider::{AsExported, Capabilities, ExecutionProvider};
use crate::{
    inference::{
        config::{Parallelism, Precision},
        error::LoadError,
        network::{Loaded, Network},
        provider::Provider,
    },
    native::Program,
};

pub struct Native;

impl ExecutionProvider for Native {
    fn provider(&self) -> Provider {
        Provider::Native
    }

    fn name(&self) -> &'static str {
        "native"
    }

    fn precisions(&self) -> &'static [Precision] {
        &[Precision::Fp32]
    }

    fn tolerance(&self, _precision: Precision) -> f32 {
        0.001
    }

    fn parallelism(&self, threads: usize, _runs: usize) -> Parallelism {
        // Of each run.
        Parallelism { threads, streams: 1 }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            needs_onnxruntime: false,
            batches: false,
            as_exported: AsExported::ByFallback,
            fallback: Some(Provider::Cpu),
            ..Capabilities::default()
        }
    }

    fn load(&self, network: &Network) -> Result<Loaded, LoadError> {
        let config = network.config;
        let program = Program::compile(network.file, config.instructions)
            .map_err(|why| config.cannot_run(&why.to_string()))?;
        Ok(Loaded::Native { program: Arc::new(program), threads: config.parallelism.threads })
    }
}
