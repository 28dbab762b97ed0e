// SPDX-License-Identifier: MIT OR Apache-2.0

//! Several looks at one frame, and what they found made one.
//!
//! Constants are in pixels of a look's input. They were chosen by what `examples/range` measures with
//! the default network, whose largest anchors have 512 pixels.

use std::cmp::Ordering;

use super::nms::Scored;
use crate::{
    face::Landmarks,
    geometry::{Point, Rect},
    preprocess::Look,
};

/// The longest side of faces for which a look answers where a smaller look follows. Of larger ones a
/// network begins to see parts as faces of their own, and in the next look they have a fourth of this.
const LARGEST: f32 = 384.0;

/// A face with a side of this much is seen in the next look too, where it has a fourth of that.
const CLEAR: f32 = 128.0;

/// Boxes that overlap by more than this, intersection over union, are of one face.
const SAME: f32 = 0.4;

/// How far around a face that is too large for a look there may be faces that are none, as a fraction
/// of its width and height: its head, its hair, its neck.
const AROUND: f32 = 0.5;

/// A box that comes closer than this fraction of its side to the inner border of a tile is of a face
/// that may be cut there.
const CUT: f32 = 0.125;

/// A face that one look found, in pixels of the upright picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    pub bounds: Rect,
    pub landmarks: Option<Landmarks>,
    /// From 0 to 1.
    pub score: f32,
    /// The look's step, and how many there are.
    step: (u32, u32),
    /// The look's pixels for each of the picture's.
    scale: f32,
    is_fragment: bool,
}

impl Found {
    /// Whether its look was the only one.
    pub fn is_only(&self) -> bool {
        self.step.1 == 1
    }

    /// The longer side in the input of a look of another scale.
    fn side_at(&self, scale: f32) -> f32 {
        self.bounds.width().max(self.bounds.height()) * scale
    }
}

impl Scored for Found {
    fn bounds(&self) -> &Rect {
        &self.bounds
    }

    fn score(&self) -> f32 {
        self.score
    }

    fn place(&self, other: &Self) -> Ordering {
        let by = |coordinate: fn(&Rect) -> f32| {
            coordinate(&self.bounds).total_cmp(&coordinate(&other.bounds))
        };
        self.step.cmp(&other.step).then(by(|rect| rect.y_min)).then(by(|rect| rect.x_min))
    }
}

/// One look at the upright picture.
pub struct View {
    step: (u32, u32),
    /// Left and above of it, in pixels of the picture.
    corner: Point,
    /// Pixels of the picture for each of the input's.
    scale: Point,
    /// Where in its input it ends, but the picture goes on.
    cut: Rect,
}

impl View {
    /// A look at an upright picture of this width and height.
    pub fn new(look: &Look, upright: (u32, u32)) -> Self {
        let Look { window, placement, step, steps } = *look;
        let picture = (placement.picture.0 as f32, placement.picture.1 as f32);
        let ratio = placement.ratio((window.width, window.height));
        let (end_x, end_y) = window.extent();
        let cut = Rect {
            x_min: if window.x > 0 { 0.0 } else { f32::NEG_INFINITY },
            y_min: if window.y > 0 { 0.0 } else { f32::NEG_INFINITY },
            x_max: if end_x < upright.0 { picture.0 } else { f32::INFINITY },
            y_max: if end_y < upright.1 { picture.1 } else { f32::INFINITY },
        };
        Self {
            step: (step, steps),
            corner: Point { x: window.x as f32, y: window.y as f32 },
            scale: Point { x: ratio.0 as f32, y: ratio.1 as f32 },
            cut,
        }
    }

    /// Whether there is no other.
    pub fn is_only(&self) -> bool {
        self.step.1 == 1
    }

    /// Where a box in the input is in the picture.
    pub fn bounds(&self, input: &Rect) -> Rect {
        let Self { corner, scale, .. } = self;
        let part = input.scale(scale.x, scale.y);
        Rect {
            x_min: part.x_min + corner.x,
            y_min: part.y_min + corner.y,
            x_max: part.x_max + corner.x,
            y_max: part.y_max + corner.y,
        }
    }

    /// Where a point in the input is in the picture.
    pub fn point(&self, input: Point) -> Point {
        let Self { corner, scale, .. } = self;
        Point { x: input.x * scale.x + corner.x, y: input.y * scale.y + corner.y }
    }

    /// Whether a box in the input is for this look to tell: it is not for the next, as too large a
    /// face, nor for the tile beside it or the next step, as one that is cut.
    pub fn answers_for(&self, input: &Rect) -> bool {
        let (width, height) = (input.width(), input.height());
        let is_last = self.step.0 + 1 == self.step.1;
        let (x, y) = (CUT * width, CUT * height);
        (is_last || width.max(height) <= LARGEST)
            && input.x_min - x >= self.cut.x_min
            && input.y_min - y >= self.cut.y_min
            && input.x_max + x <= self.cut.x_max
            && input.y_max + y <= self.cut.y_max
    }

    /// A face found in this look, where it is in the picture.
    pub fn found(&self, bounds: Rect, score: f32, landmarks: Option<Landmarks>) -> Found {
        let scale = 2.0 / (self.scale.x + self.scale.y);
        Found { bounds, landmarks, score, step: self.step, scale, is_fragment: false }
    }
}

/// Drops what is no face but something of a larger one, or around it.
///
/// Where a smaller look found a face that is too large for the look which found the box, and the
/// middle of the box is in that face or around it, a smaller look has to have seen the box too. Boxes
/// that are too small for that stay.
pub fn drop_fragments(found: &mut Vec<Found>) {
    for index in 0..found.len() {
        let this = found[index];
        let is_fragment = found.iter().any(|large| {
            large.step > this.step
                && large.side_at(this.scale) > LARGEST
                && this.side_at(this.scale) >= CLEAR
                && large.bounds.expand(AROUND).contains(this.bounds.middle())
                && !found
                    .iter()
                    .any(|other| other.step > this.step && other.bounds.iou(&this.bounds) > SAME)
        });
        found[index].is_fragment = is_fragment;
    }
    found.retain(|found| !found.is_fragment);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frame::Window,
        orientation::Orientation,
        preprocess::{Placement, ScaleMethod, Scales},
    };

    /// Number `index` of the looks at a frame of 4000×2000 pixels: first tiles of 4·2 by 500×500 input
    /// pixels that stand for 1000×1000, with nothing in common, then the whole in 500×250.
    fn view(column: u32, row: u32) -> View {
        let window = Window { x: 1000 * column, y: 1000 * row, width: 1000, height: 1000 };
        let placement = Placement::whole((500, 500));
        View::new(&Look { window, placement, step: 0, steps: 2 }, (4000, 2000))
    }

    fn whole() -> View {
        let (window, placement) = (Window::whole(4000, 2000), Placement::whole((500, 250)));
        View::new(&Look { window, placement, step: 1, steps: 2 }, (4000, 2000))
    }

    #[test]
    fn what_a_tile_shows_is_beside_what_is_left_of_it() {
        let tile = view(3, 1);
        let bounds = tile.bounds(&Rect::new(10.0, 20.0, 30.0, 50.0));
        assert_eq!(bounds, Rect::new(3020.0, 1040.0, 3060.0, 1100.0));
        assert_eq!(tile.point(Point { x: 10.0, y: 20.0 }), Point { x: 3020.0, y: 1040.0 });
        assert!(!tile.is_only() && !tile.found(bounds, 0.5, None).is_only());
        // Another scale each way.
        let placement = Placement::whole((100, 400));
        let only = View::new(&Look::only((200, 1200), placement), (200, 1200));
        assert_eq!(only.bounds(&Rect::new(1.0, 2.0, 3.0, 4.0)), Rect::new(2.0, 6.0, 6.0, 12.0));
        assert_eq!(only.point(Point { x: 1.0, y: 2.0 }), Point { x: 2.0, y: 6.0 });
        // (2 + 3)/2 pixels of the frame for each.
        let found = only.found(Rect::new(0.0, 0.0, 100.0, 50.0), 0.5, None);
        assert_eq!((found.is_only(), found.side_at(found.scale)), (true, 40.0));
    }

    /// A box of 80×40 pixels has to be 10 from the left and right, 5 from above and below.
    #[test]
    fn boxes_at_inner_borders_are_for_the_next_tile() {
        let answers =
            |view: &View, x: f32, y: f32| view.answers_for(&Rect::new(x, y, x + 80.0, y + 40.0));
        let middle = view(1, 0);
        assert!(answers(&middle, 10.0, 100.0) && !answers(&middle, 9.0, 100.0));
        assert!(answers(&middle, 410.0, 100.0) && !answers(&middle, 411.0, 100.0));
        assert!(answers(&middle, 100.0, 455.0) && !answers(&middle, 100.0, 456.0));
        assert!(answers(&middle, 100.0, -20.0), "the picture's own border");
        let corner = view(3, 1);
        assert!(answers(&corner, 100.0, 5.0) && !answers(&corner, 100.0, 4.0));
        assert!(answers(&corner, 470.0, 480.0), "the picture's own borders");
        assert!(answers(&view(0, 0), -30.0, -20.0), "the picture's own borders");
    }

    #[test]
    fn too_large_faces_are_for_the_next_look() {
        let answers = |view: &View, width: f32, height: f32| {
            view.answers_for(&Rect::around(Point { x: 250.0, y: 250.0 }, width / 2.0, height / 2.0))
        };
        assert!(answers(&view(1, 0), 384.0, 100.0) && !answers(&view(1, 0), 385.0, 100.0));
        assert!(answers(&view(1, 0), 100.0, 384.0) && !answers(&view(1, 0), 100.0, 385.0));
        assert!(answers(&whole(), 490.0, 300.0), "there is no next");
    }

    /// In a tile there are two pixels of the frame for each of the input's, in the whole eight.
    #[test]
    fn what_only_the_larger_look_sees_around_a_large_face_is_none() {
        let square = |x: f32, y: f32, side: f32| Rect::new(x, y, x + side, y + side);
        let kept = |large: Rect, small: Rect, others: &[Rect]| {
            let in_whole = |bounds: &Rect| whole().found(*bounds, 0.9, None);
            let mut found = vec![view(0, 0).found(small, 0.7, None), in_whole(&large)];
            found.extend(others.iter().map(in_whole));
            drop_fragments(&mut found);
            assert!(found.len() > others.len(), "only the small one may go");
            found.len() == others.len() + 2
        };
        let small = square(1200.0, 1200.0, 256.0);
        // 769/2 = 384.5 and 256/2 = 128 in the tile.
        let large = square(1000.0, 1000.0, 769.0);
        assert!(!kept(large, small, &[]));
        assert!(kept(square(1000.0, 1000.0, 768.0), small, &[]), "the tile can tell");
        assert!(kept(large, square(1200.0, 1200.0, 255.0), &[]), "the whole cannot");
        // 180/256 and 110/256 of it in common: 0.70/1.30 = 0.54 and 0.43/1.57 = 0.27.
        let moved = |x: f32| square(1200.0 + x, 1200.0, 256.0);
        assert!(kept(large, small, &[moved(76.0)]), "the whole saw it too");
        assert!(!kept(large, small, &[moved(146.0)]), "it saw another");
        // Its middle is up to half of 800 beside a face from 1000 to 1800.
        let large = square(1000.0, 1000.0, 800.0);
        let around = |x: f32, y: f32| square(x - 150.0, y - 150.0, 300.0);
        assert!(!kept(large, around(600.0, 1400.0), &[]));
        assert!(kept(large, around(599.0, 1400.0), &[]));
        assert!(!kept(large, around(1400.0, 2200.0), &[]));
        assert!(kept(large, around(1400.0, 2201.0), &[]));
    }

    /// A face of 144 pixels in front of one of 960: the last of three looks has 9 and 60 of them.
    #[test]
    fn the_next_look_tells_what_is_too_small_for_the_one_that_saw_the_large_face() {
        let seen = |step: u32, bounds: Rect| {
            let placement = Placement::whole((1600 >> (2 * step), 1600 >> (2 * step)));
            let look = Look { window: Window::whole(1600, 1600), placement, step, steps: 3 };
            View::new(&look, (1600, 1600)).found(bounds, 0.9, None)
        };
        let (large, small) =
            (Rect::new(300.0, 300.0, 1260.0, 1260.0), Rect::new(320.0, 900.0, 464.0, 1044.0));
        let faces = [seen(0, small), seen(1, large), seen(2, large)];
        let mut found = [&faces[..], &[seen(1, small)]].concat();
        drop_fragments(&mut found);
        assert_eq!(found.len(), 4);
        let mut found = faces.to_vec();
        drop_fragments(&mut found);
        assert_eq!(found, faces[1..], "only the first look saw it");
    }

    #[test]
    fn a_look_of_the_same_size_decides_nothing() {
        let mut found = vec![
            view(0, 0).found(Rect::new(0.0, 0.0, 300.0, 300.0), 0.7, None),
            view(0, 0).found(Rect::new(0.0, 0.0, 900.0, 900.0), 0.9, None),
        ];
        drop_fragments(&mut found);
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn equal_scores_are_in_order_of_step_row_and_column() {
        let rect = |x, y| Rect::new(x, y, x + 10.0, y + 10.0);
        let found = |view: View, x, y| view.found(rect(x, y), 0.5, None);
        let first = found(view(0, 0), 50.0, 50.0);
        assert_eq!(first.place(&found(whole(), 0.0, 0.0)), Ordering::Less);
        assert_eq!(first.place(&found(view(0, 0), 0.0, 60.0)), Ordering::Less);
        assert_eq!(first.place(&found(view(0, 0), 60.0, 50.0)), Ordering::Less);
        assert_eq!(first.place(&first), Ordering::Equal);
    }

    /// Every face of up to 100 pixels is whole in some tile, wherever it is.
    #[test]
    fn no_face_falls_between_tiles() {
        let (frame, side) = ((1500, 1100), 100.0);
        let scales = Scales {
            scale: 1.0,
            max_size: 640,
            method: ScaleMethod::Bilinear,
            pyramid: false,
            tiles: true,
        };
        let looks = crate::preprocess::InputSizes::ANY.looks(frame, Orientation::Identity, &scales);
        let tiles: Vec<_> = looks.filter(|look| look.step == 0).collect();
        assert_eq!(tiles.len(), 6);
        for (x, y) in (0..1400).step_by(7).flat_map(|x| (0..1000).step_by(7).map(move |y| (x, y))) {
            let answers = |look: &Look| {
                let (x, y) = (x as f32 - look.window.x as f32, y as f32 - look.window.y as f32);
                View::new(look, frame).answers_for(&Rect::new(x, y, x + side, y + side))
            };
            assert!(tiles.iter().any(answers), "{x}, {y}");
        }
    }
}
