//! What the file of a series makes a configuration be.

use std::path::Path;

use anyhow::Result;
use toml::Value;

use super::given::{Given, Origin};
use super::mistaken::instead_of_numbers;
use super::training::Training;
use super::{Reading, check_files, unlike_files, word};
use crate::base::rng::Purpose;
use crate::config::{
    Attention, Config, DecoderStart, Family, Feedback, GateActivation, LossKind, TaskKind,
};
use crate::data::files::series::{Series, columns};
use crate::data::files::table::list;
use crate::data::files::token_series::TokenSeries;
use crate::data::files::vocabulary::FIRST;
use crate::data::files::windows::Windows;
use crate::data::task::{check_token_series, check_windows};

/// Time steps of a source and of a target where nobody says.
const WIDTH: [(&str, i64); 2] = [("n_in", 24), ("n_out", 1)];

/// Windows that a row of curves.csv is validated on, if there are so many.
const VALIDATED: i64 = 2_000;

/// Optimiser steps that a short series is trained for, if nobody says for how many epochs.
const STEPS: i64 = 4_000;

/// What a configuration of a series cannot do without: one that has it, such as a run's own, is
/// complete, and the file is read when it is trained. The first ones are for numbers alone.
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

/// How many of [`NEEDED`] are for numbers alone.
const OF_NUMBERS: usize = 2;

/// What is found besides, where it suits the model.
pub(super) const FOUND: [&str; 15] = [
    "validation_samples",
    "evaluation_samples",
    "return_sequences",
    "embedding",
    "attention",
    "feedback",
    "decoder_start",
    "learning_rate",
    "learning_rate_schedule",
    "global_clipnorm",
    "validate_every",
    "early_stopping",
    "early_stopping_mode",
    "early_stopping_patience",
    "restore_best_weights",
];

/// Adds to `given` what follows from the series that it names: its columns or tokens, how many windows
/// it has, and a model and a training that suit them. Fields that are given stay as they are, if the
/// series has them so.
///
/// # Errors
/// A file that cannot be read, and a value that is not as the file is.
pub(super) fn complete(given: &mut Given, reading: Reading) -> Result<()> {
    let is_of_tokens = given.has("series_tokens");
    let needed = &NEEDED[if is_of_tokens { OF_NUMBERS } else { 0 }..];
    let is_whole = needed.iter().all(|field| given.has(field));
    let is_series = word(&given.fields, "task") == Some(TaskKind::Series);
    if !is_series || is_whole && reading == Reading::IfNeeded {
        return Ok(());
    }
    if !is_whole {
        add(given, WIDTH.map(|(field, steps)| (field, steps.into())));
        let loss = [("loss", LossKind::Mse.to_string().into())];
        add(given, loss.into_iter().filter(|_| !is_of_tokens));
    }
    let config = given.partial()?;
    check_files(given, &config)?;
    match is_of_tokens {
        true => tokens(given, &config, is_whole),
        false => numbers(given, &config, is_whole),
    }
}

/// [`complete`] of a series of numbers, of which `config` is what is given: all if it `is_whole`.
fn numbers(given: &mut Given, config: &Config, is_whole: bool) -> Result<()> {
    let instead = |error| instead_of_numbers(config, error);
    let path = Path::new(config.series.as_deref().unwrap_or_default());
    let (inputs, targets) = columns(config, path).map_err(instead)?;
    if !is_whole {
        add(given, of_columns(&inputs, &targets));
    }
    let series = Series::read(&given.partial()?).map_err(instead)?;
    if !is_whole {
        find_of_numbers(given, config.n_out, &series);
    }
    let checked = check_windows(&given.partial()?, &series.windows);
    Ok(checked.map_err(|invalid| unlike_files(given, invalid))?)
}

/// Adds what follows from the windows of `series`, whose targets have so many time steps.
fn find_of_numbers(given: &mut Given, n_out: i64, series: &Series) {
    add(given, of_windows(&series.windows));
    let samples = series.windows.of(Purpose::Training).len() as i64;
    let family = if n_out == 1 { Family::Lstm } else { Family::RepeatVector };
    let family = word(&given.fields, "family").unwrap_or(family);
    add(given, model(family, samples));
    let of_decoder = [("feedback", Feedback::Values.to_string().into())];
    add(given, of_decoder.into_iter().filter(|_| family == Family::TeacherForced));
    // It keeps the model that forecasts the validation part best.
    let (metric, mode) = ("val_loss", "min");
    add(given, Training { samples, steps: STEPS, metric, mode }.fields(given));
}

/// [`complete`] of a series of tokens, of which `config` is what is given: all if it `is_whole`.
fn tokens(given: &mut Given, config: &Config, is_whole: bool) -> Result<()> {
    let series = TokenSeries::read(config)?;
    if !is_whole {
        find_of_tokens(given, config.n_out, &series);
    }
    let checked = check_token_series(&given.partial()?, &series);
    Ok(checked.map_err(|invalid| unlike_files(given, invalid))?)
}

/// Adds what follows from the tokens and the windows of `series`, whose targets have so many time steps.
fn find_of_tokens(given: &mut Given, n_out: i64, series: &TokenSeries) {
    add(given, of_windows(&series.windows));
    add(given, [("vocab", (series.language.vocabulary.len() as i64).into())]);
    let vocab = given.fields.get("vocab").and_then(Value::as_integer).unwrap_or(0);
    add(given, [("id_min", FIRST.into()), ("id_max", vocab.saturating_sub(1).into())]);
    let samples = series.windows.of(Purpose::Training).len() as i64;
    let family = if n_out == 1 { Family::Lstm } else { Family::TeacherForced };
    let family = word(&given.fields, "family").unwrap_or(family);
    add(given, model(family, samples));
    add(given, [("embedding", units(samples).into())]);
    let of_decoder = [
        ("attention", Attention::Dot.to_string().into()),
        ("feedback", Feedback::Argmax.to_string().into()),
        ("decoder_start", DecoderStart::Id.to_string().into()),
    ];
    add(given, of_decoder.into_iter().filter(|_| family == Family::TeacherForced));
    // It keeps the model that says most tokens of the validation part right.
    let (metric, mode) = ("val_accuracy", "max");
    add(given, Training { samples, steps: STEPS, metric, mode }.fields(given));
}

fn add(given: &mut Given, fields: impl IntoIterator<Item = (&'static str, Value)>) {
    for (field, value) in fields {
        given.set_open(field, value, Origin::Follows("--series"));
    }
}

/// How many windows there are for what.
fn of_windows(windows: &Windows) -> [(&'static str, Value); 3] {
    let [training, validation, evaluation] = windows.counts().map(|n| n as i64);
    [
        ("samples", training.into()),
        ("validation_samples", validation.min(VALIDATED).into()),
        ("evaluation_samples", evaluation.into()),
    ]
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
    ]
}

/// LSTM units for so many windows.
fn units(samples: i64) -> i64 {
    if samples < 50_000 { 64 } else { 128 }
}

/// A model for so many windows.
fn model(family: Family, samples: i64) -> Vec<(&'static str, Value)> {
    let mut fields = vec![
        ("family", family.to_string().into()),
        ("units", units(samples).into()),
        ("gate_activation", GateActivation::Sigmoid.to_string().into()),
    ];
    if family == Family::Lstm {
        fields.push(("return_sequences", false.into()));
    }
    fields
}
