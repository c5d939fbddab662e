//! Matrix products with a packed right operand.
//!
//! A step multiplies the same weights with few rows at every time step, so the weights are packed
//! once: into panels as wide as two vector registers, each panel's rows one behind the other. A
//! tile of up to 12 rows × one panel is summed in registers over the whole inner dimension in
//! order, so that a sum depends neither on the rows beside it nor on the number of threads.

use crate::real::Real;
use crate::simd::{Four, Vector};
#[cfg(target_arch = "x86_64")]
use crate::simd::{has_avx2, has_avx512};

/// A matrix in memory: element (i, j) is `data[i · row_stride + j · column_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, F> {
    data: &'a [F],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, F> Matrix<'a, F> {
    /// The row-major matrix of `columns` columns in `data`.
    pub fn new(data: &'a [F], columns: usize) -> Self {
        let rows = data.len() / columns;
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The matrix with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Rows `first..first + n`.
    pub fn rows(self, first: usize, n: usize) -> Self {
        assert!(first + n <= self.rows, "rows {first} to {} of {}", first + n, self.rows);
        let start = (first * self.row_stride).min(self.data.len());
        Self { data: &self.data[start..], rows: n, ..self }
    }
}

/// A k × n matrix packed as a right operand.
#[derive(Debug, Default)]
pub struct Panels<F> {
    /// Panel by panel k rows of [`width`] numbers; zeros beyond column n.
    data: Vec<F>,
    k: usize,
    n: usize,
}

impl<F: Real> Panels<F> {
    /// Replaces the content by `matrix`; the memory is used again.
    pub fn pack(&mut self, matrix: Matrix<'_, F>) {
        let (width, k) = (width::<F>(), matrix.rows);
        (self.k, self.n) = (k, matrix.columns);
        self.data.resize(self.n.div_ceil(width) * k * width, F::default());
        if k == 0 {
            return;
        }
        for (p, panel) in self.data.chunks_exact_mut(k * width).enumerate() {
            let columns = p * width..self.n.min((p + 1) * width);
            if matrix.column_stride == 1 {
                for (row, to) in panel.chunks_exact_mut(width).enumerate() {
                    let from = &matrix.data[row * matrix.row_stride..][columns.clone()];
                    to[..from.len()].copy_from_slice(from);
                    to[from.len()..].fill(F::default());
                }
            } else {
                pack_transposed(panel, width, matrix, columns);
            }
        }
    }
}

/// Rows and columns that [`pack_transposed`] moves at once: whole cache lines in, and little enough
/// to pass through registers.
const BLOCK: (usize, usize) = (16, 8);

/// Fills a panel with columns that are contiguous in memory.
fn pack_transposed<F: Real>(
    panel: &mut [F],
    width: usize,
    matrix: Matrix<'_, F>,
    columns: std::ops::Range<usize>,
) {
    let column = |j: usize| &matrix.data[(columns.start + j) * matrix.column_stride..];
    for (block, rows) in panel.chunks_mut(BLOCK.0 * width).enumerate() {
        let (n, first) = (rows.len() / width, block * BLOCK.0);
        let whole = if n == BLOCK.0 { columns.len() / BLOCK.1 * BLOCK.1 } else { 0 };
        for j in (0..whole).step_by(BLOCK.1) {
            let block: [[F; BLOCK.0]; BLOCK.1] = std::array::from_fn(|c| {
                let from = &column(j + c)[first..first + BLOCK.0];
                std::array::from_fn(|r| from[r])
            });
            for (r, row) in rows.chunks_exact_mut(width).enumerate() {
                let to = &mut row[j..j + BLOCK.1];
                for c in 0..BLOCK.1 {
                    to[c] = block[c][r];
                }
            }
        }
        for (r, row) in rows.chunks_exact_mut(width).enumerate() {
            let (row, beyond) = row.split_at_mut(columns.len());
            for (j, x) in row.iter_mut().enumerate().skip(whole) {
                *x = column(j)[first + r];
            }
            beyond.fill(F::default());
        }
    }
}

/// Columns of a panel on this processor.
fn width<F: Real>() -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        if has_avx512() {
            return 2 * F::Avx512::LANES;
        }
        if has_avx2() {
            return 2 * F::Avx2::LANES;
        }
    }
    2 * Four::<F>::LANES
}

/// What a product does with what its result holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// Overwrites it.
    Nothing,
    /// Adds to it.
    Sum,
}

/// `out` (row-major, n columns) = or += `a` · `b`.
///
/// # Panics
/// If the sizes do not fit.
pub fn multiply<F: Real>(a: Matrix<'_, F>, b: &Panels<F>, out: &mut [F], onto: Onto) {
    assert_eq!((a.columns, a.rows * b.n), (b.k, out.len()), "sizes of a product");
    if out.is_empty() {
        return;
    }
    if b.k == 0 {
        if onto == Onto::Nothing {
            out.fill(F::default());
        }
        return;
    }
    let last = (a.rows - 1) * a.row_stride + (a.columns - 1) * a.column_stride;
    assert!(last < a.data.len(), "a product's left operand");
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
        unsafe fn avx512<F: Real>(a: Matrix<'_, F>, b: &Panels<F>, out: &mut [F], onto: Onto) {
            // SAFETY: the processor has the instructions, the sizes fit.
            unsafe { sweep::<F, F::Avx512, 12>(a, b, out, onto) }
        }
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2<F: Real>(a: Matrix<'_, F>, b: &Panels<F>, out: &mut [F], onto: Onto) {
            // SAFETY: as above.
            unsafe { sweep::<F, F::Avx2, 6>(a, b, out, onto) }
        }
        if has_avx512() {
            // SAFETY: the processor has the instructions, the sizes fit.
            return unsafe { avx512(a, b, out, onto) };
        }
        if has_avx2() {
            // SAFETY: as above.
            return unsafe { avx2(a, b, out, onto) };
        }
    }
    // SAFETY: the sizes fit.
    unsafe { sweep::<F, Four<F>, 4>(a, b, out, onto) }
}

/// The product, panel by panel and tile by tile of at most `MOST` rows.
///
/// # Safety
/// The processor has the registers `V`, `b` is packed for them, and the sizes fit.
#[inline(always)]
unsafe fn sweep<F: Real, V: Vector<F>, const MOST: usize>(
    a: Matrix<'_, F>,
    b: &Panels<F>,
    out: &mut [F],
    onto: Onto,
) {
    let width = 2 * V::LANES;
    let tiles = a.rows.div_ceil(MOST);
    for (p, panel) in b.data.chunks_exact(b.k * width).enumerate() {
        let column = p * width;
        let mut row = 0;
        for tile in 0..tiles {
            // As even as can be: a tile of few rows waits for its own sums.
            let end = (tile + 1) * a.rows / tiles;
            let tile = Tile {
                a: a.data[row * a.row_stride..].as_ptr(),
                strides: (a.row_stride, a.column_stride),
                rows: end - row,
                panel: panel.as_ptr(),
                k: b.k,
                out: out[row * b.n + column..].as_mut_ptr(),
                n: b.n,
                columns: width.min(b.n - column),
                onto,
            };
            // SAFETY: the caller's promise.
            unsafe {
                match tile.rows.div_ceil(2) {
                    1 => tile.sum::<V, 2>(),
                    2 => tile.sum::<V, 4>(),
                    3 if MOST >= 6 => tile.sum::<V, 6>(),
                    4 if MOST >= 8 => tile.sum::<V, 8>(),
                    5 if MOST >= 10 => tile.sum::<V, 10>(),
                    _ if MOST >= 12 => tile.sum::<V, 12>(),
                    _ => unreachable!("a tile of {} rows", tile.rows),
                }
            }
            row = end;
        }
    }
}

/// Some rows × one panel of a product.
struct Tile<F> {
    a: *const F,
    strides: (usize, usize),
    rows: usize,
    panel: *const F,
    k: usize,
    out: *mut F,
    n: usize,
    columns: usize,
    onto: Onto,
}

impl<F: Real> Tile<F> {
    /// Computes the tile in registers for `M` rows; the last row stands in for those beyond it.
    ///
    /// # Safety
    /// The processor has the registers `V`, the pointers reach as far as the sizes say, and
    /// 0 < rows ≤ M, 0 < columns ≤ 2 · LANES.
    #[inline(always)]
    unsafe fn sum<V: Vector<F>, const M: usize>(&self) {
        let offsets: [usize; M] = std::array::from_fn(|i| i.min(self.rows - 1) * self.strides.0);
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[V::splat(F::default()); 2]; M];
            let (mut a, mut panel) = (self.a, self.panel);
            for _ in 0..self.k {
                let b = [V::load(panel), V::load(panel.add(V::LANES))];
                for i in 0..M {
                    let x = V::splat(*a.add(offsets[i]));
                    sums[i] = [x.mul_add(b[0], sums[i][0]), x.mul_add(b[1], sums[i][1])];
                }
                // The last turn leaves them beyond the end, where nothing is read.
                a = a.wrapping_add(self.strides.1);
                panel = panel.wrapping_add(2 * V::LANES);
            }
            for (i, sum) in sums.iter().enumerate().take(self.rows) {
                self.write::<V>(*sum, self.out.add(i * self.n));
            }
        }
    }

    /// Writes a row of the tile.
    ///
    /// # Safety
    /// As [`Tile::sum`].
    #[inline(always)]
    unsafe fn write<V: Vector<F>>(&self, sum: [V; 2], to: *mut F) {
        let one = F::from(1.0);
        // SAFETY: the caller's promise; 16 lanes are the most there are.
        unsafe {
            if self.columns == 2 * V::LANES {
                for (half, sum) in sum.into_iter().enumerate() {
                    let to = to.add(half * V::LANES);
                    let sum = match self.onto {
                        Onto::Nothing => sum,
                        Onto::Sum => sum.mul_add(V::splat(one), V::load(to)),
                    };
                    sum.store(to);
                }
                return;
            }
            let mut row = [F::default(); 32];
            sum[0].store(row.as_mut_ptr());
            sum[1].store(row.as_mut_ptr().add(V::LANES));
            let to = std::slice::from_raw_parts_mut(to, self.columns);
            for (to, x) in to.iter_mut().zip(row) {
                *to = if self.onto == Onto::Sum { *to + x } else { x };
            }
        }
    }
}
