// SPDX-License-Identifier: MIT OR Apache-2.0

//! The pipeline that finds the faces in one input.

use std::{
    error::Error,
    ffi::OsStr,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
};

use gst::prelude::*;
use gstretinaface::meta;

use super::{
    arguments::{Arguments, NAME},
    input,
    missing::Missing,
    progress::Progress,
    properties,
    sink::Sink,
    text,
};

/// Between two looks at how far it is.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// How an input has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Stream,
    /// Of the output, long before perhaps.
    ReaderGone,
}

pub struct Pipeline {
    pipeline: gst::Pipeline,
    name: String,
    /// How many are done.
    frames: Arc<AtomicU64>,
    /// Why text could not be written.
    failure: Receiver<io::Error>,
}

impl Pipeline {
    pub fn new(input: &OsStr, arguments: &Arguments, sink: &Sink) -> Result<Self, Box<dyn Error>> {
        let uri = input::uri(input)?;
        let name = input.to_string_lossy().into_owned();
        let make = |factory: &str| gst::ElementFactory::make(factory).build();
        let source = gst::ElementFactory::make("uridecodebin").property("uri", &uri).build()?;
        // Decoding goes on while faces are looked for.
        let queue = make("queue")?;
        // Does nothing to frames that the detector takes as they are.
        let mut elements = vec![queue.clone(), make("videoconvert")?];
        if arguments.upright {
            let flip = make("videoflip")?;
            flip.set_property_from_str("video-direction", "auto");
            elements.extend([flip, make("videoconvert")?]);
        }
        // videoflip may leave the tag as it is, and then frames must not be turned again.
        let upright = ("orientation".to_owned(), "identity".to_owned());
        let upright = arguments.upright.then_some(upright);
        let settings: Vec<_> = upright.into_iter().chain(arguments.properties.clone()).collect();
        elements.push(properties::detector(&settings)?);
        if sink.is_json() {
            let publish = gst::ElementFactory::make("retinafacepublish");
            let publish = publish.property("location", sink.location()).property("source", &name);
            elements.push(publish.build()?);
        }
        let end = gst::ElementFactory::make("fakesink").property("sync", false).build()?;
        elements.push(end.clone());

        let pipeline = gst::Pipeline::new();
        pipeline.add(&source)?;
        pipeline.add_many(&elements)?;
        gst::Element::link_many(&elements)?;
        link_video(&source, &queue)?;
        let (frames, failure) = watch(&end, &name, sink)?;
        Ok(Self { pipeline, name, frames, failure })
    }

    /// Until its end. The pipeline stops whatever happens.
    pub fn run(self, sink: &Sink) -> Result<End, Box<dyn Error>> {
        let end = self.play(sink);
        let stopped = self.pipeline.set_state(gst::State::Null);
        let end = end?;
        stopped?;
        Ok(end)
    }

    fn play(&self, sink: &Sink) -> Result<End, Box<dyn Error>> {
        let bus = self.pipeline.bus().ok_or("a pipeline has a bus")?;
        // On a terminal, what is found shows how far it is.
        let mut progress = Progress::new(&self.name, sink.is_terminal());
        let mut missing = Missing::default();
        // An error is on the bus, and says more.
        let mut started = self.pipeline.set_state(gst::State::Playing).map(|_| ());
        loop {
            if let Ok(err) = self.failure.try_recv() {
                return match err.kind() {
                    io::ErrorKind::BrokenPipe => Ok(End::ReaderGone),
                    _ => Err(format!("cannot write the output: {err}").into()),
                };
            }
            progress.update(&self.pipeline, self.frames.load(Ordering::Relaxed));
            let Some(message) = bus.timed_pop(TICK) else {
                std::mem::replace(&mut started, Ok(()))?;
                continue;
            };
            match message.view() {
                gst::MessageView::Eos(_) => return Ok(End::Stream),
                gst::MessageView::Error(err) => {
                    let said = describe(&err.error(), err.debug().as_deref());
                    return Err(missing.advice().unwrap_or(said).into());
                }
                gst::MessageView::Warning(warning) => {
                    let said = describe(&warning.error(), warning.debug().as_deref());
                    progress.print(&format!("{NAME}: {}: warning: {said}", self.name));
                }
                gst::MessageView::Element(element) => match element.structure() {
                    Some(gone) if gone.name() == "retinafacepublish-reader-gone" => {
                        return Ok(End::ReaderGone);
                    }
                    Some(said) => missing.note(said),
                    None => (),
                },
                gst::MessageView::Latency(_) => self.pipeline.recalculate_latency()?,
                _ => (),
            }
        }
    }
}

/// All that an element says but where in its source it says so: many of GStreamer's say after that what
/// is wrong.
fn describe(err: &glib::Error, debug: Option<&str>) -> String {
    let details = debug.map(|debug| match debug.split_once('\n') {
        _ if !debug.contains(" (): ") => debug,
        Some((_place, details)) => details,
        None => "",
    });
    match details.filter(|details| !details.is_empty()) {
        Some(details) => format!("{err}\n{details}"),
        None => err.to_string(),
    }
}

/// Links the first video of `source` as soon as there is one. That there is none is an error of the
/// source.
fn link_video(source: &gst::Element, queue: &gst::Element) -> Result<(), Box<dyn Error>> {
    let sink_pad = queue.static_pad("sink").ok_or("a queue has a sink pad")?;
    let found = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&found);
    source.connect_pad_added(move |source, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let video = caps.structure(0).is_some_and(|s| s.name().starts_with("video/"));
        if video
            && !seen.swap(true, Ordering::Relaxed)
            && let Err(err) = pad.link(&sink_pad)
        {
            gst::element_error!(
                source,
                gst::StreamError::Format,
                ("The decoder's frames cannot be converted: {err}; they are {caps}")
            );
        }
    });
    source.connect_no_more_pads(move |source| {
        if !found.load(Ordering::Relaxed) {
            gst::element_error!(
                source,
                gst::StreamError::WrongType,
                ("There is no picture and no video in it")
            );
        }
    });
    Ok(())
}

/// Counts the frames that reach `end`, and prints their faces unless an element does.
fn watch(
    end: &gst::Element,
    name: &str,
    sink: &Sink,
) -> Result<(Arc<AtomicU64>, Receiver<io::Error>), Box<dyn Error>> {
    let frames = Arc::new(AtomicU64::new(0));
    let (sender, failure) = mpsc::channel();
    let (count, name) = (Arc::clone(&frames), name.to_owned());
    let pad = end.static_pad("sink").ok_or("a sink has a sink pad")?;
    let writer = Mutex::new((!sink.is_json()).then(|| sink.writer()));
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let frame = count.fetch_add(1, Ordering::Relaxed);
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(writer), Some(buffer)) = (writer.as_mut(), info.buffer())
            && let Err(err) = text::write_frame(writer, &name, frame, &meta::faces(buffer))
        {
            // Nobody waits for it any more where the pipeline is stopping.
            let _ = sender.send(err);
            return gst::PadProbeReturn::Remove;
        }
        gst::PadProbeReturn::Ok
    });
    Ok((frames, failure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_in_the_source_an_element_failed_is_not_said() {
        let err = glib::Error::new(gst::ResourceError::NotFound, "Resource not found.");
        let place =
            "../gstfilesrc.c(553): gst_file_src_start (): /GstPipeline:pipeline0/GstFileSrc:source";
        for (debug, expected) in [
            (None, "Resource not found."),
            (Some(place.to_owned()), "Resource not found."),
            (Some(format!("{place}:\nNo such file")), "Resource not found.\nNo such file"),
            (Some("No place".to_owned()), "Resource not found.\nNo place"),
        ] {
            assert_eq!(describe(&err, debug.as_deref()), expected);
        }
    }
}
