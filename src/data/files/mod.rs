//! Samples from files: what is read, cut into tokens and numbered.
//!
//! Uses the configuration, `files` and `base`; knows no task.

pub mod token_series;

pub mod corpus;
pub mod series;

pub mod split;

pub mod buckets;

pub mod pairs;

pub mod pair_rows;
pub mod table;

pub mod gaps;
pub mod header;
pub mod numbers;
pub mod scaling;
pub mod side;
pub mod windows;

pub mod interner;
pub mod reader;
pub mod tokens;
pub mod vocabulary;

pub mod fields;
