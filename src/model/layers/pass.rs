//! What a layer does for the fused engine: the forward and the backward pass over some rows of one
//! replica's batch, and the factors of its weights' gradients. Products, optimiser, transposed
//! copies and threads are the same for every kind of layer.
//!
//! N rows, T time steps; everything is stored step by step, `(T, N, width)`, without the steps that a
//! row has not ([`Rows`]).

use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::model::{Node, Read};

use super::Spec;
use super::dropout::LayerMasks;
use super::rows::Rows;

/// The most weights of any layer.
pub const WEIGHTS: usize = 4;

/// A layer with its buffers for N rows.
pub trait Pass<F>: Send + Sync {
    /// Has the next forward and backward pass take dropout masks of `masks`.
    fn draw(&mut self, inputs: Inputs<'_, F>, masks: LayerMasks<'_>) {
        let _ = (inputs, masks);
    }

    /// Computes the outputs. The initial state is set before, and so are dropout masks.
    fn forward(&mut self, inputs: Inputs<'_, F>, weights: &Weights<'_, F>);

    /// From [`Pass::gradient`], computes the gradients of everything but the weights: adds those of
    /// the inputs to `gradients`, and replaces that of the last state by that of the initial one.
    fn backward(&mut self, gradients: InputGradients<'_, F>, weights: &Weights<'_, F>);

    /// The factors of the gradient of weight number `weight`; valid after [`Pass::backward`].
    fn factors<'a>(&'a self, weight: usize, inputs: Inputs<'a, F>) -> Factors<'a, F>;

    /// Every output, `(T, N, width)`.
    fn outputs(&self) -> &[F];

    /// The gradient of the outputs and of the last state, which the layers that read them add to.
    fn gradient(&mut self) -> &mut Gradient<F>;

    /// The last state, h and c, each `(N, H)`; empty for a layer without one.
    fn state(&self) -> [&[F]; 2] {
        [&[], &[]]
    }

    /// The initial state, likewise.
    fn initial(&mut self) -> [&mut [F]; 2] {
        [&mut [], &mut []]
    }

    /// Has the next forward pass go on where the last one ended: from its last state, and, where a
    /// decoder runs step by step, over the same source.
    fn carry(&mut self) {}
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
    /// The vectors that `read` names; empty for ids, and for the zeros that a decoder may be fed first.
    pub fn vectors(self, read: Read) -> &'a [F] {
        match read {
            Read::Outputs(node) => self.nodes[node].outputs(),
            Read::Last(node) => self.nodes[node].state()[0],
            Read::Source => &self.read.source.numbers,
            Read::DecoderInput => &self.read.decoder_input.numbers,
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
    /// The gradient of the vectors that `read` names; `None` for ids.
    pub fn get(&mut self, read: Read) -> Option<&mut GradientSum<F>> {
        match read {
            Read::Outputs(node) => Some(&mut self.nodes[node].gradient().outputs),
            Read::Last(node) => Some(&mut self.nodes[node].gradient().h),
            Read::Source | Read::DecoderInput => None,
        }
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

/// A layer's weights of one replica.
#[derive(Clone, Copy)]
pub struct Weights<'a, F> {
    /// In the order of the layer's `weights`.
    pub values: [&'a [F]; WEIGHTS],
    /// Copies with rows and columns exchanged, by panels; empty where none is kept.
    pub transposed: &'a [Vec<F>],
}

impl<'a, F: Real> Weights<'a, F> {
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
    /// xᵀ · dy; both row-major, a row for each row of a batch and time step.
    Product(Matrix<'a, F>, &'a [F]),
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
        if !self.written {
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

/// `out` = x · kernel + bias, row by row; the kernel is as wide as the bias.
pub fn affine<F: Real>(x: Matrix<'_, F>, kernel: &[F], bias: &[F], out: &mut [F]) {
    out.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
    multiply(x, Matrix::new(kernel, bias.len()), out, Onto::Sum, Order::Up);
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
