//! `summary.json`: what a run came to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::input::clipped;
use crate::config::{Config, MANY};
use crate::files::checksum::Checksum;
use crate::run::manifest::InitFrom;

/// The most samples of an evaluation: so many, rounded up to whole sequences, which are as long.
const SAMPLES: u64 = 2 * MANY as u64;

/// `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The preset that the run started from, or `custom`.
    pub preset: String,
    /// Optimiser steps of each replica.
    pub steps: i64,
    /// Wall time of the training loop alone.
    pub train_seconds: f64,
    /// Wall time from the start of the command to the first step. Loading libtorch, some .3 s, comes
    /// before it.
    pub startup_seconds: f64,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// What computed the training steps: `fused` or `libtorch`; empty in runs from before there was a choice.
    #[serde(default)]
    pub engine: String,
    /// Processor, cores and system; empty in runs from before it was noted.
    #[serde(default)]
    pub machine: String,
    /// CPU threads that most steps had.
    pub threads: i64,
    /// Of seqlab and what it is built on.
    pub versions: BTreeMap<String, String>,
    /// The commit that seqlab was built from.
    pub git_commit: String,
    /// The configuration that the run ended with; `None` in runs from before it was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
    /// Whose weights the training began with; `None` if they were drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<InitFrom>,
    /// What `curves.csv` is; `None` in runs from before it was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curves: Option<Checksum>,
    /// Each replica's result.
    pub replicas: Vec<ReplicaSummary>,
}

impl Summary {
    /// Whether no replica would have learnt in a further epoch: each has stopped early or diverged.
    pub fn stopped_early(&self) -> bool {
        let stopped = |replica: &ReplicaSummary| {
            replica.early_stopping.as_ref().is_some_and(|of| of.stopped_at_step.is_some())
        };
        let diverged = |replica: &ReplicaSummary| replica.diverged_at_step.is_some();
        self.replicas.iter().any(stopped)
            && self.replicas.iter().all(|replica| stopped(replica) || diverged(replica))
    }

    /// The summary in `bytes`.
    ///
    /// # Errors
    /// If it is no JSON, lacks something, or has numbers that no run has.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let summary: Self = serde_json::from_slice(bytes).map_err(|e| clipped(&e.to_string()))?;
        if summary.steps < 0 {
            return Err(format!("steps {}: expected a number from 0", summary.steps));
        }
        for (k, replica) in summary.replicas.iter().enumerate() {
            if let Some(step) = replica.diverged_at_step.filter(|step| *step < 1) {
                return Err(format!("replica {k}: diverged_at_step {step}: expected 1 or more"));
            }
            if let Some(Stopping { stopped_at_step, best_step, .. }) = &replica.early_stopping
                && (*best_step < 1 || stopped_at_step.is_some_and(|step| step < *best_step))
            {
                return Err(format!(
                    "replica {k}: best_step {best_step}: expected 1 or more, and no \
                                    step after it stopped"
                ));
            }
            let Some(Evaluation { samples, token_accuracy, sequence_accuracy, .. }) =
                &replica.evaluation
            else {
                continue;
            };
            if *samples as u64 > SAMPLES {
                return Err(format!("replica {k}: samples {samples}: expected at most {SAMPLES}"));
            }
            for share in [token_accuracy, sequence_accuracy].into_iter().flatten() {
                if !(0.0..=1.0).contains(share) {
                    return Err(format!("replica {k}: accuracy {share}: expected 0 to 1"));
                }
            }
        }
        Ok(summary)
    }
}

/// One replica's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaSummary {
    /// Its own seed.
    pub seed: u64,
    /// The step after which it had diverged, and ended: from then on it has no figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diverged_at_step: Option<i64>,
    /// Where it was best and where it stopped, in a run with early stopping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<Stopping>,
    /// In training: the mean over the batches of the last epoch, each scored before its update.
    #[serde(alias = "loss")]
    pub train_loss: Option<f64>,
    /// Token accuracy, likewise.
    #[serde(alias = "accuracy")]
    pub train_accuracy: Option<f64>,
    /// On fresh sequences.
    pub evaluation: Option<Evaluation>,
}

/// What early stopping came to for one replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stopping {
    /// The step after which it stopped; `None` if it learnt to the last epoch.
    pub stopped_at_step: Option<i64>,
    /// The step of its best row.
    pub best_step: i64,
    /// The metric there.
    pub best: f64,
}

/// By how many nats a token a loss has to lie above that of a model that knows nothing to be far worse.
const FAR: f64 = 1.0;

impl ReplicaSummary {
    /// Whether the replica ended far worse than a model that knows nothing, which gives each of `vocab`
    /// ids the same probability and has a loss of ln `vocab`: by its last epoch and on fresh sequences.
    /// What that is of numbers, which have a vocabulary of 0, nobody can tell.
    pub fn is_worse_than_guessing(&self, vocab: i64) -> bool {
        let far = |loss: f64| vocab > 0 && loss > (vocab as f64).ln() + FAR;
        let fresh = self.evaluation.as_ref().and_then(|evaluation| evaluation.loss);
        self.train_loss.is_some_and(far) && fresh.is_none_or(far)
    }
}

/// How one replica did on fresh sequences, free-running.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Sequences tried.
    pub samples: usize,
    /// Mean cross-entropy of the free-running probabilities, each taken as at least 1e-7, as
    /// Keras does, or the mean error of numbers; `None` in runs from before it was noted.
    #[serde(default)]
    pub loss: Option<f64>,
    /// Share of ids that are right; `None` for numbers.
    pub token_accuracy: Option<f64>,
    /// Share of sequences that are right as a whole, likewise.
    pub sequence_accuracy: Option<f64>,
}
