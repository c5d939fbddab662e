//! A dense layer.

use tch::{TchError, Tensor};

use crate::tensor::parameters::{Init, ParameterSpec, Parameters};

/// y = x·kernel + bias at every position.
#[derive(Debug)]
pub struct Dense {
    /// `(R, I, O)`.
    kernel: Tensor,
    /// `(R, 1, O)`.
    bias: Tensor,
}

impl Dense {
    /// The layer's parameters: kernel `(I, O)`, Glorot uniform, and bias `(O)`, zero.
    pub fn specs(name: &str, inputs: i64, outputs: i64) -> Vec<ParameterSpec> {
        vec![
            ParameterSpec::new(name, "kernel", &[inputs, outputs], Init::GlorotUniform),
            ParameterSpec::new(name, "bias", &[outputs], Init::Zeros),
        ]
    }

    /// The layer whose parameters are called `name.…`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn new(parameters: &Parameters, name: &str) -> Result<Self, TchError> {
        Ok(Self {
            kernel: parameters.leaf(&format!("{name}.kernel")),
            bias: parameters.leaf(&format!("{name}.bias")).f_unsqueeze(1)?,
        })
    }

    /// `(R, N, I)` → `(R, N, O)`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.bias.f_baddbmm(x, &self.kernel, 1.0, 1.0)
    }
}
