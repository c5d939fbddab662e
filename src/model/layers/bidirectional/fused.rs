//! The pass of a bidirectional layer over some rows of a batch.

use std::ops::Range;

use super::Bidirectional;
use crate::kernels::blocks::{Blocks, Parts};
use crate::kernels::float::Real;
use crate::kernels::product::Onto;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::pass::{
    Buffers, Factors, Gradient, GradientSum, InputGradients, Inputs, PartWeights, Pass, gather,
};
use crate::model::{Node, Read};

/// The concatenated outputs of two nodes, over T steps of N rows. A part of U of the 2H units may have some of
/// either node's.
pub struct BidirectionalPass<F> {
    /// The forward and the backward LSTM.
    nodes: [usize; 2],
    units: Parts,
    parts: Vec<Part<F>>,
    gradients: Vec<Gradient<F>>,
}

/// What a part has.
struct Part<F> {
    /// `(T, N, U)`; empty where no layer reads it.
    outputs: Vec<F>,
    /// The last h and c, `(N, U)` each.
    state: [Vec<F>; 2],
}

/// Which of a layer's gradients.
type Of<F> = fn(&Gradient<F>) -> &GradientSum<F>;

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
    let (mut parts, mut gradients) = (Vec::new(), Vec::new());
    for _ in 0..node.parts {
        let (outputs, state) = (buffers.take(), [buffers.take(), buffers.take()]);
        parts.push(Part { outputs, state });
        let [outputs, h, c] = [(); 3].map(|()| GradientSum::new(buffers.take()));
        gradients.push(Gradient { outputs, h, c });
    }
    let nodes = [of(&node.reads[0]), of(&node.reads[1])];
    let units = Parts::new(2 * layer.units as usize, node.parts);
    BidirectionalPass { nodes, units, parts, gradients }
}

/// The blocks of two matrices of `width` columns each, side by side.
fn side_by_side<'a, F: Real>(
    [first, second]: [Blocks<'a, F>; 2],
    width: usize,
) -> impl Iterator<Item = (Range<usize>, &'a [F])> {
    let shift = move |(columns, values): (Range<usize>, _)| {
        (columns.start + width..columns.end + width, values)
    };
    let second: Vec<_> = second.parts().map(shift).collect();
    first.parts().collect::<Vec<_>>().into_iter().chain(second)
}

/// The last h and c of all parts of a layer with these units.
fn last_state<F: Real>(node: &dyn Pass<F>, units: Parts) -> [Blocks<'_, F>; 2] {
    let states: Vec<[&[F]; 2]> = (0..units.count()).map(|part| node.state(part)).collect();
    [0, 1].map(|which| Blocks::new(units.columns(), states.iter().map(|state| state[which])))
}

impl<F: Real> Pass<F> for BidirectionalPass<F> {
    fn forward(&mut self, inputs: Inputs<'_, F>, _: &PartWeights<'_, F>, team: &ThreadPool) {
        let nodes = self.nodes.map(|node| &inputs.nodes[node]);
        let (units, half) = (self.units, self.units.columns() / 2);
        let outputs = nodes.map(|node| node.outputs());
        let rows = outputs[0].rows();
        let last = nodes.map(|node| last_state(&**node, Parts::new(half, units.count())));
        let parts = self.parts.iter_mut().zip(&mut self.gradients);
        team.each_part(parts, |part, (own, gradient)| {
            let columns = units.range(part);
            gradient.outputs.resize(rows * columns.len());
            if own.outputs.capacity() > 0 {
                own.outputs.resize(rows * columns.len(), F::default());
                let blocks = side_by_side(outputs, half);
                gather(blocks, columns.clone(), &mut own.outputs, Onto::Nothing);
            }
            for (which, state) in own.state.iter_mut().enumerate() {
                let blocks = side_by_side(last.map(|node| node[which]), half);
                gather(blocks, columns.clone(), state, Onto::Nothing);
            }
        });
    }

    fn backward(
        &mut self,
        gradients: InputGradients<'_, F>,
        _: &PartWeights<'_, F>,
        team: &ThreadPool,
    ) {
        let (units, half) = (self.units, self.units.columns() / 2);
        let all: &[Gradient<F>] = &self.gradients;
        let add = |of: Of<F>, columns: &Range<usize>, to: &mut GradientSum<F>| {
            // What nobody reads has no gradient.
            if all.iter().all(|gradient| of(gradient).get().is_some()) {
                let (to, onto) = to.onto();
                let blocks = units.ranges().zip(all.iter().map(|part| &of(part).values[..]));
                gather(blocks, columns.clone(), to, onto);
            }
        };
        for (number, node) in self.nodes.into_iter().enumerate() {
            let to = gradients.nodes[node].gradients();
            let own = Parts::new(half, to.len());
            team.each_part(to.iter_mut(), |part, to| {
                let own = own.range(part);
                let columns = number * half + own.start..number * half + own.end;
                add(|gradient| &gradient.outputs, &columns, &mut to.outputs);
                add(|gradient| &gradient.h, &columns, &mut to.h);
                add(|gradient| &gradient.c, &columns, &mut to.c);
            });
        }
    }

    fn factors<'a>(&'a self, _: usize, _: usize, _: Inputs<'a, F>) -> Factors<'a, F> {
        Factors::Sum(&[])
    }

    fn outputs(&self) -> Blocks<'_, F> {
        Blocks::new(self.units.columns(), self.parts.iter().map(|part| &part.outputs[..]))
    }

    fn gradients(&mut self) -> &mut [Gradient<F>] {
        &mut self.gradients
    }

    fn state(&self, part: usize) -> [&[F]; 2] {
        self.parts[part].state.each_ref().map(Vec::as_slice)
    }

    fn last(&self) -> Blocks<'_, F> {
        Blocks::new(self.units.columns(), self.parts.iter().map(|part| &part.state[0][..]))
    }
}
