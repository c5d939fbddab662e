//! Losses and what else a batch is scored by, a folder each: its pass of the fused engine and the same
//! as libtorch operations.

pub mod cross_entropy;

use tch::{TchError, Tensor};

use crate::kernels::float::Real;
use crate::tensor::device;

/// What a batch is scored by beside its loss. Its values have columns in `curves.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Share of ids that are right.
    Accuracy,
}

/// The most metrics of a loss.
pub const MOST_METRICS: usize = 1;

/// A value for each metric of a loss, in its order.
pub type Values = [f64; MOST_METRICS];

/// What a model is trained to make small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Of the outputs as logits, against ids.
    CrossEntropy,
}

impl Loss {
    /// What else it scores.
    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Self::CrossEntropy => &cross_entropy::METRICS,
        }
    }

    /// The value of `metric` among its `values`; `None` if it does not score that.
    pub fn value(self, metric: Metric, values: &Values) -> Option<f64> {
        let place = self.metrics().iter().position(|own| *own == metric)?;
        Some(values[place])
    }

    /// Scores `outputs`, rows of `width` numbers, against `targets`, adds to `tally`, and replaces the
    /// outputs by `scale` times the gradient.
    pub fn score<F: Real>(
        self,
        outputs: &mut [F],
        width: usize,
        targets: &[i64],
        scale: F,
        tally: &mut Score,
    ) {
        match self {
            Self::CrossEntropy => {
                cross_entropy::fused::cross_entropy(outputs, width, targets, scale, tally);
            }
        }
    }

    /// The same as libtorch operations: `outputs` `(R, Tout, B, width)` against `target`
    /// `(R, B, Tout)`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn of_tensors(self, outputs: &Tensor, target: &Tensor) -> Result<BatchScore, TchError> {
        match self {
            Self::CrossEntropy => cross_entropy::torch::score(outputs, target),
        }
    }

    /// Each replica's loss `(R)` in inference: of `answers` `(R, Tout, B, width)`, what the model says
    /// alone, against `target` `(R, B, Tout)`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn of_answers(self, answers: &Tensor, target: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::CrossEntropy => cross_entropy::torch::of_answers(answers, target),
        }
    }
}

/// Loss and metrics: sums over some of a replica's rows or samples, or means.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    /// What is made small.
    pub loss: f64,
    /// Of the loss's metrics.
    pub values: Values,
}

impl Score {
    /// Adds `weight` times `other`.
    pub fn add(&mut self, other: &Self, weight: f64) {
        self.loss += other.loss * weight;
        self.values.iter_mut().zip(other.values).for_each(|(sum, value)| *sum += value * weight);
    }

    /// What sums come to on the mean of so many.
    pub fn over(self, count: f64) -> Self {
        Self { loss: self.loss / count, values: self.values.map(|sum| sum / count) }
    }
}

/// The scores of a batch, one a replica, where they were computed.
#[derive(Debug)]
pub enum Scores {
    /// On the host.
    Host(Vec<Score>),
    /// On the device, perhaps not there yet.
    Device(BatchScore),
}

impl Scores {
    /// The scores on the host. Waits for the device.
    ///
    /// # Errors
    /// libtorch's.
    pub fn fetch(self) -> Result<Vec<Score>, TchError> {
        match self {
            Self::Host(scores) => Ok(scores),
            Self::Device(score) => {
                let losses = device::download(&score.loss.f_detach()?)?;
                let of = |loss| Score { loss, ..Score::default() };
                let mut scores: Vec<Score> = losses.into_iter().map(of).collect();
                for (metric, values) in score.metrics.iter().enumerate() {
                    let values = device::download(values)?;
                    scores.iter_mut().zip(values).for_each(|(s, value)| s.values[metric] = value);
                }
                Ok(scores)
            }
        }
    }
}

/// The means of each replica's batch as tensors.
#[derive(Debug)]
pub struct BatchScore {
    /// `(R)`, differentiable.
    pub loss: Tensor,
    /// `(R)` for each of the loss's metrics, in their order; of the loss's dtype.
    pub metrics: Vec<Tensor>,
}
