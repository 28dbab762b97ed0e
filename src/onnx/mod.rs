// SPDX-License-Identifier: MIT OR Apache-2.0

//! ONNX networks: decoding the file, following values through its graph, and rewriting it.

pub mod accessors;
pub mod builder;
pub mod convolution;
pub mod graph;
pub mod memory;
pub mod messages;
pub mod operators;
pub mod passes;
pub mod shapes;
pub mod validate;
mod window;

#[cfg(test)]
pub(crate) mod tests;
