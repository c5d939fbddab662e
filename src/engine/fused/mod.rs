//! The engine for CPUs: scores a batch and computes the gradient with explicit equations, fused
//! into few passes over memory that is allocated once.
//!
//! A batch is split into blocks of rows of one replica, which threads take one by one. A block runs
//! forward and backward through the whole model on its own; then the weights' gradients are summed
//! over the blocks, matrix by matrix. What is summed in which order depends on the batch size
//! alone, so neither the number of threads nor that of replicas changes a bit of the result.
//!
//! Several steps are done per call. With many replicas, a thread does all of these steps for one
//! replica, whose weights and moments stay in its cache meanwhile, and then takes the next replica.
//! With one replica or a few, all threads share every step, and each thread always has the same
//! rows of the weights.

mod block;
mod gradient;
pub mod inference;
pub mod transposed;

use std::cmp::Reverse;
use std::ops::Range;
use std::rc::Rc;
use std::slice::from_mut;
use std::time::Instant;

use tch::{Kind, TchError, Tensor};

use crate::config::Config;
use crate::data::batch::Batch;
use crate::data::loader::{self, Step};
use crate::engine::pace::{self, Pace};
use crate::engine::{Engine, Inference, Scored, StepResults};
use crate::kernels::float::Real;
use crate::kernels::product::panel;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::Weight;
use crate::model::layers::dropout::{Masks, StepMasks};
use crate::model::layers::pass::{Pass, WEIGHTS, Weights};
use crate::model::losses::{Score, Scores};
use crate::model::network::State;
use crate::model::{Model, Node, Read};
use crate::optim::clipping;
use crate::optim::memory::Memory;
use crate::optim::optimizer::Optimizer;
use crate::optim::rule::Update;
use crate::tensor::device;
use crate::tensor::parameters::Parameters;
use crate::tensor::slices::{slice, slice_mut};
use block::Block;
use gradient::{WeightRows, weight_rows};
use inference::FusedInference;
use transposed::Transposed;

/// Rows of a block: enough for products to be fast, and few enough for the activations of its
/// forward pass to be in the cache still on the backward pass.
pub const BLOCK_ROWS: usize = 16;

/// The engine for numbers of type `F`.
pub struct Fused<F> {
    model: Model,
    config: Config,
    pool: ThreadPool,
    pace: Pace,
    /// Where each replica's weights lie.
    layouts: Rc<[ReplicaLayout]>,
    masks: Rc<Masks>,
    /// Each replica's weights as the backward pass reads them.
    transposed: Vec<Transposed<F>>,
    /// Blocks for batches of `rows` rows, replica by replica.
    blocks: Vec<Block<F>>,
    rows: usize,
    /// Each thread's buffer for the gradient of some rows of a weight.
    scratch: Vec<Vec<F>>,
}

/// Where one replica's weights lie in the flat buffer.
#[derive(Debug)]
pub struct ReplicaLayout {
    /// Node by node, the weights in the order of the layer's `weights`.
    pub nodes: Vec<Vec<WeightLayout>>,
}

/// Where a weight lies in the flat buffer.
#[derive(Debug)]
pub struct WeightLayout {
    /// Its range of the buffer.
    pub range: Range<usize>,
    /// Its columns as a matrix.
    pub columns: usize,
}

impl ReplicaLayout {
    /// Those of all replicas.
    fn of_all(model: &Model, parameters: &Parameters) -> Result<Vec<Self>, TchError> {
        let replicas = 0..parameters.replicas() as usize;
        replicas.map(|replica| Self::new(model, parameters, replica)).collect()
    }

    fn new(model: &Model, parameters: &Parameters, replica: usize) -> Result<Self, TchError> {
        let layout = |node: &Node, weight: &Weight| {
            let name = format!("{}.{}", node.name, weight.name);
            let range = parameters.range(&name, replica);
            let range = range.ok_or_else(|| TchError::Shape(format!("the model has no {name}")))?;
            Ok::<_, TchError>(WeightLayout { range, columns: weight.columns() })
        };
        let layouts = |node: &Node| {
            node.layer.spec().weights().iter().map(|weight| layout(node, weight)).collect()
        };
        Ok(Self { nodes: model.nodes.iter().map(layouts).collect::<Result<_, _>>()? })
    }
}

/// What all blocks read.
#[derive(Clone, Copy)]
pub struct Context<'a, F> {
    /// The model.
    pub model: &'a Model,
    /// Where each replica's weights lie in `memory`.
    pub layouts: &'a [ReplicaLayout],
    /// The memory of all weights, their slots and gradients.
    pub memory: Memory<F>,
    /// The batch.
    pub batch: &'a Batch,
    /// The dropout masks.
    pub masks: StepMasks<'a>,
    /// Replica by replica, the rows of the batch in the order in which blocks have them, where rows
    /// have lengths of their own.
    pub orders: &'a [Vec<usize>],
}

impl<'a, F: Real> Context<'a, F> {
    /// The weights of a replica's node, with their transposed copies.
    fn weights<'b>(
        &self,
        replica: usize,
        node: usize,
        transposed: &'b Transposed<F>,
    ) -> Weights<'b, F>
    where
        'a: 'b,
    {
        let mut values: [&[F]; WEIGHTS] = [&[]; WEIGHTS];
        for (value, layout) in values.iter_mut().zip(&self.layouts[replica].nodes[node]) {
            // SAFETY: nobody writes to a replica's weights while its blocks learn.
            *value = unsafe { self.memory.weights(&layout.range) };
        }
        Weights { values, transposed: &transposed.nodes[node] }
    }
}

impl<F: Real> Fused<F> {
    /// An engine for the model of a validated configuration with weights like `parameters`.
    ///
    /// # Errors
    /// If `parameters` are not the model's.
    pub fn new(config: &Config, parameters: &Parameters) -> Result<Self, TchError> {
        let model = Model::new(config);
        let layouts = ReplicaLayout::of_all(&model, parameters)?;
        let transposed = layouts.iter().map(|_| Transposed::new(&model)).collect();
        let mut choices = threads(config);
        let pool = ThreadPool::new(choices.last().copied().unwrap_or(1));
        // Perhaps of fewer than were wanted.
        choices.iter_mut().for_each(|threads| *threads = pool.threads().min(*threads));
        choices.dedup();
        let pace = Pace::new(choices);
        let scratch = vec![Vec::new(); pool.threads()];
        let (config, layouts) = (config.clone(), layouts.into());
        let masks = Rc::new(Masks::Drawn(config.seeds()));
        let (blocks, rows) = (Vec::new(), 0);
        Ok(Self { model, config, pool, pace, layouts, masks, transposed, blocks, rows, scratch })
    }

    /// Makes the blocks for batches of `rows` rows.
    fn split_into_blocks(&mut self, rows: usize) {
        let model = &self.model;
        let of = |replica| block_ranges(rows).map(move |rows| Block::new(model, replica, rows));
        self.blocks = (0..self.layouts.len()).flat_map(of).collect();
        self.rows = rows;
    }

    /// Calls `copy` with the replica and each stateful layer of each block, and the block's rows of its
    /// h and c in `state`.
    fn for_each_state(
        &mut self,
        state: &State,
        copy: impl Fn(usize, &mut dyn Pass<F>, [&mut [F]; 2]),
    ) -> Result<(), TchError> {
        for (number, state) in self.model.carried().zip(&state.0) {
            let units = self.model.nodes[number].layer.spec().width() as usize;
            for block in &mut self.blocks {
                let first = (block.replica * self.rows + block.rows.start) * units;
                let n = block.rows.len() * units;
                // SAFETY: the engine owns the state while it learns, and h and c are distinct.
                let rows =
                    unsafe { [slice_mut(&state.h, first, n)?, slice_mut(&state.c, first, n)?] };
                copy(block.replica, &mut *block.nodes[number], rows);
            }
        }
        Ok(())
    }

    /// Does all steps of a replica on one thread; the threads share the replicas.
    fn learn_by_replica(&mut self, inputs: &[StepInput<'_, F>]) -> Vec<Learnt> {
        let alone = ThreadPool::new(1);
        let blocks_each = self.blocks.len() / self.layouts.len();
        let blocks = self.blocks.chunks_exact_mut(blocks_each);
        let replicas = blocks.zip(&mut self.transposed);
        let mut replicas: Vec<_> =
            replicas.map(|(blocks, transposed)| (blocks, transposed, Vec::new())).collect();
        self.pool.each_with(&mut self.scratch, &mut replicas, |scratch, replica| {
            let (blocks, transposed, steps) = replica;
            *steps = learn_steps(&alone, from_mut(scratch), blocks, from_mut(*transposed), inputs);
        });
        let mut together: Vec<Learnt> = inputs.iter().map(|_| Learnt::default()).collect();
        for step in replicas.into_iter().map(|(.., steps)| steps) {
            for (all, own) in together.iter_mut().zip(step) {
                all.scores.extend(own.scores);
                all.norms.extend(own.norms);
            }
        }
        together
    }
}

/// What a step told, replica by replica.
#[derive(Debug, Default)]
struct Learnt {
    scores: Vec<Score>,
    /// Norms of the gradients before they were clipped; none where they are not.
    norms: Vec<f64>,
}

/// Does all steps of the replicas of `blocks`, the threads of `pool` sharing each step. Returns what each told.
fn learn_steps<F: Real>(
    pool: &ThreadPool,
    scratch: &mut [Vec<F>],
    blocks: &mut [Block<F>],
    transposed: &mut [Transposed<F>],
    inputs: &[StepInput<'_, F>],
) -> Vec<Learnt> {
    let (each, first) = (blocks.len() / transposed.len(), blocks[0].replica);
    let step = |(number, input): (usize, &StepInput<'_, F>)| {
        if number == 0 {
            pool.each(&mut input.weight_rows(blocks, transposed), WeightRows::copy);
        } else {
            blocks.iter_mut().for_each(|block| block.carry(input.context.model, input.from_zeros));
        }
        pool.each(blocks, |block| {
            if !input.stopped[block.replica] {
                block.learn(&input.context, &transposed[block.replica - first]);
            }
        });
        let is_last = number + 1 == inputs.len();
        let mut shares = input.weight_rows(blocks, transposed);
        let norms = match input.clipnorm {
            Some(most) => {
                let norms = norms(pool, &mut shares, first..first + blocks.len() / each);
                pool.each(&mut shares, |rows| {
                    let factor = clipping::factor(norms[rows.replica() - first], most);
                    rows.learn_clipped(input.update(rows.replica()), factor, !is_last);
                });
                norms
            }
            None => {
                pool.each_with(scratch, &mut shares, |scratch, rows| {
                    rows.learn(input.update(rows.replica()), (!is_last).then_some(scratch));
                });
                Vec::new()
            }
        };
        Learnt { scores: blocks.chunks_exact(each).map(score).collect(), norms }
    };
    inputs.iter().enumerate().map(step).collect()
}

/// Leaves the gradient of all `shares` in its buffer. Returns the norm of each of the `replicas`, added up in
/// the order of the shares; 0 for one that learns no more.
fn norms<F: Real>(
    pool: &ThreadPool,
    shares: &mut [WeightRows<'_, F>],
    replicas: Range<usize>,
) -> Vec<f64> {
    let mut squares = vec![0.0; shares.len()];
    let mut each: Vec<_> = shares.iter_mut().zip(&mut squares).collect();
    pool.each(&mut each, |(rows, squares)| **squares = rows.differentiate());
    let mut sums = vec![0.0; replicas.len()];
    shares.iter().zip(squares).for_each(|(rows, own)| sums[rows.replica() - replicas.start] += own);
    sums.into_iter().map(f64::sqrt).collect()
}

impl<F: Real> Engine for Fused<F> {
    fn steps_at_a_time(&self) -> usize {
        self.pace.steps().min(most_steps(&self.config))
    }

    fn pace(&self) -> &Pace {
        &self.pace
    }

    fn set_masks(&mut self, masks: Masks) {
        self.masks = Rc::new(masks);
    }

    fn learn(
        &mut self,
        parameters: &mut Parameters,
        optimizer: &mut Optimizer,
        steps: &[Step],
        state: State,
    ) -> Result<StepResults, TchError> {
        let begin = Instant::now();
        self.pool.employ(self.pace.threads());
        let rows = steps.first().map_or(0, |step| step.ids.size());
        if rows != self.rows {
            self.split_into_blocks(rows);
        }
        self.for_each_state(&state, |_, node, state| {
            let states = node.initial().into_iter().zip(state);
            states.for_each(|(initial, carried)| initial.copy_from_slice(carried));
        })?;
        let (memory, stopped) = (optimizer.memory(parameters)?, optimizer.rates.stopped().to_vec());
        let (model, layouts) = (self.model.clone(), Rc::clone(&self.layouts));
        let drawn = Rc::clone(&self.masks);
        let batches = steps.iter().map(|step| step.ids.on_host()).collect::<Result<Vec<_>, _>>()?;
        let orders: Vec<Vec<Vec<usize>>> = batches.iter().map(|batch| orders(batch)).collect();
        let mut inputs = Vec::with_capacity(steps.len());
        for ((step, batch), orders) in steps.iter().zip(batches).zip(&orders) {
            let masks = StepMasks { masks: &drawn, step: step.number };
            inputs.push(StepInput {
                context: Context { model: &model, layouts: &layouts, memory, batch, masks, orders },
                from_zeros: step.starts_epoch || !self.config.stateful,
                updates: optimizer.begin(),
                clipnorm: optimizer.clipnorm(),
                stopped: &stopped,
            });
        }
        let learnt = if steps.len() > 1 && by_replica(&self.config, self.pool.threads()) {
            self.learn_by_replica(&inputs)
        } else {
            let (blocks, transposed) = (&mut self.blocks, &mut self.transposed);
            learn_steps(&self.pool, &mut self.scratch, blocks, transposed, &inputs)
        };
        self.for_each_state(&state, |replica, node, state| {
            for (last, carried) in node.state().into_iter().zip(state) {
                match stopped[replica] {
                    // Nothing is left of when the steps of a call began.
                    true => carried.fill(F::default()),
                    false => carried.copy_from_slice(last),
                }
            }
        })?;
        self.pace.took(steps.len(), begin.elapsed());
        let clips = optimizer.clipnorm().is_some();
        let scored = |Learnt { scores, norms }| {
            let norms = clips.then(|| Tensor::f_from_slice::<f64>(&norms)).transpose()?;
            let grad_norm = norms.map(|of| of.f_to_kind(parameters.flat().kind())).transpose()?;
            Ok(Scored { scores: Scores::Host(scores), grad_norm })
        };
        let scored = learnt.into_iter().map(scored).collect::<Result<_, TchError>>()?;
        Ok(StepResults { scored, state })
    }
}

/// What one optimiser step needs.
struct StepInput<'a, F> {
    context: Context<'a, F>,
    /// Whether the state starts from zeros instead of being carried.
    from_zeros: bool,
    /// How each replica's weights are updated, as soon as their gradient is known or, where it is clipped,
    /// its norm.
    updates: Vec<Option<Update>>,
    /// The most that a gradient's norm may be, where it is clipped.
    clipnorm: Option<f64>,
    /// Which replicas learn no more.
    stopped: &'a [bool],
}

impl<'a, F: Real> StepInput<'a, F> {
    /// That of a replica, if it learns.
    fn update(&self, replica: usize) -> Option<&Update> {
        self.updates.get(replica)?.as_ref()
    }

    /// The weights of those replicas of `blocks` that learn, in shares of some rows.
    fn weight_rows<'b>(
        &self,
        blocks: &'b [Block<F>],
        transposed: &'b mut [Transposed<F>],
    ) -> Vec<WeightRows<'b, F>>
    where
        'a: 'b,
    {
        let replicas = blocks.chunks_exact(blocks.len() / transposed.len()).zip(transposed);
        let replicas = replicas.filter(|(blocks, _)| !self.stopped[blocks[0].replica]);
        replicas.flat_map(|(blocks, copies)| weight_rows(&self.context, blocks, copies)).collect()
    }
}

/// Whether `threads` threads had better train each a replica by itself than share every step.
fn by_replica(config: &Config, threads: usize) -> bool {
    let replicas = config.replicas as usize;
    // Threads without a replica in the last round wait for the others.
    let waiting = replicas.next_multiple_of(threads) - replicas;
    replicas > 1 && 4 * waiting <= replicas
}

/// The most steps of one call: [`pace::MOST_STEPS`], or fewer where batches are large.
pub fn most_steps(config: &Config) -> usize {
    let fit = IDS_AT_A_TIME / loader::ids_of_a_step(config).max(1);
    pace::MOST_STEPS.min(fit.max(1) as usize)
}

/// About how many ids the steps of one call have at most: some megabytes.
const IDS_AT_A_TIME: i64 = 1 << 21;

/// Bytes of the buffers of one row of a batch, for numbers of `number` bytes.
pub fn row_bytes(model: &Model, number: f64) -> f64 {
    let buffers = model.nodes.iter().flat_map(|node| node.layer.spec().buffers(node));
    // An id, or the numbers of a time step.
    let step = |read: Read| match model.features {
        None => 8.0,
        Some(_) => model.width(read) as f64 * number,
    };
    let read = model.nodes.iter().flat_map(|node| {
        node.reads.iter().map(|&read| match read {
            Read::Source | Read::DecoderInput => node.steps as f64 * step(read),
            Read::Outputs(_) | Read::Last(_) => 0.0,
        })
    });
    let target = model.output_steps() as f64 * step(Read::DecoderInput);
    let buffers = buffers.map(|numbers| numbers as f64).sum::<f64>() * number;
    buffers + read.sum::<f64>() + target
}

/// Bytes of the buffers of a replica's batch of `rows` rows that do not grow with the rows, for
/// numbers of `number` bytes.
pub fn block_bytes(model: &Model, rows: usize, number: f64) -> f64 {
    let scratch = model.nodes.iter().flat_map(|node| node.layer.spec().scratch(node));
    block_count(rows) as f64 * scratch.map(|numbers| numbers as f64).sum::<f64>() * number
}

/// Bytes of a thread's buffer for the gradient of some rows of a weight of `model`.
pub fn scratch_bytes(model: &Model) -> f64 {
    let weights = model.nodes.iter().flat_map(|node| node.layer.spec().weights());
    let columns = weights.map(|weight| weight.columns()).max().unwrap_or(0);
    // A panel has as many bytes in either float type.
    columns as f64 * (panel::<f64>() * size_of::<f64>()) as f64
}

/// How many blocks a replica's batch of `rows` rows is split into.
fn block_count(rows: usize) -> usize {
    match rows.div_ceil(BLOCK_ROWS) {
        0 | 1 => 1,
        // Even, so that two threads have equally many.
        n => n.next_multiple_of(2),
    }
}

/// The rows of a replica's batch, the longest first, so that those of a block are of similar lengths.
fn by_length(batch: &Batch, replica: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..batch.size).collect();
    if let Some(lengths) = &batch.lengths {
        let first = replica * batch.size;
        let length = |row: &usize| (lengths.source[first + row], lengths.target[first + row]);
        rows.sort_by_key(|row| Reverse(length(row)));
    }
    rows
}

/// Replica by replica, the rows of `batch` in the order in which blocks have them; none where rows
/// have no lengths of their own.
///
/// Rows of similar lengths come together, so that few steps of a block have few rows; and either
/// half of the blocks has every other length, so that two threads have equally much to do.
fn orders(batch: &Batch) -> Vec<Vec<usize>> {
    if batch.lengths.is_none() {
        return Vec::new();
    }
    let order = |replica: usize| {
        let rows = by_length(batch, replica);
        if block_count(batch.size) == 1 {
            return rows;
        }
        let half = |which: usize| rows.iter().skip(which).step_by(2).copied();
        // The first half of the blocks has the fewer rows, if any has.
        half(1).chain(half(0)).collect()
    };
    (0..batch.replicas).map(order).collect()
}

/// The rows of each block of a replica's batch of `rows` rows.
pub fn block_ranges(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let blocks = block_count(rows);
    (0..blocks).map(move |block| block * rows / blocks..(block + 1) * rows / blocks)
}

/// The numbers of threads, ascending, to choose among for a training: what `config` says, or else
/// powers of two up to as many as have work in a step that is long enough to share. Where each
/// thread has a replica to itself, there is one choice.
pub fn threads(config: &Config) -> Vec<usize> {
    if let Some(threads) = config.threads {
        return vec![threads as usize];
    }
    let replicas = config.replicas as usize;
    let blocks = replicas.saturating_mul(block_count(config.batch_size as usize));
    let (is_long, per_replica) = (device::work(config) >= 1 << 13, device::cores().min(replicas));
    let most = if blocks > 1 && is_long {
        // The weights' gradients have more shares than there are blocks.
        device::cores().min(blocks.saturating_mul(2))
    } else if by_replica(config, per_replica) {
        per_replica
    } else {
        1
    };
    if by_replica(config, most) {
        return vec![most];
    }
    let powers = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < most);
    powers.chain([most]).collect()
}

/// The means over one replica's blocks.
fn score<F: Real>(blocks: &[Block<F>]) -> Score {
    let (mut sums, mut rows) = (Score::default(), 0);
    for block in blocks {
        sums.add(&block.tally, 1.0);
        rows += block.scored;
    }
    sums.over(rows as f64)
}

/// The engine for the dtype of `parameters`.
///
/// # Errors
/// If `parameters` are not those of the configuration's model.
pub fn engine(config: &Config, parameters: &Parameters) -> Result<Box<dyn Engine>, TchError> {
    Ok(match parameters.flat().kind() {
        Kind::Double => Box::new(Fused::<f64>::new(config, parameters)?),
        _ => Box::new(Fused::<f32>::new(config, parameters)?),
    })
}

/// Inference for the dtype of `parameters`, those of models of the validated `config`, whose answers end
/// with the id `end`, if they do.
///
/// # Errors
/// If `parameters` are not those of the configuration's model.
pub fn inference<'a>(
    config: &'a Config,
    parameters: &'a Parameters,
    end: Option<i64>,
) -> Result<Box<dyn Inference + 'a>, TchError> {
    let layouts = ReplicaLayout::of_all(&Model::new(config), parameters)?;
    let (flat, n) = (parameters.flat(), parameters.flat().numel());
    // SAFETY: the parameters are borrowed as long as the slice is used, and nobody trains them meanwhile.
    Ok(unsafe {
        match flat.kind() {
            Kind::Double => {
                Box::new(FusedInference::<f64>::new(config, slice(flat, 0, n)?, layouts, end))
            }
            _ => Box::new(FusedInference::<f32>::new(config, slice(flat, 0, n)?, layouts, end)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    #[test]
    fn threads_are_what_was_asked_for_or_as_many_as_there_is_something_to_share_for() {
        let config = |name: &str| presets::find(name).map(|preset| preset.config);
        let (echo, reverse) = (config("echo").unwrap(), config("reverse").unwrap());
        assert_eq!(threads(&Config { threads: Some(3), ..echo.clone() }), [3]);
        assert_eq!(threads(&echo), [1]);
        assert_eq!(threads(&Config { units: 512, ..echo.clone() }), [1], "one block of rows");
        assert_eq!(threads(&Config { replicas: 16, ..echo.clone() }), [device::cores().min(16)]);
        assert_eq!(threads(&Config { replicas: 2, ..echo }), [device::cores().min(2)]);
        let choices = threads(&reverse);
        assert!(choices.is_sorted() && choices[0] == 1);
        assert_eq!(choices.last(), Some(&device::cores().min(4)));
    }

    #[test]
    fn threads_train_a_replica_each_where_none_waits_for_long() {
        let config = |replicas| Config { replicas, ..presets::find("reverse").unwrap().config };
        let apart = |replicas, threads| by_replica(&config(replicas), threads);
        assert!([1, 2].map(|threads| apart(1, threads)) == [false; 2], "one replica");
        assert!(apart(2, 1) && apart(2, 2) && !apart(2, 4));
        assert!(!apart(3, 2) && apart(5, 2) && apart(10, 4) && !apart(10, 16));
    }

    #[test]
    fn few_steps_are_done_at_a_time_where_their_batches_are_large() {
        let reverse = presets::find("reverse").unwrap().config;
        assert_eq!(most_steps(&reverse), pace::MOST_STEPS);
        let large = Config { replicas: 100, batch_size: 1000, n_in: 20, ..reverse.clone() };
        let ids = loader::ids_of_a_step(&large);
        assert!(most_steps(&large) as i64 * ids <= IDS_AT_A_TIME.max(ids), "{ids}");
        let long = Config { replicas: 100, n_in: 1000, n_out: 1, ..reverse.clone() };
        assert_eq!(most_steps(&long), 1);
        let huge = Config { replicas: i64::MAX, n_in: i64::MAX, ..reverse };
        assert_eq!(most_steps(&huge), 1);
    }

    #[test]
    fn rows_are_split_into_one_or_an_even_number_of_blocks() {
        let numbers = [1, 16, 17, 32, 33, 64, 65, 256].map(block_count);
        assert_eq!(numbers, [1, 1, 2, 2, 4, 4, 6, 16]);
    }
}
