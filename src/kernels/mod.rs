//! Arithmetic on slices: products, transposes, vector instructions and the threads that share work; what two
//! of them get of the processor.
//!
//! Uses nothing of this crate: no tensor, no model, no configuration.

pub mod blocks;
pub mod two_threads;

pub mod masks;
pub mod product;
pub mod rows;
pub mod softmax;
pub mod transpose;

pub mod float;
pub mod simd;
pub mod thread_pool;
