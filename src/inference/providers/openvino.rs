// SPDX-License-Identifier: MIT OR Apache-2.0

//! Intel's OpenVINO, on the CPU.

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider as _};

use super::execution_provider::ExecutionProvider;
use crate::inference::{
    config::{Parallelism, Precision},
    device,
    error::LoadError,
    network::{Loaded, Network},
    provider::Provider,
};

pub struct OpenVino;

impl ExecutionProvider for OpenVino {
    fn provider(&self) -> Provider {
        Provider::OpenVino
    }

    fn name(&self) -> &'static str {
        "OpenVINO"
    }

    fn library(&self) -> Option<&'static str> {
        Some("libonnxruntime_providers_openvino.so")
    }

    fn loads(&self) -> &'static [&'static str] {
        &["libopenvino_intel_cpu_plugin.so", "libopenvino_onnx_frontend.so"]
    }

    fn is_built(&self) -> bool {
        ep::OpenVINO::is_available().unwrap_or(false)
    }

    fn remedy(&self) -> &'static str {
        "run scripts/setup --openvino of gst-plugin-retinaface, or install ONNX Runtime's OpenVINO \
         build (on PyPI onnxruntime-openvino) and set the environment variable ORT_DYLIB_PATH to \
         its libonnxruntime.so"
    }

    fn precisions(&self) -> &'static [Precision] {
        &[Precision::Fp32, Precision::Bf16]
    }

    /// Measured: under 10⁻⁶ in fp32 and 0.03 in bf16.
    fn tolerance(&self, precision: Precision) -> f32 {
        if precision == Precision::Fp32 { 0.001 } else { 0.1 }
    }

    fn parallelism(&self, threads: usize, runs: usize) -> Parallelism {
        Parallelism { threads: runs * threads, streams: runs }
    }

    fn load(&self, network: &Network) -> Result<Loaded, LoadError> {
        let Parallelism { threads, streams } = network.config.parallelism;
        let hint = if network.config.precision == Precision::Bf16 { "bf16" } else { "f32" };
        // Pinned, the threads of several elements or processes would crowd on the first CPUs.
        let config = format!(
            r#"{{"CPU":{{"INFERENCE_PRECISION_HINT":"{hint}","INFERENCE_NUM_THREADS":"{threads}","NUM_STREAMS":"{streams}","ENABLE_CPU_PINNING":"NO"}}}}"#,
        );
        let openvino = ep::OpenVINO::default()
            .with_device_type("CPU")
            .with_arbitrary_config("load_config", config);
        // OpenVINO has threads of its own.
        let session = network.load_with(network.builder(1)?, [openvino.build()])?;
        Ok(Loaded::on(device::Cpu, session))
    }
}
