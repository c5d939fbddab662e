//! Vector registers, for the one loop that the compiler does not vectorise by itself: the matrix
//! product's.

use crate::real::Real;

/// A vector register of numbers of type `F`.
pub trait Vector<F>: Copy {
    /// Numbers in it.
    const LANES: usize;

    /// `x` in every lane.
    ///
    /// # Safety
    /// The processor has the register. This holds for every function of the trait.
    unsafe fn splat(x: F) -> Self;

    /// The numbers at `from`.
    ///
    /// # Safety
    /// There are `LANES` of them.
    unsafe fn load(from: *const F) -> Self;

    /// Writes the numbers to `to`.
    ///
    /// # Safety
    /// There is room for `LANES` of them.
    unsafe fn store(self, to: *mut F);

    /// self · a + b.
    ///
    /// # Safety
    /// The processor has the register.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
}

/// The vector registers of a float type.
pub trait Lanes: Sized {
    /// AVX-512's.
    #[cfg(target_arch = "x86_64")]
    type Avx512: Vector<Self>;
    /// AVX2's, multiplied and added with FMA.
    #[cfg(target_arch = "x86_64")]
    type Avx2: Vector<Self>;
}

/// Whether the processor has the parts of AVX-512 that the program uses.
#[cfg(target_arch = "x86_64")]
pub fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && has_avx2()
}

/// Whether the processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
pub fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Four numbers that any compiler can put into whatever registers there are.
#[derive(Debug, Clone, Copy)]
pub struct Four<F>([F; 4]);

impl<F: Real> Vector<F> for Four<F> {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: F) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const F) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { from.cast::<[F; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut F) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[F; 4]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        let lane = |i: usize| {
            // Where fused multiply-add is not part of every processor it would be a function call.
            if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                self.0[i].mul_add(a.0[i], b.0[i])
            } else {
                self.0[i] * a.0[i] + b.0[i]
            }
        };
        Self([lane(0), lane(1), lane(2), lane(3)])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, Vector};

    macro_rules! vector {
        ($register:ty, $float:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident) => {
            impl Vector<$float> for $register {
                const LANES: usize = $lanes;

                #[inline(always)]
                unsafe fn splat(x: $float) -> Self {
                    // SAFETY: here and below, the caller's promise.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn load(from: *const $float) -> Self {
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $float) {
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                    unsafe { $fma(self, a, b) }
                }
            }
        };
    }

    vector!(__m512, f32, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps);
    vector!(__m512d, f64, 8, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_fmadd_pd);
    vector!(__m256, f32, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps);
    vector!(__m256d, f64, 4, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_fmadd_pd);

    impl Lanes for f32 {
        type Avx512 = __m512;
        type Avx2 = __m256;
    }

    impl Lanes for f64 {
        type Avx512 = __m512d;
        type Avx2 = __m256d;
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Lanes for f32 {}
#[cfg(not(target_arch = "x86_64"))]
impl Lanes for f64 {}
