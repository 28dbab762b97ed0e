// SPDX-License-Identifier: MIT OR Apache-2.0

//! One library file, which should be ONNX Runtime.

use std::{
    error::Error as _,
    ffi::CStr,
    mem,
    path::{self, Path, PathBuf},
};

use libloading::os::unix;
use ort::sys::{ORT_API_VERSION, OrtApiBase};

use super::{
    maps,
    unwinder::{self, Binding},
};

/// ONNX Runtime, in a version that this plugin works with.
pub struct Library {
    pub path: PathBuf,
    /// Where its other libraries are, unless the system's loader finds them.
    pub folder: Option<PathBuf>,
    pub binding: Binding,
    /// 32 of 1.32.0.
    #[cfg_attr(not(feature = "nvidia"), expect(dead_code))]
    pub minor_version: Option<u32>,
}

/// What the system's loader says. libloading's own message is only that something failed.
pub fn loader_message(err: &libloading::Error) -> String {
    err.source().map_or_else(|| err.to_string(), ToString::to_string)
}

/// Loads the library at `path`, or where the system's loader finds it if that is a bare name; an
/// error says what is wrong with it.
pub fn load(path: &Path) -> Result<Library, String> {
    let shown = path.display();
    let binding = Binding::of_this_process();
    // SAFETY: runs the library's initialisers, as programs that are linked to it do.
    let handle = unsafe { unix::Library::open(Some(path), binding.flags()) };
    let handle = handle.map_err(|err| loader_message(&err))?;
    // SAFETY: onnxruntime_c_api.h declares it like this.
    let base =
        unsafe { handle.get::<unsafe extern "C" fn() -> *const OrtApiBase>(b"OrtGetApiBase\0") };
    let base =
        base.map_err(|err| format!("{shown} is not ONNX Runtime: {}", loader_message(&err)))?;
    let place = maps::file_at(*base as *const () as usize);
    // SAFETY: may be called at any time; what it points to stays as long as the library.
    let base = unsafe { base().as_ref() };
    let base =
        base.ok_or_else(|| format!("{shown} is not a usable ONNX Runtime: it has no API"))?;
    // SAFETY: these say what there is and change nothing; the version is a constant text.
    let (version, api) =
        unsafe { (CStr::from_ptr((base.GetVersionString)()), (base.GetApi)(ORT_API_VERSION)) };
    let version = version.to_string_lossy();
    if api.is_null() {
        return Err(format!(
            "{shown} is ONNX Runtime {version}, and 1.{ORT_API_VERSION} or newer is needed"
        ));
    }
    if let Some(place) = &place {
        unwinder::check(place).map_err(|why| format!("{shown} cannot be used here: {why}"))?;
    }
    // It has threads and is not made to be unloaded.
    mem::forget(handle);
    let minor_version = version.split('.').nth(1).and_then(|minor| minor.parse().ok());
    let (path, folder) = if path.components().count() == 1 {
        (place.unwrap_or_else(|| path.into()), None)
    } else {
        let path = path::absolute(path).map_err(|err| format!("{shown}: {err}"))?;
        let folder = path.parent().map(Path::to_owned);
        (path, folder)
    };
    Ok(Library { path, folder, binding, minor_version })
}
