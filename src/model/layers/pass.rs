//! What the fused engine wants of a layer: its way through some rows of one replica's batch, forward
//! and backward, and the factors of its weights' gradients. Panels, optimiser, transposed copies and
//! threads know no kind.
//!
//! N rows, T time steps; everything is stored step by step, `(T, N, width)`.

use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto};
use crate::model::{Node, Read};

use super::Spec;

/// The most weights that a layer has.
pub const WEIGHTS: usize = 4;

/// A layer on its way through N rows.
pub trait Pass<F>: Send + Sync {
    /// Computes the outputs from what is below; the initial state is set.
    fn forward(&mut self, below: Below<'_, F>, weights: &Weights<'_, F>);

    /// Computes the gradient of everything but the weights from [`Pass::gradient`], adds to the
    /// gradients below, and leaves that of the initial state in the place of the last one's.
    fn backward(&mut self, below: BelowMut<'_, F>, weights: &Weights<'_, F>);

    /// What the gradient of weight number `weight` is the sum of; after [`Pass::backward`].
    fn factors<'a>(&'a self, weight: usize, below: Below<'a, F>) -> Factors<'a, F>;

    /// Every output, `(T, N, width)`.
    fn outputs(&self) -> &[F];

    /// The last output, `(N, width)`.
    fn last(&self) -> &[F];

    /// The gradient of the outputs and of the last state, which others add to.
    fn gradient(&mut self) -> &mut Gradient<F>;

    /// The last state, h and c, each `(N, H)`; empty where there is none.
    fn state(&self) -> [&[F]; 2] {
        [&[], &[]]
    }

    /// The state that it starts from, likewise.
    fn initial(&mut self) -> [&mut [F]; 2] {
        [&mut [], &mut []]
    }

    /// Makes the last state the initial one.
    fn carry(&mut self) {}
}

/// What a layer reads from.
#[derive(Clone, Copy)]
pub struct Below<'a, F> {
    /// The layers before it.
    pub nodes: &'a [Box<dyn Pass<F>>],
    /// The ids that the model reads.
    pub ids: &'a Ids,
}

impl<'a, F> Below<'a, F> {
    /// The vectors that `read` names; of ids there are none.
    pub fn vectors(self, read: Read) -> &'a [F] {
        match read {
            Read::Outputs(node) => self.nodes[node].outputs(),
            Read::Last(node) => self.nodes[node].last(),
            Read::Source | Read::DecoderInput => &[],
        }
    }
}

/// The same on the way back.
pub struct BelowMut<'a, F> {
    /// The layers before it.
    pub nodes: &'a mut [Box<dyn Pass<F>>],
}

impl<F> BelowMut<'_, F> {
    /// The gradient of the vectors that `read` names; of ids there is none.
    pub fn gradient(&mut self, read: Read) -> Option<&mut Sum<F>> {
        match read {
            Read::Outputs(node) => Some(&mut self.nodes[node].gradient().outputs),
            Read::Last(node) => Some(&mut self.nodes[node].gradient().h),
            Read::Source | Read::DecoderInput => None,
        }
    }
}

/// The ids of some rows, step by step, `(T, N)`.
#[derive(Debug, Default)]
pub struct Ids {
    /// The source's.
    pub source: Vec<usize>,
    /// The decoder input's.
    pub decoder_input: Vec<usize>,
}

impl Ids {
    /// Those that `read` names; of vectors there are none.
    pub fn of(&self, read: Read) -> &[usize] {
        match read {
            Read::Source => &self.source,
            Read::DecoderInput => &self.decoder_input,
            Read::Outputs(_) | Read::Last(_) => &[],
        }
    }
}

/// A layer's weights of one replica.
#[derive(Clone, Copy)]
pub struct Weights<'a, F> {
    /// By number.
    pub values: [&'a [F]; WEIGHTS],
    /// Copies with rows and columns exchanged, by panels; empty where none is kept.
    pub transposed: &'a [Vec<F>],
}

impl<'a, F: Real> Weights<'a, F> {
    /// Weight number `weight` as a matrix of `columns` columns.
    pub fn matrix(&self, weight: usize, columns: usize) -> Matrix<'a, F> {
        Matrix::new(self.values[weight], columns)
    }

    /// The transposed copy of weight number `weight`, which has so many columns.
    pub fn transposed(&self, weight: usize, columns: usize) -> Matrix<'a, F> {
        Matrix::in_panels(&self.transposed[weight], columns)
    }
}

/// What a weight's gradient is the sum of.
#[derive(Clone, Copy)]
pub enum Factors<'a, F> {
    /// xᵀ · dy, of x row by row and dy likewise.
    Product(Matrix<'a, F>, &'a [F]),
    /// Rows of dy, each added to the row of the weight that its id names.
    Rows(&'a [usize], &'a [F]),
    /// All rows of dy.
    Sum(&'a [F]),
}

/// A gradient that several may add to: the first one writes.
#[derive(Debug, Default)]
pub struct Sum<F> {
    /// The numbers, of no meaning before anyone wrote.
    pub values: Vec<F>,
    begun: bool,
}

impl<F: Real> Sum<F> {
    /// Room for a gradient.
    pub fn new(values: Vec<F>) -> Self {
        Self { values, begun: false }
    }

    /// Forgets what is there.
    pub fn clear(&mut self) {
        self.begun = false;
    }

    /// Where to write, and whether to add.
    pub fn onto(&mut self) -> (&mut [F], Onto) {
        let onto = if self.begun { Onto::Sum } else { Onto::Nothing };
        self.begun = true;
        (&mut self.values, onto)
    }

    /// Adds `more`.
    pub fn add(&mut self, more: &[F]) {
        match self.onto() {
            (values, Onto::Nothing) => values.copy_from_slice(more),
            (values, Onto::Sum) => values.iter_mut().zip(more).for_each(|(sum, &x)| *sum += x),
        }
    }

    /// Adds `rows` of `width` numbers, one after the other.
    pub fn add_rows<'a>(&mut self, width: usize, rows: impl Iterator<Item = &'a [F]>) {
        let (values, onto) = self.onto();
        for (sums, row) in values.chunks_exact_mut(width).zip(rows) {
            match onto {
                Onto::Nothing => sums.copy_from_slice(row),
                Onto::Sum => sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x),
            }
        }
    }

    /// The sum, if anyone added to it.
    pub fn begun(&self) -> Option<&[F]> {
        self.begun.then_some(&self.values)
    }

    /// The sum, zero if nobody added to it.
    pub fn settle(&mut self) -> &mut [F] {
        if !self.begun {
            self.values.fill(F::default());
        }
        &mut self.values
    }
}

/// The gradient of what a layer hands on.
#[derive(Debug, Default)]
pub struct Gradient<F> {
    /// Of every output, `(T, N, width)`; no room where nobody reads them.
    pub outputs: Sum<F>,
    /// Of the last h, which is the last output, `(N, width)`.
    pub h: Sum<F>,
    /// Of the last c, `(N, width)`.
    pub c: Sum<F>,
}

impl<F: Real> Gradient<F> {
    /// Forgets what is there.
    pub fn clear(&mut self) {
        [&mut self.outputs, &mut self.h, &mut self.c].into_iter().for_each(Sum::clear);
    }
}

/// A pass's buffers, as its [`Spec`] lists them.
pub struct Buffers {
    lengths: std::vec::IntoIter<usize>,
}

impl Buffers {
    /// Those of `rows` rows.
    pub fn new(spec: &dyn Spec, node: &Node, rows: usize) -> Self {
        let lengths = spec.buffers(node).into_iter().map(|numbers| numbers as usize * rows);
        Self { lengths: lengths.collect::<Vec<_>>().into_iter() }
    }

    /// The next one, of zeros.
    pub fn take<F: Real>(&mut self) -> Vec<F> {
        vec![F::default(); self.lengths.next().unwrap_or_default()]
    }
}
