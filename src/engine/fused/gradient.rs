//! The gradient of a replica's weights, summed over its blocks.

use super::Context;
use super::block::Block;
use super::transposed::Transposed;
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, panel};
use crate::kernels::rows::{add_squares, scale, scatter, scatter_scaled, sum_rows};
use crate::kernels::transpose::transpose;
use crate::model::layers::pass::{Factors, Inputs};
use crate::optim::memory::ParameterSlice;
use crate::optim::rule::Update;

/// The weights of the replica of `blocks`, part by part, split by rows into shares of work for threads;
/// `transposed` has the copies of each part.
pub fn weight_rows<'a, F: Real>(
    context: &Context<'a, F>,
    blocks: &'a [Block<F>],
    transposed: &'a mut [Transposed<F>],
) -> impl Iterator<Item = WeightRows<'a, F>> + use<'a, F> {
    let memory = context.memory;
    let parts = context.layouts[blocks[0].replica].parts.iter().zip(transposed).enumerate();
    let weights = parts.flat_map(|(part, (nodes, copies))| {
        nodes.iter().zip(&mut copies.nodes).enumerate().flat_map(
            move |(node, (layouts, copies))| {
                let weights = layouts.iter().zip(copies).enumerate();
                weights.map(move |(weight, (layout, copy))| ([part, node, weight], layout, copy))
            },
        )
    });
    weights.flat_map(move |([part, node, weight], layout, copy)| {
        let most = panel::<F>() * layout.columns;
        let mut copies = copy.chunks_mut(most);
        layout.range.clone().step_by(most).enumerate().map(move |(number, first)| {
            let last = layout.range.end.min(first + most);
            // SAFETY: the blocks have read these weights, nothing else reads them before their
            // update, and no two shares overlap.
            let slice = unsafe { memory.share(first..last) };
            let (first, columns) = (number * panel::<F>(), layout.columns);
            let share = Share { part, node, weight, first, columns };
            WeightRows { blocks, share, slice, copy: copies.next(), squares: 0.0 }
        })
    })
}

/// Some rows of one replica's weight: a thread's share of the gradient and of its update.
pub struct WeightRows<'a, F> {
    /// Those of the replica's batch.
    blocks: &'a [Block<F>],
    share: Share,
    /// The weights of these rows with their slots and gradient.
    slice: ParameterSlice<'a, F>,
    /// The panel of the transposed copy that has these rows, if a copy is kept.
    copy: Option<&'a mut [F]>,
    /// The sum of the squares of the gradient, where it was asked for.
    pub squares: f64,
}

impl<F: Real> WeightRows<'_, F> {
    /// Whose weights they are.
    pub fn replica(&self) -> usize {
        self.blocks[0].replica
    }

    /// Of which part they are.
    pub fn part(&self) -> usize {
        self.share.part
    }

    /// Whether both are weights of the same part of a replica.
    pub fn same_part(&self, other: &Self) -> bool {
        (self.replica(), self.share.part) == (other.replica(), other.share.part)
    }

    /// Copies the weights for the backward pass.
    pub fn copy(&mut self) {
        if let Some(copy) = &mut self.copy {
            transpose(self.slice.theta, self.share.columns, copy);
        }
    }

    /// Sums the gradient over the blocks and applies `update`, if any. With `scratch`, the gradient
    /// is computed there and not kept; without, it is left in the gradient's buffer. With `copies`, the
    /// weights are copied for the next step's backward pass.
    pub fn learn(&mut self, update: Option<&Update>, scratch: Option<&mut Vec<F>>, copies: bool) {
        let ParameterSlice { theta, slots, gradient } = &mut self.slice;
        let gradient = match scratch {
            Some(scratch) => {
                scratch.resize(gradient.len(), F::default());
                scratch.as_mut_slice()
            }
            None => gradient,
        };
        self.share.sum(self.blocks, gradient);
        if let Some(update) = update {
            update.apply(theta, slots, gradient);
        }
        if copies {
            self.copy();
        }
    }

    /// Sums the gradient over the blocks into its buffer, and its squares.
    pub fn differentiate(&mut self) {
        self.share.sum(self.blocks, self.slice.gradient);
        self.squares = 0.0;
        add_squares(&mut self.squares, self.slice.gradient);
    }

    /// Multiplies what [`WeightRows::differentiate`] left by `factor` and applies `update`, if any; with
    /// `copies`, the weights are copied for the next step's backward pass.
    pub fn learn_clipped(&mut self, update: Option<&Update>, factor: f64, copies: bool) {
        let ParameterSlice { theta, slots, gradient } = &mut self.slice;
        if factor != 1.0 {
            scale(gradient, F::from_f64(factor));
        }
        if let Some(update) = update {
            update.apply(theta, slots, gradient);
        }
        if copies {
            self.copy();
        }
    }
}

/// Some rows of a weight of a node's layer.
#[derive(Debug, Clone, Copy)]
struct Share {
    part: usize,
    node: usize,
    weight: usize,
    first: usize,
    columns: usize,
}

impl Share {
    /// Sums the rows' gradient over a replica's blocks.
    fn sum<F: Real>(self, blocks: &[Block<F>], out: &mut [F]) {
        for (i, block) in blocks.iter().enumerate() {
            let Block { nodes, inputs: read, lengths, .. } = block;
            let inputs = Inputs { nodes: &nodes[..self.node], read, rows: lengths };
            match block.nodes[self.node].factors(self.weight, self.part, inputs) {
                Factors::Product(x, dy) => {
                    let onto = if i == 0 { Onto::Nothing } else { Onto::Sum };
                    let rows = self.first..self.first + out.len() / self.columns;
                    x.multiply_transposed(rows, Matrix::new(dy, self.columns), out, onto);
                }
                factors => {
                    if i == 0 {
                        out.fill(F::default());
                    }
                    self.add(factors, out);
                }
            }
        }
    }

    /// Adds factors that are no product.
    fn add<F: Real>(self, factors: Factors<'_, F>, out: &mut [F]) {
        match factors {
            Factors::Rows(ids, dy) => scatter(out, self.columns, self.first, ids, dy),
            Factors::ScaledRows(ids, scales, dy) => {
                scatter_scaled(out, self.columns, self.first, ids, scales, dy);
            }
            Factors::Sum(dy) => sum_rows(out, dy),
            Factors::Product(..) => unreachable!("it is multiplied"),
        }
    }
}
