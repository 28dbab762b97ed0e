// SPDX-License-Identifier: MIT OR Apache-2.0

//! CUDA graphs are captured while nothing else happens on a GPU.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Held alone while a CUDA graph is captured: what other threads allocate on the GPU meanwhile would
/// spoil it, as ONNX Runtime captures with `cudaStreamCaptureModeGlobal`.
static CAPTURE: RwLock<()> = RwLock::new(());

/// To be held during work that allocates on a GPU: no CUDA graph is captured meanwhile.
pub fn turn() -> RwLockReadGuard<'static, ()> {
    CAPTURE.read().unwrap_or_else(PoisonError::into_inner)
}

/// To be held during the capture of a CUDA graph: nobody has a [`turn`] meanwhile.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    CAPTURE.write().unwrap_or_else(PoisonError::into_inner)
}
