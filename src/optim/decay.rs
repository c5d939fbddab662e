//! Weight decay.

use crate::config::{Config, OptimizerKind};
use crate::kernels::float::{Real, widest};

/// AdamW's in Keras.
const OF_ADAMW: f64 = 0.004;

/// The weight decay of a validated configuration.
pub fn weight_decay(config: &Config) -> f64 {
    let unless_given = match config.optimizer {
        OptimizerKind::AdamW => OF_ADAMW,
        OptimizerKind::Adam | OptimizerKind::RmsProp | OptimizerKind::Sgd => 0.0,
    };
    config.weight_decay.unwrap_or(unless_given)
}

widest! {
    /// Weight decay apart from the gradient (Loshchilov and Hutter, 2019) as Keras writes it for
    /// every optimiser, θ ← θ − `part` · θ with `part` = lr · decay.
    decay<F: Real>(theta: &mut [F], part: F) by decay_body
}

#[inline(always)]
fn decay_body<F: Real>(theta: &mut [F], part: F) {
    for theta in theta {
        *theta = *theta - *theta * part;
    }
}
