// SPDX-License-Identifier: MIT OR Apache-2.0

//! What computes a network: ONNX Runtime's execution providers.

use std::{fmt, fs::File, io::Read, path::Path, thread};

use ort::{
    ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider},
    session::builder::SessionBuilder,
};
use thiserror::Error;

use super::library;

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
    /// Of the CPU, for one frame; 0: as many as cores, or one where several frames run at once.
    pub threads: usize,
    /// How many frames run at once.
    pub frames: usize,
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
    #[error("{provider} (device {device}) does not run: {why}")]
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
    pub const ACCELERATORS: [Provider; 2] = [Provider::Cuda, Provider::OpenVino];

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
        if built { Ok(()) } else { Err(ProviderError::NotBuilt { provider: self }) }
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
            | Self::Refused { provider, .. }
            | Self::Wrong { provider, .. } => provider,
        }
    }
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
        let (provider, precision) = (Provider::Cpu, Precision::Auto);
        Self { provider, device: 0, precision, threads, frames: 1 }
    }

    /// The same for all that one session serves.
    pub(super) fn session(&self) -> Self {
        match self.provider {
            Provider::Cpu => {
                let exact = matches!(self.precision, Precision::Auto | Precision::Fp32);
                let precision = if exact { Precision::Auto } else { self.precision };
                Self { precision, ..Self::cpu(self.pool()) }
            }
            _ => self.clone(),
        }
    }

    /// ONNX Runtime's own threads, which share the work on the CPU; 0: as many as cores.
    fn pool(&self) -> usize {
        match self.frames {
            _ if self.provider != Provider::Cpu => 1,
            0 | 1 => self.threads,
            // All workers run one session, and are themselves among its threads.
            frames => frames * self.threads.saturating_sub(1) + 1,
        }
    }

    /// Sets a session up for it.
    pub(super) fn apply(&self, builder: SessionBuilder) -> Result<SessionBuilder, ProviderError> {
        let refused = |err: ort::Error| self.refused(&err.to_string());
        let wrong_precision = || {
            let Self { provider, precision, .. } = *self;
            Err(ProviderError::Precision { provider, precision })
        };
        let builder = builder.with_intra_threads(self.pool()).map_err(|err| refused(err.into()))?;
        let device = self.device as i32;
        let provider = match (self.provider, self.precision) {
            (Provider::Cpu, Precision::Auto | Precision::Fp32) => return Ok(builder),
            (Provider::Cpu, _) => return wrong_precision(),
            (Provider::Cuda, Precision::Auto | Precision::Fp32) => ep::CUDA::default()
                .with_device_id(device)
                .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
                .with_tf32(self.precision == Precision::Auto)
                .build(),
            (Provider::Cuda, _) => return wrong_precision(),
            (Provider::TensorRt, precision) => ep::TensorRT::default()
                .with_device_id(device)
                .with_fp16(matches!(precision, Precision::Auto | Precision::Fp16))
                .with_bf16(precision == Precision::Bf16)
                .build(),
            (Provider::OpenVino, Precision::Fp16) => return wrong_precision(),
            (Provider::OpenVino, precision) => {
                let threads = match (self.frames, self.threads) {
                    (1, 0) => thread::available_parallelism().map_or(1, usize::from),
                    (frames, threads) => frames * threads.max(1),
                };
                let hint = if precision == Precision::Bf16 { "bf16" } else { "f32" };
                let config = format!(
                    r#"{{"CPU":{{"INFERENCE_PRECISION_HINT":"{hint}","INFERENCE_NUM_THREADS":"{threads}","NUM_STREAMS":"{}"}}}}"#,
                    self.frames
                );
                ep::OpenVINO::default()
                    .with_device_type("CPU")
                    .with_arbitrary_config("load_config", config)
                    .build()
            }
        };
        builder
            .with_execution_providers([provider.error_on_failure()])
            .map_err(|err| refused(err.into()))
    }

    pub(super) fn refused(&self, why: &str) -> ProviderError {
        let Self { provider, device, .. } = *self;
        ProviderError::Refused { provider, device, why: why.to_owned() }
    }

    /// How far its answers may be from the CPU's: the root mean square of the differences as a
    /// fraction of that of the answers. On OpenVINO it is under 10⁻⁶ in fp32 and 0.03 in bf16.
    pub(super) fn tolerance(&self) -> f32 {
        match (self.provider, self.precision) {
            (Provider::Cpu, _) | (_, Precision::Fp32) => 0.001,
            (Provider::OpenVino, Precision::Auto) => 0.001,
            (Provider::Cuda, _) => 0.01,
            _ => 0.1,
        }
    }
}

/// Whether there is an NVIDIA GPU with a driver here, in a PC or a Jetson.
pub fn has_nvidia_gpu() -> bool {
    ["/dev/nvidiactl", "/dev/nvhost-ctrl-gpu", "/dev/nvgpu"].iter().any(|p| Path::new(p).exists())
}
