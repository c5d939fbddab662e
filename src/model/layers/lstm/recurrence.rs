//! The LSTM's recurrence as libtorch operations, on any device, differentiated by autograd.

use tch::{TchError, Tensor};

use crate::config::GateActivation;
use crate::model::layers::twin::LstmState;
use crate::tensor::cpp::lstm::{self, Launches};

/// All time steps of an LSTM, given the input projections `(T, R, B, 4H)` (x·kernel + bias, blocks
/// i, f, g, o), the recurrent kernel `(R, H, 4H)` and the state before the first step. Returns all
/// outputs `(T, R, B, H)` and the state after the last step. Differentiable in every input.
///
/// Steps that are not `valid`, `(T, R, B, 1)` bool, leave the state as it is, and their output is zero.
/// The h that enters the product is multiplied by the mask `dropped`, `(R, B, H)`.
///
/// # Errors
/// If shapes do not match, or memory is short.
pub fn recurrence(
    projected: &Tensor,
    recurrent_kernel: &Tensor,
    state: &LstmState,
    activation: GateActivation,
    valid: Option<&Tensor>,
    dropped: Option<&Tensor>,
) -> Result<(Tensor, LstmState), TchError> {
    let units = recurrent_kernel.size3()?.1;
    let mut state = state.shallow_clone();
    let mut outputs = Vec::new();
    let valid = valid.map(|valid| valid.f_unbind(0)).transpose()?;
    for (t, step) in projected.f_unbind(0)?.into_iter().enumerate() {
        let masked = dropped.map(|mask| state.h.f_mul(mask)).transpose()?;
        let h = masked.as_ref().unwrap_or(&state.h);
        let z = step.f_baddbmm(h, recurrent_kernel, 1.0, 1.0)?;
        // Input and forget gate are adjacent: one operation activates both.
        let blocks = z.f_split_with_sizes([2 * units, units, units], -1)?;
        let gates = gate(&blocks[0], activation)?.f_split(units, -1)?;
        let new = gates[0].f_mul(&blocks[1].f_tanh()?)?;
        let c = new.f_addcmul(&gates[1], &state.c)?;
        let h = gate(&blocks[2], activation)?.f_mul(&c.f_tanh()?)?;
        let Some(valid) = &valid else {
            outputs.push(h.shallow_clone());
            state = LstmState { h, c };
            continue;
        };
        outputs.push(h.f_masked_fill(&valid[t].f_logical_not()?, 0.0)?);
        let h = h.f_where_self(&valid[t], &state.h)?;
        state = LstmState { h, c: c.f_where_self(&valid[t], &state.c)? };
    }
    let outputs = match outputs.is_empty() {
        true => projected.f_narrow(-1, 0, units)?,
        false => Tensor::f_stack(&outputs, 0)?,
    };
    Ok((outputs, state))
}

/// The same with a gradient of its own, which on a GPU takes fewer launches.
///
/// # Errors
/// As [`recurrence`], with too many units for it, and on a device that it does not serve.
pub fn by_kernels(
    projected: &Tensor,
    recurrent_kernel: &Tensor,
    state: &LstmState,
    activation: GateActivation,
    valid: Option<&Tensor>,
    dropped: Option<&Tensor>,
    launches: Launches,
) -> Result<(Tensor, LstmState), TchError> {
    let hard = activation == GateActivation::HardSigmoid;
    let (start, masks) = ([&state.h, &state.c], [valid, dropped]);
    let [outputs, h, c] =
        lstm::recurrence(projected, recurrent_kernel, start, masks, hard, launches)?;
    Ok((outputs, LstmState { h, c }))
}

/// The gate activation of `x`.
fn gate(x: &Tensor, activation: GateActivation) -> Result<Tensor, TchError> {
    match activation {
        GateActivation::Sigmoid => x.f_sigmoid(),
        // libtorch's own hardsigmoid has another slope, and rounds it to float32.
        GateActivation::HardSigmoid => x.f_mul_scalar(0.2)?.f_add_scalar(0.5)?.f_clamp(0.0, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::tensor::device;

    /// Outputs, the last state and the gradient of every input, where a loss reads these of them: outputs, last h
    /// and last c.
    fn results(
        run: impl Fn(&[Tensor; 4], Option<&Tensor>, Option<&Tensor>) -> (Tensor, LstmState),
        given: &[Tensor; 4],
        valid: Option<&Tensor>,
        mask: Option<&Tensor>,
        read: [bool; 3],
    ) -> Vec<Tensor> {
        let given = given.each_ref().map(|of| of.copy().set_requires_grad(true));
        let (outputs, last) = run(&given, valid, mask);
        let weighted = &outputs * outputs.detach().cumsum(0, Kind::Double);
        let parts = [weighted, &last.h * 2.0, -&last.c].into_iter().zip(read);
        let parts = parts.filter(|(_, read)| *read).map(|(part, _)| part.sum(Kind::Double));
        parts.reduce(|sum, part| sum + part).unwrap().backward();
        [outputs, last.h, last.c].into_iter().chain(given.iter().map(Tensor::grad)).collect()
    }

    /// On the CPU, with the equations that a GPU's kernels have.
    #[test]
    fn kernels_and_operations_agree_in_outputs_and_gradients() {
        let (steps, replicas, rows, units) = (4, 2, 3, 5);
        let options = (Kind::Double, device::host());
        let random = |shape: &[i64]| Tensor::randn(shape, options) * 1.5;
        let state = [replicas, rows, units];
        let mask = Tensor::rand(state, options) + 0.5;
        // Lengths 4, 2 and 1, then 3, 4 and 0.
        let lengths = Tensor::from_slice(&[4_i64, 2, 1, 3, 4, 0]).view([1, replicas, rows, 1]);
        let times = Tensor::arange(steps, (Kind::Int64, device::host())).view([steps, 1, 1, 1]);
        let valid = times.lt_tensor(&lengths);
        for activation in [GateActivation::Sigmoid, GateActivation::HardSigmoid] {
            let given = [
                random(&[steps, replicas, rows, 4 * units]),
                random(&[replicas, units, 4 * units]),
                random(&state),
                random(&state),
            ];
            let both = [
                (None, None),
                (Some(&valid), None),
                (None, Some(&mask)),
                (Some(&valid), Some(&mask)),
            ];
            let reads =
                [[true; 3], [true, false, false], [false, true, false], [true, false, true]];
            for ((valid, mask), read) in
                both.into_iter().flat_map(|of| reads.map(|read| (of, read)))
            {
                let run = |launches: Option<Launches>| {
                    let one = |[projected, kernel, h, c]: &[Tensor; 4],
                               valid: Option<&Tensor>,
                               mask: Option<&Tensor>| {
                        let start = LstmState { h: h.shallow_clone(), c: c.shallow_clone() };
                        match launches {
                            None => recurrence(projected, kernel, &start, activation, valid, mask),
                            Some(launches) => by_kernels(
                                projected, kernel, &start, activation, valid, mask, launches,
                            ),
                        }
                        .unwrap()
                    };
                    results(one, &given, valid, mask, read)
                };
                let operations = run(None);
                for launches in [Launches::Together, Launches::Each] {
                    let kernels = run(Some(launches));
                    for (number, (one, other)) in operations.iter().zip(&kernels).enumerate() {
                        assert_eq!(one.size(), other.size());
                        assert!(
                            one.allclose(other, 1e-12, 1e-13, false),
                            "{activation} {launches:?} {read:?} {number}: {}",
                            (one - other).abs().max()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn no_steps_pass_the_state_and_its_gradient_through() {
        let (replicas, rows, units) = (2, 3, 4);
        let options = (Kind::Double, device::host());
        let random = |shape: &[i64]| Tensor::rand(shape, options).set_requires_grad(true);
        let kernel = random(&[replicas, units, 4 * units]);
        let projected = random(&[0, replicas, rows, 4 * units]);
        let state =
            LstmState { h: random(&[replicas, rows, units]), c: random(&[replicas, rows, units]) };
        for activation in [GateActivation::Sigmoid, GateActivation::HardSigmoid] {
            let (outputs, last) =
                recurrence(&projected, &kernel, &state, activation, None, None).unwrap();
            assert_eq!(outputs.size(), [0, replicas, rows, units]);
            assert_eq!(outputs.kind(), Kind::Double);
            assert!(last.h.equal(&state.h) && last.c.equal(&state.c));
        }
        let (_, last) =
            recurrence(&projected, &kernel, &state, GateActivation::Sigmoid, None, None).unwrap();
        (last.h * 3.0 + last.c * 5.0).sum(Kind::Double).backward();
        assert!(state.h.grad().equal(&state.h.full_like(3.0)));
        assert!(state.c.grad().equal(&state.c.full_like(5.0)));
    }
}
