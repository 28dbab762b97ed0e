// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a face moves: a Kalman filter with constant speed.
//!
//! It is the filter of SORT's successors with the noise of BoT-SORT (Aharon et al., arXiv:2206.14651,
//! after DeepSORT): the state is a box's middle, width and height, and how much each changes a frame;
//! noise is in proportion to the box. All its covariances are diagonal, so that it is four filters of
//! one coordinate each, which give the same numbers.

use crate::geometry::{Point, Rect};

/// Standard deviations as fractions of a box's side: of a detection and of a step (`POSITION`), and of
/// the speed's change in a frame (`SPEED`).
const POSITION: f32 = 1.0 / 20.0;
const SPEED: f32 = 1.0 / 160.0;
/// A prediction makes a box at most this many times as large or as small as it was.
const MOST_GROWTH: f32 = 1.5;

/// A value that is measured now and then, and its change a frame.
#[derive(Clone, Copy, Debug)]
struct Coordinate {
    value: f32,
    speed: f32,
    /// Covariance: of the value, of both, of the speed.
    value_variance: f32,
    covariance: f32,
    speed_variance: f32,
}

impl Coordinate {
    /// Seen once, of a box with this side.
    fn new(value: f32, side: f32) -> Self {
        Self {
            value,
            speed: 0.0,
            value_variance: (2.0 * POSITION * side).powi(2),
            covariance: 0.0,
            speed_variance: (10.0 * SPEED * side).powi(2),
        }
    }

    /// A frame later.
    fn advance(&mut self, side: f32) {
        self.value += self.speed;
        self.value_variance +=
            2.0 * self.covariance + self.speed_variance + (POSITION * side).powi(2);
        self.covariance += self.speed_variance;
        self.speed_variance += (SPEED * side).powi(2);
    }

    /// Measured, with a standard deviation that is so many times the usual.
    fn correct(&mut self, value: f32, side: f32, doubt: f32) {
        let variance = self.value_variance + (doubt * POSITION * side).powi(2);
        let gain = self.value_variance / variance;
        let speed_gain = self.covariance / variance;
        let surprise = value - self.value;
        self.value += gain * surprise;
        self.speed += speed_gain * surprise;
        self.speed_variance -= speed_gain * self.covariance;
        self.covariance *= 1.0 - gain;
        self.value_variance *= 1.0 - gain;
    }
}

/// The movement of one face.
#[derive(Clone, Copy, Debug)]
pub struct Motion {
    /// Of the last detection.
    bounds: Rect,
    /// x and y of the middle, width, height.
    coordinates: [Coordinate; 4],
}

/// x and y of the middle, width, height; and the side that each one's noise depends on.
fn coordinates(bounds: &Rect) -> ([f32; 4], [f32; 4]) {
    let middle = bounds.middle();
    let (width, height) = (bounds.width(), bounds.height());
    // Without noise at all, a filter would divide by zero.
    let (side_x, side_y) = (width.max(1.0), height.max(1.0));
    ([middle.x, middle.y, width, height], [side_x, side_y, side_x, side_y])
}

impl Motion {
    /// Of a face that is seen for the first time.
    pub fn new(bounds: &Rect) -> Self {
        let (values, sides) = coordinates(bounds);
        let coordinates = std::array::from_fn(|i| Coordinate::new(values[i], sides[i]));
        Self { bounds: *bounds, coordinates }
    }

    /// The face is seen again, this many frames after the last time. `doubt` is from 1 on: how many
    /// times as far off as a good detection this one may be.
    pub fn observe(&mut self, bounds: &Rect, frames: u64, doubt: f32) {
        let (values, sides) = coordinates(bounds);
        for ((coordinate, value), side) in self.coordinates.iter_mut().zip(values).zip(sides) {
            for _ in 0..frames {
                coordinate.advance(side);
            }
            coordinate.correct(value, side, doubt);
        }
        self.bounds = *bounds;
    }

    /// Where the face is likely to be detected, this many frames after it was last seen: as the filter
    /// says, which one box that is off does not mislead much.
    pub fn expect(&self, frames: u64) -> Rect {
        self.move_from(self.coordinates.map(|coordinate| coordinate.value), frames)
    }

    /// Where to put the face, this many frames after it was last seen: the last detection, moved and
    /// grown as the filter says.
    pub fn predict(&self, frames: u64) -> Rect {
        self.move_from(coordinates(&self.bounds).0, frames)
    }

    fn move_from(&self, [x, y, width, height]: [f32; 4], frames: u64) -> Rect {
        let frames = frames as f32;
        let [speed_x, speed_y, widening, heightening] = self.coordinates.map(|c| c.speed);
        let middle = Point { x: x + frames * speed_x, y: y + frames * speed_y };
        let side = |now: f32, change: f32| {
            let now = now.max(0.0);
            (now + frames * change).clamp(now / MOST_GROWTH, now * MOST_GROWTH)
        };
        Rect::around(middle, side(width, widening) / 2.0, side(height, heightening) / 2.0)
    }

    /// How far its middle moves in a frame.
    pub fn speed(&self) -> Point {
        Point { x: self.coordinates[0].speed, y: self.coordinates[1].speed }
    }
}
