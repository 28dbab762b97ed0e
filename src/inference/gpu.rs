// SPDX-License-Identifier: MIT OR Apache-2.0

//! An NVIDIA GPU: a stream of its own for each session, and memory on both sides of the bus.
//!
//! ONNX Runtime copies inputs and outputs on its own, but from and to memory of its choice, one
//! after the other. CUDA graphs need addresses that stay, and copies that do not wait for each other
//! need pinned memory and a stream.

use std::{
    path::Path,
    ptr::NonNull,
    slice,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use cudarc::driver::{
    CudaContext, CudaStream, DriverError,
    result::{free_host, malloc_host, memcpy_dtoh_async, memcpy_htod_async},
    sys::{self, CUresult},
};
use ort::{
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    value::{PrimitiveTensorElementType, Tensor},
};

/// Held alone while a CUDA graph is captured: what other threads allocate on the GPU meanwhile would
/// spoil it, as ONNX Runtime captures with `cudaStreamCaptureModeGlobal`.
static CAPTURE: RwLock<()> = RwLock::new(());

/// A turn for work that does not go together with a capture.
pub fn turn() -> RwLockReadGuard<'static, ()> {
    CAPTURE.read().unwrap_or_else(PoisonError::into_inner)
}

/// The turn of a thread that captures a graph, and nobody else's.
pub fn capture() -> RwLockWriteGuard<'static, ()> {
    CAPTURE.write().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there is an NVIDIA GPU with a driver here, in a PC or a Jetson.
pub fn has_nvidia_gpu() -> bool {
    ["/dev/nvidiactl", "/dev/nvhost-ctrl-gpu", "/dev/nvgpu"].iter().any(|p| Path::new(p).exists())
}

/// Where one session's work is done, in order.
pub struct Stream {
    stream: Arc<CudaStream>,
    device: u32,
}

impl Stream {
    /// On GPU number `device`, or why not.
    pub fn new(device: u32) -> Result<Self, String> {
        // SAFETY: loads the driver's library, as ONNX Runtime's provider does.
        if !unsafe { sys::is_culib_present() } {
            return Err(
                "NVIDIA's driver is not installed: its libcuda.so.1 was not found".to_owned()
            );
        }
        let count = CudaContext::device_count().map_err(|err| match err.0 {
            CUresult::CUDA_ERROR_NO_DEVICE => "the driver finds no NVIDIA GPU".to_owned(),
            _ => format!("NVIDIA's driver does not start: {err:?}"),
        })?;
        if i64::from(device) >= i64::from(count) {
            return Err(format!("there is no GPU {device}, only {count}, counted from 0"));
        }
        let stream = CudaContext::new(device as usize).and_then(|context| context.new_stream());
        match stream {
            Ok(stream) => Ok(Self { stream, device }),
            Err(err) => Err(format!("the GPU cannot be used: {err:?}")),
        }
    }

    /// A `cudaStream_t`.
    pub fn as_ptr(&self) -> *mut () {
        self.stream.cu_stream().cast()
    }

    /// The GPU's name and compute capability, such as "Orin sm87".
    pub fn device_name(&self) -> Result<String, DriverError> {
        let context = self.stream.context();
        let (major, minor) = context.compute_capability()?;
        Ok(format!("{} sm{major}{minor}", context.name()?))
    }

    /// Waits until all is done that was begun.
    pub fn wait(&self) -> Result<(), DriverError> {
        self.stream.synchronize()
    }
}

/// Values in pinned memory and their twins on a GPU, neither of which ever moves.
pub struct Twin<T: PrimitiveTensorElementType + std::fmt::Debug> {
    host: NonNull<T>,
    len: usize,
    device: Tensor<T>,
    stream: Arc<CudaStream>,
}

// SAFETY: the memory is this value's own, and any thread may use it.
unsafe impl<T: PrimitiveTensorElementType + std::fmt::Debug + Send> Send for Twin<T> {}

impl<T: PrimitiveTensorElementType + std::fmt::Debug + Copy> Twin<T> {
    /// Zeros on the host, anything on the device of `session`.
    pub fn new(
        session: &ort::session::Session,
        stream: &Stream,
        shape: &[i64],
    ) -> Result<Self, ort::Error> {
        let _turn = turn();
        let failed = |err: DriverError| ort::Error::new(format!("no pinned memory: {err:?}"));
        let len = shape.iter().product::<i64>() as usize;
        let memory = MemoryInfo::new(
            AllocationDevice::CUDA,
            stream.device as i32,
            AllocatorType::Device,
            MemoryType::Default,
        )?;
        let device = Tensor::new(&Allocator::new(session, memory)?, shape)?;
        let stream = &stream.stream;
        stream.context().bind_to_thread().map_err(failed)?;
        // SAFETY: freed when this value is dropped; all zeros is a number in every type of tensor.
        let host = unsafe {
            let host = malloc_host(len * size_of::<T>(), 0).map_err(failed)?.cast::<T>();
            host.write_bytes(0, len);
            host
        };
        let host = NonNull::new(host).ok_or_else(|| ort::Error::new("no pinned memory"))?;
        Ok(Self { host, len, device, stream: Arc::clone(stream) })
    }

    pub fn device(&mut self) -> &mut Tensor<T> {
        &mut self.device
    }

    /// What [`Self::download`] brought, once the stream has been waited for.
    pub fn values(&self) -> &[T] {
        // SAFETY: valid from new() to drop(), and initialised there.
        unsafe { slice::from_raw_parts(self.host.as_ptr(), self.len) }
    }

    pub fn values_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the only reference.
        unsafe { slice::from_raw_parts_mut(self.host.as_ptr(), self.len) }
    }

    /// Begins to copy to the device. The stream is to be waited for before the values change.
    pub fn upload(&mut self) -> Result<(), DriverError> {
        self.stream.context().bind_to_thread()?;
        let device = self.device.data_ptr_mut() as sys::CUdeviceptr;
        // SAFETY: both are of this length, and stay.
        unsafe { memcpy_htod_async(device, self.values(), self.stream.cu_stream()) }
    }

    /// Begins to copy from the device. The stream is to be waited for before the values are read.
    pub fn download(&mut self) -> Result<(), DriverError> {
        let stream = self.stream.cu_stream();
        let device = self.device.data_ptr_mut() as sys::CUdeviceptr;
        // SAFETY: both are of this length, and stay.
        unsafe { memcpy_dtoh_async(self.values_mut(), device, stream) }
    }
}

impl<T: PrimitiveTensorElementType + std::fmt::Debug> Drop for Twin<T> {
    fn drop(&mut self) {
        let _turn = turn();
        // What fails here leaves memory to the end of the process.
        let _ = self.stream.context().bind_to_thread();
        // SAFETY: it came from malloc_host, and copies have been waited for with the stream.
        let _ = unsafe { free_host(self.host.as_ptr().cast()) };
    }
}
