//! Layers: equations, shapes and initialisers. None knows a model or a task.
//!
//! Every tensor has the replica axis R first; replicas never mix.

mod dense;
mod lstm;
mod native;
mod recurrence;

pub use dense::Dense;
pub use lstm::{Lstm, LstmInput, LstmState};
