//! The pass of an embedding over some rows of a batch: rows of the table are copied, and gradients
//! are added to the rows. In inference it may read probabilities of ids, and puts out the mean of
//! the rows, weighted by them.

use super::Embedding;
use crate::kernels::blocks::{Blocks, Parts};
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order};
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::pass::{
    Buffers, Factors, Gradient, GradientSum, InputGradients, Inputs, PartWeights, Pass,
};
use crate::model::{Along, Node, Read};

const EMBEDDINGS: usize = 0;

/// An embedding of T ids of N rows. A part has some columns of the table, and of every vector.
pub struct EmbeddingPass<F> {
    read: Read,
    along: Along,
    units: Parts,
    vocab: usize,
    /// Each part's, `(T, N, U)`.
    outputs: Vec<Vec<F>>,
    gradients: Vec<Gradient<F>>,
}

/// The pass of `layer` for `rows` rows.
pub fn pass<F: Real>(
    layer: &Embedding,
    node: &Node,
    _: usize,
    buffers: &mut Buffers,
) -> EmbeddingPass<F> {
    let (mut outputs, mut gradients) = (Vec::new(), Vec::new());
    for _ in 0..node.parts {
        outputs.push(buffers.take());
        let d_outputs = GradientSum::new(buffers.take());
        gradients.push(Gradient { outputs: d_outputs, ..Gradient::default() });
    }
    EmbeddingPass {
        read: node.reads[0],
        along: node.along,
        units: Parts::new(layer.units as usize, node.parts),
        vocab: layer.vocab as usize,
        outputs,
        gradients,
    }
}

impl<F: Real> Pass<F> for EmbeddingPass<F> {
    fn forward(&mut self, inputs: Inputs<'_, F>, weights: &PartWeights<'_, F>, team: &ThreadPool) {
        let (units, total) = (self.units, inputs.rows.along(self.along).total());
        let (ids, x) = (inputs.ids(self.read), inputs.vectors(self.read, self.vocab));
        let parts = self.outputs.iter_mut().zip(&mut self.gradients);
        team.each_part(parts, |part, (outputs, gradient)| {
            let (width, table) = (units.range(part).len(), weights(part).values[EMBEDDINGS]);
            outputs.resize(total * width, F::default());
            gradient.outputs.resize(total * width);
            if !x.is_empty() {
                return x.multiply(Matrix::new(table, width), outputs, Onto::Nothing, Order::Up);
            }
            if ids.is_empty() {
                return outputs.fill(F::default());
            }
            for (vector, id) in outputs.chunks_exact_mut(width).zip(ids) {
                vector.copy_from_slice(&table[id * width..][..width]);
            }
        });
    }

    fn backward(&mut self, _: InputGradients<'_, F>, _: &PartWeights<'_, F>, team: &ThreadPool) {
        team.each_part(self.gradients.iter_mut(), |_, gradient| {
            gradient.outputs.or_zeros();
        });
    }

    fn factors<'a>(&'a self, _: usize, part: usize, inputs: Inputs<'a, F>) -> Factors<'a, F> {
        Factors::Rows(inputs.ids(self.read), &self.gradients[part].outputs.values)
    }

    fn outputs(&self) -> Blocks<'_, F> {
        Blocks::new(self.units.columns(), self.outputs.iter().map(Vec::as_slice))
    }

    fn gradients(&mut self) -> &mut [Gradient<F>] {
        &mut self.gradients
    }
}
