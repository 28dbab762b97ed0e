// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces on buffers and on the bus.

mod roi;

pub use roi::{attach, faces};
