// SPDX-License-Identifier: MIT OR Apache-2.0

use proptest::prelude::*;

use super::{
    ChannelOrder, InputSizes, Normalisation, Pixels, Placement, Preprocessor, ScaleMethod,
    reference::{Meaning, Picture},
};
use crate::{
    frame::{Component, FrameError, Storage, Window},
    orientation::Orientation,
};

/// The kernels compute in f32. Up to the clamp they add and multiply at most ten times, values below
/// 1024 whose roundings are at most 2⁻¹⁵ each: less than 4e-4 together.
const TOLERANCE: f64 = 1e-3;

const BT601: (f64, f64) = (0.299, 0.114);
const BT709: (f64, f64) = (0.2126, 0.0722);

/// Kinds of formats, as to what their components mean.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Rgb,
    Gray,
    Yuv,
}

/// A component's plane, offset, step, horizontal and vertical shift.
type Place = (usize, usize, usize, u32, u32);

const fn rgb(red: usize, green: usize, blue: usize, step: usize) -> [Place; 3] {
    [(0, red, step, 0, 0), (0, green, step, 0, 0), (0, blue, step, 0, 0)]
}

const BYTE: Storage = Storage::Byte;
const LOW_10: Storage = word(10, 0);
const LOW_12: Storage = word(12, 0);
const HIGH_10: Storage = word(10, 6);
const FULL: Storage = word(16, 0);

const fn word(depth: u32, shift: u32) -> Storage {
    Storage::Word { depth, shift, big_endian: false }
}

/// The formats of the element, by GStreamer's description of them, where they differ for it. A format
/// with alpha has its colours where the one with padding, or without, has them.
#[rustfmt::skip]
const FORMATS: [(&str, Kind, Storage, [Place; 3]); 38] = [
    ("BGR", Kind::Rgb, BYTE, rgb(2, 1, 0, 3)),
    ("RGB", Kind::Rgb, BYTE, rgb(0, 1, 2, 3)),
    ("BGRx", Kind::Rgb, BYTE, rgb(2, 1, 0, 4)),
    ("RGBx", Kind::Rgb, BYTE, rgb(0, 1, 2, 4)),
    ("xBGR", Kind::Rgb, BYTE, rgb(3, 2, 1, 4)),
    ("xRGB", Kind::Rgb, BYTE, rgb(1, 2, 3, 4)),
    ("GBR", Kind::Rgb, BYTE, [(2, 0, 1, 0, 0), (0, 0, 1, 0, 0), (1, 0, 1, 0, 0)]),
    ("GRAY8", Kind::Gray, BYTE, [(0, 0, 1, 0, 0); 3]),
    ("NV12", Kind::Yuv, BYTE, [(0, 0, 1, 0, 0), (1, 0, 2, 1, 1), (1, 1, 2, 1, 1)]),
    ("NV21", Kind::Yuv, BYTE, [(0, 0, 1, 0, 0), (1, 1, 2, 1, 1), (1, 0, 2, 1, 1)]),
    ("I420", Kind::Yuv, BYTE, [(0, 0, 1, 0, 0), (1, 0, 1, 1, 1), (2, 0, 1, 1, 1)]),
    ("YV12", Kind::Yuv, BYTE, [(0, 0, 1, 0, 0), (2, 0, 1, 1, 1), (1, 0, 1, 1, 1)]),
    ("YUY2", Kind::Yuv, BYTE, [(0, 0, 2, 0, 0), (0, 1, 4, 1, 0), (0, 3, 4, 1, 0)]),
    ("UYVY", Kind::Yuv, BYTE, [(0, 1, 2, 0, 0), (0, 0, 4, 1, 0), (0, 2, 4, 1, 0)]),
    ("YVYU", Kind::Yuv, BYTE, [(0, 0, 2, 0, 0), (0, 3, 4, 1, 0), (0, 1, 4, 1, 0)]),
    ("Y42B", Kind::Yuv, BYTE, [(0, 0, 1, 0, 0), (1, 0, 1, 1, 0), (2, 0, 1, 1, 0)]),
    ("NV16", Kind::Yuv, BYTE, [(0, 0, 1, 0, 0), (1, 0, 2, 1, 0), (1, 1, 2, 1, 0)]),
    ("NV61", Kind::Yuv, BYTE, [(0, 0, 1, 0, 0), (1, 1, 2, 1, 0), (1, 0, 2, 1, 0)]),
    ("Y41B", Kind::Yuv, BYTE, [(0, 0, 1, 0, 0), (1, 0, 1, 2, 0), (2, 0, 1, 2, 0)]),
    ("Y444", Kind::Yuv, BYTE, [(0, 0, 1, 0, 0), (1, 0, 1, 0, 0), (2, 0, 1, 0, 0)]),
    ("NV24", Kind::Yuv, BYTE, [(0, 0, 1, 0, 0), (1, 0, 2, 0, 0), (1, 1, 2, 0, 0)]),
    ("AYUV", Kind::Yuv, BYTE, rgb(1, 2, 3, 4)),
    ("VUYA", Kind::Yuv, BYTE, rgb(2, 1, 0, 4)),
    ("v308", Kind::Yuv, BYTE, rgb(0, 1, 2, 3)),
    ("P010_10LE", Kind::Yuv, HIGH_10, [(0, 0, 2, 0, 0), (1, 0, 4, 1, 1), (1, 2, 4, 1, 1)]),
    ("P012_LE", Kind::Yuv, word(12, 4), [(0, 0, 2, 0, 0), (1, 0, 4, 1, 1), (1, 2, 4, 1, 1)]),
    ("P016_LE", Kind::Yuv, FULL, [(0, 0, 2, 0, 0), (1, 0, 4, 1, 1), (1, 2, 4, 1, 1)]),
    ("I420_10LE", Kind::Yuv, LOW_10, [(0, 0, 2, 0, 0), (1, 0, 2, 1, 1), (2, 0, 2, 1, 1)]),
    ("I422_10LE", Kind::Yuv, LOW_10, [(0, 0, 2, 0, 0), (1, 0, 2, 1, 0), (2, 0, 2, 1, 0)]),
    ("Y444_10LE", Kind::Yuv, LOW_10, [(0, 0, 2, 0, 0), (1, 0, 2, 0, 0), (2, 0, 2, 0, 0)]),
    ("GBR_10LE", Kind::Rgb, LOW_10, [(2, 0, 2, 0, 0), (0, 0, 2, 0, 0), (1, 0, 2, 0, 0)]),
    ("GRAY10_LE16", Kind::Gray, LOW_10, [(0, 0, 2, 0, 0); 3]),
    ("I420_12LE", Kind::Yuv, LOW_12, [(0, 0, 2, 0, 0), (1, 0, 2, 1, 1), (2, 0, 2, 1, 1)]),
    ("I422_12LE", Kind::Yuv, LOW_12, [(0, 0, 2, 0, 0), (1, 0, 2, 1, 0), (2, 0, 2, 1, 0)]),
    ("GRAY16_LE", Kind::Gray, FULL, [(0, 0, 2, 0, 0); 3]),
    ("GRAY16_BE", Kind::Gray, Storage::Word { depth: 16, shift: 0, big_endian: true }, [(0, 0, 2, 0, 0); 3]),
    ("ARGB64", Kind::Rgb, FULL, rgb(2, 4, 6, 8)),
    ("AYUV64", Kind::Yuv, FULL, rgb(2, 4, 6, 8)),
];

/// A component of bytes.
fn component(place: Place) -> Component {
    stored(Storage::Byte)(place)
}

fn stored(storage: Storage) -> impl Fn(Place) -> Component {
    move |(plane, offset, step, x_shift, y_shift)| Component {
        plane,
        offset,
        step,
        x_shift,
        y_shift,
        storage,
    }
}

fn meaning(kind: Kind, (kr, kb): (f64, f64), full_range: bool) -> Meaning {
    match kind {
        Kind::Rgb => Meaning::Rgb,
        Kind::Gray => Meaning::Gray { full_range },
        Kind::Yuv => Meaning::Yuv { kr, kb, full_range },
    }
}

/// Bytes without a pattern, of which 0 and 255 are one in eight.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let byte = || {
        // Xorshift, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let byte = (state >> 24) as u8;
        match state >> 40 & 15 {
            0 => 0,
            1 => 255,
            _ => byte,
        }
    };
    std::iter::repeat_with(byte).take(len).collect()
}

/// A picture whose rows are `padding` bytes apart, or overlap, and whose planes hold their last sample
/// and `extra` bytes more, or as many less.
fn picture(
    components: [Component; 3],
    meaning: Meaning,
    window: Window,
    padding: [isize; 3],
    extra: [isize; 3],
    seed: u64,
) -> Picture {
    let size = window.extent();
    let planes = [0, 1, 2].map(|plane| {
        let of_plane = || components.iter().filter(move |c| c.plane == plane);
        let row = |c: &Component| {
            let bytes = if c.storage == Storage::Byte { 1 } else { 2 };
            c.offset + ((size.0 as usize - 1) >> c.x_shift) * c.step + bytes
        };
        let stride = of_plane().map(row).max().unwrap_or(0).saturating_add_signed(padding[plane]);
        let last = |c: &Component| ((size.1 as usize - 1) >> c.y_shift) * stride + row(c);
        let len = of_plane().map(last).max().unwrap_or(0);
        (noise(seed + plane as u64, len.saturating_add_signed(extra[plane])), stride)
    });
    Picture { components, meaning, window, planes }
}

/// Half of them whole pictures.
fn window() -> impl Strategy<Value = Window> {
    let origin = prop_oneof![Just((0, 0)), (0u32..9, 0u32..9)];
    (origin, 1u32..=70, 1u32..=70).prop_map(|((x, y), width, height)| Window {
        x,
        y,
        width,
        height,
    })
}

fn standard() -> impl Strategy<Value = ((f64, f64), bool)> {
    (prop::sample::select(vec![BT601, BT709]), any::<bool>())
}

/// A picture in one of the element's formats.
fn of_a_format(extra: std::ops::Range<isize>) -> impl Strategy<Value = Picture> {
    (
        prop::sample::select(FORMATS.to_vec()),
        standard(),
        window(),
        prop::array::uniform3(0isize..9),
        prop::array::uniform3(extra),
        any::<u32>(),
    )
        .prop_map(
            |((_, kind, storage, places), (weights, full), window, padding, extra, seed)| {
                let meaning = meaning(kind, weights, full);
                picture(places.map(stored(storage)), meaning, window, padding, extra, seed.into())
            },
        )
}

/// A picture in a format that nobody has.
fn of_any_layout(extra: std::ops::Range<isize>) -> impl Strategy<Value = Picture> {
    let place = (0usize..3, 0usize..6, 1usize..=4, 0u32..=2, 0u32..=1);
    let storage = prop::sample::select(vec![BYTE, LOW_10, HIGH_10, FULL]);
    let component = (place, storage).prop_map(|(place, storage)| {
        let component = stored(storage)(place);
        // What has no byte of its own adjoins.
        if component.high_byte().is_none() { Component { step: 2, ..component } } else { component }
    });
    let kind = prop::sample::select(vec![Kind::Rgb, Kind::Gray, Kind::Yuv]);
    (
        prop::array::uniform3(component),
        (kind, standard()),
        window(),
        prop::array::uniform3(-80isize..9),
        prop::array::uniform3(extra),
        any::<u32>(),
    )
        .prop_map(|(mut components, (kind, (weights, full)), window, padding, extra, seed)| {
            if let Kind::Gray = kind {
                components = [components[0]; 3];
            }
            let meaning = meaning(kind, weights, full);
            picture(components, meaning, window, padding, extra, seed.into())
        })
}

/// How a picture is to be put into an input, whatever its size: an orientation, the size to resize to,
/// and in which directions that is the picture's own; padding to the right and below.
type Wanted = (Orientation, (u32, u32), (bool, bool), (u32, u32));

fn wanted() -> impl Strategy<Value = Wanted> {
    (
        prop::sample::select(Orientation::ALL.to_vec()),
        (1u32..=70, 1u32..=70),
        any::<(bool, bool)>(),
        prop_oneof![Just((0, 0)), (0u32..20, 0u32..20)],
    )
}

fn placement(window: &Window, (orientation, other, kept, free): Wanted) -> Placement {
    let own = orientation.turn((window.width, window.height));
    let picture = (if kept.0 { own.0 } else { other.0 }, if kept.1 { own.1 } else { other.1 });
    Placement { orientation, picture, input: (picture.0 + free.0, picture.1 + free.1), scale: None }
}

fn method() -> impl Strategy<Value = ScaleMethod> {
    prop::sample::select(vec![ScaleMethod::Nearest, ScaleMethod::Bilinear])
}

fn normalisation() -> impl Strategy<Value = Normalisation> {
    let order = prop::sample::select(vec![ChannelOrder::Bgr, ChannelOrder::Rgb]);
    let scale = prop_oneof![Just(1.0f32), 0.001f32..1.0];
    let values = || prop::array::uniform3(0f32..255.0);
    (values(), scale, order, values()).prop_map(|(mean, scale, order, padding)| Normalisation {
        mean,
        scale,
        order,
        padding,
    })
}

/// What [`Preprocessor::fill`] writes.
fn filled(
    picture: &Picture,
    placement: Placement,
    method: ScaleMethod,
    normalisation: Normalisation,
) -> Vec<f32> {
    let mut preprocessor =
        Preprocessor::new(picture.layout(), picture.window, placement, method, normalisation);
    let mut input = vec![f32::NAN; 3 * (placement.input.0 * placement.input.1) as usize];
    preprocessor.fill(&picture.frame().unwrap(), &mut input);
    input
}

const PADDING: [u8; 3] = [104, 117, 123];

/// Whether `fill` and `fill_pixels` write what the reference computes.
fn check(
    picture: &Picture,
    placement: Placement,
    method: ScaleMethod,
    normalisation: Normalisation,
) -> Result<(), TestCaseError> {
    let input = filled(picture, placement, method, normalisation);
    let expected = picture.input(&placement, method, normalisation);
    prop_assert_eq!(input.len(), expected.len());
    for (i, (&value, expected)) in input.iter().zip(&expected).enumerate() {
        prop_assert!((f64::from(value) - expected).abs() < TOLERANCE, "{i}: {value}, {expected}");
    }

    let source = (picture.window.width, picture.window.height);
    let Pixels { size, channels, order, .. } =
        Pixels::least(&picture.layout(), source, &placement, method);
    let placement = if size == placement.input {
        placement
    } else {
        Placement { picture: size, input: size, ..placement }
    };
    let mut pixels = vec![1; (size.0 * size.1) as usize * channels];
    let mut preprocessor =
        Preprocessor::new(picture.layout(), picture.window, placement, method, Normalisation::NONE);
    preprocessor.fill_pixels(&picture.frame().unwrap(), &mut pixels, PADDING);
    let resized = picture.resized(placement.orientation, placement.picture, method);
    for (i, pixel) in pixels.chunks_exact(channels).enumerate() {
        let (x, y) = (i as u32 % size.0, i as u32 / size.0);
        let (width, height) = placement.picture;
        let expected = if x < width && y < height {
            resized[(y * width + x) as usize]
        } else {
            PADDING.map(f64::from)
        };
        for (at, expected) in order.into_iter().zip(expected) {
            // The nearest byte, either of two where the value is halfway.
            let error = (f64::from(pixel[at]) - expected).abs();
            prop_assert!(error < 0.5 + TOLERANCE, "{i}: {} of {pixel:?}, {expected}", pixel[at]);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn formats_equal_the_reference(
        picture in of_a_format(0..9),
        wanted in wanted(),
        method in method(),
        normalisation in normalisation(),
    ) {
        check(&picture, placement(&picture.window, wanted), method, normalisation)?;
    }

    /// No layout leads out of the planes, and no other reason makes a frame invalid.
    #[test]
    fn a_frame_is_valid_when_every_sample_is_inside(
        picture in of_any_layout(-3..3),
        wanted in wanted(),
        method in method(),
        normalisation in normalisation(),
    ) {
        match picture.frame() {
            Ok(_) => {
                prop_assert!(picture.is_complete());
                check(&picture, placement(&picture.window, wanted), method, normalisation)?;
            }
            Err(error) => {
                prop_assert!(!picture.is_complete());
                let truncated = matches!(error, FrameError::Truncated { .. });
                prop_assert!(truncated, "{}", error);
            }
        }
    }
}

/// Every format alone, at sizes that are odd, one, or long enough for each path of the kernels.
#[test]
fn every_format_equals_the_reference() {
    let sizes = [((1, 1), (1, 1)), ((1, 1), (3, 2)), ((7, 5), (7, 5)), ((300, 3), (141, 3))];
    let normalisation = Normalisation {
        mean: [104.0, 117.0, 123.0],
        scale: 0.5,
        order: ChannelOrder::Rgb,
        padding: [0.0; 3],
    };
    for (name, kind, storage, places) in FORMATS {
        for (size, target) in sizes {
            for method in [ScaleMethod::Nearest, ScaleMethod::Bilinear] {
                let meaning = meaning(kind, BT601, false);
                let window = Window::whole(size.0, size.1);
                let picture =
                    picture(places.map(stored(storage)), meaning, window, [0; 3], [0; 3], 1);
                for orientation in Orientation::ALL {
                    let target = orientation.turn(target);
                    let placement = Placement { orientation, ..Placement::whole(target) };
                    check(&picture, placement, method, normalisation)
                        .unwrap_or_else(|error| panic!("{name} {size:?} to {target:?}: {error}"));
                }
            }
        }
    }
}

/// The output of a gray row.
fn resized_row(row: &[u8], target: u32, method: ScaleMethod) -> Vec<f32> {
    let picture = Picture {
        components: [component((0, 0, 1, 0, 0)); 3],
        meaning: Meaning::Gray { full_range: true },
        window: Window::whole(row.len() as u32, 1),
        planes: [(row.to_vec(), row.len()), (Vec::new(), 0), (Vec::new(), 0)],
    };
    let mut input = filled(&picture, Placement::whole((target, 1)), method, Normalisation::NONE);
    input.truncate(target as usize);
    input
}

/// floor(x · source / target): 0, 5/3, 10/3 and 0, 3/5, 6/5, 9/5, 12/5.
#[test]
fn nearest_takes_the_pixel_at_the_floor() {
    assert_eq!(resized_row(&[10, 20, 30, 40, 50], 3, ScaleMethod::Nearest), [10.0, 20.0, 40.0]);
    let wider = resized_row(&[10, 20, 30], 5, ScaleMethod::Nearest);
    assert_eq!(wider, [10.0, 10.0, 20.0, 20.0, 30.0]);
}

/// As `cv2.resize(…, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_NEAREST)`: 9 · 0.4 = 3.6 pixels are 4,
/// and pixel x is floor(x / 0.4), 0, 2.5, 5 and 7.5; 9/4 · x would be 0, 2.25, 4.5 and 6.75.
#[test]
fn nearest_goes_by_the_scale_and_not_by_the_rounded_size() {
    let row = [0, 10, 20, 30, 40, 50, 60, 70, 80];
    let picture = Picture {
        components: [component((0, 0, 1, 0, 0)); 3],
        meaning: Meaning::Gray { full_range: true },
        window: Window::whole(9, 9),
        planes: [(row.repeat(9), 9), (Vec::new(), 0), (Vec::new(), 0)],
    };
    let sizes = InputSizes { multiple: 8, ..InputSizes::ANY };
    let find = |orientation, method| {
        let placement = sizes.place((9, 9), orientation, 0.4, 0, method);
        assert_eq!((placement.picture, placement.input), ((4, 4), (8, 8)));
        let ratio = if method == ScaleMethod::Nearest { 2.5 } else { 2.25 };
        assert_eq!(placement.ratio((9, 9)), (ratio, ratio));
        filled(&picture, placement, method, Normalisation::NONE)[..4].to_vec()
    };
    assert_eq!(find(Orientation::Identity, ScaleMethod::Nearest), [0.0, 20.0, 50.0, 70.0]);
    assert_eq!(find(Orientation::FlipHorizontal, ScaleMethod::Nearest), [80.0, 60.0, 30.0, 10.0]);
    // 2.25 · (x + 1/2) − 1/2
    let between = find(Orientation::Identity, ScaleMethod::Bilinear);
    assert_eq!(between, [6.25, 28.75, 51.25, 73.75]);
}

/// The position is (x + 1/2) · source / target − 1/2. 4 to 2: 0.5 and 2.5. 2 to 4: −0.25 and 1.25,
/// which the edges cut off, 0.25 and 0.75 between.
#[test]
fn bilinear_aligns_pixel_centres() {
    assert_eq!(resized_row(&[0, 100, 40, 80], 2, ScaleMethod::Bilinear), [50.0, 60.0]);
    let wider = resized_row(&[0, 100], 4, ScaleMethod::Bilinear);
    assert_eq!(wider, [0.0, 25.0, 75.0, 100.0]);
}

/// Red, green and blue of a pixel in a YUV format.
fn converted(yuv: [u8; 3], weights: (f64, f64), full_range: bool) -> [f32; 3] {
    let picture = Picture {
        components: [0, 1, 2].map(|plane| component((plane, 0, 1, 0, 0))),
        meaning: meaning(Kind::Yuv, weights, full_range),
        window: Window::whole(1, 1),
        planes: yuv.map(|sample| (vec![sample], 1)),
    };
    let order = ChannelOrder::Rgb;
    let input = filled(
        &picture,
        Placement::whole((1, 1)),
        ScaleMethod::Bilinear,
        Normalisation { order, ..Normalisation::NONE },
    );
    [input[0], input[1], input[2]]
}

/// Pure colours in Y, Cb and Cr of limited range, as the standards' matrices give them rounded to 8
/// bits: Y = 16 + 219·E'Y, Cb = 128 + 224·E'Cb. Rounding Y, Cb and Cr by half a step moves a colour by
/// 0.5 · 1.164 + 0.5 · (0.391 + 0.813) at most for green, 0.5 · 1.164 + 0.5 · 2.112 for blue: less than
/// 1.7.
#[test]
fn pure_colours_of_the_standards() {
    #[rustfmt::skip]
    let colours = [
        // BT.601: Y = 0.299 R + 0.587 G + 0.114 B
        (BT601, [81, 90, 240], [255.0, 0.0, 0.0]),
        (BT601, [145, 54, 34], [0.0, 255.0, 0.0]),
        (BT601, [41, 240, 110], [0.0, 0.0, 255.0]),
        // BT.709: Y = 0.2126 R + 0.7152 G + 0.0722 B
        (BT709, [63, 102, 240], [255.0, 0.0, 0.0]),
        (BT709, [173, 42, 26], [0.0, 255.0, 0.0]),
        (BT709, [32, 240, 118], [0.0, 0.0, 255.0]),
        // White, half of it and black have no chroma: 16 + 219 · 128 / 255 = 125.9.
        (BT601, [235, 128, 128], [255.0; 3]),
        (BT601, [126, 128, 128], [128.0; 3]),
        (BT709, [235, 128, 128], [255.0; 3]),
        (BT709, [126, 128, 128], [128.0; 3]),
        (BT709, [16, 128, 128], [0.0; 3]),
    ];
    for (weights, yuv, expected) in colours {
        let found = converted(yuv, weights, false);
        let near =
            found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1.7);
        assert!(near, "{yuv:?} of Kr, Kb {weights:?}: {found:?}, not {expected:?}");
    }
    // Full range is JPEG's (JFIF 1.02): red is Y 76.2, Cb 85.0, Cr 255.5.
    let [red, green, blue] = converted([76, 85, 255], BT601, true);
    assert!(red > 253.0 && green < 1.7 && blue < 1.7, "{red} {green} {blue}");
    assert_eq!(converted([0, 128, 128], BT601, true), [0.0; 3]);
}

/// A pixel of 10, 20 and 30: (30 − 3) / 2, (20 − 2) / 2 and (10 − 1) / 2, red first.
#[test]
fn normalisation_subtracts_then_scales() {
    let picture = Picture {
        components: rgb(2, 1, 0, 3).map(component),
        meaning: Meaning::Rgb,
        window: Window::whole(1, 1),
        planes: [(vec![10, 20, 30], 3), (Vec::new(), 0), (Vec::new(), 0)],
    };
    let mut normalisation = Normalisation {
        mean: [1.0, 2.0, 3.0],
        scale: 0.5,
        order: ChannelOrder::Rgb,
        padding: [0.0; 3],
    };
    let size = Placement::whole((1, 1));
    assert_eq!(filled(&picture, size, ScaleMethod::Bilinear, normalisation), [13.5, 9.0, 4.5]);
    normalisation.order = ChannelOrder::Bgr;
    assert_eq!(filled(&picture, size, ScaleMethod::Bilinear, normalisation), [4.5, 9.0, 13.5]);
}

/// Pixels of the size (4, 3), in `places`, towards `target`: their size, channels and order.
fn least(kind: Kind, places: [Place; 3], target: (u32, u32)) -> ((u32, u32), usize, [usize; 3]) {
    let window = Window::whole(4, 3);
    let meaning = meaning(kind, BT601, false);
    let picture = picture(places.map(component), meaning, window, [0; 3], [0; 3], 1);
    let placement = Placement::whole(target);
    let pixels = Pixels::least(&picture.layout(), (4, 3), &placement, ScaleMethod::Nearest);
    // One form where nothing is left to resize.
    let left = if pixels.size == target { ScaleMethod::default() } else { ScaleMethod::Nearest };
    assert_eq!(pixels.method, left);
    (pixels.size, pixels.channels, pixels.order)
}

#[test]
fn the_fewest_pixels_that_hold_the_frame() {
    // The frame's own bytes while the network's input is not smaller. Blue, green, red stand at:
    for target in [(4, 3), (8, 6), (6, 2)] {
        assert_eq!(least(Kind::Rgb, rgb(2, 1, 0, 3), target), ((4, 3), 3, [0, 1, 2]));
        assert_eq!(least(Kind::Rgb, rgb(0, 1, 2, 4), target), ((4, 3), 4, [2, 1, 0]));
        assert_eq!(least(Kind::Rgb, rgb(3, 2, 1, 4), target), ((4, 3), 4, [1, 2, 3]));
        assert_eq!(least(Kind::Rgb, rgb(1, 2, 3, 4), target), ((4, 3), 4, [3, 2, 1]));
    }
    // Resized here where that is less.
    assert_eq!(least(Kind::Rgb, rgb(0, 1, 2, 4), (11, 1)), ((11, 1), 3, [0, 1, 2]));
    // Converted here where three bytes are not the colours of a pixel.
    let converted = ((4, 3), 3, [0, 1, 2]);
    for (places, why) in [
        ([(0, 0, 4, 0, 0), (0, 2, 4, 0, 0), (0, 3, 4, 0, 0)], "a gap"),
        ([(0, 0, 4, 0, 0), (0, 1, 4, 0, 0), (0, 3, 4, 0, 0)], "a gap"),
        ([(0, 3, 4, 0, 0), (0, 1, 4, 0, 0), (0, 0, 4, 0, 0)], "a gap"),
        ([(0, 3, 4, 0, 0), (0, 2, 4, 0, 0), (0, 0, 4, 0, 0)], "a gap"),
        ([(0, 0, 3, 0, 0), (0, 2, 3, 0, 0), (0, 1, 3, 0, 0)], "another order"),
        ([(0, 0, 3, 0, 0), (1, 1, 3, 0, 0), (1, 2, 3, 0, 0)], "another plane"),
        ([(0, 0, 3, 0, 0), (0, 1, 3, 0, 0), (1, 2, 3, 0, 0)], "another plane"),
        ([(0, 0, 3, 0, 0), (0, 1, 3, 0, 0), (0, 2, 4, 0, 0)], "another step"),
        ([(0, 0, 3, 0, 0), (0, 1, 3, 1, 0), (0, 2, 3, 0, 0)], "fewer columns"),
        ([(0, 0, 3, 0, 0), (0, 1, 3, 0, 0), (0, 2, 3, 0, 1)], "fewer rows"),
        ([(0, 1, 3, 0, 0), (0, 2, 3, 0, 0), (0, 3, 3, 0, 0)], "more than a pixel"),
        ([(0, 4, 4, 0, 0), (0, 3, 4, 0, 0), (0, 2, 4, 0, 0)], "more than a pixel"),
    ] {
        assert_eq!(least(Kind::Rgb, places, (4, 3)), converted, "{why}");
    }
    assert_eq!(least(Kind::Yuv, rgb(0, 1, 2, 3), (4, 3)), converted, "no colours");
}

/// Turned or beside padding, the frame's own bytes are not the input.
#[test]
fn pixels_are_resized_here_where_the_frame_is_not_the_input() {
    let window = Window::whole(4, 3);
    let bgr = picture(rgb(2, 1, 0, 4).map(component), Meaning::Rgb, window, [0; 3], [0; 3], 1);
    let least = |placement: &Placement| {
        let Pixels { size, channels, .. } =
            Pixels::least(&bgr.layout(), (4, 3), placement, ScaleMethod::Bilinear);
        (size, channels)
    };
    let whole = Placement::whole((8, 6));
    assert_eq!(least(&whole), ((4, 3), 4));
    assert_eq!(least(&Placement { orientation: Orientation::Rotate180, ..whole }), ((4, 3), 3));
    let turned = Placement { orientation: Orientation::Rotate90, ..Placement::whole((6, 8)) };
    assert_eq!(least(&turned), ((3, 4), 3));
    assert_eq!(least(&Placement { picture: (8, 5), ..whole }), ((8, 6), 3));
}

#[test]
fn a_preprocessor_fits_only_what_it_was_made_for() {
    let picture = |places: [Place; 3], window| {
        picture(places.map(component), Meaning::Rgb, window, [0; 3], [0; 3], 1)
    };
    let window = Window::whole(4, 3);
    let bgr = picture(rgb(2, 1, 0, 3), window);
    let (nearest, none) = (ScaleMethod::Nearest, Normalisation::NONE);
    let placement = Placement::whole((2, 2));
    let preprocessor = Preprocessor::new(bgr.layout(), window, placement, nearest, none);
    let fits = |picture: &Picture, placement: &Placement, method, normalisation| {
        preprocessor.fits(&picture.frame().unwrap(), placement, method, normalisation)
    };
    assert!(fits(&bgr, &placement, nearest, none));
    assert!(!fits(&bgr, &Placement { input: (2, 3), ..placement }, nearest, none));
    let turned = Placement { orientation: Orientation::Rotate180, ..placement };
    assert!(!fits(&bgr, &turned, nearest, none));
    assert!(!fits(&bgr, &placement, ScaleMethod::Bilinear, none));
    assert!(!fits(&bgr, &placement, nearest, Normalisation { scale: 2.0, ..none }));
    assert!(!fits(&picture(rgb(0, 1, 2, 3), window), &placement, nearest, none));
    let others =
        [Window { height: 2, ..window }, Window { width: 5, ..window }, Window { x: 1, ..window }];
    for other in others {
        assert!(!fits(&picture(rgb(2, 1, 0, 3), other), &placement, nearest, none), "{other:?}");
    }
}

#[test]
#[should_panic(expected = "made for other frames")]
fn a_frame_of_another_size_is_a_fault_of_the_caller() {
    let picture = |width, height| {
        let window = Window::whole(width, height);
        picture(rgb(0, 1, 2, 3).map(component), Meaning::Rgb, window, [0; 3], [0; 3], 1)
    };
    let mut preprocessor = Preprocessor::new(
        picture(4, 3).layout(),
        Window::whole(4, 3),
        Placement::whole((1, 1)),
        ScaleMethod::Nearest,
        Normalisation::NONE,
    );
    preprocessor.fill_pixels(&picture(4, 2).frame().unwrap(), &mut [0; 3], PADDING);
}
