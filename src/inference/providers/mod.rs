// SPDX-License-Identifier: MIT OR Apache-2.0

//! ONNX Runtime's execution providers: a trait, a file for each, and one list.

use std::{fmt, fs::File, io, io::Read, ops::Deref, path::Path};

use ort::{
    environment::Environment,
    ep::ExecutionProviderDispatch,
    session::builder::{GraphOptimizationLevel, SessionBuilder},
};

use super::{
    config::{Config, Precision},
    device::Device,
    event::Event,
    library,
};
use crate::model::InputSpec;

mod cpu;
#[cfg(feature = "nvidia")]
mod cuda;
mod error;
#[cfg(not(feature = "nvidia"))]
mod left_out;
mod openvino;
#[cfg(feature = "nvidia")]
mod tensorrt;

pub use error::{LoadError, ProviderError};

/// An execution provider; what it can do is in its [`ExecutionProvider`], by dereferencing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    TensorRt,
    Cuda,
    OpenVino,
    Cpu,
}

impl Provider {
    /// All of them, in the order in which they are tried. The CPU always works.
    pub const ALL: [Self; 4] = [Self::TensorRt, Self::Cuda, Self::OpenVino, Self::Cpu];
}

impl Deref for Provider {
    type Target = dyn ExecutionProvider;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Cpu => &cpu::Cpu,
            Self::OpenVino => &openvino::OpenVino,
            #[cfg(feature = "nvidia")]
            Self::Cuda => &cuda::Cuda,
            #[cfg(feature = "nvidia")]
            Self::TensorRt => &tensorrt::TensorRt,
            #[cfg(not(feature = "nvidia"))]
            Self::Cuda => &left_out::LeftOut { provider: Self::Cuda, name: "CUDA" },
            #[cfg(not(feature = "nvidia"))]
            Self::TensorRt => &left_out::LeftOut { provider: Self::TensorRt, name: "TensorRT" },
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

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

    /// Whether ONNX Runtime was built to use it.
    fn is_built(&self) -> bool {
        true
    }

    /// What to do where ONNX Runtime's part of it is missing.
    fn remedy(&self) -> &'static str;

    /// What to do where it fails for this reason, after a semicolon; empty where nobody knows.
    fn hint(&self, _why: &str) -> &'static str {
        ""
    }

    /// Checks for what it needs besides ONNX Runtime.
    fn find_dependencies(&self) -> Result<(), ProviderError> {
        Ok(())
    }

    /// Checks that its files are there. Whether they work, only a session can tell.
    fn find(&self) -> Result<(), ProviderError> {
        let provider = self.provider();
        // Where the system's loader found ONNX Runtime, it finds the rest as well.
        if let (Some(folder), Some(library)) = (library::folder(), self.library()) {
            let path = folder.join(library);
            let library = path.display().to_string();
            match damage(&path) {
                Ok(None) => (),
                Ok(Some(why)) => return Err(ProviderError::Damaged { provider, library, why }),
                Err(_) if self.is_built() => {
                    return Err(ProviderError::Missing { provider, library });
                }
                Err(_) => (),
            }
        }
        if !self.is_built() {
            return Err(ProviderError::NotBuilt { provider });
        }
        self.find_dependencies()
    }

    /// Whether there is a device in this machine that nothing uses where this provider is missing.
    fn leaves_device_idle(&self) -> bool {
        false
    }

    /// The precisions it computes in, its default first.
    fn precisions(&self) -> &'static [Precision];

    /// Largest relative difference from the CPU's outputs (root of the sums of squares) that the
    /// precision explains.
    fn tolerance(&self, precision: Precision) -> f32;

    /// How a session divides its work where `runs` runs with `threads` threads each go on at once;
    /// 0 threads: as many as cores, or one where several runs go on at once.
    fn parallelism(&self, _threads: usize, _runs: usize) -> Parallelism {
        Parallelism { threads: 1, streams: 1 }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Loads a network.
    fn load(&self, network: &Network) -> Result<Loaded, LoadError>;
}

/// The threads of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parallelism {
    /// In all; 0: ONNX Runtime takes as many as cores.
    pub threads: usize,
    /// Groups of them, each of which computes one run at a time.
    pub streams: usize,
}

/// How a provider is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether it takes frames as [pixels](crate::preprocess::Form::Pixels), because it is faster
    /// than the CPU at preprocessing; otherwise planes.
    pub takes_pixels: bool,
    /// Whether elements share sessions, and workers run one at the same time.
    pub shares_sessions: bool,
    /// Frames in one run by default.
    pub batch: usize,
    /// When it may run a network as exported.
    pub as_exported: AsExported,
    /// Channels computed side by side: layers with fewer are filled up.
    pub lanes: usize,
    /// Input sizes for which a worker keeps its networks loaded, so that streams which go back and
    /// forth between sizes do not load them again and again.
    pub input_sizes: usize,
    /// Whether runs can be captured as CUDA graphs.
    pub cuda_graphs: bool,
    /// Takes over where this one cannot go on without the user's consent.
    pub fallback: Option<Provider>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            takes_pixels: false,
            shares_sessions: true,
            batch: 1,
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
}

/// A network to be loaded.
pub struct Network<'a> {
    pub environment: &'a Environment,
    pub on_event: &'a dyn Fn(Event),
    pub config: &'a Config,
    /// An ONNX file.
    pub file: &'a [u8],
    /// What it is loaded for.
    pub spec: &'a InputSpec,
}

/// A network loaded. The session is dropped before what it computes on.
pub struct Loaded {
    pub session: ort::session::Session,
    pub device: Box<dyn Device>,
}

impl Network<'_> {
    /// A session builder with so many threads that sleep when there is nothing to do.
    fn builder(&self, threads: usize) -> Result<SessionBuilder, LoadError> {
        let builder = || {
            ort::session::Session::builder(self.environment)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_op_spinning(false)?
                .with_inter_op_spinning(false)?
                .with_intra_threads(threads)
                .map_err(ort::Error::from)
        };
        builder().map_err(LoadError::Rejected)
    }

    /// Loads the network with these providers, the first of them preferred.
    fn load_with(
        &self,
        builder: SessionBuilder,
        providers: impl IntoIterator<Item = ExecutionProviderDispatch>,
    ) -> Result<ort::session::Session, LoadError> {
        let providers = providers.into_iter().map(|provider| provider.error_on_failure());
        let mut builder = builder
            .with_execution_providers(providers.collect::<Vec<_>>())
            .map_err(|err| self.config.refused(&err.to_string()))?;
        Ok(builder.commit_from_memory(self.file)?)
    }
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
    fn every_provider_is_in_the_list_once_and_answers_for_itself() {
        for (index, provider) in Provider::ALL.into_iter().enumerate() {
            assert_eq!(provider.provider(), provider);
            assert!(!Provider::ALL[..index].contains(&provider));
        }
        assert_eq!(
            Provider::ALL.map(|provider| provider.to_string()),
            ["TensorRT", "CUDA", "OpenVINO", "CPU"]
        );
    }

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
