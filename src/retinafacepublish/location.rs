// SPDX-License-Identifier: MIT OR Apache-2.0

//! Values of the property `location`.

use std::{
    fmt,
    os::fd::RawFd,
    path::{Path, PathBuf},
};

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// An open file descriptor of the process.
    Descriptor(RawFd),
    /// A file, a FIFO or a device.
    Path(PathBuf),
    /// A Unix socket of stream type that somebody listens at.
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
    },
}

/// The property `location` is not what it should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LocationError {
    #[error(
        "the location {0} begins with {1}://, but it must be a path, or begin with file://, fd://, \
         unix:// or tcp://; ./ before it makes it a path"
    )]
    Scheme(String, String),
    #[error("the location {0} must be {1}")]
    Form(String, &'static str),
}

const STDOUT: RawFd = 1;

impl Location {
    /// `-` is the standard output, what has no scheme a path.
    pub fn parse(text: &str) -> Result<Self, LocationError> {
        let uri = text.split_once("://").or_else(|| without_slashes(text));
        let Some((scheme, rest)) = uri else {
            return Ok(match text {
                "-" => Self::Descriptor(STDOUT),
                path => Self::Path(path.into()),
            });
        };
        let form = |form| LocationError::Form(text.to_owned(), form);
        match scheme {
            "file" => match glib::filename_from_uri(text) {
                Ok((path, None)) => Ok(Self::Path(path)),
                _ => Err(form("file:///PATH, with %20 for a space")),
            },
            "fd" => {
                let number = rest.parse().ok().filter(|&number: &RawFd| number >= 0);
                number.map(Self::Descriptor).ok_or_else(|| form("fd://NUMBER"))
            }
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => Err(form("unix:///PATH, with a path from the root")),
            "tcp" => tcp(rest).ok_or_else(|| {
                form("tcp://HOST:PORT, with a port from 1 to 65535 and brackets around an IPv6 address")
            }),
            path if path.contains('/') => Ok(Self::Path(text.into())),
            scheme => Err(LocationError::Scheme(text.to_owned(), scheme.to_owned())),
        }
    }

    /// Whether opening it may wait for somebody else.
    pub fn may_wait(&self) -> bool {
        match self {
            Self::Descriptor(_) => false,
            Self::Path(path) => is_fifo(path),
            Self::Unix(_) | Self::Tcp { .. } => true,
        }
    }
}

/// Scheme and nothing of what seems to be meant as a URI, and not as a file called `tcp:localhost:5000`.
fn without_slashes(text: &str) -> Option<(&str, &str)> {
    let (scheme, _) = text.split_once(':')?;
    ["fd", "file", "tcp", "unix"].contains(&scheme).then_some((scheme, ""))
}

pub fn is_fifo(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|file| file.file_type().is_fifo())
}

fn tcp(text: &str) -> Option<Location> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|&port| port > 0)?;
    (!host.is_empty()).then(|| Location::Tcp { host: host.to_owned(), port })
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Descriptor(STDOUT) => f.write_str("the standard output"),
            Self::Descriptor(number) => write!(f, "the file descriptor {number}"),
            Self::Path(path) => path.display().fmt(f),
            Self::Unix(path) => write!(f, "the socket {}", path.display()),
            Self::Tcp { host, port } => write!(f, "port {port} of {host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_paths_or_uris() {
        let tcp = |host: &str, port| Location::Tcp { host: host.to_owned(), port };
        for (text, expected) in [
            ("-", Location::Descriptor(1)),
            ("fd://7", Location::Descriptor(7)),
            ("faces.json", Location::Path("faces.json".into())),
            ("/tmp/a b", Location::Path("/tmp/a b".into())),
            ("./tcp://x", Location::Path("./tcp://x".into())),
            ("./tcp:x", Location::Path("./tcp:x".into())),
            ("at 10:30", Location::Path("at 10:30".into())),
            ("file:///tmp/a%20b", Location::Path("/tmp/a b".into())),
            ("file:/tmp/a%20b", Location::Path("/tmp/a b".into())),
            ("unix:///run/faces", Location::Unix("/run/faces".into())),
            ("tcp://localhost:5000", tcp("localhost", 5000)),
            ("tcp://[::1]:1", tcp("::1", 1)),
        ] {
            assert_eq!(Location::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("http://a/b", "begins with http://, but it must be a path"),
            ("fd://x", "must be fd://NUMBER"),
            ("fd://-1", "must be fd://NUMBER"),
            ("file://host/a", "must be file:///PATH"),
            ("unix://faces", "must be unix:///PATH"),
            ("unix:/run/faces", "must be unix:///PATH"),
            ("tcp://localhost", "must be tcp://HOST:PORT"),
            ("tcp:localhost:5000", "must be tcp://HOST:PORT"),
            ("tcp://localhost:0", "must be tcp://HOST:PORT"),
            ("tcp://localhost:65536", "must be tcp://HOST:PORT"),
            ("tcp://:5000", "must be tcp://HOST:PORT"),
            ("tcp://::1:5000", "brackets around an IPv6 address"),
        ] {
            let error = Location::parse(text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains(expected), "{error}");
        }
    }
}
