//! When a training saves its state.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::input::quoted;

/// The most steps or seconds between two checkpoints.
const MOST: i64 = 1_000_000_000_000;

/// How often a training saves its state, besides at its end and when it is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "Word")]
pub enum CheckpointEvery {
    /// So many optimiser steps.
    Steps(i64),
    /// So many seconds, at the end of a step.
    Seconds(i64),
    /// Not at all.
    Never,
}

impl CheckpointEvery {
    /// The words that are choices.
    pub const EXPECTED: &'static str = "steps (1000), a time (30s, 5m, 1h) or never";

    /// Whether one is due after `step` steps, `elapsed` after the last.
    pub fn is_due(self, step: i64, elapsed: Duration) -> bool {
        match self {
            Self::Steps(every) => step % every == 0,
            Self::Seconds(every) => elapsed.as_secs() as i64 >= every,
            Self::Never => false,
        }
    }
}

/// As it is written: a number of steps, or a word.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Steps(i64),
    Text(String),
}

impl From<CheckpointEvery> for Word {
    fn from(every: CheckpointEvery) -> Self {
        match every {
            CheckpointEvery::Steps(steps) => Self::Steps(steps),
            every => Self::Text(every.to_string()),
        }
    }
}

impl TryFrom<Word> for CheckpointEvery {
    type Error = String;
    fn try_from(word: Word) -> Result<Self, String> {
        match word {
            Word::Steps(steps) => steps.to_string().parse(),
            Word::Text(text) => text.parse(),
        }
    }
}

impl fmt::Display for CheckpointEvery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(steps) => write!(f, "{steps}"),
            Self::Seconds(seconds) if seconds % 3600 == 0 => write!(f, "{}h", seconds / 3600),
            Self::Seconds(seconds) if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            Self::Seconds(seconds) => write!(f, "{seconds}s"),
            Self::Never => f.write_str("never"),
        }
    }
}

impl FromStr for CheckpointEvery {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        if word == "never" {
            return Ok(Self::Never);
        }
        let number = |digits: &str, unit: i64| {
            let number = digits.parse::<i64>().ok().and_then(|n| n.checked_mul(unit));
            number.filter(|n| (1..=MOST).contains(n))
        };
        let units = [('s', 1), ('m', 60), ('h', 3600)];
        let time = units.iter().find_map(|&(name, unit)| Some((word.strip_suffix(name)?, unit)));
        let every = match time {
            Some((digits, unit)) => number(digits, unit).map(Self::Seconds),
            None => number(word, 1).map(Self::Steps),
        };
        every.ok_or_else(|| {
            format!("checkpoint_every '{}': expected {}", quoted(word), Self::EXPECTED)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        for (word, every) in [
            ("1000", CheckpointEvery::Steps(1000)),
            ("90s", CheckpointEvery::Seconds(90)),
            ("5m", CheckpointEvery::Seconds(300)),
            ("2h", CheckpointEvery::Seconds(7200)),
            ("never", CheckpointEvery::Never),
        ] {
            assert_eq!(word.parse(), Ok(every));
            assert_eq!(every.to_string(), word);
        }
        for word in ["", "0", "-1", "s", "0s", "1.5s", "h", "1d", "Never", "99999999999999999999m"]
        {
            assert!(word.parse::<CheckpointEvery>().is_err(), "{word}");
        }
        // What fuzzing found: a message that moves the terminal's cursor.
        let error = "1\u{1b}[2J".parse::<CheckpointEvery>().unwrap_err();
        assert!(error.starts_with("checkpoint_every '1\\u{1b}[2J': expected"), "{error}");
    }

    #[test]
    fn one_is_due_by_steps_or_by_time() {
        let after = Duration::from_secs;
        let due = |every: CheckpointEvery| {
            [(6, 1), (7, 1), (6, 30)].map(|(step, seconds)| every.is_due(step, after(seconds)))
        };
        assert_eq!(due(CheckpointEvery::Steps(3)), [true, false, true]);
        assert_eq!(due(CheckpointEvery::Seconds(30)), [false, false, true]);
        assert_eq!(due(CheckpointEvery::Never), [false; 3]);
    }
}
