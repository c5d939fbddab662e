//! What dropout masks make of an LSTM's inputs and of its h, for some rows of a batch. Without dropout
//! all buffers are empty.

use std::ops::Range;

use super::states::scaled;
use super::{InputKind, Lstm};
use crate::kernels::blocks::Blocks;
use crate::kernels::float::Real;
use crate::kernels::masks::{add_masked, mask, mask_in_place};
use crate::kernels::product::Onto;
use crate::model::layers::dropout::{LayerMasks, Masked};
use crate::model::layers::pass::{Buffers, sum_columns};
use crate::model::layers::rows::Axis;

/// Numbers of [`RecurrentMask`] of `units` units and `steps` steps a row: of its `mask` and `masked`.
pub fn recurrent_numbers(layer: &Lstm, units: i64, steps: i64) -> [i64; 2] {
    let on = i64::from(layer.dropout.recurrent > 0.0);
    [on * units, on * steps * units]
}

/// Numbers of [`InputMask`] of `steps` steps a row: of its `scales`, `mask` and `masked`.
pub fn input_numbers(layer: &Lstm, steps: i64) -> [i64; 3] {
    let inputs = layer.inputs;
    match layer.reads {
        _ if layer.dropout.input == 0.0 => [0; 3],
        InputKind::Ids => [steps, 0, 0],
        InputKind::Vectors => [0, inputs, steps * inputs],
        InputKind::OneVector => [0, inputs, inputs],
    }
}

/// Numbers of the mask of one row, which is used again for each: of all ids, and of h.
pub fn scratch_numbers(layer: &Lstm) -> i64 {
    let ids = layer.dropout.input > 0.0 && layer.reads == InputKind::Ids;
    let h = layer.dropout.recurrent > 0.0;
    (i64::from(ids) * layer.inputs).max(i64::from(h) * layer.units)
}

/// The masks of what an LSTM reads.
#[derive(Debug)]
pub struct InputMask<F> {
    rate: f64,
    reads: InputKind,
    inputs: usize,
    /// `(T, N)`: for ids, what each one's row of the kernel is multiplied by.
    scales: Vec<F>,
    /// `(N, I)`: for vectors.
    mask: Vec<F>,
    /// `(T, N, I)`, of one vector `(N, I)`: what is read, masked.
    masked: Vec<F>,
}

impl<F: Real> InputMask<F> {
    /// Those of `layer`.
    pub fn new(layer: &Lstm, buffers: &mut Buffers) -> Self {
        let [scales, mask, masked] = [(); 3].map(|()| buffers.take());
        let (rate, reads, inputs) = (layer.dropout.input, layer.reads, layer.inputs as usize);
        Self { rate, reads, inputs, scales, mask, masked }
    }

    /// Whether there are any.
    pub fn is_on(&self) -> bool {
        self.rate > 0.0
    }

    /// Draws the masks of the rows of `axis`, along which the layer reads `ids`, or else vectors; `of_row` is
    /// room for the mask of all ids.
    pub fn draw(&mut self, axis: &Axis, ids: &[usize], masks: LayerMasks<'_>, of_row: &mut [F]) {
        let Self { rate, scales, mask, inputs, .. } = self;
        for (i, &row) in axis.order.iter().enumerate() {
            if self.reads != InputKind::Ids {
                masks.row(Masked::Input, *rate, row, &mut mask[scaled(i..i + 1, *inputs)]);
                continue;
            }
            masks.row(Masked::Input, *rate, row, &mut of_row[..*inputs]);
            let steps = (0..axis.steps()).map(|t| axis.at(t)).take_while(|step| i < step.len());
            for step in steps {
                scales[step.start + i] = of_row[ids[step.start + i]];
            }
        }
    }

    /// Where those of `len` numbers lie that have the first rows' masks: each step's, or all where one
    /// vector is read.
    fn ranges<'a>(
        &self,
        axis: &'a Axis,
        len: usize,
    ) -> impl Iterator<Item = Range<usize>> + use<'a, F> {
        let (once, inputs) = (self.reads == InputKind::OneVector, self.inputs);
        let steps = if once { 1 } else { axis.steps() };
        (0..steps).map(move |t| if once { 0..len } else { scaled(axis.at(t), inputs) })
    }

    /// Masks the vectors `x`.
    pub fn apply(&mut self, x: Blocks<'_, F>, axis: &Axis) {
        let (inputs, len) = (self.inputs, x.rows() * self.inputs);
        for range in self.ranges(axis, len) {
            let first = range.start / inputs;
            let rows =
                self.masked[range].chunks_exact_mut(inputs).zip(self.mask.chunks_exact(inputs));
            for (number, (masked, of_row)) in rows.enumerate() {
                for (columns, values) in x.parts() {
                    let own = scaled(first + number..first + number + 1, columns.len());
                    mask(&values[own], &of_row[columns.clone()], &mut masked[columns]);
                }
            }
        }
    }

    /// The vectors `x` as they were masked, or themselves.
    pub fn of<'a>(&'a self, x: Blocks<'a, F>) -> Blocks<'a, F> {
        match self.is_on() && self.reads != InputKind::Ids {
            true => Blocks::one(&self.masked[..x.rows() * self.inputs], self.inputs),
            false => x,
        }
    }

    /// By what the kernel's rows of `ids` ids are multiplied.
    pub fn scales(&self, ids: usize) -> &[F] {
        &self.scales[..ids]
    }

    /// Adds the columns `columns` of `terms`, whose sum is the gradient of what was masked, to the gradient
    /// `d_x` of these columns, or overwrites it.
    pub fn backward<'a>(
        &self,
        axis: &Axis,
        terms: impl Iterator<Item = &'a [F]>,
        columns: Range<usize>,
        (d_x, mut onto): (&mut [F], Onto),
    ) where
        F: 'a,
    {
        if !self.is_on() {
            return sum_columns(terms, self.inputs, columns, d_x, onto);
        }
        let (inputs, width) = (self.inputs, columns.len());
        for term in terms {
            for range in self.ranges(axis, d_x.len() / width * inputs) {
                let rows =
                    term[range.clone()].chunks_exact(inputs).zip(self.mask.chunks_exact(inputs));
                let to = d_x[range.start / inputs * width..].chunks_exact_mut(width);
                for ((term, mask_of_row), to) in rows.zip(to) {
                    let (term, of_row) = (&term[columns.clone()], &mask_of_row[columns.clone()]);
                    match onto {
                        Onto::Nothing => mask(term, of_row, to),
                        Onto::Sum => add_masked(term, of_row, to),
                    }
                }
            }
            onto = Onto::Sum;
        }
    }
}

/// The mask of the h of some units that enters the recurrent product.
#[derive(Debug)]
pub struct RecurrentMask<F> {
    rate: f64,
    /// Which units.
    units: Range<usize>,
    /// `(N, U)`.
    mask: Vec<F>,
    /// `(T, N, U)`: h before each step, masked.
    masked: Vec<F>,
}

impl<F: Real> RecurrentMask<F> {
    /// That of the units `units` of `layer`.
    pub fn new(layer: &Lstm, units: Range<usize>, buffers: &mut Buffers) -> Self {
        let [mask, masked] = [(); 2].map(|()| buffers.take());
        Self { rate: layer.dropout.recurrent, units, mask, masked }
    }

    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        self.rate > 0.0
    }

    /// Draws the masks of the rows of `axis`; `of_row` is room for that of all units.
    pub fn draw(&mut self, axis: &Axis, masks: LayerMasks<'_>, of_row: &mut [F]) {
        let own = self.mask.chunks_exact_mut(self.units.len());
        for (&row, mask) in axis.order.iter().zip(own) {
            masks.row(Masked::Recurrent, self.rate, row, of_row);
            mask.copy_from_slice(&of_row[self.units.clone()]);
        }
    }

    /// What enters the product of the step whose numbers lie in `now`: `h` masked, or itself.
    pub fn apply<'a>(&'a mut self, now: Range<usize>, h: &'a [F]) -> &'a [F] {
        if !self.is_on() {
            return h;
        }
        let masked = &mut self.masked[now];
        mask(h, &self.mask, masked);
        masked
    }

    /// What has entered the products of the steps in `rows`, whose h was `h`.
    pub fn of<'a>(&'a self, rows: Range<usize>, h: &'a [F]) -> &'a [F] {
        if self.is_on() { &self.masked[scaled(rows, self.units.len())] } else { h }
    }

    /// Replaces the gradient of what entered a product by that of h.
    pub fn backward(&self, d_h: &mut [F]) {
        if self.is_on() {
            mask_in_place(d_h, &self.mask);
        }
    }
}
