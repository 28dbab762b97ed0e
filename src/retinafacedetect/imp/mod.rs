// SPDX-License-Identifier: MIT OR Apache-2.0

use std::{
    path::PathBuf,
    slice,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
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
        ChannelOrder, ExecutionProvider, LiveSettings, Messages, ModelFamily, Orientation,
        Precision, ScaleMethod, Settings, Strides, Tiles,
    },
    stats::Stats,
    worker::{Format, Network},
};
use crate::{
    inference::{self, LogLevel, Provider},
    meta::{self, BadFrames, OrientationTags},
    orientation,
};

mod frames;
mod loading;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "retinafacedetect",
        gst::DebugColorFlags::empty(),
        Some("RetinaFace face detector"),
    )
});

/// The network that build.rs found.
#[cfg(embedded_model)]
const EMBEDDED_MODEL: Option<&[u8]> = Some(include_bytes!(env!("RETINAFACE_MODEL")));
#[cfg(not(embedded_model))]
const EMBEDDED_MODEL: Option<&[u8]> = None;

const MODEL_FILE_BLURB: &str = concat!(
    "ONNX file with a network of the PyTorch, InsightFace, SCRFD, YuNet or YOLO family (unset = ",
    env!("RETINAFACE_BUILT_IN"),
    ")"
);

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
    /// How long looking for faces in a frame is going to take.
    expected_work: Duration,
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
            expected_work: Duration::ZERO,
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
        blurb = MODEL_FILE_BLURB,
        get, set, type = Option<PathBuf>, member = model_file, nullable,
        mutable_ready,
    )]
    #[property(
        name = "model-family",
        nick = "Model family",
        blurb = "Which family of networks model-file is of: how its input is made and its outputs \
                 are read. A file that does not look like one of the family is an error",
        get, set, type = ModelFamily, member = model_family,
        mutable_ready,
        builder(Settings::DEFAULT.model_family)
    )]
    #[property(
        name = "channel-order",
        nick = "Channel order",
        blurb = "Order of the colour channels that the network gets, whatever the frames' format. \
                 faster-mobile-retinaface gives its networks bgr, with which they find less",
        get, set, type = ChannelOrder, member = channel_order,
        mutable_ready,
        builder(Settings::DEFAULT.channel_order)
    )]
    #[property(
        name = "pixel-mean",
        nick = "Pixel mean",
        blurb = "Subtracted from samples of 0 to 255 before the network: one number, or three for \
                 its channels in their order, separated by commas, such as 104,117,123 (unset = \
                 the family's)",
        get, set, type = Option<String>, member = pixel_mean, nullable,
        mutable_ready,
    )]
    #[property(
        name = "pixel-scale",
        nick = "Pixel scale",
        blurb = "What samples less pixel-mean are multiplied by before the network, such as \
                 0.0078125 (0 = the family's)",
        get, set, type = f64, member = pixel_scale,
        minimum = 0.0, maximum = 255.0, default = Settings::DEFAULT.pixel_scale,
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
        blurb = "What runs the network: kernels of this plugin, or an execution provider of ONNX \
                 Runtime, which is needed for all but native. If the one selected does not work, \
                 that is an error, except that networks with operators that native lacks run on \
                 cpu; auto falls back to the next, and warns about one that is installed but broken",
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
        blurb = "Precision to run the network in. auto is fp16 on tensorrt and fp32 \
                 elsewhere. tf32 on cuda is up to a fifth faster; bf16 on openvino is about twice as \
                 fast on CPUs with native support. Both shift the boxes of small faces by up to a \
                 pixel",
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
        name = "pyramid",
        nick = "Pyramid",
        blurb = "Look at each frame again at a quarter of the size, and so on until its longer side \
                 is at most 320 pixels, so that large faces are found beside small ones. That is 2 \
                 runs a frame for inputs of up to 1280 pixels and 3 for up to 5120, in about 1.1 \
                 times the time of the first; where the network's input has a fixed size, each takes \
                 as long as the first",
        get, set, type = bool, member = pyramid,
        default = LiveSettings::DEFAULT.pyramid,
        mutable_playing,
    )]
    #[property(
        name = "tiles",
        nick = "Tiles",
        blurb = "Instead of making large frames as small as max-size, cut them, times scale, into \
                 overlapping tiles of at most that size (but not below 320 pixels) or of the \
                 network's fixed input size, so that tiny faces are found as with max-size=0 in \
                 less memory; pyramid, for large faces, is part of it. For 3840x2160 pixels that is \
                 35 runs a frame, which take about 1.4 times as long as max-size=0, or 10 and 1.2 \
                 times with max-size=1280",
        get, set, type = Tiles, member = tiles,
        mutable_playing,
        builder(LiveSettings::DEFAULT.tiles)
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
        meta::explain_refusals(self.obj().sink_pad());
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
                "Finds faces and five landmarks of each with a RetinaFace network, and attaches them \
                 to the frames as region of interest metas of type face",
                "The gst-plugin-retinaface authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static PAD_TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = meta::video_caps();
            meta::pad_templates(&caps, &caps)
        });
        &PAD_TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        let provider = lock(&self.settings).execution_provider.wanted();
        if transition == gst::StateChange::NullToReady
            && provider.is_some_and(|provider| provider.capabilities().needs_onnxruntime)
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
