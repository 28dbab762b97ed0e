// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running networks with ONNX Runtime.

mod library;
mod provider;
mod session;

pub use library::{LibraryError, Log, environment, set_plugin_folder};
pub use ort::logging::LogLevel;
pub use provider::{Execution, Precision, Provider, ProviderError, has_nvidia_gpu};
pub use session::{Choice, LoadError, OrtEngine, Session, SpecialisedError};
