// SPDX-License-Identifier: MIT OR Apache-2.0

//! Annotated pictures for the example accuracy: close-ups with one face each, and large frames full of
//! tiny ones. What they are annotated with is what is found in the pictures they are made of.

use std::{fs, path::Path};

use gstretinaface::geometry::Rect;
use image::{RgbImage, imageops};
use serde_json::{Map, Value, json};

use crate::{
    Error, FRAME, GRAY, NATIVE,
    cut_outs::{cut_outs, moved},
    detector::Detector,
};

/// Heights of close-ups.
const HEIGHTS: [u32; 6] = [320, 480, 640, 960, 1280, 1920];

/// A face's part of their height.
const FILLS: [f32; 3] = [0.6, 0.75, 0.95];

/// How much smaller pictures are made to fill the large frames.
const DIVISORS: [u32; 3] = [1, 2, 4];

/// Pictures with faces of more height do not get into the large frames.
const MOST: f32 = 48.0;

const FRAMES: usize = 4;

/// Faces of less height do not count.
const LEAST: f32 = 12.0;

/// Writes `close-ups/`, `close-ups.json`, `tiny/` and `tiny.json` to the folder `out`.
pub fn write(pictures: &[RgbImage], out: &Path) -> Result<(), Error> {
    write_set(out, "close-ups", close_ups(pictures)?)?;
    write_set(out, "tiny", tiny(pictures)?)
}

fn write_set(
    out: &Path,
    name: &str,
    frames: impl IntoIterator<Item = (RgbImage, Vec<Rect>)>,
) -> Result<(), Error> {
    fs::create_dir_all(out.join(name))?;
    let mut annotations = Map::new();
    for (number, (frame, faces)) in frames.into_iter().enumerate() {
        let file = format!("{number:04}.png");
        frame.save(out.join(name).join(&file))?;
        let face = |Rect { x_min, y_min, x_max, y_max }: &Rect| {
            let counts = y_max - y_min >= LEAST;
            json!({ "box": [x_min, y_min, x_max, y_max], "ignored": !counts })
        };
        annotations.insert(file, faces.iter().map(face).collect());
    }
    let (frames, path) = (annotations.len(), out.join(format!("{name}.json")));
    fs::write(&path, Value::Object(annotations).to_string())?;
    println!("{}: {frames} pictures", path.display());
    Ok(())
}

/// Each face in each height.
fn close_ups(pictures: &[RgbImage]) -> Result<impl Iterator<Item = (RgbImage, Vec<Rect>)>, Error> {
    let detector = Detector::new(NATIVE)?;
    let mut faces = Vec::new();
    for picture in pictures {
        let found = detector.faces(picture)?;
        faces.extend(FILLS.iter().flat_map(|&fill| cut_outs(picture, &found, fill)));
    }
    let sized = faces.into_iter().flat_map(|face| {
        HEIGHTS.map(|height| {
            let filter = imageops::FilterType::CatmullRom;
            let scale = height as f32 / face.picture.height() as f32;
            let picture = imageops::resize(&face.picture, height, height, filter);
            (picture, vec![face.bounds.scale(scale, scale)])
        })
    });
    Ok(sized)
}

/// Pictures in rows, each frame beginning with another.
fn tiny(pictures: &[RgbImage]) -> Result<Vec<(RgbImage, Vec<Rect>)>, Error> {
    let detector = Detector::new("max-size=0")?;
    let mut pieces = Vec::new();
    for picture in pictures {
        for divisor in DIVISORS {
            let (width, height) = (picture.width() / divisor, picture.height() / divisor);
            let filter = imageops::FilterType::Triangle;
            let piece = imageops::resize(picture, width.max(1), height.max(1), filter);
            let faces: Vec<_> = detector.faces(&piece)?.iter().map(|face| face.bounds).collect();
            let are_tiny = faces.iter().all(|face: &Rect| face.height() <= MOST);
            let fits = piece.width() <= FRAME.0 && piece.height() <= FRAME.1;
            if !faces.is_empty() && are_tiny && fits {
                pieces.push((piece, faces));
            }
        }
    }
    Ok((0..FRAMES).map(|number| in_rows(&pieces, number)).collect())
}

/// A frame filled with pieces, from one that depends on its number.
fn in_rows(pieces: &[(RgbImage, Vec<Rect>)], number: usize) -> (RgbImage, Vec<Rect>) {
    let mut frame = RgbImage::from_pixel(FRAME.0, FRAME.1, GRAY);
    let mut faces = Vec::new();
    let (mut x, mut y, mut row) = (0, 0, 0);
    for (piece, found) in pieces.iter().cycle().skip(number * pieces.len() / FRAMES) {
        let (width, height) = piece.dimensions();
        if x + width > FRAME.0 {
            (x, y, row) = (0, y + row, 0);
        }
        if y + height > FRAME.1 {
            break;
        }
        imageops::replace(&mut frame, piece, x.into(), y.into());
        faces.extend(found.iter().map(|face| moved(face, x as f32, y as f32)));
        x += width;
        row = row.max(height);
    }
    (frame, faces)
}
