// SPDX-License-Identifier: MIT OR Apache-2.0

//! What upstream is told that buffers may carry, and how many it has.

use glib::translate::*;
use gst::prelude::*;
use gst_video::{VideoCropMeta, VideoMeta, VideoOverlayCompositionMeta, VideoRegionOfInterestMeta};

/// Metas that elements of this plugin take into account, or that say nothing about the pixels.
fn is_understood(api: glib::Type) -> bool {
    [
        VideoMeta::meta_api(),
        VideoCropMeta::meta_api(),
        VideoOverlayCompositionMeta::meta_api(),
        VideoRegionOfInterestMeta::meta_api(),
    ]
    .contains(&api)
}

/// Adds to the answer to an allocation query the metas that this plugin reads frames by, for an element
/// that does not pass them on.
pub fn add_understood_metas(query: &mut gst::query::Allocation) {
    query.add_allocation_meta::<VideoMeta>(None);
    query.add_allocation_meta::<VideoCropMeta>(None);
}

/// Removes from the answer to an allocation query, which came from downstream, every meta but those
/// that this plugin reads frames by. Upstream would otherwise leave work to downstream that frames
/// need before faces can be found in them, such as an affine transformation.
pub fn keep_understood_metas(query: &mut gst::query::Allocation) {
    let metas: Vec<_> = query.allocation_metas().map(|(api, _)| api).collect();
    for (index, api) in metas.into_iter().enumerate().rev() {
        if !is_understood(api) {
            query.remove_nth_allocation_meta(index as u32);
        }
    }
}

/// The pool that buffers come from, if they do.
#[derive(Default)]
pub struct UpstreamPool {
    pool: glib::WeakRef<gst::BufferPool>,
    size: Option<u32>,
}

impl UpstreamPool {
    /// How many buffers there can be in the pool of this one; `None` where there is no pool, or no limit.
    pub fn size(&mut self, buffer: &gst::BufferRef) -> Option<u32> {
        // SAFETY: the buffer holds a reference to its pool, and is borrowed.
        let pool: Option<gst::BufferPool> = unsafe { from_glib_none((*buffer.as_ptr()).pool) };
        let pool = pool?;
        // Reading the configuration copies it.
        if self.pool.upgrade().as_ref() != Some(&pool) {
            self.pool = pool.downgrade();
            let most = pool.config().params().map(|(_caps, _size, _min, max)| max);
            self.size = most.filter(|most| *most > 0);
        }
        self.size
    }
}
