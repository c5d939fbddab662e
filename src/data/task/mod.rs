//! What the model has to learn: batches of integer ids or of numbers, drawn anew for every epoch, or
//! once (addition).
//!
//! A batch is a pure function of (seeds, purpose, epoch, sample range). Ids stay ids from here to
//! the loss; nothing is ever one-hot encoded.
//!
//! A new task is a file that implements [`Kind`], its word in [`TaskKind`] and its line in
//! [`Rules::of`].

mod addition;
mod echo;
mod lag;
mod padded_echo;
mod reverse;
mod waves;

use std::fmt::Debug;
use std::ops::{Deref, Range, RangeInclusive};
use std::sync::Arc;

use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Dtype, Family, Features, Invalid, MANY, TaskKind};
use crate::data::batch::{Batch, Lengths, Sequences};
use crate::data::writing::{Writing, spaced, spaced_numbers};

/// The first input of a teacher-forced decoder, an id that no sequence contains.
pub const START_ID: i64 = 0;

/// The last id of a target that has a length of its own.
pub const END_ID: i64 = 0;

/// One task: first what it requires of configurations, then what it does with one.
pub trait Kind: Debug + Send + Sync {
    /// Checks the sizes in `config`, each of which is possible by itself, together.
    ///
    /// # Errors
    /// The first value that cannot, with the values that are possible.
    fn check(config: &Config) -> Result<(), Invalid>
    where
        Self: Sized;

    /// The task of a configuration that was checked.
    fn new(config: &Config) -> Self
    where
        Self: Sized;

    /// A value of a checked configuration that has no effect on a run.
    fn idle(config: &Config) -> Option<Invalid>
    where
        Self: Sized,
    {
        let _ = config;
        None
    }

    /// The values of fields of `preset` that follow from the whole numbers that are `given`.
    fn follow(given: &GivenNumber<'_>, preset: &Config) -> Vec<Follows>
    where
        Self: Sized,
    {
        let _ = (given, preset);
        Vec::new()
    }

    /// Samples in one epoch.
    fn samples_per_epoch(&self) -> usize;

    /// Whether an epoch's samples are windows of one sequence, which are read in its order.
    fn is_read_in_order(&self) -> bool {
        false
    }

    /// Samples of each replica that are held out of training, where no others can be drawn.
    fn held_out(&self) -> Option<usize> {
        None
    }

    /// Whether samples have lengths of their own, of at most Tin and Tout steps.
    fn lengths_vary(&self) -> bool {
        false
    }

    /// Whether the task leaves no choice of this field.
    fn fixes(&self, field: &str) -> bool {
        let _ = field;
        false
    }

    /// Ids, or other numbers of their size, of each replica that stay in memory.
    fn ids_kept(&self) -> usize {
        0
    }

    /// As many again that an epoch's batches are cut from.
    fn ids_of_an_epoch(&self) -> usize {
        0
    }

    /// The id that ends a target; `None`: every target has Tout ids.
    fn end(&self) -> Option<i64> {
        None
    }

    /// Epoch `epoch` of the seed's stream for `purpose`.
    fn epoch(&self, seed: u64, purpose: Purpose, epoch: u64) -> Draw<'_>;

    /// The sources it accepts besides ids, in words.
    fn question(&self) -> Option<&'static str> {
        None
    }

    /// The ids of a source written in the task's own way; `None`: `text` is to be read as ids.
    fn read(&self, text: &str) -> Option<Result<Vec<i64>, String>> {
        let _ = text;
        None
    }

    /// A source's ids, written for people.
    fn source(&self, ids: &[i64]) -> String {
        spaced(ids)
    }

    /// A target's ids, written so.
    fn target(&self, ids: &[i64]) -> String {
        spaced(ids)
    }
}

/// The whole number that was given for a field.
pub type GivenNumber<'a> = dyn Fn(&str) -> Option<i64> + 'a;

/// A field that follows another: its name, its value, and the flag of the other.
pub type Follows = (&'static str, i64, &'static str);

/// A task's rules for configurations: see [`Kind`].
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// [`Kind::check`].
    pub check: fn(&Config) -> Result<(), Invalid>,
    /// [`Kind::idle`].
    pub idle: fn(&Config) -> Option<Invalid>,
    /// [`Kind::follow`].
    pub follow: fn(&GivenNumber<'_>, &Config) -> Vec<Follows>,
    new: fn(&Config) -> Arc<dyn Kind>,
}

impl Rules {
    /// Those of `task`.
    pub fn of(task: TaskKind) -> Self {
        match task {
            TaskKind::Echo => Self::by::<echo::Echo>(),
            TaskKind::Lag => Self::by::<lag::Lag>(),
            TaskKind::Reverse => Self::by::<reverse::Reverse>(),
            TaskKind::PaddedEcho => Self::by::<padded_echo::PaddedEcho>(),
            TaskKind::Addition => Self::by::<addition::Addition>(),
            TaskKind::Waves => Self::by::<waves::Waves>(),
        }
    }

    fn by<K: Kind + 'static>() -> Self {
        let new = |config: &Config| -> Arc<dyn Kind> { Arc::new(K::new(config)) };
        Self { check: K::check, idle: K::idle, follow: K::follow, new }
    }
}

/// A task with its sizes. Clones share what it has drawn.
#[derive(Debug, Clone)]
pub struct Task {
    kind: Arc<dyn Kind>,
    n_in: usize,
    n_out: usize,
    /// `None` for ids.
    features: Option<Features>,
    dtype: Dtype,
    teacher_forced: bool,
}

/// What the task itself answers.
impl Deref for Task {
    type Target = dyn Kind;
    fn deref(&self) -> &Self::Target {
        &*self.kind
    }
}

impl Task {
    /// The task of a validated configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            kind: (Rules::of(config.task).new)(config),
            n_in: config.n_in as usize,
            n_out: config.n_out as usize,
            features: config.features(),
            dtype: config.dtype,
            teacher_forced: config.family == Family::TeacherForced,
        }
    }

    /// How many epochs, and how many samples of each, make a fresh set of at least `samples`:
    /// whole sequences where samples are windows of one, since a stateful model reads them in
    /// order; otherwise exactly `samples`, or all that are held out where those are fewer.
    pub fn fresh_set(&self, samples: usize) -> (u64, usize) {
        if self.is_read_in_order() {
            let windows = self.samples_per_epoch();
            return (samples.div_ceil(windows) as u64, windows);
        }
        (1, samples.min(self.held_out().unwrap_or(usize::MAX)))
    }

    /// Epoch `epoch` of every replica's stream for `purpose`.
    pub fn epoch(&self, seeds: &[u64], purpose: Purpose, epoch: u64) -> Epoch<'_> {
        let draw = |&seed: &u64| self.kind.epoch(seed, purpose, epoch);
        Epoch { task: self, replicas: seeds.iter().map(draw).collect() }
    }

    /// A target's `ids` up to its end, without it.
    pub fn before_end<'a>(&self, ids: &'a [i64]) -> &'a [i64] {
        ids.split(|id| self.end() == Some(*id)).next().unwrap_or_default()
    }

    /// A source's ids, in `writing`.
    pub fn source(&self, ids: &[i64], writing: Writing) -> String {
        match writing {
            Writing::Ids => spaced(ids),
            Writing::Own => self.kind.source(ids),
        }
    }

    /// The numbers of a source or a target, as the model has them.
    pub fn numbers(&self, numbers: &[f64]) -> String {
        spaced_numbers(numbers, self.dtype)
    }

    /// A target's ids, in `writing`.
    pub fn target(&self, ids: &[i64], writing: Writing) -> String {
        match writing {
            Writing::Ids => spaced(ids),
            Writing::Own => self.kind.target(ids),
        }
    }
}

/// Writes sample `index` of one replica's epoch over zeros: `(index, source (Tin), target (Tout))`,
/// of numbers those of a time step beside each other. Returns how many time steps source and target
/// have.
pub type Write<'a, T> = Box<dyn Fn(usize, &mut [T], &mut [T]) -> [usize; 2] + 'a>;

/// One replica's epoch.
pub enum Draw<'a> {
    /// Of ids.
    Ids(Write<'a, i64>),
    /// Of numbers.
    Numbers(Write<'a, f64>),
}

/// One epoch's data of every replica.
pub struct Epoch<'a> {
    task: &'a Task,
    replicas: Vec<Draw<'a>>,
}

impl<'a> Epoch<'a> {
    /// The samples in `range`, of every replica.
    pub fn batch(&self, range: Range<usize>) -> Batch {
        let ids = self.replicas.iter().filter_map(|draw| match draw {
            Draw::Ids(write) => Some(write),
            Draw::Numbers(_) => None,
        });
        let numbers = self.replicas.iter().filter_map(|draw| match draw {
            Draw::Ids(_) => None,
            Draw::Numbers(write) => Some(write),
        });
        match self.task.features {
            None => self.drawn(range, ids, |ids, _| Sequences::Ids(ids)),
            Some(_) => self.drawn(range, numbers, |values, features| Sequences::Numbers {
                values,
                features: features as usize,
            }),
        }
    }

    /// The samples in `range` as every replica's `writes` has them, made into `sequences` by their
    /// numbers and how many a time step has.
    fn drawn<'b, T: Copy + Default + 'b>(
        &self,
        range: Range<usize>,
        writes: impl Iterator<Item = &'b Write<'a, T>>,
        sequences: fn(Vec<T>, i64) -> Sequences,
    ) -> Batch
    where
        'a: 'b,
    {
        let Task { n_in, n_out, teacher_forced, .. } = *self.task;
        let features = self.task.features.unwrap_or(Features::OF_IDS);
        let [read, said] = [n_in * features.source as usize, n_out * features.target as usize];
        let rows = self.replicas.len() * range.len();
        let mut source = vec![T::default(); rows * read];
        let mut target = vec![T::default(); rows * said];
        let samples = writes.flat_map(|write| range.clone().map(move |i| (write, i)));
        let places = source.chunks_exact_mut(read).zip(target.chunks_exact_mut(said));
        let mut lengths = Lengths { source: Vec::new(), target: Vec::new() };
        for ((write, index), (source, target)) in samples.zip(places) {
            let [of_source, of_target] = write(index, source, target);
            lengths.source.push(of_source as i64);
            lengths.target.push(of_target as i64);
        }
        let fed = teacher_forced.then(|| shift_right(&target, said, features.target as usize));
        Batch {
            replicas: self.replicas.len(),
            size: range.len(),
            decoder_input: fed.map(|fed| sequences(fed, features.target)),
            source: sequences(source, features.source),
            target: sequences(target, features.target),
            lengths: self.task.lengths_vary().then_some(lengths),
        }
    }
}

/// A sequence holds windows of which the longest with its target is of `least` ids.
fn check_window(config: &Config, least: i64) -> Result<(), Invalid> {
    let (length, least) = (config.length.unwrap_or(0), least.max(2));
    if (least..=MANY).contains(&length) {
        return Ok(());
    }
    let why = format!(", so that it holds a window (--n-in {})", config.n_in);
    Err(Invalid::new("length", length, format!("{least} to {MANY}")).because(why))
}

/// A target has no more ids than a source.
fn check_target(config: &Config) -> Result<(), Invalid> {
    if config.n_out <= config.n_in {
        return Ok(());
    }
    let invalid = Invalid::new("n_out", config.n_out, format!("1 to {}", config.n_in));
    Err(invalid.because(", the ids of a source (--n-in)"))
}

/// The ids that random sequences contain.
fn ids(config: &Config) -> RangeInclusive<i64> {
    config.id_min..=config.id_max
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

/// Every row of `width` ids or numbers moved a time step of `features` to the right, behind
/// [`START_ID`] or zeros.
fn shift_right<T: Copy + Default>(target: &[T], width: usize, features: usize) -> Vec<T> {
    // The id is 0, too.
    let mut shifted = vec![T::default(); target.len()];
    for (to, from) in shifted.chunks_exact_mut(width).zip(target.chunks_exact(width)) {
        to[features..].copy_from_slice(&from[..width - features]);
    }
    shifted
}
