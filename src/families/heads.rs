// SPDX-License-Identifier: MIT OR Apache-2.0

//! How to read the outputs of one network at one input size.

use super::{family::Family, level::Level};

/// What a score value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// The probability of a face, 0 to 1.
    Probability,
    /// Its logit: the face's raw output minus the background's.
    Logit,
}

/// The outputs of a network for one input size.
#[derive(Clone, Debug)]
pub struct Heads {
    pub family: &'static dyn Family,
    pub score: Score,
    pub levels: Vec<Level>,
}

impl Heads {
    /// How many values output `index` must have for every view to lie inside it.
    pub fn output_len(&self, index: usize) -> usize {
        self.levels.iter().map(|level| level.output_len(index)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::families::pytorch::RETINAFACE;

    #[test]
    fn outputs_are_as_long_as_the_level_that_needs_most() {
        let level = |output, grid| Level::merged(output, 8, grid, 2, false);
        let levels = vec![level(0, (3, 1)), level(0, (5, 2)), level(1, (2, 2))];
        let heads = Heads { family: &RETINAFACE, score: Score::Logit, levels };
        // Two anchors with a score and four box values each: ten planes.
        assert_eq!(heads.output_len(0), 10 * 10);
        assert_eq!(heads.output_len(1), 10 * 4);
        assert_eq!(heads.output_len(2), 0);
        assert_eq!(Heads { levels: Vec::new(), ..heads }.output_len(0), 0);
    }
}
