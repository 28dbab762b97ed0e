// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    fs,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use gst::{prelude::*, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};

use super::{
    settings::{self, LiveSettings, Messages, Settings},
    stats::Stats,
    worker::{self, DetectError, Format, Network, Worker},
};
use crate::{
    face::Face,
    frame::Layout,
    inference,
    meta::{self, Detections},
    model::Model,
};

pub static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "retinafacedetect",
        gst::DebugColorFlags::empty(),
        Some("RetinaFace face detector"),
    )
});

/// mobilenet0.25, where it was there when the plugin was built.
#[cfg(embedded_model)]
const EMBEDDED_MODEL: Option<&[u8]> = Some(include_bytes!(env!("RETINAFACE_MODEL")));
#[cfg(not(embedded_model))]
const EMBEDDED_MODEL: Option<&[u8]> = None;

const FORMATS: &[gst_video::VideoFormat] = &[
    gst_video::VideoFormat::Bgr,
    gst_video::VideoFormat::Rgb,
    gst_video::VideoFormat::Bgrx,
    gst_video::VideoFormat::Rgbx,
    gst_video::VideoFormat::Xbgr,
    gst_video::VideoFormat::Xrgb,
    gst_video::VideoFormat::Bgra,
    gst_video::VideoFormat::Rgba,
    gst_video::VideoFormat::Abgr,
    gst_video::VideoFormat::Argb,
    gst_video::VideoFormat::Gray8,
    gst_video::VideoFormat::Nv12,
    gst_video::VideoFormat::Nv21,
    gst_video::VideoFormat::I420,
    gst_video::VideoFormat::Yv12,
    gst_video::VideoFormat::Yuy2,
    gst_video::VideoFormat::Uyvy,
];

/// There from start() to stop().
struct State {
    worker: Worker,
    /// There from the first caps on.
    format: Option<Format>,
    /// Frames since the start.
    frames: u64,
    /// How many faces the last frame looked at had.
    last_count: usize,
}

#[derive(Default)]
pub struct RetinaFaceDetect {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
    stats: Mutex<Stats>,
}

/// Whatever another thread was doing when it failed, each of these stays valid on its own.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RetinaFaceDetect {
    /// The network that the settings name.
    fn load_network(&self, settings: &Settings) -> Result<Network, gst::ErrorMessage> {
        let read;
        let (name, bytes) = match (&settings.model_file, EMBEDDED_MODEL) {
            (Some(path), _) => {
                read = fs::read(path).map_err(|err| {
                    gst::error_msg!(
                        gst::ResourceError::OpenRead,
                        ("Cannot read the network {} (property model-file): {err}", path.display())
                    )
                })?;
                (path.display().to_string(), read.as_slice())
            }
            (None, Some(embedded)) => ("built in".to_owned(), embedded),
            (None, None) => {
                return Err(gst::error_msg!(
                    gst::ResourceError::NotFound,
                    ("This plugin was built without a network: set the property model-file to \
                         an ONNX file with a RetinaFace network, or run scripts/setup and build \
                         it again")
                ));
            }
        };
        let model = Model::parse(bytes).map_err(|err| {
            gst::error_msg!(gst::StreamError::Format, ("Cannot use the network {name}: {err}"))
        })?;
        let strides = settings.strides.among(&model.strides());
        if strides.is_empty() {
            return Err(gst::error_msg!(
                gst::LibraryError::Settings,
                (
                    "The property strides names none of the strides that the network {name} has: \
                     {:?}",
                    model.strides()
                )
            ));
        }
        gst::info!(CAT, imp = self, "Network {name}, strides {strides:?}");
        Ok(Network { model: Arc::new(model), strides, threads: settings.threads as usize })
    }

    /// Looks at one frame and puts its faces on it.
    fn detect(
        &self,
        state: &mut State,
        buffer: &mut gst::BufferRef,
        settings: &LiveSettings,
    ) -> Result<(), gst::FlowError> {
        let format = state.format.as_ref().ok_or(gst::FlowError::NotNegotiated)?;
        let (faces, timings) = state.worker.detect(buffer, format, settings).map_err(|err| {
            self.post_detect_error(&err);
            gst::FlowError::Error
        })?;
        gst::trace!(CAT, imp = self, "{} faces in {timings:?}", faces.len());
        lock(&self.stats).record(faces.len(), &timings);

        let (width, height) = (format.info.width(), format.info.height());
        for face in faces {
            meta::attach(buffer, face, width, height);
        }
        let wanted = match settings.messages {
            Messages::Never => false,
            Messages::OnFaces => !faces.is_empty(),
            Messages::OnChange => faces.len() != state.last_count,
            Messages::EveryFrame => true,
        };
        state.last_count = faces.len();
        if wanted {
            self.post_message(buffer, faces, width, height);
        }
        Ok(())
    }

    fn post_message(&self, buffer: &gst::BufferRef, faces: &[Face], width: u32, height: u32) {
        let segment = self.obj().segment();
        let segment = segment.downcast_ref::<gst::ClockTime>();
        let timestamp = buffer.pts();
        let detections = Detections {
            timestamp,
            stream_time: segment.and_then(|segment| segment.to_stream_time(timestamp)),
            running_time: segment.and_then(|segment| segment.to_running_time(timestamp)),
            duration: buffer.duration(),
            faces: faces.to_vec(),
        };
        let message = gst::message::Element::builder(detections.to_structure(width, height))
            .src(&*self.obj())
            .build();
        // Refused only by a bus that is shutting down.
        let _ = self.obj().post_message(message);
    }

    fn post_detect_error(&self, err: &DetectError) {
        match err {
            DetectError::Library(err) => {
                gst::element_imp_error!(self, gst::LibraryError::Init, ("{err}"));
            }
            DetectError::Size { .. } => {
                gst::element_imp_error!(self, gst::StreamError::Format, ("{err}"));
            }
            DetectError::Load(err) => gst::element_imp_error!(
                self,
                gst::StreamError::Format,
                ("The network cannot be used with these frames: {err}")
            ),
            DetectError::Map(err) => gst::element_imp_error!(
                self,
                gst::StreamError::WrongType,
                ("The element before this one sent a frame that does not fit its caps: {err}")
            ),
            DetectError::Run(err) => {
                gst::element_imp_error!(self, gst::LibraryError::Failed, ("{err}"));
            }
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for RetinaFaceDetect {
    const NAME: &'static str = "GstRetinaFaceDetect";
    type Type = super::RetinaFaceDetect;
    type ParentType = gst_base::BaseTransform;
}

impl ObjectImpl for RetinaFaceDetect {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(settings::specifications);
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(value, pspec);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => lock(&self.stats).to_structure().to_value(),
            _ => lock(&self.settings).get(pspec),
        }
    }
}

impl GstObjectImpl for RetinaFaceDetect {}

impl ElementImpl for RetinaFaceDetect {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "RetinaFace face detector",
                "Filter/Analyzer/Video",
                "Finds faces and five landmarks of each with a RetinaFace network on ONNX Runtime, \
                 and attaches them to the frames as region of interest metas of type face",
                "The gst-plugin-retinaface authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static PAD_TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst_video::VideoCapsBuilder::new()
                .format_list(FORMATS.iter().copied())
                .width_range(1..=8192)
                .height_range(1..=8192)
                .build();
            let template = |name, direction| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
            };
            let sink = template("sink", gst::PadDirection::Sink);
            let src = template("src", gst::PadDirection::Src);
            sink.into_iter().chain(src).collect()
        });
        &PAD_TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::NullToReady
            && let Err(err) = inference::environment(worker::log)
        {
            self.post_detect_error(&err.into());
            return Err(gst::StateChangeError);
        }
        self.parent_change_state(transition)
    }
}

impl BaseTransformImpl for RetinaFaceDetect {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    // In passthrough the buffer is not made writable, and metas could not be added.
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        let network = self.load_network(&settings)?;
        *lock(&self.stats) = Stats::default();
        *lock(&self.state) =
            Some(State { worker: Worker::new(network), format: None, frames: 0, last_count: 0 });
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = gst_video::VideoInfo::from_caps(incaps)?;
        let layout = Layout::try_from(&info).map_err(|err| gst::loggable_error!(CAT, "{err}"))?;
        let settings = lock(&self.settings).live;
        let mut state = lock(&self.state);
        let state = state.as_mut().ok_or_else(|| gst::loggable_error!(CAT, "Not started"))?;
        let format = Format { info, layout };
        if let Err(err) = state.worker.prepare(&format, &settings) {
            self.post_detect_error(&err);
            return Err(gst::loggable_error!(CAT, "{err}"));
        }
        state.format = Some(format);
        Ok(())
    }

    fn propose_allocation(
        &self,
        _decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        // Buffers go on as they come, so what downstream wants is what upstream should know.
        self.parent_propose_allocation(None, query)
    }

    fn transform_ip(
        &self,
        buffer: &mut gst::BufferRef,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let settings = lock(&self.settings).live;
        let mut state = lock(&self.state);
        let state = state.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
        let frame = state.frames;
        state.frames += 1;
        if frame % u64::from(settings.inference_interval.max(1)) == 0 {
            self.detect(state, buffer, &settings)?;
        }
        Ok(gst::FlowSuccess::Ok)
    }
}
