//! The pass of a bidirectional layer over some rows of a batch.

use super::Bidirectional;
use crate::kernels::blocks::Blocks;
use crate::kernels::float::Real;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::pass::{
    Buffers, Factors, Gradient, GradientSum, InputGradients, Inputs, PartWeights, Pass,
};
use crate::model::{Node, Read};

/// The concatenated outputs of two nodes, over T steps of N rows.
pub struct BidirectionalPass<F> {
    /// The forward and the backward LSTM.
    nodes: [usize; 2],
    /// H of each LSTM.
    units: usize,
    /// `(T, N, 2H)`; empty where no layer reads it.
    outputs: Vec<F>,
    /// The last h and c, `(N, 2H)` each.
    state: [Vec<F>; 2],
    gradient: Gradient<F>,
}

/// The pass of `layer`.
pub fn pass<F: Real>(
    layer: &Bidirectional,
    node: &Node,
    _: usize,
    buffers: &mut Buffers,
) -> BidirectionalPass<F> {
    let of = |read: &Read| match *read {
        Read::Outputs(node) | Read::Last(node) => node,
        Read::Source | Read::DecoderInput => unreachable!("it reads two layers"),
    };
    let (outputs, state) = (buffers.take(), [buffers.take(), buffers.take()]);
    let [d_outputs, h, c] = [(); 3].map(|()| GradientSum::new(buffers.take()));
    BidirectionalPass {
        nodes: [of(&node.reads[0]), of(&node.reads[1])],
        units: layer.units as usize,
        outputs,
        state,
        gradient: Gradient { outputs: d_outputs, h, c },
    }
}

impl<F: Real> BidirectionalPass<F> {
    /// Writes the rows of `from` to one half of the rows of `to`.
    fn write_half(units: usize, half: usize, from: &[F], to: &mut [F]) {
        let halves = to.chunks_exact_mut(units).skip(half).step_by(2);
        halves.zip(from.chunks_exact(units)).for_each(|(to, from)| to.copy_from_slice(from));
    }

    /// Adds one half of the rows of `from` to `to`, unless `from` is an empty sum.
    fn add_half(units: usize, half: usize, from: &GradientSum<F>, to: &mut GradientSum<F>) {
        let Some(from) = from.get() else { return };
        let halves = from.chunks_exact(units).skip(half).step_by(2);
        to.add_rows(units, halves);
    }
}

impl<F: Real> Pass<F> for BidirectionalPass<F> {
    fn forward(&mut self, inputs: Inputs<'_, F>, _: &PartWeights<'_, F>, _: &ThreadPool) {
        let read = self.outputs.capacity() > 0;
        let total = inputs.nodes[self.nodes[0]].outputs().whole().len();
        if read {
            self.outputs.resize(2 * total, F::default());
        }
        self.gradient.outputs.resize(2 * total);
        for (half, node) in self.nodes.into_iter().enumerate() {
            let node = &inputs.nodes[node];
            if read {
                Self::write_half(self.units, half, node.outputs().whole(), &mut self.outputs);
            }
            for (last, of_node) in self.state.iter_mut().zip(node.state(0)) {
                Self::write_half(self.units, half, of_node, last);
            }
        }
    }

    fn backward(
        &mut self,
        gradients: InputGradients<'_, F>,
        _: &PartWeights<'_, F>,
        _: &ThreadPool,
    ) {
        for (half, node) in self.nodes.into_iter().enumerate() {
            let (to, from) = (gradients.nodes[node].gradient(), &self.gradient);
            Self::add_half(self.units, half, &from.outputs, &mut to.outputs);
            Self::add_half(self.units, half, &from.h, &mut to.h);
            Self::add_half(self.units, half, &from.c, &mut to.c);
        }
    }

    fn factors<'a>(&'a self, _: usize, _: usize, _: Inputs<'a, F>) -> Factors<'a, F> {
        Factors::Sum(&[])
    }

    fn outputs(&self) -> Blocks<'_, F> {
        Blocks::one(&self.outputs, 2 * self.units)
    }

    fn gradients(&mut self) -> &mut [Gradient<F>] {
        std::slice::from_mut(&mut self.gradient)
    }

    fn state(&self, _: usize) -> [&[F]; 2] {
        [&self.state[0], &self.state[1]]
    }

    fn last(&self) -> Blocks<'_, F> {
        Blocks::one(&self.state[0], 2 * self.units)
    }
}
