// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a network is run: what is asked for, and what that comes to on one provider.

use std::{fmt, path::PathBuf};

use super::provider::Provider;
use crate::native::InstructionSet;

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

/// The threads of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallelism {
    /// In all, at least 1.
    pub threads: usize,
    /// Groups of them, each of which computes one run at a time.
    pub streams: usize,
}

/// What is asked for. What is left open depends on the provider: see [`Self::resolve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `None`: the first of [`Provider::ALL`] that works; OpenVINO only for bf16.
    pub provider: Option<Provider>,
    /// Index of the GPU, in CUDA's order.
    pub device: u32,
    /// `None`: the provider's default.
    pub precision: Option<Precision>,
    /// CPU threads for one run; 0: as many as this process may use at once, or one where several runs
    /// go on.
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
    /// What native kernels may use.
    pub instructions: InstructionSet,
}
