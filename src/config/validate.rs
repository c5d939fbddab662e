//! Which values configurations can have, as far as no task tells.

use thiserror::Error;
use toml::{Table, Value};

use super::{
    Attention, Config, CurveMetric, Dtype, FIELDS, Family, Feedback, Field, LearningRateSchedule,
    MANY, Takes, written,
};

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
    /// Checks each of the fields of which `which` holds by itself: whom it is for, and its range.
    pub(crate) fn validate_fields(&self, which: impl Fn(&Field) -> bool) -> Result<(), Invalid> {
        let Ok(values) = Table::try_from(self) else { unreachable!("every field is one of TOML") };
        for field in FIELDS.iter().filter(|field| which(field)) {
            let (name, takes) = (field.name, field.takes);
            check_scope(*field, &values)?;
            match (takes, values.get(name)) {
                _ if field.depends => {}
                (Takes::Whole(low, high), Some(&Value::Integer(n))) => within(name, n, low, high)?,
                (Takes::Positive, Some(&Value::Float(x))) => self.positive(name, x)?,
                (Takes::Fraction, Some(&Value::Float(x))) if !(0.0..1.0).contains(&x) => {
                    return Err(Invalid::new(name, x, takes.to_string()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks the range of the ids.
    pub(crate) fn validate_ids(&self) -> Result<(), Invalid> {
        if self.has_numbers() {
            return Ok(());
        }
        within("vocab", self.vocab, 2, MANY)?;
        within("id_min", self.id_min, 0, self.vocab - 1)?;
        within("id_max", self.id_max, self.id_min, self.vocab - 1)
    }

    /// Checks the model's fields against each other.
    pub(crate) fn validate_model(&self) -> Result<(), Invalid> {
        let forced = self.family == Family::TeacherForced;
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
            _ if self.bidirectional && self.family == Family::Lstm => {
                let why = ": an encoder reads both ways, and family lstm has none";
                Err(Invalid::new("bidirectional", true, "false").because(why))
            }
            _ if self.bidirectional && self.stateful => {
                let why =
                    ": what reads a source backwards (--bidirectional) cannot go on with the next";
                Err(Invalid::new("stateful", true, "false").because(why))
            }
            _ if self.attention != Attention::None && !forced => {
                let why = format!(
                    ": attention is a decoder's, fed the target, over its encoder's outputs \
                     (--family teacher_forced), and family {} has none",
                    self.family
                );
                Err(Invalid::new("attention", self.attention, "none").because(why))
            }
            _ if self.recurrent_dropout > 0.0 && self.starts_every_step_from_zero() => {
                let why = ": every LSTM has one step (--n-in 1, --n-out 1) from a state of zeros, \
                           of which nothing can be dropped";
                let found = self.recurrent_dropout;
                Err(Invalid::new("recurrent_dropout", found, "0").because(why))
            }
            _ if self.has_lengths() && self.stateful => {
                let why = ": a batch with other lengths does not go on with the last";
                Err(Invalid::new("stateful", true, "false").because(why))
            }
            Some(true) if self.has_lengths() => {
                let why = ": targets would have to be as long as sources";
                Err(Invalid::new("return_sequences", true, "false").because(why))
            }
            _ if self.features().is_some() => self.validate_numbers(),
            _ if self.feedback == Some(Feedback::Values) => {
                let why = ": numbers are fed back where the loss is on numbers (--loss)";
                Err(Invalid::new("feedback", Feedback::Values, "softmax or argmax").because(why))
            }
            _ if forced && self.id_min == 0 => {
                let why = ": id 0 starts the decoder of family teacher_forced";
                let invalid = Invalid::new("id_min", 0, format!("1 to {}", self.vocab - 1));
                Err(invalid.because(why))
            }
            _ => Ok(()),
        }
    }

    /// Checks what a model of numbers has no use for.
    fn validate_numbers(&self) -> Result<(), Invalid> {
        let loss = self.loss;
        match self.feedback.filter(|feedback| *feedback != Feedback::Values) {
            Some(feedback) => {
                let why = format!(": what a decoder says are numbers (--loss {loss})");
                Err(Invalid::new("feedback", feedback, "values").because(why))
            }
            None if self.embedding != 0 => {
                let why = format!(": numbers are read as they are (--loss {loss})");
                Err(Invalid::new("embedding", self.embedding, "0").because(why))
            }
            None => Ok(()),
        }
    }

    /// Whether no step of any LSTM has another before it.
    fn starts_every_step_from_zero(&self) -> bool {
        let one = self.n_in == 1 && self.n_out == 1;
        one && self.family != Family::TeacherForced && !self.stateful
    }

    /// Checks the seeds, the optimiser, and how the learning rate changes in a run of so many
    /// optimiser steps.
    pub(crate) fn validate_training(&self, steps: i64) -> Result<(), Invalid> {
        within("seed", self.seed, 0, i64::MAX - self.replicas)?;
        if self.features().is_some() && !self.has_numbers() {
            let why = format!(": the sequences of task {} are of ids", self.task);
            return Err(Invalid::new("loss", self.loss, "cross_entropy").because(why));
        }
        self.validate_optimizer()?;
        let field = "final_learning_rate";
        match (self.learning_rate_schedule, self.final_learning_rate) {
            (LearningRateSchedule::Constant, _) => {}
            (LearningRateSchedule::Cosine | LearningRateSchedule::Plateau, None | Some(0.0)) => {}
            (LearningRateSchedule::Plateau, Some(end)) if end >= self.learning_rate => {
                let expected = format!("less than --learning-rate {}", self.learning_rate);
                let why = ": the learning rate never falls below it";
                return Err(Invalid::new(field, end, expected).because(why));
            }
            (LearningRateSchedule::Cosine | LearningRateSchedule::Plateau, Some(end)) => {
                let or_0 = |e: Invalid| Invalid { expected: format!("0 or {}", e.expected), ..e };
                self.positive(field, end).map_err(or_0)?;
            }
            (LearningRateSchedule::Exponential, Some(end)) => self.positive(field, end)?,
            (LearningRateSchedule::Exponential, None) => {
                return Err(missing(field, "learning-rate schedule exponential"));
            }
        }
        self.validate_metric("plateau_metric", self.plateau_metric)?;
        self.validate_metric("early_stopping", self.early_stopping)?;
        match self.warmup_steps {
            Some(warmup) if !(1..=steps).contains(&warmup) => {
                let invalid = Invalid::new("warmup_steps", warmup, format!("1 to {steps}"));
                Err(invalid.because(", the optimiser steps of the run"))
            }
            _ => Ok(()),
        }
    }

    /// Some row of `curves.csv` has the metric that `field` goes by.
    fn validate_metric(
        &self,
        field: &'static str,
        metric: Option<CurveMetric>,
    ) -> Result<(), Invalid> {
        match metric.filter(|metric| metric.needs_validation() && self.validate_every.is_none()) {
            Some(metric) => {
                let why = ", or --validate-every, which fills the other columns";
                Err(Invalid::new(field, metric, "loss or accuracy").because(why))
            }
            None => self.validate_numbers_metric(field, metric),
        }
    }

    /// Numbers have no accuracy.
    fn validate_numbers_metric(
        &self,
        field: &'static str,
        metric: Option<CurveMetric>,
    ) -> Result<(), Invalid> {
        let is_loss = |metric| matches!(metric, CurveMetric::Loss | CurveMetric::ValLoss);
        match metric.filter(|metric| self.features().is_some() && !is_loss(*metric)) {
            Some(metric) => {
                let why = format!(": numbers have no accuracy (--loss {})", self.loss);
                Err(Invalid::new(field, metric, "loss or val_loss").because(why))
            }
            None => Ok(()),
        }
    }

    /// Checks the optimiser's fields against each other.
    fn validate_optimizer(&self) -> Result<(), Invalid> {
        let default = Self::blank();
        let is_default = |field: &str| match field {
            "beta_1" => self.beta_1 == default.beta_1,
            "beta_2" => self.beta_2 == default.beta_2,
            _ => self.epsilon == default.epsilon,
        };
        match self.settings_of_others().into_iter().find(|invalid| !is_default(invalid.field)) {
            Some(invalid) => Err(invalid),
            None if self.nesterov == Some(true) && self.momentum.unwrap_or(0.0) == 0.0 => {
                let why = ": what Nesterov looks ahead by is --momentum";
                Err(Invalid::new("nesterov", true, "false").because(why))
            }
            None => Ok(()),
        }
    }

    /// The settings that every configuration has, but other optimisers than this one use.
    pub(crate) fn settings_of_others(&self) -> Vec<Invalid> {
        let Ok(values) = Table::try_from(self) else { unreachable!("every field is one of TOML") };
        let of_others = |field: &&Field| {
            let scope = field.scope.filter(|scope| scope.selector == "optimizer");
            scope.is_some() && !field.optional && !field.applies(&values)
        };
        let found = FIELDS.iter().filter(of_others);
        found.filter_map(|field| out_of_scope(*field, values.get(field.name)?)).collect()
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
        Err(Invalid::new(field, value, Takes::Positive.to_string()).because(format!(" in {dtype}")))
    }
}

/// Nothing where `whom` needs a value.
fn missing(field: &'static str, whom: &str) -> Invalid {
    Invalid::new(field, NOT_GIVEN, "a value").because(format!(": {whom} needs it"))
}

/// `field` has a value only if it is for such a configuration, and one that is needed.
fn check_scope(field: Field, values: &Table) -> Result<(), Invalid> {
    let Some(scope) = field.scope else { return Ok(()) };
    match (field.applies(values), values.get(field.name)) {
        (true, None) if field.needed => Err(missing(field.name, &scope.to_string())),
        (false, Some(value)) if field.optional => out_of_scope(field, value).map_or(Ok(()), Err),
        _ => Ok(()),
    }
}

/// A value of a field that is not for such a configuration.
fn out_of_scope(field: Field, value: &Value) -> Option<Invalid> {
    let why = format!(": it applies to {} only", field.scope?);
    Some(Invalid::new(field.name, written(value), "nothing").because(why))
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
