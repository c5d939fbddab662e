//! The three model families, from ids to logits.
//!
//! A model holds weights, never state: it takes the state of its stateful layers and returns the
//! next, and `crate::train` decides whether to carry it on. [`SeqModel::forward`] may see targets
//! (teacher forcing); [`SeqModel::predict`] never does.

mod lstm;
mod repeat_vector;
mod teacher_forced;

use tch::{Kind, TchError, Tensor};

use crate::config::{Config, Dtype, Family};
use crate::layers::{Dense, Lstm, LstmState};
use crate::parameters::{ParameterSpec, Parameters};

/// What a model's stateful layers carry from one batch to the next, layer by layer.
#[derive(Debug)]
pub struct State(pub Vec<LstmState>);

impl State {
    /// The same numbers, through which no gradient flows.
    ///
    /// # Errors
    /// libtorch's.
    pub fn detach(&self) -> Result<Self, TchError> {
        self.0.iter().map(LstmState::detach).collect::<Result<_, _>>().map(Self)
    }
}

/// A sequence-to-sequence model of R replicas.
pub trait SeqModel {
    /// The zero state for batches of `batch_size` rows.
    ///
    /// # Errors
    /// libtorch's.
    fn zero_state(&self, batch_size: i64) -> Result<State, TchError>;

    /// Training: `source` `(R, B, Tin)` int64 and, for teacher forcing, `decoder_input`
    /// `(R, B, Tout)` int64. Returns logits `(R, Tout, B, V)` and the state after the batch.
    ///
    /// # Errors
    /// libtorch's.
    fn forward(
        &self,
        source: &Tensor,
        decoder_input: Option<&Tensor>,
        state: &State,
    ) -> Result<(Tensor, State), TchError>;

    /// Free-running inference from `source` `(R, B, Tin)` int64 alone. Returns probabilities
    /// `(R, Tout, B, V)` and the state after the batch.
    ///
    /// # Errors
    /// libtorch's.
    fn predict(&self, source: &Tensor, state: &State) -> Result<(Tensor, State), TchError> {
        let (logits, state) = self.forward(source, None, state)?;
        Ok((logits.f_softmax(-1, logits.kind())?, state))
    }
}

/// The model of a validated configuration, computing with `parameters`.
///
/// # Errors
/// libtorch's.
pub fn build(config: &Config, parameters: &Parameters) -> Result<Box<dyn SeqModel>, TchError> {
    Ok(match config.family {
        Family::Lstm => Box::new(lstm::LstmModel::new(config, parameters)?),
        Family::RepeatVector => Box::new(repeat_vector::RepeatVector::new(config, parameters)?),
        Family::TeacherForced => Box::new(teacher_forced::TeacherForced::new(config, parameters)?),
    })
}

/// One layer as `seqlab summary` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSpec {
    /// Its name, the first part of its parameters' names.
    pub name: &'static str,
    /// Keras's name for its kind.
    pub kind: &'static str,
    /// Its output's shape for a batch, B first.
    pub output: Vec<i64>,
    /// Its parameters.
    pub parameters: Vec<ParameterSpec>,
}

impl LayerSpec {
    fn input(batch_size: i64, steps: i64, vocab: i64) -> Self {
        let output = vec![batch_size, steps, vocab];
        Self { name: "source", kind: "Input", output, parameters: Vec::new() }
    }

    fn lstm(name: &'static str, output: Vec<i64>, inputs: i64, units: i64) -> Self {
        Self { name, kind: "LSTM", output, parameters: Lstm::specs(name, inputs, units) }
    }

    fn dense(output: Vec<i64>, inputs: i64, vocab: i64) -> Self {
        let parameters = Dense::specs("dense", inputs, vocab);
        Self { name: "dense", kind: "Dense", output, parameters }
    }
}

/// The layers of the model of a validated configuration, in order.
pub fn layers(config: &Config) -> Vec<LayerSpec> {
    match config.family {
        Family::Lstm => lstm::layers(config),
        Family::RepeatVector => repeat_vector::layers(config),
        Family::TeacherForced => teacher_forced::layers(config),
    }
}

/// The parameters of the model of a validated configuration, in order.
pub fn parameter_specs(config: &Config) -> Vec<ParameterSpec> {
    layers(config).into_iter().flat_map(|layer| layer.parameters).collect()
}

/// The element type that `dtype` names.
pub fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Float32 => Kind::Float,
        Dtype::Float64 => Kind::Double,
    }
}
