//! libtorch's update by Adam in one pass.

use std::ffi::c_int;

use tch::{Kind, TchError, Tensor};
use torch_sys::C_tensor;

use super::checked;

unsafe extern "C" {
    fn seqlab_adam(
        theta: *const C_tensor,
        m: *const C_tensor,
        v: *const C_tensor,
        gradient: *const C_tensor,
        rate: *const C_tensor,
        beta_1: f64,
        beta_2: f64,
        epsilon: f64,
    ) -> c_int;
}

/// Whether [`adam`] is for `theta`: on a GPU its rate is of float32, too coarse for weights of float64.
pub fn serves(theta: &Tensor) -> bool {
    theta.kind() == Kind::Float
}

/// Updates θ and the moments m and v, all of a shape, by their gradient, with one kernel on a GPU instead of eight:
///
/// ```text
/// m ← β₁m + (1 − β₁)g        v ← β₂v + (1 − β₂)g²        θ ← θ − rate · m / (√v + ε)
/// ```
///
/// `rate` has no axis; all are float32.
///
/// # Errors
/// If shapes, dtypes or devices do not match, or memory is short.
pub fn adam(
    theta: &mut Tensor,
    [m, v]: [&mut Tensor; 2],
    gradient: &Tensor,
    rate: &Tensor,
    [beta_1, beta_2]: [f64; 2],
    epsilon: f64,
) -> Result<(), TchError> {
    // SAFETY: the tensors outlive the call.
    checked(unsafe {
        seqlab_adam(
            theta.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            gradient.as_ptr(),
            rate.as_ptr(),
            beta_1,
            beta_2,
            epsilon,
        )
    })
}
