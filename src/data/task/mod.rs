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

mod checks;
mod epoch;
mod kind;
mod random;
mod records;

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::base::error::UserError;
use crate::base::rng::Purpose;
use crate::config::{Config, Dtype, Family, Features, Invalid, TaskKind};
use crate::data::files::scaling::{Scale, Scaling, scaled};
use crate::data::writing::{Writing, field, spaced, spaced_numbers};

pub use epoch::{Draw, Epoch, Write};
pub use kind::{Follows, GivenNumber, Kind, LastSource, Record};
pub use pairs::{Sizes, check_corpus};
pub use records::RECORDS;
pub use series_tokens::check_token_series;
pub use windows::check_windows;

/// What helps with a value that files do not have as it was given.
pub const LEAVE_OUT: &str = "leave it out: it is found from the file; or the file was changed";

/// The last id of a target that has a length of its own.
pub const END_ID: i64 = 0;

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
