// SPDX-License-Identifier: MIT OR Apache-2.0

//! A network loaded for one input.

use super::network::Loaded;
use crate::{families::heads::Heads, model::InputSpec, preprocess::Normalisation};

/// A network loaded for one input. Any number of engines may run on it at once where the provider
/// shares sessions, and else only one.
pub struct Session {
    /// What it is for. As exported, a network takes planes.
    pub(super) spec: InputSpec,
    pub(super) input: String,
    /// Names and shapes.
    pub(super) outputs: Vec<(String, Vec<i64>)>,
    pub(super) normalisation: Normalisation,
    pub(super) heads: Heads,
    /// Why the network is not rewritten for its input, if it is not.
    pub(super) as_exported: Option<String>,
    pub(super) cuda_graphs: bool,
    pub(super) loaded: Loaded,
}
