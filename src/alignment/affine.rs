// SPDX-License-Identifier: MIT OR Apache-2.0

//! Maps of the plane that keep lines straight and parallel.

use crate::geometry::Point;

/// Takes (x, y) to (x₀·x + x₁·y + x₂, y₀·x + y₁·y + y₂).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    pub x: [f64; 3],
    pub y: [f64; 3],
}

impl Affine {
    /// Stretches by `x` and `y`, then moves to the right and down.
    pub const fn scale_and_move((x, y): (f64, f64), (right, down): (f64, f64)) -> Self {
        Self { x: [x, 0.0, right], y: [0.0, y, down] }
    }

    /// The similarity (turn, scale, move) that takes the points `from` nearest to `to`: with the
    /// smallest sum of squared distances, as Umeyama, "Least-squares estimation of transformation
    /// parameters between two point patterns", 1991, has it. Never mirrors.
    ///
    /// `None` where the points are not finite, or `from` all in one place, or turned into one.
    pub fn similarity(from: &[Point], to: &[Point]) -> Option<Self> {
        let (from_middle, to_middle) = (middle(from), middle(to));
        // As complex numbers: the factor that takes `from` to `to`, both around their middles, is
        // Σ conj(from)·to / Σ |from|².
        let (mut cosine, mut sine, mut length) = (0.0, 0.0, 0.0);
        for (from, to) in from.iter().zip(to) {
            let (px, py) = (f64::from(from.x) - from_middle.0, f64::from(from.y) - from_middle.1);
            let (qx, qy) = (f64::from(to.x) - to_middle.0, f64::from(to.y) - to_middle.1);
            cosine += px * qx + py * qy;
            sine += px * qy - py * qx;
            length += px * px + py * py;
        }
        let (a, b) = (cosine / length, sine / length);
        let (x, y) = from_middle;
        let similarity = Self {
            x: [a, -b, to_middle.0 - a * x + b * y],
            y: [b, a, to_middle.1 - b * x - a * y],
        };
        similarity.inverse().map(|_| similarity)
    }

    pub fn apply(&self, point: Point) -> Point {
        let (x, y) = self.map(point.x.into(), point.y.into());
        Point { x: x as f32, y: y as f32 }
    }

    pub fn map(&self, x: f64, y: f64) -> (f64, f64) {
        let along = |[a, b, c]: [f64; 3]| a * x + b * y + c;
        (along(self.x), along(self.y))
    }

    /// This map, then `next`.
    pub fn then(&self, next: &Self) -> Self {
        let row = |[a, b, c]: [f64; 3]| {
            let mut row = [0, 1, 2].map(|i| a * self.x[i] + b * self.y[i]);
            row[2] += c;
            row
        };
        Self { x: row(next.x), y: row(next.y) }
    }

    /// `None` where it takes areas to lines, or its numbers are not finite.
    pub fn inverse(&self) -> Option<Self> {
        let ([a, b, c], [d, e, f]) = (self.x, self.y);
        let determinant = a * e - b * d;
        let inverse = Self {
            x: [e, -b, b * f - c * e].map(|value| value / determinant),
            y: [-d, a, c * d - a * f].map(|value| value / determinant),
        };
        let finite = |map: &Self| map.x.iter().chain(&map.y).all(|value| value.is_finite());
        (finite(self) && finite(&inverse)).then_some(inverse)
    }

    /// How long a step of 1 to the right and one of 1 down become.
    pub fn steps(&self) -> (f64, f64) {
        (self.x[0].hypot(self.y[0]), self.x[1].hypot(self.y[1]))
    }
}

fn middle(points: &[Point]) -> (f64, f64) {
    let count = points.len() as f64;
    let sum = |value: fn(&Point) -> f32| points.iter().map(value).map(f64::from).sum::<f64>();
    (sum(|point| point.x) / count, sum(|point| point.y) / count)
}
