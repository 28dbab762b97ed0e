// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the program's output goes.

use std::{
    error::Error,
    fs::File,
    io::{self, IsTerminal, Write},
    os::fd::AsRawFd,
    path::Path,
    sync::Arc,
};

/// The standard output or a file, as text or JSON. It is opened once for all inputs.
pub struct Sink {
    /// `None`: the standard output.
    file: Option<Arc<File>>,
    json: bool,
}

impl Sink {
    pub fn open(path: Option<&Path>, json: bool) -> Result<Self, Box<dyn Error>> {
        let create = |path: &Path| {
            File::create(path)
                .map_err(|err| format!("{}: cannot be written: {err}", path.display()))
        };
        Ok(Self { file: path.map(create).transpose()?.map(Arc::new), json })
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The property `location` of the element that writes JSON.
    pub fn location(&self) -> String {
        match &self.file {
            Some(file) => format!("fd://{}", file.as_raw_fd()),
            None => "-".to_owned(),
        }
    }

    /// For text.
    pub fn writer(&self) -> Box<dyn Write + Send> {
        match &self.file {
            Some(file) => Box::new(Arc::clone(file)),
            None => Box::new(io::stdout()),
        }
    }

    /// Whether somebody watches the output as it is written.
    pub fn is_terminal(&self) -> bool {
        match &self.file {
            Some(file) => file.is_terminal(),
            None => io::stdout().is_terminal(),
        }
    }
}
