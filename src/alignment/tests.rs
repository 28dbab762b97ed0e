// SPDX-License-Identifier: MIT OR Apache-2.0

use proptest::prelude::*;

use super::{quality::sharpness, *};
use crate::{
    face::{Face, Landmarks},
    frame::{Colour, Component, Frame, Layout, Plane, Window},
    geometry::{Point, Rect},
    preprocess::ChannelOrder,
};

fn points<const N: usize>(points: [(f32, f32); N]) -> [Point; N] {
    points.map(|(x, y)| Point { x, y })
}

fn aligned_face(landmarks: Landmarks) -> Face {
    Face { landmarks: Some(landmarks), ..Face::default() }
}

#[track_caller]
fn assert_near(found: Point, (x, y): (f32, f32)) {
    assert!((found.x - x).abs() < 1e-3 && (found.y - y).abs() < 1e-3, "{found:?}, not {x}, {y}");
}

#[test]
fn maps_follow_each_other_and_have_inverses() {
    // Turned to the right by 90°, twice as large, moved by (10, 20).
    let map = Affine { x: [0.0, -2.0, 10.0], y: [2.0, 0.0, 20.0] };
    assert_eq!(map.map(3.0, 4.0), (2.0, 26.0));
    assert_eq!(map.steps(), (2.0, 2.0));
    let inverse = map.inverse().unwrap();
    assert_eq!(inverse.map(2.0, 26.0), (3.0, 4.0));
    let twice = map.then(&Affine::scale_and_move((0.5, 10.0), (1.0, -1.0)));
    assert_eq!(twice.map(3.0, 4.0), (2.0, 259.0));
    assert_eq!(Affine::scale_and_move((0.0, 1.0), (1.0, 1.0)).inverse(), None);
    assert_eq!(Affine::scale_and_move((f64::NAN, 1.0), (1.0, 1.0)).inverse(), None);
}

/// Turned to the right by 90°, twice as large, moved by (10, 20).
#[test]
fn similarities_are_found_exactly() {
    let from = points([(0.0, 0.0), (3.0, 1.0), (-2.0, 5.0)]);
    let to = points([(10.0, 20.0), (8.0, 26.0), (0.0, 16.0)]);
    let found = Affine::similarity(&from, &to).unwrap();
    for (from, to) in from.into_iter().zip(to) {
        assert_near(found.apply(from), (to.x, to.y));
    }
    assert_near(found.apply(Point { x: 3.0, y: 4.0 }), (2.0, 26.0));
}

#[test]
fn points_in_one_place_have_no_similarity() {
    let apart = points([(0.0, 0.0), (3.0, 1.0)]);
    let together = points([(2.0, 2.0), (2.0, 2.0)]);
    assert_eq!(Affine::similarity(&together, &apart), None);
    assert_eq!(Affine::similarity(&apart, &together), None);
    let endless = points([(0.0, f32::NAN), (3.0, 1.0)]);
    assert_eq!(Affine::similarity(&endless, &apart), None);
}

proptest! {
    /// Each of a similarity's four numbers changed a little makes the squares larger.
    #[test]
    fn no_other_similarity_is_nearer(
        from in prop::array::uniform5((0f32..100.0, 0f32..100.0)),
        to in prop::array::uniform5((0f32..100.0, 0f32..100.0)),
    ) {
        let (from, to) = (points(from), points(to));
        let Some(best) = Affine::similarity(&from, &to) else { return Ok(()) };
        let squares = |map: &Affine| -> f64 {
            from.iter().zip(&to).map(|(from, to)| {
                let (x, y) = map.map(from.x.into(), from.y.into());
                (x - f64::from(to.x)).powi(2) + (y - f64::from(to.y)).powi(2)
            }).sum()
        };
        let least = squares(&best) - 1e-6;
        for step in [1e-3, -1e-3] {
            let mut others = [best; 4];
            (others[0].x[0], others[0].y[1]) = (best.x[0] + step, best.y[1] + step);
            (others[1].x[1], others[1].y[0]) = (best.x[1] - step, best.y[0] + step);
            others[2].x[2] += step;
            others[3].y[2] += step;
            for other in &others {
                prop_assert!(squares(other) >= least, "{other:?} instead of {best:?}");
            }
        }
    }
}

#[test]
fn landmarks_come_to_those_of_arcface_scaled() {
    for size in [112, 224, 96] {
        let map = aligned(&aligned_face(ARCFACE), size, 1.0).unwrap();
        let scale = size as f32 / 112.0;
        for point in ARCFACE.0 {
            assert_near(map.apply(point), (point.x * scale, point.y * scale));
        }
    }
}

/// Pixels that are twice as wide as high: the face is stored half as wide as it is.
#[test]
fn pixels_that_are_not_square_are_stretched() {
    let narrow = Landmarks(ARCFACE.0.map(|Point { x, y }| Point { x: x / 2.0, y }));
    let map = aligned(&aligned_face(narrow), 112, 2.0).unwrap();
    for (from, to) in narrow.0.into_iter().zip(ARCFACE.0) {
        assert_near(map.apply(from), (to.x, to.y));
    }
    // 20 pixels across are as long as 40 down.
    let face = Face { bounds: Rect::new(10.0, 20.0, 30.0, 60.0), ..Face::default() };
    let map = boxed(&face, 80, 0.0, 2.0).unwrap();
    assert_near(map.apply(Point { x: 9.5, y: 19.5 }), (-0.5, -0.5));
    assert_near(map.apply(Point { x: 29.5, y: 59.5 }), (79.5, 79.5));
}

/// 20×40 pixels become 30×60 with a quarter on each side, and 60×60 as a square around (20, 40), which
/// is the edge between two pixels.
#[test]
fn boxes_have_margins_and_are_square() {
    let face = Face { bounds: Rect::new(10.0, 20.0, 30.0, 60.0), ..Face::default() };
    let map = boxed(&face, 60, 0.25, 1.0).unwrap();
    // Edges: of the square and of the picture, half a pixel before the first middle.
    assert_near(map.apply(Point { x: -10.5, y: 9.5 }), (-0.5, -0.5));
    assert_near(map.apply(Point { x: 49.5, y: 69.5 }), (59.5, 59.5));
    let map = boxed(&face, 120, 0.25, 1.0).unwrap();
    assert_near(map.apply(Point { x: -10.5, y: 9.5 }), (-0.5, -0.5));
    assert_near(map.apply(Point { x: 49.5, y: 69.5 }), (119.5, 119.5));
}

#[test]
fn faces_that_cannot_be_placed_are_errors() {
    let face = |bounds, landmarks| Face { bounds, landmarks, ..Face::default() };
    let bounds = Rect::new(10.0, 20.0, 30.0, 60.0);
    assert_eq!(aligned(&face(bounds, None), 112, 1.0), Err(PlaceError::NoLandmarks));
    let together = Landmarks([Point { x: 3.0, y: 4.0 }; 5]);
    assert_eq!(aligned(&aligned_face(together), 112, 1.0), Err(PlaceError::Landmarks));
    for bounds in [
        Rect::new(10.0, 20.0, 10.0, 60.0),
        Rect::new(10.0, 20.0, 5.0, 60.0),
        Rect::new(10.0, f32::NAN, 30.0, 60.0),
        Rect::new(10.0, 20.0, f32::INFINITY, 60.0),
    ] {
        assert_eq!(
            boxed(&face(bounds, None), 112, 0.0, 1.0),
            Err(PlaceError::Bounds),
            "{bounds:?}"
        );
    }
}

const WIDTH: usize = 16;
const HEIGHT: usize = 12;

/// Packed pixels, with red, green and blue at these bytes of each.
fn packed(data: &[u8], channels: usize, rgb: [usize; 3]) -> Frame<'_> {
    let component = |offset| Component { offset, step: channels, ..Component::default() };
    let layout = Layout { components: rgb.map(component), colour: Colour::Rgb };
    let plane = Plane { data, stride: channels * WIDTH };
    let window = Window::whole(WIDTH as u32, HEIGHT as u32);
    Frame::new(layout, window, [plane, Plane::default(), Plane::default()]).unwrap()
}

/// A different value for each sample of each pixel.
fn value(x: usize, y: usize, channel: usize) -> u8 {
    (x * 3 + y * 50 + channel * 7) as u8
}

fn crop(
    frame: &Frame,
    map: &Affine,
    size: usize,
    order: ChannelOrder,
) -> (Vec<u8>, Option<Sampled>) {
    let stride = 3 * size + 1;
    let mut data = vec![77; stride * size];
    let mut picture = Picture { data: &mut data, stride, size, order };
    let sampled = Cropper::default().crop(frame, map, &mut picture);
    let rows = data.chunks(stride).flat_map(|row| row[..3 * size].to_vec());
    (rows.collect(), sampled)
}

#[test]
fn pixels_that_are_only_moved_stay_the_same() {
    // From (5, 4) on.
    let map = Affine::scale_and_move((1.0, 1.0), (-5.0, -4.0));
    for (channels, rgb) in [(3, [0, 1, 2]), (3, [2, 1, 0]), (4, [1, 2, 3]), (4, [2, 1, 0])] {
        let mut data = vec![0; channels * WIDTH * HEIGHT];
        for (index, pixel) in data.chunks_exact_mut(channels).enumerate() {
            for (channel, at) in rgb.into_iter().enumerate() {
                pixel[at] = value(index % WIDTH, index / WIDTH, channel);
            }
        }
        let frame = packed(&data, channels, rgb);
        for (order, first) in [(ChannelOrder::Rgb, 0), (ChannelOrder::Bgr, 2)] {
            let (found, sampled) = crop(&frame, &map, 4, order);
            assert_eq!(sampled.unwrap().size, 1.0);
            for (index, pixel) in found.chunks_exact(3).enumerate() {
                let expected = [0, 1, 2]
                    .map(|c: usize| value(5 + index % 4, 4 + index / 4, c.abs_diff(first)));
                assert_eq!(pixel, expected, "pixel {index} of {channels}, {rgb:?}");
            }
        }
    }
}

#[test]
fn pixels_are_between_the_four_around_them() {
    let data: Vec<u8> = (0..WIDTH * HEIGHT)
        .flat_map(|i| [(10 * (i % WIDTH)) as u8, (i / WIDTH) as u8 * 20, 9])
        .collect();
    let frame = packed(&data, 3, [0, 1, 2]);
    let map = Affine::scale_and_move((1.0, 1.0), (-5.3, -4.25));
    let (found, _) = crop(&frame, &map, 2, ChannelOrder::Rgb);
    assert_eq!(found, [53, 85, 9, 63, 85, 9, 53, 105, 9, 63, 105, 9]);
}

#[test]
fn what_is_outside_of_the_frame_is_black() {
    let data = vec![200; 3 * WIDTH * HEIGHT];
    let frame = packed(&data, 3, [0, 1, 2]);
    // Two columns to the left and one row above.
    let (found, sampled) =
        crop(&frame, &Affine::scale_and_move((1.0, 1.0), (2.0, 1.0)), 4, ChannelOrder::Rgb);
    for (index, pixel) in found.chunks_exact(3).enumerate() {
        let inside = index % 4 >= 2 && index / 4 >= 1;
        assert_eq!(pixel, [if inside { 200 } else { 0 }; 3], "pixel {index}");
    }
    let sampled = sampled.unwrap();
    assert_eq!(sampled.size, 6.0 / 16.0);
    assert_eq!(sampled.sharpness, 0.0, "the frame's edge is not sharp");

    for far in [1000.0, -1000.0, 1e30, f64::NAN] {
        let away = Affine::scale_and_move((1.0, 1.0), (far, 0.0));
        let (found, sampled) = crop(&frame, &away, 4, ChannelOrder::Rgb);
        assert_eq!((found, sampled), (vec![0; 48], None), "{far}");
    }
}

#[test]
fn places_that_no_integer_counts_are_outside_too() {
    let data = vec![50; 3 * WIDTH * HEIGHT];
    for scale in [1e-19, 1e-30] {
        let map = Affine::scale_and_move((scale, scale), (0.0, 0.0));
        let (found, _) = crop(&packed(&data, 3, [0, 1, 2]), &map, 4, ChannelOrder::Rgb);
        assert!(found[3..].iter().all(|&sample| sample == 0), "{scale}");
    }
}

/// Stripes of a column each: sampled at every fourth pixel they would be all of one colour.
#[test]
fn many_pixels_become_their_mean() {
    let data: Vec<u8> = (0..WIDTH * HEIGHT).flat_map(|i| [(i % 2) as u8 * 200; 3]).collect();
    let frame = packed(&data, 3, [0, 1, 2]);
    // From the edge of the first pixel to that of the twelfth.
    let map = Affine::scale_and_move((0.25, 0.25), (-0.375, -0.375));
    let (found, sampled) = crop(&frame, &map, 3, ChannelOrder::Rgb);
    assert_eq!(found, [100; 27]);
    assert_eq!(sampled.unwrap().size, 1.0);
    // Each square of 4×4 pixels has its own mean.
    let data: Vec<u8> =
        (0..WIDTH * HEIGHT).flat_map(|i| [(i % WIDTH / 4 * 50 + i / WIDTH / 4) as u8; 3]).collect();
    let (found, _) = crop(&packed(&data, 3, [0, 1, 2]), &map, 3, ChannelOrder::Rgb);
    let expected = [0, 50, 100, 1, 51, 101, 2, 52, 102];
    assert_eq!(found, expected.map(|value| [value; 3]).concat());
}

#[test]
fn a_small_face_has_less_quality_than_a_large_one() {
    let data = vec![200; 3 * WIDTH * HEIGHT];
    let frame = packed(&data, 3, [0, 1, 2]);
    // Five pixels for each of the frame's.
    let map = Affine::scale_and_move((5.0, 5.0), (-20.0, -20.0));
    let (_, sampled) = crop(&frame, &map, 10, ChannelOrder::Rgb);
    assert!((sampled.unwrap().size - 0.2).abs() < 1e-6, "{sampled:?}");
}

#[test]
fn frontality_is_how_far_the_nose_is_in_the_middle() {
    let face = |nose: (f32, f32)| {
        Landmarks(points([(30.0, 40.0), (70.0, 40.0), nose, (35.0, 80.0), (65.0, 80.0)]))
    };
    for (nose, expected) in [
        ((50.0, 60.0), 1.0),
        // A quarter, half and all of the way to the eye.
        ((55.0, 60.0), 0.75),
        ((40.0, 60.0), 0.5),
        ((70.0, 60.0), 0.0),
        ((90.0, 60.0), 0.0),
        // Nearer to the eyes or the mouth.
        ((50.0, 50.0), 0.5),
        ((50.0, 75.0), 0.25),
        ((50.0, 30.0), 0.0),
        ((55.0, 50.0), 0.375),
    ] {
        let found = frontality(&face(nose));
        assert!((found - expected).abs() < 1e-6, "{found} for {nose:?}");
    }
    // Turned to the right by 90° and twice as large.
    let turned = Landmarks(face((40.0, 50.0)).0.map(|p| Point { x: -2.0 * p.y, y: 2.0 * p.x }));
    assert!((frontality(&turned) - 0.25).abs() < 1e-6);
    // The mouth between the eyes, and above them.
    let flat = Landmarks(points([(0.0, 0.0), (9.0, 0.0), (4.5, 0.0), (1.0, 0.0), (8.0, 0.0)]));
    assert_eq!(frontality(&flat), 0.0);
    let mirrored = Landmarks(face((50.0, 60.0)).0.map(|p| Point { x: -p.x, ..p }));
    assert_eq!(frontality(&mirrored), 0.0);
}

#[test]
fn sharpness_is_the_variance_of_the_laplacian() {
    assert_eq!(sharpness(&[5.0; 20], 5), 0.0);
    assert_eq!(sharpness(&[], 0), 0.0);
    assert_eq!(sharpness(&[1.0, 2.0], 1), 0.0);
    // Inside 4×3 pixels: 40 - 5 + 0 + 5 - 4·10 = 0 and 10 - 4·5 = -10; the variance is 25, 25/125 = 0.2.
    let luma = [0.0, 40.0, 0.0, 0.0, 0.0, 10.0, 5.0, 0.0, 0.0, -5.0, 0.0, 0.0];
    assert!((sharpness(&luma, 4) - 0.2).abs() < 1e-6);
    // A pixel beside one that is not there does not count, and one pixel has no variance.
    let mut holed = luma;
    holed[8 + 2] = f32::NAN;
    assert_eq!(sharpness(&holed, 4), 0.0);
}

#[test]
fn quality_is_the_product_of_what_is_known() {
    let quality = Quality { sharpness: 0.5, frontality: Some(0.5), size: 0.25 };
    assert_eq!(quality.value(), 0.0625);
    assert_eq!(Quality { frontality: None, ..quality }.value(), 0.125);
}
