//! Adam, and AdamW with the weight decay that every optimiser may have.

use tch::{TchError, Tensor};

use super::memory::{CHUNK, MOST_SLOTS, ask_ahead};
use super::moment::{kept, least};
use crate::config::Config;
use crate::kernels::float::{Real, widest};
use crate::tensor::cpp::adam as fused;

/// Adam (Kingma and Ba, 2015) as Keras writes it, with ε outside the bias correction:
///
/// ```text
/// m ← β₁m + (1 − β₁)g        v ← β₂v + (1 − β₂)g²
/// θ ← θ − lr · √(1 − β₂ᵗ)/(1 − β₁ᵗ) · m / (√v + ε)
/// ```
///
/// PyTorch corrects v before it adds ε, which makes early steps differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
}

impl Adam {
    /// With the decays and the ε of `config`.
    pub fn new(config: &Config) -> Self {
        Self { beta_1: config.beta_1, beta_2: config.beta_2, epsilon: config.epsilon }
    }

    /// First moment m and second moment v.
    pub fn slots(self) -> &'static [&'static str] {
        &["adam.m", "adam.v"]
    }

    /// The step size of update t, lr · √(1 − β₂ᵗ)/(1 − β₁ᵗ).
    pub fn rate(self, learning_rate: f64, t: f64) -> f64 {
        learning_rate * (1.0 - self.beta_2.powf(t)).sqrt() / (1.0 - self.beta_1.powf(t))
    }

    /// Updates some parameters and their moments by their gradient.
    pub fn apply<F: Real>(
        self,
        rate: f64,
        theta: &mut [F],
        slots: &mut [&mut [F]; MOST_SLOTS],
        gradient: &[F],
    ) {
        let [m, v] = slots;
        let shares = [1.0 - self.beta_1, 1.0 - self.beta_2];
        let (weights, least) = (shares.map(F::from_f64), shares.map(least));
        adam(theta, m, v, gradient, weights, least, [self.epsilon, rate].map(F::from_f64));
    }

    /// The same as libtorch operations, on any device; `rate` has no axis.
    ///
    /// # Errors
    /// libtorch's.
    pub fn apply_by_operations(
        self,
        rate: &Tensor,
        theta: &mut Tensor,
        slots: &mut [Tensor],
        gradient: &Tensor,
    ) -> Result<(), TchError> {
        let [m, v] = slots else { return Ok(()) };
        if fused::serves(theta) {
            let betas = [self.beta_1, self.beta_2];
            return fused::adam(theta, [m, v], gradient, rate, betas, self.epsilon);
        }
        let _ = m.f_lerp_(gradient, 1.0 - self.beta_1)?;
        let _ = v.f_lerp_(&gradient.f_square()?, 1.0 - self.beta_2)?;
        let change = m.f_div(&v.f_sqrt()?.f_add_scalar_(self.epsilon)?)?;
        let _ = theta.f_sub_(&change.f_mul(rate)?)?;
        Ok(())
    }
}

widest! {
    /// Adam's update of every number.
    adam<F: Real>(
        theta: &mut [F], m: &mut [F], v: &mut [F], gradient: &[F],
        weights: [F; 2], least: [F; 2], epsilon_and_rate: [F; 2],
    ) by adam_body
}

#[inline(always)]
fn adam_body<F: Real>(
    theta: &mut [F],
    m: &mut [F],
    v: &mut [F],
    gradient: &[F],
    [weight_1, weight_2]: [F; 2],
    [least_1, least_2]: [F; 2],
    [epsilon, rate]: [F; 2],
) {
    for first in (0..theta.len()).step_by(CHUNK) {
        let chunk = first..theta.len().min(first + CHUNK);
        let (theta, m, v) =
            (&mut theta[chunk.clone()], &mut m[chunk.clone()], &mut v[chunk.clone()]);
        ask_ahead([theta.as_ptr(), m.as_ptr(), v.as_ptr()]);
        for (((theta, m), v), &g) in theta.iter_mut().zip(m).zip(v).zip(&gradient[chunk]) {
            *m = kept(*m + (g - *m) * weight_1, least_1);
            *v = kept(*v + (g * g - *v) * weight_2, least_2);
            *theta = *theta - rate * *m / (v.sqrt() + epsilon);
        }
    }
}
