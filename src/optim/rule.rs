//! How an update moves the weights: the rule of the optimiser that was chosen.

use tch::{TchError, Tensor};

use super::adam::Adam;
use super::memory::MOST_SLOTS;
use crate::config::Config;
use crate::kernels::float::Real;

/// An optimiser's rule, each in a file of its own.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// [`Adam`].
    Adam(Adam),
}

impl Rule {
    /// That of a validated configuration.
    pub fn new(config: &Config) -> Self {
        Self::Adam(Adam::new(config))
    }

    /// The numbers that it keeps of every weight, zero at first, under their names in checkpoints.
    pub fn slots(self) -> &'static [&'static str] {
        match self {
            Self::Adam(adam) => adam.slots(),
        }
    }

    /// The step size of update t, from 1, which has this learning rate.
    fn rate(self, learning_rate: f64, t: f64) -> f64 {
        match self {
            Self::Adam(adam) => adam.rate(learning_rate, t),
        }
    }
}

/// One update of every weight.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    rule: Rule,
    rate: f64,
}

impl Update {
    /// Update t, from 1, by `rule`.
    pub fn new(rule: Rule, learning_rate: f64, t: i64) -> Self {
        Self { rule, rate: rule.rate(learning_rate, t as f64) }
    }

    /// Updates some parameters θ and their slots by their gradient.
    pub fn apply<F: Real>(
        &self,
        theta: &mut [F],
        slots: &mut [&mut [F]; MOST_SLOTS],
        gradient: &[F],
    ) {
        match self.rule {
            Rule::Adam(adam) => adam.apply(self.rate, theta, slots, gradient),
        }
    }

    /// The same as libtorch operations, on any device; `slots` are as many as the rule has.
    ///
    /// # Errors
    /// libtorch's.
    pub fn apply_by_operations(
        &self,
        theta: &mut Tensor,
        slots: &mut [Tensor],
        gradient: &Tensor,
    ) -> Result<(), TchError> {
        match self.rule {
            Rule::Adam(adam) => adam.apply_by_operations(self.rate, theta, slots, gradient),
        }
    }
}
