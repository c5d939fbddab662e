//! The pass of an attention over some rows of a batch: queries and keys of all of them are
//! multiplied by their kernels, then attention is computed sequence by sequence.

use std::iter::once;

use super::additive::Pairs;
use super::part::{KEY_KERNEL, Part, QUERY_KERNEL, SCALE};
use super::place::Place;
use super::{Attention, ScoreMode, Widths, step};
use crate::kernels::blocks::{Blocks, Parts};
use crate::kernels::float::Real;
use crate::kernels::product::{Onto, Order, multiply};
use crate::kernels::softmax::{softmax, softmax_gradient};
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::pass::{
    Begin, Buffers, Factors, Gradient, GradientSum, InputGradients, Inputs, PartWeights, Pass,
    Weights, put, sum_columns,
};
use crate::model::layers::rows::Rows;
use crate::model::{Node, Read};

/// An attention from Tout steps over Tin steps of N rows.
///
/// In parts, each has columns of what is compared, with those of the kernels that make it, and of the contexts.
/// Scores are sums over what is compared: each part computes a term of all scores, `(Tout, Tin)` a sequence, these
/// are added in the order of the parts, and from the weights that they come to each part computes its columns of the
/// contexts. The gradient of the weights is such a sum over the contexts' columns on the way back. So what passes
/// is about as many numbers as there are scores. Were sequences shared out instead, queries, keys, contexts and
/// their gradients would pass, some hundred numbers for each step of either side: more, as long as sequences are
/// shorter than layers are wide; and the kernels would be every part's. Sequences are shared out only for adding the
/// terms and for softmax, so that no part repeats what another does.
pub struct AttentionPass<F> {
    score: ScoreMode,
    /// The nodes that it reads.
    decoder: usize,
    encoder: usize,
    /// Hd and He.
    widths: [usize; 2],
    /// Tout and Tin, of the longest sequences.
    most: [usize; 2],
    /// Steps of all rows of the decoder and of the encoder that there are at present.
    totals: [usize; 2],
    /// What each part has for itself.
    parts: Vec<Part<F>>,
    /// For each part, `(Tout, N, C + Q)`.
    gradients: Vec<Gradient<F>>,
    /// `(N, Tout, Tin)`: the first part's term of the scores, then α.
    weights: Vec<F>,
    /// `(N, Tout, Tin)`: the first part's term of the gradient of α, then that of the scores.
    d_scores: Vec<F>,
    /// `(N, Tout, Tin)` of each part but the first: its terms.
    terms: Vec<Vec<F>>,
    /// Where the keys of a sequence are, of which one step at a time attends to them.
    places: Vec<usize>,
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
    let (score, widths) = (layer.score, layer.widths(node.parts));
    let (mut parts, mut gradients) = (Vec::new(), Vec::new());
    for &widths in &widths {
        parts.push(Part::new(score, widths, buffers));
        let outputs = GradientSum::new(buffers.take());
        gradients.push(Gradient { outputs, ..Gradient::default() });
    }
    let (weights, d_scores) = (buffers.take(), buffers.take());
    let terms = (1..node.parts).map(|_| buffers.take()).collect();
    parts.iter_mut().for_each(|part| part.sequence.take(buffers));
    AttentionPass {
        score,
        decoder: of(&node.reads[0]),
        encoder: of(&node.reads[1]),
        widths: [layer.queries, layer.keys].map(|width| width as usize),
        most: [node.steps, layer.source_steps].map(|steps| steps as usize),
        totals: [0; 2],
        parts,
        gradients,
        weights,
        d_scores,
        terms,
        places: Vec::new(),
        goes_on: false,
    }
}

impl<F: Real> AttentionPass<F> {
    /// Computes all sequences from the outputs of the decoder and of the encoder.
    fn attend(
        &mut self,
        rows: &Rows,
        reads: [Blocks<'_, F>; 2],
        weights: &PartWeights<'_, F>,
        team: &ThreadPool,
    ) {
        let ([decoder, encoder], most) = (reads, self.most);
        let Self { parts, gradients, weights: sums, terms, .. } = self;
        let own = parts.iter_mut().zip(gradients.iter_mut());
        team.each_part(own.zip(each_term(sums, terms)), |number, ((part, gradient), scores)| {
            gradient.outputs.resize(decoder.rows() * part.widths.outputs());
            let (weights, values) = (weights(number), encoder.block(number).whole());
            part.project(number, reads, &weights, true);
            for at in Place::all(rows, most) {
                part.scores(at, values, weights.values[SCALE], &mut scores[at.pairs()]);
            }
            part.put_queries(decoder.block(number).whole());
        });
        add_terms(sums, terms, (rows, most), team, |at, scores| softmax(scores, at.steps[1]));
        let sums = &*sums;
        team.each_part(parts.iter_mut(), |_, part| {
            Place::all(rows, most).for_each(|at| part.attend(at, &sums[at.pairs()]));
        });
    }

    /// The same of one step of each sequence, whose values the pass before has read.
    fn attend_once(&mut self, rows: &Rows, reads: [Blocks<'_, F>; 2], weights: &Weights<'_, F>) {
        let (most, part) = (self.most, &mut self.parts[0]);
        let ([decoder, encoder], scale) = (reads.map(|read| read.whole()), weights.values[SCALE]);
        part.project(0, reads, weights, false);
        let Widths { context, compared, .. } = part.widths;
        for at in Place::all(rows, most) {
            let weights = &mut self.weights[at.pairs()];
            self.places.clear();
            self.places.extend(at.source());
            let place = rows.target.at(0).start + at.row;
            let query = &part.queries[place * compared..][..compared];
            match self.score {
                ScoreMode::Dot | ScoreMode::General => {
                    step::products(query, encoder, &self.places, weights);
                }
                ScoreMode::Additive => {
                    let pairs = Pairs { queries: query, keys: &part.keys, scale };
                    step::sums(pairs, &self.places, &mut part.sequence.term, weights);
                }
            }
            softmax(weights, at.steps[1]);
            let output = &mut part.outputs[place * part.widths.outputs()..][..context];
            step::mean(weights, encoder, &self.places, output);
        }
        part.put_queries(decoder);
    }

    /// The first half of the backward pass: to the gradient of the scores.
    fn differentiate_scores(&mut self, rows: &Rows, team: &ThreadPool) {
        let most = self.most;
        let Self { parts, gradients, weights, d_scores, terms, .. } = self;
        let own = parts.iter_mut().zip(gradients);
        let d_weights = each_term(d_scores, terms);
        team.each_part(own.zip(d_weights), |_, ((part, gradient), d_weights)| {
            let d_outputs = gradient.outputs.or_zeros();
            for at in Place::all(rows, most) {
                part.d_weights(at, d_outputs, &mut d_weights[at.pairs()]);
            }
        });
        add_terms(d_scores, terms, (rows, most), team, |at, d_scores| {
            softmax_gradient(&weights[at.pairs()], d_scores, at.steps[1]);
        });
    }

    /// The second half: to the gradients of what is read, but for what comes through kernels, of which several parts
    /// have terms.
    fn differentiate_reads(
        &mut self,
        gradients: &mut InputGradients<'_, F>,
        weights: &PartWeights<'_, F>,
        team: &ThreadPool,
    ) {
        let (most, rows, score) = (self.most, gradients.rows, self.score);
        let (widths, totals) = (self.widths, self.totals);
        let to = both(gradients, self.decoder, self.encoder);
        let Self { parts, gradients: own, weights: sums, d_scores, .. } = self;
        let several = parts.len() > 1;
        team.each_part(parts.iter_mut().zip(own).zip(to), |number, ((part, own), to)| {
            let ([decoder, encoder], weights) = (to, weights(number));
            let (d_outputs, scale) = (&own.outputs.values[..], weights.values[SCALE]);
            part.d_scale.fill(F::default());
            let (d_encoder, onto) = encoder.onto();
            for at in Place::all(rows, most) {
                part.backward(at, d_outputs, [sums, d_scores], scale, (&mut *d_encoder, onto));
            }
            let Widths { context, query, .. } = part.widths;
            let d_queries = d_outputs.chunks_exact(part.widths.outputs());
            decoder.add_rows(query, d_queries.map(|row| &row[context..]));
            match score {
                ScoreMode::Dot => decoder.add(&part.queries[..totals[0] * query]),
                _ if several => part.differentiate_multiplied(&weights, widths, totals),
                ScoreMode::General | ScoreMode::Additive => {}
            }
        });
    }

    /// Adds to the gradients of what is read what comes through kernels.
    fn add_multiplied(
        &self,
        gradients: &mut InputGradients<'_, F>,
        weights: &PartWeights<'_, F>,
        team: &ThreadPool,
    ) {
        let kernels = self.score.kernels();
        let to = both(gradients, self.decoder, self.encoder);
        team.each_part(to, |number, to| {
            let all = to.into_iter().zip(self.widths).enumerate().take(kernels);
            for (kernel, (to, width)) in all {
                if let [part] = &self.parts[..] {
                    let d_compared = part.d_compared(kernel, self.totals[kernel]);
                    let transposed = weights(number).transposed(kernel, width);
                    multiply(d_compared, transposed, &mut to.values, Onto::Sum, Order::Up);
                    continue;
                }
                let columns = Parts::new(width, self.parts.len()).range(number);
                let numbers = to.values.len() / columns.len() * width;
                let terms = self.parts.iter().map(|part| &part.d_read[kernel][..numbers]);
                sum_columns(terms, width, columns, &mut to.values, Onto::Sum);
            }
        });
    }
}

/// The gradients of each part of the outputs of the decoder and of the encoder, which is before it.
fn both<'a, F>(
    gradients: &'a mut InputGradients<'_, F>,
    decoder: usize,
    encoder: usize,
) -> impl Iterator<Item = [&'a mut GradientSum<F>; 2]> {
    let (below, above) = gradients.nodes.split_at_mut(decoder);
    let of_decoder = above[0].gradients().iter_mut();
    let of_encoder = below[encoder].gradients().iter_mut();
    of_decoder
        .zip(of_encoder)
        .map(|(of_decoder, of_encoder)| [&mut of_decoder.outputs, &mut of_encoder.outputs])
}

/// Each part's term, of which `first` is the first part's.
fn each_term<'a, F>(
    first: &'a mut [F],
    others: &'a mut [Vec<F>],
) -> impl Iterator<Item = &'a mut [F]> {
    once(first).chain(others.iter_mut().map(Vec::as_mut_slice))
}

/// Adds to `sums`, the first part's terms, those of the others, and calls `finish` with what those of each
/// sequence came to. The threads of `team` share the sequences.
fn add_terms<F: Real>(
    sums: &mut [F],
    others: &[Vec<F>],
    (rows, most): (&Rows, [usize; 2]),
    team: &ThreadPool,
    finish: impl Fn(Place<'_>, &mut [F]) + Sync,
) {
    let (all, pairs) = (rows.target.rows(), most[0] * most[1]);
    let each = all.div_ceil(1 + others.len()).max(1);
    team.each_part(sums[..all * pairs].chunks_mut(each * pairs), |share, sums| {
        for (number, sums) in sums.chunks_exact_mut(pairs).enumerate() {
            let at = Place::new(rows, share * each + number, most);
            let own = at.pairs();
            let sums = &mut sums[..own.len()];
            others.iter().for_each(|term| put(&term[own.clone()], sums, Onto::Sum));
            finish(at, sums);
        }
    });
}

impl<F: Real> Pass<F> for AttentionPass<F> {
    fn forward(&mut self, inputs: Inputs<'_, F>, weights: &PartWeights<'_, F>, team: &ThreadPool) {
        let reads = [self.decoder, self.encoder].map(|node| inputs.nodes[node].outputs());
        self.totals = reads.map(|read| read.rows());
        match std::mem::take(&mut self.goes_on) {
            true => self.attend_once(inputs.rows, reads, &weights(0)),
            false => self.attend(inputs.rows, reads, weights, team),
        }
    }

    fn backward(
        &mut self,
        mut gradients: InputGradients<'_, F>,
        weights: &PartWeights<'_, F>,
        team: &ThreadPool,
    ) {
        self.differentiate_scores(gradients.rows, team);
        self.differentiate_reads(&mut gradients, weights, team);
        if self.score.kernels() > 0 {
            self.add_multiplied(&mut gradients, weights, team);
        }
    }

    fn factors<'a>(&'a self, weight: usize, part: usize, inputs: Inputs<'a, F>) -> Factors<'a, F> {
        let (part, [steps, source_steps]) = (&self.parts[part], self.totals);
        let compared = part.widths.compared;
        match weight {
            QUERY_KERNEL => {
                let decoder = inputs.nodes[self.decoder].outputs();
                Factors::Product(decoder, &part.queries[..steps * compared])
            }
            KEY_KERNEL => {
                let encoder = inputs.nodes[self.encoder].outputs();
                Factors::Product(encoder, &part.keys[..source_steps * compared])
            }
            _ => Factors::Sum(&part.d_scale),
        }
    }

    fn outputs(&self) -> Blocks<'_, F> {
        let [query_width, key_width] = self.widths;
        let outputs = |part: &'_ Part<F>| self.totals[0] * part.widths.outputs();
        let parts = self.parts.iter().map(|part| &part.outputs[..outputs(part)]);
        Blocks::side_by_side([key_width, query_width], parts)
    }

    fn gradients(&mut self) -> &mut [Gradient<F>] {
        &mut self.gradients
    }

    fn begin(&mut self, begin: Begin) {
        self.goes_on = begin == Begin::Carried;
    }
}
