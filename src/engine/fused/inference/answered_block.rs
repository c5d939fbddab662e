//! What models answer to some rows of a batch.

use super::answering::Answering;
use crate::kernels::float::Real;

/// Some rows of one replica's batch, and what the model answers to them.
pub struct AnsweredBlock<F> {
    /// The replica.
    pub replica: usize,
    /// Which rows of the replica's batch, the longest source first.
    pub order: Vec<usize>,
    /// h and c of the stateful layers, `(N, H)` each: before the batch, then after it.
    pub states: Vec<[Vec<F>; 2]>,
    /// `(N, Tout)`; empty for numbers.
    pub ids: Vec<i64>,
    /// `(N, Tout, features)`; empty for ids.
    pub numbers: Vec<f64>,
    /// Summed over the targets' steps that count.
    pub loss: f64,
    /// How many these are.
    pub counted: usize,
}

impl<F: Real> AnsweredBlock<F> {
    /// The rows in `order`, with a state of zeros.
    pub fn new(answering: &Answering, replica: usize, order: Vec<usize>) -> Self {
        let Answering { model, steps, .. } = answering;
        let zeros = |node: usize| {
            let width = model.nodes[node].layer.spec().width() as usize;
            vec![F::default(); order.len() * width]
        };
        let states = model.carried().map(|node| [zeros(node), zeros(node)]).collect();
        let numbers = model.features.map_or(0, |of| of.target as usize);
        let ids = usize::from(model.features.is_none());
        Self {
            replica,
            states,
            ids: vec![0; order.len() * steps * ids],
            numbers: vec![0.0; order.len() * steps * numbers],
            loss: 0.0,
            counted: 0,
            order,
        }
    }

    /// Whether all rows have answered `end` by step `t`.
    pub fn has_ended(&self, steps: usize, t: usize, end: i64) -> bool {
        self.ids.chunks_exact(steps).all(|ids| ids[..=t].contains(&end))
    }
}
