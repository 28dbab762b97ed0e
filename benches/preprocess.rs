// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frame to network input, per format: at its own size, and down to 640 pixels; upright, and turned.

use criterion::{Criterion, criterion_group, criterion_main};
use gst_video::{VideoFormat, VideoInfo};
use gstretinaface::{
    frame::{Frame, Layout, Plane, Window},
    orientation::Orientation,
    preprocess::{InputSizes, Normalisation, Preprocessor, ScaleMethod},
};

const FORMATS: [VideoFormat; 11] = [
    VideoFormat::Bgr,
    VideoFormat::Rgb,
    VideoFormat::Bgrx,
    VideoFormat::Argb,
    VideoFormat::Gray8,
    VideoFormat::Nv12,
    VideoFormat::I420,
    VideoFormat::Yuy2,
    VideoFormat::Y444,
    VideoFormat::P01010le,
    VideoFormat::I42010le,
];
/// Frame size, scale, orientation.
const CASES: [((u32, u32), f64, Orientation); 5] = [
    ((640, 480), 1.0, Orientation::Identity),
    ((640, 480), 0.4, Orientation::Identity),
    ((1920, 1080), 1.0, Orientation::Identity),
    ((640, 480), 1.0, Orientation::Rotate90),
    ((1920, 1080), 1.0, Orientation::Rotate90),
];

fn preprocess(criterion: &mut Criterion) {
    let normalisation = Normalisation { mean: [104.0, 117.0, 123.0], ..Normalisation::NONE };
    gst::init().expect("GStreamer");
    for (size, scale, orientation) in CASES {
        for method in [ScaleMethod::Nearest, ScaleMethod::Bilinear] {
            let placement = InputSizes::ANY.place(size, orientation, scale, 640, method);
            let target = placement.input;
            let name = format!(
                "{}x{} to {}x{}, {method:?}, {orientation:?}",
                size.0, size.1, target.0, target.1
            );
            let mut group = criterion.benchmark_group(name);
            for format in FORMATS {
                let info = VideoInfo::builder(format, size.0, size.1).build().expect("valid caps");
                let layout = Layout::try_from(&info).expect("a format of the pad template");
                let pixels: Vec<u8> = (0..info.size()).map(|i| (i * 7 % 251) as u8).collect();
                let mut planes = [Plane::default(); 3];
                for (i, plane) in planes.iter_mut().take(info.n_planes() as usize).enumerate() {
                    *plane = Plane {
                        data: &pixels[info.offset()[i]..],
                        stride: info.stride()[i] as usize,
                    };
                }
                let window = Window::whole(size.0, size.1);
                let frame = Frame::new(layout, window, planes).expect("enough bytes");
                let mut input = vec![0.0; 3 * target.0 as usize * target.1 as usize];
                let mut preprocessor =
                    Preprocessor::new(layout, window, placement, method, normalisation);
                group.bench_function(format!("{format:?}"), |bencher| {
                    bencher.iter(|| preprocessor.fill(&frame, &mut input));
                });
            }
        }
    }
}

criterion_group!(benches, preprocess);
criterion_main!(benches);
