//! A layer as libtorch operations, differentiable, on any device.
//!
//! Every tensor has the replica axis R; replicas never mix.

use std::fmt::Debug;

use tch::{TchError, Tensor};

use super::lstm::torch::LstmState;

/// A layer with the weights that it computes with. It holds no state: it takes one and returns one.
pub trait Twin: Debug {
    /// All its time steps, from `start` where it has a state.
    ///
    /// # Errors
    /// Inputs of another kind than the layer reads, and libtorch's.
    fn run(&self, inputs: &[Input<'_>], start: Option<&LstmState>) -> Result<Output, TchError>;

    /// The zero state of `rows` rows; `None` for a layer without one.
    ///
    /// # Errors
    /// libtorch's.
    fn zero_state(&self, rows: i64) -> Result<Option<LstmState>, TchError> {
        let _ = rows;
        Ok(None)
    }
}

/// What a layer reads over its T steps.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Ids `(R, B, T)` int64, standing for one-hot vectors. Those out of range are the caller's to
    /// prevent: they may be another replica's.
    Ids(&'a Tensor),
    /// One vector a row, `(R, B, I)`, at each of T steps.
    Repeated(&'a Tensor, i64),
    /// Zeros, for one step of so many rows.
    Zeros(i64),
    /// What another layer put out.
    Outputs(&'a Output),
}

/// What a layer puts out.
#[derive(Debug)]
pub struct Output {
    /// Every output, `(T, R, B, width)`.
    pub outputs: Tensor,
    /// The state after the last step, where it has one.
    pub last: Option<LstmState>,
}
