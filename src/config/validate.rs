//! Which values configurations can have, as far as no task tells.

use std::fmt;

use thiserror::Error;

use super::fields::{FRACTION, POSITIVE, range};
use super::{Config, Dtype, Family, LearningRateSchedule, scope};

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
    pub fn because(self, why: impl Into<String>) -> Self {
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

impl Config {
    /// Checks the sizes, each by itself, and that those are there that the task has.
    pub(crate) fn validate_sizes(&self) -> Result<(), Invalid> {
        whole("vocab", self.vocab)?;
        within("id_min", self.id_min, 0, self.vocab - 1)?;
        within("id_max", self.id_max, self.id_min, self.vocab - 1)?;
        whole("n_in", self.n_in)?;
        whole("n_out", self.n_out)?;
        whole("units", self.units)?;
        whole("batch_size", self.batch_size)?;
        whole("replicas", self.replicas)?;
        within("seed", self.seed, 0, i64::MAX - self.replicas)?;
        self.applies("length", self.length)?;
        self.applies("samples", self.samples)?;
        self.applies("lag", self.lag)?;
        self.lag.map_or(Ok(()), |lag| whole("lag", lag))?;
        self.samples.map_or(Ok(()), |samples| whole("samples", samples))
    }

    /// Checks the model's fields against each other.
    pub(crate) fn validate_model(&self) -> Result<(), Invalid> {
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

    /// Checks how a run of so many optimiser steps is trained, logged and saved.
    pub(crate) fn validate_training(&self, steps: i64) -> Result<(), Invalid> {
        self.positive("learning_rate", self.learning_rate)?;
        self.validate_schedule(steps)?;
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

    fn validate_schedule(&self, steps: i64) -> Result<(), Invalid> {
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
