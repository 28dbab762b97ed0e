// SPDX-License-Identifier: MIT OR Apache-2.0

//! Rewriting a graph so that it computes the same with less work.

pub mod fold;
pub mod pixels;
pub mod specialise;
pub mod widen;
