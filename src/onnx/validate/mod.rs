// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether a network can be given to a runtime.
//!
//! Runtimes check a network as well, but not all of it before they rely on it: some that contradict
//! themselves end the process, and some take it for as long and as much memory as they say. What
//! is refused here is what no exported detector has. Operators of ONNX that are not known here are
//! accepted where the rest is consistent: a runtime that does not know them either says so.

mod arity;
mod invalid;
mod network;
mod node;
mod operators;
mod shaping;
mod tensor;
mod windows;

pub use invalid::Invalid;
pub use network::validate;
