//! Adam, on the flat parameter buffer.

use tch::{TchError, Tensor};

use crate::config::Config;
use crate::parameters::Parameters;

/// Adam (Kingma and Ba, 2015) as Keras writes it, with ε outside the bias correction:
///
/// ```text
/// m ← β₁m + (1 − β₁)g        v ← β₂v + (1 − β₂)g²        t ← t + 1
/// θ ← θ − lr · √(1 − β₂ᵗ)/(1 − β₁ᵗ) · m / (√v + ε)
/// ```
///
/// PyTorch corrects v before it adds ε, which makes early steps differ.
#[derive(Debug)]
pub struct Adam {
    learning_rate: f64,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    global_clipnorm: Option<f64>,
    /// t: updates done.
    pub step: i64,
    /// First moment m, laid out as [`Parameters::flat`].
    pub m: Tensor,
    /// Second moment v, laid out as [`Parameters::flat`].
    pub v: Tensor,
    scratch: Tensor,
}

impl Adam {
    /// An optimiser of `parameters` that has done no step.
    ///
    /// # Errors
    /// libtorch's, above all when memory is short.
    pub fn new(config: &Config, parameters: &Parameters) -> Result<Self, TchError> {
        let zeros = || parameters.flat().f_zeros_like();
        Ok(Self {
            learning_rate: config.learning_rate,
            beta_1: config.beta_1,
            beta_2: config.beta_2,
            epsilon: config.epsilon,
            global_clipnorm: config.global_clipnorm,
            step: 0,
            m: zeros()?,
            v: zeros()?,
            scratch: zeros()?,
        })
    }

    /// Moves `parameters` along the gradient they hold. Where clipping is on, returns the norm
    /// `(R)` of each replica's gradient before it was clipped.
    ///
    /// # Errors
    /// libtorch's.
    pub fn update(&mut self, parameters: &Parameters) -> Result<Option<Tensor>, TchError> {
        let norm = self.global_clipnorm.map(|most| clip(parameters, most)).transpose()?;
        let (gradient, scratch) = (parameters.gradient(), &mut self.scratch);
        self.step += 1;
        let t = self.step as f64;
        let rate =
            self.learning_rate * (1.0 - self.beta_2.powf(t)).sqrt() / (1.0 - self.beta_1.powf(t));
        let _ = self.m.f_lerp_(gradient, 1.0 - self.beta_1)?;
        let _ = gradient.f_mul_out(scratch, gradient)?;
        let _ = self.v.f_lerp_(scratch, 1.0 - self.beta_2)?;
        let _ = self.v.f_sqrt_out(scratch)?;
        let _ = scratch.f_add_scalar_(self.epsilon)?;
        let _ = self.m.f_div_out(scratch, scratch)?;
        let _ = scratch.f_mul_scalar_(-rate)?;
        let _ = parameters.flat().shallow_clone().f_add_(scratch)?;
        Ok(norm)
    }
}

/// Scales every replica's gradient g by min(1, `most` / ‖g‖₂), the norm taken over all of its
/// parameters, and returns ‖g‖₂ `(R)`. A norm that is not finite stays what it is.
fn clip(parameters: &Parameters, most: f64) -> Result<Tensor, TchError> {
    let mut parts = parameters.split(parameters.gradient())?;
    let squares: Result<Vec<_>, _> = parts
        .iter()
        .map(|part| {
            part.f_flatten(1, -1)?.f_square()?.f_sum_dim_intlist(
                [-1].as_slice(),
                false,
                None::<tch::Kind>,
            )
        })
        .collect();
    let norm = Tensor::f_stack(&squares?, 0)?
        .f_sum_dim_intlist([0].as_slice(), false, None::<tch::Kind>)?
        .f_sqrt()?;
    let scale = norm.f_reciprocal()?.f_mul_scalar(most)?.f_clamp_max(1.0)?;
    for part in &mut parts {
        let mut shape = vec![1; part.dim()];
        shape[0] = parameters.replicas();
        let _ = part.f_mul_(&scale.f_view(shape.as_slice())?)?;
    }
    Ok(norm)
}
