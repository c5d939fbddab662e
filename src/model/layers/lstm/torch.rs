//! An LSTM as libtorch operations.

use tch::{TchError, Tensor};

use super::recurrence::{by_kernels, recurrence};
use super::{InputKind, Lstm, native};
use crate::config::GateActivation;
use crate::model::layers::twin::{DropoutMasks, Input, LstmState, Mask, Output, Table, Twin};
use crate::tensor::cpp::lstm::Launches;
use crate::tensor::parameters::Parameters;

/// An LSTM of R replicas.
#[derive(Debug)]
pub struct LstmTwin {
    /// `(R, I, 4H)`.
    kernel: Table,
    /// `(R, H, 4H)`.
    recurrent_kernel: Tensor,
    /// `(R, 1, 4H)`.
    bias: Tensor,
    activation: GateActivation,
    backwards: bool,
    /// `(I, I)`: the one-hot vectors of ids, where libtorch's own LSTM is used.
    identity: Option<Tensor>,
    /// Whether libtorch's own LSTM is used.
    native: bool,
    /// How the kernels of our own are launched, where they do the recurrence.
    own: Option<Launches>,
}

/// The layer whose parameters are called `name.…`.
///
/// # Panics
/// If there are none.
///
/// # Errors
/// If the kernel has not three axes, or memory is short.
pub fn twin(layer: &Lstm, parameters: &Parameters, name: &str) -> Result<LstmTwin, TchError> {
    let leaf = |weight| parameters.leaf(&format!("{name}.{weight}"));
    let kernel = leaf("kernel");
    let (replicas, inputs, _) = kernel.size3()?;
    let options = (kernel.kind(), kernel.device());
    let activation = layer.gate_activation;
    let native = native::serves(replicas, activation, kernel.device());
    let ids = native && layer.reads == InputKind::Ids;
    Ok(LstmTwin {
        identity: ids.then(|| Tensor::f_eye(inputs, options)).transpose()?,
        native,
        own: Launches::on(kernel.device(), layer.units),
        recurrent_kernel: leaf("recurrent_kernel"),
        bias: leaf("bias").f_unsqueeze(1)?,
        kernel: Table::new(kernel)?,
        activation,
        backwards: layer.backwards,
    })
}

impl Twin for LstmTwin {
    fn run(&self, inputs: &[Input<'_>], start: Option<&LstmState>) -> Result<Output, TchError> {
        self.train(inputs, start, &DropoutMasks::default())
    }

    fn train(
        &self,
        inputs: &[Input<'_>],
        start: Option<&LstmState>,
        masks: &DropoutMasks,
    ) -> Result<Output, TchError> {
        let ([input], Some(start)) = (inputs, start) else {
            return Err(TchError::Shape("an LSTM reads one input from a state".to_owned()));
        };
        let (outputs, last) = self.steps(input, start, masks)?;
        let mask = input.mask().map(Mask::shallow_clone);
        Ok(Output { mask, ..Output::new(outputs, Some(last)) })
    }

    fn zero_state(&self, rows: i64) -> Result<Option<LstmState>, TchError> {
        let (replicas, units, _) = self.recurrent_kernel.size3()?;
        let options = (self.bias.kind(), self.bias.device());
        let zeros = || Tensor::f_zeros([replicas, rows, units], options);
        Ok(Some(LstmState { h: zeros()?, c: zeros()? }))
    }
}

impl LstmTwin {
    /// Runs all steps of `input` from `state`. Returns every output, `(T, R, B, H)`, and the state
    /// after the last step.
    fn steps(
        &self,
        input: &Input<'_>,
        state: &LstmState,
        masks: &DropoutMasks,
    ) -> Result<(Tensor, LstmState), TchError> {
        let (read, recurrent) = (masks.input.as_ref(), masks.recurrent.as_ref());
        let mask = input.mask().map(|mask| self.flip(mask.valid.shallow_clone())).transpose()?;
        let (outputs, last) = match (self.native && recurrent.is_none(), mask) {
            (true, None) => {
                let weights = [&self.kernel.weight, &self.recurrent_kernel, &self.bias];
                native::lstm(&self.flip(self.vectors(input, read)?)?, weights, state)?
            }
            (_, mask) => {
                let projected = self.flip(self.project(input, read)?)?;
                let (kernel, activation) = (&self.recurrent_kernel, self.activation);
                let mask = mask.as_ref();
                match self.own {
                    None => recurrence(&projected, kernel, state, activation, mask, recurrent)?,
                    Some(launches) => by_kernels(
                        &projected, kernel, state, activation, mask, recurrent, launches,
                    )?,
                }
            }
        };
        Ok((self.flip(outputs)?, last))
    }

    /// `steps` `(T, …)`, in reverse order if the layer reads backwards.
    fn flip(&self, steps: Tensor) -> Result<Tensor, TchError> {
        if self.backwards { steps.f_flip([0]) } else { Ok(steps) }
    }

    /// x·kernel + bias, `(T, R, B, 4H)`. For an id, x is one-hot and the product a row of the
    /// kernel; for a vector that is read at every step, it is computed once. With `mask`, `(R, B, I)`,
    /// x is multiplied by it.
    ///
    /// # Errors
    /// If vectors are not of width I.
    pub fn project(&self, input: &Input<'_>, mask: Option<&Tensor>) -> Result<Tensor, TchError> {
        match input {
            Input::Ids(ids, _) => {
                let rows = self.kernel.look_up(ids)?;
                match mask {
                    None => rows.f_add(&self.bias),
                    Some(mask) => self.bias.f_addcmul(&rows, &of_ids(mask, ids)?),
                }
            }
            Input::Repeated(x, steps) => {
                let x = masked(x.shallow_clone(), mask)?;
                let projected =
                    self.bias.f_baddbmm(&x, &self.kernel.weight, 1.0, 1.0)?.f_unsqueeze(0)?;
                projected.f_expand([*steps, -1, -1, -1], false)
            }
            Input::Zeros(rows) => self.bias.f_expand([-1, *rows, -1], false)?.f_unsqueeze(0),
            Input::Outputs(_) | Input::Numbers(..) => {
                let x = input.vectors()?.ok_or_else(|| TchError::Shape("vectors".to_owned()))?;
                let x = masked(x, mask)?;
                // `(R, T, B, I)`: one product for each replica.
                let x = x.f_transpose(0, 1)?;
                let flat = x.f_flatten(1, 2)?;
                let projected = self.bias.f_baddbmm(&flat, &self.kernel.weight, 1.0, 1.0)?;
                projected.f_unflatten(1, &x.size()[1..3])?.f_transpose(0, 1)
            }
        }
    }

    /// x, `(T, B, I)`, ids one-hot: the input of libtorch's own LSTM, for one replica. With `mask`,
    /// `(1, B, I)`, multiplied by it.
    fn vectors(&self, input: &Input<'_>, mask: Option<&Tensor>) -> Result<Tensor, TchError> {
        let unread = || TchError::Shape("this LSTM reads no ids".to_owned());
        let x = match input {
            Input::Ids(ids, _) => Tensor::f_embedding(
                self.identity.as_ref().ok_or_else(unread)?,
                &ids.f_select(0, 0)?.f_transpose(0, 1)?,
                -1,
                false,
                false,
            ),
            Input::Repeated(x, steps) => x.f_expand([*steps, -1, -1], false),
            Input::Zeros(rows) => {
                let options = (self.bias.kind(), self.bias.device());
                Tensor::f_zeros([1, *rows, self.kernel.weight.size3()?.1], options)
            }
            Input::Outputs(_) | Input::Numbers(..) => {
                input.vectors()?.ok_or_else(unread)?.f_select(1, 0)
            }
        };
        masked(x?, mask)
    }
}

/// `x` `(…, R, B, I)`, multiplied by `mask` `(R, B, I)` if there is one.
fn masked(x: Tensor, mask: Option<&Tensor>) -> Result<Tensor, TchError> {
    match mask {
        Some(mask) => x.f_mul(mask),
        None => Ok(x),
    }
}

/// The numbers of `mask` `(R, B, I)` for `ids` `(R, B, T)`, `(T, R, B, 1)`.
fn of_ids(mask: &Tensor, ids: &Tensor) -> Result<Tensor, TchError> {
    mask.f_gather(-1, ids, false)?.f_permute([2, 0, 1])?.f_unsqueeze(-1)
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::model::layers::Spec;
    use crate::model::layers::dropout::Dropout;
    use crate::tensor::device;

    /// What a GPU computes with, on the CPU, beside the recurrence of separate operations.
    #[test]
    fn native_and_recurrence_agree_in_outputs_and_gradients() {
        let (inputs, units, rows, steps) = (5, 3, 4, 6);
        let gate_activation = GateActivation::Sigmoid;
        let (reads, dropout) = (InputKind::Ids, Dropout::default());
        let layer = Lstm { inputs, reads, backwards: false, units, gate_activation, dropout };
        let specs = layer.parameters("lstm");
        let mut parameters = Parameters::zeros(specs, 1, Kind::Double, device::host()).unwrap();
        parameters.initialise(&[7], 1, &|_| Ok(())).unwrap();
        let kernel = Tensor::arange(rows * steps, (Kind::Int64, device::host())) * 3;
        let ids = kernel.remainder(inputs).view([1, rows, steps]);
        let wide = Tensor::linspace(-1.0, 1.0, rows * inputs, (Kind::Double, device::host()));
        let wide = wide.view([1, rows, inputs]);
        let mask = wide.abs() + 0.5;
        let inputs_of = [Input::Ids(&ids, None), Input::Repeated(&wide, steps), Input::Zeros(rows)];
        for (input, mask) in
            inputs_of.into_iter().flat_map(|input| [None, Some(&mask)].map(|mask| (input, mask)))
        {
            if matches!(input, Input::Zeros(_)) && mask.is_some() {
                continue;
            }
            let results = [true, false].map(|native| {
                let mut lstm = twin(&layer, &parameters, "lstm").unwrap();
                let identity = Tensor::eye(inputs, (Kind::Double, device::host()));
                (lstm.native, lstm.identity) = (native, Some(identity));
                let mut state = lstm.zero_state(rows).unwrap().unwrap();
                state.h = (state.h + 0.3).set_requires_grad(true);
                state.c = (state.c - 0.7).set_requires_grad(true);
                let input_mask = mask.map(Tensor::shallow_clone);
                let masks = DropoutMasks { input: input_mask, recurrent: None };
                let (outputs, last) = lstm.steps(&input, &state, &masks).unwrap();
                let weighted = &outputs * outputs.detach().cumsum(0, Kind::Double);
                let loss = weighted.sum(Kind::Double) + (&last.h * 2.0 - &last.c).sum(Kind::Double);
                parameters.backward(&loss).unwrap();
                let gradients = [parameters.gradient().copy(), state.h.grad(), state.c.grad()];
                [outputs, last.h, last.c].into_iter().chain(gradients).collect::<Vec<_>>()
            });
            for (native, separate) in results[0].iter().zip(&results[1]) {
                assert_eq!(native.size(), separate.size());
                assert!(native.allclose(separate, 1e-12, 1e-14, false), "{input:?}");
            }
        }
    }
}
