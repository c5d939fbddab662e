//! Additive scores of a sequence, scale · tanh(q + k) of every query with every key, and their
//! gradient.

use crate::kernels::float::{Real, widest};
use crate::kernels::rows::reduce;

/// Queries `(Tout, H)` and keys `(Tin, H)` that have been multiplied by their kernels, and the scale
/// `(H)`.
#[derive(Clone, Copy)]
pub struct Pairs<'a, F> {
    /// Of each step of the decoder.
    pub queries: &'a [F],
    /// Of each step of the encoder.
    pub keys: &'a [F],
    /// v.
    pub scale: &'a [F],
}

/// The gradients of [`Pairs`], which are added to.
pub struct PairGradients<'a, F> {
    /// `(Tout, H)`.
    pub queries: &'a mut [F],
    /// `(Tin, H)`.
    pub keys: &'a mut [F],
    /// `(H)`.
    pub scale: &'a mut [F],
}

widest! {
    /// Writes the scores `(Tout, Tin)`; `term` has room for H numbers.
    scores<F: Real>(pairs: Pairs<'_, F>, term: &mut [F], scores: &mut [F]) by scores_body
}

#[inline(always)]
fn scores_body<F: Real>(pairs: Pairs<'_, F>, term: &mut [F], scores: &mut [F]) {
    let Pairs { queries, keys, scale } = pairs;
    let units = scale.len();
    let of_query = queries.chunks_exact(units).zip(scores.chunks_exact_mut(keys.len() / units));
    for (query, scores) in of_query {
        for (key, score) in keys.chunks_exact(units).zip(scores) {
            *score = score_of(query, key, scale, term);
        }
    }
}

/// The score of a query with a key, each `(H)`; `term` has room for H numbers.
#[inline(always)]
pub fn score_of<F: Real>(query: &[F], key: &[F], scale: &[F], term: &mut [F]) -> F {
    let numbers = query.iter().zip(key).zip(scale);
    for (term, ((&q, &k), &v)) in term.iter_mut().zip(numbers) {
        *term = v * (q + k).tanh();
    }
    reduce(term, F::from(0.0), |a, b| a + b)
}

widest! {
    /// Adds to `gradients` those of the queries, keys and scale, by the gradient of the scores
    /// `(Tout, Tin)`.
    scores_gradient<F: Real>(
        pairs: Pairs<'_, F>, d_scores: &[F], gradients: PairGradients<'_, F>,
    ) by scores_gradient_body
}

#[inline(always)]
fn scores_gradient_body<F: Real>(
    pairs: Pairs<'_, F>,
    d_scores: &[F],
    gradients: PairGradients<'_, F>,
) {
    let Pairs { queries, keys, scale } = pairs;
    let units = scale.len();
    let d_scale = &mut gradients.scale[..units];
    let d_queries = gradients.queries.chunks_exact_mut(units);
    let of_query = queries.chunks_exact(units).zip(d_queries);
    for ((query, d_query), d_scores) in of_query.zip(d_scores.chunks_exact(keys.len() / units)) {
        let of_key = keys.chunks_exact(units).zip(gradients.keys.chunks_exact_mut(units));
        for ((key, d_key), &d_score) in of_key.zip(d_scores) {
            // Computed again: all tanhs of a sequence are more than the cache holds.
            for u in 0..units {
                let tanh = (query[u] + key[u]).tanh();
                d_scale[u] += d_score * tanh;
                let d_sum = d_score * scale[u] * (F::from(1.0) - tanh * tanh);
                d_query[u] += d_sum;
                d_key[u] += d_sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: usize = 19;
    const STEPS: [usize; 2] = [3, 5];

    fn numbers(len: usize, salt: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 389 + salt * 57 + 11) % 201) as f32 / 100.0 - 1.0).collect()
    }

    #[test]
    fn scores_are_the_formula_and_vector_instructions_change_no_bit() {
        let [queries, keys] = STEPS.map(|steps| numbers(steps * UNITS, steps));
        let scale = numbers(UNITS, 9);
        let pairs = Pairs { queries: &queries, keys: &keys, scale: &scale };
        let mut term = [0.0; UNITS];
        let [mut wide, mut plain] = [[0.0; STEPS[0] * STEPS[1]]; 2];
        scores(pairs, &mut term, &mut wide);
        scores_body(pairs, &mut term, &mut plain);
        assert_eq!(wide, plain);
        for (at, score) in wide.into_iter().enumerate() {
            let (i, j) = (at / STEPS[1] * UNITS, at % STEPS[1] * UNITS);
            let term =
                |u: usize| f64::from(scale[u]) * f64::from(queries[i + u] + keys[j + u]).tanh();
            let exact: f64 = (0..UNITS).map(term).sum();
            assert!((f64::from(score) - exact).abs() < 1e-5, "{score}, not {exact}");
        }

        let d_scores = numbers(STEPS[0] * STEPS[1], 4);
        let [wide, plain] = [scores_gradient, scores_gradient_body].map(|gradient| {
            let [mut d_queries, mut d_keys] = STEPS.map(|steps| numbers(steps * UNITS, 7));
            let mut d_scale = numbers(UNITS, 8);
            let sums =
                PairGradients { queries: &mut d_queries, keys: &mut d_keys, scale: &mut d_scale };
            gradient(pairs, &d_scores, sums);
            [d_queries, d_keys, d_scale]
        });
        assert_eq!(wide, plain);
    }
}
