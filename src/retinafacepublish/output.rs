// SPDX-License-Identifier: MIT OR Apache-2.0

//! Open files, pipes and sockets, written in such a way that a [`Waker`] ends every wait.

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
        unix::fs::FileTypeExt,
    },
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{FileType, Mode, OFlags, fstat, open},
    io::{Errno, fcntl_dupfd_cloexec, write},
    net::{
        AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, addr::SocketAddrArg,
        connect, send, socket_with, sockopt,
    },
    pipe::PIPE_BUF,
};

use super::{
    location::{Location, is_fifo},
    sigpipe::without_sigpipe,
    turns::{PipeId, Turn},
    waker::{Interrupted, Waker},
};

/// Between two looks whether somebody reads a FIFO, of which nothing tells.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error("interrupted")]
    Interrupted,
    #[error("cannot write to {location}, which is not open: {err}")]
    Descriptor { location: Location, err: io::Error },
    #[error("cannot open {location} for writing: {err}")]
    Open { location: Location, err: io::Error },
    #[error("{path} is a socket: location=unix://{path} connects to it")]
    IsSocket { path: String },
    #[error("cannot connect to {location}: {err}; a program has to listen there")]
    Connect { location: Location, err: io::Error },
    #[error("nobody reads {location} any more")]
    ReaderGone { location: Location },
    #[error("cannot write to {location}: {err}")]
    Write { location: Location, err: io::Error },
}

impl From<Interrupted> for OutputError {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl OutputError {
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Write { err, .. } if err.kind() == io::ErrorKind::StorageFull)
    }
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Takes all at once.
    File,
    /// Or a device. It may be shared with other processes, so that it cannot be made not to block.
    Pipe,
    Socket,
}

#[derive(Debug)]
pub struct Output {
    location: Location,
    fd: OwnedFd,
    kind: Kind,
    /// `None` for a file, which takes a line in one piece.
    pipe: Option<PipeId>,
}

impl Output {
    /// Waits for somebody to read a FIFO and for a connection. A file is emptied, unless what is written
    /// is to be appended.
    pub fn open(location: &Location, append: bool, waker: &Waker) -> Result<Self, OutputError> {
        let fd = match location {
            Location::Descriptor(number) => duplicate(*number).map_err(|err| {
                OutputError::Descriptor { location: location.clone(), err: err.into() }
            })?,
            Location::Path(path) => open_path(path, append, waker)?,
            Location::Unix(_) | Location::Tcp { .. } => {
                let failed = |err| OutputError::Connect { location: location.clone(), err };
                connect_to(location, waker)?.map_err(failed)?
            }
        };
        let stat = fstat(&fd).ok();
        let kind = match stat.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Some(FileType::RegularFile) => Kind::File,
            Some(FileType::Socket) => Kind::Socket,
            _ => Kind::Pipe,
        };
        let pipe = stat.filter(|_| kind != Kind::File);
        let pipe = pipe.map(|stat| PipeId(stat.st_dev, stat.st_ino));
        Ok(Self { location: location.clone(), fd, kind, pipe })
    }

    /// Waits for the turn to write a line, where that takes several pieces.
    pub fn turn(&self, waker: &Waker) -> Result<Option<Turn>, OutputError> {
        Ok(self.pipe.map(|pipe| Turn::take(pipe, waker)).transpose()?)
    }

    /// Writes some of `bytes`, once that is possible: how many.
    pub fn write(&self, bytes: &[u8], waker: &Waker) -> Result<usize, OutputError> {
        loop {
            let written = match self.kind {
                Kind::File => write(&self.fd, bytes),
                Kind::Pipe => {
                    waker.wait_writable(self.fd.as_fd())?;
                    // So much never blocks now.
                    let bytes = &bytes[..bytes.len().min(PIPE_BUF)];
                    without_sigpipe(|| write(&self.fd, bytes))
                }
                Kind::Socket => {
                    waker.wait_writable(self.fd.as_fd())?;
                    send(&self.fd, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
                }
            };
            let location = || self.location.clone();
            match written {
                // Nothing written, of a device, is no success either.
                Ok(0) if !bytes.is_empty() => {
                    let err = io::ErrorKind::WriteZero.into();
                    return Err(OutputError::Write { location: location(), err });
                }
                Ok(count) => return Ok(count),
                Err(Errno::INTR | Errno::AGAIN) => (),
                Err(Errno::PIPE | Errno::CONNRESET) => {
                    return Err(OutputError::ReaderGone { location: location() });
                }
                Err(err) => {
                    return Err(OutputError::Write { location: location(), err: err.into() });
                }
            }
        }
    }
}

/// So that it stays open for as long as we need it, and closing ours leaves the other open.
fn duplicate(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: only used for this call, which looks whether it is open.
    fcntl_dupfd_cloexec(unsafe { BorrowedFd::borrow_raw(number) }, 0)
}

fn open_path(path: &Path, append: bool, waker: &Waker) -> Result<OwnedFd, OutputError> {
    let existing = if append { OFlags::empty() } else { OFlags::TRUNC };
    // Without NONBLOCK, nothing could end the wait for somebody to read a FIFO; without APPEND, elements
    // that write to the same file would overwrite each other's lines.
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        | OFlags::NONBLOCK
        | OFlags::APPEND;
    loop {
        match open(path, flags | existing, Mode::from_raw_mode(0o666)) {
            Ok(fd) => return Ok(fd),
            Err(Errno::INTR) => (),
            Err(Errno::NXIO) if is_fifo(path) => waker.sleep(PAUSE)?,
            Err(_) if path.metadata().is_ok_and(|file| file.file_type().is_socket()) => {
                return Err(OutputError::IsSocket { path: path.display().to_string() });
            }
            Err(err) => {
                let location = Location::Path(path.to_owned());
                return Err(OutputError::Open { location, err: err.into() });
            }
        }
    }
}

/// Looking up the name of a host is the only wait that a waker does not end.
fn connect_to(
    location: &Location,
    waker: &Waker,
) -> Result<Result<OwnedFd, io::Error>, Interrupted> {
    let addresses = match location {
        Location::Tcp { host, port } => match (host.as_str(), *port).to_socket_addrs() {
            Ok(addresses) => addresses,
            Err(err) => return Ok(Err(err)),
        },
        Location::Unix(path) => {
            let address = SocketAddrUnix::new(path);
            return match address {
                Ok(address) => connect_socket(AddressFamily::UNIX, &address, waker),
                Err(err) => Ok(Err(err.into())),
            };
        }
        _ => return Ok(Err(io::ErrorKind::Unsupported.into())),
    };
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        match connect_socket(family, &address, waker)? {
            Ok(fd) => {
                // Each line at once. Whoever refuses this still connects.
                let _ = sockopt::set_tcp_nodelay(&fd, true);
                return Ok(Ok(fd));
            }
            Err(err) => last = err,
        }
    }
    Ok(Err(last))
}

fn connect_socket(
    family: AddressFamily,
    address: &impl SocketAddrArg,
    waker: &Waker,
) -> Result<Result<OwnedFd, io::Error>, Interrupted> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let fd = match socket_with(family, SocketType::STREAM, flags, None) {
        Ok(fd) => fd,
        Err(err) => return Ok(Err(err.into())),
    };
    loop {
        return match connect(&fd, address) {
            Ok(()) => Ok(Ok(fd)),
            Err(Errno::INPROGRESS | Errno::INTR) => {
                waker.wait_writable(fd.as_fd())?;
                let result = sockopt::socket_error(&fd).and_then(|result| result);
                Ok(result.map(|()| fd).map_err(io::Error::from))
            }
            // As many wait for the listener of a Unix socket as can.
            Err(Errno::AGAIN) => {
                waker.sleep(PAUSE)?;
                continue;
            }
            Err(err) => Ok(Err(err.into())),
        };
    }
}
