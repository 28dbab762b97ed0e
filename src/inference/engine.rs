// SPDX-License-Identifier: MIT OR Apache-2.0

//! A session at work.

use std::sync::Arc;

use super::{
    binding::{Binding, Values},
    error::LoadError,
    network::Loaded,
    session::Session,
};
use crate::{
    families::heads::Heads,
    native,
    retinaface::detector::{Engine, EngineError, Input},
};

/// Runs a session on one batch at a time.
pub struct SessionEngine {
    memory: Memory,
    /// Last, as what is above comes from it.
    session: Arc<Session>,
}

/// The inputs and outputs of a batch, and what computes the one from the other.
enum Memory {
    OnnxRuntime(Box<Binding>),
    /// A run for each picture of the batch.
    Native(Vec<native::Run>),
}

impl SessionEngine {
    /// Also runs once, so that the first frame takes no longer than the others; native kernels have nothing
    /// left to do at their first run.
    pub fn new(session: Arc<Session>) -> Result<Self, LoadError> {
        let memory = match &session.loaded {
            Loaded::OnnxRuntime(loaded) => {
                Memory::OnnxRuntime(Box::new(Binding::new(&session, Arc::clone(loaded))?))
            }
            Loaded::Native { program, threads } => {
                let run = |_| native::Run::new(Arc::clone(program), *threads);
                Memory::Native((0..session.spec.batch).map(run).collect())
            }
        };
        let (width, height) = session.spec.size;
        let mut engine = Self { memory, session };
        if matches!(engine.memory, Memory::OnnxRuntime(_)) {
            engine.run().map_err(|source| LoadError::Run { width, height, source })?;
        }
        Ok(engine)
    }

    /// Whether the network was rewritten for its input.
    pub fn is_specialised(&self) -> bool {
        self.session.as_exported.is_none()
    }

    /// Whether its runs are captured and replayed.
    pub(super) fn has_cuda_graphs(&self) -> bool {
        self.session.cuda_graphs
    }

    /// What the last run gave for the first of the batch, output by output.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &[f32]> {
        (0..self.session.outputs.len()).map(|index| self.output(0, index))
    }
}

impl Engine for SessionEngine {
    fn input_size(&self) -> (u32, u32) {
        self.session.spec.size
    }

    fn batch(&self) -> usize {
        self.session.spec.batch
    }

    fn heads(&self) -> &Heads {
        &self.session.heads
    }

    fn input(&mut self, item: usize) -> Input<'_> {
        fn part<T>(values: &mut [T], item: usize, batch: usize) -> &mut [T] {
            let len = values.len() / batch;
            &mut values[item * len..][..len]
        }
        let batch = self.session.spec.batch;
        let normalisation = self.session.normalisation;
        match &mut self.memory {
            Memory::Native(runs) => Input::Planes(normalisation, runs[item].input()),
            Memory::OnnxRuntime(binding) => match binding.input() {
                Values::Planes(planes) => {
                    Input::Planes(normalisation, part(planes.values_mut(), item, batch))
                }
                Values::Pixels(size, pixels) => {
                    Input::Pixels(*size, normalisation, part(pixels.values_mut(), item, batch))
                }
            },
        }
    }

    fn run(&mut self) -> Result<(), EngineError> {
        match &mut self.memory {
            Memory::OnnxRuntime(binding) => binding.run(),
            Memory::Native(runs) => {
                runs.iter_mut().for_each(native::Run::run);
                Ok(())
            }
        }
    }

    fn output(&self, item: usize, index: usize) -> &[f32] {
        match &self.memory {
            Memory::Native(runs) => runs[item].output(index),
            Memory::OnnxRuntime(binding) => {
                let values = binding.output(index);
                let len = values.len() / self.session.spec.batch;
                &values[item * len..][..len]
            }
        }
    }
}
