// SPDX-License-Identifier: MIT OR Apache-2.0

//! Floats that begin at a cache line.

use std::{alloc, alloc::Layout, ops, ptr::NonNull, slice};

/// A cache line, which is also the widest vector.
pub const ALIGNMENT: usize = 64;

/// A fixed number of floats, zero at first.
pub struct Floats {
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: it owns its floats, as a box does.
unsafe impl Send for Floats {}
// SAFETY: as above.
unsafe impl Sync for Floats {}

impl Floats {
    pub fn new(len: usize) -> Self {
        if len == 0 {
            return Self { start: NonNull::dangling(), len };
        }
        let layout = Self::layout(len);
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc::alloc_zeroed(layout) }.cast();
        let start = NonNull::new(start).unwrap_or_else(|| alloc::handle_alloc_error(layout));
        Self { start, len }
    }

    /// Where they are. Whoever writes through it keeps others from the same floats.
    pub fn as_ptr(&self) -> *mut f32 {
        self.start.as_ptr()
    }

    fn layout(len: usize) -> Layout {
        let layout = Layout::array::<f32>(len).and_then(|layout| layout.align_to(ALIGNMENT));
        layout.unwrap_or_else(|_| panic!("more floats than memory has addresses: {len}"))
    }
}

impl Drop for Floats {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: allocated with this layout.
            unsafe { alloc::dealloc(self.start.as_ptr().cast(), Self::layout(self.len)) };
        }
    }
}

impl ops::Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: so many floats are there, and initialised.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl ops::DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl From<&[f32]> for Floats {
    fn from(values: &[f32]) -> Self {
        let mut floats = Self::new(values.len());
        floats.copy_from_slice(values);
        floats
    }
}
