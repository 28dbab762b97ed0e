// SPDX-License-Identifier: MIT OR Apache-2.0

//! What CUDA and TensorRT have in common, and nothing else needs: the cargo feature `nvidia`.

use std::path::Path;

mod capture;
mod gpu;
mod pinned;
pub mod tensorrt_engine;

pub use capture::turn;
pub use gpu::Gpu;

/// What to do where ONNX Runtime's part of CUDA or TensorRT is missing.
pub const REMEDY: &str = "run scripts/setup --gpu of gst-plugin-retinaface, or install ONNX \
                          Runtime's GPU build (on PyPI onnxruntime-gpu) and set the environment \
                          variable ORT_DYLIB_PATH to its libonnxruntime.so";

/// Whether there is an NVIDIA GPU with a driver here, in a PC or a Jetson.
pub fn has_gpu() -> bool {
    ["/dev/nvidiactl", "/dev/nvhost-ctrl-gpu", "/dev/nvgpu"].iter().any(|p| Path::new(p).exists())
}

/// What to install where ONNX Runtime does not find one of NVIDIA's libraries.
pub fn hint(why: &str) -> &'static str {
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

#[cfg(test)]
mod tests {
    use crate::inference::{error::ProviderError, provider::Provider};

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
