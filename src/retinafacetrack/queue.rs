// SPDX-License-Identifier: MIT OR Apache-2.0

//! What waits for the frames after it.

use std::collections::VecDeque;

pub enum Item {
    /// With detections that are known to the tracker, by its number there.
    Frame { buffer: gst::Buffer, number: u64 },
    /// Between frames, or in the place of so many.
    Event { event: gst::Event, frames: u64 },
}

impl Item {
    /// How many frames it counts as.
    fn frames(&self) -> u64 {
        match self {
            Self::Frame { .. } => 1,
            Self::Event { frames, .. } => *frames,
        }
    }
}

/// Frames and events in their order.
#[derive(Default)]
pub struct Queue {
    items: VecDeque<Item>,
    frames: u64,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn push(&mut self, item: Item) {
        self.frames = self.frames.saturating_add(item.frames());
        self.items.push_back(item);
    }

    /// The oldest, if `keep` frames stay; an event leaves as soon as it is the oldest.
    pub fn pop(&mut self, keep: u64) -> Option<Item> {
        if matches!(self.items.front()?, Item::Frame { .. }) && self.frames <= keep {
            return None;
        }
        let item = self.items.pop_front()?;
        self.frames = self.frames.saturating_sub(item.frames());
        Some(item)
    }
}
