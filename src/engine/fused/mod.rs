//! The engine for CPUs: scores a batch and computes the gradient with explicit equations, fused
//! into few passes over memory that is allocated once.
//!
//! A batch is split into blocks of rows of one replica, which threads take one by one. A block runs
//! forward and backward through the whole model on its own; then the weights' gradients are summed
//! over the blocks, matrix by matrix. Or, where `split` finds that less would pass between threads, a
//! replica's batch is one block, of whose layers each thread computes other parts and updates these parts'
//! weights, which nobody else reads. What is summed in which order depends on sizes alone, so neither
//! the number of threads nor that of replicas changes a bit of the result.
//!
//! Several steps are done per call. With many replicas, a thread does all of these steps for one
//! replica, whose weights and moments stay in its cache meanwhile, and then takes the next replica.
//! With one replica or a few, all threads share every step, and each thread always has the same
//! rows of the weights.

mod block;
mod gradient;
pub mod inference;
pub mod packed;
mod rows;
pub mod split;
mod step;
pub mod transposed;

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
use crate::kernels::blocks::Parts;
use crate::kernels::float::Real;
use crate::kernels::product::panel;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::Weight;
use crate::model::layers::dropout::{Masks, StepMasks};
use crate::model::layers::pass::{Pass, Weights};
use crate::model::losses::Scores;
use crate::model::network::State;
use crate::model::{Model, Node, Read};
use crate::optim::memory::Memory;
use crate::optim::optimizer::Optimizer;
use crate::tensor::device;
use crate::tensor::parameters::Parameters;
use crate::tensor::slices::{slice, slice_mut};
use block::Block;
use inference::FusedInference;
use packed::Packed;
use rows::orders;
pub use rows::{block_count, block_ranges};
use step::{Learnt, StepInput, learn_steps};
use transposed::Transposed;

/// The engine for numbers of type `F`.
pub struct Fused<F> {
    model: Model,
    config: Config,
    pool: ThreadPool,
    pace: Pace,
    /// Where each replica's weights lie in the parameters' buffer.
    flat: Rc<[ReplicaLayout]>,
    /// The weights as parts have them, where the model has several.
    packed: Option<Packed<F>>,
    masks: Rc<Masks>,
    /// The weights of each replica's parts as the backward pass reads them.
    transposed: Vec<Transposed<F>>,
    /// Blocks for batches of `rows` rows, replica by replica.
    blocks: Vec<Block<F>>,
    rows: usize,
    /// Each thread's buffer for the gradient of some rows of a weight.
    scratch: Vec<Vec<F>>,
}

/// Where one replica's weights lie in a buffer.
#[derive(Debug)]
pub struct ReplicaLayout {
    /// One for each part of the model; in the parameters' buffer there is one.
    pub parts: Vec<PartLayout>,
}

/// Where a part's weights lie: node by node, in the order of the layer's `weights`.
pub type PartLayout = Vec<Vec<WeightLayout>>;

/// Where a weight, or a part of one, lies in a buffer.
#[derive(Debug)]
pub struct WeightLayout {
    /// Its range of the buffer.
    pub range: Range<usize>,
    /// Its columns as a matrix.
    pub columns: usize,
}

impl ReplicaLayout {
    /// Those of all replicas in the parameters' buffer.
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
        Ok(Self { parts: vec![model.nodes.iter().map(layouts).collect::<Result<_, _>>()?] })
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
    /// The weights of a part of a replica's node, with their transposed copies, which are those of each part.
    fn weights<'b>(
        &self,
        (replica, part): (usize, usize),
        node: usize,
        transposed: &'b [Transposed<F>],
    ) -> Weights<'b, F>
    where
        'a: 'b,
    {
        let layouts = self.layouts[replica].parts[part][node].iter();
        // SAFETY: nobody writes to a replica's weights while its blocks learn.
        let values = layouts.map(|layout| unsafe { self.memory.weights(&layout.range) });
        Weights::new(values, &transposed[part].nodes[node])
    }
}

impl<F: Real> Fused<F> {
    /// An engine for the model of a validated configuration with weights like `parameters`.
    ///
    /// # Errors
    /// If `parameters` are not the model's.
    pub fn new(config: &Config, parameters: &Parameters) -> Result<Self, TchError> {
        let model = split::model(config);
        let flat = ReplicaLayout::of_all(&model, parameters)?.into();
        let mut choices = threads(config);
        let pool = ThreadPool::new(choices.last().copied().unwrap_or(1));
        // Perhaps of fewer than were wanted.
        choices.iter_mut().for_each(|threads| *threads = pool.threads().min(*threads));
        choices.dedup();
        let pace = Pace::new(choices);
        let scratch = vec![Vec::new(); pool.threads()];
        let (config, masks) = (config.clone(), Rc::new(Masks::Drawn(config.seeds())));
        let (packed, transposed, blocks, rows) = (None, Vec::new(), Vec::new(), 0);
        let mut engine = Self {
            model,
            config,
            pool,
            pace,
            flat,
            packed,
            masks,
            transposed,
            blocks,
            rows,
            scratch,
        };
        engine.lay_out();
        Ok(engine)
    }

    /// Makes room for the weights as the model's parts have them.
    fn lay_out(&mut self) {
        self.packed = (self.model.parts() > 1).then(|| Packed::new(&self.model, &self.flat));
        let layouts = self.layouts();
        let parts = layouts.iter().flat_map(|replica| &replica.parts);
        self.transposed = parts.map(|part| Transposed::new(&self.model, part)).collect();
        (self.blocks, self.rows) = (Vec::new(), 0);
    }

    /// Where the weights lie that steps compute with.
    fn layouts(&self) -> Rc<[ReplicaLayout]> {
        Rc::clone(self.packed.as_ref().map_or(&self.flat, |packed| &packed.layouts))
    }

    /// The memory of the weights that steps compute with, and whether they were just copied there.
    fn memory(
        &mut self,
        parameters: &Parameters,
        optimizer: &mut Optimizer,
    ) -> Result<(Memory<F>, bool), TchError> {
        let flat = optimizer.memory(parameters)?;
        let Some(packed) = &mut self.packed else { return Ok((flat, false)) };
        // SAFETY: parameters and optimiser are the engine's for so long.
        let copied = packed.take(&unsafe { flat.share(0..parameters.flat().numel()) });
        Ok((packed.memory(), copied))
    }

    /// Makes the blocks for batches of `rows` rows.
    fn split_into_blocks(&mut self, rows: usize) {
        let model = &self.model;
        let of =
            |replica| block_ranges(model, rows).map(move |rows| Block::new(model, replica, rows));
        self.blocks = (0..self.flat.len()).flat_map(of).collect();
        self.rows = rows;
    }

    /// Calls `copy` for each part of each stateful layer of each block, with the replica, the part's units
    /// and the block's rows of the layer's h and c in `state`.
    fn for_each_state(
        &mut self,
        state: &State,
        copy: impl Fn(usize, PartState<'_, F>, [&mut [F]; 2]),
    ) -> Result<(), TchError> {
        for (number, state) in self.model.carried().zip(&state.0) {
            let node = &self.model.nodes[number];
            let units = Parts::new(node.layer.spec().width() as usize, node.parts);
            for block in &mut self.blocks {
                let first = (block.replica * self.rows + block.rows.start) * units.columns();
                let n = block.rows.len() * units.columns();
                for (part, own) in units.ranges().enumerate() {
                    // SAFETY: the engine owns the state while it learns, and h and c are distinct.
                    let rows =
                        unsafe { [slice_mut(&state.h, first, n)?, slice_mut(&state.c, first, n)?] };
                    let width = units.columns();
                    let node = &mut *block.nodes[number];
                    copy(block.replica, PartState { node, part, width, units: own }, rows);
                }
            }
        }
        Ok(())
    }

    /// Does all steps of a replica on one thread; the threads share the replicas.
    fn learn_by_replica(&mut self, inputs: &[StepInput<'_, F>]) -> Vec<Learnt> {
        let alone = ThreadPool::new(1);
        let blocks_each = self.blocks.len() / self.flat.len();
        let blocks = self.blocks.chunks_exact_mut(blocks_each);
        let replicas = blocks.zip(self.transposed.chunks_exact_mut(self.model.parts()));
        let mut replicas: Vec<_> =
            replicas.map(|(blocks, transposed)| (blocks, transposed, Vec::new())).collect();
        self.pool.each_with(&mut self.scratch, &mut replicas, |scratch, replica| {
            let (blocks, transposed, steps) = replica;
            *steps = learn_steps(&alone, from_mut(scratch), blocks, transposed, inputs);
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

/// A part of a stateful layer of a block.
struct PartState<'a, F> {
    node: &'a mut dyn Pass<F>,
    part: usize,
    /// The layer's units.
    width: usize,
    /// Those of the part.
    units: Range<usize>,
}

impl<F: Real> PartState<'_, F> {
    /// Begins from its units of `carried`, h and c.
    fn begin_from(&mut self, carried: [&mut [F]; 2]) {
        for (initial, carried) in self.node.initial(self.part).into_iter().zip(carried) {
            let carried = carried.chunks_exact(self.width);
            for (own, row) in initial.chunks_exact_mut(self.units.len()).zip(carried) {
                own.copy_from_slice(&row[self.units.clone()]);
            }
        }
    }

    /// Writes its last state to its units of `carried`, or zeros.
    fn end_in(&self, carried: [&mut [F]; 2], zeros: bool) {
        for (last, carried) in self.node.state(self.part).into_iter().zip(carried) {
            let last = last.chunks_exact(self.units.len());
            for (row, own) in carried.chunks_exact_mut(self.width).zip(last) {
                let row = &mut row[self.units.clone()];
                if zeros { row.fill(F::default()) } else { row.copy_from_slice(own) }
            }
        }
    }
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
        self.for_each_state(&state, |_, mut part, state| part.begin_from(state))?;
        let (memory, copied) = self.memory(parameters, optimizer)?;
        let stopped = optimizer.rates.stopped().to_vec();
        let (model, layouts) = (self.model.clone(), self.layouts());
        let drawn = Rc::clone(&self.masks);
        let batches = steps.iter().map(|step| step.ids.on_host()).collect::<Result<Vec<_>, _>>()?;
        let orders: Vec<Vec<Vec<usize>>> =
            batches.iter().map(|batch| orders(batch, block_count(&model, rows))).collect();
        let mut inputs = Vec::with_capacity(steps.len());
        let packed = self.packed.is_some();
        for ((step, batch), orders) in steps.iter().zip(batches).zip(&orders) {
            let masks = StepMasks { masks: &drawn, step: step.number };
            let (is_first, is_last) = (inputs.is_empty(), inputs.len() + 1 == steps.len());
            inputs.push(StepInput {
                // Packed weights are nobody else's to change.
                copies_before: is_first && (copied || !packed),
                copies_after: packed || !is_last,
                keeps_gradient: is_last,
                context: Context { model: &model, layouts: &layouts, memory, batch, masks, orders },
                from_zeros: step.starts_epoch || !self.config.stateful,
                updates: optimizer.begin(),
                clipnorm: optimizer.clipnorm(),
                stopped: &stopped,
            });
        }
        let learnt =
            if steps.len() > 1 && by_replica(&self.config, self.pool.threads(), model.parts()) {
                self.learn_by_replica(&inputs)
            } else {
                let (blocks, transposed) = (&mut self.blocks, &mut self.transposed);
                learn_steps(&self.pool, &mut self.scratch, blocks, transposed, &inputs)
            };
        // Of a replica that has stopped nothing is left of when the steps of a call began.
        self.for_each_state(&state, |replica, part, state| part.end_in(state, stopped[replica]))?;
        self.pace.took(steps.len(), begin.elapsed());
        let (clips, kind) = (optimizer.clipnorm().is_some(), parameters.flat().kind());
        let scored = learnt.into_iter().map(|learnt| scored(learnt, clips.then_some(kind)));
        Ok(StepResults { scored: scored.collect::<Result<_, _>>()?, state })
    }

    fn settle(
        &mut self,
        parameters: &mut Parameters,
        optimizer: &mut Optimizer,
    ) -> Result<(), TchError> {
        if let Some(packed) = &mut self.packed {
            let flat = optimizer.memory(parameters)?;
            // SAFETY: parameters and optimiser are the engine's for so long.
            packed.give_back(&mut unsafe { flat.share(0..parameters.flat().numel()) });
        }
        Ok(())
    }

    fn divide(&mut self, parts: usize) {
        self.model = self.model.clone().in_parts(parts);
        self.lay_out();
    }
}

/// What a step told, with the norms `(R)` of the gradients as a tensor where there is a `kind` for them.
fn scored(Learnt { scores, norms }: Learnt, kind: Option<Kind>) -> Result<Scored, TchError> {
    let tensor = |kind| Tensor::f_from_slice::<f64>(&norms)?.f_to_kind(kind);
    Ok(Scored { scores: Scores::Host(scores), grad_norm: kind.map(tensor).transpose()? })
}

/// Whether `threads` threads had better train each a replica by itself than share every step of a model in
/// `parts` parts.
fn by_replica(config: &Config, threads: usize, parts: usize) -> bool {
    let replicas = config.replicas as usize;
    if parts > 1 {
        return replicas > 1 && replicas.min(threads) >= parts.min(threads);
    }
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
    block_count(model, rows) as f64 * scratch.map(|numbers| numbers as f64).sum::<f64>() * number
}

/// Bytes of a thread's buffer for the gradient of some rows of a weight of `model`.
pub fn scratch_bytes(model: &Model) -> f64 {
    let weights = model.nodes.iter().flat_map(|node| node.layer.spec().weights());
    let columns = weights.map(|weight| weight.columns()).max().unwrap_or(0);
    // A panel has as many bytes in either float type.
    columns as f64 * (panel::<f64>() * size_of::<f64>()) as f64
}

/// The numbers of threads, ascending, to choose among for a training: what `config` says, or else
/// powers of two up to as many as have work in a step that is long enough to share. Where each
/// thread has a replica to itself, there is one choice.
pub fn threads(config: &Config) -> Vec<usize> {
    if let Some(threads) = config.threads {
        return vec![threads as usize];
    }
    let (replicas, model) = (config.replicas as usize, split::model(config));
    let parts = model.parts();
    let blocks = replicas.saturating_mul(block_count(&model, config.batch_size as usize));
    let (is_long, per_replica) = (device::work(config) >= 1 << 13, device::cores().min(replicas));
    let most = if parts > 1 {
        device::cores().min(parts.max(replicas))
    } else if blocks > 1 && is_long {
        // The weights' gradients have more shares than there are blocks.
        device::cores().min(blocks.saturating_mul(2))
    } else if by_replica(config, per_replica, parts) {
        per_replica
    } else {
        1
    };
    if by_replica(config, most, parts) {
        return vec![most];
    }
    let powers = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < most);
    powers.chain([most]).collect()
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
        assert_eq!(threads(&Config { units: 32, ..echo.clone() }), [1], "one block of rows");
        assert_eq!(threads(&Config { replicas: 16, ..echo.clone() }), [device::cores().min(16)]);
        assert_eq!(threads(&Config { replicas: 2, ..echo }), [device::cores().min(2)]);
        let choices = threads(&reverse);
        assert!(choices.is_sorted() && choices[0] == 1);
        assert_eq!(choices.last(), Some(&device::cores().min(2)), "as many as parts");
        let by_rows = threads(&Config { batch_size: 256, ..reverse });
        assert_eq!(by_rows.last(), Some(&device::cores().min(32)));
    }

    #[test]
    fn threads_train_a_replica_each_where_none_waits_for_long() {
        let config = |replicas| Config { replicas, ..presets::find("reverse").unwrap().config };
        let apart = |replicas, threads| by_replica(&config(replicas), threads, 1);
        assert!([1, 2].map(|threads| apart(1, threads)) == [false; 2], "one replica");
        assert!(apart(2, 1) && apart(2, 2) && !apart(2, 4));
        assert!(!apart(3, 2) && apart(5, 2) && apart(10, 4) && !apart(10, 16));
        let in_two = |replicas, threads| by_replica(&config(replicas), threads, 2);
        assert!(!in_two(1, 2) && in_two(2, 2) && in_two(3, 2) && in_two(3, 8));
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
}
