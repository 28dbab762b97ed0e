// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use gst::{prelude::*, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};
use gst_video::VideoInfo;

use super::settings::{Mode, Settings, Shape};
use crate::{
    frame::Layout,
    gstreamer::{self, BadFrames},
    hiding::Hider,
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "retinafaceblur",
        gst::DebugColorFlags::empty(),
        Some("Makes faces unrecognisable"),
    )
});

/// There from the first caps on.
struct State {
    info: VideoInfo,
    layout: Layout,
    hider: Hider,
}

#[derive(Default, glib::Properties)]
#[properties(wrapper_type = super::RetinaFaceBlur)]
pub struct RetinaFaceBlur {
    #[property(
        name = "mode",
        nick = "Mode",
        blurb = "How faces are made unrecognisable. Only fill leaves nothing that could be guessed from",
        get, set, type = Mode, member = mode,
        mutable_playing,
        builder(Settings::DEFAULT.mode)
    )]
    #[property(
        name = "shape",
        nick = "Shape",
        blurb = "The part of the box that is made unrecognisable",
        get, set, type = Shape, member = shape,
        mutable_playing,
        builder(Settings::DEFAULT.shape)
    )]
    #[property(
        name = "margin",
        nick = "Margin",
        blurb = "Enlarge the box on each side by this fraction of its width and height first",
        get, set, type = f64, member = margin,
        minimum = 0.0, maximum = 10.0, default = Settings::DEFAULT.margin,
        mutable_playing,
    )]
    #[property(
        name = "squares",
        nick = "Squares",
        blurb = "What blur and pixelate leave of a face, however large it is: the means of so many \
                 squares along the longer side of the box with its margin, each of which is at least \
                 two pixels wide",
        get, set, type = u32, member = squares,
        minimum = 1, maximum = 64, default = Settings::DEFAULT.squares,
        mutable_playing,
    )]
    #[property(
        name = "color",
        nick = "Color",
        blurb = "Color for mode=fill (big-endian ARGB; always opaque, whatever A is)",
        get, set, type = u32, member = color,
        default = Settings::DEFAULT.color,
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
impl ObjectSubclass for RetinaFaceBlur {
    const NAME: &'static str = "GstRetinaFaceBlur";
    type Type = super::RetinaFaceBlur;
    type ParentType = gst_base::BaseTransform;
}

#[glib::derived_properties]
impl ObjectImpl for RetinaFaceBlur {
    fn constructed(&self) {
        self.parent_constructed();
        gstreamer::explain_refusals(self.obj().sink_pad());
    }
}

impl GstObjectImpl for RetinaFaceBlur {}

impl ElementImpl for RetinaFaceBlur {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face blur",
                "Filter/Effect/Video",
                "Blurs, pixelates or fills the faces that retinafacedetect, or any other element, has \
                 attached to frames as region of interest metas. A frame with faces that cannot be \
                 written to is dropped",
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

impl BaseTransformImpl for RetinaFaceBlur {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.bad_frames) = BadFrames::dropping();
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
        gst::debug!(CAT, imp = self, "Hiding faces in {info:?}");
        *lock(&self.state) = Some(State { info, layout, hider: Hider::default() });
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
        if faces.is_empty() {
            lock(&self.bad_frames).good();
            return Ok(gst::FlowSuccess::Ok);
        }
        let mut state = lock(&self.state);
        let Some(State { info, layout, hider }) = state.as_mut() else {
            gst::element_imp_error!(
                self,
                gst::CoreError::Negotiation,
                ["Received a frame before caps"]
            );
            return Err(gst::FlowError::NotNegotiated);
        };
        gst::trace!(CAT, imp = self, "Hiding {} faces", faces.len());
        let mode = settings.mode(gstreamer::samples(settings.color, info));
        let hidden = gstreamer::with_frame_mut(buf, info, *layout, |mut frame| {
            for face in &faces {
                let bounds = face.bounds.expand(settings.margin as f32);
                hider.hide(&mut frame, &bounds, mode, settings.shape.into());
            }
        });
        match hidden {
            Ok(()) => {
                lock(&self.bad_frames).good();
                Ok(gst::FlowSuccess::Ok)
            }
            Err(err) => {
                let said = lock(&self.bad_frames).bad(&err, Instant::now());
                said.post(&*self.obj(), gst::StreamError::Format, None)?;
                Ok(gst_base::BASE_TRANSFORM_FLOW_DROPPED)
            }
        }
    }
}
