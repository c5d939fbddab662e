//! Softmax and cross-entropy of a dense layer's rows in one pass.

use super::LEAST;
use crate::kernels::float::{Real, widest};
use crate::kernels::rows::{most, reduce};
use crate::model::losses::Score;

widest! {
    /// Scores every row of `logits` `(N, V)` against its id in `targets` (N), all below V, and
    /// replaces the logits by `scale` times the gradient of the loss: softmax(logits) − q, where q is
    /// (1 − `smoothing`) · one-hot + `smoothing`/V. The sums of their losses, −Σ q log softmax(logits),
    /// and how many have the target's as the largest logit are added to `tally`.
    cross_entropy<F: Real>(
        logits: &mut [F], vocab: usize, targets: &[i64], smoothing: F, scale: F, tally: &mut Score,
    ) by cross_entropy_body
}

#[inline(always)]
fn cross_entropy_body<F: Real>(
    logits: &mut [F],
    vocab: usize,
    targets: &[i64],
    smoothing: F,
    scale: F,
    tally: &mut Score,
) {
    let (zero, count) = (F::from(0.0), F::from_f64(vocab as f64));
    let smooths = smoothing > zero;
    for (row, &target) in logits.chunks_exact_mut(vocab).zip(targets) {
        let target = target as usize;
        let most = most(row);
        let of_target = row[target];
        // Of equal logits the first counts, as in argmax.
        let right = of_target == most && row[..target].iter().all(|&x| x < most);
        tally.values[0] += f64::from(u8::from(right));
        if smooths {
            // Every log-probability is a logit less the same number, so q's mean of them is too.
            let mean = reduce(row, zero, |a, b| a + b) / count;
            tally.loss += Into::<f64>::into(smoothing * (of_target - mean));
        }
        row.iter_mut().for_each(|x| *x = (*x - most).exp());
        let sum = reduce(row, zero, |a, b| a + b);
        tally.loss += Into::<f64>::into(sum).ln() + Into::<f64>::into(most - of_target);
        let factor = scale / sum;
        row.iter_mut().for_each(|x| *x = *x * factor);
        row[target] = row[target] - scale;
        if smooths {
            let (part, each) = (scale * smoothing, scale * smoothing / count);
            row.iter_mut().for_each(|x| *x = *x - each);
            row[target] += part;
        }
    }
}

/// The loss of an answer with `probabilities` against the id `target`.
pub fn of_answer<F: Real>(probabilities: &[F], target: i64) -> f64 {
    let probability: f64 = probabilities[target as usize].into();
    // What is not a number stays so.
    -(if probability < LEAST { LEAST } else { probability }).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_s_loss_is_bounded_and_what_is_not_a_number_shows() {
        let probabilities = [0.25, 0.0, 1.0, f64::NAN];
        let losses = [0, 1, 2, 3].map(|target| of_answer(&probabilities, target));
        assert_eq!(losses[..3], [4f64.ln(), -LEAST.ln(), 0.0]);
        assert!(losses[3].is_nan());
    }

    /// Loss and gradient of one row, from the formula.
    fn exact(logits: &[f64], target: usize, smoothing: f64, scale: f64) -> (f64, Vec<f64>) {
        let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|x| (x - most).exp()).sum();
        let q = |v: usize| {
            (1.0 - smoothing) * f64::from(u8::from(v == target)) + smoothing / logits.len() as f64
        };
        let gradient = |(v, x): (usize, &f64)| scale * ((x - most).exp() / sum - q(v));
        let losses = logits.iter().enumerate().map(|(v, x)| q(v) * (sum.ln() + most - x));
        (losses.sum(), logits.iter().enumerate().map(gradient).collect())
    }

    fn scored<F: Real>(rows: &[&[f64]], targets: &[i64], scale: f64) -> (Score, Vec<f64>) {
        smoothed::<F>(rows, targets, 0.0, scale)
    }

    fn smoothed<F: Real>(
        rows: &[&[f64]],
        targets: &[i64],
        smoothing: f64,
        scale: f64,
    ) -> (Score, Vec<f64>) {
        let mut tally = Score::default();
        let mut logits: Vec<F> = rows.concat().into_iter().map(F::from_f64).collect();
        let [smoothing, scale] = [smoothing, scale].map(F::from_f64);
        cross_entropy(&mut logits, rows[0].len(), targets, smoothing, scale, &mut tally);
        (tally, logits.into_iter().map(Into::into).collect())
    }

    fn scores_are_exact<F: Real>(bound: f64) {
        for vocab in [1, 2, 3, 15, 16, 17, 31, 32, 33, 100] {
            for (spread, smoothing) in [(0.5, 0.0), (8.0, 0.0), (60.0, 0.0), (0.5, 0.1), (8.0, 0.6)]
            {
                let logit = |i: usize| ((i * 7919 + 31) % 1009) as f64 / 504.0 * spread - spread;
                let logits: Vec<f64> = (0..3 * vocab).map(logit).map(round::<F>).collect();
                let rows: Vec<&[f64]> = logits.chunks_exact(vocab).collect();
                let targets = [0, vocab / 2, vocab - 1];
                let ids = targets.map(|target| target as i64);
                let (tally, gradient) = smoothed::<F>(&rows, &ids, smoothing, 0.25);
                let exact =
                    rows.iter().zip(targets).map(|(row, id)| exact(row, id, smoothing, 0.25));
                let (losses, gradients): (Vec<f64>, Vec<Vec<f64>>) = exact.unzip();
                let loss: f64 = losses.iter().sum();
                assert!((tally.loss - loss).abs() <= bound * (1.0 + loss), "{tally:?}, not {loss}");
                for (got, expected) in gradient.iter().zip(gradients.concat()) {
                    assert!((got - expected).abs() <= bound, "{got}, not {expected}; V = {vocab}");
                }
                for row in gradient.chunks_exact(vocab) {
                    assert!(row.iter().sum::<f64>().abs() <= bound, "V = {vocab}: {row:?}");
                }
            }
        }
    }

    /// The nearest number that `F` has.
    fn round<F: Real>(x: f64) -> f64 {
        F::from_f64(x).into()
    }

    #[test]
    fn loss_and_gradient_are_the_formulas_in_float64() {
        scores_are_exact::<f64>(1e-14);
    }

    #[test]
    fn loss_and_gradient_are_the_formulas_in_float32() {
        scores_are_exact::<f32>(1e-6);
    }

    #[test]
    fn the_largest_logit_is_right_and_of_equal_ones_the_first() {
        let row: &[f64] = &[1.0, 3.0, -2.0, 3.0, 0.0];
        let wide: Vec<f64> =
            (0..40).map(|v| if [17, 35].contains(&v) { 2.0 } else { -1.0 }).collect();
        for (row, right) in [(row, 1), (&wide, 17), (&[0.0; 20], 0), (&[5.0], 0)] {
            for target in 0..row.len() {
                let (tally, _) = scored::<f32>(&[row], &[target as i64], 1.0);
                assert_eq!(
                    tally.values,
                    [f64::from(u8::from(target == right))],
                    "{target} of {row:?}"
                );
            }
        }
    }

    #[test]
    fn logits_of_any_size_give_finite_numbers() {
        for size in [80.0, 1000.0, 1e30] {
            let row = [-size, size, 0.0, size / 2.0];
            for (target, loss) in [(0, 2.0 * size), (1, 0.0), (2, size), (3, size / 2.0)] {
                let (tally, gradient) = scored::<f32>(&[&row], &[target], 0.5);
                assert!((tally.loss - loss).abs() <= 1e-6 * size, "{tally:?}, not {loss}");
                let expected = |v: i64| 0.5 * (f64::from(v == 1) - f64::from(v == target));
                for (v, x) in (0..).zip(gradient) {
                    assert!((x - expected(v)).abs() <= 1e-15, "{row:?}, {target}: {x} at {v}");
                }
            }
        }
    }

    #[test]
    fn vector_instructions_change_no_bit() {
        let logits: Vec<f32> = (0..3 * 75).map(|i| ((i * 389 + 11) % 201) as f32 / 20.0).collect();
        let (mut wide, mut plain) = (logits.clone(), logits);
        let [mut wide_tally, mut plain_tally] = [Score::default(); 2];
        cross_entropy(&mut wide, 75, &[0, 30, 74], 0.1, 0.3, &mut wide_tally);
        cross_entropy_body(&mut plain, 75, &[0, 30, 74], 0.1, 0.3, &mut plain_tally);
        assert!(wide == plain && wide_tally == plain_tally);
    }

    #[test]
    fn a_logit_that_is_not_a_number_shows_in_the_loss() {
        for place in [0, 1, 15, 16, 17] {
            for target in [0, 1, 17] {
                let mut row = [0.5; 18];
                row[place] = f64::NAN;
                assert!(scored::<f32>(&[&row], &[target], 1.0).0.loss.is_nan(), "{place}");
                assert!(scored::<f64>(&[&row], &[target], 1.0).0.loss.is_nan(), "{place}");
            }
        }
    }

    #[test]
    fn the_tally_of_rows_is_added_to_what_it_holds() {
        let mut tally = Score { loss: 2.0, values: [7.0] };
        cross_entropy(&mut [0.0, 0.0, 1.0, 1.0], 2, &[0, 1], 0.0, 1.0f64, &mut tally);
        assert!((tally.loss - 2.0 - 2.0 * 2f64.ln()).abs() < 1e-15);
        assert_eq!(tally.values, [8.0]);
        let before = tally;
        cross_entropy::<f64>(&mut [], 2, &[], 0.0, 1.0, &mut tally);
        assert_eq!(tally, before);
    }
}
