// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces cut out of a frame: where they go in the picture that is made of each, its pixels, and how
//! good it is.

mod affine;
mod cropper;
mod placement;
mod quality;

pub use affine::Affine;
pub use cropper::{Cropper, Picture, Sampled};
pub use placement::{ARCFACE, ARCFACE_SIZE, PlaceError, aligned, boxed};
pub use quality::{Quality, frontality};

#[cfg(test)]
mod tests;
