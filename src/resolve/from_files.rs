//! What files of data make a configuration be.

use std::path::Path;

use anyhow::Result;
use toml::Value;

use super::given::{Given, Origin};
use super::{batch_size, check_ranges, word};
use crate::config::{Attention, DecoderStart, Family, Feedback, GateActivation, TaskKind};
use crate::data::files::corpus::{Corpus, format};
use crate::data::files::pairs;
use crate::data::files::vocabulary::FIRST;
use crate::data::task::Sizes;

/// Optimiser steps that a small set of pairs is trained for, if nobody says for how many epochs.
const STEPS: i64 = 6_000;

/// Every field that is found here.
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

/// Adds to `given` what follows from the files that it names: what their tokens are, their sizes, and a
/// model and a training that suit them. Fields that are given stay as they are.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn complete(given: &mut Given) -> Result<()> {
    if given.has("train") {
        given.set_open("task", "pairs".into(), Origin::Follows("--train"));
    }
    let is_pairs = word(&given.fields, "task") == Some(TaskKind::Pairs);
    // A run's own configuration has them all; its files are read when it is trained.
    if !is_pairs || !given.has("train") || FOUND[..16].iter().all(|field| given.has(field)) {
        return Ok(());
    }
    let config = given.partial()?;
    check_ranges(given, &config)?;
    let train = Path::new(config.train.as_deref().unwrap_or_default());
    if config.source_tokens.is_none() || config.target_tokens.is_none() {
        let (source, target) = pairs::guess(train, &format(&config, train))?;
        let tokens = [("source_tokens", source), ("target_tokens", target)];
        add(given, tokens.map(|(field, tokens)| (field, tokens.to_string().into())));
    }
    let corpus = Corpus::read(&given.partial()?)?;
    let tokens = Sizes::of(&corpus, false).n_out;
    let classes = tokens == 1
        && word(&given.fields, "family").is_none_or(|family: Family| family == Family::Lstm);
    let family = if classes { Family::Lstm } else { Family::TeacherForced };
    add(given, [("family", family.to_string().into())]);
    let family = word(&given.fields, "family").unwrap_or(family);
    let sizes = Sizes::of(&corpus, family != Family::Lstm);
    add(given, of_files(&sizes));
    add(given, model(family, &sizes));
    let batch_size = batch_size(given, sizes.samples);
    add(given, training(family, &sizes, batch_size));
    Ok(())
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

/// A training for so many pairs, which ends early and keeps the model that says most tokens of the
/// validation part right.
fn training(family: Family, sizes: &Sizes, batch_size: i64) -> Vec<(&'static str, Value)> {
    let steps = (sizes.samples / batch_size.max(1)).max(1);
    let epochs = (STEPS / steps).clamp(5, 200);
    let mut fields = vec![
        ("batch_size", batch_size.into()),
        ("epochs", epochs.into()),
        ("learning_rate", 2e-3.into()),
        ("learning_rate_schedule", "cosine".into()),
        ("global_clipnorm", 1.0.into()),
        ("validate_every", 1.into()),
        ("early_stopping", "val_accuracy".into()),
        ("early_stopping_mode", "max".into()),
        ("early_stopping_patience", (epochs / 4).max(3).into()),
        ("restore_best_weights", true.into()),
    ];
    if family != Family::Lstm {
        fields.push(("label_smoothing", 0.1.into()));
    }
    fields
}
