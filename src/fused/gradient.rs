//! The gradient of a replica's weights, summed over its blocks.

use std::ops::Range;

use super::block::{Block, sum_rows};
use super::product::{Matrix, Onto, Order, multiply};
use super::{Context, Places};
use crate::optim::Share;
use crate::real::{Real, widest};

/// Rows of a weight matrix whose gradient is one piece of work.
const GRADIENT_ROWS: usize = 24;

/// The gradients of a replica's weights, as pieces of work that each fill a part of it.
pub fn pieces<'a, F: Real>(
    context: &Context<'a, F>,
    replica: usize,
) -> impl Iterator<Item = Piece<'a, F>> + use<'a, F> {
    let Context { model, places, memory, .. } = *context;
    let (gates, vocab) = (4 * model.units as usize, model.vocab as usize);
    let lstms = (0..model.lstms.len()).flat_map(move |l| {
        [(Weight::Kernel(l), gates), (Weight::Recurrent(l), gates), (Weight::Bias(l), gates)]
    });
    let dense = [(Weight::Dense, vocab), (Weight::DenseBias, vocab)];
    lstms.chain(dense).flat_map(move |(weight, columns)| {
        let place = weight.place(&places[replica]);
        place.clone().step_by(GRADIENT_ROWS * columns).enumerate().map(move |(number, first)| {
            let last = place.end.min(first + GRADIENT_ROWS * columns);
            // SAFETY: the blocks have read these weights, and nobody else does before the piece is
            // done; no other piece has a part in them.
            let share = unsafe { memory.share(first..last) };
            Piece { weight, replica, first_row: number * GRADIENT_ROWS, columns, share }
        })
    })
}

/// A weight of a model.
#[derive(Debug, Clone, Copy)]
enum Weight {
    Kernel(usize),
    Recurrent(usize),
    Bias(usize),
    Dense,
    DenseBias,
}

impl Weight {
    fn place(self, places: &Places) -> &Range<usize> {
        match self {
            Self::Kernel(l) => &places.lstms[l].kernel,
            Self::Recurrent(l) => &places.lstms[l].recurrent,
            Self::Bias(l) => &places.lstms[l].bias,
            Self::Dense => &places.dense,
            Self::DenseBias => &places.dense_bias,
        }
    }
}

/// Some rows of the gradient of one replica's weight.
pub struct Piece<'a, F> {
    weight: Weight,
    /// Whose weight.
    pub replica: usize,
    first_row: usize,
    columns: usize,
    /// The weights of these rows with their moments and gradient.
    pub share: Share<'a, F>,
}

impl<F: Real> Piece<'_, F> {
    /// Sums the gradient over the replica's blocks.
    pub fn compute(&mut self, blocks: &[Block<F>]) {
        for (i, block) in blocks.iter().enumerate() {
            let onto = if i == 0 { Onto::Nothing } else { Onto::Sum };
            let units = block.units;
            match self.weight {
                Weight::Recurrent(l) => {
                    let (h, d_gates) = block.lstms[l].recurrent_rows();
                    self.add_product(Matrix::new(h, units), d_gates, onto);
                }
                Weight::Kernel(l) if block.ids[l].is_empty() => {
                    let code = Matrix::new(block.lstms[l - 1].last_h(), units);
                    self.add_product(code, &block.repeated, onto);
                }
                Weight::Dense => {
                    self.add_product(Matrix::new(block.read(), units), &block.logits, onto);
                }
                Weight::Kernel(l) => {
                    self.start(onto);
                    let rows = &block.lstms[l].gates;
                    scatter(self.share.gradient, self.columns, self.first_row, &block.ids[l], rows);
                }
                Weight::Bias(l) => {
                    self.start(onto);
                    sum_rows(self.share.gradient, &block.lstms[l].gates);
                }
                Weight::DenseBias => {
                    self.start(onto);
                    sum_rows(self.share.gradient, &block.logits);
                }
            }
        }
    }

    fn start(&mut self, onto: Onto) {
        if onto == Onto::Nothing {
            self.share.gradient.fill(F::default());
        }
    }

    /// Adds these rows of xᵀ · dy.
    fn add_product(&mut self, x: Matrix<'_, F>, dy: &[F], onto: Onto) {
        let rows = self.share.gradient.len() / self.columns;
        let (x, dy) = (x.transposed().rows(self.first_row, rows), Matrix::new(dy, self.columns));
        multiply(x, dy, self.share.gradient, onto, Order::Up);
    }
}

widest! {
    /// Adds every row of `rows` to the row of the matrix that its id names; `out` holds the
    /// matrix's rows from `first` on, and ids of other rows are passed over.
    scatter<F: Real>(out: &mut [F], columns: usize, first: usize, ids: &[usize], rows: &[F])
    by scatter_body
}

#[inline(always)]
fn scatter_body<F: Real>(out: &mut [F], columns: usize, first: usize, ids: &[usize], rows: &[F]) {
    let here = first..first + out.len() / columns;
    for (id, row) in ids.iter().zip(rows.chunks_exact(columns)) {
        if here.contains(id) {
            let out = &mut out[(id - first) * columns..][..columns];
            out.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
        }
    }
}
