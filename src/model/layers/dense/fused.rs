//! The pass of a dense layer over some rows of a batch.

use super::{Activation, Dense};
use crate::kernels::blocks::{Blocks, Parts};
use crate::kernels::float::{Real, widest};
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::pass::{
    Buffers, Factors, Gradient, GradientSum, InputGradients, Inputs, PartWeights, Pass, Weights,
    affine, gather, put, sum_columns,
};
use crate::model::{Along, Node, Read};

const KERNEL: usize = 0;
const BIAS: usize = 1;

/// A dense layer over T steps of N rows. Where no layer reads the outputs, they and their gradient
/// share a buffer: the loss replaces the outputs by the gradient.
///
/// A part multiplies the units that it has of the layer below by their rows of the kernel: the outputs are
/// the sum of the parts' terms, and the gradient of a part's units is its own. Outputs that a layer reads are
/// divided among the parts as well, each of which adds up the terms of its own units.
pub struct DensePass<F> {
    read: Read,
    along: Along,
    inputs: usize,
    /// The parts of the outputs.
    units: Parts,
    activation: Activation,
    /// `outputs`, `(T, N, U)` for each part of U units: their gradient, after `backward` that of
    /// x·kernel + bias; for the loss the outputs themselves.
    gradients: Vec<Gradient<F>>,
    /// `(T, N, U)`; empty where no layer reads them.
    outputs: Vec<Vec<F>>,
    /// `(T, N, O)`: terms of the outputs, of each part, or of each but the first where the outputs have one part.
    /// After `backward`, of outputs in several parts: the gradient of x·kernel + bias, for each part.
    terms: Vec<Vec<F>>,
}

/// The pass of `layer` for `rows` rows.
pub fn pass<F: Real>(layer: &Dense, node: &Node, _: usize, buffers: &mut Buffers) -> DensePass<F> {
    let units = layer.parts_of_outputs(node);
    let (mut gradients, mut outputs) = (Vec::new(), Vec::new());
    for _ in 0..units.count() {
        let d_outputs = GradientSum::new(buffers.take());
        gradients.push(Gradient { outputs: d_outputs, ..Gradient::default() });
        outputs.push(buffers.take());
    }
    DensePass {
        read: node.reads[0],
        along: node.along,
        inputs: layer.inputs as usize,
        units,
        activation: layer.activation,
        gradients,
        outputs,
        terms: (0..layer.terms(node)).map(|_| buffers.take()).collect(),
    }
}

/// `out` = the term of the outputs, `(T, N, O)`, that part `part` has of its units of `x`; the first has the bias.
fn term<F: Real>(
    x: Blocks<'_, F>,
    (part, columns): (usize, usize),
    weights: &Weights<'_, F>,
    out: &mut [F],
) {
    match part {
        0 => affine(x.block(0), weights.values[KERNEL], weights.values[BIAS], out),
        _ => multiply(x.part(part), weights.matrix(KERNEL, columns), out, Onto::Nothing, Order::Up),
    }
}

impl<F: Real> DensePass<F> {
    /// Makes room for `rows` rows of all steps.
    fn resize(&mut self, rows: usize) {
        let parts = self.units.ranges().zip(&mut self.outputs).zip(&mut self.gradients);
        for ((units, outputs), gradient) in parts {
            gradient.outputs.resize(rows * units.len());
            if outputs.capacity() > 0 {
                outputs.resize(rows * units.len(), F::default());
            }
        }
    }

    /// Numbers of all outputs.
    fn total(&self) -> usize {
        let rows = self.gradients[0].outputs.values.len() / self.units.range(0).len();
        rows * self.units.columns()
    }

    /// Computes outputs that have one part.
    fn forward_whole(&mut self, x: Blocks<'_, F>, weights: &PartWeights<'_, F>, team: &ThreadPool) {
        let (total, columns) = (self.total(), self.units.columns());
        let outputs = match self.outputs[0].capacity() {
            0 => &mut self.gradients[0].outputs.values,
            _ => &mut self.outputs[0],
        };
        let terms = self.terms.iter_mut().map(|term| &mut term[..total]);
        team.each_part(std::iter::once(&mut outputs[..]).chain(terms), |part, out| {
            term(x, (part, columns), &weights(part), out);
        });
        self.terms.iter().for_each(|term| put(&term[..total], outputs, Onto::Sum));
        self.activation.apply(outputs);
    }

    /// Computes outputs that have several parts.
    fn forward_in_parts(
        &mut self,
        x: Blocks<'_, F>,
        weights: &PartWeights<'_, F>,
        team: &ThreadPool,
    ) {
        let (total, units, activation) = (self.total(), self.units, self.activation);
        let Self { terms, outputs, .. } = self;
        team.each_part(terms.iter_mut(), |part, out| {
            term(x, (part, units.columns()), &weights(part), &mut out[..total]);
        });
        team.each_part(outputs.iter_mut(), |part, outputs| {
            let terms = terms.iter().map(|term| &term[..total]);
            sum_columns(terms, units.columns(), units.range(part), outputs, Onto::Nothing);
            activation.apply(outputs);
        });
    }

    /// The gradient of x·kernel + bias, `(T, N, O)`, as part `part` has it; valid after `backward`.
    fn d_outputs(&self, part: usize) -> &[F] {
        match self.units.count() {
            1 => &self.gradients[0].outputs.values,
            _ => &self.terms[part][..self.total()],
        }
    }
}

impl<F: Real> Pass<F> for DensePass<F> {
    fn forward(&mut self, inputs: Inputs<'_, F>, weights: &PartWeights<'_, F>, team: &ThreadPool) {
        self.resize(inputs.rows.along(self.along).total());
        let x = inputs.vectors(self.read, self.inputs);
        match self.units.count() {
            1 => self.forward_whole(x, weights, team),
            _ => self.forward_in_parts(x, weights, team),
        }
    }

    fn backward(
        &mut self,
        mut gradients: InputGradients<'_, F>,
        weights: &PartWeights<'_, F>,
        team: &ThreadPool,
    ) {
        let (total, activation) = (self.total(), self.activation);
        let own = self.outputs.iter().zip(&mut self.gradients);
        team.each_part(own, |_, (outputs, gradient)| {
            activation.backward(outputs, &mut gradient.outputs);
        });
        let (units, parts) = (self.units, &self.gradients);
        let back = |part, d_outputs: &[F], gradient: &mut GradientSum<F>| {
            let weights = weights(part);
            let own = weights.values[KERNEL].len() / units.columns();
            let (d_x, onto) = gradient.onto();
            let d_outputs = Matrix::new(d_outputs, units.columns());
            multiply(d_outputs, weights.transposed(KERNEL, own), d_x, onto, Order::Down);
        };
        let d_inputs = gradients.of(self.read);
        match units.count() {
            1 => team.each_part(d_inputs, |part, gradient| {
                back(part, &parts[0].outputs.values, gradient);
            }),
            _ => team.each_part(d_inputs.zip(&mut self.terms), |part, (gradient, whole)| {
                let (all, whole) = (0..units.columns(), &mut whole[..total]);
                let parts = parts.iter().map(|part| &part.outputs.values[..]);
                gather(units.ranges().zip(parts), all, whole, Onto::Nothing);
                back(part, whole, gradient);
            }),
        }
    }

    fn factors<'a>(&'a self, weight: usize, part: usize, inputs: Inputs<'a, F>) -> Factors<'a, F> {
        let d_outputs = self.d_outputs(part);
        match weight {
            KERNEL => {
                let x = inputs.vectors(self.read, self.inputs);
                Factors::Product(x.block(part), d_outputs)
            }
            _ => Factors::Sum(d_outputs),
        }
    }

    fn outputs(&self) -> Blocks<'_, F> {
        let parts = self.outputs.iter().zip(&self.gradients);
        let parts = parts.map(|(outputs, gradient)| match outputs.capacity() {
            0 => &gradient.outputs.values[..],
            _ => outputs,
        });
        Blocks::new(self.units.columns(), parts)
    }

    fn gradients(&mut self) -> &mut [Gradient<F>] {
        &mut self.gradients
    }
}

impl Activation {
    /// Replaces x·kernel + bias by the outputs.
    fn apply<F: Real>(self, numbers: &mut [F]) {
        match self {
            Self::Linear => {}
            Self::Tanh => tanh(numbers),
        }
    }

    /// Replaces the gradient of `outputs` by that of x·kernel + bias.
    fn backward<F: Real>(self, outputs: &[F], gradient: &mut GradientSum<F>) {
        match self {
            Self::Linear => {}
            Self::Tanh => tanh_gradient(outputs, gradient.or_zeros()),
        }
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
