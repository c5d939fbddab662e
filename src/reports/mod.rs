//! What people read of runs: tables, the reports of reproductions and of studies.
//!
//! Uses finished runs (`run`), and what is below; trains nothing.

pub mod html;

pub mod reproduction;
pub mod study;

pub mod tables;
pub mod tensorboard;

mod files;
mod markdown;
pub mod reference;
