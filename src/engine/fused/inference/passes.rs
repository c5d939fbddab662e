//! A model's layers on some rows of a batch: over all steps of the source, and then, if there is a
//! decoder, step by step.

use super::answered_block::AnsweredBlock;
use super::answering::Answering;
use crate::config::Feedback;
use crate::data::batch::{Batch, Sequences};
use crate::engine::fused::ReplicaLayout;
use crate::engine::fused::block::Part;
use crate::kernels::float::Real;
use crate::kernels::rows::largest;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::Model;
use crate::model::layers::pass::{Begin, BlockInputs, Inputs, Pass, Weights};
use crate::model::layers::rows::Rows;
use crate::model::losses::Targets;

/// What all blocks of a batch read.
pub struct Context<'a, F> {
    /// The model.
    pub answering: &'a Answering,
    /// All replicas' weights.
    pub weights: &'a [F],
    /// Where each replica's lie.
    pub layouts: &'a [ReplicaLayout],
    /// What is answered.
    pub batch: &'a Batch,
    /// What a decoder is fed.
    pub feedback: Option<Feedback>,
    /// The id behind which an answer does not count.
    pub end: Option<i64>,
}

impl<F: Real> Context<'_, F> {
    /// The weights of a replica's node.
    fn weights(&self, replica: usize, node: usize) -> Weights<'_, F> {
        let layouts = self.layouts[replica].parts[0][node].iter();
        Weights::new(layouts.map(|layout| &self.weights[layout.range.clone()]), &[])
    }

    /// The rows of `block` with the time steps that they have at a time.
    fn rows(&self, block: &AnsweredBlock<F>) -> Rows {
        let &Answering { source_steps, steps, .. } = self.answering;
        let first = block.replica * self.batch.size;
        let lengths = self.batch.lengths.as_ref();
        let lengths = lengths.map(|lengths| &lengths.source[first..first + self.batch.size]);
        let at_a_time = if self.answering.decodes() { 1 } else { steps };
        Rows::answered(&block.order, lengths, [source_steps, at_a_time])
    }

    /// How many time steps of the target of row `row` of all replicas' rows count.
    fn target_steps(&self, row: usize) -> usize {
        let Batch { lengths, target, .. } = self.batch;
        let steps = lengths.as_ref().map(|lengths| lengths.target[row] as usize);
        steps.unwrap_or_else(|| self.batch.steps(target)).min(self.answering.steps)
    }

    /// The longest of the targets of `block`.
    fn longest_target(&self, block: &AnsweredBlock<F>) -> usize {
        let first = block.replica * self.batch.size;
        block.order.iter().map(|row| self.target_steps(first + row)).max().unwrap_or(0)
    }
}

/// The layers' passes with their buffers, for blocks of some number of rows.
pub struct Passes<F> {
    /// N.
    pub rows: usize,
    nodes: Vec<Box<dyn Pass<F>>>,
    inputs: BlockInputs<F>,
    /// What the model answers at the time steps that ran last, `(T, N, width)`.
    answers: Vec<F>,
    /// Of probabilities, which id is the most probable, `(T, N)`.
    ids: Vec<usize>,
    /// The numbers of a time step of a target.
    target: Vec<F>,
    /// The thread that has the passes.
    alone: ThreadPool,
}

impl<F: Real> Passes<F> {
    /// Those of `model`.
    pub fn new(model: &Model, rows: usize) -> Self {
        let nodes = model.nodes.iter().map(|node| node.layer.pass(node, rows)).collect();
        let (inputs, answers, ids) = (BlockInputs::default(), Vec::new(), Vec::new());
        let (target, alone) = (Vec::new(), ThreadPool::new(1));
        Self { rows, nodes, inputs, answers, ids, target, alone }
    }

    /// Answers the sources of `block`.
    pub fn run(&mut self, context: &Context<'_, F>, block: &mut AnsweredBlock<F>) {
        let Context { batch, answering, .. } = *context;
        let rows = context.rows(block);
        let of = &batch.source;
        let source = Part { of, batch, replica: block.replica, axis: &rows.source };
        source.read(&mut self.inputs.source);
        (block.loss, block.counted) = (0.0, 0);
        for (node, states) in answering.model.carried().zip(&block.states) {
            let initial = self.nodes[node].initial(0).into_iter().zip(states);
            initial.for_each(|(initial, state)| initial.copy_from_slice(state));
        }
        self.forward(context, block.replica, &rows, [false, true]);
        if answering.decodes() {
            self.decode(context, block, &rows);
        } else {
            self.answer(context, block, 0);
        }
        for (node, states) in answering.model.carried().zip(&mut block.states) {
            let last = self.nodes[node].state(0).into_iter().zip(states);
            last.for_each(|(last, state)| state.copy_from_slice(last));
        }
    }

    /// Runs the decoder, step by step, as far as its answers count.
    fn decode(&mut self, context: &Context<'_, F>, block: &mut AnsweredBlock<F>, rows: &Rows) {
        let Answering { model, steps, .. } = context.answering;
        let longest = context.longest_target(block);
        if let Some(end) = context.end {
            block.ids.fill(end);
        }
        self.feed_start(model.start);
        for t in 0..*steps {
            self.forward(context, block.replica, rows, [true, t == 0]);
            self.answer(context, block, t);
            let ends = context.end.is_some_and(|end| block.has_ended(*steps, t, end));
            if ends && t + 1 >= longest {
                break;
            }
            self.feed(context.feedback);
        }
    }

    /// Runs the layers of the decoder, or the others: the `first` time from their initial state, then
    /// from where they are.
    fn forward(
        &mut self,
        context: &Context<'_, F>,
        replica: usize,
        rows: &Rows,
        [decoder, first]: [bool; 2],
    ) {
        let Answering { model, decoder: decodes, .. } = context.answering;
        for number in (0..model.nodes.len()).filter(|number| decodes[*number] == decoder) {
            let (below, here) = self.nodes.split_at_mut(number);
            let here = &mut *here[0];
            here.begin(if first { Begin::AsTheModelSays } else { Begin::Carried });
            let inputs = Inputs { nodes: below, read: &self.inputs, rows };
            here.forward(inputs, &|_| context.weights(replica, number), &self.alone);
        }
    }

    /// Notes in `block` what the model answers from time step `first` on, and scores it.
    fn answer(&mut self, context: &Context<'_, F>, block: &mut AnsweredBlock<F>, first: usize) {
        let Answering { model, steps, .. } = context.answering;
        let (rows, width) = (self.rows, model.output_width());
        self.answers.clear();
        self.answers.extend_from_slice(self.nodes[model.nodes.len() - 1].outputs().whole());
        model.loss.answer(&mut self.answers, width);
        if model.features.is_none() {
            self.ids.resize(self.answers.len() / width, 0);
            largest(&self.answers, width, &mut self.ids);
        }
        for (number, answer) in self.answers.chunks_exact(width).enumerate() {
            let (t, row) = (first + number / rows, number % rows);
            let place = row * steps + t;
            if let Some(id) = self.ids.get(number) {
                block.ids[place] = *id as i64;
            }
            if let Some(numbers) = block.numbers.get_mut(place * width..(place + 1) * width) {
                numbers.iter_mut().zip(answer).for_each(|(to, &number)| *to = number.into());
            }
            let target = block.replica * context.batch.size + block.order[row];
            if t < context.target_steps(target) {
                block.loss += loss(context, answer, (target, t), &mut self.target);
                block.counted += 1;
            }
        }
    }

    /// Feeds the decoder the id `start`, or zeros.
    fn feed_start(&mut self, start: Option<i64>) {
        let fed = &mut self.inputs.decoder_input;
        fed.numbers.clear();
        fed.ids.clear();
        if let Some(id) = start {
            fed.ids.resize(self.rows, id as usize);
        }
    }

    /// Feeds the decoder what it answered last.
    fn feed(&mut self, feedback: Option<Feedback>) {
        let fed = &mut self.inputs.decoder_input;
        fed.ids.clear();
        fed.numbers.clear();
        match feedback {
            Some(Feedback::Argmax) => fed.ids.extend_from_slice(&self.ids),
            Some(Feedback::Softmax | Feedback::Values) => {
                fed.numbers.extend_from_slice(&self.answers);
            }
            None => {}
        }
    }
}

/// The loss of `answer` against time step `t` of the target of row `row` of all replicas' rows; `numbers` is
/// room for those of the target.
fn loss<F: Real>(
    context: &Context<'_, F>,
    answer: &[F],
    (row, t): (usize, usize),
    numbers: &mut Vec<F>,
) -> f64 {
    let Batch { target, replicas, size, .. } = context.batch;
    let (loss, place) = (context.answering.model.loss, row * (target.len() / (replicas * size)));
    match target {
        Sequences::Ids(ids) => loss.of_answer(answer, Targets::<F>::Ids(&ids[place + t..][..1])),
        Sequences::Numbers { values, features } => {
            let step = &values[place + t * features..][..*features];
            numbers.clear();
            numbers.extend(step.iter().map(|&number| F::from_f64(number)));
            loss.of_answer(answer, Targets::Numbers(numbers))
        }
    }
}
