//! The pass of an attention over some rows of a batch: queries and keys of all of them are
//! multiplied by their kernels, then attention is computed sequence by sequence.

use std::ops::Range;

use super::additive::Pairs;
use super::sequence::Sequence;
use super::{Attention, ScoreMode, step};
use crate::kernels::blocks::Blocks;
use crate::kernels::float::Real;
use crate::kernels::product::{Matrix, Onto, Order, multiply};
use crate::kernels::softmax::softmax;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::pass::{
    Begin, Buffers, Factors, Gradient, GradientSum, InputGradients, Inputs, PartWeights, Pass,
    Weights, put,
};
use crate::model::layers::rows::{Axis, Rows};
use crate::model::{Node, Read};

/// The weight of queries, of general and of additive scores.
const QUERY_KERNEL: usize = 0;
const KEY_KERNEL: usize = 1;
const SCALE: usize = 2;

/// An attention from Tout steps over Tin steps of N rows.
pub struct AttentionPass<F> {
    score: ScoreMode,
    /// The nodes that it reads.
    decoder: usize,
    encoder: usize,
    /// Hd and He.
    widths: [usize; 2],
    /// Tout · Tin, of the longest sequences.
    most_weights: usize,
    /// `(Tout, N, He + Hd)`.
    outputs: Vec<F>,
    gradient: Gradient<F>,
    /// α, `(N, Tout, Tin)`.
    weights: Vec<F>,
    /// `(Tout, N, W)`: queries as they are compared, after `backward` their gradient.
    queries: Vec<F>,
    /// `(Tin, N, Hd)`: keys of additive scores, after `backward` their gradient.
    keys: Vec<F>,
    /// `(N, Hd)`: the gradient of the scale of additive scores.
    d_scale: Vec<F>,
    sequence: Sequence<F>,
    places: Places,
    /// Whether the next forward pass is over the same source.
    goes_on: bool,
}

/// The pass of `layer` for `rows` rows.
pub fn pass<F: Real>(
    layer: &Attention,
    node: &Node,
    _: usize,
    buffers: &mut Buffers,
) -> AttentionPass<F> {
    let of = |read: &Read| match *read {
        Read::Outputs(node) => node,
        Read::Last(_) | Read::Source | Read::DecoderInput => {
            unreachable!("it reads all outputs of two layers")
        }
    };
    let (outputs, d_outputs) = (buffers.take(), GradientSum::new(buffers.take()));
    AttentionPass {
        score: layer.score,
        decoder: of(&node.reads[0]),
        encoder: of(&node.reads[1]),
        widths: [layer.queries, layer.keys].map(|width| width as usize),
        most_weights: (node.steps * layer.source_steps) as usize,
        outputs,
        gradient: Gradient { outputs: d_outputs, ..Gradient::default() },
        weights: buffers.take(),
        queries: buffers.take(),
        keys: buffers.take(),
        d_scale: buffers.take(),
        sequence: Sequence::new(layer, buffers),
        places: Places::default(),
        goes_on: false,
    }
}

impl<F: Real> AttentionPass<F> {
    /// Makes room for `rows`.
    fn resize(&mut self, rows: &Rows) {
        let [target, source] = [&rows.target, &rows.source].map(Axis::total);
        let width: usize = self.widths.iter().sum();
        self.outputs.resize(target * width, F::default());
        self.gradient.outputs.resize(target * width);
        self.queries.resize(target * self.sequence.compared, F::default());
        if self.score == ScoreMode::Additive {
            self.keys.resize(source * self.sequence.compared, F::default());
        }
    }

    /// Multiplies all queries by their kernels, and with `keys_too` all keys.
    fn project(&mut self, decoder: &[F], encoder: &[F], weights: &Weights<'_, F>, keys_too: bool) {
        let [query_width, key_width] = self.widths;
        let (queries, keys) = (Matrix::new(decoder, query_width), Matrix::new(encoder, key_width));
        let kernel = |weight| weights.matrix(weight, self.sequence.compared);
        match self.score {
            ScoreMode::Dot => self.queries.copy_from_slice(decoder),
            ScoreMode::General => {
                let kernel = kernel(QUERY_KERNEL);
                multiply(queries, kernel, &mut self.queries, Onto::Nothing, Order::Up);
            }
            ScoreMode::Additive => {
                let kernels = [QUERY_KERNEL, KEY_KERNEL].map(kernel);
                multiply(queries, kernels[0], &mut self.queries, Onto::Nothing, Order::Up);
                if keys_too {
                    multiply(keys, kernels[1], &mut self.keys, Onto::Nothing, Order::Up);
                }
            }
        }
    }

    /// Copies what the sequence whose steps lie at `places` compares and reads side by side.
    fn gather(&mut self, places: &Places, encoder: &[F]) {
        let [target, source] = places.iter();
        let Sequence { compared, width, queries, keys, values, .. } = &mut self.sequence;
        copy_rows(&self.queries, *compared, *compared, target, queries);
        copy_rows(encoder, *width, *width, source.clone(), values);
        if self.score == ScoreMode::Additive {
            copy_rows(&self.keys, *compared, *compared, source, keys);
        }
    }

    /// Computes the contexts of the sequence at `places`.
    fn sequence_of(&mut self, places: &Places, encoder: &[F], scale: &[F]) {
        self.gather(places, encoder);
        let ([target, _], of_row) = (places.iter(), self.weights_of(places));
        self.sequence.forward(scale, &mut self.weights[of_row]);
        let [query_width, key_width] = self.widths;
        for (place, context) in target.zip(self.sequence.contexts.chunks_exact(key_width)) {
            let first = place * (key_width + query_width);
            self.outputs[first..first + key_width].copy_from_slice(context);
        }
    }

    /// The same of one that has one step of the target.
    fn step_of(&mut self, places: &Places, encoder: &[F], scale: &[F]) {
        let ([query_width, key_width], of_row) = (self.widths, self.weights_of(places));
        let (weights, source) = (&mut self.weights[of_row], &places.source[..]);
        let Sequence { compared, term, .. } = &mut self.sequence;
        let place = places.target[0];
        let query = &self.queries[place * *compared..][..*compared];
        match self.score {
            ScoreMode::Dot | ScoreMode::General => step::products(query, encoder, source, weights),
            ScoreMode::Additive => {
                let pairs = Pairs { queries: query, keys: &self.keys, scale };
                step::sums(pairs, source, term, weights);
            }
        }
        softmax(weights, source.len());
        let context = &mut self.outputs[place * (key_width + query_width)..][..key_width];
        step::mean(weights, encoder, source, context);
    }

    /// The place of the weights of the sequence at `places`.
    fn weights_of(&self, places: &Places) -> Range<usize> {
        let first = places.row * self.most_weights;
        first..first + places.target.len() * places.source.len()
    }

    /// The backward pass of the sequence at `places`; adds to or overwrites the gradient of the
    /// encoder.
    fn backward_of(&mut self, places: &Places, scale: &[F], encoder: &mut dyn Pass<F>, onto: Onto) {
        self.gather(places, encoder.outputs().whole());
        let ([target, source], weights) = (places.iter(), self.weights_of(places));
        let [query_width, key_width] = self.widths;
        let own = &mut self.sequence;
        let d_outputs = &self.gradient.outputs.values;
        let stride = key_width + query_width;
        copy_rows(d_outputs, stride, key_width, target.clone(), &mut own.contexts);
        let d_scale = &mut self.d_scale[places.row * scale.len()..][..scale.len()];
        own.backward(scale, &self.weights[weights], d_scale);
        let compared = own.compared;
        put_rows(&own.d_queries, compared, target, &mut self.queries, Onto::Nothing);
        if self.score == ScoreMode::Additive {
            put_rows(&own.d_keys, compared, source.clone(), &mut self.keys, Onto::Nothing);
        }
        let d_encoder = &mut encoder.gradient().outputs.values;
        put_rows(&own.d_values, key_width, source, d_encoder, onto);
    }
}

/// Where the steps of a sequence lie among those of the decoder and of the encoder.
#[derive(Debug, Default)]
struct Places {
    /// The sequence's row.
    row: usize,
    target: Vec<usize>,
    source: Vec<usize>,
}

impl Places {
    /// Makes these those of the sequence whose target is row `row`.
    fn set(&mut self, rows: &Rows, row: usize) {
        let Self { target, source, .. } = self;
        self.row = row;
        let sides = [(target, &rows.target, row), (source, &rows.source, rows.source_row[row])];
        for (places, axis, row) in sides {
            places.clear();
            places.extend(axis.places(row));
        }
    }

    /// Those of the decoder and of the encoder.
    fn iter(&self) -> [impl Iterator<Item = usize> + Clone; 2] {
        [self.target.iter().copied(), self.source.iter().copied()]
    }
}

impl<F: Real> Pass<F> for AttentionPass<F> {
    fn forward(&mut self, inputs: Inputs<'_, F>, weights: &PartWeights<'_, F>, _: &ThreadPool) {
        let weights = &weights(0);
        let [decoder, encoder] =
            [self.decoder, self.encoder].map(|node| inputs.nodes[node].outputs().whole());
        let (scale, goes_on) = (weights.values[SCALE], std::mem::take(&mut self.goes_on));
        self.resize(inputs.rows);
        self.project(decoder, encoder, weights, !goes_on);
        let mut places = std::mem::take(&mut self.places);
        for row in 0..inputs.rows.target.rows() {
            places.set(inputs.rows, row);
            match goes_on {
                true => self.step_of(&places, encoder, scale),
                false => self.sequence_of(&places, encoder, scale),
            }
        }
        self.places = places;
        let [query_width, key_width] = self.widths;
        let outputs = self.outputs.chunks_exact_mut(key_width + query_width);
        for (output, query) in outputs.zip(decoder.chunks_exact(query_width)) {
            output[key_width..].copy_from_slice(query);
        }
    }

    fn backward(
        &mut self,
        gradients: InputGradients<'_, F>,
        weights: &PartWeights<'_, F>,
        _: &ThreadPool,
    ) {
        let weights = &weights(0);
        let [query_width, key_width] = self.widths;
        self.gradient.outputs.or_zeros();
        self.d_scale.fill(F::default());
        let (_, onto) = gradients.nodes[self.encoder].gradient().outputs.onto();
        let mut places = std::mem::take(&mut self.places);
        for row in 0..gradients.rows.target.rows() {
            places.set(gradients.rows, row);
            let encoder = &mut *gradients.nodes[self.encoder];
            self.backward_of(&places, weights.values[SCALE], encoder, onto);
        }
        self.places = places;
        let d_outputs = self.gradient.outputs.values.chunks_exact(key_width + query_width);
        let decoder = &mut gradients.nodes[self.decoder].gradient().outputs;
        decoder.add_rows(query_width, d_outputs.map(|row| &row[key_width..]));
        if self.score == ScoreMode::Dot {
            return decoder.add(&self.queries);
        }
        let queries = Matrix::new(&self.queries, self.sequence.compared);
        let kernel = weights.transposed(QUERY_KERNEL, query_width);
        multiply(queries, kernel, &mut decoder.values, Onto::Sum, Order::Up);
        if self.score == ScoreMode::Additive {
            let keys = Matrix::new(&self.keys, query_width);
            let encoder = &mut gradients.nodes[self.encoder].gradient().outputs.values;
            let kernel = weights.transposed(KEY_KERNEL, key_width);
            multiply(keys, kernel, encoder, Onto::Sum, Order::Up);
        }
    }

    fn factors<'a>(&'a self, weight: usize, _: usize, inputs: Inputs<'a, F>) -> Factors<'a, F> {
        match weight {
            QUERY_KERNEL => Factors::Product(inputs.nodes[self.decoder].outputs(), &self.queries),
            KEY_KERNEL => Factors::Product(inputs.nodes[self.encoder].outputs(), &self.keys),
            _ => Factors::Sum(&self.d_scale),
        }
    }

    fn outputs(&self) -> Blocks<'_, F> {
        Blocks::one(&self.outputs, self.widths.iter().sum())
    }

    fn gradients(&mut self) -> &mut [Gradient<F>] {
        std::slice::from_mut(&mut self.gradient)
    }

    fn begin(&mut self, begin: Begin) {
        self.goes_on = begin == Begin::Carried;
    }
}

/// Makes `to` the first `width` numbers of the rows at `places`, of `stride` numbers each.
fn copy_rows<F: Real>(
    from: &[F],
    stride: usize,
    width: usize,
    places: impl Iterator<Item = usize>,
    to: &mut Vec<F>,
) {
    to.clear();
    places.for_each(|place| to.extend_from_slice(&from[place * stride..][..width]));
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
