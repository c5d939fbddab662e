//! Cross-entropy as libtorch operations.

use tch::{Reduction, TchError, Tensor};

use super::LEAST;
use crate::model::losses::{BatchScore, Target};

/// Scores `logits` `(R, Tout, B, V)` against the ids `target`, all below V.
///
/// Loss: the mean over B and Tout of −Σ q log softmax(logits), where q is
/// (1 − `smoothing`) · one-hot + `smoothing`/V.
///
/// # Errors
/// libtorch's.
pub fn score(logits: &Tensor, target: Target<'_>, smoothing: f64) -> Result<BatchScore, TchError> {
    let vocab = logits.size4()?.3;
    let ids = target.steps.f_transpose(1, 2)?.f_reshape([-1])?;
    let rows = logits.f_reshape([-1, vocab])?;
    let losses =
        rows.f_cross_entropy_loss::<Tensor>(&ids, None, Reduction::None, -100, smoothing)?;
    let correct = rows.f_detach()?.f_argmax(-1, false)?.f_eq_tensor(&ids)?;
    let mean = |of: &Tensor| target.mean(of, logits.kind());
    Ok(BatchScore { loss: mean(&losses)?, metrics: vec![mean(&correct)?] })
}

/// The loss `(R)` of answers with `probabilities` `(R, Tout, B, V)` against the ids `target`.
///
/// # Errors
/// libtorch's.
pub fn of_answers(probabilities: &Tensor, target: Target<'_>) -> Result<Tensor, TchError> {
    let ids = target.steps.f_transpose(1, 2)?.f_unsqueeze(-1)?;
    let of_target = probabilities.f_gather(-1, &ids, false)?;
    let losses = of_target.f_clamp_min(LEAST)?.f_log()?.f_neg()?;
    target.mean(&losses.f_contiguous()?, probabilities.kind())
}
