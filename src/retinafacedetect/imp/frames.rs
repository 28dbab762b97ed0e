// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames on their way through the element.

use std::{sync::Arc, time::Instant};

use gst::{prelude::*, subclass::prelude::*};
use gst_base::prelude::*;

use super::{CAT, RetinaFaceDetect, Stream, lock, orientation};
use crate::{
    inference::LoadError,
    meta::{self, Detections, MapError, OrientationTags},
    ordered_pool::OrderedPool,
    retinafacedetect::{
        settings::Messages,
        worker::{DetectError, Format, Job, View},
    },
};

impl RetinaFaceDetect {
    /// Has a frame pass that would leave too late if faces were looked for in it.
    pub(super) fn skip_if_late(&self, job: &mut Job) {
        let max_lag = job.settings.max_lag;
        if max_lag == 0 || !job.detect {
            return;
        }
        let now = || {
            let (clock, base_time) = (self.obj().clock()?, self.obj().base_time()?);
            clock.time().checked_sub(base_time)
        };
        let work = lock(&self.output).expected_work;
        let work = work.try_into().unwrap_or(gst::ClockTime::ZERO);
        let late = match (job.running_time, now(), &mut *lock(&self.pace)) {
            (Some(frame), Some(now), Some(pace)) => {
                pace.is_late(frame, now, work, gst::ClockTime::from_nseconds(max_lag))
            }
            _ => false,
        };
        if late {
            gst::debug!(CAT, imp = self, "Skipping a frame of {:?}: it is late", job.running_time);
            lock(&self.output).stats.skip();
            job.detect = false;
        }
    }

    /// Fills in a job for a frame that has just arrived.
    pub(super) fn accept(
        &self,
        job: &mut Job,
        buffer: gst::Buffer,
        format: &Arc<Format>,
        tags: &OrientationTags,
        detect: bool,
    ) {
        let segment = self.obj().segment();
        let segment = segment.downcast_ref::<gst::ClockTime>();
        job.arrival = Instant::now();
        job.settings = *lock(&self.live_settings);
        job.view = View {
            size: meta::visible_size(&buffer, &format.info),
            orientation: orientation(&job.settings, tags),
        };
        job.stream_time = segment.and_then(|segment| segment.to_stream_time(buffer.pts()));
        job.running_time = segment.and_then(|segment| segment.to_running_time(buffer.pts()));
        job.detect = detect;
        job.format = Some(Arc::clone(format));
        job.buffer = Some(buffer);
    }

    /// The frame of a processed job, with its faces attached; frames come in order.
    pub(super) fn finish(&self, job: &mut Job) -> Result<gst::Buffer, gst::FlowError> {
        job.format = None;
        let mut buffer = job.buffer.take().ok_or(gst::FlowError::Error)?;
        if !job.detect {
            return Ok(buffer);
        }
        let timings = match &job.result {
            Ok(timings) => timings,
            Err(DetectError::Map(err)) => return self.report_bad_frame(err).map(|()| buffer),
            Err(err) => {
                self.post_detect_error(err);
                return Err(gst::FlowError::Error);
            }
        };
        let (width, height) = job.view.size;
        meta::attach_all(&mut buffer, &job.faces, width, height);
        let changed = {
            let mut output = lock(&self.output);
            output.bad_frames.good();
            // The longest of late, which counts less and less.
            output.expected_work = timings.total().max(output.expected_work * 15 / 16);
            output.stats.record(job.faces.len(), timings, job.arrival.elapsed());
            let last_count = std::mem::replace(&mut output.last_count, job.faces.len());
            last_count != job.faces.len()
        };
        gst::trace!(CAT, imp = self, "{} faces in {timings:?}", job.faces.len());
        let wanted = match job.settings.messages {
            Messages::Never => false,
            Messages::OnFaces => !job.faces.is_empty(),
            Messages::OnChange => changed,
            Messages::EveryFrame => true,
        };
        if wanted {
            let detections = Detections {
                timestamp: buffer.pts(),
                stream_time: job.stream_time,
                running_time: job.running_time,
                duration: buffer.duration(),
                width,
                height,
                faces: job.faces.clone(),
            };
            let message =
                gst::message::Element::builder(detections.to_structure()).src(&*self.obj()).build();
            // Refused only by a bus that is shutting down.
            let _ = self.obj().post_message(message);
        }
        Ok(buffer)
    }

    /// Pushes a frame downstream, in the source pad's task. Where downstream refuses one, it may take
    /// the next; where detection has failed, frames are dropped until a flush.
    pub(super) fn deliver(&self, job: &mut Job) {
        if lock(&self.output).failed {
            job.buffer = None;
            return;
        }
        let frame = self.finish(job);
        let failed = frame.is_err();
        let flow = frame.and_then(|buffer| self.obj().src_pad().push(buffer));
        let mut output = lock(&self.output);
        output.flow = flow;
        output.reported = false;
        output.failed = failed;
    }

    /// Has a frame processed and pushed by other threads.
    pub(super) fn hand_over(
        &self,
        pool: &OrderedPool<Job>,
        fill: impl FnOnce(&mut Job),
    ) -> Result<(), gst::FlowError> {
        let refused = lock(&self.output).flow.is_err();
        if !pool.push(fill) {
            return Err(gst::FlowError::Flushing);
        }
        if refused {
            // Upstream is to know what became of this frame, not of one before: downstream may take
            // frames again.
            if !pool.drain() {
                return Err(gst::FlowError::Flushing);
            }
            let mut output = lock(&self.output);
            output.reported = true;
            output.flow?;
        }
        Ok(())
    }

    /// Fails where the stream has nothing but frames that cannot be mapped.
    pub(super) fn report_bad_frame(&self, err: &MapError) -> Result<(), gst::FlowError> {
        let said = lock(&self.output).bad_frames.bad(err, Instant::now());
        gst::debug!(CAT, imp = self, "No faces are looked for in a frame: {err}");
        said.post(&*self.obj(), gst::StreamError::WrongType, None)
    }

    /// What frames in flight add to the latency of a live pipeline: with the time of that many frames
    /// for each, this element keeps up.
    pub(super) fn latency(&self) -> Option<gst::ClockTime> {
        let state = lock(&self.state);
        let Stream { format, mode } = state.as_ref()?.stream.as_ref()?;
        let fps = format.info.fps();
        let in_flight = mode.pool()?.capacity() as u64 / 2;
        // A variable frame rate is 0/1.
        let (frames, seconds) = (fps.numer().unsigned_abs(), fps.denom().unsigned_abs());
        let in_flight = gst::ClockTime::SECOND * in_flight;
        (frames > 0).then(|| in_flight.mul_div_floor(seconds.into(), frames.into())).flatten()
    }

    /// The threads that process several frames in parallel, if there are any.
    pub(super) fn pool(&self) -> Option<Arc<OrderedPool<Job>>> {
        lock(&self.state).as_ref()?.stream.as_ref()?.mode.pool().cloned()
    }

    /// Waits until the frames in flight have left.
    pub(super) fn drain(&self) {
        if let Some(pool) = self.pool() {
            pool.drain();
        }
    }

    pub(super) fn post_detect_error(&self, err: &DetectError) {
        match err {
            DetectError::Library(_)
            | DetectError::Load(LoadError::Library(_) | LoadError::NeedsLibrary { .. }) => {
                gst::element_imp_error!(self, gst::LibraryError::Init, ("{err}"));
            }
            DetectError::Map(_) => {
                gst::element_imp_error!(self, gst::StreamError::Format, ("{err}"));
            }
            DetectError::Load(LoadError::Provider(err)) => gst::element_imp_error!(
                self,
                gst::LibraryError::Init,
                ("The execution provider cannot be used: {err}")
            ),
            DetectError::Load(err) => gst::element_imp_error!(
                self,
                gst::StreamError::Format,
                ("The network cannot be used with these frames: {err}")
            ),
            DetectError::Run(_) | DetectError::Fault(_) => {
                gst::element_imp_error!(self, gst::LibraryError::Failed, ("{err}"));
            }
            DetectError::Threads(_) => {
                gst::element_imp_error!(self, gst::ResourceError::NoSpaceLeft, ("{err}"));
            }
        }
    }
}
