// SPDX-License-Identifier: MIT OR Apache-2.0

//! An NVIDIA GPU, with a stream of its own for each session.
//!
//! ONNX Runtime copies inputs and outputs on its own, but from and to memory of its choice, one
//! after the other. CUDA graphs need addresses that stay, and copies that do not wait for each other
//! need pinned memory and a stream.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::{self, ThreadId},
};

use cudarc::driver::{
    CudaContext, CudaStream, DriverError,
    sys::{self, CUresult},
};
use libloading::Library;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};

use super::{
    capture::{alone, turn},
    pinned::{Pinned, failure},
};
use crate::{
    inference::{
        config::Config,
        device::{Device, Memory},
        error::ProviderError,
        library::loader_message,
    },
    retinaface::detector::EngineError,
};

/// Where one session's work is done, in order.
pub struct Gpu {
    stream: Arc<CudaStream>,
    device: i32,
    cuda_graphs: bool,
    /// The thread for which ONNX Runtime has captured a graph last: each has its own.
    captured: Mutex<Option<ThreadId>>,
}

impl Gpu {
    /// A new stream on the GPU of `config`.
    pub fn new(config: &Config) -> Result<Self, ProviderError> {
        let stream = stream(config.device);
        let stream =
            stream.map_err(|why| ProviderError::NoDevice { provider: config.provider, why })?;
        Ok(Self {
            stream,
            device: config.device as i32,
            cuda_graphs: config.cuda_graphs,
            captured: Mutex::default(),
        })
    }

    /// A `cudaStream_t`, valid until this value is dropped.
    pub fn stream(&self) -> *mut () {
        self.stream.cu_stream().cast()
    }

    /// The GPU's name and compute capability, such as "Orin sm87".
    pub fn name(&self) -> Result<String, DriverError> {
        let context = self.stream.context();
        let (major, minor) = context.compute_capability()?;
        Ok(format!("{} sm{major}{minor}", context.name()?))
    }

    /// The memory in which ONNX Runtime's allocator is to put tensors.
    fn memory(&self) -> Result<MemoryInfo<'static>, ort::Error> {
        MemoryInfo::new(
            AllocationDevice::CUDA,
            self.device,
            AllocatorType::Device,
            MemoryType::Default,
        )
    }
}

impl Device for Gpu {
    fn floats(
        &self,
        session: &ort::session::Session,
        shape: &[i64],
    ) -> Result<Box<dyn Memory<f32>>, ort::Error> {
        Ok(Box::new(Pinned::new(session, self.memory()?, &self.stream, shape)?))
    }

    fn bytes(
        &self,
        session: &ort::session::Session,
        shape: &[i64],
    ) -> Result<Box<dyn Memory<u8>>, ort::Error> {
        Ok(Box::new(Pinned::new(session, self.memory()?, &self.stream, shape)?))
    }

    fn run(&self, work: &mut dyn FnMut() -> Result<(), EngineError>) -> Result<(), EngineError> {
        let captures = self.cuda_graphs && {
            let thread = Some(thread::current().id());
            let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *captured, thread) != thread
        };
        let _alone = captures.then(alone);
        let _turn = (!captures).then(turn);
        let wait = Wait(&self.stream);
        let done = work();
        done.and(wait.0.synchronize().map_err(failure))
    }
}

/// Waits for a stream at the end of its scope, however that comes.
struct Wait<'a>(&'a CudaStream);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        // What has failed was said by whoever waited before, or is lost to a panic.
        let _ = self.0.synchronize();
    }
}

/// A new stream on GPU number `device`, or why there is none.
fn stream(device: u32) -> Result<Arc<CudaStream>, String> {
    // SAFETY: loads the driver's library, as ONNX Runtime's provider does.
    if !unsafe { sys::is_culib_present() } {
        // SAFETY: as above.
        let why = unsafe { Library::new("libcuda.so.1") }.err();
        let why = why.as_ref().map(loader_message).unwrap_or_default();
        return Err(format!("NVIDIA's driver is not installed, or not completely: {why}"));
    }
    let count = CudaContext::device_count().map_err(|err| match err.0 {
        CUresult::CUDA_ERROR_NO_DEVICE => "the driver finds no NVIDIA GPU".to_owned(),
        _ => format!("NVIDIA's driver does not start: {err:?}"),
    })?;
    if i64::from(device) >= i64::from(count) {
        return Err(format!("there is no GPU {device}, only {count}, counted from 0"));
    }
    let stream = CudaContext::new(device as usize).and_then(|context| context.new_stream());
    stream.map_err(|err| format!("the GPU cannot be used: {err:?}"))
}
