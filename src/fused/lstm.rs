//! An LSTM's time steps, forward and backward, for some rows of a batch.

use std::ops::Range;

use super::cells::{self, Step, StepGradient};
use super::product::{Matrix, Onto, Panels, multiply};
use crate::config::GateActivation;
use crate::real::Real;

/// A weight matrix packed for products with it and with its transpose.
#[derive(Debug)]
pub struct Kernel<F> {
    place: Range<usize>,
    columns: usize,
    /// For x · kernel.
    pub forward: Panels<F>,
    /// For dy · kernelᵀ.
    pub backward: Panels<F>,
}

impl<F: Real> Kernel<F> {
    /// Of the row-major matrix of `columns` columns that lies at `place` among the weights; not yet
    /// packed.
    pub fn new(place: Range<usize>, columns: usize) -> Self {
        Self { place, columns, forward: Panels::default(), backward: Panels::default() }
    }

    /// Packs what the matrix is now.
    pub fn pack(&mut self, weights: &[F]) {
        let kernel = Matrix::new(&weights[self.place.clone()], self.columns);
        self.forward.pack(kernel);
        self.backward.pack(kernel.transposed());
    }
}

/// T time steps of an LSTM over N rows; buffers for what the backward pass and the gradient of the
/// weights need.
#[derive(Debug)]
pub struct Steps<F> {
    steps: usize,
    units: usize,
    /// One time step's numbers of width H.
    n: usize,
    activation: GateActivation,
    /// `(T, N, 4H)`. In: the input projections. After `forward`: σ(i), σ(f), tanh(g), σ(o).
    pub gates: Vec<F>,
    /// `(T + 1, N, H)`: h before the first step, the caller's to set, and after each.
    pub h: Vec<F>,
    /// `(T + 1, N, H)`: c, likewise.
    pub c: Vec<F>,
    /// `(T, N, H)`.
    tanh_c: Vec<F>,
    /// `(T, N, 4H)`: after `backward` the gradient of the gates before their activations, and so
    /// of the input projections.
    pub d_gates: Vec<F>,
    /// `(N, H)`. In: gradient of the last h, beside what `backward` is given for every output.
    /// After `backward`: that of the initial h.
    pub d_h: Vec<F>,
    /// `(N, H)`: of c, likewise.
    pub d_c: Vec<F>,
}

impl<F: Real> Steps<F> {
    /// Buffers for `steps` steps of `rows` rows.
    pub fn new(steps: usize, rows: usize, units: usize, activation: GateActivation) -> Self {
        let n = rows * units;
        let zeros = |len| vec![F::default(); len];
        Self {
            steps,
            units,
            n,
            activation,
            gates: zeros(steps * 4 * n),
            h: zeros((steps + 1) * n),
            c: zeros((steps + 1) * n),
            tanh_c: zeros(steps * n),
            d_gates: zeros(steps * 4 * n),
            d_h: zeros(n),
            d_c: zeros(n),
        }
    }

    /// Every step's output, `(T, N, H)`.
    pub fn outputs(&self) -> &[F] {
        &self.h[self.n..]
    }

    /// What every step started from, `(T, N, H)`.
    pub fn h_before(&self) -> &[F] {
        &self.h[..self.steps * self.n]
    }

    /// The last output, `(N, H)`.
    pub fn last_h(&self) -> &[F] {
        &self.h[self.steps * self.n..]
    }

    /// The last cell, `(N, H)`.
    pub fn last_c(&self) -> &[F] {
        &self.c[self.steps * self.n..]
    }

    /// Runs all steps.
    pub fn forward(&mut self, recurrent: &Kernel<F>) {
        let n = self.n;
        for t in 0..self.steps {
            let (before, after) = self.h.split_at_mut((t + 1) * n);
            let gates = &mut self.gates[4 * n * t..4 * n * (t + 1)];
            let h = Matrix::new(&before[n * t..], self.units);
            multiply(h, &recurrent.forward, gates, Onto::Sum);
            let (c_before, c) = self.c.split_at_mut((t + 1) * n);
            let mut step = Step {
                gates,
                c_before: &c_before[n * t..],
                c: &mut c[..n],
                tanh_c: &mut self.tanh_c[n * t..n * (t + 1)],
                h: &mut after[..n],
            };
            cells::forward(&mut step, self.units, self.activation);
        }
    }

    /// Takes all steps back, given the gradient of every output, `(T, N, H)` or nothing where
    /// only the last step's matters, which `d_h` and `d_c` hold. The gradient of the initial state
    /// is left in these where `wants_state` says that it will be used.
    pub fn backward(&mut self, recurrent: &Kernel<F>, d_outputs: Option<&[F]>, wants_state: bool) {
        let n = self.n;
        for t in (0..self.steps).rev() {
            let now = n * t..n * (t + 1);
            let d_gates = &mut self.d_gates[4 * n * t..4 * n * (t + 1)];
            let mut step = StepGradient {
                gates: &self.gates[4 * n * t..4 * n * (t + 1)],
                c_before: &self.c[now.clone()],
                tanh_c: &self.tanh_c[now.clone()],
                d_output: d_outputs.map(|d| &d[now]),
                d_h: &self.d_h,
                d_c: &mut self.d_c,
                d_gates,
            };
            cells::backward(&mut step, self.units, self.activation);
            if t > 0 || wants_state {
                let d_gates = Matrix::new(d_gates, 4 * self.units);
                multiply(d_gates, &recurrent.backward, &mut self.d_h, Onto::Nothing);
            }
        }
    }
}
