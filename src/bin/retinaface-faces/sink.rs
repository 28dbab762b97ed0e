// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the program's output goes.

use std::{
    error::Error,
    fs::File,
    io::{self, IsTerminal, Write},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::Path,
    sync::Arc,
};

use super::{arguments::Arguments, input};

/// The standard output or a file, as text or JSON. It is opened once for all inputs.
pub struct Sink {
    /// `None`: the standard output.
    file: Option<Arc<File>>,
    json: bool,
}

impl Sink {
    /// Fails where the file cannot be written, or is one of the inputs.
    pub fn open(arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        let Arguments { output, json, inputs, .. } = arguments;
        let Some(path) = output else { return Ok(Self { file: None, json: *json }) };
        if inputs.iter().filter_map(|input| input::file(input)).any(|file| is_same(&file, path)) {
            return Err(format!("{}: is an input, and would be replaced", path.display()).into());
        }
        let file = File::create(path)
            .map_err(|err| format!("{}: cannot be written: {err}", path.display()))?;
        Ok(Self { file: Some(Arc::new(file)), json: *json })
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

/// Whether both are the same file, by whatever names.
fn is_same(one: &Path, other: &Path) -> bool {
    let number = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino()));
    matches!((number(one), number(other)), (Ok(one), Ok(other)) if one == other)
}
