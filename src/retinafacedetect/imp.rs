// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    io,
    path::PathBuf,
    slice,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use gst::{prelude::*, subclass::prelude::*};
use gst_base::{
    prelude::*,
    subclass::{base_transform::GenerateOutputSuccess, prelude::*},
};

use super::{
    activation,
    mode::Mode,
    pace::Pace,
    settings::{
        ExecutionProvider, LiveSettings, Messages, Orientation, Precision, ScaleMethod, Settings,
        Strides,
    },
    stats::Stats,
    worker::{self, DetectError, Format, Job, Network, View},
};
use crate::{
    frame::Layout,
    inference::{self, Event, LoadError, Loader, LogLevel, Provider, ProviderError, Selection},
    meta::{self, BadFrame, BadFrames, Detections, MapError, OrientationTags},
    model::{self, Model},
    ordered_pool::OrderedPool,
    orientation,
};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
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

/// There from start() to stop(). Locked for moments only, never while frames are worked on.
struct State {
    network: Arc<Network>,
    /// There from the first caps on.
    stream: Option<Stream>,
    /// Caps that failed: upstream offers them again, and failing again would take as long.
    refused: Option<gst::Caps>,
    /// What the stream says of its orientation.
    tags: OrientationTags,
    /// Frames since the start.
    frames: u64,
    stopping: bool,
}

struct Stream {
    format: Arc<Format>,
    mode: Mode,
}

/// About the frames that have left.
struct Output {
    stats: Stats,
    bad_frames: BadFrames,
    /// How many faces were detected last.
    last_count: usize,
    /// How long the last frame in which faces were detected stayed.
    last_latency: Duration,
    /// What computes the network.
    provider: Option<Provider>,
    /// What pushing the last frame in the source pad's task came to.
    flow: Result<gst::FlowSuccess, gst::FlowError>,
    /// Whether upstream has heard of it.
    reported: bool,
    /// Whether detection failed, for which there is an error message.
    failed: bool,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            stats: Stats::default(),
            bad_frames: BadFrames::default(),
            last_count: 0,
            last_latency: Duration::ZERO,
            provider: None,
            flow: Ok(gst::FlowSuccess::Ok),
            reported: false,
            failed: false,
        }
    }
}

#[derive(Default, glib::Properties)]
#[properties(wrapper_type = super::RetinaFaceDetect)]
pub struct RetinaFaceDetect {
    #[property(
        name = "model-file",
        nick = "Model file",
        blurb = "ONNX file with a RetinaFace network of the PyTorch or InsightFace family (unset \
                 = built-in mobilenet0.25 network)",
        get, set, type = Option<PathBuf>, member = model_file, nullable,
        mutable_ready,
    )]
    #[property(
        name = "strides",
        nick = "Strides",
        blurb = "Feature pyramid levels to run, joined by +: lower strides find smaller faces \
                 and take longer. Levels that the network does not have are ignored",
        get, set, type = Strides, member = strides,
        default = Settings::DEFAULT.strides,
        mutable_ready,
    )]
    #[property(
        name = "execution-provider",
        nick = "Execution provider",
        blurb = "ONNX Runtime execution provider that runs the network. If the one selected does \
                 not work, that is an error; auto falls back to the next, and warns about one \
                 that is installed but broken",
        get, set, type = ExecutionProvider, member = execution_provider,
        mutable_ready,
        builder(Settings::DEFAULT.execution_provider)
    )]
    #[property(
        name = "device-id",
        nick = "Device ID",
        blurb = "CUDA index of the GPU to use (cuda and tensorrt)",
        get, set, type = u32, member = device_id,
        maximum = i32::MAX as u32,
        default = Settings::DEFAULT.device_id,
        mutable_ready,
    )]
    #[property(
        name = "precision",
        nick = "Precision",
        blurb = "Precision to run the network in. auto is TF32 on cuda, fp16 on tensorrt and \
                 fp32 elsewhere. bf16 on openvino is about twice as fast on CPUs with native \
                 support, and shifts the boxes of small faces by up to a pixel",
        get, set, type = Precision, member = precision,
        mutable_ready,
        builder(Settings::DEFAULT.precision)
    )]
    #[property(
        name = "threads",
        nick = "Threads",
        blurb = "Number of CPU threads per frame (0 = one per CPU that the process may use, or 1 with \
                 several frames in flight)",
        get, set, type = u32, member = threads,
        maximum = 1024,
        default = Settings::DEFAULT.threads,
        mutable_ready,
    )]
    #[property(
        name = "in-flight",
        nick = "Frames in flight",
        blurb = "Number of frames processed in parallel (0 = one per core, or 1 in live \
                 pipelines). 1 runs in the streaming thread and adds no latency; more use \
                 threads of their own and queue as many frames again, for the highest throughput",
        get, set, type = u32, member = in_flight,
        maximum = 64,
        default = Settings::DEFAULT.in_flight,
        mutable_ready,
    )]
    #[property(
        name = "batch-size",
        nick = "Batch size",
        blurb = "Maximum number of frames per inference, at most in-flight (0 = 8 on cuda and \
                 tensorrt, 1 elsewhere). Frames that are already waiting are batched; none is \
                 held back to fill a batch",
        get, set, type = u32, member = batch_size,
        maximum = 64,
        default = Settings::DEFAULT.batch_size,
        mutable_ready,
    )]
    #[property(
        name = "cuda-graphs",
        nick = "CUDA graphs",
        blurb = "Capture inference as a CUDA graph and replay it, if the whole network runs on \
                 the GPU (cuda and tensorrt)",
        get, set, type = bool, member = cuda_graphs,
        default = Settings::DEFAULT.cuda_graphs,
        mutable_ready,
    )]
    #[property(
        name = "tensorrt-build",
        nick = "TensorRT build",
        blurb = "Allow execution-provider=auto to build TensorRT engines that are not cached \
                 yet. This takes minutes, with progress messages on the bus; \
                 execution-provider=tensorrt always builds them",
        get, set, type = bool, member = tensorrt_build,
        default = Settings::DEFAULT.tensorrt_build,
        mutable_ready,
    )]
    settings: Mutex<Settings>,
    #[property(
        name = "orientation",
        nick = "Orientation",
        blurb = "How frames have to be turned to be upright, which is how faces are looked for. \
                 Nothing is turned but what the network sees: frames pass as they are, and faces are \
                 where they are in them",
        get, set, type = Orientation, member = orientation,
        mutable_playing,
        builder(LiveSettings::DEFAULT.orientation)
    )]
    #[property(
        name = "scale",
        nick = "Scale",
        blurb = "Scale factor from the frame to the network's input: below 1 is faster, above 1 \
                 finds smaller faces (raise max-size as well). An input of fixed size is always \
                 filled as far as the aspect ratio allows",
        get, set, type = f64, member = scale,
        minimum = 0.05, maximum = 4.0,
        default = LiveSettings::DEFAULT.scale,
        mutable_playing,
    )]
    #[property(
        name = "max-size",
        nick = "Maximum size",
        blurb = "Maximum width and height of the network's input in pixels, applied after scale, \
                 keeping the aspect ratio (0 = unlimited)",
        get, set, type = u32, member = max_size,
        maximum = 8192,
        default = LiveSettings::DEFAULT.max_size,
        mutable_playing,
    )]
    #[property(
        name = "scale-method",
        nick = "Scale method",
        blurb = "Method to scale frames to the size of the network's input",
        get, set, type = ScaleMethod, member = scale_method,
        mutable_playing,
        builder(LiveSettings::DEFAULT.scale_method)
    )]
    #[property(
        name = "score-threshold",
        nick = "Score threshold",
        blurb = "Confidence above which a detection is reported as a face",
        get, set, type = f64, member = score_threshold,
        minimum = 0.0, maximum = 1.0,
        default = LiveSettings::DEFAULT.score_threshold,
        mutable_playing,
    )]
    #[property(
        name = "iou-threshold",
        nick = "IoU threshold",
        blurb = "Intersection over union of two boxes above which non-maximum suppression drops \
                 the one with lower confidence",
        get, set, type = f64, member = iou_threshold,
        minimum = 0.0, maximum = 1.0,
        default = LiveSettings::DEFAULT.iou_threshold,
        mutable_playing,
    )]
    #[property(
        name = "max-detections",
        nick = "Maximum detections",
        blurb = "Maximum number of faces per frame, those with the highest confidence",
        get, set, type = u32, member = max_detections,
        minimum = 1, maximum = 100_000,
        default = LiveSettings::DEFAULT.max_detections,
        mutable_playing,
    )]
    #[property(
        name = "min-face-size",
        nick = "Minimum face size",
        blurb = "Minimum width and height of a face's box, in frame pixels",
        get, set, type = u32, member = min_face_size,
        maximum = 8192,
        default = LiveSettings::DEFAULT.min_face_size,
        mutable_playing,
    )]
    #[property(
        name = "max-face-size",
        nick = "Maximum face size",
        blurb = "Maximum width and height of a face's box, in frame pixels (0 = unlimited)",
        get, set, type = u32, member = max_face_size,
        maximum = 8192,
        default = LiveSettings::DEFAULT.max_face_size,
        mutable_playing,
    )]
    #[property(
        name = "largest-only",
        nick = "Largest only",
        blurb = "Report only the face with the largest box",
        get, set, type = bool, member = largest_only,
        default = LiveSettings::DEFAULT.largest_only,
        mutable_playing,
    )]
    #[property(
        name = "margin",
        nick = "Margin",
        blurb = "Enlarge boxes on each side by this fraction of their width and height",
        get, set, type = f64, member = margin,
        minimum = 0.0, maximum = 10.0,
        default = LiveSettings::DEFAULT.margin,
        mutable_playing,
    )]
    #[property(
        name = "inference-interval",
        nick = "Inference interval",
        blurb = "Run the network on every nth frame only; the other frames pass through without \
                 faces",
        get, set, type = u32, member = inference_interval,
        minimum = 1,
        default = LiveSettings::DEFAULT.inference_interval,
        mutable_playing,
    )]
    #[property(
        name = "max-lag",
        nick = "Maximum lag",
        blurb = "Frames that would leave this element later than usual by more nanoseconds than \
                 this pass through without faces, until it has caught up (0 = unlimited). Two frame \
                 times suit a live source",
        get, set, type = u64, member = max_lag,
        default = LiveSettings::DEFAULT.max_lag,
        mutable_playing,
    )]
    #[property(
        name = "messages",
        nick = "Messages",
        blurb = "When to post a \"facedetect\" element message with the faces of a frame",
        get, set, type = Messages, member = messages,
        mutable_playing,
        builder(LiveSettings::DEFAULT.messages)
    )]
    live_settings: Mutex<LiveSettings>,
    /// There from the first caps on.
    pace: Mutex<Option<Pace>>,
    state: Mutex<Option<State>>,
    #[property(
        name = "active-execution-provider",
        nick = "Active execution provider",
        blurb = "Execution provider that runs the network (null before the first caps)",
        get = |imp: &Self| lock(&imp.output).provider.map(|p| ExecutionProvider::from(p).nick()),
        type = Option<String>,
    )]
    output: Mutex<Output>,
}

/// Whatever another thread was doing when it failed, each of these stays valid on its own.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How frames have to be turned.
fn orientation(settings: &LiveSettings, tags: &OrientationTags) -> orientation::Orientation {
    settings.orientation.wanted().unwrap_or_else(|| tags.orientation())
}

/// ONNX Runtime's messages, in the element's debug category.
fn log(level: LogLevel, message: &str) {
    gst::log_with_level!(CAT, debug_level(level), "ONNX Runtime: {message}");
}

fn debug_level(level: LogLevel) -> gst::DebugLevel {
    match level {
        LogLevel::Fatal | LogLevel::Error => gst::DebugLevel::Error,
        LogLevel::Warning => gst::DebugLevel::Warning,
        LogLevel::Info => gst::DebugLevel::Debug,
        LogLevel::Verbose => gst::DebugLevel::Trace,
    }
}

impl RetinaFaceDetect {
    /// The network that the settings name.
    fn load_network(&self, settings: &Settings) -> Result<Network, gst::ErrorMessage> {
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
        let model = Model::shared(bytes).map_err(|err| {
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
        let loader = Loader::new(log, model, on_event)
            .map_err(|err| gst::error_msg!(gst::LibraryError::Init, ("{err}")))?;
        Ok(Network { loader, strides, request: settings.request() })
    }

    /// Reports what happens while a network is loaded.
    fn handle_event(&self, event: &Event) {
        let (kind, text) = match event {
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

    /// Gets ready for frames of `format`, with none in flight.
    fn prepare(&self, format: Format) -> Result<(), DetectError> {
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
            let latency = self.upstream_latency().unwrap_or_default();
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
    fn select(
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
    fn set_provider(&self, provider: Provider, reasons: &[&ProviderError]) {
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

    /// How many frames are in flight where the property says `set`. Upstream knows at the first caps
    /// whether it is live.
    fn in_flight(&self, set: usize) -> usize {
        match set {
            // Here a pad asks for a frame and has to get it.
            _ if self.obj().sink_pad().mode() == gst::PadMode::Pull => 1,
            0 if self.upstream_latency().is_some() => 1,
            0 => thread::available_parallelism().map_or(1, usize::from),
            set => set,
        }
    }

    /// `None` where it is not live.
    fn upstream_latency(&self) -> Option<gst::ClockTime> {
        let mut query = gst::query::Latency::new();
        let answered = self.obj().sink_pad().peer_query(&mut query);
        let (live, minimum, _) = query.result();
        (answered && live).then_some(minimum)
    }

    /// Whether a frame with these settings comes so late that it is skipped.
    fn is_late(&self, running_time: Option<gst::ClockTime>, settings: &LiveSettings) -> bool {
        let max_lag = settings.max_lag;
        if max_lag == 0 {
            return false;
        }
        let now = || {
            let (clock, base_time) = (self.obj().clock()?, self.obj().base_time()?);
            clock.time().checked_sub(base_time)
        };
        let work = lock(&self.output).last_latency.try_into().unwrap_or(gst::ClockTime::ZERO);
        match (running_time, now(), &mut *lock(&self.pace)) {
            (Some(frame), Some(now), Some(pace)) => {
                pace.is_late(frame, now, work, gst::ClockTime::from_nseconds(max_lag))
            }
            _ => false,
        }
    }

    /// What frames in flight add to the latency of a live pipeline: with the time of that many frames
    /// for each, this element keeps up.
    fn latency(&self) -> Option<gst::ClockTime> {
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
    fn pool(&self) -> Option<Arc<OrderedPool<Job>>> {
        lock(&self.state).as_ref()?.stream.as_ref()?.mode.pool().cloned()
    }

    /// Waits until the frames in flight have left.
    fn drain(&self) {
        if let Some(pool) = self.pool() {
            pool.drain();
        }
    }

    /// Fills in a job for a frame that has just arrived.
    fn accept(
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
        let late = self.is_late(job.running_time, &job.settings);
        if late && detect {
            gst::debug!(CAT, imp = self, "Skipping a frame of {:?}: it is late", job.running_time);
            lock(&self.output).stats.skip();
        }
        job.detect = detect && !late;
        job.format = Some(Arc::clone(format));
        job.buffer = Some(buffer);
    }

    /// The frame of a processed job, with its faces attached; frames come in order.
    fn finish(&self, job: &mut Job) -> Result<gst::Buffer, gst::FlowError> {
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
        if !job.faces.is_empty() {
            let buffer = buffer.make_mut();
            for face in &job.faces {
                meta::attach(buffer, face, width, height);
            }
        }
        let changed = {
            let mut output = lock(&self.output);
            output.bad_frames.good();
            output.last_latency = job.arrival.elapsed();
            let latency = output.last_latency;
            output.stats.record(job.faces.len(), timings, latency);
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
                faces: job.faces.clone(),
            };
            let message = gst::message::Element::builder(detections.to_structure(width, height))
                .src(&*self.obj())
                .build();
            // Refused only by a bus that is shutting down.
            let _ = self.obj().post_message(message);
        }
        Ok(buffer)
    }

    /// Pushes a frame downstream, in the source pad's task. Where downstream refuses one, it may take
    /// the next; where detection has failed, frames are dropped until a flush.
    fn deliver(&self, job: &mut Job) {
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
    fn hand_over(
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

    /// Starts to push what comes out of `pool`, until it is stopped or closed.
    fn start_task(&self, pool: &Arc<OrderedPool<Job>>) -> Result<(), glib::BoolError> {
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
    fn activate_source(&self, active: bool) -> Result<(), glib::BoolError> {
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

    /// Fails where the stream has nothing but frames that cannot be mapped.
    fn report_bad_frame(&self, err: &MapError) -> Result<(), gst::FlowError> {
        let said = lock(&self.output).bad_frames.bad(err, Instant::now());
        gst::debug!(CAT, imp = self, "No faces are looked for in a frame: {err}");
        match said {
            BadFrame::Again => Ok(()),
            BadFrame::Warning(text) => {
                gst::element_imp_warning!(self, gst::StreamError::WrongType, ("{text}"));
                Ok(())
            }
            BadFrame::Error(text) => {
                gst::element_imp_error!(self, gst::StreamError::WrongType, ("{text}"));
                Err(gst::FlowError::Error)
            }
        }
    }

    fn post_detect_error(&self, err: &DetectError) {
        match err {
            DetectError::Library(err) => {
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

#[glib::object_subclass]
impl ObjectSubclass for RetinaFaceDetect {
    const NAME: &'static str = "GstRetinaFaceDetect";
    type Type = super::RetinaFaceDetect;
    type ParentType = gst_base::BaseTransform;
}

// By hand for `stats` alone: gst::Structure has no HasParamSpec, which the derive macro needs.
impl ObjectImpl for RetinaFaceDetect {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let stats = glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb(
                    "Since the last start: number of frames processed and of faces found, of \
                     frames passed on without a search because they were late (skipped, see \
                     max-lag) or do not match their caps (bad-frames; an error after 100 or at \
                     the end, if no other has come); mean, median and 99th percentile, in \
                     milliseconds, of each stage and of the time that frames spend in the element",
                )
                .read_only()
                .build();
            [RetinaFaceDetect::derived_properties(), &[stats]].concat()
        });
        &PROPERTIES
    }

    fn set_property(&self, id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        self.derived_set_property(id, value, pspec);
    }

    fn property(&self, id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => {
                let output = lock(&self.output);
                output.stats.to_structure(output.bad_frames.count()).to_value()
            }
            _ => self.derived_property(id, pspec),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        activation::on_activation(self.obj().src_pad(), |element, active| {
            match element.downcast_ref::<super::RetinaFaceDetect>() {
                Some(element) => element.imp().activate_source(active),
                None => Ok(()),
            }
        });
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
            && let Err(err) = inference::environment(log)
        {
            self.post_detect_error(&err.into());
            return Err(gst::StateChangeError);
        }
        if transition == gst::StateChange::PausedToReady {
            // Before the pads' streaming ends, which may wait for the frames in flight.
            if let Some(state) = lock(&self.state).as_mut() {
                state.stopping = true;
            }
            if let Some(pool) = self.pool() {
                pool.close();
            }
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
        *lock(&self.output) = Output::default();
        *lock(&self.state) = Some(State {
            network: Arc::new(network),
            stream: None,
            refused: None,
            tags: OrientationTags::default(),
            frames: 0,
            stopping: false,
        });
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        if let Some(pool) = self.pool() {
            pool.close();
            // Fails only where there is no task.
            let _ = self.obj().src_pad().stop_task();
        }
        let state = lock(&self.state).take();
        // Waits for the workers; nobody has to wait for the mutex meanwhile.
        drop(state);
        Ok(())
    }

    fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let (info, layout) = meta::parse_caps(incaps).map_err(|err| {
            gst::element_imp_error!(self, gst::StreamError::Format, ("{err}"));
            gst::loggable_error!(CAT, "{err}")
        })?;
        if lock(&self.state).as_ref().is_some_and(|state| state.refused.as_ref() == Some(incaps)) {
            return Err(gst::loggable_error!(CAT, "These caps were refused before"));
        }
        self.drain();
        self.prepare(Format { info, layout }).map_err(|err| {
            if let Some(state) = lock(&self.state).as_mut() {
                state.refused = Some(incaps.clone());
            }
            self.post_detect_error(&err);
            gst::loggable_error!(CAT, "{err}")
        })
    }

    fn sink_event(&self, event: gst::Event) -> bool {
        match event.type_() {
            gst::EventType::FlushStart => {
                let forwarded = self.parent_sink_event(event);
                if let Some(pool) = self.pool() {
                    pool.flush();
                }
                return forwarded;
            }
            gst::EventType::FlushStop => {
                if let Some(pool) = self.pool() {
                    pool.resume();
                }
                let mut output = lock(&self.output);
                output.flow = Ok(gst::FlowSuccess::Ok);
                output.failed = false;
            }
            _ if event.is_serialized() => self.drain(),
            _ => (),
        }
        if let Some(state) = lock(&self.state).as_mut() {
            match event.view() {
                gst::EventView::StreamStart(_) => state.tags = OrientationTags::default(),
                gst::EventView::Tag(event) => state.tags.update(event.tag()),
                _ => (),
            }
        }
        if event.type_() == gst::EventType::Eos {
            // No frame follows that could return the failure to upstream.
            let (unreported, all_bad) = {
                let output = lock(&self.output);
                let unreported = output.flow.err().filter(|_| !output.reported);
                (unreported, output.bad_frames.at_end())
            };
            if let Some(text) = all_bad {
                gst::element_imp_error!(self, gst::StreamError::WrongType, ("{text}"));
            }
            if let Some(err @ (gst::FlowError::NotLinked | gst::FlowError::NotNegotiated)) =
                unreported
            {
                gst::element_imp_error!(
                    self,
                    gst::StreamError::Failed,
                    ("The downstream element does not accept the frames: {err}")
                );
            }
        }
        self.parent_sink_event(event)
    }

    fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
        if direction == gst::PadDirection::Sink && query.is_serialized() {
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
            query.set(live, minimum + latency, maximum.map(|maximum| maximum + 2 * latency));
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
        meta::keep_understood_metas(query);
        Ok(())
    }

    fn generate_output(&self) -> Result<GenerateOutputSuccess, gst::FlowError> {
        let Some(buffer) = self.take_queued_buffer() else {
            return Ok(GenerateOutputSuccess::NoOutput);
        };
        let interval = u64::from(lock(&self.live_settings).inference_interval.max(1));
        let (format, mode, tags, detect) = {
            let mut state = lock(&self.state);
            let state = state.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
            let stream = state.stream.as_ref().ok_or(gst::FlowError::NotNegotiated)?;
            let detect = state.frames % interval == 0;
            state.frames += 1;
            (Arc::clone(&stream.format), stream.mode.clone(), state.tags, detect)
        };
        match mode {
            Mode::Inline(inline) => {
                let (worker, job) = &mut *lock(&inline);
                self.accept(job, buffer, &format, &tags, detect);
                worker.work(slice::from_mut(job));
                self.finish(job).map(GenerateOutputSuccess::Buffer)
            }
            Mode::Threaded(pool) => {
                self.hand_over(&pool, |job| self.accept(job, buffer, &format, &tags, detect))?;
                Ok(GenerateOutputSuccess::NoOutput)
            }
        }
    }
}
