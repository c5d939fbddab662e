//! Squared or absolute errors of a dense layer's rows, and their gradient, in one pass.

use super::Power;
use crate::kernels::float::Real;
use crate::model::losses::Score;

/// Scores every row of `outputs` `(N, features)` against its row of `targets`, and replaces the
/// outputs by `scale` times the gradient of the loss: of the mean of d² it is 2d/features, of the
/// mean of |d| the sign of d over features, where d is an output less its target. The sums of the
/// rows' losses are added to `tally`.
pub fn mean_error<F: Real>(
    outputs: &mut [F],
    features: usize,
    targets: &[F],
    power: Power,
    scale: F,
    tally: &mut Score,
) {
    let (zero, scale) = (F::from(0.0), scale / F::from_f64(features as f64));
    let mut sum = 0.0;
    for (output, &target) in outputs.iter_mut().zip(targets) {
        let d = *output - target;
        let wide: f64 = d.into();
        match power {
            Power::Squared => {
                sum += wide * wide;
                *output = F::from(2.0) * scale * d;
            }
            Power::Absolute => {
                sum += wide.abs();
                *output = match () {
                    () if d > zero => scale,
                    () if d < zero => zero - scale,
                    // Zero, or no number.
                    () => d,
                };
            }
        }
    }
    tally.loss += sum / features as f64;
}

/// The loss of one row of `outputs` against its `targets`.
pub fn of_answer<F: Real>(outputs: &[F], targets: &[F], power: Power) -> f64 {
    let error = |(&output, &target): (&F, &F)| {
        let d: f64 = (output - target).into();
        match power {
            Power::Squared => d * d,
            Power::Absolute => d.abs(),
        }
    };
    outputs.iter().zip(targets).map(error).sum::<f64>() / targets.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const POWERS: [Power; 2] = [Power::Squared, Power::Absolute];

    fn scored<F: Real>(
        outputs: &[f64],
        features: usize,
        targets: &[f64],
        power: Power,
    ) -> (f64, Vec<f64>) {
        let of = |numbers: &[f64]| numbers.iter().map(|&x| F::from_f64(x)).collect::<Vec<F>>();
        let (mut outputs, mut tally) = (of(outputs), Score::default());
        let scale = F::from_f64(0.25);
        mean_error(&mut outputs, features, &of(targets), power, scale, &mut tally);
        (tally.loss, outputs.into_iter().map(Into::into).collect())
    }

    #[test]
    fn loss_and_gradient_are_the_formulas() {
        let (outputs, targets) = ([1.0, -2.0, 0.5, 4.0, 3.0, -1.0], [0.5, 1.0, 0.5, 2.0, 3.5, 0.0]);
        // Three rows of two numbers, or two of three.
        for features in [2, 3] {
            let over = features as f64;
            let squared = [1.0, -6.0, 0.0, 4.0, -1.0, -2.0].map(|d| 0.25 * d / over);
            let absolute = [1.0, -1.0, 0.0, 1.0, -1.0, -1.0].map(|d| 0.25 * d / over);
            let expected = [(14.5 / over, squared), (7.0 / over, absolute)];
            for (power, (loss, gradient)) in POWERS.into_iter().zip(expected) {
                let bound = |bound: f64, (got, numbers): (f64, Vec<f64>)| {
                    assert!((got - loss).abs() <= bound, "{power:?}: {got}, not {loss}");
                    for (got, expected) in numbers.iter().zip(gradient) {
                        assert!((got - expected).abs() <= bound, "{power:?}: {numbers:?}");
                    }
                };
                bound(1e-14, scored::<f64>(&outputs, features, &targets, power));
                bound(1e-6, scored::<f32>(&outputs, features, &targets, power));
                let rows = outputs.chunks(features).zip(targets.chunks(features));
                let sum: f64 = rows.map(|(said, target)| of_answer(said, target, power)).sum();
                assert!((sum - loss).abs() < 1e-14, "{power:?}: {sum}, not {loss}");
            }
        }
    }

    #[test]
    fn what_is_no_number_shows_in_loss_and_gradient() {
        for power in POWERS {
            let (loss, gradient) = scored::<f32>(&[0.0, f64::NAN], 1, &[1.0, 1.0], power);
            assert!(loss.is_nan() && gradient[1].is_nan() && !gradient[0].is_nan(), "{power:?}");
        }
    }

    #[test]
    fn the_tally_of_rows_is_added_to_what_it_holds() {
        for power in POWERS {
            let mut tally = Score { loss: 2.0, values: [7.0] };
            mean_error(&mut [3.0f64, 1.0], 1, &[2.0, 1.0], power, 1.0, &mut tally);
            assert_eq!(tally, Score { loss: 3.0, values: [7.0] });
            mean_error::<f64>(&mut [], 1, &[], power, 1.0, &mut tally);
            assert_eq!(tally, Score { loss: 3.0, values: [7.0] });
        }
    }
}
