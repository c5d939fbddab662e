//! What the model has to learn: batches of integer ids or of numbers, drawn anew for every epoch, or
//! once (addition, and what is in files).
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
mod pairs;
mod reverse;
mod series;
mod series_tokens;
mod waves;

mod windows;

use std::fmt::Debug;
use std::ops::{Deref, Range, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::base::error::UserError;
use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Dtype, Family, Features, Invalid, MANY, TaskKind};
use crate::data::batch::{Batch, Lengths, Sequences};
use crate::data::files::scaling::{Scale, Scaling, scaled};
use crate::data::files::vocabulary::{FIRST, Vocabulary};
use crate::data::writing::{Writing, field, spaced, spaced_numbers};

pub use pairs::{Sizes, check_corpus};
pub use series_tokens::check_token_series;
pub use windows::check_windows;

/// The files in which runs keep what they know of their data, and how each begins.
pub const RECORDS: [(&str, &str); 5] = [
    ("data.json", "{\n  \"files\": ["),
    ("source-vocabulary.txt", "<padding>\n"),
    ("target-vocabulary.txt", "<padding>\n"),
    ("scaling.tsv", "role\tmean\tdeviation\tcolumn\n"),
    ("vocabulary.txt", "<padding>\n"),
];

/// What helps with a value that files do not have as it was given.
pub const LEAVE_OUT: &str = "leave it out: it is found from the file; or the file was changed";

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

    /// Checks what `config` says of the files to read, before one is read; of all other fields what is
    /// not given may be anything.
    ///
    /// # Errors
    /// As [`Kind::check`].
    fn check_files(config: &Config) -> Result<(), Invalid>
    where
        Self: Sized,
    {
        let _ = config;
        Ok(())
    }

    /// The task of a configuration that was checked: its sizes, and its data if it draws them.
    fn new(config: &Config) -> Self
    where
        Self: Sized;

    /// The same with its data, where they are in files.
    ///
    /// # Errors
    /// Files that cannot be read, or that are not what the configuration says of them.
    fn load(config: &Config) -> Result<Self, UserError>
    where
        Self: Sized,
    {
        Ok(Self::new(config))
    }

    /// The same of a run that kept `record`, without the files that it was trained on; with the file
    /// `test` of data to be evaluated on.
    ///
    /// # Errors
    /// A damaged record, a file that cannot be read, or any file where the task has none.
    fn recorded(
        config: &Config,
        record: &Record<'_>,
        test: Option<&Path>,
    ) -> Result<Self, UserError>
    where
        Self: Sized,
    {
        let _ = record;
        match test {
            Some(_) => Err(UserError::usage(format!("--test: task {} reads no file", config.task))),
            None => Ok(Self::new(config)),
        }
    }

    /// What a run of the task keeps of its data: files of its directory, by their names.
    fn record(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What the data are, and warnings of them, for people: lines; none where the configuration tells.
    fn about(&self) -> Vec<String> {
        Vec::new()
    }

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

    /// Samples of each replica that are held out of training for `purpose`, where no others can be
    /// drawn.
    fn held_out(&self, purpose: Purpose) -> Option<usize> {
        let _ = purpose;
        None
    }

    /// Time steps of the longest source and target for `purpose`, where they are more than Tin and
    /// Tout: what is held out was not asked how long it is.
    fn longest(&self, purpose: Purpose) -> [usize; 2] {
        let _ = purpose;
        [0, 0]
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

    /// The id of all tokens that the model does not know. Where a target has it, no answer is right.
    fn unknown(&self) -> Option<i64> {
        None
    }

    /// Whether sequences are text of a user's, which files hold as such, and of which a result says
    /// more.
    fn is_text(&self) -> bool {
        false
    }

    /// The ids, without the end, of the target that most of what `seed` trains on has.
    fn most_frequent_target(&self, seed: u64) -> Option<Vec<i64>> {
        let _ = seed;
        None
    }

    /// Source and target of sample `index` for `purpose` as the user has them, where ids do not tell.
    fn texts(&self, purpose: Purpose, index: usize) -> Option<[String; 2]> {
        let _ = (purpose, index);
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

    /// How the numbers of sequences came from those that people have; `None`: they are the same.
    fn scaling(&self) -> Option<&Scaling> {
        None
    }

    /// What of sample `index` for `purpose` a naive forecast says at every step of the target: the
    /// last value of each of its features before it; `None`: the samples are no forecasts.
    fn last_known(&self, purpose: Purpose, index: usize) -> Option<Vec<f64>> {
        let _ = (purpose, index);
        None
    }

    /// The ids that two naive forecasts say at every step of the target of sample `index` for `purpose`:
    /// that of the most frequent token of the training part, and the last one before the target; `None`:
    /// the samples are no windows of a series of tokens.
    fn naive_ids(&self, purpose: Purpose, index: usize) -> Option<[i64; 2]> {
        let _ = (purpose, index);
        None
    }

    /// The source that ends where the file `path` ends; `None`: the task goes on with no file.
    ///
    /// # Errors
    /// A file that cannot be read.
    fn last_source(&self, path: &Path) -> Option<Result<LastSource, UserError>> {
        let _ = path;
        None
    }

    /// The tokens of a source written so that the model does not know.
    fn unknown_tokens(&self, text: &str) -> Vec<String> {
        let _ = text;
        Vec::new()
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

/// A source that ends where a file ends.
#[derive(Debug, Clone, PartialEq)]
pub enum LastSource {
    /// Of numbers, `(n_in, features)`, as the model reads them.
    Numbers(Vec<f64>),
    /// As people write it.
    Text(String),
}

/// The content of a file that a run keeps, by its name.
pub type Record<'a> = dyn Fn(&str) -> anyhow::Result<Vec<u8>> + 'a;

/// The whole number that was given for a field.
pub type GivenNumber<'a> = dyn Fn(&str) -> Option<i64> + 'a;

/// A field that follows another: its name, its value, and the flag of the other.
pub type Follows = (&'static str, i64, &'static str);

/// [`Kind::recorded`].
type Recorded = fn(&Config, &Record<'_>, Option<&Path>) -> Result<Arc<dyn Kind>, UserError>;

/// A task's rules for configurations: see [`Kind`].
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// [`Kind::check`].
    pub check: fn(&Config) -> Result<(), Invalid>,
    /// [`Kind::check_files`].
    pub check_files: fn(&Config) -> Result<(), Invalid>,
    /// [`Kind::idle`].
    pub idle: fn(&Config) -> Option<Invalid>,
    /// [`Kind::follow`].
    pub follow: fn(&GivenNumber<'_>, &Config) -> Vec<Follows>,
    new: fn(&Config) -> Arc<dyn Kind>,
    load: fn(&Config) -> Result<Arc<dyn Kind>, UserError>,
    recorded: Recorded,
}

impl Rules {
    /// Those of the task of `config`.
    pub fn of(config: &Config) -> Self {
        match config.task {
            TaskKind::Echo => Self::by::<echo::Echo>(),
            TaskKind::Lag => Self::by::<lag::Lag>(),
            TaskKind::Reverse => Self::by::<reverse::Reverse>(),
            TaskKind::PaddedEcho => Self::by::<padded_echo::PaddedEcho>(),
            TaskKind::Addition => Self::by::<addition::Addition>(),
            TaskKind::Waves => Self::by::<waves::Waves>(),
            TaskKind::Pairs => Self::by::<pairs::Pairs>(),
            TaskKind::Series if config.series_tokens.is_some() => {
                Self::by::<series_tokens::Continuation>()
            }
            TaskKind::Series => Self::by::<series::Forecast>(),
        }
    }

    fn by<K: Kind + 'static>() -> Self {
        Self {
            check: K::check,
            check_files: K::check_files,
            idle: K::idle,
            follow: K::follow,
            new: |config| Arc::new(K::new(config)),
            load: |config| Ok(Arc::new(K::load(config)?)),
            recorded: |config, record, test| Ok(Arc::new(K::recorded(config, record, test)?)),
        }
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
    /// The first id of a teacher-forced decoder's input.
    start: i64,
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
        Self::with((Rules::of(config).new)(config), config)
    }

    /// The same with its data, where they are in files.
    ///
    /// # Errors
    /// Files that cannot be read, or that are not what the configuration says of them.
    pub fn load(config: &Config) -> Result<Self, UserError> {
        Ok(Self::with((Rules::of(config).load)(config)?, config))
    }

    /// The same of a run that kept `record`, which is all that it needs to read and write sequences;
    /// with the file `test` of data to be evaluated on.
    ///
    /// # Errors
    /// A damaged record, and a file that cannot be read.
    pub fn recorded(
        config: &Config,
        record: &Record<'_>,
        test: Option<&Path>,
    ) -> Result<Self, UserError> {
        Ok(Self::with((Rules::of(config).recorded)(config, record, test)?, config))
    }

    fn with(kind: Arc<dyn Kind>, config: &Config) -> Self {
        Self {
            kind,
            n_in: config.n_in as usize,
            n_out: config.n_out as usize,
            features: config.features(),
            dtype: config.dtype,
            teacher_forced: config.family == Family::TeacherForced,
            start: config.start_id(),
        }
    }

    /// How many epochs, and how many samples of each, make a fresh set of at least `samples`:
    /// whole sequences where samples are windows of one, since a stateful model reads them in
    /// order; otherwise exactly `samples`, or all that are held out where those are fewer.
    pub fn fresh_set(&self, purpose: Purpose, samples: usize) -> (u64, usize) {
        if self.is_read_in_order() {
            let windows = self.samples_per_epoch();
            return (samples.div_ceil(windows) as u64, windows);
        }
        (1, samples.min(self.held_out(purpose).unwrap_or(usize::MAX)))
    }

    /// Epoch `epoch` of every replica's stream for `purpose`.
    pub fn epoch(&self, seeds: &[u64], purpose: Purpose, epoch: u64) -> Epoch<'_> {
        let draw = |&seed: &u64| self.kind.epoch(seed, purpose, epoch);
        let [source, target] = self.kind.longest(purpose);
        let steps = [source.max(self.n_in), target.max(self.n_out)];
        Epoch { task: self, steps, replicas: seeds.iter().map(draw).collect() }
    }

    /// How files have its sequences.
    pub fn writing_of_files(&self) -> Writing {
        if self.is_text() { Writing::Own } else { Writing::Ids }
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

    /// A source's numbers, as people have them.
    pub fn source_numbers(&self, numbers: &[f64]) -> String {
        let scales = self.scaling().map(|scaling| &scaling.inputs);
        self.written(numbers, scales)
    }

    /// A target's numbers, as people have them.
    pub fn target_numbers(&self, numbers: &[f64]) -> String {
        let scales = self.scaling().map(|scaling| &scaling.targets);
        self.written(numbers, scales)
    }

    fn written(&self, numbers: &[f64], scales: Option<&Vec<Scale>>) -> String {
        match scales {
            Some(scales) => spaced_numbers(&scaled(numbers, scales, Scale::to_file), self.dtype),
            None => spaced_numbers(numbers, self.dtype),
        }
    }

    /// A target's numbers, as lines of a file: its columns' names, and a line for each time step;
    /// between fields is `separator`.
    pub fn target_lines(&self, numbers: &[f64], separator: char) -> String {
        let Some(Scaling { targets, .. }) = self.scaling() else { return String::new() };
        let separator = separator.to_string();
        let names: Vec<String> = targets.iter().map(|scale| field(&scale.column)).collect();
        let row = |row: &[f64]| {
            self.target_numbers(row).split(' ').collect::<Vec<_>>().join(&separator) + "\n"
        };
        let rows: String = numbers.chunks(targets.len()).map(row).collect();
        format!("{}\n{rows}", names.join(&separator))
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
    /// Time steps of a source and of a target, with their padding.
    steps: [usize; 2],
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
            None => self.drawn(range, ids, self.task.start, |ids, _| Sequences::Ids(ids)),
            Some(_) => self.drawn(range, numbers, 0.0, |values, features| Sequences::Numbers {
                values,
                features: features as usize,
            }),
        }
    }

    /// The samples in `range` as every replica's `writes` has them, made into `sequences` by their
    /// numbers and how many a time step has; a decoder is fed `first` first.
    fn drawn<'b, T: Copy + Default + 'b>(
        &self,
        range: Range<usize>,
        writes: impl Iterator<Item = &'b Write<'a, T>>,
        first: T,
        sequences: fn(Vec<T>, i64) -> Sequences,
    ) -> Batch
    where
        'a: 'b,
    {
        let (teacher_forced, [n_in, n_out]) = (self.task.teacher_forced, self.steps);
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
        let fed =
            teacher_forced.then(|| shift_right(&target, said, features.target as usize, first));

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

/// The parts of a file, as `data.json` and people have them.
const PARTS: [Purpose; 3] = [Purpose::Training, Purpose::Validation, Purpose::Evaluation];

/// The text of `data.json`: a line for each of `files`, and how many samples each of [`PARTS`] has.
fn data_record(files: &[impl Serialize], counts: [usize; 3]) -> String {
    let line = |file| format!("    {}", serde_json::to_string(file).unwrap_or_default());
    let files: Vec<String> = files.iter().map(line).collect();
    let [training, validation, evaluation] = counts;
    format!(
        "{{\n  \"files\": [\n{}\n  ],\n  \"training\": {training},\n  \"validation\": {validation},\n  \
         \"evaluation\": {evaluation}\n}}\n",
        files.join(",\n"),
    )
}

/// The vocabulary in the file `name` that a run kept, of so many ids.
fn recorded_vocabulary(
    record: &Record<'_>,
    name: &str,
    size: i64,
) -> Result<Vocabulary, UserError> {
    let unreadable = |e: String| UserError::failure(format!("{name} of the run: {e}"));
    let text = record(name).map_err(|e| unreadable(format!("{e:#}")))?;
    let vocabulary = Vocabulary::from_text(&text).map_err(unreadable)?;
    match vocabulary.len() as i64 == size {
        true => Ok(vocabulary),
        false => Err(unreadable(format!("{} ids, not {size}", vocabulary.len()))),
    }
}

/// The ids are those of a vocabulary of tokens.
fn check_vocabulary(config: &Config) -> Result<(), Invalid> {
    let ids = [("id_min", config.id_min, FIRST), ("id_max", config.id_max, config.vocab - 1)];
    for (field, found, expected) in ids {
        if found != expected {
            let why = ", since ids below it are padding, start, end and unknown";
            return Err(Invalid::new(field, found, expected.to_string()).because(why));
        }
    }
    let vocabularies = [("vocab", config.vocab), ("source_vocab", config.vocab_of_sources())];
    for (field, found) in vocabularies {
        if found <= FIRST {
            return Err(Invalid::new(field, found, format!("{} or more", FIRST + 1)));
        }
    }
    Ok(())
}

/// `text` without the end of its line.
fn line(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
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

/// The shares of a file that are held out for validation and for evaluation leave something to train on.
fn check_shares([validation, test]: [f64; 2]) -> Result<(), Invalid> {
    if validation + test < 1.0 {
        return Ok(());
    }
    let expected = format!("less than 1 together with --validation-fraction {validation}");
    let why = ", so that something is left to train on";
    Err(Invalid::new("test_fraction", test, expected).because(why))
}

/// The loss is one of numbers.
fn check_loss_of_numbers(config: &Config) -> Result<(), Invalid> {
    if config.features().is_some() {
        return Ok(());
    }
    let why = format!(": the sequences of task {} are of numbers", config.task);
    Err(Invalid::new("loss", config.loss, "mse or mae").because(why))
}

/// The sequences of the task are of numbers.
fn check_numbers(config: &Config) -> Result<(), Invalid> {
    let task = config.task;
    check_loss_of_numbers(config)?;
    let ids = [
        ("vocab", config.vocab),
        ("id_min", config.id_min),
        ("id_max", config.id_max),
        ("embedding", config.embedding),
    ];
    if let Some((field, found)) = ids.into_iter().find(|(_, found)| *found != 0) {
        let why = format!(", since task {task} has numbers, and no ids");
        return Err(Invalid::new(field, found, "0").because(why));
    }
    Ok(())
}

/// A preset's ids go, whatever they were, where a task has none.
fn no_ids() -> Vec<Follows> {
    ["vocab", "id_min", "id_max"].map(|field| (field, 0, "--task")).to_vec()
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
/// `first`.
fn shift_right<T: Copy>(target: &[T], width: usize, features: usize, first: T) -> Vec<T> {
    let mut shifted = vec![first; target.len()];
    for (to, from) in shifted.chunks_exact_mut(width).zip(target.chunks_exact(width)) {
        to[features..].copy_from_slice(&from[..width - features]);
    }
    shifted
}
