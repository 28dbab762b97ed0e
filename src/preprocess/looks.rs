// SPDX-License-Identifier: MIT OR Apache-2.0

//! How often, at which sizes and in which pieces the network looks at a frame.
//!
//! A network finds faces from about a dozen to a few hundred pixels in its input. A pyramid shows it
//! the same picture smaller and smaller, so that faces too large for one look are in the range of the
//! next; tiles show it a picture that is larger than its input, piece by piece.

use super::{
    axis::ScaleMethod,
    placement::{InputSizes, Placement},
};
use crate::{frame::Window, orientation::Orientation};

/// From one step of the pyramid to the next, sides are divided by this. Each step serves faces that
/// are more than this many times as large as its smallest.
const STEP: f64 = 4.0;

/// Where the longer side of a picture is no more than this, faces that fill it are found in it.
const SMALLEST: u32 = 320;

/// By how many input pixels neighbouring tiles overlap, where they are not so small that this would
/// be more than a quarter of them: enough for faces up to the smallest that are found without doubt
/// in the next step, where they have a fourth of their size, to be whole in one of them.
const OVERLAP: u32 = 128;

/// The least width and height that tiles are made for, whatever limit the picture has.
const SMALLEST_TILE: u32 = 320;

/// At which sizes frames are looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    /// From the frame to the input.
    pub scale: f64,
    /// The most pixels of the input's longer side, 0 for no limit.
    pub max_size: u32,
    pub method: ScaleMethod,
    /// Whether to look again at smaller sizes.
    pub pyramid: bool,
    /// Whether to cut what exceeds the limit, and the size of the network's input, into tiles instead
    /// of making it smaller. They come with a pyramid: no tile has a face that is larger than it.
    pub tiles: bool,
}

/// One look at a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// The part of the upright picture that is seen.
    pub window: Window,
    /// Where that goes in the input.
    pub placement: Placement,
    /// Of the pyramid's steps, from 0; each is smaller than the one before.
    pub step: u32,
    /// How many steps there are.
    pub steps: u32,
}

impl Look {
    /// The only look at a frame of this width and height, all of it.
    pub fn only(frame: (u32, u32), placement: Placement) -> Self {
        let (width, height) = placement.orientation.turn(frame);
        Self { window: Window::whole(width, height), placement, step: 0, steps: 1 }
    }

    /// Its window in the frame as it is stored, which has this width and height.
    pub fn stored_window(&self, frame: (u32, u32)) -> Window {
        let Window { x, y, width, height } = self.window;
        let orientation = self.placement.orientation;
        let (x, y) = orientation.turn((x, y));
        let (width, height) = orientation.turn((width, height));
        let flip = |flipped, first: u32, len: u32, side: u32| {
            if flipped { side.saturating_sub(first + len) } else { first }
        };
        Window {
            x: flip(orientation.is_flipped_x(), x, width, frame.0),
            y: flip(orientation.is_flipped_y(), y, height, frame.1),
            width,
            height,
        }
    }
}

impl InputSizes {
    /// The looks at a frame of the width and height `frame`, the largest first. Those of one step
    /// have one input size.
    pub fn looks(
        &self,
        frame: (u32, u32),
        orientation: Orientation,
        scales: &Scales,
    ) -> impl Iterator<Item = Look> + use<> {
        let sizes = *self;
        let Scales { scale, max_size, method, pyramid, tiles } = *scales;
        let upright = orientation.turn(frame);
        let fitting = sizes.scale(upright, scale, max_size);
        // What is smaller than an input of fixed size fills it all the same.
        let first = if tiles { fitting.max(scale) } else { fitting };
        let steps = if pyramid || tiles { steps(upright, first) } else { 1 };
        (0..steps).flat_map(move |step| {
            let scale = first / STEP.powi(step as i32);
            let most = |side: Option<u32>| match side {
                Some(side) => side,
                None if max_size == 0 => u32::MAX,
                None => max_size.max(SMALLEST_TILE),
            };
            let most = if tiles { [most(sizes.width), most(sizes.height)] } else { [u32::MAX; 2] };
            let columns = Cut::new(upright.0, scale, most[0]);
            let rows = Cut::new(upright.1, scale, most[1]);
            let tile = (columns.window, rows.window);
            let placement = sizes.resized(tile, orientation, scale, method);
            (0..rows.count).flat_map(move |row| {
                (0..columns.count).map(move |column| {
                    let (x, y) = (columns.first(column), rows.first(row));
                    let window = Window { x, y, width: tile.0, height: tile.1 };
                    Look { window, placement, step, steps }
                })
            })
        })
    }
}

/// How many steps the pyramid has whose first is the picture scaled by `scale`.
fn steps((width, height): (u32, u32), scale: f64) -> u32 {
    let mut longer = f64::from(width.max(height)) * scale;
    let mut steps = 1;
    while longer.round() > f64::from(SMALLEST) {
        longer /= STEP;
        steps += 1;
    }
    steps
}

/// A side cut into windows of one length, which overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    side: u32,
    count: u32,
    window: u32,
}

impl Cut {
    /// As few windows of a side that is scaled by `scale` as there can be, where each has at most
    /// `most` pixels in the input.
    fn new(side: u32, scale: f64, most: u32) -> Self {
        let scaled = (f64::from(side) * scale).round();
        if scaled <= f64::from(most) {
            return Self { side, count: 1, window: side };
        }
        // In pixels of the frame from here on.
        let overlap = f64::from(OVERLAP.min(most / 4)) / scale;
        let most = (f64::from(most) / scale).floor().max(1.0);
        let pixels = f64::from(side);
        let count = ((pixels - overlap) / (most - overlap)).ceil().max(2.0);
        let window = ((pixels + (count - 1.0) * overlap) / count).ceil();
        Self { side, count: count as u32, window: (window as u32).clamp(1, side) }
    }

    /// Where window number `index` begins.
    fn first(&self, index: u32) -> u32 {
        let last = u64::from(self.side - self.window);
        let gaps = u64::from(self.count.max(2) - 1);
        (u64::from(index) * last / gaps) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Scales = Scales {
        scale: 1.0,
        max_size: 640,
        method: ScaleMethod::Bilinear,
        pyramid: false,
        tiles: false,
    };
    const PYRAMID: Scales = Scales { pyramid: true, ..OFF };
    const TILES: Scales = Scales { tiles: true, ..OFF };

    fn looks(sizes: InputSizes, frame: (u32, u32), scales: Scales) -> Vec<Look> {
        let looks: Vec<_> = sizes.looks(frame, Orientation::Identity, &scales).collect();
        for look in &looks {
            assert!(look.window.fits(frame), "{look:?} of {frame:?}");
            assert!(sizes.contain(look.placement.input), "{look:?}");
            let Placement { picture, input, .. } = look.placement;
            assert!(picture.0 <= input.0 && picture.1 <= input.1, "{look:?}");
        }
        looks
    }

    /// The sizes of pictures in the input, and those of which step.
    fn pictures(frame: (u32, u32), scales: Scales) -> Vec<(u32, (u32, u32))> {
        let looks = looks(InputSizes::ANY, frame, scales);
        assert!(looks.iter().all(|look| look.steps == looks[looks.len() - 1].step + 1));
        looks.iter().map(|look| (look.step, look.placement.picture)).collect()
    }

    #[test]
    fn one_look_is_the_placement_alone() {
        let sizes = InputSizes { multiple: 32, ..InputSizes::ANY };
        for orientation in Orientation::ALL {
            let frame = (1919, 1080);
            let found: Vec<_> = sizes.looks(frame, orientation, &OFF).collect();
            let placement = sizes.place(frame, orientation, 1.0, 640, ScaleMethod::Bilinear);
            assert_eq!(found, [Look::only(frame, placement)]);
            assert_eq!(found[0].stored_window(frame), Window::whole(1919, 1080));
        }
    }

    #[test]
    fn a_pyramid_goes_down_by_quarters() {
        let unlimited = Scales { max_size: 0, ..PYRAMID };
        assert_eq!(pictures((1920, 1080), PYRAMID), [(0, (640, 360)), (1, (160, 90))]);
        let all = [(0, (3840, 2160)), (1, (960, 540)), (2, (240, 135))];
        assert_eq!(pictures((3840, 2160), unlimited), all);
        // 320 is small enough, 321 is not: 321/4 = 80.25, 3/4 = 0.75 of a pixel.
        assert_eq!(pictures((200, 320), unlimited), [(0, (200, 320))]);
        assert_eq!(pictures((3, 321), unlimited), [(0, (3, 321)), (1, (1, 80))]);
        assert_eq!(pictures((800, 600), Scales { scale: 0.4, ..unlimited }), [(0, (320, 240))]);
    }

    #[test]
    fn a_pyramid_in_inputs_of_fixed_size_is_smaller_in_the_same_input() {
        let sizes = InputSizes { width: Some(640), height: Some(640), multiple: 1 };
        let looks = looks(sizes, (1920, 1080), PYRAMID);
        let placements = looks.iter().map(|look| look.placement);
        let picture =
            |picture| Placement { picture, input: (640, 640), ..Placement::whole((640, 640)) };
        assert!(placements.eq([picture((640, 360)), picture((160, 90))]));
        assert!(looks.iter().all(|look| look.window == Window::whole(1920, 1080)));
    }

    /// Two overlap by 128: 1000 + 128 = 2 · 564. Three of 640 reach 3 · 640 − 2 · 128 = 1664.
    #[test]
    fn a_side_is_cut_into_as_few_windows_as_there_can_be() {
        let cut = |side, scale, most| {
            let cut = Cut::new(side, scale, most);
            (cut.window, (0..cut.count).map(|index| cut.first(index)).collect::<Vec<_>>())
        };
        assert_eq!(cut(640, 1.0, 640), (640, vec![0]));
        assert_eq!(cut(1000, 1.0, 640), (564, vec![0, 436]));
        assert_eq!(cut(1152, 1.0, 640), (640, vec![0, 512]));
        // One more pixel takes another: (1153 + 256)/3 = 469.7.
        assert_eq!(cut(1153, 1.0, 640), (470, vec![0, 341, 683]));
        assert_eq!(cut(1664, 1.0, 640), (640, vec![0, 512, 1024]));
        // Twice the size: 320 pixels of the frame each, 64 in common.
        assert_eq!(cut(576, 2.0, 640), (320, vec![0, 256]));
        // A quarter of 320 in common, not 128: (560 + 80)/2.
        assert_eq!(cut(560, 1.0, 320), (320, vec![0, 240]));
        // Just over the limit is two, that have nearly all in common.
        assert_eq!(cut(641, 1.0, 640), (385, vec![0, 256]));
    }

    #[test]
    fn what_exceeds_the_limit_is_tiled() {
        // (3840 + 7 · 128)/8 = 592, (2160 + 3 · 128)/4 = 636; (960 + 128)/2 = 544.
        let looks = looks(InputSizes::ANY, (3840, 2160), TILES);
        assert_eq!(looks.len(), 8 * 4 + 2 + 1);
        let (tiles, rest) = looks.split_at(32);
        assert!(tiles.iter().all(|look| look.placement == Placement::whole((592, 636))));
        let window = |x, y, width, height| Window { x, y, width, height };
        assert_eq!(tiles[0].window, window(0, 0, 592, 636));
        assert_eq!(tiles[1].window, window(464, 0, 592, 636));
        assert_eq!(tiles[8].window, window(0, 508, 592, 636));
        assert_eq!(tiles[31].window, window(3248, 1524, 592, 636));
        // A quarter of its size: 2176 pixels of the frame are 544.
        assert_eq!(rest[0].window, window(0, 0, 2176, 2160));
        assert_eq!(rest[1].window, window(1664, 0, 2176, 2160));
        assert!(rest[..2].iter().all(|look| look.placement == Placement::whole((544, 540))));
        assert_eq!(rest[2].window, Window::whole(3840, 2160));
        assert_eq!(rest[2].placement, Placement::whole((240, 135)));
        assert_eq!(looks.iter().map(|look| look.step).filter(|&step| step == 1).count(), 2);
    }

    #[test]
    fn nothing_is_tiled_that_fits() {
        assert_eq!(pictures((640, 480), TILES), [(0, (640, 480)), (1, (160, 120))]);
        let unlimited = Scales { max_size: 0, ..TILES };
        assert_eq!(pictures((2000, 300), unlimited).len(), 3);
        // Nor into pieces of a few pixels.
        let tiny = Scales { max_size: 1, ..TILES };
        assert_eq!(pictures((320, 320), tiny), [(0, (320, 320))]);
    }

    #[test]
    fn tiles_fill_inputs_of_fixed_size() {
        let sizes = InputSizes { width: Some(640), height: Some(480), multiple: 1 };
        let tiles = looks(sizes, (1152, 480), TILES);
        let placements: Vec<_> = tiles.iter().map(|look| look.placement).collect();
        let whole = Placement::whole((640, 480));
        // 1152/4 = 288 is the next step.
        assert_eq!(placements, [whole, whole, Placement { picture: (288, 120), ..whole }]);
        // A smaller frame is as large as it would be without tiles.
        let small = looks(sizes, (320, 240), TILES);
        assert_eq!(small[0].placement, whole);
        assert_eq!(small[1].placement.picture, (160, 120));
    }

    /// The second of two tiles of a picture of 1000×10, as it is stored.
    #[test]
    fn windows_of_turned_frames_are_where_they_are_stored() {
        let stored = |orientation: Orientation| {
            let frame = orientation.turn((1000, 10));
            let look = InputSizes::ANY.looks(frame, orientation, &TILES).nth(1).expect("a tile");
            assert_eq!(look.window, Window { x: 436, y: 0, width: 564, height: 10 });
            let window = look.stored_window(frame);
            assert!(window.fits(frame));
            (window.x, window.y, window.width, window.height)
        };
        assert_eq!(stored(Orientation::Identity), (436, 0, 564, 10));
        assert_eq!(stored(Orientation::FlipHorizontal), (0, 0, 564, 10));
        assert_eq!(stored(Orientation::FlipVertical), (436, 0, 564, 10));
        assert_eq!(stored(Orientation::Rotate180), (0, 0, 564, 10));
        assert_eq!(stored(Orientation::Rotate90), (0, 0, 10, 564));
        assert_eq!(stored(Orientation::Rotate270), (0, 436, 10, 564));
        assert_eq!(stored(Orientation::Transpose), (0, 436, 10, 564));
        assert_eq!(stored(Orientation::Transverse), (0, 0, 10, 564));
    }
}
