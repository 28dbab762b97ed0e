// SPDX-License-Identifier: MIT OR Apache-2.0

//! Elements that write to the same pipe do so in turns, a line at a time.
//!
//! A pipe takes no more than `PIPE_BUF` bytes in one piece, which is about twenty faces.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::waker::{Interrupted, Waker};

/// Between two looks whether another element has written its line.
const PAUSE: Duration = Duration::from_millis(1);

/// Device and inode, which are the same for all descriptors of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipeId(pub u64, pub u64);

/// To which a line is being written.
static TAKEN: Mutex<Vec<PipeId>> = Mutex::new(Vec::new());

fn taken() -> MutexGuard<'static, Vec<PipeId>> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As long as it lives, nobody else writes to the pipe.
#[derive(Debug)]
pub struct Turn(PipeId);

impl Turn {
    /// Waits until the lines of others are written.
    pub fn take(pipe: PipeId, waker: &Waker) -> Result<Self, Interrupted> {
        loop {
            if let Some(turn) = Self::try_take(pipe) {
                return Ok(turn);
            }
            waker.sleep(PAUSE)?;
        }
    }

    fn try_take(pipe: PipeId) -> Option<Self> {
        let mut taken = taken();
        let free = !taken.contains(&pipe);
        free.then(|| {
            taken.push(pipe);
            Self(pipe)
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        taken().retain(|pipe| *pipe != self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_one_elements_at_a_time() {
        let waker = Waker::new().unwrap();
        let (pipe, other) = (PipeId(u64::MAX, 1), PipeId(u64::MAX, 2));
        let turn = Turn::take(pipe, &waker).unwrap();
        let _other = Turn::take(other, &waker).unwrap();
        assert!(Turn::try_take(pipe).is_none());
        // Who waits can be woken.
        waker.interrupt();
        assert!(Turn::take(pipe, &waker).is_err());
        drop(turn);
        assert!(Turn::take(pipe, &waker).is_ok());
    }
}
