// SPDX-License-Identifier: MIT OR Apache-2.0

//! The network rewritten for an input size and strides answers as the network as it is.

mod common;

use std::{fs, path::PathBuf, sync::Arc};

use gstretinaface::{
    face::Face,
    frame,
    inference::{self, OrtEngine, Session},
    meta,
    model::Model,
    retinaface::{
        detector::{Detector, Parameters},
        preprocess::ScaleMethod,
    },
};

/// The default network has these; seven sets of them can be asked for.
const SETS: [&[u32]; 7] = [&[8], &[16], &[32], &[8, 16], &[8, 32], &[16, 32], &[8, 16, 32]];
/// Multiples of 32, odd sizes, and one less than a cell.
const SIZES: [(u32, u32); 6] = [(640, 480), (256, 192), (333, 217), (161, 403), (97, 65), (31, 7)];

fn faces(sample: &gst::Sample, engine: &mut OrtEngine) -> Vec<Face> {
    let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("video");
    let layout = frame::Layout::try_from(&info).expect("a format we read");
    let parameters = Parameters {
        scale_method: ScaleMethod::Bilinear,
        // Far below what is a face, for more to compare.
        score_threshold: 0.05,
        iou_threshold: 0.4,
        max_detections: 750,
        min_face_size: 0.0,
        max_face_size: f32::INFINITY,
        largest_only: false,
        margin: 0.0,
    };
    let mut detector = Detector::default();
    let buffer = sample.buffer().expect("a buffer");
    meta::with_frame(buffer, &info, layout, |frame| detector.detect(frame, engine, &parameters))
        .expect("a frame")
        .expect("it runs");
    detector.faces().to_vec()
}

fn numbers(face: &Face) -> Vec<f32> {
    let bounds = face.bounds;
    let landmarks = face.landmarks.expect("the network gives landmarks").0;
    let points = landmarks.iter().flat_map(|point| [point.x, point.y]);
    [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max].into_iter().chain(points).collect()
}

#[test]
fn every_set_of_strides_at_every_size() {
    let mut pictures = vec![common::media("astronaut.png")];
    if let Some(shared) = common::shared("every_set_of_strides_at_every_size") {
        let images = fs::read_dir(shared.join("images")).expect("pictures").flatten();
        let images: Vec<PathBuf> = images.map(|entry| entry.path()).collect();
        pictures.extend(images.into_iter().filter(|path| path.extension() == Some("png".as_ref())));
    }
    let pictures: Vec<_> = pictures
        .iter()
        .map(|path| {
            let decoded = common::run(&format!(
                "filesrc location=\"{}\" ! pngdec ! videoconvert ! video/x-raw,format=BGR ! \
                 appsink name=sink",
                path.display()
            ));
            decoded.expect("a picture").remove(0)
        })
        .collect();
    let model = fs::read("models/retinaface_mv1_0.25.onnx").expect("scripts/setup");
    let model = Model::parse(&model).expect("a RetinaFace network");
    let environment = inference::environment(|_, _| ()).expect("ONNX Runtime");
    let engine = |session| OrtEngine::new(Arc::new(session)).expect("it runs");

    let mut compared = 0;
    for size in SIZES {
        for strides in SETS {
            let original = Session::as_it_is(
                environment,
                &model,
                size,
                strides,
                &inference::Execution::cpu(1),
            );
            let specialised = Session::specialised(
                environment,
                &model,
                size,
                strides,
                &inference::Execution::cpu(1),
            );
            let mut original = engine(original.expect("it loads"));
            let mut specialised = engine(specialised.expect("it is rewritten and loads"));
            for (index, picture) in pictures.iter().enumerate() {
                let place = format!("picture {index}, {size:?}, strides {strides:?}");
                let expected = faces(picture, &mut original);
                let found = faces(picture, &mut specialised);
                assert_eq!(found.len(), expected.len(), "{place}");
                for (found, expected) in found.iter().zip(&expected) {
                    let score = |face: &Face| face.confidence.expect("a confidence");
                    let difference = (score(found) - score(expected)).abs();
                    assert!(difference <= 1e-4, "{place}: score differs by {difference}");
                    for (found, expected) in numbers(found).iter().zip(numbers(expected)) {
                        let difference = (found - expected).abs();
                        assert!(difference <= 0.01, "{place}: {found} for {expected}");
                    }
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 20, "only {compared} faces");
}
