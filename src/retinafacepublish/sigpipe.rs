// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writing to pipes whose reader may be gone.
//!
//! That ends a process by the signal SIGPIPE, unless it ignores it, as Rust's programs do and those in C
//! do not. A plugin must not change what its process does with signals, but may keep this one, which goes
//! to the thread that wrote, from being delivered.

use std::{mem::MaybeUninit, ptr};

/// Runs `write`, which fails with EPIPE where SIGPIPE would have ended the process.
pub fn without_sigpipe<T>(write: impl FnOnce() -> T) -> T {
    let Some(mask) = Mask::new() else { return write() };
    let written = write();
    drop(mask);
    written
}

/// Blocks SIGPIPE in this thread for as long as it lives.
struct Mask {
    sigpipe: libc::sigset_t,
    before: libc::sigset_t,
}

impl Mask {
    /// `None` where a SIGPIPE of somebody else is waiting: it is blocked already, and ours would be the
    /// same one.
    fn new() -> Option<Self> {
        let (sigpipe, mut before) = (only_sigpipe(), MaybeUninit::uninit());
        if is_pending() {
            return None;
        }
        // SAFETY: both sets are ours, and the second is written.
        let failed =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &sigpipe, before.as_mut_ptr()) };
        // SAFETY: written, as it has not failed.
        (failed == 0).then(|| Self { sigpipe, before: unsafe { before.assume_init() } })
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        if is_pending() {
            let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the sets and the time are ours; takes the signal away without waiting.
            unsafe { libc::sigtimedwait(&self.sigpipe, ptr::null_mut(), &now) };
        }
        // SAFETY: the set is ours; the old one need not be stored.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, ptr::null_mut()) };
    }
}

fn only_sigpipe() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set; neither fails for a signal that there is.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
        set.assume_init()
    }
}

/// Whether a blocked SIGPIPE waits for this thread.
fn is_pending() -> bool {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigpending initialises the set where it succeeds, as it does for a valid address.
    unsafe {
        libc::sigpending(set.as_mut_ptr()) == 0
            && libc::sigismember(set.as_ptr(), libc::SIGPIPE) == 1
    }
}
