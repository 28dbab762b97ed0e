// SPDX-License-Identifier: MIT OR Apache-2.0

//! The detector with neither GStreamer nor ONNX Runtime: scripts/test-arm also runs this for another
//! machine.

use std::{
    fs::{self, File},
    io::BufReader,
    path::Path,
    sync::Arc,
};

use gstretinaface::{
    families::heads::Heads,
    frame::{Colour, Component, Frame, Layout, Plane, Window},
    geometry::Rect,
    model::{InputSpec, Model},
    native::{InstructionSet, Program, Run},
    preprocess::{Normalisation, Placement, ScaleMethod},
    retinaface::detector::{Detector, Engine, EngineError, Input, Parameters},
};

const INPUT: (u32, u32) = (256, 256);

struct Network {
    run: Run,
    heads: Heads,
    normalisation: Normalisation,
}

impl Engine for Network {
    fn input_size(&self) -> (u32, u32) {
        INPUT
    }

    fn batch(&self) -> usize {
        1
    }

    fn heads(&self) -> &Heads {
        &self.heads
    }

    fn input(&mut self, _item: usize) -> Input<'_> {
        Input::Planes(self.normalisation, self.run.input())
    }

    fn run(&mut self) -> Result<(), EngineError> {
        self.run.run();
        Ok(())
    }

    fn output(&self, _item: usize, index: usize) -> &[f32] {
        self.run.output(index)
    }
}

/// Width, height and pixels of a PNG file.
fn read_rgb(path: &Path) -> ((u32, u32), Vec<u8>) {
    let file = BufReader::new(File::open(path).expect("scripts/setup"));
    let mut reader = png::Decoder::new(file).read_info().expect("a picture");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("a picture");
    assert_eq!(info.color_type, png::ColorType::Rgb);
    ((info.width, info.height), pixels)
}

/// On each instruction set of the machine, with one thread and with two.
#[test]
fn the_face_is_found() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let network = fs::read(root.join("models/retinaface_mv1_0.25.onnx")).expect("scripts/setup");
    let model = Model::parse(&network).expect("a RetinaFace network");
    let spec = InputSpec::new(INPUT, &model.strides());

    let (size, picture) = read_rgb(&root.join(".cache/media/astronaut.png"));
    let component = |offset| Component { offset, step: 3, ..Component::default() };
    let layout = Layout { components: [0, 1, 2].map(component), colour: Colour::Rgb };
    let pixels = Plane { data: &picture, stride: 3 * size.0 as usize };
    let planes = [pixels, Plane::default(), Plane::default()];
    let frame = Frame::new(layout, Window::whole(size.0, size.1), planes).expect("a frame");

    for set in InstructionSet::available() {
        let specialised = model.specialise(&spec, 1).expect("it is rewritten");
        let program = Program::compile(&specialised.model, set).expect("kernels for all of it");
        let program = Arc::new(program);
        for threads in [1, 2] {
            let specialised = model.specialise(&spec, 1).expect("it is rewritten");
            let mut network = Network {
                run: Run::new(Arc::clone(&program), threads),
                heads: specialised.heads,
                normalisation: model.normalisation(),
            };
            let placement = Placement::whole(INPUT);
            let mut detector = Detector::default();
            detector.preprocess(&frame, &placement, &mut network, 0, ScaleMethod::Nearest);
            network.run().expect("it runs");
            detector.postprocess(size, &placement, &network, 0, &PARAMETERS);

            let [face] = detector.faces() else { panic!("{set}: {:?}", detector.faces()) };
            // tests/golden/mobilenet025.json has it of this picture at half its size.
            let expected = Rect::new(181.961, 62.676, 272.514, 175.052);
            assert!(face.bounds.iou(&expected) > 0.99, "{set}: {face:?}");
            let confidence = face.confidence.expect("a confidence");
            assert!((confidence - 0.99779).abs() < 0.001, "{set}: {face:?}");
        }
    }
}

/// The element's defaults.
const PARAMETERS: Parameters = Parameters {
    scale_method: ScaleMethod::Nearest,
    score_threshold: 0.6,
    iou_threshold: 0.4,
    max_detections: 750,
    min_face_size: 0.0,
    max_face_size: f32::INFINITY,
    largest_only: false,
    margin: 0.0,
};
