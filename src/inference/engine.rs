// SPDX-License-Identifier: MIT OR Apache-2.0

//! A session at work, with inputs and outputs that stay where they are.

use std::sync::Arc;

use ort::{AsPointer, ortsys, session::IoBinding};

use super::{device::Memory, error::LoadError, session::Session};
use crate::{
    families::heads::Heads,
    preprocess::Form,
    retinaface::detector::{Engine, EngineError, Input},
};

/// Runs a session on one batch at a time.
pub struct OrtEngine {
    binding: IoBinding,
    input: Values,
    outputs: Vec<Box<dyn Memory<f32>>>,
    /// Last, as what is above comes from it.
    session: Arc<Session>,
}

/// An input in one of the forms.
enum Values {
    Planes(Box<dyn Memory<f32>>),
    Pixels((u32, u32), Box<dyn Memory<u8>>),
}

impl OrtEngine {
    /// Also runs once, so that the first frame takes no longer than the others.
    pub fn new(session: Arc<Session>) -> Result<Self, LoadError> {
        let mut binding = session.session.create_binding()?;
        let device = &session.device;
        let (width, height) = session.spec.size;
        let batch = session.spec.batch as i64;
        let input = match session.spec.form {
            Form::Planes => {
                let shape = [batch, 3, i64::from(height), i64::from(width)];
                let mut planes = device.floats(&session.session, &shape)?;
                binding.bind_input(&session.input, planes.tensor())?;
                Values::Planes(planes)
            }
            Form::Pixels(form) => {
                let (columns, rows) = form.size;
                let shape = [batch, i64::from(rows), i64::from(columns), form.channels as i64];
                let mut pixels = device.bytes(&session.session, &shape)?;
                binding.bind_input(&session.input, pixels.tensor())?;
                Values::Pixels(form.size, pixels)
            }
        };
        let mut outputs = Vec::with_capacity(session.outputs.len());
        for (name, shape) in &session.outputs {
            let mut output = device.floats(&session.session, shape)?;
            binding.bind_output(name, output.tensor())?;
            outputs.push(output);
        }
        let mut engine = Self { binding, input, outputs, session };
        engine.run().map_err(|source| LoadError::Run { width, height, source })?;
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

    /// What the last run gave, output by output.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &[f32]> {
        self.outputs.iter().map(|output| output.values())
    }
}

impl Engine for OrtEngine {
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
        match &mut self.input {
            Values::Planes(planes) => {
                Input::Planes(normalisation, part(planes.values_mut(), item, batch))
            }
            Values::Pixels(size, pixels) => {
                Input::Pixels(*size, normalisation, part(pixels.values_mut(), item, batch))
            }
        }
    }

    fn run(&mut self) -> Result<(), EngineError> {
        let Self { binding, input, outputs, session } = self;
        session.device.run(&mut || {
            match input {
                Values::Planes(planes) => planes.upload()?,
                Values::Pixels(_, pixels) => pixels.upload()?,
            }
            let session = session.session.ptr().cast_mut();
            let binding = binding.ptr();
            let run = || -> Result<(), ort::Error> {
                // SAFETY: both are alive, and the binding is used by nobody else. ONNX Runtime lets
                // any number of threads run one session at a time; ort's own method, which does not,
                // would also allocate on every call.
                ortsys![unsafe RunWithBinding(session, std::ptr::null(), binding)?];
                Ok(())
            };
            run().map_err(|err| EngineError(err.to_string()))?;
            outputs.iter_mut().try_for_each(|output| output.download())
        })
    }

    fn output(&self, item: usize, index: usize) -> &[f32] {
        let values = self.outputs[index].values();
        let len = values.len() / self.session.spec.batch;
        &values[item * len..][..len]
    }
}
