//! What runs of the published experiments came to, beside what was published and what an
//! independent implementation gave. Read from run directories alone.

mod markdown;
mod verdict;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;

use crate::base::error::UserError;
use crate::base::rng::Purpose;
use crate::base::shell;
use crate::base::statistics::{Distribution, Proportion};
use crate::config::presets::{self, CURVE_EVERY, Preset};
use crate::config::{Alters, CUSTOM, Config, Field};
use crate::data::epochs::Epochs;
use crate::data::task::Task;
use crate::reports::files;
use crate::reports::reference::{self, Seed};
use crate::resolve;
use crate::run::curves::CurveRow;
use crate::run::run_dir::{Place, RunDir};
use crate::run::summary::{Evaluation, ReplicaSummary, Summary};
pub use verdict::{Good, Judged, Verdict, judge};

/// Epochs that the late means are over.
pub const LATE_EPOCHS: i64 = 20;

/// The epoch after which the published loss of `partial-echo-4` jumps from 1.7 to 4.3.
pub const BREAK: i64 = 3_750;

/// Share of fresh sequences that a model has to get right as a whole to have learned its task.
pub const SOLVED: f64 = 0.99;

/// Replicas below which a result is only a quick look.
pub const ENOUGH_REPLICAS: usize = 10;

/// Every finished run in a directory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reproduction {
    /// In the order of the presets, then by name.
    pub experiments: Vec<Experiment>,
    /// Names of runs that are not finished.
    pub unfinished: Vec<String>,
    /// Names of those whose weights were imported: no training of theirs is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub imported: Vec<String>,
}

/// A finished run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Experiment {
    /// Its directory's name.
    pub name: String,
    /// The preset that it started from, or `custom`.
    pub preset: String,
    /// What trains it again.
    pub command: String,
    /// The seed of replica 0; replica k has this plus k.
    pub seed: i64,
    /// R.
    pub replicas: usize,
    /// Replicas that diverged, and have no part in what was measured.
    pub diverged: usize,
    /// Replicas that ended far worse than a model that knows nothing.
    pub worse_than_guessing: usize,
    /// Ids of a target.
    pub n_out: i64,
    /// H.
    pub units: i64,
    /// Epochs.
    pub epochs: i64,
    /// The flags that make another training of the preset's, one whose figures are not set beside the
    /// published ones; `None` if it trains what the preset trains, or started from none.
    pub changed: Option<String>,
    /// Optimiser steps of each replica.
    pub steps: i64,
    /// Wall time of the training loop.
    pub train_seconds: f64,
    /// What it ran on.
    pub machine: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// What computed the training steps.
    pub engine: String,
    /// CPU threads.
    pub threads: i64,
    /// seqlab's version and commit.
    pub seqlab: String,
    /// libtorch's version.
    pub libtorch: String,
    /// What the replicas came to.
    pub measured: Measured,
    /// What was published, beside it: of a changed experiment at the most the curve.
    pub published: Option<Figures>,
    /// What an independent implementation gave, where the run is the preset as it is.
    pub reference: Option<Comparison>,
    /// Another one, of which `scripts/reference.py` has the source, likewise.
    pub reference_again: Option<Comparison>,
}

/// What the replicas of a run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Loss of the last epoch as Keras logs it: each batch before its update.
    pub loss: Option<Distribution>,
    /// Token accuracy, likewise.
    pub accuracy: Option<Distribution>,
    /// Mean loss of the last [`LATE_EPOCHS`] epochs, or of all if there are fewer; `None` where no
    /// row of `curves.csv` ends where they begin.
    pub late_loss: Option<Distribution>,
    /// Token accuracy, likewise.
    pub late_accuracy: Option<Distribution>,
    /// Token accuracy on fresh sequences, free-running.
    pub token_accuracy: Option<Distribution>,
    /// Share of fresh sequences that are right as a whole.
    pub sequence_accuracy: Option<Distribution>,
    /// Symbol error rate, likewise; `None` where targets have no end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol_error_rate: Option<Distribution>,
    /// The fresh sequences of all replicas together.
    pub sequences: Proportion,
}

/// What was published about an experiment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Where.
    pub source: String,
    /// Loss of the last epoch.
    pub loss: Option<Judged>,
    /// Token accuracy of the last epoch.
    pub accuracy: Option<Judged>,
    /// Epochs and their losses.
    pub curve: Option<Vec<(i64, f64)>>,
    /// How far the replicas' curves are from it.
    pub curve_distance: Option<CurveDistance>,
}

/// Root of the mean square of ln(measured) − ln(published) over points of a published curve, of the
/// geometric mean of the replicas' rows that end there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CurveDistance {
    /// Over all points.
    pub whole: f64,
    /// Over those up to epoch [`BREAK`].
    pub before: f64,
    /// Over those after it, as if training had begun anew there.
    pub after: f64,
}

/// An independent implementation's seeds beside the replicas.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Mean loss of the last [`LATE_EPOCHS`] epochs.
    pub loss: Against,
    /// Token accuracy, likewise.
    pub accuracy: Against,
    /// Token accuracy on fresh sequences.
    pub token_accuracy: Against,
    /// Share of fresh sequences that are right as a whole.
    pub sequence_accuracy: Against,
}

/// One figure of an independent implementation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Against {
    /// Its distribution over seeds.
    pub distribution: Option<Distribution>,
    /// From its mean up to the measured one, in standard errors of the difference.
    pub standard_errors: Option<f64>,
}

impl Reproduction {
    /// The runs in the directories right below `path`; `curves` also sets changed experiments beside
    /// the curve that was published of their preset.
    ///
    /// # Errors
    /// If there is no finished run, or one is damaged.
    pub fn read(path: &Path, curves: bool) -> Result<Self> {
        let mut found = Self::of(Vec::new());
        for directory in directories(path)? {
            let (run, config) = RunDir::open(&directory)?;
            let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match run.read_summary(&config)? {
                None => found.unfinished.push(name),
                Some(summary) if summary.imported.is_some() => found.imported.push(name),
                Some(summary) => {
                    let rows = run.read_curves(Some(&summary))?;
                    let experiment = Experiment::new(name, &config, &summary, &rows, curves);
                    let damaged = || format!("{} is damaged", directory.display());
                    found.experiments.push(experiment.with_context(damaged)?);
                }
            }
        }
        if found.experiments.is_empty() {
            let error = UserError::usage(format!("{}: holds no finished run", path.display()));
            let hint = match (RunDir::place(path)?, found.imported.is_empty()) {
                (Place::Run, _) => {
                    "it is a run: report --html shows one, report the directory around it"
                }
                (_, true) => "give a directory of runs, as reproduce --out writes it",
                (_, false) => "report --html shows imported runs, too",
            };
            return Err(error.hint(hint).into());
        }
        let names = presets::names();
        found.experiments.sort_by_key(|experiment| {
            let preset = names.iter().position(|name| *name == experiment.preset);
            (preset.unwrap_or(names.len()), experiment.name.clone())
        });
        Ok(found)
    }

    /// Those beside which a figure was published.
    pub(in crate::reports) fn published(&self) -> Self {
        let has_figure = |experiment: &&Experiment| {
            let figures = experiment.published.as_ref();
            figures.is_some_and(|of| of.loss.is_some() || of.accuracy.is_some())
        };
        let experiments = self.experiments.iter().filter(has_figure).cloned().collect();
        Self::of(experiments)
    }

    /// These alone.
    pub(in crate::reports) fn of(experiments: Vec<Experiment>) -> Self {
        Self { experiments, unfinished: Vec::new(), imported: Vec::new() }
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
    /// None that a reproduction from [`Reproduction::read`] can have.
    pub fn json(&self) -> Result<String> {
        files::json(self)
    }
}

/// Whether a run's summary and rows are of its replicas.
fn fits(config: &Config, summary: &Summary, rows: &[CurveRow]) -> Result<()> {
    let (expected, found) = (config.replicas as usize, summary.replicas.len());
    if found != expected {
        bail!("{found} replicas in summary.json, {expected} in config.toml");
    }
    if rows.is_empty() {
        bail!("no rows in curves.csv");
    }
    match rows.iter().find(|row| row.replica >= expected) {
        None => Ok(()),
        Some(row) => {
            bail!("replica {} in curves.csv, expected 0 to {}", row.replica, expected - 1)
        }
    }
}

/// The run directories right below `path`, by name.
pub(in crate::reports) fn directories(path: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |e| UserError::usage(format!("cannot read {}: {e}", path.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let directory = entry.map_err(unreadable)?.path();
        let config = directory.join("config.toml");
        match config.symlink_metadata() {
            Ok(_) => found.push(directory),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            // What cannot be read is no reason to leave a run out, but to say so.
            Err(e) => return Err(anyhow!(e).context(format!("cannot read {}", config.display()))),
        }
    }
    found.sort();
    Ok(found)
}

impl Experiment {
    /// The run called `name`, of this configuration. A changed one is set beside its preset's published
    /// curve if `curves` asks for it.
    ///
    /// # Errors
    /// If the summary or the rows are not of its replicas.
    pub fn new(
        name: String,
        config: &Config,
        summary: &Summary,
        rows: &[CurveRow],
        curves: bool,
    ) -> Result<Self> {
        fits(config, summary, rows)?;
        let flags = resolve::flags(config)?;
        let what = if config.preset == CUSTOM { "--config config.toml" } else { &config.preset };
        let preset = presets::find(&config.preset);
        let measured = Measured::new(config, summary, rows);
        let changed = changed(config)?;
        let figures = |preset: &Preset| match changed {
            None => Figures::new(preset, &measured, rows),
            Some(_) => {
                Some(Figures::of_curve(preset, rows)).filter(|f| curves && f.curve.is_some())
            }
        };
        let compare = |seeds: Option<Vec<Seed>>| {
            let seeds = seeds.filter(|_| changed.is_none());
            seeds.map(|seeds| Comparison::new(&seeds, &measured))
        };
        let count = |which: &dyn Fn(&ReplicaSummary) -> bool| {
            summary.replicas.iter().filter(|replica| which(replica)).count()
        };
        let version = |of: &str| summary.versions.get(of).cloned().unwrap_or_default();
        Ok(Self {
            command: format!(
                "scripts/seqlab train {what}{flags} --out {}",
                shell::quoted(format!("DIR/{name}").as_ref())
            ),
            name,
            preset: config.preset.clone(),
            seed: config.seed,
            replicas: summary.replicas.len(),
            diverged: count(&|replica| replica.diverged_at_step.is_some()),
            worse_than_guessing: count(&|replica| replica.is_worse_than_guessing(config.vocab)),
            n_out: config.n_out,
            units: config.units,
            epochs: config.epochs,
            steps: summary.steps,
            train_seconds: summary.train_seconds,
            machine: summary.machine.clone(),
            device: summary.device.clone(),
            engine: summary.engine.clone(),
            threads: summary.threads,
            seqlab: format!("{} at {}", version("seqlab"), summary.git_commit),
            libtorch: version("libtorch"),
            published: preset.as_ref().and_then(figures),
            reference: compare(reference::find(&config.preset)),
            reference_again: compare(reference::again(&config.preset)),
            changed,
            measured,
        })
    }
}

/// The flags that make `config` another experiment than its preset; `None` if there are none.
fn changed(config: &Config) -> Result<Option<String>> {
    // Which samples are held out decides which are left to train on.
    let holds_out = Task::new(config).held_out(Purpose::Evaluation).is_some();
    let counts = |field: Field| {
        field.alters == Alters::Experiment || field.name == "evaluation_samples" && holds_out
    };
    let flags = resolve::flags_of(config, counts)?;
    Ok(Some(flags.trim_start().to_owned()).filter(|flags| !flags.is_empty()))
}

impl Measured {
    fn new(config: &Config, summary: &Summary, rows: &[CurveRow]) -> Self {
        let mut curves = vec![Vec::new(); summary.replicas.len()];
        rows.iter().for_each(|row| curves[row.replica].push(row));
        let all = summary.replicas.iter().zip(&curves);
        let left: Vec<(&ReplicaSummary, &Curve)> =
            all.filter(|(replica, _)| replica.diverged_at_step.is_none()).collect();
        let each = |value: fn(&ReplicaSummary) -> Option<f64>| -> Option<Vec<f64>> {
            left.iter().map(|(replica, _)| value(replica)).collect()
        };
        let first = (config.epochs - LATE_EPOCHS).max(0) * Epochs::of(config).steps_per_epoch();
        let late = |value: fn(&CurveRow) -> Option<f64>| -> Option<Vec<f64>> {
            left.iter().map(|(_, curve)| late_mean(curve, first, value)).collect()
        };
        let losses = |values: Option<Vec<f64>>| Distribution::of_losses(&values?);
        let shares = |values: Option<Vec<f64>>| Distribution::of_shares(&values?);
        let evaluations = || left.iter().filter_map(|(replica, _)| replica.evaluation.as_ref());
        let right = |evaluation: &Evaluation| {
            let share = evaluation.sequence_accuracy.unwrap_or(0.0);
            (share * evaluation.samples as f64).round() as u64
        };
        let tried: usize = evaluations().map(|evaluation| evaluation.samples).sum();
        Self {
            loss: losses(each(|replica| replica.train_loss)),
            accuracy: shares(each(|replica| replica.train_accuracy)),
            late_loss: losses(late(|row| Some(row.loss))),
            late_accuracy: shares(late(|row| row.accuracy)),
            token_accuracy: shares(each(|replica| replica.evaluation.as_ref()?.token_accuracy)),
            sequence_accuracy: shares(each(|replica| {
                replica.evaluation.as_ref()?.sequence_accuracy
            })),
            symbol_error_rate: losses(each(|replica| {
                replica.evaluation.as_ref()?.symbol_error_rate
            })),
            sequences: Proportion::new(evaluations().map(right).sum(), tried as u64),
        }
    }
}

/// The rows of one replica.
type Curve<'a> = Vec<&'a CurveRow>;

/// The mean of `value` over the samples of a replica after step `first`; `None` unless a row of its
/// curve ends there and the rows have it.
fn late_mean(curve: &Curve, first: i64, value: fn(&CurveRow) -> Option<f64>) -> Option<f64> {
    let (mut step, mut samples, mut begun) = (0, 0, false);
    let (mut sum, mut weight) = (0.0, 0.0);
    for row in curve {
        begun |= step == first;
        if begun {
            let own = (row.samples - samples) as f64;
            sum += value(row)? * own;
            weight += own;
        }
        (step, samples) = (row.step, row.samples);
    }
    (weight > 0.0).then(|| sum / weight)
}

impl Figures {
    /// `None` if nothing was published.
    fn new(preset: &Preset, measured: &Measured, rows: &[CurveRow]) -> Option<Self> {
        let judged = |published, measured: &Option<Distribution>, good| {
            Some(judge(published?, measured.as_ref()?, good))
        };
        (preset.loss.is_some() || preset.accuracy.is_some()).then(|| Self {
            loss: judged(preset.loss, &measured.loss, Good::Low),
            accuracy: judged(preset.accuracy, &measured.accuracy, Good::High),
            ..Self::of_curve(preset, rows)
        })
    }

    /// No figure, only the curve if there is one.
    fn of_curve(preset: &Preset, rows: &[CurveRow]) -> Self {
        let points = preset.curve().iter().zip(1..).map(|(&loss, n)| (n * CURVE_EVERY, loss));
        let curve: Vec<(i64, f64)> = points.collect();
        Self {
            source: preset.source.to_owned(),
            loss: None,
            accuracy: None,
            curve_distance: CurveDistance::new(&curve, rows),
            curve: (!curve.is_empty()).then_some(curve),
        }
    }
}

impl CurveDistance {
    /// `None` if nothing was published, or no row ends at one of the epochs.
    fn new(published: &[(i64, f64)], rows: &[CurveRow]) -> Option<Self> {
        let (before, after) =
            published.split_at(published.partition_point(|&(epoch, _)| epoch <= BREAK));
        let anew: Vec<_> = after.iter().map(|&(epoch, loss)| (epoch - BREAK, loss)).collect();
        Some(Self {
            whole: curve_distance(published, rows)?,
            before: curve_distance(before, rows)?,
            after: curve_distance(&anew, rows)?,
        })
    }
}

/// See [`CurveDistance`].
fn curve_distance(published: &[(i64, f64)], rows: &[CurveRow]) -> Option<f64> {
    let square = |&(epoch, loss): &(i64, f64)| {
        let here = rows.iter().filter(|row| row.epoch == epoch);
        let logs: Vec<f64> = here.map(|row| row.loss.ln()).collect();
        let mean = Distribution::of(&logs)?.mean;
        Some((mean - loss.ln()).powi(2))
    };
    let squares: Option<Vec<f64>> = published.iter().map(square).collect();
    Some(Distribution::of(&squares?)?.mean.sqrt())
}

impl Against {
    fn new(distribution: Option<Distribution>, measured: &Option<Distribution>) -> Self {
        let both = measured.as_ref().zip(distribution.as_ref());
        let standard_errors = both.and_then(|(measured, own)| measured.standard_errors_above(own));
        Self { distribution, standard_errors }
    }
}

impl Comparison {
    fn new(seeds: &[Seed], measured: &Measured) -> Self {
        let each = |value: fn(&Seed) -> f64| seeds.iter().map(value).collect::<Vec<_>>();
        let share = |value, measured| Against::new(Distribution::of_shares(&each(value)), measured);
        let loss = Distribution::of_losses(&each(|seed| seed.loss));
        Self {
            loss: Against::new(loss, &measured.late_loss),
            accuracy: share(|seed| seed.accuracy, &measured.late_accuracy),
            token_accuracy: share(|seed| seed.token_accuracy, &measured.token_accuracy),
            sequence_accuracy: share(|seed| seed.sequence_accuracy, &measured.sequence_accuracy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of one sample a step.
    fn row(replica: usize, epoch: i64, step: i64, loss: f64) -> CurveRow {
        let accuracy = Some(0.0);
        CurveRow { epoch, accuracy, ..CurveRow::of_loss(replica, step, loss) }
    }

    #[test]
    fn the_late_mean_weighs_rows_by_their_samples_and_begins_where_it_should() {
        let rows = [row(0, 1, 4, 9.0), row(1, 1, 4, 5.0), row(0, 2, 6, 1.0), row(0, 3, 12, 5.0)];
        let curve = rows.iter().filter(|row| row.replica == 0).collect();
        let mean = |first| late_mean(&curve, first, |row| Some(row.loss));
        assert_eq!(mean(4), Some((1.0 * 2.0 + 5.0 * 6.0) / 8.0));
        assert_eq!(mean(6), Some(5.0));
        assert_eq!(mean(0), Some((9.0 * 4.0 + 1.0 * 2.0 + 5.0 * 6.0) / 12.0));
        assert_eq!(mean(5), None, "no row ends there");
        assert_eq!(mean(12), None, "nothing comes after");
    }

    #[test]
    fn the_distance_of_curves_is_that_of_the_geometric_mean() {
        // Geometric means 2 and 8.
        let rows = [row(0, 1, 1, 1.0), row(1, 1, 1, 4.0), row(0, 2, 2, 8.0), row(1, 2, 2, 8.0)];
        let distance = |points: &[(i64, f64)]| curve_distance(points, &rows);
        assert!(distance(&[(1, 2.0), (2, 8.0)]).unwrap() < 1e-15);
        let e = std::f64::consts::E;
        let both = distance(&[(1, 2.0 * e), (2, 8.0 / e.powi(7))]).unwrap();
        assert!((both - 5.0).abs() < 1e-12, "{both}");
        assert_eq!(distance(&[(1, 2.0), (3, 2.0)]), None, "no row ends in epoch 3");
        assert_eq!(distance(&[]), None);
    }

    #[test]
    fn a_curve_that_breaks_off_is_compared_in_two_parts() {
        let rows = [250, 500, 3_750, 4_000, 4_250].map(|epoch| row(0, epoch, epoch, epoch as f64));
        // As measured up to the break, and from there as measured at the start.
        let published = [(500, 500.0), (3_750, 3_750.0), (4_000, 250.0), (4_250, 500.0)];
        let distance = CurveDistance::new(&published, &rows).unwrap();
        assert_eq!((distance.before, distance.after), (0.0, 0.0));
        let off = [(4_000.0f64 / 250.0).ln(), (4_250.0f64 / 500.0).ln()];
        let whole = ((off[0] * off[0] + off[1] * off[1]) / 4.0).sqrt();
        assert!((distance.whole - whole).abs() < 1e-12);
        assert_eq!(CurveDistance::new(&[], &rows), None);
    }

    #[test]
    fn what_trains_another_model_than_the_preset_is_told() {
        let flags = |preset: &str, change: fn(Config) -> Config| {
            let preset = presets::find(preset).unwrap().config;
            changed(&change(preset)).unwrap()
        };
        let more = |c| Config { replicas: 7, seed: 3, log_every: Some(5), threads: Some(1), ..c };
        assert_eq!(flags("echo", more), None);
        let units = |c| Config { units: 17, replicas: 7, ..c };
        assert_eq!(flags("echo", units).unwrap(), "--units 17");
        let evaluation = |c| Config { evaluation_samples: 100, ..c };
        assert_eq!(flags("echo", evaluation), None);
        assert_eq!(flags("addition-2", evaluation).unwrap(), "--evaluation-samples 100");
    }

    /// As many rows as are read in a fraction of a second, of as many replicas as there may be.
    #[test]
    fn rows_of_many_replicas_are_gone_through_once() {
        let replicas = 65_536;
        let config = presets::find("reverse").unwrap().config;
        let config = Config { replicas: replicas as i64, epochs: 8, ..config };
        let rows = |step| (0..replicas).map(move |k| row(k, step, step * 3125, 1.0));
        let rows: Vec<CurveRow> = (1..=8).flat_map(rows).collect();
        let replica = |seed| ReplicaSummary {
            seed,
            diverged_at_step: None,
            early_stopping: None,
            train_loss: Some(1.0),
            train_accuracy: Some(0.5),
            evaluation: None,
        };
        let summary = Summary {
            preset: config.preset.clone(),
            steps: Epochs::of(&config).steps(),
            train_seconds: 1.0,
            startup_seconds: 1.0,
            device: "cpu".to_owned(),
            engine: "fused".to_owned(),
            machine: String::new(),
            threads: 1,
            versions: std::collections::BTreeMap::new(),
            git_commit: String::new(),
            config: None,
            init_from: None,
            imported: None,
            curves: None,
            replicas: (0..replicas as u64).map(replica).collect(),
        };
        let begin = std::time::Instant::now();
        let measured = Measured::new(&config, &summary, &rows);
        assert_eq!(measured.late_loss.unwrap().n, replicas);
        assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
    }
}
