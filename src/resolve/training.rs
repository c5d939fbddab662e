//! A training for data of which nobody says how they are to be trained on.

use toml::Value;

use super::given::Given;

/// What a training goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Training {
    /// Samples in an epoch.
    pub samples: i64,
    /// Optimiser steps of it, as far as whole epochs allow.
    pub steps: i64,
    /// The column of curves.csv by which it ends early, and whose best row the model is of.
    pub metric: &'static str,
    /// Whether that gains by falling or by rising: min or max.
    pub mode: &'static str,
}

impl Training {
    /// The fields of a training with the batch size that is given, or one for so many samples.
    pub(super) fn fields(self, given: &Given) -> [(&'static str, Value); 10] {
        let Self { samples, steps, metric, mode } = self;
        let batch_size = batch_size(given, samples);
        let steps_per_epoch = (samples / batch_size.max(1)).max(1);
        let epochs = (steps / steps_per_epoch).clamp(5, 200);
        [
            ("batch_size", batch_size.into()),
            ("epochs", epochs.into()),
            ("learning_rate", 2e-3.into()),
            ("learning_rate_schedule", "cosine".into()),
            ("global_clipnorm", 1.0.into()),
            ("validate_every", 1.into()),
            ("early_stopping", metric.into()),
            ("early_stopping_mode", mode.into()),
            ("early_stopping_patience", (epochs / 4).max(3).into()),
            ("restore_best_weights", true.into()),
        ]
    }
}

/// The batch size that is given, or one for so many samples.
fn batch_size(given: &Given, samples: i64) -> i64 {
    let found = given.fields.get("batch_size").and_then(Value::as_integer);
    found.unwrap_or(match samples {
        ..50_000 => 32,
        50_000..500_000 => 64,
        _ => 128,
    })
}
