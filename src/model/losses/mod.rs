//! Losses and what else a batch is scored by, a folder each: its pass of the fused engine and the same
//! as libtorch operations.

pub mod cross_entropy;
pub mod mean_error;

use tch::{Kind, TchError, Tensor};

use crate::kernels::float::Real;
use crate::kernels::softmax::softmax;
use crate::tensor::device;
use mean_error::Power;

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
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Of the outputs as logits, against ids.
    CrossEntropy {
        /// ε: in training the targets are (1 − ε) · one-hot + ε/V (Szegedy et al., 2016).
        label_smoothing: f64,
    },
    /// Of the outputs, against numbers.
    MeanError(Power),
}

impl Loss {
    /// What else it scores.
    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Self::CrossEntropy { .. } => &cross_entropy::METRICS,
            Self::MeanError(_) => &[],
        }
    }

    /// The value of `metric` among its `values`; `None` if it does not score that.
    pub fn value(self, metric: Metric, values: &Values) -> Option<f64> {
        let place = self.metrics().iter().position(|own| *own == metric)?;
        Some(values[place])
    }

    /// Scores `outputs`, rows of `width` numbers, against `targets`, adds to `tally`, and replaces the
    /// outputs by `scale` times the gradient.
    ///
    /// # Panics
    /// If the targets are not of the loss's kind.
    pub fn score<F: Real>(
        self,
        outputs: &mut [F],
        width: usize,
        targets: Targets<'_, F>,
        scale: F,
        tally: &mut Score,
    ) {
        match (self, targets) {
            (Self::CrossEntropy { label_smoothing }, Targets::Ids(targets)) => {
                let smoothing = F::from_f64(label_smoothing);
                let of = cross_entropy::fused::cross_entropy;
                of(outputs, width, targets, smoothing, scale, tally);
            }
            (Self::MeanError(power), Targets::Numbers(targets)) => {
                mean_error::fused::mean_error(outputs, width, targets, power, scale, tally);
            }
            _ => unreachable!("ids have cross-entropy, numbers an error"),
        }
    }

    /// The same as libtorch operations: `outputs` `(R, Tout, B, width)` against `target`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn of_tensors(self, outputs: &Tensor, target: Target<'_>) -> Result<BatchScore, TchError> {
        match self {
            Self::CrossEntropy { label_smoothing } => {
                cross_entropy::torch::score(outputs, target, label_smoothing)
            }
            Self::MeanError(power) => {
                let loss = mean_error::torch::loss(outputs, target, power)?;
                Ok(BatchScore { loss, metrics: Vec::new() })
            }
        }
    }

    /// What a model says whose outputs are `outputs` `(…, width)`: probabilities of ids, or the numbers
    /// themselves.
    ///
    /// # Errors
    /// libtorch's.
    pub fn answers(self, outputs: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::CrossEntropy { .. } => outputs.f_softmax(-1, None::<Kind>),
            Self::MeanError(_) => Ok(outputs.shallow_clone()),
        }
    }

    /// The same on slices: replaces `outputs`, rows of `width` numbers.
    pub fn answer<F: Real>(self, outputs: &mut [F], width: usize) {
        match self {
            Self::CrossEntropy { .. } => softmax(outputs, width),
            Self::MeanError(_) => {}
        }
    }

    /// The loss in inference, without label smoothing, of the `answer` that one row is, against its
    /// target.
    ///
    /// # Panics
    /// If the target is not of the loss's kind.
    pub fn of_answer<F: Real>(self, answer: &[F], target: Targets<'_, F>) -> f64 {
        match (self, target) {
            (Self::CrossEntropy { .. }, Targets::Ids(&[target])) => {
                cross_entropy::fused::of_answer(answer, target)
            }
            (Self::MeanError(power), Targets::Numbers(target)) => {
                mean_error::fused::of_answer(answer, target, power)
            }
            _ => unreachable!("an id has cross-entropy, numbers an error"),
        }
    }

    /// Each replica's loss `(R)` in inference, without label smoothing: of `answers` `(R, Tout, B, width)`, what the model says
    /// alone, against `target`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn of_answers(self, answers: &Tensor, target: Target<'_>) -> Result<Tensor, TchError> {
        match self {
            Self::CrossEntropy { .. } => cross_entropy::torch::of_answers(answers, target),
            Self::MeanError(power) => mean_error::torch::loss(answers, target, power),
        }
    }
}

/// What some rows should be.
#[derive(Debug, Clone, Copy)]
pub enum Targets<'a, F> {
    /// An id each.
    Ids(&'a [i64]),
    /// As many numbers each as the model's outputs have.
    Numbers(&'a [F]),
}

/// What a batch's outputs should be.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// `(R, B, Tout)` int64 ids, or `(R, B, Tout, features)` numbers.
    pub steps: &'a Tensor,
    /// `(R, B, Tout)` bool: which of the steps count; `None`: all.
    pub valid: Option<&'a Tensor>,
}

impl Target<'_> {
    /// Each replica's mean `(R)` of `values` `(R · Tout · B)`, one for each step that counts.
    ///
    /// # Errors
    /// libtorch's.
    pub fn mean(self, values: &Tensor, kind: Kind) -> Result<Tensor, TchError> {
        let size = self.steps.size();
        let values = values.f_view([size[0], -1])?;
        let Some(valid) = self.valid else {
            return values.f_mean_dim([-1].as_slice(), false, kind);
        };
        let valid = valid.f_transpose(1, 2)?.f_reshape([size[0], -1])?;
        let counted = values.f_to_kind(kind)?.f_masked_fill(&valid.f_logical_not()?, 0.0)?;
        let sum = |of: &Tensor| of.f_sum_dim_intlist([-1].as_slice(), false, kind);
        sum(&counted)?.f_div(&sum(&valid)?)
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
