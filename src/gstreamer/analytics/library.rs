// SPDX-License-Identifier: MIT OR Apache-2.0

//! The functions of GStreamer's analytics library that are used, looked up when they are first
//! needed: one build runs on every GStreamer, and writes analytics metas where there are any.
//!
//! Names, arguments and numbers are those of the headers in `gst/analytics/` of GStreamer 1.24, and
//! of 1.30 for key points.

use std::{
    ffi::{c_char, c_int, c_uint, c_void},
    sync::OnceLock,
};

use glib::ffi::{GQuark, gboolean};
use gst::ffi::{GstBuffer, GstClockTime};
use libloading::os::unix::Library;

const NAME: &str = "libgstanalytics-1.0.so.0";

/// `GstAnalyticsRelationMeta`, whose content is private.
#[repr(C)]
pub struct RelationMeta(c_void);

/// `GstAnalyticsMtd`: what was found out about a frame, one piece of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Mtd {
    pub id: c_uint,
    pub meta: *mut RelationMeta,
}

impl Mtd {
    /// To be written to.
    pub const NONE: Self = Self { id: 0, meta: std::ptr::null_mut() };
}

/// `GstAnalyticsMtdType`.
pub type MtdType = usize;

/// `GstAnalyticsRelTypes`.
pub type RelTypes = c_int;
pub const IS_PART_OF: RelTypes = 1 << 1;
pub const CONTAIN: RelTypes = 1 << 2;
pub const RELATE_TO: RelTypes = 1 << 3;

/// `GstAnalyticsKeypointDimensions`: those of a point in the picture.
pub const TWO_DIMENSIONS: c_int = 2;

/// `GstAnalyticsRelationMetaInitParams`.
#[repr(C)]
pub struct InitParams {
    pub relation_order: usize,
    pub buffer_size: usize,
}

/// A struct of functions, each named like its symbol without `gst_`.
macro_rules! functions {
    ($(#[$doc:meta])* $set:ident { $(fn $name:ident($($argument:ty),*) $(-> $result:ty)?;)* }) => {
        $(#[$doc])*
        pub struct $set {
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl $set {
            fn load(library: &Library) -> Result<Self, libloading::Error> {
                // SAFETY: the headers declare these symbols as functions of these types.
                unsafe {
                    Ok(Self {
                        $($name: *library.get(concat!("gst_", stringify!($name)))?,)*
                    })
                }
            }
        }
    };
}

functions! {
    /// Since GStreamer 1.24.
    Analytics {
        fn buffer_get_analytics_relation_meta(*mut GstBuffer) -> *mut RelationMeta;
        fn buffer_add_analytics_relation_meta_full(*mut GstBuffer, *const InitParams) -> *mut RelationMeta;
        fn analytics_relation_meta_iterate(*mut RelationMeta, *mut *mut c_void, MtdType, *mut Mtd) -> gboolean;
        fn analytics_relation_meta_get_direct_related(
            *mut RelationMeta, c_uint, RelTypes, MtdType, *mut *mut c_void, *mut Mtd
        ) -> gboolean;
        fn analytics_relation_meta_set_relation(*mut RelationMeta, RelTypes, c_uint, c_uint) -> gboolean;
        fn analytics_od_mtd_get_mtd_type() -> MtdType;
        fn analytics_od_mtd_get_obj_type(*const Mtd) -> GQuark;
        fn analytics_od_mtd_get_location(
            *const Mtd, *mut c_int, *mut c_int, *mut c_int, *mut c_int, *mut f32
        ) -> gboolean;
        fn analytics_relation_meta_add_od_mtd(
            *mut RelationMeta, GQuark, c_int, c_int, c_int, c_int, f32, *mut Mtd
        ) -> gboolean;
        fn analytics_relation_meta_get_od_mtd(*mut RelationMeta, c_uint, *mut Mtd) -> gboolean;
        fn analytics_relation_meta_add_tracking_mtd(*mut RelationMeta, u64, GstClockTime, *mut Mtd) -> gboolean;
        fn analytics_tracking_mtd_get_mtd_type() -> MtdType;
        fn analytics_tracking_mtd_update_last_seen(*mut Mtd, GstClockTime) -> gboolean;
        fn analytics_relation_get_length(*mut RelationMeta) -> usize;
    }
}

functions! {
    /// Since GStreamer 1.30.
    KeyPoints {
        fn analytics_group_mtd_get_mtd_type() -> MtdType;
        fn analytics_group_mtd_iterate(*const Mtd, *mut *mut c_void, MtdType, *mut Mtd) -> gboolean;
        fn analytics_keypoint_mtd_get_mtd_type() -> MtdType;
        fn analytics_keypoint_mtd_get_position(
            *const Mtd, *mut c_int, *mut c_int, *mut c_int, *mut c_int
        ) -> gboolean;
        fn analytics_relation_meta_add_keypoints_group(
            *mut RelationMeta, *const c_char, c_int, usize, *const c_int, usize, *const f32, *const u8,
            usize, *const c_int, *mut Mtd
        ) -> gboolean;
    }
}

/// What the GStreamer that runs has of the analytics library.
pub struct Functions {
    pub analytics: Analytics,
    pub key_points: Option<KeyPoints>,
}

/// `None` with a GStreamer without analytics metas, or where its library is not installed.
pub fn functions() -> Option<&'static Functions> {
    static FUNCTIONS: OnceLock<Option<Functions>> = OnceLock::new();
    FUNCTIONS.get_or_init(load).as_ref()
}

fn load() -> Option<Functions> {
    if gst::version() < (1, 24, 0, 0) {
        return None;
    }
    // SAFETY: GStreamer's own library, which does nothing when it is loaded.
    let loaded = unsafe { Library::new(NAME) }.and_then(|library| {
        let analytics = Analytics::load(&library)?;
        let key_points = KeyPoints::load(&library).ok();
        // The functions are used as long as the process lives.
        std::mem::forget(library);
        Ok(Functions { analytics, key_points })
    });
    match loaded {
        Ok(functions) => Some(functions),
        Err(err) => {
            gst::debug!(gst::CAT_PLUGIN_LOADING, "No analytics metas are written: {err:?}");
            None
        }
    }
}
