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
    /// Band by band of at most `band` rows, panel by panel in it, row by row of
    /// [`Registers::width`] numbers; zeros beyond column n.
    data: Vec<F>,
    k: usize,
    n: usize,
    /// Rows of a band; all k, but for what is packed piece by piece.
    band: usize,
    registers: Registers,
}

impl<F: Real> Panels<F> {
    /// Replaces the content by `matrix`; the memory is used again.
    pub fn pack(&mut self, matrix: Matrix<'_, F>) {
        self.resize(matrix.rows, matrix.columns, matrix.rows);
        let width = self.registers.width::<F>();
        if matrix.column_stride == 1 {
            pack_rows(&mut self.data, width, matrix);
        } else if matrix.rows > 0 {
            let panels = self.data.chunks_exact_mut(matrix.rows * width).enumerate();
            panels.for_each(|(p, panel)| pack_columns(panel, width, matrix, p * width));
        }
    }

    fn resize(&mut self, k: usize, n: usize, band: usize) {
        (self.k, self.n, self.band) = (k, n, band);
        self.data.resize(k * self.padded(), F::default());
    }

    /// Columns with those that are filled up with zeros.
    fn padded(&self) -> usize {
        self.n.next_multiple_of(self.registers.width::<F>())
    }
}

/// A weight matrix packed for products with it and with its transpose.
#[derive(Debug, Default)]
pub struct Kernel<F> {
    /// For x · kernel.
    pub forward: Panels<F>,
    /// For dy · kernelᵀ.
    pub backward: Panels<F>,
}

/// Some rows of a weight matrix and where they go in a [`Kernel`].
pub struct Packing<'a, F> {
    rows: Matrix<'a, F>,
    forward: &'a mut [F],
    backward: &'a mut [F],
    width: usize,
}

impl<F: Real> Kernel<F> {
    /// What replaces the content by the row-major `matrix`: pieces of work, some rows each, so that
    /// what both packings read and write lies together.
    pub fn packing<'a>(
        &'a mut self,
        matrix: Matrix<'a, F>,
    ) -> impl Iterator<Item = Packing<'a, F>> {
        let (k, n, width) = (matrix.rows, matrix.columns, self.forward.registers.width::<F>());
        self.forward.resize(k, n, width);
        self.backward.resize(n, k, n);
        let forward = self.forward.data.chunks_mut((width * n.next_multiple_of(width)).max(1));
        let backward = self.backward.data.chunks_mut((n * width).max(1));
        forward.zip(backward).enumerate().map(move |(i, (forward, backward))| {
            let first = i * width;
            Packing { rows: matrix.rows(first, width.min(k - first)), forward, backward, width }
        })
    }
}

impl<F: Real> Packing<'_, F> {
    /// Does the work.
    pub fn pack(&mut self) {
        pack_rows(self.forward, self.width, self.rows);
        pack_columns(self.backward, self.width, self.rows.transposed(), 0);
    }
}

/// Packs a band: all of `matrix`, whose rows are contiguous in memory.
fn pack_rows<F: Real>(band: &mut [F], width: usize, matrix: Matrix<'_, F>) {
    for row in 0..matrix.rows {
        let from = &matrix.data[row * matrix.row_stride..][..matrix.columns];
        let panels = band.chunks_exact_mut(matrix.rows * width);
        for (from, panel) in from.chunks(width).zip(panels) {
            copy(from, &mut panel[row * width..(row + 1) * width]);
        }
    }
}

/// Copies `from` to the front of `to` and fills the rest with zeros; by pieces that are moved
/// through registers, not by a function call for so little.
fn copy<F: Real>(from: &[F], to: &mut [F]) {
    let (front, beyond) = to.split_at_mut(from.len());
    let (mut pieces, mut places) = (from.chunks_exact(8), front.chunks_exact_mut(8));
    for (piece, place) in pieces.by_ref().zip(places.by_ref()) {
        place.copy_from_slice(piece);
    }
    places.into_remainder().copy_from_slice(pieces.remainder());
    beyond.fill(F::default());
}

/// Packs a panel: the columns of `matrix` from `first` on, which are contiguous in memory, by
/// squares of 4 × 4 numbers.
fn pack_columns<F: Real>(panel: &mut [F], width: usize, matrix: Matrix<'_, F>, first: usize) {
    /// Rows at a time: some cache lines of every column, and what both sides take fits into the
    /// nearest cache.
    const ROWS: usize = 64;
    let columns = width.min(matrix.columns - first);
    for (block, rows) in panel.chunks_mut(ROWS * width).enumerate() {
        let n = rows.len() / width;
        let column = |j: usize| {
            &matrix.data[(first + j) * matrix.column_stride + block * ROWS..][..n]
        };
        let (high, wide) = (n / 4 * 4, columns / 4 * 4);
        for j in (0..wide).step_by(4) {
            let four = [0, 1, 2, 3].map(|c| column(j + c).as_chunks().0);
            let places = &mut rows.as_chunks_mut().0[j / 4..];
            for r in 0..n / 4 {
                for (i, row) in F::transpose(four.map(|c| c[r])).into_iter().enumerate() {
                    places[(4 * r + i) * width / 4] = row;
                }
            }
        }
        for (r, row) in rows.chunks_exact_mut(width).enumerate() {
            let (row, beyond) = row.split_at_mut(columns);
            let done = if r < high { wide } else { 0 };
            for (j, x) in row.iter_mut().enumerate().skip(done) {
                *x = column(j)[r];
            }
            beyond.fill(F::default());
        }
    }
}

/// The vector registers that a product is summed in; a value is made only where the processor has
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registers {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Any,
}

impl Default for Registers {
    /// The widest.
    fn default() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                return Self::Avx512;
            }
            if has_avx2() {
                return Self::Avx2;
            }
        }
        Self::Any
    }
}

impl Registers {
    /// Columns of a panel.
    fn width<F: Real>(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => 2 * F::Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 2 * F::Avx2::LANES,
            Self::Any => 2 * Four::<F>::LANES,
        }
    }
}

/// What a product does with what its result holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// Overwrites it.
    Nothing,
    /// Adds to it.
    Sum,
}

/// The order in which a product goes through the panels. A result is the same in either; who goes
/// through more panels than the cache holds again and again does well to turn around each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the first to the last.
    Up,
    /// From the last to the first.
    Down,
}

impl Order {
    /// The order of turn `t`.
    pub fn of(t: usize) -> Self {
        if t.is_multiple_of(2) { Self::Up } else { Self::Down }
    }
}

/// `out` (row-major, n columns) = or += `a` · `b`.
///
/// # Panics
/// If the sizes do not fit.
pub fn multiply<F: Real>(a: Matrix<'_, F>, b: &Panels<F>, out: &mut [F], onto: Onto) {
    multiply_in(Order::Up, a, b, out, onto);
}

/// [`multiply`] in a certain order.
///
/// # Panics
/// If the sizes do not fit.
pub fn multiply_in<F: Real>(
    order: Order,
    a: Matrix<'_, F>,
    b: &Panels<F>,
    out: &mut [F],
    onto: Onto,
) {
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
    // SAFETY: the processor has the registers that `b` is packed for, and the sizes fit.
    unsafe {
        match b.registers {
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => avx512(order, a, b, out, onto),
            #[cfg(target_arch = "x86_64")]
            Registers::Avx2 => avx2(order, a, b, out, onto),
            Registers::Any => sweep::<F, Four<F>, 4>(order, a, b, out, onto),
        }
    }
}

/// [`sweep`] in AVX-512's registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
unsafe fn avx512<F: Real>(
    order: Order,
    a: Matrix<'_, F>,
    b: &Panels<F>,
    out: &mut [F],
    onto: Onto,
) {
    // SAFETY: the caller's promise.
    unsafe { sweep::<F, F::Avx512, 12>(order, a, b, out, onto) }
}

/// [`sweep`] in AVX2's registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<F: Real>(
    order: Order,
    a: Matrix<'_, F>,
    b: &Panels<F>,
    out: &mut [F],
    onto: Onto,
) {
    // SAFETY: the caller's promise.
    unsafe { sweep::<F, F::Avx2, 6>(order, a, b, out, onto) }
}

/// The product, panel by panel and tile by tile of at most `MOST` rows.
///
/// # Safety
/// The processor has the registers `V`, `b` is packed for them, and the sizes fit.
#[inline(always)]
unsafe fn sweep<F: Real, V: Vector<F>, const MOST: usize>(
    order: Order,
    a: Matrix<'_, F>,
    b: &Panels<F>,
    out: &mut [F],
    onto: Onto,
) {
    let width = 2 * V::LANES;
    let tiles = a.rows.div_ceil(MOST);
    let panels = b.n.div_ceil(width);
    for p in 0..panels {
        let p = if order == Order::Up { p } else { panels - 1 - p };
        let column = p * width;
        let mut row = 0;
        for tile in 0..tiles {
            // As even as can be: a tile of few rows waits for its own sums.
            let end = (tile + 1) * a.rows / tiles;
            let tile = Tile {
                a: a.data[row * a.row_stride..].as_ptr(),
                strides: (a.row_stride, a.column_stride),
                rows: end - row,
                b,
                column,
                out: out[row * b.n + column..].as_mut_ptr(),
                onto,
            };
            // SAFETY: the caller's promise.
            unsafe {
                match tile.rows {
                    1 | 2 => tile.sum::<V, 2>(),
                    3 | 4 => tile.sum::<V, 4>(),
                    5 if MOST >= 6 => tile.sum::<V, 5>(),
                    6 if MOST >= 6 => tile.sum::<V, 6>(),
                    7 if MOST >= 12 => tile.sum::<V, 7>(),
                    8 if MOST >= 12 => tile.sum::<V, 8>(),
                    9 | 10 if MOST >= 12 => tile.sum::<V, 10>(),
                    11 if MOST >= 12 => tile.sum::<V, 11>(),
                    12 if MOST >= 12 => tile.sum::<V, 12>(),
                    rows => unreachable!("a tile of {rows} rows"),
                }
            }
            row = end;
        }
    }
}

/// Some rows × one panel of a product.
struct Tile<'a, F> {
    a: *const F,
    strides: (usize, usize),
    rows: usize,
    b: &'a Panels<F>,
    /// The panel's first.
    column: usize,
    out: *mut F,
    onto: Onto,
}

impl<F: Real> Tile<'_, F> {
    /// Computes the tile in registers for `M` rows; the last row stands in for those beyond it.
    ///
    /// # Safety
    /// The processor has the registers `V`, the pointers reach as far as the sizes say, and
    /// 0 < rows ≤ M, `b` is packed for them, and column < n.
    #[inline(always)]
    unsafe fn sum<V: Vector<F>, const M: usize>(&self) {
        let padded = self.b.n.next_multiple_of(2 * V::LANES);
        let offsets: [usize; M] = std::array::from_fn(|i| i.min(self.rows - 1) * self.strides.0);
        // SAFETY: the caller's promise.
        unsafe {
            let zero = V::splat(F::default());
            let mut sums: [[V; 2]; M] = std::array::from_fn(|_| [zero, zero]);
            let mut a = self.a;
            for first in (0..self.b.k).step_by(self.b.band) {
                let rows = self.b.band.min(self.b.k - first);
                let mut panel = self.b.data.as_ptr().add(first * padded + self.column * rows);
                for _ in 0..rows {
                    let b = [V::load(panel), V::load(panel.add(V::LANES))];
                    for i in 0..M {
                        let x = V::splat(*a.add(offsets[i]));
                        sums[i] = [x.mul_add(b[0], sums[i][0]), x.mul_add(b[1], sums[i][1])];
                    }
                    // The last turn leaves them beyond the end, where nothing is read.
                    a = a.wrapping_add(self.strides.1);
                    panel = panel.wrapping_add(2 * V::LANES);
                }
            }
            // Up to M with a condition, not up to rows: so the sums stay in registers.
            for (i, sum) in sums.into_iter().enumerate() {
                if i < self.rows {
                    self.write::<V>(sum, self.out.add(i * self.b.n));
                }
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
        let columns = (2 * V::LANES).min(self.b.n - self.column);
        // SAFETY: the caller's promise; 16 lanes are the most there are.
        unsafe {
            if columns == 2 * V::LANES {
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
            let to = std::slice::from_raw_parts_mut(to, columns);
            for (to, x) in to.iter_mut().zip(row) {
                *to = if self.onto == Onto::Sum { *to + x } else { x };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Around the edges of tiles and panels.
    const SIZES: [usize; 15] = [0, 1, 2, 5, 6, 7, 8, 11, 12, 13, 16, 17, 31, 32, 33];

    /// All that this processor has.
    fn registers() -> Vec<Registers> {
        let all = [
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512,
            #[cfg(target_arch = "x86_64")]
            Registers::Avx2,
            Registers::Any,
        ];
        let widest = all.iter().position(|registers| *registers == Registers::default());
        all[widest.unwrap()..].to_vec()
    }

    fn panels<F: Real>(registers: Registers) -> Panels<F> {
        Panels { registers, ..Panels::default() }
    }

    /// Small whole numbers: sums of their products are exact in whatever order.
    fn number(i: usize, j: usize) -> f64 {
        ((i * 31 + j * 17 + i * j * 5) % 15) as f64 - 7.0
    }

    /// How the elements of an operand lie in memory.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Order {
        Rows,
        Columns,
    }

    /// Memory in which the `rows × columns` elements that `element` gives lie between two more
    /// rows and columns of NaN on every side.
    fn framed<F: Real>(
        order: Order,
        [rows, columns]: [usize; 2],
        element: impl Fn(usize, usize) -> f64,
    ) -> Vec<F> {
        let (rows, columns) = if order == Order::Rows { (rows, columns) } else { (columns, rows) };
        let mut data = vec![F::from(f32::NAN); (rows + 4) * columns];
        for i in 0..rows {
            for j in 0..columns {
                let (i, j, at) = match order {
                    Order::Rows => (i, j, (i + 2) * columns + j),
                    Order::Columns => (j, i, (i + 2) * columns + j),
                };
                data[at] = F::from_f64(element(i, j));
            }
        }
        data
    }

    /// The matrix in such memory.
    fn inner<F: Real>(data: &[F], order: Order, [rows, columns]: [usize; 2]) -> Matrix<'_, F> {
        match order {
            Order::Rows => Matrix::new(data, columns).rows(2, rows),
            Order::Columns => Matrix::new(data, rows).rows(2, columns).transposed(),
        }
    }

    fn products_are_exact<F: Real>() {
        for registers in registers() {
            // One for all: it holds what was larger or smaller before.
            let mut packed = panels::<F>(registers);
            for rows in SIZES {
                for k in SIZES {
                    for n in SIZES {
                        check::<F>(&mut packed, [rows, k, n]);
                    }
                }
            }
        }
    }

    fn check<F: Real>(packed: &mut Panels<F>, [rows, k, n]: [usize; 3]) {
        let b_number = |i, j| number(j, i + 3);
        let sum = |i, j| (0..k).map(|l| number(i, l) * b_number(l, j)).sum::<f64>();
        let expected: Vec<f64> = (0..rows * n).map(|at| sum(at / n, at % n)).collect();
        for (a_order, b_order) in [
            (Order::Rows, Order::Rows),
            (Order::Rows, Order::Columns),
            (Order::Columns, Order::Rows),
            (Order::Columns, Order::Columns),
        ] {
            // A matrix has its width from that of its rows in memory.
            let wide = |order, [rows, columns]: [usize; 2]| {
                (if order == Order::Rows { columns } else { rows }) > 0
            };
            if !wide(a_order, [rows, k]) || !wide(b_order, [k, n]) {
                continue;
            }
            let a = framed::<F>(a_order, [rows, k], number);
            let b = framed::<F>(b_order, [k, n], b_number);
            packed.pack(inner(&b, b_order, [k, n]));
            for (onto, before) in [(Onto::Nothing, 0.0), (Onto::Sum, 3.0)] {
                let held = if onto == Onto::Sum { F::from_f64(before) } else { F::from(f32::NAN) };
                let mut out = vec![F::from(9.0); rows * n + 4];
                out[2..2 + rows * n].fill(held);
                multiply(inner(&a, a_order, [rows, k]), packed, &mut out[2..2 + rows * n], onto);
                let out: Vec<f64> = out.into_iter().map(Into::into).collect();
                let what = (packed.registers, [rows, k, n], a_order, b_order, onto);
                let product = expected.iter().map(|x| x + before);
                let framed: Vec<f64> =
                    [9.0; 2].into_iter().chain(product).chain([9.0; 2]).collect();
                assert_eq!(out, framed, "{what:?}");
            }
        }
    }

    #[test]
    fn products_of_every_size_and_layout_are_exact_in_float32() {
        products_are_exact::<f32>();
    }

    #[test]
    fn products_of_every_size_and_layout_are_exact_in_float64() {
        products_are_exact::<f64>();
    }

    #[test]
    fn some_rows_of_a_transposed_matrix_are_some_columns_of_it() {
        let (rows, k, n) = (29, 7, 10);
        let (a, b) = (framed(Order::Rows, [k, rows], |i, j| number(j, i)), number);
        let a = Matrix::new(&a, rows).rows(2, k).transposed();
        let b = framed::<f32>(Order::Rows, [k, n], b);
        let mut packed = Panels::default();
        packed.pack(inner(&b, Order::Rows, [k, n]));
        let mut whole = vec![0.0; rows * n];
        multiply(a, &packed, &mut whole, Onto::Nothing);
        for first in [0, 1, 12, 24] {
            let mut part = vec![0.0; 5 * n];
            multiply(a.rows(first, 5), &packed, &mut part, Onto::Nothing);
            assert_eq!(part, whole[first * n..(first + 5) * n]);
        }
    }

    /// Neither how many rows there are nor where among them it stands changes a bit of a row.
    #[test]
    fn a_row_is_the_same_alone() {
        let (rows, k, n) = (25, 37, 21);
        let fraction = |i: usize, j: usize| (number(i, j) + 0.3) / (i + 2 * j + 3) as f64;
        let (a, b) = (
            framed::<f32>(Order::Rows, [rows, k], fraction),
            framed(Order::Rows, [k, n], fraction),
        );
        let a = inner(&a, Order::Rows, [rows, k]);
        for registers in registers() {
            let mut packed = panels(registers);
            packed.pack(inner(&b, Order::Rows, [k, n]));
            for count in [rows, 12, 5] {
                let mut together = vec![0.0; count * n];
                multiply(a.rows(0, count), &packed, &mut together, Onto::Nothing);
                for (i, together) in together.chunks_exact(n).enumerate() {
                    let mut alone = vec![0.0; n];
                    multiply(a.rows(i, 1), &packed, &mut alone, Onto::Nothing);
                    assert_eq!(together, alone, "row {i} of {count}, {registers:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_in_its_row_and_column() {
        let (rows, k, n) = (14, 9, 35);
        let bad = |at: [usize; 2]| move |i, j| if [i, j] == at { f64::NAN } else { number(i, j) };
        for registers in registers() {
            let (a, b) = (
                framed::<f32>(Order::Rows, [rows, k], bad([4, 2])),
                framed(Order::Rows, [k, n], bad([3, 33])),
            );
            let mut packed = panels(registers);
            packed.pack(inner(&b, Order::Rows, [k, n]));
            let mut out = vec![0.0; rows * n];
            multiply(inner(&a, Order::Rows, [rows, k]), &packed, &mut out, Onto::Nothing);
            for (at, x) in out.iter().enumerate() {
                let expected = at / n == 4 || at % n == 33;
                assert_eq!(x.is_nan(), expected, "({}, {}), {registers:?}", at / n, at % n);
            }
        }
    }

    #[test]
    #[should_panic(expected = "sizes of a product")]
    fn a_result_of_another_size_is_refused() {
        let mut packed = Panels::default();
        packed.pack(Matrix::new(&[1.0f32; 6], 3));
        multiply(Matrix::new(&[1.0; 8], 2), &packed, &mut [0.0; 11], Onto::Nothing);
    }

    #[test]
    #[should_panic(expected = "rows 3 to 5 of 4")]
    fn rows_that_are_not_there_are_refused() {
        let _ = Matrix::new(&[1.0f32; 8], 2).rows(3, 2);
    }
}
