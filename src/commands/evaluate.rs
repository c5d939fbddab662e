//! `seqlab evaluate`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::decoding::Decoding;
use super::trained::Trained;
use crate::base::error::UserError;
use crate::base::rng::Purpose;
use crate::config::{Config, DeviceChoice};
use crate::data::task::Task;
use crate::reports::tables;
use crate::run::ensemble::Ensemble;
use crate::run::run_dir::RunDir;
use crate::run::summary::{Evaluation, ReplicaSummary};
use crate::train::checkpoint::Which;
use crate::train::decode::Search;
use crate::train::placement;

/// What to evaluate, and on what.
#[derive(Debug)]
pub struct Evaluate {
    /// The run's directory.
    pub run: PathBuf,
    /// Fresh samples of each replica; `None`: as many as after the training.
    pub samples: Option<i64>,
    /// A file to evaluate on in place of the run's own data.
    pub test: Option<PathBuf>,
    /// Which weights.
    pub which: Which,
    /// How answers are searched.
    pub decoding: Decoding,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Whether to print JSON.
    pub json: bool,
}

/// Evaluates every replica of a run on fresh sequences and prints the result to `out`. For the last
/// weights, the number of samples of the training, and without a search, it equals `summary.json`. An
/// ensemble is evaluated as one model.
///
/// # Errors
/// If the run is missing or damaged, more samples are asked for than were held out, the device
/// cannot be used, or memory is short.
pub fn evaluate(what: &Evaluate, out: &mut dyn Write) -> Result<()> {
    let &Evaluate { which, decoding, device, json, .. } = what;
    let (run, config) = RunDir::open(&what.run)?;
    let before = run.read_summary(&config)?.map(|summary| summary.replicas).unwrap_or_default();
    let task = task(&run, &config, what.test.as_deref())?;
    decoding.check(&config, &task)?;
    let all = task.held_out(Purpose::Evaluation).filter(|_| what.test.is_some());
    let asked = what.samples.unwrap_or(config.evaluation_samples) as usize;
    let samples = all.unwrap_or(asked);
    if let Some(held_out) =
        task.held_out(Purpose::Evaluation).filter(|held_out| samples > *held_out)
    {
        let error = format!("--samples {samples}: expected at most the {held_out} held out");
        let hint = "--evaluation-samples of train says how many are held out";
        return Err(UserError::usage(error).hint(hint).into());
    }
    let rows = samples.saturating_mul(decoding.width() as usize);
    let device = placement::evaluation(&config, device, rows);
    let trained = Trained::load(&run, config, None, which, device)?;
    let search = decoding.search(&trained, &task)?;
    let evaluator = trained.evaluator(&task, search);
    let mut evaluations = evaluator.run(Purpose::Evaluation, samples, |_| Ok(()))?;
    let seeds = trained.config.seeds();
    if !json {
        write!(out, "{}", heading(&trained, which, evaluator.search.as_ref()))?;
    }
    if let Some(voters) = evaluator.search.and_then(|search| search.ensemble) {
        let seeds: Vec<u64> = voters.into_iter().map(|k| seeds[k as usize]).collect();
        // It is evaluated as one replica.
        return ensemble(seeds, evaluations.swap_remove(0), json, out);
    }
    let replica = |(k, evaluation): (usize, Evaluation)| {
        let (before, diverged) = (before.get(k), trained.diverged[k]);
        // The training's figures are those of its last epoch.
        let last = before.filter(|_| which == Which::Last);
        ReplicaSummary {
            seed: seeds[k],
            diverged_at_step: before.filter(|_| diverged).and_then(|of| of.diverged_at_step),
            early_stopping: last.and_then(|replica| replica.early_stopping.clone()),
            train_loss: last.and_then(|replica| replica.train_loss),
            train_accuracy: last.and_then(|replica| replica.train_accuracy),
            evaluation: (!diverged).then_some(evaluation),
        }
    };
    let replicas: Vec<_> = evaluations.into_iter().enumerate().map(replica).collect();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&replicas)?)?;
        return Ok(());
    }
    write!(out, "{}", tables::results(&replicas, &[], trained.config.vocab))?;
    Ok(())
}

/// What `run` is evaluated on: its own data, or those of the file `test`.
fn task(run: &RunDir, config: &Config, test: Option<&Path>) -> Result<Task> {
    if test.is_some() {
        return Ok(Task::recorded(config, &|name| run.record(name), test)?);
    }
    run.check_files()?;
    Ok(Task::load(config)?)
}

/// The result of the replicas with these `seeds` together.
fn ensemble(
    seeds: Vec<u64>,
    evaluation: Evaluation,
    json: bool,
    out: &mut dyn Write,
) -> Result<()> {
    match json {
        true => write!(out, "{}", Ensemble { seeds, evaluation }.text()?)?,
        false => write!(out, "{}", tables::ensemble(&evaluation))?,
    }
    Ok(())
}

/// Lines that say which weights were evaluated, and how, where that is not as after the training.
fn heading(trained: &Trained, which: Which, search: Option<&Search>) -> String {
    let mut lines = String::new();
    if which == Which::Best {
        lines += &format!("best weights, those after step {}\n", trained.step);
    }
    let Some(Search { width, ensemble, .. }) = search else { return lines };
    lines += &format!("beam search of width {width}, whose answers have no loss\n");
    if let Some(voters) = ensemble {
        let (several, seed) = (voters.len(), trained.config.seed);
        lines += &format!("ensemble of {several} replicas, on the data of seed {seed}\n");
    }
    lines
}
