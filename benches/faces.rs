// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is done with the faces of a frame of 1920×1080 pixels, five of 300×400 each: hiding them, and
//! cutting one out.

use criterion::{Criterion, criterion_group, criterion_main};
use gst_video::{VideoFormat, VideoInfo};
use gstretinaface::{
    alignment::{ARCFACE, Cropper, Picture, aligned},
    face::{Face, Landmarks},
    frame::Layout,
    geometry::{Point, Rect},
    gstreamer,
    hiding::{Hider, Mode, Shape},
    preprocess::ChannelOrder,
};

const FORMATS: [VideoFormat; 3] = [VideoFormat::I420, VideoFormat::Nv12, VideoFormat::Bgrx];

fn frame(format: VideoFormat) -> (gst::Buffer, VideoInfo, Layout) {
    gst::init().expect("GStreamer");
    let info = VideoInfo::builder(format, 1920, 1080).build().expect("valid caps");
    let layout = Layout::try_from(&info).expect("a format of the pad template");
    let pixels: Vec<u8> = (0..info.size()).map(|i| (i * 7 % 251) as u8).collect();
    (gst::Buffer::from_mut_slice(pixels), info, layout)
}

fn hiding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("five faces in 1920x1080");
    for format in FORMATS {
        for (name, mode) in
            [("blur", Mode::Blur(5)), ("pixelate", Mode::Pixelate(5)), ("fill", Mode::Fill([0; 3]))]
        {
            let (mut buffer, info, layout) = frame(format);
            let mut hider = Hider::default();
            group.bench_function(format!("{name}, {format:?}"), |bencher| {
                bencher.iter(|| {
                    let buffer = buffer.get_mut().expect("the only reference");
                    gstreamer::with_frame_mut(buffer, &info, layout, |mut frame| {
                        for face in 0..5u8 {
                            let left = 20.0 + 380.0 * f32::from(face);
                            let bounds = Rect::new(left, 300.0, left + 300.0, 700.0);
                            let bounds = bounds.expand(0.15);
                            hider.hide(&mut frame, &bounds, mode, Shape::Ellipse);
                        }
                    })
                    .expect("a frame");
                });
            });
        }
    }
}

fn cropping(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("a face of 1920x1080 to 112x112");
    for format in FORMATS {
        // As wide as ArcFace's picture, and several times as wide.
        for scale in [1.0f32, 4.0] {
            let (buffer, info, layout) = frame(format);
            let place = |p: Point| Point { x: 500.0 + scale * p.x, y: 300.0 + scale * p.y };
            let landmarks = Some(Landmarks(ARCFACE.0.map(place)));
            let map = aligned(&Face { landmarks, ..Face::default() }, 112, 1.0).expect("a place");
            let (mut cropper, mut data) = (Cropper::default(), vec![0; 3 * 112 * 112]);
            group.bench_function(format!("{format:?}, {scale} times"), |bencher| {
                bencher.iter(|| {
                    gstreamer::with_frame(&buffer, &info, layout, |frame| {
                        let data = data.as_mut_slice();
                        let (stride, size, order) = (3 * 112, 112, ChannelOrder::Rgb);
                        cropper.crop(frame, &map, &mut Picture { data, stride, size, order })
                    })
                    .expect("a frame");
                });
            });
        }
    }
}

criterion_group!(benches, hiding, cropping);
criterion_main!(benches);
