//! The pass of a dense layer over some rows of a batch.

use super::Dense;
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Order, multiply};
use crate::model::layers::pass::{
    Buffers, Factors, Gradient, GradientSum, InputGradients, Inputs, Pass, Weights, affine,
};
use crate::model::{Node, Read};

const KERNEL: usize = 0;
const BIAS: usize = 1;

/// A dense layer over T steps of N rows. The outputs and their gradient share a buffer: the loss
/// replaces the outputs by the gradient.
pub struct DensePass<F> {
    read: Read,
    inputs: usize,
    units: usize,
    /// N · O: the numbers of a step.
    n: usize,
    /// `outputs`, `(T, N, O)`: logits, and after the loss their gradient.
    gradient: Gradient<F>,
}

/// The pass of `layer` for `rows` rows.
pub fn pass<F: Real>(
    layer: &Dense,
    node: &Node,
    rows: usize,
    buffers: &mut Buffers,
) -> DensePass<F> {
    let units = layer.units as usize;
    let gradient = Gradient { outputs: GradientSum::new(buffers.take()), ..Gradient::default() };
    DensePass {
        read: node.reads[0],
        inputs: layer.inputs as usize,
        units,
        n: rows * units,
        gradient,
    }
}

impl<F: Real> Pass<F> for DensePass<F> {
    fn forward(&mut self, inputs: Inputs<'_, F>, weights: &Weights<'_, F>) {
        let (x, logits) = (inputs.vectors(self.read), &mut self.gradient.outputs.values);
        let (kernel, bias) = (weights.values[KERNEL], weights.values[BIAS]);
        affine(Matrix::new(x, self.inputs), kernel, bias, logits);
    }

    fn backward(&mut self, mut gradients: InputGradients<'_, F>, weights: &Weights<'_, F>) {
        let d_outputs = Matrix::new(&self.gradient.outputs.values, self.units);
        if let Some(gradient) = gradients.get(self.read) {
            let (d_x, onto) = gradient.onto();
            multiply(d_outputs, weights.transposed(KERNEL, self.inputs), d_x, onto, Order::Down);
        }
    }

    fn factors<'a>(&'a self, weight: usize, inputs: Inputs<'a, F>) -> Factors<'a, F> {
        let d_outputs = self.gradient.outputs.values.as_slice();
        match weight {
            KERNEL => {
                Factors::Product(Matrix::new(inputs.vectors(self.read), self.inputs), d_outputs)
            }
            _ => Factors::Sum(d_outputs),
        }
    }

    fn outputs(&self) -> &[F] {
        &self.gradient.outputs.values
    }

    fn last(&self) -> &[F] {
        let outputs = self.outputs();
        &outputs[outputs.len() - self.n..]
    }

    fn gradient(&mut self) -> &mut Gradient<F> {
        &mut self.gradient
    }
}
