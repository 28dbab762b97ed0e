// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ends what another thread waits for.

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::fd::BorrowedFd,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

/// Something else was to be done than to go on waiting.
#[derive(Debug, PartialEq, Eq)]
pub struct Interrupted;

/// A pipe that holds a byte while nothing may wait.
#[derive(Debug)]
pub struct Waker {
    reader: PipeReader,
    writer: PipeWriter,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Interrupted,
    /// For good.
    Closed,
}

impl Waker {
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader, writer, state: Mutex::new(State::Waiting) })
    }

    /// From now on nothing waits, until [`resume`](Self::resume).
    pub fn interrupt(&self) {
        self.leave(State::Interrupted);
    }

    /// From now on nothing waits.
    pub fn close(&self) {
        self.leave(State::Closed);
    }

    /// Undoes [`interrupt`](Self::interrupt), but not [`close`](Self::close).
    pub fn resume(&self) {
        let mut state = self.state();
        if *state == State::Interrupted && (&self.reader).read_exact(&mut [0]).is_ok() {
            *state = State::Waiting;
        }
    }

    fn leave(&self, next: State) {
        let mut state = self.state();
        if *state == State::Waiting && (&self.writer).write_all(&[0]).is_err() {
            return;
        }
        if *state != State::Closed {
            *state = next;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until `fd` takes more bytes, or has failed.
    pub fn wait_writable(&self, fd: BorrowedFd) -> Result<(), Interrupted> {
        self.wait(
            &mut [PollFd::new(&self.reader, PollFlags::IN), PollFd::new(&fd, PollFlags::OUT)],
            None,
        )
    }

    pub fn sleep(&self, time: Duration) -> Result<(), Interrupted> {
        let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() };
        self.wait(&mut [PollFd::new(&self.reader, PollFlags::IN)], Some(&time))
    }

    /// The first of `fds` is the reader's.
    fn wait(&self, fds: &mut [PollFd], timeout: Option<&Timespec>) -> Result<(), Interrupted> {
        // Any other failure shows in what was waited for.
        while poll(fds, timeout) == Err(Errno::INTR) {}
        if fds[0].revents().is_empty() { Ok(()) } else { Err(Interrupted) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn interruptions_last_until_they_are_undone() {
        let waker = Waker::new().unwrap();
        assert_eq!(waker.sleep(NOW), Ok(()));
        waker.interrupt();
        waker.interrupt();
        assert_eq!(waker.sleep(Duration::from_secs(3600)), Err(Interrupted));
        assert_eq!(waker.wait_writable(waker.writer.as_fd()), Err(Interrupted));
        waker.resume();
        waker.resume();
        assert_eq!(waker.sleep(NOW), Ok(()));
        assert_eq!(waker.wait_writable(waker.writer.as_fd()), Ok(()));
    }

    #[test]
    fn what_is_closed_stays_closed() {
        for interrupted in [false, true] {
            let waker = Waker::new().unwrap();
            if interrupted {
                waker.interrupt();
            }
            waker.close();
            waker.interrupt();
            waker.resume();
            assert_eq!(waker.sleep(Duration::from_secs(3600)), Err(Interrupted));
        }
    }
}
