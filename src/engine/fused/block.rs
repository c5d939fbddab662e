//! Some rows of one replica's batch, forward and backward through the model.

use std::ops::Range;

use super::Context;
use super::transposed::Transposed;
use crate::data::batch::{Batch, Sequences};
use crate::kernels::float::Real;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::pass::{
    Begin, BlockInputs, BlockSequence, Gradient, InputGradients, Inputs, Pass,
};
use crate::model::layers::rows::{Axis, Rows};
use crate::model::losses::{Score, Targets};
use crate::model::{Along, Model};

/// N rows of a batch with their buffers.
pub struct Block<F> {
    /// The replica.
    pub replica: usize,
    /// Which rows of the replica's batch, in its order.
    pub rows: Range<usize>,
    /// The same in the order of their lengths.
    pub lengths: Rows,
    /// The passes of the model's layers over these rows.
    pub nodes: Vec<Box<dyn Pass<F>>>,
    /// What the model reads.
    pub inputs: BlockInputs<F>,
    /// What it should say.
    pub targets: BlockTargets<F>,
    /// The loss and the accuracy, summed over the time steps of the targets.
    pub tally: Score,
    /// How many time steps the targets have.
    pub scored: usize,
}

/// Target ids or numbers of some rows, step by step.
#[derive(Debug, Default)]
pub struct BlockTargets<F> {
    /// `(T, N)`; empty for numbers.
    ids: Vec<i64>,
    /// `(T, N, features)`; empty for ids.
    numbers: Vec<F>,
}

impl<F: Real> Block<F> {
    /// Buffers for rows `rows` of replica `replica`.
    pub fn new(model: &Model, replica: usize, rows: Range<usize>) -> Self {
        let nodes = model.nodes.iter().map(|node| node.layer.pass(node, rows.len()));
        let steps = [Along::Source, Along::Target].map(|along| model.steps(along) as usize);
        Self {
            replica,
            nodes: nodes.collect(),
            lengths: Rows::uniform(rows.clone(), steps),
            inputs: BlockInputs::default(),
            targets: BlockTargets::default(),
            tally: Score::default(),
            scored: 0,
            rows,
        }
    }

    /// Runs the rows through the model, scores them, and computes the gradients of all activations
    /// and initial states, the threads of `team` sharing the layers' parts. The backward pass reads the
    /// weights from `transposed`, one for each part; their gradients follow once all blocks are done.
    pub fn learn(
        &mut self,
        context: &Context<'_, F>,
        transposed: &[Transposed<F>],
        team: &ThreadPool,
    ) {
        self.forward(context, transposed, team);
        self.score(context);
        self.backward(context, transposed, team);
    }

    /// Has the stateful layers begin from the state after the last batch, or from zeros.
    pub fn carry(&mut self, model: &Model, zeros: bool) {
        let begin = if zeros { Begin::Zeros } else { Begin::Carried };
        model.carried().for_each(|number| self.nodes[number].begin(begin));
    }

    fn forward(
        &mut self,
        context: &Context<'_, F>,
        transposed: &[Transposed<F>],
        team: &ThreadPool,
    ) {
        self.read(context);
        for number in 0..self.nodes.len() {
            let (below, here) = self.nodes.split_at_mut(number);
            let here = &mut here[0];
            let weights = |part: usize| context.weights((self.replica, part), number, transposed);
            let inputs = Inputs { nodes: below, read: &self.inputs, rows: &self.lengths };
            here.draw(inputs, context.masks.of(self.replica, number));
            here.forward(inputs, &weights, team);
        }
    }

    /// Copies this block's rows of the batch, step by step.
    fn read(&mut self, context: &Context<'_, F>) {
        let Context { batch, model, orders, .. } = *context;
        if let Some(lengths) = &batch.lengths {
            let own = self.replica * batch.size..(self.replica + 1) * batch.size;
            let order = &orders[self.replica][self.rows.clone()];
            self.lengths.sort(order, &lengths.source[own.clone()], &lengths.target[own]);
        }
        let BlockInputs { source, decoder_input } = &mut self.inputs;
        let Rows { source: along_source, target: along_target, .. } = &self.lengths;
        let part = |of, axis| Part { of, batch, replica: self.replica, axis };
        part(&batch.source, along_source).read(source);
        if let Some(fed) = &batch.decoder_input {
            part(fed, along_target).read(decoder_input);
        }
        let axis = self.lengths.along(model.outputs_along());
        let target = part(&batch.target, axis);
        let BlockTargets { ids, numbers } = &mut self.targets;
        target.copy(batch.target.ids(), ids, |id| id);
        target.copy(batch.target.numbers(), numbers, F::from_f64);
        self.scored = axis.total();
    }

    /// Computes the loss, and replaces the outputs by their gradient.
    fn score(&mut self, context: &Context<'_, F>) {
        let Context { model, batch, .. } = context;
        let scored = batch.target_steps(self.replica, model.output_steps() as usize);
        let scale = F::from(1.0) / F::from_f64(scored as f64);
        self.tally = Score::default();
        let (top, width) = (self.nodes.len() - 1, model.output_width());
        let outputs = &mut self.nodes[top].gradient().outputs.values;
        let targets = match batch.target {
            Sequences::Ids(_) => Targets::Ids(&self.targets.ids),
            Sequences::Numbers { .. } => Targets::Numbers(&self.targets.numbers),
        };
        model.loss.score(outputs, width, targets, scale, &mut self.tally);
    }

    fn backward(
        &mut self,
        context: &Context<'_, F>,
        transposed: &[Transposed<F>],
        team: &ThreadPool,
    ) {
        let gradients = self.nodes.iter_mut().flat_map(|node| node.gradients());
        gradients.for_each(Gradient::clear);
        for number in (0..self.nodes.len()).rev() {
            let (below, here) = self.nodes.split_at_mut(number);
            let weights = |part: usize| context.weights((self.replica, part), number, transposed);
            let gradients = InputGradients { nodes: below, rows: &self.lengths };
            here[0].backward(gradients, &weights, team);
        }
    }
}

/// A block's rows of a part of a batch.
pub(super) struct Part<'a> {
    /// The part.
    pub of: &'a Sequences,
    /// The batch.
    pub batch: &'a Batch,
    /// The replica.
    pub replica: usize,
    /// The rows.
    pub axis: &'a Axis,
}

impl Part<'_> {
    /// Copies ids or numbers.
    pub(super) fn read<F: Real>(&self, to: &mut BlockSequence<F>) {
        self.copy(self.of.ids(), &mut to.ids, |id| id as usize);
        self.copy(self.of.numbers(), &mut to.numbers, F::from_f64);
    }

    /// Replaces `to` by the rows of `all` `(R, B, T, features)`, step by step.
    fn copy<T: Copy, U>(&self, all: &[T], to: &mut Vec<U>, convert: impl Fn(T) -> U) {
        let features = self.of.features();
        let width = all.len() / (self.batch.replicas * self.batch.size);
        let own = &all[self.replica * self.batch.size * width..];
        to.clear();
        for t in 0..self.axis.steps().min(width / features) {
            for row in &self.axis.order[..self.axis.at(t).len()] {
                let step = &own[row * width + t * features..][..features];
                to.extend(step.iter().map(|&x| convert(x)));
            }
        }
    }
}
