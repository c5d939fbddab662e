//! Weights with their slots and gradient as a step of several parts has them: what a part needs side by side
//! in memory of its own, so that it stays in the cache of one core.
//!
//! A part has some columns of most weights, which are strips of every row in the parameters' buffer. They
//! are copied here when a training begins to learn, and back when anyone else wants them.

use std::ops::Range;
use std::rc::Rc;

use super::{ReplicaLayout, WeightLayout};
use crate::kernels::blocks::Parts;
use crate::kernels::float::Real;
use crate::model::Model;
use crate::model::layers::{Division, Weight};
use crate::optim::memory::{MOST_SLOTS, Memory, ParameterSlice};

/// Parts begin at multiples of so many numbers: no cache line is two parts'.
const LINE: usize = 16;

/// The packed weights of all replicas.
#[derive(Debug)]
pub struct Packed<F> {
    /// Where they lie.
    pub layouts: Rc<[ReplicaLayout]>,
    pieces: Vec<Piece>,
    numbers: usize,
    theta: Vec<F>,
    slots: [Vec<F>; MOST_SLOTS],
    gradient: Vec<F>,
    /// Whether these are what the training has come to, and the parameters' own buffers are not.
    holds: bool,
}

/// A part of a weight: rows of some columns of the whole weight in the parameters' buffer, side by side here.
#[derive(Debug)]
struct Piece {
    /// Where the first of these rows begins in the parameters' buffer.
    from: usize,
    /// Columns of the whole weight.
    stride: usize,
    /// Which of them the part has.
    columns: Vec<Range<usize>>,
    /// Where the piece lies here.
    to: Range<usize>,
}

impl Piece {
    /// Part `part` of `count` of `weight`, which lies in the parameters' buffer as `whole` says; here it
    /// begins at `first`.
    fn new(
        weight: &Weight,
        whole: &WeightLayout,
        (part, count): (usize, usize),
        first: usize,
    ) -> Self {
        let stride = whole.columns;
        let all = whole.range.len() / stride;
        let every: Vec<_> = std::iter::once(0..stride).collect();
        let (rows, columns) = match weight.division {
            Division::Columns(blocks) => {
                let width = stride / blocks;
                let own = Parts::new(width, count).range(part);
                let block = |number| number * width + own.start..number * width + own.end;
                (0..all, (0..blocks).map(block).collect())
            }
            Division::Rows => (Parts::new(all, count).range(part), every),
            Division::Whole => (if part == 0 { 0..all } else { 0..0 }, every),
        };
        let numbers = rows.len() * columns.iter().map(Range::len).sum::<usize>();
        let from = whole.range.start + rows.start * stride;
        Self { from, stride, columns, to: first..first + numbers }
    }

    /// Its columns.
    fn width(&self) -> usize {
        self.columns.iter().map(Range::len).sum()
    }

    /// Where each stretch of it lies in the parameters' buffer, and where here.
    fn stretches(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let rows = self.to.clone().step_by(self.width()).zip((self.from..).step_by(self.stride));
        rows.flat_map(move |(mut to, from)| {
            self.columns.iter().map(move |columns| {
                let first = to;
                to += columns.len();
                (from + columns.start..from + columns.end, first..to)
            })
        })
    }
}

impl<F: Real> Packed<F> {
    /// Those of `model`, in several parts, whose weights lie in the parameters' buffer as `flat` says.
    pub fn new(model: &Model, flat: &[ReplicaLayout]) -> Self {
        let (mut layouts, mut pieces, mut numbers) = (Vec::new(), Vec::new(), 0_usize);
        let weights: Vec<_> = model.nodes.iter().map(|node| node.layer.spec().weights()).collect();
        for replica in flat {
            let mut parts = Vec::new();
            for part in 0..model.parts() {
                numbers = numbers.next_multiple_of(LINE);
                let mut nodes = Vec::new();
                for (weights, layouts) in weights.iter().zip(&replica.parts[0]) {
                    let mut own = Vec::new();
                    for (weight, whole) in weights.iter().zip(layouts) {
                        let piece = Piece::new(weight, whole, (part, model.parts()), numbers);
                        numbers = piece.to.end;
                        own.push(WeightLayout { range: piece.to.clone(), columns: piece.width() });
                        pieces.push(piece);
                    }
                    nodes.push(own);
                }
                parts.push(nodes);
            }
            layouts.push(ReplicaLayout { parts });
        }
        let (theta, slots, gradient) = (Vec::new(), Default::default(), Vec::new());
        let layouts = layouts.into();
        Self { layouts, pieces, numbers, theta, slots, gradient, holds: false }
    }

    /// Takes over the weights and slots of `parameters`, unless it holds them. Returns whether it did.
    pub fn take(&mut self, parameters: &ParameterSlice<'_, F>) -> bool {
        if std::mem::replace(&mut self.holds, true) {
            return false;
        }
        let Self { theta, slots, gradient, numbers, .. } = self;
        theta.resize(*numbers, F::default());
        gradient.resize(*numbers, F::default());
        let copied = slots.iter_mut().zip(&parameters.slots).filter(|(_, from)| !from.is_empty());
        let mut copied: Vec<(&mut Vec<F>, &[F])> = copied.map(|(to, from)| (to, &**from)).collect();
        copied.push((theta, &*parameters.theta));
        for (to, from) in copied {
            to.resize(*numbers, F::default());
            for (there, here) in self.pieces.iter().flat_map(Piece::stretches) {
                to[here].copy_from_slice(&from[there]);
            }
        }
        true
    }

    /// Gives weights, slots and the last gradient back to `parameters`, if it holds them.
    pub fn give_back(&mut self, parameters: &mut ParameterSlice<'_, F>) {
        if !std::mem::take(&mut self.holds) {
            return;
        }
        let slots = self.slots.iter().zip(&mut parameters.slots);
        let mut copied: Vec<(&[F], &mut [F])> = slots
            .filter(|(_, to)| !to.is_empty())
            .map(|(from, to)| (&from[..], &mut **to))
            .collect();
        copied.push((&self.theta, &mut *parameters.theta));
        copied.push((&self.gradient, &mut *parameters.gradient));
        for (from, to) in copied {
            for (there, here) in self.pieces.iter().flat_map(Piece::stretches) {
                to[there].copy_from_slice(&from[here]);
            }
        }
    }

    /// Where they lie.
    pub fn memory(&mut self) -> Memory<F> {
        let slots = self.slots.each_mut().map(|slot| (!slot.is_empty()).then_some(&mut slot[..]));
        Memory::of(&mut self.theta, slots, &mut self.gradient)
    }
}
