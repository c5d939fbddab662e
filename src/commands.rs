//! What the commands do, once their arguments are known.

mod doctor;
mod evaluate;
mod predict;
mod train;
mod trained;

pub use doctor::doctor;
pub use evaluate::evaluate;
pub use predict::predict;
pub use train::{Train, train};
