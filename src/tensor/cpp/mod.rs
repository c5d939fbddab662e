//! What tch does not bind, in C++ of our own against libtorch's headers: an LSTM with a gradient of its own, Adam in
//! one pass and, in builds with CUDA, kernels, streams and graphs.
//!
//! `lstm.cpp`, `adam.cpp` and `operations.cpp`, which counts launches for tests, are in every build. `cuda.cpp` wants a
//! libtorch with CUDA and the headers of CUDA's runtime; `build.rs` says where it looks for them, and without them the
//! program does as well, more slowly on a GPU.
//! `sequence.cuh` has the kernels. NVRTC, which libtorch brings, compiles them when they are first used: so no CUDA
//! compiler is needed, and they are made for the card that is there. `emulated.h` runs them on the CPU in tests.

pub mod adam;
pub mod graph;
pub mod lstm;
#[cfg(test)]
pub mod operations;

use std::ffi::{CStr, c_char, c_int};

use tch::TchError;

unsafe extern "C" {
    fn seqlab_message() -> *const c_char;
}

/// What a call that returned `status` came to.
fn checked(status: c_int) -> Result<(), TchError> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: it is a string that lives until this thread's next failure.
    let message = unsafe { CStr::from_ptr(seqlab_message()) };
    Err(TchError::Torch(message.to_string_lossy().into_owned()))
}
