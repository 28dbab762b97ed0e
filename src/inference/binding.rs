// SPDX-License-Identifier: MIT OR Apache-2.0

//! A session of ONNX Runtime at work, with inputs and outputs that stay where they are.

use std::sync::Arc;

use ort::{AsPointer, ortsys, session::IoBinding};

use super::{device::Memory, network::OrtSession, session::Session};
use crate::{preprocess::Form, retinaface::detector::EngineError};

/// The memory of one batch.
pub struct Binding {
    binding: IoBinding,
    input: Values,
    outputs: Vec<Box<dyn Memory<f32>>>,
    /// Last, as what is above comes from it.
    loaded: Arc<OrtSession>,
}

/// An input in one of the forms.
pub enum Values {
    Planes(Box<dyn Memory<f32>>),
    Pixels((u32, u32), Box<dyn Memory<u8>>),
}

impl Binding {
    /// For what `session` is for, in `loaded`, which is its own.
    pub fn new(session: &Session, loaded: Arc<OrtSession>) -> Result<Self, ort::Error> {
        let OrtSession { session: runtime, device } = &*loaded;
        let mut binding = runtime.create_binding()?;
        let (width, height) = session.spec.size;
        let batch = session.spec.batch as i64;
        let input = match session.spec.form {
            Form::Planes => {
                let shape = [batch, 3, i64::from(height), i64::from(width)];
                let mut planes = device.floats(runtime, &shape)?;
                binding.bind_input(&session.input, planes.tensor())?;
                Values::Planes(planes)
            }
            Form::Pixels(form) => {
                let (columns, rows) = form.size;
                let shape = [batch, i64::from(rows), i64::from(columns), form.channels as i64];
                let mut pixels = device.bytes(runtime, &shape)?;
                binding.bind_input(&session.input, pixels.tensor())?;
                Values::Pixels(form.size, pixels)
            }
        };
        let mut outputs = Vec::with_capacity(session.outputs.len());
        for (name, shape) in &session.outputs {
            let mut output = device.floats(runtime, shape)?;
            binding.bind_output(name, output.tensor())?;
            outputs.push(output);
        }
        Ok(Self { binding, input, outputs, loaded })
    }

    pub fn input(&mut self) -> &mut Values {
        &mut self.input
    }

    pub fn run(&mut self) -> Result<(), EngineError> {
        let Self { binding, input, outputs, loaded } = self;
        loaded.device.run(&mut || {
            match input {
                Values::Planes(planes) => planes.upload()?,
                Values::Pixels(_, pixels) => pixels.upload()?,
            }
            let session = loaded.session.ptr().cast_mut();
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

    /// Output `index` of the last run, for the whole batch.
    pub fn output(&self, index: usize) -> &[f32] {
        self.outputs[index].values()
    }
}
