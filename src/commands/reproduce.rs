//! `seqlab reproduce`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use super::experiments::{self, Experiment};
use super::report::{Report, report};
use super::signals::Stop;
use crate::base::error::UserError;
use crate::base::input::quoted;
use crate::base::spelling::nearest;
use crate::config::presets::{self, Preset};
use crate::config::{Config, DeviceChoice, alternatives};
use crate::data::epochs::Epochs;
use crate::files::directory::Directory;
use crate::reports::study;

/// Replicas of an experiment, also those of a quick look.
pub const REPLICAS: i64 = 10;
const QUICK_REPLICAS: i64 = 2;

/// Experiments that a quick look leaves out: each would take as long as all others.
const SLOW: [&str; 3] = ["partial-echo-4-tuned", "reverse-400-40", "addition-3"];

/// Rows of `curves.csv` that a replica's curve is made of, at most: what a plot can show.
const ROWS: i64 = 500;

/// What to reproduce and where.
pub struct Reproduce {
    /// Names of presets; none: all.
    pub presets: Vec<String>,
    /// R; `None`: [`REPLICAS`], or fewer in a quick look.
    pub replicas: Option<i64>,
    /// The seed of every experiment's replica 0.
    pub seed: i64,
    /// Whether a quick look is enough.
    pub quick: bool,
    /// Which device to compute on.
    pub device: DeviceChoice,
    /// The directory of all runs.
    pub out: PathBuf,
    /// Whether to print neither progress nor result.
    pub quiet: bool,
}

/// Trains every experiment that is not yet there, each into a directory of its own, and reports.
///
/// # Errors
/// A name that is no preset's, another run in an experiment's place, and those of the runs and of the
/// report.
pub fn reproduce(what: &Reproduce, out: &mut dyn Write) -> Result<ExitCode> {
    if what.quick && what.replicas.is_some() && !what.presets.is_empty() {
        let error = "--quick: expected nothing with --replicas and experiments, which it chooses";
        return Err(UserError::usage(error).into());
    }
    let quiet = what.quiet;
    let all = what.experiments()?;
    experiments::check(&all, what.device)?;
    let missing = experiments::missing(all)?;
    let shown = what.out.display();
    let unusable = |e| UserError::usage(format!("--out {shown}: cannot be written: {e}"));
    Directory::create(&what.out).map_err(unusable)?;
    if study::recipe_in(&what.out)?.is_some() {
        let error = UserError::usage(format!("--out {shown}: holds the runs of a recipe"));
        return Err(error.hint("give another --out, or its recipe.toml as --recipe").into());
    }
    let stop = Stop::on_signal()?;
    if !experiments::train_each(missing, &stop, quiet, |_| Ok(()))? {
        return Ok(stop.status());
    }
    let out: &mut dyn Write = if quiet { &mut std::io::sink() } else { out };
    report(&Report { runs: what.out.clone(), published_curves: false, json: false }, out)?;
    Ok(ExitCode::SUCCESS)
}

impl Reproduce {
    /// Every experiment, each in the directory of its preset's name.
    fn experiments(&self) -> Result<Vec<Experiment>, UserError> {
        let known = presets::names();
        if let Some(name) = self.presets.iter().find(|name| !known.contains(&name.as_str())) {
            let expected = alternatives(&known);
            let error = format!("preset {}: expected {expected}", quoted(name));
            let error = UserError::usage(error);
            return Err(match nearest(name, known) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error,
            });
        }
        let asked = |preset: &Preset| match self.presets.is_empty() {
            true => !(self.quick && SLOW.contains(&preset.name)),
            false => self.presets.iter().any(|name| name == preset.name),
        };
        let most = if self.quick { QUICK_REPLICAS } else { REPLICAS };
        let config = |preset: Preset| Config {
            seed: self.seed,
            replicas: self.replicas.unwrap_or(most),
            log_every: log_every(&preset.config),
            device: self.device,
            ..preset.config
        };
        let asked = presets::all().into_iter().filter(asked);
        Ok(asked.map(|preset| (self.out.join(preset.name), config(preset))).collect())
    }
}

/// Rows as the preset has them, or so many epochs apart that there are few enough.
fn log_every(config: &Config) -> Option<i64> {
    let apart = [1, 2, 5, 10, 20, 50].into_iter().find(|apart| config.epochs <= ROWS * apart);
    match apart.unwrap_or(100) {
        1 => config.log_every,
        epochs => Some(epochs * Epochs::of(config).steps_per_epoch()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_have_few_rows_and_one_where_the_last_20_epochs_begin() {
        for preset in presets::all() {
            let Config { epochs, .. } = preset.config;
            let steps = Epochs::of(&preset.config).steps_per_epoch();
            let every = log_every(&preset.config).unwrap_or(steps);
            assert!(epochs * steps / every <= ROWS, "{}", preset.name);
            assert!(epochs <= 20 || 20 * steps % every == 0, "{}", preset.name);
        }
    }
}
