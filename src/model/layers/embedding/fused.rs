//! The pass of an embedding over some rows of a batch: rows of the table are copied, and gradients
//! are added to the rows. In inference it may read probabilities of ids, and puts out the mean of
//! the rows, weighted by them.

use super::Embedding;
use crate::kernels::blocks::Blocks;
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order};
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::pass::{
    Buffers, Factors, Gradient, GradientSum, InputGradients, Inputs, PartWeights, Pass,
};
use crate::model::{Along, Node, Read};

const EMBEDDINGS: usize = 0;

/// An embedding of T ids of N rows.
pub struct EmbeddingPass<F> {
    read: Read,
    along: Along,
    units: usize,
    /// `(T, N, E)`.
    outputs: Vec<F>,
    gradient: Gradient<F>,
}

/// The pass of `layer` for `rows` rows.
pub fn pass<F: Real>(
    layer: &Embedding,
    node: &Node,
    _: usize,
    buffers: &mut Buffers,
) -> EmbeddingPass<F> {
    let units = layer.units as usize;
    let (read, outputs) = (node.reads[0], buffers.take());
    let gradient = Gradient { outputs: GradientSum::new(buffers.take()), ..Gradient::default() };
    EmbeddingPass { read, along: node.along, units, outputs, gradient }
}

impl<F: Real> Pass<F> for EmbeddingPass<F> {
    fn forward(&mut self, inputs: Inputs<'_, F>, weights: &PartWeights<'_, F>, _: &ThreadPool) {
        let table = weights(0).values[EMBEDDINGS];
        let total = inputs.rows.along(self.along).total();
        self.outputs.resize(total * self.units, F::default());
        self.gradient.outputs.resize(total * self.units);
        let ids = inputs.ids(self.read);
        if ids.is_empty() {
            let Self { outputs, units, .. } = self;
            let x = inputs.vectors(self.read, table.len() / *units);
            return match x.is_empty() {
                true => outputs.fill(F::default()),
                false => x.multiply(Matrix::new(table, *units), outputs, Onto::Nothing, Order::Up),
            };
        }
        for (vector, id) in self.outputs.chunks_exact_mut(self.units).zip(ids) {
            vector.copy_from_slice(&table[id * self.units..][..self.units]);
        }
    }

    fn backward(&mut self, _: InputGradients<'_, F>, _: &PartWeights<'_, F>, _: &ThreadPool) {
        self.gradient.outputs.or_zeros();
    }

    fn factors<'a>(&'a self, _: usize, _: usize, inputs: Inputs<'a, F>) -> Factors<'a, F> {
        Factors::Rows(inputs.ids(self.read), &self.gradient.outputs.values)
    }

    fn outputs(&self) -> Blocks<'_, F> {
        Blocks::one(&self.outputs, self.units)
    }

    fn gradients(&mut self) -> &mut [Gradient<F>] {
        std::slice::from_mut(&mut self.gradient)
    }
}
