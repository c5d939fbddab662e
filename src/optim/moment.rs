//! Moments of the gradient, running means that decay where it is zero.

use crate::kernels::float::Real;

/// The smallest moment that is kept where every update changes it by `share` of its distance to what was found, 0 to
/// 1 but not 0. A smaller one, which moves no weight, would decay to a subnormal number: that never comes to zero, for
/// its last changes are rounded away, and processors take many times as long over it.
pub fn least<F: Real>(share: f64) -> F {
    F::from_f64(Into::<f64>::into(F::LEAST_NORMAL) / share)
}

/// `moment`, or zero where it is smaller than `least`. What is not a number stays.
#[inline(always)]
pub fn kept<F: Real>(moment: F, least: F) -> F {
    let zero = F::default();
    if moment < least && moment > zero - least { zero } else { moment }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decays_to_zero<F: Real + std::fmt::Debug>() {
        for share in [0.5, 0.1, 0.001] {
            let (least, rest) = (least::<F>(share), F::from_f64(1.0 - share));
            for start in [F::from(3.0), F::from(-3.0)] {
                let decay = |moment: &F| Some(kept(*moment * rest, least));
                let mut moments = std::iter::successors(Some(start), decay);
                let normal = |moment: &F| {
                    let size: f64 = (*moment).into();
                    size.abs() >= F::LEAST_NORMAL.into()
                };
                let end = moments.by_ref().find(|moment| !normal(moment));
                assert_eq!(end, Some(F::default()), "from {start:?} by {share}");
            }
        }
        assert!(kept(F::from(f32::NAN), least::<F>(0.1)) != kept(F::default(), F::default()));
    }

    #[test]
    fn moments_without_a_gradient_come_to_zero_and_are_normal_until_then() {
        decays_to_zero::<f32>();
        decays_to_zero::<f64>();
    }
}
