//! The attention of one sequence, on rows that lie side by side.

use super::additive::{PairGradients, Pairs, scores, scores_gradient};
use super::{ScoreMode, Widths};
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::kernels::transpose::transpose;
use crate::model::layers::pass::Buffers;

/// What a part has of one sequence besides its values, the encoder's outputs `(Tin, C)`, and the gradients of it, in
/// buffers that the next sequence uses again. They have room for the longest: of another's numbers the rows
/// come first, and what lies behind them is stale.
#[derive(Debug)]
pub struct Sequence<F> {
    score: ScoreMode,
    widths: Widths,
    /// `(Tout, W)`: queries as they are compared.
    pub queries: Vec<F>,
    /// `(Tout, W)`: their gradient.
    pub d_queries: Vec<F>,
    /// `(Tin, W)`: keys as they are compared, of additive scores; others compare the values.
    pub keys: Vec<F>,
    /// `(Tin, W)`: their gradient.
    pub d_keys: Vec<F>,
    /// `(Tin, C)`: the gradient of the values, without what comes through `keys`.
    pub d_values: Vec<F>,
    /// `(C, Tin)`: the values, transposed.
    transposed: Vec<F>,
    /// `(Tout, C)`: the contexts; on the backward pass their gradient.
    pub contexts: Vec<F>,
    /// W numbers for the terms of an additive score.
    pub term: Vec<F>,
}

impl<F: Real> Sequence<F> {
    /// That of a part of so many columns, without its buffers.
    pub fn new(score: ScoreMode, widths: Widths) -> Self {
        let [queries, d_queries, keys, d_keys] = [const { Vec::new() }; 4];
        let [d_values, transposed, contexts, term] = [const { Vec::new() }; 4];
        Self {
            score,
            widths,
            queries,
            d_queries,
            keys,
            d_keys,
            d_values,
            transposed,
            contexts,
            term,
        }
    }

    /// Takes its buffers.
    pub fn take(&mut self, buffers: &mut Buffers) {
        let Self { queries, d_queries, keys, d_keys, .. } = self;
        let Self { d_values, transposed, contexts, term, .. } = self;
        let all = [queries, d_queries, keys, d_keys, d_values, transposed, contexts, term];
        all.into_iter().for_each(|buffer| *buffer = buffers.take());
    }

    /// Computes the part's term of the scores `(Tout, Tin)`; `scale` is that of additive ones.
    pub fn scores(&mut self, values: &[F], scale: &[F], out: &mut [F]) {
        let Widths { context, compared, .. } = self.widths;
        let source_steps = values.len() / context;
        let numbers = out.len() / source_steps * compared;
        match self.score {
            ScoreMode::Dot | ScoreMode::General => {
                let queries = Matrix::new(&self.queries[..numbers], compared);
                let keys = transposed(values, context, &mut self.transposed);
                multiply(queries, keys, out, Onto::Nothing, Order::Up);
            }
            ScoreMode::Additive => {
                let keys = &self.keys[..source_steps * compared];
                let pairs = Pairs { queries: &self.queries[..numbers], keys, scale };
                scores(pairs, &mut self.term, out);
            }
        }
    }

    /// Computes the contexts from `weights`, α `(Tout, Tin)`.
    pub fn attend(&mut self, values: &[F], weights: &[F]) {
        let width = self.widths.context;
        let source_steps = values.len() / width;
        let contexts = &mut self.contexts[..weights.len() / source_steps * width];
        let weights = Matrix::new(weights, source_steps);
        multiply(weights, Matrix::new(values, width), contexts, Onto::Nothing, Order::Up);
    }

    /// From the gradient of the contexts, computes the part's term of the gradient of α `(Tout, Tin)`.
    pub fn d_weights(&mut self, values: &[F], out: &mut [F]) {
        let width = self.widths.context;
        let numbers = out.len() / (values.len() / width) * width;
        let d_contexts = Matrix::new(&self.contexts[..numbers], width);
        let values = transposed(values, width, &mut self.transposed);
        multiply(d_contexts, values, out, Onto::Nothing, Order::Up);
    }

    /// From the gradient of the contexts, from `weights`, α, and from the gradient of the scores, computes the
    /// gradients of queries, keys and values, and adds that of the scale to `d_scale`.
    pub fn backward(
        &mut self,
        (values, scale): (&[F], &[F]),
        weights: &[F],
        d_scores: &[F],
        d_scale: &mut [F],
    ) {
        let Widths { context, compared, .. } = self.widths;
        let source_steps = values.len() / context;
        let steps = weights.len() / source_steps;
        let Self { queries, d_queries, keys, d_keys, d_values, contexts, .. } = self;
        let (queries, d_queries) =
            (&queries[..steps * compared], &mut d_queries[..steps * compared]);
        let d_values = &mut d_values[..values.len()];
        let d_contexts = Matrix::new(&contexts[..steps * context], context);
        let weights = Matrix::new(weights, source_steps).transposed();
        multiply(weights, d_contexts, d_values, Onto::Nothing, Order::Up);
        match self.score {
            ScoreMode::Dot | ScoreMode::General => {
                let d_scores = Matrix::new(d_scores, source_steps);
                let values = Matrix::new(values, context);
                multiply(d_scores, values, d_queries, Onto::Nothing, Order::Up);
                let queries = Matrix::new(queries, compared);
                multiply(d_scores.transposed(), queries, d_values, Onto::Sum, Order::Up);
            }
            ScoreMode::Additive => {
                let numbers = source_steps * compared;
                let (keys, d_keys) = (&keys[..numbers], &mut d_keys[..numbers]);
                d_queries.fill(F::default());
                d_keys.fill(F::default());
                let pairs = Pairs { queries, keys, scale };
                let gradients = PairGradients { queries: d_queries, keys: d_keys, scale: d_scale };
                scores_gradient(pairs, d_scores, gradients);
            }
        }
    }
}

/// Rows of `width` numbers, transposed into the memory of `to`.
fn transposed<'a, F: Real>(rows: &[F], width: usize, to: &'a mut [F]) -> Matrix<'a, F> {
    let to = &mut to[..rows.len()];
    transpose(rows, width, to);
    Matrix::new(to, rows.len() / width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::softmax::{softmax, softmax_gradient};

    /// Of the longest sequence.
    const MOST: [usize; 2] = [4, 7];

    fn numbers(len: usize, salt: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 389 + salt * 57 + 11) % 201) as f64 / 100.0 - 1.0).collect()
    }

    /// One of that much room, with something in it.
    fn sequence(score: ScoreMode, widths: Widths) -> Sequence<f64> {
        let [steps, source_steps] = MOST;
        let Widths { context, compared, .. } = widths;
        let stale = |len| vec![f64::NAN; len];
        Sequence {
            queries: stale(steps * compared),
            d_queries: stale(steps * compared),
            keys: stale(source_steps * compared),
            d_keys: stale(source_steps * compared),
            d_values: stale(source_steps * context),
            transposed: stale(source_steps * context),
            contexts: stale(steps * context),
            term: stale(compared),
            ..Sequence::new(score, widths)
        }
    }

    /// What a sequence of so many steps comes to, forward and back: contexts, α, and the gradients of queries, keys,
    /// values and scale.
    fn run(sequence: &mut Sequence<f64>, [steps, source_steps]: [usize; 2]) -> Vec<Vec<f64>> {
        let Widths { context, compared, .. } = sequence.widths;
        let [queries, keys] = [steps, source_steps].map(|steps| steps * compared);
        let (contexts, values) = (steps * context, numbers(source_steps * context, 3));
        sequence.queries[..queries].copy_from_slice(&numbers(queries, 1));
        sequence.keys[..keys].copy_from_slice(&numbers(keys, 2));
        let (scale, mut d_scale) = (numbers(compared, 4), vec![0.0; compared]);
        let [mut weights, mut d_scores] = [(); 2].map(|()| vec![f64::NAN; steps * source_steps]);
        sequence.scores(&values, &scale, &mut weights);
        softmax(&mut weights, source_steps);
        sequence.attend(&values, &weights);
        let mut all = vec![sequence.contexts[..contexts].to_vec()];
        sequence.contexts[..contexts].copy_from_slice(&numbers(contexts, 5));
        sequence.d_weights(&values, &mut d_scores);
        softmax_gradient(&weights, &mut d_scores, source_steps);
        sequence.backward((&values, &scale), &weights, &d_scores, &mut d_scale);
        all.extend([weights, d_scale, sequence.d_queries[..queries].to_vec()]);
        all.push(sequence.d_values[..source_steps * context].to_vec());
        if sequence.score == ScoreMode::Additive {
            all.push(sequence.d_keys[..keys].to_vec());
        }
        all
    }

    #[test]
    fn what_a_longer_sequence_left_behind_changes_nothing() {
        for (score, compared) in
            [(ScoreMode::Dot, 4), (ScoreMode::General, 4), (ScoreMode::Additive, 3)]
        {
            let widths = Widths { context: 4, query: 4, compared };
            let mut used = sequence(score, widths);
            run(&mut used, MOST);
            for steps in [[1, 7], [4, 1], [2, 3]] {
                let again = run(&mut used, steps);
                assert_eq!(again, run(&mut sequence(score, widths), steps), "{score:?}");
                assert!(again.iter().flatten().all(|x| x.is_finite()), "{score:?}, {steps:?}");
            }
        }
    }
}
