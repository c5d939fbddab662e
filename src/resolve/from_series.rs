//! What the file of a series makes a configuration be.

use std::path::Path;

use anyhow::Result;
use toml::Value;

use super::given::{Given, Origin};
use super::{batch_size, check_ranges, word};
use crate::base::rng::Purpose;
use crate::config::{Family, Feedback, GateActivation, LossKind, TaskKind};
use crate::data::files::series::{Series, columns};
use crate::data::files::table::list;

/// Time steps of a source and of a target where nobody says.
const WIDTH: [(&str, i64); 2] = [("n_in", 24), ("n_out", 1)];

/// Windows that a row of curves.csv is validated on, if there are so many.
const VALIDATED: i64 = 2_000;

/// Optimiser steps that a short series is trained for, if nobody says for how many epochs.
const STEPS: i64 = 4_000;

/// What a configuration of a series cannot do without: one that has it, such as a run's own, is
/// complete, and the file is read when it is trained.
pub(super) const NEEDED: [&str; 13] = [
    "inputs",
    "targets",
    "n_in",
    "n_out",
    "samples",
    "vocab",
    "id_min",
    "id_max",
    "family",
    "units",
    "gate_activation",
    "batch_size",
    "epochs",
];

/// What is found besides, where it suits the model.
pub(super) const FOUND: [&str; 11] = [
    "validation_samples",
    "evaluation_samples",
    "return_sequences",
    "feedback",
    "learning_rate",
    "learning_rate_schedule",
    "global_clipnorm",
    "validate_every",
    "early_stopping",
    "early_stopping_patience",
    "restore_best_weights",
];

/// Adds to `given` what follows from the series that it names: its columns, how many windows it has,
/// and a model and a training that suit them. Fields that are given stay as they are.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn complete(given: &mut Given) -> Result<()> {
    if given.has("series") {
        given.set_open("task", "series".into(), Origin::Follows("--series"));
    }
    let is_series = word(&given.fields, "task") == Some(TaskKind::Series);
    if !is_series || !given.has("series") || NEEDED.iter().all(|field| given.has(field)) {
        return Ok(());
    }
    add(given, WIDTH.map(|(field, steps)| (field, steps.into())));
    let config = given.partial()?;
    check_ranges(given, &config)?;
    let (inputs, targets) =
        columns(&config, Path::new(config.series.as_deref().unwrap_or_default()))?;
    add(given, of_columns(&inputs, &targets));
    let config = given.partial()?;
    let series = Series::read(&config)?;
    let windows = |purpose| series.windows(purpose).len() as i64;
    let samples = windows(Purpose::Training);
    add(
        given,
        [
            ("samples", samples.into()),
            ("validation_samples", windows(Purpose::Validation).min(VALIDATED).into()),
            ("evaluation_samples", windows(Purpose::Evaluation).into()),
        ],
    );
    let family = if config.n_out == 1 { Family::Lstm } else { Family::RepeatVector };
    let family = word(&given.fields, "family").unwrap_or(family);
    add(given, model(family, samples));
    let batch_size = batch_size(given, samples);
    add(given, training(samples, batch_size));
    Ok(())
}

fn add(given: &mut Given, fields: impl IntoIterator<Item = (&'static str, Value)>) {
    for (field, value) in fields {
        given.set_open(field, value, Origin::Follows("--series"));
    }
}

/// What the columns leave no choice of.
fn of_columns(inputs: &[String], targets: &[String]) -> Vec<(&'static str, Value)> {
    vec![
        ("inputs", list(inputs).into()),
        ("targets", list(targets).into()),
        ("features_in", (inputs.len() as i64).into()),
        ("features_out", (targets.len() as i64).into()),
        ("vocab", 0.into()),
        ("id_min", 0.into()),
        ("id_max", 0.into()),
        ("loss", LossKind::Mse.to_string().into()),
    ]
}

/// A model for so many windows.
fn model(family: Family, samples: i64) -> Vec<(&'static str, Value)> {
    let mut fields = vec![
        ("family", family.to_string().into()),
        ("units", if samples < 50_000 { 64 } else { 128 }.into()),
        ("gate_activation", GateActivation::Sigmoid.to_string().into()),
    ];
    match family {
        Family::Lstm => fields.push(("return_sequences", false.into())),
        Family::RepeatVector => {}
        Family::TeacherForced => fields.push(("feedback", Feedback::Values.to_string().into())),
    }
    fields
}

/// A training for so many windows, which ends early and keeps the model that forecasts the validation
/// part best.
fn training(samples: i64, batch_size: i64) -> Vec<(&'static str, Value)> {
    let steps = (samples / batch_size.max(1)).max(1);
    let epochs = (STEPS / steps).clamp(5, 200);
    vec![
        ("batch_size", batch_size.into()),
        ("epochs", epochs.into()),
        ("learning_rate", 2e-3.into()),
        ("learning_rate_schedule", "cosine".into()),
        ("global_clipnorm", 1.0.into()),
        ("validate_every", 1.into()),
        ("early_stopping", "val_loss".into()),
        ("early_stopping_mode", "min".into()),
        ("early_stopping_patience", (epochs / 4).max(3).into()),
        ("restore_best_weights", true.into()),
    ]
}
