//! `seqlab train`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;

use super::initial::Initial;
use super::session::{Session, draw_weights, new_trainer};
use super::signals::Stop;
use crate::config::Config;
use crate::files::checksum::Checksum;
use crate::run::progress::say;
use crate::run::run_dir::RunDir;
use crate::tensor::device::{self, Chosen};
use crate::train::checkpoint::save;
use crate::train::placement;
use crate::train::trainer::Trainer;

/// What to train and where to leave it.
pub struct Train {
    /// A validated configuration.
    pub config: Config,
    /// The run whose weights it begins with; `None`: they are drawn.
    pub initial: Option<Initial>,
    /// The run's directory; `None`: a free one under `runs`.
    pub out: Option<PathBuf>,
    /// Whether to replace a run that is there.
    pub force: bool,
    /// Whether to check everything, print the configuration, and neither train nor write.
    pub dry_run: bool,
    /// Whether to write the curves for TensorBoard, too, as rows come.
    pub tensorboard: bool,
    /// Whether to print neither progress nor result.
    pub quiet: bool,
}

/// Trains, evaluates and writes a run directory. Prints the result to `out`.
///
/// # Errors
/// Those of the run: device, directory, divergence, I/O, memory.
pub fn train(what: Train, out: &mut dyn Write) -> Result<ExitCode> {
    let stop = Stop::on_signal()?;
    let done = train_until(&stop.now, what, out)?;
    Ok(if done { ExitCode::SUCCESS } else { stop.status() })
}

/// The same, but ends when `stop` is set. Returns whether it came to the end by itself.
///
/// # Errors
/// As [`train`].
pub(super) fn train_until(stop: &AtomicBool, what: Train, out: &mut dyn Write) -> Result<bool> {
    let begin = Instant::now();
    let Train { config, initial, force, tensorboard, quiet, .. } = what;
    if let Some(path) = &what.out {
        RunDir::check(path, force)?;
    }
    let device = placement::measured(&config, config.device)?;
    // The models first: no run is replaced by one whose models do not fit into memory.
    let mut trainer = new_trainer(&config, &device)?;
    match &initial {
        Some(initial) => initial.load(&mut trainer)?,
        None if what.dry_run => {}
        None if !draw_weights(&mut trainer, stop, quiet)? => return Ok(false),
        None => {}
    }
    if what.dry_run {
        return dry_run(&trainer, &device, out).map(|()| true);
    }
    let path = what.out.map_or_else(|| RunDir::claim(&name(&config)), Ok)?;
    let (run, curves) = RunDir::create(&path, &config, force, |run| {
        run.write_record(trainer.task())?;
        if tensorboard {
            run.begin_events()?;
        }
        match initial {
            // Nobody could draw them again.
            Some(_) => save(run.disk(), &run.checkpoint_path(), &mut trainer, Checksum::of(b"")),
            None => Ok(()),
        }
    })?;
    Session { begin, run, trainer, curves, device, quiet }.go_on("training", stop, out)
}

/// Tells what would be trained, and prints its configuration.
fn dry_run(trainer: &Trainer, device: &Chosen, out: &mut dyn Write) -> Result<()> {
    trainer.task().about().into_iter().for_each(say);
    let (config, steps) = (trainer.config(), trainer.epochs().steps());
    let (name, engine) = (device::name(device.device), trainer.chosen);
    let note = device.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
    let preset = &config.preset;
    say(format!(
        "{preset} can train for {steps} steps on {name}{note}, engine: {engine}; nothing was written"
    ));
    write!(out, "{}", toml::to_string(config)?)?;
    Ok(())
}

/// What a run is called where nobody says: as the file that it is trained on, or its preset.
fn name(config: &Config) -> String {
    let file = config.train.as_ref().or(config.series.as_ref());
    let stem = file.and_then(|file| Path::new(file).file_stem());
    stem.map_or_else(|| config.preset.clone(), |stem| stem.to_string_lossy().into_owned())
}
