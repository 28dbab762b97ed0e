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
