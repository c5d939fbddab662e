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
    /// Which file the weights were imported from, in place of a training; `None` if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
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

    /// Whether there are several replicas, and one of them has not diverged: they can answer as one model.
    pub fn answers_together(&self) -> bool {
        let diverged = |replica: &ReplicaSummary| replica.diverged_at_step.is_some();
        self.replicas.len() > 1 && !self.replicas.iter().all(diverged)
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
            if let Some(evaluation) = &replica.evaluation {
                evaluation.check().map_err(|error| format!("replica {k}: {error}"))?;
            }
        }
        Ok(summary)
    }
}

/// Weights of a run that another program trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    /// Their file, as it was given.
    pub file: String,
    /// Whose names and layouts they had in it: `pytorch` or `keras`.
    pub format: String,
    /// What the file was.
    pub checksum: Checksum,
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// Insertions, deletions and substitutions that make the answers into the targets, over the ids of
    /// the targets, both without their ends and summed over all sequences; `None` where targets have no
    /// end, and in runs from before it was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol_error_rate: Option<f64>,
    /// Of text, the answer that was given most often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_frequent_prediction: Option<Frequent>,
    /// Share of sequences that would be right as a whole if every answer were the most frequent target
    /// of the training part; `None` where nobody knows that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_frequent_target_accuracy: Option<f64>,
    /// How far forecasts of a series are from what came, in the file's units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastErrors>,
    /// How often naive forecasts of a series of tokens are right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub naive: Option<NaiveAccuracies>,
}

/// How often naive forecasts are right, which say the same token at every step of a target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NaiveAccuracies {
    /// The most frequent token of the training part.
    pub most_frequent: Accuracies,
    /// The last token before the target.
    pub last: Accuracies,
}

/// How often answers are right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracies {
    /// Share of ids.
    pub token_accuracy: f64,
    /// Share of sequences as a whole.
    pub sequence_accuracy: f64,
}

/// How far forecasts are from what came, over all steps and columns, beside the naive forecast: that
/// everything stays as it was last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForecastErrors {
    /// Mean absolute error.
    pub mae: f64,
    /// Root of the mean squared error.
    pub rmse: f64,
    /// The naive forecast's mean absolute error.
    pub naive_mae: f64,
    /// The naive forecast's root of the mean squared error.
    pub naive_rmse: f64,
    /// The same of each target column, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<ColumnErrors>,
}

/// [`ForecastErrors`] of one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnErrors {
    /// Its name.
    pub column: String,
    /// Mean absolute error.
    pub mae: f64,
    /// Root of the mean squared error.
    pub rmse: f64,
    /// The naive forecast's mean absolute error.
    pub naive_mae: f64,
    /// The naive forecast's root of the mean squared error.
    pub naive_rmse: f64,
}

/// The answer that was given most often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frequent {
    /// The answer, or its beginning.
    pub text: String,
    /// In which share of the sequences.
    pub share: f64,
    /// In which share of the sequences the most frequent target was expected.
    pub target_share: f64,
}

/// The fewest sequences, the least share of them with the same answer, and how many times the share of
/// the most frequent target that has to be, for a model to count as one that answers all alike.
const ALIKE: (usize, f64, f64) = (20, 0.9, 2.0);

impl Evaluation {
    /// The answer that almost all sources were given though their targets differ, if there is one.
    pub fn answers_alike(&self) -> Option<&Frequent> {
        let (samples, least, times) = ALIKE;
        let alike = |of: &&Frequent| of.share >= least && of.share > times * of.target_share;
        self.most_frequent_prediction.as_ref().filter(|_| self.samples >= samples).filter(alike)
    }

    /// Checks that its numbers are some that an evaluation can come to.
    pub(super) fn check(&self) -> Result<(), String> {
        let samples = self.samples;
        if samples as u64 > SAMPLES {
            return Err(format!("samples {samples}: expected at most {SAMPLES}"));
        }
        let frequent = self.most_frequent_prediction.as_ref();
        let shares = [
            ("accuracy", self.token_accuracy),
            ("accuracy", self.sequence_accuracy),
            ("accuracy", self.most_frequent_target_accuracy),
            ("share", frequent.map(|of| of.share)),
            ("target_share", frequent.map(|of| of.target_share)),
        ];
        let naive = self.naive.iter().flat_map(|of| [&of.most_frequent, &of.last]);
        let naive = naive.flat_map(|of| [of.token_accuracy, of.sequence_accuracy]);
        let shares = shares.into_iter().chain(naive.map(|share| ("naive accuracy", Some(share))));
        for (name, share) in shares {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return Err(format!("{name} {share}: expected 0 to 1"));
            }
        }
        if let Some(ForecastErrors { mae, rmse, naive_mae, naive_rmse, .. }) = &self.forecast {
            let errors = [mae, rmse, naive_mae, naive_rmse];
            if let Some(error) = errors.into_iter().find(|error| **error < 0.0) {
                return Err(format!("forecast {error}: expected 0 or more"));
            }
        }
        match self.symbol_error_rate.filter(|rate| *rate < 0.0) {
            Some(rate) => Err(format!("symbol_error_rate {rate}: expected 0 or more")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(samples: usize, share: f64, target_share: f64) -> Evaluation {
        let frequent = Frequent { text: "a b".to_owned(), share, target_share };
        let most_frequent_prediction = Some(frequent);
        Evaluation { samples, most_frequent_prediction, ..Evaluation::default() }
    }

    #[test]
    fn a_model_answers_alike_what_is_not_alike() {
        let alike = |of: Evaluation| of.answers_alike().map(|frequent| frequent.text.clone());
        assert_eq!(alike(answers(20, 0.9, 0.4)).as_deref(), Some("a b"));
        for other in [answers(19, 1.0, 0.1), answers(20, 0.89, 0.1), answers(20, 1.0, 0.5)] {
            assert_eq!(alike(other), None);
        }
        assert_eq!(alike(Evaluation { samples: 20, ..Evaluation::default() }), None);
    }

    #[test]
    fn figures_that_no_evaluation_has_are_refused() {
        assert_eq!(answers(1, 1.0, 0.0).check(), Ok(()));
        let rate = |rate| Evaluation { symbol_error_rate: Some(rate), ..Evaluation::default() };
        assert_eq!(rate(3.5).check(), Ok(()));
        let accuracy =
            Evaluation { most_frequent_target_accuracy: Some(7.0), ..Evaluation::default() };
        let shares = |token_accuracy| Accuracies { token_accuracy, sequence_accuracy: 0.0 };
        let naive = NaiveAccuracies { most_frequent: shares(0.5), last: shares(1.5) };
        let naive = Evaluation { naive: Some(naive), ..Evaluation::default() };
        for (of, says) in [
            (naive, "naive accuracy 1.5: expected 0 to 1"),
            (rate(-0.5), "symbol_error_rate -0.5: expected 0 or more"),
            (accuracy, "accuracy 7: expected 0 to 1"),
            (answers(1, 1.5, 0.0), "share 1.5: expected 0 to 1"),
            (answers(1, 1.0, -1.0), "target_share -1: expected 0 to 1"),
        ] {
            assert_eq!(of.check().unwrap_err(), says);
        }
    }

    #[test]
    fn what_an_evaluation_has_not_is_not_written() {
        let text = serde_json::to_string(&Evaluation::default()).unwrap();
        let written = r#"{"samples":0,"loss":null,"token_accuracy":null,"sequence_accuracy":null}"#;
        assert_eq!(text, written);
        assert_eq!(serde_json::from_str::<Evaluation>(written).unwrap(), Evaluation::default());
        let whole = Evaluation { symbol_error_rate: Some(0.1), ..answers(3, 0.5, 0.25) };
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Evaluation>(&text).unwrap(), whole);
    }
}
