//! The gradient of a replica's weights, summed over its blocks.

use super::Context;
use super::block::Block;
use super::transposed::Transposed;
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply, panel};
use crate::kernels::rows::{scatter, sum_rows};
use crate::kernels::transpose::transpose;
use crate::model::layers::pass::{Below, Factors};
use crate::optim::adam::{ParameterSlice, Update};

/// The weights of the replica of `blocks`, as pieces of work that each have a part of the gradient to
/// sum up.
pub fn pieces<'a, F: Real>(
    context: &Context<'a, F>,
    blocks: &'a [Block<F>],
    transposed: &'a mut Transposed<F>,
) -> impl Iterator<Item = Piece<'a, F>> + use<'a, F> {
    let memory = context.memory;
    let nodes = context.places[blocks[0].replica].nodes.iter().zip(&mut transposed.nodes);
    let weights = nodes.enumerate().flat_map(|(node, (places, copies))| {
        let weights = places.iter().zip(copies).enumerate();
        weights.map(move |(weight, (place, copy))| (node, weight, place, copy))
    });
    weights.flat_map(move |(node, weight, place, copy)| {
        let most = panel::<F>() * place.columns;
        let mut copies = copy.chunks_mut(most);
        place.range.clone().step_by(most).enumerate().map(move |(number, first)| {
            let last = place.range.end.min(first + most);
            // SAFETY: the blocks have read these weights, and nobody else does before the piece is
            // done; no other piece has a part in them.
            let slice = unsafe { memory.share(first..last) };
            let rows = Rows { node, weight, first: number * panel::<F>(), columns: place.columns };
            Piece { blocks, rows, slice, copy: copies.next() }
        })
    })
}

/// Some rows of one replica's weight.
pub struct Piece<'a, F> {
    /// Of its batch.
    blocks: &'a [Block<F>],
    rows: Rows,
    /// The weights of these rows with their moments and gradient.
    slice: ParameterSlice<'a, F>,
    /// The panel of the transposed copy that these rows are, if there is a copy.
    copy: Option<&'a mut [F]>,
}

impl<F: Real> Piece<'_, F> {
    /// Copies the weights for the backward pass.
    pub fn copy(&mut self) {
        if let Some(copy) = &mut self.copy {
            transpose(self.slice.theta, self.rows.columns, copy);
        }
    }

    /// Sums the gradient up and has the weights updated, if `update` says how, with it. It goes to
    /// `scratch`, where nobody will ask for it, and the weights are copied for the backward pass of the
    /// next step; without `scratch` it is left beside the weights.
    pub fn learn(&mut self, update: Option<&Update<F>>, scratch: Option<&mut Vec<F>>) {
        let ParameterSlice { theta, m, v, gradient } = &mut self.slice;
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
    node: usize,
    weight: usize,
    first: usize,
    columns: usize,
}

impl Rows {
    /// Sums the rows' gradient over a replica's blocks.
    fn sum<F: Real>(self, blocks: &[Block<F>], out: &mut [F]) {
        for (i, block) in blocks.iter().enumerate() {
            let below = Below { nodes: &block.nodes[..self.node], ids: &block.ids };
            match block.nodes[self.node].factors(self.weight, below) {
                Factors::Product(x, dy) => {
                    let onto = if i == 0 { Onto::Nothing } else { Onto::Sum };
                    let x = x.transposed().rows(self.first, out.len() / self.columns);
                    multiply(x, Matrix::new(dy, self.columns), out, onto, Order::Up);
                }
                rows => {
                    if i == 0 {
                        out.fill(F::default());
                    }
                    self.add(rows, out);
                }
            }
        }
    }

    /// Adds what is no product.
    fn add<F: Real>(self, factors: Factors<'_, F>, out: &mut [F]) {
        match factors {
            Factors::Rows(ids, dy) => scatter(out, self.columns, self.first, ids, dy),
            Factors::Sum(dy) => sum_rows(out, dy),
            Factors::Product(..) => unreachable!("it is multiplied"),
        }
    }
}
