//! An LSTM's time steps, forward and backward, for some rows of a batch.

use super::Lstm;
use super::cells::{self, CellGradient, CellStep};
use crate::config::GateActivation;
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::model::layers::pass::{Buffers, Gradient, GradientSum};

/// T time steps of an LSTM over N rows, with all that the backward pass and the weights' gradients
/// need.
#[derive(Debug)]
pub struct Steps<F> {
    steps: usize,
    units: usize,
    /// One time step's numbers of width H.
    n: usize,
    activation: GateActivation,
    backwards: bool,
    /// How many steps need no product with the recurrent kernel: 1 where `forward` found an initial
    /// h of zeros.
    without_product: usize,
    /// `(T, N, 4H)`. In: the input projections. After `forward`: σ(i), σ(f), tanh(g), σ(o). After
    /// `backward`: the gradient of the input projections.
    pub gates: Vec<F>,
    /// `(T + 1, N, H)`: the initial h, set by the caller, then h after each step; for a layer that
    /// reads backwards h of each step in the order of the source, then the initial h.
    h: Vec<F>,
    /// `(T + 1, N, H)`: c, likewise.
    c: Vec<F>,
    /// `(T, N, H)`.
    tanh_c: Vec<F>,
    /// In: the gradients of the outputs, if any layer reads them, and of the last h and c. After
    /// `backward`, `h` and `c` hold those of the initial state.
    pub gradient: Gradient<F>,
}

impl<F: Real> Steps<F> {
    /// `steps` steps of `rows` rows.
    pub fn new(layer: &Lstm, steps: usize, rows: usize, buffers: &mut Buffers) -> Self {
        let units = layer.units as usize;
        let mut take = || buffers.take();
        let (gates, h, c, tanh_c) = (take(), take(), take(), take());
        let [outputs, d_h, d_c] = [(); 3].map(|()| GradientSum::new(take()));
        Self {
            steps,
            units,
            n: rows * units,
            activation: layer.gate_activation,
            backwards: layer.backwards,
            without_product: 0,
            gates,
            h,
            c,
            tanh_c,
            gradient: Gradient { outputs, h: d_h, c: d_c },
        }
    }

    /// Every step's output, `(T, N, H)`.
    pub fn outputs(&self) -> &[F] {
        let end = self.steps * self.n;
        if self.backwards { &self.h[..end] } else { &self.h[self.n..] }
    }

    /// The offsets of the initial and of the last state.
    fn ends(&self) -> [usize; 2] {
        let end = self.steps * self.n;
        if self.backwards { [end, 0] } else { [0, end] }
    }

    /// The last h and c, `(N, H)` each.
    pub fn last(&self) -> [&[F]; 2] {
        let [_, last] = self.ends();
        [&self.h[last..last + self.n], &self.c[last..last + self.n]]
    }

    /// The initial h and c, `(N, H)` each.
    pub fn initial(&mut self) -> [&mut [F]; 2] {
        let [initial, _] = self.ends();
        [&mut self.h[initial..initial + self.n], &mut self.c[initial..initial + self.n]]
    }

    /// Makes the last h and c the initial ones.
    pub fn carry(&mut self) {
        let [initial, last] = self.ends();
        for states in [&mut self.h, &mut self.c] {
            states.copy_within(last..last + self.n, initial);
        }
    }

    /// The factors of the recurrent kernel's gradient: h before each step, `(T · N, H)`, and the
    /// gradient of its gates, `(T · N, 4H)`, without a first step whose h is zero.
    pub fn recurrent_rows(&self) -> (&[F], &[F]) {
        let (n, zero) = (self.n, self.n * self.without_product);
        let end = n * self.steps;
        match self.backwards {
            false => (&self.h[zero..end], &self.gates[4 * zero..]),
            true => (&self.h[n..n + end - zero], &self.gates[..4 * (end - zero)]),
        }
    }

    /// The steps in the order of the recurrence: their number in it, and their index in the
    /// buffers.
    fn order(&self) -> impl DoubleEndedIterator<Item = (usize, usize)> + use<F> {
        let (steps, backwards) = (self.steps, self.backwards);
        (0..steps).map(move |k| (k, if backwards { steps - 1 - k } else { k }))
    }

    /// Runs all steps with the recurrent kernel `(H, 4H)`.
    pub fn forward(&mut self, recurrent: Matrix<'_, F>) {
        let (n, backwards) = (self.n, self.backwards);
        let zero = self.initial()[0].iter().all(|&x| x == F::default());
        self.without_product = usize::from(zero).min(self.steps);
        for (k, t) in self.order() {
            let (h_before, h) = around(&mut self.h, n, t, backwards);
            let (c_before, c) = around(&mut self.c, n, t, backwards);
            let gates = &mut self.gates[4 * n * t..4 * n * (t + 1)];
            if k >= self.without_product {
                let h_before = Matrix::new(h_before, self.units);
                multiply(h_before, recurrent, gates, Onto::Sum, Order::of(k));
            }
            let tanh_c = &mut self.tanh_c[n * t..n * (t + 1)];
            let mut step = CellStep { gates, c_before, c, tanh_c, h };
            cells::forward(&mut step, self.units, self.activation);
        }
    }

    /// The backward pass of all steps, with the transposed recurrent kernel, `(4H, H)`. With
    /// `wants_state`, the gradient of the initial state replaces that of the last one.
    pub fn backward(&mut self, transposed: Matrix<'_, F>, wants_state: bool) {
        let (n, order) = (self.n, self.order());
        let Gradient { outputs, h, c } = &mut self.gradient;
        let (d_outputs, d_h, d_c) = (outputs.get(), h.or_zeros(), c.or_zeros());
        for (k, t) in order.rev() {
            let now = n * t..n * (t + 1);
            let before = n * (t + usize::from(self.backwards));
            let gates = &mut self.gates[4 * n * t..4 * n * (t + 1)];
            let mut step = CellGradient {
                gates,
                c_before: &self.c[before..before + n],
                tanh_c: &self.tanh_c[now.clone()],
                d_output: d_outputs.map(|d| &d[now]),
                d_h,
                d_c,
            };
            cells::backward(&mut step, self.units, self.activation);
            if k > 0 || wants_state {
                let d_gates = Matrix::new(gates, 4 * self.units);
                multiply(d_gates, transposed, d_h, Onto::Nothing, Order::of(k));
            }
        }
    }
}

/// The `n` numbers of the state before step `t` and those of the state after it.
fn around<F>(states: &mut [F], n: usize, t: usize, backwards: bool) -> (&[F], &mut [F]) {
    let (first, second) = states[n * t..n * (t + 2)].split_at_mut(n);
    if backwards { (second, first) } else { (first, second) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::lstm::InputKind;
    use crate::model::{Node, Read, Start};

    const UNITS: usize = 5;

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
        steps.gradient.outputs = GradientSum::new(vec![0.0; steps.outputs().len()]);
        if let Some(d_outputs) = d_outputs {
            steps.gradient.outputs.add(d_outputs);
        }
        let transposed: Vec<f64> = (0..4 * UNITS)
            .flat_map(|j| (0..UNITS).map(move |i| kernel()[i * 4 * UNITS + j]))
            .collect();
        steps.backward(Matrix::in_panels(&transposed, UNITS), wants_state);
    }

    /// That of h and c.
    fn gradient(steps: &Steps<f64>) -> [Vec<f64>; 2] {
        [steps.gradient.h.values.clone(), steps.gradient.c.values.clone()]
    }

    /// Steps whose inputs and outermost gradients are set.
    fn steps(t: usize, rows: usize) -> Steps<f64> {
        let layer = Lstm {
            inputs: 1,
            reads: InputKind::Ids,
            backwards: false,
            units: UNITS as i64,
            gate_activation: GateActivation::Sigmoid,
        };
        let node = Node {
            name: "lstm".to_owned(),
            layer: layer.clone().into(),
            reads: vec![Read::Source],
            start: Start::Zero,
            steps: t as i64,
            outputs_read: true,
        };
        let mut buffers = Buffers::new(&layer, &node, rows);
        let mut steps = Steps::new(&layer, t, rows, &mut buffers);
        let n = rows * UNITS;
        steps.gates = numbers(t * 4 * n, 1);
        steps.h[..n].copy_from_slice(&numbers(n, 2));
        steps.c[..n].copy_from_slice(&numbers(n, 3));
        steps.gradient.h.add(&numbers(n, 4));
        steps.gradient.c.add(&numbers(n, 5));
        steps
    }

    #[test]
    fn no_steps_pass_the_state_and_its_gradient_through() {
        let mut steps = steps(0, 3);
        let (h, c) = (steps.h.clone(), steps.c.clone());
        forward(&mut steps);
        assert_eq!(steps.last(), [&h[..], &c[..]]);
        assert!(steps.outputs().is_empty() && steps.recurrent_rows().0.is_empty());
        let [d_h, d_c] = gradient(&steps);
        for d_outputs in [None, Some(&[][..])] {
            backward(&mut steps, d_outputs, true);
            assert_eq!(gradient(&steps), [d_h.clone(), d_c.clone()]);
        }
        assert!(steps.gates.is_empty());
    }

    #[test]
    fn no_rows_are_no_work() {
        for t in [0, 1, 3] {
            let mut steps = steps(t, 0);
            forward(&mut steps);
            backward(&mut steps, Some(&[]), true);
            assert!(steps.outputs().is_empty() && steps.last()[0].is_empty());
            assert!(gradient(&steps)[0].is_empty() && steps.gates.is_empty());
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
        for (initial, last) in above.initial().into_iter().zip(below.last()) {
            initial.copy_from_slice(last);
        }
        forward(&mut above);
        assert_eq!([below.outputs(), above.outputs()].concat(), whole.outputs());
        assert_eq!(above.last(), whole.last());

        backward(&mut whole, Some(&d_outputs), true);
        backward(&mut above, Some(&d_outputs[first * n..]), true);
        let [d_h, d_c] = gradient(&above);
        below.gradient.clear();
        below.gradient.h.add(&d_h);
        below.gradient.c.add(&d_c);
        backward(&mut below, Some(&d_outputs[..first * n]), true);
        assert_eq!([below.gates.clone(), above.gates].concat(), whole.gates);
        assert_eq!(gradient(&below), gradient(&whole));
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
