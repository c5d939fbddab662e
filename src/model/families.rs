//! The families of models: what each is made of.

use crate::config::{self, Config, DecoderStart, Family, LossKind};
use crate::model::layers::attention::{Attention, ScoreMode};
use crate::model::layers::bidirectional::Bidirectional;
use crate::model::layers::dense::{Activation, Dense};
use crate::model::layers::dropout::Dropout;
use crate::model::layers::embedding::Embedding;
use crate::model::layers::lstm::{InputKind, Lstm};
use crate::model::losses::Loss;
use crate::model::losses::mean_error::Power;
use crate::model::{Along, Model, Read, Start};

impl Model {
    /// The model of a validated configuration. With `layers` every LSTM is a stack of them: each
    /// reads all outputs of the one below, and a decoder's starts from the state of the encoder's
    /// at the same level. With `bidirectional` the encoder's read both ways; a decoder that starts
    /// from them has 2H units. With `attention` the dense layer reads
    /// tanh([context ; output]·kernel + bias) in place of the decoder's outputs.
    ///
    /// ```text
    /// lstm            LSTM(H) → Dense(V, softmax)
    /// repeat_vector   LSTM(H) → RepeatVector(Tout) → LSTM(H) → Dense(V, softmax)
    /// teacher_forced  LSTM(H) → its h and c → LSTM(H) fed the target → Dense(V, softmax)
    /// ```
    ///
    /// With a loss on numbers the dense layer is linear, and as wide as a time step of a target.
    pub fn new(config: &Config) -> Self {
        let model = Self {
            nodes: Vec::new(),
            source_vocab: config.vocab_of_sources(),
            vocab: config.vocab,
            features: config.features(),
            loss: loss(config),
            start: (config.decoder_start == DecoderStart::Id).then_some(config.start_id()),
            ragged: config.has_lengths(),
        };
        let (source, target) = ((Along::Source, config.n_in), (Along::Target, config.n_out));
        let mut family = Builder { config, model, source, target };
        let top = match config.family {
            Family::Lstm => family.lstm_alone(),
            Family::RepeatVector => family.repeat_vector(),
            Family::TeacherForced => family.teacher_forced(),
        };
        family.dense(top);
        family.model
    }
}

/// A model under construction.
struct Builder<'a> {
    config: &'a Config,
    model: Model,
    /// The time steps of the source, and how many there are.
    source: (Along, i64),
    /// Those of the target.
    target: (Along, i64),
}

impl Builder<'_> {
    /// Returns what the dense layer reads.
    fn lstm_alone(&mut self) -> Read {
        let source = self.embedded("source_embedding", Read::Source, self.source);
        let lstms = self.stack("lstm", source, |_| Start::Carried, self.source);
        let all = self.config.return_sequences == Some(true);
        if all { Read::Outputs(top(&lstms)) } else { Read::Last(top(&lstms)) }
    }

    /// Returns what the dense layer reads.
    fn repeat_vector(&mut self) -> Read {
        let encoder = self.encoder(Start::Carried);
        let code = Read::Last(top(&encoder));
        let decoder = self.stack("decoder", code, |_| Start::Carried, self.target);
        Read::Outputs(top(&decoder))
    }

    /// Returns what the dense layer reads.
    fn teacher_forced(&mut self) -> Read {
        let encoder = self.encoder(Start::Zero);
        let fed = self.embedded("decoder_embedding", Read::DecoderInput, self.target);
        let decoder = self.stack("decoder", fed, |layer| Start::From(encoder[layer]), self.target);
        let outputs = Read::Outputs(top(&decoder));
        let score = match self.config.attention {
            config::Attention::None => return outputs,
            config::Attention::Dot => ScoreMode::Dot,
            config::Attention::General => ScoreMode::General,
            config::Attention::Additive => ScoreMode::Additive,
        };
        self.attended(score, outputs, Read::Outputs(top(&encoder)))
    }

    /// Adds the attention of a decoder over an encoder, and the layer that makes its outputs as wide
    /// as the decoder's. Returns what the dense layer reads.
    fn attended(&mut self, score: ScoreMode, decoder: Read, encoder: Read) -> Read {
        let (source_steps, steps) = (self.source.1, self.target);
        let (queries, keys) = (self.model.width(decoder), self.model.width(encoder));
        let attention = Attention { score, queries, keys, source_steps };
        let reads = vec![decoder, encoder];
        let both = Read::Outputs(self.model.add("attention", attention, reads, Start::Zero, steps));
        let inputs = self.model.width(both);
        let dense = Dense { inputs, units: queries, activation: Activation::Tanh };
        Read::Outputs(self.model.add("attention_output", dense, vec![both], Start::Zero, steps))
    }

    /// Adds the encoder. Returns the numbers of its layers, the lowest first.
    fn encoder(&mut self, start: Start) -> Vec<usize> {
        let source = self.embedded("source_embedding", Read::Source, self.source);
        match self.config.bidirectional {
            true => self.layers("encoder", source, |all, name, read, _| all.both(name, read)),
            false => self.stack("encoder", source, |_| start, self.source),
        }
    }

    /// An embedding of the ids of `read`, or the ids themselves where the configuration has none.
    fn embedded(&mut self, name: &str, read: Read, steps: (Along, i64)) -> Read {
        let units = self.config.embedding;
        if units == 0 {
            return read;
        }
        let embedding = Embedding { vocab: self.model.width(read), units };
        Read::Outputs(self.model.add(name, embedding, vec![read], Start::Zero, steps))
    }

    /// Adds LSTMs, each on the outputs of the one below. Returns their numbers, the lowest first.
    fn stack(
        &mut self,
        name: &str,
        read: Read,
        start: impl Fn(usize) -> Start,
        steps: (Along, i64),
    ) -> Vec<usize> {
        self.layers(name, read, |all, name, read, layer| {
            let start = start(layer);
            let units = match start {
                Start::From(node) => all.model.nodes[node].layer.spec().width(),
                Start::Zero | Start::Carried => all.config.units,
            };
            let lstm = all.lstm(read, units, false);
            all.model.add(name, lstm, vec![read], start, steps)
        })
    }

    /// Calls `add` with the name and the input of each layer of a stack. Returns the layers'
    /// numbers.
    fn layers(
        &mut self,
        name: &str,
        mut read: Read,
        add: impl Fn(&mut Self, &str, Read, usize) -> usize,
    ) -> Vec<usize> {
        let mut numbers = Vec::new();
        for layer in 0..self.config.layers as usize {
            let name = if layer == 0 { name.to_owned() } else { format!("{name}_{}", layer + 1) };
            numbers.push(add(self, &name, read, layer));
            read = Read::Outputs(numbers[layer]);
        }
        numbers
    }

    /// Adds two LSTMs that read in opposite directions. Returns the number of the node that joins
    /// them.
    fn both(&mut self, name: &str, read: Read) -> usize {
        let (units, steps) = (self.config.units, self.source);
        let parts = [("forward", false), ("backward", true)].map(|(part, backwards)| {
            let (name, lstm) = (format!("{name}.{part}"), self.lstm(read, units, backwards));
            Read::Outputs(self.model.add(&name, lstm, vec![read], Start::Zero, steps))
        });
        self.model.add(name, Bidirectional { units }, parts.to_vec(), Start::Zero, steps)
    }

    /// An LSTM for what `read` names.
    fn lstm(&self, read: Read, units: i64, backwards: bool) -> Lstm {
        let &Config { gate_activation, dropout: input, recurrent_dropout: recurrent, .. } =
            self.config;
        let dropout = Dropout { input, recurrent };
        let reads = match read {
            Read::Source | Read::DecoderInput if self.model.features.is_none() => InputKind::Ids,
            Read::Source | Read::DecoderInput | Read::Outputs(_) => InputKind::Vectors,
            Read::Last(_) => InputKind::OneVector,
        };
        Lstm { inputs: self.model.width(read), reads, backwards, units, gate_activation, dropout }
    }

    /// Adds the dense layer.
    fn dense(&mut self, read: Read) {
        let units = self.model.features.map_or(self.model.vocab, |features| features.target);
        let steps = match read {
            Read::Outputs(node) => (self.model.nodes[node].along, self.model.nodes[node].steps),
            _ => (Along::Target, 1),
        };
        let inputs = self.model.width(read);
        let dense = Dense { inputs, units, activation: Activation::Linear };
        self.model.add("dense", dense, vec![read], Start::Zero, steps);
    }
}

/// What training makes small.
fn loss(config: &Config) -> Loss {
    match config.loss {
        LossKind::CrossEntropy => {
            Loss::CrossEntropy { label_smoothing: config.label_smoothing.unwrap_or(0.0) }
        }
        LossKind::Mse => Loss::MeanError(Power::Squared),
        LossKind::Mae => Loss::MeanError(Power::Absolute),
    }
}

/// The highest of a stack.
fn top(stack: &[usize]) -> usize {
    stack[stack.len() - 1]
}
