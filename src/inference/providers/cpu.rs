// SPDX-License-Identifier: MIT OR Apache-2.0

//! ONNX Runtime's own kernels.

use super::execution_provider::{AsExported, Capabilities, ExecutionProvider};
use crate::{
    inference::{
        config::{Parallelism, Precision},
        device,
        error::LoadError,
        network::{Loaded, Network},
        provider::Provider,
    },
    model::cpu_lanes,
};

pub struct Cpu;

impl ExecutionProvider for Cpu {
    fn provider(&self) -> Provider {
        Provider::Cpu
    }

    fn name(&self) -> &'static str {
        "CPU"
    }

    fn precisions(&self) -> &'static [Precision] {
        &[Precision::Fp32]
    }

    fn tolerance(&self, _precision: Precision) -> f32 {
        0.001
    }

    fn parallelism(&self, threads: usize, runs: usize) -> Parallelism {
        // All workers run one session, and are themselves among its threads.
        Parallelism { threads: runs * (threads - 1) + 1, streams: 1 }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            as_exported: AsExported::IfNotLoaded,
            lanes: cpu_lanes(),
            ..Capabilities::default()
        }
    }

    fn load(&self, network: &Network) -> Result<Loaded, LoadError> {
        let mut builder = network.builder(network.config.parallelism.threads)?;
        let session = builder.commit_from_memory(network.file)?;
        Ok(Loaded::on(device::Cpu, session))
    }
}
