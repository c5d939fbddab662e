//! The families of models: what each is made of.

use crate::config::{Config, Family};
use crate::model::layers::dense::Dense;
use crate::model::layers::embedding::Embedding;
use crate::model::layers::lstm::{Lstm, Reads};
use crate::model::losses::Loss;
use crate::model::{Model, Read, Start};

impl Model {
    /// The model of a validated configuration. With `layers` every LSTM is a stack of them: each reads
    /// every output of the one below, and a decoder's starts from the encoder's of the same height.
    ///
    /// ```text
    /// lstm            LSTM(H) → Dense(V, softmax)
    /// repeat_vector   LSTM(H) → RepeatVector(Tout) → LSTM(H) → Dense(V, softmax)
    /// teacher_forced  LSTM(H) → its h and c → LSTM(H) fed the target → Dense(V, softmax)
    /// ```
    pub fn new(config: &Config) -> Self {
        let model = Self { nodes: Vec::new(), vocab: config.vocab, loss: Loss::CrossEntropy };
        let mut family = Builder { config, model };
        let top = match config.family {
            Family::Lstm => family.lstm_alone(),
            Family::RepeatVector => family.repeat_vector(),
            Family::TeacherForced => family.teacher_forced(),
        };
        family.dense(top);
        family.model
    }
}

/// A model that is being put together.
struct Builder<'a> {
    config: &'a Config,
    model: Model,
}

impl Builder<'_> {
    /// Returns what the dense layer reads.
    fn lstm_alone(&mut self) -> Read {
        let source = self.embedded("source_embedding", Read::Source, self.config.n_in);
        let lstms = self.stack("lstm", source, |_| Start::Carried, self.config.n_in);
        let all = self.config.return_sequences == Some(true);
        if all { Read::Outputs(top(&lstms)) } else { Read::Last(top(&lstms)) }
    }

    /// Returns what the dense layer reads.
    fn repeat_vector(&mut self) -> Read {
        let &Config { n_in, n_out, .. } = self.config;
        let source = self.embedded("source_embedding", Read::Source, n_in);
        let encoder = self.stack("encoder", source, |_| Start::Carried, n_in);
        let code = Read::Last(top(&encoder));
        Read::Outputs(top(&self.stack("decoder", code, |_| Start::Carried, n_out)))
    }

    /// Returns what the dense layer reads.
    fn teacher_forced(&mut self) -> Read {
        let &Config { n_in, n_out, .. } = self.config;
        let source = self.embedded("source_embedding", Read::Source, n_in);
        let encoder = self.stack("encoder", source, |_| Start::Zero, n_in);
        let fed = self.embedded("decoder_embedding", Read::DecoderInput, n_out);
        Read::Outputs(top(&self.stack("decoder", fed, |layer| Start::From(encoder[layer]), n_out)))
    }

    /// The ids of `read`, as trained vectors where the configuration asks for them.
    fn embedded(&mut self, name: &str, read: Read, steps: i64) -> Read {
        let &Config { vocab, embedding: units, .. } = self.config;
        if units == 0 {
            return read;
        }
        let embedding = Embedding { vocab, units };
        Read::Outputs(self.model.add(name, embedding, vec![read], Start::Zero, steps))
    }

    /// Adds LSTMs, each on the outputs of the one below. Returns their numbers, the lowest first.
    fn stack(
        &mut self,
        name: &str,
        mut read: Read,
        start: impl Fn(usize) -> Start,
        steps: i64,
    ) -> Vec<usize> {
        let layers = 0..self.config.layers as usize;
        let add = layers.map(|layer| {
            let number = match layer {
                0 => self.lstm(name, read, start(0), steps),
                _ => self.lstm(&format!("{name}_{}", layer + 1), read, start(layer), steps),
            };
            read = Read::Outputs(number);
            number
        });
        add.collect()
    }

    /// Adds an LSTM. Returns its number.
    fn lstm(&mut self, name: &str, read: Read, start: Start, steps: i64) -> usize {
        let &Config { units, gate_activation, .. } = self.config;
        let reads = match read {
            Read::Source | Read::DecoderInput => Reads::Ids,
            Read::Outputs(_) => Reads::Vectors,
            Read::Last(_) => Reads::OneVector,
        };
        let lstm = Lstm { inputs: self.model.width(read), reads, units, gate_activation };
        self.model.add(name, lstm, vec![read], start, steps)
    }

    /// Adds the dense layer, which answers what it reads.
    fn dense(&mut self, read: Read) {
        let &Config { n_out, vocab, .. } = self.config;
        let steps = if matches!(read, Read::Last(_)) { 1 } else { n_out };
        let dense = Dense { inputs: self.model.width(read), units: vocab };
        self.model.add("dense", dense, vec![read], Start::Zero, steps);
    }
}

/// The highest of a stack.
fn top(stack: &[usize]) -> usize {
    stack[stack.len() - 1]
}
