// SPDX-License-Identifier: MIT OR Apache-2.0

pub(crate) mod network;

use std::collections::HashSet;

use prost::Message;

use super::*;
use crate::families::level::View;
use crate::onnx::{messages::*, tests::node};
use crate::orientation::Orientation;
use crate::preprocess::{Pixels, ScaleMethod};
use network::{Array, Backbone, HEADS, Network, run, value};

const BACKBONES: [Backbone; 3] = [Backbone::Leaky, Backbone::Plain, Backbone::Residual];

/// All choices of levels.
const SUBSETS: [&[u32]; 7] = [&[8], &[16], &[32], &[8, 16], &[8, 32], &[16, 32], &[8, 16, 32]];

fn refusal(bytes: &[u8]) -> ModelError {
    Model::parse(bytes).err().expect("not a RetinaFace network")
}

fn parse(network: &Network) -> Model {
    Model::parse(&network.bytes()).unwrap()
}

/// A network with one node, for files that are ONNX but something else.
fn foreign(input: ValueInfoProto, outputs: Vec<ValueInfoProto>) -> ModelProto {
    let names: Vec<_> = outputs.iter().map(|output| output.name().to_owned()).collect();
    let nodes = names.iter().flat_map(|name| {
        let convolution = format!("{name} convolution");
        let head = node("Conv", &[input.name(), "weights"], &convolution);
        // Of no shape that is known.
        [head, node("Flatten", &[&convolution], name)]
    });
    let weights = TensorProto {
        name: Some("weights".into()),
        dims: vec![2, 3, 1, 1],
        data_type: Some(DataType::Float as i32),
        float_data: vec![1.0; 6],
        ..TensorProto::default()
    };
    let graph = GraphProto {
        node: nodes.collect(),
        initializer: vec![weights],
        input: vec![input],
        output: outputs,
        ..GraphProto::default()
    };
    ModelProto { graph: Some(graph), ..ModelProto::default() }
}

#[test]
fn files_that_are_not_onnx_are_refused() {
    assert!(matches!(refusal(b""), ModelError::Empty));
    assert!(matches!(refusal(b"no network at all"), ModelError::Damaged(_)));
    assert!(matches!(refusal(&[0xff; 100]), ModelError::Damaged(_)));
    let nothing = ModelProto { ir_version: Some(8), ..ModelProto::default() };
    assert!(matches!(refusal(&nothing.encode_to_vec()), ModelError::NoGraph));
    let empty = ModelProto { graph: Some(GraphProto::default()), ..nothing };
    assert!(matches!(refusal(&empty.encode_to_vec()), ModelError::NoGraph));
}

#[test]
fn a_network_in_use_is_shared() {
    let networks = [Network::default(), Network { landmarks: false, ..Network::default() }];
    let [one, other] = networks.map(|network| network.bytes());
    let first = Model::shared(&one, &Known::default()).unwrap();
    assert!(Arc::ptr_eq(&first, &Model::shared(&one, &Known::default()).unwrap()));
    let second = Model::shared(&other, &Known::default()).unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(second.exported(), other);
    assert!(Arc::ptr_eq(&second, &Model::shared(&other, &Known::default()).unwrap()));

    // What nobody uses any more is forgotten.
    let count = || SHARED.lock().unwrap().len();
    assert_eq!(count(), 2);
    drop(first);
    let again = Model::shared(&one, &Known::default()).unwrap();
    assert_eq!(count(), 2);
    assert!(Arc::ptr_eq(&again, &Model::shared(&one, &Known::default()).unwrap()));
}

#[test]
fn a_truncated_network_is_refused() {
    let bytes = Network::default().bytes();
    for len in [bytes.len() / 10, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(refusal(&bytes[..len]), ModelError::Damaged(_)), "{len} bytes");
    }
}

#[test]
fn foreign_networks_are_refused_with_what_they_are() {
    let outputs = vec![value("boxes", &[1, 4420, 4]), value("scores", &[1, 4420, 2])];
    let detector = foreign(value("input", &[1, 3, 240, 320]), outputs);
    let message = refusal(&detector.encode_to_vec()).to_string();
    let expected = "The network is a detector without landmarks whose boxes are computed in the graph, \
                    like UltraFace: it has the inputs input float [1, 3, 240, 320] and the outputs boxes \
                    float [1, 4420, 4], scores float [1, 4420, 2]. Expected was RetinaFace (InsightFace) \
                    (for strides of 8";
    assert!(message.starts_with(expected), "{message}");
    // Of a family that is said, only that one.
    let known = Known { family: Some(&crate::families::yunet::YuNet), ..Known::default() };
    let message = Model::new(&detector.encode_to_vec(), &known).err().unwrap().to_string();
    assert!(message.contains("Expected was YuNet: for each of the strides 8"), "{message}");
    assert!(!message.contains("SCRFD"), "{message}");
}

/// The shapes of outputs of well-known networks.
#[test]
fn well_known_networks_are_named() {
    let named = |outputs: &[&[i64]]| {
        let names = ["a", "b", "c", "d"];
        let outputs = names.iter().zip(outputs).map(|(name, sizes)| value(name, sizes)).collect();
        let other = foreign(value("input", &[1, 3, 640, 640]), outputs);
        let ModelError::Unknown { resembles, .. } = refusal(&other.encode_to_vec()) else {
            panic!("{outputs:?}", outputs = other.graph.map(|graph| graph.output));
        };
        resembles
    };
    assert_eq!(named(&[&[1, 84, 8400]]), "a YOLO detector for 80 classes");
    assert_eq!(named(&[&[1, 25200, 85]]), "a YOLO detector for 80 classes");
    let yolo_face = "a YOLO face detector, whose boxes are computed in the graph";
    assert_eq!(named(&[&[1, 20, 8400]]), yolo_face);
    assert_eq!(named(&[&[1, 25200, 16]]), yolo_face);
    assert_eq!(named(&[&[1, 1000]]), "a classifier of whole pictures for 1000 classes");
    assert_eq!(named(&[&[1, 196]]), "a network for 98 landmarks of one face");
    assert_eq!(named(&[&[1, 98, 2]]), "a network for 98 landmarks of one face");
    assert_eq!(named(&[&[1, 98, 64, 64]]), "a network that gives 98 maps of the picture");
    assert_eq!(named(&[&[1, 512]]), "a recognition network, which gives 512 numbers for one face");
    let centerface: [&[i64]; 4] =
        [&[1, 1, 160, 160], &[1, 2, 160, 160], &[1, 2, 160, 160], &[1, 10, 160, 160]];
    assert!(named(&centerface).contains("CenterFace"));
    assert!(named(&[&[1, 896, 16], &[1, 896, 1]]).contains("BlazeFace"));
    assert!(named(&[&[4385, 14], &[4385, 2], &[4385, 1]]).contains("YuNet of 2021"));
    assert_eq!(named(&[&[1, 7], &[1, 9]]), "of no family that is known");
}

#[test]
fn inputs_that_are_no_image_are_refused() {
    for sizes in [&[1, 1, 8, 8][..], &[1, 3, 8], &[1, 3, 8, 1 << 40]] {
        let outputs = vec![value("output", &[1])];
        let error = refusal(&foreign(value("input", sizes), outputs).encode_to_vec());
        assert!(matches!(error, ModelError::Input(_)), "{sizes:?}: {error}");
    }
}

/// A PyTorch network by its outputs' shapes, with another input.
fn with_input(input: ValueInfoProto) -> Result<Model, ModelError> {
    let outputs = [("loc", 4), ("conf", 2), ("landms", 10)];
    let outputs = outputs.map(|(name, values)| value(name, &[1, -1, values]));
    Model::parse(&foreign(input, outputs.into()).encode_to_vec())
}

#[test]
fn inputs_may_be_open_or_fixed() {
    let sides = |sizes: &[i64]| {
        let model = with_input(value("input", sizes)).ok()?;
        assert_eq!(model.sizes().multiple, 1);
        Some((model.sizes().width, model.sizes().height))
    };
    assert_eq!(sides(&[1, 3, -1, -1]), Some((None, None)));
    assert_eq!(sides(&[-1, -1, -1, -1]), Some((None, None)));
    assert_eq!(sides(&[1, 3, 480, 640]), Some((Some(640), Some(480))));
    assert_eq!(sides(&[1, 3, 65_536, 1]), Some((Some(1), Some(65_536))));
    assert_eq!(sides(&[1, 3, 1, 65_536]), Some((Some(65_536), Some(1))));
    assert_eq!(sides(&[1, 3, 65_537, 1]), None, "no network is so high");
    assert_eq!(sides(&[1, 3, 1, 65_537]), None, "nor so wide");
    assert_eq!(sides(&[1, 3, -1, 640]), Some((Some(640), None)));
    assert_eq!(sides(&[1, 3, 480, -1]), Some((None, Some(480))));
    assert_eq!(sides(&[4, 3, -1, -1]), None);
    assert_eq!(sides(&[1, 4, -1, -1]), None);
}

#[test]
fn the_input_is_float() {
    let mut bytes = value("input", &[1, 3, -1, -1]);
    if let Some(TypeValue::Tensor(tensor)) = bytes.r#type.as_mut().and_then(|t| t.value.as_mut()) {
        tensor.elem_type = Some(DataType::Uint8 as i32);
    }
    let error = with_input(bytes).err().expect("bytes are no floats");
    assert_eq!(
        error.to_string(),
        "The network's image input must be one float tensor of the shape [1, 3, height, width], but \
         its inputs are input uint8 [1, 3, open, open]."
    );
}

/// Old exporters list weights among the inputs.
#[test]
fn weights_are_no_inputs() {
    let mut proto = Network::default().proto();
    let graph = proto.graph.as_mut().unwrap();
    let weights = graph.initializer.iter().map(|tensor| value(tensor.name(), &tensor.dims));
    graph.input = weights.chain(graph.input.clone()).collect();
    assert_eq!(Model::parse(&proto.encode_to_vec()).unwrap().input_name(), "image");

    let graph = proto.graph.as_mut().unwrap();
    graph.input.push(value("more", &[1]));
    assert!(matches!(refusal(&proto.encode_to_vec()), ModelError::Input(_)), "two inputs");
    proto.graph.as_mut().unwrap().input.clear();
    match refusal(&proto.encode_to_vec()) {
        ModelError::Input(inputs) => assert_eq!(inputs, "none"),
        error => panic!("{error}"),
    }
    let nameless = ValueInfoProto { name: Some("image".into()), ..ValueInfoProto::default() };
    proto.graph.as_mut().unwrap().input = vec![nameless];
    match refusal(&proto.encode_to_vec()) {
        ModelError::Input(inputs) => assert_eq!(inputs, "image"),
        error => panic!("{error}"),
    }
}

#[test]
fn as_many_lanes_as_the_processor_has() {
    let avx512 = cfg!(target_arch = "x86_64") && {
        #[cfg(target_arch = "x86_64")]
        let found = std::arch::is_x86_feature_detected!("avx512f");
        #[cfg(not(target_arch = "x86_64"))]
        let found = false;
        found
    };
    // Of 32 bits in registers of 512 or 256.
    assert_eq!(cpu_lanes(), if avx512 { 16 } else { 8 });
}

#[test]
fn weights_in_another_file_are_refused() {
    let mut proto = Network::default().proto();
    let tensor = &mut proto.graph.as_mut().unwrap().initializer[0];
    tensor.data_location = Some(1);
    let entry = |key: &str, value: &str| StringStringEntryProto {
        key: Some(key.into()),
        value: Some(value.into()),
    };
    tensor.external_data = vec![entry("offset", "0"), entry("location", "weights.bin")];
    match refusal(&proto.encode_to_vec()) {
        ModelError::ExternalWeights(file) => assert_eq!(file, "weights.bin"),
        error => panic!("{error}"),
    }
    proto.graph.as_mut().unwrap().initializer[0].external_data.pop();
    match refusal(&proto.encode_to_vec()) {
        ModelError::ExternalWeights(file) => assert_eq!(file, "of unknown name"),
        error => panic!("{error}"),
    }
    // In this file.
    proto.graph.as_mut().unwrap().initializer[0].data_location = Some(0);
    assert!(Model::parse(&proto.encode_to_vec()).is_ok());
}

#[test]
fn memory_grows_with_the_input() {
    let model = parse(&Network::default());
    let (one, four) = (model.memory((640, 480)), model.memory((1280, 960)));
    assert_eq!(four, 4 * one);
    // The image itself, and something for what is made of it.
    assert!(one > 2 * 640 * 480 * 3 * 4 && one < 100 * 640 * 480 * 3 * 4, "{one}");
}

/// The network as exported gets the softmax that it lacks.
#[test]
fn raw_scores_become_probabilities() {
    let model = parse(&Network { softmax: false, ..Network::default() });
    assert_eq!(model.output_names(), ["loc", "conf.probability", "landms"]);
    let graph = ModelProto::decode(model.exported()).unwrap().graph.unwrap();
    let last = graph.node.last().unwrap();
    assert_eq!((last.op(), last.int("axis")), ("Softmax", Some(2)));
    assert_eq!(
        (&last.input[..], &last.output[..]),
        (&["conf".into()][..], &["conf.probability".into()][..])
    );
    assert!(graph.output.iter().any(|output| output.name() == "conf.probability"));
}

#[test]
fn decoding_and_encoding_loses_nothing() {
    let bytes = Network::default().bytes();
    assert_eq!(ModelProto::decode(bytes.as_slice()).unwrap().encode_to_vec(), bytes);
}

#[test]
fn the_pytorch_family_is_recognised_by_its_structure() {
    for backbone in BACKBONES {
        let mut proto = Network { backbone, ..Network::default() }.proto();
        rename_everything(proto.graph.as_mut().unwrap());
        let model = Model::parse(&proto.encode_to_vec()).unwrap();
        assert_eq!(model.strides(), [8, 16, 32]);
        assert_eq!(model.family().name(), "RetinaFace (PyTorch)");
        assert_eq!(*model.sizes(), InputSizes::ANY);
        let graph = proto.graph.unwrap();
        assert_eq!(model.input_name(), graph.input[0].name());
        let outputs: Vec<_> = [1, 0, 2].map(|index: usize| graph.output[index].name()).into();
        assert_eq!(model.output_names(), outputs);
        assert!(model.specialise(&InputSpec::new((64, 64), &[16]), 16).is_ok());
    }
}

fn rename_everything(graph: &mut GraphProto) {
    let rename = |name: &str| match name {
        "" => String::new(),
        name => name.bytes().map(|byte| format!("{byte:x}")).collect(),
    };
    for node in &mut graph.node {
        node.name = None;
        for value in node.input.iter_mut().chain(&mut node.output) {
            *value = rename(value);
        }
    }
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        value.name = Some(rename(value.name()));
    }
    for tensor in &mut graph.initializer {
        tensor.name = Some(rename(tensor.name()));
    }
}

#[test]
fn an_unknown_structure_is_recognised_by_its_outputs() {
    let outputs = |anchors: i64| {
        vec![
            value("conf", &[1, anchors, 2]),
            value("landms", &[1, anchors, 10]),
            value("loc", &[1, anchors, 4]),
        ]
    };
    let open = foreign(value("input", &[1, 3, -1, -1]), outputs(-1));
    let model = Model::parse(&open.encode_to_vec()).unwrap();
    assert_eq!(model.output_names(), ["loc", "conf.probability", "landms"]);
    assert_eq!(model.strides(), [8, 16, 32]);
    assert_eq!(
        model.specialise(&InputSpec::new((64, 64), &[8]), 1).err(),
        Some(NotSpecialised::Untraced)
    );

    // 2 · (8·8 + 4·4 + 2·2)
    let fixed = foreign(value("input", &[1, 3, 64, 64]), outputs(168));
    let sizes = *Model::parse(&fixed.encode_to_vec()).unwrap().sizes();
    assert_eq!(sizes.width.zip(sizes.height), Some((64, 64)));
    let other = foreign(value("input", &[1, 3, 64, 64]), outputs(160));
    assert!(matches!(refusal(&other.encode_to_vec()), ModelError::Unknown { .. }));
}

#[test]
fn the_insightface_family_is_recognised_by_its_outputs() {
    for landmarks in [false, true] {
        let network = Network { insightface: true, landmarks, ..Network::default() };
        let model = parse(&network);
        assert_eq!(model.strides(), [8, 16, 32]);
        assert_eq!(model.family().name(), "RetinaFace (InsightFace)");
        let count = if landmarks { 9 } else { 6 };
        assert_eq!(model.output_names().len(), count);
        assert_eq!(model.output_names()[1], "face_rpn_bbox_pred_stride8");
    }
}

#[test]
fn a_fixed_size_is_the_only_one() {
    let model = parse(&Network { size: Some((97, 61)), ..Network::default() });
    assert!(model.specialise(&InputSpec::new((97, 61), &[8, 32]), 1).is_ok());
    assert_eq!(
        model.specialise(&InputSpec::new((96, 61), &[8]), 1).err(),
        Some(NotSpecialised::OtherSize)
    );
}

#[test]
fn levels_that_are_not_wanted_count_in_the_offsets() {
    // Grids 13×8, 7×4 and 4×2: 208, 56 and 16 anchors.
    let heads = parse(&Network::default()).heads(97, 61, &[32, 16]);
    assert_eq!(heads.score, Score::Probability);
    let [sixteen, thirty_two] = heads.levels.as_slice() else { panic!("two levels") };
    assert_eq!((sixteen.stride, sixteen.grid), (16, (7, 4)));
    assert_eq!((thirty_two.stride, thirty_two.grid), (32, (4, 2)));
    let score = View { output: 1, offset: 208 * 2 + 1, cell: 4, anchor: 2, channel: 1 };
    assert_eq!(sixteen.score, score);
    let boxes = View { output: 0, offset: 264 * 4, cell: 8, anchor: 4, channel: 1 };
    assert_eq!(thirty_two.boxes, boxes);
    let landmarks = View { output: 2, offset: 264 * 10, cell: 20, anchor: 10, channel: 1 };
    assert_eq!(thirty_two.landmarks, Some(landmarks));
}

#[test]
fn insightface_outputs_are_planes() {
    let heads = parse(&Network { insightface: true, ..Network::default() }).heads(97, 61, &[16]);
    let [level] = heads.levels.as_slice() else { panic!("one level") };
    let plane = 7 * 4;
    let score = View { output: 3, offset: 2 * plane, cell: 1, anchor: plane, channel: plane };
    assert_eq!(level.score, score);
    let boxes = View { output: 4, offset: 0, cell: 1, anchor: 4 * plane, channel: plane };
    assert_eq!(level.boxes, boxes);
    let landmarks = View { output: 5, offset: 0, cell: 1, anchor: 10 * plane, channel: plane };
    assert_eq!(level.landmarks, Some(landmarks));
}

/// What a network for one size must be, whatever is in it; returns its graph.
fn check_form(specialised: &Specialised, size: (u32, u32), strides: &[u32]) -> GraphProto {
    let proto = ModelProto::decode(specialised.model.as_slice()).unwrap();
    let graph = proto.graph.unwrap();
    let mut made: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    made.extend(["", graph.input[0].name()]);
    for node in &graph.node {
        for input in &node.input {
            assert!(made.contains(input.as_str()), "nothing before makes {input}");
        }
        made.extend(node.output.iter().map(String::as_str));
    }
    let read: HashSet<_> = graph.node.iter().flat_map(|node| &node.input).collect();
    for tensor in &graph.initializer {
        assert!(read.contains(&tensor.name().to_owned()), "nothing reads {}", tensor.name());
    }
    let sizes = |value: &ValueInfoProto| -> Vec<_> {
        value.tensor().unwrap().1.iter().map(|size| size.size().unwrap()).collect()
    };
    assert_eq!(sizes(&graph.input[0]), [1, 3, i64::from(size.1), i64::from(size.0)]);
    assert_eq!(graph.output.len(), strides.len());
    for (index, output) in graph.output.iter().enumerate() {
        let level = &specialised.heads.levels[index];
        assert_eq!(output.name(), specialised.outputs[index].0);
        assert_eq!(sizes(output), specialised.outputs[index].1);
        assert_eq!(output.name(), format!("stride{}", level.stride));
        assert!(strides.contains(&level.stride));
        let grid = [cells(size.1, level.stride), cells(size.0, level.stride)];
        assert_eq!(sizes(output)[2..], grid.map(|cells| cells as i64));
        assert_eq!(level.grid, (grid[1], grid[0]));
    }
    graph
}

fn image(width: usize, height: usize) -> Array {
    let data = (0..3 * width * height).map(|index| ((index * 37) % 101) as f32 / 50.0 - 1.0);
    Array { dims: vec![1, 3, height, width], data: data.collect() }
}

/// The number that a view of a value of `cell` and `anchor` says.
fn read(outputs: &[Array], view: &View, cell: usize, anchor: usize, channel: usize) -> f32 {
    let index = view.offset + cell * view.cell + anchor * view.anchor + channel * view.channel;
    outputs[view.output].data[index]
}

/// Compares a rewritten network's numbers with the raw ones of the network that it was made of.
fn check_numbers(network: &Network, size: (u32, u32), strides: &[u32], lanes: usize) {
    let specialised = parse(network).specialise(&InputSpec::new(size, strides), lanes).unwrap();
    let graph = check_form(&specialised, size, strides);
    let image = image(size.0 as usize, size.1 as usize);
    let original = run(&network.proto().graph.unwrap(), image.clone());
    let outputs = run(&graph, image);
    let outputs: Vec<_> =
        specialised.outputs.iter().map(|(name, _)| outputs[name].clone()).collect();
    for level in &specialised.heads.levels {
        let plane = level.grid.0 * level.grid.1;
        let raw = |head: usize, channel: usize, cell: usize| {
            original[&format!("{}{}", HEADS[head], level.stride)].data[channel * plane + cell]
        };
        let close = |ours: f32, theirs: f32| {
            assert!((ours - theirs).abs() < 1e-4, "{size:?} {strides:?}: {ours}, not {theirs}");
        };
        for (cell, anchor) in (0..plane).flat_map(|cell| [(cell, 0), (cell, 1)]) {
            let (background, face) = match network.insightface {
                true => (anchor, 2 + anchor),
                false => (2 * anchor, 2 * anchor + 1),
            };
            let logit = raw(0, face, cell) - raw(0, background, cell);
            close(read(&outputs, &level.score, cell, anchor, 0), logit);
            for channel in 0..4 {
                let ours = read(&outputs, &level.boxes, cell, anchor, channel);
                close(ours, raw(1, anchor * 4 + channel, cell));
            }
            let Some(landmarks) = &level.landmarks else { continue };
            for channel in 0..10 {
                let ours = read(&outputs, landmarks, cell, anchor, channel);
                close(ours, raw(2, anchor * 10 + channel, cell));
            }
        }
    }
}

#[test]
fn every_choice_of_levels_gives_the_same_numbers() {
    for backbone in BACKBONES {
        for strides in SUBSETS {
            check_numbers(&Network { backbone, ..Network::default() }, (64, 32), strides, 1);
        }
    }
}

#[test]
fn odd_sizes_give_the_same_numbers() {
    for backbone in BACKBONES {
        for size in [(1, 1), (31, 33), (65, 40), (2, 90)] {
            check_numbers(&Network { backbone, ..Network::default() }, size, &[8, 16, 32], 1);
        }
    }
}

#[test]
fn insightface_networks_give_the_same_numbers() {
    for landmarks in [false, true] {
        let network = Network { insightface: true, landmarks, ..Network::default() };
        check_numbers(&network, (70, 33), &[8, 16], 1);
    }
}

#[test]
fn layers_filled_up_to_the_lanes_give_the_same_numbers() {
    for backbone in BACKBONES {
        for lanes in [8, 10, 16, 32] {
            check_numbers(&Network { backbone, ..Network::default() }, (40, 40), &[8, 16], lanes);
        }
    }
}

#[test]
fn filling_up_takes_the_leaky_relu_away() {
    let count = |lanes: usize, op: &str| {
        let specialised =
            parse(&Network::default()).specialise(&InputSpec::new((64, 64), &[8]), lanes).unwrap();
        let graph = check_form(&specialised, (64, 64), &[8]);
        graph.node.iter().filter(|node| node.op() == op).count()
    };
    assert_eq!(count(16, "LeakyRelu"), count(1, "LeakyRelu") - 1);
    assert_eq!(count(16, "Relu"), count(1, "Relu") + 1);
    // Not with 10 lanes: they have no room for 8 channels twice.
    assert_eq!(count(10, "LeakyRelu"), count(1, "LeakyRelu"));
}

#[test]
fn nothing_is_left_of_levels_and_sizes() {
    let specialised =
        parse(&Network::default()).specialise(&InputSpec::new((64, 64), &[16, 32]), 1).unwrap();
    let graph = check_form(&specialised, (64, 64), &[16, 32]);
    let count = |op: &str| graph.node.iter().filter(|node| node.op() == op).count();
    for op in ["Shape", "Slice", "Constant", "Transpose", "Reshape", "Softmax", "Identity"] {
        assert_eq!(count(op), 0, "{op}");
    }
    assert_eq!((count("Resize"), count("Concat")), (1, 2));
}

/// Before opset 11 Resize could not be given sizes; pixels of the network's own size need none.
#[test]
fn old_operators_cannot_resize_pixels() {
    let specialised = |opset: i64, size: (u32, u32)| {
        let mut proto = Network::default().proto();
        proto.opset_import[0].version = Some(opset);
        let pixels = Pixels { size, channels: 3, order: [0, 1, 2], method: ScaleMethod::Nearest };
        let spec = InputSpec { form: Form::Pixels(pixels), ..InputSpec::new((64, 32), &[8]) };
        let model = Model::parse(&proto.encode_to_vec()).unwrap();
        model.specialise(&spec, 1).map(|specialised| specialised.input)
    };
    assert_eq!(specialised(10, (64, 32)).unwrap(), "pixels");
    assert_eq!(specialised(10, (128, 64)).err(), Some(NotSpecialised::OldOperators));
    assert_eq!(specialised(11, (128, 64)).unwrap(), "pixels");
    assert_eq!(specialised(11, (64, 32)).unwrap(), "pixels");
}

#[test]
fn rewriting_is_deterministic() {
    let model = || {
        parse(&Network::default())
            .specialise(&InputSpec::new((64, 64), &[8, 16]), 16)
            .unwrap()
            .model
    };
    assert_eq!(model(), model());
}

#[test]
fn strides_that_the_network_does_not_have_are_left_out() {
    let model = parse(&Network::default());
    assert!(model.heads(64, 64, &[4]).levels.is_empty());
    assert_eq!(
        model.specialise(&InputSpec::new((64, 64), &[4]), 1).err(),
        Some(NotSpecialised::NoLevels)
    );
    let specialised = model.specialise(&InputSpec::new((64, 64), &[4, 16]), 1).unwrap();
    assert_eq!(specialised.heads.levels.len(), 1);
}

#[test]
fn circles_end() {
    let mut proto = Network::default().proto();
    let graph = proto.graph.as_mut().unwrap();
    let output = graph.output[0].name().to_owned();
    // Everything reads the last output instead of the image.
    for value in graph.node.iter_mut().flat_map(|node| &mut node.input) {
        if value == "image" {
            *value = output.clone();
        }
    }
    // The outputs still look right.
    assert!(matches!(refusal(&proto.encode_to_vec()), ModelError::Invalid(_)));

    let identities = [node("Identity", &["a"], "b"), node("Identity", &["b"], "a")];
    let mut circle = foreign(value("input", &[1, 3, -1, -1]), vec![value("a", &[-1, -1, 4])]);
    circle.graph.as_mut().unwrap().node = identities.into();
    assert!(Model::parse(&circle.encode_to_vec()).is_err());
}

#[test]
fn nodes_out_of_order_are_sorted() {
    let mut proto = Network::default().proto();
    proto.graph.as_mut().unwrap().node.reverse();
    let model = Model::parse(&proto.encode_to_vec()).expect("it is sorted");
    assert!(model.specialise(&InputSpec::new((64, 32), &[16, 32]), 1).is_ok());
    // What is run as it is, too.
    assert!(Model::parse(model.exported()).is_ok_and(|again| again.proto == model.proto));
}

#[test]
fn cycles_are_refused() {
    let mut proto = Network::default().proto();
    let nodes = &mut proto.graph.as_mut().unwrap().node;
    let last = nodes.last().unwrap().output.clone();
    nodes.iter_mut().find(|node| node.op() == "Conv").unwrap().input.truncate(2);
    nodes.iter_mut().find(|node| node.op() == "Conv").unwrap().input.extend(last);
    let message = refusal(&proto.encode_to_vec()).to_string();
    assert!(message.contains("which nothing before it computes"), "{message}");
}

#[test]
fn damaged_networks_do_no_harm() {
    let networks = [
        Network::default(),
        Network { backbone: Backbone::Residual, insightface: true, ..Network::default() },
    ];
    let mut random = 1u32;
    let mut next = |below: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % below
    };
    for network in networks {
        // Without the weights, so that the damage is where it matters.
        let mut proto = network.proto();
        for tensor in &mut proto.graph.as_mut().unwrap().initializer {
            if tensor.float_data.len() > 100 {
                tensor.float_data.truncate(0);
            }
        }
        for bytes in [network.bytes(), proto.encode_to_vec()] {
            for _ in 0..150 {
                let mut bytes = bytes.clone();
                for _ in 0..=next(4) {
                    let at = next(bytes.len());
                    bytes[at] = next(256) as u8;
                }
                if let Ok(model) = Model::parse(&bytes) {
                    let placement = model.sizes().place(
                        (33, 40),
                        Orientation::Identity,
                        1.0,
                        0,
                        ScaleMethod::Bilinear,
                    );
                    let (width, height) = placement.input;
                    model.heads(width, height, &model.strides());
                    let _ =
                        model.specialise(&InputSpec::new((width, height), &model.strides()), 16);
                }
            }
        }
    }
}
