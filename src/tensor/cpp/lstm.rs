//! An LSTM's recurrence with a gradient of its own: on a GPU one kernel for all time steps, or for each.

use std::ffi::c_int;
use std::ptr;

use tch::{Device, TchError, Tensor};
use torch_sys::C_tensor;

use super::checked;
use crate::tensor::device;

unsafe extern "C" {
    fn seqlab_lstm(
        results: *mut *mut C_tensor,
        projected: *const C_tensor,
        kernel: *const C_tensor,
        h: *const C_tensor,
        c: *const C_tensor,
        valid: *const C_tensor,
        mask: *const C_tensor,
        hard: c_int,
        together: c_int,
    ) -> c_int;
}

/// The most units that a kernel serves: a block has a thread for each.
const MOST_UNITS: i64 = 1024;

/// The most units for which one kernel does all time steps with their products: each of its blocks reads the whole
/// recurrent kernel in every step. On an H100, for one model as a CUDA graph, a step of `reverse` with 128 units took
/// .51 ms with it and .64 ms by libtorch's operations, one of `partial-echo-4` with 300 units .98 and .72 ms.
pub const MOST_TOGETHER: i64 = 192;

/// How the time steps of [`recurrence`] are launched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Launches {
    /// One kernel, products included, for all of them.
    Together,
    /// For each one, a product of libtorch's and a kernel for the rest.
    Each,
}

#[cfg(test)]
thread_local! {
    /// How this thread's models launch the kernels that the CPU emulates; `None`: they do not.
    pub static EMULATED: std::cell::Cell<Option<Launches>> = const { std::cell::Cell::new(None) };
}

impl Launches {
    /// The faster way for so many units on `device`; `None` where [`recurrence`] does not serve: it wants a GPU,
    /// a build with CUDA and at most 1,024 units.
    pub fn on(device: Device, units: i64) -> Option<Self> {
        #[cfg(test)]
        if let Some(emulated) = EMULATED.get() {
            return Some(emulated);
        }
        let served = units <= MOST_UNITS && device::gpu(device).is_some() && kernels().is_ok();
        served.then_some(if units <= MOST_TOGETHER { Self::Together } else { Self::Each })
    }
}

/// Finds what compiles and launches kernels.
#[cfg(seqlab_cuda)]
fn kernels() -> Result<(), TchError> {
    use std::ffi::{CString, c_char};

    unsafe extern "C" {
        fn seqlab_cuda_kernels(source: *const c_char) -> c_int;
    }
    let source = CString::new(include_str!("sequence.cuh"))
        .map_err(|error| TchError::Torch(error.to_string()))?;
    // SAFETY: it reads a string that outlives the call.
    checked(unsafe { seqlab_cuda_kernels(source.as_ptr()) })
}

#[cfg(not(seqlab_cuda))]
fn kernels() -> Result<(), TchError> {
    Err(TchError::Torch("this build has no kernels".to_owned()))
}

/// All time steps of an LSTM, given the input projections `(T, R, B, 4H)`, the recurrent kernel `(R, H, 4H)`
/// and h and c before the first step, `(R, B, H)`. Returns all outputs `(T, R, B, H)` and the last h and c.
/// Differentiable in every one of these. `hard`: whether gates are hard sigmoids.
///
/// Steps that are not `valid`, `(T, R, B, 1)` bool, leave the state as it is, and their output is zero.
/// The h that enters the product is multiplied by `mask`, `(R, B, H)`.
///
/// # Errors
/// If shapes, dtypes or devices do not match, memory is short, there are more than 1,024
/// units, or the device is not served.
pub fn recurrence(
    projected: &Tensor,
    recurrent_kernel: &Tensor,
    [h, c]: [&Tensor; 2],
    [valid, mask]: [Option<&Tensor>; 2],
    hard: bool,
    launches: Launches,
) -> Result<[Tensor; 3], TchError> {
    let (mut results, given) =
        ([ptr::null_mut(); 3], |of: Option<&Tensor>| of.map_or(ptr::null(), Tensor::as_ptr));
    // SAFETY: the tensors outlive the call, and a call that succeeds leaves three results.
    checked(unsafe {
        seqlab_lstm(
            results.as_mut_ptr(),
            projected.as_ptr(),
            recurrent_kernel.as_ptr(),
            h.as_ptr(),
            c.as_ptr(),
            given(valid),
            given(mask),
            c_int::from(hard),
            c_int::from(launches == Launches::Together),
        )
    })?;
    // SAFETY: each is a new tensor, and nothing else owns it.
    Ok(results.map(|result| unsafe { Tensor::from_ptr(result) }))
}
