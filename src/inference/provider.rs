// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which execution providers there are.

/// An execution provider. It dereferences to what there is to know of it: see
/// [`ExecutionProvider`](super::ExecutionProvider).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    TensorRt,
    Cuda,
    OpenVino,
    /// The kernels of this crate.
    Native,
    /// Those of ONNX Runtime.
    Cpu,
}

impl Provider {
    /// All of them, in the order in which they are tried. ONNX Runtime's CPU runs every network.
    pub const ALL: [Self; 5] =
        [Self::TensorRt, Self::Cuda, Self::OpenVino, Self::Native, Self::Cpu];
}
