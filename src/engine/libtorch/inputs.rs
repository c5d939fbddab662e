//! All tensors that a step of the libtorch engine reads, apart from weights.

use tch::{TchError, Tensor};

use crate::data::loader::UploadedBatch;
use crate::model::layers::twin::{DropoutMasks, LstmState};
use crate::model::network::State;
use crate::tensor::device;

/// What a step reads.
#[derive(Debug)]
pub struct Inputs {
    /// Its batch.
    pub batch: UploadedBatch,
    /// Each layer's dropout masks.
    pub masks: Vec<DropoutMasks>,
    /// What stateful layers start from.
    pub state: State,
    /// The factors of [`Plan`](crate::optim::optimizer::Plan), flat, float64.
    pub factors: Tensor,
}

impl Inputs {
    /// All tensors, always in the same order.
    fn tensors(&self) -> Vec<&Tensor> {
        let masks = self.masks.iter().flat_map(|masks| masks.input.iter().chain(&masks.recurrent));
        let batch = self.batch.tensors().into_iter();
        batch.chain(masks).chain(self.state.tensors()).chain([&self.factors]).collect()
    }

    /// The sizes of all tensors: inputs of equal ones are computed on alike.
    pub fn sizes(&self) -> Vec<Vec<i64>> {
        self.tensors().into_iter().map(Tensor::size).collect()
    }

    /// The same numbers in other places.
    ///
    /// # Errors
    /// If memory is short.
    pub fn copied(&self) -> Result<Self, TchError> {
        let copy = |of: &Tensor| of.f_detach_copy();
        let all = |of: Vec<&Tensor>| of.into_iter().map(copy).collect::<Result<Vec<_>, _>>();
        let masks = self.masks.iter().map(|masks| {
            Ok(DropoutMasks {
                input: masks.input.as_ref().map(copy).transpose()?,
                recurrent: masks.recurrent.as_ref().map(copy).transpose()?,
            })
        });
        let states = self.state.0.iter();
        let states = states.map(|state| Ok(LstmState { h: copy(&state.h)?, c: copy(&state.c)? }));
        Ok(Self {
            batch: self.batch.with(all(self.batch.tensors())?),
            masks: masks.collect::<Result<_, TchError>>()?,
            state: State(states.collect::<Result<_, TchError>>()?),
            factors: copy(&self.factors)?,
        })
    }

    /// Copies the numbers of `other`, of the same sizes, to the places of these.
    ///
    /// # Errors
    /// libtorch's.
    pub fn fill(&self, other: &Self) -> Result<(), TchError> {
        copy_all(self.tensors(), other.tensors())
    }

    /// The same for the state alone.
    ///
    /// # Errors
    /// libtorch's.
    pub fn fill_state(&self, other: &State) -> Result<(), TchError> {
        copy_all(self.state.tensors(), other.tensors())
    }
}

/// Copies numbers, one tensor after the other. Does not wait for the device.
fn copy_all<'a>(
    to: impl IntoIterator<Item = &'a Tensor>,
    from: impl IntoIterator<Item = &'a Tensor>,
) -> Result<(), TchError> {
    to.into_iter().zip(from).try_for_each(|(to, from)| device::copy(from, to))
}
