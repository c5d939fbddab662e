//! Matrices whose columns are computed in parts, each part's stored as a block by itself.

use std::ops::Range;

use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::kernels::thread_pool::MOST_PARTS;

/// Columns of a part but for the last are a multiple of this, where they are many: four gates of so many
/// units fill whole registers of a product.
const TOGETHER: usize = 4;

/// How the columns of a matrix are divided among parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    columns: usize,
    /// Columns of another matrix behind these, of which each part has some as well.
    beside: usize,
    count: usize,
}

impl Parts {
    /// `columns` columns in `count` parts, 1 to [`MOST_PARTS`].
    pub fn new(columns: usize, count: usize) -> Self {
        Self { columns, beside: 0, count: count.clamp(1, MOST_PARTS) }
    }

    /// Those of two matrices of so many columns, side by side: each part has what it has of the first, and
    /// then what it has of the second. One part has all columns as they lie.
    pub fn side_by_side([first, second]: [usize; 2], count: usize) -> Self {
        match count {
            0 | 1 => Self::new(first + second, 1),
            _ => Self { beside: second, ..Self::new(first, count) },
        }
    }

    /// How many parts there are.
    pub fn count(self) -> usize {
        self.count
    }

    /// The columns of all parts.
    pub fn columns(self) -> usize {
        self.columns + self.beside
    }

    /// How many of them part `part` has.
    pub fn width(self, part: usize) -> usize {
        self.both(part).map(|columns| columns.len()).iter().sum()
    }

    /// The columns of part `part`, of either matrix; the second range is empty where there is one.
    pub fn both(self, part: usize) -> [Range<usize>; 2] {
        let [first, second] =
            [self.columns, self.beside].map(|columns| Self::new(columns, self.count).range(part));
        [first, self.columns + second.start..self.columns + second.end]
    }

    /// The columns of part `part` of one matrix.
    pub fn range(self, part: usize) -> Range<usize> {
        let Self { columns, beside, count } = self;
        debug_assert_eq!(beside, 0, "one matrix");
        let many = columns >= 4 * TOGETHER * count;
        let together = if many { TOGETHER } else { 1 };
        let first = |part: usize| {
            if part == count {
                return columns;
            }
            (part * columns + count * together / 2) / (count * together) * together
        };
        first(part)..first(part + 1)
    }

    /// The columns of every part.
    pub fn ranges(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.count).map(move |part| self.range(part))
    }
}

/// A matrix whose columns are stored part by part, each part's row-major.
#[derive(Debug, Clone, Copy)]
pub struct Blocks<'a, F> {
    values: [&'a [F]; MOST_PARTS],
    parts: Parts,
}

impl<'a, F> Blocks<'a, F> {
    /// The matrix of `columns` columns whose parts are `values`, at most [`MOST_PARTS`].
    pub fn new(columns: usize, values: impl Iterator<Item = &'a [F]>) -> Self {
        Self::side_by_side([columns, 0], values)
    }

    /// Two matrices of so many columns, side by side, each part's of both in one of `values`.
    pub fn side_by_side(columns: [usize; 2], values: impl Iterator<Item = &'a [F]>) -> Self {
        let (mut all, mut count): ([&[F]; MOST_PARTS], _) = ([&[]; MOST_PARTS], 0);
        for (place, values) in all.iter_mut().zip(values) {
            *place = values;
            count += 1;
        }
        Self { values: all, parts: Parts::side_by_side(columns, count) }
    }

    /// The row-major matrix of `columns` columns in `values`, in one part.
    pub fn one(values: &'a [F], columns: usize) -> Self {
        Self::new(columns, std::iter::once(values))
    }

    /// The numbers of a matrix of one part.
    pub fn whole(&self) -> &'a [F] {
        debug_assert_eq!(self.parts.count, 1, "a matrix of one part");
        self.values[0]
    }

    /// Its rows; it has columns.
    pub fn rows(&self) -> usize {
        self.values[0].len() / self.parts.width(0)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.values[0].is_empty()
    }

    /// The columns that are part `part`.
    pub fn part(&self, part: usize) -> Matrix<'a, F> {
        Matrix::new(self.values[part], self.parts.width(part))
    }

    /// The same as a matrix of one part.
    pub fn block(&self, part: usize) -> Self {
        Self::one(self.values[part], self.parts.width(part))
    }

    /// Every part with its columns of one matrix.
    pub fn parts(&self) -> impl Iterator<Item = (Range<usize>, &'a [F])> {
        self.parts.ranges().zip(self.values)
    }
}

impl<F: Real> Blocks<'_, F> {
    /// `out` = or += this · `b`, the terms of the parts added in their order.
    pub fn multiply(self, b: Matrix<'_, F>, out: &mut [F], mut onto: Onto, order: Order) {
        for (part, range) in self.parts.ranges().enumerate() {
            multiply(self.part(part), b.rows(range.start, range.len()), out, onto, order);
            onto = Onto::Sum;
        }
    }

    /// `out` = or += rows `rows` of thisᵀ · `b`.
    pub fn multiply_transposed(
        self,
        rows: Range<usize>,
        b: Matrix<'_, F>,
        out: &mut [F],
        onto: Onto,
    ) {
        let columns = out.len() / rows.len();
        for (part, range) in self.parts.ranges().enumerate() {
            let (first, end) = (rows.start.max(range.start), rows.end.min(range.end));
            if first < end {
                let own = self.part(part).transposed().rows(first - range.start, end - first);
                let to = (first - rows.start) * columns..(end - rows.start) * columns;
                multiply(own, b, &mut out[to], onto, Order::Up);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_in_one_part_and_parts_are_about_equal() {
        for columns in [1, 2, 5, 16, 33, 64, 128, 150, 300, 1000] {
            for count in [1, 2, 3, 4, MOST_PARTS].into_iter().filter(|count| *count <= columns) {
                let parts = Parts::new(columns, count);
                let mut end = 0;
                for range in parts.ranges() {
                    assert_eq!(range.start, end);
                    let fair = columns.div_ceil(count);
                    assert!((1..=fair + TOGETHER).contains(&range.len()), "{columns}, {count}");
                    end = range.end;
                }
                assert_eq!((end, parts.ranges().count()), (columns, count));
            }
        }
        let of = |columns, count| Parts::new(columns, count).ranges().map(|r| r.len()).collect();
        let lengths: [Vec<usize>; 3] = [of(150, 2), of(300, 4), of(9, 2)];
        assert_eq!(lengths, [vec![76, 74], vec![76, 76, 72, 76], vec![5, 4]]);
    }

    #[test]
    fn of_two_matrices_a_part_has_what_it_has_of_each() {
        for columns in [[5, 9], [64, 150], [16, 0]] {
            for count in [1, 2, 3, 4] {
                let parts = Parts::side_by_side(columns, count);
                let mut all: Vec<_> = (0..count).flat_map(|part| parts.both(part)).collect();
                all.sort_by_key(|columns| (columns.start, columns.end));
                assert_eq!(
                    all.into_iter().flatten().collect::<Vec<_>>(),
                    (0..columns[0] + columns[1]).collect::<Vec<_>>()
                );
                let own = columns.map(|columns| Parts::new(columns, count));
                for part in (0..count).filter(|_| count > 1) {
                    let [first, second] = own.map(|own| own.range(part));
                    assert_eq!(parts.width(part), first.len() + second.len());
                    assert_eq!(parts.both(part)[0], first);
                }
            }
        }
        assert_eq!(Parts::side_by_side([5, 9], 1), Parts::new(14, 1));
    }

    /// The parts of the row-major matrix `x`.
    fn divided(x: &[f64], parts: Parts) -> Vec<Vec<f64>> {
        let rows = || x.chunks_exact(parts.columns);
        parts
            .ranges()
            .map(|range| rows().flat_map(|row| row[range.clone()].to_vec()).collect())
            .collect()
    }

    fn numbers(len: usize, salt: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 389 + salt * 57 + 11) % 201) as f64).collect()
    }

    #[test]
    fn products_are_those_of_the_whole_matrix() {
        let (rows, inner, columns) = (7, 45, 9);
        let (x, b, dy) =
            (numbers(rows * inner, 1), numbers(inner * columns, 2), numbers(rows * columns, 3));
        let mut expected = numbers(rows * columns, 4);
        let (matrix, b) = (Matrix::new(&x, inner), Matrix::new(&b, columns));
        multiply(matrix, b, &mut expected, Onto::Sum, Order::Up);
        let mut gradient = vec![0.0; inner * columns];
        let dy = Matrix::new(&dy, columns);
        multiply(matrix.transposed(), dy, &mut gradient, Onto::Nothing, Order::Up);
        for count in [1, 2, 3, MOST_PARTS] {
            let parts = divided(&x, Parts::new(inner, count));
            let blocks = Blocks::new(inner, parts.iter().map(Vec::as_slice));
            // Whole numbers, whose sums are exact in any order.
            let mut out = numbers(rows * columns, 4);
            blocks.multiply(b, &mut out, Onto::Sum, Order::Down);
            assert_eq!(out, expected, "{count} parts");
            for range in [0..inner, 3..4, 10..31, 44..45] {
                let mut out = vec![f64::NAN; range.len() * columns];
                blocks.multiply_transposed(range.clone(), dy, &mut out, Onto::Nothing);
                assert_eq!(out, gradient[range.start * columns..range.end * columns], "{count}");
            }
        }
    }
}
