// SPDX-License-Identifier: MIT OR Apache-2.0

//! What waits for the frames after it.

use std::collections::VecDeque;

/// A frame whose detections are known to the tracker, by its number there; or an event between frames.
pub enum Item {
    Frame { buffer: gst::Buffer, number: u64 },
    Event(gst::Event),
}

/// Frames and events in their order.
#[derive(Default)]
pub struct Queue {
    items: VecDeque<Item>,
    frames: usize,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn push(&mut self, item: Item) {
        self.frames += usize::from(matches!(item, Item::Frame { .. }));
        self.items.push_back(item);
    }

    /// The oldest, if `keep` frames stay; an event leaves as soon as it is the oldest.
    pub fn pop(&mut self, keep: usize) -> Option<Item> {
        if matches!(self.items.front()?, Item::Frame { .. }) {
            if self.frames <= keep {
                return None;
            }
            self.frames -= 1;
        }
        self.items.pop_front()
    }
}
