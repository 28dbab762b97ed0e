// SPDX-License-Identifier: MIT OR Apache-2.0

//! Several looks at one frame: close faces with `pyramid`, tiny ones in large frames with `tiles`.

mod common;

use std::path::Path;

use gstretinaface::{face::Face, geometry::Rect, meta};
use image::{RgbImage, imageops};

/// The faces that are found in a picture with these properties, and elements before.
fn faces(picture: &RgbImage, elements: &str, properties: &str) -> Vec<Face> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("picture.png");
    picture.save(&path).expect("a file");
    let samples = common::run(&format!(
        "filesrc location=\"{}\" ! pngdec ! videoconvert ! {elements} ! \
         retinafacedetect {properties} ! appsink name=sink",
        path.display()
    ));
    let samples = samples.expect("it runs");
    meta::faces(samples[0].buffer().expect("a buffer"))
}

fn read(path: &Path) -> RgbImage {
    image::open(path).expect("a picture").into_rgb8()
}

fn astronaut() -> RgbImage {
    read(&common::media("astronaut.png"))
}

/// The part of a picture around a box, which has `fill` of its height; resized to `height`.
fn close_up(picture: &RgbImage, bounds: &Rect, fill: f32, height: u32) -> (RgbImage, Rect) {
    let side = bounds.height() / fill;
    let middle = bounds.middle();
    let (x, y) = ((middle.x - side / 2.0).max(0.0), (middle.y - side / 2.0).max(0.0));
    let cut = imageops::crop_imm(picture, x as u32, y as u32, side as u32, side as u32).to_image();
    let scale = height as f32 / cut.height() as f32;
    let corner = (x.floor(), y.floor());
    let moved = Rect::new(
        bounds.x_min - corner.0,
        bounds.y_min - corner.1,
        bounds.x_max - corner.0,
        bounds.y_max - corner.1,
    );
    let (width, filter) = (cut.width() as f32 * scale, imageops::FilterType::CatmullRom);
    (imageops::resize(&cut, width as u32, height, filter), moved.scale(scale, scale))
}

fn is_one(found: &[Face], expected: &Rect) -> bool {
    matches!(found, [face] if face.bounds.iou(expected) > 0.5)
}

#[test]
fn a_face_that_fills_the_frame_is_one_face() {
    let astronaut = astronaut();
    let [face] = faces(&astronaut, "identity", "")[..] else { panic!("one face") };
    for (fill, height) in [(0.95, 480), (0.7, 1280)] {
        let (picture, expected) = close_up(&astronaut, &face.bounds, fill, height);
        let is_one = |properties| is_one(&faces(&picture, "identity", properties), &expected);
        if height > 1000 {
            assert!(!is_one("max-size=0"), "too large for one look");
        }
        for properties in ["pyramid=true", "max-size=0 pyramid=true", "tiles=auto"] {
            assert!(is_one(properties), "{properties}, {height}");
        }
    }
}

#[test]
fn a_small_face_in_front_of_a_large_one_stays() {
    let astronaut = astronaut();
    let [face] = faces(&astronaut, "identity", "")[..] else { panic!("one face") };
    let (large, expected) = close_up(&astronaut, &face.bounds, 0.6, 1280);
    for height in [90, 240, 400] {
        let (small, bounds) = close_up(&astronaut, &face.bounds, 0.6, height);
        let mut picture = large.clone();
        // Beside the chin.
        let (x, y) = (expected.x_min as i64 - i64::from(height) / 2, 1280 - i64::from(height));
        imageops::replace(&mut picture, &small, x, y);
        let (x, y) = (x as f32, y as f32);
        let Rect { x_min, y_min, x_max, y_max } = bounds;
        let in_front = Rect::new(x_min + x, y_min + y, x_max + x, y_max + y);
        let found = faces(&picture, "identity", "max-size=0 pyramid=true");
        let has = |bounds: &Rect| found.iter().any(|face| face.bounds.iou(bounds) > 0.5);
        assert!(has(&expected) && has(&in_front) && found.len() == 2, "{height}: {found:?}");
    }
}

/// A picture with many small copies of a face, 52 pixels apart and some 20 wide, and one large one.
fn crowd() -> (RgbImage, usize) {
    let small = imageops::resize(&astronaut(), 104, 104, imageops::FilterType::CatmullRom);
    let head = imageops::crop_imm(&small, 20, 0, 52, 52).to_image();
    let mut picture = RgbImage::from_pixel(1500, 1100, image::Rgb([123, 117, 104]));
    let mut copies = 0;
    for (x, y) in (0..1500 - 52).step_by(52).flat_map(|x| (0..500).step_by(52).map(move |y| (x, y)))
    {
        imageops::replace(&mut picture, &head, x, y);
        copies += 1;
    }
    imageops::replace(&mut picture, &astronaut(), 100, 580);
    (picture, copies + 1)
}

#[test]
fn each_face_in_tiles_is_found_once() {
    let (picture, copies) = crowd();
    let whole = faces(&picture, "identity", "max-size=0");
    let tiled = faces(&picture, "identity", "tiles=auto");
    let missing = |found: &[Face], expected: &[Face]| {
        let same = |a: &Face, b: &Face| a.bounds.iou(&b.bounds) > 0.5;
        expected.iter().filter(|face| !found.iter().any(|found| same(found, face))).count()
    };
    assert!(whole.len() > copies * 9 / 10, "{} of {copies}", whole.len());
    assert!(tiled.len() <= copies, "{} of {copies}", tiled.len());
    assert!(missing(&tiled, &whole) <= whole.len() / 50, "{}", missing(&tiled, &whole));
    assert!(faces(&picture, "identity", "").len() < copies / 2, "without tiles");
    // At 30 % of the size the copies are too small, whatever tile they are in.
    assert!(faces(&picture, "identity", "tiles=auto scale=0.3").len() < copies / 2);

    // The same, whatever computes it and however the frame is stored.
    for properties in ["in-flight=2", "in-flight=4 batch-size=3"] {
        let found = faces(&picture, "identity", &format!("tiles=auto {properties}"));
        assert_eq!(found.len(), tiled.len(), "{properties}");
        assert_eq!(missing(&found, &tiled), 0, "{properties}");
    }
    let turned = "videoflip video-direction=90r";
    let found = faces(&picture, turned, "tiles=auto orientation=90l");
    let upright: Vec<_> = found
        .iter()
        .map(|face| {
            // Turned clockwise, rows are columns from the right.
            let Rect { x_min, y_min, x_max, y_max } = face.bounds;
            Face { bounds: Rect::new(y_min, 1100.0 - x_max, y_max, 1100.0 - x_min), ..*face }
        })
        .collect();
    assert_eq!((found.len(), missing(&upright, &tiled)), (tiled.len(), 0));
    let cropped = faces(&picture, "videocrop right=301 ! video/x-raw,format=I420", "tiles=auto");
    assert!(cropped.len() > copies * 7 / 10, "{}", cropped.len());
}

/// What a file of expected faces says of a picture.
fn golden(shared: &Path, name: &str) -> Vec<(Rect, f64)> {
    let text = std::fs::read_to_string(shared.join("golden/mobilenet025.json")).expect("a file");
    let all: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let faces = all[name]["strides=8,16,32"].as_array().expect("faces");
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    let face = |face: &serde_json::Value| {
        let side = |index: usize| number(&face["box"][index]) as f32;
        (Rect::new(side(0), side(1), side(2), side(3)), number(&face["score"]))
    };
    faces.iter().map(face).collect()
}

#[test]
fn close_ups_are_one_face_each() {
    let Some(shared) = common::shared("close_ups_are_one_face_each") else { return };
    let (mut frames, mut good) = (0, 0);
    for name in ["2.png", "13.png", "16.png"] {
        let picture = read(&shared.join("images").join(name));
        for (bounds, _) in golden(&shared, name).iter().filter(|(_, score)| *score > 0.95).take(2) {
            for (fill, height, max_size) in [(0.6, 480, 640), (0.9, 640, 640), (0.75, 900, 0)] {
                let (picture, expected) = close_up(&picture, bounds, fill, height);
                let properties = format!("pyramid=true max-size={max_size}");
                frames += 1;
                good += usize::from(is_one(&faces(&picture, "identity", &properties), &expected));
            }
        }
    }
    assert!(frames == 18 && good * 100 >= frames * 95, "{good} of {frames}");
}

#[test]
fn tiny_faces_in_large_frames_are_found() {
    let Some(shared) = common::shared("tiny_faces_in_large_frames_are_found") else { return };
    let mut frame = RgbImage::from_pixel(3840, 2160, image::Rgb([123, 117, 104]));
    let mut expected = Vec::new();
    // On and beside the borders of tiles.
    for (name, x, y) in [("8.png", 200, 300), ("26.png", 1400, 160), ("1.png", 2900, 1300)] {
        imageops::replace(&mut frame, &read(&shared.join("images").join(name)), x, y);
        for (bounds, score) in golden(&shared, name) {
            let (x, y) = (x as f32, y as f32);
            let Rect { x_min, y_min, x_max, y_max } = bounds;
            let moved = Rect::new(x_min + x, y_min + y, x_max + x, y_max + y);
            if score > 0.65 && bounds.width().max(bounds.height()) >= 12.0 {
                expected.push(moved);
            }
        }
    }
    let found = faces(&frame, "identity", "tiles=auto");
    let is_found = |bounds: &&Rect| found.iter().any(|face| face.bounds.iou(bounds) > 0.5);
    let hits = expected.iter().filter(is_found).count();
    assert!(
        expected.len() > 150 && hits * 100 >= expected.len() * 98,
        "{hits} of {}",
        expected.len()
    );
    assert!(found.len() <= expected.len() + expected.len() / 10, "{} found", found.len());
}
