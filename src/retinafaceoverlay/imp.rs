// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use gst::{prelude::*, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};

use super::{canvas::Canvas, drawing::Drawing, settings::Settings};
use crate::{
    frame::Layout,
    gstreamer::{self, BadFrames},
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "retinafaceoverlay",
        gst::DebugColorFlags::empty(),
        Some("Draws faces on video"),
    )
});

/// What depends on the caps.
struct State {
    info: gst_video::VideoInfo,
    layout: Layout,
    drawing: Drawing,
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
        blurb = "Write the confidence of each detection, from 0.00 to 1.00, above its box. Text is \
                 left out where it would be much wider than the face, or cover its landmarks",
        get, set, type = bool, member = draw_confidence,
        default = Settings::DEFAULT.draw_confidence,
        mutable_playing,
    )]
    #[property(
        name = "draw-ids",
        nick = "Draw IDs",
        blurb = "Write the id of each face that is followed from frame to frame, such as #12, above \
                 its box",
        get, set, type = bool, member = draw_ids,
        default = Settings::DEFAULT.draw_ids,
        mutable_playing,
    )]
    #[property(
        name = "color",
        nick = "Color",
        blurb = "Color of the boxes and of the background of the text (big-endian ARGB). The box of a \
                 followed face that was not detected in the frame itself has dashed lines",
        get, set, type = u32, member = color,
        default = Settings::DEFAULT.color,
        mutable_playing,
    )]
    #[property(
        name = "color-by-id",
        nick = "Color by ID",
        blurb = "Draw faces that are followed from frame to frame in a color of their own instead, one \
                 of seven; color still says how opaque it is",
        get, set, type = bool, member = color_by_id,
        default = Settings::DEFAULT.color_by_id,
        mutable_playing,
    )]
    #[property(
        name = "line-width",
        nick = "Line width",
        blurb = "Width of the lines of boxes in pixels (0 = depends on the sizes of the face and the \
                 frame)",
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

#[glib::object_subclass]
impl ObjectSubclass for RetinaFaceOverlay {
    const NAME: &'static str = "GstRetinaFaceOverlay";
    type Type = super::RetinaFaceOverlay;
    type ParentType = gst_base::BaseTransform;
}

#[glib::derived_properties]
impl ObjectImpl for RetinaFaceOverlay {
    fn constructed(&self) {
        self.parent_constructed();
        gstreamer::explain_refusals(self.obj().sink_pad());
    }
}

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
            let caps = gstreamer::video_caps();
            gstreamer::pad_templates(&caps, &caps)
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
        let drawing = Drawing::new(&info)
            .map_err(|err| gst::loggable_error!(CAT, "Cannot read the bundled font: {err}"))?;
        *lock(&self.state) = Some(State { info, layout, drawing });
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
        if (faces.is_empty() && others.is_empty()) || !settings.draws_anything() {
            lock(&self.bad_frames).good();
            return Ok(gst::FlowSuccess::Ok);
        }

        let mut state = lock(&self.state);
        let Some(State { info, layout, drawing }) = state.as_mut() else {
            gst::element_imp_error!(
                self,
                gst::CoreError::Negotiation,
                ["Received a frame before caps"]
            );
            return Err(gst::FlowError::NotNegotiated);
        };

        let (number, points) = (faces.len(), others.len());
        gst::trace!(CAT, imp = self, "Drawing {number} faces, {points} other points");
        let drawn = gstreamer::with_frame_mut(buf, info, *layout, |frame| {
            let mut canvas = Canvas::new(frame);
            drawing.draw_points(&mut canvas, &others, &settings);
            for face in &faces {
                drawing.draw(&mut canvas, face, &settings);
            }
        });
        match drawn {
            Ok(()) => lock(&self.bad_frames).good(),
            Err(err) => {
                let said = lock(&self.bad_frames).bad(&err, Instant::now());
                let caps = format!("{info:?}");
                said.post(&*self.obj(), gst::StreamError::Format, Some(&caps))?;
            }
        }
        Ok(gst::FlowSuccess::Ok)
    }
}
