// SPDX-License-Identifier: MIT OR Apache-2.0

//! The network rewritten for an input size and strides answers as the network as exported.

mod common;

use std::{fs, path::Path, sync::Arc};

use gstretinaface::{
    face::Face,
    frame::{Colour, Layout},
    inference::{Config, Loader, SessionEngine},
    meta,
    model::{InputSpec, Known, Model},
    preprocess::{Form, Pixels, Placement, ScaleMethod},
    retinaface::detector::{Detector, Engine},
};

/// The default network has these; seven sets of them can be asked for.
const SETS: [&[u32]; 7] = [&[8], &[16], &[32], &[8, 16], &[8, 32], &[16, 32], &[8, 16, 32]];
/// Multiples of 32, odd sizes, and one less than a cell.
const SIZES: [(u32, u32); 6] = [(640, 480), (256, 192), (333, 217), (161, 403), (97, 65), (31, 7)];

/// Far below what is a face, for more to compare.
const THRESHOLD: f32 = 0.05;

fn faces(sample: &gst::Sample, engine: &mut SessionEngine, method: ScaleMethod) -> Vec<Face> {
    batch_faces(&[sample], engine, method).remove(0)
}

/// The faces in each of the pictures, which are one batch.
fn batch_faces(
    samples: &[&gst::Sample],
    engine: &mut SessionEngine,
    method: ScaleMethod,
) -> Vec<Vec<Face>> {
    let mut detector = Detector::default();
    for (item, sample) in samples.iter().enumerate() {
        let (info, layout) = format(sample);
        let buffer = sample.buffer().expect("a buffer");
        meta::with_frame(buffer, &info, layout, |frame| {
            let placement = Placement::whole(engine.input_size());
            detector.preprocess(frame, &placement, engine, item, method);
        })
        .expect("a frame");
    }
    engine.run().expect("it runs");
    let faces = samples.iter().enumerate().map(|(item, sample)| {
        let (info, _) = format(sample);
        let size = (info.width(), info.height());
        let placement = Placement::whole(engine.input_size());
        detector.postprocess(size, &placement, engine, item, &common::parameters(THRESHOLD));
        detector.faces().to_vec()
    });
    faces.collect()
}

fn format(sample: &gst::Sample) -> (gst_video::VideoInfo, Layout) {
    let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("video");
    let layout = Layout::try_from(&info).expect("a format we read");
    (info, layout)
}

fn numbers(face: &Face) -> Vec<f32> {
    let bounds = face.bounds;
    let points = face.landmarks.iter().flat_map(|landmarks| landmarks.0);
    let points = points.flat_map(|point| [point.x, point.y]);
    [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max].into_iter().chain(points).collect()
}

fn assert_same(found: &[Face], expected: &[Face], place: &str) {
    assert_eq!(found.len(), expected.len(), "{place}");
    for (found, expected) in found.iter().zip(expected) {
        let score = |face: &Face| face.confidence.expect("a confidence");
        let difference = (score(found) - score(expected)).abs();
        assert!(difference <= 1e-4, "{place}: score differs by {difference}");
        for (found, expected) in numbers(found).iter().zip(numbers(expected)) {
            let difference = (found - expected).abs();
            assert!(difference <= 0.01, "{place}: {found} for {expected}");
        }
    }
}

/// A picture, scaled to `size` if one is given.
fn decoded(path: &Path, format: &str, size: Option<(u32, u32)>) -> gst::Sample {
    let size = size.map(|(width, height)| format!(",width={width},height={height}"));
    let decoded = common::run(&format!(
        "filesrc location=\"{}\" ! pngdec ! videoconvert ! videoscale add-borders=false ! \
         video/x-raw,format={format},pixel-aspect-ratio=1/1{} ! appsink name=sink",
        path.display(),
        size.unwrap_or_default(),
    ));
    decoded.expect("a picture").remove(0)
}

fn model() -> Arc<Model> {
    let model = fs::read("models/retinaface_mv1_0.25.onnx").expect("scripts/setup");
    Model::shared(&model, &Known::default()).expect("a RetinaFace network")
}

fn loader(model: &Arc<Model>) -> Loader {
    Loader::new(|_, _| (), Arc::clone(model), Box::new(|_| ()))
}

/// The rewritten network at work on the CPU.
fn engine(model: &Arc<Model>, spec: &InputSpec) -> SessionEngine {
    let session = loader(model).specialised(spec, &Config::cpu(1));
    SessionEngine::new(Arc::new(session.expect("it is rewritten and loads"))).expect("it runs")
}

/// The rewritten network finds what the network as exported finds; how many faces.
fn compare(model: &Arc<Model>, spec: &InputSpec, pictures: &[gst::Sample]) -> usize {
    let original = loader(model).as_exported(spec, &Config::cpu(1)).expect("it loads");
    let mut original = SessionEngine::new(Arc::new(original)).expect("it runs");
    let mut specialised = engine(model, spec);
    let mut compared = 0;
    for (index, picture) in pictures.iter().enumerate() {
        let place = format!("{}, picture {index}, {spec:?}", model.family().name());
        let expected = faces(picture, &mut original, ScaleMethod::Bilinear);
        let found = faces(picture, &mut specialised, ScaleMethod::Bilinear);
        assert_same(&found, &expected, &place);
        compared += found.len();
    }
    compared
}

#[test]
fn every_set_of_strides_at_every_size() {
    let pictures = common::pictures("every_set_of_strides_at_every_size");
    let pictures: Vec<_> = pictures.iter().map(|path| decoded(path, "BGR", None)).collect();
    let model = model();
    let mut compared = 0;
    for size in SIZES {
        for strides in SETS {
            compared += compare(&model, &InputSpec::new(size, strides), &pictures);
        }
    }
    assert!(compared > 20, "only {compared} faces");
}

/// Networks of the other families.
#[test]
fn other_networks_at_every_size() {
    let test = "other_networks_at_every_size";
    let Some(shared) = common::shared(test) else { return };
    let pictures = ["1.png", "test.png"].map(|name| shared.join("images").join(name));
    let pictures = pictures.map(|path| decoded(&path, "BGR", None));
    for (name, sets) in [
        ("16.onnx", &[&[16][..]][..]),
        ("16and32.onnx", &[&[16], &[32], &[16, 32]]),
        ("8and16.onnx", &[&[8], &[16], &[8, 16]]),
        ("scrfd_500m_kps.onnx", &SETS),
        ("yunet_n_dynamic.onnx", &SETS),
    ] {
        let model = fs::read(shared.join("models").join(name)).expect("a network");
        let model = Model::shared(&model, &Known::default()).expect("a face network");
        let mut compared = 0;
        for (width, height) in [(33u32, 57u32), (97, 65), (640, 480), (1920, 1080)] {
            let multiple = model.sizes().multiple;
            let size = (width.next_multiple_of(multiple), height.next_multiple_of(multiple));
            // All of them take long at large sizes.
            let sets = if width > 640 { &sets[sets.len() - 1..] } else { sets };
            for strides in sets {
                compared += compare(&model, &InputSpec::new(size, strides), &pictures);
            }
        }
        assert!(compared > 20, "{name}: only {compared} faces");
    }
}

/// What a network finds in a picture scaled to `size`, given planes and given pixels, and
/// in which form the pixels were.
fn in_both_forms(
    model: &Arc<Model>,
    picture: &gst::Sample,
    size: (u32, u32),
    method: ScaleMethod,
) -> (Pixels, Vec<Face>, Vec<Face>) {
    let (info, layout) = format(picture);
    let placement = Placement::whole(size);
    let form = Pixels::least(&layout, (info.width(), info.height()), &placement, method);
    let planes = InputSpec::new(size, &model.strides());
    let pixels = InputSpec { form: Form::Pixels(form), ..planes.clone() };
    let [planes, pixels] =
        [planes, pixels].map(|spec| faces(picture, &mut engine(model, &spec), method));
    (form, planes, pixels)
}

/// What GPUs are given, compared with what the CPU is given.
#[test]
fn pixels_give_what_planes_give() {
    common::init();
    let model = model();
    let formats = [
        "BGR", "RGB", "BGRx", "RGBx", "xBGR", "xRGB", "BGRA", "RGBA", "ABGR", "ARGB", "GRAY8",
        "NV12", "YUY2",
    ];
    // At its own size a frame is the same in both forms; enlarged, the positions at which pixels are
    // sampled are rounded differently.
    let mut compared = 0;
    for format_name in formats {
        let picture = decoded(&common::media("astronaut.png"), format_name, Some((301, 257)));
        let (info, layout) = format(&picture);
        let source = (info.width(), info.height());
        for (size, method) in [
            (source, ScaleMethod::Bilinear),
            ((602, 514), ScaleMethod::Bilinear),
            ((602, 514), ScaleMethod::Nearest),
            ((449, 400), ScaleMethod::Bilinear),
        ] {
            let (form, expected, found) = in_both_forms(&model, &picture, size, method);
            assert_eq!(form.size, source, "nothing is resized before the copy");
            let place = format!("{format_name} at {size:?}");
            match layout.colour {
                Colour::Rgb => assert_same(&found, &expected, &place),
                // Colours are rounded when they are converted.
                _ => assert_alike(&found, &expected, &place),
            }
            compared += found.len();
        }
        // Made smaller, pixels are rounded before they are copied.
        let size = (150, 128);
        let method = ScaleMethod::Bilinear;
        let (form, expected, found) = in_both_forms(&model, &picture, size, method);
        assert_eq!((form.size, form.channels), (size, 3));
        assert_alike(&found, &expected, &format!("{format_name} at {size:?}"));
    }
    assert!(compared >= 4 * formats.len(), "only {compared} faces");
}

/// Networks of the other family, of which no mean is subtracted.
#[test]
fn pixels_give_what_planes_give_to_other_networks() {
    common::init();
    let test = "pixels_give_what_planes_give_to_other_networks";
    let Some(shared) = common::shared(test) else { return };
    let picture = decoded(&common::media("astronaut.png"), "RGBx", None);
    let (info, _) = format(&picture);
    let source = (info.width(), info.height());
    for name in ["16.onnx", "16and32.onnx", "8and16.onnx"] {
        let model = fs::read(shared.join("models").join(name)).expect("a network");
        let model = Model::shared(&model, &Known::default()).expect("a face network");
        for size in [source, (600, 700)] {
            let method = ScaleMethod::Bilinear;
            let (_, expected, found) = in_both_forms(&model, &picture, size, method);
            assert!(!found.is_empty());
            assert_alike(&found, &expected, &format!("{name} at {size:?}"));
        }
    }
}

/// The faces that are sure are the same to within rounding.
fn assert_alike(found: &[Face], expected: &[Face], place: &str) {
    let sure = |faces: &[Face]| -> Vec<Face> {
        faces.iter().filter(|face| face.confidence.is_some_and(|c| c > 0.6)).copied().collect()
    };
    let (found, expected) = (sure(found), sure(expected));
    assert_eq!(found.len(), expected.len(), "{place}");
    for (found, expected) in found.iter().zip(&expected) {
        let iou = found.bounds.iou(&expected.bounds);
        assert!(iou >= 0.98, "{place}: IoU {iou}");
    }
}

#[test]
fn a_batch_gives_what_single_frames_give() {
    common::init();
    let model = model();
    let size = (320, 240);
    let pictures = ["astronaut.png", "coffee.png", "astronaut.png"].map(common::media);
    let sizes = [(320, 240), (500, 400), (320, 320)];
    let pictures: Vec<_> =
        pictures.iter().zip(sizes).map(|(path, size)| decoded(path, "BGR", Some(size))).collect();
    let pixels = Pixels { size, channels: 3, order: [0, 1, 2], method: ScaleMethod::Bilinear };
    for form in [Form::Planes, Form::Pixels(pixels)] {
        let one = InputSpec { form, ..InputSpec::new(size, &[8, 16, 32]) };
        let mut single = engine(&model, &one);
        let mut batch = engine(&model, &InputSpec { batch: 4, ..one });
        let pictures: Vec<_> = match form {
            Form::Planes => pictures.iter().collect(),
            // Pixels that are copied as they are have one size.
            Form::Pixels(_) => vec![&pictures[0], &pictures[0]],
        };
        let found = batch_faces(&pictures, &mut batch, ScaleMethod::Bilinear);
        for (found, picture) in found.iter().zip(pictures) {
            let expected = faces(picture, &mut single, ScaleMethod::Bilinear);
            assert_same(found, &expected, &format!("{form:?}"));
        }
        assert!(!found[0].is_empty());
    }
}
