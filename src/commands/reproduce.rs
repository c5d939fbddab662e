//! `seqlab reproduce`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use super::report::{Report, report};
use super::resume::{Resume, resume_until};
use super::signals::Stop;
use super::train::{Train, train_until};
use crate::base::error::UserError;
use crate::config::presets::{self, Preset};
use crate::config::{Config, DeviceChoice};
use crate::data::epochs::Epochs;
use crate::files::directory::Directory;
use crate::run::progress::say;
use crate::run::run_dir::{Place, RunDir};
use crate::train::memory;
use crate::train::placement;

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
/// Another run in an experiment's place, and those of the runs and of the report.
pub fn reproduce(what: &Reproduce, out: &mut dyn Write) -> Result<ExitCode> {
    if what.quick && what.replicas.is_some() && !what.presets.is_empty() {
        let error = "--quick: expected nothing with --replicas and experiments, which it chooses";
        return Err(UserError::usage(error).into());
    }
    let quiet = what.quiet;
    let configs = what.configs();
    for config in &configs {
        config.validate().map_err(UserError::usage)?;
        memory::check(config, placement::estimated(config, what.device)?.device)?;
    }
    let missing = missing(&what.out, configs)?;
    let shown = what.out.display();
    let unusable = |e| UserError::usage(format!("--out {shown}: cannot be written: {e}"));
    Directory::create(&what.out).map_err(unusable)?;
    let stop = Stop::on_signal()?;
    let total = missing.len();
    for (n, (path, config)) in missing.into_iter().enumerate() {
        if !quiet {
            say(format!("[{}/{total}]", n + 1));
        }
        let nowhere = &mut std::io::sink();
        let finished = if RunDir::place(&path)? == Place::Free {
            let run = Train { config, initial: None, out: Some(path), force: false, quiet };
            train_until(&stop.now, run, nowhere)?
        } else {
            let run = Resume { run: path, epochs: None, device: None, quiet };
            resume_until(&stop.now, &run, nowhere)?
        };
        if !finished {
            say("hint: the same command goes on with what is not finished");
            return Ok(stop.status());
        }
    }
    let out: &mut dyn Write = if quiet { &mut std::io::sink() } else { out };
    report(&Report { runs: what.out.clone(), published_curves: false, json: false }, out)?;
    Ok(ExitCode::SUCCESS)
}

impl Reproduce {
    /// The configuration of every experiment.
    fn configs(&self) -> Vec<Config> {
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
        presets::all().into_iter().filter(asked).map(config).collect()
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

/// Those experiments with their directories that have no finished run there.
fn missing(out: &Path, configs: Vec<Config>) -> Result<Vec<(PathBuf, Config)>> {
    let mut missing = Vec::new();
    for config in configs {
        let path = out.join(&config.preset);
        if RunDir::place(&path)? == Place::Free {
            missing.push((path, config));
            continue;
        }
        let (run, found) = RunDir::open(&path)?;
        if found != config {
            let shown = path.display();
            let error =
                UserError::usage(format!("{shown}: holds a run with another configuration"));
            return Err(error
                .hint("give another --out, or the flags that it was made with")
                .into());
        }
        if run.read_summary(&config)?.is_none() {
            missing.push((path, config));
        }
    }
    Ok(missing)
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
