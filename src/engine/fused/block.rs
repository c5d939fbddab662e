//! Some rows of one replica's batch, on their way through the model and back.

use std::ops::Range;

use super::Context;
use super::dense::{Tally, cross_entropy};
use super::lstm::Steps;
use super::transposed::Transposed;
use crate::config::Config;
use crate::data::task::Batch;
use crate::kernels::float::{Real, widest};
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::model::{Input, Model, Start};

/// N rows of a batch with their buffers. `T` is the LSTM's or, of the dense layer, the steps that
/// it answers.
pub struct Block<F> {
    /// Whose rows.
    pub replica: usize,
    /// Which of the replica's rows.
    pub rows: Range<usize>,
    /// H.
    pub units: usize,
    every_step: bool,
    /// The time steps of each LSTM.
    pub lstms: Vec<Steps<F>>,
    /// The ids that each LSTM reads, `(T, N)`; none where it reads vectors.
    pub ids: Vec<Vec<usize>>,
    /// `(N, 4H)`: the projection of a vector that is read at every step, then its gradient.
    pub repeated: Vec<F>,
    /// `(N, H)`.
    d_code: Vec<F>,
    /// `(T · N, V)`: after `learn` the gradient of the logits.
    pub logits: Vec<F>,
    /// `(T · N, H)`: the gradient of what the dense layer reads.
    d_read: Vec<F>,
    /// `(T, N)`.
    pub targets: Vec<i64>,
    /// What the rows scored.
    pub tally: Tally,
}

impl<F: Real> Block<F> {
    /// Buffers for rows `rows` of replica `replica`.
    pub fn new(model: &Model, config: &Config, replica: usize, rows: Range<usize>) -> Self {
        let (n, units) = (rows.len(), model.units as usize);
        let steps = |steps: i64| Steps::new(steps as usize, n, units, config.gate_activation);
        let answers = n * model.answers() as usize;
        let repeats = model.lstms.iter().any(|spec| spec.input == Input::Repeated);
        let zeros = |len: usize| vec![F::default(); len];
        Self {
            replica,
            units,
            every_step: model.every_step,
            lstms: model.lstms.iter().map(|spec| steps(spec.steps)).collect(),
            ids: model.lstms.iter().map(|_| Vec::new()).collect(),
            repeated: zeros(if repeats { n * 4 * units } else { 0 }),
            d_code: zeros(if repeats { n * units } else { 0 }),
            logits: zeros(answers * model.vocab as usize),
            d_read: zeros(answers * units),
            targets: Vec::with_capacity(answers),
            tally: Tally::default(),
            rows,
        }
    }

    /// What the dense layer reads, `(T · N, H)`.
    pub fn read(&self) -> &[F] {
        let top = &self.lstms[self.lstms.len() - 1];
        if self.every_step { top.outputs() } else { top.last_h() }
    }

    /// Runs the rows through the model, scores them, and computes the gradient of everything but
    /// the weights, of which the backward pass reads `transposed`.
    pub fn learn(&mut self, context: &Context<'_, F>, transposed: &Transposed<F>) {
        self.forward(context);
        self.score(context, transposed);
        self.backward(context, transposed);
    }

    /// Makes the state after the last batch that before the next, or zeros.
    pub fn carry(&mut self, model: &Model, zeros: bool) {
        let n = self.rows.len() * self.units;
        for (steps, _) in
            self.lstms.iter_mut().zip(&model.lstms).filter(|(_, spec)| spec.start == Start::Carried)
        {
            for states in [&mut steps.h, &mut steps.c] {
                if zeros {
                    states[..n].fill(F::default());
                } else {
                    let last = states.len() - n;
                    states.copy_within(last.., 0);
                }
            }
        }
    }

    fn forward(&mut self, context: &Context<'_, F>) {
        let places = &context.places[self.replica];
        for (l, spec) in context.model.lstms.iter().enumerate() {
            match spec.input {
                Input::Source => self.look_up(context, l, &context.batch.source),
                Input::DecoderInput => {
                    let ids = context.batch.decoder_input.as_deref();
                    self.look_up(context, l, ids.unwrap_or_default());
                }
                Input::Repeated => self.repeat(context, l),
            }
            let recurrent = context.matrix(&places.lstms[l].recurrent, 4 * self.units);
            let (below, here) = self.lstms.split_at_mut(l);
            let n = self.rows.len() * self.units;
            match (spec.start, below.last()) {
                (Start::Below, Some(below)) => {
                    here[0].h[..n].copy_from_slice(below.last_h());
                    here[0].c[..n].copy_from_slice(below.last_c());
                }
                (Start::Carried, _) => {}
                (Start::Zero | Start::Below, _) => {
                    here[0].h[..n].fill(F::default());
                    here[0].c[..n].fill(F::default());
                }
            }
            here[0].forward(recurrent);
        }
    }

    /// Projects the ids `all` `(R, B, T)` of LSTM `l`: a look-up of kernel rows.
    fn look_up(&mut self, context: &Context<'_, F>, l: usize, all: &[i64]) {
        let ids = self.by_step(all, context.batch).map(|id| id as usize);
        self.ids[l].clear();
        self.ids[l].extend(ids);
        let places = &context.places[self.replica].lstms[l];
        let (kernel, bias) = (context.weights(&places.kernel), context.weights(&places.bias));
        let width = bias.len();
        for (gates, id) in self.lstms[l].gates.chunks_exact_mut(width).zip(&self.ids[l]) {
            let row = &kernel[id * width..(id + 1) * width];
            for ((gate, &x), &bias) in gates.iter_mut().zip(row).zip(bias) {
                *gate = x + bias;
            }
        }
    }

    /// Projects the last output of the LSTM below LSTM `l`, which reads it at every step.
    fn repeat(&mut self, context: &Context<'_, F>, l: usize) {
        let places = &context.places[self.replica].lstms[l];
        let kernel = context.matrix(&places.kernel, 4 * self.units);
        let bias = context.weights(&places.bias);
        self.repeated.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
        let code = Matrix::new(self.lstms[l - 1].last_h(), self.units);
        multiply(code, kernel, &mut self.repeated, Onto::Sum, Order::Up);
        let gates = &mut self.lstms[l].gates;
        gates.chunks_exact_mut(self.repeated.len()).for_each(|t| t.copy_from_slice(&self.repeated));
    }

    /// This block's part of `all` `(R, B, T)`, as `(T, N)`.
    fn by_step<'a>(&self, all: &'a [i64], batch: &Batch) -> impl Iterator<Item = i64> + use<'a, F> {
        let width = all.len() / (batch.replicas * batch.size);
        let first = self.replica * batch.size + self.rows.start;
        let own = &all[first * width..(first + self.rows.len()) * width];
        (0..width).flat_map(move |t| own.iter().skip(t).step_by(width).copied())
    }

    /// Logits, loss, and their gradient down to what the dense layer reads.
    fn score(&mut self, context: &Context<'_, F>, transposed: &Transposed<F>) {
        let places = &context.places[self.replica];
        let bias = context.weights(&places.dense_bias);
        let dense = context.matrix(&places.dense, bias.len());
        let mut logits = std::mem::take(&mut self.logits);
        logits.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
        let read = Matrix::new(self.read(), self.units);
        multiply(read, dense, &mut logits, Onto::Sum, Order::Up);
        let targets = self.by_step(&context.batch.target, context.batch);
        self.targets.clear();
        self.targets.extend(targets);
        let scored = context.batch.target.len() / context.batch.replicas;
        let scale = F::from(1.0) / F::from_f64(scored as f64);
        self.tally = Tally::default();
        cross_entropy(&mut logits, bias.len(), &self.targets, scale, &mut self.tally);
        let d_logits = Matrix::new(&logits, bias.len());
        multiply(d_logits, transposed.dense(), &mut self.d_read, Onto::Nothing, Order::Down);
        self.logits = logits;
    }

    fn backward(&mut self, context: &Context<'_, F>, transposed: &Transposed<F>) {
        let gates = 4 * self.units;
        let top = self.lstms.len() - 1;
        for (l, spec) in context.model.lstms.iter().enumerate().rev() {
            let (below, here) = self.lstms.split_at_mut(l);
            let here = &mut here[0];
            if l == top {
                here.d_c.fill(F::default());
                if self.every_step {
                    here.d_h.fill(F::default());
                } else {
                    here.d_h.copy_from_slice(&self.d_read);
                }
            }
            let d_outputs = (l == top && self.every_step).then_some(self.d_read.as_slice());
            here.backward(transposed.recurrent(l), d_outputs, spec.start == Start::Below);
            let Some(below) = below.last_mut() else { continue };
            if spec.start == Start::Below {
                below.d_h.copy_from_slice(&here.d_h);
                below.d_c.copy_from_slice(&here.d_c);
            } else {
                below.d_h.fill(F::default());
                below.d_c.fill(F::default());
            }
            if spec.input == Input::Repeated {
                self.repeated.fill(F::default());
                sum_rows(&mut self.repeated, &here.gates);
                let d_inputs = Matrix::new(&self.repeated, gates);
                let d_code = &mut self.d_code;
                multiply(d_inputs, transposed.kernel(l), d_code, Onto::Nothing, Order::Up);
                below.d_h.iter_mut().zip(&self.d_code).for_each(|(sum, &x)| *sum += x);
            }
        }
    }
}

widest! {
    /// Adds every row of `rows` to `out`.
    sum_rows<F: Real>(out: &mut [F], rows: &[F]) by sum_rows_body
}

#[inline(always)]
fn sum_rows_body<F: Real>(out: &mut [F], rows: &[F]) {
    for row in rows.chunks_exact(out.len()) {
        out.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
    }
}
