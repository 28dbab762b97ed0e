// SPDX-License-Identifier: MIT OR Apache-2.0

//! The properties of `retinafacedetect`.

use std::path::PathBuf;

use gst::prelude::*;

use crate::retinaface::{self, detector::Parameters};

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
const DEFAULT_THREADS: u32 = 0;
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

#[derive(Clone, Debug)]
pub struct Settings {
    /// `None`: the network built in.
    pub model_file: Option<PathBuf>,
    pub strides: Strides,
    pub threads: u32,
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
            threads: DEFAULT_THREADS,
            live: LiveSettings {
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
            },
        }
    }
}

impl LiveSettings {
    pub fn parameters(&self) -> Parameters {
        Parameters {
            scale_method: match self.scale_method {
                ScaleMethod::Nearest => retinaface::preprocess::ScaleMethod::Nearest,
                ScaleMethod::Bilinear => retinaface::preprocess::ScaleMethod::Bilinear,
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
    /// Sets the property `name`; its type and range have been checked against its specification.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> Result<(), glib::value::ValueTypeMismatchOrNoneError<glib::value::ValueTypeMismatchError>> {
        todo!()
    }
}
