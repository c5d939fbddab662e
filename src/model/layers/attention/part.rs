//! What a part of an attention computes of each sequence.

use super::place::Place;
use super::sequence::Sequence;
use super::{ScoreMode, Widths};
use crate::kernels::blocks::Blocks;
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::model::layers::pass::{Buffers, Weights, put};

/// The weight of queries, of general and of additive scores.
pub const QUERY_KERNEL: usize = 0;
/// That of keys, of additive scores.
pub const KEY_KERNEL: usize = 1;
/// What additive scores are multiplied by.
pub const SCALE: usize = 2;

/// What a part has of an attention.
pub struct Part<F> {
    score: ScoreMode,
    /// C, Q and W.
    pub widths: Widths,
    /// `(Tout, N, C + Q)`: its columns of the contexts, and of the decoder's outputs.
    pub outputs: Vec<F>,
    /// `(Tout, N, W)`: queries as they are compared, after `backward` their gradient.
    pub queries: Vec<F>,
    /// `(Tin, N, W)`: keys of additive scores, after `backward` their gradient.
    pub keys: Vec<F>,
    /// `(N, W)`: the gradient of the scale of additive scores.
    pub d_scale: Vec<F>,
    /// `(N, Tin, C)`: its columns of the encoder's outputs, sequence by sequence.
    values: Vec<F>,
    /// `(Tout, N, Hd)` and `(Tin, N, He)`: of several parts, its terms of the gradients of what kernels multiply.
    pub d_read: [Vec<F>; 2],
    /// Of one sequence after the other.
    pub sequence: Sequence<F>,
}

impl<F: Real> Part<F> {
    /// That of so many columns, but for the buffers that each sequence uses again.
    pub fn new(score: ScoreMode, widths: Widths, buffers: &mut Buffers) -> Self {
        let [outputs, queries, keys, d_scale, values] = [(); 5].map(|()| buffers.take());
        let d_read = [buffers.take(), buffers.take()];
        let sequence = Sequence::new(score, widths);
        Self { score, widths, outputs, queries, keys, d_scale, values, d_read, sequence }
    }

    /// Makes what is compared of the outputs of the decoder and, with `keys_too`, of the encoder, as part
    /// `number`.
    pub fn project(
        &mut self,
        number: usize,
        [decoder, encoder]: [Blocks<'_, F>; 2],
        weights: &Weights<'_, F>,
        keys_too: bool,
    ) {
        let compared = self.widths.compared;
        let kernel = |weight| weights.matrix(weight, compared);
        let queries = &mut self.queries[..decoder.rows() * compared];
        match self.score {
            ScoreMode::Dot => queries.copy_from_slice(decoder.block(number).whole()),
            ScoreMode::General | ScoreMode::Additive => {
                decoder.multiply(kernel(QUERY_KERNEL), queries, Onto::Nothing, Order::Up);
            }
        }
        if self.score == ScoreMode::Additive && keys_too {
            let keys = &mut self.keys[..encoder.rows() * compared];
            encoder.multiply(kernel(KEY_KERNEL), keys, Onto::Nothing, Order::Up);
        }
    }

    /// Copies what the sequence compares side by side.
    fn gather(&mut self, at: Place<'_>) {
        let (width, sequence) = (self.widths.compared, &mut self.sequence);
        copy_rows(&self.queries, [width; 2], at.target(), &mut sequence.queries);
        if self.score == ScoreMode::Additive {
            copy_rows(&self.keys, [width; 2], at.source(), &mut sequence.keys);
        }
    }

    /// Computes the term of the scores of a sequence, whose values are among the encoder's outputs `encoder`.
    pub fn scores(&mut self, at: Place<'_>, encoder: &[F], scale: &[F], scores: &mut [F]) {
        self.gather(at);
        let width = self.widths.context;
        let values = &mut self.values[at.values(width)];
        copy_rows(encoder, [width; 2], at.source(), values);
        self.sequence.scores(values, scale, scores);
    }

    /// Computes the contexts of a sequence.
    pub fn attend(&mut self, at: Place<'_>, weights: &[F]) {
        let (width, stride) = (self.widths.context, self.widths.outputs());
        self.sequence.attend(&self.values[at.values(width)], weights);
        for (place, context) in at.target().zip(self.sequence.contexts.chunks_exact(width)) {
            self.outputs[place * stride..][..width].copy_from_slice(context);
        }
    }

    /// Copies the outputs of the decoder to those behind the contexts.
    pub fn put_queries(&mut self, decoder: &[F]) {
        let (width, stride) = (self.widths.context, self.widths.outputs());
        let outputs = self.outputs.chunks_exact_mut(stride);
        for (output, query) in outputs.zip(decoder.chunks_exact(self.widths.query)) {
            output[width..].copy_from_slice(query);
        }
    }

    /// Computes the term of the gradient of a sequence's α from that of the outputs.
    pub fn d_weights(&mut self, at: Place<'_>, d_outputs: &[F], d_weights: &mut [F]) {
        let (width, stride) = (self.widths.context, self.widths.outputs());
        copy_rows(d_outputs, [stride, width], at.target(), &mut self.sequence.contexts);
        self.sequence.d_weights(&self.values[at.values(width)], d_weights);
    }

    /// Computes the gradients of what a sequence compares and reads from that of the outputs and from
    /// `scores`, α and the gradient of the scores; adds that of the encoder's outputs to `d_encoder`, or
    /// overwrites it.
    pub fn backward(
        &mut self,
        at: Place<'_>,
        d_outputs: &[F],
        scores: [&[F]; 2],
        scale: &[F],
        (d_encoder, onto): (&mut [F], Onto),
    ) {
        self.gather(at);
        let Widths { context, compared, .. } = self.widths;
        let stride = self.widths.outputs();
        let Self { sequence: own, d_scale, values, .. } = self;
        copy_rows(d_outputs, [stride, context], at.target(), &mut own.contexts);
        let d_scale = &mut d_scale[at.row * scale.len()..][..scale.len()];
        let [weights, d_scores] = scores.map(|numbers| &numbers[at.pairs()]);
        own.backward((&values[at.values(context)], scale), weights, d_scores, d_scale);
        put_rows(&own.d_queries, compared, at.target(), &mut self.queries, Onto::Nothing);
        if self.score == ScoreMode::Additive {
            put_rows(&own.d_keys, compared, at.source(), &mut self.keys, Onto::Nothing);
        }
        put_rows(&own.d_values, context, at.source(), d_encoder, onto);
    }

    /// The gradient of what kernel number `kernel` makes of `total` rows, `(total, W)`.
    pub fn d_compared(&self, kernel: usize, total: usize) -> Matrix<'_, F> {
        let d_compared = if kernel == QUERY_KERNEL { &self.queries } else { &self.keys };
        first_rows(d_compared, self.widths.compared, total)
    }

    /// Computes the terms of the gradients of what kernels multiply: `totals` vectors of `widths` numbers.
    pub fn differentiate_multiplied(
        &mut self,
        weights: &Weights<'_, F>,
        widths: [usize; 2],
        totals: [usize; 2],
    ) {
        let Self { score, widths: own, queries, keys, d_read, .. } = self;
        let all = d_read.iter_mut().zip([queries, keys]).zip(widths).zip(totals);
        for (kernel, (((term, d_compared), width), total)) in all.enumerate().take(score.kernels())
        {
            let d_compared = first_rows(d_compared, own.compared, total);
            let (transposed, term) =
                (weights.transposed(kernel, width), &mut term[..total * width]);
            multiply(d_compared, transposed, term, Onto::Nothing, Order::Up);
        }
    }
}

/// The first `total` rows, of `width` numbers.
fn first_rows<F>(numbers: &[F], width: usize, total: usize) -> Matrix<'_, F> {
    Matrix::new(&numbers[..total * width], width)
}

/// Copies the rows at `places`, the first `width` of `stride` numbers each, to the beginning of `to`.
fn copy_rows<F: Real>(
    from: &[F],
    [stride, width]: [usize; 2],
    places: impl Iterator<Item = usize>,
    to: &mut [F],
) {
    for (to, place) in to.chunks_exact_mut(width).zip(places) {
        to.copy_from_slice(&from[place * stride..][..width]);
    }
}

/// Writes or adds the rows of `from` to those at `places`, all of `width` numbers.
fn put_rows<F: Real>(
    from: &[F],
    width: usize,
    places: impl Iterator<Item = usize>,
    to: &mut [F],
    onto: Onto,
) {
    for (row, place) in from.chunks_exact(width).zip(places) {
        put(row, &mut to[place * width..][..width], onto);
    }
}
