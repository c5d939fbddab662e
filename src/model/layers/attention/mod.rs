//! Attention over the outputs of an encoder, from every output of a decoder.

mod additive;
pub mod fused;
mod part;
mod place;
mod sequence;
mod step;
pub mod torch;

use std::ops::Range;

use super::{Costs, Division, Exchange, Spec, Weight};
use crate::kernels::blocks::Parts;
use crate::model::Node;
use crate::tensor::parameters::Init;

/// From every output q of a decoder (Tout of width Hd), over the outputs k of an encoder (Tin of
/// width He):
///
/// ```text
/// α = softmax over j of score(qᵢ, kⱼ)        (Tout, Tin)
/// contextᵢ = Σⱼ αᵢⱼ kⱼ                       (Tout, He)
/// ```
///
/// Its outputs are [context ; q], `(Tout, He + Hd)`: what a dense layer with tanh makes the
/// attentional outputs of (Luong et al., 2015).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attention {
    /// The score.
    pub score: ScoreMode,
    /// Hd.
    pub queries: i64,
    /// He.
    pub keys: i64,
    /// Tin.
    pub source_steps: i64,
}

/// How a query is compared with a key. Matrices are Glorot uniform, and so is the scale, whose fans
/// are both Hd, as in Keras.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreMode {
    /// q · k, of the same width (Luong et al., 2015).
    Dot,
    /// (q·kernel) · k: kernel `(Hd, He)` (Luong et al., 2015).
    General,
    /// scale · tanh(q·query_kernel + k·key_kernel): query_kernel `(Hd, Hd)`, key_kernel
    /// `(He, Hd)`, scale `(Hd)` (Bahdanau et al., 2015).
    Additive,
}

impl ScoreMode {
    /// How many kernels it has: of the decoder's outputs, and of the encoder's.
    fn kernels(self) -> usize {
        match self {
            Self::Dot => 0,
            Self::General => 1,
            Self::Additive => 2,
        }
    }
}

impl Attention {
    /// The width of what is compared: queries as they are, or multiplied by a kernel.
    fn compared(&self) -> i64 {
        match self.score {
            ScoreMode::Dot | ScoreMode::Additive => self.queries,
            ScoreMode::General => self.keys,
        }
    }

    /// How many numbers of a decoder's and of an encoder's step are multiplied by a kernel.
    fn multiplied(&self) -> [i64; 2] {
        let of = |kernel, width| if kernel < self.score.kernels() { width } else { 0 };
        [of(0, self.queries), of(1, self.keys)]
    }

    /// The widths of each part.
    fn widths(&self, parts: usize) -> Vec<Widths> {
        let of = |columns: i64| Parts::new(columns as usize, parts).ranges();
        let all = of(self.keys).zip(of(self.queries)).zip(of(self.compared()));
        let widths = |((context, query), compared): ((Range<_>, Range<_>), Range<_>)| Widths {
            context: context.len(),
            query: query.len(),
            compared: compared.len(),
        };
        all.map(widths).collect()
    }
}

/// How many columns a part has: of the contexts, which are those that it has of the encoder's outputs; of the
/// decoder's outputs; and of what is compared.
#[derive(Debug, Clone, Copy)]
struct Widths {
    /// C.
    context: usize,
    /// Q.
    query: usize,
    /// W.
    compared: usize,
}

impl Widths {
    /// Of keys that are multiplied by a kernel; 0 where none are.
    fn keys(self, score: ScoreMode) -> usize {
        if score == ScoreMode::Additive { self.compared } else { 0 }
    }

    /// Of the outputs.
    fn outputs(self) -> usize {
        self.context + self.query
    }
}

impl Spec for Attention {
    fn keras_name(&self) -> &'static str {
        match self.score {
            ScoreMode::Dot | ScoreMode::General => "Attention",
            ScoreMode::Additive => "AdditiveAttention",
        }
    }

    fn width(&self) -> i64 {
        self.keys + self.queries
    }

    fn weights(&self) -> Vec<Weight> {
        let &Self { queries, keys, .. } = self;
        let weight = |name, shape: &[i64], transposed| Weight {
            name,
            shape: shape.to_vec(),
            init: Init::GlorotUniform,
            transposed,
            division: Division::Columns(1),
        };
        match self.score {
            ScoreMode::Dot => Vec::new(),
            ScoreMode::General => vec![weight("kernel", &[queries, keys], true)],
            ScoreMode::Additive => vec![
                weight("query_kernel", &[queries, queries], true),
                weight("key_kernel", &[keys, queries], true),
                weight("scale", &[queries], false),
            ],
        }
    }

    fn parts(&self, count: usize) -> Parts {
        Parts::side_by_side([self.keys as usize, self.queries as usize], count)
    }

    fn exchange(&self, node: &Node) -> Option<Exchange> {
        let (steps, source_steps) = (node.steps as f64, self.source_steps as f64);
        // Of the scores, and of the gradient of the weights, the other's terms of one half and the sums of the other.
        let scores = 2.0 * steps * source_steps;
        // Of what a kernel multiplies, the half that is the other's, and the other's half of the term of its gradient.
        let [queries, keys] = self.multiplied().map(|numbers| numbers as f64);
        let waits = if queries > 0.0 { 7.0 } else { 6.0 };
        Some(Exchange { numbers: scores + steps * queries + source_steps * keys, waits })
    }

    fn buffers(&self, node: &Node) -> Vec<i64> {
        let (steps, source_steps) = (node.steps, self.source_steps);
        let [queries, keys] = self.multiplied();
        let several = i64::from(node.parts > 1);
        let mut all = Vec::new();
        for widths in self.widths(node.parts) {
            let keys_compared = widths.keys(self.score) as i64;
            let outputs = steps * widths.outputs() as i64;
            all.extend([outputs, steps * widths.compared as i64, source_steps * keys_compared]);
            all.extend([keys_compared, source_steps * widths.context as i64]);
            all.extend([several * steps * queries, several * source_steps * keys, outputs]);
        }
        all.extend(vec![steps * source_steps; 1 + node.parts]);
        all
    }

    fn scratch(&self, node: &Node) -> Vec<i64> {
        let (steps, source_steps) = (node.steps, self.source_steps);
        let of_part = |widths: Widths| {
            let term = widths.keys(self.score) as i64;
            let (queries, keys) = (steps * widths.compared as i64, source_steps * term);
            let width = widths.context as i64;
            let (contexts, values) = (steps * width, source_steps * width);
            [queries, queries, keys, keys, values, values, contexts, term]
        };
        self.widths(node.parts).into_iter().flat_map(of_part).collect()
    }

    fn costs(&self, steps: i64) -> Costs {
        let (steps, sources) = (steps as f64, self.source_steps as f64);
        let (queries, keys) = (self.queries as f64, self.keys as f64);
        let (pairs, width) = (steps * sources, self.width() as f64);
        // Numbers of additive sums and their tanh; products of queries and keys with kernels.
        let (sums, projected) = match self.score {
            ScoreMode::Dot => (0.0, [0.0, 0.0]),
            ScoreMode::General => (0.0, [steps * keys, 0.0]),
            ScoreMode::Additive => (pairs * queries, [steps * queries, sources * queries]),
        };
        let multiplied = match self.score {
            ScoreMode::Additive => TANH * sums,
            ScoreMode::Dot | ScoreMode::General => pairs * keys,
        };
        let in_kernels = projected[0] * queries + projected[1] * keys;
        Costs {
            multiplications: in_kernels + multiplied + pairs * keys,
            sequential_steps: 0.0,
            // Weights, sequence by sequence what is multiplied, and the outputs.
            kept: 2.0 * pairs + sums + projected[0] + projected[1] + sources * keys + steps * width,
            // Sums or scores before their tanh or softmax, and gradients.
            temporary: 2.0 * (sums + pairs + sources * keys + steps * width),
            inference: sources * keys + 2.0 * (sums + projected[1] + pairs + steps * width),
        }
    }
}

/// Multiplications that a tanh takes as long as.
const TANH: f64 = 16.0;
