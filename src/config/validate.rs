//! Which configurations can be run.

use std::fmt;

use thiserror::Error;

use super::{Config, Dtype, Family, LearningRateSchedule, TaskKind, scope};

/// A value that no run can have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("--{} {found}: expected {expected}", field.replace('_', "-"))]
pub struct Invalid {
    /// The field's name in `config.toml`; its flag has hyphens for underscores.
    pub field: &'static str,
    /// The value.
    pub found: String,
    /// The values that are possible.
    pub expected: String,
}

impl Invalid {
    fn new(field: &'static str, found: impl ToString, expected: impl Into<String>) -> Self {
        Self { field, found: found.to_string(), expected: expected.into() }
    }
}

/// The largest size of anything that is counted in memory: keeps products of sizes within `i64`.
pub const MANY: i64 = 1_000_000;
/// The most ids of a batch, or of a sequence, of all replicas.
const LARGE: i64 = 1_000_000_000;
/// The largest number of anything that is only counted.
const COUNT: i64 = 1_000_000_000_000;
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
        within("vocab", self.vocab, 2, MANY)?;
        within("id_min", self.id_min, 0, self.vocab - 1)?;
        within("id_max", self.id_max, self.id_min, self.vocab - 1)?;
        within("n_in", self.n_in, 1, MANY)?;
        within("n_out", self.n_out, 1, MANY)?;
        within("units", self.units, 1, MANY)?;
        within("batch_size", self.batch_size, 1, MANY)?;
        within("replicas", self.replicas, 1, 65_536)?;
        within("seed", self.seed, 0, i64::MAX - self.replicas)
    }

    fn validate_task(&self) -> Result<(), Invalid> {
        self.applies("length", self.length)?;
        self.applies("samples", self.samples)?;
        self.applies("lag", self.lag)?;
        if let Some(lag) = self.lag {
            within("lag", lag, 1, MANY)?;
        }
        if let Some(samples) = self.samples {
            within("samples", samples, 1, COUNT)?;
        }
        if let Some(length) = self.length {
            let least = self.n_in.max(self.lag.unwrap_or(0)) + i64::from(self.lag.is_some());
            let least = least.max(2);
            if !(least..=MANY).contains(&length) {
                let why =
                    format!("{least} to {MANY}, so that it holds a window (--n-in {})", self.n_in);
                return Err(Invalid::new("length", length, why));
            }
        }
        match self.task {
            TaskKind::Lag if self.n_out != 1 => {
                Err(Invalid::new("n_out", self.n_out, "1, the one id that task lag asks for"))
            }
            _ if self.n_out > self.n_in => Err(Invalid::new(
                "n_out",
                self.n_out,
                format!("1 to {}, the ids of a source (--n-in)", self.n_in),
            )),
            TaskKind::Addition => self.validate_addition(),
            _ => Ok(()),
        }
    }

    /// The sizes, ids and model of sums that are written as characters.
    fn validate_addition(&self) -> Result<(), Invalid> {
        if !(2..=DIGITS + 1).contains(&self.n_out) {
            let sum = "a digit more than each of the numbers that task addition adds";
            return Err(Invalid::new("n_out", self.n_out, format!("2 to {}, {sum}", DIGITS + 1)));
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
                return Err(Invalid::new(field, found, format!("{expected}, {why}")));
            }
        }
        if self.family != Family::RepeatVector {
            let why = "repeat_vector: in task addition a sum is shorter than its question (lstm) and \
                       no id is left to start a decoder (teacher_forced)";
            return Err(Invalid::new("family", self.family, why));
        }
        if self.stateful {
            let why = "false: no question of task addition continues another";
            return Err(Invalid::new("stateful", true, why));
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
            Some(samples) if samples > most - held_out => Err(Invalid::new(
                "samples",
                samples,
                format!(
                    "1 to {}: task addition draws at most {most} questions, of which \
                     --evaluation-samples {held_out} are held out",
                    most - held_out
                ),
            )),
            _ => Ok(()),
        }
    }

    fn validate_model(&self) -> Result<(), Invalid> {
        let forced = self.family == Family::TeacherForced;
        self.applies("return_sequences", self.return_sequences)?;
        self.applies("feedback", self.feedback)?;
        match self.return_sequences {
            Some(true) if self.n_out != self.n_in => Err(Invalid::new(
                "n_out",
                self.n_out,
                format!(
                    "{}, as many as --n-in, since the LSTM answers every step (--return-sequences true)",
                    self.n_in
                ),
            )),
            Some(false) if self.n_out != 1 => Err(Invalid::new(
                "n_out",
                self.n_out,
                "1, since the LSTM answers its last step only (--return-sequences false)",
            )),
            _ if forced && self.stateful => Err(Invalid::new(
                "stateful",
                true,
                "false: the decoder of family teacher_forced starts from its encoder's state",
            )),
            _ if forced && self.id_min == 0 => Err(Invalid::new(
                "id_min",
                0,
                format!(
                    "1 to {}: id 0 starts the decoder of family teacher_forced",
                    self.vocab - 1
                ),
            )),
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
        within("epochs", self.epochs, 1, COUNT)?;
        if self.epochs.checked_mul(samples).is_none_or(|total| total > i64::MAX / 2) {
            return Err(Invalid::new("epochs", self.epochs, "fewer, for so many samples each"));
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
            if let Some(every) = value {
                within(field, every, 1, COUNT)?;
            }
        }
        within("validation_samples", self.validation_samples, 1, MANY)?;
        within("evaluation_samples", self.evaluation_samples, 1, MANY)?;
        within("keep_checkpoints", self.keep_checkpoints, 1, MANY)?;
        self.threads.map_or(Ok(()), |threads| within("threads", threads, 1, 1024))
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
                let expected = "a value: learning-rate schedule exponential needs it";
                return Err(Invalid::new(field, "(not given)", expected));
            }
        }
        let steps = self.steps();
        match self.warmup_steps {
            Some(warmup) if !(1..=steps).contains(&warmup) => {
                let expected = format!("1 to {steps}, the optimiser steps of the run");
                Err(Invalid::new("warmup_steps", warmup, expected))
            }
            _ => Ok(()),
        }
    }

    /// `value` is there exactly where `field` is for the task, family and schedule.
    fn applies(&self, field: &'static str, value: Option<impl fmt::Debug>) -> Result<(), Invalid> {
        let found = value.map(|value| format!("{value:?}").to_lowercase());
        match (scope(field, self.task, self.family, self.learning_rate_schedule), found) {
            (Some((whom, true)), None) => {
                Err(Invalid::new(field, "(not given)", format!("a value: {whom} needs it")))
            }
            (Some((whom, false)), Some(found)) => {
                Err(Invalid::new(field, found, format!("nothing: it applies to {whom} only")))
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
        Err(Invalid::new(field, value, format!("a finite number above 0 in {dtype}")))
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
        let why = "so that the data of every replica fit into memory";
        Err(Invalid::new("replicas", self.replicas, format!("at most {}, {why}", LARGE / ids)))
    }
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
    Err(Invalid::new(field, value, "a number from 0 to below 1"))
}
