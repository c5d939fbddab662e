//! Attention over the outputs of an encoder, from every output of a decoder.

mod additive;
pub mod fused;
mod sequence;
mod step;
pub mod torch;

use super::{Costs, Division, Spec, Weight};
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

impl Attention {
    /// The width of what is compared: queries as they are, or multiplied by a kernel.
    fn compared(&self) -> i64 {
        match self.score {
            ScoreMode::Dot | ScoreMode::Additive => self.queries,
            ScoreMode::General => self.keys,
        }
    }

    /// The width of keys that are multiplied by a kernel; 0 where none are.
    fn projected_keys(&self) -> i64 {
        if self.score == ScoreMode::Additive { self.queries } else { 0 }
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
            division: Division::Whole,
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

    fn buffers(&self, node: &Node) -> Vec<i64> {
        let (steps, source_steps) = (node.steps, self.source_steps);
        let (outputs, keys) = (steps * self.width(), self.projected_keys());
        vec![
            outputs,
            outputs,
            steps * source_steps,
            steps * self.compared(),
            source_steps * keys,
            keys,
        ]
    }

    fn scratch(&self, node: &Node) -> Vec<i64> {
        let (steps, source_steps) = (node.steps, self.source_steps);
        let (queries, keys) = (steps * self.compared(), source_steps * self.projected_keys());
        let (contexts, values) = (steps * self.keys, source_steps * self.keys);
        let scores = steps * source_steps;
        let term = self.projected_keys();
        vec![queries, queries, keys, keys, values, values, values, contexts, scores, term]
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
