//! Matrices with rows and columns exchanged.

use crate::kernels::float::Real;
use crate::kernels::simd::prefetch_to_write;

/// Rows that are transposed at a time: a cache line's numbers, and so few that lines of all of them
/// stay in the cache.
const HEIGHT: usize = 16;

/// How many columns ahead a copy asks for its place, which other threads may have read.
const AHEAD: usize = 32;

/// Writes the matrix of `columns` columns in `from` to `to` as rows, by squares of 4 × 4 numbers.
///
/// # Panics
/// If it does not fill `to`.
pub fn transpose<F: Real>(from: &[F], columns: usize, to: &mut [F]) {
    let rows = from.len() / columns;
    assert!(rows * columns == from.len() && to.len() == from.len());
    let (high, wide) = (rows / 4 * 4, columns / 4 * 4);
    for first in (0..high).step_by(HEIGHT) {
        for j in (0..wide).step_by(4) {
            for ahead in j + AHEAD..j + AHEAD + 4 {
                prefetch_to_write(to.as_ptr().wrapping_add(ahead * rows + first));
            }
            for i in (first..high.min(first + HEIGHT)).step_by(4) {
                // SAFETY: i + 4 ≤ rows and j + 4 ≤ columns.
                unsafe {
                    let row = |r| from.as_ptr().add((i + r) * columns + j).cast::<[F; 4]>().read();
                    let square = F::transpose([row(0), row(1), row(2), row(3)]);
                    for (c, column) in square.into_iter().enumerate() {
                        to.as_mut_ptr().add((j + c) * rows + i).cast::<[F; 4]>().write(column);
                    }
                }
            }
        }
    }
    for i in 0..rows {
        for j in (if i < high { wide } else { 0 })..columns {
            to[j * rows + i] = from[i * columns + j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_copied_to_its_place() {
        for rows in [1, 2, 4, 5, 16, 19] {
            for columns in [1, 3, 4, 63, 64, 65, 150] {
                let weights: Vec<f64> = (0..rows * columns).map(|at| at as f64).collect();
                let mut to = vec![f64::NAN; rows * columns];
                transpose(&weights, columns, &mut to);
                for (at, &got) in to.iter().enumerate() {
                    let (column, row) = (at / rows, at % rows);
                    assert_eq!(got, weights[row * columns + column], "({row}, {column})");
                }
            }
        }
    }
}
