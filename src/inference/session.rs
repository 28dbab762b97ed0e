// SPDX-License-Identifier: MIT OR Apache-2.0

//! A network loaded for one input.

use ort::{logging::LogLevel, memory::Allocator, value::Tensor};
use thiserror::Error;

use super::{
    config::Config,
    device::Device,
    event::Event,
    loader::Loader,
    providers::{AsExported, LoadError, Loaded, Network},
};
use crate::{
    families::heads::Heads,
    model::{InputSpec, NotSpecialised, Specialised},
    preprocess::{Form, Normalisation},
    retinaface::detector::EngineError,
};

/// A network cannot be rewritten, or the rewritten form does not load.
#[derive(Debug, Error)]
pub enum SpecialisedError {
    #[error(transparent)]
    Rewriting(#[from] NotSpecialised),
    #[error(transparent)]
    Loading(#[from] LoadError),
}

/// A network loaded for one input. Any number of engines may run on it at once where the provider
/// shares sessions, and else only one.
pub struct Session {
    pub(super) session: ort::session::Session,
    /// What it is for. As exported, a network takes planes.
    pub(super) spec: InputSpec,
    pub(super) input: String,
    /// Names and shapes.
    pub(super) outputs: Vec<(String, Vec<i64>)>,
    pub(super) normalisation: Normalisation,
    pub(super) heads: Heads,
    /// Whether the network was rewritten for its input.
    pub(super) specialised: bool,
    pub(super) cuda_graphs: bool,
    /// Dropped after the session that computes on it.
    pub(super) device: Box<dyn Device>,
}

impl Session {
    /// Loads the network, rewritten for just this input where possible. Where not, and where the
    /// provider takes it, it is loaded as exported, with a warning in the log.
    pub(super) fn new(
        loader: &Loader,
        spec: &InputSpec,
        config: &Config,
    ) -> Result<Self, LoadError> {
        let why = match Self::specialised(loader, spec, config) {
            Ok(session) => return Ok(session),
            Err(why) => why,
        };
        match (config.provider.capabilities().as_exported, why) {
            (AsExported::Never, SpecialisedError::Rewriting(why)) => {
                Err(config.refused(&why.to_string()).into())
            }
            (AsExported::Never | AsExported::IfNotRewritable, SpecialisedError::Loading(err)) => {
                Err(err)
            }
            (AsExported::IfNotRewritable | AsExported::IfNotLoaded, why) => {
                let slower = format!("The network runs as exported, which is slower: {why}");
                loader.log(LogLevel::Warning, &slower);
                Self::as_exported(loader, spec, config)
            }
        }
    }

    /// Loads the network rewritten for this input.
    pub fn specialised(
        loader: &Loader,
        spec: &InputSpec,
        config: &Config,
    ) -> Result<Self, SpecialisedError> {
        let lanes = config.provider.capabilities().lanes;
        let Specialised { model: file, input, outputs, heads } =
            loader.model.specialise(spec, lanes)?;
        let Loaded { session, device } = load(loader, spec, config, &file)?;
        Ok(Self {
            session,
            spec: spec.clone(),
            input,
            outputs,
            normalisation: loader.model.normalisation(),
            heads,
            specialised: true,
            cuda_graphs: config.cuda_graphs,
            device,
        })
    }

    /// Loads the network as its file has it: it takes planes, and one frame a run.
    pub fn as_exported(
        loader: &Loader,
        spec: &InputSpec,
        config: &Config,
    ) -> Result<Self, LoadError> {
        if spec.batch != 1 {
            return Err(LoadError::Batch);
        }
        let model = &loader.model;
        let spec = InputSpec { form: Form::Planes, ..spec.clone() };
        // The outputs' shapes are known after a first run; a CUDA graph would keep its addresses.
        let config = Config { cuda_graphs: false, ..config.clone() };
        let (width, height) = spec.size;
        let heads = model.heads(width, height, &spec.strides);
        let Loaded { mut session, device } = load(loader, &spec, &config, model.bytes())?;
        let input = model.input_name().to_owned();
        let mut outputs = Vec::new();
        let ran = device.run(&mut || {
            outputs = output_shapes(&mut session, &input, model.output_names(), spec.size)
                .map_err(|err| EngineError(err.to_string()))?;
            Ok(())
        });
        ran.map_err(|source| LoadError::Run { width, height, source })?;
        for (index, (name, shape)) in outputs.iter().enumerate() {
            let found = shape.iter().product::<i64>() as usize;
            let needed = heads.output_len(index);
            if found < needed {
                return Err(LoadError::Output { name: name.clone(), width, height, found, needed });
            }
        }
        Ok(Self {
            session,
            spec,
            input,
            outputs,
            normalisation: model.normalisation(),
            heads,
            specialised: false,
            cuda_graphs: false,
            device,
        })
    }
}

fn load(
    loader: &Loader,
    spec: &InputSpec,
    config: &Config,
    file: &[u8],
) -> Result<Loaded, LoadError> {
    let on_event = &|event: Event| loader.emit(event);
    let environment = loader.environment;
    config.provider.load(&Network { environment, on_event, config, file, spec })
}

/// The outputs' names and shapes, from a run on an empty picture.
fn output_shapes(
    session: &mut ort::session::Session,
    input: &str,
    outputs: &[String],
    (width, height): (u32, u32),
) -> Result<Vec<(String, Vec<i64>)>, ort::Error> {
    let shape = [1, 3, i64::from(height), i64::from(width)];
    let mut picture = Tensor::<f32>::new(&Allocator::default(), shape)?;
    picture.extract_tensor_mut().1.fill(0.0);
    let values = session.run(ort::inputs![input => picture])?;
    let shape = |name: &String| {
        let (shape, _) = values[name.as_str()].try_extract_tensor::<f32>()?;
        Ok((name.clone(), shape.to_vec()))
    };
    outputs.iter().map(shape).collect()
}
