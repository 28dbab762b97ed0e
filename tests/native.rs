// SPDX-License-Identifier: MIT OR Apache-2.0

//! Native kernels compute what ONNX Runtime computes, whole networks at a time.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use gst_video::VideoInfo;
use gstretinaface::{
    face::Face,
    frame::Layout,
    inference::{Config, Loader, Provider, Request, SessionEngine},
    meta,
    model::{InputSpec, Known, Model},
    native::InstructionSet,
    preprocess::{Placement, ScaleMethod},
    retinaface::detector::{Detector, Engine, Input},
};

const DEFAULT: &str = "models/retinaface_mv1_0.25.onnx";

/// The default network, and those of the shared folder where it is there.
fn networks(test: &str) -> Vec<PathBuf> {
    let mut networks = vec![DEFAULT.into()];
    if let Some(shared) = common::shared(test) {
        let files = fs::read_dir(shared.join("models")).expect("networks").flatten();
        let files = files.map(|file| file.path());
        networks.extend(files.filter(|path| path.extension() == Some("onnx".as_ref())));
    }
    networks
}

fn model(path: &Path) -> Arc<Model> {
    let file = fs::read(path).expect("scripts/setup");
    Model::shared(&file, &Known::default()).expect("a RetinaFace network")
}

/// Every choice of one stride or more.
fn subsets(strides: &[u32]) -> Vec<Vec<u32>> {
    let chosen = |bits: usize| {
        let strides = strides.iter().enumerate();
        strides.filter(|(index, _)| bits >> index & 1 == 1).map(|(_, &stride)| stride).collect()
    };
    (1..1 << strides.len()).map(chosen).collect()
}

/// The next larger size that the network takes.
fn size_for(model: &Model, (width, height): (u32, u32)) -> (u32, u32) {
    let sizes = model.sizes();
    let side =
        |fixed: Option<u32>, side: u32| fixed.unwrap_or(side.next_multiple_of(sizes.multiple));
    (side(sizes.width, width), side(sizes.height, height))
}

fn native(threads: usize, instructions: InstructionSet) -> Config {
    let request = Request { threads, ..Request::default() };
    let config = request.resolve(Provider::Native).expect("the default precision");
    Config { instructions, ..config }
}

fn engine(model: &Arc<Model>, spec: &InputSpec, config: &Config) -> SessionEngine {
    let loader = Loader::new(|_, _| (), Arc::clone(model), Box::new(|_| ()));
    let session = loader.specialised(spec, config);
    let session = session.unwrap_or_else(|err| panic!("{spec:?}: {err}"));
    SessionEngine::new(Arc::new(session)).expect("it runs")
}

/// What an engine gives for item `item`, output by output.
fn outputs(engine: &SessionEngine, count: usize, item: usize) -> Vec<Vec<f32>> {
    (0..count).map(|index| engine.output(item, index).to_vec()).collect()
}

/// The rewritten network's outputs.
fn output_count(model: &Model, spec: &InputSpec) -> usize {
    model.specialise(spec, 1).expect("it is rewritten").outputs.len()
}

fn fill(engine: &mut SessionEngine, item: usize, seed: u32) {
    let Input::Planes(_, planes) = engine.input(item) else { panic!("it takes planes") };
    let mut state = seed;
    planes.fill_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as f32 - 125.0
    });
}

/// Outputs are the same but for rounding, which is relative to what an output has.
fn assert_near(found: &[Vec<f32>], expected: &[Vec<f32>], tolerance: f32, place: &str) {
    assert_eq!(found.len(), expected.len(), "{place}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{place}");
        let size = expected.iter().fold(1.0f32, |most, value| most.max(value.abs()));
        for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
            let difference = (found - expected).abs() / size;
            assert!(difference <= tolerance, "{place}: {found} for {expected} at {index}");
        }
    }
}

fn compare(model: &Arc<Model>, spec: &InputSpec, sets: &[InstructionSet], network: &str) {
    let count = output_count(model, spec);
    let mut judge = engine(model, spec, &Config::cpu(1));
    fill(&mut judge, 0, 1);
    judge.run().expect("it runs");
    for &set in sets {
        let mut engine = engine(model, spec, &native(1, set));
        fill(&mut engine, 0, 1);
        engine.run().expect("it runs");
        let place = format!("{network}, {spec:?}, {set:?}");
        assert_near(&outputs(&engine, count, 0), &outputs(&judge, count, 0), 1e-4, &place);
    }
}

/// One pixel, less than a cell, and odd sizes: with every set of strides and every instruction set.
#[test]
fn outputs_are_those_of_onnxruntime() {
    let model = model(DEFAULT.as_ref());
    let sets: Vec<_> = InstructionSet::available().collect();
    for size in [(1, 1), (31, 7), (33, 57), (97, 65)] {
        for strides in subsets(&model.strides()) {
            compare(&model, &InputSpec::new(size, &strides), &sets, DEFAULT);
        }
    }
}

/// Only with kernels that are used, as the plain ones take long.
#[test]
fn outputs_for_large_pictures_are_those_of_onnxruntime() {
    let model = model(DEFAULT.as_ref());
    for size in [(640, 360), (640, 480), (1920, 1080)] {
        let spec = InputSpec::new(size, &model.strides());
        compare(&model, &spec, &[InstructionSet::best()], DEFAULT);
    }
}

#[test]
fn other_networks_outputs_are_those_of_onnxruntime() {
    let sets: Vec<_> = InstructionSet::available().collect();
    for path in networks("other_networks_outputs_are_those_of_onnxruntime") {
        let model = model(&path);
        for (size, sets) in [((33, 57), sets.as_slice()), ((333, 217), &sets[..1])] {
            for strides in subsets(&model.strides()) {
                let spec = InputSpec::new(size_for(&model, size), &strides);
                compare(&model, &spec, sets, &path.display().to_string());
            }
        }
    }
}

/// The faces of a picture in pixels of the input.
fn faces(engine: &mut SessionEngine, sample: &gst::Sample, threshold: f32) -> Vec<Face> {
    let info = VideoInfo::from_caps(sample.caps().expect("caps")).expect("video");
    let layout = Layout::try_from(&info).expect("a format we read");
    let size = engine.input_size();
    let placement = Placement::whole(size);
    let mut detector = Detector::default();
    let buffer = sample.buffer().expect("a buffer");
    meta::with_frame(buffer, &info, layout, |frame| {
        detector.preprocess(frame, &placement, engine, 0, ScaleMethod::Bilinear);
    })
    .expect("a frame");
    engine.run().expect("it runs");
    detector.postprocess(size, &placement, engine, 0, &common::parameters(threshold));
    detector.faces().to_vec()
}

/// Every face that `found` is sure of is in `expected`, and the same.
fn assert_among(found: &[Face], expected: &[Face], threshold: f32, place: &str) {
    let score = |face: &Face| face.confidence.expect("a confidence");
    for face in found.iter().filter(|face| score(face) > threshold + 1e-3) {
        let iou = |other: &&Face| other.bounds.iou(&face.bounds);
        let best = expected.iter().max_by(|a, b| iou(a).total_cmp(&iou(b)));
        let best = best.unwrap_or_else(|| panic!("{place}: no {face:?}"));
        assert!((score(face) - score(best)).abs() <= 1e-3, "{place}: {face:?}, {best:?}");
        let numbers = |face: &Face| {
            let bounds = face.bounds;
            let points = face.landmarks.iter().flat_map(|landmarks| landmarks.0);
            let points = points.flat_map(|point| [point.x, point.y]);
            let corners = [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max];
            corners.into_iter().chain(points).collect::<Vec<_>>()
        };
        for (found, expected) in numbers(face).into_iter().zip(numbers(best)) {
            assert!((found - expected).abs() <= 0.05, "{place}: {face:?}, {best:?}");
        }
    }
}

#[test]
fn faces_are_those_of_onnxruntime() {
    const THRESHOLD: f32 = 0.3;
    let test = "faces_are_those_of_onnxruntime";
    let decoded = |path: &PathBuf| {
        let sample = common::run(&format!(
            "filesrc location=\"{}\" ! pngdec ! videoconvert ! video/x-raw,format=BGR ! \
             appsink name=sink",
            path.display()
        ));
        sample.expect("a picture").remove(0)
    };
    let pictures: Vec<_> = common::pictures(test).iter().map(decoded).collect();
    let mut compared = 0;
    for path in networks(test) {
        let model = model(&path);
        let spec = InputSpec::new(size_for(&model, (427, 320)), &model.strides());
        let mut judge = engine(&model, &spec, &Config::cpu(1));
        let mut native = engine(&model, &spec, &native(1, InstructionSet::best()));
        for (index, sample) in pictures.iter().enumerate() {
            let place = format!("{}, {spec:?}, picture {index}", path.display());
            let expected = faces(&mut judge, sample, THRESHOLD);
            let found = faces(&mut native, sample, THRESHOLD);
            assert_among(&found, &expected, THRESHOLD, &place);
            assert_among(&expected, &found, THRESHOLD, &place);
            compared += expected.len();
        }
    }
    assert!(compared >= pictures.len(), "{compared} faces");
}

#[test]
fn threads_and_batches_change_nothing() {
    let model = model(DEFAULT.as_ref());
    let best = InstructionSet::best();
    let spec = InputSpec::new((161, 203), &model.strides());
    let count = output_count(&model, &spec);
    let mut one = engine(&model, &spec, &native(1, best));
    let expected: Vec<_> = (0..3)
        .map(|seed| {
            fill(&mut one, 0, seed);
            one.run().expect("it runs");
            outputs(&one, count, 0)
        })
        .collect();
    for threads in [1, 2, 3, 5] {
        let mut several = engine(&model, &spec, &native(threads, best));
        let batch = InputSpec { batch: 3, ..spec.clone() };
        let mut batch = engine(&model, &batch, &native(threads, best));
        for (item, expected) in expected.iter().enumerate() {
            fill(&mut several, 0, item as u32);
            several.run().expect("it runs");
            assert_near(
                &outputs(&several, count, 0),
                expected,
                1e-6,
                &format!("{threads} threads"),
            );
            fill(&mut batch, item, item as u32);
        }
        batch.run().expect("it runs");
        for (item, expected) in expected.iter().enumerate() {
            let place = format!("{threads} threads, number {item} of a batch");
            assert_near(&outputs(&batch, count, item), expected, 1e-6, &place);
        }
    }
}

#[test]
fn runs_of_one_program_do_not_disturb_each_other() {
    let model = model(DEFAULT.as_ref());
    let spec = InputSpec::new((161, 203), &model.strides());
    let config = native(2, InstructionSet::best());
    let count = output_count(&model, &spec);
    let load = || {
        let loader = Loader::new(|_, _| (), Arc::clone(&model), Box::new(|_| ()));
        loader.session(&spec, &config).expect("it loads")
    };
    let sessions = [load(), load(), load()];
    assert!(sessions.iter().all(|session| Arc::ptr_eq(session, &sessions[0])));
    let results = |session: Arc<_>, seed: u32, times: usize| {
        let mut engine = SessionEngine::new(session).expect("it runs");
        let mut last = Vec::new();
        for _ in 0..times {
            fill(&mut engine, 0, seed);
            engine.run().expect("it runs");
            last = outputs(&engine, count, 0);
        }
        last
    };
    let alone: Vec<_> = (0..3).map(|seed| results(load(), seed, 1)).collect();
    let together: Vec<_> = thread::scope(|scope| {
        let seeds = (0..3).zip(sessions);
        let threads: Vec<_> =
            seeds.map(|(seed, session)| scope.spawn(move || results(session, seed, 8))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it runs")).collect()
    });
    assert_eq!(together, alone);
}

/// With frames in flight, in batches and on threads: the same faces in every frame.
#[test]
fn settings_change_no_faces() {
    let faces = |elements: &str| {
        let samples = common::run(&format!(
            "{} ! videoconvert ! video/x-raw,format=BGR ! {elements} ! appsink name=sink",
            common::astronauts(6)
        ));
        let samples = samples.expect("it runs");
        let faces = |sample: &gst::Sample| meta::faces(sample.buffer().expect("a buffer"));
        samples.iter().map(faces).collect::<Vec<_>>()
    };
    const NATIVE: &str = "retinafacedetect execution-provider=native scale=0.5";
    let expected = faces(&format!("{NATIVE} threads=1"));
    assert_eq!((expected.len(), expected[0].len()), (6, 1));
    for properties in
        ["threads=2", "in-flight=3", "in-flight=4 batch-size=2 threads=1", "in-flight=2 threads=2"]
    {
        let found = faces(&format!("{NATIVE} {properties}"));
        assert_eq!(found, expected, "{properties}");
    }
    // Two elements share a program; the second adds its faces to those of the first.
    let both = faces(&format!("{NATIVE} threads=1 ! {NATIVE} threads=1 in-flight=2"));
    let twice: Vec<_> = expected.iter().map(|faces| [faces.as_slice(), faces].concat()).collect();
    assert_eq!(both, twice);
}
