//! What dropout masks make of an LSTM's inputs and of its h, for some rows of a batch. Without dropout
//! all buffers are empty.

use std::ops::Range;

use super::states::scaled;
use super::{InputKind, Lstm};
use crate::kernels::float::Real;
use crate::kernels::masks::{add_masked, mask, mask_in_place};
use crate::kernels::product::Onto;
use crate::model::layers::dropout::{LayerMasks, Masked};
use crate::model::layers::pass::Buffers;
use crate::model::layers::rows::Axis;

/// Numbers of [`RecurrentMask`] of `steps` steps a row: of its `mask` and `masked`.
pub fn recurrent_numbers(layer: &Lstm, steps: i64) -> [i64; 2] {
    let on = i64::from(layer.dropout.recurrent > 0.0);
    [on * layer.units, on * steps * layer.units]
}

/// Numbers of [`InputMask`] of `steps` steps a row: of its `scales`, `mask`, `masked` and `gradient`.
pub fn input_numbers(layer: &Lstm, steps: i64) -> [i64; 4] {
    let inputs = layer.inputs;
    match layer.reads {
        _ if layer.dropout.input == 0.0 => [0; 4],
        InputKind::Ids => [steps, 0, 0, 0],
        InputKind::Vectors => [0, inputs, steps * inputs, steps * inputs],
        InputKind::OneVector => [0, inputs, inputs, inputs],
    }
}

/// Numbers of the mask of all ids, which [`InputMask`] uses again for each row.
pub fn scratch_numbers(layer: &Lstm) -> i64 {
    let on = layer.dropout.input > 0.0 && layer.reads == InputKind::Ids;
    i64::from(on) * layer.inputs
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
    /// The gradient of `masked`.
    gradient: Vec<F>,
    /// `(I)`: for ids, the mask of one row.
    of_row: Vec<F>,
}

impl<F: Real> InputMask<F> {
    /// Those of `layer`.
    pub fn new(layer: &Lstm, buffers: &mut Buffers) -> Self {
        let [scales, mask, masked, gradient, of_row] = [(); 5].map(|()| buffers.take());
        let (rate, reads, inputs) = (layer.dropout.input, layer.reads, layer.inputs as usize);
        Self { rate, reads, inputs, scales, mask, masked, gradient, of_row }
    }

    /// Whether there are any.
    pub fn is_on(&self) -> bool {
        self.rate > 0.0
    }

    /// Draws the masks of the rows of `axis`, along which the layer reads `ids`, or else vectors.
    pub fn draw(&mut self, axis: &Axis, ids: &[usize], masks: LayerMasks<'_>) {
        let Self { rate, scales, mask, of_row, .. } = self;
        for (i, &row) in axis.order.iter().enumerate() {
            if self.reads != InputKind::Ids {
                masks.row(Masked::Input, *rate, row, &mut mask[scaled(i..i + 1, self.inputs)]);
                continue;
            }
            masks.row(Masked::Input, *rate, row, of_row);
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
    pub fn apply(&mut self, x: &[F], axis: &Axis) {
        for range in self.ranges(axis, x.len()) {
            mask(&x[range.clone()], &self.mask, &mut self.masked[range]);
        }
    }

    /// The vectors `x` as they were masked, or themselves.
    pub fn of<'a>(&'a self, x: &'a [F]) -> &'a [F] {
        if self.is_on() { &self.masked[..x.len()] } else { x }
    }

    /// By what the kernel's rows of `ids` ids are multiplied.
    pub fn scales(&self, ids: usize) -> &[F] {
        &self.scales[..ids]
    }

    /// Where the gradient of `len` masked numbers is to be written.
    pub fn gradient(&mut self, len: usize) -> &mut [F] {
        &mut self.gradient[..len]
    }

    /// The gradient of what was masked, onto `d_x`.
    pub fn backward(&self, axis: &Axis, d_x: &mut [F], onto: Onto) {
        for range in self.ranges(axis, d_x.len()) {
            let (gradient, d_x) = (&self.gradient[range.clone()], &mut d_x[range]);
            match onto {
                Onto::Nothing => mask(gradient, &self.mask, d_x),
                Onto::Sum => add_masked(gradient, &self.mask, d_x),
            }
        }
    }
}

/// The mask of the h that enters the recurrent product.
#[derive(Debug)]
pub struct RecurrentMask<F> {
    rate: f64,
    units: usize,
    /// `(N, H)`.
    mask: Vec<F>,
    /// `(T, N, H)`: h before each step, masked.
    masked: Vec<F>,
}

impl<F: Real> RecurrentMask<F> {
    /// That of `layer`.
    pub fn new(layer: &Lstm, buffers: &mut Buffers) -> Self {
        let [mask, masked] = [(); 2].map(|()| buffers.take());
        Self { rate: layer.dropout.recurrent, units: layer.units as usize, mask, masked }
    }

    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        self.rate > 0.0
    }

    /// Draws the masks of the rows of `axis`.
    pub fn draw(&mut self, axis: &Axis, masks: LayerMasks<'_>) {
        for (&row, mask) in axis.order.iter().zip(self.mask.chunks_exact_mut(self.units)) {
            masks.row(Masked::Recurrent, self.rate, row, mask);
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
        if self.is_on() { &self.masked[scaled(rows, self.units)] } else { h }
    }

    /// Replaces the gradient of what entered a product by that of h.
    pub fn backward(&self, d_h: &mut [F]) {
        if self.is_on() {
            mask_in_place(d_h, &self.mask);
        }
    }
}
