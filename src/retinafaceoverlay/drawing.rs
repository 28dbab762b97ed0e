// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces on a canvas: boxes, landmarks, and plates with text.

use std::fmt::Write;

use ab_glyph::InvalidFont;
use gst_video::VideoInfo;

use super::{
    canvas::{Area, Canvas, Ink, Shape},
    marks::{Dot, Marks},
    settings::Settings,
};
use crate::{
    face::{Face, Landmarks, Tracking, TrackingState},
    geometry::{Point, Rect},
};

/// In the order of [`Landmarks::NAMES`]; the image's left is warm, its right is cold.
const LANDMARK_COLORS: [u32; 5] = [0xffff_3b30, 0xff2f_80ff, 0xffff_d60a, 0xffff_5cc8, 0xff32_e6ff];
/// Around each landmark, so that it shows on skin of its own brightness.
const OUTLINE_COLOR: u32 = 0xb000_0000;
/// For neighbouring ids, without their opacity: colours that people with any colour vision tell apart;
/// Okabe and Ito, Color Universal Design, 2008.
const ID_COLORS: [u32; 7] = [0xe69f00, 0x56b4e9, 0x009e73, 0xf0e442, 0x0072b2, 0xd55e00, 0xcc79a7];

/// Further out than any frame reaches, and small enough to compute with in `i32`.
const FAR: f32 = 65_536.0;
const NOTHING: Shape = Shape { area: Area::new(0, 0, 0, 0), dash: None };

/// Draws on frames of one format and size. Nothing is allocated for a face once all sizes of marks have
/// been used.
pub struct Drawing {
    info: VideoInfo,
    outline_ink: Ink,
    landmark_inks: [Ink; 5],
    marks: Marks,
    /// The text on a plate.
    text: String,
}

impl Drawing {
    pub fn new(info: &VideoInfo) -> Result<Self, InvalidFont> {
        Ok(Self {
            outline_ink: Ink::new(OUTLINE_COLOR, info),
            landmark_inks: LANDMARK_COLORS.map(|color| Ink::new(color, info)),
            marks: Marks::new(info.width(), info.height())?,
            text: String::new(),
            info: info.clone(),
        })
    }

    pub fn draw(&mut self, canvas: &mut Canvas, face: &Face, settings: &Settings) {
        let bounds = pixels(&face.bounds);
        let landmarks = face.landmarks.filter(|_| settings.draw_landmarks);
        if let Some(landmarks) = &landmarks {
            self.draw_landmarks(canvas, landmarks, bounds.as_ref());
        }
        let Some(bounds) = bounds else { return };
        let line_width = match settings.line_width {
            0 => self.marks.line_width(&bounds),
            width => width as i32,
        };
        let dash = is_held(face).then_some(3 * line_width);
        let sides = match settings.draw_boxes {
            true => sides(&bounds, line_width).map(|area| Shape { area, dash }),
            false => [NOTHING; 4],
        };
        let plate = self.plate(canvas, face, &bounds, line_width, settings);
        let plate_shape = plate.map_or(NOTHING, |area| Shape { area, dash: None });

        // In one go, as all of it is one shape: a translucent color must not add up where parts meet.
        let [top, left, right, bottom] = sides;
        let color = color(face, settings);
        canvas.fill(&[top, left, right, bottom, plate_shape], &Ink::new(color, &self.info));
        if let Some(plate) = plate {
            let lettering = self.marks.lettering(&bounds);
            let padding = padding(lettering.height());
            let ink = Ink::on(color, &self.info);
            lettering.write(canvas, &self.text, plate.left + padding, plate.bottom - padding, &ink);
        }
    }

    /// Draws points that are not a face's.
    pub fn draw_points(&mut self, canvas: &mut Canvas, points: &[Point], settings: &Settings) {
        let Some(dot) = self.marks.dot(None).filter(|_| settings.draw_landmarks) else { return };
        let ink = Ink::new(settings.color, &self.info);
        for point in points {
            draw_point(canvas, point, dot, &ink, &self.outline_ink);
        }
    }

    fn draw_landmarks(
        &mut self,
        canvas: &mut Canvas,
        landmarks: &Landmarks,
        bounds: Option<&Area>,
    ) {
        let Some(dot) = self.marks.dot(bounds) else { return };
        for (point, ink) in landmarks.0.iter().zip(&self.landmark_inks) {
            draw_point(canvas, point, dot, ink, &self.outline_ink);
        }
    }

    /// Puts what there is to write about a face into `text`, and says where it goes; none where there is
    /// no place for it. Where there is none for all of it, the id goes alone.
    fn plate(
        &mut self,
        canvas: &Canvas,
        face: &Face,
        bounds: &Area,
        line_width: i32,
        settings: &Settings,
    ) -> Option<Area> {
        let id = face.tracking.filter(|_| settings.draw_ids).map(|tracking| tracking.id);
        let confidence =
            face.confidence.filter(|value| settings.draw_confidence && !value.is_nan());
        let both = (id, confidence);
        for (id, confidence) in [both, (id, None)] {
            self.text.clear();
            // Writing to a string does not fail.
            let _ = match (id, confidence.map(|value| value.clamp(0.0, 1.0))) {
                (Some(id), Some(confidence)) => write!(self.text, "#{id} {confidence:.2}"),
                (Some(id), None) => write!(self.text, "#{id}"),
                (None, Some(confidence)) => write!(self.text, "{confidence:.2}"),
                (None, None) => return None,
            };
            let lettering = self.marks.lettering(bounds);
            let padding = padding(lettering.height());
            let size =
                (lettering.width(&self.text) + 2 * padding, lettering.height() + 2 * padding);
            let place = place(bounds, &canvas.area(), line_width, size);
            let place = place.filter(|plate| !covers_landmarks(plate, face));
            if place.is_some() {
                return place;
            }
        }
        None
    }
}

fn is_held(face: &Face) -> bool {
    face.tracking.is_some_and(|Tracking { state, .. }| state == TrackingState::Held)
}

/// The colour of a face's box and plate, 0xAARRGGBB.
fn color(face: &Face, settings: &Settings) -> u32 {
    match face.tracking {
        Some(Tracking { id, .. }) if settings.color_by_id => {
            let index = id % ID_COLORS.len() as u64;
            settings.color & 0xff00_0000 | ID_COLORS[index as usize]
        }
        _ => settings.color,
    }
}

/// Around text of this height.
fn padding(height: i32) -> i32 {
    (height + 1) / 3
}

fn draw_point(canvas: &mut Canvas, point: &Point, dot: &Dot, ink: &Ink, outline_ink: &Ink) {
    if let Some((x, y)) = pixel(point) {
        canvas.stamp(&dot.outline, x, y, outline_ink);
        canvas.stamp(&dot.disc, x, y, ink);
    }
}

/// The pixel that holds `point`; none for a point that is not a number.
fn pixel(point: &Point) -> Option<(i32, i32)> {
    let whole = |value: f32| value.floor().clamp(-FAR, FAR) as i32;
    (!point.x.is_nan() && !point.y.is_nan()).then(|| (whole(point.x), whole(point.y)))
}

/// The pixels nearest to `bounds`, at least one; none for a box without area or with a corner that
/// is not a number.
fn pixels(bounds: &Rect) -> Option<Area> {
    if !(bounds.width() > 0.0 && bounds.height() > 0.0) {
        return None;
    }
    let whole = |value: f32| value.round().clamp(-FAR, FAR) as i32;
    let (left, top) = (whole(bounds.x_min), whole(bounds.y_min));
    Some(Area {
        left,
        top,
        right: whole(bounds.x_max).max(left + 1),
        bottom: whole(bounds.y_max).max(top + 1),
    })
}

/// The four sides of a box, drawn inwards: a box at the frame's edge shows in full.
fn sides(bounds: &Area, line_width: i32) -> [Area; 4] {
    [
        Area { bottom: bounds.top + line_width, ..*bounds },
        Area { right: bounds.left + line_width, ..*bounds },
        Area { left: bounds.right - line_width, ..*bounds },
        Area { top: bounds.bottom - line_width, ..*bounds },
    ]
    .map(|side| side.intersection(bounds))
}

/// Where a plate of this width and height goes: on top of the box, or inside where there is no room
/// above; none for a box out of sight, and where the plate is so much wider than the face that those
/// of a crowd would bury it.
fn place(
    bounds: &Area,
    frame: &Area,
    line_width: i32,
    (width, height): (i32, i32),
) -> Option<Area> {
    if bounds.intersection(frame).is_empty() || width > 2 * bounds.width() {
        return None;
    }
    let (left, top) = if bounds.top >= height {
        (bounds.left, bounds.top - height)
    } else {
        (bounds.left + line_width, (bounds.top + line_width).max(0))
    };
    let left = left.min(frame.right - width).max(0);
    Some(Area::new(left, top, width, height))
}

fn covers_landmarks(plate: &Area, face: &Face) -> bool {
    let mut points = face.landmarks.iter().flat_map(|landmarks| &landmarks.0);
    points.any(|point| pixel(point).is_some_and(|(x, y)| plate.contains(x, y)))
}
