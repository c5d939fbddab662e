//! Training and evaluation: the loop, what it measures, saves and needs.
//!
//! Uses `run`, whose files it fills, engines, models and everything below; knows no command line.

pub mod placement;

pub mod memory;

pub mod checkpoint;
pub mod trainer;

pub mod inspection;

pub mod early_stopping;
pub mod evaluate;
pub mod meter;
pub mod plateau;
pub mod weights;

pub mod decode;
pub mod forecast;
pub mod gain;

pub mod score;
