//! What a layer does for the fused engine: the forward and the backward pass over some rows of one
//! replica's batch, and the factors of its weights' gradients. Products, optimiser, transposed
//! copies and threads are the same for every kind of layer.
//!
//! N rows, T time steps; everything is stored step by step, `(T, N, width)`, without the steps that a
//! row has not ([`Rows`]).
//!
//! A layer may be computed in several parts: a part has some of its units, with their columns of the
//! weights, and computes them for all rows. The threads of a team take a part each, and wait for one another
//! where a part needs what others have computed: once a time step. Where rows are shared out instead, every
//! layer has one part, and a team one thread.

use std::ops::Range;

use crate::kernels::blocks::Blocks;
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order};
use crate::kernels::thread_pool::ThreadPool;
use crate::model::{Node, Read};

use super::Spec;
use super::dropout::LayerMasks;
use super::rows::Rows;

/// The most weights of any layer.
const WEIGHTS: usize = 4;

/// A layer with its buffers for N rows.
pub trait Pass<F>: Send + Sync {
    /// Has the next forward and backward pass take dropout masks of `masks`.
    fn draw(&mut self, inputs: Inputs<'_, F>, masks: LayerMasks<'_>) {
        let _ = (inputs, masks);
    }

    /// Computes the outputs, the threads of `team` sharing the parts. Dropout masks are set before.
    fn forward(&mut self, inputs: Inputs<'_, F>, weights: &PartWeights<'_, F>, team: &ThreadPool);

    /// From [`Pass::gradients`], computes the gradients of everything but the weights: adds those of
    /// the inputs to `gradients`, and replaces that of the last state by that of the initial one, which
    /// it adds to the layer that this one started from.
    fn backward(
        &mut self,
        gradients: InputGradients<'_, F>,
        weights: &PartWeights<'_, F>,
        team: &ThreadPool,
    );

    /// The factors of the gradient of part `part` of weight number `weight`; valid after
    /// [`Pass::backward`].
    fn factors<'a>(&'a self, weight: usize, part: usize, inputs: Inputs<'a, F>) -> Factors<'a, F>;

    /// Every output, `(T, N, width)`.
    fn outputs(&self) -> Blocks<'_, F>;

    /// For each part the gradient of its outputs and of its last state, which the layers that read them
    /// add to.
    fn gradients(&mut self) -> &mut [Gradient<F>];

    /// That of a layer that has one part.
    fn gradient(&mut self) -> &mut Gradient<F> {
        &mut self.gradients()[0]
    }

    /// The last state of a part, h and c, each `(N, units)`; empty for a layer without one.
    fn state(&self, part: usize) -> [&[F]; 2] {
        let _ = part;
        [&[], &[]]
    }

    /// Its initial state, likewise.
    fn initial(&mut self, part: usize) -> [&mut [F]; 2] {
        let _ = part;
        [&mut [], &mut []]
    }

    /// Every last h, `(N, width)`.
    fn last(&self) -> Blocks<'_, F> {
        Blocks::one(&[], 0)
    }

    /// Says how the next forward pass begins; it is [`Begin::AsTheModelSays`] otherwise.
    fn begin(&mut self, begin: Begin) {
        let _ = begin;
    }
}

/// From which state a layer begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Begin {
    /// From zeros, the last state of another layer, or, where it is carried, what [`Pass::initial`] holds.
    #[default]
    AsTheModelSays,
    /// From zeros.
    Zeros,
    /// Where the last pass ended: from its last state, and, where a decoder runs step by step, over the
    /// same source.
    Carried,
}

/// What a layer can read.
#[derive(Clone, Copy)]
pub struct Inputs<'a, F> {
    /// The layers before it.
    pub nodes: &'a [Box<dyn Pass<F>>],
    /// What the model reads.
    pub read: &'a BlockInputs<F>,
    /// The rows and their time steps.
    pub rows: &'a Rows,
}

impl<'a, F> Inputs<'a, F> {
    /// The vectors that `read` names, of `width` numbers; none for ids, and for the zeros that a decoder may
    /// be fed first.
    pub fn vectors(self, read: Read, width: usize) -> Blocks<'a, F> {
        match read {
            Read::Outputs(node) => self.nodes[node].outputs(),
            Read::Last(node) => self.nodes[node].last(),
            Read::Source => Blocks::one(&self.read.source.numbers, width),
            Read::DecoderInput => Blocks::one(&self.read.decoder_input.numbers, width),
        }
    }

    /// The ids that `read` names; empty for vectors.
    pub fn ids(self, read: Read) -> &'a [usize] {
        match read {
            Read::Source => &self.read.source.ids,
            Read::DecoderInput => &self.read.decoder_input.ids,
            Read::Outputs(_) | Read::Last(_) => &[],
        }
    }
}

/// The gradients of what a layer has read.
pub struct InputGradients<'a, F> {
    /// The layers before it.
    pub nodes: &'a mut [Box<dyn Pass<F>>],
    /// The rows and their time steps.
    pub rows: &'a Rows,
}

impl<F> InputGradients<'_, F> {
    /// For each part of the layer that `read` names, the gradient of the vectors; none for ids.
    pub fn of(&mut self, read: Read) -> impl Iterator<Item = &mut GradientSum<F>> {
        type Of<F> = fn(&mut Gradient<F>) -> &mut GradientSum<F>;
        let (gradients, of): (&mut [Gradient<F>], Of<F>) = match read {
            Read::Outputs(node) => (self.nodes[node].gradients(), |gradient| &mut gradient.outputs),
            Read::Last(node) => (self.nodes[node].gradients(), |gradient| &mut gradient.h),
            Read::Source | Read::DecoderInput => (&mut [], |gradient| &mut gradient.outputs),
        };
        gradients.iter_mut().map(of)
    }
}

/// What a model reads of some rows.
#[derive(Debug, Default)]
pub struct BlockInputs<F> {
    /// The source.
    pub source: BlockSequence<F>,
    /// The decoder input.
    pub decoder_input: BlockSequence<F>,
}

/// Ids or numbers of some rows, step by step; neither stands for zeros.
#[derive(Debug, Default)]
pub struct BlockSequence<F> {
    /// `(T, N)`; empty for numbers.
    pub ids: Vec<usize>,
    /// `(T, N, features)`; empty for ids.
    pub numbers: Vec<F>,
}

/// A layer's weights of one replica, by the number of the part.
pub type PartWeights<'a, F> = dyn Fn(usize) -> Weights<'a, F> + Sync + 'a;

/// A part's weights of one replica.
#[derive(Clone, Copy)]
pub struct Weights<'a, F> {
    /// In the order of the layer's `weights`.
    pub values: [&'a [F]; WEIGHTS],
    /// Copies with rows and columns exchanged, by panels; empty where none is kept.
    pub transposed: &'a [Vec<F>],
}

impl<'a, F: Real> Weights<'a, F> {
    /// Those with such `values`, in the order of the layer's `weights`, and such copies.
    pub fn new(values: impl IntoIterator<Item = &'a [F]>, transposed: &'a [Vec<F>]) -> Self {
        let mut all: [&[F]; WEIGHTS] = [&[]; WEIGHTS];
        all.iter_mut().zip(values).for_each(|(place, values)| *place = values);
        Self { values: all, transposed }
    }

    /// Weight number `weight` as a matrix of `columns` columns.
    pub fn matrix(&self, weight: usize, columns: usize) -> Matrix<'a, F> {
        Matrix::new(self.values[weight], columns)
    }

    /// The transposed copy of weight number `weight`; the copy has `columns` columns.
    pub fn transposed(&self, weight: usize, columns: usize) -> Matrix<'a, F> {
        Matrix::in_panels(&self.transposed[weight], columns)
    }
}

/// What a weight's gradient is computed from; dy is the gradient of the layer's pre-activations or
/// outputs.
#[derive(Clone, Copy)]
pub enum Factors<'a, F> {
    /// xᵀ · dy; a row for each row of a batch and time step.
    Product(Blocks<'a, F>, &'a [F]),
    /// Rows of dy, each added to the row of the weight that its id names.
    Rows(&'a [usize], &'a [F]),
    /// The same with each row of dy multiplied by its number.
    ScaledRows(&'a [usize], &'a [F], &'a [F]),
    /// The sum of all rows of dy.
    Sum(&'a [F]),
}

/// A gradient that several layers may add to: the first one overwrites it.
#[derive(Debug, Default)]
pub struct GradientSum<F> {
    /// The numbers; stale until something is added.
    pub values: Vec<F>,
    written: bool,
}

impl<F: Real> GradientSum<F> {
    /// An empty sum in the memory of `values`.
    pub fn new(values: Vec<F>) -> Self {
        Self { values, written: false }
    }

    /// Makes room for `len` numbers, unless it has none at all.
    pub fn resize(&mut self, len: usize) {
        if self.values.capacity() > 0 {
            self.values.resize(len, F::default());
        }
    }

    /// Starts again from an empty sum.
    pub fn clear(&mut self) {
        self.written = false;
    }

    /// Where to write, and whether to add to what is there or overwrite it.
    pub fn onto(&mut self) -> (&mut [F], Onto) {
        let onto = if self.written { Onto::Sum } else { Onto::Nothing };
        self.written = true;
        (&mut self.values, onto)
    }

    /// Adds `more`.
    pub fn add(&mut self, more: &[F]) {
        let (values, onto) = self.onto();
        put(more, values, onto);
    }

    /// Adds rows of `width` numbers, each to the row of the sum that `rows` says, where each is once.
    pub fn add_to_rows(&mut self, width: usize, rows: &[usize], more: &[F]) {
        let (values, onto) = self.onto();
        for (row, more) in rows.iter().zip(more.chunks_exact(width)) {
            put(more, &mut values[row * width..(row + 1) * width], onto);
        }
    }

    /// Adds `rows` of `width` numbers, one after the other.
    pub fn add_rows<'a>(&mut self, width: usize, rows: impl Iterator<Item = &'a [F]>) {
        let (values, onto) = self.onto();
        for (sums, row) in values.chunks_exact_mut(width).zip(rows) {
            put(row, sums, onto);
        }
    }

    /// The sum; `None` if nothing was added.
    pub fn get(&self) -> Option<&[F]> {
        self.written.then_some(&self.values)
    }

    /// The sum; zeros if nothing was added.
    pub fn or_zeros(&mut self) -> &mut [F] {
        if !std::mem::replace(&mut self.written, true) {
            self.values.fill(F::default());
        }
        &mut self.values
    }
}

/// Overwrites `sums` by `numbers`, or adds these.
pub fn put<F: Real>(numbers: &[F], sums: &mut [F], onto: Onto) {
    match onto {
        Onto::Nothing => sums.copy_from_slice(numbers),
        Onto::Sum => sums.iter_mut().zip(numbers).for_each(|(sum, &x)| *sum += x),
    }
}

/// Overwrites `out` by the columns `columns` of the sum of `terms`, matrices of `width` columns that are added
/// in their order, or adds them to it.
pub fn sum_columns<'a, F: Real>(
    terms: impl Iterator<Item = &'a [F]>,
    width: usize,
    columns: Range<usize>,
    out: &mut [F],
    mut onto: Onto,
) {
    for term in terms {
        match columns.len() == width {
            true => put(term, out, onto),
            false => {
                let rows = out.chunks_exact_mut(columns.len()).zip(term.chunks_exact(width));
                rows.for_each(|(out, row)| put(&row[columns.clone()], out, onto));
            }
        }
        onto = Onto::Sum;
    }
}

/// Overwrites `out` by the columns `columns` of a matrix that is stored in `blocks`, each with the columns that it
/// has, or adds them to it.
pub fn gather<'a, F: Real>(
    blocks: impl Iterator<Item = (Range<usize>, &'a [F])>,
    columns: Range<usize>,
    out: &mut [F],
    onto: Onto,
) {
    for (own, values) in blocks {
        let (first, end) = (columns.start.max(own.start), columns.end.min(own.end));
        if first < end {
            let (from, to) = (first - own.start..end - own.start, first - columns.start);
            let rows = out.chunks_exact_mut(columns.len()).zip(values.chunks_exact(own.len()));
            rows.for_each(|(out, row)| put(&row[from.clone()], &mut out[to..][..from.len()], onto));
        }
    }
}

/// `out` = x · kernel + bias, row by row; the kernel is as wide as the bias.
pub fn affine<F: Real>(x: Blocks<'_, F>, kernel: &[F], bias: &[F], out: &mut [F]) {
    out.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
    x.multiply(Matrix::new(kernel, bias.len()), out, Onto::Sum, Order::Up);
}

/// The gradient of what other layers read of a layer.
#[derive(Debug, Default)]
pub struct Gradient<F> {
    /// Of every output, `(T, N, width)`; empty where no layer reads them.
    pub outputs: GradientSum<F>,
    /// Of the last h, which is the last output, `(N, width)`.
    pub h: GradientSum<F>,
    /// Of the last c, `(N, width)`.
    pub c: GradientSum<F>,
}

impl<F: Real> Gradient<F> {
    /// Starts all three sums again.
    pub fn clear(&mut self) {
        [&mut self.outputs, &mut self.h, &mut self.c].into_iter().for_each(GradientSum::clear);
    }
}

/// A pass's buffers, as its [`Spec`] lists them.
pub struct Buffers {
    lengths: std::vec::IntoIter<usize>,
}

impl Buffers {
    /// Those for `rows` rows.
    pub fn new(spec: &dyn Spec, node: &Node, rows: usize) -> Self {
        let of_rows = spec.buffers(node).into_iter().map(|numbers| numbers as usize * rows);
        let scratch = spec.scratch(node).into_iter().map(|numbers| numbers as usize);
        Self { lengths: of_rows.chain(scratch).collect::<Vec<_>>().into_iter() }
    }

    /// The next one, of zeros.
    pub fn take<F: Real>(&mut self) -> Vec<F> {
        vec![F::default(); self.lengths.next().unwrap_or_default()]
    }
}
