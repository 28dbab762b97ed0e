// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    io,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use gst::{prelude::*, subclass::prelude::*};
use gst_base::{prelude::*, subclass::prelude::*};
use gst_video::VideoInfo;

use super::{
    Frames,
    destination::{Delivery, Destination},
    location::{Location, LocationError},
    output::OutputError,
    waker::Waker,
};
use crate::{
    gstreamer,
    json::{self, FrameRecord},
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "retinafacepublish",
        gst::DebugColorFlags::empty(),
        Some("Writes faces as JSON"),
    )
});

const STDOUT: &str = "-";

#[derive(Clone)]
struct Settings {
    /// `None`: the standard output.
    location: Option<String>,
    append: bool,
    reconnect: bool,
    frames: Frames,
    source: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            location: Some(STDOUT.to_owned()),
            append: false,
            reconnect: false,
            frames: Frames::All,
            source: None,
        }
    }
}

/// There from start() to stop(). Only the streaming thread holds it for longer than a moment.
struct State {
    destination: Destination,
    source: Option<String>,
    size: Size,
    /// Whether frames are as old as their running time says.
    live: bool,
    /// Since the start.
    frames: u64,
}

/// How large frames are.
enum Size {
    Unknown,
    Video(VideoInfo),
    /// Of frames in a format that this GStreamer does not know.
    Caps(u32, u32),
}

impl Size {
    fn of(caps: &gst::CapsRef) -> Option<Self> {
        if let Ok(info) = VideoInfo::from_caps(caps) {
            return Some(Self::Video(info));
        }
        let caps = caps.structure(0)?;
        let side = |name| caps.get::<i32>(name).ok().and_then(|side| u32::try_from(side).ok());
        Some(Self::Caps(side("width")?, side("height")?))
    }
}

/// Why a line could not be written.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot write a frame's faces as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Why the element cannot start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot make a pipe for this element's own use: {0}")]
    Waker(#[from] io::Error),
}

#[derive(Default, glib::Properties)]
#[properties(wrapper_type = super::RetinaFacePublish)]
pub struct RetinaFacePublish {
    #[property(
        name = "location",
        nick = "Location",
        blurb = "Where lines are written to: \"-\" is the standard output, a path a file, FIFO or \
                 device, unix:///PATH and tcp://HOST:PORT a socket that a program listens at, fd://N an \
                 open file descriptor. The first frame waits until somebody reads a FIFO, and every frame \
                 while a reader is slower than the stream; where frames must not wait, put \
                 \"queue leaky=downstream\" before. Once nobody reads any more, the stream ends as at \
                 its end",
        get, set, type = Option<String>, member = location, nullable,
        default = Some(STDOUT),
        mutable_ready,
    )]
    #[property(
        name = "append",
        nick = "Append",
        blurb = "Write behind what is in a file, instead of replacing it at each start",
        get, set, type = bool, member = append,
        default = false,
        mutable_ready,
    )]
    #[property(
        name = "reconnect",
        nick = "Reconnect",
        blurb = "While nobody reads a FIFO or listens at a socket, pass frames on without writing, with \
                 a warning, and try again every second, instead of waiting, failing or ending the \
                 stream",
        get, set, type = bool, member = reconnect,
        default = false,
        mutable_ready,
    )]
    #[property(
        name = "frames",
        nick = "Frames",
        blurb = "Which frames to write a line for; all are counted",
        get, set, type = Frames, member = frames,
        mutable_playing,
        builder(Frames::All)
    )]
    #[property(
        name = "source",
        nick = "Source",
        blurb = "What to write as each line's \"source\", such as the name of the file or camera \
                 (unset = null)",
        get, set, type = Option<String>, member = source, nullable,
        mutable_ready,
    )]
    settings: Mutex<Settings>,
    /// What ends waits; there from start() on.
    waker: Mutex<Option<Arc<Waker>>>,
    state: Mutex<Option<State>>,
}

/// Each of these stays valid on its own, so a panic elsewhere is no reason for one here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RetinaFacePublish {
    fn prepare(&self) -> Result<(), StartError> {
        let settings = lock(&self.settings).clone();
        let location = Location::parse(settings.location.as_deref().unwrap_or(STDOUT))?;
        let waker = Arc::new(Waker::new()?);
        let Settings { append, reconnect, .. } = settings;
        let destination = Destination::new(location, append, reconnect, &waker)?;
        *lock(&self.waker) = Some(waker);
        *lock(&self.state) = Some(State {
            destination,
            source: settings.source,
            size: Size::Unknown,
            live: false,
            frames: 0,
        });
        Ok(())
    }

    fn with_waker(&self, act: impl FnOnce(&Waker)) {
        if let Some(waker) = lock(&self.waker).as_ref() {
            act(waker);
        }
    }

    fn publish(
        &self,
        state: &mut State,
        buffer: &gst::BufferRef,
    ) -> Result<Delivery, PublishError> {
        let faces = gstreamer::faces(buffer);
        let frame = state.frames;
        state.frames += 1;
        if faces.is_empty() && lock(&self.settings).frames == Frames::WithFaces {
            return Ok(Delivery::Dropped);
        }
        let (width, height) = match &state.size {
            Size::Video(info) => gstreamer::visible_size(buffer, info),
            Size::Caps(width, height) => (*width, *height),
            Size::Unknown => (0, 0),
        };
        let segment = self.obj().segment();
        let segment = segment.downcast_ref::<gst::ClockTime>();
        let running_time = segment.and_then(|segment| segment.to_running_time(buffer.pts()));
        let utc = gstreamer::reference_utc(buffer).or_else(|| {
            let running_time = running_time.filter(|_| state.live)?;
            gstreamer::live_utc(self.obj().upcast_ref(), running_time)
        });
        let stream_time = segment.and_then(|segment| segment.to_stream_time(buffer.pts()));
        let record = FrameRecord {
            source: state.source.as_deref(),
            frame,
            pts: buffer.pts().map(gst::ClockTime::nseconds),
            stream_time: stream_time.map(gst::ClockTime::nseconds),
            running_time: running_time.map(gst::ClockTime::nseconds),
            utc,
            width,
            height,
        };
        let Some(waker) = lock(&self.waker).clone() else {
            return Err(OutputError::Interrupted.into());
        };
        state.destination.deliver(&waker, |line| Ok(json::write_line(line, &record, &faces)?))
    }

    /// Writes what a flush has left of a line, as no frame follows that would wait for it.
    fn finish_line(&self) {
        let Some(waker) = lock(&self.waker).clone() else { return };
        if let Some(state) = lock(&self.state).as_mut()
            && let Err(err) = state.destination.finish(&waker)
        {
            // It ends anyway.
            let _ = self.fail(err.into());
        }
    }

    /// What a line that could not be written means for the stream.
    fn fail(&self, err: PublishError) -> gst::FlowError {
        match &err {
            PublishError::Output(OutputError::Interrupted) => return gst::FlowError::Flushing,
            PublishError::Output(OutputError::ReaderGone { .. }) => {
                gst::info!(CAT, imp = self, "{err}: ending the stream");
                let gone = gst::Structure::new_empty("retinafacepublish-reader-gone");
                let message = gst::message::Element::builder(gone).src(&*self.obj());
                // Refused only by a bus that is shutting down.
                let _ = self.obj().post_message(message.build());
                return gst::FlowError::Eos;
            }
            PublishError::Output(err) => {
                gst::element_imp_error!(self, resource_error(err), ("{}", sentence(err)));
            }
            PublishError::Json(err) => {
                gst::element_imp_error!(self, gst::StreamError::Encode, ("{}", sentence(err)));
            }
        }
        gst::FlowError::Error
    }
}

fn resource_error(err: &OutputError) -> gst::ResourceError {
    match err {
        OutputError::Write { .. } if err.is_disk_full() => gst::ResourceError::NoSpaceLeft,
        OutputError::Write { .. } => gst::ResourceError::Write,
        _ => gst::ResourceError::OpenWrite,
    }
}

/// With a capital at its beginning.
fn sentence(err: &impl std::error::Error) -> String {
    let text = err.to_string();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => text,
    }
}

#[glib::object_subclass]
impl ObjectSubclass for RetinaFacePublish {
    const NAME: &'static str = "GstRetinaFacePublish";
    type Type = super::RetinaFacePublish;
    type ParentType = gst_base::BaseTransform;
}

#[glib::derived_properties]
impl ObjectImpl for RetinaFacePublish {}

impl GstObjectImpl for RetinaFacePublish {}

impl ElementImpl for RetinaFacePublish {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face publisher",
                "Filter/Analyzer/Video",
                "Passes frames on and writes the faces that retinafacedetect, or any other element, has \
                 attached to them, one line of JSON a frame, to the standard output, a file, FIFO or \
                 socket: what gvametaconvert and gvametapublish do for DL Streamer",
                "The gst-plugin-retinaface authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static PAD_TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::builder("video/x-raw").any_features().build();
            gstreamer::pad_templates(&caps, &caps)
        });
        &PAD_TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::PausedToReady {
            // Before the pads' streaming ends, which waits for a frame that may wait for a reader.
            self.with_waker(Waker::close);
        }
        self.parent_change_state(transition)
    }
}

impl BaseTransformImpl for RetinaFacePublish {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    const PASSTHROUGH_ON_SAME_CAPS: bool = true;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = true;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        self.prepare().map_err(|err| match &err {
            StartError::Location(_) => {
                gst::error_msg!(gst::ResourceError::Settings, ("{}", sentence(&err)))
            }
            StartError::Output(output) => {
                gst::error_msg!(resource_error(output), ("{}", sentence(&err)))
            }
            StartError::Waker(_) => {
                gst::error_msg!(gst::ResourceError::Failed, ("{}", sentence(&err)))
            }
        })
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let size = Size::of(incaps)
            .ok_or_else(|| gst::loggable_error!(CAT, "No width and height in {incaps}"))?;
        let live = gstreamer::upstream_latency(self.obj().sink_pad()).is_some();
        if let Some(state) = lock(&self.state).as_mut() {
            (state.size, state.live) = (size, live);
        }
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.type_() {
            gst::EventType::FlushStart => self.with_waker(Waker::interrupt),
            gst::EventType::FlushStop => self.with_waker(Waker::resume),
            gst::EventType::Eos => self.finish_line(),
            _ => (),
        }
        self.parent_sink_event(event)
    }

    fn transform_ip_passthrough(
        &self,
        buffer: &gst::Buffer,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let mut state = lock(&self.state);
        let Some(state) = state.as_mut() else { return Err(gst::FlowError::Flushing) };
        match self.publish(state, buffer) {
            Ok(Delivery::Written | Delivery::Dropped) => Ok(gst::FlowSuccess::Ok),
            Ok(Delivery::Lost(err)) => {
                gst::element_imp_warning!(
                    self,
                    gst::ResourceError::Write,
                    ("{}: frames pass unpublished until somebody reads", sentence(&err))
                );
                Ok(gst::FlowSuccess::Ok)
            }
            Err(err) => Err(self.fail(err)),
        }
    }
}
