//! A long short-term memory layer, as Keras computes it.

use std::rc::Rc;

use tch::{Kind, TchError, Tensor};

use super::{fused, recurrence};
use crate::config::GateActivation;
use crate::device;
use crate::parameters::{Init, ParameterSpec, Parameters};
use crate::tape::Tape;

/// What an LSTM knows of the steps before: output h and cell c, each `(R, B, H)`.
///
/// A layer holds no state. It takes one and returns one, and whoever calls decides whether to
/// carry it on, to reset it or to cut its gradient.
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
    ///
    /// # Errors
    /// libtorch's.
    pub fn detach(&self) -> Result<Self, TchError> {
        Ok(Self { h: self.h.f_detach()?, c: self.c.f_detach()? })
    }
}

/// LSTM (Hochreiter and Schmidhuber, 1997; with forget gate, Gers et al., 2000):
///
/// ```text
/// z = x·kernel + bias + h·recurrent_kernel        (B, 4H), blocks in the order i, f, g, o
/// c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g)
/// h' = σ(o) ⊙ tanh(c')
/// ```
///
/// Gate order, shapes and one bias are Keras's (which calls the block g "c"), so weights travel.
#[derive(Debug)]
pub struct Lstm {
    /// `(R, I, 4H)`.
    kernel: Tensor,
    /// `(R, H, 4H)`.
    recurrent_kernel: Tensor,
    /// `(R, 1, 4H)`.
    bias: Tensor,
    /// `(R, 1, 1)` int64: the kernel row where each replica's rows begin.
    first_row: Tensor,
    activation: GateActivation,
    tape: Rc<Tape>,
}

impl Lstm {
    /// The layer's parameters: kernel `(I, 4H)`, Glorot uniform with the fans of the whole matrix;
    /// recurrent_kernel `(H, 4H)`, orthogonal; bias `(4H)`, zero but for a forget gate of 1.
    pub fn specs(name: &str, inputs: i64, units: i64) -> Vec<ParameterSpec> {
        vec![
            ParameterSpec::new(name, "kernel", &[inputs, 4 * units], Init::GlorotUniform),
            ParameterSpec::new(name, "recurrent_kernel", &[units, 4 * units], Init::Orthogonal),
            ParameterSpec::new(name, "bias", &[4 * units], Init::UnitForgetBias),
        ]
    }

    /// The layer whose parameters are called `name.…`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn new(
        parameters: &Parameters,
        name: &str,
        activation: GateActivation,
    ) -> Result<Self, TchError> {
        let leaf = |weight| parameters.leaf(&format!("{name}.{weight}"));
        let kernel = leaf("kernel");
        let (replicas, inputs, _) = kernel.size3()?;
        let first_row = Tensor::f_arange(replicas, (Kind::Int64, kernel.device()))?;
        Ok(Self {
            recurrent_kernel: leaf("recurrent_kernel"),
            bias: leaf("bias").f_unsqueeze(1)?,
            first_row: first_row.f_mul_scalar(inputs)?.f_view([replicas, 1, 1])?,
            kernel,
            activation,
            tape: parameters.tape(),
        })
    }

    /// The zero state of `batch_size` rows.
    ///
    /// # Errors
    /// libtorch's.
    pub fn zero_state(&self, batch_size: i64) -> Result<LstmState, TchError> {
        let (replicas, units, _) = self.recurrent_kernel.size3()?;
        let options = (self.kernel.kind(), self.kernel.device());
        let zeros = Tensor::f_zeros([replicas, batch_size, units], options)?;
        Ok(LstmState { h: zeros.shallow_clone(), c: zeros })
    }

    /// x·kernel + bias for one-hot x given as `ids` `(R, B, T)` below I: a look-up of kernel rows.
    /// Returns `(T, R, B, 4H)`.
    ///
    /// # Errors
    /// libtorch's. Ids out of range are the caller's to prevent: they may be another replica's.
    pub fn project_ids(&self, ids: &Tensor) -> Result<Tensor, TchError> {
        let (replicas, inputs, gates) = self.kernel.size3()?;
        let rows = if replicas == 1 { ids.shallow_clone() } else { ids.f_add(&self.first_row)? };
        let rows = rows.f_permute([2, 0, 1])?;
        let table = self.kernel.f_view([replicas * inputs, gates])?;
        Tensor::f_embedding(&table, &rows, -1, false, false)?.f_add(&self.bias)
    }

    /// x·kernel + bias for x `(R, B, I)`. Returns `(R, B, 4H)`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn project(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.bias.f_baddbmm(x, &self.kernel, 1.0, 1.0)
    }

    /// [`Lstm::project`] for `batch_size` rows of zeros. Returns `(R, B, 4H)`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn project_zero(&self, batch_size: i64) -> Result<Tensor, TchError> {
        self.bias.f_expand([-1, batch_size, -1], false)
    }

    /// Runs all T steps from `state`, given their input projections `(T, R, B, 4H)`. Returns every
    /// output `(R, T, B, H)` or, without `return_sequences`, the last `(R, B, H)`, and the state
    /// after the last step.
    ///
    /// # Errors
    /// libtorch's.
    pub fn run(
        &self,
        projected: &Tensor,
        state: &LstmState,
        return_sequences: bool,
    ) -> Result<(Tensor, LstmState), TchError> {
        let (kernel, activation) = (&self.recurrent_kernel, self.activation);
        let (outputs, state) = if device::is_host(kernel.device()) {
            fused::recurrence(projected, kernel, state, activation, &self.tape)?
        } else {
            recurrence::recurrence(projected, kernel, state, activation)?
        };
        let output =
            if return_sequences { outputs.f_transpose(0, 1)? } else { state.h.shallow_clone() };
        Ok((output, state))
    }
}
