// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gst::{prelude::*, subclass::prelude::*};

use super::analysis::{Analysed, Analysis, Answer};
use crate::gstreamer::{self, Video};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "retinafacemetamux",
        gst::DebugColorFlags::empty(),
        Some("Puts faces of an analysis branch on frames"),
    )
});

/// The longest wait where `max-wait` says nothing.
const LIVE_WAIT: gst::ClockTime = gst::ClockTime::from_mseconds(100);
const WAIT: gst::ClockTime = gst::ClockTime::from_seconds(10);

#[derive(Clone, Copy, Debug)]
struct Settings {
    /// Nanoseconds; `u64::MAX`: depends on whether the pipeline is live.
    max_wait: u64,
    /// Nanoseconds.
    hold: u64,
}

impl Settings {
    const DEFAULT: Self = Self { max_wait: u64::MAX, hold: 0 };

    fn max_wait(&self, live: bool) -> gst::ClockTime {
        let auto = if live { LIVE_WAIT } else { WAIT };
        // The largest number is no time.
        gst::ClockTime::try_from(self.max_wait).unwrap_or(auto)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a pad has been told of its stream.
#[derive(Default)]
struct Stream {
    video: Option<Video>,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
}

impl Stream {
    fn running_time(&self, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
        self.segment.as_ref()?.to_running_time(buffer.pts()?)
    }

    fn update(&mut self, event: &gst::Event) -> Result<(), gstreamer::NoSize> {
        match event.view() {
            gst::EventView::Caps(event) => self.video = Some(Video::from_caps(event.caps())?),
            gst::EventView::Segment(event) => {
                self.segment = event.segment().downcast_ref::<gst::ClockTime>().cloned();
            }
            _ => (),
        }
        Ok(())
    }
}

/// Locked for moments only, never while frames are pushed.
#[derive(Default)]
struct State {
    main: Stream,
    faces: Stream,
    analysis: Analysis,
    /// Whether the main branch has a live source; `None` before its first frame.
    live: Option<bool>,
    /// Whether no frame has come from the analysis branch since one of the main branch waited in vain.
    silent: bool,
    /// Whether the analysis branch has ended.
    ended: bool,
    /// Whether frames of the main branch are to go no further.
    flushing: bool,
    /// Whether the user has to be told of that, and has been.
    has_to_warn: bool,
    warned: bool,
}

#[derive(glib::Properties)]
#[properties(wrapper_type = super::RetinaFaceMetaMux)]
pub struct RetinaFaceMetaMux {
    #[property(
        name = "max-wait",
        nick = "Maximum wait",
        blurb = "How long a frame waits for the analysis branch to have it or a later one, in \
                 nanoseconds. When that is over, frames go on at once until the analysis branch \
                 brings something. Adds to the latency of live pipelines (18446744073709551615 = 100 \
                 ms in live pipelines, otherwise 10 s)",
        get, set, type = u64, member = max_wait,
        default = Settings::DEFAULT.max_wait,
        mutable_playing,
    )]
    #[property(
        name = "hold",
        nick = "Hold",
        blurb = "Frames that the analysis branch has not had get the faces of the last one before \
                 that it has had, if that was at most so many nanoseconds before (0 = they get none, \
                 as retinafacetrack behind this element wants it)",
        get, set, type = u64, member = hold,
        default = Settings::DEFAULT.hold,
        mutable_playing,
    )]
    settings: Mutex<Settings>,
    state: Mutex<State>,
    /// Notified when something in the state changes that a frame may wait for.
    changed: Condvar,
    main_pad: gst::Pad,
    faces_pad: gst::Pad,
    src_pad: gst::Pad,
}

/// Neither the settings nor the state can be left half-written, so a panic elsewhere is no reason
/// for one here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RetinaFaceMetaMux {
    fn main_chain(&self, mut buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (time, video) = {
            let state = lock(&self.state);
            (state.main.running_time(&buffer), state.main.video)
        };
        let video = video.ok_or(gst::FlowError::NotNegotiated)?;
        let analysed = time.map(|time| self.analysed(time)).transpose()?.flatten();
        self.warn_about_silence();
        if let Some(analysed) = analysed.filter(|analysed| !analysed.faces.is_empty()) {
            let (width, height) = video.visible_size(&buffer);
            let buffer = buffer.make_mut();
            for face in analysed.faces_at((width, height)) {
                gstreamer::attach(buffer, &face, width, height);
            }
        }
        self.src_pad.push(buffer)
    }

    /// What there is for the frame with this running time; waits for it.
    fn analysed(&self, time: gst::ClockTime) -> Result<Option<Analysed>, gst::FlowError> {
        let settings = *lock(&self.settings);
        let live = self.is_live();
        let max_wait = settings.max_wait(live);
        let deadline = Instant::now().checked_add(Duration::from(max_wait));
        let mut state = lock(&self.state);
        loop {
            if state.flushing {
                return Err(gst::FlowError::Flushing);
            }
            let is_expected = !state.silent && !state.ended && self.faces_pad.is_linked();
            match state.analysis.find(time) {
                Answer::This(analysed) => return Ok(Some(analysed.clone())),
                Answer::NotYet if is_expected => (),
                Answer::NotYet | Answer::LeftOut => break,
            }
            let now = Instant::now();
            let left = deadline.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
            if left.is_zero() {
                gst::debug!(CAT, imp = self, "The frame at {time} has waited in vain");
                state.silent = true;
                state.has_to_warn |= !live && !max_wait.is_zero();
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let hold = gst::ClockTime::try_from(settings.hold).unwrap_or(gst::ClockTime::MAX);
        let held = (settings.hold > 0).then(|| state.analysis.latest(time, hold)).flatten();
        Ok(held.cloned())
    }

    /// Says once why frames have no faces, outside the lock.
    fn warn_about_silence(&self) {
        {
            let mut state = lock(&self.state);
            if !state.has_to_warn || state.warned {
                return;
            }
            state.warned = true;
        }
        gst::element_imp_warning!(
            self,
            gst::StreamError::Failed,
            ("The analysis branch has brought nothing for longer than max-wait, and frames go on \
                 without faces until it does. Its queue has to lose old frames rather than new ones \
                 (leaky=downstream), and the queue of the main branch has to hold as many frames as \
                 the analysis branch does")
        );
    }

    /// Whether the source of the main branch is live.
    fn is_live(&self) -> bool {
        if let Some(live) = lock(&self.state).live {
            return live;
        }
        let mut query = gst::query::Latency::new();
        let live = self.main_pad.peer_query(&mut query) && query.result().0;
        lock(&self.state).live = Some(live);
        live
    }

    fn main_event(&self, event: gst::Event) -> bool {
        {
            let mut state = lock(&self.state);
            match event.type_() {
                gst::EventType::FlushStart => state.flushing = true,
                gst::EventType::FlushStop => {
                    state.flushing = false;
                    state.analysis.clear();
                }
                gst::EventType::StreamStart => state.live = None,
                _ => (),
            }
            self.changed.notify_all();
            if let Err(err) = state.main.update(&event) {
                drop(state);
                gst::element_imp_error!(self, gst::StreamError::Format, ("{err}"));
                return false;
            }
        }
        gst::Pad::event_default(&self.main_pad, Some(&*self.obj()), event)
    }

    fn faces_chain(&self, buffer: &gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
        let faces = gstreamer::faces(buffer);
        let mut state = lock(&self.state);
        let video = state.faces.video.ok_or(gst::FlowError::NotNegotiated)?;
        if let Some(time) = state.faces.running_time(buffer) {
            state.analysis.push(Analysed { time, size: video.visible_size(buffer), faces });
            state.silent = false;
            self.changed.notify_all();
        }
        Ok(gst::FlowSuccess::Ok)
    }

    /// None of them goes on: the main branch has the same.
    fn faces_event(&self, event: &gst::Event) -> bool {
        let mut state = lock(&self.state);
        match event.type_() {
            gst::EventType::StreamStart => state.ended = false,
            gst::EventType::FlushStop => {
                state.ended = false;
                state.analysis.clear();
            }
            gst::EventType::Eos => state.ended = true,
            _ => (),
        }
        self.changed.notify_all();
        let updated = state.faces.update(event);
        drop(state);
        if let Err(err) = updated {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{err}"));
            return false;
        }
        true
    }

    fn src_query(&self, query: &mut gst::QueryRef) -> bool {
        if !gst::Pad::query_default(&self.src_pad, Some(&*self.obj()), query) {
            return false;
        }
        if let gst::QueryViewMut::Latency(query) = query.view_mut() {
            let (live, minimum, maximum) = query.result();
            if live {
                let wait = lock(&self.settings).max_wait(live);
                let more = |time: gst::ClockTime| time.saturating_add(wait);
                query.set(live, more(minimum), maximum.map(more));
            }
        }
        true
    }

    /// The pads that a stream passes on its way through the element.
    fn linked_inside(&self, pad: &gst::Pad) -> gst::Iterator<gst::Pad> {
        let linked = if *pad == self.main_pad {
            vec![self.src_pad.clone()]
        } else if *pad == self.src_pad {
            vec![self.main_pad.clone()]
        } else {
            Vec::new()
        };
        gst::Iterator::from_vec(linked)
    }
}

#[glib::object_subclass]
impl ObjectSubclass for RetinaFaceMetaMux {
    const NAME: &'static str = "GstRetinaFaceMetaMux";
    type Type = super::RetinaFaceMetaMux;
    type ParentType = gst::Element;

    fn with_class(class: &Self::Class) -> Self {
        let pad = |name, direction| {
            let builder = match class.pad_template(name) {
                Some(template) => gst::Pad::builder_from_template(&template),
                None => gst::Pad::builder(direction).name(name),
            };
            builder.iterate_internal_links_function(|pad, parent| {
                Self::catch_panic_pad_function(
                    parent,
                    || gst::Iterator::from_vec(Vec::new()),
                    |mux| mux.linked_inside(pad),
                )
            })
        };
        // Caps and allocation are between the main branch and downstream.
        let proxy = gst::PadFlags::PROXY_CAPS
            | gst::PadFlags::PROXY_ALLOCATION
            | gst::PadFlags::PROXY_SCHEDULING;
        let error = || Err(gst::FlowError::Error);
        Self {
            settings: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            main_pad: pad("sink", gst::PadDirection::Sink)
                .flags(proxy)
                .chain_function(move |_, parent, buffer| {
                    Self::catch_panic_pad_function(parent, error, |mux| mux.main_chain(buffer))
                })
                .event_function(|_, parent, event| {
                    Self::catch_panic_pad_function(parent, || false, |mux| mux.main_event(event))
                })
                .build(),
            faces_pad: pad("faces", gst::PadDirection::Sink)
                .chain_function(move |_, parent, buffer| {
                    Self::catch_panic_pad_function(parent, error, |mux| mux.faces_chain(&buffer))
                })
                .event_function(|_, parent, event| {
                    Self::catch_panic_pad_function(parent, || false, |mux| mux.faces_event(&event))
                })
                .build(),
            src_pad: pad("src", gst::PadDirection::Src)
                .flags(proxy)
                .query_function(|_, parent, query| {
                    Self::catch_panic_pad_function(parent, || false, |mux| mux.src_query(query))
                })
                .build(),
        }
    }
}

#[glib::derived_properties]
impl ObjectImpl for RetinaFaceMetaMux {
    fn constructed(&self) {
        self.parent_constructed();
        for pad in [&self.main_pad, &self.faces_pad, &self.src_pad] {
            // Fails only where a pad of this name is there already.
            let _ = self.obj().add_pad(pad);
        }
    }
}

impl GstObjectImpl for RetinaFaceMetaMux {}

impl ElementImpl for RetinaFaceMetaMux {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Face metadata muxer",
                "Muxer/Metadata/Video",
                "Puts the faces that were found in an analysis branch, on its pad faces, on the frames \
                 of the main branch with the same running time, whatever their size. No frame of the \
                 main branch is lost",
                "The gst-plugin-retinaface authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static PAD_TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::builder("video/x-raw").any_features().build();
            [
                ("sink", gst::PadDirection::Sink),
                ("faces", gst::PadDirection::Sink),
                ("src", gst::PadDirection::Src),
            ]
            .into_iter()
            .filter_map(|(name, direction)| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps).ok()
            })
            .collect()
        });
        &PAD_TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        match transition {
            gst::StateChange::ReadyToPaused => *lock(&self.state) = State::default(),
            gst::StateChange::PausedToReady => {
                // Before the pads' streaming ends, which may wait for a frame that waits.
                lock(&self.state).flushing = true;
                self.changed.notify_all();
            }
            _ => (),
        }
        self.parent_change_state(transition)
    }
}
