//! An LSTM's time steps, forward and backward, for some rows of a batch.

use super::Lstm;
use super::cells::{self, CellGradient, CellStep};
use super::dropout::RecurrentMask;
use super::states::{States, scaled};
use crate::config::GateActivation;
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::model::layers::pass::{Buffers, Gradient, GradientSum};
use crate::model::layers::rows::Axis;

/// T time steps of an LSTM over N rows, with all that the backward pass and the weights' gradients
/// need.
#[derive(Debug)]
pub struct Steps<F> {
    units: usize,
    activation: GateActivation,
    backwards: bool,
    /// Whether the recurrence's first step needs no product with the recurrent kernel, since `forward`
    /// found an initial h of zeros.
    without_product: bool,
    /// `(T, N, 4H)`. In: the input projections. After `forward`: σ(i), σ(f), tanh(g), σ(o). After
    /// `backward`: the gradient of the input projections.
    pub gates: Vec<F>,
    h: States<F>,
    c: States<F>,
    /// `(T, N, H)`.
    tanh_c: Vec<F>,
    /// What dropout makes of h.
    pub mask: RecurrentMask<F>,
    /// In: the gradients of the outputs, if any layer reads them, and of the last h and c. After
    /// `backward`, `h` and `c` hold those of the initial state.
    pub gradient: Gradient<F>,
}

impl<F: Real> Steps<F> {
    /// Those of `rows` rows.
    pub fn new(layer: &Lstm, rows: usize, buffers: &mut Buffers) -> Self {
        let units = layer.units as usize;
        let gates = buffers.take();
        let [h, c] = [(); 2].map(|()| States::new(units, rows, layer.backwards, buffers));
        let tanh_c = buffers.take();
        let [outputs, d_h, d_c] = [(); 3].map(|()| GradientSum::new(buffers.take()));
        Self {
            units,
            activation: layer.gate_activation,
            backwards: layer.backwards,
            without_product: false,
            gates,
            h,
            c,
            tanh_c,
            mask: RecurrentMask::new(layer, buffers),
            gradient: Gradient { outputs, h: d_h, c: d_c },
        }
    }

    /// Makes room for the steps of `axis`.
    pub fn resize(&mut self, axis: &Axis) {
        let total = axis.total() * self.units;
        self.gates.resize(4 * total, F::default());
        self.tanh_c.resize(total, F::default());
        self.gradient.outputs.resize(total);
    }

    /// Every step's output, `(T, N, H)`.
    pub fn outputs(&self) -> &[F] {
        self.h.outputs(self.tanh_c.len() / self.units)
    }

    /// The last h and c, `(N, H)` each.
    pub fn last(&self) -> [&[F]; 2] {
        [self.h.last(), self.c.last()]
    }

    /// The initial h and c, `(N, H)` each.
    pub fn initial(&mut self) -> [&mut [F]; 2] {
        [self.h.initial(), self.c.initial()]
    }

    /// Makes the last h and c the initial ones.
    pub fn carry(&mut self) {
        self.h.carry();
        self.c.carry();
    }

    /// The factors of the recurrent kernel's gradient: what entered each step's product, `(T · N, H)`, and
    /// the gradient of its gates, `(T · N, 4H)`, without a first step whose h is zero.
    pub fn recurrent_rows(&self, axis: &Axis) -> (&[F], &[F]) {
        let (h, rows) = self.h.all_before(axis, self.without_product);
        (self.mask.of(rows.clone(), h), &self.gates[scaled(rows, 4 * self.units)])
    }

    /// The steps in the order of the recurrence: their number in it, and their index in the
    /// buffers.
    fn order(&self, axis: &Axis) -> impl DoubleEndedIterator<Item = (usize, usize)> + use<F> {
        let (steps, backwards) = (axis.steps(), self.backwards);
        (0..steps).map(move |k| (k, if backwards { steps - 1 - k } else { k }))
    }

    /// Runs all steps with the recurrent kernel `(H, 4H)`.
    pub fn forward(&mut self, axis: &Axis, recurrent: Matrix<'_, F>) {
        let zero = self.h.initial().iter().all(|&x| x == F::default());
        self.without_product = zero && axis.steps() > 0;
        for (k, t) in self.order(axis) {
            let now = scaled(axis.at(t), self.units);
            let (h_before, h) = self.h.around(axis, t);
            let (c_before, c) = self.c.around(axis, t);
            let gates = &mut self.gates[4 * now.start..4 * now.end];
            if k > 0 || !self.without_product {
                let h_before = self.mask.apply(now.clone(), h_before);
                let h_before = Matrix::new(h_before, self.units);
                multiply(h_before, recurrent, gates, Onto::Sum, Order::of(k));
            }
            let tanh_c = &mut self.tanh_c[now];
            let mut step = CellStep { gates, c_before, c, tanh_c, h };
            cells::forward(&mut step, self.units, self.activation);
        }
        self.h.end(axis);
        self.c.end(axis);
    }

    /// The backward pass of all steps, with the transposed recurrent kernel, `(4H, H)`. With
    /// `wants_state`, the gradient of the initial state replaces that of the last one.
    pub fn backward(&mut self, axis: &Axis, transposed: Matrix<'_, F>, wants_state: bool) {
        let (order, units) = (self.order(axis), self.units);
        let Gradient { outputs, h, c } = &mut self.gradient;
        let (d_outputs, d_h, d_c) = (outputs.get(), h.or_zeros(), c.or_zeros());
        for (k, t) in order.rev() {
            let now = scaled(axis.at(t), units);
            // Rows that have no such step are behind the others, and stay as they are.
            let (d_h, d_c) = (&mut d_h[..now.len()], &mut d_c[..now.len()]);
            let gates = &mut self.gates[4 * now.start..4 * now.end];
            let mut step = CellGradient {
                gates,
                c_before: self.c.before(axis, t),
                tanh_c: &self.tanh_c[now.clone()],
                d_output: d_outputs.map(|d| &d[now]),
                d_h,
                d_c,
            };
            cells::backward(&mut step, self.units, self.activation);
            if k > 0 || wants_state {
                let d_gates = Matrix::new(gates, 4 * self.units);
                multiply(d_gates, transposed, d_h, Onto::Nothing, Order::of(k));
                self.mask.backward(d_h);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::dropout::Dropout;
    use crate::model::layers::lstm::InputKind;
    use crate::model::layers::rows::Rows;
    use crate::model::{Along, Node, Read, Start};

    const UNITS: usize = 5;

    fn numbers(len: usize, salt: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 389 + salt * 57 + 11) % 201) as f64 / 100.0 - 1.0).collect()
    }

    fn kernel() -> Vec<f64> {
        numbers(4 * UNITS * UNITS, 9)
    }

    /// Steps with the rows that they are of.
    struct Case {
        steps: Steps<f64>,
        axis: Axis,
    }

    fn forward(case: &mut Case) {
        case.steps.forward(&case.axis, Matrix::new(&kernel(), 4 * UNITS));
    }

    fn backward(case: &mut Case, d_outputs: Option<&[f64]>, wants_state: bool) {
        let Case { steps, axis } = case;
        steps.gradient.outputs = GradientSum::new(vec![0.0; steps.outputs().len()]);
        if let Some(d_outputs) = d_outputs {
            steps.gradient.outputs.add(d_outputs);
        }
        let transposed: Vec<f64> = (0..4 * UNITS)
            .flat_map(|j| (0..UNITS).map(move |i| kernel()[i * 4 * UNITS + j]))
            .collect();
        steps.backward(axis, Matrix::in_panels(&transposed, UNITS), wants_state);
    }

    /// That of h and c.
    fn gradient(case: &Case) -> [Vec<f64>; 2] {
        let steps = &case.steps;
        [steps.gradient.h.values.clone(), steps.gradient.c.values.clone()]
    }

    /// Steps whose inputs and outermost gradients are set.
    fn steps(t: usize, rows: usize) -> Case {
        let layer = Lstm {
            inputs: 1,
            reads: InputKind::Ids,
            backwards: false,
            units: UNITS as i64,
            gate_activation: GateActivation::Sigmoid,
            dropout: Dropout::default(),
        };
        let node = Node {
            name: "lstm".to_owned(),
            layer: layer.clone().into(),
            reads: vec![Read::Source],
            start: Start::Zero,
            steps: t as i64,
            along: Along::Source,
            ragged: false,
            outputs_read: true,
        };
        let mut buffers = Buffers::new(&layer, &node, rows);
        let mut steps = Steps::new(&layer, rows, &mut buffers);
        let n = rows * UNITS;
        steps.gates = numbers(t * 4 * n, 1);
        for (initial, salt) in steps.initial().into_iter().zip(2..) {
            initial.copy_from_slice(&numbers(n, salt));
        }
        steps.gradient.h.add(&numbers(n, 4));
        steps.gradient.c.add(&numbers(n, 5));
        Case { steps, axis: Rows::uniform(0..rows, [t, 0]).source }
    }

    #[test]
    fn no_steps_pass_the_state_and_its_gradient_through() {
        let mut steps = steps(0, 3);
        let [h, c] = steps.steps.initial().map(|state| state.to_vec());
        forward(&mut steps);
        assert_eq!(steps.steps.last(), [&h[..], &c[..]]);
        assert!(steps.steps.outputs().is_empty());
        assert!(steps.steps.recurrent_rows(&steps.axis).0.is_empty());
        let [d_h, d_c] = gradient(&steps);
        for d_outputs in [None, Some(&[][..])] {
            backward(&mut steps, d_outputs, true);
            assert_eq!(gradient(&steps), [d_h.clone(), d_c.clone()]);
        }
        assert!(steps.steps.gates.is_empty());
    }

    #[test]
    fn no_rows_are_no_work() {
        for t in [0, 1, 3] {
            let mut steps = steps(t, 0);
            forward(&mut steps);
            backward(&mut steps, Some(&[]), true);
            assert!(steps.steps.outputs().is_empty() && steps.steps.last()[0].is_empty());
            assert!(gradient(&steps)[0].is_empty() && steps.steps.gates.is_empty());
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
        above.steps.gates = numbers(t * 4 * n, 1).split_off(first * 4 * n);
        forward(&mut below);
        for (initial, last) in above.steps.initial().into_iter().zip(below.steps.last()) {
            initial.copy_from_slice(last);
        }
        forward(&mut above);
        assert_eq!([below.steps.outputs(), above.steps.outputs()].concat(), whole.steps.outputs());
        assert_eq!(above.steps.last(), whole.steps.last());

        backward(&mut whole, Some(&d_outputs), true);
        backward(&mut above, Some(&d_outputs[first * n..]), true);
        let [d_h, d_c] = gradient(&above);
        below.steps.gradient.clear();
        below.steps.gradient.h.add(&d_h);
        below.steps.gradient.c.add(&d_c);
        backward(&mut below, Some(&d_outputs[..first * n]), true);
        assert_eq!([below.steps.gates.clone(), above.steps.gates].concat(), whole.steps.gates);
        assert_eq!(gradient(&below), gradient(&whole));
    }

    /// Nobody asks for the gradient of a state that no weight made.
    #[test]
    fn the_gates_gradient_is_the_same_whether_or_not_the_state_s_is_wanted() {
        let mut both = [true, false].map(|wants_state| {
            let mut steps = steps(4, 3);
            forward(&mut steps);
            backward(&mut steps, None, wants_state);
            steps.steps.gates
        });
        assert_eq!(std::mem::take(&mut both[0]), both[1]);
    }
}
