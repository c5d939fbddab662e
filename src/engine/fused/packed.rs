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
use crate::model::layers::{Division, Weight};
use crate::model::{Model, Read};
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
    /// Where the whole weight begins in the parameters' buffer.
    from: usize,
    /// Columns of the whole weight.
    stride: usize,
    /// Which of its rows the part has.
    rows: Vec<Range<usize>>,
    /// Which of its columns.
    columns: Vec<Range<usize>>,
    /// Where the piece lies here.
    to: Range<usize>,
}

impl Piece {
    /// Part `part` of `weight`, which lies in the parameters' buffer as `whole` says and whose layer reads
    /// what is divided as `read` says; here it begins at `first`.
    fn new(
        weight: &Weight,
        whole: &WeightLayout,
        (part, read): (usize, Parts),
        first: usize,
    ) -> Self {
        let stride = whole.columns;
        let (all, every) = (0..whole.range.len() / stride, 0..stride);
        let (rows, columns) = match weight.division {
            Division::Columns(blocks) => {
                let width = stride / blocks;
                let own = Parts::new(width, read.count()).range(part);
                let block = |number| number * width + own.start..number * width + own.end;
                (vec![all], (0..blocks).map(block).collect())
            }
            Division::Rows => (read.both(part).to_vec(), vec![every]),
            Division::Whole => (if part == 0 { vec![all] } else { Vec::new() }, vec![every]),
        };
        let count = |ranges: &[Range<usize>]| ranges.iter().map(Range::len).sum::<usize>();
        let to = first..first + count(&rows) * count(&columns);
        Self { from: whole.range.start, stride, rows, columns, to }
    }

    /// Its columns.
    fn width(&self) -> usize {
        self.columns.iter().map(Range::len).sum()
    }

    /// Where each stretch of it lies in the parameters' buffer, and where here.
    fn stretches(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let rows = self.rows.iter().cloned().flatten().map(|row| self.from + row * self.stride);
        let rows = self.to.clone().step_by(self.width()).zip(rows);
        rows.flat_map(move |(mut to, from)| {
            self.columns.iter().map(move |columns| {
                let first = to;
                to += columns.len();
                (from + columns.start..from + columns.end, first..to)
            })
        })
    }
}

/// How the parts share what node `number` of `model` reads.
fn read_by(model: &Model, number: usize) -> Parts {
    let read = model.nodes[number].reads[0];
    match read {
        Read::Outputs(below) | Read::Last(below) => {
            model.nodes[below].layer.spec().parts(model.parts())
        }
        Read::Source | Read::DecoderInput => Parts::new(model.width(read) as usize, model.parts()),
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
                for (number, layouts) in replica.parts[0].iter().enumerate() {
                    let (mut own, read) = (Vec::new(), read_by(model, number));
                    for (weight, whole) in weights[number].iter().zip(layouts) {
                        let piece = Piece::new(weight, whole, (part, read), numbers);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Attention, Config, presets};

    /// Of a model whose dense layer reads the contexts of an attention beside the queries.
    fn model(parts: usize) -> Model {
        let reverse = presets::find("reverse").unwrap().config;
        let sizes = Config { units: 9, vocab: 10, embedding: 5, ..reverse };
        let config = Config { attention: Attention::Additive, bidirectional: true, ..sizes };
        Model::new(&config).in_parts(parts)
    }

    /// Where its weights lie one after the other, and how many numbers they have.
    fn flat(model: &Model) -> (ReplicaLayout, usize) {
        let mut numbers = 0;
        let mut layout = |weight: &Weight| {
            let first = numbers;
            numbers += weight.count() as usize;
            WeightLayout { range: first..numbers, columns: weight.columns() }
        };
        let nodes = model.nodes.iter();
        let nodes = nodes.map(|node| node.layer.spec().weights().iter().map(&mut layout).collect());
        let parts = vec![nodes.collect()];
        (ReplicaLayout { parts }, numbers)
    }

    #[test]
    fn every_number_is_in_one_part() {
        for parts in [2, 3, 4] {
            let model = model(parts);
            assert_eq!(model.parts(), parts);
            let (layout, numbers) = flat(&model);
            let packed = Packed::<f32>::new(&model, &[layout]);
            let (mut there, mut here) = (vec![0; numbers], vec![0; packed.numbers]);
            for (from, to) in packed.pieces.iter().flat_map(Piece::stretches) {
                assert_eq!(from.len(), to.len());
                there[from].iter_mut().for_each(|count| *count += 1);
                here[to].iter_mut().for_each(|count| *count += 1);
            }
            assert_eq!(there, vec![1; numbers], "{parts} parts");
            assert!(here.iter().all(|count| *count <= 1), "{parts} parts");
        }
    }

    #[test]
    fn a_dense_layer_has_the_rows_of_what_each_part_has_of_contexts_and_of_queries() {
        let model = model(2);
        let dense = model.nodes.iter().position(|node| node.name == "attention_output").unwrap();
        let read = read_by(&model, dense);
        // Of 18 columns each: forward and backward LSTM, and a decoder of as many.
        assert_eq!(
            (0..2).map(|part| read.both(part)).collect::<Vec<_>>(),
            [[0..9, 18..27], [9..18, 27..36]]
        );
        let whole = WeightLayout { range: 100..100 + 36 * 18, columns: 18 };
        let kernel = &model.nodes[dense].layer.spec().weights()[0];
        let piece = Piece::new(kernel, &whole, (1, read), 0);
        let rows: Vec<_> = piece.stretches().map(|(from, _)| (from.start - 100) / 18).collect();
        assert_eq!(rows, (9..18).chain(27..36).collect::<Vec<_>>());
    }
}
