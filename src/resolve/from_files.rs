//! What files of data make a configuration be.

use std::path::Path;

use anyhow::Result;
use toml::Value;

use super::given::{Given, Origin};
use super::mistaken::instead_of_pairs;
use super::training::Training;
use super::{Reading, check_files, unlike_files, word};
use crate::base::error::UserError;
use crate::config::{Attention, Config, DecoderStart, Family, Feedback, GateActivation, TaskKind};
use crate::data::files::corpus::{Corpus, format};
use crate::data::files::pairs;
use crate::data::files::vocabulary::FIRST;
use crate::data::task::{Sizes, check_corpus};

/// Optimiser steps that a small set of pairs is trained for, if nobody says for how many epochs.
const STEPS: i64 = 6_000;

/// Every field that is found here; the first [`NEEDED`] are those that a configuration of pairs cannot do
/// without.
pub(super) const FOUND: [&str; 32] = [
    "source_tokens",
    "target_tokens",
    "samples",
    "vocab",
    "source_vocab",
    "id_min",
    "id_max",
    "n_in",
    "n_out",
    "family",
    "units",
    "gate_activation",
    "batch_size",
    "epochs",
    "validation_samples",
    "evaluation_samples",
    "bidirectional",
    "embedding",
    "attention",
    "feedback",
    "decoder_start",
    "dropout",
    "label_smoothing",
    "learning_rate",
    "learning_rate_schedule",
    "global_clipnorm",
    "validate_every",
    "return_sequences",
    "early_stopping",
    "early_stopping_mode",
    "early_stopping_patience",
    "restore_best_weights",
];

/// How many of [`FOUND`] are needed.
const NEEDED: usize = 16;

/// Adds to `given` what follows from the files that it names: what their tokens are, their sizes, and a
/// model and a training that suit them. Fields that are given stay as they are, if the files have them
/// so.
///
/// # Errors
/// A file that cannot be read, and a value that is not as the files are.
pub(super) fn complete(given: &mut Given, reading: Reading) -> Result<()> {
    // A run's own configuration has them all; its files are read when it is trained.
    let is_whole = FOUND[..NEEDED].iter().all(|field| given.has(field));
    let is_pairs = word(&given.fields, "task") == Some(TaskKind::Pairs);
    if !is_pairs || is_whole && reading == Reading::IfNeeded {
        return Ok(());
    }
    let config = given.partial()?;
    check_files(given, &config)?;
    find_tokens(given, &config).map_err(|error| instead_of_pairs(given, &config, error))?;
    let corpus = Corpus::read(&given.partial()?);
    let corpus = corpus.map_err(|error| instead_of_pairs(given, &config, error))?;
    if !is_whole {
        find(given, &corpus);
    }
    Ok(check_corpus(&given.partial()?, &corpus).map_err(|invalid| unlike_files(given, invalid))?)
}

/// Adds what the tokens of the files most likely are.
fn find_tokens(given: &mut Given, config: &Config) -> Result<(), UserError> {
    if config.source_tokens.is_some() && config.target_tokens.is_some() {
        return Ok(());
    }
    let train = Path::new(config.train.as_deref().unwrap_or_default());
    let (source, target) = pairs::guess(train, &format(config, train))?;
    let tokens = [("source_tokens", source), ("target_tokens", target)];
    add(given, tokens.map(|(field, tokens)| (field, tokens.to_string().into())));
    Ok(())
}

/// Adds what follows from the pairs of `corpus`.
fn find(given: &mut Given, corpus: &Corpus) {
    let tokens = Sizes::of(corpus, false).n_out;
    let classes = tokens == 1
        && word(&given.fields, "family").is_none_or(|family: Family| family == Family::Lstm);
    let family = if classes { Family::Lstm } else { Family::TeacherForced };
    add(given, [("family", family.to_string().into())]);
    let family = word(&given.fields, "family").unwrap_or(family);
    let sizes = Sizes::of(corpus, family != Family::Lstm);
    add(given, of_files(&sizes));
    add(given, model(family, &sizes));
    // It keeps the model that says most tokens of the validation part right.
    let (metric, mode) = ("val_accuracy", "max");
    let training = Training { samples: sizes.samples, steps: STEPS, metric, mode };
    add(given, training.fields(given));
    let smoothing = [("label_smoothing", 0.1.into())];
    add(given, smoothing.into_iter().filter(|_| family != Family::Lstm));
}

fn add(given: &mut Given, fields: impl IntoIterator<Item = (&'static str, Value)>) {
    for (field, value) in fields {
        debug_assert!(FOUND.contains(&field), "{field}");
        given.set_open(field, value, Origin::Follows("--train"));
    }
}

/// What the files leave no choice of, and how much of them is used.
fn of_files(sizes: &Sizes) -> Vec<(&'static str, Value)> {
    let fields = [
        ("samples", sizes.samples),
        ("vocab", sizes.vocab),
        ("source_vocab", sizes.source_vocab),
        ("id_min", FIRST),
        ("id_max", sizes.vocab - 1),
        ("n_in", sizes.n_in),
        ("n_out", sizes.n_out),
        ("validation_samples", sizes.validation),
        ("evaluation_samples", sizes.evaluation),
    ];
    fields.map(|(field, value)| (field, value.into())).to_vec()
}

/// A model for so many pairs.
fn model(family: Family, sizes: &Sizes) -> Vec<(&'static str, Value)> {
    let (units, embedding) = match sizes.samples {
        ..1_000 => (64, 64),
        1_000..50_000 => (128, 128),
        _ => (256, 128),
    };
    let mut fields = vec![
        ("units", units.into()),
        ("embedding", embedding.into()),
        ("gate_activation", GateActivation::Sigmoid.to_string().into()),
        ("dropout", 0.3.into()),
    ];
    match family {
        Family::Lstm => fields.push(("return_sequences", false.into())),
        Family::RepeatVector => fields.push(("bidirectional", true.into())),
        Family::TeacherForced => fields.extend([
            ("bidirectional", true.into()),
            ("attention", Attention::Dot.to_string().into()),
            ("feedback", Feedback::Argmax.to_string().into()),
            ("decoder_start", DecoderStart::Id.to_string().into()),
        ]),
    }
    fields
}
