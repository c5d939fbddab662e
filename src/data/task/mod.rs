//! What the model has to learn: batches of integer ids, drawn afresh for every epoch, or once and for
//! all (addition).
//!
//! A batch is a pure function of (seeds, purpose, epoch, sample range). Ids stay ids from here to
//! the loss; nothing is ever one-hot encoded.

pub mod addition;
mod echo;
mod lag;
mod reverse;

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Family, TaskKind};
use addition::Addition;
use echo::Echo;
use lag::Lag;
use reverse::Reverse;

/// The first input of a teacher-forced decoder, an id that no sequence contains.
pub const START_ID: i64 = 0;

/// Source and target ids of R replicas × B samples, replica-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// R.
    pub replicas: usize,
    /// B.
    pub size: usize,
    /// `(R, B, Tin)`.
    pub source: Vec<i64>,
    /// `(R, B, Tout)`: what a teacher-forced decoder is fed, the target shifted right behind
    /// [`START_ID`]; `None` for models without such a decoder.
    pub decoder_input: Option<Vec<i64>>,
    /// `(R, B, Tout)`.
    pub target: Vec<i64>,
}

impl Batch {
    /// The samples of `batches` side by side: `(R, B₁ + B₂ + …, T)`. All have the same R and T.
    pub fn concat(batches: &[Batch]) -> Batch {
        let replicas = batches.first().map_or(0, |b| b.replicas);
        let join = |field: fn(&Batch) -> &[i64]| -> Vec<i64> {
            (0..replicas)
                .flat_map(|r| {
                    batches.iter().flat_map(move |b| {
                        let all = field(b);
                        let row = all.len() / replicas;
                        &all[r * row..(r + 1) * row]
                    })
                })
                .copied()
                .collect()
        };
        let forced = batches.iter().all(|b| b.decoder_input.is_some());
        Batch {
            replicas,
            size: batches.iter().map(|b| b.size).sum(),
            source: join(|b| &b.source),
            decoder_input: forced.then(|| join(|b| b.decoder_input.as_deref().unwrap_or_default())),
            target: join(|b| &b.target),
        }
    }
}

/// A task with its sizes.
#[derive(Debug, Clone)]
pub struct Task {
    kind: Kind,
    n_in: usize,
    n_out: usize,
    samples_per_epoch: usize,
    teacher_forced: bool,
}

#[derive(Debug, Clone)]
enum Kind {
    Echo(Echo),
    Lag(Lag),
    Reverse(Reverse),
    Addition(Addition),
}

impl Task {
    /// The task of a validated configuration.
    pub fn new(config: &Config) -> Self {
        let ids = config.id_min..=config.id_max;
        let size = |value: Option<i64>| value.unwrap_or(0) as usize;
        let (n_in, n_out) = (config.n_in as usize, config.n_out as usize);
        let length = size(config.length);
        let kind = match config.task {
            TaskKind::Echo => Kind::Echo(Echo { ids, length }),
            TaskKind::Lag => Kind::Lag(Lag { ids, length, lag: size(config.lag) }),
            TaskKind::Reverse => Kind::Reverse(Reverse { ids, samples: size(config.samples) }),
            TaskKind::Addition => Kind::Addition(Addition {
                digits: config.n_out as u32 - 1,
                samples: size(config.samples),
                held_out: config.evaluation_samples as usize,
                drawn: Arc::default(),
            }),
        };
        let teacher_forced = config.family == Family::TeacherForced;
        let samples_per_epoch = config.samples_per_epoch() as usize;
        Self { kind, n_in, n_out, samples_per_epoch, teacher_forced }
    }

    /// Samples in one epoch.
    pub fn samples_per_epoch(&self) -> usize {
        self.samples_per_epoch
    }

    /// Samples of each replica that are held out of training, where others cannot be drawn.
    pub fn held_out(&self) -> Option<usize> {
        match &self.kind {
            Kind::Addition(addition) => Some(addition.held_out),
            Kind::Echo(_) | Kind::Lag(_) | Kind::Reverse(_) => None,
        }
    }

    /// How many epochs, and how many samples of each, make a fresh set of at least `samples`:
    /// whole sequences where samples are windows of one, since a stateful model reads them in
    /// order; otherwise exactly `samples`, or all that are held out where those are fewer.
    pub fn fresh_set(&self, samples: usize) -> (u64, usize) {
        match &self.kind {
            Kind::Reverse(_) => (1, samples),
            Kind::Addition(addition) => (1, samples.min(addition.held_out)),
            Kind::Echo(_) | Kind::Lag(_) => {
                let windows = self.samples_per_epoch();
                (samples.div_ceil(windows) as u64, windows)
            }
        }
    }

    /// Epoch `epoch` of every replica's stream for `purpose`.
    pub fn epoch(&self, seeds: &[u64], purpose: Purpose, epoch: u64) -> Epoch<'_> {
        let draw = |&seed: &u64| {
            let stream = Stream::new(seed, purpose);
            match &self.kind {
                Kind::Echo(echo) => echo.epoch(stream, epoch),
                Kind::Lag(lag) => lag.epoch(stream, epoch),
                Kind::Reverse(reverse) => reverse.epoch(stream, epoch),
                Kind::Addition(addition) => addition.epoch(seed, purpose, epoch),
            }
        };
        Epoch { task: self, replicas: seeds.iter().map(draw).collect() }
    }
}

/// Writes sample `index` of one replica's epoch: `(index, source (Tin), target (Tout))`.
type Draw<'a> = Box<dyn Fn(usize, &mut [i64], &mut [i64]) + 'a>;

/// One epoch's data of every replica.
pub struct Epoch<'a> {
    task: &'a Task,
    replicas: Vec<Draw<'a>>,
}

impl Epoch<'_> {
    /// The samples in `range`, of every replica.
    pub fn batch(&self, range: Range<usize>) -> Batch {
        let Task { n_in, n_out, teacher_forced, .. } = *self.task;
        let rows = self.replicas.len() * range.len();
        let mut source = vec![0; rows * n_in];
        let mut target = vec![0; rows * n_out];
        let samples = self.replicas.iter().flat_map(|draw| range.clone().map(move |i| (draw, i)));
        let places = source.chunks_exact_mut(n_in).zip(target.chunks_exact_mut(n_out));
        for ((draw, index), (source, target)) in samples.zip(places) {
            draw(index, source, target);
        }
        Batch {
            replicas: self.replicas.len(),
            size: range.len(),
            decoder_input: teacher_forced.then(|| shift_right(&target, n_out)),
            source,
            target,
        }
    }
}

/// `length` independent uniform ids.
fn sequence(stream: Stream, epoch: u64, ids: &RangeInclusive<i64>, length: usize) -> Vec<i64> {
    let mut sequence = vec![0; length];
    fill(&mut stream.at(epoch), ids, &mut sequence);
    sequence
}

/// Fills `place` with independent uniform ids.
fn fill(generator: &mut impl rand::Rng, ids: &RangeInclusive<i64>, place: &mut [i64]) {
    use rand::RngExt;
    for id in place {
        *id = generator.random_range(ids.clone());
    }
}

/// Every row of `n_out` ids moved one place to the right, [`START_ID`] in front.
fn shift_right(target: &[i64], n_out: usize) -> Vec<i64> {
    let mut shifted = vec![START_ID; target.len()];
    for (to, from) in shifted.chunks_exact_mut(n_out).zip(target.chunks_exact(n_out)) {
        to[1..].copy_from_slice(&from[..n_out - 1]);
    }
    shifted
}
