//! `seqlab reproduce --recipe`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use toml::Table;

use super::decoding::Decoding;
use super::evaluate::{Evaluate, evaluate};
use super::experiments::{self, Experiment};
use super::report::{Report, report};
use super::reproduce::REPLICAS;
use super::signals::Stop;
use crate::base::error::UserError;
use crate::base::input::{self, shown};
use crate::config::DeviceChoice;
use crate::data::task::Task;
use crate::files::directory::Directory;
use crate::reports::study::{RECIPE, recipe_in};
use crate::resolve::Recipe;
use crate::run::ensemble::Ensemble;
use crate::run::progress::say;
use crate::run::run_dir::{RunDir, write_whole};
use crate::train::checkpoint::Which;

/// Files that an error names.
const NAMED: usize = 5;

/// Which recipe to follow, on which data, and where.
pub struct Study {
    /// The recipe's file.
    pub recipe: PathBuf,
    /// The directory of its data.
    pub data: PathBuf,
    /// Names of its runs; none: all.
    pub runs: Vec<String>,
    /// R; `None`: the recipe's, or [`REPLICAS`].
    pub replicas: Option<i64>,
    /// The seed of every run's replica 0; `None`: the recipe's, or 1.
    pub seed: Option<i64>,
    /// Which device to compute on.
    pub device: DeviceChoice,
    /// The directory of all runs.
    pub out: PathBuf,
    /// Whether to print neither progress nor result.
    pub quiet: bool,
}

/// Trains every run of a recipe that is not yet there, each into a directory of its own, evaluates the
/// replicas of each together, and reports.
///
/// # Errors
/// A recipe or data that cannot be read, another run in a run's place, and those of the runs and of the
/// report.
pub fn study(what: &Study, out: &mut dyn Write) -> Result<ExitCode> {
    let &Study { device, quiet, .. } = what;
    let file = shown(&what.recipe);
    let unreadable = |e| UserError::usage(format!("--recipe {file}: cannot be read: {e}"));
    let bytes = input::read(&what.recipe, input::CONFIG).map_err(unreadable)?;
    let recipe = Recipe::parse(&file, &bytes)?;
    let runs = recipe.chosen(&what.runs)?;
    check_files(&recipe, &runs, &what.data)?;
    check_place(&what.out, &bytes)?;
    let all = what.experiments(&recipe, &runs)?;
    experiments::check(&all, device)?;
    let paths: Vec<PathBuf> = all.iter().map(|(path, _)| path.clone()).collect();
    let missing = experiments::missing(all)?;
    for (path, config) in &missing {
        // What the recipe says of the files may not be so.
        Task::load(config).with_context(|| format!("run {}", name(path)))?;
    }
    begin(&what.out, &bytes)?;
    let stop = Stop::on_signal()?;
    let is_missing = |path: &PathBuf| missing.iter().any(|(of, _)| of == path);
    for path in paths.iter().filter(|path| !is_missing(path)) {
        evaluate_together(path, device, quiet)?;
    }
    let together = |path: &Path| evaluate_together(path, device, quiet);
    if !experiments::train_each(missing, &stop, quiet, together)? {
        return Ok(stop.status());
    }
    let out: &mut dyn Write = if quiet { &mut std::io::sink() } else { out };
    report(&Report { runs: what.out.clone(), published_curves: false, json: false }, out)?;
    Ok(ExitCode::SUCCESS)
}

impl Study {
    /// The trainings of `runs`.
    fn experiments(&self, recipe: &Recipe, runs: &[&str]) -> Result<Vec<Experiment>> {
        let replicas = (!recipe.gives("replicas")).then_some(REPLICAS);
        let mut flags = Table::new();
        for (field, value) in [
            ("seed", self.seed.map(|seed| seed.to_string())),
            ("replicas", self.replicas.or(replicas).map(|replicas| replicas.to_string())),
            ("device", Some(self.device.to_string())),
        ] {
            flags.extend(value.map(|value| (field.to_owned(), value.into())));
        }
        let experiment = |run: &&str| {
            let config = recipe.config(run, &self.data, &flags);
            Ok((self.out.join(run), config.with_context(|| format!("run {run}"))?))
        };
        runs.iter().map(experiment).collect()
    }
}

/// The name of the run in `path`.
fn name(path: &Path) -> String {
    path.file_name().map(|name| shown(Path::new(name))).unwrap_or_default()
}

/// Finds out whether all files of `runs` are there, before the first is read to its end.
fn check_files(recipe: &Recipe, runs: &[&str], data: &Path) -> Result<(), UserError> {
    let files = runs.iter().flat_map(|run| recipe.files(run, data));
    let problem = |(_, path): (_, PathBuf)| {
        let error = input::open(&path, u64::MAX).err()?;
        Some(format!("{}: {error}", shown(&path)))
    };
    let mut problems: Vec<String> = files.filter_map(problem).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let more = problems.len().saturating_sub(NAMED);
    problems.truncate(NAMED);
    if more > 0 {
        problems.push(format!("and {more} others"));
    }
    let error = format!("--data {}: lacks files\n{}", shown(data), problems.join("\n"));
    Err(UserError::usage(error).hint(format!("the data are to be had: {}", recipe.data)))
}

/// Finds out whether the directory `out` holds runs of no other recipe than this.
fn check_place(out: &Path, recipe: &[u8]) -> Result<()> {
    if recipe_in(out)?.is_none_or(|(_, bytes)| bytes == recipe) {
        return Ok(());
    }
    let error = format!("--out {}: holds the runs of another recipe, its {RECIPE}", shown(out));
    Err(UserError::usage(error).hint("give another --out, or that file as --recipe").into())
}

/// Makes the directory `out` that of the recipe in `bytes`.
fn begin(out: &Path, bytes: &[u8]) -> Result<()> {
    let unusable = |e| UserError::usage(format!("--out {}: cannot be written: {e}", shown(out)));
    let directory = Directory::create(out).map_err(unusable)?;
    if recipe_in(out)?.is_none() {
        // It was parsed, so it is text.
        write_whole(&directory, &out.join(RECIPE), &String::from_utf8_lossy(bytes))?;
    }
    Ok(())
}

/// Evaluates all replicas of the finished run in `path` as one model, if there are several, and keeps
/// the result, unless it is there.
fn evaluate_together(path: &Path, device: DeviceChoice, quiet: bool) -> Result<()> {
    let (run, config) = RunDir::open_to_write(path)?;
    let summary = run.read_summary(&config)?;
    let several = summary.is_some_and(|summary| summary.answers_together());
    if !several || run.read_ensemble()?.is_some() {
        return Ok(());
    }
    if !quiet {
        say(format!("evaluating the replicas of {} together", shown(path)));
    }
    let what = Evaluate {
        run: path.to_owned(),
        samples: None,
        test: None,
        which: Which::Last,
        decoding: Decoding { ensemble: true, ..Decoding::default() },
        device,
        json: true,
    };
    let mut printed = Vec::new();
    evaluate(&what, &mut printed)?;
    let ensemble = Ensemble::parse(&printed).map_err(anyhow::Error::msg)?;
    run.write_ensemble(&ensemble)
}
