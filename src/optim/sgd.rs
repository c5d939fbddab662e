//! Stochastic gradient descent.

use tch::{TchError, Tensor};

use super::memory::{CHUNK, MOST_SLOTS, ask_ahead};
use super::moment::{kept, least};
use crate::config::Config;
use crate::kernels::float::{Real, widest};

/// Stochastic gradient descent as Keras writes it, with momentum µ, and Nesterov's (Sutskever et
/// al., 2013):
///
/// ```text
/// θ ← θ − lr · g                         without momentum
/// m ← µm − lr · g
/// θ ← θ + m                              with it
/// θ ← θ + µm − lr · g                    Nesterov's
/// ```
///
/// PyTorch's m is free of the learning rate, which differs where that changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    momentum: f64,
    nesterov: bool,
}

impl Sgd {
    /// With the momentum of `config`.
    pub fn new(config: &Config) -> Self {
        let nesterov = config.nesterov.unwrap_or(false);
        Self { momentum: config.momentum.unwrap_or(0.0), nesterov }
    }

    /// With momentum m, otherwise nothing.
    pub fn slots(self) -> &'static [&'static str] {
        if self.momentum > 0.0 { &["sgd.m"] } else { &[] }
    }

    /// Updates some parameters and their slots by their gradient.
    pub fn apply<F: Real>(
        self,
        rate: f64,
        theta: &mut [F],
        slots: &mut [&mut [F]; MOST_SLOTS],
        gradient: &[F],
    ) {
        let [m, _] = slots;
        let rate = F::from_f64(rate);
        if self.momentum > 0.0 {
            let momentum = [F::from_f64(self.momentum), least(1.0 - self.momentum)];
            sgd_with_momentum(theta, m, gradient, momentum, rate, self.nesterov);
        } else {
            sgd(theta, gradient, rate);
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
        let change = gradient.f_mul(rate)?;
        let [m, ..] = slots else {
            let _ = theta.f_sub_(&change)?;
            return Ok(());
        };
        let _ = m.f_mul_scalar_(self.momentum)?.f_sub_(&change)?;
        let _ = match self.nesterov {
            true => theta.f_add_(&m.f_mul_scalar(self.momentum)?.f_sub_(&change)?)?,
            false => theta.f_add_(m)?,
        };
        Ok(())
    }
}

widest! {
    /// Gradient descent's update of every number.
    sgd<F: Real>(theta: &mut [F], gradient: &[F], rate: F) by sgd_body
}

#[inline(always)]
fn sgd_body<F: Real>(theta: &mut [F], gradient: &[F], rate: F) {
    for first in (0..theta.len()).step_by(CHUNK) {
        let chunk = first..theta.len().min(first + CHUNK);
        let theta = &mut theta[chunk.clone()];
        ask_ahead([theta.as_ptr()]);
        for (theta, &g) in theta.iter_mut().zip(&gradient[chunk]) {
            *theta = *theta - rate * g;
        }
    }
}

widest! {
    /// Gradient descent's update of every number, with momentum.
    sgd_with_momentum<F: Real>(
        theta: &mut [F], m: &mut [F], gradient: &[F], momentum: [F; 2], rate: F, nesterov: bool,
    ) by sgd_with_momentum_body
}

#[inline(always)]
fn sgd_with_momentum_body<F: Real>(
    theta: &mut [F],
    m: &mut [F],
    gradient: &[F],
    [momentum, least]: [F; 2],
    rate: F,
    nesterov: bool,
) {
    for first in (0..theta.len()).step_by(CHUNK) {
        let chunk = first..theta.len().min(first + CHUNK);
        let (theta, m) = (&mut theta[chunk.clone()], &mut m[chunk.clone()]);
        ask_ahead([theta.as_ptr(), m.as_ptr()]);
        for ((theta, m), &g) in theta.iter_mut().zip(m).zip(&gradient[chunk]) {
            *m = kept(momentum * *m - rate * g, least);
            *theta += if nesterov { momentum * *m - rate * g } else { *m };
        }
    }
}
