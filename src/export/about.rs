//! `model.json`, which says beside an exported model what it is.

use serde::Serialize;

use crate::config::{
    Attention, Config, DecoderStart, Dtype, Family, Feedback, GateActivation, LossKind,
    Normalization, SeriesTokens, Tokens,
};

/// What an exported model is, and how it is asked.
#[derive(Debug, Clone, Serialize)]
pub struct About {
    /// The version of this program.
    pub seqlab: &'static str,
    /// Which replica of the run.
    pub replica: i64,
    /// Its seed.
    pub seed: i64,
    /// The optimiser step whose weights these are.
    pub step: i64,
    /// Element type that the run has; exported weights are float32.
    pub trained_dtype: Dtype,
    family: Family,
    units: i64,
    layers: i64,
    bidirectional: bool,
    embedding: i64,
    attention: Attention,
    gate_activation: GateActivation,
    loss: LossKind,
    /// Ids of a source are below it; `null` for numbers.
    source_vocab: Option<i64>,
    /// Ids of a target are below it.
    vocab: Option<i64>,
    /// Numbers of a time step of a source; `null` for ids.
    features_in: Option<i64>,
    /// Those of a target.
    features_out: Option<i64>,
    /// What the tokens of texts are, which the vocabularies beside it number by their lines, from 0.
    source_tokens: Option<Tokens>,
    target_tokens: Option<Tokens>,
    series_tokens: Option<SeriesTokens>,
    normalization: Option<Normalization>,
    n_in: i64,
    n_out: i64,
    /// Whether sources have lengths of their own.
    lengths: bool,
    stateful: bool,
    return_sequences: Option<bool>,
    /// What a decoder is fed after its first step.
    feedback: Option<Feedback>,
    /// The id that it is fed first; `null`: zeros.
    start: Option<i64>,
    /// The id that ends an answer; `null`: every answer has `n_out` steps.
    end: Option<i64>,
    /// The files with what goes in and comes out of each, for formats that have them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<Ports>,
}

/// What goes in and comes out of a model.
#[derive(Debug, Clone, Serialize)]
pub struct Ports {
    /// Its file.
    pub file: String,
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it returns.
    pub outputs: Vec<Port>,
}

/// A tensor that goes in or comes out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its element type, as NumPy calls it.
    pub dtype: &'static str,
    /// Its axes: numbers, or names of what may vary.
    pub shape: Vec<Dim>,
    /// What it is.
    pub is: String,
}

/// The length of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Dim {
    /// One that is always the same.
    Size(i64),
    /// One that may vary.
    Named(&'static str),
}

impl About {
    /// That of a model with the configuration `config`, one replica's, at `step`. Answers end with the id `end`, if
    /// there is one.
    pub fn new(config: &Config, replica: i64, step: i64, end: Option<i64>) -> Self {
        let (decodes, features) = (config.family == Family::TeacherForced, config.features());
        let of_ids = |vocab: i64| features.is_none().then_some(vocab);
        let starts_with_id = decodes && config.decoder_start == DecoderStart::Id;
        Self {
            seqlab: env!("CARGO_PKG_VERSION"),
            replica,
            seed: config.seed,
            step,
            trained_dtype: config.dtype,
            family: config.family,
            units: config.units,
            layers: config.layers,
            bidirectional: config.bidirectional,
            embedding: config.embedding,
            attention: config.attention,
            gate_activation: config.gate_activation,
            loss: config.loss,
            source_vocab: of_ids(config.vocab_of_sources()),
            vocab: of_ids(config.vocab),
            features_in: features.map(|features| features.source),
            features_out: features.map(|features| features.target),
            source_tokens: config.source_tokens,
            target_tokens: config.target_tokens,
            series_tokens: config.series_tokens,
            normalization: config.normalization,
            n_in: config.n_in,
            n_out: config.n_out,
            lengths: config.has_lengths(),
            stateful: config.stateful,
            return_sequences: config.return_sequences,
            feedback: config.feedback,
            start: starts_with_id.then(|| config.start_id()),
            end,
            models: Vec::new(),
        }
    }

    /// The text of `model.json`.
    ///
    /// # Errors
    /// None that it can have.
    pub fn to_json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
