// SPDX-License-Identifier: MIT OR Apache-2.0

//! From the settings to threads that detect faces.

use std::{io, sync::Arc, thread};

use gst::{prelude::*, subclass::prelude::*};
use gst_base::prelude::*;

use super::{CAT, EMBEDDED_MODEL, RetinaFaceDetect, Stream, debug_level, lock, log, orientation};
use crate::{
    frame::Layout,
    inference::{Event, Loader, LogLevel, Provider, ProviderError, Selection},
    meta,
    model::{self, Model},
    ordered_pool::OrderedPool,
    retinafacedetect::{
        mode::Mode,
        pace::Pace,
        settings::{LiveSettings, Settings},
        worker::{self, DetectError, Format, Job, Network, View},
    },
};

impl RetinaFaceDetect {
    /// The network that the settings name.
    pub(super) fn load_network(&self, settings: &Settings) -> Result<Network, gst::ErrorMessage> {
        let read;
        let (name, bytes) = match (&settings.model_file, EMBEDDED_MODEL) {
            (Some(path), _) => {
                read = model::read(path).map_err(|err| {
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
        let known = settings
            .known()
            .map_err(|err| gst::error_msg!(gst::LibraryError::Settings, ("{err}")))?;
        let model = Model::shared(bytes, &known).map_err(|err| {
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
        let element = self.obj().downgrade();
        let on_event = Box::new(move |event: Event| {
            if let Some(element) = element.upgrade() {
                element.imp().handle_event(&event);
            }
        });
        let loader = Loader::new(log, model, on_event);
        let element = self.obj().downgrade();
        let admit = Box::new(move |job: &mut Job| {
            if let Some(element) = element.upgrade() {
                element.imp().skip_if_late(job);
            }
        });
        Ok(Network { loader, strides, request: settings.request(), admit })
    }

    /// Gets ready for frames of `format`, with none in flight.
    pub(super) fn prepare(&self, format: Format) -> Result<(), DetectError> {
        let (network, mode, tags) = match &*lock(&self.state) {
            Some(state) => {
                let mode = state.stream.as_ref().map(|stream| stream.mode.clone());
                (Arc::clone(&state.network), mode, state.tags)
            }
            None => return Ok(()),
        };
        let settings = *lock(&self.live_settings);
        let view = View {
            size: (format.info.width(), format.info.height()),
            orientation: orientation(&settings, &tags),
        };
        let format = Arc::new(format);
        let mode = match mode {
            Some(Mode::Inline(inline)) => {
                lock(&inline).0.prepare(&format.layout, &view, &settings, None)?;
                Mode::Inline(inline)
            }
            // Workers get ready when their first frames come.
            Some(mode) => mode,
            None => {
                let Selection { engine, config, .. } =
                    self.select(&network, &format.layout, &view, &settings)?;
                Mode::new(&network, &config, engine, format.layout, view, settings)?
            }
        };
        let first = {
            let mut state = lock(&self.state);
            let Some(state) = state.as_mut().filter(|state| !state.stopping) else {
                return Ok(());
            };
            state.stream.replace(Stream { format, mode: mode.clone() }).is_none()
        };
        if first {
            let latency = meta::upstream_latency(self.obj().sink_pad()).unwrap_or_default();
            *lock(&self.pace) = Some(Pace::new(latency));
        }
        if let Some(pool) = mode.pool()
            && first
        {
            self.start_task(pool).map_err(|err| DetectError::Threads(io::Error::other(err)))?;
            if !self.obj().src_pad().is_active() {
                // It was deactivated before there was a task to stop.
                pool.stop();
            }
            let latency = gst::message::Latency::builder().src(&*self.obj()).build();
            // Refused only by a bus that is shutting down.
            let _ = self.obj().post_message(latency);
        }
        Ok(())
    }

    /// Selects the provider for frames like this.
    pub(super) fn select(
        &self,
        network: &Network,
        layout: &Layout,
        view: &View,
        settings: &LiveSettings,
    ) -> Result<Selection, DetectError> {
        let in_flight = self.in_flight(network.request.in_flight);
        let selection = worker::select(network, in_flight, layout, view, settings)?;
        gst::info!(CAT, imp = self, "Running with {:?}", selection.config);
        let unexpected: Vec<_> = selection.unexpected.iter().collect();
        self.set_provider(selection.config.provider, &unexpected);
        Ok(selection)
    }

    /// Makes the provider known, with a warning where there are reasons for one.
    pub(super) fn set_provider(&self, provider: Provider, reasons: &[&ProviderError]) {
        let before = lock(&self.output).provider.replace(provider);
        if before == Some(provider) {
            return;
        }
        self.obj().notify("active-execution-provider");
        if !reasons.is_empty() {
            let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
            gst::element_imp_warning!(
                self,
                gst::LibraryError::Init,
                ("Detecting faces with {provider}: {}", reasons.join("; "))
            );
        }
    }

    /// Reports what happens while a network is loaded.
    pub(super) fn handle_event(&self, event: &Event) {
        let (kind, text) = match event {
            Event::Log(LogLevel::Info, message) => {
                return gst::info!(CAT, imp = self, "{message}");
            }
            Event::Log(level, message) => {
                let level = debug_level(*level);
                return gst::log_with_level!(CAT, level, imp = self, "{message}");
            }
            Event::MuchMemory(need) => {
                return gst::element_imp_warning!(
                    self,
                    gst::ResourceError::NoSpaceLeft,
                    ("{need}: a smaller scale or max-size, or fewer frames in flight, take less")
                );
            }
            Event::AsExported(why) => {
                return gst::element_imp_warning!(
                    self,
                    gst::StreamError::Format,
                    ("The network runs as it was exported, which is slower, and no faster with \
                         fewer strides: {why}")
                );
            }
            Event::ProviderChanged(provider, reason) => {
                return self.set_provider(*provider, &[*reason]);
            }
            Event::BuildStarted(spec) => {
                let (width, height) = spec.size;
                let text = format!(
                    "TensorRT is building an engine for {} × {width}×{height} pixels: this takes \
                     minutes, but only once",
                    spec.batch
                );
                (gst::ProgressType::Start, text)
            }
            Event::BuildFinished(took, Ok(())) => {
                let text = format!("TensorRT has built an engine in {} s", took.as_secs());
                (gst::ProgressType::Complete, text)
            }
            Event::BuildFinished(_, Err(err)) => {
                (gst::ProgressType::Error, format!("TensorRT could not build an engine: {err}"))
            }
        };
        let message = gst::message::Progress::builder(kind, "tensorrt-build", &text);
        // Refused only by a bus that is shutting down.
        let _ = self.obj().post_message(message.src(&*self.obj()).build());
    }

    /// How many frames are in flight where the property says `set`. Upstream knows at the first caps
    /// whether it is live.
    pub(super) fn in_flight(&self, set: usize) -> usize {
        match set {
            // Here a pad asks for a frame and has to get it.
            _ if self.obj().sink_pad().mode() == gst::PadMode::Pull => 1,
            0 if meta::upstream_latency(self.obj().sink_pad()).is_some() => 1,
            0 => thread::available_parallelism().map_or(1, usize::from),
            set => set,
        }
    }

    /// Starts to push what comes out of `pool`, until it is stopped or closed.
    pub(super) fn start_task(&self, pool: &Arc<OrderedPool<Job>>) -> Result<(), glib::BoolError> {
        let element = self.obj().clone();
        let pool = Arc::clone(pool);
        self.obj().src_pad().start_task(move || {
            if !pool.deliver(|job| element.imp().deliver(job)) {
                // Fails only where there is no task.
                let _ = element.src_pad().pause_task();
            }
        })
    }

    /// Before the source pad is active or inactive.
    pub(super) fn activate_source(&self, active: bool) -> Result<(), glib::BoolError> {
        let Some(pool) = self.pool() else { return Ok(()) };
        if active {
            pool.start();
            lock(&self.output).flow = Ok(gst::FlowSuccess::Ok);
            self.start_task(&pool)
        } else {
            pool.stop();
            self.obj().src_pad().stop_task()
        }
    }
}
