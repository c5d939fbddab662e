//! What models learn from: tasks, the batches drawn of them, and how samples are written and read.
//!
//! Ids stay ids here. Uses the configuration, `tensor` for uploads, and `base`.

pub mod loader;
pub mod sources;

pub mod epochs;

pub mod task;

pub mod files;

pub mod batch;

pub mod writing;
