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

/// A face that stays on a buffer, and the id of its analytics object there.
struct Followed<'a> {
    placed: &'a Placed,
    object: Option<i32>,
}

/// Updates the faces on a buffer that holds a frame of `width` × `height` pixels: `placed` says of the
/// faces that [`super::faces`] gave of the same buffer which are followed; their metas get a param
/// `tracking` beside what they have, those of the others are removed. Held faces are attached. Times
/// are in nanoseconds.
///
/// Where GStreamer has analytics metas, the buffer gets a new one with an object for each of these
/// faces, or an empty one, and the regions get its ids. One that has parts other than faces stays, with the
/// objects of faces that are not followed.
pub fn set_followed(buffer: &mut gst::Buffer, placed: &[Placed], width: u32, height: u32) {
    if placed.is_empty() && !analytics::available() && roi::faces(buffer).is_empty() {
        return;
    }
    let (buffer, frame) = (buffer.make_mut(), (width, height));
    let known = analytics::faces(buffer);
    let (mut followed, regions) = follow_regions(buffer, placed, &known);
    let kept = followed.len();
    // A detection without a region was an object.
    let is_new = |placed: &&Placed| placed.detection.is_none_or(|index| index >= regions);
    followed.extend(placed.iter().filter(is_new).map(|placed| {
        let object = placed.detection.and_then(|index| known.get(index));
        Followed { placed, object: object.map(|(id, _)| *id) }
    }));
    let faces: Vec<_> = followed.iter().map(|followed| followed.placed.face).collect();
    let objects = analytics::replace(buffer, &faces, frame)
        .unwrap_or_else(|| add_objects(buffer, &followed, frame));
    roi::set_ids(buffer, &objects[..kept]);
    roi::attach_regions(buffer, &faces[kept..], &objects[kept..], frame);
    for (Followed { placed, .. }, object) in followed.iter().zip(objects) {
        if let (Some(tracking), Some(object)) = (placed.face.tracking, object) {
            let [first, last] = [placed.first_seen, placed.last_seen]
                .map(|time| time.map(gst::ClockTime::from_nseconds));
            analytics::attach_tracking(buffer, object, tracking.id, first, last);
        }
    }
}

/// Removes the regions of faces that are not followed. Returns those that stay, and how many there were.
fn follow_regions<'a>(
    buffer: &mut gst::BufferRef,
    placed: &'a [Placed],
    objects: &[(i32, Face)],
) -> (Vec<Followed<'a>>, usize) {
    let mut followed = Vec::new();
    let mut count = 0;
    buffer.foreach_meta_mut(|mut meta| {
        let keep = ControlFlow::Continue(BufferMetaForeachAction::Keep);
        let meta = meta.downcast_mut::<VideoRegionOfInterestMeta>();
        let Some(meta) = meta.filter(|meta| raw(meta).is_face()) else { return keep };
        let placed = placed.iter().find(|placed| placed.detection == Some(count));
        count += 1;
        let Some((placed, tracking)) = placed.zip(placed.and_then(|placed| placed.face.tracking))
        else {
            return ControlFlow::Continue(BufferMetaForeachAction::Remove);
        };
        set_tracking(meta, &tracking);
        let object = raw(meta).object(objects).map(|(id, _)| *id);
        followed.push(Followed { placed, object });
        keep
    });
    (followed, count)
}

/// The objects of faces: those that are there, and new ones for held faces.
fn add_objects(
    buffer: &mut gst::BufferRef,
    followed: &[Followed],
    frame: (u32, u32),
) -> Vec<Option<i32>> {
    let objects = followed.iter().map(|Followed { placed, object }| match placed.detection {
        Some(_) => *object,
        None => analytics::attach(buffer, &[placed.face], frame).into_iter().flatten().next(),
    });
    objects.collect()
}

type Region<'a, U> = gst::MetaRefMut<'a, VideoRegionOfInterestMeta, U>;

fn raw<'a, U>(meta: &'a Region<'_, U>) -> RawMeta<'a> {
    // SAFETY: the meta is part of its buffer, and borrowed for as long.
    RawMeta(unsafe { &*meta.as_ptr() })
}

/// In place of what another tracker may have written: readers take the first param of a name.
fn set_tracking<U>(meta: &mut Region<'_, U>, tracking: &Tracking) {
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

    fn placed_at(face: Face, detection: Option<usize>) -> Placed {
        Placed { face, detection, first_seen: None, last_seen: None }
    }

    #[test]
    fn followed_faces_keep_their_metas_and_others_lose_them() {
        gst::init().unwrap();
        let mut buffer = gst::Buffer::new();
        let with_metas = buffer.make_mut();
        VideoRegionOfInterestMeta::add(with_metas, "car", (1, 2, 3, 4));
        // One of another element, with a param that nobody here knows, and two of ours.
        VideoRegionOfInterestMeta::add(with_metas, "face", (5, 6, 7, 8))
            .add_param(gst::Structure::new_empty("mood"));
        attach(with_metas, &face(20.0), FRAME.0, FRAME.1);
        attach(with_metas, &face(40.0), FRAME.0, FRAME.1);

        let read = faces(&buffer);
        let foreign = followed(&read[0], 7, TrackingState::Detected);
        let ours = followed(&read[2], 8, TrackingState::Detected);
        let held = followed(&face(60.0), 9, TrackingState::Held);
        let placed = [(foreign, Some(0)), (ours, Some(2)), (held, None)];
        let placed = placed.map(|(face, detection)| placed_at(face, detection));
        set_followed(&mut buffer, &placed, FRAME.0, FRAME.1);
        let mut found = faces(&buffer);
        // GStreamer 1.14 gives the newest first.
        found.sort_by_key(|face| face.tracking.map(|tracking| tracking.id));
        assert_eq!(found, [foreign, ours, held]);
        let metas: Vec<_> = buffer.iter_meta::<VideoRegionOfInterestMeta>().collect();
        assert_eq!(metas.iter().filter(|meta| meta.roi_type() == "car").count(), 1);
        assert_eq!(metas.iter().filter(|meta| meta.param("mood").is_some()).count(), 1);

        // A second tracker, with ids of its own.
        let first = faces(&buffer).iter().position(|face| *face == foreign);
        let again = placed_at(followed(&foreign, 1, TrackingState::Detected), first);
        set_followed(&mut buffer, &[again], FRAME.0, FRAME.1);
        assert_eq!(faces(&buffer), [again.face]);
    }
}
