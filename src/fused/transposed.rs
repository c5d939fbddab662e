//! Copies of weights with rows and columns exchanged, for the way back.
//!
//! A gradient dx = dy · Wᵀ of few rows is a product as fast as the way forth if Wᵀ lies in memory
//! row by row. A copy is made once a step and read at every time step and by every block. It is
//! stored by panels, each of which is the rows of the weight that are updated at a time.

use super::product::Matrix;
use crate::model::{Input, LstmSpec, Model};
use crate::real::Real;
use crate::simd::prefetch_to_write;

/// One replica's transposed weights; all of them answer to H units.
#[derive(Debug)]
pub struct Transposed<F> {
    units: usize,
    /// Of each LSTM.
    pub lstms: Vec<LstmTransposed<F>>,
    /// The dense kernel, `(V, H)` by panels.
    pub dense: Vec<F>,
}

/// The transposed weights of an LSTM.
#[derive(Debug)]
pub struct LstmTransposed<F> {
    /// The kernel, `(4H, H)` by panels; empty where the LSTM reads ids.
    pub kernel: Vec<F>,
    /// The recurrent kernel, `(4H, H)` by panels.
    pub recurrent: Vec<F>,
}

impl<F: Real> Transposed<F> {
    /// Room for the weights of a replica of `model`.
    pub fn new(model: &Model) -> Self {
        let (units, vocab) = (model.units as usize, model.vocab as usize);
        let zeros = |rows: usize| vec![F::default(); rows * units];
        let lstm = |input| LstmTransposed {
            kernel: zeros(if input == Input::Repeated { 4 * units } else { 0 }),
            recurrent: zeros(4 * units),
        };
        let lstms = model.lstms.iter().map(|spec| lstm(spec.input)).collect();
        Self { units, lstms, dense: zeros(vocab) }
    }

    /// The recurrent kernel of LSTM `l`, `(4H, H)`.
    pub fn recurrent(&self, l: usize) -> Matrix<'_, F> {
        Matrix::in_panels(&self.lstms[l].recurrent, self.units)
    }

    /// The kernel of LSTM `l`, which reads vectors, `(4H, H)`.
    pub fn kernel(&self, l: usize) -> Matrix<'_, F> {
        Matrix::in_panels(&self.lstms[l].kernel, self.units)
    }

    /// The dense kernel, `(V, H)`.
    pub fn dense(&self) -> Matrix<'_, F> {
        Matrix::in_panels(&self.dense, self.units)
    }
}

/// Bytes of a replica's [`Transposed`], in numbers of so many bytes.
pub fn bytes(model: &Model, number: f64) -> f64 {
    let (units, vocab) = (model.units as f64, model.vocab as f64);
    let kernels = |spec: &LstmSpec| if spec.input == Input::Repeated { 2.0 } else { 1.0 };
    let kernels: f64 = model.lstms.iter().map(kernels).sum();
    (4.0 * units * kernels + vocab) * units * number
}

/// Rows that are transposed at a time: a cache line's numbers, and so few that lines of all of them
/// stay in the cache.
const HEIGHT: usize = 16;

/// How many columns ahead a copy asks for its place, which other threads have read.
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
