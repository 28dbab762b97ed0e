// SPDX-License-Identifier: MIT OR Apache-2.0

//! CUDA, on NVIDIA GPUs.

use ort::ep::{self, ExecutionProvider as _, cuda::ConvAlgorithmSearch};

use super::execution_provider::{AsExported, Capabilities, ExecutionProvider};
use crate::inference::{
    config::Precision,
    error::LoadError,
    library,
    network::{Loaded, Network},
    nvidia::{self, Gpu},
    provider::Provider,
};

/// Most memory that ONNX Runtime takes of a GPU for one session: so much, and so much for each pixel
/// of each frame of a run. The largest networks of the kind, ResNet-50's, take a few hundred bytes.
const MEMORY: usize = 1 << 30;
const MEMORY_A_PIXEL: usize = 1 << 10;

/// On a GPU each session has a stream and memory of its own.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    needs_onnxruntime: true,
    takes_pixels: true,
    shares_sessions: false,
    batch: 8,
    batches: true,
    as_exported: AsExported::IfNotRewritable,
    lanes: 1,
    // Each costs memory of the GPU for each worker.
    input_sizes: 2,
    cuda_graphs: true,
    fallback: None,
};

pub struct Cuda;

impl ExecutionProvider for Cuda {
    fn provider(&self) -> Provider {
        Provider::Cuda
    }

    fn name(&self) -> &'static str {
        "CUDA"
    }

    fn library(&self) -> Option<&'static str> {
        Some("libonnxruntime_providers_cuda.so")
    }

    fn is_built(&self) -> bool {
        ep::CUDA::is_available().unwrap_or(false)
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

    fn leaves_device_idle(&self) -> bool {
        nvidia::has_gpu()
    }

    fn precisions(&self) -> &'static [Precision] {
        if has_tf32_option() { &[Precision::Fp32, Precision::Tf32] } else { &[Precision::Tf32] }
    }

    fn tolerance(&self, precision: Precision) -> f32 {
        // TF32 has three bits more than bf16.
        if precision == Precision::Fp32 { 0.001 } else { 0.02 }
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn load(&self, network: &Network) -> Result<Loaded, LoadError> {
        let gpu = Gpu::new(network.config)?;
        let _turn = nvidia::turn();
        let cuda = options(network, &gpu).with_cuda_graph(network.config.cuda_graphs).build();
        let session = network.load_with(network.builder(1)?, [cuda])?;
        Ok(Loaded::on(gpu, session))
    }
}

/// Whether ONNX Runtime can do without TF32, as far as is known.
fn has_tf32_option() -> bool {
    library::minor_version().is_none_or(|minor| minor >= 18)
}

/// Options for a session on this GPU.
pub(super) fn options(network: &Network, gpu: &Gpu) -> ep::CUDA {
    let (width, height) = network.spec.size;
    let pixels = network.spec.batch * width as usize * height as usize;
    let cuda = ep::CUDA::default()
        .with_device_id(network.config.device as i32)
        .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
        .with_memory_limit(MEMORY + MEMORY_A_PIXEL * pixels)
        // ONNX Runtime's own choice tries every algorithm for each convolution at the first run, which
        // takes two to seven times as long and finds none that is faster.
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
    let cuda = match network.config.precision {
        Precision::Fp32 => cuda.with_tf32(false),
        // Not every version has the option.
        _ => cuda,
    };
    // SAFETY: the stream is the GPU's, which is dropped after the session: see `Loaded`.
    unsafe { cuda.with_compute_stream(gpu.stream()) }
}
