// SPDX-License-Identifier: MIT OR Apache-2.0

//! A network loaded for one input size, and what runs it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use ort::{
    AsPointer,
    environment::Environment,
    logging::LogLevel,
    memory::Allocator,
    ortsys,
    session::{
        IoBinding,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::Tensor,
};
use thiserror::Error;

use super::{Execution, Log, Precision, Provider, ProviderError};
use crate::{
    model::{Model, NotSpecialised, Specialised, cpu_lanes},
    retinaface::{
        decode::Outputs,
        detector::{Engine, EngineError},
        heads::Heads,
    },
};

/// A network does not load or does not answer as RetinaFace does.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("ONNX Runtime refuses the network: {0}")]
    Refused(#[from] ort::Error),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the network does not run at {width}×{height} pixels: {source}")]
    Run { width: u32, height: u32, source: ort::Error },
    #[error(
        "the network's output {name} has {found} values for {width}×{height} pixels, where a \
         RetinaFace has {needed} or more"
    )]
    Output { name: String, width: u32, height: u32, found: usize, needed: usize },
}

/// The rewritten form of a network does not serve.
#[derive(Debug, Error)]
pub enum SpecialisedError {
    #[error(transparent)]
    Rewriting(#[from] NotSpecialised),
    #[error(transparent)]
    Loading(#[from] LoadError),
}

/// A network loaded for one input size. Any number of engines may run on it at once.
pub struct Session {
    session: ort::session::Session,
    input: String,
    outputs: Vec<(String, Vec<i64>)>,
    input_size: (u32, u32),
    mean: [f32; 3],
    heads: Heads,
}

/// What was wanted of [`Session::choose`], and what came of it.
pub struct Choice {
    pub session: Arc<Session>,
    /// What the session runs on.
    pub execution: Execution,
    /// What would have been better but does not serve.
    pub refusals: Vec<ProviderError>,
}

/// What tells one session from another.
#[derive(Clone)]
struct Key {
    model: Weak<Model>,
    input_size: (u32, u32),
    strides: Vec<u32>,
    execution: Execution,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.model, &other.model)
            && self.input_size == other.input_size
            && self.strides == other.strides
            && self.execution == other.execution
    }
}

/// A session somebody in this process uses, or one being loaded: then the mutex is locked.
struct Loaded {
    key: Key,
    session: Mutex<Weak<Session>>,
}

static LOADED: Mutex<Vec<Arc<Loaded>>> = Mutex::new(Vec::new());

impl Session {
    /// The session for these, loaded with [`Self::new`] unless somebody in this process uses it
    /// already.
    pub fn shared(
        environment: &Environment,
        log: Log,
        model: &Arc<Model>,
        input_size: (u32, u32),
        strides: &[u32],
        execution: &Execution,
    ) -> Result<Arc<Self>, LoadError> {
        let model_key = Arc::downgrade(model);
        let strides_key = strides.to_vec();
        let served = execution.session();
        let key = Key { model: model_key, input_size, strides: strides_key, execution: served };
        let entry = {
            let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
            // An entry that somebody else has at hand is about to get its session.
            loaded.retain(|entry| Arc::strong_count(entry) > 1 || entry.in_use());
            if let Some(entry) = loaded.iter().find(|entry| entry.key == key) {
                Arc::clone(entry)
            } else {
                let entry = Arc::new(Loaded { key, session: Mutex::default() });
                loaded.push(Arc::clone(&entry));
                entry
            }
        };
        let mut session = entry.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = session.upgrade() {
            return Ok(session);
        }
        let (width, height) = input_size;
        log(LogLevel::Info, &format!("Loading the network for {width}×{height} pixels"));
        let new = Arc::new(Self::new(environment, log, model, input_size, strides, execution)?);
        *session = Arc::downgrade(&new);
        Ok(new)
    }

    /// [`Self::shared`] on `provider`, or on the best one that works (`None`). A provider works if it
    /// gives the CPU's answer. `rest` says everything else.
    pub fn choose(
        environment: &Environment,
        log: Log,
        model: &Arc<Model>,
        input_size: (u32, u32),
        strides: &[u32],
        provider: Option<Provider>,
        rest: &Execution,
    ) -> Result<Choice, LoadError> {
        let load = |provider| {
            let execution = Execution { provider, ..rest.clone() };
            Self::shared(environment, log, model, input_size, strides, &execution)
                .map(|session| (session, execution))
        };
        let mut refusals = Vec::new();
        let wanted = match &provider {
            Some(provider) => std::slice::from_ref(provider),
            None => &Provider::ACCELERATORS,
        };
        for &wanted in wanted.iter().filter(|&&provider| provider != Provider::Cpu) {
            let chosen = wanted.find().map_err(LoadError::from).and_then(|()| {
                let (session, execution) = load(wanted)?;
                let cpu = Execution::cpu(1);
                let cpu = Self::shared(environment, log, model, input_size, strides, &cpu)?;
                verify(&session, &cpu, &execution, log)?;
                Ok((session, execution))
            });
            let refusal = match chosen {
                Ok((session, execution)) => return Ok(Choice { session, execution, refusals }),
                Err(LoadError::Provider(refusal)) => refusal,
                Err(err) => {
                    Execution { provider: wanted, ..rest.clone() }.refused(&err.to_string())
                }
            };
            if provider.is_some() {
                return Err(refusal.into());
            }
            log(LogLevel::Info, &format!("{wanted} is not used: {refusal}"));
            refusals.push(refusal);
        }
        let (session, execution) = match provider {
            Some(_) => load(Provider::Cpu)?,
            // A precision that others have is no reason to do without faces.
            None => {
                let rest = Execution { precision: Precision::Auto, ..rest.clone() };
                let execution = Execution { provider: Provider::Cpu, ..rest };
                let session =
                    Self::shared(environment, log, model, input_size, strides, &execution)?;
                (session, execution)
            }
        };
        Ok(Choice { session, execution, refusals })
    }

    /// Loads the levels of `strides` of `model` for an input of `input_size` (width, height), to
    /// run as `execution` says, with threads that sleep when there is nothing to do.
    ///
    /// The network is rewritten for just that where possible; where not, `log` is told and it runs
    /// as it is.
    pub fn new(
        environment: &Environment,
        log: Log,
        model: &Model,
        input_size: (u32, u32),
        strides: &[u32],
        execution: &Execution,
    ) -> Result<Self, LoadError> {
        Self::specialised(environment, model, input_size, strides, execution).or_else(|why| {
            log(LogLevel::Warning, &format!("The network runs as it is, which is slower: {why}"));
            Self::as_it_is(environment, model, input_size, strides, execution)
        })
    }

    /// [`Self::new`] with the network rewritten, or why it cannot be.
    pub fn specialised(
        environment: &Environment,
        model: &Model,
        input_size: (u32, u32),
        strides: &[u32],
        execution: &Execution,
    ) -> Result<Self, SpecialisedError> {
        let (width, height) = input_size;
        let lanes = if execution.provider == Provider::Cpu { cpu_lanes() } else { 1 };
        let network = model.specialise(width, height, strides, lanes)?;
        let builder = builder(environment, execution)?;
        let Specialised { model: file, outputs, heads } = network;
        Ok(Self::load(builder, model, &file, &outputs, heads, input_size)?)
    }

    /// [`Self::new`] with the network as its file has it.
    pub fn as_it_is(
        environment: &Environment,
        model: &Model,
        input_size: (u32, u32),
        strides: &[u32],
        execution: &Execution,
    ) -> Result<Self, LoadError> {
        let heads = model.heads(input_size.0, input_size.1, strides);
        let builder = builder(environment, execution)?;
        Self::load(builder, model, model.bytes(), model.output_names(), heads, input_size)
    }

    /// Width and height of the network's input.
    pub fn input_size(&self) -> (u32, u32) {
        self.input_size
    }

    /// Loads `file`, the network of `model` or a rewritten form of it.
    fn load(
        mut builder: SessionBuilder,
        model: &Model,
        file: &[u8],
        outputs: &[String],
        heads: Heads,
        (width, height): (u32, u32),
    ) -> Result<Self, LoadError> {
        let mut session = builder.commit_from_memory(file)?;
        let input = model.input_name().to_owned();
        let outputs = output_shapes(&mut session, &input, outputs, (width, height))
            .map_err(|source| LoadError::Run { width, height, source })?;
        for (index, (name, shape)) in outputs.iter().enumerate() {
            let found = shape.iter().product::<i64>() as usize;
            let needed = heads.output_len(index);
            if found < needed {
                return Err(LoadError::Output { name: name.clone(), width, height, found, needed });
            }
        }
        let mean = model.mean();
        Ok(Self { session, input, outputs, input_size: (width, height), mean, heads })
    }
}

impl Loaded {
    fn in_use(&self) -> bool {
        // Locked while it is being loaded.
        self.session.try_lock().map_or(true, |session| session.strong_count() > 0)
    }
}

fn builder(environment: &Environment, execution: &Execution) -> Result<SessionBuilder, LoadError> {
    let builder = ort::session::Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(ort::Error::from)?
        .with_intra_op_spinning(false)
        .map_err(ort::Error::from)?
        .with_inter_op_spinning(false)
        .map_err(ort::Error::from)?;
    Ok(execution.apply(builder)?)
}

/// Whether `session` answers as `cpu` does, for a picture of stripes and gradients.
fn verify(
    session: &Arc<Session>,
    cpu: &Arc<Session>,
    execution: &Execution,
    log: Log,
) -> Result<(), LoadError> {
    let mut engines = [OrtEngine::new(Arc::clone(session))?, OrtEngine::new(Arc::clone(cpu))?];
    for engine in &mut engines {
        for (index, sample) in engine.input().iter_mut().enumerate() {
            *sample = (index * 7 % 251) as f32 - 125.0;
        }
        engine.run_bound()?;
    }
    let tolerance = execution.tolerance();
    let [engine, cpu] = &engines;
    for index in 0..cpu.outputs.len().max(engine.outputs.len()) {
        let (Some(found), Some(expected)) = (engine.outputs.get(index), cpu.outputs.get(index))
        else {
            return Err(execution.refused("it gives other outputs than the CPU").into());
        };
        let (found, expected) = (found.extract_tensor().1, expected.extract_tensor().1);
        if found.len() != expected.len() {
            return Err(execution.refused("it gives other outputs than the CPU").into());
        }
        let square = |sum: f32, value: f32| sum + value * value;
        let differences = found.iter().zip(expected).map(|(found, expected)| found - expected);
        let size = expected.iter().copied().fold(0.0, square);
        let difference = (differences.fold(0.0, square) / size.max(f32::MIN_POSITIVE)).sqrt();
        log(LogLevel::Info, &format!("{} is {difference} away", execution.provider));
        // Not a number is further away than anything.
        if difference.is_nan() || difference > tolerance {
            let Execution { provider, device, .. } = *execution;
            return Err(ProviderError::Wrong { provider, device, difference, tolerance }.into());
        }
    }
    Ok(())
}

/// The outputs' names and shapes, from a first run on an empty picture.
fn output_shapes(
    session: &mut ort::session::Session,
    input: &str,
    outputs: &[String],
    input_size: (u32, u32),
) -> Result<Vec<(String, Vec<i64>)>, ort::Error> {
    let values = session.run(ort::inputs![input => picture(input_size)?])?;
    let shape = |name: &String| {
        let (shape, _) = values[name.as_str()].try_extract_tensor::<f32>()?;
        Ok((name.clone(), shape.to_vec()))
    };
    outputs.iter().map(shape).collect()
}

/// An input tensor of zeros in ONNX Runtime's own memory.
fn picture((width, height): (u32, u32)) -> Result<Tensor<f32>, ort::Error> {
    let shape = [1, 3, i64::from(height), i64::from(width)];
    let mut input = Tensor::new(&Allocator::default(), shape)?;
    input.extract_tensor_mut().1.fill(0.0);
    Ok(input)
}

/// Runs a session on one frame at a time, with inputs and outputs that stay where they are.
pub struct OrtEngine {
    session: Arc<Session>,
    binding: IoBinding,
    input: Tensor<f32>,
    outputs: Vec<Tensor<f32>>,
}

impl OrtEngine {
    /// Also runs once, so that the first frame takes no longer than the others.
    pub fn new(session: Arc<Session>) -> Result<Self, LoadError> {
        let allocator = Allocator::default();
        let input = picture(session.input_size)?;
        let mut binding = session.session.create_binding()?;
        binding.bind_input(&session.input, &input)?;
        let mut outputs = Vec::with_capacity(session.outputs.len());
        for (name, shape) in &session.outputs {
            let mut output = Tensor::<f32>::new(&allocator, shape.as_slice())?;
            binding.bind_output(name, &mut output)?;
            outputs.push(output);
        }
        let mut engine = Self { session, binding, input, outputs };
        engine.run_bound().map_err(|source| {
            let (width, height) = engine.session.input_size;
            LoadError::Run { width, height, source }
        })?;
        Ok(engine)
    }

    fn run_bound(&mut self) -> Result<(), ort::Error> {
        let session = self.session.session.ptr().cast_mut();
        // SAFETY: both are alive, and the binding is used by nobody else. ONNX Runtime lets any
        // number of threads run one session at a time; ort's own method, which does not, would
        // also allocate on every call.
        ortsys![unsafe RunWithBinding(session, std::ptr::null(), self.binding.ptr())?];
        Ok(())
    }
}

impl Outputs for OrtEngine {
    fn output(&self, index: usize) -> &[f32] {
        self.outputs[index].extract_tensor().1
    }
}

impl Engine for OrtEngine {
    fn input_size(&self) -> (u32, u32) {
        self.session.input_size
    }

    fn mean(&self) -> [f32; 3] {
        self.session.mean
    }

    fn heads(&self) -> &Heads {
        &self.session.heads
    }

    fn input(&mut self) -> &mut [f32] {
        self.input.extract_tensor_mut().1
    }

    fn run(&mut self) -> Result<(), EngineError> {
        self.run_bound().map_err(|err| EngineError(err.to_string()))
    }
}
