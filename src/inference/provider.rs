// SPDX-License-Identifier: MIT OR Apache-2.0

//! What computes a network: ONNX Runtime's execution providers.

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    thread,
};

use ort::{
    ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider},
    session::builder::SessionBuilder,
};
use thiserror::Error;

use super::{gpu::Stream, library, tensorrt};

/// Frames in one run on a GPU, where nobody says how many.
const GPU_BATCH: usize = 8;

/// Most memory that ONNX Runtime takes of a GPU for one session: so much, and so much for each pixel
/// of each frame of a run. The largest networks of the kind, ResNet-50's, take a few hundred bytes.
const GPU_MEMORY: usize = 1 << 30;
const GPU_MEMORY_A_PIXEL: usize = 1 << 10;

/// An execution provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Cpu,
    Cuda,
    TensorRt,
    OpenVino,
}

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
    /// Frames in flight.
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

/// A provider that does not serve.
#[derive(Debug, Error)]
pub enum ProviderError {
    #[error(
        "the ONNX Runtime here was built without {provider}; {}", .provider.remedy()
    )]
    NotBuilt { provider: Provider },
    #[error("ONNX Runtime's provider library {library} is not there; {}", .provider.remedy())]
    Missing { provider: Provider, library: String },
    #[error(
        "ONNX Runtime's provider library {library} is damaged ({why}); {}", .provider.remedy()
    )]
    Damaged { provider: Provider, library: String, why: String },
    #[error("{provider} cannot compute in {precision:?}: set precision to auto or fp32")]
    Precision { provider: Provider, precision: Precision },
    #[error("{provider} needs an NVIDIA GPU: {why}")]
    NoDevice { provider: Provider, why: String },
    #[error("TensorRT is not installed: there is no {library} where libraries are looked for")]
    NoTensorRt { library: &'static str },
    #[error(
        "TensorRT has no engine for this network, size and GPU yet, and building one takes minutes: \
         set tensorrt-build, or set execution-provider to tensorrt once"
    )]
    NoEngine,
    #[error("{provider} (device {device}) does not run: {why}{}", missing(.why))]
    Refused { provider: Provider, device: u32, why: String },
    #[error(
        "{provider} (device {device}) gives wrong answers: {difference} of their size away from the \
         CPU's, where {tolerance} is the most that rounding explains"
    )]
    Wrong { provider: Provider, device: u32, difference: f32, tolerance: f32 },
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Provider::Cpu => "CPU",
            Provider::Cuda => "CUDA",
            Provider::TensorRt => "TensorRT",
            Provider::OpenVino => "OpenVINO",
        })
    }
}

impl Provider {
    /// Those that auto chooses from, the best first, the CPU left out.
    pub const ACCELERATORS: [Provider; 3] =
        [Provider::TensorRt, Provider::Cuda, Provider::OpenVino];

    /// Whether it computes on an NVIDIA GPU.
    pub fn is_gpu(self) -> bool {
        matches!(self, Self::Cuda | Self::TensorRt)
    }

    /// The library that ONNX Runtime loads for it, from its own folder.
    fn library(self) -> Option<&'static str> {
        match self {
            Provider::Cpu => None,
            Provider::Cuda => Some("libonnxruntime_providers_cuda.so"),
            Provider::TensorRt => Some("libonnxruntime_providers_tensorrt.so"),
            Provider::OpenVino => Some("libonnxruntime_providers_openvino.so"),
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Provider::Cpu => "it cannot be used",
            Provider::Cuda | Provider::TensorRt => {
                "install ONNX Runtime's GPU build (on PyPI onnxruntime-gpu) and let the \
                 environment variable ORT_DYLIB_PATH name its libonnxruntime.so"
            }
            Provider::OpenVino => {
                "run scripts/setup --openvino of gst-plugin-retinaface, or install ONNX Runtime's \
                 OpenVINO build (on PyPI onnxruntime-openvino) and let the environment variable \
                 ORT_DYLIB_PATH name its libonnxruntime.so"
            }
        }
    }

    /// Whether its parts are there; whether they work, only a session can tell.
    pub fn find(self) -> Result<(), ProviderError> {
        let built = match self {
            Provider::Cpu => return Ok(()),
            Provider::Cuda => ep::CUDA::is_available(),
            Provider::TensorRt => ep::TensorRT::is_available(),
            Provider::OpenVino => ep::OpenVINO::is_available(),
        };
        let built = built.unwrap_or(false);
        // Where the system's loader found ONNX Runtime, it is left to it to find the rest.
        let folder = library::folder();
        if let (Some(folder), Some(library)) = (folder, self.library()) {
            let path = folder.join(library);
            let library = path.display().to_string();
            match damage(&path) {
                Ok(None) => (),
                Ok(Some(why)) => {
                    return Err(ProviderError::Damaged { provider: self, library, why });
                }
                Err(_) if built => return Err(ProviderError::Missing { provider: self, library }),
                Err(_) => (),
            }
        }
        if !built {
            return Err(ProviderError::NotBuilt { provider: self });
        }
        // ONNX Runtime's GPU build brings its side of TensorRT, but not TensorRT.
        match self {
            Self::TensorRt if tensorrt::version().is_none() => {
                Err(ProviderError::NoTensorRt { library: tensorrt::LIBRARIES[0] })
            }
            _ => Ok(()),
        }
    }
}

impl ProviderError {
    /// Which one does not serve.
    pub fn provider(&self) -> Provider {
        match *self {
            Self::NotBuilt { provider }
            | Self::Missing { provider, .. }
            | Self::Damaged { provider, .. }
            | Self::Precision { provider, .. }
            | Self::NoDevice { provider, .. }
            | Self::Refused { provider, .. }
            | Self::Wrong { provider, .. } => provider,
            Self::NoTensorRt { .. } | Self::NoEngine => Provider::TensorRt,
        }
    }

    /// Whether nobody has asked for it by installing it.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NotBuilt { .. }
                | Self::Missing { .. }
                | Self::NoDevice { .. }
                | Self::NoTensorRt { .. }
                | Self::NoEngine
        )
    }
}

/// What is to be installed where ONNX Runtime does not find one of NVIDIA's libraries.
fn missing(why: &str) -> &'static str {
    let why = why.to_lowercase();
    let names = |libraries: &[&str]| libraries.iter().any(|name| why.contains(name));
    if !names(&["cannot open shared object", "failed to load", "unable to load", "could not load"])
    {
        ""
    } else if names(&["cudnn"]) {
        "; install cuDNN, in the version that this ONNX Runtime was built for"
    } else if names(&["libcublas", "libcudart", "libcufft", "libcurand", "libnvrtc"]) {
        "; install CUDA, in the version that this ONNX Runtime was built for"
    } else if names(&["libnvinfer", "libnvonnxparser"]) {
        "; install TensorRT, in the version that this ONNX Runtime was built for"
    } else {
        ""
    }
}

/// A message of ONNX Runtime without the place in its source, which comes first.
fn plain(message: &str) -> &str {
    let reason = message.split_once("[ONNXRuntimeError] : ").and_then(|(_, status)| {
        let mut parts = status.splitn(3, " : ");
        parts.nth(2)
    });
    reason.unwrap_or(message).trim()
}

/// Why a file is no shared library, if so.
fn damage(path: &Path) -> std::io::Result<Option<String>> {
    let mut start = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut start)?;
    Ok(match start.as_slice() {
        b"\x7fELF" => None,
        [] => Some("an empty file".to_owned()),
        _ => Some("not a shared library".to_owned()),
    })
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
            cuda_graphs: true,
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
                .with_memory_limit(GPU_MEMORY + GPU_MEMORY_A_PIXEL * gpu.pixels)
                .with_tf32(self.precision != Precision::Fp32);
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
                    .with_bf16(precision == Precision::Bf16)
                    .with_cuda_graph(self.cuda_graphs);
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
        let Self { provider, device, .. } = *self;
        ProviderError::Refused { provider, device, why: plain(why).to_owned() }
    }

    /// How far its answers may be from the CPU's: the root mean square of the differences as a
    /// fraction of that of the answers. On OpenVINO it is under 10⁻⁶ in fp32 and 0.03 in bf16.
    pub(super) fn tolerance(&self) -> f32 {
        match (self.provider, self.precision) {
            (Provider::Cpu, _) | (_, Precision::Fp32) => 0.001,
            (Provider::OpenVino, Precision::Auto) => 0.001,
            // TF32 has three bits more than bf16.
            (Provider::Cuda, _) => 0.02,
            _ => 0.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(provider: Provider, frames: usize, batch: usize) -> Execution {
        Execution { provider, frames, batch, ..Execution::cpu(1) }
    }

    #[test]
    fn batches_are_for_gpus_and_never_wait() {
        let split = |provider, frames, batch| {
            let execution = execution(provider, frames, batch);
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

    #[test]
    fn a_missing_library_is_named_with_what_it_belongs_to() {
        let refusal = |library: &str| {
            let why = format!(
                "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 \
                 onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : \
                 FAIL : Failed to load library libonnxruntime_providers_cuda.so with error: \
                 {library}: cannot open shared object file: No such file or directory\n"
            );
            execution(Provider::Cuda, 1, 1).refused(&why).to_string()
        };
        assert_eq!(
            refusal("libcublasLt.so.13"),
            "CUDA (device 0) does not run: Failed to load library libonnxruntime_providers_cuda.so \
             with error: libcublasLt.so.13: cannot open shared object file: No such file or \
             directory; install CUDA, in the version that this ONNX Runtime was built for"
        );
        assert!(refusal("libcudnn.so.9").contains("install cuDNN"));
        assert!(refusal("libnvinfer.so.10").contains("install TensorRT"));
        let other = execution(Provider::Cuda, 1, 1).refused("CUDA failure 2: out of memory");
        assert_eq!(
            other.to_string(),
            "CUDA (device 0) does not run: CUDA failure 2: out of memory"
        );
    }
}
