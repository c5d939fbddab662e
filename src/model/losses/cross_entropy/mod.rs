//! Categorical cross-entropy of a softmax, with token accuracy.

pub mod fused;
pub mod torch;

use super::Metric;

/// What it scores beside the loss.
pub const METRICS: [Metric; 1] = [Metric::Accuracy];

/// The least probability that an answer is taken to have been given, as in Keras.
pub const LEAST: f64 = 1e-7;
