// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why a network does not load, or not on one provider.

use thiserror::Error;

use super::{
    config::{Config, Precision},
    library::LibraryError,
    provider::Provider,
};
use crate::{model::NotSpecialised, retinaface::detector::EngineError};

/// A network does not load or does not answer as RetinaFace does.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error("{why}, so that ONNX Runtime is needed. {source}")]
    NeedsLibrary { why: String, source: LibraryError },
    #[error("ONNX Runtime rejects the network: {0}")]
    Rejected(#[from] ort::Error),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the network does not run at {width}×{height} pixels: {source}")]
    Run { width: u32, height: u32, source: EngineError },
    #[error(
        "the network's output {name} has {found} values for {width}×{height} pixels, where a network \
         of its family has {needed}"
    )]
    Output { name: String, width: u32, height: u32, found: usize, needed: usize },
    #[error("the network as exported takes one frame a run")]
    Batch,
    #[error(
        "{0}: set scale or max-size for a smaller input, or in-flight for fewer frames at a time"
    )]
    Memory(MemoryNeed),
}

/// What the runs of a network that go on at once take of the memory that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the network takes about {} MiB of memory for inputs of {}×{} pixels, {frames} at a time, and \
     there are {} MiB",
    .needed >> 20, .size.0, .size.1, .total >> 20
)]
pub struct MemoryNeed {
    pub size: (u32, u32),
    pub frames: usize,
    pub needed: u64,
    pub total: u64,
}

impl MemoryNeed {
    /// More than half: the process, or another, would sooner or later be ended for it.
    pub fn is_too_much(&self) -> bool {
        self.needed > self.total / 2
    }

    /// More than a quarter, which is hardly ever meant.
    pub fn is_much(&self) -> bool {
        self.needed > self.total / 4
    }
}

/// A network cannot be rewritten, or the rewritten form does not load.
#[derive(Debug, Error)]
pub enum SpecialisedError {
    #[error(transparent)]
    Rewriting(#[from] NotSpecialised),
    #[error(transparent)]
    Loading(#[from] LoadError),
}

/// A provider cannot be used.
#[derive(Debug, Error)]
pub enum ProviderError {
    #[error(
        "this plugin was built without {provider}; build it with the cargo feature nvidia, which is \
         on by default"
    )]
    LeftOut { provider: Provider },
    #[error("the ONNX Runtime here was built without {provider}; {}", .provider.remedy())]
    NotBuilt { provider: Provider },
    #[error("ONNX Runtime's provider library {library} is missing; {}", .provider.remedy())]
    Missing { provider: Provider, library: String },
    #[error(
        "ONNX Runtime's provider library {library} is damaged ({why}); {}", .provider.remedy()
    )]
    Damaged { provider: Provider, library: String, why: String },
    #[error("{provider} does not support the precision {precision}: set precision to auto or fp32")]
    Precision { provider: Provider, precision: Precision },
    #[error("{provider} needs an NVIDIA GPU: {why}")]
    NoDevice { provider: Provider, why: String },
    #[error("TensorRT is not installed, or not completely: {why}")]
    NoTensorRt { why: String },
    #[error(
        "TensorRT has no engine for this network, size and GPU yet, and building one takes minutes: \
         set tensorrt-build, or set execution-provider to tensorrt once"
    )]
    NoEngine,
    #[error("{provider} cannot run the network: {why}")]
    CannotRun { provider: Provider, why: String },
    #[error("{provider} (device {device}) does not run: {why}{}", .provider.hint(.why))]
    Refused { provider: Provider, device: u32, why: String },
    #[error(
        "{provider} (device {device}) gives wrong results: their relative difference from the CPU's \
         is {difference}, and rounding explains {tolerance} at most"
    )]
    Wrong { provider: Provider, device: u32, difference: f32, tolerance: f32 },
}

impl ProviderError {
    /// Whether the provider's fallback takes over; `asked_for`: this one was asked for in particular.
    pub fn allows_fallback(&self, asked_for: bool) -> bool {
        match self {
            Self::NoEngine => !asked_for,
            Self::CannotRun { .. } => true,
            _ => false,
        }
    }

    /// For a reason that ONNX Runtime gives.
    pub fn refused(provider: Provider, device: u32, why: &str) -> Self {
        Self::Refused { provider, device, why: without_origin(why).to_owned() }
    }

    /// Whether a user who asked for no provider in particular should hear of it: something is there
    /// and does not work, or a device is left idle.
    pub fn is_unexpected(&self) -> bool {
        match *self {
            Self::NotBuilt { provider }
            | Self::Missing { provider, .. }
            | Self::NoDevice { provider, .. } => provider.leaves_device_idle(),
            Self::LeftOut { .. }
            | Self::NoTensorRt { .. }
            | Self::NoEngine
            | Self::CannotRun { .. } => false,
            Self::Damaged { .. }
            | Self::Precision { .. }
            | Self::Refused { .. }
            | Self::Wrong { .. } => true,
        }
    }
}

impl Config {
    /// The provider fails for this reason.
    pub(super) fn refused(&self, why: &str) -> ProviderError {
        ProviderError::refused(self.provider, self.device, why)
    }

    /// Networks of this kind are not for the provider.
    pub(super) fn cannot_run(&self, why: &str) -> ProviderError {
        ProviderError::CannotRun { provider: self.provider, why: why.to_owned() }
    }
}

/// A message of ONNX Runtime without the place in its source, which comes first.
fn without_origin(message: &str) -> &str {
    let reason = message.split_once("[ONNXRuntimeError] : ").and_then(|(_, status)| {
        let mut parts = status.splitn(3, " : ");
        parts.nth(2)
    });
    reason.unwrap_or(message).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_comes_without_its_place_in_the_source() {
        let why = "/onnxruntime_src/onnxruntime/core/session/provider_bridge_ort.cc:2043 \
                   onnxruntime::Provider& onnxruntime::ProviderLibrary::Get() [ONNXRuntimeError] : \
                   1 : FAIL : Failed to load library libopenvino.so : it is missing\n";
        assert_eq!(
            ProviderError::refused(Provider::OpenVino, 0, why).to_string(),
            "OpenVINO (device 0) does not run: Failed to load library libopenvino.so : it is missing"
        );
        let why = "out of memory";
        assert!(
            ProviderError::refused(Provider::Cpu, 0, why).to_string().ends_with(": out of memory")
        );
    }

    #[test]
    fn an_engine_that_was_asked_for_is_not_replaced_but_a_network_always_runs() {
        let why = "there is no kernel for its operator".to_owned();
        let cannot = ProviderError::CannotRun { provider: Provider::Native, why };
        assert!(cannot.allows_fallback(true) && cannot.allows_fallback(false));
        assert!(!cannot.is_unexpected());
        assert!(!ProviderError::NoEngine.allows_fallback(true));
        assert!(ProviderError::NoEngine.allows_fallback(false));
        let refused = ProviderError::refused(Provider::Native, 0, "");
        assert!(!refused.allows_fallback(false));
    }

    #[test]
    fn half_of_the_memory_is_too_much() {
        let need = |needed| MemoryNeed { size: (640, 480), frames: 1, needed, total: 400 };
        assert!(!need(100).is_much() && need(101).is_much());
        assert!(!need(200).is_too_much() && need(201).is_too_much());
    }

    #[test]
    fn what_is_not_installed_is_nothing_to_warn_of() {
        let provider = Provider::OpenVino;
        let missing = |provider| ProviderError::Missing { provider, library: String::new() };
        assert!(!missing(provider).is_unexpected());
        assert!(!ProviderError::NotBuilt { provider }.is_unexpected());
        assert!(!ProviderError::NoEngine.is_unexpected());
        let damaged =
            ProviderError::Damaged { provider, library: String::new(), why: String::new() };
        assert!(damaged.is_unexpected());
        assert!(ProviderError::refused(provider, 0, "").is_unexpected());
    }
}
