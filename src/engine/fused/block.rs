//! Some rows of one replica's batch, forward and backward through the model.

use std::ops::Range;

use super::Context;
use super::transposed::Transposed;
use crate::data::task::Batch;
use crate::kernels::float::Real;
use crate::model::layers::pass::{BlockIds, InputGradients, Inputs, Pass};
use crate::model::losses::Score;
use crate::model::{Model, Start};

/// N rows of a batch with their buffers.
pub struct Block<F> {
    /// The replica.
    pub replica: usize,
    /// Which rows of the replica's batch.
    pub rows: Range<usize>,
    /// The passes of the model's layers over these rows.
    pub nodes: Vec<Box<dyn Pass<F>>>,
    /// The ids that the model reads.
    pub ids: BlockIds,
    /// `(T, N)`: the target ids, step by step.
    pub targets: Vec<i64>,
    /// The loss and the accuracy, summed over the rows.
    pub tally: Score,
}

impl<F: Real> Block<F> {
    /// Buffers for rows `rows` of replica `replica`.
    pub fn new(model: &Model, replica: usize, rows: Range<usize>) -> Self {
        let nodes = model.nodes.iter().map(|node| node.layer.pass(node, rows.len()));
        Self {
            replica,
            nodes: nodes.collect(),
            ids: BlockIds::default(),
            targets: Vec::with_capacity(rows.len() * model.output_steps() as usize),
            tally: Score::default(),
            rows,
        }
    }

    /// Runs the rows through the model, scores them, and computes the gradients of all activations
    /// and initial states. The backward pass reads the weights from `transposed`; their gradients
    /// follow once all blocks are done.
    pub fn learn(&mut self, context: &Context<'_, F>, transposed: &Transposed<F>) {
        self.forward(context, transposed);
        self.score(context);
        self.backward(context, transposed);
    }

    /// Sets the initial state of stateful layers: the state after the last batch, or zeros.
    pub fn carry(&mut self, model: &Model, zeros: bool) {
        for number in model.carried() {
            let node = &mut self.nodes[number];
            if zeros {
                node.initial().into_iter().for_each(|state| state.fill(F::default()));
            } else {
                node.carry();
            }
        }
    }

    fn forward(&mut self, context: &Context<'_, F>, transposed: &Transposed<F>) {
        let batch = context.batch;
        let mut ids = std::mem::take(&mut self.ids);
        let all = [&batch.source[..], batch.decoder_input.as_deref().unwrap_or_default()];
        for (own, all) in [&mut ids.source, &mut ids.decoder_input].into_iter().zip(all) {
            own.clear();
            own.extend(self.by_step(all, batch).map(|id| id as usize));
        }
        self.ids = ids;
        for (number, node) in context.model.nodes.iter().enumerate() {
            let (below, here) = self.nodes.split_at_mut(number);
            let here = &mut here[0];
            match node.start {
                Start::From(other) => {
                    let states = here.initial().into_iter().zip(below[other].state());
                    states.for_each(|(initial, last)| initial.copy_from_slice(last));
                }
                Start::Carried => {}
                Start::Zero => {
                    here.initial().into_iter().for_each(|state| state.fill(F::default()));
                }
            }
            let weights = context.weights(self.replica, number, transposed);
            here.forward(Inputs { nodes: below, ids: &self.ids }, &weights);
        }
    }

    /// This block's rows of `all` `(R, B, T)`, as `(T, N)`.
    fn by_step<'a>(&self, all: &'a [i64], batch: &Batch) -> impl Iterator<Item = i64> + use<'a, F> {
        let width = all.len() / (batch.replicas * batch.size);
        let first = self.replica * batch.size + self.rows.start;
        let own = &all[first * width..(first + self.rows.len()) * width];
        (0..width).flat_map(move |t| own.iter().skip(t).step_by(width).copied())
    }

    /// Computes the loss, and replaces the outputs by their gradient.
    fn score(&mut self, context: &Context<'_, F>) {
        let Context { model, batch, .. } = context;
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        targets.extend(self.by_step(&batch.target, batch));
        self.targets = targets;
        let scored = batch.target.len() / batch.replicas;
        let scale = F::from(1.0) / F::from_f64(scored as f64);
        self.tally = Score::default();
        let (top, width) = (self.nodes.len() - 1, model.vocab as usize);
        let outputs = &mut self.nodes[top].gradient().outputs.values;
        model.loss.score(outputs, width, &self.targets, scale, &mut self.tally);
    }

    fn backward(&mut self, context: &Context<'_, F>, transposed: &Transposed<F>) {
        self.nodes.iter_mut().for_each(|node| node.gradient().clear());
        for (number, node) in context.model.nodes.iter().enumerate().rev() {
            let (below, here) = self.nodes.split_at_mut(number);
            let here = &mut here[0];
            let weights = context.weights(self.replica, number, transposed);
            here.backward(InputGradients { nodes: below }, &weights);
            if let Start::From(other) = node.start {
                let (to, from) = (below[other].gradient(), here.gradient());
                to.h.add(&from.h.values);
                to.c.add(&from.c.values);
            }
        }
    }
}
