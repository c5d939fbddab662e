//! Free-running inference by beam search: what a model says to a source, without the target.

pub mod searching;

pub mod beam;

pub use beam::{Found, Hypothesis, Search};
pub use searching::Searching;
