//! A layer as libtorch operations, differentiable, on any device.
//!
//! Every tensor has the replica axis R; replicas never mix.

use std::cell::OnceCell;
use std::fmt::Debug;

use tch::{Kind, TchError, Tensor};

/// A layer with the weights that it computes with. It holds no state: it takes one and returns one.
pub trait Twin: Debug {
    /// All its time steps, from `start` where it has a state.
    ///
    /// # Errors
    /// Inputs of another kind or shape than the layer reads, a missing state, or a shortage of
    /// memory.
    fn run(&self, inputs: &[Input<'_>], start: Option<&LstmState>) -> Result<Output, TchError>;

    /// The same in training, with dropout masks where it has any.
    ///
    /// # Errors
    /// As [`Twin::run`].
    fn train(
        &self,
        inputs: &[Input<'_>],
        start: Option<&LstmState>,
        masks: &DropoutMasks,
    ) -> Result<Output, TchError> {
        let _ = masks;
        self.run(inputs, start)
    }

    /// The zero state of `rows` rows; `None` for a layer without one.
    fn zero_state(&self, rows: i64) -> Result<Option<LstmState>, TchError> {
        let _ = rows;
        Ok(None)
    }
}

/// The dropout masks of a layer for a batch, of the weights' dtype, the same at every time step; `None`: none.
#[derive(Debug, Default)]
pub struct DropoutMasks {
    /// `(R, B, I)`: of what it reads; for ids of their one-hot vectors.
    pub input: Option<Tensor>,
    /// `(R, B, H)`: of the h that enters its recurrent product.
    pub recurrent: Option<Tensor>,
}

/// The state of an LSTM: output h and cell c, each `(R, B, H)` of the weights' dtype.
///
/// A layer holds no state. It takes one and returns one; the caller decides whether to carry it to
/// the next batch, to reset it or to detach it.
#[derive(Debug)]
pub struct LstmState {
    /// The last output.
    pub h: Tensor,
    /// The cell.
    pub c: Tensor,
}

impl LstmState {
    /// The same state by reference.
    pub fn shallow_clone(&self) -> Self {
        Self { h: self.h.shallow_clone(), c: self.c.shallow_clone() }
    }

    /// The same numbers, through which no gradient flows.
    pub fn detach(&self) -> Result<Self, TchError> {
        Ok(Self { h: self.h.f_detach()?, c: self.c.f_detach()? })
    }

    /// That of other rows: see [`choose_rows`].
    pub fn choose_rows(&self, rows: &Tensor) -> Result<Self, TchError> {
        Ok(Self { h: choose_rows(&self.h, rows)?, c: choose_rows(&self.c, rows)? })
    }
}

/// `numbers` `(…, R, B, width)` of other rows `(…, R, B′, width)`: those that `rows` `(R · B′)` int64
/// names, counted over replicas.
///
/// # Errors
/// If a row is named that is not there, or not as many for each replica.
pub fn choose_rows(numbers: &Tensor, rows: &Tensor) -> Result<Tensor, TchError> {
    let axis = numbers.dim() as i64 - 3;
    let replicas = numbers.size()[axis as usize];
    let chosen = numbers.f_flatten(axis, axis + 1)?.f_index_select(axis, rows)?;
    chosen.f_unflatten(axis, [replicas, -1])
}

/// What a layer reads over its T steps.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// Ids `(R, B, T)` int64 below V, standing for one-hot vectors. They are not checked: others
    /// may select another replica's rows.
    Ids(&'a Tensor, Option<&'a Mask>),
    /// Numbers `(R, B, T, features)`.
    Numbers(&'a Tensor, Option<&'a Mask>),
    /// One vector for each row, `(R, B, I)`, at each of T steps.
    Repeated(&'a Tensor, i64),
    /// Zeros, for one step of so many rows.
    Zeros(i64),
    /// The outputs of another layer.
    Outputs(&'a Output),
}

impl<'a> Input<'a> {
    /// Ids `(R, B, T)` int64, or else numbers `(R, B, T, features)`.
    pub fn new(steps: &'a Tensor, mask: Option<&'a Mask>) -> Self {
        match steps.kind() {
            Kind::Int64 => Self::Ids(steps, mask),
            _ => Self::Numbers(steps, mask),
        }
    }

    /// B.
    ///
    /// # Errors
    /// If it has too few axes.
    pub fn rows(&self) -> Result<i64, TchError> {
        let size = match self {
            Self::Zeros(rows) => return Ok(*rows),
            Self::Ids(steps, _) | Self::Numbers(steps, _) => steps.size(),
            Self::Repeated(x, _) => x.size(),
            Self::Outputs(below) => below.outputs.size()[1..].to_vec(),
        };
        size.get(1).copied().ok_or_else(|| TchError::Shape("inputs without rows".to_owned()))
    }

    /// Which of its steps are no padding; `None`: none is.
    pub fn mask(&self) -> Option<&Mask> {
        match self {
            Self::Ids(_, mask) | Self::Numbers(_, mask) => *mask,
            Self::Outputs(below) => below.mask.as_ref(),
            Self::Repeated(..) | Self::Zeros(_) => None,
        }
    }

    /// A vector for each step, `(T, R, B, I)`; `None`: it has ids, or one vector for all.
    ///
    /// # Errors
    /// If numbers have not four axes.
    pub fn vectors(&self) -> Result<Option<Tensor>, TchError> {
        match self {
            Self::Outputs(below) => Ok(Some(below.outputs.shallow_clone())),
            Self::Numbers(numbers, _) => numbers.f_permute([2, 0, 1, 3]).map(Some),
            Self::Ids(..) | Self::Repeated(..) | Self::Zeros(_) => Ok(None),
        }
    }
}

/// Which of the steps of a source are no padding, which is at their end.
#[derive(Debug)]
pub struct Mask {
    /// `(T, R, B, 1)` bool.
    pub valid: Tensor,
}

impl Mask {
    /// Of `valid` `(R, B, T)` bool.
    ///
    /// # Errors
    /// If it has not three axes.
    pub fn new(valid: &Tensor) -> Result<Self, TchError> {
        Ok(Self { valid: valid.f_permute([2, 0, 1])?.f_unsqueeze(-1)? })
    }

    /// The same by reference.
    pub fn shallow_clone(&self) -> Self {
        Self { valid: self.valid.shallow_clone() }
    }

    /// That of other rows: see [`choose_rows`].
    fn choose_rows(&self, rows: &Tensor) -> Result<Self, TchError> {
        Ok(Self { valid: choose_rows(&self.valid, rows)? })
    }
}

/// The result of a layer.
#[derive(Debug)]
pub struct Output {
    /// Every output, `(T, R, B, width)`; zeros where it read padding.
    pub outputs: Tensor,
    /// The state after the last step, where it has one.
    pub last: Option<LstmState>,
    /// That of what it read.
    pub mask: Option<Mask>,
    /// Of an attention, the weights α, `(Tout, R, B, Tin)`.
    pub weights: Option<Tensor>,
    /// What an attention over these outputs makes of them, `(R · B, Tin, H)`, once for all steps of a decoder.
    pub keys: OnceCell<Tensor>,
}

impl Output {
    /// That of a layer that is no attention.
    pub fn new(outputs: Tensor, last: Option<LstmState>) -> Self {
        Self { outputs, last, mask: None, weights: None, keys: OnceCell::new() }
    }

    /// That of other rows: see [`choose_rows`].
    pub fn choose_rows(&self, rows: &Tensor) -> Result<Self, TchError> {
        let last = self.last.as_ref().map(|last| last.choose_rows(rows)).transpose()?;
        let choose = |numbers: &Tensor| choose_rows(numbers, rows);
        let weights = self.weights.as_ref().map(choose).transpose()?;
        let mask = self.mask.as_ref().map(|mask| mask.choose_rows(rows)).transpose()?;
        Ok(Self { weights, mask, ..Self::new(choose(&self.outputs)?, last) })
    }
}

/// A weight with a row for each id.
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
    /// If `weight` has not three axes.
    pub fn new(weight: Tensor) -> Result<Self, TchError> {
        let (replicas, rows, _) = weight.size3()?;
        let first_row = Tensor::f_arange(replicas, (Kind::Int64, weight.device()))?;
        let first_row = first_row.f_mul_scalar(rows)?.f_view([replicas, 1, 1])?;
        Ok(Self { weight, first_row })
    }

    /// The rows of `ids` `(R, B, T)` int64, `(T, R, B, width)`.
    ///
    /// # Errors
    /// On a CPU, if an id is outside the whole table; anywhere, if `ids` has not three axes.
    pub fn look_up(&self, ids: &Tensor) -> Result<Tensor, TchError> {
        let (replicas, rows, width) = self.weight.size3()?;
        let numbers = if replicas == 1 { ids.shallow_clone() } else { ids.f_add(&self.first_row)? };
        let table = self.weight.f_view([replicas * rows, width])?;
        Tensor::f_embedding(&table, &numbers.f_permute([2, 0, 1])?, -1, false, false)
    }
}
