// SPDX-License-Identifier: MIT OR Apache-2.0

//! Finding and loading the ONNX Runtime library, once a process.

use std::{
    env,
    path::{self, Path, PathBuf},
    sync::{Arc, OnceLock},
};

use once_cell::sync::OnceCell;
use ort::{environment::Environment, logging::LogLevel};
use thiserror::Error;

/// ONNX Runtime cannot be used.
#[derive(Clone, Debug, Error)]
pub enum LibraryError {
    #[error(
        "ONNX Runtime was not found ({}). Run scripts/setup of gst-plugin-retinaface, or install \
         ONNX Runtime 1.17 or newer and set the environment variable ORT_DYLIB_PATH to its \
         libonnxruntime.so",
        .0.join("; ")
    )]
    NotFound(Vec<String>),
    #[error("ONNX Runtime cannot be initialised: {0}")]
    Environment(String),
}

/// Where a message of ONNX Runtime goes.
pub type Log = fn(LogLevel, &str);

static ENVIRONMENT: OnceCell<Environment> = OnceCell::new();
static FOLDER: OnceLock<PathBuf> = OnceLock::new();
static PLUGIN_FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Microsoft's builds of ONNX Runtime 1.31 and newer report every process that uses them to Microsoft
/// and write an identifier into the user's cache folder, before their API can turn that off. This
/// turns it off where the user has not decided. Call it before other threads start: it sets an
/// environment variable, as there is no other way.
pub fn decline_telemetry() {
    const VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
    if env::var_os(VARIABLE).is_none() {
        // SAFETY: plugins are loaded when an application builds its pipelines, once; what an
        // application reads of its environment it has read, or reads in the same thread.
        unsafe { env::set_var(VARIABLE, "1") };
    }
}

/// Sets the folder of the plugin file, where ONNX Runtime is searched first.
pub fn set_plugin_folder(folder: &Path) {
    // A plugin is in one place: the first call is right.
    let _ = PLUGIN_FOLDER.set(folder.to_owned());
}

/// The environment of this process; loads the library if that has not been done. May be tried again
/// after a failure.
pub fn environment(log: Log) -> Result<&'static Environment, LibraryError> {
    ENVIRONMENT.get_or_try_init(|| {
        let mut refusals = Vec::new();
        for candidate in candidates() {
            match ort::init_from(&candidate) {
                Ok(builder) => {
                    // A bare name went to the system's loader.
                    let named = candidate.components().count() > 1;
                    if let Some(path) = named.then(|| path::absolute(&candidate).ok()).flatten()
                        && let Some(folder) = path.parent()
                    {
                        // Set once, as the library is loaded once.
                        let _ = FOLDER.set(folder.to_owned());
                    }
                    return builder
                        .with_name("gst-plugin-retinaface")
                        .with_telemetry(false)
                        .with_logger(Arc::new(move |level, _, _, _, message| log(level, message)))
                        .build()
                        .map_err(|err| LibraryError::Environment(err.to_string()));
                }
                Err(err) => refusals.push(err.to_string()),
            }
        }
        Err(LibraryError::NotFound(refusals))
    })
}

/// Where the library was loaded from, unless the system's loader found it.
pub(super) fn folder() -> Option<&'static Path> {
    FOLDER.get().map(PathBuf::as_path)
}

/// Files to try, in order. A library that the user names is the only one.
fn candidates() -> Vec<PathBuf> {
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return vec![path.into()];
    }
    let setup = Path::new(env!("RETINAFACE_ONNXRUNTIME"));
    let folders = PLUGIN_FOLDER.get().map(PathBuf::as_path).into_iter().chain([setup]);
    let mut candidates: Vec<_> = folders.filter_map(library_in).collect();
    candidates.extend(["libonnxruntime.so", "libonnxruntime.so.1"].map(PathBuf::from));
    candidates
}

/// `libonnxruntime.so` in `folder`, or the highest of its versioned names, such as
/// `libonnxruntime.so.1.32.0`.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join("libonnxruntime.so");
    if plain.exists() {
        return Some(plain);
    }
    let versioned = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libonnxruntime.so.")
    };
    folder.read_dir().ok()?.flatten().map(|entry| entry.path()).filter(versioned).max()
}
