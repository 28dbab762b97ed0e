// SPDX-License-Identifier: MIT OR Apache-2.0

//! What people do with faces, as pipelines and applications see it: `retinafacecrop` cuts them out,
//! `retinafaceblur` makes them unrecognisable.

#[path = "../common/mod.rs"]
mod common;

mod blur;
mod crop;
mod elements;
