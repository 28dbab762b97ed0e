// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a request comes to on one provider.

use std::thread;

use super::{
    config::{Config, Precision, Request},
    error::ProviderError,
    provider::Provider,
};
use crate::native::InstructionSet;

impl Request {
    /// What this comes to on `provider`; an error where it lacks the precision.
    pub fn resolve(&self, provider: Provider) -> Result<Config, ProviderError> {
        let precision = self.precision.unwrap_or(provider.default_precision());
        if !provider.precisions().contains(&precision) {
            return Err(ProviderError::Precision { provider, precision });
        }
        let capabilities = provider.capabilities();
        let in_flight = self.in_flight.max(1);
        let batch = if self.batch == 0 { capabilities.batch } else { self.batch };
        let batch = batch.clamp(1, in_flight);
        // With batches, one run is copied or decoded while another is computed.
        let runs = if batch == 1 { in_flight } else { in_flight.div_ceil(batch).max(2) };
        Ok(Config {
            provider,
            device: self.device,
            precision,
            parallelism: provider.parallelism(threads(self.threads, runs), runs),
            in_flight,
            batch,
            runs,
            cuda_graphs: self.cuda_graphs && capabilities.cuda_graphs,
            tensorrt_cache: self.tensorrt_cache.clone(),
            tensorrt_build: self.tensorrt_build,
            instructions: InstructionSet::best(),
        })
    }
}

impl Config {
    /// On ONNX Runtime's CPU, one frame at a time, with so many threads (0: as many as this process may use at once).
    pub fn cpu(count: usize) -> Self {
        Self {
            provider: Provider::Cpu,
            device: 0,
            precision: Precision::Fp32,
            parallelism: Provider::Cpu.parallelism(threads(count, 1), 1),
            in_flight: 1,
            batch: 1,
            runs: 1,
            cuda_graphs: false,
            tensorrt_cache: None,
            tensorrt_build: false,
            instructions: InstructionSet::best(),
        }
    }
}

/// The threads of one run. ONNX Runtime and OpenVINO are never left to count: they count the machine's
/// CPUs, whatever a cgroup leaves of them to this process, and ONNX Runtime then pins its threads to
/// CPUs, even to those that the process may not use.
fn threads(asked_for: usize, runs: usize) -> usize {
    match (asked_for, runs) {
        // By the affinity and the cgroup's quota.
        (0, 1) => thread::available_parallelism().map_or(1, usize::from),
        (0, _) => 1,
        (threads, _) => threads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::config::Parallelism;

    fn resolve(provider: Provider, in_flight: usize, batch: usize, threads: usize) -> Config {
        let request = Request { in_flight, batch, threads, ..Request::default() };
        request.resolve(provider).expect("the default precision")
    }

    #[test]
    fn batches_are_for_gpus_and_never_wait() {
        let split = |provider, in_flight, batch| {
            let config = resolve(provider, in_flight, batch, 1);
            (config.batch, config.runs)
        };
        assert_eq!(split(Provider::Cpu, 0, 0), (1, 1));
        assert_eq!(split(Provider::Cpu, 4, 0), (1, 4));
        assert_eq!(split(Provider::OpenVino, 4, 0), (1, 4));
        assert_eq!(split(Provider::Cpu, 6, 4), (4, 2));
        assert_eq!(split(Provider::Native, 4, 0), (1, 4));
        assert_eq!(split(Provider::Native, 6, 4), (4, 2));
        #[cfg(feature = "nvidia")]
        {
            assert_eq!(split(Provider::Cuda, 1, 0), (1, 1), "one frame, one run");
            assert_eq!(split(Provider::Cuda, 4, 0), (4, 2), "one is copied, one computed");
            assert_eq!(split(Provider::TensorRt, 32, 0), (8, 4));
            assert_eq!(split(Provider::Cuda, 16, 1), (1, 16));
        }
    }

    #[test]
    fn parallel_runs_share_threads() {
        let split = |provider, in_flight, threads| {
            let Parallelism { threads, streams } =
                resolve(provider, in_flight, 0, threads).parallelism;
            (threads, streams)
        };
        assert_eq!(split(Provider::Cpu, 1, 3), (3, 1));
        let all = thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(split(Provider::Cpu, 1, 0), (all, 1));
        assert_eq!(split(Provider::OpenVino, 1, 0), (all, 1));
        // Each run has its own.
        assert_eq!(split(Provider::Native, 1, 0), (all, 1));
        assert_eq!(split(Provider::Native, 1, 3), (3, 1));
        assert_eq!(split(Provider::Native, 4, 3), (3, 1));
        assert_eq!(split(Provider::Native, 4, 0), (1, 1));
        // 4 workers with 2 helpers each, and the thread that ONNX Runtime counts as its caller.
        assert_eq!(split(Provider::Cpu, 4, 3), (9, 1));
        assert_eq!(split(Provider::Cpu, 4, 0), (1, 1));
        assert_eq!(split(Provider::OpenVino, 4, 3), (12, 4));
        assert_eq!(split(Provider::OpenVino, 4, 0), (4, 4));
        assert_eq!(split(Provider::OpenVino, 1, 3), (3, 1));
    }

    #[test]
    fn precisions_are_the_providers() {
        let resolve = |provider, precision| {
            let request = Request { precision, ..Request::default() };
            request.resolve(provider).map(|config| config.precision).ok()
        };
        assert_eq!(resolve(Provider::Cpu, None), Some(Precision::Fp32));
        assert_eq!(resolve(Provider::Cpu, Some(Precision::Bf16)), None);
        assert_eq!(resolve(Provider::Native, None), Some(Precision::Fp32));
        assert_eq!(resolve(Provider::Native, Some(Precision::Bf16)), None);
        assert_eq!(resolve(Provider::OpenVino, None), Some(Precision::Fp32));
        assert_eq!(resolve(Provider::OpenVino, Some(Precision::Bf16)), Some(Precision::Bf16));
        assert_eq!(resolve(Provider::OpenVino, Some(Precision::Fp16)), None);
        #[cfg(feature = "nvidia")]
        {
            assert_eq!(resolve(Provider::Cuda, None), Some(Precision::Fp32));
            assert_eq!(resolve(Provider::Cuda, Some(Precision::Tf32)), Some(Precision::Tf32));
            assert_eq!(resolve(Provider::Cuda, Some(Precision::Fp16)), None);
            assert_eq!(resolve(Provider::TensorRt, None), Some(Precision::Fp16));
            assert_eq!(resolve(Provider::TensorRt, Some(Precision::Bf16)), Some(Precision::Bf16));
        }
    }

    #[test]
    fn cuda_graphs_are_for_gpus_and_off_by_default() {
        let graphs = |request: Request, provider| {
            request.resolve(provider).expect("the default precision").cuda_graphs
        };
        let wanted = Request { cuda_graphs: true, ..Request::default() };
        assert!(!graphs(wanted.clone(), Provider::Cpu));
        assert!(!graphs(wanted.clone(), Provider::OpenVino));
        #[cfg(feature = "nvidia")]
        {
            assert!(graphs(wanted, Provider::Cuda));
            assert!(!graphs(Request::default(), Provider::Cuda));
        }
    }
}
