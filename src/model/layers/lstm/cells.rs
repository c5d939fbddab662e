//! The arithmetic of LSTM cells between two matrix products, fused into one pass on the CPU.

use crate::config::GateActivation;
use crate::kernels::float::{Real, widest};

/// The buffers of a step of `n` cells, row by row; gates are `(n / H) × 4H`, the rest `n` numbers.
pub struct CellStep<'a, F> {
    /// In: x·kernel + bias + h·recurrent_kernel. Out: σ(i), σ(f), tanh(g), σ(o).
    pub gates: &'a mut [F],
    /// c of the step before.
    pub c_before: &'a [F],
    /// Out: c.
    pub c: &'a mut [F],
    /// Out: tanh(c).
    pub tanh_c: &'a mut [F],
    /// Out: h.
    pub h: &'a mut [F],
}

/// The buffers of the gradient of a step, laid out as in [`CellStep`].
pub struct CellGradient<'a, F> {
    /// In: σ(i), σ(f), tanh(g), σ(o). Out: gradient of the pre-activations.
    pub gates: &'a mut [F],
    /// c of the step before.
    pub c_before: &'a [F],
    /// tanh(c).
    pub tanh_c: &'a [F],
    /// Gradient of h from the layers that read it; `None` means zero.
    pub d_output: Option<&'a [F]>,
    /// In: gradient of h from the step after. Out: the whole gradient of h.
    pub d_h: &'a mut [F],
    /// In: gradient of c. Out: that of the step before.
    pub d_c: &'a mut [F],
}

widest! {
    /// Computes a step.
    forward<F: Real>(step: &mut CellStep<F>, units: usize, activation: GateActivation) by forward_body
}
widest! {
    /// Computes the gradient of a step.
    backward<F: Real>(step: &mut CellGradient<F>, units: usize, activation: GateActivation)
    by backward_body
}

#[inline(always)]
fn forward_body<F: Real>(step: &mut CellStep<F>, units: usize, activation: GateActivation) {
    match activation {
        GateActivation::Sigmoid => forward_rows(step, units, F::sigmoid),
        GateActivation::HardSigmoid => forward_rows(step, units, hard_sigmoid),
    }
}

#[inline(always)]
fn forward_rows<F: Real>(step: &mut CellStep<F>, units: usize, gate: impl Fn(F) -> F) {
    let rows = step.gates.chunks_exact_mut(4 * units).zip(step.c_before.chunks_exact(units));
    let outputs = step.c.chunks_exact_mut(units).zip(step.tanh_c.chunks_exact_mut(units));
    let rows = rows.zip(outputs).zip(step.h.chunks_exact_mut(units));
    for (((gates, c_before), (c, tanh_c)), h) in rows {
        let (i, rest) = gates.split_at_mut(units);
        let (f, rest) = rest.split_at_mut(units);
        let (g, o) = rest.split_at_mut(units);
        // Loops this small are what the compiler turns into vector instructions.
        i.iter_mut().for_each(|x| *x = gate(*x));
        f.iter_mut().for_each(|x| *x = gate(*x));
        g.iter_mut().for_each(|x| *x = x.tanh());
        o.iter_mut().for_each(|x| *x = gate(*x));
        for n in 0..units {
            c[n] = f[n] * c_before[n] + i[n] * g[n];
        }
        for n in 0..units {
            tanh_c[n] = c[n].tanh();
            h[n] = o[n] * tanh_c[n];
        }
    }
}

#[inline(always)]
fn backward_body<F: Real>(step: &mut CellGradient<F>, units: usize, activation: GateActivation) {
    let one = F::from(1.0);
    match activation {
        GateActivation::Sigmoid => backward_rows(step, units, |s| s * (one - s)),
        GateActivation::HardSigmoid => backward_rows(step, units, hard_sigmoid_slope),
    }
}

/// `slope`: the gate activation's derivative as a function of its value.
#[inline(always)]
fn backward_rows<F: Real>(step: &mut CellGradient<F>, units: usize, slope: impl Fn(F) -> F) {
    let one = F::from(1.0);
    if let Some(d_output) = step.d_output {
        step.d_h.iter_mut().zip(d_output).for_each(|(d_h, &d)| *d_h = d + *d_h);
    }
    let rows = step.gates.chunks_exact_mut(4 * units).zip(step.c_before.chunks_exact(units));
    let gradients = step.d_h.chunks_exact(units).zip(step.d_c.chunks_exact_mut(units));
    let rows = rows.zip(step.tanh_c.chunks_exact(units)).zip(gradients);
    for (((gates, c_before), tanh_c), (d_h, d_c)) in rows {
        let (i, rest) = gates.split_at_mut(units);
        let (f, rest) = rest.split_at_mut(units);
        let (g, o) = rest.split_at_mut(units);
        // Small loops, as in `forward_rows`.
        for n in 0..units {
            d_c[n] += d_h[n] * o[n] * (one - tanh_c[n] * tanh_c[n]);
            o[n] = d_h[n] * tanh_c[n] * slope(o[n]);
        }
        for n in 0..units {
            let (input, candidate) = (i[n], g[n]);
            i[n] = d_c[n] * candidate * slope(input);
            g[n] = d_c[n] * input * (one - candidate * candidate);
        }
        for n in 0..units {
            let forget = f[n];
            f[n] = d_c[n] * c_before[n] * slope(forget);
            d_c[n] = d_c[n] * forget;
        }
    }
}

/// clip(0.2x + 0.5, 0, 1). NaN stays NaN.
#[inline(always)]
fn hard_sigmoid<F: Real>(x: F) -> F {
    let (zero, one) = (F::from(0.0), F::from(1.0));
    // A quotient, so that 0.2 is rounded to F once.
    let s = one / F::from(5.0) * x + F::from(0.5);
    let s = if s < zero { zero } else { s };
    if s > one { one } else { s }
}

#[inline(always)]
fn hard_sigmoid_slope<F: Real>(s: F) -> F {
    let (zero, one) = (F::from(0.0), F::from(1.0));
    if s > zero && s < one { one / F::from(5.0) } else { zero }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATES: [GateActivation; 2] = [GateActivation::Sigmoid, GateActivation::HardSigmoid];

    /// The numbers of a step before it runs: gates, c before, and the gradients of h and c.
    #[derive(Clone)]
    struct Cells {
        units: usize,
        activation: GateActivation,
        gates: Vec<f64>,
        c_before: Vec<f64>,
        d_output: Vec<f64>,
        d_h: Vec<f64>,
        d_c: Vec<f64>,
    }

    /// After it: gates, c, tanh(c), h.
    struct Done<F> {
        gates: Vec<F>,
        c: Vec<F>,
        tanh_c: Vec<F>,
        h: Vec<F>,
    }

    fn of<F: Real>(numbers: &[f64]) -> Vec<F> {
        numbers.iter().map(|&x| F::from_f64(x)).collect()
    }

    impl Cells {
        /// Gates within ±4, some of them where the hard sigmoid is flat, none where it bends.
        fn new(rows: usize, units: usize, activation: GateActivation) -> Self {
            let n = rows * units;
            let numbers = |len: usize, salt: usize, limit: f64| -> Vec<f64> {
                let one = |i: usize| ((i * 389 + salt * 57 + 11) % 201) as f64 / 100.0 - 1.0;
                (0..len).map(|i| one(i) * limit + 0.003).collect()
            };
            Self {
                units,
                activation,
                gates: numbers(4 * n, 1, 4.0),
                c_before: numbers(n, 2, 1.5),
                d_output: numbers(n, 3, 1.0),
                d_h: numbers(n, 4, 1.0),
                d_c: numbers(n, 5, 1.0),
            }
        }

        fn forward<F: Real>(&self) -> Done<F> {
            self.forward_by(forward)
        }

        fn forward_by<F: Real>(
            &self,
            forward: impl Fn(&mut CellStep<F>, usize, GateActivation),
        ) -> Done<F> {
            let zeros = vec![F::default(); self.c_before.len()];
            let (c, tanh_c, h) = (zeros.clone(), zeros.clone(), zeros);
            let mut done = Done { gates: of(&self.gates), c, tanh_c, h };
            let mut step = CellStep {
                gates: &mut done.gates,
                c_before: &of(&self.c_before),
                c: &mut done.c,
                tanh_c: &mut done.tanh_c,
                h: &mut done.h,
            };
            forward(&mut step, self.units, self.activation);
            done
        }

        /// The gradients of the gates and of c before.
        fn backward<F: Real>(&self, d_output: Option<&[f64]>) -> (Vec<f64>, Vec<f64>) {
            self.backward_by::<F>(d_output, backward)
        }

        fn backward_by<F: Real>(
            &self,
            d_output: Option<&[f64]>,
            backward: impl Fn(&mut CellGradient<F>, usize, GateActivation),
        ) -> (Vec<f64>, Vec<f64>) {
            let mut done = self.forward::<F>();
            let mut d_c = of::<F>(&self.d_c);
            let d_output = d_output.map(of::<F>);
            let mut step = CellGradient {
                gates: &mut done.gates,
                c_before: &of(&self.c_before),
                tanh_c: &done.tanh_c,
                d_output: d_output.as_deref(),
                d_h: &mut of(&self.d_h),
                d_c: &mut d_c,
            };
            backward(&mut step, self.units, self.activation);
            let numbers = |all: Vec<F>| all.into_iter().map(Into::into).collect();
            (numbers(done.gates), numbers(d_c))
        }

        /// σ(i), σ(f), tanh(g), σ(o), c and h of cell `n`, from the equations.
        fn exact(&self, n: usize) -> [f64; 6] {
            let (row, unit) = (n / self.units, n % self.units);
            let z = |block: usize| self.gates[(4 * row + block) * self.units + unit];
            let gate = |x: f64| match self.activation {
                GateActivation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
                GateActivation::HardSigmoid => (0.2 * x + 0.5).clamp(0.0, 1.0),
            };
            let (i, f, g, o) = (gate(z(0)), gate(z(1)), z(2).tanh(), gate(z(3)));
            let c = f * self.c_before[n] + i * g;
            [i, f, g, o, c, o * c.tanh()]
        }

        /// What the gradients are the slopes of.
        fn loss(&self) -> f64 {
            let cell = |n: usize| {
                let [.., c, h] = self.exact(n);
                (self.d_output[n] + self.d_h[n]) * h + self.d_c[n] * c
            };
            (0..self.c_before.len()).map(cell).sum()
        }
    }

    /// With rows of every length around a vector register's.
    fn all_cells() -> impl Iterator<Item = Cells> {
        let sizes = [(1, 1), (3, 2), (2, 7), (2, 8), (3, 16), (2, 17), (1, 33), (0, 4)];
        let both = move |activation| sizes.map(|(rows, units)| Cells::new(rows, units, activation));
        GATES.into_iter().flat_map(both)
    }

    fn steps_are_the_equations<F: Real>(bound: f64) {
        for cells in all_cells() {
            let Done { gates, c, tanh_c, h } = cells.forward::<F>();
            for n in 0..c.len() {
                let gate = |block: usize| {
                    gates[(4 * (n / cells.units) + block) * cells.units + n % cells.units]
                };
                let got = [gate(0), gate(1), gate(2), gate(3), c[n], h[n]];
                let exact = cells.exact(n);
                let all = got.iter().zip(exact).chain([(&tanh_c[n], exact[4].tanh())]);
                for (&got, exact) in all {
                    let got: f64 = got.into();
                    assert!((got - exact).abs() <= bound, "cell {n}: {got}, not {exact}");
                }
            }
        }
    }

    #[test]
    fn a_step_is_the_equations_in_float64() {
        steps_are_the_equations::<f64>(1e-15);
    }

    #[test]
    fn a_step_is_the_equations_in_float32() {
        steps_are_the_equations::<f32>(1e-6);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_step() {
        const NUDGE: f64 = 1e-5;
        for cells in all_cells() {
            let (d_gates, d_c) = cells.backward::<f64>(Some(&cells.d_output));
            let (gates, c_before): (Field, Field) = (|c| &mut c.gates, |c| &mut c.c_before);
            for (gradient, place) in [(&d_gates, gates), (&d_c, c_before)] {
                for (n, gradient) in gradient.iter().enumerate() {
                    let at = |nudge: f64| {
                        let mut cells = cells.clone();
                        place(&mut cells)[n] += nudge;
                        cells.loss()
                    };
                    let slope = (at(NUDGE) - at(-NUDGE)) / (2.0 * NUDGE);
                    assert!((gradient - slope).abs() < 1e-8, "entry {n}: {gradient}, not {slope}");
                }
            }
            let (single, single_c) = cells.backward::<f32>(Some(&cells.d_output));
            let pairs = single.iter().zip(&d_gates).chain(single_c.iter().zip(&d_c));
            pairs.for_each(|(x, exact)| assert!((x - exact).abs() < 1e-5, "{x}, not {exact}"));
        }
    }

    type Field = fn(&mut Cells) -> &mut Vec<f64>;

    #[test]
    fn no_gradient_from_above_means_zero() {
        for cells in all_cells() {
            let zeros = vec![0.0; cells.d_h.len()];
            assert!(cells.backward::<f64>(None) == cells.backward::<f64>(Some(&zeros)));
        }
    }

    #[test]
    fn vector_instructions_change_no_bit() {
        for cells in all_cells() {
            let (wide, plain) = (cells.forward::<f32>(), cells.forward_by::<f32>(forward_body));
            assert!(wide.gates == plain.gates && wide.c == plain.c);
            assert!(wide.tanh_c == plain.tanh_c && wide.h == plain.h);
            let above = Some(&cells.d_output[..]);
            let plain = cells.backward_by::<f32>(above, backward_body);
            assert!(cells.backward::<f32>(above) == plain);
        }
    }

    #[test]
    fn what_is_not_a_number_stays_one() {
        for activation in GATES {
            for block in 0..4 {
                let mut cells = Cells::new(2, 9, activation);
                cells.gates[(4 + block) * 9 + 5] = f64::NAN;
                let h = cells.forward::<f32>().h;
                assert!(h.iter().enumerate().all(|(n, x)| x.is_nan() == (n == 9 + 5)), "{h:?}");
            }
        }
    }

    #[test]
    fn hard_sigmoid_is_keras_2_s() {
        let cases = [(-3.0, 0.0), (-2.5, 0.0), (0.0, 0.5), (1.0, 0.7), (2.5, 1.0), (9.0, 1.0)];
        for (x, expected) in cases {
            assert_eq!(hard_sigmoid::<f64>(x), expected);
        }
        assert!(hard_sigmoid(f64::NAN).is_nan());
    }
}
