// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the element's properties set.

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub draw_boxes: bool,
    pub draw_landmarks: bool,
    pub draw_confidence: bool,
    pub draw_ids: bool,
    pub color: u32,
    pub color_by_id: bool,
    pub line_width: u32,
}

impl Settings {
    pub const DEFAULT: Self = Self {
        draw_boxes: true,
        draw_landmarks: true,
        draw_confidence: true,
        draw_ids: true,
        color: 0xff00_e676,
        color_by_id: false,
        line_width: 0,
    };

    pub fn draws_anything(&self) -> bool {
        self.draw_boxes || self.draw_landmarks || self.draw_confidence || self.draw_ids
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}
