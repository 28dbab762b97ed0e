// SPDX-License-Identifier: MIT OR Apache-2.0

//! TensorRT's engines: built for minutes, kept in a folder of the user's.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
};

use libloading::Library;
use sha2::{Digest, Sha256};

use super::{Precision, gpu::Stream};
use crate::model::InputSpec as Task;

/// Versions of TensorRT that ONNX Runtime has been built for.
pub const LIBRARIES: [&str; 3] = ["libnvinfer.so.10", "libnvinfer.so.11", "libnvinfer.so.8"];

/// TensorRT's version as it tells it: 10·10⁴ + 3·10² + 1 for 10.3.1. `None`: not installed.
pub fn version() -> Option<i32> {
    // Kept, as loading it again would take its time.
    static TENSORRT: OnceLock<Option<(Library, i32)>> = OnceLock::new();
    let load = || {
        // SAFETY: NVIDIA's library does nothing when loaded, as ONNX Runtime's provider loads it too.
        let library = LIBRARIES.into_iter().find_map(|name| unsafe { Library::new(name) }.ok())?;
        // SAFETY: NvInferRuntimeBase.h declares it like this, and it may be called at any time.
        let version = unsafe {
            library.get::<unsafe extern "C" fn() -> i32>(b"getInferLibVersion\0").ok()?()
        };
        Some((library, version))
    };
    TENSORRT.get_or_init(load).as_ref().map(|(_, version)| *version)
}

/// Where the engine for one network, task, GPU and version is kept.
#[derive(Debug)]
pub struct Place {
    /// Has the engine from when it is complete.
    pub folder: PathBuf,
    /// What TensorRT has learnt of the GPU, for all engines.
    pub timings: PathBuf,
}

impl Place {
    /// Within `cache`, for the network `file` rewritten for `task`.
    pub fn new(
        cache: &Path,
        file: &[u8],
        task: &Task,
        precision: Precision,
        stream: &Stream,
    ) -> Result<Self, String> {
        let device = stream.device_name().map_err(|err| format!("{err:?}"))?;
        let versions = format!("{:?} {}", version(), ort::info());
        Ok(Self::named(cache, file, task, precision, &device, &versions))
    }

    fn named(
        cache: &Path,
        file: &[u8],
        task: &Task,
        precision: Precision,
        device: &str,
        versions: &str,
    ) -> Self {
        let hash = Sha256::new().chain_update(file).chain_update(versions).finalize();
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let (width, height) = task.size;
        let precision = format!("{precision:?}").to_lowercase();
        let name = format!("{width}x{height}x{}-{precision}-{device}-{hash}", task.batch);
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let timings = cache.join("timings");
        Self { folder: cache.join(name.chars().map(plain).collect::<String>()), timings }
    }

    pub fn is_built(&self) -> bool {
        self.folder.is_dir()
    }

    /// Removes an engine that does not serve.
    pub fn discard(&self) {
        // What stays is found not to serve again.
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// A folder to build the engine in.
    pub fn workshop(&self) -> io::Result<Workshop> {
        let mut folder = self.folder.clone().into_os_string();
        folder.push(format!(".{}", process::id()));
        let folder = PathBuf::from(folder);
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(&self.timings)?;
        Ok(Workshop { folder, target: self.folder.clone() })
    }
}

/// Where an engine is built, so that nobody takes half an engine for a whole one. Removed when
/// dropped.
#[derive(Debug)]
pub struct Workshop {
    pub folder: PathBuf,
    target: PathBuf,
}

impl Workshop {
    /// Puts the engine where it belongs, unless somebody else was faster.
    pub fn finish(self) {
        // Without it, the next start builds again.
        let _ = fs::rename(&self.folder, &self.target);
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // Gone where it was moved.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(cache: &Path, task: &Task, device: &str, versions: &str) -> Place {
        Place::named(cache, b"network", task, Precision::Auto, device, versions)
    }

    #[test]
    fn engines_are_kept_apart() {
        let cache = Path::new("cache");
        let task = Task::new((640, 480), &[8]);
        let places = [
            place(cache, &task, "Orin sm87", "10.3"),
            place(cache, &Task { batch: 4, ..task.clone() }, "Orin sm87", "10.3"),
            place(cache, &Task::new((480, 640), &[8]), "Orin sm87", "10.3"),
            place(cache, &task, "NVIDIA H200 sm90", "10.3"),
            place(cache, &task, "Orin sm87", "8.6"),
            Place::named(cache, b"other", &task, Precision::Auto, "Orin sm87", "10.3"),
            Place::named(cache, b"network", &task, Precision::Fp32, "Orin sm87", "10.3"),
        ];
        for (index, place) in places.iter().enumerate() {
            let name = place.folder.file_name().and_then(|name| name.to_str()).expect("a name");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)), "{name}");
            assert_eq!(place.folder.parent(), Some(cache));
            assert!(places[..index].iter().all(|other| other.folder != place.folder), "{name}");
        }
    }

    #[test]
    fn an_engine_is_there_once_it_is_complete() {
        let cache = tempfile::tempdir().expect("a folder");
        let task = Task::new((640, 480), &[8]);
        let place = place(cache.path(), &task, "Orin sm87", "10.3");
        let given_up = place.workshop().expect("a folder");
        assert!(given_up.folder.is_dir() && place.timings.is_dir() && !place.is_built());
        drop(given_up);
        assert!(!place.is_built());

        let workshop = place.workshop().expect("a folder");
        fs::write(workshop.folder.join("an.engine"), "engine").expect("a file");
        let late = Workshop { folder: cache.path().join("late"), target: place.folder.clone() };
        fs::create_dir(&late.folder).expect("a folder");
        workshop.finish();
        assert!(place.is_built() && place.folder.join("an.engine").is_file());
        late.finish();
        assert!(place.folder.join("an.engine").is_file());
        let left = fs::read_dir(cache.path()).expect("a folder").count();
        assert_eq!(left, 2, "the engine and the timings");
        place.discard();
        assert!(!place.is_built());
    }
}
