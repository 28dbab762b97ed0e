// SPDX-License-Identifier: MIT OR Apache-2.0

//! Finding and loading the ONNX Runtime library, once a process.

mod file;
mod maps;
mod places;
mod provider;
mod unwinder;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use once_cell::sync::OnceCell;
use ort::{environment::Environment, logging::LogLevel, session::builder::SessionBuilder};
use thiserror::Error;

#[cfg(feature = "nvidia")]
pub use self::file::loader_message;
use self::{file::Library, places::Place, unwinder::Binding};

/// ONNX Runtime cannot be used.
#[derive(Clone, Debug, Error)]
pub enum LibraryError {
    /// With the places where it is not.
    #[error("ONNX Runtime was not found {}. {REMEDY}", .0.join(" or "))]
    NotFound(Vec<String>),
    #[error("ONNX Runtime cannot be used: {}. {REMEDY}", .0.join("; "))]
    Unusable(Vec<String>),
    #[error("ONNX Runtime cannot be initialised: {0}")]
    Environment(String),
}

const REMEDY: &str = "Run scripts/setup of gst-plugin-retinaface, or install ONNX Runtime 1.17 or \
                      newer and set the environment variable ORT_DYLIB_PATH to its \
                      libonnxruntime.so";

/// Where a message of ONNX Runtime goes.
pub type Log = fn(LogLevel, &str);

static ENVIRONMENT: OnceCell<Environment> = OnceCell::new();
static LIBRARY: OnceLock<Library> = OnceLock::new();

/// The environment of this process; loads the library if that has not been done. May be tried again
/// after a failure.
pub fn environment(log: Log) -> Result<&'static Environment, LibraryError> {
    ENVIRONMENT.get_or_try_init(|| {
        let library = find(log)?;
        // A library that is loaded already is the one that ort gets.
        let builder = ort::init_from(&library.path);
        let builder = builder.map_err(|err| LibraryError::Environment(err.to_string()))?;
        // Set once, as the library is loaded once.
        let _ = LIBRARY.set(library);
        builder
            .with_name("gst-plugin-retinaface")
            .with_telemetry(false)
            .with_logger(Arc::new(move |level, _, _, _, message| log(level, message)))
            .build()
            .map_err(|err| LibraryError::Environment(err.to_string()))
    })
}

/// Whether this process has loaded the library.
pub fn is_loaded() -> bool {
    ENVIRONMENT.get().is_some()
}

/// 32 if the library is 1.32.0; `None` before it is loaded.
#[cfg(feature = "nvidia")]
pub(super) fn minor_version() -> Option<u32> {
    LIBRARY.get()?.minor_version
}

/// Where the library was loaded from, or is going to be, unless the system's loader finds it.
pub(super) fn folder() -> Option<PathBuf> {
    match LIBRARY.get() {
        Some(library) => library.folder.clone(),
        None => places::folder(),
    }
}

/// To be called before a session gets a provider that needs these libraries from ONNX Runtime's folder;
/// an error says why it cannot work in this process.
pub(super) fn load_for_provider(
    builder: &mut SessionBuilder,
    libraries: &[&str],
) -> Result<(), String> {
    match LIBRARY.get() {
        Some(Library { path, binding: Binding::Own, .. }) => {
            provider::load(builder, path.parent().unwrap_or(path), libraries)
        }
        _ => Ok(()),
    }
}

/// The first library that can be used.
fn find(log: Log) -> Result<Library, LibraryError> {
    let (mut missing, mut unusable) = (Vec::new(), Vec::<String>::new());
    let mut system = None;
    for place in places::places() {
        let found = match &place {
            Place::Named(path) => file::load(path).map(Some),
            Place::Folder { folder, root } => match places::library_in(folder, root) {
                Ok(Some(path)) => file::load(&path).map(Some),
                Ok(None) => {
                    missing.push(format!("in {}", folder.display()));
                    Ok(None)
                }
                Err(why) => Err(why),
            },
            // The loader's message begins with what it has not found.
            Place::System(name) => match file::load(name.as_ref()) {
                Err(why) if why.starts_with(&format!("{name}: ")) => {
                    // It says the same of every name.
                    system.get_or_insert_with(|| format!("where the system looks ({why})"));
                    Ok(None)
                }
                loaded => loaded.map(Some),
            },
        };
        match found {
            Ok(Some(library)) => {
                unusable.iter().for_each(|why| log(LogLevel::Warning, why));
                return Ok(library);
            }
            Ok(None) => (),
            Err(why) => unusable.push(why),
        }
    }
    Err(if unusable.is_empty() {
        missing.extend(system);
        LibraryError::NotFound(missing)
    } else {
        LibraryError::Unusable(unusable)
    })
}
