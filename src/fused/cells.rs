//! The arithmetic of LSTM cells between two matrix products, fused into one pass on the CPU.

use crate::config::GateActivation;
use crate::real::{Real, widest};

/// What a step keeps of its `n` cells, row by row; gates are `(n / H) × 4H`, the rest `n` numbers.
pub struct Step<'a, F> {
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

/// What the gradient of a step needs, laid out as in [`Step`].
pub struct StepGradient<'a, F> {
    /// σ(i), σ(f), tanh(g), σ(o).
    pub gates: &'a [F],
    /// c of the step before.
    pub c_before: &'a [F],
    /// tanh(c).
    pub tanh_c: &'a [F],
    /// Gradient of h that comes from above; nothing means zero.
    pub d_output: Option<&'a [F]>,
    /// Gradient of h that comes from the step after.
    pub d_h: &'a [F],
    /// In: gradient of c. Out: that of the step before.
    pub d_c: &'a mut [F],
    /// Out: gradient of what the gates were before their activations.
    pub d_gates: &'a mut [F],
}

widest! {
    /// Computes a step.
    forward<F: Real>(step: &mut Step<F>, units: usize, activation: GateActivation) by forward_body
}
widest! {
    /// Computes the gradient of a step.
    backward<F: Real>(step: &mut StepGradient<F>, units: usize, activation: GateActivation)
    by backward_body
}

#[inline(always)]
fn forward_body<F: Real>(step: &mut Step<F>, units: usize, activation: GateActivation) {
    match activation {
        GateActivation::Sigmoid => forward_rows(step, units, F::sigmoid),
        GateActivation::HardSigmoid => forward_rows(step, units, hard_sigmoid),
    }
}

#[inline(always)]
fn forward_rows<F: Real>(step: &mut Step<F>, units: usize, gate: impl Fn(F) -> F) {
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
fn backward_body<F: Real>(step: &mut StepGradient<F>, units: usize, activation: GateActivation) {
    let one = F::from(1.0);
    match activation {
        GateActivation::Sigmoid => backward_rows(step, units, |s| s * (one - s)),
        GateActivation::HardSigmoid => backward_rows(step, units, hard_sigmoid_slope),
    }
}

/// `slope`: the gate activation's derivative as a function of its value.
#[inline(always)]
fn backward_rows<F: Real>(step: &mut StepGradient<F>, units: usize, slope: impl Fn(F) -> F) {
    let one = F::from(1.0);
    for row in 0..step.d_h.len() / units {
        let cells = row * units..(row + 1) * units;
        let wide = row * 4 * units..(row + 1) * 4 * units;
        let (i, rest) = step.gates[wide.clone()].split_at(units);
        let (f, rest) = rest.split_at(units);
        let (g, o) = rest.split_at(units);
        let (d_i, rest) = step.d_gates[wide].split_at_mut(units);
        let (d_f, rest) = rest.split_at_mut(units);
        let (d_g, d_o) = rest.split_at_mut(units);
        let (c_before, tanh_c) = (&step.c_before[cells.clone()], &step.tanh_c[cells.clone()]);
        let (d_h, d_c) = (&step.d_h[cells.clone()], &mut step.d_c[cells.clone()]);
        // d_o holds the whole gradient of h until the last loop: small loops, as in `forward_rows`.
        match step.d_output {
            Some(d) => (0..units).for_each(|n| d_o[n] = d[cells.start + n] + d_h[n]),
            None => d_o.copy_from_slice(d_h),
        }
        for n in 0..units {
            d_c[n] += d_o[n] * o[n] * (one - tanh_c[n] * tanh_c[n]);
        }
        for n in 0..units {
            d_i[n] = d_c[n] * g[n] * slope(i[n]);
            d_g[n] = d_c[n] * i[n] * (one - g[n] * g[n]);
        }
        for n in 0..units {
            d_f[n] = d_c[n] * c_before[n] * slope(f[n]);
            d_c[n] = d_c[n] * f[n];
        }
        for n in 0..units {
            d_o[n] = d_o[n] * tanh_c[n] * slope(o[n]);
        }
    }
}

/// clip(0.2x + 0.5, 0, 1). NaN stays NaN.
#[inline(always)]
fn hard_sigmoid<F: Real>(x: F) -> F {
    let (zero, one) = (F::from(0.0), F::from(1.0));
    // 0.2 as a quotient, so that it is as exact as F can be.
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

    #[test]
    fn hard_sigmoid_is_keras_2_s() {
        let cases = [(-3.0, 0.0), (-2.5, 0.0), (0.0, 0.5), (1.0, 0.7), (2.5, 1.0), (9.0, 1.0)];
        for (x, expected) in cases {
            assert_eq!(hard_sigmoid::<f64>(x), expected);
        }
        assert!(hard_sigmoid(f64::NAN).is_nan());
    }
}
