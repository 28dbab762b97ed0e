// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a tracker makes of the faces on a buffer.

use std::ops::ControlFlow;

use gst::buffer::BufferMetaForeachAction;
use gst_video::VideoRegionOfInterestMeta;

use super::{
    analytics, fields,
    roi::{self, RawMeta},
};
use crate::{
    face::{Face, Tracking},
    tracking::Placed,
};

/// Updates the faces on a buffer that holds a frame of `width` × `height` pixels: `placed` says of the
/// faces that [`super::faces`] gave of the same buffer which are followed; their metas get a param
/// `tracking` beside what they have, those of the others are removed. Held faces are attached.
///
/// Where GStreamer has analytics metas, there is an object for each of these faces and for no other, unless
/// other elements have added to the buffer's analytics meta: then objects of faces that are not followed stay.
pub fn set_followed(buffer: &mut gst::BufferRef, placed: &[Placed], width: u32, height: u32) {
    let of_detection = |index| placed.iter().find(|placed| placed.detection == Some(index));
    let mut count = 0;
    let mut kept = Vec::new();
    buffer.foreach_meta_mut(|mut meta| {
        let keep = ControlFlow::Continue(BufferMetaForeachAction::Keep);
        let Some(meta) = meta.downcast_mut::<VideoRegionOfInterestMeta>() else { return keep };
        // SAFETY: the meta is part of the buffer, which is borrowed for as long.
        if !RawMeta(unsafe { &*meta.as_ptr() }).is_face() {
            return keep;
        }
        let face = of_detection(count).map(|placed| placed.face);
        count += 1;
        match face.and_then(|face| Some((face, face.tracking?))) {
            Some((face, tracking)) => {
                set_tracking(meta, &tracking);
                kept.push((meta.id(), face));
                keep
            }
            None => ControlFlow::Continue(BufferMetaForeachAction::Remove),
        }
    });
    let (objects, faces): (Vec<i32>, Vec<Face>) = kept.into_iter().unzip();
    if analytics::remove_if_others(buffer, &objects) {
        let objects = analytics::attach(buffer, &faces, (width, height));
        roi::set_ids(buffer, &objects);
    }
    // A detection without a meta of its own was described by something else.
    let is_new = |detection: Option<usize>| detection.is_none_or(|index| index >= count);
    for placed in placed.iter().filter(|placed| is_new(placed.detection)) {
        roi::attach(buffer, &placed.face, width, height);
    }
}

/// In place of what another tracker may have written: readers take the first param of a name.
fn set_tracking<U>(
    meta: &mut gst::MetaRefMut<'_, VideoRegionOfInterestMeta, U>,
    tracking: &Tracking,
) {
    let structure = fields::tracking_structure(tracking);
    // SAFETY: the meta is there, and is borrowed mutably.
    let param = unsafe {
        gst_video::ffi::gst_video_region_of_interest_meta_get_param(
            meta.as_mut_ptr(),
            c"tracking".as_ptr(),
        )
    };
    if param.is_null() {
        meta.add_param(structure);
        return;
    }
    // SAFETY: a structure that belongs to the meta, which is borrowed mutably.
    let param = unsafe { gst::StructureRef::from_glib_borrow_mut(param) };
    for (name, value) in structure.iter() {
        param.set_value(name, value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        face::TrackingState,
        geometry::Rect,
        gstreamer::{attach, faces},
    };

    const FRAME: (u32, u32) = (100, 80);

    fn face(x: f32) -> Face {
        let bounds = Rect::new(x, 10.0, x + 10.0, 20.0);
        Face { bounds, confidence: Some(0.5), ..Face::default() }
    }

    fn followed(face: &Face, id: u64, state: TrackingState) -> Face {
        Face { tracking: Some(Tracking { id, age: 2, state }), ..*face }
    }

    #[test]
    fn followed_faces_keep_their_metas_and_others_lose_them() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        let buffer = buffer.make_mut();
        VideoRegionOfInterestMeta::add(buffer, "car", (1, 2, 3, 4));
        // One of another element, with a param that nobody here knows, and two of ours.
        VideoRegionOfInterestMeta::add(buffer, "face", (5, 6, 7, 8))
            .add_param(gst::Structure::new_empty("mood"));
        attach(buffer, &face(20.0), FRAME.0, FRAME.1);
        attach(buffer, &face(40.0), FRAME.0, FRAME.1);

        let read = faces(buffer);
        let foreign = followed(&read[0], 7, TrackingState::Detected);
        let ours = followed(&read[2], 8, TrackingState::Detected);
        let held = followed(&face(60.0), 9, TrackingState::Held);
        let placed = [(foreign, Some(0)), (ours, Some(2)), (held, None)];
        let placed = placed.map(|(face, detection)| Placed { face, detection });
        set_followed(buffer, &placed, FRAME.0, FRAME.1);
        assert_eq!(faces(buffer), [foreign, ours, held]);
        let metas: Vec<_> = buffer.iter_meta::<VideoRegionOfInterestMeta>().collect();
        assert_eq!(metas.iter().filter(|meta| meta.roi_type() == "car").count(), 1);
        assert_eq!(metas.iter().filter(|meta| meta.param("mood").is_some()).count(), 1);

        // A second tracker, with ids of its own.
        let again = [(followed(&foreign, 1, TrackingState::Detected), Some(0))];
        let again = again.map(|(face, detection)| Placed { face, detection });
        set_followed(buffer, &again, FRAME.0, FRAME.1);
        assert_eq!(faces(buffer), [again[0].face]);
    }
}
