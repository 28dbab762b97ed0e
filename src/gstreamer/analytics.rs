// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as GstAnalytics metas, for GStreamer 1.24 and newer.

use gst_analytics::AnalyticsRelationMeta;
use gst_analytics::prelude::*;

use crate::face::Face;

/// Adds an object detection of type `face` with the rectangle (x, y, width, height) in pixels, and,
/// from GStreamer 1.30 on, a keypoint related to it for each landmark, in their order. Returns the
/// detection's id in the buffer's one relation meta; `None` if that is full.
pub fn attach(
    buffer: &mut gst::BufferRef,
    face: &Face,
    (x, y, w, h): (u32, u32, u32, u32),
) -> Option<i32> {
    if buffer.meta::<AnalyticsRelationMeta>().is_none() {
        AnalyticsRelationMeta::add(buffer);
    }
    let mut relations = buffer.meta_mut::<AnalyticsRelationMeta>()?;
    let kind = glib::Quark::from_str("face");
    let confidence = face.confidence.unwrap_or_default();
    let (x, y, w, h) = (x as i32, y as i32, w as i32, h as i32);
    let id = relations.add_od_mtd(kind, x, y, w, h, confidence).ok()?.id();
    #[cfg(feature = "keypoints")]
    for point in face.landmarks.iter().flat_map(|landmarks| landmarks.0) {
        let keypoint = relations.add_keypoint_mtd(
            gst_analytics::AnalyticsKeypointDimensions::_2d,
            point.x.round() as i32,
            point.y.round() as i32,
            0,
            gst_analytics::AnalyticsKeypointVisibility::VISIBLE,
            confidence,
        );
        let keypoint = keypoint.ok()?.id();
        relations.set_relation(gst_analytics::RelTypes::CONTAIN, id, keypoint).ok()?;
    }
    i32::try_from(id).ok()
}
