//! RMSprop.

use tch::{TchError, Tensor};

use super::memory::{CHUNK, MOST_SLOTS, ask_ahead};
use super::moment::{kept, least};
use crate::config::Config;
use crate::kernels::float::{Real, widest};

/// RMSprop (Tieleman and Hinton, 2012) as Keras writes it, not centered, with momentum µ:
///
/// ```text
/// v ← ρv + (1 − ρ)g²
/// θ ← θ − lr · g / √(v + ε)              without momentum
/// m ← µm + lr · g / √(v + ε)
/// θ ← θ − m                              with it
/// ```
///
/// PyTorch adds ε outside the root, and the learning rate after the momentum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsProp {
    rho: f64,
    momentum: f64,
    epsilon: f64,
}

impl RmsProp {
    /// With the decay, momentum and ε of `config`.
    pub fn new(config: &Config) -> Self {
        let (rho, momentum) = (config.rho.unwrap_or(0.9), config.momentum.unwrap_or(0.0));
        Self { rho, momentum, epsilon: config.epsilon }
    }

    /// The mean of squares v and, with momentum, m.
    pub fn slots(self) -> &'static [&'static str] {
        if self.momentum > 0.0 { &["rmsprop.v", "rmsprop.m"] } else { &["rmsprop.v"] }
    }

    /// Updates some parameters and their slots by their gradient.
    pub fn apply<F: Real>(
        self,
        rate: f64,
        theta: &mut [F],
        slots: &mut [&mut [F]; MOST_SLOTS],
        gradient: &[F],
    ) {
        let [v, m] = slots;
        let share = 1.0 - self.rho;
        let [weight, epsilon, rate] = [share, self.epsilon, rate].map(F::from_f64);
        let settings = [weight, least(share), epsilon, rate];
        if self.momentum > 0.0 {
            let momentum = [F::from_f64(self.momentum), least(1.0 - self.momentum)];
            rmsprop_with_momentum(theta, v, m, gradient, settings, momentum);
        } else {
            rmsprop(theta, v, gradient, settings);
        }
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
        let [v, momentum @ ..] = slots else { return Ok(()) };
        let _ = v.f_lerp_(&gradient.f_square()?, 1.0 - self.rho)?;
        let root = v.f_add_scalar(self.epsilon)?.f_sqrt()?;
        let change = gradient.f_mul(rate)?.f_div(&root)?;
        let _ = match momentum {
            [m, ..] => theta.f_sub_(&m.f_mul_scalar_(self.momentum)?.f_add_(&change)?)?,
            [] => theta.f_sub_(&change)?,
        };
        Ok(())
    }
}

widest! {
    /// RMSprop's update of every number.
    rmsprop<F: Real>(
        theta: &mut [F], v: &mut [F], gradient: &[F], settings: [F; 4],
    ) by rmsprop_body
}

#[inline(always)]
fn rmsprop_body<F: Real>(
    theta: &mut [F],
    v: &mut [F],
    gradient: &[F],
    [weight, least, epsilon, rate]: [F; 4],
) {
    for first in (0..theta.len()).step_by(CHUNK) {
        let chunk = first..theta.len().min(first + CHUNK);
        let (theta, v) = (&mut theta[chunk.clone()], &mut v[chunk.clone()]);
        ask_ahead([theta.as_ptr(), v.as_ptr()]);
        for ((theta, v), &g) in theta.iter_mut().zip(v).zip(&gradient[chunk]) {
            *v = kept(*v + (g * g - *v) * weight, least);
            *theta = *theta - rate * g / (*v + epsilon).sqrt();
        }
    }
}

widest! {
    /// RMSprop's update of every number, with momentum.
    rmsprop_with_momentum<F: Real>(
        theta: &mut [F], v: &mut [F], m: &mut [F], gradient: &[F], settings: [F; 4], momentum: [F; 2],
    ) by rmsprop_with_momentum_body
}

#[inline(always)]
fn rmsprop_with_momentum_body<F: Real>(
    theta: &mut [F],
    v: &mut [F],
    m: &mut [F],
    gradient: &[F],
    [weight, least, epsilon, rate]: [F; 4],
    [momentum, least_m]: [F; 2],
) {
    for first in (0..theta.len()).step_by(CHUNK) {
        let chunk = first..theta.len().min(first + CHUNK);
        let (theta, v, m) =
            (&mut theta[chunk.clone()], &mut v[chunk.clone()], &mut m[chunk.clone()]);
        ask_ahead([theta.as_ptr(), v.as_ptr(), m.as_ptr()]);
        for (((theta, v), m), &g) in theta.iter_mut().zip(v).zip(m).zip(&gradient[chunk]) {
            *v = kept(*v + (g * g - *v) * weight, least);
            *m = kept(momentum * *m + rate * g / (*v + epsilon).sqrt(), least_m);
            *theta = *theta - *m;
        }
    }
}
