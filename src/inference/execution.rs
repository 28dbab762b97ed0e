// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a network is run: on what, how exactly, how much at once.

use std::{
    path::{Path, PathBuf},
    thread,
};

use ort::{
    ep::{self, ArbitrarilyConfigurableExecutionProvider},
    session::builder::SessionBuilder,
};

use super::{Provider, ProviderError, gpu::Stream};

/// Frames in one run on a GPU, where nobody says how many.
const GPU_BATCH: usize = 8;

/// Most memory that ONNX Runtime takes of a GPU for one session: so much, and so much for each pixel
/// of each frame of a run. The largest networks of the kind, ResNet-50's, take a few hundred bytes.
const GPU_MEMORY: usize = 1 << 30;
const GPU_MEMORY_A_PIXEL: usize = 1 << 10;

/// How exactly a network is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// The fastest of the provider's that moves no face.
    #[default]
    Auto,
    Fp32,
    Fp16,
    Bf16,
}

/// What a session runs on, and how much at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    pub provider: Provider,
    /// Which of the provider's devices.
    pub device: u32,
    pub precision: Precision,
    /// Of the CPU, for one run; 0: as many as cores, or one where several runs go on at once.
    pub threads: usize,
    /// Frames in flight; 0: not decided yet.
    pub frames: usize,
    /// Frames in one run, at most; 0: as suits the provider.
    pub batch: usize,
    /// Whether a GPU's work is recorded once and then replayed as a whole, where that can be.
    pub cuda_graphs: bool,
    /// The folder where TensorRT's engines are kept; not kept where there is none.
    pub engines: Option<PathBuf>,
    /// Whether TensorRT may take minutes to build an engine that is not there.
    pub build: bool,
}

/// What a session on a GPU needs besides.
pub(super) struct Gpu<'a> {
    pub stream: &'a Stream,
    /// That one run looks at.
    pub pixels: usize,
    pub engines: Option<Engines<'a>>,
}

/// Where TensorRT keeps what it builds.
pub(super) struct Engines<'a> {
    pub folder: &'a Path,
    pub timings: &'a Path,
}

impl Execution {
    /// On the CPU, one frame at a time.
    pub fn cpu(threads: usize) -> Self {
        Self {
            provider: Provider::Cpu,
            device: 0,
            precision: Precision::Auto,
            threads,
            frames: 1,
            batch: 1,
            cuda_graphs: false,
            engines: None,
            build: false,
        }
    }

    /// Frames in one run, at most.
    pub fn batch(&self) -> usize {
        let batch = match self.batch {
            0 if self.provider.is_gpu() => GPU_BATCH,
            0 => 1,
            batch => batch,
        };
        batch.clamp(1, self.frames.max(1))
    }

    /// How many runs go on at once: with batches two, of which one is copied or decoded while the
    /// other is computed, or more where that many frames are in flight.
    pub fn runs(&self) -> usize {
        match self.batch() {
            1 => self.frames.max(1),
            batch => self.frames.div_ceil(batch).max(2),
        }
    }

    /// The same for all that one session serves.
    pub(super) fn session(&self) -> Self {
        match self.provider {
            Provider::Cpu => {
                let exact = matches!(self.precision, Precision::Auto | Precision::Fp32);
                let precision = if exact { Precision::Auto } else { self.precision };
                Self { precision, ..Self::cpu(self.pool()) }
            }
            Provider::OpenVino => {
                let (provider, precision, threads) = (self.provider, self.precision, self.threads);
                Self { provider, precision, frames: self.runs(), ..Self::cpu(threads) }
            }
            // Each engine has its own.
            Provider::Cuda | Provider::TensorRt => self.clone(),
        }
    }

    /// ONNX Runtime's own threads, which share the work on the CPU; 0: as many as cores.
    fn pool(&self) -> usize {
        match self.runs() {
            _ if self.provider != Provider::Cpu => 1,
            1 => self.threads,
            // All workers run one session, and are themselves among its threads.
            runs => runs * self.threads.saturating_sub(1) + 1,
        }
    }

    /// Sets a session up for it. `gpu` is needed where it runs on one.
    pub(super) fn apply(
        &self,
        builder: SessionBuilder,
        gpu: Option<Gpu>,
    ) -> Result<SessionBuilder, ProviderError> {
        let refused = |err: ort::Error| self.refused(&err.to_string());
        let wrong_precision = || {
            let Self { provider, precision, .. } = *self;
            Err(ProviderError::Precision { provider, precision })
        };
        let builder = builder.with_intra_threads(self.pool()).map_err(|err| refused(err.into()))?;
        let device = self.device as i32;
        let cuda = |gpu: &Gpu| {
            let cuda = ep::CUDA::default()
                .with_device_id(device)
                .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
                .with_memory_limit(GPU_MEMORY + GPU_MEMORY_A_PIXEL * gpu.pixels);
            // Options are set only where needed, as older versions do not have all of them.
            let cuda = match self.precision {
                Precision::Fp32 => cuda.with_tf32(false),
                _ => cuda,
            };
            // SAFETY: the session owns the stream and is dropped before it.
            unsafe { cuda.with_compute_stream(gpu.stream.as_ptr()) }
        };
        let providers = match (self.provider, self.precision, &gpu) {
            (Provider::Cpu, Precision::Auto | Precision::Fp32, _) => return Ok(builder),
            (Provider::Cpu, ..) => return wrong_precision(),
            (Provider::Cuda | Provider::TensorRt, _, None) => {
                return Err(self.refused("no GPU was made ready"));
            }
            (Provider::Cuda, Precision::Auto | Precision::Fp32, Some(gpu)) => {
                vec![cuda(gpu).with_cuda_graph(self.cuda_graphs).build()]
            }
            (Provider::Cuda, ..) => return wrong_precision(),
            (Provider::TensorRt, precision, Some(gpu)) => {
                let mut tensorrt = ep::TensorRT::default()
                    .with_device_id(device)
                    .with_fp16(matches!(precision, Precision::Auto | Precision::Fp16))
                    .with_cuda_graph(self.cuda_graphs);
                if precision == Precision::Bf16 {
                    tensorrt = tensorrt.with_bf16(true);
                }
                if let Some(Engines { folder, timings }) = &gpu.engines {
                    tensorrt = tensorrt
                        .with_engine_cache(true)
                        .with_engine_cache_path(folder.display())
                        .with_timing_cache(true)
                        .with_timing_cache_path(timings.display());
                }
                // SAFETY: the session owns the stream and is dropped before it.
                let tensorrt = unsafe { tensorrt.with_compute_stream(gpu.stream.as_ptr()) };
                // For what TensorRT leaves over.
                vec![tensorrt.build(), cuda(gpu).build()]
            }
            (Provider::OpenVino, Precision::Fp16, _) => return wrong_precision(),
            (Provider::OpenVino, precision, _) => {
                let runs = self.runs();
                let threads = match (runs, self.threads) {
                    (1, 0) => thread::available_parallelism().map_or(1, usize::from),
                    (runs, threads) => runs * threads.max(1),
                };
                let hint = if precision == Precision::Bf16 { "bf16" } else { "f32" };
                let config = format!(
                    r#"{{"CPU":{{"INFERENCE_PRECISION_HINT":"{hint}","INFERENCE_NUM_THREADS":"{threads}","NUM_STREAMS":"{runs}"}}}}"#,
                );
                let openvino = ep::OpenVINO::default()
                    .with_device_type("CPU")
                    .with_arbitrary_config("load_config", config);
                vec![openvino.build()]
            }
        };
        let providers: Vec<_> =
            providers.into_iter().map(|provider| provider.error_on_failure()).collect();
        builder.with_execution_providers(providers).map_err(|err| refused(err.into()))
    }

    pub(super) fn refused(&self, why: &str) -> ProviderError {
        ProviderError::refused(self.provider, self.device, why)
    }

    /// How far its answers may be from the CPU's: the root mean square of the differences as a
    /// fraction of that of the answers. On OpenVINO it is under 10⁻⁶ in fp32 and 0.03 in bf16.
    pub(super) fn tolerance(&self) -> f32 {
        match (self.provider, self.precision) {
            (Provider::Cpu, _) | (_, Precision::Fp32) | (Provider::OpenVino, Precision::Auto) => {
                0.001
            }
            // TF32 has three bits more than bf16.
            (Provider::Cuda, _) => 0.02,
            _ => 0.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_for_gpus_and_never_wait() {
        let split = |provider, frames, batch| {
            let execution = Execution { provider, frames, batch, ..Execution::cpu(1) };
            (execution.batch(), execution.runs())
        };
        assert_eq!(split(Provider::Cpu, 4, 0), (1, 4));
        assert_eq!(split(Provider::OpenVino, 4, 0), (1, 4));
        assert_eq!(split(Provider::Cuda, 1, 0), (1, 1), "one frame, one run");
        assert_eq!(split(Provider::Cuda, 4, 0), (4, 2), "one is copied, one computed");
        assert_eq!(split(Provider::TensorRt, 32, 0), (8, 4));
        assert_eq!(split(Provider::Cuda, 16, 1), (1, 16));
        assert_eq!(split(Provider::Cpu, 6, 4), (4, 2));
    }
}
