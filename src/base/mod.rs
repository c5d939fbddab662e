//! What every room may use: errors, bounded input, random streams, words and numbers for people.
//!
//! Uses nothing of this crate but itself.

pub mod shell;
pub mod versions;

pub mod error;

pub mod input;
pub mod output;
pub mod rng;
pub mod spelling;
pub mod statistics;

pub mod width;
