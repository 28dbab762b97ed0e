// SPDX-License-Identifier: MIT OR Apache-2.0

//! What an execution provider answers.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use crate::inference::{
    config::{Parallelism, Precision},
    error::{LoadError, ProviderError},
    library,
    network::{Loaded, Network},
    provider::Provider,
};

/// What there is to know of one execution provider.
pub trait ExecutionProvider: Sync {
    /// Which one this is.
    fn provider(&self) -> Provider;

    /// The name that its makers give it.
    fn name(&self) -> &'static str;

    /// The file that ONNX Runtime loads for it from its own folder; `None`: it is built in.
    fn library(&self) -> Option<&'static str> {
        None
    }

    /// Files of the same folder that this one loads in turn.
    fn loads(&self) -> &'static [&'static str] {
        &[]
    }

    /// All of these, in the order in which they may be loaded.
    fn libraries(&self) -> Vec<&'static str> {
        self.library().into_iter().chain(self.loads().iter().copied()).collect()
    }

    /// Whether ONNX Runtime, which is loaded, was built to use it.
    fn is_built(&self) -> bool {
        true
    }

    /// What to do where the file or ONNX Runtime's support is missing.
    fn remedy(&self) -> &'static str {
        ""
    }

    /// What to do where it fails for this reason, after a semicolon; empty where nobody knows.
    fn hint(&self, _why: &str) -> &'static str {
        ""
    }

    /// Checks for what it needs besides ONNX Runtime.
    fn find_dependencies(&self) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Checks that its files are there, and does not load ONNX Runtime for that. Whether they work,
    /// only a session can tell.
    fn find(&self) -> Result<(), ProviderError> {
        let provider = self.provider();
        let Some(library) = self.library() else { return Ok(()) };
        let is_loaded = library::is_loaded();
        match library::folder() {
            Some(folder) => {
                let path = folder.join(library);
                let library = path.display().to_string();
                match damage(&path) {
                    Ok(Some(why)) => return Err(ProviderError::Damaged { provider, library, why }),
                    Err(_) if !is_loaded || self.is_built() => {
                        return Err(ProviderError::Missing { provider, library });
                    }
                    _ => (),
                }
            }
            // Where the system's loader finds ONNX Runtime, it finds the rest as well. Loading ONNX
            // Runtime only to see whether there is a rest is not worth it without a device.
            None if !is_loaded && !self.has_device() => {
                return Err(ProviderError::Missing { provider, library: library.to_owned() });
            }
            None => (),
        }
        if is_loaded && !self.is_built() {
            return Err(ProviderError::NotBuilt { provider });
        }
        self.find_dependencies()
    }

    /// Whether this machine has what it computes on.
    fn has_device(&self) -> bool {
        true
    }

    /// Whether there is a device in this machine that nothing uses where this provider is missing.
    fn leaves_device_idle(&self) -> bool {
        false
    }

    /// The precisions it computes in, its default first.
    fn precisions(&self) -> &'static [Precision];

    fn default_precision(&self) -> Precision {
        self.precisions().first().copied().unwrap_or(Precision::Fp32)
    }

    /// Largest relative difference from the CPU's outputs (root of the sums of squares) that the
    /// precision explains.
    fn tolerance(&self, precision: Precision) -> f32;

    /// The threads of a session in which `runs` runs of `threads` threads each go on at once.
    fn parallelism(&self, _threads: usize, _runs: usize) -> Parallelism {
        Parallelism { threads: 1, streams: 1 }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Loads a network.
    fn load(&self, network: &Network) -> Result<Loaded, LoadError>;
}

/// How a provider is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether it is a part of ONNX Runtime.
    pub needs_onnxruntime: bool,
    /// Whether it takes frames as [pixels](crate::preprocess::Form::Pixels), because it is faster
    /// than the CPU at preprocessing; otherwise planes.
    pub takes_pixels: bool,
    /// Whether sessions are shared by elements and by workers, which run them at the same time.
    pub shares_sessions: bool,
    /// Frames in one run by default.
    pub batch: usize,
    /// Whether a network computes those frames together, and not one after another.
    pub batches: bool,
    /// When it may run a network as exported.
    pub as_exported: AsExported,
    /// Channels computed side by side: layers with fewer are filled up.
    pub lanes: usize,
    /// Input sizes for which a worker keeps its networks loaded, so that streams which go back and
    /// forth between sizes do not load them again and again.
    pub input_sizes: usize,
    /// Whether runs can be captured as CUDA graphs.
    pub cuda_graphs: bool,
    /// Takes over where this one has to build an engine first and may not, or cannot run a network.
    pub fallback: Option<Provider>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            needs_onnxruntime: true,
            takes_pixels: false,
            shares_sessions: true,
            batch: 1,
            batches: true,
            as_exported: AsExported::IfNotRewritable,
            lanes: 1,
            input_sizes: 4,
            cuda_graphs: false,
            fallback: None,
        }
    }
}

/// When a provider may run a network as exported instead of rewritten for its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsExported {
    /// Also where the rewritten network does not load.
    IfNotLoaded,
    IfNotRewritable,
    Never,
    /// Its fallback does.
    ByFallback,
}

/// Why a file is no shared library, if so.
fn damage(path: &Path) -> io::Result<Option<String>> {
    let mut start = Vec::new();
    File::open(path)?.take(4).read_to_end(&mut start)?;
    Ok(match start.as_slice() {
        b"\x7fELF" => None,
        [] => Some("an empty file".to_owned()),
        _ => Some("not a shared library".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_libraries_are_recognised() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("library.so");
        assert!(damage(&path).is_err(), "there is none");
        for (content, expected) in [
            (&b"\x7fELF\x02\x01"[..], None),
            (b"", Some("an empty file")),
            (b"\x7fEL", Some("not a shared library")),
            (b"version https://git-lfs", Some("not a shared library")),
        ] {
            std::fs::write(&path, content).expect("a file");
            assert_eq!(damage(&path).expect("a file").as_deref(), expected);
        }
    }
}
