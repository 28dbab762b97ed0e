// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a session computes, and the memory of its inputs and outputs.

use std::fmt;

use ort::{
    memory::Allocator,
    value::{PrimitiveTensorElementType, Tensor},
};

use crate::retinaface::detector::EngineError;

/// What one session computes on.
pub trait Device: Send + Sync {
    /// Memory for a tensor of this shape, filled with zeros on the CPU's side.
    fn floats(
        &self,
        session: &ort::session::Session,
        shape: &[i64],
    ) -> Result<Box<dyn Memory<f32>>, ort::Error>;

    /// Memory for a tensor of this shape, filled with zeros on the CPU's side.
    fn bytes(
        &self,
        session: &ort::session::Session,
        shape: &[i64],
    ) -> Result<Box<dyn Memory<u8>>, ort::Error>;

    /// Does `work`, which runs the session and copies its inputs and outputs. Comes back when the
    /// device is done with all of it, also where `work` fails.
    fn run(&self, work: &mut dyn FnMut() -> Result<(), EngineError>) -> Result<(), EngineError>;
}

/// A tensor of a session and its values as the CPU sees them. The address of neither changes.
pub trait Memory<T: PrimitiveTensorElementType + fmt::Debug>: Send {
    /// What the session reads or writes.
    fn tensor(&mut self) -> &mut Tensor<T>;

    /// The values, as of the last [`Device::run`].
    fn values(&self) -> &[T];

    fn values_mut(&mut self) -> &mut [T];

    /// Starts to copy the values to the device; only within [`Device::run`].
    fn upload(&mut self) -> Result<(), EngineError>;

    /// Starts to copy the values from the device; only within [`Device::run`].
    fn download(&mut self) -> Result<(), EngineError>;
}

/// The CPU, which computes in its own memory.
pub struct Cpu;

impl Device for Cpu {
    fn floats(
        &self,
        _session: &ort::session::Session,
        shape: &[i64],
    ) -> Result<Box<dyn Memory<f32>>, ort::Error> {
        zeros(shape)
    }

    fn bytes(
        &self,
        _session: &ort::session::Session,
        shape: &[i64],
    ) -> Result<Box<dyn Memory<u8>>, ort::Error> {
        zeros(shape)
    }

    fn run(&self, work: &mut dyn FnMut() -> Result<(), EngineError>) -> Result<(), EngineError> {
        work()
    }
}

fn zeros<T>(shape: &[i64]) -> Result<Box<dyn Memory<T>>, ort::Error>
where
    T: PrimitiveTensorElementType + fmt::Debug + Clone + Default + 'static,
    Tensor<T>: Memory<T>,
{
    let mut tensor = Tensor::new(&Allocator::default(), shape)?;
    tensor.extract_tensor_mut().1.fill(T::default());
    Ok(Box::new(tensor))
}

impl<T: PrimitiveTensorElementType + fmt::Debug> Memory<T> for Tensor<T> {
    fn tensor(&mut self) -> &mut Tensor<T> {
        self
    }

    fn values(&self) -> &[T] {
        self.extract_tensor().1
    }

    fn values_mut(&mut self) -> &mut [T] {
        self.extract_tensor_mut().1
    }

    fn upload(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    fn download(&mut self) -> Result<(), EngineError> {
        Ok(())
    }
}
