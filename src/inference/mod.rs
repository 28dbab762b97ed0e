// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running networks with ONNX Runtime.
//!
//! A [`Loader`] turns a [`Request`] into an [`OrtEngine`]: it selects a [`Provider`], which decides
//! the rest of the [`Config`], and loads the network as a [`Session`].

mod cache;
mod config;
mod device;
mod engine;
mod event;
mod library;
mod loader;
#[cfg(feature = "nvidia")]
mod nvidia;
mod providers;
mod select;
mod session;

pub use config::{Config, Precision, Request};
pub use engine::OrtEngine;
pub use event::{Event, EventHandler};
pub use library::{LibraryError, Log, decline_telemetry, environment, set_plugin_folder};
pub use loader::Loader;
pub use ort::logging::LogLevel;
pub use providers::{
    AsExported, Capabilities, ExecutionProvider, LoadError, Parallelism, Provider, ProviderError,
};
pub use select::Selection;
pub use session::{Session, SpecialisedError};
