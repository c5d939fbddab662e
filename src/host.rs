//! Arithmetic on the CPU that libtorch would do in several passes: access to a tensor's memory, and
//! loops compiled for the processor at hand.

use std::ops::{Add, Div, Mul, Sub};

use tch::{Kind, TchError, Tensor};

use crate::device;

/// A float type, with the functions that the compiler can turn into vector instructions.
pub trait Real:
    Copy
    + PartialOrd
    + From<f32>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
{
    /// libtorch's name of the type.
    const KIND: Kind;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// 1 / (1 + e⁻ˣ).
    fn sigmoid(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// The nearest number of this type.
    fn from_f64(x: f64) -> Self;
}

impl Real for f64 {
    const KIND: Kind = Kind::Double;

    fn tanh(self) -> Self {
        self.tanh()
    }
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
}

impl Real for f32 {
    const KIND: Kind = Kind::Float;

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

    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
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
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                {
                    // SAFETY: the processor has the instructions.
                    return unsafe { avx512($($argument),+) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { avx2($($argument),+) };
                }
            }
            $body($($argument),+)
        }
    };
}
pub(crate) use widest;

/// Elements `first..first + n` of the memory of `tensor`.
///
/// # Errors
/// If it is not a contiguous tensor of element type `F` on the CPU with so many elements.
///
/// # Safety
/// `tensor` outlives the slice, and nobody writes to these elements meanwhile.
pub unsafe fn slice<'a, F: Real>(
    tensor: &Tensor,
    first: usize,
    n: usize,
) -> Result<&'a [F], TchError> {
    check::<F>(tensor, first, n)?;
    Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<F>().add(first), n) })
}

/// As [`slice()`], to write to.
///
/// # Errors
/// As [`slice()`].
///
/// # Safety
/// As [`slice()`], and nobody else reads these elements meanwhile.
pub unsafe fn slice_mut<'a, F: Real>(
    tensor: &Tensor,
    first: usize,
    n: usize,
) -> Result<&'a mut [F], TchError> {
    check::<F>(tensor, first, n)?;
    Ok(unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<F>().add(first), n) })
}

fn check<F: Real>(tensor: &Tensor, first: usize, n: usize) -> Result<(), TchError> {
    let fits = tensor.kind() == F::KIND
        && device::is_host(tensor.device())
        && tensor.is_contiguous()
        && first + n <= tensor.numel();
    if fits {
        return Ok(());
    }
    Err(TchError::Shape(format!("no {n} numbers of {:?} at {first} of {tensor:?}", F::KIND)))
}

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
}
