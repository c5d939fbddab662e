//! Vector registers, for the one loop that the compiler does not vectorise by itself: the matrix
//! product's.

use crate::kernels::float::Real;

/// Asks for the memory at `from`, which may lie anywhere, to be fetched and made this thread's to
/// write to.
#[inline(always)]
pub fn prefetch_to_write<F>(from: *const F) {
    // There is no intrinsic that comes to this instruction.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it changes nothing; processors that do not know it pass it over.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) from, options(readonly, nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}

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

    /// The `n` numbers at `from`, and zeros.
    ///
    /// # Safety
    /// There are `n` of them, and `n` ≤ `LANES`.
    unsafe fn load_part(from: *const F, n: usize) -> Self;

    /// Asks for the memory at `from`, which may lie anywhere, to be fetched.
    #[inline(always)]
    fn prefetch(from: *const F) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: it reads nothing.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(from.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = from;
    }

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

    /// self + a.
    ///
    /// # Safety
    /// The processor has the register.
    unsafe fn add(self, a: Self) -> Self;
}

/// The vector registers of a float type.
pub trait Lanes: Copy {
    /// `square` with rows and columns exchanged.
    #[inline(always)]
    fn transpose(square: [[Self; 4]; 4]) -> [[Self; 4]; 4] {
        std::array::from_fn(|i| std::array::from_fn(|j| square[j][i]))
    }

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
    unsafe fn load_part(from: *const F, n: usize) -> Self {
        let mut numbers = [F::default(); 4];
        // SAFETY: the caller's promise.
        numbers[..n].copy_from_slice(unsafe { std::slice::from_raw_parts(from, n) });
        Self(numbers)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut F) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[F; 4]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn add(self, a: Self) -> Self {
        Self([0, 1, 2, 3].map(|i| self.0[i] + a.0[i]))
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

    /// A mask of the first `n` lanes.
    fn first(n: usize) -> u32 {
        (1 << n) - 1
    }

    /// A mask of the first `n` lanes of 32 bits.
    #[target_feature(enable = "avx2")]
    fn lanes_32(n: usize) -> __m256i {
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
    }

    /// A mask of the first `n` lanes of 64 bits.
    #[target_feature(enable = "avx2")]
    fn lanes_64(n: usize) -> __m256i {
        _mm256_cmpgt_epi64(_mm256_set1_epi64x(n as i64), _mm256_setr_epi64x(0, 1, 2, 3))
    }

    macro_rules! vector {
        ($register:ty, $float:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $fma:ident, $add:ident,
         |$from:ident, $n:ident| $load_part:expr) => {
            impl Vector<$float> for $register {
                const LANES: usize = $lanes;

                #[inline(always)]
                unsafe fn splat(x: $float) -> Self {
                    // SAFETY: the caller's promise.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn load(from: *const $float) -> Self {
                    // SAFETY: as above.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn load_part($from: *const $float, $n: usize) -> Self {
                    // SAFETY: as above.
                    unsafe { $load_part }
                }
                #[inline(always)]
                unsafe fn add(self, a: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $add(self, a) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $float) {
                    // SAFETY: as above.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $fma(self, a, b) }
                }
            }
        };
    }

    vector!(
        __m512,
        f32,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps,
        |from, n| _mm512_maskz_loadu_ps(first(n) as u16, from)
    );
    vector!(
        __m512d,
        f64,
        8,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_fmadd_pd,
        _mm512_add_pd,
        |from, n| _mm512_maskz_loadu_pd(first(n) as u8, from)
    );
    vector!(
        __m256,
        f32,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        |from, n| _mm256_maskload_ps(from, lanes_32(n))
    );
    vector!(
        __m256d,
        f64,
        4,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_fmadd_pd,
        _mm256_add_pd,
        |from, n| _mm256_maskload_pd(from, lanes_64(n))
    );

    impl Lanes for f32 {
        #[inline(always)]
        fn transpose(square: [[Self; 4]; 4]) -> [[Self; 4]; 4] {
            // SAFETY: every x86-64 has SSE, and the types are of the same 64 bytes.
            unsafe {
                let [mut a, mut b, mut c, mut d] =
                    std::mem::transmute::<[[f32; 4]; 4], [__m128; 4]>(square);
                _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
                std::mem::transmute::<[__m128; 4], [[f32; 4]; 4]>([a, b, c, d])
            }
        }

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Every function of the registers `V` against plain numbers.
    ///
    /// # Safety
    /// The processor has them.
    unsafe fn check<F: Real, V: Vector<F>>() {
        let number = |i: usize, salt: f64| F::from_f64((i as f64 + 1.5) * salt);
        let numbers =
            |salt: f64| (0..V::LANES + 2).map(move |i| number(i, salt)).collect::<Vec<F>>();
        let (x, a, b) = (numbers(0.5), numbers(-3.0), numbers(7.0));
        let mut out = numbers(0.0);
        // SAFETY: the caller's promise, and there are two numbers more than lanes.
        unsafe {
            // One off, where no register is aligned.
            let load = |from: &[F]| V::load(from[1..].as_ptr());
            load(&x).mul_add(load(&a), load(&b)).store(out[1..].as_mut_ptr());
        }
        for (i, got) in out.iter().enumerate() {
            let inside = (1..=V::LANES).contains(&i);
            let expected = if inside { x[i] * a[i] + b[i] } else { F::default() };
            assert_eq!(*got, expected, "lane {i} of {} after {}", V::LANES, size_of::<F>());
        }
        // SAFETY: as above.
        unsafe { V::splat(x[2]).store(out[1..].as_mut_ptr()) };
        assert!(out[1..=V::LANES].iter().all(|got| *got == x[2]));
        assert_eq!((out[0], out[V::LANES + 1]), (F::default(), F::default()));
    }

    fn every_register_of<F: Real>() {
        // SAFETY: every processor has the first, and the others are asked for.
        unsafe {
            check::<F, Four<F>>();
            #[cfg(target_arch = "x86_64")]
            {
                if has_avx2() {
                    check::<F, F::Avx2>();
                }
                if has_avx512() {
                    check::<F, F::Avx512>();
                }
            }
        }
    }

    #[test]
    fn registers_load_multiply_and_store_every_lane_and_no_other() {
        every_register_of::<f32>();
        every_register_of::<f64>();
    }

    #[test]
    fn a_square_is_transposed() {
        fn check<F: Real>() {
            let square = |number: fn(usize, usize) -> usize| -> [[F; 4]; 4] {
                let number = |i, j| F::from_f64(number(i, j) as f64);
                std::array::from_fn(|i| std::array::from_fn(|j| number(i, j)))
            };
            assert_eq!(F::transpose(square(|i, j| 4 * i + j)), square(|i, j| 4 * j + i));
        }
        check::<f32>();
        check::<f64>();
    }

    /// Products depend on it: a sum is rounded once a term on every register that has an
    /// instruction for it.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn registers_with_fma_round_once() {
        fn rounds_once<V: Vector<f32>>() {
            let x = 1.0 + 3.0 * f32::EPSILON;
            let mut out = [0.0; 16];
            // SAFETY: asked for below; 16 lanes are the most there are.
            unsafe { V::splat(x).mul_add(V::splat(x), V::splat(-1.0)).store(out.as_mut_ptr()) };
            assert_eq!(out[0], x.mul_add(x, -1.0));
            assert_ne!(out[0], x * x - 1.0);
        }
        if has_avx2() {
            rounds_once::<<f32 as Lanes>::Avx2>();
        }
        if has_avx512() {
            rounds_once::<<f32 as Lanes>::Avx512>();
        }
    }
}
