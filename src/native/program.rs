// SPDX-License-Identifier: MIT OR Apache-2.0

//! A network as the steps that compute it.

use super::{
    graph::{Graph, Shape},
    instructions::InstructionSet,
    lower::lower,
    passes::simplify,
    plan::{Plan, plan},
};

/// Why a network cannot be run by these kernels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    #[error("there is no kernel for its operator {0}, or not for how it is used")]
    Operator(String),
    #[error("{0}")]
    Network(String),
}

/// A network compiled for one input size: steps, packed weights and the layout of their memory.
pub struct Program {
    pub(super) plan: Plan,
    set: InstructionSet,
}

impl Program {
    /// Compiles an ONNX file as [`Model::specialise`](crate::model::Model::specialise) writes it for
    /// planes, one picture a run and one lane.
    pub fn compile(network: &[u8], set: InstructionSet) -> Result<Self, Unsupported> {
        Self::new(lower(network)?, set)
    }

    pub(super) fn new(mut graph: Graph, set: InstructionSet) -> Result<Self, Unsupported> {
        simplify(&mut graph, set.lanes());
        Ok(Self { plan: plan(graph, set.lanes())?, set })
    }

    pub fn instructions(&self) -> InstructionSet {
        self.set
    }

    /// Bytes that each run of it takes.
    pub fn memory(&self) -> usize {
        self.plan.floats * size_of::<f32>()
    }

    /// The shapes of the outputs.
    pub fn outputs(&self) -> impl Iterator<Item = Shape> {
        self.plan.outputs.iter().map(|output| output.shape)
    }
}
