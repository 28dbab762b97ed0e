// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a stored picture has to be turned to be upright.

use crate::geometry::{Point, Rect};

/// What has to be done to the picture as it is stored to show it upright: EXIF's eight orientations,
/// in GStreamer's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Orientation {
    /// Nothing (EXIF 1).
    #[default]
    Identity,
    /// Rotate by 90° clockwise (EXIF 6).
    Rotate90,
    /// Rotate by 180° (EXIF 3).
    Rotate180,
    /// Rotate by 90° counterclockwise (EXIF 8).
    Rotate270,
    /// Swap left and right (EXIF 2).
    FlipHorizontal,
    /// Swap top and bottom (EXIF 4).
    FlipVertical,
    /// Mirror at the diagonal from the upper left to the lower right (EXIF 5).
    Transpose,
    /// Mirror at the diagonal from the upper right to the lower left (EXIF 7).
    Transverse,
}

impl Orientation {
    pub const ALL: [Self; 8] = [
        Self::Identity,
        Self::Rotate90,
        Self::Rotate180,
        Self::Rotate270,
        Self::FlipHorizontal,
        Self::FlipVertical,
        Self::Transpose,
        Self::Transverse,
    ];

    /// Whether rows of the stored picture are columns of the upright one.
    pub fn is_transposed(self) -> bool {
        matches!(self, Self::Rotate90 | Self::Rotate270 | Self::Transpose | Self::Transverse)
    }

    /// Whether the stored picture is read from right to left.
    pub fn is_flipped_x(self) -> bool {
        matches!(self, Self::Rotate180 | Self::Rotate270 | Self::FlipHorizontal | Self::Transverse)
    }

    /// Whether the stored picture is read from bottom to top.
    pub fn is_flipped_y(self) -> bool {
        matches!(self, Self::Rotate90 | Self::Rotate180 | Self::FlipVertical | Self::Transverse)
    }

    /// Width and height of the upright picture where the stored one has these, and the other way
    /// round.
    pub fn turn<T>(self, (width, height): (T, T)) -> (T, T) {
        if self.is_transposed() { (height, width) } else { (width, height) }
    }

    /// Where a point of the upright picture is in the stored one, which has this width and height.
    pub fn stored_point(self, upright: Point, (width, height): (f32, f32)) -> Point {
        let (x, y) = self.turn((upright.x, upright.y));
        Point {
            x: if self.is_flipped_x() { width - x } else { x },
            y: if self.is_flipped_y() { height - y } else { y },
        }
    }

    /// Where a rectangle of the upright picture is in the stored one, which has this width and
    /// height.
    pub fn stored_rect(self, upright: &Rect, size: (f32, f32)) -> Rect {
        let corner = |x, y| self.stored_point(Point { x, y }, size);
        let first = corner(upright.x_min, upright.y_min);
        let last = corner(upright.x_max, upright.y_max);
        let (x_min, x_max) =
            if self.is_flipped_x() { (last.x, first.x) } else { (first.x, last.x) };
        let (y_min, y_max) =
            if self.is_flipped_y() { (last.y, first.y) } else { (first.y, last.y) };
        Rect { x_min, y_min, x_max, y_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored, 3 pixels by 2: `a b c` over `d e f`. Upright, as EXIF 2.32 (table 6, tag 274) has the
    /// eight: row 0 and column 0 of the stored picture are the sides that the table names.
    const UPRIGHT: [(Orientation, &[&str]); 8] = [
        (Orientation::Identity, &["abc", "def"]),
        (Orientation::Rotate90, &["da", "eb", "fc"]),
        (Orientation::Rotate180, &["fed", "cba"]),
        (Orientation::Rotate270, &["cf", "be", "ad"]),
        (Orientation::FlipHorizontal, &["cba", "fed"]),
        (Orientation::FlipVertical, &["def", "abc"]),
        (Orientation::Transpose, &["ad", "be", "cf"]),
        (Orientation::Transverse, &["fc", "eb", "da"]),
    ];

    #[test]
    fn points_go_back_to_the_stored_pixel() {
        let stored = ["abc", "def"];
        for (orientation, upright) in UPRIGHT {
            let size = (upright[0].len(), upright.len());
            assert_eq!(orientation.turn((3, 2)), size, "{orientation:?}");
            assert_eq!(orientation.turn(size), (3, 2), "{orientation:?}");
            for (y, row) in upright.iter().enumerate() {
                for (x, pixel) in row.chars().enumerate() {
                    let middle = Point { x: x as f32 + 0.5, y: y as f32 + 0.5 };
                    let at = orientation.stored_point(middle, (3.0, 2.0));
                    let found = stored[at.y as usize].chars().nth(at.x as usize);
                    assert_eq!(found, Some(pixel), "{orientation:?} {x}, {y}");
                }
            }
        }
        assert_eq!(UPRIGHT.map(|(orientation, _)| orientation), Orientation::ALL);
    }

    #[test]
    fn rectangles_stay_the_right_way_round() {
        // Of 10×20 stored pixels; the upright picture has 20×10 where it is transposed.
        let upright = Rect::new(1.0, 2.0, 4.0, 8.0);
        let stored = |orientation: Orientation| orientation.stored_rect(&upright, (10.0, 20.0));
        assert_eq!(stored(Orientation::Identity), upright);
        assert_eq!(stored(Orientation::Rotate90), Rect::new(2.0, 16.0, 8.0, 19.0));
        assert_eq!(stored(Orientation::Rotate180), Rect::new(6.0, 12.0, 9.0, 18.0));
        assert_eq!(stored(Orientation::Rotate270), Rect::new(2.0, 1.0, 8.0, 4.0));
        assert_eq!(stored(Orientation::FlipHorizontal), Rect::new(6.0, 2.0, 9.0, 8.0));
        assert_eq!(stored(Orientation::FlipVertical), Rect::new(1.0, 12.0, 4.0, 18.0));
        assert_eq!(stored(Orientation::Transpose), Rect::new(2.0, 1.0, 8.0, 4.0));
        assert_eq!(stored(Orientation::Transverse), Rect::new(2.0, 16.0, 8.0, 19.0));
    }
}
