// SPDX-License-Identifier: MIT OR Apache-2.0

//! Points and rectangles in pixels, as floats: x grows to the right, y downwards.

/// A position in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

/// An axis-aligned rectangle in pixels, from `(x_min, y_min)` to `(x_max, y_max)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    pub x_min: f32,
    pub y_min: f32,
    pub x_max: f32,
    pub y_max: f32,
}

impl Rect {
    pub const fn new(x_min: f32, y_min: f32, x_max: f32, y_max: f32) -> Self {
        Self { x_min, y_min, x_max, y_max }
    }

    /// From `centre` as far as this to each side.
    pub fn around(centre: Point, half_width: f32, half_height: f32) -> Self {
        Self {
            x_min: centre.x - half_width,
            y_min: centre.y - half_height,
            x_max: centre.x + half_width,
            y_max: centre.y + half_height,
        }
    }

    /// Negative when the corners are the wrong way round.
    pub fn width(&self) -> f32 {
        self.x_max - self.x_min
    }

    /// Negative when the corners are the wrong way round.
    pub fn height(&self) -> f32 {
        self.y_max - self.y_min
    }

    /// The area in square pixels; 0 for an empty rectangle.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    pub fn middle(&self) -> Point {
        Point { x: (self.x_min + self.x_max) / 2.0, y: (self.y_min + self.y_max) / 2.0 }
    }

    /// Whether a point is inside or on an edge.
    pub fn contains(&self, point: Point) -> bool {
        (self.x_min..=self.x_max).contains(&point.x) && (self.y_min..=self.y_max).contains(&point.y)
    }

    pub fn is_finite(&self) -> bool {
        [self.x_min, self.y_min, self.x_max, self.y_max].iter().all(|edge| edge.is_finite())
    }

    /// The part that both rectangles cover; empty (of no area) when they do not touch.
    pub fn intersection(&self, other: &Rect) -> Rect {
        Rect {
            x_min: self.x_min.max(other.x_min),
            y_min: self.y_min.max(other.y_min),
            x_max: self.x_max.min(other.x_max),
            y_max: self.y_max.min(other.y_max),
        }
    }

    /// Intersection over union, from 0 (apart, or both empty) to 1 (the same).
    ///
    /// ```
    /// # use gstretinaface::geometry::Rect;
    /// let left = Rect::new(0.0, 0.0, 2.0, 1.0);
    /// let right = Rect::new(1.0, 0.0, 3.0, 1.0);
    /// assert_eq!(left.iou(&right), 1.0 / 3.0);
    /// ```
    pub fn iou(&self, other: &Rect) -> f32 {
        let intersection = self.intersection(other).area();
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// The part inside a frame of `width` × `height` pixels.
    pub fn clip(&self, width: f32, height: f32) -> Rect {
        Rect {
            x_min: self.x_min.clamp(0.0, width),
            y_min: self.y_min.clamp(0.0, height),
            x_max: self.x_max.clamp(0.0, width),
            y_max: self.y_max.clamp(0.0, height),
        }
    }

    /// With x multiplied by `x` and y by `y`.
    pub fn scale(&self, x: f32, y: f32) -> Rect {
        Rect {
            x_min: self.x_min * x,
            y_min: self.y_min * y,
            x_max: self.x_max * x,
            y_max: self.y_max * y,
        }
    }

    /// Grown on each side by `margin` of its own width and height.
    pub fn expand(&self, margin: f32) -> Rect {
        let (dx, dy) = (self.width() * margin, self.height() * margin);
        Rect {
            x_min: self.x_min - dx,
            y_min: self.y_min - dy,
            x_max: self.x_max + dx,
            y_max: self.y_max + dy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECT: Rect = Rect::new(10.0, 20.0, 40.0, 30.0);

    #[test]
    fn sides_and_area() {
        assert_eq!((RECT.width(), RECT.height(), RECT.area()), (30.0, 10.0, 300.0));
        let reversed = Rect::new(40.0, 20.0, 10.0, 30.0);
        assert_eq!((reversed.width(), reversed.height(), reversed.area()), (-30.0, 10.0, 0.0));
        let upside_down = Rect::new(10.0, 30.0, 40.0, 20.0);
        assert_eq!((upside_down.height(), upside_down.area()), (-10.0, 0.0));
    }

    #[test]
    fn around_a_centre() {
        let rect = Rect::around(Point { x: 25.0, y: 25.0 }, 15.0, 5.0);
        assert_eq!(rect, RECT);
    }

    #[test]
    fn a_rectangle_contains_its_edges() {
        assert_eq!(RECT.middle(), Point { x: 25.0, y: 25.0 });
        let contains = |x, y| RECT.contains(Point { x, y });
        assert!(contains(10.0, 20.0) && contains(40.0, 30.0) && contains(25.0, 25.0));
        assert!(!contains(9.0, 25.0) && !contains(41.0, 25.0));
        assert!(!contains(25.0, 19.0) && !contains(25.0, 31.0));
    }

    #[test]
    fn each_edge_has_to_be_finite() {
        assert!(RECT.is_finite());
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!Rect { x_min: value, ..RECT }.is_finite());
            assert!(!Rect { y_min: value, ..RECT }.is_finite());
            assert!(!Rect { x_max: value, ..RECT }.is_finite());
            assert!(!Rect { y_max: value, ..RECT }.is_finite());
        }
    }

    #[test]
    fn what_two_have_in_common() {
        let table = [
            (Rect::new(30.0, 25.0, 60.0, 50.0), Rect::new(30.0, 25.0, 40.0, 30.0), 50.0),
            (Rect::new(0.0, 0.0, 20.0, 22.0), Rect::new(10.0, 20.0, 20.0, 22.0), 20.0),
            (Rect::new(0.0, 0.0, 100.0, 100.0), RECT, 300.0),
        ];
        for (other, common, area) in table {
            assert_eq!(RECT.intersection(&other), common);
            assert_eq!(other.intersection(&RECT).area(), area);
        }
        assert_eq!(RECT.intersection(&Rect::new(50.0, 20.0, 60.0, 30.0)).area(), 0.0);
    }

    /// 50 of 300 + 750 − 50, and 10 of 10 + 300 − 10.
    #[test]
    fn intersection_over_union() {
        assert_eq!(RECT.iou(&Rect::new(30.0, 25.0, 60.0, 50.0)), 0.05);
        assert_eq!(RECT.iou(&Rect::new(10.0, 20.0, 15.0, 22.0)), 10.0 / 300.0);
        assert_eq!(RECT.iou(&RECT), 1.0);
        let small = Rect::new(0.0, 0.0, 0.5, 0.5);
        assert_eq!(small.iou(&small), 1.0);
        assert_eq!(RECT.iou(&Rect::new(50.0, 60.0, 60.0, 70.0)), 0.0);
        let empty = Rect::new(1.0, 1.0, 1.0, 1.0);
        assert_eq!(empty.iou(&empty), 0.0);
    }

    #[test]
    fn clipping_stops_at_each_edge() {
        let table = [
            (Rect::new(-5.0, -6.0, 7.0, 8.0), Rect::new(0.0, 0.0, 7.0, 8.0)),
            (Rect::new(90.0, 40.0, 110.0, 60.0), Rect::new(90.0, 40.0, 100.0, 50.0)),
            (Rect::new(120.0, 70.0, 130.0, 80.0), Rect::new(100.0, 50.0, 100.0, 50.0)),
            (Rect::new(-9.0, -8.0, -7.0, -6.0), Rect::new(0.0, 0.0, 0.0, 0.0)),
        ];
        for (rect, clipped) in table {
            assert_eq!(rect.clip(100.0, 50.0), clipped);
        }
    }

    #[test]
    fn scaled_and_expanded() {
        assert_eq!(RECT.scale(2.0, 0.5), Rect::new(20.0, 10.0, 80.0, 15.0));
        // A tenth of 30 and of 10 on each side.
        assert_eq!(RECT.expand(0.1), Rect::new(7.0, 19.0, 43.0, 31.0));
    }
}
