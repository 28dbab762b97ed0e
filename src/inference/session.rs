// SPDX-License-Identifier: MIT OR Apache-2.0

//! A network loaded for one task.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use ort::{
    environment::Environment,
    logging::LogLevel,
    memory::Allocator,
    session::builder::{GraphOptimizationLevel, SessionBuilder},
    value::Tensor,
};
use thiserror::Error;

use super::{
    Execution, Provider, ProviderError,
    execution::{Engines, Gpu},
    gpu::{self, Stream},
    tensorrt::Place,
};
use crate::{
    families::heads::Heads,
    model::{InputSpec as Task, Model, NotSpecialised, Specialised, cpu_lanes},
    preprocess::{Form, Normalisation},
    retinaface::detector::EngineError,
};

/// A network does not load or does not answer as RetinaFace does.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("ONNX Runtime refuses the network: {0}")]
    Refused(#[from] ort::Error),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the network does not run at {width}×{height} pixels: {source}")]
    Run { width: u32, height: u32, source: EngineError },
    #[error(
        "the network's output {name} has {found} values for {width}×{height} pixels, where a \
         RetinaFace has {needed} or more"
    )]
    Output { name: String, width: u32, height: u32, found: usize, needed: usize },
    #[error("the network as it is looks at one frame a run")]
    Batch,
}

/// The rewritten form of a network does not serve.
#[derive(Debug, Error)]
pub enum SpecialisedError {
    #[error(transparent)]
    Rewriting(#[from] NotSpecialised),
    #[error(transparent)]
    Loading(#[from] LoadError),
}

/// What there is to be told while a network is loaded.
pub enum Notice<'a> {
    Message(LogLevel, &'a str),
    /// TensorRT begins to build an engine, which takes minutes.
    Building(&'a Task),
    /// It has ended, with or without an engine.
    Built(Duration, Result<(), &'a LoadError>),
    /// From now on, this provider runs instead of one that does not serve any more.
    Instead(Provider, &'a ProviderError),
}

/// Where notices go.
pub type Tell<'a> = &'a dyn Fn(Notice);

/// A network loaded for one task. Any number of engines may run on it at once, but on a GPU only one.
pub struct Session {
    pub(super) session: ort::session::Session,
    /// What it is for. Where the network was not rewritten, it takes planes.
    pub(super) task: Task,
    pub(super) input: String,
    pub(super) outputs: Vec<(String, Vec<i64>)>,
    pub(super) normalisation: Normalisation,
    pub(super) heads: Heads,
    pub(super) specialised: bool,
    /// Whether its runs are recorded and replayed.
    pub(super) cuda_graphs: bool,
    /// Where it runs on a GPU. Dropped after the session that uses it.
    pub(super) stream: Option<Stream>,
}

/// What tells one session from another.
#[derive(Clone)]
struct Key {
    model: Weak<Model>,
    task: Task,
    execution: Execution,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.model, &other.model)
            && self.task == other.task
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
    /// already. Those on GPUs are not shared: each has a stream, and a place for its inputs there.
    pub fn shared(
        environment: &Environment,
        tell: Tell,
        model: &Arc<Model>,
        task: &Task,
        execution: &Execution,
    ) -> Result<Arc<Self>, LoadError> {
        let new = || {
            let (width, height) = task.size;
            let loading = format!("Loading the network for {width}×{height} pixels");
            tell(Notice::Message(LogLevel::Info, &loading));
            Self::new(environment, tell, model, task, execution).map(Arc::new)
        };
        if execution.provider.is_gpu() {
            return new();
        }
        let execution = execution.session();
        let key = Key { model: Arc::downgrade(model), task: task.clone(), execution };
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
        let new = new()?;
        *session = Arc::downgrade(&new);
        Ok(new)
    }

    /// Loads `model` for `task`, to run as `execution` says, with threads that sleep when there is
    /// nothing to do.
    ///
    /// The network is rewritten for just that where possible; where not, there is a notice and it
    /// runs as it is.
    pub fn new(
        environment: &Environment,
        tell: Tell,
        model: &Model,
        task: &Task,
        execution: &Execution,
    ) -> Result<Self, LoadError> {
        let why = match Self::specialised(environment, tell, model, task, execution) {
            Ok(session) => return Ok(session),
            Err(SpecialisedError::Loading(err)) if execution.provider != Provider::Cpu => {
                return Err(err);
            }
            // It would build an engine for any shape, at every start.
            Err(why) if execution.provider == Provider::TensorRt => {
                return Err(execution.refused(&why.to_string()).into());
            }
            Err(why) => why,
        };
        let slower = format!("The network runs as it is, which is slower: {why}");
        tell(Notice::Message(LogLevel::Warning, &slower));
        Self::as_it_is(environment, model, task, execution)
    }

    /// [`Self::new`] with the network rewritten, or why it cannot be.
    pub fn specialised(
        environment: &Environment,
        tell: Tell,
        model: &Model,
        task: &Task,
        execution: &Execution,
    ) -> Result<Self, SpecialisedError> {
        let lanes = if execution.provider == Provider::Cpu { cpu_lanes() } else { 1 };
        let Specialised { model: file, input, outputs, heads } = model.specialise(task, lanes)?;
        let stream = stream(execution)?;
        let _turn = stream.as_ref().map(|_| gpu::turn());
        let place = match (&stream, &execution.engines) {
            (Some(stream), Some(cache)) if execution.provider == Provider::TensorRt => {
                let place = Place::new(cache, &file, task, execution.precision, stream);
                Some(place.map_err(|why| execution.refused(&why)).map_err(LoadError::from)?)
            }
            _ => None,
        };
        let load = |folder: Option<&Path>| -> Result<ort::session::Session, LoadError> {
            let engines = place.as_ref().zip(folder);
            let engines =
                engines.map(|(place, folder)| Engines { folder, timings: &place.timings });
            let mut builder = builder(environment, execution, task, stream.as_ref(), engines)?;
            Ok(builder.commit_from_memory(&file)?)
        };
        let session = match &place {
            _ if execution.provider != Provider::TensorRt => load(None),
            Some(place) if place.is_built() => load(Some(&place.folder)).or_else(|err| {
                let broken = format!("The engine in {} fails: {err}", place.folder.display());
                tell(Notice::Message(LogLevel::Warning, &broken));
                place.discard();
                build(execution, tell, task, Some(place), load)
            }),
            place => build(execution, tell, task, place.as_ref(), load),
        }?;
        Ok(Self {
            session,
            task: task.clone(),
            input,
            outputs,
            normalisation: model.normalisation(),
            heads,
            specialised: true,
            cuda_graphs: execution.provider.is_gpu() && execution.cuda_graphs,
            stream,
        })
    }

    /// [`Self::new`] with the network as its file has it: it takes planes, and one frame a run.
    pub fn as_it_is(
        environment: &Environment,
        model: &Model,
        task: &Task,
        execution: &Execution,
    ) -> Result<Self, LoadError> {
        if task.batch != 1 {
            return Err(LoadError::Batch);
        }
        let task = Task { form: Form::Planes, ..task.clone() };
        // A first run tells the outputs' shapes; graphs would keep its addresses.
        let execution = Execution { cuda_graphs: false, ..execution.clone() };
        let (width, height) = task.size;
        let heads = model.heads(width, height, &task.strides);
        let stream = stream(&execution)?;
        let _turn = stream.as_ref().map(|_| gpu::turn());
        let mut session = builder(environment, &execution, &task, stream.as_ref(), None)?
            .commit_from_memory(model.bytes())?;
        let input = model.input_name().to_owned();
        let outputs = output_shapes(&mut session, &input, model.output_names(), task.size);
        let outputs = outputs.map_err(|source| {
            let source = EngineError(source.to_string());
            LoadError::Run { width, height, source }
        })?;
        for (index, (name, shape)) in outputs.iter().enumerate() {
            let found = shape.iter().product::<i64>() as usize;
            let needed = heads.output_len(index);
            if found < needed {
                return Err(LoadError::Output { name: name.clone(), width, height, found, needed });
            }
        }
        Ok(Self {
            session,
            task,
            input,
            outputs,
            normalisation: model.normalisation(),
            heads,
            specialised: false,
            cuda_graphs: false,
            stream,
        })
    }
}

impl Loaded {
    fn in_use(&self) -> bool {
        // Locked while it is being loaded.
        self.session.try_lock().map_or(true, |session| session.strong_count() > 0)
    }
}

/// The stream of a session that runs on a GPU.
fn stream(execution: &Execution) -> Result<Option<Stream>, LoadError> {
    let Execution { provider, device, .. } = *execution;
    if !provider.is_gpu() {
        return Ok(None);
    }
    match Stream::new(device) {
        Ok(stream) => Ok(Some(stream)),
        Err(why) => Err(ProviderError::NoDevice { provider, why }.into()),
    }
}

/// Loads a network for which TensorRT has no engine yet, if it may be built.
fn build(
    execution: &Execution,
    tell: Tell,
    task: &Task,
    place: Option<&Place>,
    load: impl Fn(Option<&Path>) -> Result<ort::session::Session, LoadError>,
) -> Result<ort::session::Session, LoadError> {
    if !execution.build {
        return Err(ProviderError::NoEngine.into());
    }
    let workshop = place.and_then(|place| {
        let unkept = |err| {
            let unkept = format!("Cannot keep the engine in {}: {err}", place.folder.display());
            tell(Notice::Message(LogLevel::Warning, &unkept));
        };
        place.workshop().map_err(unkept).ok()
    });
    tell(Notice::Building(task));
    let start = Instant::now();
    let session = load(workshop.as_ref().map(|workshop| workshop.folder.as_path()));
    tell(Notice::Built(start.elapsed(), session.as_ref().map(|_| ())));
    if let Some(workshop) = workshop.filter(|_| session.is_ok()) {
        workshop.finish();
    }
    session
}

fn builder(
    environment: &Environment,
    execution: &Execution,
    task: &Task,
    stream: Option<&Stream>,
    engines: Option<Engines>,
) -> Result<SessionBuilder, LoadError> {
    let builder = ort::session::Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(ort::Error::from)?
        .with_intra_op_spinning(false)
        .map_err(ort::Error::from)?
        .with_inter_op_spinning(false)
        .map_err(ort::Error::from)?;
    let pixels = task.batch * task.size.0 as usize * task.size.1 as usize;
    let gpu = stream.map(|stream| Gpu { stream, pixels, engines });
    Ok(execution.apply(builder, gpu)?)
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
