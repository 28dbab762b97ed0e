// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{
    cells::{Cells, Sample},
    *,
};
use crate::{
    frame::{Colour, Component, FrameMut, Layout, Luma, PLANES, PlaneMut, Window},
    geometry::Rect,
};

#[test]
fn samples_are_divided_into_cells() {
    let mut cells = Cells::default();
    cells.divide(6, 2);
    assert_eq!(cells.count(), 2);
    let found: Vec<_> = cells.samples().iter().map(|sample| sample.cell).collect();
    assert_eq!(found, [0, 0, 0, 1, 1, 1]);
    // Middles of cells are those of the second and the fifth sample: (i + 0.5) / 3 - 0.5.
    for (sample, position) in cells.samples().iter().zip([0.0, 0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0])
    {
        let Sample { between: [near, far], weight, .. } = *sample;
        let found = near as f32 + weight * (far - near) as f32;
        assert!((found - position).abs() < 1e-6, "{sample:?} for {position}");
    }
    cells.divide(5, 3);
    let found: Vec<_> = cells.samples().iter().map(|sample| sample.cell).collect();
    assert_eq!(found, [0, 0, 1, 1, 2]);
    cells.divide(3, 1);
    let all = Sample { cell: 0, between: [0, 0], weight: 0.0 };
    assert_eq!(cells.samples(), [all; 3]);
}

/// A gray picture of which `window` is the frame, with one sample for `1 << shift` pixels each way.
fn hide(
    data: &mut [u8],
    stride: usize,
    window: Window,
    shift: u32,
    hide: impl FnOnce(&mut FrameMut),
) {
    let component = Component { step: 1, x_shift: shift, y_shift: shift, ..Component::default() };
    let layout = Layout { components: [component; 3], colour: Colour::Gray(Luma::new(true)) };
    let planes = [PlaneMut { memory: 0, offset: 0, stride }; PLANES];
    let frame = FrameMut::new(layout, None, window, [data, &mut [], &mut [], &mut []], planes);
    hide(&mut frame.expect("enough bytes"));
}

fn hidden(
    (width, height): (u32, u32),
    pixel: impl Fn(u32, u32) -> u8,
    bounds: Rect,
    mode: Mode,
    shape: Shape,
) -> Vec<u8> {
    let mut data: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .map(|(x, y)| pixel(x, y))
        .collect();
    hide(&mut data, width as usize, Window::whole(width, height), 0, |frame| {
        Hider::default().hide(frame, &bounds, mode, shape);
    });
    data
}

/// 8×4 pixels: two squares of 4×4, of which the means are 1 + 10·1.5 + 4·1.5 = 22 and 40 more.
#[test]
fn squares_have_the_mean_of_their_pixels() {
    let pixel = |x: u32, y: u32| (1 + 10 * x + 4 * y) as u8;
    let bounds = Rect::new(0.0, 0.0, 8.0, 4.0);
    let found = hidden((8, 4), pixel, bounds, Mode::Pixelate(2), Shape::Rectangle);
    assert_eq!(found, [[22, 22, 22, 22, 62, 62, 62, 62]; 4].concat());
    // From one to the other, whose middles are between the second and third pixel of each.
    let found = hidden((8, 4), pixel, bounds, Mode::Blur(2), Shape::Rectangle);
    assert_eq!(found, [[22, 22, 27, 37, 47, 57, 62, 62]; 4].concat());
}

#[test]
fn a_large_face_keeps_no_more_than_a_small_one() {
    let pixel = |x: u32, y: u32| (x * 11 + y * 29) as u8;
    let small = hidden(
        (20, 20),
        pixel,
        Rect::new(0.0, 0.0, 20.0, 20.0),
        Mode::Pixelate(5),
        Shape::Rectangle,
    );
    let large = hidden(
        (80, 80),
        |x, y| pixel(x / 4, y / 4),
        Rect::new(0.0, 0.0, 80.0, 80.0),
        Mode::Pixelate(5),
        Shape::Rectangle,
    );
    for (index, value) in large.into_iter().enumerate() {
        assert_eq!(value, small[index / 80 / 4 * 20 + index % 80 / 4], "{index}");
    }
}

#[test]
fn the_smallest_faces_change_too() {
    for side in 2..8u32 {
        let pixel = |x: u32, y: u32| if (x + y).is_multiple_of(2) { 0 } else { 200 };
        let bounds = Rect::new(0.0, 0.0, side as f32, side as f32);
        for mode in [Mode::Blur(64), Mode::Pixelate(64)] {
            let found = hidden((side, side), pixel, bounds, mode, Shape::Rectangle);
            let is_gray = |value: &u8| (60..140).contains(value);
            assert!(found.iter().all(is_gray), "{side}, {mode:?}: {found:?}");
        }
    }
}

/// Every sample that the face touches, in whichever part of a chroma sample the frame begins.
#[test]
fn samples_that_a_face_touches_are_hidden() {
    for x in [2, 3] {
        // A picture of 12×12 pixels, 6×6 samples.
        let mut data = vec![100; 36];
        let window = Window { x, y: 4, width: 12 - x, height: 8 };
        hide(&mut data, 6, window, 1, |frame| {
            // From pixel 1 to 3 of the frame, 3 or 4 to 5 or 6 of the picture; 5 to 7 downwards.
            let bounds = Rect::new(1.0, 1.0, 3.0, 3.0);
            Hider::default().hide(frame, &bounds, Mode::Fill([7; 3]), Shape::Rectangle);
        });
        let columns = if x == 2 { 1..3 } else { 2..3 };
        for (index, value) in data.into_iter().enumerate() {
            let inside = columns.contains(&(index % 6)) && (2..4).contains(&(index / 6));
            assert_eq!(value, if inside { 7 } else { 100 }, "{index}, {x}");
        }
    }
}

/// An ellipse of 20×10 pixels: all pixels whose middle is inside, none that is outside altogether.
#[test]
fn ellipses_are_hidden_and_no_more() {
    let bounds = Rect::new(3.0, 2.0, 23.0, 12.0);
    let found = hidden((26, 14), |_, _| 100, bounds, Mode::Fill([7; 3]), Shape::Ellipse);
    let inside = |x: f64, y: f64| ((x - 13.0) / 10.0).powi(2) + ((y - 7.0) / 5.0).powi(2) <= 1.0;
    for (index, value) in found.into_iter().enumerate() {
        let (x, y) = ((index % 26) as f64, (index / 26) as f64);
        if inside(x + 0.5, y + 0.5) {
            assert_eq!(value, 7, "{x}, {y}");
        }
        let nearest = (13f64.clamp(x, x + 1.0), 7f64.clamp(y, y + 1.0));
        if !inside(nearest.0, nearest.1) {
            assert_eq!(value, 100, "{x}, {y}");
        }
    }
}
