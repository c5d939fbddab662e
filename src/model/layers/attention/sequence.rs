//! The attention of one sequence, on rows that lie side by side.

use super::additive::{PairGradients, Pairs, scores, scores_gradient};
use super::{Attention, ScoreMode};
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::kernels::softmax::{softmax, softmax_gradient};
use crate::kernels::transpose::transpose;
use crate::model::layers::pass::Buffers;

/// One sequence's queries, keys and values, and their gradients, in buffers that the next sequence
/// uses again. Each is as long as the sequence; the rows of those that are read are copied in
/// before.
#[derive(Debug)]
pub struct Sequence<F> {
    score: ScoreMode,
    /// W: the width of what is compared.
    pub compared: usize,
    /// He.
    pub width: usize,
    /// `(Tout, W)`: queries as they are compared.
    pub queries: Vec<F>,
    /// `(Tout, W)`: their gradient.
    pub d_queries: Vec<F>,
    /// `(Tin, W)`: keys as they are compared, of additive scores; others compare the values.
    pub keys: Vec<F>,
    /// `(Tin, W)`: their gradient.
    pub d_keys: Vec<F>,
    /// `(Tin, He)`: the encoder's outputs.
    pub values: Vec<F>,
    /// `(Tin, He)`: their gradient, without what comes through `keys`.
    pub d_values: Vec<F>,
    /// `(He, Tin)`: the values, transposed.
    transposed: Vec<F>,
    /// `(Tout, He)`: the contexts; before `backward` their gradient.
    pub contexts: Vec<F>,
    /// `(Tout, Tin)`: the gradient of α, then of the scores.
    d_scores: Vec<F>,
    /// W numbers for the terms of an additive score.
    pub term: Vec<F>,
}

impl<F: Real> Sequence<F> {
    /// Buffers for the longest sequence.
    pub fn new(layer: &Attention, buffers: &mut Buffers) -> Self {
        let [queries, d_queries, keys, d_keys, values, d_values] = [(); 6].map(|()| buffers.take());
        Self {
            score: layer.score,
            compared: layer.compared() as usize,
            width: layer.keys as usize,
            queries,
            d_queries,
            keys,
            d_keys,
            values,
            d_values,
            transposed: buffers.take(),
            contexts: buffers.take(),
            d_scores: buffers.take(),
            term: buffers.take(),
        }
    }

    /// Computes `weights`, α `(Tout, Tin)`, and the contexts; `scale` is that of additive scores.
    pub fn forward(&mut self, scale: &[F], weights: &mut [F]) {
        let source_steps = self.values.len() / self.width;
        match self.score {
            ScoreMode::Dot | ScoreMode::General => {
                self.transpose_values();
                let queries = Matrix::new(&self.queries, self.compared);
                let keys = Matrix::new(&self.transposed, source_steps);
                multiply(queries, keys, weights, Onto::Nothing, Order::Up);
            }
            ScoreMode::Additive => {
                let pairs = Pairs { queries: &self.queries, keys: &self.keys, scale };
                scores(pairs, &mut self.term, weights);
            }
        }
        softmax(weights, source_steps);
        resize(&mut self.contexts, weights.len() / source_steps * self.width);
        let (weights, values) =
            (Matrix::new(weights, source_steps), Matrix::new(&self.values, self.width));
        multiply(weights, values, &mut self.contexts, Onto::Nothing, Order::Up);
    }

    /// From the gradient of the contexts and from `weights`, α, computes the gradients of queries,
    /// keys and values, and adds that of the scale to `d_scale`.
    pub fn backward(&mut self, scale: &[F], weights: &[F], d_scale: &mut [F]) {
        self.d_scores(weights);
        let source_steps = self.values.len() / self.width;
        let values = Matrix::new(&self.values, self.width);
        let d_scores = Matrix::new(&self.d_scores, source_steps);
        let queries = Matrix::new(&self.queries, self.compared);
        resize(&mut self.d_queries, self.queries.len());
        match self.score {
            ScoreMode::Dot | ScoreMode::General => {
                multiply(d_scores, values, &mut self.d_queries, Onto::Nothing, Order::Up);
                let d_scores = d_scores.transposed();
                multiply(d_scores, queries, &mut self.d_values, Onto::Sum, Order::Up);
            }
            ScoreMode::Additive => {
                resize(&mut self.d_keys, self.keys.len());
                let pairs = Pairs { queries: &self.queries, keys: &self.keys, scale };
                let (queries, keys) = (&mut self.d_queries[..], &mut self.d_keys[..]);
                let gradients = PairGradients { queries, keys, scale: d_scale };
                scores_gradient(pairs, &self.d_scores, gradients);
            }
        }
    }

    /// The gradient of the scores, and that of the values by their part in the contexts.
    fn d_scores(&mut self, weights: &[F]) {
        let source_steps = self.values.len() / self.width;
        self.transpose_values();
        resize(&mut self.d_scores, weights.len());
        resize(&mut self.d_values, self.values.len());
        let d_contexts = Matrix::new(&self.contexts, self.width);
        let transposed = Matrix::new(&self.transposed, source_steps);
        multiply(d_contexts, transposed, &mut self.d_scores, Onto::Nothing, Order::Up);
        softmax_gradient(weights, &mut self.d_scores, source_steps);
        let weights = Matrix::new(weights, source_steps).transposed();
        multiply(weights, d_contexts, &mut self.d_values, Onto::Nothing, Order::Up);
    }

    fn transpose_values(&mut self) {
        resize(&mut self.transposed, self.values.len());
        transpose(&self.values, self.width, &mut self.transposed);
    }
}

/// Makes `buffer` zeros of this length, in the memory that it has.
fn resize<F: Real>(buffer: &mut Vec<F>, length: usize) {
    buffer.clear();
    buffer.resize(length, F::default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::Spec;
    use crate::model::{Along, Node, Read, Start};

    const STEPS: [usize; 2] = [3, 5];

    impl Sequence<f64> {
        fn capacities(&self) -> [usize; 10] {
            let Self { queries, d_queries, keys, d_keys, values, d_values, .. } = self;
            let Self { transposed, contexts, d_scores, term, .. } = self;
            [
                queries, d_queries, keys, d_keys, values, d_values, transposed, contexts, d_scores,
                term,
            ]
            .map(Vec::capacity)
        }
    }

    /// The longest sequence fits into the buffers that are estimated.
    #[test]
    fn no_buffer_grows_in_a_step() {
        let [steps, source_steps] = STEPS;
        for (score, keys) in
            [(ScoreMode::Dot, 4), (ScoreMode::General, 7), (ScoreMode::Additive, 7)]
        {
            let layer = Attention { score, queries: 4, keys, source_steps: source_steps as i64 };
            let node = Node {
                name: "attention".to_owned(),
                layer: layer.clone().into(),
                reads: vec![Read::Outputs(1), Read::Outputs(0)],
                start: Start::Zero,
                steps: steps as i64,
                along: Along::Target,
                ragged: false,
                outputs_read: true,
                parts: 1,
            };
            let mut buffers = Buffers::new(&layer, &node, 1);
            (0..layer.buffers(&node).len()).for_each(|_| drop(buffers.take::<f64>()));
            let mut sequence = Sequence::<f64>::new(&layer, &mut buffers);
            let before = sequence.capacities();
            let (compared, width) = (sequence.compared, sequence.width);
            let fill = |buffer: &mut Vec<f64>, numbers: usize| {
                buffer.clear();
                (0..numbers).for_each(|i| buffer.push(i as f64 / 10.0));
            };
            fill(&mut sequence.queries, steps * compared);
            fill(&mut sequence.values, source_steps * width);
            if score == ScoreMode::Additive {
                fill(&mut sequence.keys, source_steps * compared);
            }
            let scale = vec![0.5; if score == ScoreMode::Additive { compared } else { 0 }];
            let mut weights = [0.0; STEPS[0] * STEPS[1]];
            sequence.forward(&scale, &mut weights);
            sequence.backward(&scale, &weights, &mut scale.clone());
            assert_eq!(sequence.capacities(), before, "{score:?}");
        }
    }
}
