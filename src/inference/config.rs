// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a network is run: what is asked for, and what that comes to on one provider.

use std::{fmt, path::PathBuf};

use super::providers::{Parallelism, Provider, ProviderError};

/// Number format that a network is computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Fp32,
    /// fp32 values, multiplied with a mantissa of 10 bits.
    Tf32,
    Fp16,
    Bf16,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
        })
    }
}

/// What is asked for. What is left open depends on the provider: see [`Self::resolve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `None`: the first of [`Provider::ALL`] that works.
    pub provider: Option<Provider>,
    /// Index of the GPU, in CUDA's order.
    pub device: u32,
    /// `None`: the provider's default.
    pub precision: Option<Precision>,
    /// CPU threads for one run; 0: as many as cores, or one where several runs go on at once.
    pub threads: usize,
    /// Frames processed in parallel; 0 counts as 1.
    pub in_flight: usize,
    /// Most frames in one run; 0: the provider's default.
    pub batch: usize,
    /// Whether a GPU's work is captured once as a CUDA graph and then replayed.
    pub cuda_graphs: bool,
    /// Folder in which TensorRT's engines are kept; `None`: they are not.
    pub tensorrt_cache: Option<PathBuf>,
    /// Whether TensorRT may build an engine that is not in the cache, which takes minutes.
    pub tensorrt_build: bool,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            provider: None,
            device: 0,
            precision: None,
            threads: 0,
            in_flight: 1,
            batch: 0,
            // No GPU has measured them yet.
            cuda_graphs: false,
            tensorrt_cache: None,
            tensorrt_build: false,
        }
    }
}

/// A [`Request`] with everything decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub provider: Provider,
    pub device: u32,
    pub precision: Precision,
    /// Threads and streams of one session.
    pub parallelism: Parallelism,
    /// Frames processed in parallel.
    pub in_flight: usize,
    /// Most frames in one run.
    pub batch: usize,
    /// Runs that go on at once.
    pub runs: usize,
    pub cuda_graphs: bool,
    pub tensorrt_cache: Option<PathBuf>,
    pub tensorrt_build: bool,
}

impl Request {
    /// What this comes to on `provider`; an error where it lacks the precision.
    pub fn resolve(&self, provider: Provider) -> Result<Config, ProviderError> {
        let precisions = provider.precisions();
        let precision = match self.precision {
            None => precisions.first(),
            Some(wanted) => precisions.iter().find(|&&precision| precision == wanted),
        };
        let Some(&precision) = precision else {
            return Err(ProviderError::Precision { provider, precision: self.precision });
        };
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
            parallelism: provider.parallelism(self.threads, runs),
            in_flight,
            batch,
            runs,
            cuda_graphs: self.cuda_graphs && capabilities.cuda_graphs,
            tensorrt_cache: self.tensorrt_cache.clone(),
            tensorrt_build: self.tensorrt_build,
        })
    }
}

impl Config {
    /// On the CPU, one frame at a time, with so many threads (0: as many as cores).
    pub fn cpu(threads: usize) -> Self {
        Self {
            provider: Provider::Cpu,
            device: 0,
            precision: Precision::Fp32,
            parallelism: Provider::Cpu.parallelism(threads, 1),
            in_flight: 1,
            batch: 1,
            runs: 1,
            cuda_graphs: false,
            tensorrt_cache: None,
            tensorrt_build: false,
        }
    }

    /// The provider fails for this reason.
    pub(super) fn refused(&self, why: &str) -> ProviderError {
        ProviderError::refused(self.provider, self.device, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(split(Provider::Cpu, 1, 0), (0, 1), "ONNX Runtime counts the cores");
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
        assert_eq!(resolve(Provider::OpenVino, None), Some(Precision::Fp32));
        assert_eq!(resolve(Provider::OpenVino, Some(Precision::Bf16)), Some(Precision::Bf16));
        assert_eq!(resolve(Provider::OpenVino, Some(Precision::Fp16)), None);
        #[cfg(feature = "nvidia")]
        {
            assert_eq!(resolve(Provider::Cuda, None), Some(Precision::Tf32));
            assert_eq!(resolve(Provider::Cuda, Some(Precision::Fp32)), Some(Precision::Fp32));
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
