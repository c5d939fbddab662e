//! The gradient of a replica's weights, summed over its blocks.

use super::Context;
use super::block::{Block, sum_rows};
use super::transposed::Transposed;
use crate::kernels::float::{Real, widest};
use crate::kernels::product::{Matrix, Onto, Order, multiply, panel};
use crate::kernels::transpose::transpose;
use crate::optim::adam::{ParameterSlice, Update};

/// The weights of the replica of `blocks`, as pieces of work that each have a part of the gradient to
/// sum up.
pub fn pieces<'a, F: Real>(
    context: &Context<'a, F>,
    blocks: &'a [Block<F>],
    transposed: &'a mut Transposed<F>,
) -> impl Iterator<Item = Piece<'a, F>> + use<'a, F> {
    let Context { model, places, memory, .. } = *context;
    let (gates, vocab) = (4 * model.units as usize, model.vocab as usize);
    let places = &places[blocks[0].replica];
    let lstms = places.lstms.iter().zip(&mut transposed.lstms).enumerate();
    let lstms = lstms.flat_map(move |(l, (places, copies))| {
        [
            (Weight::Kernel(l), &places.kernel, gates, copies.kernel.as_mut_slice()),
            (Weight::Recurrent(l), &places.recurrent, gates, &mut copies.recurrent),
            (Weight::Bias(l), &places.bias, gates, &mut []),
        ]
    });
    let dense = [
        (Weight::Dense, &places.dense, vocab, transposed.dense.as_mut_slice()),
        (Weight::DenseBias, &places.dense_bias, vocab, &mut []),
    ];
    lstms.chain(dense).flat_map(move |(weight, place, columns, copy)| {
        let most = panel::<F>() * columns;
        let mut copies = copy.chunks_mut(most);
        place.clone().step_by(most).enumerate().map(move |(number, first)| {
            let last = place.end.min(first + most);
            // SAFETY: the blocks have read these weights, and nobody else does before the piece is
            // done; no other piece has a part in them.
            let share = unsafe { memory.share(first..last) };
            let rows = Rows { weight, first: number * panel::<F>(), columns };
            Piece { blocks, rows, share, copy: copies.next() }
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

/// Some rows of one replica's weight.
pub struct Piece<'a, F> {
    /// Of its batch.
    blocks: &'a [Block<F>],
    rows: Rows,
    /// The weights of these rows with their moments and gradient.
    share: ParameterSlice<'a, F>,
    /// The panel of the transposed copy that these rows are, if there is a copy.
    copy: Option<&'a mut [F]>,
}

impl<F: Real> Piece<'_, F> {
    /// Copies the weights for the backward pass.
    pub fn copy(&mut self) {
        if let Some(copy) = &mut self.copy {
            transpose(self.share.theta, self.rows.columns, copy);
        }
    }

    /// Sums the gradient up and has the weights updated, if `update` says how, with it. It goes to
    /// `scratch`, where nobody will ask for it, and the weights are copied for the backward pass of the
    /// next step; without `scratch` it is left beside the weights.
    pub fn learn(&mut self, update: Option<&Update<F>>, scratch: Option<&mut Vec<F>>) {
        let ParameterSlice { theta, m, v, gradient } = &mut self.share;
        let copies = scratch.is_some();
        let gradient = match scratch {
            Some(scratch) => {
                scratch.resize(gradient.len(), F::default());
                scratch.as_mut_slice()
            }
            None => gradient,
        };
        self.rows.sum(self.blocks, gradient);
        if let Some(update) = update {
            update.apply(theta, m, v, gradient);
        }
        if copies {
            self.copy();
        }
    }
}

/// Some rows of a weight.
#[derive(Debug, Clone, Copy)]
struct Rows {
    weight: Weight,
    first: usize,
    columns: usize,
}

impl Rows {
    /// Sums the rows' gradient over a replica's blocks.
    fn sum<F: Real>(self, blocks: &[Block<F>], out: &mut [F]) {
        if !matches!(self.weight, Weight::Recurrent(_) | Weight::Dense) {
            out.fill(F::default());
        }
        for (i, block) in blocks.iter().enumerate() {
            let onto = if i == 0 { Onto::Nothing } else { Onto::Sum };
            let units = block.units;
            match self.weight {
                Weight::Recurrent(l) => {
                    let (h, d_gates) = block.lstms[l].recurrent_rows();
                    self.product(Matrix::new(h, units), d_gates, out, onto);
                }
                Weight::Kernel(l) if block.ids[l].is_empty() => {
                    let code = Matrix::new(block.lstms[l - 1].last_h(), units);
                    self.product(code, &block.repeated, out, onto);
                }
                Weight::Dense => {
                    self.product(Matrix::new(block.read(), units), &block.logits, out, onto);
                }
                Weight::Kernel(l) => {
                    let gates = &block.lstms[l].gates;
                    scatter(out, self.columns, self.first, &block.ids[l], gates);
                }
                Weight::Bias(l) => sum_rows(out, &block.lstms[l].gates),
                Weight::DenseBias => sum_rows(out, &block.logits),
            }
        }
    }

    /// These rows of xᵀ · dy.
    fn product<F: Real>(self, x: Matrix<'_, F>, dy: &[F], out: &mut [F], onto: Onto) {
        let x = x.transposed().rows(self.first, out.len() / self.columns);
        multiply(x, Matrix::new(dy, self.columns), out, onto, Order::Up);
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
