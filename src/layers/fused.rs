//! The LSTM's recurrence on the CPU: libtorch's matrix products with fused cells between them, and
//! a backward pass of its own. Computes what [`super::recurrence`] does.

use std::rc::Rc;

use tch::{Kind, TchError, Tensor};

use super::LstmState;
use super::cells::{self, Step, StepGradient};
use crate::config::GateActivation;
use crate::host::{Real, slice, slice_mut};
use crate::tape::Tape;

/// What the backward pass needs of the forward pass.
struct Saved {
    activation: GateActivation,
    /// `(T, R, B, 4H)`: σ(i), σ(f), tanh(g), σ(o).
    gates: Tensor,
    /// `(T + 1, R, B, H)`: h before the first step and after each.
    h: Tensor,
    /// `(T + 1, R, B, H)`, likewise.
    c: Tensor,
    /// `(T, R, B, H)`.
    tanh_c: Tensor,
}

/// As [`super::recurrence::recurrence`]. What has to take part in a gradient is recorded on `tape`.
///
/// # Errors
/// libtorch's.
pub fn recurrence(
    projected: &Tensor,
    recurrent_kernel: &Tensor,
    state: &LstmState,
    activation: GateActivation,
    tape: &Rc<Tape>,
) -> Result<(Tensor, LstmState), TchError> {
    let saved = tch::no_grad(|| match projected.kind() {
        Kind::Double => forward::<f64>(projected, recurrent_kernel, state, activation),
        _ => forward::<f32>(projected, recurrent_kernel, state, activation),
    })?;
    let steps = projected.size()[0];
    let outputs = saved.h.f_narrow(0, 1, steps)?.f_detach()?;
    let c = saved.c.f_select(0, steps)?.f_detach()?;
    // Without a graph below, as in inference, there is nothing to send a gradient to.
    let graph = projected.requires_grad();
    let (outputs, c) = (outputs.f_set_requires_grad(graph)?, c.f_set_requires_grad(graph)?);
    if graph {
        let (projected, kernel) = (projected.shallow_clone(), recurrent_kernel.shallow_clone());
        let (before, outputs, c) =
            (state.shallow_clone(), outputs.shallow_clone(), c.shallow_clone());
        tape.record(move || {
            let (d_outputs, d_c) = (outputs.f_grad()?, c.f_grad()?);
            if !d_outputs.defined() && !d_c.defined() {
                return Ok(());
            }
            let gradient = tch::no_grad(|| match projected.kind() {
                Kind::Double => backward::<f64>(&saved, &kernel, &d_outputs, &d_c, &before),
                _ => backward::<f32>(&saved, &kernel, &d_outputs, &d_c, &before),
            })?;
            gradient.send(&projected, &before)
        });
    }
    let h = outputs.f_select(0, steps - 1)?;
    Ok((outputs, LstmState { h, c }))
}

fn forward<F: Real>(
    projected: &Tensor,
    recurrent_kernel: &Tensor,
    state: &LstmState,
    activation: GateActivation,
) -> Result<Saved, TchError> {
    let (steps, replicas, batch_size, _) = projected.size4()?;
    let units = recurrent_kernel.size3()?.1;
    let options = (projected.kind(), projected.device());
    let empty = |steps, width| Tensor::f_empty([steps, replicas, batch_size, width], options);
    let gates = empty(steps, 4 * units)?;
    let (h, c) = (empty(steps + 1, units)?, empty(steps + 1, units)?);
    let saved = Saved { activation, gates, h, c, tanh_c: empty(steps, units)? };
    saved.gates.shallow_clone().f_copy_(projected)?;
    saved.h.f_select(0, 0)?.f_copy_(&state.h)?;
    saved.c.f_select(0, 0)?.f_copy_(&state.c)?;

    let n = (replicas * batch_size * units) as usize;
    for t in 0..steps {
        let h = saved.h.f_select(0, t)?;
        let _ = saved.gates.f_select(0, t)?.f_baddbmm_(&h, recurrent_kernel)?;
        let t = t as usize;
        // SAFETY: the tensors outlive the step, and the ranges that are written overlap no other.
        let mut step = unsafe {
            Step::<F> {
                gates: slice_mut(&saved.gates, t * 4 * n, 4 * n)?,
                c_before: slice(&saved.c, t * n, n)?,
                c: slice_mut(&saved.c, (t + 1) * n, n)?,
                tanh_c: slice_mut(&saved.tanh_c, t * n, n)?,
                h: slice_mut(&saved.h, (t + 1) * n, n)?,
            }
        };
        cells::forward(&mut step, units as usize, activation);
    }
    Ok(saved)
}

/// Gradients of a recurrence's inputs, but for the recurrent kernel's, which is added to its
/// `grad` at once.
struct Gradient {
    /// `(T, R, B, 4H)`.
    projected: Tensor,
    /// `(R, B, H)` each; `None` where the state takes no gradient.
    state: Option<LstmState>,
}

impl Gradient {
    /// Continues into the graphs that the inputs came from.
    fn send(&self, projected: &Tensor, state: &LstmState) -> Result<(), TchError> {
        // Its gradient with respect to the input is the one that is to be sent.
        let product = |x: &Tensor, d_x: &Tensor| x.f_mul(d_x)?.f_sum(x.kind());
        let mut sum = product(projected, &self.projected)?;
        if let Some(d_state) = &self.state {
            sum = sum.f_add(&product(&state.h, &d_state.h)?)?;
            sum = sum.f_add(&product(&state.c, &d_state.c)?)?;
        }
        sum.f_backward()
    }
}

fn backward<F: Real>(
    saved: &Saved,
    recurrent_kernel: &Tensor,
    d_outputs: &Tensor,
    d_c: &Tensor,
    before: &LstmState,
) -> Result<Gradient, TchError> {
    let (steps, replicas, batch_size, _) = saved.gates.size4()?;
    let units = recurrent_kernel.size3()?.1;
    let d_gates = saved.gates.f_empty_like()?;
    let d_outputs = if d_outputs.defined() { Some(d_outputs.f_contiguous()?) } else { None };
    let d_h = saved.c.f_select(0, 0)?.f_zeros_like()?;
    let d_cell = d_h.f_zeros_like()?;
    if d_c.defined() {
        d_cell.shallow_clone().f_copy_(d_c)?;
    }
    let transposed = recurrent_kernel.f_transpose(1, 2)?;
    let wants_state = before.h.requires_grad() || before.c.requires_grad();

    let n = (replicas * batch_size * units) as usize;
    for t in (0..steps).rev() {
        let index = t as usize;
        // SAFETY: as in `forward`.
        let mut step = unsafe {
            StepGradient::<F> {
                gates: slice(&saved.gates, index * 4 * n, 4 * n)?,
                c_before: slice(&saved.c, index * n, n)?,
                tanh_c: slice(&saved.tanh_c, index * n, n)?,
                d_output: d_outputs.as_ref().map(|d| slice(d, index * n, n)).transpose()?,
                d_h: slice(&d_h, 0, n)?,
                d_c: slice_mut(&d_cell, 0, n)?,
                d_gates: slice_mut(&d_gates, index * 4 * n, 4 * n)?,
            }
        };
        cells::backward(&mut step, units as usize, saved.activation);
        if t > 0 || wants_state {
            let _ = d_gates.f_select(0, t)?.f_bmm_out(&d_h, &transposed)?;
        }
    }
    // All steps' products h·d_gates in one.
    let rows = |x: &Tensor| {
        x.f_narrow(0, 0, steps)?.f_transpose(0, 1)?.f_reshape([replicas, steps * batch_size, -1])
    };
    let h = rows(&saved.h)?.f_transpose(1, 2)?;
    let _ = recurrent_kernel.f_grad()?.f_baddbmm_(&h, &rows(&d_gates)?)?;
    let state = wants_state.then_some(LstmState { h: d_h, c: d_cell });
    Ok(Gradient { projected: d_gates, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device;
    use crate::rng::{Purpose, Stream};
    use proptest::prelude::*;
    use rand::RngExt;

    /// Numbers in ±2 that hit the flat parts of the hard sigmoid too; a leaf with a `grad` of zeros.
    fn leaf(shape: &[i64], kind: Kind, seed: u64) -> Tensor {
        let mut generator = Stream::new(seed, Purpose::Weights).at(0);
        let count: i64 = shape.iter().product();
        let values: Vec<f64> = (0..count).map(|_| generator.random_range(-2.0..2.0)).collect();
        let leaf = Tensor::from_slice(&values).view(shape).to_kind(kind).set_requires_grad(true);
        leaf.sum(kind).backward();
        let _ = leaf.grad().zero_();
        leaf
    }

    /// Outputs, final state and the gradients of all four inputs, of a loss that uses every output.
    fn both_ways(
        (steps, replicas, rows, units): (i64, i64, i64, i64),
        activation: GateActivation,
        kind: Kind,
        seed: u64,
    ) -> Vec<(Tensor, Tensor)> {
        let run = |fused: bool| {
            let projected = leaf(&[steps, replicas, rows, 4 * units], kind, seed);
            let kernel = leaf(&[replicas, units, 4 * units], kind, seed + 1);
            let state = || leaf(&[replicas, rows, units], kind, seed + 2);
            let state = LstmState { h: state(), c: state() };
            let tape = Rc::new(Tape::default());
            let (outputs, last) = if fused {
                recurrence(&projected, &kernel, &state, activation, &tape).unwrap()
            } else {
                super::super::recurrence::recurrence(&projected, &kernel, &state, activation)
                    .unwrap()
            };
            let weights = outputs.detach().cumsum(0, kind);
            let loss = (&outputs * weights).sum(kind)
                + (&last.h * 3.0).sum(kind)
                + last.c.square().sum(kind);
            tape.backward(&loss).unwrap();
            let gradients = [&projected, &kernel, &state.h, &state.c].map(Tensor::grad);
            [outputs, last.h, last.c].into_iter().chain(gradients).collect::<Vec<_>>()
        };
        run(true).into_iter().zip(run(false)).collect()
    }

    fn error((fused, reference): &(Tensor, Tensor)) -> f64 {
        assert_eq!(fused.size(), reference.size());
        let scale = reference.abs().max().double_value(&[]).max(1.0);
        (fused - reference).abs().max().double_value(&[]) / scale
    }

    proptest! {
        // Always the same cases: a float32 number beside a kink of the hard sigmoid may fall on
        // either side of it, and such a case would be no error.
        #![proptest_config(ProptestConfig {
            cases: 64,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            ..ProptestConfig::default()
        })]
        #[test]
        fn agrees_with_autograd(
            shape in (1i64..6, 1i64..4, 1i64..5, 1i64..40),
            sigmoid: bool,
            seed in 0u64..1 << 40,
        ) {
            let activation =
                if sigmoid { GateActivation::Sigmoid } else { GateActivation::HardSigmoid };
            for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 2e-5)] {
                for (n, pair) in both_ways(shape, activation, kind, seed).iter().enumerate() {
                    let error = error(pair);
                    prop_assert!(error < tolerance, "{kind:?}, quantity {n}: {error:e}");
                }
            }
        }
    }

    #[test]
    fn inference_records_nothing() {
        let tape = Rc::new(Tape::default());
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, device::host()));
        let state = LstmState { h: zeros(&[1, 2, 3]), c: zeros(&[1, 2, 3]) };
        let (projected, kernel) = (zeros(&[4, 1, 2, 12]), zeros(&[1, 3, 12]));
        let _ = recurrence(&projected, &kernel, &state, GateActivation::Sigmoid, &tape).unwrap();
        assert_eq!(format!("{tape:?}"), "Tape(0 nodes)");
    }
}
