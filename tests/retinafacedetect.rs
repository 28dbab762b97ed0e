// SPDX-License-Identifier: MIT OR Apache-2.0

//! The element as pipelines and applications see it. Pictures of known faces come from scripts/setup.

mod common;

use std::{fs, path::Path, process::Command};

use glib::translate::ToGlibPtr;
use gst::prelude::*;
use gst_check::Harness;
use gst_video::VideoRegionOfInterestMeta;
use gstretinaface::{
    face::{Face, Landmarks},
    geometry::Rect,
    meta::{self, Detections},
};

/// A harness around the element, ready for frames like `sample`'s.
fn harness(properties: &str, sample: &gst::Sample) -> Harness {
    common::init();
    let mut harness = Harness::new_parse(&format!("retinafacedetect name=detect {properties}"));
    harness.set_src_caps(sample.caps().expect("caps").to_owned());
    harness
}

/// The element inside the harness.
fn detect(harness: &Harness) -> gst::Element {
    let bin = harness.element().and_downcast::<gst::Bin>().expect("a bin");
    bin.by_name("detect").expect("the element")
}

fn frame(sample: &gst::Sample, number: u64) -> gst::Buffer {
    let mut buffer = sample.buffer_owned().expect("a buffer").copy();
    let buffer_ref = buffer.make_mut();
    buffer_ref.set_pts(gst::ClockTime::from_mseconds(40 * number));
    buffer_ref.set_duration(gst::ClockTime::from_mseconds(40));
    buffer
}

/// How many faces the element finds with these properties.
fn count(properties: &str) -> usize {
    let sample = common::astronaut("BGR");
    let mut harness = harness(properties, &sample);
    let out = harness.push_and_pull(frame(&sample, 0)).expect("a frame");
    meta::faces(&out).len()
}

/// The error that a pipeline of the element ends with.
fn error(properties: &str, caps: &str) -> String {
    common::run(&format!(
        "videotestsrc num-buffers=2 ! {caps} ! retinafacedetect {properties} ! appsink name=sink"
    ))
    .expect_err("the pipeline fails")
}

#[test]
fn a_face_is_found_with_its_metas() {
    let sample = common::astronaut("BGR");
    let mut harness = harness("", &sample);
    let before = frame(&sample, 3);
    let out = harness.push_and_pull(before.copy()).expect("a frame");

    assert_eq!(out.pts(), before.pts());
    assert_eq!(
        out.map_readable().expect("readable").as_slice(),
        before.map_readable().expect("readable").as_slice(),
        "pixels are untouched"
    );
    let metas: Vec<_> = out.iter_meta::<VideoRegionOfInterestMeta>().collect();
    let [roi] = metas.as_slice() else { panic!("{} metas", metas.len()) };
    assert_eq!(roi.roi_type(), "face");
    // Where a person sees the face.
    let (x, y, w, h) = roi.rect();
    assert!((150..200).contains(&x) && (50..100).contains(&y), "at {x}, {y}");
    assert!((70..120).contains(&w) && (90..150).contains(&h), "{w} × {h}");

    let detection = roi.param("detection").expect("detection");
    assert!(detection.get::<f64>("confidence").expect("confidence") > 0.9);
    assert_eq!(detection.get::<&str>("label").expect("label"), "face");
    assert_eq!(detection.get::<i32>("label_id").expect("label_id"), 0);
    let x_min = detection.get::<f64>("x_min").expect("x_min") * 512.0;
    assert_eq!(x_min.floor() as u32, x);

    let landmarks = roi.param("landmarks").expect("landmarks");
    let point = |name: &str| {
        let value = |axis| landmarks.get::<f64>(format!("{name}_{axis}")).expect("a double");
        (value("x"), value("y"))
    };
    let [left_eye, right_eye, nose, mouth_left, mouth_right] = Landmarks::NAMES.map(point);
    assert!(left_eye.0 < nose.0 && nose.0 < right_eye.0);
    assert!(mouth_left.0 < mouth_right.0);
    assert!(left_eye.1 < nose.1 && nose.1 < mouth_left.1);
    assert_eq!(landmarks.get::<&str>("format").expect("format"), "landmark_points");
    assert_eq!(landmarks.get::<i32>("precision").expect("precision"), 10);
    let dims = landmarks.get::<gst::Array>("dims").expect("dims");
    let dims: Vec<u32> = dims.iter().map(|d| d.get().expect("a uint")).collect();
    assert_eq!(dims, [5, 2]);
    let tensor = landmarks.get::<glib::Variant>("data_buffer").expect("data_buffer");
    let bytes = tensor.fixed_array::<u8>().expect("ay");
    let first = f32::from_ne_bytes(bytes[..4].try_into().expect("four bytes"));
    let face = meta::faces(&out)[0];
    let relative =
        (face.landmarks.expect("landmarks").0[0].x - face.bounds.x_min) / face.bounds.width();
    assert!((first - relative).abs() < 1e-5);
}

#[test]
fn every_format_finds_the_same_face() {
    let sample = common::astronaut("BGR");
    let out = harness("", &sample).push_and_pull(frame(&sample, 0)).expect("a frame");
    let reference = meta::faces(&out)[0];
    for format in [
        "RGB", "BGRx", "RGBx", "xBGR", "xRGB", "BGRA", "RGBA", "ABGR", "ARGB", "GRAY8", "NV12",
        "NV21", "I420", "YV12", "YUY2", "UYVY",
    ] {
        let sample = common::astronaut(format);
        let out = harness("", &sample).push_and_pull(frame(&sample, 0)).expect("a frame");
        let faces = meta::faces(&out);
        assert_eq!(faces.len(), 1, "{format}");
        let iou = faces[0].bounds.iou(&reference.bounds);
        let tolerance = if format == "GRAY8" { 0.85 } else { 0.95 };
        assert!(iou >= tolerance, "{format}: IoU {iou}");
    }
}

#[test]
fn padded_strides_change_nothing() {
    for format in ["BGR", "NV12", "I420"] {
        let sample = common::astronaut(format);
        let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("info");
        let packed = frame(&sample, 0);
        let planes = info.n_planes() as usize;
        // 40 more bytes a row, 100 before each plane.
        let strides: Vec<i32> = info.stride().iter().map(|stride| stride + 40).collect();
        let mut offsets = Vec::new();
        let mut size = 0;
        let rows = |plane: usize| if plane == 0 { 512 } else { 256 };
        for (plane, stride) in strides.iter().enumerate() {
            offsets.push(size + 100);
            size += 100 + *stride as usize * rows(plane);
        }
        let mut bytes = vec![0xAA; size];
        {
            let map = packed.map_readable().expect("readable");
            for plane in 0..planes {
                let stride = info.stride()[plane] as usize;
                for row in 0..rows(plane) {
                    let from = info.offset()[plane] + row * stride;
                    let to = offsets[plane] + row * strides[plane] as usize;
                    bytes[to..to + stride].copy_from_slice(&map[from..from + stride]);
                }
            }
        }
        let mut padded = gst::Buffer::from_mut_slice(bytes);
        gst_video::VideoMeta::add_full(
            padded.make_mut(),
            gst_video::VideoFrameFlags::empty(),
            info.format(),
            512,
            512,
            &offsets,
            &strides,
        )
        .expect("a meta");
        let mut harness = harness("", &sample);
        let reference = harness.push_and_pull(packed).expect("a frame");
        let out = harness.push_and_pull(padded).expect("a frame");
        assert_eq!(meta::faces(&out), meta::faces(&reference), "{format}");
    }
}

#[test]
fn metas_already_there_are_kept() {
    let sample = common::astronaut("BGR");
    let mut harness = harness("! retinafacedetect", &sample);
    let mut buffer = frame(&sample, 0);
    VideoRegionOfInterestMeta::add(buffer.make_mut(), "car", (1, 2, 3, 4));
    let out = harness.push_and_pull(buffer).expect("a frame");
    let mut types: Vec<_> =
        out.iter_meta::<VideoRegionOfInterestMeta>().map(|m| m.roi_type().to_owned()).collect();
    // GStreamer 1.14 gives the newest first.
    types.sort_unstable();
    assert_eq!(types, ["car", "face", "face"]);
}

#[test]
fn thresholds_and_sizes_choose() {
    assert_eq!(count("score-threshold=1"), 0);
    assert_eq!(count("min-face-size=200"), 0);
    assert_eq!(count("max-face-size=50"), 0);
    assert_eq!(count("max-face-size=200 min-face-size=50"), 1);
    assert!(count("score-threshold=0.01 iou-threshold=1") > 1);
    assert_eq!(count("score-threshold=0.01 iou-threshold=1 max-detections=2"), 2);
    assert_eq!(count("score-threshold=0.01 largest-only=true"), 1);
    // The face is some 100 pixels wide: stride 32 is for larger ones, 8 for smaller.
    assert_eq!(count("strides=16+32"), 1);
    assert_eq!(count("strides=8"), 0);
    assert_eq!(count("scale=0.5 scale-method=nearest"), 1);
    assert_eq!(count("scale=0.05"), 0);
    assert_eq!(count("threads=1 max-size=0"), 1);
}

#[test]
fn a_margin_grows_the_box() {
    let sample = common::astronaut("BGR");
    let mut harness = harness("", &sample);
    let bounds = |out: &gst::Buffer| meta::faces(out)[0].bounds;
    let plain = bounds(&harness.push_and_pull(frame(&sample, 0)).expect("a frame"));
    // While it runs.
    detect(&harness).set_property("margin", 0.25);
    let grown = bounds(&harness.push_and_pull(frame(&sample, 1)).expect("a frame"));
    assert!((grown.width() - 1.5 * plain.width()).abs() < 0.01);
    assert!((grown.x_min - (plain.x_min - 0.25 * plain.width())).abs() < 0.01);
}

#[test]
fn frames_between_inferences_have_no_faces() {
    let sample = common::astronaut("BGR");
    let mut harness = harness("inference-interval=3", &sample);
    let counts: Vec<_> = (0..7)
        .map(|n| meta::faces(&harness.push_and_pull(frame(&sample, n)).expect("a frame")).len())
        .collect();
    assert_eq!(counts, [1, 0, 0, 1, 0, 0, 1]);
    let stats: gst::Structure = detect(&harness).property("stats");
    assert_eq!(stats.get::<u64>("frames").expect("frames"), 3);
    assert_eq!(stats.get::<u64>("faces").expect("faces"), 3);
    for stage in ["preprocess", "inference", "postprocess"] {
        let mean = stats.get::<f64>(format!("{stage}-mean-ms")).expect("a mean");
        let p99 = stats.get::<f64>(format!("{stage}-p99-ms")).expect("a percentile");
        assert!(mean > 0.0 && p99 > 0.0, "{stage}");
    }
}

/// How many messages arrive for: two frames with a face, one without, one with.
fn messages(property: &str) -> Vec<Detections> {
    let sample = common::astronaut("BGR");
    let mut harness = harness(&format!("messages={property}"), &sample);
    let bus = gst::Bus::new();
    detect(&harness).set_bus(Some(&bus));
    for (n, face) in [true, true, false, true].into_iter().enumerate() {
        let mut buffer = frame(&sample, n as u64);
        if !face {
            buffer.make_mut().map_writable().expect("writable").fill(0);
        }
        harness.push_and_pull(buffer).expect("a frame");
    }
    bus.iter_filtered(&[gst::MessageType::Element])
        .map(|message| {
            let structure = message.structure().expect("a structure");
            Detections::try_from(structure).expect("faces")
        })
        .collect()
}

#[test]
fn messages_report_faces() {
    assert_eq!(messages("never").len(), 0);
    assert_eq!(messages("on-faces").len(), 3);
    assert_eq!(messages("on-change").len(), 3);
    let all = messages("every-frame");
    let counts: Vec<_> = all.iter().map(|message| message.faces.len()).collect();
    assert_eq!(counts, [1, 1, 0, 1]);
    assert_eq!(all[3].timestamp, Some(gst::ClockTime::from_mseconds(120)));
    assert_eq!(all[3].running_time, Some(gst::ClockTime::from_mseconds(120)));
    assert_eq!(all[3].duration, Some(gst::ClockTime::from_mseconds(40)));
}

#[test]
fn every_size_runs() {
    for (width, height) in [(1, 1), (1, 300), (31, 33), (333, 217), (8192, 16)] {
        let samples = common::run(&format!(
            "videotestsrc num-buffers=2 ! video/x-raw,width={width},height={height} ! \
             retinafacedetect ! appsink name=sink"
        ));
        assert_eq!(samples.expect("it runs").len(), 2, "{width}×{height}");
    }
}

#[test]
fn caps_may_change_in_the_stream() {
    let large = common::astronaut("BGR");
    let gray = common::astronaut("GRAY8");
    let mut harness = harness("", &large);
    for sample in [&large, &gray, &large] {
        harness.set_src_caps(sample.caps().expect("caps").to_owned());
        let out = harness.push_and_pull(frame(sample, 0)).expect("a frame");
        assert_eq!(meta::faces(&out).len(), 1);
    }
}

#[test]
fn events_pass() {
    let sample = common::astronaut("BGR");
    let mut harness = harness("", &sample);
    harness.push_and_pull(frame(&sample, 0)).expect("a frame");
    let gap = gst::event::Gap::builder(gst::ClockTime::SECOND).build();
    assert!(harness.push_event(gap));
    assert!(harness.push_event(gst::event::FlushStart::new()));
    assert_eq!(harness.push(frame(&sample, 1)), Err(gst::FlowError::Flushing));
    assert!(harness.push_event(gst::event::FlushStop::new(true)));
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(harness.push_event(gst::event::Segment::new(&segment)));
    let out = harness.push_and_pull(frame(&sample, 2)).expect("a frame");
    assert_eq!(meta::faces(&out).len(), 1);
    assert!(harness.push_event(gst::event::Eos::new()));
    let mut types = Vec::new();
    while let Some(event) = harness.try_pull_event() {
        types.push(event.type_());
        if event.type_() == gst::EventType::Eos {
            break;
        }
    }
    assert!(types.contains(&gst::EventType::Gap) && types.contains(&gst::EventType::FlushStop));
}

#[test]
fn a_missing_or_foreign_network_is_an_error() {
    const CAPS: &str = "video/x-raw,width=64,height=64";
    let missing = error("model-file=/nowhere/face.onnx", CAPS);
    assert!(missing.contains("/nowhere/face.onnx"), "{missing}");
    let folder = std::env::temp_dir().join(format!("retinaface-test-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let whole =
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/retinaface_mv1_0.25.onnx"))
            .expect("scripts/setup has fetched the network");
    for (name, content) in [
        ("empty.onnx", &[][..]),
        ("text.onnx", &b"not a network"[..]),
        ("truncated.onnx", &whole[..whole.len() / 2]),
    ] {
        let path = folder.join(name);
        fs::write(&path, content).expect("a file");
        let message = error(&format!("model-file={}", path.display()), CAPS);
        assert!(message.contains(name), "{message}");
    }
    fs::remove_dir_all(&folder).expect("removed");
}

/// A protobuf field of bytes, shorter than 128.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

/// An ONNX file whose one operator gives back its input, a float tensor of `channels` × 8 × 8.
fn identity_network(channels: u8) -> Vec<u8> {
    let dimension = |size: u8| field(1, &[1 << 3, size]);
    let shape: Vec<u8> = [1, channels, 8, 8].into_iter().flat_map(dimension).collect();
    let float_tensor = [vec![1 << 3, 1], field(2, &shape)].concat();
    let value = |name: &[u8]| [field(1, name), field(2, &field(1, &float_tensor))].concat();
    let node = [field(1, b"x"), field(2, b"y"), field(4, b"Identity")].concat();
    let graph = [field(1, &node), field(11, &value(b"x")), field(12, &value(b"y"))].concat();
    field(7, &graph)
}

#[test]
fn a_network_of_another_kind_is_an_error() {
    let path = std::env::temp_dir().join(format!("retinaface-other-{}.onnx", std::process::id()));
    for (channels, expected) in
        [(3, "a network that gives 3 maps of the picture"), (1, "[1, 3, height, width]")]
    {
        fs::write(&path, identity_network(channels)).expect("a file");
        let model = format!("model-file={}", path.display());
        let message = error(&model, "video/x-raw,width=64,height=64");
        assert!(message.contains(expected), "{message}");
    }
    fs::remove_file(path).expect("removed");
}

/// A value that is not the property's default.
fn other_value(pspec: &glib::ParamSpec) -> glib::Value {
    if let Some(pspec) = pspec.downcast_ref::<glib::ParamSpecBoolean>() {
        (!pspec.default_value()).to_value()
    } else if let Some(pspec) = pspec.downcast_ref::<glib::ParamSpecUInt>() {
        (pspec.default_value() + 1).to_value()
    } else if let Some(pspec) = pspec.downcast_ref::<glib::ParamSpecUInt64>() {
        (pspec.default_value() + 1).to_value()
    } else if let Some(pspec) = pspec.downcast_ref::<glib::ParamSpecDouble>() {
        (pspec.default_value() + 0.125).to_value()
    } else if let Some(class) = glib::FlagsClass::with_type(pspec.value_type()) {
        class.builder().set_by_nick("16").build().expect("a flag")
    } else if let Some(class) = glib::EnumClass::with_type(pspec.value_type()) {
        let default = pspec.default_value().transform::<i32>().expect("a number");
        let default = default.get::<i32>().expect("a number");
        let other = class.values().iter().find(|value| value.value() != default);
        other.expect("another value").to_value(&class)
    } else {
        "other".to_value()
    }
}

#[test]
fn every_property_has_its_default_and_a_value_of_its_own() {
    common::init();
    for (factory, count) in [("retinafacedetect", 30), ("retinafaceoverlay", 7)] {
        let element = gst::ElementFactory::make(factory).build().expect("an element");
        let own: Vec<_> = element
            .list_properties()
            .iter()
            .filter(|pspec| pspec.owner_type() == element.type_())
            .filter(|pspec| pspec.flags().contains(glib::ParamFlags::WRITABLE))
            .cloned()
            .collect();
        assert_eq!(own.len(), count, "{factory}");
        let values = || -> Vec<_> {
            own.iter().map(|pspec| format!("{:?}", element.property_value(pspec.name()))).collect()
        };
        let mut expected: Vec<_> =
            own.iter().map(|pspec| format!("{:?}", pspec.default_value())).collect();
        assert_eq!(values(), expected, "{factory}");
        for (index, pspec) in own.iter().enumerate() {
            let value = other_value(pspec);
            element.set_property_from_value(pspec.name(), &value);
            assert_ne!(format!("{value:?}"), expected[index], "{factory} {}", pspec.name());
            expected[index] = format!("{value:?}");
            assert_eq!(values(), expected, "{factory} {}", pspec.name());
        }
    }
}

/// A C application may set any bytes.
#[test]
fn a_file_name_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt;

    common::init();
    let path = Path::new(std::ffi::OsStr::from_bytes(b"/nowhere/\xff.onnx"));
    let pipeline =
        gst::parse::launch("videotestsrc num-buffers=1 ! retinafacedetect name=detect ! fakesink");
    let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
    let detect = pipeline.by_name("detect").expect("the element");
    detect.set_property("model-file", path);
    assert_eq!(detect.property::<std::path::PathBuf>("model-file"), path);
    assert!(pipeline.set_state(gst::State::Paused).is_err());
    let bus = pipeline.bus().expect("a bus");
    let message = bus.pop_filtered(&[gst::MessageType::Error]).expect("an error");
    let gst::MessageView::Error(err) = message.view() else { panic!("not an error") };
    assert!(err.error().to_string().contains("/nowhere/"), "{}", err.error());
    pipeline.set_state(gst::State::Null).expect("back to NULL");
}

/// Attaches regions of interest as an element in C may: without a type, with names of bytes that are
/// no UTF-8, and with fields of other types.
fn attach_strange_regions(buffer: &mut gst::BufferRef) {
    let strange = c"\xff\xfe";
    // SAFETY: the functions copy the strings and take the structures; the buffer is writable.
    unsafe {
        let quark = glib::ffi::g_quark_from_string(strange.as_ptr());
        for (kind, name) in [
            (0, c"bounds"),
            (quark, c"bounds"),
            (glib::ffi::g_quark_from_string(c"face".as_ptr()), strange),
        ] {
            let meta = gst_video::ffi::gst_buffer_add_video_region_of_interest_meta_id(
                buffer.as_mut_ptr(),
                kind,
                10,
                20,
                30,
                40,
            );
            for name in [name, c"bounds", c"landmarks", c"detection"] {
                let name = glib::ffi::g_quark_from_string(name.as_ptr());
                let param = gst::ffi::gst_structure_new_id_empty(name);
                for field in [c"x_min", c"left_eye_x", c"confidence", strange] {
                    let field = glib::ffi::g_quark_from_string(field.as_ptr());
                    let text = "no number".to_value();
                    gst::ffi::gst_structure_id_set_value(param, field, text.to_glib_none().0);
                }
                gst_video::ffi::gst_video_region_of_interest_meta_add_param(meta, param);
            }
        }
    }
}

#[test]
fn regions_of_other_elements_may_have_any_bytes() {
    common::init();
    let pipeline = gst::parse::launch(
        "videotestsrc num-buffers=3 name=source ! video/x-raw,width=64,height=64 ! \
         retinafacedetect messages=every-frame ! retinafaceoverlay ! appsink name=sink",
    );
    let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
    let pad = pipeline.by_name("source").and_then(|source| source.static_pad("src"));
    pad.expect("a pad").add_probe(gst::PadProbeType::BUFFER, |_, info| {
        attach_strange_regions(info.buffer_mut().expect("a buffer").make_mut());
        gst::PadProbeReturn::Ok
    });
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("it starts");
    for _ in 0..3 {
        let sample = sink.pull_sample().expect("a frame");
        let faces = meta::faces(sample.buffer().expect("a buffer"));
        // Of the one that is a face, the rectangle is all that makes sense.
        let rect = Rect::new(10.0, 20.0, 40.0, 60.0);
        assert_eq!(faces, [Face { bounds: rect, ..Face::default() }]);
    }
    pipeline.set_state(gst::State::Null).expect("back to NULL");
}

/// A gigapixel, 64 times: five terabytes.
#[test]
fn more_memory_than_there_is_is_an_error() {
    const CAPS: &str = "video/x-raw,format=GRAY8,width=8192,height=8192";
    for provider in ["auto", "native", "cpu"] {
        let message =
            error(&format!("scale=4 max-size=0 in-flight=64 execution-provider={provider}"), CAPS);
        assert!(message.contains("32768×32768") && message.contains("max-size"), "{message}");
    }
}

#[test]
fn more_memory_than_there_is_is_an_error_while_playing() {
    let sample = common::astronaut("GRAY8");
    let mut harness = harness("in-flight=16", &sample);
    harness.push_and_pull(frame(&sample, 0)).expect("a frame");
    let element = detect(&harness);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    element.set_property("max-size", 0u32);
    element.set_property("scale", 4.0);
    let caps = sample.caps().expect("caps").to_owned();
    let mut large = caps.copy();
    large.make_mut().set("width", 8192);
    large.make_mut().set("height", 8192);
    harness.set_src_caps(large);
    // The memory is needed when it is written.
    let _ = harness.push(gst::Buffer::with_size(8192 * 8192).expect("a buffer"));
    let message =
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Error]);
    let message = message.expect("an error");
    let gst::MessageView::Error(err) = message.view() else { panic!("not an error") };
    let text = err.error().to_string();
    // Of the memory that is missing, or of the frames that CUDA has no kernels for.
    assert!(text.contains("MiB") || text.contains("32768×32768"), "{text}");
}

#[test]
fn strides_that_are_not_there_are_an_error() {
    let message = error("strides=0", "video/x-raw,width=64,height=64");
    assert!(message.contains("strides"), "{message}");
}

#[test]
fn after_an_error_the_element_can_be_used_again() {
    common::init();
    let pipeline = gst::parse::launch(
        "videotestsrc num-buffers=3 ! video/x-raw,width=64,height=64 ! \
         retinafacedetect name=detect model-file=/nowhere ! fakesink",
    )
    .expect("a pipeline")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    let bus = pipeline.bus().expect("a bus");
    let end = || {
        bus.timed_pop_filtered(
            gst::ClockTime::from_seconds(60),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        )
        .expect("it ends")
    };
    let _ = pipeline.set_state(gst::State::Playing);
    assert_eq!(end().type_(), gst::MessageType::Error);
    pipeline.set_state(gst::State::Null).expect("back to NULL");
    let detect = pipeline.by_name("detect").expect("the element");
    detect.set_property("model-file", None::<String>);
    bus.set_flushing(true);
    bus.set_flushing(false);
    pipeline.set_state(gst::State::Playing).expect("it starts");
    assert_eq!(end().type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).expect("back to NULL");
}

/// Run by itself below, in a process in which ONNX Runtime is missing.
#[test]
#[ignore = "run by without_onnxruntime_the_element_says_so_if_it_needs_it"]
fn element_without_onnxruntime() {
    common::init();
    let faces = common::faces(&common::media("astronaut.png"), "BGR", "");
    assert_eq!(faces.len(), 1, "nothing needs it");
    let element = gst::ElementFactory::make("retinafacedetect").build().expect("an element");
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    element.set_property_from_str("execution-provider", "cpu");
    assert!(element.set_state(gst::State::Ready).is_err(), "it stays in NULL");
    let message = bus.pop_filtered(&[gst::MessageType::Error]).expect("an error");
    let gst::MessageView::Error(err) = message.view() else { panic!("not an error") };
    let text = err.error().to_string();
    assert!(text.contains("ORT_DYLIB_PATH") && text.contains("scripts/setup"), "{text}");
    element.set_state(gst::State::Null).expect("back to NULL");

    // Kernels of our own lack an operator of this network.
    let folder = tempfile::tempdir().expect("a folder");
    let network = folder.path().join("network.onnx");
    std::fs::write(&network, common::with_foreign_operator()).expect("a file");
    for provider in ["auto", "native"] {
        let text = error(
            &format!("execution-provider={provider} model-file={}", network.display()),
            "video/x-raw,width=64,height=64",
        );
        assert!(text.contains("Neg") && text.contains("ORT_DYLIB_PATH"), "{text}");
    }
    common::run("videotestsrc num-buffers=1 ! retinafaceoverlay ! appsink name=sink")
        .expect("other elements work");
}

#[test]
fn without_onnxruntime_the_element_says_so_if_it_needs_it() {
    for library in ["/nowhere/libonnxruntime.so", env!("CARGO_MANIFEST_DIR"), "/dev/null"] {
        let status = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "element_without_onnxruntime", "--ignored"])
            .env("ORT_DYLIB_PATH", library)
            .status()
            .expect("it runs");
        assert!(status.success(), "with {library}");
    }
}

/// Run by itself, so that no other test's memory counts.
#[test]
#[ignore = "run by starting_and_stopping_leaks_nothing"]
fn start_and_stop_many_times() {
    common::init();
    let pipeline = gst::parse::launch(
        // With OpenVINO a start takes half a second.
        "videotestsrc num-buffers=1 ! video/x-raw,width=64,height=64 ! \
         retinafacedetect threads=1 execution-provider=cpu ! \
         retinafacedetect in-flight=2 execution-provider=cpu ! retinafaceoverlay ! fakesink",
    )
    .expect("a pipeline")
    .downcast::<gst::Pipeline>()
    .expect("a pipeline");
    let bus = pipeline.bus().expect("a bus");
    let mut after_warm_up = 0;
    for round in 0..1000 {
        pipeline.set_state(gst::State::Playing).expect("it starts");
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos])
            .expect("it ends");
        pipeline.set_state(gst::State::Null).expect("it stops");
        if round == 200 {
            after_warm_up = common::resident();
        }
    }
    let grown = common::resident().saturating_sub(after_warm_up);
    assert!(grown < 16 * 1024, "{grown} KiB more after 800 rounds");
    drop((pipeline, bus));
    // SAFETY: nothing of GStreamer is used after this; it makes the tracer report.
    unsafe { gst::deinit() };
}

#[test]
fn starting_and_stopping_leaks_nothing() {
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "start_and_stop_many_times", "--ignored", "--nocapture"])
        .env("GST_TRACERS", "leaks")
        .env("GST_DEBUG", "GST_TRACER:7")
        .output()
        .expect("it runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    // What the tracer prints at first describes its own format.
    let alive = |line: &&str| line.contains("object-alive, ") && !line.contains("format string");
    assert_eq!(log.lines().filter(alive).collect::<Vec<_>>(), [""; 0]);
}
