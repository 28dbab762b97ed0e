// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pinned memory and its counterpart on a GPU.

use std::{fmt, ptr::NonNull, slice, sync::Arc};

use cudarc::driver::{
    CudaStream, DriverError,
    result::{free_host, malloc_host, memcpy_dtoh_async, memcpy_htod_async},
    sys,
};
use ort::{
    memory::{Allocator, MemoryInfo},
    value::{PrimitiveTensorElementType, Tensor},
};

use super::capture::turn;
use crate::{inference::device::Memory, retinaface::detector::EngineError};

/// Values in pinned memory and a tensor on a GPU, neither of which ever moves.
pub struct Pinned<T: PrimitiveTensorElementType + fmt::Debug> {
    host: NonNull<T>,
    len: usize,
    device: Tensor<T>,
    stream: Arc<CudaStream>,
}

// SAFETY: the host memory belongs to this value alone, and any thread may use and free it; the other
// fields are Send themselves.
unsafe impl<T: PrimitiveTensorElementType + fmt::Debug + Send> Send for Pinned<T> {}

impl<T: PrimitiveTensorElementType + fmt::Debug + Number> Pinned<T> {
    /// Zeros on the host, anything in the device's `memory`. Copies go through `stream`.
    pub fn new(
        session: &ort::session::Session,
        memory: MemoryInfo,
        stream: &Arc<CudaStream>,
        shape: &[i64],
    ) -> Result<Self, ort::Error> {
        let _turn = turn();
        let failed = |err: DriverError| ort::Error::new(format!("no pinned memory: {err:?}"));
        let device = Tensor::new(&Allocator::new(session, memory)?, shape)?;
        let len = shape.iter().product::<i64>() as usize;
        stream.context().bind_to_thread().map_err(failed)?;
        // SAFETY: it is freed once, when this value is dropped.
        let host = unsafe { malloc_host(len * size_of::<T>(), 0) }.map_err(failed)?;
        let host = NonNull::new(host.cast::<T>());
        let host = host.ok_or_else(|| ort::Error::new("no pinned memory"))?;
        // SAFETY: of this length, and nobody else's; page-aligned, and all zeros is a `Number`.
        unsafe { host.write_bytes(0, len) };
        Ok(Self { host, len, device, stream: Arc::clone(stream) })
    }
}

impl<T: PrimitiveTensorElementType + fmt::Debug + Number> Memory<T> for Pinned<T> {
    fn tensor(&mut self) -> &mut Tensor<T> {
        &mut self.device
    }

    fn values(&self) -> &[T] {
        // SAFETY: allocated with this length and initialised in new(), and freed when dropped. The
        // GPU writes to it only within Gpu::run, which always waits for the copies it has started.
        unsafe { slice::from_raw_parts(self.host.as_ptr(), self.len) }
    }

    fn values_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the only reference.
        unsafe { slice::from_raw_parts_mut(self.host.as_ptr(), self.len) }
    }

    fn upload(&mut self) -> Result<(), EngineError> {
        self.stream.context().bind_to_thread().map_err(failure)?;
        let device = self.device.data_ptr_mut() as sys::CUdeviceptr;
        // SAFETY: the tensor has as many values. Both stay, and nobody touches the values, until the
        // copy is done: Gpu::run waits, whatever fails, and so does drop().
        unsafe { memcpy_htod_async(device, self.values(), self.stream.cu_stream()) }
            .map_err(failure)
    }

    fn download(&mut self) -> Result<(), EngineError> {
        self.stream.context().bind_to_thread().map_err(failure)?;
        let stream = self.stream.cu_stream();
        let device = self.device.data_ptr_mut() as sys::CUdeviceptr;
        // SAFETY: as above.
        unsafe { memcpy_dtoh_async(self.values_mut(), device, stream) }.map_err(failure)
    }
}

impl<T: PrimitiveTensorElementType + fmt::Debug> Drop for Pinned<T> {
    fn drop(&mut self) {
        let _turn = turn();
        let waited =
            self.stream.context().bind_to_thread().and_then(|()| self.stream.synchronize());
        // Without an answer a copy may go on for all we know: the memory is left to the process's end.
        if waited.is_ok() {
            // SAFETY: it came from malloc_host, and nothing is copied to or from it any more. Where
            // it cannot be freed it stays.
            let _ = unsafe { free_host(self.host.as_ptr().cast()) };
        }
    }
}

/// Types of which all zeros is a value.
pub trait Number: Copy + Send {}

impl Number for f32 {}
impl Number for u8 {}

/// A failure of the driver while a network runs.
pub fn failure(err: impl fmt::Debug) -> EngineError {
    EngineError(format!("the GPU fails: {err:?}"))
}
