//! The engine for CPUs: scores a batch and computes the gradient with explicit equations, fused
//! into few passes over memory that is allocated once.
//!
//! A batch is cut into blocks of rows of one replica, which threads take one by one. A block runs
//! forward and backward through the whole model on its own; then the weights' gradients are summed
//! over the blocks, matrix by matrix. What is summed in which order depends on the batch size
//! alone, so neither the number of threads nor that of replicas changes a bit of the result.
//!
//! Many steps are done at a time. Many replicas take turns: a thread does the steps with one of them,
//! whose weights and moments stay in its cache for so long, before it goes on to another. A single
//! one, or a few, share the threads step by step, and every thread keeps to its part of the weights.

mod block;
mod gradient;
pub mod transposed;

use std::ops::Range;
use std::rc::Rc;
use std::slice::from_mut;
use std::time::Instant;

use tch::{Kind, TchError, Tensor};

use crate::config::Config;
use crate::data::loader::{self, Step};
use crate::data::task::Batch;
use crate::engine::pace::{self, Pace};
use crate::engine::{Engine, Scored, StepResults};
use crate::kernels::float::Real;
use crate::kernels::product::panel;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::Weight;
use crate::model::layers::pass::{Pass, WEIGHTS, Weights};
use crate::model::losses::{Score, Scores};
use crate::model::network::State;
use crate::model::{Model, Node, Read};
use crate::optim::adam::{Adam, Memory, Update};
use crate::tensor::device;
use crate::tensor::host::slice_mut;
use crate::tensor::parameters::Parameters;
use block::Block;
use gradient::{Piece, pieces};
use transposed::Transposed;

/// Rows of a block: enough for products to be fast, and so few that what a block keeps of its way
/// forth is still in the cache on the backward pass.
pub const BLOCK_ROWS: usize = 16;

/// The engine for numbers of type `F`.
pub struct Fused<F> {
    model: Model,
    config: Config,
    pool: ThreadPool,
    pace: Pace,
    /// Where each replica's weights lie.
    places: Rc<[Places]>,
    /// Each replica's weights as the backward pass reads them.
    transposed: Vec<Transposed<F>>,
    /// Blocks for batches of `rows` rows, replica by replica.
    blocks: Vec<Block<F>>,
    rows: usize,
    /// Each thread's room for a piece of the gradient.
    scratch: Vec<Vec<F>>,
}

/// Where one replica's weights lie in the flat buffer.
#[derive(Debug)]
pub struct Places {
    /// Of each node each weight.
    pub nodes: Vec<Vec<Place>>,
}

/// Where a weight lies in the flat buffer.
#[derive(Debug)]
pub struct Place {
    /// Its numbers.
    pub range: Range<usize>,
    /// The columns of the matrix that it is.
    pub columns: usize,
}

impl Places {
    fn new(model: &Model, parameters: &Parameters, replica: usize) -> Result<Self, TchError> {
        let place = |node: &Node, weight: &Weight| {
            let name = format!("{}.{}", node.name, weight.name);
            let range = parameters.range(&name, replica);
            let range = range.ok_or_else(|| TchError::Shape(format!("the model has no {name}")))?;
            Ok::<_, TchError>(Place { range, columns: weight.columns() })
        };
        let places = |node: &Node| {
            node.layer.spec().weights().iter().map(|weight| place(node, weight)).collect()
        };
        Ok(Self { nodes: model.nodes.iter().map(places).collect::<Result<_, _>>()? })
    }
}

/// What all blocks read.
#[derive(Clone, Copy)]
pub struct Context<'a, F> {
    /// The model.
    pub model: &'a Model,
    /// Where each replica's weights lie in the memory.
    pub places: &'a [Places],
    /// Where all weights lie.
    pub memory: Memory<F>,
    /// The batch.
    pub batch: &'a Batch,
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
        for (value, place) in values.iter_mut().zip(&self.places[replica].nodes[node]) {
            // SAFETY: nobody writes to a replica's weights while its blocks learn.
            *value = unsafe { self.memory.weights(&place.range) };
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
        let replicas = 0..parameters.replicas() as usize;
        let places = replicas.map(|replica| Places::new(&model, parameters, replica));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let transposed = places.iter().map(|_| Transposed::new(&model)).collect();
        let mut choices = threads(config);
        let pool = ThreadPool::new(choices.last().copied().unwrap_or(1));
        // Perhaps of fewer than were wanted.
        choices.iter_mut().for_each(|threads| *threads = pool.threads().min(*threads));
        choices.dedup();
        let pace = Pace::new(choices);
        let scratch = vec![Vec::new(); pool.threads()];
        let (config, blocks, places) = (config.clone(), Vec::new(), places.into());
        Ok(Self { model, config, pool, pace, places, transposed, blocks, rows: 0, scratch })
    }

    /// Cuts batches of `rows` rows into blocks.
    fn cut(&mut self, rows: usize) {
        let model = &self.model;
        let of = |replica| cut(rows).map(move |rows| Block::new(model, replica, rows));
        self.blocks = (0..self.places.len()).flat_map(of).collect();
        self.rows = rows;
    }

    /// Calls `copy` with each block's layers that carry a state and its rows of their part of `state`.
    fn each_state(
        &mut self,
        state: &State,
        copy: impl Fn(&mut dyn Pass<F>, [&mut [F]; 2]),
    ) -> Result<(), TchError> {
        for (number, state) in self.model.carried().zip(&state.0) {
            let units = self.model.nodes[number].layer.spec().width() as usize;
            for block in &mut self.blocks {
                let first = (block.replica * self.rows + block.rows.start) * units;
                let n = block.rows.len() * units;
                // SAFETY: the engine owns the state while it learns, and h and c are distinct.
                let parts =
                    unsafe { [slice_mut(&state.h, first, n)?, slice_mut(&state.c, first, n)?] };
                copy(&mut *block.nodes[number], parts);
            }
        }
        Ok(())
    }

    /// Does steps, all of them with one replica before the next, which other threads have meanwhile.
    fn learn_in_turns(&mut self, parts: &[Part<'_, F>]) -> Vec<Vec<Score>> {
        let alone = ThreadPool::new(1);
        let blocks_each = self.blocks.len() / self.places.len();
        let blocks = self.blocks.chunks_exact_mut(blocks_each);
        let replicas = blocks.zip(&mut self.transposed);
        let mut turns: Vec<_> =
            replicas.map(|(blocks, transposed)| (blocks, transposed, Vec::new())).collect();
        self.pool.each_with(&mut self.scratch, &mut turns, |scratch, turn| {
            let (blocks, transposed, scores) = turn;
            *scores = learn_steps(&alone, from_mut(scratch), blocks, from_mut(*transposed), parts);
        });
        let of_step = |step: usize| turns.iter().flat_map(move |(.., scores)| scores[step].clone());
        (0..parts.len()).map(|step| of_step(step).collect()).collect()
    }
}

/// What the replicas of `blocks` score, step by step, all threads of `pool` sharing every step.
fn learn_steps<F: Real>(
    pool: &ThreadPool,
    scratch: &mut [Vec<F>],
    blocks: &mut [Block<F>],
    transposed: &mut [Transposed<F>],
    parts: &[Part<'_, F>],
) -> Vec<Vec<Score>> {
    let (each, first) = (blocks.len() / transposed.len(), blocks[0].replica);
    let step = |(number, part): (usize, &Part<'_, F>)| {
        if number == 0 {
            pool.each(&mut part.pieces(blocks, transposed), Piece::copy);
        } else {
            blocks.iter_mut().for_each(|block| block.carry(part.context.model, part.from_zeros));
        }
        pool.each(blocks, |block| block.learn(&part.context, &transposed[block.replica - first]));
        let is_last = number + 1 == parts.len();
        pool.each_with(scratch, &mut part.pieces(blocks, transposed), |scratch, piece| {
            piece.learn(part.update.as_ref(), (!is_last).then_some(scratch));
        });
        blocks.chunks_exact(each).map(score).collect()
    };
    parts.iter().enumerate().map(step).collect()
}

impl<F: Real> Engine for Fused<F> {
    fn steps_at_a_time(&self) -> usize {
        self.pace.steps().min(most_steps(&self.config))
    }

    fn pace(&self) -> &Pace {
        &self.pace
    }

    fn learn(
        &mut self,
        parameters: &mut Parameters,
        adam: &mut Adam,
        steps: &[Step],
        state: State,
    ) -> Result<StepResults, TchError> {
        if steps.len() > 1 && adam.clips() {
            return Err(TchError::Shape(format!("{} steps at a time, with clipping", steps.len())));
        }
        let begin = Instant::now();
        self.pool.employ(self.pace.threads());
        let rows = steps.first().map_or(0, |step| step.ids.size());
        if rows != self.rows {
            self.cut(rows);
        }
        self.each_state(&state, |node, state| {
            let states = node.initial().into_iter().zip(state);
            states.for_each(|(initial, carried)| initial.copy_from_slice(carried));
        })?;
        let memory = adam.memory(parameters)?;
        let (model, places) = (self.model.clone(), Rc::clone(&self.places));
        let mut parts = Vec::with_capacity(steps.len());
        for step in steps {
            let batch = step.ids.on_host()?;
            parts.push(Part {
                context: Context { model: &model, places: &places, memory, batch },
                from_zeros: step.starts_epoch || !self.config.stateful,
                update: (!adam.clips()).then(|| adam.begin()),
            });
        }
        let scores = if steps.len() > 1 && take_turns(&self.config, self.pool.threads()) {
            self.learn_in_turns(&parts)
        } else {
            let (blocks, transposed) = (&mut self.blocks, &mut self.transposed);
            learn_steps(&self.pool, &mut self.scratch, blocks, transposed, &parts)
        };
        let grad_norm = if adam.clips() { adam.update(parameters, &self.pool)? } else { None };
        self.each_state(&state, |node, state| {
            let states = node.state().into_iter().zip(state);
            states.for_each(|(last, carried)| carried.copy_from_slice(last));
        })?;
        self.pace.took(steps.len(), begin.elapsed());
        let scored = |scores| {
            let grad_norm = grad_norm.as_ref().map(Tensor::shallow_clone);
            Scored { scores: Scores::Host(scores), grad_norm }
        };
        Ok(StepResults { scored: scores.into_iter().map(scored).collect(), state })
    }
}

/// One of some steps.
struct Part<'a, F> {
    context: Context<'a, F>,
    from_zeros: bool,
    /// What is done to the weights as soon as their gradient is there, if it is not clipped.
    update: Option<Update<F>>,
}

impl<'a, F: Real> Part<'a, F> {
    /// The weights of the replicas of `blocks`.
    fn pieces<'b>(
        &self,
        blocks: &'b [Block<F>],
        transposed: &'b mut [Transposed<F>],
    ) -> Vec<Piece<'b, F>>
    where
        'a: 'b,
    {
        let replicas = blocks.chunks_exact(blocks.len() / transposed.len()).zip(transposed);
        replicas.flat_map(|(blocks, copies)| pieces(&self.context, blocks, copies)).collect()
    }
}

/// Whether replicas are best trained in turns by `threads` threads.
fn take_turns(config: &Config, threads: usize) -> bool {
    let replicas = config.replicas as usize;
    // Threads that are through with their last replica wait for the others.
    let waiting = replicas.next_multiple_of(threads) - replicas;
    replicas > 1 && 4 * waiting <= replicas && config.global_clipnorm.is_none()
}

/// The most steps that are done at a time: as many as a pace asks for, and fewer where their batches
/// are large.
pub fn most_steps(config: &Config) -> usize {
    // Clipping needs the whole gradient between two steps.
    let most = if config.global_clipnorm.is_some() { 1 } else { pace::MOST_STEPS };
    let fit = IDS_AT_A_TIME / loader::ids_of_a_step(config).max(1);
    most.min(fit.max(1) as usize)
}

/// Ids of the steps that are done at a time, about: some megabytes.
const IDS_AT_A_TIME: i64 = 1 << 21;

/// Bytes of the buffers of one row of a batch, in numbers of so many bytes.
pub fn row_bytes(model: &Model, number: f64) -> f64 {
    let buffers = model.nodes.iter().flat_map(|node| node.layer.spec().buffers(node));
    let ids = model.nodes.iter().flat_map(|node| {
        node.reads.iter().map(|read| match read {
            Read::Source | Read::DecoderInput => node.steps,
            Read::Outputs(_) | Read::Last(_) => 0,
        })
    });
    let ids = ids.sum::<i64>() + model.answers();
    buffers.map(|numbers| numbers as f64).sum::<f64>() * number + 8.0 * ids as f64
}

/// Bytes of a thread's room for a piece of the gradient of a weight of `model`.
pub fn scratch_bytes(model: &Model) -> f64 {
    let weights = model.nodes.iter().flat_map(|node| node.layer.spec().weights());
    let columns = weights.map(|weight| weight.columns()).max().unwrap_or(0);
    // A panel's rows, whose numbers of whatever size come to as many bytes.
    columns as f64 * (panel::<f64>() * size_of::<f64>()) as f64
}

/// Blocks of a replica's batch of `rows` rows.
fn blocks(rows: usize) -> usize {
    match rows.div_ceil(BLOCK_ROWS) {
        0 | 1 => 1,
        // As many for each of two threads, or four.
        n => n.next_multiple_of(2),
    }
}

/// The blocks that `rows` rows of a replica's batch are cut into.
pub fn cut(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let blocks = blocks(rows);
    (0..blocks).map(move |block| block * rows / blocks..(block + 1) * rows / blocks)
}

/// The numbers of threads, ascending, that a training may have: what `config` says, or else all up to
/// as many as find something to do in a step that is long enough to share, or in a turn. Those that
/// take turns share nothing: there is none to choose.
pub fn threads(config: &Config) -> Vec<usize> {
    if let Some(threads) = config.threads {
        return vec![threads as usize];
    }
    let replicas = config.replicas as usize;
    let blocks = replicas.saturating_mul(blocks(config.batch_size as usize));
    let (alone, in_turns) = (device::work(config) >= 1 << 13, device::cores().min(replicas));
    let most = if blocks > 1 && alone {
        // Weights' gradients fall into more pieces than there are blocks.
        device::cores().min(blocks.saturating_mul(2))
    } else if take_turns(config, in_turns) {
        in_turns
    } else {
        1
    };
    if take_turns(config, most) {
        return vec![most];
    }
    let powers = std::iter::successors(Some(1), |n| Some(2 * n)).take_while(|n| *n < most);
    powers.chain([most]).collect()
}

/// The means over one replica's blocks.
fn score<F: Real>(blocks: &[Block<F>]) -> Score {
    let (mut loss, mut correct, mut rows) = (0.0, 0, 0);
    for block in blocks {
        loss += block.tally.loss;
        correct += block.tally.correct;
        rows += block.targets.len();
    }
    Score { loss: loss / rows as f64, accuracy: correct as f64 / rows as f64 }
}

/// The engine of the parameters' element type.
///
/// # Errors
/// If `parameters` are not those of the configuration's model.
pub fn engine(config: &Config, parameters: &Parameters) -> Result<Box<dyn Engine>, TchError> {
    Ok(match parameters.flat().kind() {
        Kind::Double => Box::new(Fused::<f64>::new(config, parameters)?),
        _ => Box::new(Fused::<f32>::new(config, parameters)?),
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
        assert_eq!(threads(&Config { replicas: 2, ..echo.clone() }), [device::cores().min(2)]);
        let clipped = Config { replicas: 2, global_clipnorm: Some(1.0), ..echo };
        assert_eq!(threads(&clipped), [1], "no turns");
        let choices = threads(&reverse);
        assert!(choices.is_sorted() && choices[0] == 1);
        assert_eq!(choices.last(), Some(&device::cores().min(4)));
    }

    #[test]
    fn turns_are_taken_where_no_thread_waits_for_long() {
        let config = |replicas| Config { replicas, ..presets::find("reverse").unwrap().config };
        let turns = |replicas, threads| take_turns(&config(replicas), threads);
        assert!([1, 2].map(|threads| turns(1, threads)) == [false; 2], "one replica");
        assert!(turns(2, 1) && turns(2, 2) && !turns(2, 4));
        assert!(!turns(3, 2) && turns(5, 2) && turns(10, 4) && !turns(10, 16));
        assert!(!take_turns(&Config { global_clipnorm: Some(1.0), ..config(4) }, 2));
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
        let huge = Config { replicas: i64::MAX, n_in: i64::MAX, ..reverse.clone() };
        assert_eq!(most_steps(&huge), 1);
        assert_eq!(most_steps(&Config { global_clipnorm: Some(1.0), ..reverse }), 1);
    }

    #[test]
    fn rows_are_cut_into_one_or_an_even_number_of_blocks() {
        let numbers = [1, 16, 17, 32, 33, 64, 65, 256].map(blocks);
        assert_eq!(numbers, [1, 1, 2, 2, 4, 4, 6, 16]);
    }
}
