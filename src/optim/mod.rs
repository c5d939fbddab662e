//! Optimisers and how their learning rate changes.
//!
//! Uses `tensor`, `kernels` and the configuration.

pub mod optimizer;

mod clipping;
pub mod rule;

mod adam;
mod rmsprop;
mod sgd;

mod decay;
pub mod memory;

pub mod learning_rate;
