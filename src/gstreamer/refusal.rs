// SPDX-License-Identifier: MIT OR Apache-2.0

//! What to do about video that an element of this plugin does not take.
//!
//! GStreamer refuses caps outside of a pad's template by itself, and all that users see of it is
//! `not-negotiated`, from another element.

use std::sync::{Mutex, PoisonError};

use gst::prelude::*;

use super::formats::MAX_SIZE;

/// Elements that copy frames to system memory, by caps features.
const DOWNLOADS: [(&str, &str); 11] = [
    ("memory:CUDAMemory", "cudadownload"),
    ("memory:GLMemory", "gldownload"),
    ("memory:NVMM", "nvvideoconvert, or nvvidconv on a Jetson,"),
    ("memory:VAMemory", "vapostproc"),
    ("memory:VASurface", "vaapipostproc"),
    ("memory:DMABuf", "vapostproc"),
    ("memory:D3D11Memory", "d3d11download"),
    ("memory:D3D12Memory", "d3d12download"),
    ("memory:MFXSurface", "msdkvpp"),
    ("memory:QSVMemory", "qsvvpp"),
    ("memory:VulkanImage", "vulkandownload"),
];

/// Has the element of this sink pad say why it takes no video, and what to put before it: as an error
/// where caps arrive that are none of the pad's template, as a warning where upstream asks for the
/// pad's caps and has no others.
pub fn explain_refusals(pad: &gst::Pad) {
    let said = Said::default();
    let kinds = gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::QUERY_DOWNSTREAM;
    // It stays as long as the pad.
    let _ = pad.add_probe(kinds, move |pad, info| {
        match &info.data {
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::StreamStart(_) => said.forget(),
                gst::EventView::Caps(event) => explain(pad, event.caps(), true, &said),
                _ => (),
            },
            Some(gst::PadProbeData::Query(query)) => {
                if let gst::QueryView::Caps(query) = query.view()
                    && let Some(filter) = query.filter()
                {
                    explain(pad, filter, false, &said);
                }
            }
            _ => (),
        }
        gst::PadProbeReturn::Ok
    });
}

/// What was said last, and whether as an error: caps come again with every frame until they are taken.
#[derive(Default)]
struct Said(Mutex<Option<(String, bool)>>);

impl Said {
    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether something else was said last.
    fn is_new(&self, text: &str, fatal: bool) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Some((text.to_owned(), fatal));
        std::mem::replace(&mut *last, now.clone()) != now
    }
}

/// Says why the pad takes none of `caps`, if that is so.
fn explain(pad: &gst::Pad, caps: &gst::CapsRef, fatal: bool, said: &Said) {
    let template = pad.pad_template_caps();
    if caps.is_empty() || template.can_intersect(caps) {
        return;
    }
    let Some(element) = pad.parent_element() else { return };
    let text = describe(caps, &template);
    // Nobody hears an element without a bus.
    if element.bus().is_none() || !said.is_new(&text, fatal) {
        return;
    }
    if fatal {
        gst::element_error!(element, gst::StreamError::Format, ("{text}"));
    } else {
        gst::element_warning!(element, gst::StreamError::Format, ("{text}"));
    }
}

/// Why none of `caps` is part of `template`, and what to do about it.
fn describe(caps: &gst::CapsRef, template: &gst::Caps) -> String {
    let raw: Vec<_> =
        caps.iter_with_features().filter(|(caps, _)| caps.name() == "video/x-raw").collect();
    let Some((structure, features)) =
        raw.iter().find(|(_, features)| is_system_memory(features)).or(raw.first())
    else {
        let names: Vec<_> = caps.iter().map(|caps| caps.name().as_str()).collect();
        return format!(
            "This element takes raw video, not {}: put a decoder before it, such as decodebin",
            names.join(" or ")
        );
    };
    if !is_system_memory(features) {
        let download = DOWNLOADS.iter().find(|(feature, _)| features.contains(*feature));
        let download = download.map_or("an element that copies them there", |(_, element)| element);
        return format!(
            "This element takes frames in system memory, not with {features}: put {download} before it"
        );
    }
    let format = structure.value("format").ok();
    let formats = template.structure(0).and_then(|template| template.value("format").ok());
    match format.zip(formats) {
        Some((format, formats)) if format.intersect(formats).is_none() => format!(
            "This element does not take frames of the format {}: put videoconvert before it",
            name(format)
        ),
        _ => format!(
            "This element takes frames of 1×1 to {MAX_SIZE}×{MAX_SIZE} pixels, not {}: put videoscale \
             before it",
            size(structure)
        ),
    }
}

/// Of frames, where it is known, or all that is.
fn size(caps: &gst::StructureRef) -> String {
    match (caps.get::<i32>("width"), caps.get::<i32>("height")) {
        (Ok(width), Ok(height)) => format!("{width}×{height}"),
        _ => caps.to_string(),
    }
}

fn is_system_memory(features: &gst::CapsFeaturesRef) -> bool {
    features.is_any() || features.is_equal(&gst::CAPS_FEATURES_MEMORY_SYSTEM_MEMORY)
}

/// A format, or several, as text.
fn name(format: &glib::SendValue) -> String {
    match format.get::<&str>() {
        Ok(name) => name.to_owned(),
        Err(_) => format.serialize().map(String::from).unwrap_or_default(),
    }
}
