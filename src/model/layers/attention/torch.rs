//! An attention as libtorch operations.

use tch::{Kind, TchError, Tensor};

use super::{Attention, ScoreMode};
use crate::model::layers::twin::{Input, LstmState, Output, Twin};
use crate::tensor::parameters::Parameters;

/// An attention of R replicas.
#[derive(Debug)]
pub struct AttentionTwin {
    score: Score,
}

/// How queries are compared with keys, with the weights for it.
#[derive(Debug)]
enum Score {
    Dot,
    /// `(R, Hd, He)`.
    General(Tensor),
    Additive {
        /// `(R, Hd, Hd)`.
        query_kernel: Tensor,
        /// `(R, He, Hd)`.
        key_kernel: Tensor,
        /// `(R, Hd)`.
        scale: Tensor,
    },
}

/// The layer whose parameters are called `name.…`.
///
/// # Panics
/// If there are none.
pub fn twin(
    layer: &Attention,
    parameters: &Parameters,
    name: &str,
) -> Result<AttentionTwin, TchError> {
    let leaf = |weight: &str| parameters.leaf(&format!("{name}.{weight}"));
    let score = match layer.score {
        ScoreMode::Dot if layer.queries != layer.keys => {
            let Attention { queries, keys, .. } = layer;
            let what = format!("queries of {queries} numbers have no dot product with {keys}");
            return Err(TchError::Shape(what));
        }
        ScoreMode::Dot => Score::Dot,
        ScoreMode::General => Score::General(leaf("kernel")),
        ScoreMode::Additive => Score::Additive {
            query_kernel: leaf("query_kernel"),
            key_kernel: leaf("key_kernel"),
            scale: leaf("scale"),
        },
    };
    Ok(AttentionTwin { score })
}

impl Twin for AttentionTwin {
    fn run(&self, inputs: &[Input<'_>], _: Option<&LstmState>) -> Result<Output, TchError> {
        let [Input::Outputs(decoder), Input::Outputs(encoder)] = inputs else {
            return Err(TchError::Shape("attention reads a decoder and an encoder".to_owned()));
        };
        let (queries, keys) = (&decoder.outputs, &encoder.outputs);
        let (replicas, rows) = (keys.size4()?.1, keys.size4()?.2);
        let values = by_sequence(keys)?;
        let weights = self.scores(queries, keys, &values)?.f_softmax(-1, None::<Kind>)?;
        let contexts = weights.f_bmm(&values)?.f_transpose(0, 1)?;
        let contexts = contexts.f_unflatten(1, [replicas, rows])?;
        Ok(Output {
            outputs: Tensor::f_cat(&[&contexts, queries], -1)?,
            last: None,
            weights: Some(weights.f_unflatten(0, [replicas, rows])?),
        })
    }
}

impl AttentionTwin {
    /// The scores `(R·B, Tout, Tin)` of queries `(Tout, R, B, Hd)` and keys `(Tin, R, B, He)`, which
    /// sequence by sequence are `values` `(R·B, Tin, He)`.
    fn scores(&self, queries: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Tensor, TchError> {
        let values = values.f_transpose(1, 2)?;
        match &self.score {
            Score::Dot => by_sequence(queries)?.f_bmm(&values),
            Score::General(kernel) => by_sequence(&product(queries, kernel)?)?.f_bmm(&values),
            Score::Additive { query_kernel, key_kernel, scale } => {
                // Contiguous, so that their sums are.
                let project =
                    |x: &Tensor, kernel: &Tensor| by_sequence(&product(x, kernel)?)?.f_contiguous();
                let queries = project(queries, query_kernel)?.f_unsqueeze(2)?;
                let keys = project(keys, key_kernel)?.f_unsqueeze(1)?;
                let terms = queries.f_add(&keys)?.f_tanh()?;
                let (replicas, units) = scale.size2()?;
                let (sequences, steps, source_steps, _) = terms.size4()?;
                let terms = terms.f_view([replicas, -1, units])?;
                let scores = terms.f_bmm(&scale.f_unsqueeze(-1)?)?;
                scores.f_view([sequences, steps, source_steps])
            }
        }
    }
}

/// `x` `(T, R, B, I)` · `kernel` `(R, I, O)`: `(T, R, B, O)`.
fn product(x: &Tensor, kernel: &Tensor) -> Result<Tensor, TchError> {
    let x = x.f_transpose(0, 1)?;
    let y = x.f_flatten(1, 2)?.f_bmm(kernel)?;
    y.f_unflatten(1, &x.size()[1..3])?.f_transpose(0, 1)
}

/// `(T, R, B, width)` → `(R·B, T, width)`.
fn by_sequence(x: &Tensor) -> Result<Tensor, TchError> {
    x.f_flatten(1, 2)?.f_transpose(0, 1)
}
