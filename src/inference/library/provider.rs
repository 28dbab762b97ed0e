// SPDX-License-Identifier: MIT OR Apache-2.0

//! Libraries that ONNX Runtime loads for execution providers, where it must not load them itself: in
//! processes in which exceptions need [`Binding::Own`].

use std::{ffi::c_void, mem, path::Path, ptr};

use libloading::os::unix;
use ort::{AsPointer, ortsys, session::builder::SessionBuilder};

use super::unwinder::{self, Binding};

const NO_HOST: &str = "it does not work in a process that has loaded other libraries before GStreamer \
                       (in Python, import gi before numpy and cv2)";

/// Loads these from `folder` ahead of ONNX Runtime, which then takes what is there. One that is missing
/// or does not load is left to it.
pub fn load(builder: &mut SessionBuilder, folder: &Path, libraries: &[&str]) -> Result<(), String> {
    provide_host(builder, folder)?;
    for library in libraries.iter().map(|name| folder.join(name)) {
        // SAFETY: runs the library's initialisers; what they need of ONNX Runtime is there.
        if let Ok(handle) = unsafe { unix::Library::open(Some(&library), Binding::Own.flags()) } {
            mem::forget(handle);
            let file = library.canonicalize().unwrap_or(library);
            unwinder::check(&file).map_err(|why| format!("{}: {why}", file.display()))?;
        }
    }
    Ok(())
}

/// Makes ONNX Runtime's side known to libraries of providers, which they use when they are loaded. It
/// does so before it loads the first of them, even where that turns out to be missing.
fn provide_host(builder: &mut SessionBuilder, folder: &Path) -> Result<(), String> {
    // No build of ONNX Runtime for NVIDIA's or Intel's hardware has AMD's provider.
    if !folder.join("libonnxruntime_providers_migraphx.so").exists() {
        let options = builder.ptr_mut();
        let append = || -> Result<(), ort::Error> {
            // SAFETY: the provider's options are not looked at, as it does not load.
            ortsys![unsafe SessionOptionsAppendExecutionProvider_MIGraphX(options, ptr::null())?];
            Ok(())
        };
        // It fails, after it has done what it is for.
        let _ = append();
    }
    let global = unix::Library::this();
    // SAFETY: libonnxruntime_providers_shared.so defines it like this; it returns a pointer that it has.
    let host = unsafe {
        global
            .get::<unsafe extern "C" fn() -> *const c_void>(b"Provider_GetHost\0")
            .map(|host| host())
    };
    match host {
        Ok(host) if !host.is_null() => Ok(()),
        _ => Err(NO_HOST.to_owned()),
    }
}
