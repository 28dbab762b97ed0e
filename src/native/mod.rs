// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running networks on the CPU without any library: kernels of our own.
//!
//! [`Program::compile`] makes steps of a network's graph, once for an input size, and packs the weights;
//! a [`Run`] has the memory that its steps compute in. Any number of runs of a program may go on at once.

mod graph;
mod instructions;
mod kernels;
mod lower;
mod memory;
mod passes;
mod plan;
mod pool;
mod program;
mod run;

pub use instructions::InstructionSet;
pub use program::{Program, Unsupported};
pub use run::Run;

#[cfg(test)]
mod tests;
