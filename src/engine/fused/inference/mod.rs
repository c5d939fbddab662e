//! Inference by the layers' passes: what models answer to sources, a decoder fed its own outputs.
//!
//! A batch is split into blocks of rows of one replica, and every thread has buffers for one block at a
//! time. The layers that depend on the source alone run over all steps; those of a decoder then one
//! step after the other. What a row's answer is depends on nothing beside it, and what is summed in
//! which order on the batch size alone: neither threads nor replicas change a bit of the result.

mod answered_block;
mod answering;
mod passes;

use anyhow::{Result, ensure};

use super::ReplicaLayout;
use super::rows::by_length;
use crate::config::Config;
use crate::data::batch::{Batch, Sequences};
use crate::engine::{Answers, Inference};
use crate::kernels::float::Real;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::Model;
use crate::tensor::device;
use answered_block::AnsweredBlock;
use answering::Answering;
use passes::{Context, Passes};

/// A thread's passes, for each of the sizes that blocks have.
type Worker<F> = Vec<Passes<F>>;

/// Those of `worker` for blocks of `rows` rows.
fn passes_of<'a, F: Real>(
    worker: &'a mut Worker<F>,
    model: &Model,
    rows: usize,
) -> &'a mut Passes<F> {
    let known = worker.iter().position(|passes| passes.rows == rows);
    let place = known.unwrap_or_else(|| {
        worker.push(Passes::new(model, rows));
        worker.len() - 1
    });
    &mut worker[place]
}

/// Inference with numbers of type `F`.
pub(super) struct FusedInference<'a, F> {
    config: &'a Config,
    /// All replicas' weights, and where each lies.
    weights: &'a [F],
    layouts: Vec<ReplicaLayout>,
    end: Option<i64>,
    answering: Answering,
    /// Made for the first batch.
    pool: ThreadPool,
    /// One for each thread of the pool.
    workers: Vec<Worker<F>>,
    /// Those of the batch before, all replicas'.
    blocks: Vec<AnsweredBlock<F>>,
    /// B of that batch.
    size: usize,
}

impl<'a, F: Real> FusedInference<'a, F> {
    /// That of models of the validated `config` with these `weights`, whose answers end with the id
    /// `end`, if they do.
    pub fn new(
        config: &'a Config,
        weights: &'a [F],
        layouts: Vec<ReplicaLayout>,
        end: Option<i64>,
    ) -> Self {
        let (answering, pool) = (Answering::new(config, config.n_in as usize), ThreadPool::new(1));
        let (workers, blocks, size) = (Vec::new(), Vec::new(), 0);
        Self { config, weights, layouts, end, answering, pool, workers, blocks, size }
    }

    /// Splits `batch` into blocks, whose states are zeros.
    fn split(&mut self, batch: &Batch) {
        let source_steps = batch.steps(&batch.source);
        if source_steps != self.answering.source_steps {
            self.answering = Answering::new(self.config, source_steps);
            self.workers.clear();
        }
        if batch.size != self.size {
            self.workers.iter_mut().for_each(Vec::clear);
        }
        self.size = batch.size;
        let answering = &self.answering;
        let each = answering.rows_of_blocks(batch.size, size_of::<F>() as f64);
        let blocks = (0..batch.replicas).flat_map(|replica| {
            let rows = by_length(batch, replica);
            let orders: Vec<Vec<usize>> = rows.chunks(each).map(<[usize]>::to_vec).collect();
            orders.into_iter().map(move |order| AnsweredBlock::new(answering, replica, order))
        });
        self.blocks = blocks.collect();
        if self.workers.is_empty() {
            let threads = most_threads(self.config, batch.size).clamp(1, self.blocks.len().max(1));
            if threads != self.pool.threads() {
                self.pool = ThreadPool::new(threads);
            }
            self.workers.resize_with(self.pool.threads(), Vec::new);
        }
    }

    /// What the blocks hold, in the order of the batch.
    fn answers(&self, batch: &Batch) -> Answers {
        let Answering { model, steps, .. } = &self.answering;
        let losses = (0..batch.replicas).map(|replica| {
            let own = self.blocks.iter().filter(|block| block.replica == replica);
            let add = |(loss, counted), block: &AnsweredBlock<F>| {
                (loss + block.loss, counted + block.counted)
            };
            let (loss, counted) = own.fold((0.0, 0), add);
            loss / counted as f64
        });
        let losses = losses.collect();
        let answers = match model.features.map(|of| of.target as usize) {
            None => Sequences::Ids(self.in_order(*steps, |block| &block.ids)),
            Some(features) => {
                let values = self.in_order(steps * features, |block| &block.numbers);
                Sequences::Numbers { values, features }
            }
        };
        Answers { answers, losses }
    }

    /// The rows of all blocks, `width` numbers each, in the order of the batch.
    fn in_order<T: Copy + Default>(
        &self,
        width: usize,
        of: impl Fn(&AnsweredBlock<F>) -> &Vec<T>,
    ) -> Vec<T> {
        let mut all = vec![T::default(); self.layouts.len() * self.size * width];
        for block in &self.blocks {
            for (row, own) in block.order.iter().zip(of(block).chunks_exact(width)) {
                let first = (block.replica * self.size + row) * width;
                all[first..first + width].copy_from_slice(own);
            }
        }
        all
    }
}

impl<F: Real> Inference for FusedInference<'_, F> {
    fn answer(&mut self, batch: &Batch, goes_on: bool) -> Result<Answers> {
        let models = self.layouts.len();
        ensure!(batch.replicas == models, "{} sets of rows for {models} models", batch.replicas);
        match goes_on {
            false => self.split(batch),
            true => ensure!(batch.size == self.size, "{} rows go on as {}", self.size, batch.size),
        }
        let context = Context {
            answering: &self.answering,
            weights: self.weights,
            layouts: &self.layouts,
            batch,
            feedback: self.config.feedback,
            end: self.end,
        };
        let model = &self.answering.model;
        self.pool.each_with(&mut self.workers, &mut self.blocks, |worker, block| {
            passes_of(worker, model, block.order.len()).run(&context, block);
        });
        Ok(self.answers(batch))
    }
}

/// How many threads share batches of `rows` rows a replica, if there are as many blocks.
fn most_threads(config: &Config, rows: usize) -> usize {
    device::threads(&Config { batch_size: rows as i64, ..config.clone() })
}

/// What it takes to answer batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InferenceCosts {
    /// Threads that share a batch.
    pub threads: usize,
    /// Bytes of the buffers of all of them.
    pub bytes: f64,
}

impl InferenceCosts {
    /// Those of batches of `rows` rows a replica, for models of the validated `config` and numbers of
    /// `number` bytes.
    pub fn new(config: &Config, rows: usize, number: f64) -> Self {
        let answering = Answering::new(config, config.n_in as usize);
        let each = answering.rows_of_blocks(rows, number);
        let replicas = config.replicas as usize;
        let blocks = rows.div_ceil(each).saturating_mul(replicas);
        let threads = most_threads(config, rows).clamp(1, blocks.max(1));
        // A thread may have the last block of a replica besides others, but each has its own rows.
        let rows = (threads * (each + rows % each)).min(rows.saturating_mul(replicas)) as f64;
        let nodes = &answering.model.nodes;
        let scratch = nodes.iter().flat_map(|node| node.layer.spec().scratch(node));
        let scratch = scratch.map(|numbers| numbers as f64).sum::<f64>() * number;
        let bytes = rows * answering.row_bytes(number) + (2 * threads) as f64 * scratch;
        Self { threads, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    #[test]
    fn threads_have_no_more_buffers_than_there_are_rows() {
        let reverse = presets::find("reverse").map(|preset| preset.config).unwrap();
        let costs = |threads, rows| {
            InferenceCosts::new(&Config { threads: Some(threads), ..reverse.clone() }, rows, 4.0)
        };
        let row = costs(1, 1).bytes;
        assert_eq!((costs(3, 1).threads, costs(3, 4096).threads), (1, 3));
        assert_eq!(costs(1, 480).bytes, 48.0 * row);
        assert_eq!(costs(64, 100).bytes, 100.0 * row);
    }
}
