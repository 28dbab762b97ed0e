// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    collections::HashSet,
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
/// Frames of both branches no further apart than this are the same: what rounding of frame rates may
/// do.
const LEAST_TOLERANCE: gst::ClockTime = gst::ClockTime::from_mseconds(1);
/// Frames of the main branch are no further apart than this, unless its caps say so.
const USUAL_DISTANCE: gst::ClockTime = gst::ClockTime::from_mseconds(40);
/// So many frames of the analysis branch in a row that come too late are no accident.
const MOST_LATE: u32 = 10;
/// Aspect ratios that differ by more than this are not the same one, rounded to pixels.
const SAME_ASPECT: f64 = 0.05;

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

/// What users have to be told, once, as frames lack faces or have them in wrong places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
enum Complaint {
    #[error(
        "The analysis branch has brought nothing for longer than max-wait, and frames go on without faces \
         until it does. Its queue has to lose old frames rather than new ones (leaky=downstream), and the \
         queue of the main branch has to hold as many frames as the analysis branch does"
    )]
    Silent,
    #[error(
        "The analysis branch takes longer than max-wait: when it has had a frame, that of the main branch \
         has gone on, without faces. Set max-wait to more, have smaller frames analysed, or set hold"
    )]
    Late,
    #[error(
        "The pictures of the analysis branch have another aspect ratio than those of the main branch. If \
         they have borders, as videoscale makes them with add-borders=true, or if something is cut off, \
         faces are put in wrong places"
    )]
    Aspect,
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
    /// The running time of the last frame of the main branch that has gone on.
    gone: Option<gst::ClockTime>,
    /// How many frames of the analysis branch in a row were earlier than that when they came.
    late: u32,
    said: HashSet<Complaint>,
}

impl State {
    /// How far from a frame of the main branch one of the analysis branch may be that is the same: both
    /// may have got their timestamps by different rates, as behind videorate.
    fn tolerance(&self, time: gst::ClockTime) -> gst::ClockTime {
        let promised = self.main.video.and_then(|video| video.frame_duration);
        let distance = self.gone.and_then(|gone| time.checked_sub(gone)).unwrap_or_default();
        (distance.min(promised.unwrap_or(USUAL_DISTANCE)) / 2).max(LEAST_TOLERANCE)
    }

    /// Takes note that a frame of the analysis branch with this running time has come. Whether too many
    /// have come too late.
    fn is_late(&mut self, time: gst::ClockTime) -> bool {
        let is_late = self.gone.is_some_and(|gone| time.saturating_add(LEAST_TOLERANCE) < gone);
        self.late = if is_late { self.late.saturating_add(1) } else { 0 };
        self.late >= MOST_LATE
    }

    /// Whether the branches have different pictures, as far as is known.
    fn differs_in_aspect(&self) -> bool {
        let aspects = self.main.video.zip(self.faces.video);
        aspects.is_some_and(|(main, faces)| (main.aspect / faces.aspect - 1.0).abs() > SAME_ASPECT)
    }
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
        let tolerance = state.tolerance(time);
        let mut complaint = None;
        loop {
            if state.flushing {
                return Err(gst::FlowError::Flushing);
            }
            let is_expected = !state.silent && !state.ended && self.faces_pad.is_linked();
            match state.analysis.find(time, tolerance) {
                Answer::This(analysed) => {
                    let analysed = analysed.clone();
                    state.gone = Some(time);
                    return Ok(Some(analysed));
                }
                Answer::NotYet if is_expected => (),
                Answer::NotYet | Answer::LeftOut => break,
            }
            let now = Instant::now();
            let left = deadline.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
            if left.is_zero() {
                gst::debug!(CAT, imp = self, "The frame at {time} has waited in vain");
                state.silent = true;
                complaint = (!live && !max_wait.is_zero()).then_some(Complaint::Silent);
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let hold = gst::ClockTime::try_from(settings.hold).unwrap_or(gst::ClockTime::MAX);
        let held = (settings.hold > 0).then(|| state.analysis.latest(time, hold)).flatten();
        let held = held.cloned();
        state.gone = Some(time);
        drop(state);
        self.complain(complaint);
        Ok(held)
    }

    /// Says it, unless that has been done before.
    fn complain(&self, complaint: Option<Complaint>) {
        let is_new = |complaint: &Complaint| lock(&self.state).said.insert(*complaint);
        if let Some(complaint) = complaint.filter(is_new) {
            gst::element_imp_warning!(self, gst::StreamError::Failed, ("{complaint}"));
        }
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
                    state.gone = None;
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
        let holds = lock(&self.settings).hold > 0;
        let mut state = lock(&self.state);
        let video = state.faces.video.ok_or(gst::FlowError::NotNegotiated)?;
        let Some(time) = state.faces.running_time(buffer) else {
            return Ok(gst::FlowSuccess::Ok);
        };
        state.analysis.push(Analysed { time, size: video.visible_size(buffer), faces });
        state.silent = false;
        let is_late = state.is_late(time) && !holds;
        let differs = state.differs_in_aspect();
        drop(state);
        self.changed.notify_all();
        self.complain(is_late.then_some(Complaint::Late));
        self.complain(differs.then_some(Complaint::Aspect));
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
