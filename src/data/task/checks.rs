//! What several tasks require of a configuration.

use super::kind::Follows;
use crate::config::{Config, Invalid, MANY};
use crate::data::files::vocabulary::FIRST;

/// The ids are those of a vocabulary of tokens.
pub(super) fn check_vocabulary(config: &Config) -> Result<(), Invalid> {
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

/// A sequence holds windows of which the longest with its target is of `least` ids.
pub(super) fn check_window(config: &Config, least: i64) -> Result<(), Invalid> {
    let (length, least) = (config.length.unwrap_or(0), least.max(2));
    if (least..=MANY).contains(&length) {
        return Ok(());
    }
    let why = format!(", so that it holds a window (--n-in {})", config.n_in);
    Err(Invalid::new("length", length, format!("{least} to {MANY}")).because(why))
}

/// A target has no more ids than a source.
pub(super) fn check_target(config: &Config) -> Result<(), Invalid> {
    if config.n_out <= config.n_in {
        return Ok(());
    }
    let invalid = Invalid::new("n_out", config.n_out, format!("1 to {}", config.n_in));
    Err(invalid.because(", the ids of a source (--n-in)"))
}

/// The shares of a file that are held out for validation and for evaluation leave something to train on.
pub(super) fn check_shares([validation, test]: [f64; 2]) -> Result<(), Invalid> {
    if validation + test < 1.0 {
        return Ok(());
    }
    let expected = format!("less than 1 together with --validation-fraction {validation}");
    let why = ", so that something is left to train on";
    Err(Invalid::new("test_fraction", test, expected).because(why))
}

/// The loss is one of numbers.
pub(super) fn check_loss_of_numbers(config: &Config) -> Result<(), Invalid> {
    if config.features().is_some() {
        return Ok(());
    }
    let why = format!(": the sequences of task {} are of numbers", config.task);
    Err(Invalid::new("loss", config.loss, "mse or mae").because(why))
}

/// The sequences of the task are of numbers.
pub(super) fn check_numbers(config: &Config) -> Result<(), Invalid> {
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
pub(super) fn no_ids() -> Vec<Follows> {
    ["vocab", "id_min", "id_max"].map(|field| (field, 0, "--task")).to_vec()
}
