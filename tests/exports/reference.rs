// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as Pytorch_Retinaface finds them (detect.py, layers/functions/prior_box.py,
//! utils/box_utils.py and utils/nms/py_cpu_nms.py), from ONNX Runtime's run of the file itself.

use gstretinaface::{
    face::{Face, Landmarks},
    geometry::{Point, Rect},
};

use crate::{
    network::{Export, INPUT, STRIDES, THRESHOLD},
    numbers::with_float_ends,
    picture::Picture,
    runtime,
};

/// The default of `iou-threshold`.
const OVERLAP: f32 = 0.4;

/// The faces in `picture`, by falling score, of the levels of these strides.
pub fn faces(file: &[u8], export: &Export, picture: &Picture, strides: &[i64]) -> Vec<Face> {
    let batch = export.batch.unwrap_or(1) as usize;
    let input = match export.channels_last {
        true => picture.interleaved(batch),
        false => picture.planes(batch),
    };
    let outputs = runtime::run(&with_float_ends(file), INPUT, &input);
    // Of the first picture in the batch.
    let output = |name: &str| {
        let values = &outputs[name].values;
        &values[..values.len() / batch]
    };
    let (boxes, scores, landmarks) = (output("loc"), output("conf"), output("landms"));
    let mut faces = Vec::new();
    for (index, Prior { stride, x, y, side }) in priors(picture).enumerate() {
        let score = scores[2 * index + 1];
        if score <= THRESHOLD || !strides.contains(&stride) {
            continue;
        }
        let [dx, dy, dw, dh] = *boxes[4 * index..].first_chunk().expect("a box");
        let (centre_x, centre_y) = (x + dx * 0.1 * side, y + dy * 0.1 * side);
        let (width, height) = (side * (dw * 0.2).exp(), side * (dh * 0.2).exp());
        let mut face = Face {
            bounds: Rect::new(
                centre_x - width / 2.0,
                centre_y - height / 2.0,
                centre_x + width / 2.0,
                centre_y + height / 2.0,
            ),
            confidence: Some(score),
            landmarks: Some(Landmarks::default()),
            ..Face::default()
        };
        let points = landmarks[10 * index..][..10].chunks(2);
        for (point, values) in face.landmarks.iter_mut().flat_map(|l| &mut l.0).zip(points) {
            *point = Point { x: x + values[0] * 0.1 * side, y: y + values[1] * 0.1 * side };
        }
        faces.push(face);
    }
    suppress(faces)
}

struct Prior {
    stride: i64,
    x: f32,
    y: f32,
    side: f32,
}

fn priors(picture: &Picture) -> impl Iterator<Item = Prior> {
    let mut priors = Vec::new();
    for (stride, sides) in STRIDES.into_iter().zip([[16.0, 32.0], [64.0, 128.0], [256.0, 512.0]]) {
        let cells =
            |size: usize| (size as i64).div_euclid(stride) + i64::from(size as i64 % stride > 0);
        for row in 0..cells(picture.height) {
            for column in 0..cells(picture.width) {
                for side in sides {
                    let centre = |cell: i64| (cell as f32 + 0.5) * stride as f32;
                    priors.push(Prior { stride, x: centre(column), y: centre(row), side });
                }
            }
        }
    }
    priors.into_iter()
}

fn suppress(mut faces: Vec<Face>) -> Vec<Face> {
    faces.sort_by(|a, b| b.confidence.partial_cmp(&a.confidence).expect("numbers"));
    let mut kept: Vec<Face> = Vec::new();
    for face in faces {
        if kept.iter().all(|other| overlap(&other.bounds, &face.bounds) <= OVERLAP) {
            kept.push(face);
        }
    }
    kept
}

/// py_cpu_nms.py counts the last pixel.
fn overlap(a: &Rect, b: &Rect) -> f32 {
    let area = |rect: &Rect| (rect.width() + 1.0) * (rect.height() + 1.0);
    let width = (a.x_max.min(b.x_max) - a.x_min.max(b.x_min) + 1.0).max(0.0);
    let height = (a.y_max.min(b.y_max) - a.y_min.max(b.y_min) + 1.0).max(0.0);
    width * height / (area(a) + area(b) - width * height)
}
