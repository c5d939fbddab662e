//! How an update moves the weights: the rule of the optimiser that was chosen.

use tch::{TchError, Tensor};

use super::adam::Adam;
use super::decay::decay;
use super::memory::MOST_SLOTS;
use super::rmsprop::RmsProp;
use super::sgd::Sgd;
use crate::config::{Config, OptimizerKind};
use crate::kernels::float::Real;

/// An optimiser's rule, each in a file of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Adam or AdamW.
    Adam(Adam),
    /// RMSprop.
    RmsProp(RmsProp),
    /// Stochastic gradient descent.
    Sgd(Sgd),
}

impl Rule {
    /// That of a validated configuration.
    pub fn new(config: &Config) -> Self {
        match config.optimizer {
            OptimizerKind::Adam | OptimizerKind::AdamW => Self::Adam(Adam::new(config)),
            OptimizerKind::RmsProp => Self::RmsProp(RmsProp::new(config)),
            OptimizerKind::Sgd => Self::Sgd(Sgd::new(config)),
        }
    }

    /// The numbers that it keeps of every weight, zero at first, under their names in checkpoints.
    pub fn slots(self) -> &'static [&'static str] {
        match self {
            Self::Adam(adam) => adam.slots(),
            Self::RmsProp(rmsprop) => rmsprop.slots(),
            Self::Sgd(sgd) => sgd.slots(),
        }
    }

    /// Updates some parameters θ and their slots, as many as the rule has, by their gradient, all of one axis
    /// and dtype, as libtorch operations on any device; `rate`, the step size, has no axis.
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
        match self {
            Self::Adam(adam) => adam.apply_by_operations(rate, theta, slots, gradient),
            Self::RmsProp(rmsprop) => rmsprop.apply_by_operations(rate, theta, slots, gradient),
            Self::Sgd(sgd) => sgd.apply_by_operations(rate, theta, slots, gradient),
        }
    }

    /// The step size of update t, from 1, which has this learning rate.
    fn rate(self, learning_rate: f64, t: f64) -> f64 {
        match self {
            Self::Adam(adam) => adam.rate(learning_rate, t),
            Self::RmsProp(_) | Self::Sgd(_) => learning_rate,
        }
    }
}

/// One update of every weight: its decay, if there is any, and then the rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    rule: Rule,
    rate: f64,
    /// The part of every weight that its decay takes off.
    decayed: f64,
}

impl Update {
    /// Update t, from 1, by `rule` and with this weight decay.
    pub fn new(rule: Rule, weight_decay: f64, learning_rate: f64, t: i64) -> Self {
        let decayed = learning_rate * weight_decay;
        Self { rule, rate: rule.rate(learning_rate, t as f64), decayed }
    }

    /// Updates some parameters θ and their slots by their gradient.
    pub fn apply<F: Real>(
        &self,
        theta: &mut [F],
        slots: &mut [&mut [F]; MOST_SLOTS],
        gradient: &[F],
    ) {
        if self.decayed > 0.0 {
            decay(theta, F::from_f64(self.decayed));
        }
        let rate = self.rate;
        match self.rule {
            Rule::Adam(adam) => adam.apply(rate, theta, slots, gradient),
            Rule::RmsProp(rmsprop) => rmsprop.apply(rate, theta, slots, gradient),
            Rule::Sgd(sgd) => sgd.apply(rate, theta, slots, gradient),
        }
    }

    /// The rule's step size, and the part of every weight that its decay takes off.
    pub fn factors(&self) -> [f64; 2] {
        [self.rate, self.decayed]
    }
}
