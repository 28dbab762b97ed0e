// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a face goes in the picture that is cut out for it.

use super::affine::Affine;
use crate::{
    face::{Face, Landmarks},
    geometry::Point,
};

/// Width and height of the picture that [`ARCFACE`] is in.
pub const ARCFACE_SIZE: u32 = 112;

/// Where networks for recognition expect the landmarks, in pixels of a picture of 112×112: `arcface_dst`
/// of InsightFace's `face_align.py`.
pub const ARCFACE: Landmarks = Landmarks([
    Point { x: 38.2946, y: 51.6963 },
    Point { x: 73.5318, y: 51.5014 },
    Point { x: 56.0252, y: 71.7366 },
    Point { x: 41.5493, y: 92.3655 },
    Point { x: 70.7299, y: 92.2041 },
]);

/// Why no picture can be cut out for a face.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error(
        "it has no landmarks to align it by: have retinafacedetect find the faces with a network that \
         gives landmarks, or set align=none"
    )]
    NoLandmarks,
    #[error("its landmarks lie all in one place")]
    Landmarks,
    #[error("its box has no area")]
    Bounds,
}

/// Takes the frame's pixels to those of a picture of `size` × `size`, so that the face's landmarks come
/// as near as possible to [`ARCFACE`], scaled from 112 to `size`.
///
/// `aspect` is a pixel's width divided by its height. Pixels are counted as in InsightFace and OpenCV:
/// (0, 0) is the middle of the first.
pub fn aligned(face: &Face, size: u32, aspect: f64) -> Result<Affine, PlaceError> {
    let landmarks = face.landmarks.ok_or(PlaceError::NoLandmarks)?;
    let square = Affine::scale_and_move((aspect, 1.0), (0.0, 0.0));
    let scale = f64::from(size) / f64::from(ARCFACE_SIZE);
    let scaled = Affine::scale_and_move((scale, scale), (0.0, 0.0));
    let from = landmarks.0.map(|point| square.apply(point));
    let to = ARCFACE.0.map(|point| scaled.apply(point));
    let similarity = Affine::similarity(&from, &to).ok_or(PlaceError::Landmarks)?;
    Ok(square.then(&similarity))
}

/// Takes the frame's pixels to those of a picture of `size` × `size` that shows the face's box, enlarged
/// on each side by `margin` times its width and height and then, where it is narrower than high or the
/// other way round, to a square around the same middle.
///
/// `aspect` and how pixels are counted: as in [`aligned`].
pub fn boxed(face: &Face, size: u32, margin: f64, aspect: f64) -> Result<Affine, PlaceError> {
    let bounds = &face.bounds;
    let (width, height) = (f64::from(bounds.width()) * aspect, f64::from(bounds.height()));
    if !(width > 0.0 && height > 0.0) {
        return Err(PlaceError::Bounds);
    }
    let scale = f64::from(size) / (width.max(height) * (1.0 + 2.0 * margin));
    let across = scale * aspect;
    // The box's edges are edges of pixels, half a pixel from their middles.
    let offset =
        |middle: f32, scale: f64| f64::from(size) / 2.0 - 0.5 - scale * (f64::from(middle) - 0.5);
    let middle = bounds.middle();
    let map = Affine::scale_and_move(
        (across, scale),
        (offset(middle.x, across), offset(middle.y, scale)),
    );
    map.inverse().map(|_| map).ok_or(PlaceError::Bounds)
}
