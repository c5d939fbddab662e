//! Float types, and loops compiled for the processor at hand.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use crate::kernels::simd::Lanes;

/// A float type, with the functions that the compiler can turn into vector instructions.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + 'static
    + From<f32>
    + Into<f64>
    + Lanes
    + Add<Output = Self>
    + AddAssign
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// The smallest positive number that has all its digits.
    const LEAST_NORMAL: Self;

    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// 1 / (1 + e⁻ˣ).
    fn sigmoid(self) -> Self;
    /// eˣ for x ≤ 0.
    fn exp(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// self · a + b, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
}

impl Real for f64 {
    const LEAST_NORMAL: Self = Self::MIN_POSITIVE;

    fn tanh(self) -> Self {
        self.tanh()
    }
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }
    fn exp(self) -> Self {
        self.exp()
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        self.mul_add(a, b)
    }
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
}

impl Real for f32 {
    const LEAST_NORMAL: Self = Self::MIN_POSITIVE;

    /// The quotient of polynomials that Eigen uses, of degrees 13 and 6: within 5 units in the last
    /// place, and made of operations that the compiler turns into vector instructions.
    #[inline(always)]
    fn tanh(self) -> Self {
        // Beyond this the result rounds to ±1. NaN passes through both comparisons.
        let x = if self > 7.905_311 { 7.905_311 } else { self };
        let x = if x < -7.905_311 { -7.905_311 } else { x };
        let y = x * x;
        let p = -2.760_768_5e-16 * y + 2.000_188e-13;
        let p = p * y - 8.604_672e-11;
        let p = p * y + 5.122_297e-8;
        let p = p * y + 1.485_722_4e-5;
        let p = p * y + 6.372_619_3e-4;
        let p = p * y + 4.893_524_6e-3;
        let q = 1.198_258_4e-6 * y + 1.185_347_1e-4;
        let q = q * y + 2.268_434_6e-3;
        let q = q * y + 4.893_525e-3;
        x * p / q
    }

    #[inline(always)]
    fn sigmoid(self) -> Self {
        0.5 * Real::tanh(0.5 * self) + 0.5
    }

    /// 2ⁿ · eʳ with |r| ≤ ln 2 / 2 and the polynomial for eʳ of Cephes: within 2 units in the last
    /// place, of vectorisable operations.
    #[inline(always)]
    fn exp(self) -> Self {
        // Below this eˣ is no normal number. NaN passes through the comparison.
        let x = if self < -87.0 { -87.0 } else { self };
        // Adding 1.5 · 2²³ leaves the nearest integer in the lowest bits.
        let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
        let n = shifted - 12_582_912.0;
        let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
        let p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
        let p = p * r + 8.333_452e-3;
        let p = p * r + 4.166_579_6e-2;
        let p = p * r + 1.666_666_5e-1;
        let p = p * r + 0.5;
        let power = shifted.to_bits().wrapping_sub(0x4B40_0000).wrapping_add(127) << 23;
        (p * r * r + r + 1.0) * f32::from_bits(power)
    }

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        self.mul_add(a, b)
    }

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }
}

/// Defines a function that runs another of the same arguments, compiled for the widest vectors that
/// this processor has. The arithmetic and so the result is the same in every version.
macro_rules! widest {
    (
        $(#[$doc:meta])*
        $name:ident<F: Real>($($argument:ident: $type:ty),+ $(,)?) by $body:ident
    ) => {
        $(#[$doc])*
        pub fn $name<F: Real>($($argument: $type),+) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
                fn avx512<F: Real>($($argument: $type),+) {
                    $body($($argument),+)
                }
                #[target_feature(enable = "avx2")]
                fn avx2<F: Real>($($argument: $type),+) {
                    $body($($argument),+)
                }
                if $crate::kernels::simd::has_avx512() {
                    // SAFETY: the processor has the instructions.
                    return unsafe { avx512($($argument),+) };
                }
                if $crate::kernels::simd::has_avx2() {
                    // SAFETY: as above.
                    return unsafe { avx2($($argument),+) };
                }
            }
            $body($($argument),+)
        }
    };
}
pub(crate) use widest;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_is_accurate_and_keeps_nan() {
        for n in -200_000..=200_000 {
            let x = n as f32 / 10_000.0;
            let (got, exact) = (f64::from(Real::tanh(x)), f64::from(x).tanh());
            assert!((got - exact).abs() <= 5e-7 * exact.abs(), "tanh({x}): {got}, not {exact}");
        }
        assert!(Real::tanh(f32::NAN).is_nan() && Real::sigmoid(f32::NAN).is_nan());
        assert_eq!(Real::tanh(f32::INFINITY), 1.0);
        assert_eq!(Real::tanh(f32::NEG_INFINITY), -1.0);
    }

    #[test]
    fn exp_is_accurate_and_keeps_nan() {
        for n in -870_000..=0 {
            let x = n as f32 / 10_000.0;
            let (got, exact) = (f64::from(Real::exp(x)), f64::from(x).exp());
            assert!((got - exact).abs() <= 2e-7 * exact, "exp({x}): {got}, not {exact}");
        }
        assert!(Real::exp(f32::NAN).is_nan());
        assert_eq!(Real::exp(0f32), 1.0);
        assert!(Real::exp(f32::NEG_INFINITY) < 2e-38);
    }
}
