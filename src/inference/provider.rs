// SPDX-License-Identifier: MIT OR Apache-2.0

//! ONNX Runtime's execution providers, and why one may not serve.

use std::{fmt, fs::File, io::Read, path::Path};

use ort::ep::{self, ExecutionProvider};
use thiserror::Error;

use super::{Precision, library, tensorrt};

/// An execution provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    Cpu,
    Cuda,
    TensorRt,
    OpenVino,
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
                "run scripts/setup --gpu of gst-plugin-retinaface, or install ONNX Runtime's GPU \
                 build (on PyPI onnxruntime-gpu) and let the environment variable ORT_DYLIB_PATH \
                 name its libonnxruntime.so"
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
    /// For a reason that ONNX Runtime gives.
    pub fn refused(provider: Provider, device: u32, why: &str) -> Self {
        Self::Refused { provider, device, why: plain(why).to_owned() }
    }

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

    /// Whether something it needs is not there, rather than there and broken.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named_with_what_it_belongs_to() {
        let refused = |why: &str| ProviderError::refused(Provider::Cuda, 0, why);
        let refusal = |library: &str| {
            let why = format!(
                "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 \
                 onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : 1 : \
                 FAIL : Failed to load library libonnxruntime_providers_cuda.so with error: \
                 {library}: cannot open shared object file: No such file or directory\n"
            );
            refused(&why).to_string()
        };
        assert_eq!(
            refusal("libcublasLt.so.13"),
            "CUDA (device 0) does not run: Failed to load library libonnxruntime_providers_cuda.so \
             with error: libcublasLt.so.13: cannot open shared object file: No such file or \
             directory; install CUDA, in the version that this ONNX Runtime was built for"
        );
        assert!(refusal("libcudnn.so.9").contains("install cuDNN"));
        assert!(refusal("libnvinfer.so.10").contains("install TensorRT"));
        let other = refused("CUDA failure 2: out of memory");
        assert_eq!(
            other.to_string(),
            "CUDA (device 0) does not run: CUDA failure 2: out of memory"
        );
    }
}
