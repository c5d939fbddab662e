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
        let (_, replicas, rows, _) = encoder.outputs.size4()?;
        let values = by_sequence(&encoder.outputs)?;
        let scores = self.scores(&decoder.outputs, encoder, &values)?;
        // Padding of the source has no weight.
        let scores = match &encoder.mask {
            Some(mask) => {
                let padding = by_sequence(&mask.valid)?.f_transpose(1, 2)?.f_logical_not()?;
                scores.f_masked_fill(&padding, f64::NEG_INFINITY)?
            }
            None => scores,
        };
        let weights = scores.f_softmax(-1, None::<Kind>)?;
        // `(R·B, Tout, …)` → `(Tout, R, B, …)`.
        let by_step = |x: &Tensor| x.f_transpose(0, 1)?.f_unflatten(1, [replicas, rows]);
        let contexts = by_step(&weights.f_bmm(&values)?)?;
        let outputs = Tensor::f_cat(&[&contexts, &decoder.outputs], -1)?;
        Ok(Output { weights: Some(by_step(&weights)?), ..Output::new(outputs, None) })
    }
}

impl AttentionTwin {
    /// The scores `(R·B, Tout, Tin)` of queries `(Tout, R, B, Hd)` with the outputs of `encoder`,
    /// which sequence by sequence are `values` `(R·B, Tin, He)`.
    fn scores(
        &self,
        queries: &Tensor,
        encoder: &Output,
        values: &Tensor,
    ) -> Result<Tensor, TchError> {
        let of_products =
            |queries: &Tensor| by_sequence(queries)?.f_bmm(&values.f_transpose(1, 2)?);
        match &self.score {
            Score::Dot => of_products(queries),
            Score::General(kernel) => of_products(&product(queries, kernel)?),
            Score::Additive { query_kernel, key_kernel, scale } => {
                // Contiguous, so that their sums are.
                let project =
                    |x: &Tensor, kernel: &Tensor| by_sequence(&product(x, kernel)?)?.f_contiguous();
                let queries = project(queries, query_kernel)?;
                let keys = match encoder.keys.get() {
                    Some(keys) => keys.shallow_clone(),
                    None => project(&encoder.outputs, key_kernel)?,
                };
                let scores = additive(&queries, &keys, scale);
                encoder.keys.get_or_init(|| keys);
                scores
            }
        }
    }
}

/// scale · tanh(q + k), `(R·B, Tout, Tin)`, of queries `(R·B, Tout, Hd)` with keys `(R·B, Tin, Hd)`;
/// the scale is `(R, Hd)`.
fn additive(queries: &Tensor, keys: &Tensor, scale: &Tensor) -> Result<Tensor, TchError> {
    let terms = queries.f_unsqueeze(2)?.f_add(&keys.f_unsqueeze(1)?)?.f_tanh()?;
    let (replicas, units) = scale.size2()?;
    let (sequences, steps, source_steps, _) = terms.size4()?;
    let of_replicas = terms.f_view([replicas, -1, units])?;
    let scores = of_replicas.f_bmm(&scale.f_unsqueeze(-1)?)?;
    scores.f_view([sequences, steps, source_steps])
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layers::Spec;
    use crate::tensor::device;

    const REPLICAS: i64 = 2;
    const ROWS: i64 = 3;
    const WIDTH: i64 = 4;
    const STEPS: [i64; 2] = [3, 5];

    fn layer(score: ScoreMode) -> Attention {
        let [_, source_steps] = STEPS;
        Attention { score, queries: WIDTH, keys: WIDTH, source_steps }
    }

    fn numbers(steps: i64, from: f64) -> Tensor {
        let shape = [steps, REPLICAS, ROWS, WIDTH];
        let count = shape.iter().product();
        let line = Tensor::linspace(from, 60.0, count, (Kind::Double, device::host()));
        line.sin().view(shape)
    }

    fn of(score: ScoreMode) -> AttentionTwin {
        let layer = layer(score);
        let specs = layer.parameters("attention");
        let mut parameters =
            Parameters::zeros(specs, REPLICAS, Kind::Double, device::host()).unwrap();
        parameters.initialise(&[7, 8], 1, &|_| Ok(())).unwrap();
        twin(&layer, &parameters, "attention").unwrap()
    }

    fn run(twin: &AttentionTwin, queries: Tensor, encoder: &Output) -> [Tensor; 2] {
        let decoder = Output::new(queries, None);
        let inputs = [Input::Outputs(&decoder), Input::Outputs(encoder)];
        let output = tch::no_grad(|| twin.run(&inputs, None).unwrap());
        [output.outputs, output.weights.unwrap()]
    }

    #[test]
    fn contexts_are_means_weighted_by_what_sums_to_one_beside_the_queries() {
        let [steps, source_steps] = STEPS;
        for score in [ScoreMode::Dot, ScoreMode::General, ScoreMode::Additive] {
            let encoder = Output::new(numbers(source_steps, 0.0), None);
            let queries = numbers(steps, 1.0);
            let [outputs, weights] = run(&of(score), queries.shallow_clone(), &encoder);
            assert_eq!(weights.size(), [steps, REPLICAS, ROWS, source_steps]);
            let sums = weights.sum_dim_intlist([-1].as_slice(), false, Kind::Double);
            assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-14, "{score:?}");
            let mean =
                Tensor::einsum("irbj,jrbw->irbw", &[&weights, &encoder.outputs], None::<i64>);
            assert!(outputs.narrow(-1, 0, WIDTH).allclose(&mean, 1e-12, 1e-14, false));
            assert_eq!(outputs.narrow(-1, WIDTH, WIDTH), queries);
        }
    }

    #[test]
    fn steps_one_by_one_are_all_at_once() {
        let [steps, source_steps] = STEPS;
        for score in [ScoreMode::Dot, ScoreMode::General, ScoreMode::Additive] {
            let twin = of(score);
            let encoder = || Output::new(numbers(source_steps, 0.0), None);
            let (queries, sources) = (numbers(steps, 1.0), encoder());
            let whole = run(&twin, queries.shallow_clone(), &encoder());
            for step in 0..steps {
                let one = run(&twin, queries.narrow(0, step, 1), &sources);
                for (one, whole) in one.iter().zip(&whole) {
                    let whole = whole.narrow(0, step, 1);
                    assert!(one.allclose(&whole, 1e-12, 1e-14, false), "{score:?}, step {step}");
                }
            }
            assert_eq!(sources.keys.get().is_some(), score == ScoreMode::Additive);
        }
    }

    #[test]
    fn vectors_of_different_widths_have_no_dot_product() {
        let unlike = Attention { keys: 5, ..layer(ScoreMode::Dot) };
        let none = Parameters::zeros(Vec::new(), 1, Kind::Double, device::host()).unwrap();
        let error = twin(&unlike, &none, "attention").unwrap_err().to_string();
        assert!(error.contains("queries of 4 numbers have no dot product with 5"), "{error}");
    }
}
