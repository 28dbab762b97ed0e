// SPDX-License-Identifier: MIT OR Apache-2.0

//! TensorRT, on NVIDIA GPUs.

use ort::ep::{self, ExecutionProvider as _};

use super::{
    cuda,
    execution_provider::{AsExported, Capabilities, ExecutionProvider},
};
use crate::inference::{
    config::Precision,
    error::{LoadError, ProviderError},
    network::{Loaded, Network},
    nvidia::{self, Gpu, tensorrt_engine},
    provider::Provider,
};

pub struct TensorRt;

impl ExecutionProvider for TensorRt {
    fn provider(&self) -> Provider {
        Provider::TensorRt
    }

    fn name(&self) -> &'static str {
        "TensorRT"
    }

    fn library(&self) -> Option<&'static str> {
        Some("libonnxruntime_providers_tensorrt.so")
    }

    fn loads(&self) -> &'static [&'static str] {
        &["libonnxruntime_providers_cuda.so"]
    }

    fn is_built(&self) -> bool {
        ep::TensorRT::is_available().unwrap_or(false)
    }

    fn remedy(&self) -> &'static str {
        nvidia::REMEDY
    }

    fn hint(&self, why: &str) -> &'static str {
        nvidia::hint(why)
    }

    fn has_device(&self) -> bool {
        nvidia::has_gpu()
    }

    /// ONNX Runtime's GPU build brings its side of TensorRT, but not TensorRT.
    fn find_dependencies(&self) -> Result<(), ProviderError> {
        match tensorrt_engine::version() {
            Ok(_) => Ok(()),
            Err(why) => Err(ProviderError::NoTensorRt { why: why.to_owned() }),
        }
    }

    fn precisions(&self) -> &'static [Precision] {
        &[Precision::Fp16, Precision::Fp32, Precision::Bf16]
    }

    fn tolerance(&self, precision: Precision) -> f32 {
        if precision == Precision::Fp32 { 0.001 } else { 0.1 }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // It would build an engine for any shape, at every start.
            as_exported: AsExported::Never,
            fallback: Some(Provider::Cuda),
            ..cuda::CAPABILITIES
        }
    }

    fn load(&self, network: &Network) -> Result<Loaded, LoadError> {
        let config = network.config;
        let gpu = Gpu::new(config)?;
        // Its version tells engines apart.
        network.environment()?;
        let _turn = nvidia::turn();
        let session = tensorrt_engine::load_or_build(network, &gpu, |cache| {
            let mut tensorrt = ep::TensorRT::default()
                .with_device_id(config.device as i32)
                .with_fp16(config.precision == Precision::Fp16)
                .with_cuda_graph(config.cuda_graphs);
            // Older versions do not have this option.
            if config.precision == Precision::Bf16 {
                tensorrt = tensorrt.with_bf16(true);
            }
            if let Some(cache) = cache {
                tensorrt = tensorrt
                    .with_engine_cache(true)
                    .with_engine_cache_path(cache.engine.display())
                    .with_timing_cache(true)
                    .with_timing_cache_path(cache.timings.display());
            }
            // SAFETY: the stream is the GPU's, which is dropped after the session: see `Loaded`.
            let tensorrt = unsafe { tensorrt.with_compute_stream(gpu.stream()) };
            // CUDA is for what TensorRT leaves over.
            let providers = [tensorrt.build(), cuda::options(network, &gpu).build()];
            network.load_with(network.builder(1)?, providers)
        })?;
        Ok(Loaded::on(gpu, session))
    }
}
