//! The pass of an LSTM over some rows of a batch: first the projection of its inputs, then its
//! steps.

use super::dropout::InputMask;
use super::steps::Steps;
use super::{InputKind, Lstm};
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::kernels::rows::sum_rows;
use crate::model::layers::dropout::LayerMasks;
use crate::model::layers::pass::{
    Buffers, Factors, Gradient, InputGradients, Inputs, Pass, Weights, affine,
};
use crate::model::layers::rows::{Axis, Rows};
use crate::model::{Along, Node, Read, Start};

const KERNEL: usize = 0;
const RECURRENT: usize = 1;
const BIAS: usize = 2;

/// An LSTM over T steps of N rows.
pub struct LstmPass<F> {
    read: Read,
    reads: InputKind,
    along: Along,
    inputs: usize,
    units: usize,
    steps: Steps<F>,
    /// `(N, 4H)`: the projection of a vector that is read at every step, then its gradient.
    repeated: Vec<F>,
    /// What dropout makes of its inputs.
    mask: InputMask<F>,
    /// Whether another layer needs the gradient of the initial state.
    wants_state: bool,
}

/// The pass of `layer` for `rows` rows.
pub fn pass<F: Real>(layer: &Lstm, node: &Node, rows: usize, buffers: &mut Buffers) -> LstmPass<F> {
    LstmPass {
        read: node.reads[0],
        reads: layer.reads,
        along: node.along,
        inputs: layer.inputs as usize,
        units: layer.units as usize,
        steps: Steps::new(layer, rows, buffers),
        repeated: buffers.take(),
        mask: InputMask::new(layer, buffers),
        wants_state: matches!(node.start, Start::From(_)),
    }
}

impl<F: Real> LstmPass<F> {
    /// Projects ids: looks up rows of the kernel.
    fn look_up(&mut self, ids: &[usize], weights: &Weights<'_, F>) {
        let (kernel, bias) = (weights.values[KERNEL], weights.values[BIAS]);
        let width = bias.len();
        let gates = self.steps.gates.chunks_exact_mut(width);
        if self.mask.is_on() {
            for ((gates, id), &scale) in gates.zip(ids).zip(self.mask.scales(ids.len())) {
                let row = &kernel[id * width..(id + 1) * width];
                for ((gate, &x), &bias) in gates.iter_mut().zip(row).zip(bias) {
                    *gate = x * scale + bias;
                }
            }
            return;
        }
        for (gates, id) in gates.zip(ids) {
            let row = &kernel[id * width..(id + 1) * width];
            for ((gate, &x), &bias) in gates.iter_mut().zip(row).zip(bias) {
                *gate = x + bias;
            }
        }
    }

    /// Projects a vector that is read at every step.
    fn repeat(&mut self, x: &[F], rows: &Rows, weights: &Weights<'_, F>) {
        let (kernel, bias) = (weights.values[KERNEL], weights.values[BIAS]);
        affine(Matrix::new(self.mask.of(x), self.inputs), kernel, bias, &mut self.repeated);
        let width = bias.len();
        let gates = self.steps.gates.chunks_exact_mut(width);
        for (gates, row) in gates.zip(source_rows(rows, self.along)) {
            gates.copy_from_slice(&self.repeated[row * width..(row + 1) * width]);
        }
    }

    /// Sums the gradient of the projection of such a vector over the steps.
    fn sum_repeated(&mut self, rows: &Rows) {
        self.repeated.fill(F::default());
        let width = 4 * self.units;
        let gates = self.steps.gates.chunks_exact(width);
        for (gates, row) in gates.zip(source_rows(rows, self.along)) {
            sum_rows(&mut self.repeated[row * width..(row + 1) * width], gates);
        }
    }

    /// Projects vectors, one for each step, or zeros where there are none.
    fn project(&mut self, x: &[F], weights: &Weights<'_, F>) {
        let (kernel, bias) = (weights.values[KERNEL], weights.values[BIAS]);
        if x.is_empty() {
            let gates = self.steps.gates.chunks_exact_mut(bias.len());
            return gates.for_each(|gates| gates.copy_from_slice(bias));
        }
        affine(Matrix::new(self.mask.of(x), self.inputs), kernel, bias, &mut self.steps.gates);
    }

    /// The rows of what it reads: one vector is the source's.
    fn input_axis<'a>(&self, rows: &'a Rows) -> &'a Axis {
        if self.reads == InputKind::OneVector { &rows.source } else { rows.along(self.along) }
    }

    /// The gradient of the input projections: of each step, or, for a repeated vector, their sum.
    fn d_projected(&self) -> &[F] {
        if self.reads == InputKind::OneVector { &self.repeated } else { &self.steps.gates }
    }
}

/// Of every step's rows along `along`, which rows of the source they are.
fn source_rows(rows: &Rows, along: Along) -> impl Iterator<Item = usize> {
    let axis = rows.along(along);
    (0..axis.steps()).flat_map(move |t| {
        let own = 0..axis.at(t).len();
        own.map(move |row| if along == Along::Source { row } else { rows.source_row[row] })
    })
}

impl<F: Real> Pass<F> for LstmPass<F> {
    fn draw(&mut self, inputs: Inputs<'_, F>, masks: LayerMasks<'_>) {
        if self.mask.is_on() {
            let axis = self.input_axis(inputs.rows);
            self.mask.draw(axis, inputs.ids(self.read), masks);
        }
        if self.steps.mask.is_on() {
            self.steps.mask.draw(inputs.rows.along(self.along), masks);
        }
    }

    fn forward(&mut self, inputs: Inputs<'_, F>, weights: &Weights<'_, F>) {
        let axis = inputs.rows.along(self.along);
        self.steps.resize(axis);
        if self.mask.is_on() && self.reads != InputKind::Ids {
            self.mask.apply(inputs.vectors(self.read), self.input_axis(inputs.rows));
        }
        match self.reads {
            InputKind::OneVector => self.repeat(inputs.vectors(self.read), inputs.rows, weights),
            InputKind::Vectors => self.project(inputs.vectors(self.read), weights),
            InputKind::Ids => match inputs.ids(self.read) {
                // In inference, probabilities in place of ids.
                [] => self.project(inputs.vectors(self.read), weights),
                ids => self.look_up(ids, weights),
            },
        }
        self.steps.forward(axis, weights.matrix(RECURRENT, 4 * self.units));
    }

    fn backward(&mut self, mut gradients: InputGradients<'_, F>, weights: &Weights<'_, F>) {
        let rows = gradients.rows;
        let recurrent = weights.transposed(RECURRENT, self.units);
        self.steps.backward(rows.along(self.along), recurrent, self.wants_state);
        let Some(gradient) = gradients.get(self.read) else { return };
        if self.reads == InputKind::OneVector {
            self.sum_repeated(rows);
        }
        let (d_x, onto) = gradient.onto();
        let kernel = weights.transposed(KERNEL, self.inputs);
        if !self.mask.is_on() {
            let d_projected = Matrix::new(self.d_projected(), 4 * self.units);
            return multiply(d_projected, kernel, d_x, onto, Order::Up);
        }
        let axis = self.input_axis(rows);
        let Self { mask, repeated, steps, .. } = self;
        let once = self.reads == InputKind::OneVector;
        let d_projected = Matrix::new(if once { repeated } else { &steps.gates }, 4 * self.units);
        multiply(d_projected, kernel, mask.gradient(d_x.len()), Onto::Nothing, Order::Up);
        mask.backward(axis, d_x, onto);
    }

    fn factors<'a>(&'a self, weight: usize, inputs: Inputs<'a, F>) -> Factors<'a, F> {
        match (weight, self.reads) {
            (KERNEL, InputKind::Ids) if self.mask.is_on() => {
                let ids = inputs.ids(self.read);
                Factors::ScaledRows(ids, self.mask.scales(ids.len()), &self.steps.gates)
            }
            (KERNEL, InputKind::Ids) => Factors::Rows(inputs.ids(self.read), &self.steps.gates),
            (KERNEL, InputKind::Vectors | InputKind::OneVector) => {
                let x = self.mask.of(inputs.vectors(self.read));
                let x = Matrix::new(x, self.inputs);
                Factors::Product(x, self.d_projected())
            }
            (RECURRENT, _) => {
                let (h, d_gates) = self.steps.recurrent_rows(inputs.rows.along(self.along));
                Factors::Product(Matrix::new(h, self.units), d_gates)
            }
            _ => Factors::Sum(&self.steps.gates),
        }
    }

    fn outputs(&self) -> &[F] {
        self.steps.outputs()
    }

    fn gradient(&mut self) -> &mut Gradient<F> {
        &mut self.steps.gradient
    }

    fn state(&self) -> [&[F]; 2] {
        self.steps.last()
    }

    fn initial(&mut self) -> [&mut [F]; 2] {
        self.steps.initial()
    }

    fn carry(&mut self) {
        self.steps.carry();
    }
}
