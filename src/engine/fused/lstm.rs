//! An LSTM's time steps, forward and backward, for some rows of a batch.

use super::cells::{self, CellGradient, CellStep};
use crate::config::GateActivation;
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};

/// T time steps of an LSTM over N rows; buffers for what the backward pass and the gradient of the
/// weights need.
#[derive(Debug)]
pub struct Steps<F> {
    steps: usize,
    units: usize,
    /// One time step's numbers of width H.
    n: usize,
    activation: GateActivation,
    /// The first step whose product with the recurrent kernel is not known to be zero: 1 where
    /// `forward` found the initial h to be.
    first_product: usize,
    /// `(T, N, 4H)`. In: the input projections. After `forward`: σ(i), σ(f), tanh(g), σ(o). After
    /// `backward`: the gradient of the input projections.
    pub gates: Vec<F>,
    /// `(T + 1, N, H)`: h before the first step, the caller's to set, and after each.
    pub h: Vec<F>,
    /// `(T + 1, N, H)`: c, likewise.
    pub c: Vec<F>,
    /// `(T, N, H)`.
    tanh_c: Vec<F>,
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
            first_product: 0,
            gates: zeros(steps * 4 * n),
            h: zeros((steps + 1) * n),
            c: zeros((steps + 1) * n),
            tanh_c: zeros(steps * n),
            d_h: zeros(n),
            d_c: zeros(n),
        }
    }

    /// Every step's output, `(T, N, H)`.
    pub fn outputs(&self) -> &[F] {
        &self.h[self.n..]
    }

    /// The last output, `(N, H)`.
    pub fn last_h(&self) -> &[F] {
        &self.h[self.steps * self.n..]
    }

    /// The last cell, `(N, H)`.
    pub fn last_c(&self) -> &[F] {
        &self.c[self.steps * self.n..]
    }

    /// What enters the recurrent kernel's gradient, as rows of one matrix each: the h that steps
    /// started from, `(T · N, H)`, and the gates' gradients, `(T · N, 4H)`, of those
    /// steps whose h is not known to be zero.
    pub fn recurrent_rows(&self) -> (&[F], &[F]) {
        let first = self.n * self.first_product;
        (&self.h[first..self.n * self.steps], &self.gates[4 * first..])
    }

    /// Runs all steps with the recurrent kernel `(H, 4H)`.
    pub fn forward(&mut self, recurrent: Matrix<'_, F>) {
        let n = self.n;
        let zero = self.h[..n].iter().all(|&x| x == F::default());
        self.first_product = usize::from(zero).min(self.steps);
        for t in 0..self.steps {
            let (before, after) = self.h.split_at_mut((t + 1) * n);
            let gates = &mut self.gates[4 * n * t..4 * n * (t + 1)];
            if t >= self.first_product {
                let h = Matrix::new(&before[n * t..], self.units);
                multiply(h, recurrent, gates, Onto::Sum, Order::of(t));
            }
            let (c_before, c) = self.c.split_at_mut((t + 1) * n);
            let mut step = CellStep {
                gates,
                c_before: &c_before[n * t..],
                c: &mut c[..n],
                tanh_c: &mut self.tanh_c[n * t..n * (t + 1)],
                h: &mut after[..n],
            };
            cells::forward(&mut step, self.units, self.activation);
        }
    }

    /// Takes all steps back with the transposed recurrent kernel, `(4H, H)`, given the gradient of
    /// every output, `(T, N, H)`, or nothing where only the last step's matters, which `d_h` and
    /// `d_c` hold. The gradient of the initial state is left in these where `wants_state` says that
    /// it will be used.
    pub fn backward(
        &mut self,
        transposed: Matrix<'_, F>,
        d_outputs: Option<&[F]>,
        wants_state: bool,
    ) {
        let n = self.n;
        for t in (0..self.steps).rev() {
            let now = n * t..n * (t + 1);
            let gates = &mut self.gates[4 * n * t..4 * n * (t + 1)];
            let mut step = CellGradient {
                gates,
                c_before: &self.c[now.clone()],
                tanh_c: &self.tanh_c[now.clone()],
                d_output: d_outputs.map(|d| &d[now]),
                d_h: &mut self.d_h,
                d_c: &mut self.d_c,
            };
            cells::backward(&mut step, self.units, self.activation);
            if t > 0 || wants_state {
                let d_gates = Matrix::new(gates, 4 * self.units);
                multiply(d_gates, transposed, &mut self.d_h, Onto::Nothing, Order::of(t));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: usize = 5;
    const GATES: GateActivation = GateActivation::Sigmoid;

    fn numbers(len: usize, salt: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 389 + salt * 57 + 11) % 201) as f64 / 100.0 - 1.0).collect()
    }

    fn kernel() -> Vec<f64> {
        numbers(4 * UNITS * UNITS, 9)
    }

    fn forward(steps: &mut Steps<f64>) {
        steps.forward(Matrix::new(&kernel(), 4 * UNITS));
    }

    fn backward(steps: &mut Steps<f64>, d_outputs: Option<&[f64]>, wants_state: bool) {
        let transposed: Vec<f64> = (0..4 * UNITS)
            .flat_map(|j| (0..UNITS).map(move |i| kernel()[i * 4 * UNITS + j]))
            .collect();
        steps.backward(Matrix::in_panels(&transposed, UNITS), d_outputs, wants_state);
    }

    /// Steps whose inputs and outermost gradients are set.
    fn steps(t: usize, rows: usize) -> Steps<f64> {
        let mut steps = Steps::new(t, rows, UNITS, GATES);
        let n = rows * UNITS;
        steps.gates = numbers(t * 4 * n, 1);
        steps.h[..n].copy_from_slice(&numbers(n, 2));
        steps.c[..n].copy_from_slice(&numbers(n, 3));
        steps.d_h = numbers(n, 4);
        steps.d_c = numbers(n, 5);
        steps
    }

    #[test]
    fn no_steps_pass_the_state_and_its_gradient_through() {
        let mut steps = steps(0, 3);
        let (h, c) = (steps.h.clone(), steps.c.clone());
        forward(&mut steps);
        assert_eq!((steps.last_h(), steps.last_c()), (&h[..], &c[..]));
        assert!(steps.outputs().is_empty() && steps.recurrent_rows().0.is_empty());
        let (d_h, d_c) = (steps.d_h.clone(), steps.d_c.clone());
        for d_outputs in [None, Some(&[][..])] {
            backward(&mut steps, d_outputs, true);
            assert_eq!((&steps.d_h, &steps.d_c), (&d_h, &d_c));
        }
        assert!(steps.gates.is_empty());
    }

    #[test]
    fn no_rows_are_no_work() {
        for t in [0, 1, 3] {
            let mut steps = steps(t, 0);
            forward(&mut steps);
            backward(&mut steps, Some(&[]), true);
            assert!(steps.outputs().is_empty() && steps.last_h().is_empty());
            assert!(steps.d_h.is_empty() && steps.gates.is_empty());
        }
    }

    /// Two halves, the first handing its state up and the second its gradient down.
    #[test]
    fn steps_in_two_parts_are_the_steps_in_one() {
        let (t, first, rows) = (7, 3, 4);
        let n = rows * UNITS;
        let d_outputs = numbers(t * n, 6);
        let mut whole = steps(t, rows);
        forward(&mut whole);
        let mut below = steps(first, rows);
        let mut above = steps(t - first, rows);
        above.gates = numbers(t * 4 * n, 1).split_off(first * 4 * n);
        forward(&mut below);
        above.h[..n].copy_from_slice(below.last_h());
        above.c[..n].copy_from_slice(below.last_c());
        forward(&mut above);
        assert_eq!([below.outputs(), above.outputs()].concat(), whole.outputs());
        assert_eq!(above.last_c(), whole.last_c());

        backward(&mut whole, Some(&d_outputs), true);
        backward(&mut above, Some(&d_outputs[first * n..]), true);
        (below.d_h, below.d_c) = (above.d_h.clone(), above.d_c.clone());
        backward(&mut below, Some(&d_outputs[..first * n]), true);
        assert_eq!([below.gates, above.gates].concat(), whole.gates);
        assert_eq!((below.d_h, below.d_c), (whole.d_h, whole.d_c));
    }

    /// Nobody asks for the gradient of a state that no weight made.
    #[test]
    fn the_gates_gradient_is_the_same_whether_or_not_the_state_s_is_wanted() {
        let mut both = [true, false].map(|wants_state| {
            let mut steps = steps(4, 3);
            forward(&mut steps);
            backward(&mut steps, None, wants_state);
            steps.gates
        });
        assert_eq!(std::mem::take(&mut both[0]), both[1]);
    }
}
