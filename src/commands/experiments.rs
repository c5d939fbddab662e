//! Many trainings, one after the other, each in a directory of its own.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::Result;

use super::resume::{Resume, resume_until};
use super::signals::Stop;
use super::train::{Train, train_until};
use crate::base::error::UserError;
use crate::config::{Config, DeviceChoice};
use crate::resolve;
use crate::run::progress::say;
use crate::run::run_dir::{Place, RunDir};
use crate::train::memory;
use crate::train::placement;

/// A training and its directory.
pub(super) type Experiment = (PathBuf, Config);

/// Finds out whether all `configs` can be trained on `device`.
///
/// # Errors
/// The first that cannot.
pub(super) fn check(all: &[Experiment], device: DeviceChoice) -> Result<()> {
    all.iter().try_for_each(|(_, config)| {
        config.validate().map_err(UserError::usage)?;
        Ok(memory::check(config, placement::estimated(config, device)?.device)?)
    })
}

/// Those that have no finished run in their directory.
///
/// # Errors
/// If there is something else.
pub(super) fn missing(all: Vec<Experiment>) -> Result<Vec<Experiment>> {
    let mut missing = Vec::new();
    for (path, config) in all {
        if RunDir::place(&path)? == Place::Free {
            missing.push((path, config));
            continue;
        }
        let (run, found) = RunDir::open(&path)?;
        if found != config {
            let changes = resolve::changes(&config, &found)?;
            let changes = changes.map(|changes| format!(": {changes} here")).unwrap_or_default();
            let shown = path.display();
            let error = UserError::usage(format!(
                "{shown}: holds a run with another configuration{changes}"
            ));
            let hint = "give another --out, or the flags that it was made with";
            return Err(error.hint(hint).into());
        }
        if run.read_training(&config)?.is_none() {
            missing.push((path, config));
        }
    }
    Ok(missing)
}

/// Trains `all`, or goes on with what was begun of them, and calls `finished` after each. Returns false
/// if `stop` was set meanwhile.
///
/// # Errors
/// Those of the runs and of `finished`.
pub(super) fn train_each(
    all: Vec<Experiment>,
    stop: &Stop,
    quiet: bool,
    mut finished: impl FnMut(&Path) -> Result<()>,
) -> Result<bool> {
    let total = all.len();
    for (n, experiment) in all.into_iter().enumerate() {
        if !quiet {
            say(format!("[{}/{total}]", n + 1));
        }
        let path = experiment.0.clone();
        if !train_one(experiment, &stop.now, quiet, &mut std::io::sink())? {
            say("hint: the same command goes on with what is not finished");
            return Ok(false);
        }
        finished(&path)?;
    }
    Ok(true)
}

/// Trains one, or goes on with what was begun of it, and prints its result to `out`. Returns false if
/// `stop` was set meanwhile.
///
/// # Errors
/// Those of the run.
pub(super) fn train_one(
    (path, config): Experiment,
    stop: &AtomicBool,
    quiet: bool,
    out: &mut dyn Write,
) -> Result<bool> {
    if RunDir::place(&path)? == Place::Free {
        let (initial, out_dir, force, dry_run) = (None, Some(path), false, false);
        let tensorboard = false;
        let run = Train { config, initial, out: out_dir, force, dry_run, tensorboard, quiet };
        return train_until(stop, run, out);
    }
    resume_until(stop, &Resume { run: path, epochs: None, device: None, quiet }, out)
}
