//! Free-running inference: what a model says to a source, without the target.

pub mod beam;
pub mod greedy;

pub use beam::{Found, Hypothesis, Search};
pub use greedy::{free_running, watched};
