//! A layer as libtorch operations, differentiable, on any device.
//!
//! Every tensor has the replica axis R; replicas never mix.

use std::fmt::Debug;

use tch::{Kind, TchError, Tensor};

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

/// A weight whose rows ids stand for.
#[derive(Debug)]
pub struct Table {
    /// `(R, V, width)`.
    pub weight: Tensor,
    /// `(R, 1, 1)` int64: where each replica's rows begin.
    first_row: Tensor,
}

impl Table {
    /// The table `weight` `(R, V, width)`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn new(weight: Tensor) -> Result<Self, TchError> {
        let (replicas, rows, _) = weight.size3()?;
        let first_row = Tensor::f_arange(replicas, (Kind::Int64, weight.device()))?;
        let first_row = first_row.f_mul_scalar(rows)?.f_view([replicas, 1, 1])?;
        Ok(Self { weight, first_row })
    }

    /// The rows of `ids` `(R, B, T)` int64, `(T, R, B, width)`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn look_up(&self, ids: &Tensor) -> Result<Tensor, TchError> {
        let (replicas, rows, width) = self.weight.size3()?;
        let numbers = if replicas == 1 { ids.shallow_clone() } else { ids.f_add(&self.first_row)? };
        let table = self.weight.f_view([replicas * rows, width])?;
        Tensor::f_embedding(&table, &numbers.f_permute([2, 0, 1])?, -1, false, false)
    }
}
