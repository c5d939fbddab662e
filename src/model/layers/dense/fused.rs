//! The pass of a dense layer over some rows of a batch.

use super::{Activation, Dense};
use crate::kernels::blocks::Blocks;
use crate::kernels::float::{Real, widest};
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::pass::{
    Buffers, Factors, Gradient, GradientSum, InputGradients, Inputs, PartWeights, Pass, affine, put,
};
use crate::model::{Along, Node, Read};

const KERNEL: usize = 0;
const BIAS: usize = 1;

/// A dense layer over T steps of N rows. Where no layer reads the outputs, they and their gradient
/// share a buffer: the loss replaces the outputs by the gradient.
///
/// A part multiplies the units that it has of the layer below by their rows of the kernel: the outputs are
/// the sum of the parts' terms, and the gradient of a part's units is its own.
pub struct DensePass<F> {
    read: Read,
    along: Along,
    inputs: usize,
    units: usize,
    activation: Activation,
    /// `outputs`, `(T, N, O)`: their gradient, after `backward` that of x·kernel + bias; for the loss
    /// the outputs themselves.
    gradient: Gradient<F>,
    /// `(T, N, O)`; empty where no layer reads them.
    outputs: Vec<F>,
    /// `(T, N, O)` of each part but the first: its term of the outputs.
    terms: Vec<Vec<F>>,
}

/// The pass of `layer` for `rows` rows.
pub fn pass<F: Real>(layer: &Dense, node: &Node, _: usize, buffers: &mut Buffers) -> DensePass<F> {
    let units = layer.units as usize;
    let gradient = Gradient { outputs: GradientSum::new(buffers.take()), ..Gradient::default() };
    DensePass {
        read: node.reads[0],
        along: node.along,
        inputs: layer.inputs as usize,
        units,
        activation: layer.activation,
        gradient,
        outputs: buffers.take(),
        terms: (1..node.parts).map(|_| buffers.take()).collect(),
    }
}

impl<F: Real> Pass<F> for DensePass<F> {
    fn forward(&mut self, inputs: Inputs<'_, F>, weights: &PartWeights<'_, F>, team: &ThreadPool) {
        let total = inputs.rows.along(self.along).total() * self.units;
        self.gradient.outputs.resize(total);
        let outputs = match self.outputs.capacity() {
            0 => &mut self.gradient.outputs.values,
            _ => {
                self.outputs.resize(total, F::default());
                &mut self.outputs
            }
        };
        let x = inputs.vectors(self.read, self.inputs);
        let terms = self.terms.iter_mut().map(|term| &mut term[..total]);
        team.each_part(std::iter::once(&mut outputs[..]).chain(terms), |part, out| {
            let weights = weights(part);
            match part {
                0 => affine(x.block(0), weights.values[KERNEL], weights.values[BIAS], out),
                _ => {
                    let kernel = weights.matrix(KERNEL, self.units);
                    multiply(x.part(part), kernel, out, Onto::Nothing, Order::Up);
                }
            }
        });
        self.terms.iter().for_each(|term| put(&term[..total], outputs, Onto::Sum));
        if self.activation == Activation::Tanh {
            tanh(outputs);
        }
    }

    fn backward(
        &mut self,
        mut gradients: InputGradients<'_, F>,
        weights: &PartWeights<'_, F>,
        team: &ThreadPool,
    ) {
        if self.activation == Activation::Tanh {
            tanh_gradient(&self.outputs, self.gradient.outputs.or_zeros());
        }
        let d_outputs = Matrix::new(&self.gradient.outputs.values, self.units);
        team.each_part(gradients.of(self.read), |part, gradient| {
            let weights = weights(part);
            let own = weights.values[KERNEL].len() / self.units;
            let (d_x, onto) = gradient.onto();
            multiply(d_outputs, weights.transposed(KERNEL, own), d_x, onto, Order::Down);
        });
    }

    fn factors<'a>(&'a self, weight: usize, part: usize, inputs: Inputs<'a, F>) -> Factors<'a, F> {
        let d_outputs = self.gradient.outputs.values.as_slice();
        match weight {
            KERNEL => {
                let x = inputs.vectors(self.read, self.inputs);
                Factors::Product(x.block(part), d_outputs)
            }
            _ => Factors::Sum(d_outputs),
        }
    }

    fn outputs(&self) -> Blocks<'_, F> {
        let outputs = if self.outputs.capacity() == 0 {
            &self.gradient.outputs.values
        } else {
            &self.outputs
        };
        Blocks::one(outputs, self.units)
    }

    fn gradients(&mut self) -> &mut [Gradient<F>] {
        std::slice::from_mut(&mut self.gradient)
    }
}

widest! {
    /// Replaces every number by its hyperbolic tangent.
    tanh<F: Real>(numbers: &mut [F]) by tanh_body
}

#[inline(always)]
fn tanh_body<F: Real>(numbers: &mut [F]) {
    numbers.iter_mut().for_each(|x| *x = x.tanh());
}

widest! {
    /// Replaces the gradient of the hyperbolic tangents `outputs` by that of what they are of.
    tanh_gradient<F: Real>(outputs: &[F], gradient: &mut [F]) by tanh_gradient_body
}

#[inline(always)]
fn tanh_gradient_body<F: Real>(outputs: &[F], gradient: &mut [F]) {
    gradient.iter_mut().zip(outputs).for_each(|(dy, &y)| *dy = *dy * (F::from(1.0) - y * y));
}
