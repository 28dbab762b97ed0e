// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    mem,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use gst::{prelude::*, subclass::prelude::*};
use gst_base::{
    prelude::*,
    subclass::{base_transform::GenerateOutputSuccess, prelude::*},
};

use super::{
    queue::{Item, Queue},
    spacing::Spacing,
};
use crate::{
    geometry::Rect,
    gstreamer::{self, UpstreamPool, Video},
    tracking::{self, Placed, Tracker},
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "retinafacetrack",
        gst::DebugColorFlags::empty(),
        Some("Follows faces from frame to frame"),
    )
});

/// Frames, for whatever counts them: no stream needs more, and look-ahead keeps as many.
const MOST_FRAMES: u32 = 10_000;
const MOST_LOOK_AHEAD: u32 = 250;
/// Buffers of a pool that others need at a time: whoever fills them, and whoever shows them.
const NEEDED_BY_OTHERS: u32 = 4;

#[derive(Clone, Copy, Debug)]
struct Settings {
    score_threshold: f64,
    weak_score_threshold: f64,
    iou_threshold: f64,
    weak_iou_threshold: f64,
    min_hits: u32,
    hold: u32,
    max_age: u32,
    look_ahead: u32,
}

impl Settings {
    const DEFAULT: Self = Self {
        // That of retinafacedetect.
        score_threshold: 0.6,
        weak_score_threshold: 0.2,
        // Those of ByteTrack's two associations.
        iou_threshold: 0.2,
        weak_iou_threshold: 0.5,
        min_hits: 1,
        hold: 10,
        // ByteTrack's track_buffer.
        max_age: 30,
        look_ahead: 0,
    };

    /// For the tracker of a stream with this `look_ahead`.
    fn tracking(&self, look_ahead: u32) -> tracking::Settings {
        tracking::Settings {
            score_threshold: self.score_threshold as f32,
            weak_score_threshold: self.weak_score_threshold as f32,
            iou_threshold: self.iou_threshold as f32,
            weak_iou_threshold: self.weak_iou_threshold as f32,
            min_hits: self.min_hits,
            hold: self.hold.into(),
            max_age: self.max_age.into(),
            look_ahead: look_ahead.into(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// There from start() to stop(). Locked for moments only, never while frames are pushed.
struct State {
    /// There from the first caps on.
    video: Option<Video>,
    look_ahead: u32,
    tracker: Tracker,
    queue: Queue,
    spacing: Spacing,
    pool: UpstreamPool,
    /// Whether there was a warning that upstream has too few buffers.
    warned: bool,
    /// The faces of the frame that leaves.
    placed: Vec<Placed>,
    /// What pushing the last frame came to, unless upstream was told.
    unreported: Result<gst::FlowSuccess, gst::FlowError>,
}

#[derive(Default, glib::Properties)]
#[properties(wrapper_type = super::RetinaFaceTrack)]
pub struct RetinaFaceTrack {
    #[property(
        name = "score-threshold",
        nick = "Score threshold",
        blurb = "Confidence from which a detection starts a face; detections without a confidence \
                 count as certain",
        get, set, type = f64, member = score_threshold,
        minimum = 0.0, maximum = 1.0, default = Settings::DEFAULT.score_threshold,
        mutable_playing,
    )]
    #[property(
        name = "weak-score-threshold",
        nick = "Weak score threshold",
        blurb = "Confidence from which a detection continues a face that was there before; weaker \
                 ones, and those that continue none, are removed from the frame. Set \
                 retinafacedetect's score-threshold to the same",
        get, set, type = f64, member = weak_score_threshold,
        minimum = 0.0, maximum = 1.0, default = Settings::DEFAULT.weak_score_threshold,
        mutable_playing,
    )]
    #[property(
        name = "iou-threshold",
        nick = "IoU threshold",
        blurb = "Least intersection over union of a detection's box with where a face is expected, \
                 for it to be that face",
        get, set, type = f64, member = iou_threshold,
        minimum = 0.0, maximum = 1.0, default = Settings::DEFAULT.iou_threshold,
        mutable_playing,
    )]
    #[property(
        name = "weak-iou-threshold",
        nick = "Weak IoU threshold",
        blurb = "The same for detections with a confidence below score-threshold",
        get, set, type = f64, member = weak_iou_threshold,
        minimum = 0.0, maximum = 1.0, default = Settings::DEFAULT.weak_iou_threshold,
        mutable_playing,
    )]
    #[property(
        name = "min-hits",
        nick = "Minimum hits",
        blurb = "Number of detections, at most max-age frames apart, before a face is put on frames. \
                 With look-ahead, frames that have not left yet get it too",
        get, set, type = u32, member = min_hits,
        minimum = 1, maximum = MOST_FRAMES, default = Settings::DEFAULT.min_hits,
        mutable_playing,
    )]
    #[property(
        name = "hold",
        nick = "Hold",
        blurb = "Maximum number of frames in a row that a face without detection is put on, where it \
                 is expected (at most max-age). At least inference-interval - 1, for faces not to \
                 blink",
        get, set, type = u32, member = hold,
        maximum = MOST_FRAMES, default = Settings::DEFAULT.hold,
        mutable_playing,
    )]
    #[property(
        name = "max-age",
        nick = "Maximum age",
        blurb = "Maximum number of frames after its last detection for a face to be the same, with \
                 the same id, when it is detected again",
        get, set, type = u32, member = max_age,
        minimum = 1, maximum = MOST_FRAMES, default = Settings::DEFAULT.max_age,
        mutable_playing,
    )]
    #[property(
        name = "look-ahead",
        nick = "Look-ahead",
        blurb = "Number of frames that are kept back until as many more have come, which adds to the \
                 latency: a face is put on so many frames before its first detection as well, and \
                 between two detections it is where it really was",
        get, set, type = u32, member = look_ahead,
        maximum = MOST_LOOK_AHEAD, default = Settings::DEFAULT.look_ahead,
        mutable_ready,
    )]
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
}

/// Neither the settings nor the state can be left half-written, so a panic elsewhere is no reason
/// for one here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn new(look_ahead: u32) -> Self {
        Self {
            video: None,
            look_ahead,
            tracker: Tracker::default(),
            queue: Queue::default(),
            spacing: Spacing::default(),
            pool: UpstreamPool::default(),
            warned: false,
            placed: Vec::new(),
            unreported: Ok(gst::FlowSuccess::Ok),
        }
    }

    /// What comes has nothing to do with what was. Ids go on.
    fn reset(&mut self) {
        self.tracker.reset();
        self.spacing.interrupt();
    }

    /// A frame as it can be kept back: copied, where upstream would wait for its memory. The size of
    /// upstream's pool where that has to be said, as frames cannot be copied.
    fn detach(&mut self, buffer: gst::Buffer) -> (gst::Buffer, Option<u32>) {
        let enough = self.look_ahead + NEEDED_BY_OTHERS;
        let pool = if self.look_ahead > 0 { self.pool.size(&buffer) } else { None };
        let Some(few) = pool.filter(|size| *size <= enough) else { return (buffer, None) };
        let can_be_copied = self.video.is_some_and(|video| video.in_system_memory);
        match can_be_copied.then(|| buffer.copy_deep()) {
            Some(Ok(copy)) => (copy, None),
            _ => (buffer, Some(few).filter(|_| !mem::replace(&mut self.warned, true))),
        }
    }

    /// Takes a frame that has arrived.
    fn accept(&mut self, buffer: gst::Buffer, settings: &Settings) {
        let frames = self.spacing.frames_to(buffer.pts());
        let faces = gstreamer::faces(&buffer);
        let time = buffer.pts().map(gst::ClockTime::nseconds);
        let settings = settings.tracking(self.look_ahead);
        let number = self.tracker.observe(&faces, frames, time, &settings);
        self.queue.push(Item::Frame { buffer, number });
    }

    /// The frame with its faces.
    fn finish(&mut self, mut buffer: gst::Buffer, number: u64, settings: &Settings) -> gst::Buffer {
        let settings = settings.tracking(self.look_ahead);
        self.tracker.place(number, &settings, &mut self.placed);
        let (width, height) = self.video.map_or((0, 0), |video| video.visible_size(&buffer));
        let frame = Rect::new(0.0, 0.0, width as f32, height as f32);
        // A face that has left the frame may still be expected outside.
        self.placed.retain(|placed| {
            placed.detection.is_some() || placed.face.bounds.intersection(&frame).area() > 0.0
        });
        gstreamer::set_followed(&mut buffer, &self.placed, width, height);
        buffer
    }
}

impl RetinaFaceTrack {
    /// Sends frames and events on until no more than `keep` frames are left. Gives what became of the
    /// last one.
    fn release(&self, keep: u64) -> Result<gst::FlowSuccess, gst::FlowError> {
        let mut flow = Ok(gst::FlowSuccess::Ok);
        loop {
            let settings = *lock(&self.settings);
            let item = {
                let mut state = lock(&self.state);
                let Some(state) = state.as_mut() else { return flow };
                match state.queue.pop(keep) {
                    Some(Item::Frame { buffer, number }) => {
                        let buffer = state.finish(buffer, number, &settings);
                        Item::Frame { buffer, number }
                    }
                    Some(event) => event,
                    None => return flow,
                }
            };
            match item {
                Item::Frame { buffer, .. } => flow = self.obj().src_pad().push(buffer),
                Item::Event { event, .. } => {
                    // Upstream has its answer already.
                    let _ = self.parent_sink_event(event);
                }
            }
        }
    }

    /// As [`Self::release`], where nobody can be told what became of the frames.
    fn release_silently(&self, keep: u64) {
        let flow = self.release(keep);
        if let (Err(_), Some(state)) = (flow, lock(&self.state).as_mut()) {
            state.unreported = flow;
        }
    }

    /// Sends everything on before what comes next.
    fn drain(&self) {
        self.release_silently(0);
    }

    /// Has an event wait with the frames before it, which a gap sends on as the frames in its place would.
    /// Gives it back where there are none, or it is not known how long a gap is.
    fn enqueue(&self, event: gst::Event) -> Option<gst::Event> {
        let keep = {
            let mut state = lock(&self.state);
            let Some(state) = state.as_mut().filter(|state| !state.queue.is_empty()) else {
                return Some(event);
            };
            let frames = match event.view() {
                gst::EventView::Gap(gap) => gap.get().1.map(|time| state.spacing.frames_in(time)),
                _ => Some(0),
            };
            let Some(frames) = frames else { return Some(event) };
            state.queue.push(Item::Event { event, frames });
            state.look_ahead.into()
        };
        self.release_silently(keep);
        None
    }

    /// How long frames are kept back.
    fn latency(&self) -> Option<gst::ClockTime> {
        let state = lock(&self.state);
        let state = state.as_ref()?;
        state.spacing.expected().checked_mul(u64::from(state.look_ahead))
    }

    /// Has the pipeline ask for the latency again if it is not what it was.
    fn update_latency(&self, before: Option<gst::ClockTime>) {
        if self.latency() != before {
            let latency = gst::message::Latency::builder().src(&*self.obj()).build();
            // Refused only by a bus that is shutting down.
            let _ = self.obj().post_message(latency);
        }
    }

    /// The frames that are kept back are not there for whoever makes more.
    fn propose_more_buffers(&self, query: &mut gst::query::Allocation) {
        let look_ahead = lock(&self.state).as_ref().map_or(0, |state| state.look_ahead);
        if look_ahead == 0 {
            return;
        }
        let pools: Vec<_> = query.allocation_pools().collect();
        for (index, (pool, size, min, max)) in (0..).zip(&pools) {
            let max = if *max == 0 { 0 } else { max.saturating_add(look_ahead) };
            let min = min.saturating_add(look_ahead);
            query.set_nth_allocation_pool(index, pool.as_ref(), *size, min, max);
        }
        if pools.is_empty() {
            let size = query.get().0.and_then(|caps| gst_video::VideoInfo::from_caps(caps).ok());
            let size = size.and_then(|info| u32::try_from(info.size()).ok()).unwrap_or(0);
            query.add_allocation_pool(gst::BufferPool::NONE, size, look_ahead, 0);
        }
    }
}

#[glib::object_subclass]
impl ObjectSubclass for RetinaFaceTrack {
    const NAME: &'static str = "GstRetinaFaceTrack";
    type Type = super::RetinaFaceTrack;
    type ParentType = gst_base::BaseTransform;
}

#[glib::derived_properties]
impl ObjectImpl for RetinaFaceTrack {}

impl GstObjectImpl for RetinaFaceTrack {}

impl ElementImpl for RetinaFaceTrack {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face tracker",
                "Filter/Analyzer/Video",
                "Gives the faces that retinafacedetect, or any other element, has attached to frames \
                 ids that stay the same, and attaches those that were not detected where they are \
                 expected",
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
}

impl BaseTransformImpl for RetinaFaceTrack {
    const MODE: gst_base::subclass::BaseTransformMode =
        gst_base::subclass::BaseTransformMode::AlwaysInPlace;
    // In passthrough the buffer is not made writable, and metas could not be added.
    const PASSTHROUGH_ON_SAME_CAPS: bool = false;
    const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let look_ahead = lock(&self.settings).look_ahead;
        *lock(&self.state) = Some(State::new(look_ahead));
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let video = Video::from_caps(incaps).map_err(|err| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{err}"));
            gst::loggable_error!(CAT, "{err}")
        })?;
        let latency = self.latency();
        {
            let mut state = lock(&self.state);
            let Some(state) = state.as_mut() else {
                return Err(gst::loggable_error!(CAT, "Caps before the start"));
            };
            let before = state.video.replace(video);
            if before.is_some_and(|before| before.size != video.size) {
                state.reset();
            }
            state.spacing.promise(video.frame_duration);
        }
        gst::debug!(CAT, imp = self, "Following faces in {video:?}");
        self.update_latency(latency);
        Ok(())
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        let event = match event.type_() {
            // They say nothing about frames that are still to come, and may come often: network cameras
            // have a gap wherever a packet was lost.
            gst::EventType::Tag | gst::EventType::CustomDownstream | gst::EventType::Gap => {
                let Some(event) = self.enqueue(event) else { return true };
                event
            }
            _ => event,
        };
        match event.type_() {
            gst::EventType::FlushStop => {
                if let Some(state) = lock(&self.state).as_mut() {
                    state.queue = Queue::default();
                    state.unreported = Ok(gst::FlowSuccess::Ok);
                    state.reset();
                }
            }
            _ if event.is_serialized() => self.drain(),
            _ => (),
        }
        match event.type_() {
            gst::EventType::StreamStart | gst::EventType::Segment => {
                if let Some(state) = lock(&self.state).as_mut() {
                    state.reset();
                }
            }
            gst::EventType::Eos => {
                let unreported = lock(&self.state).as_ref().map(|state| state.unreported);
                if let Some(Err(
                    err @ (gst::FlowError::NotLinked | gst::FlowError::NotNegotiated),
                )) = unreported
                {
                    // No frame follows that could return the failure to upstream.
                    gst::element_imp_error!(
                        self,
                        gst::StreamError::Failed,
                        ("The downstream element does not accept the frames: {err}")
                    );
                }
            }
            _ => (),
        }
        self.parent_sink_event(event)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        if direction == gst::PadDirection::Sink && query.type_() == gst::QueryType::Drain {
            self.drain();
        }
        if !BaseTransformImplExt::parent_query(self, direction, query) {
            return false;
        }
        if direction == gst::PadDirection::Src
            && let gst::QueryViewMut::Latency(query) = query.view_mut()
            && let Some(latency) = self.latency()
        {
            let (live, minimum, maximum) = query.result();
            let more = |time: gst::ClockTime| time.saturating_add(latency);
            query.set(live, more(minimum), maximum.map(more));
        }
        true
    }

    fn propose_allocation(
        &self,
        _decide_query: Option<&gst::query::Allocation>,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        // Buffers go on as they come, so what downstream wants is what upstream should know.
        self.parent_propose_allocation(None, query)?;
        self.propose_more_buffers(query);
        Ok(())
    }

    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let Some(buffer) = self.take_queued_buffer() else {
            return Ok(GenerateOutputSuccess::NoOutput);
        };
        let settings = *lock(&self.settings);
        let latency = self.latency();
        let (keep, too_few) = {
            let mut state = lock(&self.state);
            let state = state.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
            let (buffer, too_few) = state.detach(buffer);
            state.accept(buffer, &settings);
            state.unreported = Ok(gst::FlowSuccess::Ok);
            (u64::from(state.look_ahead), too_few)
        };
        self.update_latency(latency);
        if let Some(buffers) = too_few {
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Settings,
                ("The upstream element has {buffers} buffers, of which look-ahead={keep} keeps so many \
                     that it may wait for one for ever: set look-ahead to less")
            );
        }
        // Pushed here rather than by the base class, which takes a frame that leaves for the one that
        // has come.
        self.release(keep).map(|_| GenerateOutputSuccess::NoOutput)
    }
}
