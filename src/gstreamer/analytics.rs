// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as GstAnalytics metas, for elements that read those: GStreamer 1.24 and newer.

use gst_analytics::AnalyticsRelationMeta;
use gst_analytics::prelude::*;

use crate::face::Face;

/// Adds an object detection of type `face` with the rectangle (x, y, width, height), and with
/// GStreamer 1.30 a keypoint for each landmark, related to it in their order. Gives the detection's
/// id, by which it is to be found in the buffer's one relation meta; `None` where that is full.
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
