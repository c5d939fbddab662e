//! Softmax and cross-entropy of a dense layer's rows in one pass.

use crate::real::{Real, widest};

/// What some rows of a batch scored.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Σ −log softmax(logits)[target].
    pub loss: f64,
    /// Rows whose largest logit is the target's.
    pub correct: usize,
}

widest! {
    /// Scores every row of `logits` `(N, V)` against its id in `targets` (N), all below V, and
    /// replaces the logits by `scale` times the gradient of the loss: softmax(logits) − one-hot.
    cross_entropy<F: Real>(
        logits: &mut [F], vocab: usize, targets: &[i64], scale: F, tally: &mut Tally,
    ) by cross_entropy_body
}

#[inline(always)]
fn cross_entropy_body<F: Real>(
    logits: &mut [F],
    vocab: usize,
    targets: &[i64],
    scale: F,
    tally: &mut Tally,
) {
    for (row, &target) in logits.chunks_exact_mut(vocab).zip(targets) {
        let target = target as usize;
        let most = reduce(row, row[0], |a, b| if b > a { b } else { a });
        let of_target = row[target];
        // Of equal logits the first counts, as in argmax.
        tally.correct += usize::from(of_target == most && row[..target].iter().all(|&x| x < most));
        row.iter_mut().for_each(|x| *x = (*x - most).exp());
        let sum = reduce(row, F::from(0.0), |a, b| a + b);
        tally.loss += Into::<f64>::into(sum).ln() + Into::<f64>::into(most - of_target);
        let factor = scale / sum;
        row.iter_mut().for_each(|x| *x = *x * factor);
        row[target] = row[target] - scale;
    }
}

/// `f` over all numbers, in 16 interleaved runs that fit into vector registers.
#[inline(always)]
fn reduce<F: Real>(numbers: &[F], start: F, f: impl Fn(F, F) -> F) -> F {
    let mut runs = [start; 16];
    let chunks = numbers.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..16 {
            runs[lane] = f(runs[lane], chunk[lane]);
        }
    }
    let of_runs = runs[1..].iter().fold(runs[0], |a, &b| f(a, b));
    rest.iter().fold(of_runs, |a, &b| f(a, b))
}
