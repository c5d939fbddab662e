//! Which configurations can be run.

use std::fmt;

use thiserror::Error;

use super::fields::{FRACTION, MANY, POSITIVE, range};
use super::{Config, Dtype, Family, LearningRateSchedule, TaskKind, scope};

/// A value that no run can have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} {found}: {}", self.flag(), self.expectation())]
pub struct Invalid {
    /// The field's name in `config.toml`; its flag has hyphens for underscores.
    pub field: &'static str,
    /// The value.
    pub found: String,
    /// The values that are possible.
    pub expected: String,
    /// Why no others are, where it has to be said; behind `expected`.
    pub why: String,
}

impl Invalid {
    /// A value that is not as `expected`.
    pub fn new(field: &'static str, found: impl ToString, expected: impl Into<String>) -> Self {
        Self { field, found: found.to_string(), expected: expected.into(), why: String::new() }
    }

    /// The same with the reason.
    fn because(self, why: impl Into<String>) -> Self {
        Self { why: why.into(), ..self }
    }

    /// The field's flag.
    pub fn flag(&self) -> String {
        format!("--{}", self.field.replace('_', "-"))
    }

    /// What was expected, and why.
    pub fn expectation(&self) -> String {
        let Self { expected, why, .. } = self;
        format!("expected {expected}{why}")
    }
}

/// What is found where a field has no value.
pub const NOT_GIVEN: &str = "(not given)";
/// The most ids of a batch, or of a sequence, of all replicas.
const LARGE: i64 = 1_000_000_000;
/// The most digits of a number to add, those of the published experiments.
const DIGITS: i64 = 5;
/// So few different questions that all of them are found at once.
const FEW: i64 = 10_000;

impl Config {
    /// Checks every value, alone and against the others.
    ///
    /// # Errors
    /// The first value that no run can have, with the values that are possible.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.validate_sizes()?;
        self.validate_task()?;
        self.validate_model()?;
        self.validate_training()?;
        self.validate_memory()
    }

    fn validate_sizes(&self) -> Result<(), Invalid> {
        whole("vocab", self.vocab)?;
        within("id_min", self.id_min, 0, self.vocab - 1)?;
        within("id_max", self.id_max, self.id_min, self.vocab - 1)?;
        whole("n_in", self.n_in)?;
        whole("n_out", self.n_out)?;
        whole("units", self.units)?;
        whole("batch_size", self.batch_size)?;
        whole("replicas", self.replicas)?;
        within("seed", self.seed, 0, i64::MAX - self.replicas)
    }

    fn validate_task(&self) -> Result<(), Invalid> {
        self.applies("length", self.length)?;
        self.applies("samples", self.samples)?;
        self.applies("lag", self.lag)?;
        self.lag.map_or(Ok(()), |lag| whole("lag", lag))?;
        self.samples.map_or(Ok(()), |samples| whole("samples", samples))?;
        if let Some(length) = self.length {
            let least = self.n_in.max(self.lag.unwrap_or(0)) + i64::from(self.lag.is_some());
            let least = least.max(2);
            if !(least..=MANY).contains(&length) {
                let why = format!(", so that it holds a window (--n-in {})", self.n_in);
                let invalid = Invalid::new("length", length, format!("{least} to {MANY}"));
                return Err(invalid.because(why));
            }
        }
        match self.task {
            TaskKind::Lag if self.n_out != 1 => {
                let invalid = Invalid::new("n_out", self.n_out, "1");
                Err(invalid.because(", the one id that task lag asks for"))
            }
            _ if self.n_out > self.n_in => {
                let invalid = Invalid::new("n_out", self.n_out, format!("1 to {}", self.n_in));
                Err(invalid.because(", the ids of a source (--n-in)"))
            }
            TaskKind::Addition => self.validate_addition(),
            _ => Ok(()),
        }
    }

    /// The sizes, ids and model of sums that are written as characters.
    fn validate_addition(&self) -> Result<(), Invalid> {
        if !(2..=DIGITS + 1).contains(&self.n_out) {
            let sum = ", a digit more than each of the numbers that task addition adds";
            let invalid = Invalid::new("n_out", self.n_out, format!("2 to {}", DIGITS + 1));
            return Err(invalid.because(sum));
        }
        let source = "so that a source holds two numbers of a digit less than --n-out and a +";
        let ids = "since task addition has the digits as ids 0 to 9, + as 10 and the space as 11";
        for (field, found, expected, why) in [
            ("n_in", self.n_in, 2 * self.n_out - 1, source),
            ("vocab", self.vocab, 12, ids),
            ("id_min", self.id_min, 0, ids),
            ("id_max", self.id_max, 11, ids),
        ] {
            if found != expected {
                let invalid = Invalid::new(field, found, expected.to_string());
                return Err(invalid.because(format!(", {why}")));
            }
        }
        if self.family != Family::RepeatVector {
            let why = ": in task addition a sum is shorter than its question (lstm) and no id is \
                       left to start a decoder (teacher_forced)";
            return Err(Invalid::new("family", self.family, "repeat_vector").because(why));
        }
        if self.stateful {
            let why = ": no question of task addition continues another";
            return Err(Invalid::new("stateful", true, "false").because(why));
        }
        self.validate_questions()
    }

    /// So many different questions are found within a second. They are drawn until there are enough,
    /// and the more are there already, the rarer is another: a few thousand are all soon found,
    /// but of the half million of 3 digits the last fifth takes longer than the rest.
    fn validate_questions(&self) -> Result<(), Invalid> {
        let numbers = 10_i64.pow(self.n_out as u32 - 1);
        let different = numbers * (numbers + 1) / 2;
        let soon = if different <= FEW { different } else { different / 5 * 4 };
        let most = soon.min(MANY);
        let held_out = self.evaluation_samples;
        within("evaluation_samples", held_out, 1, most - 1)?;
        match self.samples {
            Some(samples) if samples > most - held_out => {
                let left = format!("1 to {}", most - held_out);
                Err(Invalid::new("samples", samples, left).because(format!(
                    ": task addition draws at most {most} questions, of which \
                     --evaluation-samples {held_out} are held out"
                )))
            }
            _ => Ok(()),
        }
    }

    fn validate_model(&self) -> Result<(), Invalid> {
        let forced = self.family == Family::TeacherForced;
        self.applies("return_sequences", self.return_sequences)?;
        self.applies("feedback", self.feedback)?;
        match self.return_sequences {
            Some(true) if self.n_out != self.n_in => {
                let why = ", as many as --n-in, since the LSTM answers every step \
                           (--return-sequences true)";
                Err(Invalid::new("n_out", self.n_out, self.n_in.to_string()).because(why))
            }
            Some(false) if self.n_out != 1 => {
                let why = ", since the LSTM answers its last step only (--return-sequences false)";
                Err(Invalid::new("n_out", self.n_out, "1").because(why))
            }
            _ if forced && self.stateful => {
                let why = ": the decoder of family teacher_forced starts from its encoder's state";
                Err(Invalid::new("stateful", true, "false").because(why))
            }
            _ if forced && self.id_min == 0 => {
                let why = ": id 0 starts the decoder of family teacher_forced";
                let invalid = Invalid::new("id_min", 0, format!("1 to {}", self.vocab - 1));
                Err(invalid.because(why))
            }
            _ => Ok(()),
        }
    }

    fn validate_training(&self) -> Result<(), Invalid> {
        let samples = self.samples_per_epoch();
        // A window task's batches are read in order, and a stateful row has to go on for ever.
        if (self.stateful || self.length.is_some()) && samples % self.batch_size != 0 {
            let divisors: Vec<String> = (1..=samples.min(MANY))
                .filter(|n| samples % n == 0)
                .take(12)
                .map(|n| n.to_string())
                .collect();
            let expected = format!(
                "a divisor of the {samples} samples of an epoch: {}{}",
                divisors.join(", "),
                if divisors.len() == 12 { ", …" } else { "" }
            );
            return Err(Invalid::new("batch_size", self.batch_size, expected));
        }
        whole("epochs", self.epochs)?;
        if self.epochs.checked_mul(samples).is_none_or(|total| total > i64::MAX / 2) {
            let invalid = Invalid::new("epochs", self.epochs, "fewer");
            return Err(invalid.because(", for so many samples each"));
        }
        self.positive("learning_rate", self.learning_rate)?;
        self.validate_schedule()?;
        fraction("beta_1", self.beta_1)?;
        fraction("beta_2", self.beta_2)?;
        self.positive("epsilon", self.epsilon)?;
        if let Some(norm) = self.global_clipnorm {
            self.positive("global_clipnorm", norm)?;
        }
        for (field, value) in
            [("log_every", self.log_every), ("validate_every", self.validate_every)]
        {
            value.map_or(Ok(()), |every| whole(field, every))?;
        }
        whole("validation_samples", self.validation_samples)?;
        whole("evaluation_samples", self.evaluation_samples)?;
        whole("keep_checkpoints", self.keep_checkpoints)?;
        self.threads.map_or(Ok(()), |threads| whole("threads", threads))
    }

    fn validate_schedule(&self) -> Result<(), Invalid> {
        let field = "final_learning_rate";
        match (self.learning_rate_schedule, self.final_learning_rate) {
            (LearningRateSchedule::Constant, end) => self.applies(field, end)?,
            (LearningRateSchedule::Cosine, None | Some(0.0)) => {}
            (LearningRateSchedule::Cosine, Some(end)) => {
                let or_0 = |e: Invalid| Invalid { expected: format!("0 or {}", e.expected), ..e };
                self.positive(field, end).map_err(or_0)?;
            }
            (LearningRateSchedule::Exponential, Some(end)) => self.positive(field, end)?,
            (LearningRateSchedule::Exponential, None) => {
                return Err(missing(field, "learning-rate schedule exponential"));
            }
        }
        let steps = self.steps();
        match self.warmup_steps {
            Some(warmup) if !(1..=steps).contains(&warmup) => {
                let invalid = Invalid::new("warmup_steps", warmup, format!("1 to {steps}"));
                Err(invalid.because(", the optimiser steps of the run"))
            }
            _ => Ok(()),
        }
    }

    /// `value` is there exactly where `field` is for the task, family and schedule.
    fn applies(&self, field: &'static str, value: Option<impl fmt::Debug>) -> Result<(), Invalid> {
        let found = value.map(|value| format!("{value:?}").to_lowercase());
        match (scope(field, self.task, self.family, self.learning_rate_schedule), found) {
            (Some((whom, true)), None) => Err(missing(field, whom)),
            (Some((whom, false)), Some(found)) => {
                let why = format!(": it applies to {whom} only");
                Err(Invalid::new(field, found, "nothing").because(why))
            }
            _ => Ok(()),
        }
    }

    /// `value` is above 0, also once it is a number of the run's dtype.
    fn positive(&self, field: &'static str, value: f64) -> Result<(), Invalid> {
        let (seen, dtype) = match self.dtype {
            Dtype::Float32 => (f64::from(value as f32), "float32"),
            Dtype::Float64 => (value, "float64"),
        };
        if seen.is_finite() && seen > 0.0 {
            return Ok(());
        }
        Err(Invalid::new(field, value, POSITIVE).because(format!(" in {dtype}")))
    }

    /// The ids of a batch, those of a sequence, and the questions of an addition, each as large as an
    /// id, fit into memory for all replicas.
    fn validate_memory(&self) -> Result<(), Invalid> {
        within("batch_size", self.batch_size, 1, LARGE / self.n_in)?;
        let addition = self.task == TaskKind::Addition;
        let questions =
            if addition { self.samples.unwrap_or(0) + self.evaluation_samples } else { 0 };
        let ids = (self.batch_size * self.n_in).max(self.length.unwrap_or(1)).max(questions);
        if self.replicas <= LARGE / ids {
            return Ok(());
        }
        let invalid = Invalid::new("replicas", self.replicas, format!("at most {}", LARGE / ids));
        Err(invalid.because(", so that the data of every replica fit into memory"))
    }

    /// The values that a run can have but that change nothing in it.
    pub fn idle(&self) -> Vec<Invalid> {
        let mut idle = Vec::new();
        let rows = self.rows_due(self.steps());
        match self.validate_every {
            None => {
                let invalid =
                    Invalid::new("validation_samples", self.validation_samples, "nothing");
                idle.push(invalid.because(" without --validate-every"));
            }
            Some(every) if every > rows => {
                let invalid = Invalid::new("validate_every", every, format!("1 to {rows}"));
                idle.push(invalid.because(", the rows of curves.csv"));
            }
            Some(_) => {}
        }
        let (held_out, more) = (self.evaluation_samples, self.validation_samples);
        if self.task == TaskKind::Addition && more > held_out {
            let invalid = Invalid::new("validation_samples", more, format!("1 to {held_out}"));
            idle.push(invalid.because(", the questions held out (--evaluation-samples)"));
        }
        idle
    }
}

/// Nothing where `whom` needs a value.
fn missing(field: &'static str, whom: &str) -> Invalid {
    Invalid::new(field, NOT_GIVEN, "a value").because(format!(": {whom} needs it"))
}

/// `value` is in the range of whole numbers that the field takes.
fn whole(field: &'static str, value: i64) -> Result<(), Invalid> {
    let (low, high) = range(field);
    within(field, value, low, high)
}

/// `value` is from `low` to `high`.
///
/// # Errors
/// If it is not.
pub fn within(field: &'static str, value: i64, low: i64, high: i64) -> Result<(), Invalid> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Invalid::new(field, value, format!("a whole number from {low} to {high}")))
}

fn fraction(field: &'static str, value: f64) -> Result<(), Invalid> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Invalid::new(field, value, FRACTION))
}
