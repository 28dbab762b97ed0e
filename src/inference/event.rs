// SPDX-License-Identifier: MIT OR Apache-2.0

//! What happens while networks are loaded.

use std::time::Duration;

use ort::logging::LogLevel;

use super::{
    error::{LoadError, MemoryNeed, ProviderError},
    provider::Provider,
};
use crate::model::InputSpec;

/// Something that happened while a network was loaded.
pub enum Event<'a> {
    Log(LogLevel, &'a str),
    /// The network will take much of the memory that there is.
    MuchMemory(&'a MemoryNeed),
    /// The network could not be rewritten for its input, and is slower. Once.
    AsExported(&'a str),
    /// TensorRT starts to build an engine, which takes minutes.
    BuildStarted(&'a InputSpec),
    /// The build took this long, and gave an engine or did not.
    BuildFinished(Duration, Result<(), &'a LoadError>),
    /// From now on this provider is used, because the one before cannot go on.
    ProviderChanged(Provider, &'a ProviderError),
}

/// What is done about events. Called in whichever thread loads.
pub type EventHandler = Box<dyn Fn(Event) + Send + Sync>;
