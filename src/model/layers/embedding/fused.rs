//! An embedding on its way through some rows of a batch: rows are copied, and their gradients are the
//! table's.

use super::Embedding;
use crate::kernels::float::Real;
use crate::model::layers::pass::{Below, BelowMut, Buffers, Factors, Gradient, Pass, Sum, Weights};
use crate::model::{Node, Read};

const EMBEDDINGS: usize = 0;

/// An embedding of T ids of N rows.
pub struct EmbeddingPass<F> {
    read: Read,
    units: usize,
    /// N · E: the numbers of a step.
    n: usize,
    /// `(T, N, E)`.
    outputs: Vec<F>,
    gradient: Gradient<F>,
}

/// The pass of `layer` for `rows` rows.
pub fn pass<F: Real>(
    layer: &Embedding,
    node: &Node,
    rows: usize,
    buffers: &mut Buffers,
) -> EmbeddingPass<F> {
    let units = layer.units as usize;
    let (read, outputs) = (node.reads[0], buffers.take());
    let gradient = Gradient { outputs: Sum::new(buffers.take()), ..Gradient::default() };
    EmbeddingPass { read, units, n: rows * units, outputs, gradient }
}

impl<F: Real> Pass<F> for EmbeddingPass<F> {
    fn forward(&mut self, below: Below<'_, F>, weights: &Weights<'_, F>) {
        let table = weights.values[EMBEDDINGS];
        let ids = below.ids.of(self.read);
        for (vector, id) in self.outputs.chunks_exact_mut(self.units).zip(ids) {
            vector.copy_from_slice(&table[id * self.units..][..self.units]);
        }
    }

    fn backward(&mut self, _: BelowMut<'_, F>, _: &Weights<'_, F>) {
        self.gradient.outputs.settle();
    }

    fn factors<'a>(&'a self, _: usize, below: Below<'a, F>) -> Factors<'a, F> {
        Factors::Rows(below.ids.of(self.read), &self.gradient.outputs.values)
    }

    fn outputs(&self) -> &[F] {
        &self.outputs
    }

    fn last(&self) -> &[F] {
        &self.outputs[self.outputs.len() - self.n..]
    }

    fn gradient(&mut self) -> &mut Gradient<F> {
        &mut self.gradient
    }
}
