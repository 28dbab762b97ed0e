// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running networks with ONNX Runtime.

mod choose;
mod engine;
mod execution;
mod gpu;
mod library;
mod provider;
mod session;
mod tensorrt;

pub use choose::{Choice, choose};
pub use engine::OrtEngine;
pub use execution::{Execution, Precision};
pub use gpu::has_nvidia_gpu;
pub use library::{LibraryError, Log, decline_telemetry, environment, set_plugin_folder};
pub use ort::logging::LogLevel;
pub use provider::{Provider, ProviderError};
pub use session::{LoadError, Notice, Session, SpecialisedError, Tell};
