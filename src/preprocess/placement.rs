// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a frame goes in a network's input.

use super::axis::ScaleMethod;
use crate::orientation::Orientation;

/// Where a frame goes in a network's input: turned upright and resized into the top left corner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    pub orientation: Orientation,
    /// Width and height of the upright picture in the input.
    pub picture: (u32, u32),
    /// Width and height of the input. What the picture leaves free has the value of the mean.
    pub input: (u32, u32),
    /// Pixels of the picture for each of the frame, where that is not exactly what their sizes say:
    /// what is cut off or added by rounding is at the right and at the bottom.
    pub scale: Option<f64>,
}

impl Placement {
    /// An upright frame that becomes all of an input of this width and height.
    pub fn whole(input: (u32, u32)) -> Self {
        Self { orientation: Orientation::Identity, picture: input, input, scale: None }
    }

    /// Pixels of the upright frame for each of the picture, across and down.
    pub fn ratio(&self, (width, height): (u32, u32)) -> (f64, f64) {
        match self.scale {
            Some(scale) => (1.0 / scale, 1.0 / scale),
            None => {
                let ratio = |frame: u32, picture: u32| f64::from(frame) / f64::from(picture);
                (ratio(width, self.picture.0), ratio(height, self.picture.1))
            }
        }
    }
}

/// The input sizes that a network takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputSizes {
    /// The only width, if there is only one.
    pub width: Option<u32>,
    /// The only height, if there is only one.
    pub height: Option<u32>,
    /// Sides that are open have to be multiples of this, which is at least 1.
    pub multiple: u32,
}

impl InputSizes {
    pub const ANY: Self = Self { width: None, height: None, multiple: 1 };

    pub fn contain(&self, (width, height): (u32, u32)) -> bool {
        let contains = |side: Option<u32>, size: u32| match side {
            Some(side) => side == size,
            None => size.is_multiple_of(self.multiple),
        };
        contains(self.width, width) && contains(self.height, height)
    }

    /// Where a frame of the width and height `frame` goes, at its aspect ratio.
    ///
    /// It is scaled by `scale`, then down to `max_size` on the longer side (0: no limit), to at
    /// least one pixel. Inputs of open size are no larger than that requires: where any size will do
    /// there is no padding, and what the network sees of the frame is all that it was asked to. A
    /// side that is fixed costs the same however little of it is used, so there `scale` does not
    /// count: the frame becomes as large as fits.
    ///
    /// Sizes are rounded. As in OpenCV's `resize` with factors, that does not change which pixels
    /// the nearest ones are; between pixels, the whole picture becomes the rounded size.
    pub fn place(
        &self,
        frame: (u32, u32),
        orientation: Orientation,
        scale: f64,
        max_size: u32,
        method: ScaleMethod,
    ) -> Placement {
        let upright = orientation.turn(frame);
        self.resized(upright, orientation, self.scale(upright, scale, max_size), method)
    }

    /// How much larger or smaller than the upright picture [`Self::place`] makes it.
    pub(super) fn scale(&self, (width, height): (u32, u32), scale: f64, max_size: u32) -> f64 {
        let most = |side: Option<u32>, size: u32| match side {
            Some(side) => f64::from(side) / f64::from(size),
            None if max_size == 0 => f64::INFINITY,
            None => f64::from(max_size) / f64::from(size),
        };
        let most = most(self.width, width).min(most(self.height, height));
        let is_open = self.width.is_none() && self.height.is_none();
        if is_open { scale.min(most) } else { most }
    }

    /// Where an upright picture of this width and height goes that is scaled by `scale`.
    pub(super) fn resized(
        &self,
        (width, height): (u32, u32),
        orientation: Orientation,
        scale: f64,
        method: ScaleMethod,
    ) -> Placement {
        let picture = |size: u32, side: Option<u32>| {
            let scaled = (f64::from(size) * scale).round().max(1.0) as u32;
            scaled.min(side.unwrap_or(u32::MAX))
        };
        let picture = (picture(width, self.width), picture(height, self.height));
        let input = |size: u32, side: Option<u32>| {
            side.unwrap_or_else(|| size.next_multiple_of(self.multiple))
        };
        let input = (input(picture.0, self.width), input(picture.1, self.height));
        let exact = method == ScaleMethod::Bilinear || picture == (width, height);
        Placement { orientation, picture, input, scale: (!exact).then_some(scale) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(
        sizes: InputSizes,
        frame: (u32, u32),
        scale: f64,
        max_size: u32,
    ) -> ((u32, u32), (u32, u32)) {
        let placement =
            sizes.place(frame, Orientation::Identity, scale, max_size, ScaleMethod::Bilinear);
        assert!(sizes.contain(placement.input), "{placement:?}");
        (placement.picture, placement.input)
    }

    #[test]
    fn pictures_are_scaled_then_limited() {
        let table = [
            ((640, 480), 1.0, 640, (640, 480)),
            ((640, 480), 0.4, 640, (256, 192)),
            ((1920, 1080), 1.0, 640, (640, 360)),
            ((1080, 1920), 1.0, 640, (360, 640)),
            ((640, 480), 2.0, 640, (640, 480)),
            ((640, 480), 2.0, 0, (1280, 960)),
            // 166.5 and 108.5 round up.
            ((333, 217), 0.5, 0, (167, 109)),
            // 0.2 and 0.05 of a pixel are one.
            ((3000, 2), 0.1, 0, (300, 1)),
            ((1, 1), 0.05, 640, (1, 1)),
            // 100 · 64/1000 = 6.4
            ((1000, 100), 1.0, 64, (64, 6)),
        ];
        for (frame, scale, max_size, expected) in table {
            let found = input(InputSizes::ANY, frame, scale, max_size);
            assert_eq!(found, (expected, expected), "{frame:?} · {scale}");
        }
    }

    #[test]
    fn open_sides_grow_to_a_multiple() {
        let sizes = InputSizes { multiple: 32, ..InputSizes::ANY };
        assert_eq!(input(sizes, (640, 480), 1.0, 0), ((640, 480), (640, 480)));
        assert_eq!(input(sizes, (641, 479), 1.0, 0), ((641, 479), (672, 480)));
        assert_eq!(input(sizes, (1920, 1080), 1.0, 640), ((640, 360), (640, 384)));
        assert_eq!(input(sizes, (1, 1), 1.0, 0), ((1, 1), (32, 32)));
    }

    #[test]
    fn fixed_sizes_are_filled_as_far_as_the_aspect_ratio_allows() {
        let sizes = InputSizes { width: Some(640), height: Some(640), multiple: 1 };
        let all = (640, 640);
        assert_eq!(input(sizes, (1920, 1080), 1.0, 640), ((640, 360), all));
        assert_eq!(input(sizes, (1080, 1920), 0.1, 0), ((360, 640), all));
        assert_eq!(input(sizes, (320, 240), 1.0, 100), ((640, 480), all));
        assert_eq!(input(sizes, (640, 640), 1.0, 0), (all, all));
        // 3 · 640/8000 = 0.24 of a pixel.
        assert_eq!(input(sizes, (8000, 3), 1.0, 0), ((640, 1), all));
        // 480/333 · 217 = 312.8; 217 is the wider side of 640/480, relative to the frame's.
        let wide = InputSizes { width: Some(640), height: Some(480), multiple: 1 };
        assert_eq!(input(wide, (217, 333), 1.0, 0), ((313, 480), (640, 480)));
    }

    #[test]
    fn half_open_sizes_fill_the_fixed_side_within_the_limit_of_the_other() {
        let sizes = InputSizes { width: Some(640), height: None, multiple: 32 };
        assert_eq!(input(sizes, (1920, 1080), 1.0, 640), ((640, 360), (640, 384)));
        // 640/1080 · 1920 = 1137.8
        assert_eq!(input(sizes, (1080, 1920), 1.0, 0), ((640, 1138), (640, 1152)));
        assert_eq!(input(sizes, (1080, 1920), 1.0, 960), ((540, 960), (640, 960)));
        let sizes = InputSizes { width: None, height: Some(320), multiple: 1 };
        assert_eq!(input(sizes, (1920, 1080), 1.0, 0), ((569, 320), (569, 320)));
    }

    #[test]
    fn turned_frames_are_placed_upright() {
        let sizes = InputSizes { width: Some(640), height: Some(640), multiple: 1 };
        let placement =
            sizes.place((1920, 1080), Orientation::Rotate90, 1.0, 640, ScaleMethod::Bilinear);
        assert_eq!(placement.picture, (360, 640));
        assert_eq!(placement.orientation, Orientation::Rotate90);
        let placement = InputSizes::ANY.place(
            (1920, 1080),
            Orientation::Rotate180,
            0.5,
            640,
            ScaleMethod::Bilinear,
        );
        assert_eq!((placement.picture, placement.input), ((640, 360), (640, 360)));
    }

    #[test]
    fn a_network_takes_its_own_sizes() {
        let sizes = InputSizes { width: Some(640), height: None, multiple: 32 };
        assert!(sizes.contain((640, 64)));
        assert!(!sizes.contain((640, 65)), "no multiple");
        assert!(!sizes.contain((672, 64)), "another width");
        assert!(InputSizes::ANY.contain((17, 1)));
    }
}
