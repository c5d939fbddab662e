//! What the runs of a recipe came to on their test files, beside what others published. Read from a
//! directory with the recipe and the runs alone.

mod figures;
mod markdown;

use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

use crate::base::error::UserError;
use crate::base::input::{self, if_there};
use crate::config::Config;
use crate::reports::files;
use crate::resolve::{Beside, Published, Recipe};
use crate::run::ensemble::Ensemble;
use crate::run::run_dir::{Place, RunDir};
use crate::run::summary::{ReplicaSummary, Summary};
pub use figures::{Figures, Judged, Rates, Standing, Together, Verdict};

/// The recipe's file in the directory of a study.
pub const RECIPE: &str = "recipe.toml";

/// The finished runs of a recipe.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Study {
    /// What it is called.
    pub title: String,
    /// Where the data are had.
    pub data: String,
    /// What a reader of the figures has to know; may be empty.
    pub notes: String,
    /// What was published, in the order of the figures beside each run.
    pub columns: Vec<Column>,
    /// The finished runs, in the order of the recipe.
    pub runs: Vec<Run>,
    /// Their mean, with equal weights.
    pub average: Average,
    /// Names of runs that were begun and are not finished.
    pub unfinished: Vec<String>,
    /// Names of runs that are not begun.
    pub missing: Vec<String>,
    /// Names of finished runs of several replicas without `ensemble.json`.
    pub without_ensemble: Vec<String>,
}

/// A column of published figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Column {
    /// What it is called.
    pub name: String,
    /// Who published them, and where.
    pub source: String,
    /// What is judged by them.
    pub beside: Beside,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its name in the recipe.
    pub name: String,
    /// What trains it.
    pub command: String,
    /// The seed of replica 0; replica k has this plus k.
    pub seed: i64,
    /// R.
    pub replicas: usize,
    /// Replicas that diverged, and have no part in the figures.
    pub diverged: usize,
    /// Test samples.
    pub samples: usize,
    /// Optimiser steps of each replica.
    pub steps: i64,
    /// Seconds in the training loop, validation included, all replicas together.
    pub train_seconds: f64,
    /// CPU threads that most steps had.
    pub threads: i64,
    /// What it ran on.
    pub machine: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// What computed the training steps.
    pub engine: String,
    /// seqlab's version and commit.
    pub seqlab: String,
    /// libtorch's version.
    pub libtorch: String,
    /// Each replica's error rates; `None` if it diverged.
    pub each: Vec<Option<Rates>>,
    /// What they come to.
    pub figures: Figures,
}

/// The mean of runs, with equal weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Average {
    /// Of how many runs.
    pub runs: usize,
    /// Whether these are all of the recipe's. Only then do the published means stand beside it; otherwise
    /// those of the published figures of the same runs.
    pub complete: bool,
    /// What they come to.
    pub figures: Figures,
}

/// What a directory has of a run of the recipe.
#[derive(Debug)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub config: Config,
    /// What it came to, if it is finished.
    pub summary: Option<Summary>,
    /// What its replicas come to together, if that was evaluated.
    pub ensemble: Option<Ensemble>,
}

/// The recipe in the directory `path`, and its bytes; `None` if there is none.
///
/// # Errors
/// If it cannot be read.
pub fn recipe_in(path: &Path) -> Result<Option<(Recipe, Vec<u8>)>> {
    let file = path.join(RECIPE);
    let shown = file.display().to_string();
    let unreadable = |e| UserError::usage(format!("cannot read {shown}: {e}"));
    let bytes = if_there(input::read(&file, input::CONFIG)).map_err(unreadable)?;
    bytes.map(|bytes| Ok((Recipe::parse(&shown, &bytes)?, bytes))).transpose()
}

impl Study {
    /// The runs of `recipe` in the directory `path`.
    ///
    /// # Errors
    /// If none is finished, or one is damaged or of something else than the recipe.
    pub fn read(path: &Path, recipe: &Recipe) -> Result<Self> {
        let mut found = Vec::new();
        for name in &recipe.runs {
            let place = path.join(name);
            if RunDir::place(&place)? == Place::Free {
                continue;
            }
            let (run, config) = RunDir::open(&place)?;
            let (summary, ensemble) = (run.read_training(&config)?, run.read_ensemble()?);
            found.push(Found { name: name.clone(), config, summary, ensemble });
        }
        if found.iter().all(|run| run.summary.is_none()) {
            let error = UserError::usage(format!("{}: holds no finished run", path.display()));
            let hint = "reproduce --recipe with it as --out trains those of its recipe";
            return Err(error.hint(hint).into());
        }
        let of_another = |e| UserError::usage(format!("{}: {e:#}", path.display()));
        Ok(Self::new(recipe, found).map_err(of_another)?)
    }

    /// The report of these runs of `recipe`.
    ///
    /// # Errors
    /// If one is damaged or of something else than the recipe.
    pub fn new(recipe: &Recipe, found: Vec<Found>) -> Result<Self> {
        let missing = recipe.runs.iter().filter(|run| found.iter().all(|of| of.name != **run));
        let missing = missing.cloned().collect();
        let (mut runs, mut unfinished, mut without_ensemble) = (vec![], vec![], vec![]);
        for of in found {
            if let Err(e) = recipe.check(&of.name, &of.config) {
                bail!("{}: {e:#}", of.name);
            }
            let Some(summary) = &of.summary else {
                unfinished.push(of.name);
                continue;
            };
            if of.ensemble.is_none() && summary.answers_together() {
                without_ensemble.push(of.name.clone());
            }
            match Run::new(recipe, &of.name, &of.config, summary, of.ensemble.as_ref()) {
                Ok(run) => runs.push(run),
                Err(e) => bail!("{} is damaged: {e}", of.name),
            }
        }
        let column = |of: &Published| Column {
            name: of.name.clone(),
            source: of.source.clone(),
            beside: of.beside,
        };
        Ok(Self {
            title: recipe.title.clone(),
            data: recipe.data.clone(),
            notes: recipe.notes.clone(),
            columns: recipe.published.iter().map(column).collect(),
            average: Average::of(&runs, recipe),
            runs,
            unfinished,
            missing,
            without_ensemble,
        })
    }

    /// Writes `report.json` and `report.md` into the directory `path`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write(path, &self.json()?, &self.markdown())
    }

    /// The text of `report.json`.
    ///
    /// # Errors
    /// None that a study from [`Study::read`] can have.
    pub fn json(&self) -> Result<String> {
        files::json(self)
    }
}

impl Run {
    fn new(
        recipe: &Recipe,
        name: &str,
        config: &Config,
        summary: &Summary,
        ensemble: Option<&Ensemble>,
    ) -> Result<Self, String> {
        let (expected, replicas) = (config.replicas as usize, summary.replicas.len());
        if replicas != expected {
            return Err(format!("{replicas} replicas in summary.json, {expected} in config.toml"));
        }
        let evaluations = summary.replicas.iter().filter_map(|replica| replica.evaluation.as_ref());
        let samples = evaluations.map(|evaluation| evaluation.samples).next().unwrap_or(0);
        if let Some(ensemble) = ensemble {
            let own = config.seeds();
            let is_own = ensemble.seeds.iter().all(|seed| own.contains(seed));
            if !is_own || ensemble.evaluation.samples != samples {
                return Err("ensemble.json is of another run".to_owned());
            }
        }
        let rates = |of: &ReplicaSummary| Rates::of(of.evaluation.as_ref()?);
        let each: Vec<Option<Rates>> = summary.replicas.iter().map(rates).collect();
        let together = ensemble.and_then(Together::of);
        let published =
            |column: &Published| [&column.wer, &column.per].map(|rates| rates.get(name).copied());
        let figures = Figures::new(&each, together, &recipe.published, published);
        let version = |of: &str| summary.versions.get(of).cloned().unwrap_or_default();
        Ok(Self {
            command: recipe.command(name, config),
            name: name.to_owned(),
            seed: config.seed,
            replicas,
            diverged: summary.replicas.iter().filter(|of| of.diverged_at_step.is_some()).count(),
            samples,
            steps: summary.steps,
            train_seconds: summary.train_seconds,
            threads: summary.threads,
            machine: summary.machine.clone(),
            device: summary.device.clone(),
            engine: summary.engine.clone(),
            seqlab: format!("{} at {}", version("seqlab"), summary.git_commit),
            libtorch: version("libtorch"),
            each,
            figures,
        })
    }
}

impl Average {
    /// That of `runs`, which are all of `recipe`'s or some of them.
    fn of(runs: &[Run], recipe: &Recipe) -> Self {
        let complete = runs.len() == recipe.runs.len();
        let seeds = runs.iter().map(|run| run.each.len()).min().unwrap_or(0);
        let of_seed = |k: usize| {
            let rates: Option<Vec<Rates>> = runs.iter().map(|run| run.each[k]).collect();
            Rates::mean(&rates?)
        };
        let each: Vec<Option<Rates>> = (0..seeds).map(of_seed).collect();
        let together: Option<Vec<&Together>> =
            runs.iter().map(|run| run.figures.ensemble.as_ref()).collect();
        let together = together.and_then(|all| Together::mean(&all));
        let published = |column: &Published| {
            let of_all = [column.macro_wer, column.macro_per];
            let of_runs = [&column.wer, &column.per].map(|rates| {
                let here: Option<Vec<f64>> =
                    runs.iter().map(|run| rates.get(&run.name).copied()).collect();
                figures::mean(&here?)
            });
            let known = |i: usize| of_all[i].filter(|_| complete).or(of_runs[i]);
            [known(0), known(1)]
        };
        let figures = Figures::new(&each, together, &recipe.published, published);
        Self { runs: runs.len(), complete, figures }
    }
}
