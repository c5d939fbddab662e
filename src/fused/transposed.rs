//! Copies of weights with rows and columns exchanged, for the way back.
//!
//! A gradient dx = dy · Wᵀ of few rows is a product as fast as the way forth if Wᵀ lies in memory
//! row by row. A copy is made once a step and read at every time step and by every block.

use super::product::Matrix;
use super::{Context, Places};
use crate::model::{Input, LstmSpec, Model};
use crate::real::Real;

/// Columns of a weight that are copied as one piece of work.
const STRIP: usize = 64;

/// One replica's transposed weights; all of them answer to H units.
#[derive(Debug)]
pub struct Transposed<F> {
    units: usize,
    /// Of each LSTM, `(4H, H)`; of an LSTM that reads ids there is no kernel.
    lstms: Vec<LstmTransposed<F>>,
    /// The dense kernel, `(V, H)`.
    dense: Vec<F>,
}

#[derive(Debug)]
struct LstmTransposed<F> {
    kernel: Vec<F>,
    recurrent: Vec<F>,
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
        Matrix::new(&self.lstms[l].recurrent, self.units)
    }

    /// The kernel of LSTM `l`, which reads vectors, `(4H, H)`.
    pub fn kernel(&self, l: usize) -> Matrix<'_, F> {
        Matrix::new(&self.lstms[l].kernel, self.units)
    }

    /// The dense kernel, `(V, H)`.
    pub fn dense(&self) -> Matrix<'_, F> {
        Matrix::new(&self.dense, self.units)
    }

    /// The work of copying the weights as they are now.
    pub fn strips<'a>(
        &'a mut self,
        context: &Context<'a, F>,
        places: &'a Places,
    ) -> impl Iterator<Item = Strip<'a, F>> + use<'a, F> {
        let units = self.units;
        let lstms = self.lstms.iter_mut().zip(&places.lstms).flat_map(|(to, from)| {
            [(&mut to.kernel, &from.kernel), (&mut to.recurrent, &from.recurrent)]
        });
        let (all, context) = (lstms.chain([(&mut self.dense, &places.dense)]), *context);
        all.flat_map(move |(to, place)| {
            let columns = to.len() / units;
            let weights = context.weights(place);
            to.chunks_mut(STRIP * units).enumerate().map(move |(number, to)| Strip {
                weights,
                columns,
                first: number * STRIP,
                to,
            })
        })
    }
}

/// Bytes of a replica's [`Transposed`], in numbers of so many bytes.
pub fn bytes(model: &Model, number: f64) -> f64 {
    let (units, vocab) = (model.units as f64, model.vocab as f64);
    let kernels = |spec: &LstmSpec| if spec.input == Input::Repeated { 2.0 } else { 1.0 };
    let kernels: f64 = model.lstms.iter().map(kernels).sum();
    (4.0 * units * kernels + vocab) * units * number
}

/// Some columns of a weight, and where they go as rows.
pub struct Strip<'a, F> {
    weights: &'a [F],
    columns: usize,
    first: usize,
    to: &'a mut [F],
}

impl<F: Real> Strip<'_, F> {
    /// Copies them.
    pub fn copy(&mut self) {
        transpose(&self.weights[self.first..], self.columns, self.to);
    }
}

/// Writes the first columns of the matrix in `from`, whose rows begin `stride` apart, to `to` as
/// rows, by squares of 4 × 4 numbers.
///
/// # Panics
/// If there are not as many columns as fill `to`.
pub fn transpose<F: Real>(from: &[F], stride: usize, to: &mut [F]) {
    let rows = from.len().div_ceil(stride);
    let columns = to.len() / rows;
    assert!(columns <= stride && (rows - 1) * stride + columns <= from.len());
    let (high, wide) = (rows / 4 * 4, columns / 4 * 4);
    for i in (0..high).step_by(4) {
        for j in (0..wide).step_by(4) {
            // SAFETY: i + 4 ≤ rows and j + 4 ≤ columns.
            unsafe {
                let row = |r| from.as_ptr().add((i + r) * stride + j).cast::<[F; 4]>().read();
                let square = F::transpose([row(0), row(1), row(2), row(3)]);
                for (c, column) in square.into_iter().enumerate() {
                    to.as_mut_ptr().add((j + c) * rows + i).cast::<[F; 4]>().write(column);
                }
            }
        }
    }
    for i in 0..rows {
        for j in (if i < high { wide } else { 0 })..columns {
            to[j * rows + i] = from[i * stride + j];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Strips of matrices of every kind of size, over what was there before.
    #[test]
    fn every_number_is_copied_to_its_place() {
        for rows in [1, 2, 4, 5, 16, 19] {
            for columns in [1, 3, 4, 63, 64, 65, 150] {
                let weights: Vec<f64> = (0..rows * columns).map(|at| at as f64).collect();
                let mut to = vec![f64::NAN; rows * columns];
                for (number, to) in to.chunks_mut(STRIP * rows).enumerate() {
                    Strip { weights: &weights, columns, first: number * STRIP, to }.copy();
                }
                for (at, &got) in to.iter().enumerate() {
                    let (column, row) = (at / rows, at % rows);
                    assert_eq!(got, weights[row * columns + column], "({row}, {column})");
                }
            }
        }
    }
}
