//! What a task is to the rest of the program.

use std::fmt::Debug;
use std::path::Path;

use super::epoch::Draw;
use crate::base::error::UserError;
use crate::base::rng::Purpose;
use crate::config::{Config, Invalid};
use crate::data::files::scaling::Scaling;
use crate::data::writing::spaced;

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
