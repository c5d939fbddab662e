//! Optimisers and how their learning rate changes.
//!
//! Uses `tensor`, `kernels` and the configuration.

pub mod optimizer;

pub mod clipping;
pub mod rule;

mod adam;
mod rmsprop;
mod sgd;

mod decay;
pub mod memory;
mod moment;

pub mod learning_rate;
