// SPDX-License-Identifier: MIT OR Apache-2.0

//! A session at work, with inputs and outputs that stay where they are.

use std::{
    fmt,
    sync::Arc,
    thread::{self, ThreadId},
};

use ort::{
    AsPointer,
    environment::Environment,
    logging::LogLevel,
    memory::Allocator,
    ortsys,
    session::IoBinding,
    value::{PrimitiveTensorElementType, Tensor},
};

use super::{
    Execution, LoadError, Notice, Session, Tell,
    gpu::{self, Stream, Twin},
};
use crate::{
    families::heads::Heads,
    model::{InputSpec as Task, Model},
    preprocess::Form,
    retinaface::detector::{Engine, EngineError, Input},
};

/// Runs a session on one batch at a time.
pub struct OrtEngine {
    binding: IoBinding,
    input: Values,
    outputs: Vec<Memory<f32>>,
    /// For which thread ONNX Runtime has captured a CUDA graph last: each has its own.
    captured: Option<ThreadId>,
    /// Last, as what is above comes from it.
    session: Arc<Session>,
}

/// An input in one of the forms.
enum Values {
    Planes(Memory<f32>),
    Pixels((u32, u32), Memory<u8>),
}

/// Numbers that the processor reads or writes and the session writes or reads.
enum Memory<T: PrimitiveTensorElementType + fmt::Debug> {
    /// In one place.
    Shared(Tensor<T>),
    /// Copied to or from a GPU.
    Copied(Twin<T>),
}

impl<T: PrimitiveTensorElementType + fmt::Debug + Copy + Default> Memory<T> {
    fn new(session: &Session, shape: &[i64]) -> Result<Self, ort::Error> {
        match &session.stream {
            Some(stream) => Twin::new(&session.session, stream, shape).map(Self::Copied),
            None => {
                let mut tensor = Tensor::new(&Allocator::default(), shape)?;
                tensor.extract_tensor_mut().1.fill(T::default());
                Ok(Self::Shared(tensor))
            }
        }
    }

    /// What the session reads or writes.
    fn tensor(&mut self) -> &mut Tensor<T> {
        match self {
            Self::Shared(tensor) => tensor,
            Self::Copied(twin) => twin.device(),
        }
    }

    fn values(&self) -> &[T] {
        match self {
            Self::Shared(tensor) => tensor.extract_tensor().1,
            Self::Copied(twin) => twin.values(),
        }
    }

    fn values_mut(&mut self) -> &mut [T] {
        match self {
            Self::Shared(tensor) => tensor.extract_tensor_mut().1,
            Self::Copied(twin) => twin.values_mut(),
        }
    }

    fn upload(&mut self) -> Result<(), EngineError> {
        match self {
            Self::Shared(_) => Ok(()),
            Self::Copied(twin) => twin.upload().map_err(copy_error),
        }
    }

    fn download(&mut self) -> Result<(), EngineError> {
        match self {
            Self::Shared(_) => Ok(()),
            Self::Copied(twin) => twin.download().map_err(copy_error),
        }
    }
}

fn copy_error(err: impl fmt::Debug) -> EngineError {
    EngineError(format!("the GPU stops: {err:?}"))
}

impl OrtEngine {
    /// Loads `model` for `task` and gets it going. Without CUDA graphs, where they are wanted and
    /// do not work.
    pub fn load(
        environment: &Environment,
        tell: Tell,
        model: &Arc<Model>,
        task: &Task,
        execution: &Execution,
    ) -> Result<Self, LoadError> {
        let load = |execution: &Execution| {
            Self::new(Session::shared(environment, tell, model, task, execution)?)
        };
        match load(execution) {
            Err(err @ (LoadError::Refused(_) | LoadError::Run { .. }))
                if execution.provider.is_gpu() && execution.cuda_graphs =>
            {
                let retry = format!("Trying again without CUDA graphs: {err}");
                tell(Notice::Message(LogLevel::Info, &retry));
                load(&Execution { cuda_graphs: false, ..execution.clone() })
            }
            loaded => loaded,
        }
    }

    /// Also runs once, so that the first frame takes no longer than the others.
    pub fn new(session: Arc<Session>) -> Result<Self, LoadError> {
        let mut binding = session.session.create_binding()?;
        let (width, height) = session.task.size;
        let batch = session.task.batch as i64;
        let input = match session.task.form {
            Form::Planes => {
                let shape = [batch, 3, i64::from(height), i64::from(width)];
                let mut planes = Memory::new(&session, &shape)?;
                binding.bind_input(&session.input, planes.tensor())?;
                Values::Planes(planes)
            }
            Form::Pixels(form) => {
                let (columns, rows) = form.size;
                let shape = [batch, i64::from(rows), i64::from(columns), form.channels as i64];
                let mut pixels = Memory::new(&session, &shape)?;
                binding.bind_input(&session.input, pixels.tensor())?;
                Values::Pixels(form.size, pixels)
            }
        };
        let mut outputs = Vec::with_capacity(session.outputs.len());
        for (name, shape) in &session.outputs {
            let mut output = Memory::new(&session, shape)?;
            binding.bind_output(name, output.tensor())?;
            outputs.push(output);
        }
        let mut engine = Self { binding, input, outputs, captured: None, session };
        engine.run().map_err(|source| LoadError::Run { width, height, source })?;
        Ok(engine)
    }

    /// Whether the network was rewritten for its task.
    pub fn is_specialised(&self) -> bool {
        self.session.specialised
    }

    /// Whether its runs are recorded and replayed.
    pub(super) fn has_cuda_graphs(&self) -> bool {
        self.session.cuda_graphs
    }

    /// What the last run gave, output by output.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &[f32]> {
        self.outputs.iter().map(Memory::values)
    }
}

impl Engine for OrtEngine {
    fn input_size(&self) -> (u32, u32) {
        self.session.task.size
    }

    fn batch(&self) -> usize {
        self.session.task.batch
    }

    fn heads(&self) -> &Heads {
        &self.session.heads
    }

    fn input(&mut self, item: usize) -> Input<'_> {
        fn part<T>(values: &mut [T], item: usize, batch: usize) -> &mut [T] {
            let len = values.len() / batch;
            &mut values[item * len..][..len]
        }
        let batch = self.session.task.batch;
        match &mut self.input {
            Values::Planes(planes) => {
                Input::Planes(self.session.normalisation, part(planes.values_mut(), item, batch))
            }
            Values::Pixels(size, pixels) => {
                Input::Pixels(*size, part(pixels.values_mut(), item, batch))
            }
        }
    }

    fn run(&mut self) -> Result<(), EngineError> {
        let thread = Some(thread::current().id());
        let captures = self.session.cuda_graphs && self.captured != thread;
        self.captured = thread;
        let _alone = captures.then(gpu::capture);
        let _turn = (self.session.stream.is_some() && !captures).then(gpu::turn);
        match &mut self.input {
            Values::Planes(planes) => planes.upload()?,
            Values::Pixels(_, pixels) => pixels.upload()?,
        }
        let session = self.session.session.ptr().cast_mut();
        let binding = self.binding.ptr();
        let run = || -> Result<(), ort::Error> {
            // SAFETY: both are alive, and the binding is used by nobody else. ONNX Runtime lets any
            // number of threads run one session at a time; ort's own method, which does not, would
            // also allocate on every call.
            ortsys![unsafe RunWithBinding(session, std::ptr::null(), binding)?];
            Ok(())
        };
        run().map_err(|err| EngineError(err.to_string()))?;
        for output in &mut self.outputs {
            output.download()?;
        }
        self.session.stream.as_ref().map_or(Ok(()), Stream::wait).map_err(copy_error)
    }

    fn output(&self, item: usize, index: usize) -> &[f32] {
        let values = self.outputs[index].values();
        let len = values.len() / self.session.task.batch;
        &values[item * len..][..len]
    }
}
