//! An LSTM's time steps, forward and backward, for some rows of a batch.

use super::Lstm;
use super::cells::{self, CellGradient, CellStep};
use super::dropout::RecurrentMask;
use super::states::{States, scaled};
use crate::config::GateActivation;
use crate::kernels::blocks::{Blocks, Parts};
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::kernels::thread_pool::{MOST_PARTS, ThreadPool};
use crate::model::layers::dropout::LayerMasks;
use crate::model::layers::pass::{Buffers, Gradient, GradientSum, sum_columns};
use crate::model::layers::rows::Axis;

/// T time steps of an LSTM over N rows, with all that the backward pass and the weights' gradients
/// need.
///
/// In parts, each reads the h of all before a step, `(N, H)`, and on the way back has a term of the gradient
/// of it, `(N, H)`, from its own gates: these are all that passes between parts, and once a time step they
/// wait for one another. The gradient of the gates could pass in place of the terms, but is four times as
/// many numbers, and every part would have to hold the rows of the kernel that it needs besides its columns.
#[derive(Debug)]
pub struct Steps<F> {
    units: Parts,
    activation: GateActivation,
    backwards: bool,
    /// Whether the recurrence's first step needs no product with the recurrent kernel, since `forward`
    /// found an initial h of zeros.
    without_product: bool,
    /// Each part's h.
    h: Vec<States<F>>,
    /// What dropout makes of each part's h.
    masks: Vec<RecurrentMask<F>>,
    /// What each part has for itself.
    pub parts: Vec<PartSteps<F>>,
    /// Of each part, its term of the gradient of all h, `(N, H)`: of one step, and of the step before.
    terms: [Vec<Vec<F>>; 2],
    /// In: the gradients of each part's outputs, if any layer reads them, and of its last h and c. After
    /// `backward`, `h` and `c` hold those of the initial state.
    pub gradients: Vec<Gradient<F>>,
}

/// The time steps of U units.
#[derive(Debug)]
pub struct PartSteps<F> {
    units: usize,
    /// `(T, N, 4U)`. In: the input projections. After `forward`: σ(i), σ(f), tanh(g), σ(o). After
    /// `backward`: the gradient of the input projections.
    pub gates: Vec<F>,
    c: States<F>,
    /// `(T, N, U)`.
    tanh_c: Vec<F>,
}

/// A part before its first step.
pub struct PartStart<'a, F> {
    /// Its time steps.
    pub steps: &'a mut PartSteps<F>,
    h: &'a mut States<F>,
}

impl<F: Real> PartStart<'_, F> {
    /// The initial h and c, `(N, U)` each.
    pub fn initial(&mut self) -> [&mut [F]; 2] {
        [self.h.initial(), self.steps.c.initial()]
    }

    /// Makes the last h and c the initial ones.
    pub fn carry(&mut self) {
        self.h.carry();
        self.steps.c.carry();
    }
}

impl<F: Real> Steps<F> {
    /// Those of `rows` rows, in so many parts.
    pub fn new(layer: &Lstm, parts: usize, rows: usize, buffers: &mut Buffers) -> Self {
        let units = Parts::new(layer.units as usize, parts);
        let mut all = Self {
            units,
            activation: layer.gate_activation,
            backwards: layer.backwards,
            without_product: false,
            h: Vec::new(),
            masks: Vec::new(),
            parts: Vec::new(),
            terms: Default::default(),
            gradients: Vec::new(),
        };
        for units in units.ranges() {
            let gates = buffers.take();
            let [h, c] = [(); 2].map(|()| States::new(units.len(), rows, layer.backwards, buffers));
            let tanh_c = buffers.take();
            let [outputs, d_h, d_c] = [(); 3].map(|()| GradientSum::new(buffers.take()));
            all.h.push(h);
            all.parts.push(PartSteps { units: units.len(), gates, c, tanh_c });
            all.gradients.push(Gradient { outputs, h: d_h, c: d_c });
            all.masks.push(RecurrentMask::new(layer, units, buffers));
            all.terms.iter_mut().for_each(|terms| terms.push(buffers.take()));
        }
        all
    }

    /// The units of each part.
    pub fn units(&self) -> Parts {
        self.units
    }

    /// Makes room for the steps of `axis`.
    pub fn resize(&mut self, axis: &Axis) {
        for (part, gradient) in self.parts.iter_mut().zip(&mut self.gradients) {
            let total = axis.total() * part.units;
            part.gates.resize(4 * total, F::default());
            part.tanh_c.resize(total, F::default());
            gradient.outputs.resize(total);
        }
    }

    /// Draws the mask of h for the rows of `axis`, if it has one; `row` is room for that of a row.
    pub fn draw(&mut self, axis: &Axis, masks: LayerMasks<'_>, row: &mut [F]) {
        for mask in self.masks.iter_mut().filter(|mask| mask.is_on()) {
            mask.draw(axis, masks, &mut row[..self.units.columns()]);
        }
    }

    /// Every step's output, `(T, N, H)`.
    pub fn outputs(&self) -> Blocks<'_, F> {
        let parts = self.h.iter().zip(&self.parts);
        let outputs = parts.map(|(h, part)| h.outputs(part.tanh_c.len() / part.units));
        Blocks::new(self.units.columns(), outputs)
    }

    /// The last h, `(N, H)`.
    pub fn last_h(&self) -> Blocks<'_, F> {
        Blocks::new(self.units.columns(), self.h.iter().map(States::last))
    }

    /// The last h and c of a part, `(N, U)` each.
    pub fn last(&self, part: usize) -> [&[F]; 2] {
        [self.h[part].last(), self.parts[part].c.last()]
    }

    /// The initial h and c of a part, `(N, U)` each.
    pub fn initial(&mut self, part: usize) -> [&mut [F]; 2] {
        [self.h[part].initial(), self.parts[part].c.initial()]
    }

    /// The parts before their first step.
    pub fn start(&mut self) -> impl Iterator<Item = PartStart<'_, F>> {
        let parts = self.parts.iter_mut().zip(&mut self.h);
        parts.map(|(steps, h)| PartStart { steps, h })
    }

    /// The factors of the recurrent kernel's gradient: what entered each step's product, `(T · N, H)`, and
    /// the gradient of the gates of part `part`, `(T · N, 4U)`, without a first step whose h is zero.
    pub fn recurrent_rows(&self, axis: &Axis, part: usize) -> (Blocks<'_, F>, &[F]) {
        let left_out = self.without_product;
        let all = self.h.iter().zip(&self.masks).map(|(h, mask)| {
            let (h, rows) = h.all_before(axis, left_out);
            mask.of(rows, h)
        });
        let (_, rows) = self.h[part].all_before(axis, left_out);
        let own = &self.parts[part];
        let gates = &own.gates[scaled(rows, 4 * own.units)];
        (Blocks::new(self.units.columns(), all), gates)
    }

    /// The steps in the order of the recurrence: their number in it, and their index in the
    /// buffers.
    fn order(&self, axis: &Axis) -> impl DoubleEndedIterator<Item = (usize, usize)> + use<F> {
        let (steps, backwards) = (axis.steps(), self.backwards);
        (0..steps).map(move |k| (k, if backwards { steps - 1 - k } else { k }))
    }

    /// Runs all steps with each part's columns of the recurrent kernel, `(H, 4U)`.
    pub fn forward<'w>(
        &mut self,
        axis: &Axis,
        recurrent: impl Fn(usize) -> Matrix<'w, F> + Sync,
        team: &ThreadPool,
    ) {
        let zero = self.h.iter_mut().all(|h| is_zero(h.initial()));
        self.without_product = zero && axis.steps() > 0;
        let (units, activation) = (self.units, self.activation);
        for (k, t) in self.order(axis) {
            let multiplies = k > 0 || !self.without_product;
            let (before, after) =
                around(&mut self.h, &mut self.masks, units, (axis, t), multiplies);
            let parts = self.parts.iter_mut().zip(after.into_iter().flatten());
            team.each_part(parts, |number, (part, h)| {
                if multiplies {
                    let gates = &mut part.gates[scaled(axis.at(t), 4 * part.units)];
                    before.multiply(recurrent(number), gates, Onto::Sum, Order::of(k));
                }
                part.forward(axis, t, h, activation);
            });
        }
        for (h, part) in self.h.iter_mut().zip(&mut self.parts) {
            h.end(axis);
            part.c.end(axis);
        }
    }

    /// The backward pass of all steps, with each part's transposed columns of the recurrent kernel,
    /// `(4U, H)`. With `wants_state`, the gradient of the initial state replaces that of the last one.
    pub fn backward<'w>(
        &mut self,
        axis: &Axis,
        transposed: impl Fn(usize) -> Matrix<'w, F> + Sync,
        wants_state: bool,
        team: &ThreadPool,
    ) {
        let (order, units, activation) = (self.order(axis), self.units, self.activation);
        let Self { parts, gradients, masks, terms: [first, second], .. } = self;
        let (mut later, mut terms): (&mut [Vec<F>], &mut [Vec<F>]) = (first, second);
        // The rows of the step after this one.
        let mut after = 0;
        for (k, t) in order.rev() {
            let rows = axis.at(t).len();
            let own = parts.iter_mut().zip(gradients.iter_mut()).zip(terms.iter_mut());
            team.each_part(own, |number, ((part, gradient), term)| {
                let d_h = gradient.h.or_zeros();
                sum_terms(later, units, number, after, &masks[number], d_h);
                let d_gates = part.backward(axis, t, gradient, activation);
                if k > 0 || wants_state {
                    let d_gates = Matrix::new(d_gates, 4 * units.range(number).len());
                    let term = &mut term[..rows * units.columns()];
                    multiply(d_gates, transposed(number), term, Onto::Nothing, Order::of(k));
                }
            });
            (later, terms) = (terms, later);
            after = rows;
        }
        if wants_state || axis.steps() == 0 {
            team.each_part(gradients.iter_mut(), |number, gradient| {
                gradient.c.or_zeros();
                let d_h = gradient.h.or_zeros();
                sum_terms(later, units, number, after, &masks[number], d_h);
            });
        }
    }
}

impl<F: Real> PartSteps<F> {
    /// Computes step `t` from its gates before their activations, and writes its `h`.
    fn forward(&mut self, axis: &Axis, t: usize, h: &mut [F], activation: GateActivation) {
        let now = scaled(axis.at(t), self.units);
        let (c_before, c) = self.c.around(axis, t);
        let gates = &mut self.gates[4 * now.start..4 * now.end];
        let tanh_c = &mut self.tanh_c[now];
        let mut step = CellStep { gates, c_before, c, tanh_c, h };
        cells::forward(&mut step, self.units, activation);
    }

    /// The backward pass of step `t`; `gradient` has that of its c, and of its h without what its output is
    /// read for. Returns the gradient of its gates.
    fn backward(
        &mut self,
        axis: &Axis,
        t: usize,
        gradient: &mut Gradient<F>,
        activation: GateActivation,
    ) -> &[F] {
        let now = scaled(axis.at(t), self.units);
        let Gradient { outputs, h, c } = gradient;
        // Rows that have no such step are behind the others, and stay as they are.
        let (d_h, d_c) = (&mut h.or_zeros()[..now.len()], &mut c.or_zeros()[..now.len()]);
        let gates = &mut self.gates[4 * now.start..4 * now.end];
        let mut step = CellGradient {
            gates: &mut *gates,
            c_before: self.c.before(axis, t),
            tanh_c: &self.tanh_c[now.clone()],
            d_output: outputs.get().map(|d| &d[now]),
            d_h,
            d_c,
        };
        cells::backward(&mut step, self.units, activation);
        gates
    }
}

/// Whether all of `numbers` are zero.
fn is_zero<F: Real>(numbers: &[F]) -> bool {
    let zero = F::default();
    // By some at a time, without a branch for each.
    numbers.chunks(64).all(|some| some.iter().fold(true, |all, &x| all & (x == zero)))
}

/// Each part's h before step `t`, as it enters the product if the step `multiplies`, and where to write that
/// after it.
fn around<'a, F: Real>(
    h: &'a mut [States<F>],
    masks: &'a mut [RecurrentMask<F>],
    units: Parts,
    (axis, t): (&Axis, usize),
    multiplies: bool,
) -> (Blocks<'a, F>, [Option<&'a mut [F]>; MOST_PARTS]) {
    let mut after = [const { None }; MOST_PARTS];
    let parts = h.iter_mut().zip(masks).zip(&mut after).zip(units.ranges());
    let before = parts.map(|(((h, mask), after), units)| {
        let (before, to) = h.around(axis, t);
        *after = Some(to);
        match multiplies {
            true => mask.apply(scaled(axis.at(t), units.len()), before),
            false => before,
        }
    });
    (Blocks::new(units.columns(), before), after)
}

/// Makes `d_h` of part `part` the sum of every part's term of it, of the first `rows` rows.
fn sum_terms<F: Real>(
    terms: &[Vec<F>],
    units: Parts,
    part: usize,
    rows: usize,
    mask: &RecurrentMask<F>,
    d_h: &mut [F],
) {
    let (width, units) = (units.columns(), units.range(part));
    let d_h = &mut d_h[..rows * units.len()];
    let terms = terms.iter().map(|term| &term[..rows * width]);
    sum_columns(terms, width, units, d_h, Onto::Nothing);
    mask.backward(d_h);
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

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

    /// The columns of the kernel that part `part` has.
    fn columns(case: &Case, part: usize) -> Vec<f64> {
        let (units, kernel) = (case.steps.units.range(part), kernel());
        let rows = kernel.chunks_exact(UNITS);
        rows.flat_map(|gate| gate[units.clone()].to_vec()).collect()
    }

    fn forward(case: &mut Case) {
        let kernels: Vec<_> = (0..case.steps.parts.len()).map(|part| columns(case, part)).collect();
        let kernel = |part: usize| Matrix::new(&kernels[part], kernels[part].len() / UNITS);
        case.steps.forward(&case.axis, kernel, &ThreadPool::new(2));
    }

    fn backward(case: &mut Case, d_outputs: Option<&[f64]>, wants_state: bool) {
        let transposed = |part| {
            let kernel = columns(case, part);
            let columns = kernel.len() / UNITS;
            let column = |j| (0..UNITS).map(move |i| (i, j));
            let places = (0..columns).flat_map(column);
            places.map(|(i, j)| kernel[i * columns + j]).collect::<Vec<_>>()
        };
        let kernels: Vec<_> = (0..case.steps.parts.len()).map(transposed).collect();
        let Case { steps, axis } = case;
        let parts = steps.units.ranges().zip(&mut steps.gradients);
        for (units, gradient) in parts {
            let total = axis.total() * units.len();
            gradient.outputs = GradientSum::new(vec![0.0; total]);
            if let Some(d_outputs) = d_outputs {
                gradient.outputs.add(&own(d_outputs, units, UNITS));
            }
        }
        let kernel = |part: usize| Matrix::in_panels(&kernels[part], UNITS);
        steps.backward(axis, kernel, wants_state, &ThreadPool::new(2));
    }

    /// The columns `units` of each block of `width` of `numbers`.
    fn own(numbers: &[f64], units: Range<usize>, width: usize) -> Vec<f64> {
        numbers.chunks_exact(width).flat_map(|row| row[units.clone()].to_vec()).collect()
    }

    /// The numbers of all parts, row by row as if there were one.
    fn whole(steps: &Steps<f64>, parts: &[&[f64]], blocks: usize) -> Vec<f64> {
        let rows = parts[0].len() / (blocks * steps.units.range(0).len());
        let mut all = Vec::new();
        for place in 0..rows * blocks {
            for (part, units) in parts.iter().zip(steps.units.ranges()) {
                all.extend(&part[place * units.len()..(place + 1) * units.len()]);
            }
        }
        all
    }

    fn gates(case: &Case) -> Vec<f64> {
        let parts: Vec<_> = case.steps.parts.iter().map(|part| &part.gates[..]).collect();
        whole(&case.steps, &parts, 4)
    }

    fn outputs(case: &Case) -> Vec<f64> {
        let parts: Vec<_> = case.steps.outputs().parts().map(|(_, values)| values).collect();
        whole(&case.steps, &parts, 1)
    }

    /// The last h and c.
    fn last(case: &Case) -> [Vec<f64>; 2] {
        [0, 1].map(|which| {
            let parts = 0..case.steps.parts.len();
            let parts: Vec<_> = parts.map(|part| case.steps.last(part)[which]).collect();
            whole(&case.steps, &parts, 1)
        })
    }

    /// That of h and c.
    fn gradient(case: &Case) -> [Vec<f64>; 2] {
        let gradients = &case.steps.gradients;
        let h: Vec<_> = gradients.iter().map(|all| &all.h.values[..]).collect();
        let c: Vec<_> = gradients.iter().map(|all| &all.c.values[..]).collect();
        [h, c].map(|parts| whole(&case.steps, &parts, 1))
    }

    /// Sets the initial h and c.
    fn begin_with(case: &mut Case, states: &[Vec<f64>; 2]) {
        for part in 0..case.steps.parts.len() {
            let units = case.steps.units.range(part);
            for (initial, state) in case.steps.initial(part).into_iter().zip(states) {
                initial.copy_from_slice(&own(state, units.clone(), UNITS));
            }
        }
    }

    /// Sets the gates of all steps.
    fn set_gates(case: &mut Case, gates: &[f64]) {
        for (part, units) in case.steps.parts.iter_mut().zip(case.steps.units.ranges()) {
            part.gates = own(gates, units, UNITS);
        }
    }

    /// Steps whose inputs and outermost gradients are set.
    fn steps(t: usize, rows: usize) -> Case {
        in_parts(t, rows, 1)
    }

    /// The same in `parts` parts.
    fn in_parts(t: usize, rows: usize, parts: usize) -> Case {
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
            parts,
        };
        let mut buffers = Buffers::new(&layer, &node, rows);
        let steps = Steps::new(&layer, parts, rows, &mut buffers);
        let mut case = Case { steps, axis: Rows::uniform(0..rows, [t, 0]).source };
        let n = rows * UNITS;
        set_gates(&mut case, &numbers(t * 4 * n, 1));
        begin_with(&mut case, &[2, 3].map(|salt| numbers(n, salt)));
        for (units, gradient) in case.steps.units.ranges().zip(&mut case.steps.gradients) {
            gradient.h.add(&own(&numbers(n, 4), units.clone(), UNITS));
            gradient.c.add(&own(&numbers(n, 5), units, UNITS));
        }
        case
    }

    #[test]
    fn no_steps_pass_the_state_and_its_gradient_through() {
        for parts in [1, 2] {
            let mut case = in_parts(0, 3, parts);
            let state = [2, 3].map(|salt| numbers(3 * UNITS, salt));
            forward(&mut case);
            assert_eq!(last(&case), state);
            assert!(outputs(&case).is_empty());
            assert!(case.steps.recurrent_rows(&case.axis, 0).0.is_empty());
            let [d_h, d_c] = gradient(&case);
            for d_outputs in [None, Some(&[][..])] {
                backward(&mut case, d_outputs, true);
                assert_eq!(gradient(&case), [d_h.clone(), d_c.clone()]);
            }
            assert!(gates(&case).is_empty());
        }
    }

    #[test]
    fn no_rows_are_no_work() {
        for t in [0, 1, 3] {
            let mut case = steps(t, 0);
            forward(&mut case);
            backward(&mut case, Some(&[]), true);
            assert!(outputs(&case).is_empty() && last(&case)[0].is_empty());
            assert!(gradient(&case)[0].is_empty() && gates(&case).is_empty());
        }
    }

    /// Two halves, the first handing its state up and the second its gradient down.
    #[test]
    fn steps_in_two_halves_are_the_steps_in_one() {
        let (t, first, rows) = (7, 3, 4);
        let n = rows * UNITS;
        let d_outputs = numbers(t * n, 6);
        let mut all = steps(t, rows);
        forward(&mut all);
        let mut below = steps(first, rows);
        let mut above = steps(t - first, rows);
        set_gates(&mut above, &numbers(t * 4 * n, 1).split_off(first * 4 * n));
        forward(&mut below);
        begin_with(&mut above, &last(&below));
        forward(&mut above);
        assert_eq!([outputs(&below), outputs(&above)].concat(), outputs(&all));
        assert_eq!(last(&above), last(&all));

        backward(&mut all, Some(&d_outputs), true);
        backward(&mut above, Some(&d_outputs[first * n..]), true);
        let [d_h, d_c] = gradient(&above);
        let of_below = &mut below.steps.gradients[0];
        of_below.clear();
        of_below.h.add(&d_h);
        of_below.c.add(&d_c);
        backward(&mut below, Some(&d_outputs[..first * n]), true);
        assert_eq!([gates(&below), gates(&above)].concat(), gates(&all));
        assert_eq!(gradient(&below), gradient(&all));
    }

    #[test]
    fn parts_compute_what_the_whole_layer_does() {
        let d_outputs = numbers(4 * 3 * UNITS, 6);
        let close = |got: &[f64], expected: &[f64], what: &str| {
            assert_eq!(got.len(), expected.len(), "{what}");
            let near = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-13;
            assert!(got.iter().zip(expected).all(near), "{what}: {got:?}, not {expected:?}");
        };
        let mut one = steps(4, 3);
        forward(&mut one);
        for parts in [2, 3, UNITS] {
            let mut several = in_parts(4, 3, parts);
            forward(&mut several);
            close(&outputs(&several), &outputs(&one), "outputs");
            let mut one = steps(4, 3);
            forward(&mut one);
            for case in [&mut one, &mut several] {
                backward(case, Some(&d_outputs), true);
            }
            close(&gates(&several), &gates(&one), "gates");
            for (got, expected) in gradient(&several).iter().zip(&gradient(&one)) {
                close(got, expected, "gradient of the initial state");
            }
        }
    }

    /// Nobody asks for the gradient of a state that no weight made.
    #[test]
    fn the_gates_gradient_is_the_same_whether_or_not_the_state_s_is_wanted() {
        let mut both = [true, false].map(|wants_state| {
            let mut steps = steps(4, 3);
            forward(&mut steps);
            backward(&mut steps, None, wants_state);
            gates(&steps)
        });
        assert_eq!(std::mem::take(&mut both[0]), both[1]);
    }
}
