// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frame in, network input out: cropping, turning upright, resize, colour conversion, channel order,
//! normalisation and layout in one pass over the rows, with no intermediate image. Or pixels as they
//! are, for devices that do all that better.

mod axis;
mod form;
mod kernels;
mod looks;
mod normalisation;
mod placement;
mod preprocessor;

pub use axis::ScaleMethod;
pub use form::{Form, Pixels};
pub use looks::{Look, Scales};
pub use normalisation::{ChannelOrder, Normalisation};
pub use placement::{InputSizes, Placement};
pub use preprocessor::Preprocessor;

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
