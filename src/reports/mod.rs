//! What people read of runs: tables, the reports of reproductions, of studies and of sweeps.
//!
//! Uses finished runs (`run`), of `train` what tells whether a metric gains, and what is below; trains nothing.

pub mod html;

pub mod reproduction;
pub mod study;
pub mod sweep;

pub mod tables;
pub mod tensorboard;

mod files;
mod markdown;
pub mod reference;
