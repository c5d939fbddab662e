//! The model families: what each is made of, defined once for every engine.
//!
//! A model is a chain of LSTMs with a dense softmax layer on top. It holds neither weights
//! (`crate::tensor::parameters`) nor state: whoever runs it hands in the state of its stateful layers and
//! gets the next, and `crate::train::trainer` decides whether to carry it on. Only a decoder input,
//! which training alone has, shows a model its target.

pub mod network;

pub mod layers;
pub mod loss;

use crate::config::{Config, Family};
use crate::model::layers::{Dense, Lstm};
use crate::tensor::parameters::ParameterSpec;

/// A chain of LSTMs, from the source up, and what the dense layer reads of the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// At least one.
    pub lstms: Vec<LstmSpec>,
    /// Whether the dense layer answers every step of the last LSTM or only the last step.
    pub every_step: bool,
    /// H: units of every LSTM.
    pub units: i64,
    /// V: classes of the dense layer.
    pub vocab: i64,
}

/// One LSTM of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LstmSpec {
    /// The first part of its parameters' names.
    pub name: &'static str,
    /// What it reads.
    pub input: Input,
    /// The state it starts from.
    pub start: Start,
    /// T: its time steps.
    pub steps: i64,
}

/// What an LSTM reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The source's ids.
    Source,
    /// The decoder input's ids: in training the target shifted right, in inference what
    /// the model itself has said.
    DecoderInput,
    /// The last output of the LSTM below, the same at every step.
    Repeated,
}

/// The state that an LSTM starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Zero.
    Zero,
    /// What the batch before left, or zero.
    Carried,
    /// What the LSTM below ended with.
    Below,
}

impl Model {
    /// The model of a validated configuration.
    ///
    /// ```text
    /// lstm            LSTM(H) → Dense(V, softmax)
    /// repeat_vector   LSTM(H) → RepeatVector(Tout) → LSTM(H) → Dense(V, softmax)
    /// teacher_forced  LSTM(H) → its h and c → LSTM(H) fed the target → Dense(V, softmax)
    /// ```
    pub fn new(config: &Config) -> Self {
        let &Config { n_in, n_out, units, vocab, .. } = config;
        let lstm = |name, input, start, steps| LstmSpec { name, input, start, steps };
        let (lstms, every_step) = match config.family {
            Family::Lstm => (
                vec![lstm("lstm", Input::Source, Start::Carried, n_in)],
                config.return_sequences == Some(true),
            ),
            Family::RepeatVector => (
                vec![
                    lstm("encoder", Input::Source, Start::Carried, n_in),
                    lstm("decoder", Input::Repeated, Start::Carried, n_out),
                ],
                true,
            ),
            Family::TeacherForced => (
                vec![
                    lstm("encoder", Input::Source, Start::Zero, n_in),
                    lstm("decoder", Input::DecoderInput, Start::Below, n_out),
                ],
                true,
            ),
        };
        Self { lstms, every_step, units, vocab }
    }

    /// Steps that the dense layer answers.
    pub fn answers(&self) -> i64 {
        let top = self.lstms.last().map_or(1, |lstm| lstm.steps);
        if self.every_step { top } else { 1 }
    }

    /// Its parameters, layer by layer.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        let lstms = self.lstms.iter().flat_map(|lstm| self.lstm_parameters(lstm));
        lstms.chain(Dense::specs("dense", self.units, self.vocab)).collect()
    }

    fn lstm_parameters(&self, lstm: &LstmSpec) -> Vec<ParameterSpec> {
        let inputs = if lstm.input == Input::Repeated { self.units } else { self.vocab };
        Lstm::specs(lstm.name, inputs, self.units)
    }

    /// Its layers as Keras would list them, with outputs for `batch_size` samples.
    pub fn layers(&self, batch_size: i64) -> Vec<LayerSpec> {
        let &Self { units, vocab, every_step, .. } = self;
        let layer = |name, kind, output, parameters| LayerSpec { name, kind, output, parameters };
        let mut layers = Vec::new();
        let mut shape = Vec::new();
        for (i, lstm) in self.lstms.iter().enumerate() {
            let (steps, parameters) = (lstm.steps, self.lstm_parameters(lstm));
            let ids = vec![batch_size, steps, vocab];
            match lstm.input {
                Input::Source => layers.push(layer("source", "Input", ids, Vec::new())),
                Input::DecoderInput => {
                    layers.push(layer("decoder_input", "Input", ids, Vec::new()));
                }
                Input::Repeated => {
                    let repeated = vec![batch_size, steps, units];
                    layers.push(layer("repeat_vector", "RepeatVector", repeated, Vec::new()));
                }
            }
            let sequence = every_step && i + 1 == self.lstms.len();
            shape = if sequence { vec![batch_size, steps, units] } else { vec![batch_size, units] };
            layers.push(layer(lstm.name, "LSTM", shape.clone(), parameters));
        }
        shape.pop();
        shape.push(vocab);
        layers.push(layer("dense", "Dense", shape, Dense::specs("dense", units, vocab)));
        layers
    }
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
