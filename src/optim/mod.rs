//! Optimisers and how their learning rate changes.
//!
//! Uses `tensor`, `kernels` and the configuration.

pub mod adam;

pub mod learning_rate;
