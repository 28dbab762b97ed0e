// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where lines go, whether somebody reads them or not.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, TryRecvError},
    },
    thread,
    time::Duration,
};

use super::{
    location::Location,
    output::{Output, OutputError},
    turns::Turn,
    waker::Waker,
};

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_secs(1);

/// What became of a line.
#[derive(Debug)]
pub enum Delivery {
    Written,
    /// Not written, as nobody reads; lines will be again when somebody does.
    Dropped,
    /// Not written, and this is the first; says why.
    Lost(OutputError),
}

#[derive(Debug)]
enum State {
    /// Opening it may wait, which start() must not.
    Closed,
    Open(Output),
    Opening(Opening),
    /// Nobody reads any more.
    Gone,
}

/// Why there is no line.
enum Failure<E> {
    /// It could not be made.
    Line(E),
    Output(OutputError),
}

#[derive(Debug)]
pub struct Destination {
    location: Location,
    append: bool,
    /// Whether lines are dropped while there is no reader.
    reconnect: bool,
    state: State,
    line: Vec<u8>,
    /// How much of the line is written.
    written: usize,
    /// While the line is being written.
    turn: Option<Turn>,
}

impl Destination {
    /// Opens what can be opened without waiting.
    pub fn new(
        location: Location,
        append: bool,
        reconnect: bool,
        waker: &Waker,
    ) -> Result<Self, OutputError> {
        let state = if location.may_wait() {
            State::Closed
        } else {
            State::Open(Output::open(&location, append, waker)?)
        };
        Ok(Self { location, append, reconnect, state, line: Vec::new(), written: 0, turn: None })
    }

    /// Writes the line that `make` appends to an empty buffer.
    pub fn deliver<E: From<OutputError>>(
        &mut self,
        waker: &Waker,
        make: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Delivery, E> {
        if let Some(dropped) = self.open(waker)? {
            return Ok(dropped);
        }
        match self.write_line(waker, make) {
            Ok(()) => Ok(Delivery::Written),
            Err(Failure::Line(err)) => {
                self.clear();
                Err(err)
            }
            Err(Failure::Output(err)) if self.looks_for_another_reader(&err) => {
                self.clear();
                self.state = State::Closed;
                Ok(Delivery::Lost(err))
            }
            Err(Failure::Output(err @ OutputError::ReaderGone { .. })) => {
                self.clear();
                self.state = State::Gone;
                Err(err.into())
            }
            Err(Failure::Output(err)) => {
                // A line that has not begun is dropped, as its frame is.
                if self.written == 0 {
                    self.clear();
                }
                Err(err.into())
            }
        }
    }

    fn write_line<E>(
        &mut self,
        waker: &Waker,
        make: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), Failure<E>> {
        self.finish(waker).map_err(Failure::Output)?;
        self.clear();
        make(&mut self.line).map_err(Failure::Line)?;
        self.finish(waker).map_err(Failure::Output)
    }

    /// Whether the output is opened again after this failure, which may be the network's.
    fn looks_for_another_reader(&self, err: &OutputError) -> bool {
        let lost = matches!(err, OutputError::ReaderGone { .. } | OutputError::Write { .. });
        lost && self.reconnect && self.location.may_wait()
    }

    fn clear(&mut self) {
        self.line.clear();
        self.written = 0;
        self.turn = None;
    }

    /// Opens it, if it is not; where that fails for want of a reader, says what became of the line.
    fn open(&mut self, waker: &Waker) -> Result<Option<Delivery>, OutputError> {
        match &mut self.state {
            State::Open(_) => Ok(None),
            State::Gone => Err(OutputError::ReaderGone { location: self.location.clone() }),
            State::Closed if self.reconnect => {
                self.state = State::Opening(Opening::start(self.location.clone(), self.append)?);
                Ok(Some(Delivery::Dropped))
            }
            State::Closed => {
                self.state = State::Open(Output::open(&self.location, self.append, waker)?);
                Ok(None)
            }
            State::Opening(opening) => match opening.result() {
                None => Ok(Some(Delivery::Dropped)),
                Some(Ok(output)) => {
                    self.state = State::Open(output);
                    Ok(None)
                }
                // Still being tried.
                Some(Err(err @ OutputError::Connect { .. })) => Ok(Some(Delivery::Lost(err))),
                Some(Err(err)) => Err(err),
            },
        }
    }

    /// Writes what there still is of the line; an interruption may have left some.
    pub fn finish(&mut self, waker: &Waker) -> Result<(), OutputError> {
        let State::Open(output) = &self.state else { return Ok(()) };
        if self.written < self.line.len() && self.turn.is_none() {
            self.turn = output.turn(waker)?;
        }
        while self.written < self.line.len() {
            self.written += output.write(&self.line[self.written..], waker)?;
        }
        self.turn = None;
        Ok(())
    }
}

/// A thread that waits for somebody who reads.
#[derive(Debug)]
struct Opening {
    waker: Arc<Waker>,
    results: Receiver<Result<Output, OutputError>>,
}

impl Opening {
    fn start(location: Location, append: bool) -> Result<Self, OutputError> {
        let failed = |err| OutputError::Open { location: location.clone(), err };
        let waker = Arc::new(Waker::new().map_err(failed)?);
        let (sender, results) = mpsc::channel();
        let (ended, target) = (Arc::clone(&waker), location.clone());
        let open = move || {
            let mut said = false;
            loop {
                let opened = Output::open(&target, append, &ended);
                let refused = matches!(opened, Err(OutputError::Connect { .. }));
                // The first refusal is worth a warning; those that follow are the same.
                if !(refused && said) && sender.send(opened).is_err() {
                    return;
                }
                said = true;
                if !refused || ended.sleep(PAUSE).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("retinafacepublish".to_owned()).spawn(open).map_err(failed)?;
        Ok(Self { waker, results })
    }

    fn result(&self) -> Option<Result<Output, OutputError>> {
        match self.results.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(OutputError::Interrupted)),
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.waker.close();
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_broken_network_is_an_error_unless_the_element_reconnects() {
        let tcp = Location::Tcp { host: "localhost".to_owned(), port: 5000 };
        let device = Location::Path("/dev/null".into());
        for (location, reconnect, expected) in
            [(&tcp, true, true), (&tcp, false, false), (&device, true, false)]
        {
            let waker = Waker::new().unwrap();
            let destination = Destination::new(location.clone(), false, reconnect, &waker).unwrap();
            let err = io::ErrorKind::TimedOut.into();
            let err = OutputError::Write { location: location.clone(), err };
            assert_eq!(destination.looks_for_another_reader(&err), expected, "{location}");
        }
    }
}
