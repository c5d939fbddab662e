//! Losses and what else a batch is scored by, a folder each: its pass of the fused engine and the same
//! as libtorch operations.

pub mod cross_entropy;

use tch::{TchError, Tensor};

use crate::kernels::float::Real;
use crate::tensor::device;
use cross_entropy::fused::Tally;

/// What a model is trained to make small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Of the outputs as logits, against ids.
    CrossEntropy,
}

impl Loss {
    /// Scores `outputs`, rows of `width` numbers, against `targets`, adds to `tally`, and replaces the
    /// outputs by `scale` times the gradient.
    pub fn score<F: Real>(
        self,
        outputs: &mut [F],
        width: usize,
        targets: &[i64],
        scale: F,
        tally: &mut Tally,
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

/// Mean categorical cross-entropy and mean token accuracy of one replica's batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// In nats.
    pub loss: f64,
    /// In 0..=1.
    pub accuracy: f64,
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
                let loss = device::download(&score.loss.f_detach()?)?;
                let both = loss.into_iter().zip(device::download(&score.accuracy)?);
                Ok(both.map(|(loss, accuracy)| Score { loss, accuracy }).collect())
            }
        }
    }
}

/// The means of each replica's batch as tensors.
#[derive(Debug)]
pub struct BatchScore {
    /// `(R)`, differentiable.
    pub loss: Tensor,
    /// `(R)`, in 0..=1, of the loss's dtype.
    pub accuracy: Tensor,
}
