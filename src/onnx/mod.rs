// SPDX-License-Identifier: MIT OR Apache-2.0

//! An ONNX file as a graph: reading it, following values through it, and rewriting it.

pub mod builder;
pub mod graph;
pub mod messages;
pub mod passes;
pub mod shapes;
