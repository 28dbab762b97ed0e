// SPDX-License-Identifier: MIT OR Apache-2.0

//! The RetinaFace algorithm around a network: frame to network input, network output to faces.

pub mod decode;
pub mod detector;
pub mod merge;
pub mod nms;
