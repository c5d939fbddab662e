//! Mean errors as libtorch operations.

use tch::{Kind, TchError, Tensor};

use super::Power;
use crate::model::losses::Target;

/// Each replica's loss `(R)` of `outputs` `(R, Tout, B, features)` against the numbers `target`: the
/// mean over B, Tout and features of (output − target)² or |output − target|.
///
/// # Errors
/// libtorch's.
pub fn loss(outputs: &Tensor, target: Target<'_>, power: Power) -> Result<Tensor, TchError> {
    let error = outputs.f_sub(&target.steps.f_transpose(1, 2)?)?;
    let each = match power {
        Power::Squared => error.f_square()?,
        Power::Absolute => error.f_abs()?,
    };
    let of_steps = each.f_mean_dim([-1].as_slice(), false, None::<Kind>)?;
    target.mean(&of_steps.f_contiguous()?, outputs.kind())
}
