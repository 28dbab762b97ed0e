// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running networks, with ONNX Runtime or kernels of our own.
//!
//! A [`Loader`] turns a [`Request`] into a [`SessionEngine`]: it selects a [`Provider`], which decides
//! the rest of the [`Config`], and loads the network as a [`Session`]. ONNX Runtime is loaded when
//! something needs it.

mod binding;
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
pub use engine::SessionEngine;
pub use error::{LoadError, MemoryNeed, ProviderError, SpecialisedError};
pub use event::{Event, EventHandler};
pub use library::{LibraryError, Log, environment, is_loaded};
pub use loader::Loader;
pub use ort::logging::LogLevel;
pub use provider::Provider;
pub use providers::{AsExported, Capabilities, ExecutionProvider};
pub use select::Selection;
pub use session::Session;
