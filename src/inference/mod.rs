// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running networks with ONNX Runtime.
//!
//! A [`Loader`] turns a [`Request`] into an [`OrtEngine`]: it selects a [`Provider`], which decides
//! the rest of the [`Config`], and loads the network as a [`Session`].

mod cache;
mod config;
mod device;
mod engine;
mod error;
mod event;
mod library;
mod loader;
mod memory;
mod network;
#[cfg(feature = "nvidia")]
mod nvidia;
mod provider;
mod providers;
mod resolve;
mod select;
mod session;

pub use config::{Config, Parallelism, Precision, Request};
pub use engine::OrtEngine;
pub use error::{LoadError, MemoryNeed, ProviderError, SpecialisedError};
pub use event::{Event, EventHandler};
pub use library::{LibraryError, Log, environment};
pub use loader::Loader;
pub use ort::logging::LogLevel;
pub use provider::Provider;
pub use providers::{AsExported, Capabilities, ExecutionProvider};
pub use select::Selection;
pub use session::Session;
