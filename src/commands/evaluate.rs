//! `seqlab evaluate`.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use super::trained::Trained;
use crate::config::DeviceChoice;
use crate::placement;
use crate::report;
use crate::rng::Purpose;
use crate::run_dir::RunDir;
use crate::summary::{Evaluation, ReplicaSummary};
use crate::task::Task;

/// Evaluates every replica of the run at `path` on fresh sequences and prints the result to `out`.
/// With the run's own number of samples this is the evaluation of `summary.json` again.
///
/// # Errors
/// A missing or damaged run, and libtorch's.
pub fn evaluate(
    path: &Path,
    samples: Option<i64>,
    device: DeviceChoice,
    json: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let (run, config) = RunDir::open(path)?;
    let samples = samples.unwrap_or(config.evaluation_samples) as usize;
    let before = run.read_summary()?.map(|summary| summary.replicas).unwrap_or_default();
    let device = placement::evaluation(&config, device, samples);
    let trained = Trained::load(&run, config, None, device)?;
    let task = Task::new(&trained.config);
    let evaluations = trained.evaluator(&task).run(Purpose::Evaluation, samples, |_| Ok(()))?;
    let seeds = trained.config.seeds();
    let replica = |(k, evaluation): (usize, Evaluation)| {
        let before = before.get(k);
        ReplicaSummary {
            seed: seeds[k],
            diverged_at_step: before.and_then(|replica| replica.diverged_at_step),
            train_loss: before.and_then(|replica| replica.train_loss),
            train_accuracy: before.and_then(|replica| replica.train_accuracy),
            evaluation: (!trained.diverged[k]).then_some(evaluation),
        }
    };
    let replicas: Vec<_> = evaluations.into_iter().enumerate().map(replica).collect();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&replicas)?)?;
    } else {
        write!(out, "{}", report::results(&replicas))?;
    }
    Ok(())
}
