//! Two directions side by side, for some rows of a batch.

use super::Bidirectional;
use crate::kernels::float::Real;
use crate::model::layers::pass::{Below, BelowMut, Buffers, Factors, Gradient, Pass, Sum, Weights};
use crate::model::{Node, Read};

/// The outputs of two nodes side by side, over T steps of N rows.
pub struct BidirectionalPass<F> {
    /// The forward one and the backward one.
    nodes: [usize; 2],
    /// H of either.
    units: usize,
    /// `(T, N, 2H)`; empty where nobody reads it.
    outputs: Vec<F>,
    /// The last h and c, `(N, 2H)` each.
    state: [Vec<F>; 2],
    gradient: Gradient<F>,
}

/// The pass of `layer` for so many rows.
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
    let [d_outputs, h, c] = [(); 3].map(|()| Sum::new(buffers.take()));
    BidirectionalPass {
        nodes: [of(&node.reads[0]), of(&node.reads[1])],
        units: layer.units as usize,
        outputs,
        state,
        gradient: Gradient { outputs: d_outputs, h, c },
    }
}

impl<F: Real> BidirectionalPass<F> {
    /// Writes the rows of `from` to their half of the rows of `to`.
    fn join(units: usize, half: usize, from: &[F], to: &mut [F]) {
        let halves = to.chunks_exact_mut(units).skip(half).step_by(2);
        halves.zip(from.chunks_exact(units)).for_each(|(to, from)| to.copy_from_slice(from));
    }

    /// Adds one half of the rows of `from`, if anyone wrote them, to `to`.
    fn part(units: usize, half: usize, from: &Sum<F>, to: &mut Sum<F>) {
        let Some(from) = from.begun() else { return };
        let halves = from.chunks_exact(units).skip(half).step_by(2);
        to.add_rows(units, halves);
    }
}

impl<F: Real> Pass<F> for BidirectionalPass<F> {
    fn forward(&mut self, below: Below<'_, F>, _: &Weights<'_, F>) {
        for (half, node) in self.nodes.into_iter().enumerate() {
            let node = &below.nodes[node];
            if !self.outputs.is_empty() {
                Self::join(self.units, half, node.outputs(), &mut self.outputs);
            }
            for (last, of_node) in self.state.iter_mut().zip(node.state()) {
                Self::join(self.units, half, of_node, last);
            }
        }
    }

    fn backward(&mut self, below: BelowMut<'_, F>, _: &Weights<'_, F>) {
        for (half, node) in self.nodes.into_iter().enumerate() {
            let (to, from) = (below.nodes[node].gradient(), &self.gradient);
            Self::part(self.units, half, &from.outputs, &mut to.outputs);
            Self::part(self.units, half, &from.h, &mut to.h);
            Self::part(self.units, half, &from.c, &mut to.c);
        }
    }

    fn factors<'a>(&'a self, _: usize, _: Below<'a, F>) -> Factors<'a, F> {
        Factors::Sum(&[])
    }

    fn outputs(&self) -> &[F] {
        &self.outputs
    }

    fn last(&self) -> &[F] {
        &self.state[0]
    }

    fn gradient(&mut self) -> &mut Gradient<F> {
        &mut self.gradient
    }

    fn state(&self) -> [&[F]; 2] {
        [&self.state[0], &self.state[1]]
    }
}
