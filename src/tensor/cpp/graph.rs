//! CUDA graphs: work of a GPU that is recorded once and then queued by one launch; and the streams that
//! it takes. By `cuda.cpp`, since tch binds neither.

use std::cell::Cell;

use tch::{Device, TchError};

use crate::tensor::device;

/// Whether the program was built with what graphs need: a libtorch with CUDA, and CUDA's headers.
pub const BUILT: bool = cfg!(seqlab_cuda);

/// Whether work on `device` can be recorded.
pub fn possible(device: Device) -> bool {
    BUILT && device::gpu(device).is_some()
}

thread_local! {
    /// This thread's own stream, once it has one: the GPU's number, and libtorch's for the stream.
    static OWN: Cell<Option<(i32, i64)>> = const { Cell::new(None) };
}

/// The queue of a device that a thread's work goes to: the GPU's number, and libtorch's for the stream; `None`:
/// the default one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream(Option<(i32, i64)>);

impl Stream {
    /// This thread's own stream, on which work can be recorded, if that is possible on `device`. All that
    /// the thread does there should come after the first call: libtorch differentiates on the stream that
    /// it computed on.
    ///
    /// # Errors
    /// CUDA's.
    pub fn own(device: Device) -> Result<Self, TchError> {
        let Some(index) = device::gpu(device).filter(|_| BUILT) else { return Ok(Self(None)) };
        let index = index as i32;
        if OWN.get().is_none_or(|(of, _)| of != index) {
            let _alone = device::not_recording();
            OWN.set(Some((index, calls::own_stream(index)?)));
        }
        Ok(Self(OWN.get()))
    }

    /// Has this thread's work go to it too.
    ///
    /// # Errors
    /// CUDA's.
    pub fn share(self) -> Result<(), TchError> {
        self.0.map_or(Ok(()), |(index, number)| calls::use_stream(index, number))
    }
}

/// Recorded work.
#[derive(Debug)]
pub struct Graph(calls::Handle);

impl Graph {
    /// Records what `work` queues on this thread's own stream, which is not done then. Its tensors stay
    /// where they are for as long as the graph lives; it must not wait for the device.
    ///
    /// # Errors
    /// Those of `work`, and CUDA's where it cannot be recorded.
    pub fn record<T>(work: impl FnOnce() -> Result<T, TchError>) -> Result<(Self, T), TchError> {
        let _alone = device::not_recording();
        let graph = calls::begin()?;
        let done = work();
        let ended = calls::end(&graph);
        let done = done?;
        ended?;
        Ok((Self(graph), done))
    }

    /// Queues what was recorded.
    ///
    /// # Errors
    /// CUDA's.
    pub fn replay(&self) -> Result<(), TchError> {
        calls::replay(&self.0)
    }
}

/// The calls of `cuda.cpp`.
#[cfg(seqlab_cuda)]
mod calls {
    use std::ffi::{c_int, c_void};
    use std::ptr;

    use tch::TchError;

    use crate::tensor::cpp::checked;

    unsafe extern "C" {
        fn seqlab_cuda_own_stream(device: c_int, stream: *mut i64) -> c_int;
        fn seqlab_cuda_use_stream(device: c_int, stream: i64) -> c_int;
        fn seqlab_cuda_graph_begin(graph: *mut *mut c_void) -> c_int;
        fn seqlab_cuda_graph_end(graph: *mut c_void) -> c_int;
        fn seqlab_cuda_graph_replay(graph: *mut c_void) -> c_int;
        fn seqlab_cuda_graph_free(graph: *mut c_void) -> c_int;
    }

    /// A CUDA graph that libtorch made.
    #[derive(Debug)]
    pub struct Handle(*mut c_void);

    impl Drop for Handle {
        fn drop(&mut self) {
            // SAFETY: it was made by `begin`, and nothing else has it.
            let _ = unsafe { seqlab_cuda_graph_free(self.0) };
        }
    }

    pub fn own_stream(device: i32) -> Result<i64, TchError> {
        let mut stream = 0;
        // SAFETY: the number is written before the call returns.
        checked(unsafe { seqlab_cuda_own_stream(device, &raw mut stream) })?;
        Ok(stream)
    }

    pub fn use_stream(device: i32, stream: i64) -> Result<(), TchError> {
        // SAFETY: it takes two numbers.
        checked(unsafe { seqlab_cuda_use_stream(device, stream) })
    }

    pub fn begin() -> Result<Handle, TchError> {
        let mut graph = ptr::null_mut();
        // SAFETY: the pointer is written before the call returns.
        checked(unsafe { seqlab_cuda_graph_begin(&raw mut graph) })?;
        Ok(Handle(graph))
    }

    pub fn end(graph: &Handle) -> Result<(), TchError> {
        // SAFETY: `begin` made it.
        checked(unsafe { seqlab_cuda_graph_end(graph.0) })
    }

    pub fn replay(graph: &Handle) -> Result<(), TchError> {
        // SAFETY: `begin` made it; libtorch refuses one that was not recorded whole.
        checked(unsafe { seqlab_cuda_graph_replay(graph.0) })
    }
}

/// Without them nothing can be recorded, and nobody asks for it.
#[cfg(not(seqlab_cuda))]
mod calls {
    use tch::TchError;

    /// Of nothing.
    #[derive(Debug)]
    pub enum Handle {}

    fn absent() -> TchError {
        TchError::Torch("this build has no CUDA graphs".to_owned())
    }

    pub fn own_stream(_: i32) -> Result<i64, TchError> {
        Err(absent())
    }

    pub fn use_stream(_: i32, _: i64) -> Result<(), TchError> {
        Err(absent())
    }

    pub fn begin() -> Result<Handle, TchError> {
        Err(absent())
    }

    pub fn end(_: &Handle) -> Result<(), TchError> {
        Err(absent())
    }

    pub fn replay(_: &Handle) -> Result<(), TchError> {
        Err(absent())
    }
}
