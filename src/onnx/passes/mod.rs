// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rewriting a graph: so that it is as the rest of the project expects it, and so that it computes the
//! same with less work.

pub mod batch;
mod channels_first;
mod dequantise;
pub mod fold;
pub mod pixels;
pub mod plain;
mod sort;
pub mod specialise;
mod to_float;
pub mod widen;
