//! A dense layer as libtorch operations.

use tch::{TchError, Tensor};

use super::{Activation, Dense};
use crate::model::layers::twin::{Input, Output, Twin};
use crate::tensor::parameters::Parameters;

/// A dense layer of R replicas.
#[derive(Debug)]
pub struct DenseTwin {
    /// `(R, I, O)`.
    kernel: Tensor,
    /// `(R, 1, O)`.
    bias: Tensor,
    activation: Activation,
}

/// The layer whose parameters are called `name.…`.
///
/// # Panics
/// If there are none.
pub fn twin(layer: &Dense, parameters: &Parameters, name: &str) -> Result<DenseTwin, TchError> {
    Ok(DenseTwin {
        kernel: parameters.leaf(&format!("{name}.kernel")),
        bias: parameters.leaf(&format!("{name}.bias")).f_unsqueeze(1)?,
        activation: layer.activation,
    })
}

impl Twin for DenseTwin {
    fn run(
        &self,
        inputs: &[Input<'_>],
        _: Option<&crate::model::layers::twin::LstmState>,
    ) -> Result<Output, TchError> {
        // `(R, T, B, I)`.
        let x = match inputs {
            [Input::Outputs(below)] => below.outputs.f_transpose(0, 1)?,
            [Input::Repeated(x, _)] => x.f_unsqueeze(1)?,
            _ => return Err(TchError::Shape("a dense layer reads vectors".to_owned())),
        };
        let y = self.bias.f_baddbmm(&x.f_flatten(1, 2)?, &self.kernel, 1.0, 1.0)?;
        let y = match self.activation {
            Activation::Linear => y,
            Activation::Tanh => y.f_tanh()?,
        };
        let y = y.f_unflatten(1, &x.size()[1..3])?;
        Ok(Output::new(y.f_transpose(0, 1)?, None))
    }
}
