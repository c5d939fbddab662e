//! Cross-entropy as libtorch operations.

use tch::{Kind, Reduction, TchError, Tensor};

use crate::model::losses::BatchScore;

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
    Ok(BatchScore { loss: mean(&losses)?, metrics: vec![mean(&correct)?] })
}

/// The least probability that an answer is taken to have been given, as in Keras.
const LEAST: f64 = 1e-7;

/// The loss `(R)` of answers with `probabilities` `(R, Tout, B, V)` against the ids `target`
/// `(R, B, Tout)`.
///
/// # Errors
/// libtorch's.
pub fn of_answers(probabilities: &Tensor, target: &Tensor) -> Result<Tensor, TchError> {
    let target = target.f_transpose(1, 2)?.f_unsqueeze(-1)?;
    let of_target = probabilities.f_gather(-1, &target, false)?;
    let losses = of_target.f_clamp_min(LEAST)?.f_log()?.f_neg()?.f_flatten(1, -1)?;
    losses.f_mean_dim([-1].as_slice(), false, None::<Kind>)
}
