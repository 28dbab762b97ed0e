// SPDX-License-Identifier: MIT OR Apache-2.0

//! Making faces unrecognisable in the pixels of a frame.

mod cells;
mod hider;

pub use hider::{Hider, Mode, Shape};

#[cfg(test)]
mod tests;
