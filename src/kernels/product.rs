//! Matrix products of few rows.
//!
//! A tile of up to 12 rows × some vector registers is summed in registers over the whole inner
//! dimension in order, so that a sum depends neither on the rows beside it nor on the number of
//! threads. Both operands are read where they lie, the right one row by row, all its columns side by
//! side or by panels of some; weights that it would go through column by column are copied first
//! (`crate::kernels::transpose`).

use std::ops::Range;

use crate::kernels::float::Real;
use crate::kernels::simd::{Four, Vector};
#[cfg(target_arch = "x86_64")]
use crate::kernels::simd::{has_avx2, has_avx512};

/// A matrix in memory: element (i, j) is `data[i · row_stride + j · column_stride]`, or it is stored by
/// panels.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, F> {
    data: &'a [F],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
    /// Columns of a panel, but for the last: as many as the matrix has where there is one.
    panel: usize,
}

/// Columns of a panel of a matrix that is stored by panels: whole registers of every product.
pub const fn panel<F>() -> usize {
    128 / size_of::<F>()
}

impl<'a, F> Matrix<'a, F> {
    /// The row-major matrix of `columns` columns in `data`.
    pub fn new(data: &'a [F], columns: usize) -> Self {
        let rows = data.len() / columns;
        Self { data, rows, columns, row_stride: columns, column_stride: 1, panel: columns }
    }

    /// The matrix of `columns` columns in `data`, stored by panels of [`panel`] columns and the last
    /// of what is left, one behind the other, each row-major. Only a product's right operand may be.
    pub fn in_panels(data: &'a [F], columns: usize) -> Self {
        Self { panel: panel::<F>().min(columns), ..Self::new(data, columns) }
    }

    /// The matrix with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            panel: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// Where the last element lies; there is one.
    fn last(&self) -> usize {
        if self.panel < self.columns {
            return self.rows * self.columns - 1;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
    }

    /// Rows `first..first + n`.
    pub fn rows(self, first: usize, n: usize) -> Self {
        assert!(first + n <= self.rows, "rows {first} to {} of {}", first + n, self.rows);
        let start = (first * self.row_stride).min(self.data.len());
        Self { data: &self.data[start..], rows: n, ..self }
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

/// What a product does with what its result holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// Overwrites it.
    Nothing,
    /// Adds to it.
    Sum,
}

/// The order in which a product goes through the columns. A result is the same in either; who goes
/// through more columns than the cache holds again and again does well to turn around each time.
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

/// A product `a` · `b` and where it goes; `b`'s rows are contiguous in memory.
struct Product<'a, F> {
    a: Matrix<'a, F>,
    b: Matrix<'a, F>,
    /// Row-major, as wide as `b`.
    out: &'a mut [F],
    onto: Onto,
    order: Order,
}

/// `out` (row-major) = or += `a` · `b`, whose rows are contiguous in memory.
///
/// # Panics
/// If the sizes do not fit.
pub fn multiply<F: Real>(
    a: Matrix<'_, F>,
    b: Matrix<'_, F>,
    out: &mut [F],
    onto: Onto,
    order: Order,
) {
    Product { a, b, out, onto, order }.compute(Registers::default());
}

impl<F: Real> Product<'_, F> {
    fn compute(mut self, registers: Registers) {
        let (a, b) = (&self.a, &self.b);
        let sizes = (a.columns, a.rows * b.columns, a.columns, 1);
        let found = (b.rows, self.out.len(), a.panel, b.column_stride);
        assert_eq!(sizes, found, "sizes of a product");
        if self.out.is_empty() {
            return;
        }
        if b.rows == 0 {
            if self.onto == Onto::Nothing {
                self.out.fill(F::default());
            }
            return;
        }
        assert!(a.last() < a.data.len() && b.last() < b.data.len(), "a product's operands");
        // SAFETY: the processor has these registers, and the sizes fit.
        unsafe {
            match registers {
                #[cfg(target_arch = "x86_64")]
                Registers::Avx512 => self.avx512(),
                #[cfg(target_arch = "x86_64")]
                Registers::Avx2 => self.avx2(),
                Registers::Any => self.sweep::<Four<F>, 4>(),
            }
        }
    }

    /// [`Product::sweep`] in AVX-512's registers.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
    unsafe fn avx512(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { self.sweep::<F::Avx512, 12>() }
    }

    /// [`Product::sweep`] in AVX2's registers.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { self.sweep::<F::Avx2, 6>() }
    }

    /// The product, by tiles of at most `MOST` rows and two registers of columns. Few rows have few sums, and
    /// these wait for themselves: as long as there are columns enough, their tiles are wider.
    ///
    /// # Safety
    /// The processor has the registers `V`, and the sizes fit.
    #[inline(always)]
    unsafe fn sweep<V: Vector<F>, const MOST: usize>(&mut self) {
        let (rows, columns) = (self.a.rows, self.b.columns);
        let wide = tile_width(rows.min(MOST), MOST);
        let whole = columns - columns % (wide * V::LANES);
        let mut turns = [(0..whole, wide), (whole..columns, 2)];
        if self.order == Order::Down {
            turns.reverse();
        }
        for (columns, wide) in turns {
            // SAFETY: the caller's promise.
            unsafe {
                match wide {
                    8 => self.tiles::<V, 8, MOST>(columns),
                    4 => self.tiles::<V, 4, MOST>(columns),
                    _ => self.tiles::<V, 2, MOST>(columns),
                }
            }
        }
    }

    /// Some columns of the product, by tiles of at most `MOST` rows and `C` registers of columns; the tiles of the
    /// same columns one after the other.
    ///
    /// # Safety
    /// The processor has the registers `V`, and the sizes fit. More than two registers are full.
    #[inline(always)]
    unsafe fn tiles<V: Vector<F>, const C: usize, const MOST: usize>(
        &mut self,
        range: Range<usize>,
    ) {
        let width = C * V::LANES;
        let groups = range.len().div_ceil(width);
        let tiles = self.a.rows.div_ceil(MOST);
        for group in 0..groups {
            let group = if self.order == Order::Up { group } else { groups - 1 - group };
            let columns = self.columns_from(range.start + group * width);
            for tile in 0..tiles {
                // As even as can be: a tile of few rows waits for its own sums.
                let first = tile * self.a.rows / tiles;
                let rows = (tile + 1) * self.a.rows / tiles - first;
                // SAFETY: the caller's promise; the tile lies within the product.
                unsafe {
                    self.tile(first, rows, columns).sum_in::<V, C, MOST>();
                }
            }
        }
    }

    /// Where the columns from `first` on lie in the right operand.
    #[inline(always)]
    fn columns_from(&self, first: usize) -> Columns<F> {
        let b = &self.b;
        let before = first / b.panel * b.panel;
        // Panels before this one are full.
        let start = b.data.as_ptr().wrapping_add(before * b.rows + first - before);
        // A tile of many registers has whole panels.
        let next = if b.panel == panel::<F>() { b.panel * b.rows } else { panel::<F>() };
        Columns { first, start, stride: b.panel.min(b.columns - before), next }
    }

    /// The tile of `rows` rows from `row` on and `columns`.
    ///
    /// # Safety
    /// It begins within the product.
    #[inline(always)]
    unsafe fn tile(&mut self, row: usize, rows: usize, columns: Columns<F>) -> Tile<F> {
        let (a, b) = (&self.a, &self.b);
        // SAFETY: the caller's promise.
        unsafe {
            Tile {
                a: a.data.as_ptr().add(row * a.row_stride),
                strides: (a.row_stride, a.column_stride),
                rows,
                b: columns.start,
                b_stride: columns.stride,
                b_panel: columns.next,
                k: b.rows,
                columns: b.columns - columns.first,
                out: self.out.as_mut_ptr().add(row * b.columns + columns.first),
                n: b.columns,
                onto: self.onto,
            }
        }
    }
}

/// The registers of columns that a tile of so many rows has at most, of a product whose tiles have at most
/// `most` rows: as many as the processor's registers hold together with the operands, 0 if none.
const fn tile_width(rows: usize, most: usize) -> usize {
    match (most, rows) {
        (12, 1..=2) => 8,
        (12, 3..=6) | (6, 1..=2) => 4,
        _ if rows <= most => 2,
        _ => 0,
    }
}

/// Some columns of a product's right operand, as far as they are stored side by side.
#[derive(Clone, Copy)]
struct Columns<F> {
    first: usize,
    start: *const F,
    /// From one row to the next.
    stride: usize,
    /// From a panel's columns, or as many, to the next.
    next: usize,
}

/// Some rows of a product × the columns of some registers.
struct Tile<F> {
    a: *const F,
    strides: (usize, usize),
    rows: usize,
    b: *const F,
    b_stride: usize,
    b_panel: usize,
    k: usize,
    /// Columns of the product from the tile's first on, more or fewer than the tile takes.
    columns: usize,
    out: *mut F,
    n: usize,
    onto: Onto,
}

/// Rows of the right operand that are asked for before they are needed: where they lie too far apart
/// the processor does not see by itself which comes next. No more: rows a power of two apart share
/// few places of the cache, and drive each other out.
const AHEAD: usize = 4;

impl<F: Real> Tile<F> {
    /// Computes the tile, of `C` registers or, where these are two, of as many as it has columns for.
    ///
    /// # Safety
    /// The processor has the registers `V`, the pointers reach as far as the sizes say, and there
    /// are 1 to `MOST` rows and at least one column, or enough for `C` > 2 registers.
    #[inline(always)]
    unsafe fn sum_in<V: Vector<F>, const C: usize, const MOST: usize>(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            if C > 2 || self.columns >= 2 * V::LANES {
                self.sum_rows::<V, C, true, MOST>();
            } else if self.columns > V::LANES {
                self.sum_rows::<V, 2, false, MOST>();
            } else {
                self.sum_rows::<V, 1, false, MOST>();
            }
        }
    }

    /// [`Tile::sum`] for its number of rows.
    ///
    /// # Safety
    /// As [`Tile::sum_in`].
    #[inline(always)]
    unsafe fn sum_rows<V: Vector<F>, const C: usize, const FULL: bool, const MOST: usize>(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.rows {
                1 if C <= tile_width(1, MOST) => self.sum::<V, 1, C, FULL>(),
                2 if C <= tile_width(2, MOST) => self.sum::<V, 2, C, FULL>(),
                3 if C <= tile_width(3, MOST) => self.sum::<V, 3, C, FULL>(),
                4 if C <= tile_width(4, MOST) => self.sum::<V, 4, C, FULL>(),
                5 if C <= tile_width(5, MOST) => self.sum::<V, 5, C, FULL>(),
                6 if C <= tile_width(6, MOST) => self.sum::<V, 6, C, FULL>(),
                7 if C <= tile_width(7, MOST) => self.sum::<V, 7, C, FULL>(),
                8 if C <= tile_width(8, MOST) => self.sum::<V, 8, C, FULL>(),
                9 if C <= tile_width(9, MOST) => self.sum::<V, 9, C, FULL>(),
                10 if C <= tile_width(10, MOST) => self.sum::<V, 10, C, FULL>(),
                11 if C <= tile_width(11, MOST) => self.sum::<V, 11, C, FULL>(),
                12 if C <= tile_width(12, MOST) => self.sum::<V, 12, C, FULL>(),
                rows => unreachable!("a tile of {rows} rows"),
            }
        }
    }

    /// Computes the tile of `M` rows in `C` registers of columns, all of them `FULL` or not.
    ///
    /// # Safety
    /// As [`Tile::sum_in`], and there are `M` rows.
    #[inline(always)]
    unsafe fn sum<V: Vector<F>, const M: usize, const C: usize, const FULL: bool>(&self) {
        // Columns in the tile's last register.
        let last = (self.columns - (C - 1) * V::LANES).min(V::LANES);
        // Where the columns of register `c` lie in a row.
        let at = |c: usize| {
            let column = c * V::LANES;
            column / panel::<F>() * self.b_panel + column % panel::<F>()
        };
        // SAFETY: the caller's promise. Pointers that leave the operands are only asked for.
        unsafe {
            let zero = V::splat(F::default());
            let mut sums: [[V; C]; M] = [[zero; C]; M];
            // Four rows from a pointer: its stride by one, two and three fits into few addresses.
            let mut a: [*const F; 3] =
                std::array::from_fn(|i| self.a.wrapping_add(4 * i * self.strides.0));
            let mut b = self.b;
            for _ in 0..self.k {
                let row: [V; C] = std::array::from_fn(|c| {
                    let from = b.wrapping_add(at(c));
                    V::prefetch(from.wrapping_add(AHEAD * self.b_stride));
                    if FULL || c + 1 < C { V::load(from) } else { V::load_part(from, last) }
                });
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = V::splat(*a[i / 4].add(i % 4 * self.strides.0));
                    for (sum, row) in sums.iter_mut().zip(row) {
                        *sum = x.mul_add(row, *sum);
                    }
                }
                a = a.map(|a| a.wrapping_add(self.strides.1));
                b = b.wrapping_add(self.b_stride);
            }
            for (i, sums) in sums.into_iter().enumerate() {
                for (c, sum) in sums.into_iter().enumerate() {
                    let columns = if FULL || c + 1 < C { V::LANES } else { last };
                    self.write(sum, self.out.add(i * self.n + c * V::LANES), columns);
                }
            }
        }
    }

    /// Writes `columns` numbers of a row.
    ///
    /// # Safety
    /// As [`Tile::sum_in`], and there is room for them.
    #[inline(always)]
    unsafe fn write<V: Vector<F>>(&self, sum: V, to: *mut F, columns: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if columns == V::LANES {
                let sum = if self.onto == Onto::Sum { sum.add(V::load(to)) } else { sum };
                sum.store(to);
                return;
            }
            // No register has more.
            let mut row = [F::default(); 16];
            sum.store(row.as_mut_ptr());
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

    /// Products of more rows have tiles of at most two registers.
    const MOST_ROWS_OF_WIDE_TILES: usize = 6;

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

    /// `a` · `b` in certain registers, over what `out` holds.
    fn product<F: Real>(
        registers: Registers,
        a: Matrix<'_, F>,
        b: Matrix<'_, F>,
        out: &mut [F],
        onto: Onto,
    ) {
        let order = Order::of(a.rows);
        Product { a, b, out, onto, order }.compute(registers);
    }

    /// Small whole numbers: sums of their products are exact in whatever order.
    fn number(i: usize, j: usize) -> f64 {
        ((i * 31 + j * 17 + i * j * 5) % 15) as f64 - 7.0
    }

    /// How the elements of an operand lie in memory.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Layout {
        Rows,
        Columns,
    }

    /// Memory in which the `rows × columns` elements that `element` gives lie between two more
    /// rows and columns of NaN on every side.
    fn framed<F: Real>(
        layout: Layout,
        [rows, columns]: [usize; 2],
        element: impl Fn(usize, usize) -> f64,
    ) -> Vec<F> {
        let (rows, columns) =
            if layout == Layout::Rows { (rows, columns) } else { (columns, rows) };
        let mut data = vec![F::from(f32::NAN); (rows + 4) * columns];
        for i in 0..rows {
            for j in 0..columns {
                let (i, j, at) = match layout {
                    Layout::Rows => (i, j, (i + 2) * columns + j),
                    Layout::Columns => (j, i, (i + 2) * columns + j),
                };
                data[at] = F::from_f64(element(i, j));
            }
        }
        data
    }

    /// The matrix in such memory.
    fn inner<F: Real>(data: &[F], layout: Layout, [rows, columns]: [usize; 2]) -> Matrix<'_, F> {
        match layout {
            Layout::Rows => Matrix::new(data, columns).rows(2, rows),
            Layout::Columns => Matrix::new(data, rows).rows(2, columns).transposed(),
        }
    }

    fn products_are_exact<F: Real>() {
        for registers in registers() {
            for rows in SIZES {
                for k in SIZES {
                    for n in SIZES {
                        check::<F>(registers, [rows, k, n]);
                    }
                }
            }
            for rows in 1..=MOST_ROWS_OF_WIDE_TILES + 1 {
                for n in [63, 64, 65, 127, 128, 129, 200, 257] {
                    check::<F>(registers, [rows, 3, n]);
                }
            }
        }
    }

    fn check<F: Real>(registers: Registers, [rows, k, n]: [usize; 3]) {
        let b_number = |i, j| number(j, i + 3);
        let sum = |i, j| (0..k).map(|l| number(i, l) * b_number(l, j)).sum::<f64>();
        let expected: Vec<f64> = (0..rows * n).map(|at| sum(at / n, at % n)).collect();
        for layout in [Layout::Rows, Layout::Columns] {
            // A matrix has its width from that of its rows in memory.
            if n == 0 || (if layout == Layout::Rows { k } else { rows }) == 0 {
                continue;
            }
            let a = framed::<F>(layout, [rows, k], number);
            let b = framed::<F>(Layout::Rows, [k, n], b_number);
            let (a, b) = (inner(&a, layout, [rows, k]), inner(&b, Layout::Rows, [k, n]));
            for (onto, before) in [(Onto::Nothing, 0.0), (Onto::Sum, 3.0)] {
                let held = if onto == Onto::Sum { F::from_f64(before) } else { F::from(f32::NAN) };
                let mut out = vec![F::from(9.0); rows * n + 4];
                out[2..2 + rows * n].fill(held);
                product(registers, a, b, &mut out[2..2 + rows * n], onto);
                let out: Vec<f64> = out.into_iter().map(Into::into).collect();
                let what = (registers, [rows, k, n], layout, onto);
                let sums = expected.iter().map(|x| x + before);
                let framed: Vec<f64> = [9.0; 2].into_iter().chain(sums).chain([9.0; 2]).collect();
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

    fn panels_are_the_same_matrix<F: Real>() {
        let width = panel::<F>();
        for registers in registers() {
            for rows in [1, 2, 3, 6, 7, 11, 13, 25] {
                for k in [0, 1, 5] {
                    for n in [1, width - 1, width, width + 1, 4 * width, 9 * width + width / 2 + 1]
                    {
                        let a: Vec<F> =
                            (0..rows * k).map(|at| F::from_f64(number(at / k, at % k))).collect();
                        let b: Vec<F> =
                            (0..k * n).map(|at| F::from_f64(number(at % n, at / n))).collect();
                        let panels = (0..n).step_by(width);
                        let in_panels: Vec<F> = panels
                            .flat_map(|first| {
                                let columns = first..n.min(first + width);
                                let rows = b.chunks_exact(n);
                                rows.flat_map(move |row| row[columns.clone()].to_vec())
                            })
                            .collect();
                        let a = Matrix { data: &a, rows, columns: k, ..Matrix::new(&a, k.max(1)) };
                        let a = Matrix { row_stride: k, panel: k, ..a };
                        let mut both =
                            [Matrix::new(&b, n), Matrix::in_panels(&in_panels, n)].map(|b| {
                                let mut out = vec![F::from(9.0); rows * n];
                                product(registers, a, b, &mut out, Onto::Sum);
                                out
                            });
                        assert!(
                            std::mem::take(&mut both[0]) == both[1],
                            "{registers:?} {rows} {k} {n}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_right_operand_in_panels_is_the_same_matrix() {
        panels_are_the_same_matrix::<f32>();
        panels_are_the_same_matrix::<f64>();
    }

    #[test]
    fn some_rows_of_a_transposed_matrix_are_some_columns_of_it() {
        let (rows, k, n) = (29, 7, 10);
        let (a, b) = (framed(Layout::Rows, [k, rows], |i, j| number(j, i)), number);
        let a = Matrix::new(&a, rows).rows(2, k).transposed();
        let b = framed::<f32>(Layout::Rows, [k, n], b);
        let b = inner(&b, Layout::Rows, [k, n]);
        let mut whole = vec![0.0; rows * n];
        multiply(a, b, &mut whole, Onto::Nothing, Order::Up);
        for first in [0, 1, 12, 24] {
            let mut part = vec![0.0; 5 * n];
            multiply(a.rows(first, 5), b, &mut part, Onto::Nothing, Order::Down);
            assert_eq!(part, whole[first * n..(first + 5) * n]);
        }
    }

    /// Neither how many rows there are nor where among them it stands changes a bit of a row.
    #[test]
    fn a_row_is_the_same_alone() {
        let (rows, k, n) = (25, 37, 21);
        let fraction = |i: usize, j: usize| (number(i, j) + 0.3) / (i + 2 * j + 3) as f64;
        let (a, b) = (
            framed::<f32>(Layout::Rows, [rows, k], fraction),
            framed(Layout::Rows, [k, n], fraction),
        );
        let a = inner(&a, Layout::Rows, [rows, k]);
        for registers in registers() {
            let b = inner(&b, Layout::Rows, [k, n]);
            for count in [rows, 12, 5] {
                let mut together = vec![0.0; count * n];
                product(registers, a.rows(0, count), b, &mut together, Onto::Nothing);
                for (i, together) in together.chunks_exact(n).enumerate() {
                    let mut alone = vec![0.0; n];
                    product(registers, a.rows(i, 1), b, &mut alone, Onto::Nothing);
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
                framed::<f32>(Layout::Rows, [rows, k], bad([4, 2])),
                framed(Layout::Rows, [k, n], bad([3, 33])),
            );
            let (a, b) = (inner(&a, Layout::Rows, [rows, k]), inner(&b, Layout::Rows, [k, n]));
            let mut out = vec![0.0; rows * n];
            product(registers, a, b, &mut out, Onto::Nothing);
            for (at, x) in out.iter().enumerate() {
                let expected = at / n == 4 || at % n == 33;
                assert_eq!(x.is_nan(), expected, "({}, {}), {registers:?}", at / n, at % n);
            }
        }
    }

    #[test]
    #[should_panic(expected = "sizes of a product")]
    fn a_result_of_another_size_is_refused() {
        let (a, b) = (Matrix::new(&[1.0f32; 8], 2), Matrix::new(&[1.0; 6], 3));
        multiply(a, b, &mut [0.0; 11], Onto::Nothing, Order::Up);
    }

    #[test]
    #[should_panic(expected = "rows 3 to 5 of 4")]
    fn rows_that_are_not_there_are_refused() {
        let _ = Matrix::new(&[1.0f32; 8], 2).rows(3, 2);
    }
}
