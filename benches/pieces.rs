//! What a training step of the fused engine is spent on, piece by piece, on one thread, and the
//! whole step beside it. `cargo bench --bench pieces`
//!
//! Sizes are those of the published experiments, gates are sigmoid.

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::experiments;
use criterion::{Criterion, criterion_group, criterion_main};
use seqlab::base::rng::Purpose;
use seqlab::config::{Config, GateActivation};
use seqlab::data::task::Task;
use seqlab::engine::fused::block_ranges;
use seqlab::kernels::product::{Matrix, Onto, Order, multiply, panel};
use seqlab::kernels::thread_pool::ThreadPool;
use seqlab::kernels::transpose::transpose;
use seqlab::model::layers::Layer;
use seqlab::model::layers::lstm::steps::Steps;
use seqlab::model::layers::pass::Buffers;
use seqlab::model::layers::rows::{Axis, Rows};
use seqlab::model::losses::Score;
use seqlab::model::losses::cross_entropy::fused::cross_entropy;
use seqlab::model::{Model, Node};
use seqlab::optim::optimizer::Optimizer;
use seqlab::tensor::device;
use seqlab::train::trainer::Trainer;

/// `n` numbers between −.1 and .1.
fn numbers(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i * 7919 % 201) as f32 * 1e-3 - 0.1).collect()
}

/// A step's buffers and weights, of the right sizes and with numbers of no meaning.
struct Pieces {
    weights: Vec<f32>,
    /// Blocks of rows of each LSTM.
    lstms: Vec<Vec<(Steps<f32>, Axis)>>,
    /// Each block's logits.
    logits: Vec<Vec<f32>>,
    units: usize,
    vocab: usize,
    alone: ThreadPool,
}

/// The steps of an LSTM.
fn steps(node: &Node, rows: usize) -> (Steps<f32>, Axis) {
    let Layer::Lstm(lstm) = &node.layer else { unreachable!("an LSTM") };
    let mut buffers = Buffers::new(lstm, node, rows);
    let mut steps = Steps::new(lstm, 1, rows, &mut buffers);
    let gates = &mut steps.parts[0].gates;
    *gates = numbers(gates.len());
    (steps, Rows::uniform(0..rows, [node.steps as usize, 0]).source)
}

impl Pieces {
    fn new(config: &Config) -> Self {
        let model = Model::new(config);
        let (units, vocab) = (config.units as usize, config.vocab as usize);
        let sizes: Vec<usize> =
            block_ranges(&model, config.batch_size as usize).map(|rows| rows.len()).collect();
        let answers = model.output_steps() as usize;
        let lstms = model.nodes.iter().filter(|node| matches!(node.layer, Layer::Lstm(_)));
        let lstms = lstms.map(|node| sizes.iter().map(|&rows| steps(node, rows)).collect());
        Self {
            weights: numbers(4 * units * units.max(vocab)),
            lstms: lstms.collect(),
            logits: sizes.iter().map(|rows| numbers(rows * answers * vocab)).collect(),
            units,
            vocab,
            alone: ThreadPool::new(1),
        }
    }

    fn recurrent(weights: &[f32], units: usize) -> Matrix<'_, f32> {
        Matrix::new(&weights[..4 * units * units], 4 * units)
    }

    fn forward(&mut self) {
        for (block, axis) in self.lstms.iter_mut().flatten() {
            let kernel = Self::recurrent(&self.weights, self.units);
            block.forward(axis, |_| kernel, &self.alone);
        }
    }

    /// Copies what the backward pass multiplies by: recurrent kernels, and kernels that read vectors.
    fn transposed_copies(&self, model: &Model, to: &mut [f32]) {
        let rows = panel::<f32>() * 4 * self.units;
        let weights = model.nodes.iter().flat_map(|node| node.layer.spec().weights());
        let square = vec![self.units as i64, 4 * self.units as i64];
        for _ in weights.filter(|weight| weight.transposed && weight.shape == square) {
            let panels = self.weights[..to.len()].chunks(rows).zip(to.chunks_mut(rows));
            panels.for_each(|(from, to)| transpose(from, 4 * self.units, to));
        }
    }

    fn backward(&mut self) {
        for (block, axis) in self.lstms.iter_mut().flatten() {
            let transposed =
                Matrix::in_panels(&self.weights[..4 * self.units * self.units], self.units);
            block.gradients[0].clear();
            block.backward(axis, |_| transposed, false, &self.alone);
        }
    }

    /// What the dense layer reads of a block.
    fn read<'a>(&self, block: &'a Steps<f32>, logits: &[f32]) -> Matrix<'a, f32> {
        let count = logits.len() / self.vocab * self.units;
        let outputs = block.outputs().whole();
        Matrix::new(&outputs[outputs.len() - count..], self.units)
    }

    fn dense_and_loss(&mut self) {
        let dense = Matrix::new(&self.weights[..self.units * self.vocab], self.vocab);
        let transposed = Matrix::in_panels(&self.weights[..self.units * self.vocab], self.units);
        let mut all = std::mem::take(&mut self.logits);
        for ((block, _), logits) in self.lstms[self.lstms.len() - 1].iter().zip(&mut all) {
            let read = self.read(block, logits);
            multiply(read, dense, logits, Onto::Nothing, Order::Up);
            let rows = logits.len() / self.vocab;
            let (targets, mut tally) = (vec![0; rows], Score::default());
            cross_entropy(logits, self.vocab, &targets, 0.0, 1.0, &mut tally);
            let mut d_read = vec![0.0; rows * self.units];
            let d_logits = Matrix::new(logits, self.vocab);
            multiply(d_logits, transposed, &mut d_read, Onto::Nothing, Order::Down);
            black_box((tally, d_read));
        }
        self.logits = all;
    }

    fn weight_gradients(&self, recurrent: &mut [f32], dense: &mut [f32]) {
        for (block, axis) in self.lstms.iter().flatten() {
            let (h, d_gates) = block.recurrent_rows(axis, 0);
            let d_gates = Matrix::new(d_gates, 4 * self.units);
            multiply(h.part(0).transposed(), d_gates, recurrent, Onto::Sum, Order::Up);
        }
        for ((block, _), logits) in self.lstms[self.lstms.len() - 1].iter().zip(&self.logits) {
            let (read, d_logits) = (self.read(block, logits), Matrix::new(logits, self.vocab));
            multiply(read.transposed(), d_logits, dense, Onto::Sum, Order::Up);
        }
    }
}

fn pieces(criterion: &mut Criterion) {
    for (name, config) in experiments() {
        let gate_activation = GateActivation::Sigmoid;
        let config = Config { gate_activation, threads: Some(1), ..config };
        let mut group = criterion.benchmark_group(format!("pieces/{name}"));
        let mut pieces = Pieces::new(&config);
        group.bench_function("forward", |b| b.iter(|| pieces.forward()));
        group.bench_function("dense and loss", |b| b.iter(|| pieces.dense_and_loss()));
        let (model, mut copy) = (Model::new(&config), vec![0.0; 4 * pieces.units * pieces.units]);
        group.bench_function("transposed copies", |b| {
            b.iter(|| pieces.transposed_copies(&model, &mut copy));
        });
        group.bench_function("backward", |b| b.iter(|| pieces.backward()));
        let mut recurrent = vec![0.0; 4 * pieces.units * pieces.units];
        let mut dense = vec![0.0; pieces.units * pieces.vocab];
        group.bench_function("weight gradients", |b| {
            b.iter(|| pieces.weight_gradients(&mut recurrent, &mut dense));
        });

        let mut trainer = Trainer::new(&config, device::host()).expect("a trainer");
        let mut optimizer = Optimizer::new(&config, trainer.epochs().steps(), &trainer.parameters)
            .expect("an optimiser");
        let pool = ThreadPool::new(1);
        group.bench_function("adam", |b| {
            b.iter(|| optimizer.update(&trainer.parameters, &pool).expect("an update"));
        });

        let (task, seeds) = (Task::new(&config), config.seeds());
        let (samples, size) = (task.samples_per_epoch(), config.batch_size as usize);
        // As in training: an epoch's data are drawn once for all of its batches.
        group.bench_function("batch", |b| {
            b.iter_custom(|steps| {
                let start = Instant::now();
                let mut done = 0;
                for epoch in 0.. {
                    let data = task.epoch(&seeds, Purpose::Training, epoch);
                    for first in (0..samples).step_by(size) {
                        if done == steps {
                            return start.elapsed();
                        }
                        black_box(data.batch(first..samples.min(first + size)));
                        done += 1;
                    }
                }
                start.elapsed()
            });
        });
        let batch = task.epoch(&seeds, Purpose::Training, 0).batch(0..samples.min(size));
        group.bench_function("step", |b| b.iter(|| trainer.learn(&batch).expect("a step")));
        group.finish();
    }
}

criterion_group!(benches, pieces);
criterion_main!(benches);
