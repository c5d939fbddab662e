//! The fields of a configuration: what each takes, from a flag and in a file alike.

use std::fmt;

use toml::Value;

use super::{
    CheckpointEvery, DeviceChoice, Dtype, EngineChoice, Family, Feedback, GateActivation, Invalid,
    LearningRateSchedule, TaskKind,
};
use crate::base::input::quoted;

/// The largest size of anything that is counted in memory: keeps products of sizes within `i64`.
pub const MANY: i64 = 1_000_000;
/// The largest number of anything that is only counted.
const COUNT: i64 = 1_000_000_000_000;

pub(super) const POSITIVE: &str = "a finite number above 0";
pub(super) const FRACTION: &str = "a number from 0 to below 1";

/// A field and what it takes.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in `config.toml`; its flag has hyphens for underscores.
    pub name: &'static str,
    takes: Takes,
}

/// What a field takes, whatever the others are.
#[derive(Debug, Clone, Copy)]
enum Takes {
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// A number, in words; `Config::validate` knows which.
    Number(&'static str),
    TrueOrFalse,
    Word(&'static [&'static str]),
    Device,
    CheckpointEvery,
}

/// Every field but `preset`, in the order of [`super::Config`].
pub const FIELDS: [Field; 37] = [
    Field { name: "task", takes: Takes::Word(TaskKind::WORDS) },
    Field { name: "vocab", takes: Takes::Whole(2, MANY) },
    Field { name: "id_min", takes: Takes::Whole(0, MANY - 1) },
    Field { name: "id_max", takes: Takes::Whole(0, MANY - 1) },
    Field { name: "length", takes: Takes::Whole(1, MANY) },
    Field { name: "samples", takes: Takes::Whole(1, COUNT) },
    Field { name: "n_in", takes: Takes::Whole(1, MANY) },
    Field { name: "n_out", takes: Takes::Whole(1, MANY) },
    Field { name: "lag", takes: Takes::Whole(1, MANY) },
    Field { name: "family", takes: Takes::Word(Family::WORDS) },
    Field { name: "units", takes: Takes::Whole(1, MANY) },
    Field { name: "stateful", takes: Takes::TrueOrFalse },
    Field { name: "return_sequences", takes: Takes::TrueOrFalse },
    Field { name: "gate_activation", takes: Takes::Word(GateActivation::WORDS) },
    Field { name: "feedback", takes: Takes::Word(Feedback::WORDS) },
    Field { name: "batch_size", takes: Takes::Whole(1, MANY) },
    Field { name: "epochs", takes: Takes::Whole(1, COUNT) },
    Field { name: "learning_rate", takes: Takes::Number(POSITIVE) },
    Field { name: "learning_rate_schedule", takes: Takes::Word(LearningRateSchedule::WORDS) },
    Field { name: "final_learning_rate", takes: Takes::Number(POSITIVE) },
    Field { name: "warmup_steps", takes: Takes::Whole(1, COUNT) },
    Field { name: "beta_1", takes: Takes::Number(FRACTION) },
    Field { name: "beta_2", takes: Takes::Number(FRACTION) },
    Field { name: "epsilon", takes: Takes::Number(POSITIVE) },
    Field { name: "global_clipnorm", takes: Takes::Number(POSITIVE) },
    Field { name: "dtype", takes: Takes::Word(Dtype::WORDS) },
    Field { name: "seed", takes: Takes::Whole(0, i64::MAX - 1) },
    Field { name: "replicas", takes: Takes::Whole(1, 65_536) },
    Field { name: "log_every", takes: Takes::Whole(1, COUNT) },
    Field { name: "validate_every", takes: Takes::Whole(1, COUNT) },
    Field { name: "validation_samples", takes: Takes::Whole(1, MANY) },
    Field { name: "evaluation_samples", takes: Takes::Whole(1, MANY) },
    Field { name: "device", takes: Takes::Device },
    Field { name: "engine", takes: Takes::Word(EngineChoice::WORDS) },
    Field { name: "threads", takes: Takes::Whole(1, 1024) },
    Field { name: "checkpoint_every", takes: Takes::CheckpointEvery },
    Field { name: "keep_checkpoints", takes: Takes::Whole(1, MANY) },
];

/// The field called `name`.
pub fn field(name: &str) -> Option<Field> {
    FIELDS.into_iter().find(|field| field.name == name)
}

/// The whole numbers that the field `name` takes, from the first to the second.
pub fn range(name: &str) -> (i64, i64) {
    match field(name).map(|field| field.takes) {
        Some(Takes::Whole(low, high)) => (low, high),
        _ => unreachable!("{name} is listed as a whole number"),
    }
}

impl Field {
    /// The value that `text` is on the command line.
    ///
    /// # Errors
    /// If it is none that the field takes.
    pub fn read(self, text: &str) -> Result<Value, Invalid> {
        let value = match self.takes {
            Takes::Whole(..) => text.parse().ok().map(Value::Integer),
            Takes::Number(_) => text.parse().ok().map(Value::Float),
            Takes::TrueOrFalse => text.parse().ok().map(Value::Boolean),
            Takes::Word(_) | Takes::Device | Takes::CheckpointEvery => {
                Some(Value::String(text.to_owned()))
            }
        };
        value.filter(|value| self.takes(value)).ok_or_else(|| self.invalid(text))
    }

    /// Finds out whether `value` is of the kind that the field takes; in which range a number is to
    /// be, other fields may tell.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(self, value: &Value) -> Result<(), Invalid> {
        if self.takes(value) {
            return Ok(());
        }
        Err(self.invalid(value.as_str().unwrap_or(&value.to_string())))
    }

    fn takes(self, value: &Value) -> bool {
        match (self.takes, value) {
            (Takes::Whole(..) | Takes::Number(_), Value::Integer(_)) => true,
            (Takes::Number(_), Value::Float(_)) => true,
            (Takes::TrueOrFalse, Value::Boolean(_)) => true,
            (Takes::Word(words), Value::String(word)) => words.contains(&word.as_str()),
            (Takes::Device, value) => value.clone().try_into::<DeviceChoice>().is_ok(),
            (Takes::CheckpointEvery, value) => value.clone().try_into::<CheckpointEvery>().is_ok(),
            _ => false,
        }
    }

    fn invalid(self, found: &str) -> Invalid {
        Invalid::new(self.name, quoted(found), self.takes.to_string())
    }
}

impl fmt::Display for Field {
    /// What the field takes, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.takes.fmt(f)
    }
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(low, high) => write!(f, "a whole number from {low} to {high}"),
            Self::Number(which) => f.write_str(which),
            Self::TrueOrFalse => f.write_str("true or false"),
            Self::Word(words) => f.write_str(&alternatives(words)),
            Self::Device => f.write_str(DeviceChoice::EXPECTED),
            Self::CheckpointEvery => f.write_str(CheckpointEvery::EXPECTED),
        }
    }
}

/// `words` in a row, the last after "or".
pub fn alternatives(words: &[&str]) -> String {
    match words {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => words.join(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::presets;

    #[test]
    fn every_field_of_a_configuration_is_listed_and_takes_what_it_has() {
        let whole = Config {
            lag: Some(1),
            samples: Some(1),
            feedback: Some(Feedback::Softmax),
            final_learning_rate: Some(1e-5),
            warmup_steps: Some(1),
            global_clipnorm: Some(1.0),
            log_every: Some(1),
            validate_every: Some(1),
            threads: Some(1),
            ..presets::find("echo").unwrap().config
        };
        let table = toml::Table::try_from(whole).unwrap();
        let mut names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
        names.push("preset");
        names.sort();
        assert_eq!(table.keys().map(String::as_str).collect::<Vec<_>>(), names);
        for field in FIELDS {
            assert_eq!(field.check(&table[field.name]), Ok(()), "{}", field.name);
        }
    }

    #[test]
    fn what_a_flag_and_a_file_say_is_read_alike() {
        let says = |name: &str, text: &str| match field(name).unwrap().read(text) {
            Ok(value) => value.to_string(),
            Err(invalid) => invalid.to_string(),
        };
        assert_eq!(says("units", "12"), "12");
        for text in ["1e3", "1_000", "1.5", "many", "", "99999999999999999999"] {
            let expected = format!("--units {text}: expected a whole number from 1 to 1000000");
            assert_eq!(says("units", text), expected);
        }
        assert_eq!(says("learning_rate", "1e-3"), "0.001");
        assert_eq!(says("stateful", "1"), "--stateful 1: expected true or false");
        assert_eq!(says("dtype", "f32"), "--dtype f32: expected float32 or float64");
        assert_eq!(says("device", "gpu"), "--device gpu: expected auto, cpu, cuda or cuda:N");
        let wrong = field("units").unwrap().check(&Value::Float(2.0)).unwrap_err();
        assert_eq!(wrong.to_string(), "--units 2.0: expected a whole number from 1 to 1000000");
    }
}
