// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use gst::{prelude::*, subclass::prelude::*};
use gst_base::subclass::prelude::*;
use gst_video::{VideoFormat, VideoInfo};

use super::canvas::{Area, Canvas, Ink, Lettering, Stencil};
use crate::{
    face::Face,
    frame::Layout,
    geometry::{Point, Rect},
    gstreamer::{self, BadFrame, BadFrames},
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "retinafaceoverlay",
        gst::DebugColorFlags::empty(),
        Some("Draws faces on video"),
    )
});

const MAX_SIZE: i32 = 8192;

const FORMATS: [VideoFormat; 13] = [
    VideoFormat::Bgr,
    VideoFormat::Rgb,
    VideoFormat::Bgrx,
    VideoFormat::Rgbx,
    VideoFormat::Xrgb,
    VideoFormat::Xbgr,
    VideoFormat::Bgra,
    VideoFormat::Rgba,
    VideoFormat::Argb,
    VideoFormat::Abgr,
    VideoFormat::Nv12,
    VideoFormat::I420,
    VideoFormat::Gray8,
];

/// In the order of [`crate::face::Landmarks::NAMES`]; the image's left is warm, its right is cold.
const LANDMARK_COLORS: [u32; 5] = [0xffff_3b30, 0xff2f_80ff, 0xffff_d60a, 0xffff_5cc8, 0xff32_e6ff];
/// Around each landmark, so that it shows on skin of its own brightness.
const OUTLINE_COLOR: u32 = 0xb000_0000;

/// Further out than any frame reaches, and small enough to compute with in `i32`.
const FAR: f32 = 65_536.0;
const NOTHING: Area = Area::new(0, 0, 0, 0);

#[derive(Clone, Copy, Debug)]
struct Settings {
    draw_boxes: bool,
    draw_landmarks: bool,
    draw_confidence: bool,
    color: u32,
    line_width: u32,
}

impl Settings {
    const DEFAULT: Self = Self {
        draw_boxes: true,
        draw_landmarks: true,
        draw_confidence: true,
        color: 0xff00_e676,
        line_width: 0,
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What depends on the caps alone, so that nothing has to be rasterised per frame.
struct State {
    info: VideoInfo,
    layout: Layout,
    outline_ink: Ink,
    landmark_inks: [Ink; 5],
    marks: Marks,
    /// For faces narrower than their own confidence, which the others would bury.
    small_marks: Marks,
}

impl State {
    fn new(info: VideoInfo, layout: Layout) -> Result<Self, gst::LoggableError> {
        let height = info.height() as f32;
        Ok(Self {
            outline_ink: Ink::new(OUTLINE_COLOR, &info),
            landmark_inks: LANDMARK_COLORS.map(|color| Ink::new(color, &info)),
            marks: Marks::new(height)?,
            small_marks: Marks::new(height / 3.0)?,
            layout,
            info,
        })
    }

    fn marks(&self, bounds: Option<&Area>) -> &Marks {
        match bounds {
            Some(bounds) if bounds.right - bounds.left >= self.marks.plate_width => &self.marks,
            _ => &self.small_marks,
        }
    }
}

/// What is drawn on a face, in one size.
struct Marks {
    line_width: i32,
    dot: Stencil,
    dot_outline: Stencil,
    lettering: Lettering,
    padding: i32,
    plate_width: i32,
    plate_height: i32,
}

impl Marks {
    /// Sizes grow with the frame, but slower: a small frame needs its text to be legible, a large
    /// one has the pixels to draw it finely.
    fn new(frame_height: f32) -> Result<Self, gst::LoggableError> {
        let line_width = (frame_height / 300.0).round().max(2.0);
        let radius = frame_height / 240.0 + 1.0;
        let text_size = (frame_height / 45.0).round() + 8.0;
        let padding = (text_size * 0.25).round() as i32;
        let disc = |radius| {
            Stencil::disc(radius)
                .ok_or_else(|| gst::loggable_error!(CAT, "Cannot rasterise a disc"))
        };
        let lettering = Lettering::new(text_size)
            .map_err(|err| gst::loggable_error!(CAT, "Cannot read the bundled font: {err}"))?;
        Ok(Self {
            line_width: line_width as i32,
            dot: disc(radius)?,
            dot_outline: disc(radius + 1.0)?,
            padding,
            plate_width: lettering.width() + 2 * padding,
            plate_height: lettering.height() + 2 * padding,
            lettering,
        })
    }
}

#[derive(Default, glib::Properties)]
#[properties(wrapper_type = super::RetinaFaceOverlay)]
pub struct RetinaFaceOverlay {
    #[property(
        name = "draw-boxes",
        nick = "Draw boxes",
        blurb = "Draw a box around each face",
        get, set, type = bool, member = draw_boxes,
        default = Settings::DEFAULT.draw_boxes,
        mutable_playing,
    )]
    #[property(
        name = "draw-landmarks",
        nick = "Draw landmarks",
        blurb = "Draw the eyes, the nose and the corners of the mouth of each face that has \
                 landmarks, each in its own color, and key points that other elements found, in the \
                 color of the boxes",
        get, set, type = bool, member = draw_landmarks,
        default = Settings::DEFAULT.draw_landmarks,
        mutable_playing,
    )]
    #[property(
        name = "draw-confidence",
        nick = "Draw confidence",
        blurb = "Write the confidence of each detection, from 0.00 to 1.00, above its box",
        get, set, type = bool, member = draw_confidence,
        default = Settings::DEFAULT.draw_confidence,
        mutable_playing,
    )]
    #[property(
        name = "color",
        nick = "Color",
        blurb = "Color of the boxes and of the background of the text (big-endian ARGB)",
        get, set, type = u32, member = color,
        default = Settings::DEFAULT.color,
        mutable_playing,
    )]
    #[property(
        name = "line-width",
        nick = "Line width",
        blurb = "Width of the lines of boxes in pixels (0 = depends on the height of the frame)",
        get, set, type = u32, member = line_width,
        // Within i32, which drawing computes in.
        maximum = 256,
        default = Settings::DEFAULT.line_width,
        mutable_playing,
    )]
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
    bad_frames: Mutex<BadFrames>,
}

/// Neither the settings nor the state can be left half-written, so a panic elsewhere is no reason
/// for one here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn draw_face(canvas: &mut Canvas, face: &Face, settings: &Settings, state: &State) {
    let bounds = pixels(&face.bounds);
    let marks = state.marks(bounds.as_ref());

    if settings.draw_landmarks
        && let Some(landmarks) = &face.landmarks
    {
        for (point, ink) in landmarks.0.iter().zip(&state.landmark_inks) {
            draw_point(canvas, point, ink, marks, state);
        }
    }

    let Some(bounds) = bounds else { return };
    let line_width = match settings.line_width {
        0 => marks.line_width,
        width => width as i32,
    };
    let sides = if settings.draw_boxes { sides(&bounds, line_width) } else { [NOTHING; 4] };
    let label = face
        .confidence
        .filter(|confidence| settings.draw_confidence && !confidence.is_nan())
        .zip(plate(&bounds, &canvas.area(), line_width, marks));
    let plate = label.map_or(NOTHING, |(_, plate)| plate);

    // In one go, as all of it is one shape: a translucent color must not add up where parts meet.
    let [top, left, right, bottom] = sides;
    canvas.fill(&[top, left, right, bottom, plate], &Ink::new(settings.color, &state.info));
    if let Some((confidence, plate)) = label {
        canvas.write(
            &marks.lettering,
            confidence,
            plate.left + marks.padding,
            plate.bottom - marks.padding,
            &Ink::on(settings.color, &state.info),
        );
    }
}

fn draw_point(canvas: &mut Canvas, point: &Point, ink: &Ink, marks: &Marks, state: &State) {
    if let Some((x, y)) = pixel(point) {
        canvas.stamp(&marks.dot_outline, x, y, &state.outline_ink);
        canvas.stamp(&marks.dot, x, y, ink);
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

/// Where the confidence goes: on top of the box, or inside where there is no room above; none for
/// a box out of sight.
fn plate(bounds: &Area, frame: &Area, line_width: i32, marks: &Marks) -> Option<Area> {
    if bounds.intersection(frame).is_empty() {
        return None;
    }
    let (left, top) = if bounds.top >= marks.plate_height {
        (bounds.left, bounds.top - marks.plate_height)
    } else {
        (bounds.left + line_width, (bounds.top + line_width).max(0))
    };
    let left = left.min(frame.right - marks.plate_width).max(0);
    Some(Area::new(left, top, marks.plate_width, marks.plate_height))
}

#[glib::object_subclass]
impl ObjectSubclass for RetinaFaceOverlay {
    const NAME: &'static str = "GstRetinaFaceOverlay";
    type Type = super::RetinaFaceOverlay;
    type ParentType = gst_base::BaseTransform;
}

#[glib::derived_properties]
impl ObjectImpl for RetinaFaceOverlay {}

impl GstObjectImpl for RetinaFaceOverlay {}

impl ElementImpl for RetinaFaceOverlay {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face overlay",
                "Filter/Editor/Video",
                "Draws the faces that retinafacedetect, or any other element, has attached to \
                 frames as region of interest metas or analytics metas, and key points of any kind",
                "The gst-plugin-retinaface authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static PAD_TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst_video::VideoCapsBuilder::new()
                .format_list(FORMATS)
                .width_range(1..=MAX_SIZE)
                .height_range(1..=MAX_SIZE)
                .build();
            [("sink", gst::PadDirection::Sink), ("src", gst::PadDirection::Src)]
                .into_iter()
                .filter_map(|(name, direction)| {
                    gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
                })
                .collect()
        });
        &PAD_TEMPLATES
    }
}

impl BaseTransformImpl for RetinaFaceOverlay {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.bad_frames) = BadFrames::default();
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let (info, layout) = gstreamer::parse_caps(incaps).map_err(|err| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{err}"));
            gst::loggable_error!(CAT, "{err}")
        })?;
        gst::debug!(CAT, imp = self, "Drawing on {info:?}");
        *lock(&self.state) = Some(State::new(info, layout)?);
        Ok(())
    }

    fn propose_allocation(
        &self,
        _decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        // Buffers go on as they come, so what downstream wants is what upstream should know.
        self.parent_propose_allocation(None, query)?;
        gstreamer::keep_understood_metas(query);
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::Eos {
            let all_bad = lock(&self.bad_frames).at_end();
            if let Some(text) = all_bad {
                gst::element_imp_error!(self, gst::StreamError::Format, ("{text}"));
            }
        }
        self.parent_sink_event(event)
    }

    fn transform_ip(&self, buf: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let settings = *lock(&self.settings);
        let faces = gstreamer::faces(buf);
        let others = gstreamer::other_key_points(buf);
        if (faces.is_empty() && others.is_empty())
            || !(settings.draw_boxes || settings.draw_landmarks || settings.draw_confidence)
        {
            lock(&self.bad_frames).good();
            return Ok(gst::FlowSuccess::Ok);
        }

        let state = lock(&self.state);
        let Some(state) = state.as_ref() else {
            gst::element_imp_error!(
                self,
                gst::CoreError::Negotiation,
                ["Received a frame before caps"]
            );
            return Err(gst::FlowError::NotNegotiated);
        };

        gst::trace!(
            CAT,
            imp = self,
            "Drawing {} faces, {} other points",
            faces.len(),
            others.len()
        );
        let drawn = gstreamer::with_frame_mut(buf, &state.info, state.layout, |frame| {
            let mut canvas = Canvas::new(frame);
            if settings.draw_landmarks {
                let ink = Ink::new(settings.color, &state.info);
                for point in &others {
                    draw_point(&mut canvas, point, &ink, &state.marks, state);
                }
            }
            for face in &faces {
                draw_face(&mut canvas, face, &settings, state);
            }
        });
        let said = match drawn {
            Ok(()) => {
                lock(&self.bad_frames).good();
                return Ok(gst::FlowSuccess::Ok);
            }
            Err(err) => lock(&self.bad_frames).bad(&err, Instant::now()),
        };
        match said {
            BadFrame::Again => Ok(gst::FlowSuccess::Ok),
            BadFrame::Warning(text) => {
                let caps = format!("{:?}", state.info);
                gst::element_imp_warning!(self, gst::StreamError::Format, ("{text}"), ["{caps}"]);
                Ok(gst::FlowSuccess::Ok)
            }
            BadFrame::Error(text) => {
                let caps = format!("{:?}", state.info);
                gst::element_imp_error!(self, gst::StreamError::Format, ("{text}"), ["{caps}"]);
                Err(gst::FlowError::Error)
            }
        }
    }
}
