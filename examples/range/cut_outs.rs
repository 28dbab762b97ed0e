// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pictures, and faces cut out of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gstretinaface::{face::Face, geometry::Rect};
use image::{RgbImage, imageops};

use crate::common::Error;

/// Faces with less height than this in their pictures are left out.
const LEAST: f32 = 64.0;

/// A face with what is around it, and where it is in there.
pub struct CutOut {
    pub picture: RgbImage,
    pub bounds: Rect,
}

/// Squares around those of the `found` faces that certainly are some, of which a face has the part
/// `fill` of the height, with no other in sight.
pub fn cut_outs(picture: &RgbImage, found: &[Face], fill: f32) -> Vec<CutOut> {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let cut_out = |face: &Face| {
        let bounds = &face.bounds;
        let side = bounds.height() / fill;
        let square = Rect::around(bounds.middle(), side / 2.0, side / 2.0);
        let in_sight = |other: &&Face| other.bounds.intersection(&square).area() > 0.0;
        if face.confidence.is_none_or(|confidence| confidence <= 0.95)
            || bounds.height() < LEAST
            || square.clip(width, height) != square
            || found.iter().filter(in_sight).count() > 1
        {
            return None;
        }
        let (x, y, side) = (square.x_min as u32, square.y_min as u32, side as u32);
        let picture = imageops::crop_imm(picture, x, y, side, side).to_image();
        Some(CutOut { picture, bounds: moved(bounds, -(x as f32), -(y as f32)) })
    };
    found.iter().filter_map(cut_out).collect()
}

/// A box so far to the right and down.
pub fn moved(bounds: &Rect, x: f32, y: f32) -> Rect {
    let Rect { x_min, y_min, x_max, y_max } = *bounds;
    Rect::new(x_min + x, y_min + y, x_max + x, y_max + y)
}

/// The PNG and JPEG files of these folders.
pub fn pictures(folders: &[PathBuf]) -> Result<Vec<RgbImage>, Error> {
    let mut paths = Vec::new();
    for folder in folders {
        let place = |err| format!("{}: {err}", folder.display());
        for entry in fs::read_dir(folder).map_err(place)? {
            paths.push(entry?.path());
        }
    }
    paths.retain(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("png" | "jpg" | "jpeg"))
    });
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<RgbImage, Error> {
    let picture = image::open(path).map_err(|err| format!("{}: {err}", path.display()))?;
    Ok(picture.into_rgb8())
}
