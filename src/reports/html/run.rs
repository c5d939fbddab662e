//! A run, as the page shows it.

use std::path::Path;

use anyhow::{Context, Result};

use super::attention::{self, Map};
use super::chart::{Lines, Marks};
use super::example::{self, Example};
use super::figure::{Cell, Seen};
use crate::base::input::shown;
use crate::config::Config;
use crate::reports::reproduction::Experiment;
use crate::reports::tables::thousands;
use crate::run::curves::CurveRow;
use crate::run::run_dir::RunDir;
use crate::run::summary::Summary;

/// Colours that runs have in turn; `page.css` says which.
const COLORS: usize = 16;

/// A run and what is shown of it.
#[derive(Debug)]
pub(super) struct Run {
    /// Its directory's name.
    pub name: String,
    /// Its configuration.
    pub config: Config,
    /// Whether it has come to its end.
    pub finished: bool,
    /// How far it is, and what became of its replicas.
    pub state: String,
    /// Its row of the table.
    pub cells: Vec<Option<Cell>>,
    /// Its curves in each chart.
    pub lines: Vec<Lines>,
    /// What was published, in each chart.
    pub marks: Vec<Marks>,
    /// What it is beside a published experiment, if its training is finished.
    pub experiment: Option<Experiment>,
    /// Some of its predictions.
    pub examples: Vec<Example>,
    /// What an attention looked at.
    pub maps: Vec<Map>,
}

impl Run {
    /// The run in the directory `path`; see [`super::Page::read`] for `curves`.
    ///
    /// # Errors
    /// If it is damaged.
    pub(super) fn read(path: &Path, curves: bool) -> Result<Self> {
        let (run, config) = RunDir::open(path)?;
        let summary = run.read_summary(&config)?;
        let rows = run.read_curves(summary.as_ref())?;
        let name = super::name(path);
        let experiment = |summary| Experiment::new(name.clone(), &config, summary, &rows, curves);
        let trained = summary.as_ref().filter(|summary| summary.imported.is_none());
        let experiment = trained.map(experiment).transpose();
        let experiment = experiment.with_context(|| format!("{} is damaged", shown(path)))?;
        Ok(Self {
            finished: summary.is_some(),
            state: state(summary.as_ref(), &rows),
            cells: Seen::new(summary.as_ref(), &rows, config.replicas as usize).cells(),
            lines: Lines::of_all(&rows),
            marks: Marks::of_all(experiment.as_ref(), &rows),
            examples: example::read(&run, &config)?,
            maps: attention::read(&run)?,
            name,
            config,
            experiment,
        })
    }

    /// The preset that it started from.
    pub(super) fn preset(&self) -> &str {
        &self.config.preset
    }

    /// The number of its colour, of the run with this `index`.
    pub(super) fn color(index: &usize) -> usize {
        index % COLORS
    }
}

/// How far a run is, with what there is to know of its replicas.
fn state(summary: Option<&Summary>, rows: &[CurveRow]) -> String {
    let Some(summary) = summary else {
        let step = rows.last().map_or(0, |row| row.step);
        return format!("in progress, step {}", thousands(step));
    };
    if let Some(imported) = &summary.imported {
        return format!("imported from {}", imported.file);
    }
    let mut state = format!("{} steps", thousands(summary.steps));
    let diverged = summary.replicas.iter().filter(|of| of.diverged_at_step.is_some()).count();
    if diverged > 0 {
        state += &format!(", {diverged} diverged");
    }
    let stopped = |of: &&crate::run::summary::ReplicaSummary| {
        of.early_stopping.as_ref().is_some_and(|of| of.stopped_at_step.is_some())
    };
    let stopped = summary.replicas.iter().filter(stopped).count();
    if stopped > 0 {
        state += &format!(", {stopped} stopped early");
    }
    state
}
