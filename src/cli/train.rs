//! The flags of `seqlab train`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args};

use super::fields::Fields;
use super::values::which;
use crate::commands;
use crate::config::{Config, presets};
use crate::resolve::{self, Given};
use crate::run::progress::say;
use crate::run::run_dir;

#[derive(Debug, Args)]
#[command(group(
    ArgGroup::new("what").required(true).multiple(true).args(["preset", "config", "train", "series"])
))]
pub(super) struct TrainArgs {
    /// Published experiment, as it is or with any field changed
    #[arg(conflicts_with = "config", value_parser = PossibleValuesParser::new(presets::names()))]
    preset: Option<String>,
    /// TOML file with the configuration, such as a run's config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run whose trained weights it begins with, instead of drawn ones; of one replica for all
    #[arg(long, value_name = "RUN")]
    init_from: Option<PathBuf>,
    /// Its weights where val_loss was lowest, not the last; of a run with --validate-every
    #[arg(long, requires = "init_from")]
    init_best: bool,
    /// Run directory to write [default: a new one under runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a run that is in the directory
    #[arg(long, requires = "out")]
    force: bool,
    /// Write the curves for TensorBoard, too, as they come: tensorboard --logdir DIR/tensorboard
    #[arg(long)]
    tensorboard: bool,
    /// Check everything and print the whole configuration, but neither train nor write
    #[arg(long, conflicts_with = "quiet")]
    dry_run: bool,
    /// Print neither progress nor result
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    fields: Fields,
}

impl TrainArgs {
    /// Does it; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<ExitCode> {
        let config = of_training(self.given()?, self.quiet)?;
        let Self { init_from, init_best, out: path, force, dry_run, tensorboard, quiet, .. } = self;
        let which = which(init_best);
        let initial = init_from.map(|run| commands::Initial { run, which });
        let what =
            commands::Train { config, initial, out: path, force, dry_run, tensorboard, quiet };
        commands::train(what, out)
    }

    fn given(&self) -> Result<Given> {
        let from = match (&self.preset, &self.config) {
            (Some(name), _) => Given::preset(name),
            (None, Some(path)) => run_dir::read_given(path)?,
            (None, None) => Given::default(),
        };
        from.with_flags(&self.fields.0)
    }
}

/// The configuration of a training that begins, or that `data` shows, of what is `given`. What its files
/// may be instead is said, unless it is to be `quiet`.
///
/// # Errors
/// Those of [`resolve::resolve_for_training`].
pub(super) fn of_training(given: Given, quiet: bool) -> Result<Config> {
    let note = resolve::note(&given).filter(|_| !quiet);
    let config = resolve::resolve_for_training(given)?;
    note.into_iter().flatten().for_each(say);
    Ok(config)
}
