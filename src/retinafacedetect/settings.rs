// SPDX-License-Identifier: MIT OR Apache-2.0

//! The properties of `retinafacedetect`.

use std::path::PathBuf;

use gst::prelude::*;

use crate::inference;
use crate::{preprocess, retinaface::detector::Parameters};

const DEFAULT_SCALE: f64 = 1.0;
const DEFAULT_MAX_SIZE: u32 = 640;
const DEFAULT_SCALE_METHOD: ScaleMethod = ScaleMethod::Bilinear;
const DEFAULT_STRIDES: Strides = Strides::all();
const DEFAULT_SCORE_THRESHOLD: f64 = 0.6;
const DEFAULT_IOU_THRESHOLD: f64 = 0.4;
/// keep_top_k of Pytorch_Retinaface.
const DEFAULT_MAX_DETECTIONS: u32 = 750;
const DEFAULT_MIN_FACE_SIZE: u32 = 0;
const DEFAULT_MAX_FACE_SIZE: u32 = 0;
const DEFAULT_LARGEST_ONLY: bool = false;
const DEFAULT_MARGIN: f64 = 0.0;
const DEFAULT_EXECUTION_PROVIDER: ExecutionProvider = ExecutionProvider::Auto;
const DEFAULT_DEVICE_ID: u32 = 0;
const DEFAULT_PRECISION: Precision = Precision::Auto;
const DEFAULT_THREADS: u32 = 0;
const DEFAULT_IN_FLIGHT: u32 = 1;
const DEFAULT_BATCH_SIZE: u32 = 0;
const DEFAULT_CUDA_GRAPHS: bool = false;
const DEFAULT_TENSORRT_BUILD: bool = false;
const DEFAULT_INFERENCE_INTERVAL: u32 = 1;
const DEFAULT_MESSAGES: Messages = Messages::Never;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceScaleMethod")]
#[non_exhaustive]
pub enum ScaleMethod {
    #[enum_value(name = "Nearest: the pixel at that place, fastest", nick = "nearest")]
    Nearest,
    #[default]
    #[enum_value(name = "Bilinear: between the four pixels around it", nick = "bilinear")]
    Bilinear,
}

/// Each stride is its own bit, so numbers and names say the same.
#[glib::flags(name = "GstRetinaFaceStrides")]
pub enum Strides {
    #[flags_value(name = "Stride 8: faces from about 10 pixels", nick = "8")]
    STRIDE_8 = 8,
    #[flags_value(name = "Stride 16: faces from about 50 pixels", nick = "16")]
    STRIDE_16 = 16,
    #[flags_value(name = "Stride 32: faces from about 200 pixels", nick = "32")]
    STRIDE_32 = 32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceMessages")]
#[non_exhaustive]
pub enum Messages {
    #[default]
    #[enum_value(name = "Never", nick = "never")]
    Never,
    #[enum_value(name = "For every frame with faces", nick = "on-faces")]
    OnFaces,
    #[enum_value(name = "When the number of faces changes", nick = "on-change")]
    OnChange,
    #[enum_value(name = "For every frame looked at", nick = "every-frame")]
    EveryFrame,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceExecutionProvider")]
#[non_exhaustive]
pub enum ExecutionProvider {
    #[default]
    #[enum_value(name = "The first of these that works", nick = "auto")]
    Auto,
    #[enum_value(
        name = "TensorRT, on NVIDIA GPUs; in auto only with an engine built before, or tensorrt-build",
        nick = "tensorrt"
    )]
    TensorRt,
    #[enum_value(name = "CUDA, on NVIDIA GPUs", nick = "cuda")]
    Cuda,
    #[enum_value(name = "OpenVINO, on CPUs", nick = "openvino")]
    OpenVino,
    #[enum_value(name = "ONNX Runtime's own kernels", nick = "cpu")]
    Cpu,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFacePrecision")]
#[non_exhaustive]
pub enum Precision {
    #[default]
    #[enum_value(name = "The fastest that moves no face", nick = "auto")]
    Auto,
    #[enum_value(name = "32 bit floats", nick = "fp32")]
    Fp32,
    #[enum_value(name = "16 bit floats; TensorRT", nick = "fp16")]
    Fp16,
    #[enum_value(name = "Brain floats of 16 bit; OpenVINO and TensorRT", nick = "bf16")]
    Bf16,
}

impl ExecutionProvider {
    /// The one to use and no other; `None`: auto.
    fn wanted(self) -> Option<inference::Provider> {
        match self {
            Self::Auto => None,
            Self::Cpu => Some(inference::Provider::Cpu),
            Self::Cuda => Some(inference::Provider::Cuda),
            Self::TensorRt => Some(inference::Provider::TensorRt),
            Self::OpenVino => Some(inference::Provider::OpenVino),
        }
    }

    /// Its name as a value of the property.
    pub fn nick(self) -> String {
        glib::EnumValue::from_value(&self.to_value())
            .map(|(_, value)| value.nick().to_owned())
            .unwrap_or_default()
    }
}

impl From<inference::Provider> for ExecutionProvider {
    fn from(provider: inference::Provider) -> Self {
        match provider {
            inference::Provider::Cpu => Self::Cpu,
            inference::Provider::Cuda => Self::Cuda,
            inference::Provider::TensorRt => Self::TensorRt,
            inference::Provider::OpenVino => Self::OpenVino,
        }
    }
}

impl Precision {
    /// The one to use and no other; `None`: the provider's default.
    fn wanted(self) -> Option<inference::Precision> {
        match self {
            Self::Auto => None,
            Self::Fp32 => Some(inference::Precision::Fp32),
            Self::Fp16 => Some(inference::Precision::Fp16),
            Self::Bf16 => Some(inference::Precision::Bf16),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// `None`: the network built in.
    pub model_file: Option<PathBuf>,
    pub strides: Strides,
    pub execution_provider: ExecutionProvider,
    pub device_id: u32,
    pub precision: Precision,
    pub threads: u32,
    pub in_flight: u32,
    pub batch_size: u32,
    pub cuda_graphs: bool,
    pub tensorrt_build: bool,
    pub live: LiveSettings,
}

/// What may change from frame to frame.
#[derive(Clone, Copy, Debug)]
pub struct LiveSettings {
    pub scale: f64,
    pub max_size: u32,
    scale_method: ScaleMethod,
    score_threshold: f64,
    iou_threshold: f64,
    max_detections: u32,
    min_face_size: u32,
    max_face_size: u32,
    largest_only: bool,
    margin: f64,
    pub inference_interval: u32,
    pub messages: Messages,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model_file: None,
            strides: DEFAULT_STRIDES,
            execution_provider: DEFAULT_EXECUTION_PROVIDER,
            device_id: DEFAULT_DEVICE_ID,
            precision: DEFAULT_PRECISION,
            threads: DEFAULT_THREADS,
            in_flight: DEFAULT_IN_FLIGHT,
            batch_size: DEFAULT_BATCH_SIZE,
            cuda_graphs: DEFAULT_CUDA_GRAPHS,
            tensorrt_build: DEFAULT_TENSORRT_BUILD,
            live: LiveSettings::default(),
        }
    }
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self {
            scale: DEFAULT_SCALE,
            max_size: DEFAULT_MAX_SIZE,
            scale_method: DEFAULT_SCALE_METHOD,
            score_threshold: DEFAULT_SCORE_THRESHOLD,
            iou_threshold: DEFAULT_IOU_THRESHOLD,
            max_detections: DEFAULT_MAX_DETECTIONS,
            min_face_size: DEFAULT_MIN_FACE_SIZE,
            max_face_size: DEFAULT_MAX_FACE_SIZE,
            largest_only: DEFAULT_LARGEST_ONLY,
            margin: DEFAULT_MARGIN,
            inference_interval: DEFAULT_INFERENCE_INTERVAL,
            messages: DEFAULT_MESSAGES,
        }
    }
}

impl LiveSettings {
    pub fn parameters(&self) -> Parameters {
        Parameters {
            scale_method: match self.scale_method {
                ScaleMethod::Nearest => preprocess::ScaleMethod::Nearest,
                ScaleMethod::Bilinear => preprocess::ScaleMethod::Bilinear,
            },
            score_threshold: self.score_threshold as f32,
            iou_threshold: self.iou_threshold as f32,
            max_detections: self.max_detections as usize,
            min_face_size: self.min_face_size as f32,
            max_face_size: match self.max_face_size {
                0 => f32::INFINITY,
                size => size as f32,
            },
            largest_only: self.largest_only,
            margin: self.margin as f32,
        }
    }
}

impl Strides {
    /// As numbers, those of `available` that are chosen.
    pub fn among(self, available: &[u32]) -> Vec<u32> {
        available.iter().copied().filter(|stride| self.bits() & stride != 0).collect()
    }
}

impl Settings {
    /// How a network is to be run; in-flight may be left open.
    pub fn request(&self) -> inference::Request {
        let cache = glib::user_cache_dir().join("gst-plugin-retinaface");
        let tensorrt = self.execution_provider == ExecutionProvider::TensorRt;
        inference::Request {
            provider: self.execution_provider.wanted(),
            device: self.device_id,
            precision: self.precision.wanted(),
            threads: self.threads as usize,
            in_flight: self.in_flight as usize,
            batch: self.batch_size as usize,
            cuda_graphs: self.cuda_graphs,
            tensorrt_cache: Some(cache.join("tensorrt")),
            tensorrt_build: self.tensorrt_build || tensorrt,
        }
    }

    /// Sets the property that `pspec` specifies; GObject has checked the value's type and range.
    pub fn set(&mut self, value: &glib::Value, pspec: &glib::ParamSpec) {
        fn take<'a, T: glib::value::FromValue<'a>>(field: &mut T, value: &'a glib::Value)
        where
            T::Checker: glib::value::ValueTypeChecker<Error = glib::value::ValueTypeMismatchError>,
        {
            if let Ok(new) = value.get::<T>() {
                *field = new;
            }
        }
        let live = &mut self.live;
        match pspec.name() {
            "model-file" => {
                self.model_file = value.get::<Option<String>>().ok().flatten().map(PathBuf::from);
            }
            "strides" => take(&mut self.strides, value),
            "execution-provider" => take(&mut self.execution_provider, value),
            "device-id" => take(&mut self.device_id, value),
            "precision" => take(&mut self.precision, value),
            "threads" => take(&mut self.threads, value),
            "in-flight" => take(&mut self.in_flight, value),
            "batch-size" => take(&mut self.batch_size, value),
            "cuda-graphs" => take(&mut self.cuda_graphs, value),
            "tensorrt-build" => take(&mut self.tensorrt_build, value),
            "scale" => take(&mut live.scale, value),
            "max-size" => take(&mut live.max_size, value),
            "scale-method" => take(&mut live.scale_method, value),
            "score-threshold" => take(&mut live.score_threshold, value),
            "iou-threshold" => take(&mut live.iou_threshold, value),
            "max-detections" => take(&mut live.max_detections, value),
            "min-face-size" => take(&mut live.min_face_size, value),
            "max-face-size" => take(&mut live.max_face_size, value),
            "largest-only" => take(&mut live.largest_only, value),
            "margin" => take(&mut live.margin, value),
            "inference-interval" => take(&mut live.inference_interval, value),
            "messages" => take(&mut live.messages, value),
            _ => (),
        }
    }

    /// The value of the property that `pspec` specifies.
    pub fn get(&self, pspec: &glib::ParamSpec) -> glib::Value {
        let live = &self.live;
        match pspec.name() {
            "model-file" => {
                self.model_file.as_ref().map(|path| path.to_string_lossy().into_owned()).to_value()
            }
            "strides" => self.strides.to_value(),
            "execution-provider" => self.execution_provider.to_value(),
            "device-id" => self.device_id.to_value(),
            "precision" => self.precision.to_value(),
            "threads" => self.threads.to_value(),
            "in-flight" => self.in_flight.to_value(),
            "batch-size" => self.batch_size.to_value(),
            "cuda-graphs" => self.cuda_graphs.to_value(),
            "tensorrt-build" => self.tensorrt_build.to_value(),
            "scale" => live.scale.to_value(),
            "max-size" => live.max_size.to_value(),
            "scale-method" => live.scale_method.to_value(),
            "score-threshold" => live.score_threshold.to_value(),
            "iou-threshold" => live.iou_threshold.to_value(),
            "max-detections" => live.max_detections.to_value(),
            "min-face-size" => live.min_face_size.to_value(),
            "max-face-size" => live.max_face_size.to_value(),
            "largest-only" => live.largest_only.to_value(),
            "margin" => live.margin.to_value(),
            "inference-interval" => live.inference_interval.to_value(),
            "messages" => live.messages.to_value(),
            _ => pspec.default_value().clone(),
        }
    }
}

/// What `gst-inspect-1.0` shows. Properties that are mutable only when ready are read at the next
/// start; the others take effect with the next frame.
pub fn specifications() -> Vec<glib::ParamSpec> {
    let fraction = |name, nick, blurb, maximum, default| {
        glib::ParamSpecDouble::builder(name)
            .nick(nick)
            .blurb(blurb)
            .minimum(0.0)
            .maximum(maximum)
            .default_value(default)
            .mutable_playing()
            .build()
    };
    let count = |name, nick, blurb, minimum, maximum, default| {
        glib::ParamSpecUInt::builder(name)
            .nick(nick)
            .blurb(blurb)
            .minimum(minimum)
            .maximum(maximum)
            .default_value(default)
            .mutable_playing()
            .build()
    };
    vec![
        glib::ParamSpecString::builder("model-file")
            .nick("Model file")
            .blurb(
                "ONNX file with a RetinaFace network, of the PyTorch or the InsightFace family; \
                 unset: the network built into the plugin, mobilenet0.25",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecDouble::builder("scale")
            .nick("Scale")
            .blurb(
                "Factor from the frame's size to the network's input: below 1 is faster, above 1 \
                 finds smaller faces (raise max-size with it)",
            )
            .minimum(0.05)
            .maximum(4.0)
            .default_value(DEFAULT_SCALE)
            .mutable_playing()
            .build(),
        count(
            "max-size",
            "Maximum size",
            "Longest side given to the network, in pixels, after scale and at the frame's aspect \
             ratio; 0: no limit",
            0,
            8192,
            DEFAULT_MAX_SIZE,
        ),
        glib::ParamSpecEnum::builder_with_default("scale-method", DEFAULT_SCALE_METHOD)
            .nick("Scale method")
            .blurb("How frames are resized to the network's input")
            .mutable_playing()
            .build(),
        glib::ParamSpecFlags::builder("strides")
            .nick("Strides")
            .blurb(
                "Levels of the network to look at, joined by +: small strides find small faces \
                 and cost most; those that the network does not have are passed over",
            )
            .default_value(DEFAULT_STRIDES)
            .mutable_ready()
            .build(),
        fraction(
            "score-threshold",
            "Score threshold",
            "Confidence above which a box is a face",
            1.0,
            DEFAULT_SCORE_THRESHOLD,
        ),
        fraction(
            "iou-threshold",
            "IoU threshold",
            "Overlap (intersection over union) of two boxes above which the weaker is dropped",
            1.0,
            DEFAULT_IOU_THRESHOLD,
        ),
        count(
            "max-detections",
            "Maximum detections",
            "Most faces reported of a frame, the most confident first",
            1,
            100_000,
            DEFAULT_MAX_DETECTIONS,
        ),
        count(
            "min-face-size",
            "Minimum face size",
            "Faces with a side shorter than this are dropped, in frame pixels",
            0,
            8192,
            DEFAULT_MIN_FACE_SIZE,
        ),
        count(
            "max-face-size",
            "Maximum face size",
            "Faces with a side longer than this are dropped, in frame pixels; 0: no limit",
            0,
            8192,
            DEFAULT_MAX_FACE_SIZE,
        ),
        glib::ParamSpecBoolean::builder("largest-only")
            .nick("Largest only")
            .blurb("Report only the face with the largest box")
            .default_value(DEFAULT_LARGEST_ONLY)
            .mutable_playing()
            .build(),
        fraction(
            "margin",
            "Margin",
            "Added on each side of a box, as a fraction of its width or height",
            10.0,
            DEFAULT_MARGIN,
        ),
        glib::ParamSpecEnum::builder_with_default("execution-provider", DEFAULT_EXECUTION_PROVIDER)
            .nick("Execution provider")
            .blurb(
                "What computes the network. One that is named and does not work is an error; auto \
                 goes on to the next and warns where something that is there does not work",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("device-id")
            .nick("Device")
            .blurb("Which of the GPUs, counted as CUDA does, for cuda and tensorrt")
            .maximum(i32::MAX as u32)
            .default_value(DEFAULT_DEVICE_ID)
            .mutable_ready()
            .build(),
        glib::ParamSpecEnum::builder_with_default("precision", DEFAULT_PRECISION)
            .nick("Precision")
            .blurb(
                "What the network is computed in. auto: TF32 on CUDA, fp16 on TensorRT, fp32 \
                 elsewhere. bf16 is twice as fast on OpenVINO and processors that have it, and \
                 moves the boxes of small faces by a pixel",
            )
            .mutable_ready()
            .build(),
        glib::ParamSpecString::builder("active-execution-provider")
            .nick("Active execution provider")
            .blurb("The execution provider that computes the network; unset before the first caps")
            .read_only()
            .build(),
        glib::ParamSpecUInt::builder("threads")
            .nick("Threads")
            .blurb(
                "Threads of the CPU for one frame; 0: as many as cores, or one where several \
                 frames are in flight",
            )
            .maximum(1024)
            .default_value(DEFAULT_THREADS)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("in-flight")
            .nick("Frames in flight")
            .blurb(
                "Frames looked at at the same time. 1: in the streaming thread, which adds no \
                 latency; more: in threads of their own, for the most frames a second, with as \
                 many waiting; 0: as many as cores, or 1 in live pipelines",
            )
            .maximum(64)
            .default_value(DEFAULT_IN_FLIGHT)
            .mutable_ready()
            .build(),
        glib::ParamSpecUInt::builder("batch-size")
            .nick("Batch size")
            .blurb(
                "Most frames that one run of the network looks at: what waits is taken together, \
                 and nothing is waited for. Never more than in-flight; 0: 8 on cuda and tensorrt, 1 \
                 elsewhere",
            )
            .maximum(64)
            .default_value(DEFAULT_BATCH_SIZE)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("cuda-graphs")
            .nick("CUDA graphs")
            .blurb(
                "On cuda and tensorrt, record the GPU's work for a batch and replay it as a whole, \
                 where all of the network runs there",
            )
            .default_value(DEFAULT_CUDA_GRAPHS)
            .mutable_ready()
            .build(),
        glib::ParamSpecBoolean::builder("tensorrt-build")
            .nick("TensorRT builds")
            .blurb(
                "Let execution-provider=auto build the TensorRT engines that are not in the user's \
                 cache folder. That takes minutes, with progress messages on the bus; \
                 execution-provider=tensorrt always does",
            )
            .default_value(DEFAULT_TENSORRT_BUILD)
            .mutable_ready()
            .build(),
        count(
            "inference-interval",
            "Inference interval",
            "Look at every nth frame; the frames between pass without faces",
            1,
            u32::MAX,
            DEFAULT_INFERENCE_INTERVAL,
        ),
        glib::ParamSpecEnum::builder_with_default("messages", DEFAULT_MESSAGES)
            .nick("Messages")
            .blurb("When to post an element message \"facedetect\" with the faces of a frame")
            .mutable_playing()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb(
                "Since the last start: frames looked at, faces found, and milliseconds (mean, \
                 median, 99th percentile) of each stage and from a frame's arrival to its leaving",
            )
            .read_only()
            .build(),
    ]
}
