//! The pass of an LSTM over some rows of a batch: first the projection of its inputs, then its
//! steps.

use super::dropout::InputMask;
use super::steps::{PartStart, Steps};
use super::{InputKind, Lstm};
use crate::kernels::blocks::{Blocks, Parts};
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::kernels::rows::sum_rows;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::dropout::LayerMasks;
use crate::model::layers::pass::{
    Begin, Buffers, Factors, Gradient, InputGradients, Inputs, PartWeights, Pass, Weights, affine,
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
    start: Start,
    begin: Begin,
    steps: Steps<F>,
    /// Each part's.
    projections: Vec<Projection<F>>,
    /// What dropout makes of its inputs.
    mask: InputMask<F>,
    /// Room for the mask of a row.
    mask_of_row: Vec<F>,
}

/// What a part of U units has of the projection of the inputs, besides the gates.
struct Projection<F> {
    /// `(N, 4U)`: the projection of a vector that is read at every step, then its gradient.
    repeated: Vec<F>,
    /// `(T, N, I)`, of one vector `(N, I)`: the part's term of the gradient of what is read.
    d_inputs: Vec<F>,
}

/// The pass of `layer` for `rows` rows.
pub fn pass<F: Real>(layer: &Lstm, node: &Node, rows: usize, buffers: &mut Buffers) -> LstmPass<F> {
    let steps = Steps::new(layer, node.parts, rows, buffers);
    let projection = |_| Projection { repeated: buffers.take(), d_inputs: buffers.take() };
    LstmPass {
        read: node.reads[0],
        reads: layer.reads,
        along: node.along,
        inputs: layer.inputs as usize,
        start: node.start,
        begin: Begin::default(),
        projections: (0..steps.parts.len()).map(projection).collect(),
        steps,
        mask: InputMask::new(layer, buffers),
        mask_of_row: buffers.take(),
    }
}

/// Projects ids: looks up rows of the kernel, and multiplies each by its number of `scales`, if there are
/// any.
fn look_up<F: Real>(
    ids: &[usize],
    scales: Option<&[F]>,
    weights: &Weights<'_, F>,
    gates: &mut [F],
) {
    let (kernel, bias) = (weights.values[KERNEL], weights.values[BIAS]);
    let width = bias.len();
    let rows = ids.iter().map(|id| &kernel[id * width..(id + 1) * width]);
    let gates = gates.chunks_exact_mut(width).zip(rows);
    let Some(scales) = scales else {
        return gates.for_each(|(gates, row)| {
            for ((gate, &x), &bias) in gates.iter_mut().zip(row).zip(bias) {
                *gate = x + bias;
            }
        });
    };
    for ((gates, row), &scale) in gates.zip(scales) {
        for ((gate, &x), &bias) in gates.iter_mut().zip(row).zip(bias) {
            *gate = x * scale + bias;
        }
    }
}

/// Projects vectors, one for each step, or zeros where there are none.
fn project<F: Real>(x: Blocks<'_, F>, weights: &Weights<'_, F>, gates: &mut [F]) {
    let (kernel, bias) = (weights.values[KERNEL], weights.values[BIAS]);
    if x.is_empty() {
        return gates.chunks_exact_mut(bias.len()).for_each(|gates| gates.copy_from_slice(bias));
    }
    affine(x, kernel, bias, gates);
}

/// Projects a vector that is read at every step: once, to `repeated`.
fn repeat<F: Real>(
    x: Blocks<'_, F>,
    weights: &Weights<'_, F>,
    rows: impl Iterator<Item = usize>,
    repeated: &mut [F],
    gates: &mut [F],
) {
    let (kernel, bias) = (weights.values[KERNEL], weights.values[BIAS]);
    affine(x, kernel, bias, repeated);
    let width = bias.len();
    for (gates, row) in gates.chunks_exact_mut(width).zip(rows) {
        gates.copy_from_slice(&repeated[row * width..(row + 1) * width]);
    }
}

/// Sums the gradient of the projection of such a vector over the steps.
fn sum_repeated<F: Real>(
    d_gates: &[F],
    width: usize,
    rows: impl Iterator<Item = usize>,
    repeated: &mut [F],
) {
    repeated.fill(F::default());
    for (gates, row) in d_gates.chunks_exact(width).zip(rows) {
        sum_rows(&mut repeated[row * width..(row + 1) * width], gates);
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

/// Sets the initial state of part `number` as `begin` says.
fn set_state<F: Real>(
    (begin, start): (Begin, Start),
    number: usize,
    part: &mut PartStart<'_, F>,
    inputs: Inputs<'_, F>,
) {
    match (begin, start) {
        (Begin::Carried, _) => part.carry(),
        (Begin::Zeros, _) | (Begin::AsTheModelSays, Start::Zero) => {
            part.initial().into_iter().for_each(|state| state.fill(F::default()));
        }
        (Begin::AsTheModelSays, Start::From(other)) => {
            let rows = &inputs.rows.source_row;
            for (initial, last) in part.initial().into_iter().zip(inputs.nodes[other].state(number))
            {
                let width = initial.len() / rows.len().max(1);
                for (initial, row) in initial.chunks_exact_mut(width.max(1)).zip(rows) {
                    initial.copy_from_slice(&last[row * width..(row + 1) * width]);
                }
            }
        }
        (Begin::AsTheModelSays, Start::Carried) => {}
    }
}

impl<F: Real> LstmPass<F> {
    /// The rows of what it reads: one vector is the source's.
    fn input_axis<'a>(&self, rows: &'a Rows) -> &'a Axis {
        if self.reads == InputKind::OneVector { &rows.source } else { rows.along(self.along) }
    }

    /// The vectors that it reads, masked.
    fn read<'a>(&'a self, inputs: Inputs<'a, F>) -> Blocks<'a, F> {
        self.mask.of(inputs.vectors(self.read, self.inputs))
    }

    /// Adds the gradient of its initial state to that of the layer's which the state is.
    fn give_state(&self, gradients: &mut InputGradients<'_, F>, team: &ThreadPool) {
        let Start::From(other) = self.start else { return };
        let (units, rows) = (self.steps.units(), gradients.rows);
        let to = gradients.nodes[other].gradients().iter_mut();
        team.each_part(to.zip(&self.steps.gradients), |part, (to, from)| {
            let width = units.range(part).len();
            to.h.add_to_rows(width, &rows.source_row, &from.h.values);
            to.c.add_to_rows(width, &rows.source_row, &from.c.values);
        });
    }

    /// Adds the gradient of the vectors that it reads to that of the layer below: each part has a term of it, and
    /// then each part of that layer sums its columns of all terms.
    fn give_inputs(
        &mut self,
        mut gradients: InputGradients<'_, F>,
        weights: &PartWeights<'_, F>,
        team: &ThreadPool,
    ) {
        let (rows, reads, along, inputs) = (gradients.rows, self.reads, self.along, self.inputs);
        let axis = self.input_axis(rows);
        let Self { steps, projections, mask, .. } = self;
        team.each_part(steps.parts.iter().zip(projections.iter_mut()), |part, (steps, own)| {
            let (weights, Projection { repeated, d_inputs }) = (weights(part), own);
            let width = weights.values[BIAS].len();
            let d_projected = match reads {
                InputKind::OneVector => {
                    sum_repeated(&steps.gates, width, source_rows(rows, along), repeated);
                    &*repeated
                }
                InputKind::Ids | InputKind::Vectors => &steps.gates,
            };
            let term = &mut d_inputs[..d_projected.len() / width * inputs];
            let (d_projected, kernel) =
                (Matrix::new(d_projected, width), weights.transposed(KERNEL, inputs));
            multiply(d_projected, kernel, term, Onto::Nothing, Order::Up);
        });
        let parts = Parts::new(inputs, gradients.of(self.read).count());
        team.each_part(gradients.of(self.read), |part, gradient| {
            let (columns, to) = (parts.range(part), gradient.onto());
            let len = to.0.len() / columns.len() * inputs;
            mask.backward(axis, projections.iter().map(|own| &own.d_inputs[..len]), columns, to);
        });
    }
}

impl<F: Real> Pass<F> for LstmPass<F> {
    fn draw(&mut self, inputs: Inputs<'_, F>, masks: LayerMasks<'_>) {
        if self.mask.is_on() {
            let axis = self.input_axis(inputs.rows);
            self.mask.draw(axis, inputs.ids(self.read), masks, &mut self.mask_of_row);
        }
        self.steps.draw(inputs.rows.along(self.along), masks, &mut self.mask_of_row);
    }

    fn forward(&mut self, inputs: Inputs<'_, F>, weights: &PartWeights<'_, F>, team: &ThreadPool) {
        let (axis, ids) = (inputs.rows.along(self.along), inputs.ids(self.read));
        self.steps.resize(axis);
        if self.mask.is_on() && self.reads != InputKind::Ids {
            let x = inputs.vectors(self.read, self.inputs);
            self.mask.apply(x, self.input_axis(inputs.rows));
        }
        let begin = (std::mem::take(&mut self.begin), self.start);
        let Self { steps, projections, mask, reads, along, .. } = self;
        let x = mask.of(inputs.vectors(self.read, self.inputs));
        let scales = mask.is_on().then(|| mask.scales(ids.len()));
        team.each_part(steps.start().zip(projections), |number, (mut part, own)| {
            set_state(begin, number, &mut part, inputs);
            let (weights, gates) = (&weights(number), &mut part.steps.gates);
            match (*reads, ids) {
                (InputKind::OneVector, _) => {
                    let rows = source_rows(inputs.rows, *along);
                    repeat(x, weights, rows, &mut own.repeated, gates);
                }
                // For ids, in inference, probabilities in place of them.
                (InputKind::Vectors, _) | (InputKind::Ids, []) => project(x, weights, gates),
                (InputKind::Ids, ids) => look_up(ids, scales, weights, gates),
            }
        });
        steps.forward(axis, |part| matrix(weights, part, RECURRENT), team);
    }

    fn backward(
        &mut self,
        mut gradients: InputGradients<'_, F>,
        weights: &PartWeights<'_, F>,
        team: &ThreadPool,
    ) {
        let columns = self.steps.units().columns();
        let recurrent = |part: usize| weights(part).transposed(RECURRENT, columns);
        let wants_state = matches!(self.start, Start::From(_));
        self.steps.backward(gradients.rows.along(self.along), recurrent, wants_state, team);
        self.give_state(&mut gradients, team);
        if !matches!(self.read, Read::Source | Read::DecoderInput) {
            self.give_inputs(gradients, weights, team);
        }
    }

    fn factors<'a>(&'a self, weight: usize, part: usize, inputs: Inputs<'a, F>) -> Factors<'a, F> {
        let (ids, gates) = (inputs.ids(self.read), self.steps.parts[part].gates.as_slice());
        match (weight, self.reads) {
            (KERNEL, InputKind::Ids) if self.mask.is_on() => {
                Factors::ScaledRows(ids, self.mask.scales(ids.len()), gates)
            }
            (KERNEL, InputKind::Ids) => Factors::Rows(ids, gates),
            (KERNEL, InputKind::Vectors) => Factors::Product(self.read(inputs), gates),
            (KERNEL, InputKind::OneVector) => {
                Factors::Product(self.read(inputs), &self.projections[part].repeated)
            }
            (RECURRENT, _) => {
                let (h, d_gates) = self.steps.recurrent_rows(inputs.rows.along(self.along), part);
                Factors::Product(h, d_gates)
            }
            _ => Factors::Sum(gates),
        }
    }

    fn outputs(&self) -> Blocks<'_, F> {
        self.steps.outputs()
    }

    fn gradients(&mut self) -> &mut [Gradient<F>] {
        &mut self.steps.gradients
    }

    fn state(&self, part: usize) -> [&[F]; 2] {
        self.steps.last(part)
    }

    fn initial(&mut self, part: usize) -> [&mut [F]; 2] {
        self.steps.initial(part)
    }

    fn last(&self) -> Blocks<'_, F> {
        self.steps.last_h()
    }

    fn begin(&mut self, begin: Begin) {
        self.begin = begin;
    }
}

/// A part's weight number `weight` as a matrix.
fn matrix<'a, F: Real>(weights: &PartWeights<'a, F>, part: usize, weight: usize) -> Matrix<'a, F> {
    let weights = weights(part);
    weights.matrix(weight, weights.values[BIAS].len())
}
