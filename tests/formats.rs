// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every pixel format that the elements take, in pipelines; and what they say about others.

mod common;

use gst::prelude::*;
use gstretinaface::{
    face::{Face, Landmarks, Tracking, TrackingState},
    geometry::{Point, Rect},
    meta,
};

/// Odd, so that subsampled components end with half a sample.
const SIZE: (u32, u32) = (511, 509);

/// The formats in an element's pad template.
fn formats(element: &str) -> Vec<String> {
    common::init();
    let factory = gst::ElementFactory::find(element).expect("an element");
    let template = factory.static_pad_templates().into_iter().next().expect("a template");
    let caps = template.caps();
    let list = caps.structure(0).and_then(|caps| caps.get::<gst::List>("format").ok());
    let list = list.expect("formats");
    list.iter().map(|format| format.get::<String>().expect("a name")).collect()
}

fn is_gray(format: &str) -> bool {
    format.starts_with("GRAY")
}

#[test]
fn the_overlay_takes_what_the_detector_takes() {
    assert_eq!(formats("retinafacedetect"), formats("retinafaceoverlay"));
}

/// The faces in the picture, scaled and converted by GStreamer's own elements.
fn faces(format: &str) -> Vec<Face> {
    let samples = common::run(&format!(
        "filesrc location=\"{}\" ! pngdec ! videoscale ! video/x-raw,width={},height={} ! \
         videoconvert ! video/x-raw,format={format} ! retinafacedetect ! appsink name=sink",
        common::media("astronaut.png").display(),
        SIZE.0,
        SIZE.1,
    ));
    let samples = samples.unwrap_or_else(|err| panic!("{format}: {err}"));
    meta::faces(samples[0].buffer().expect("a buffer"))
}

/// Fewer samples of chroma blur colours, and fewer bits round them; without colours a face looks another
/// way to the network.
#[test]
fn every_format_has_the_same_face() {
    let [reference] = &faces("BGR")[..] else { panic!("one face") };
    let [gray] = &faces("GRAY8")[..] else { panic!("one face") };
    for format in formats("retinafacedetect") {
        let faces = faces(&format);
        let [face] = &faces[..] else { panic!("{format}: {faces:?}") };
        let expected = if is_gray(&format) { gray } else { reference };
        let iou = face.bounds.iou(&expected.bounds);
        assert!(iou >= 0.97, "{format}: IoU {iou} for {:?}", face.bounds);
        let scores = [face, expected].map(|face| face.confidence.expect("a score"));
        assert!((scores[0] - scores[1]).abs() < 0.01, "{format}: {scores:?}");
        let points = [face, expected].map(|face| face.landmarks.expect("landmarks").0);
        for (found, expected) in points[0].iter().zip(&points[1]) {
            let distance = (found.x - expected.x).hypot(found.y - expected.y);
            assert!(distance < 1.5, "{format}: {found:?} for {expected:?}");
        }
    }
}

/// Runs a pipeline to its end, if its elements take what they get.
fn write(description: &str) -> bool {
    let pipeline = match gst::parse::launch(description) {
        Err(err) if err.matches(gst::ParseError::Link) => return false,
        pipeline => pipeline.expect("a pipeline"),
    };
    let bus = pipeline.bus().expect("a bus");
    pipeline.set_state(gst::State::Playing).expect("it starts");
    let end = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &end).expect("it ends");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{description}: {end:?}");
    pipeline.set_state(gst::State::Null).expect("it stops");
    true
}

/// What decoders give for it is not what most elements take.
#[test]
fn decoded_video_of_ten_bits_needs_no_conversion() {
    common::init();
    if gst::version() < (1, 18, 0, 0) {
        eprintln!(
            "SKIPPED: decoded_video_of_ten_bits_needs_no_conversion: needs encoders of GStreamer 1.18 \
             or newer"
        );
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut tried = 0;
    for (encoder, format, rest) in [
        ("x265enc", "I420_10LE", "h265parse ! matroskamux"),
        ("x265enc", "I422_10LE", "h265parse ! matroskamux"),
        ("x264enc", "Y42B", "h264parse ! matroskamux"),
        ("vp9enc", "Y444_10LE", "matroskamux"),
        ("avenc_prores_ks", "I422_10LE", "qtmux"),
        ("avenc_ffv1", "GRAY16_LE", "matroskamux"),
    ] {
        if gst::ElementFactory::find(encoder).is_none() {
            continue;
        }
        let file = folder.path().join(format!("{encoder}-{format}"));
        let file = file.display();
        let is_written = write(&format!(
            "{} ! videoconvert ! video/x-raw,format={format} ! {encoder} ! {rest} ! \
             filesink location=\"{file}\"",
            common::astronauts(3)
        ));
        // Encoders and containers of older versions take fewer.
        if !is_written {
            continue;
        }
        tried += 1;
        let samples = common::run(&format!(
            "filesrc location=\"{file}\" ! decodebin ! retinafacedetect ! retinafaceoverlay ! \
             appsink name=sink"
        ));
        let samples = samples.unwrap_or_else(|err| panic!("{encoder}: {err}"));
        // GStreamer 1.18 loses one of x265enc's.
        assert!((2..=3).contains(&samples.len()), "{encoder}: {} frames", samples.len());
        for sample in samples {
            let caps = sample.caps().and_then(|caps| caps.structure(0)).expect("caps");
            assert_eq!(caps.get::<&str>("format"), Ok(format), "{encoder}");
            assert_eq!(meta::faces(sample.buffer().expect("a buffer")).len(), 1, "{encoder}");
        }
    }
    if tried == 0 {
        eprintln!(
            "SKIPPED: decoded_video_of_ten_bits_needs_no_conversion: no encoder is installed"
        );
    }
}

/// A face with all that the overlay draws.
fn face() -> Face {
    let points = [(56.0, 62.0), (80.0, 62.0), (68.0, 76.0), (58.0, 90.0), (78.0, 90.0)];
    Face {
        bounds: Rect::new(40.0, 40.0, 97.0, 111.0),
        landmarks: Some(Landmarks(points.map(|(x, y)| Point { x, y }))),
        confidence: Some(0.98),
        tracking: Some(Tracking { id: 12, age: 3, state: TrackingState::Held }),
    }
}

const FRAME: (usize, usize) = (161, 141);

/// A plain frame with a face drawn on it in `format`, as pixels of `read`, of three bytes each or one.
fn drawn(format: &str, read: &str) -> Vec<u8> {
    common::init();
    let (width, height) = FRAME;
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc num-buffers=1 pattern=solid-color foreground-color=0xff805840 ! \
         video/x-raw,format=BGR,width={width},height={height} ! videoconvert ! \
         video/x-raw,format={format} ! retinafaceoverlay name=overlay color=0xc000e676 ! \
         videoconvert dither=none chroma-resampler=nearest ! video/x-raw,format={read} ! \
         appsink name=sink sync=false"
    ));
    let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
    let pad = pipeline.by_name("overlay").and_then(|overlay| overlay.static_pad("sink"));
    // Conversions lose what metas say beside the rectangle.
    pad.expect("a pad").add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer_mut().expect("a buffer").make_mut();
        meta::attach(buffer, &face(), width as u32, height as u32);
        gst::PadProbeReturn::Ok
    });
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("an appsink");
    pipeline.set_state(gst::State::Playing).expect("PLAYING");
    let sample = sink.pull_sample().unwrap_or_else(|err| panic!("{format}: {err}"));
    pipeline.set_state(gst::State::Null).expect("NULL");
    let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("video");
    let map = sample.buffer().expect("a buffer").map_readable().expect("readable");
    let row = width * info.comp_pstride(0) as usize;
    map.chunks(info.stride()[0] as usize).flat_map(|line| &line[..row]).copied().collect()
}

/// The means of three channels over blocks of 8 × 4 pixels, which hold whole samples of chroma in every
/// format.
fn blocks(pixels: &[u8]) -> Vec<[f32; 3]> {
    let (width, height) = FRAME;
    let corners = (0..height / 4).flat_map(|y| (0..width / 8).map(move |x| (8 * x, 4 * y)));
    let mean = |(x, y): (usize, usize)| {
        [0, 1, 2].map(|channel| {
            let block = (0..32).map(|i| pixels[3 * ((y + i / 8) * width + x + i % 8) + channel]);
            block.map(f32::from).sum::<f32>() / 32.0
        })
    };
    corners.map(mean).collect()
}

/// As in formats of a sample for each pixel: RGB and luma to the pixel, chroma on the average of the
/// pixels that share a sample, some of which GStreamer spreads over the neighbours.
#[test]
fn the_overlay_draws_the_same_in_every_format() {
    let [rgb, yuv, gray] = ["RGB", "v308", "GRAY8"].map(|format| drawn(format, format));
    let plain = gray[0];
    assert!(gray.iter().filter(|&&sample| sample.abs_diff(plain) > 20).count() > 1000);
    for format in formats("retinafaceoverlay") {
        let info =
            gst_video::VideoFormatInfo::from_format(gst_video::VideoFormat::from_string(&format));
        let (read, expected, exact) = if info.is_rgb() {
            ("RGB", &rgb, 3)
        } else if info.is_gray() {
            ("GRAY8", &gray, 1)
        } else {
            ("v308", &yuv, 1)
        };
        let found = drawn(&format, read);
        let channels = if info.is_gray() { 1 } else { 3 };
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let (pixel, channel) = (i / channels, i % channels);
            let (x, y) = (pixel % FRAME.0, pixel / FRAME.0);
            let near = channel >= exact || found.abs_diff(*expected) <= 3;
            assert!(near, "{format} at {x},{y}: {found} for {expected}");
        }
        if !info.is_gray() {
            for (i, (found, expected)) in blocks(&found).iter().zip(blocks(expected)).enumerate() {
                let near = (0..3).all(|channel| (found[channel] - expected[channel]).abs() < 12.0);
                assert!(near, "{format}, block {i}: {found:?} for {expected:?}");
            }
        }
    }
}

/// The errors and warnings of an element to which these caps come, with a frame.
fn refused(element: &str, caps: &str) -> Vec<String> {
    common::init();
    let pipeline = gst::parse::launch(&format!("appsrc name=source ! {element} name=e ! fakesink"));
    let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
    let source = pipeline.by_name("source").and_downcast::<gst_app::AppSrc>().expect("an appsrc");
    source.set_caps(Some(&caps.parse().expect("caps")));
    let refuses = pipeline.by_name("e").expect("the element");
    let bus = pipeline.bus().expect("a bus");
    let mut said = Vec::new();
    // The pipeline can be used again, and says it again.
    for _ in 0..2 {
        pipeline.set_state(gst::State::Playing).expect("starts");
        source.push_buffer(gst::Buffer::from_mut_slice(vec![0; 16])).expect("a frame");
        let kinds = [gst::MessageType::Error, gst::MessageType::Eos];
        let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &kinds);
        let message = message.expect("an error");
        let gst::MessageView::Error(error) = message.view() else { panic!("{message:?}") };
        assert_eq!(error.src(), Some(refuses.upcast_ref()), "{error:?}");
        said.push(error.error().message().to_owned());
        pipeline.set_state(gst::State::Null).expect("NULL");
    }
    assert_eq!(said[0], said[1]);
    said
}

#[test]
fn errors_say_what_to_put_before() {
    for (caps, words) in [
        ("video/x-raw,format=v210,width=64,height=48,framerate=25/1", ["v210", "videoconvert"]),
        ("video/x-raw,format=RGB16,width=64,height=48,framerate=25/1", ["RGB16", "videoconvert"]),
        (
            "video/x-raw(memory:CUDAMemory),format=NV12,width=64,height=48,framerate=25/1",
            ["memory:CUDAMemory", "cudadownload"],
        ),
        (
            "video/x-raw(memory:Elsewhere),format=NV12,width=64,height=48,framerate=25/1",
            ["memory:Elsewhere", "system memory"],
        ),
        ("video/x-h264,stream-format=byte-stream", ["video/x-h264", "decodebin"]),
        (
            "video/x-raw,format=BGR,width=9000,height=48,framerate=25/1",
            ["not 9000×48:", "videoscale"],
        ),
    ] {
        for element in ["retinafacedetect", "retinafaceoverlay"] {
            let said = refused(element, caps);
            for word in words {
                assert!(said[0].contains(word), "{caps}: {said:?} without {word}");
            }
        }
    }
}

/// As sources do that choose among their formats.
#[test]
fn asking_for_other_formats_alone_is_a_warning() {
    common::init();
    let pipeline = gst::Pipeline::new();
    let element = gst::ElementFactory::make("retinafacedetect").build().expect("the element");
    pipeline.add(&element).expect("added");
    pipeline.set_state(gst::State::Ready).expect("READY");
    let pad = element.static_pad("sink").expect("a pad");
    let bus = pipeline.bus().expect("a bus");
    let ask = |caps: &str| {
        let caps: gst::Caps = caps.parse().expect("caps");
        pad.query_caps(Some(&caps));
        let warning = bus.pop_filtered(&[gst::MessageType::Warning, gst::MessageType::Error]);
        match warning.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Warning(warning)) => Some(warning.error().message().to_owned()),
            None => None,
            _ => panic!("{warning:?}"),
        }
    };
    assert_eq!(ask("video/x-raw,format={v210,NV12}"), None);
    assert_eq!(ask("video/x-raw(memory:CUDAMemory);video/x-raw"), None);
    let said = ask("video/x-raw,format={v210,RGB16}").expect("a warning");
    assert!(said.contains("v210") && said.contains("RGB16"), "{said}");
    assert!(said.contains("videoconvert"), "{said}");
    assert_eq!(ask("video/x-raw,format={v210,RGB16}"), None, "said before");
    // Elements try caps out that they do without where they are refused.
    assert!(
        !pad.query_accept_caps(
            &"video/x-raw,format=v210,width=64,height=48".parse().expect("caps")
        )
    );
    assert!(bus.pop_filtered(&[gst::MessageType::Warning, gst::MessageType::Error]).is_none());
    pipeline.set_state(gst::State::Null).expect("NULL");
}
