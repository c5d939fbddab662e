//! A step of the fused engine: every block runs forward and backward, and then the weights are updated share by
//! share.

use std::ops::Range;

use super::Context;
use super::block::Block;
use super::gradient::{WeightRows, weight_rows};
use super::transposed::Transposed;
use crate::kernels::float::Real;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::losses::Score;
use crate::optim::clipping;
use crate::optim::rule::Update;

/// What one optimiser step needs.
pub struct StepInput<'a, F> {
    /// What the blocks read.
    pub context: Context<'a, F>,
    /// Whether the state starts from zeros instead of being carried.
    pub from_zeros: bool,
    /// How each replica's weights are updated, as soon as their gradient is known or, where it is clipped,
    /// its norm.
    pub updates: Vec<Option<Update>>,
    /// The most that a gradient's norm may be, where it is clipped.
    pub clipnorm: Option<f64>,
    /// Which replicas learn no more.
    pub stopped: &'a [bool],
    /// Whether the weights have yet to be copied for the backward pass.
    pub copies_before: bool,
    /// Whether they are copied for the next step's.
    pub copies_after: bool,
    /// Whether the gradient is left in its buffer.
    pub keeps_gradient: bool,
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
        let parts = self.context.model.parts();
        let each = blocks.len() * parts / transposed.len();
        let replicas = blocks.chunks_exact(each).zip(transposed.chunks_exact_mut(parts));
        let replicas = replicas.filter(|(blocks, _)| !self.stopped[blocks[0].replica]);
        replicas.flat_map(|(blocks, copies)| weight_rows(&self.context, blocks, copies)).collect()
    }

    /// Moves the weights of all `shares` along their gradient. Returns the norms of the `replicas`' gradients where
    /// these are clipped.
    fn update_weights(
        &self,
        pool: &ThreadPool,
        scratch: &mut [Vec<F>],
        shares: &mut [WeightRows<'_, F>],
        replicas: Range<usize>,
    ) -> Vec<f64> {
        let Some(most) = self.clipnorm else {
            each_share(pool, scratch, shares, |scratch, rows| {
                let scratch = (!self.keeps_gradient).then_some(scratch);
                rows.learn(self.update(rows.replica()), scratch, self.copies_after);
            });
            return Vec::new();
        };
        let first = replicas.start;
        let norms = norms(pool, shares, replicas);
        each_share(pool, scratch, shares, |_, rows| {
            let factor = clipping::factor(norms[rows.replica() - first], most);
            rows.learn_clipped(self.update(rows.replica()), factor, self.copies_after);
        });
        norms
    }
}

/// What a step told, replica by replica.
#[derive(Debug, Default)]
pub struct Learnt {
    /// Scores of the batch before the update.
    pub scores: Vec<Score>,
    /// Norms of the gradients before they were clipped; none where they are not.
    pub norms: Vec<f64>,
}

/// Does all steps of the replicas of `blocks`, the threads of `pool` sharing each step; `transposed` has the
/// copies of each of the replicas' parts. Returns what each told.
pub fn learn_steps<F: Real>(
    pool: &ThreadPool,
    scratch: &mut [Vec<F>],
    blocks: &mut [Block<F>],
    transposed: &mut [Transposed<F>],
    inputs: &[StepInput<'_, F>],
) -> Vec<Learnt> {
    let parts = inputs[0].context.model.parts();
    let (each, first) = (blocks.len() * parts / transposed.len(), blocks[0].replica);
    let alone = ThreadPool::new(1);
    let step = |(number, input): (usize, &StepInput<'_, F>)| {
        if input.copies_before {
            let mut shares = input.weight_rows(blocks, transposed);
            each_share(pool, &mut vec![(); pool.threads()], &mut shares, |(), rows| rows.copy());
        }
        if number > 0 {
            blocks.iter_mut().for_each(|block| block.carry(input.context.model, input.from_zeros));
        }
        let learn = |block: &mut Block<F>, team: &ThreadPool| {
            if !input.stopped[block.replica] {
                let copies = &transposed[(block.replica - first) * parts..][..parts];
                block.learn(&input.context, copies, team);
            }
        };
        match parts {
            1 => pool.each(blocks, |block| learn(block, &alone)),
            _ => blocks.iter_mut().for_each(|block| learn(block, pool)),
        }
        let mut shares = input.weight_rows(blocks, transposed);
        let replicas = first..first + blocks.len() / each;
        let norms = input.update_weights(pool, scratch, &mut shares, replicas);
        Learnt { scores: blocks.chunks_exact(each).map(score).collect(), norms }
    };
    inputs.iter().enumerate().map(step).collect()
}

/// Calls `work` with each of `shares` and something of the thread's own. The shares of a part are its thread's,
/// as long as it has the time.
fn each_share<O: Send, F: Real>(
    pool: &ThreadPool,
    own: &mut [O],
    shares: &mut [WeightRows<'_, F>],
    work: impl Fn(&mut O, &mut WeightRows<'_, F>) + Sync,
) {
    if shares.iter().all(|rows| rows.part() == 0) {
        return pool.each_with(own, shares, work);
    }
    let mut parts: Vec<_> = shares.chunk_by_mut(WeightRows::same_part).collect();
    pool.each_with(own, &mut parts, |own, part| part.iter_mut().for_each(|rows| work(own, rows)));
}

/// Leaves the gradient of all `shares` in its buffer. Returns the norm of each of the `replicas`, added up in
/// the order of the shares; 0 for one that learns no more.
fn norms<F: Real>(
    pool: &ThreadPool,
    shares: &mut [WeightRows<'_, F>],
    replicas: Range<usize>,
) -> Vec<f64> {
    each_share(pool, &mut vec![(); pool.threads()], shares, |(), rows| rows.differentiate());
    let mut sums = vec![0.0; replicas.len()];
    shares.iter().for_each(|rows| sums[rows.replica() - replicas.start] += rows.squares);
    sums.into_iter().map(f64::sqrt).collect()
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
