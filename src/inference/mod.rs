// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running networks with ONNX Runtime.

mod library;
mod session;

pub use library::{LibraryError, Log, environment, set_plugin_folder};
pub use ort::logging::LogLevel;
pub use session::{LoadError, OrtEngine, Session, SpecialisedError};
