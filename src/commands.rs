//! What the commands do, once their arguments are known.

mod doctor;
mod evaluate;
mod predict;
mod report;
mod reproduce;
mod train;
mod trained;

pub use doctor::doctor;
pub use evaluate::evaluate;
pub use predict::predict;
pub use report::report;
pub use reproduce::{REPLICAS, Reproduce, reproduce};
pub use train::{Train, train};
