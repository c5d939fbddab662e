//! Copies of weights with rows and columns exchanged, for the backward pass.
//!
//! A gradient dx = dy · Wᵀ of few rows is a product as fast as the forward pass if Wᵀ lies in memory
//! row by row. A copy is made once a step and read at every time step and by every block. It is
//! stored by panels, each of which is the rows of the weight that are updated at a time.

use crate::kernels::float::Real;
use crate::kernels::product::Matrix;
use crate::model::{Input, LstmSpec, Model};

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
