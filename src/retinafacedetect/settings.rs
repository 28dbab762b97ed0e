// SPDX-License-Identifier: MIT OR Apache-2.0

//! The properties of `retinafacedetect`.

use std::path::PathBuf;

use gst::prelude::*;

use crate::{
    families::{FAMILIES, family::Family},
    inference,
    model::Known,
    orientation,
    preprocess::{self, Scales},
    retinaface::detector::Parameters,
};

/// Values of `scale-method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceScaleMethod")]
#[non_exhaustive]
pub enum ScaleMethod {
    #[enum_value(name = "Nearest neighbour (fastest)", nick = "nearest")]
    Nearest,
    #[enum_value(name = "Bilinear interpolation", nick = "bilinear")]
    Bilinear,
}

/// Values of `strides`. Each stride is its own bit: 8 is stride 8.
#[glib::flags(name = "GstRetinaFaceStrides")]
pub enum Strides {
    #[flags_value(name = "Stride 8, faces of about 10 pixels and more", nick = "8")]
    STRIDE_8 = 8,
    #[flags_value(name = "Stride 16, faces of about 50 pixels and more", nick = "16")]
    STRIDE_16 = 16,
    #[flags_value(name = "Stride 32, faces of about 200 pixels and more", nick = "32")]
    STRIDE_32 = 32,
}

/// Values of `tiles`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceTiles")]
#[non_exhaustive]
pub enum Tiles {
    #[enum_value(name = "Never: frames are made as small as max-size", nick = "off")]
    Off,
    #[enum_value(
        name = "For frames larger than max-size, or than the network's input",
        nick = "auto"
    )]
    Auto,
}

/// Values of `messages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceMessages")]
#[non_exhaustive]
pub enum Messages {
    #[enum_value(name = "Never", nick = "never")]
    Never,
    #[enum_value(name = "For each frame with faces", nick = "on-faces")]
    OnFaces,
    #[enum_value(name = "When the number of faces changes", nick = "on-change")]
    OnChange,
    #[enum_value(name = "For each frame that was processed", nick = "every-frame")]
    EveryFrame,
}

/// Values of `orientation`: those of GStreamer's own `GstVideoOrientationMethod`, without custom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceOrientation")]
#[non_exhaustive]
pub enum Orientation {
    #[enum_value(name = "Upright", nick = "identity")]
    Identity = 0,
    #[enum_value(name = "Rotate clockwise 90 degrees", nick = "90r")]
    Rotate90 = 1,
    #[enum_value(name = "Rotate 180 degrees", nick = "180")]
    Rotate180 = 2,
    #[enum_value(name = "Rotate counterclockwise 90 degrees", nick = "90l")]
    Rotate270 = 3,
    #[enum_value(name = "Flip horizontally", nick = "horiz")]
    FlipHorizontal = 4,
    #[enum_value(name = "Flip vertically", nick = "vert")]
    FlipVertical = 5,
    #[enum_value(name = "Flip across the upper left/lower right diagonal", nick = "ul-lr")]
    Transpose = 6,
    #[enum_value(name = "Flip across the upper right/lower left diagonal", nick = "ur-ll")]
    Transverse = 7,
    #[enum_value(name = "As the stream's image-orientation tag says", nick = "auto")]
    Auto = 8,
}

/// Values of `model-family`: the nicks of [`FAMILIES`], and auto.
#[derive(Clone, Copy, Debug, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceModelFamily")]
#[non_exhaustive]
pub enum ModelFamily {
    #[enum_value(name = "Recognised from the ONNX file", nick = "auto")]
    Auto,
    #[enum_value(
        name = "RetinaFace of Pytorch_Retinaface and its descendants, and Slim and RFB with landmarks",
        nick = "retinaface-pytorch"
    )]
    PyTorch,
    #[enum_value(
        name = "RetinaFace of InsightFace (MXNet), and the networks of faster-mobile-retinaface",
        nick = "insightface"
    )]
    InsightFace,
    #[enum_value(name = "SCRFD of InsightFace", nick = "scrfd")]
    Scrfd,
    #[enum_value(name = "YuNet of OpenCV's FaceDetectorYN", nick = "yunet")]
    YuNet,
    #[enum_value(
        name = "YOLO with five key points (yolov8-face, pose networks of Ultralytics, yolov5-face)",
        nick = "yolo"
    )]
    Yolo,
}

/// Values of `channel-order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceChannelOrder")]
#[non_exhaustive]
pub enum ChannelOrder {
    #[enum_value(
        name = "As the family was trained: bgr for RetinaFace (PyTorch) and YuNet, rgb for the \
                others",
        nick = "auto"
    )]
    Auto,
    #[enum_value(name = "Blue, green, red", nick = "bgr")]
    Bgr,
    #[enum_value(name = "Red, green, blue", nick = "rgb")]
    Rgb,
}

/// Values of `execution-provider`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFaceExecutionProvider")]
#[non_exhaustive]
pub enum ExecutionProvider {
    #[enum_value(
        name = "First of the following that works; openvino only with precision=bf16",
        nick = "auto"
    )]
    Auto,
    #[enum_value(
        name = "TensorRT (NVIDIA GPUs); auto uses it only with cached engines or tensorrt-build=true",
        nick = "tensorrt"
    )]
    TensorRt,
    #[enum_value(name = "CUDA (NVIDIA GPUs)", nick = "cuda")]
    Cuda,
    #[enum_value(name = "OpenVINO (CPUs)", nick = "openvino")]
    OpenVino,
    #[enum_value(name = "This plugin's own kernels (CPUs), without ONNX Runtime", nick = "native")]
    Native,
    #[enum_value(name = "ONNX Runtime's default CPU kernels", nick = "cpu")]
    Cpu,
}

/// Values of `precision`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstRetinaFacePrecision")]
#[non_exhaustive]
pub enum Precision {
    #[enum_value(name = "fp16 on TensorRT, fp32 elsewhere", nick = "auto")]
    Auto,
    #[enum_value(name = "32 bit floating point", nick = "fp32")]
    Fp32,
    #[enum_value(name = "16 bit floating point (TensorRT)", nick = "fp16")]
    Fp16,
    #[enum_value(name = "16 bit brain floating point (OpenVINO, TensorRT)", nick = "bf16")]
    Bf16,
    #[enum_value(name = "32 bit floating point, multiplied with 10 bits (CUDA)", nick = "tf32")]
    Tf32,
}

impl ModelFamily {
    fn family(self) -> Option<&'static dyn Family> {
        let nick = glib::EnumValue::from_value(&self.to_value())?.1.nick().to_owned();
        FAMILIES.into_iter().find(|family| family.nick() == nick)
    }
}

impl Orientation {
    /// The one that is set; `None`: the stream's.
    pub fn wanted(self) -> Option<orientation::Orientation> {
        Some(match self {
            Self::Identity => orientation::Orientation::Identity,
            Self::Rotate90 => orientation::Orientation::Rotate90,
            Self::Rotate180 => orientation::Orientation::Rotate180,
            Self::Rotate270 => orientation::Orientation::Rotate270,
            Self::FlipHorizontal => orientation::Orientation::FlipHorizontal,
            Self::FlipVertical => orientation::Orientation::FlipVertical,
            Self::Transpose => orientation::Orientation::Transpose,
            Self::Transverse => orientation::Orientation::Transverse,
            Self::Auto => return None,
        })
    }
}

impl ExecutionProvider {
    /// The only provider to use; `None`: auto.
    pub fn wanted(self) -> Option<inference::Provider> {
        match self {
            Self::Auto => None,
            Self::Native => Some(inference::Provider::Native),
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

impl From<ScaleMethod> for preprocess::ScaleMethod {
    fn from(method: ScaleMethod) -> Self {
        match method {
            ScaleMethod::Nearest => Self::Nearest,
            ScaleMethod::Bilinear => Self::Bilinear,
        }
    }
}

impl From<inference::Provider> for ExecutionProvider {
    fn from(provider: inference::Provider) -> Self {
        match provider {
            inference::Provider::Native => Self::Native,
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
            Self::Tf32 => Some(inference::Precision::Tf32),
        }
    }
}

/// Properties that are read at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `None`: the built-in network.
    pub model_file: Option<PathBuf>,
    pub model_family: ModelFamily,
    pub channel_order: ChannelOrder,
    /// `None`: the family's.
    pub pixel_mean: Option<String>,
    /// 0: the family's.
    pub pixel_scale: f64,
    pub strides: Strides,
    pub execution_provider: ExecutionProvider,
    pub device_id: u32,
    pub precision: Precision,
    pub threads: u32,
    pub in_flight: u32,
    pub batch_size: u32,
    pub cuda_graphs: bool,
    pub tensorrt_build: bool,
}

/// Properties that take effect with the next frame.
#[derive(Clone, Copy, Debug)]
pub struct LiveSettings {
    pub orientation: Orientation,
    pub scale: f64,
    pub max_size: u32,
    pub pyramid: bool,
    pub tiles: Tiles,
    pub scale_method: ScaleMethod,
    pub score_threshold: f64,
    pub iou_threshold: f64,
    pub max_detections: u32,
    pub min_face_size: u32,
    pub max_face_size: u32,
    pub largest_only: bool,
    pub margin: f64,
    pub inference_interval: u32,
    /// Nanoseconds.
    pub max_lag: u64,
    pub messages: Messages,
}

impl Settings {
    pub const DEFAULT: Self = Self {
        model_file: None,
        model_family: ModelFamily::Auto,
        channel_order: ChannelOrder::Auto,
        pixel_mean: None,
        pixel_scale: 0.0,
        strides: Strides::all(),
        execution_provider: ExecutionProvider::Auto,
        device_id: 0,
        precision: Precision::Auto,
        threads: 0,
        in_flight: 1,
        batch_size: 0,
        // Until they have been measured on a GPU.
        cuda_graphs: false,
        tensorrt_build: false,
    };
}

impl LiveSettings {
    pub const DEFAULT: Self = Self {
        orientation: Orientation::Auto,
        scale: 1.0,
        max_size: 640,
        pyramid: false,
        tiles: Tiles::Off,
        scale_method: ScaleMethod::Bilinear,
        score_threshold: 0.6,
        iou_threshold: 0.4,
        // keep_top_k of Pytorch_Retinaface.
        max_detections: 750,
        min_face_size: 0,
        max_face_size: 0,
        largest_only: false,
        margin: 0.0,
        inference_interval: 1,
        max_lag: 0,
        messages: Messages::Never,
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl LiveSettings {
    pub fn scales(&self) -> Scales {
        let Self { scale, max_size, pyramid, tiles, .. } = *self;
        let method = self.scale_method.into();
        Scales { scale, max_size, method, pyramid, tiles: tiles == Tiles::Auto }
    }

    pub fn parameters(&self) -> Parameters {
        Parameters {
            scale_method: self.scale_method.into(),
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
    /// Those of `available`, in pixels, that are selected.
    pub fn among(self, available: &[u32]) -> Vec<u32> {
        available.iter().copied().filter(|stride| self.bits() & stride != 0).collect()
    }
}

/// The property `pixel-mean` is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error(
    "The property pixel-mean must be one number or three, separated by commas, from 0 to 255, but is \
     \"{0}\""
)]
pub struct PixelMeanError(String);

/// Of the channels in their order.
fn parse_mean(text: &str) -> Result<[f32; 3], PixelMeanError> {
    let number =
        |part: &str| part.trim().parse().ok().filter(|number: &f32| (0.0..=255.0).contains(number));
    let numbers: Option<Vec<f32>> = text.split(',').map(number).collect();
    match numbers.as_deref() {
        Some(&[mean]) => Ok([mean; 3]),
        Some(&[first, second, third]) => Ok([first, second, third]),
        _ => Err(PixelMeanError(text.to_owned())),
    }
}

impl Settings {
    /// What they say of the network.
    pub fn known(&self) -> Result<Known, PixelMeanError> {
        Ok(Known {
            family: self.model_family.family(),
            order: match self.channel_order {
                ChannelOrder::Auto => None,
                ChannelOrder::Bgr => Some(preprocess::ChannelOrder::Bgr),
                ChannelOrder::Rgb => Some(preprocess::ChannelOrder::Rgb),
            },
            mean: self.pixel_mean.as_deref().map(parse_mean).transpose()?,
            scale: (self.pixel_scale != 0.0).then_some(self.pixel_scale as f32),
        })
    }

    /// How a network is to be run; `in_flight` is 0 where the property is.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_a_value() {
        let class = glib::EnumClass::new::<ModelFamily>();
        let nicks: Vec<_> = class.values().iter().map(glib::EnumValue::nick).collect();
        let families: Vec<_> = FAMILIES.iter().map(|family| family.nick()).collect();
        assert_eq!(nicks[0], "auto");
        assert_eq!(nicks.len(), 1 + families.len());
        assert!(families.iter().all(|nick| nicks.contains(nick)), "{families:?}");
        assert!(ModelFamily::Auto.family().is_none());
        assert_eq!(ModelFamily::Scrfd.family().map(|family| family.nick()), Some("scrfd"));
    }

    #[test]
    fn a_mean_is_one_number_or_three() {
        assert_eq!(parse_mean("127.5").unwrap(), [127.5; 3]);
        assert_eq!(parse_mean("104, 117,123").unwrap(), [104.0, 117.0, 123.0]);
        assert_eq!(parse_mean("0,0,255").unwrap(), [0.0, 0.0, 255.0]);
        for wrong in ["", "1,2", "1,2,3,4", "a", "-1", "256", "nan", "1,,3"] {
            let message = parse_mean(wrong).unwrap_err().to_string();
            assert!(message.contains("pixel-mean"), "{message}");
            assert!(message.contains(&format!("\"{wrong}\"")), "{message}");
        }
    }
}
