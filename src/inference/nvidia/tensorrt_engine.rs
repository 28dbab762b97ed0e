// SPDX-License-Identifier: MIT OR Apache-2.0

//! TensorRT's engines: files that take minutes to build and are kept in a cache folder.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::OnceLock,
    time::Instant,
};

use libloading::Library;
use ort::logging::LogLevel;
use sha2::{Digest, Sha256};

use super::Gpu;
use crate::{
    inference::{
        config::Precision,
        error::{LoadError, ProviderError},
        event::Event,
        library::loader_message,
        network::Network,
    },
    model::InputSpec,
};

/// TensorRT's library, by the versions that ONNX Runtime has been built for.
const LIBRARIES: [&str; 3] = ["libnvinfer.so.10", "libnvinfer.so.11", "libnvinfer.so.8"];
const VERSION: &[u8] = b"getInferLibVersion\0";

/// TensorRT's version as it says it: 10·10⁴ + 3·10² + 1 for 10.3.1; an error says why there is none.
pub fn version() -> Result<i32, &'static str> {
    // Kept, as loading it again would take its time.
    static TENSORRT: OnceLock<Result<(Library, i32), String>> = OnceLock::new();
    let load = || {
        let mut refusals = Vec::new();
        for name in LIBRARIES {
            // SAFETY: NVIDIA's library does nothing when loaded, as ONNX Runtime's provider loads it
            // too. NvInferRuntimeBase.h declares the function like this; it may be called at any time.
            let loaded = unsafe {
                Library::new(name).and_then(|library| {
                    let version = library.get::<unsafe extern "C" fn() -> i32>(VERSION)?();
                    Ok((library, version))
                })
            };
            match loaded {
                Ok(loaded) => return Ok(loaded),
                Err(err) => refusals.push(loader_message(&err)),
            }
        }
        Err(refusals.join("; "))
    };
    TENSORRT.get_or_init(load).as_ref().map(|(_, version)| *version).map_err(String::as_str)
}

/// The folders that ONNX Runtime is to use.
pub struct Cache<'a> {
    /// For the engine.
    pub engine: &'a Path,
    /// For what TensorRT has measured of the GPU, which all engines share.
    pub timings: &'a Path,
}

/// Loads a network with the engine in its cache, or builds one where `config` allows that. `load`
/// does both, according to what is in the cache.
pub fn load_or_build(
    network: &Network,
    gpu: &Gpu,
    load: impl Fn(Option<Cache>) -> Result<ort::session::Session, LoadError>,
) -> Result<ort::session::Session, LoadError> {
    let place = match &network.config.tensorrt_cache {
        Some(cache) => Some(Place::new(cache, network, gpu)?),
        None => None,
    };
    if let Some(place) = place.as_ref().filter(|place| place.is_built()) {
        match load(Some(place.cache(&place.folder))) {
            Ok(session) => return Ok(session),
            Err(err) => {
                let folder = place.folder.display();
                let broken = format!("The TensorRT engine in {folder} does not load: {err}");
                (network.on_event)(Event::Log(LogLevel::Warning, &broken));
                place.discard();
            }
        }
    }
    build(network, place.as_ref(), load)
}

fn build(
    network: &Network,
    place: Option<&Place>,
    load: impl Fn(Option<Cache>) -> Result<ort::session::Session, LoadError>,
) -> Result<ort::session::Session, LoadError> {
    if !network.config.tensorrt_build {
        return Err(ProviderError::NoEngine.into());
    }
    let draft = place.and_then(|place| {
        let not_kept = |err| {
            let folder = place.folder.display();
            let not_kept = format!("Cannot keep the TensorRT engine in {folder}: {err}");
            (network.on_event)(Event::Log(LogLevel::Warning, &not_kept));
        };
        place.draft().map_err(not_kept).ok()
    });
    (network.on_event)(Event::BuildStarted(network.spec));
    let start = Instant::now();
    let cache = place.zip(draft.as_ref()).map(|(place, draft)| place.cache(&draft.folder));
    let session = load(cache);
    let built = session.as_ref().map(|_| ());
    (network.on_event)(Event::BuildFinished(start.elapsed(), built));
    if let Some(draft) = draft.filter(|_| session.is_ok()) {
        draft.publish();
    }
    session
}

/// Where the engine for one network, input, GPU and version is kept.
#[derive(Debug)]
struct Place {
    /// Has the engine from when it is complete.
    folder: PathBuf,
    timings: PathBuf,
}

impl Place {
    /// Within the folder `cache`.
    fn new(cache: &Path, network: &Network, gpu: &Gpu) -> Result<Self, ProviderError> {
        let Network { config, file, spec, .. } = network;
        let device = gpu.name().map_err(|err| config.refused(&format!("{err:?}")))?;
        let versions = format!("{:?} {}", version().ok(), ort::info());
        Ok(Self::named(cache, file, spec, config.precision, &device, &versions))
    }

    fn named(
        cache: &Path,
        file: &[u8],
        spec: &InputSpec,
        precision: Precision,
        device: &str,
        versions: &str,
    ) -> Self {
        let hash = Sha256::new().chain_update(file).chain_update(versions).finalize();
        let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let (width, height) = spec.size;
        let name = format!("{width}x{height}x{}-{precision}-{device}-{hash}", spec.batch);
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let timings = cache.join("timings");
        Self { folder: cache.join(name.chars().map(plain).collect::<String>()), timings }
    }

    /// With the engine in `engine`.
    fn cache<'a>(&'a self, engine: &'a Path) -> Cache<'a> {
        Cache { engine, timings: &self.timings }
    }

    fn is_built(&self) -> bool {
        self.folder.is_dir()
    }

    /// Removes an engine that does not load.
    fn discard(&self) {
        // What stays is found not to load again.
        let _ = fs::remove_dir_all(&self.folder);
    }

    /// A folder to build the engine in.
    fn draft(&self) -> io::Result<Draft> {
        let mut folder = self.folder.clone().into_os_string();
        folder.push(format!(".{}", process::id()));
        let folder = PathBuf::from(folder);
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(&self.timings)?;
        Ok(Draft { folder, target: self.folder.clone() })
    }
}

/// Where an engine is built, so that nobody takes half an engine for a whole one. Removed when
/// dropped.
#[derive(Debug)]
struct Draft {
    folder: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// Moves the engine to its place in the cache, unless another process was faster.
    fn publish(self) {
        // Without it, the next start builds again.
        let _ = fs::rename(&self.folder, &self.target);
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone where it was moved.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(cache: &Path, spec: &InputSpec, device: &str, versions: &str) -> Place {
        Place::named(cache, b"network", spec, Precision::Fp16, device, versions)
    }

    #[test]
    fn engines_are_kept_apart() {
        let cache = Path::new("cache");
        let spec = InputSpec::new((640, 480), &[8]);
        let places = [
            place(cache, &spec, "Orin sm87", "10.3"),
            place(cache, &InputSpec { batch: 4, ..spec.clone() }, "Orin sm87", "10.3"),
            place(cache, &InputSpec::new((480, 640), &[8]), "Orin sm87", "10.3"),
            place(cache, &spec, "NVIDIA H200 sm90", "10.3"),
            place(cache, &spec, "Orin sm87", "8.6"),
            Place::named(cache, b"other", &spec, Precision::Fp16, "Orin sm87", "10.3"),
            Place::named(cache, b"network", &spec, Precision::Fp32, "Orin sm87", "10.3"),
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
        let spec = InputSpec::new((640, 480), &[8]);
        let place = place(cache.path(), &spec, "Orin sm87", "10.3");
        let abandoned = place.draft().expect("a folder");
        assert!(abandoned.folder.is_dir() && place.timings.is_dir() && !place.is_built());
        drop(abandoned);
        assert!(!place.is_built());

        let draft = place.draft().expect("a folder");
        fs::write(draft.folder.join("an.engine"), "engine").expect("a file");
        let late = Draft { folder: cache.path().join("late"), target: place.folder.clone() };
        fs::create_dir(&late.folder).expect("a folder");
        draft.publish();
        assert!(place.is_built() && place.folder.join("an.engine").is_file());
        late.publish();
        assert!(place.folder.join("an.engine").is_file());
        let left = fs::read_dir(cache.path()).expect("a folder").count();
        assert_eq!(left, 2, "the engine and the timings");
        place.discard();
        assert!(!place.is_built());
    }
}
