//! Gradients whose norm is bounded.

use tch::{Kind, TchError, Tensor};

use crate::tensor::parameters::Parameters;

/// What a gradient with this norm is multiplied by, so that it has at most `most`: 0 if the norm is infinite, and not a
/// number if the norm is none.
pub fn factor(norm: f64, most: f64) -> f64 {
    if norm <= most { 1.0 } else { most / norm }
}

/// Scales every replica's gradient g by min(1, `most` / ‖g‖₂), the norm taken over all of its
/// parameters, and returns ‖g‖₂ `(R)`. A norm that is not finite stays what it is.
///
/// # Errors
/// libtorch's.
pub fn clip(parameters: &Parameters, most: f64) -> Result<Tensor, TchError> {
    let mut parts = parameters.split(parameters.gradient())?;
    let squares: Result<Vec<_>, _> = parts
        .iter()
        .map(|part| {
            part.f_flatten(1, -1)?.f_square()?.f_sum_dim_intlist(
                [-1].as_slice(),
                false,
                None::<Kind>,
            )
        })
        .collect();
    let norm = Tensor::f_stack(&squares?, 0)?
        .f_sum_dim_intlist([0].as_slice(), false, None::<Kind>)?
        .f_sqrt()?;
    let scale = norm.f_reciprocal()?.f_mul_scalar(most)?.f_clamp_max(1.0)?;
    for part in &mut parts {
        let mut shape = vec![1; part.dim()];
        shape[0] = parameters.replicas();
        let _ = part.f_mul_(&scale.f_view(shape.as_slice())?)?;
    }
    Ok(norm)
}
