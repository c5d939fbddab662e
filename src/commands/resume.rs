//! `seqlab resume`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;

use super::session::{Session, draw_weights, new_trainer};
use super::signals::Stop;
use super::trained::{again, check_config, warn};
use crate::base::error::UserError;
use crate::base::input;
use crate::config::{Config, DeviceChoice, Invalid, LearningRateSchedule};
use crate::data::epochs::Epochs;
use crate::run::progress::say;
use crate::run::run_dir::RunDir;
use crate::run::summary::Summary;
use crate::tensor::device;
use crate::train::checkpoint::{self, Checkpoint, Found};
use crate::train::placement;

/// Which run to go on with.
pub struct Resume {
    /// The run's directory.
    pub run: PathBuf,
    /// Epochs of the whole run; `None`: those of its configuration.
    pub epochs: Option<i64>,
    /// Which device to compute on; `None`: that of its configuration.
    pub device: Option<DeviceChoice>,
    /// Whether to print neither progress nor result.
    pub quiet: bool,
}

/// Goes on with a run from its newest checkpoint, to exactly where it would have come without a
/// break. Prints the result to `out`.
///
/// # Errors
/// A missing or damaged run, one that another process is writing, and those of training.
pub fn resume(what: &Resume, out: &mut dyn Write) -> Result<ExitCode> {
    let stop = Stop::on_signal()?;
    let done = resume_until(&stop.now, what, out)?;
    Ok(if done { ExitCode::SUCCESS } else { stop.status() })
}

/// The same, but ends when `stop` is set. Returns whether it came to the end by itself.
///
/// # Errors
/// As [`resume`].
pub(super) fn resume_until(stop: &AtomicBool, what: &Resume, out: &mut dyn Write) -> Result<bool> {
    let begin = Instant::now();
    let &Resume { epochs, quiet, .. } = what;
    let (run, before) = RunDir::open_to_write(&what.run)?;
    let shown = input::shown(&what.run);
    let summary = run.read_training(&before)?;
    let config = Config { epochs: epochs.unwrap_or(before.epochs), ..before.clone() };
    if let Some(summary) = summary.as_ref().filter(|_| config == before) {
        run.check_curves(summary)?;
        if !quiet {
            writeln!(out, "{shown}: finished, {}", nothing_to_do(summary, &config))?;
        }
        return Ok(true);
    }
    if let Some(summary) = summary.as_ref().filter(|summary| summary.stopped_early()) {
        return Err(no_more_epochs(&run, summary, &config).into());
    }
    config.validate().map_err(|invalid| refused(&invalid, &config))?;
    let found = checkpoint::newest(&run.checkpoint_path());
    let Found { whole, damaged } = found.map_err(|error| {
        let cannot = format!("{shown} cannot be resumed");
        // What helps with one that cannot be looked at is said already.
        match error.is::<UserError>() {
            true => error.context(cannot),
            false => error.context(UserError::failure(cannot).hint(again(&run))),
        }
    })?;
    match &whole {
        Some(checkpoint) => {
            check_config(&run, &config, summary.as_ref(), checkpoint)?;
            check_epochs(checkpoint, &config, &run)?;
        }
        None if summary.is_some() => {
            let none = UserError::failure(format!("{shown}: holds no checkpoint to go on from"));
            return Err(none.hint(again(&run)).into());
        }
        None => {}
    }

    run.check_files()?;
    let device = placement::measured(&config, choice(what, &config, whole.as_ref()))?;
    let mut trainer = new_trainer(&config, &device)?;
    let rows = whole.as_ref().map(|checkpoint| &checkpoint.manifest);
    let (bytes, crc32) = rows.map_or((0, None), |rows| (rows.curves_bytes, rows.curves_crc32));
    let beginning = run.beginning(bytes, crc32)?;
    if let Some(checkpoint) = &whole {
        checkpoint.restore(&mut trainer)?;
    } else {
        if !quiet {
            say(format!("{shown}: no checkpoint yet; from the beginning"));
        }
        if !draw_weights(&mut trainer, stop, quiet)? {
            return Ok(false);
        }
    }
    run.has_events()?;
    // Nothing was changed up to here.
    warn(&damaged);
    damaged.iter().try_for_each(|(path, _)| run.remove(path))?;
    run.reopen(&config)?;
    let curves = run.go_on(beginning)?;
    Session { begin, run, trainer, curves, device, quiet }.go_on("resuming", stop, out)
}

/// What the finished run of `summary` came to, so that nothing is left of it to do.
fn nothing_to_do(summary: &Summary, config: &Config) -> String {
    let epochs = config.epochs;
    match summary.stopped_early() {
        true => format!("stopped early after step {}, and stays so", summary.steps),
        false => format!("all {epochs} epochs; --epochs N goes on to N"),
    }
}

/// Why more epochs, or fewer, change nothing in `run`, which has stopped early.
fn no_more_epochs(run: &RunDir, summary: &Summary, config: &Config) -> UserError {
    let (epochs, step) = (config.epochs, summary.steps);
    let error = format!("--epochs {epochs}: the run stopped early after step {step}, and stays so");
    let again = format!("{} --early-stopping-patience N", run.again_command());
    UserError::usage(error).hint(format!("`{again}` trains one with more patience"))
}

/// Why the run cannot have the epochs of `config`, the one thing in it that is new.
fn refused(invalid: &Invalid, config: &Config) -> UserError {
    let Invalid { field, found, .. } = invalid;
    if *field == "epochs" {
        return UserError::usage(invalid);
    }
    let (epochs, expectation) = (config.epochs, invalid.expectation());
    UserError::usage(format!("--epochs {epochs}: {field} {found} of the run: {expectation}"))
}

/// Which device to go on with. `auto` stays where the training was, if it can: elsewhere its numbers would
/// be others.
fn choice(what: &Resume, config: &Config, whole: Option<&Checkpoint>) -> DeviceChoice {
    let asked = what.device.unwrap_or(config.device);
    let before = whole.and_then(|checkpoint| checkpoint.manifest.position.device);
    let usable = |choice: &DeviceChoice| device::choose(*choice).is_ok();
    match asked {
        DeviceChoice::Auto => before.filter(usable).unwrap_or(asked),
        asked => asked,
    }
}

/// Finds out whether a run of the epochs of `config` would have passed through `checkpoint`.
fn check_epochs(checkpoint: &Checkpoint, config: &Config, run: &RunDir) -> Result<()> {
    let manifest = &checkpoint.manifest;
    let (then, position) = (&manifest.config, &manifest.position);
    let epochs = config.epochs;
    if epochs == then.epochs {
        return Ok(());
    }
    let refused = |why: String| UserError::usage(format!("--epochs {epochs}: {why}"));
    let longer = Epochs::of(config);
    if longer.steps() < position.step {
        let done = position.epoch + i64::from(position.batch > 0);
        return Err(refused(format!("expected at least the {done} that are begun")).into());
    }
    let anew = format!("{} --epochs {epochs}", run.again_command());
    let hint = format!("leave it out, or `{anew}` trains another run");
    if ![LearningRateSchedule::Constant, LearningRateSchedule::Plateau]
        .contains(&config.learning_rate_schedule)
    {
        let error = refused(format!(
            "with learning_rate_schedule {} every step's learning rate depends on the number of \
             epochs, here {}, so that another is another run from its first step",
            config.learning_rate_schedule, then.epochs,
        ));
        return Err(error.hint(hint).into());
    }
    if position.rows > longer.rows_due(position.step) {
        let error = refused(format!(
            "the last row of curves.csv, at step {}, is there because the run ended, since log_every \
             {} does not divide that; a longer run would not have it",
            position.step,
            config.log_every.unwrap_or_default(),
        ));
        return Err(error.hint(hint).into());
    }
    Ok(())
}
