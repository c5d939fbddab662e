//! A run's directory: its files, what they hold, and who may write them.
//!
//! Uses configurations, data's spelling and `files`; computes nothing and names no tensor.

pub mod progress;
pub mod run_dir;

pub mod curves;
pub mod ensemble;
pub mod lock;
pub mod manifest;
pub mod summary;
