//! Loss and accuracy of a batch.

use tch::{Reduction, TchError, Tensor};

use crate::tensor::device;

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

/// Scores `logits` `(R, Tout, B, V)` against the ids `target` `(R, B, Tout)`, all below V.
///
/// Loss: −mean over B and Tout of `log softmax(logits)[target]`.
///
/// # Errors
/// libtorch's.
pub fn score(logits: &Tensor, target: &Tensor) -> Result<BatchScore, TchError> {
    let (replicas, _, _, vocab) = logits.size4()?;
    let target = target.f_transpose(1, 2)?.f_reshape([-1])?;
    let rows = logits.f_reshape([-1, vocab])?;
    let losses = rows.f_cross_entropy_loss::<Tensor>(&target, None, Reduction::None, -100, 0.0)?;
    let correct = rows.f_detach()?.f_argmax(-1, false)?.f_eq_tensor(&target)?;
    let mean =
        |of: &Tensor| of.f_view([replicas, -1])?.f_mean_dim([-1].as_slice(), false, logits.kind());
    Ok(BatchScore { loss: mean(&losses)?, accuracy: mean(&correct)? })
}
