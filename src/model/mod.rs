//! Models: graphs of layers, defined once for every engine, and the same as libtorch operations.
//!
//! A [`Model`] holds neither weights (`tensor::parameters`) nor state: whoever runs it hands in the
//! state of its stateful layers and gets the next, and `train::trainer` decides whether to carry it on.
//! Only a decoder input, which training alone has, shows a model its target.
//!
//! Uses `tensor` and `kernels`; knows no optimiser, no engine and no data.

pub mod network;

pub mod layers;
pub mod losses;

use crate::config::{Config, Family};
use crate::tensor::parameters::ParameterSpec;
use layers::dense::Dense;
use layers::lstm::Lstm;
use layers::{Costs, Layer};
use losses::Loss;

/// Layers and what each of them reads: only layers before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// From the source up. The last one answers: the loss is of its outputs.
    pub nodes: Vec<Node>,
    /// V: ids are below it.
    pub vocab: i64,
    /// What its training makes small.
    pub loss: Loss,
}

/// A layer of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The first part of its parameters' names.
    pub name: String,
    /// What it is.
    pub layer: Layer,
    /// What it reads.
    pub reads: Vec<Read>,
    /// The state it starts from, where it has one.
    pub start: Start,
    /// T: its time steps.
    pub steps: i64,
    /// Whether another layer reads all its outputs.
    pub outputs_read: bool,
}

/// What a layer reads; nodes by their number in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// The source's ids.
    Source,
    /// The decoder input's ids: in training the target shifted right, in inference what
    /// the model itself has said.
    DecoderInput,
    /// Every output of a node.
    Outputs(usize),
    /// The last output of a node, the same at every step.
    Last(usize),
}

/// The state that a layer starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Zero.
    Zero,
    /// What the batch before left, or zero.
    Carried,
    /// What a node, by its number, ended with.
    From(usize),
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
        let &Config { n_in, n_out, vocab, .. } = config;
        let mut model = Self { nodes: Vec::new(), vocab, loss: Loss::CrossEntropy };
        let top = match config.family {
            Family::Lstm => {
                let lstm = model.lstm(config, "lstm", Read::Source, Start::Carried, n_in);
                let all = config.return_sequences == Some(true);
                if all { Read::Outputs(lstm) } else { Read::Last(lstm) }
            }
            Family::RepeatVector => {
                let encoder = model.lstm(config, "encoder", Read::Source, Start::Carried, n_in);
                let code = Read::Last(encoder);
                Read::Outputs(model.lstm(config, "decoder", code, Start::Carried, n_out))
            }
            Family::TeacherForced => {
                let encoder = model.lstm(config, "encoder", Read::Source, Start::Zero, n_in);
                let start = Start::From(encoder);
                Read::Outputs(model.lstm(config, "decoder", Read::DecoderInput, start, n_out))
            }
        };
        let dense = Dense { inputs: model.width(top), units: vocab };
        let steps = if matches!(top, Read::Last(_)) { 1 } else { n_out };
        model.add("dense", dense, vec![top], Start::Zero, steps);
        model
    }

    /// Adds an LSTM. Returns its number.
    fn lstm(&mut self, config: &Config, name: &str, read: Read, start: Start, steps: i64) -> usize {
        let &Config { units, gate_activation, .. } = config;
        let reads_vectors = matches!(read, Read::Outputs(_) | Read::Last(_));
        let lstm = Lstm { inputs: self.width(read), reads_vectors, units, gate_activation };
        self.add(name, lstm, vec![read], start, steps)
    }

    /// Adds a layer. Returns its number.
    fn add(
        &mut self,
        name: &str,
        layer: impl Into<Layer>,
        reads: Vec<Read>,
        start: Start,
        steps: i64,
    ) -> usize {
        for read in &reads {
            if let &Read::Outputs(node) = read {
                self.nodes[node].outputs_read = true;
            }
        }
        let (name, layer) = (name.to_owned(), layer.into());
        self.nodes.push(Node { name, layer, reads, start, steps, outputs_read: false });
        self.nodes.len() - 1
    }

    /// The width of what `read` names; V of ids.
    fn width(&self, read: Read) -> i64 {
        match read {
            Read::Source | Read::DecoderInput => self.vocab,
            Read::Outputs(node) | Read::Last(node) => self.nodes[node].layer.spec().width(),
        }
    }

    /// Steps that its last layer answers.
    pub fn answers(&self) -> i64 {
        self.nodes.last().map_or(0, |top| top.steps)
    }

    /// The numbers of the nodes whose state is carried from one batch to the next.
    pub fn carried(&self) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(_, node)| node.start == Start::Carried).map(|(number, _)| number)
    }

    /// Of each node whether it reads the decoder input, be it through others: in inference these run
    /// step by step.
    pub fn decoder(&self) -> Vec<bool> {
        let mut decoder: Vec<bool> = Vec::new();
        for node in &self.nodes {
            let decodes = |read: &Read| match *read {
                Read::DecoderInput => true,
                Read::Outputs(node) | Read::Last(node) => decoder[node],
                Read::Source => false,
            };
            let decodes = node.reads.iter().any(decodes);
            decoder.push(decodes);
        }
        decoder
    }

    /// Its parameters, layer by layer.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        self.nodes.iter().flat_map(Node::parameters).collect()
    }

    /// What the layers cost, one by one.
    pub fn costs(&self) -> impl Iterator<Item = Costs> {
        self.nodes.iter().map(|node| node.layer.spec().costs(node.steps))
    }

    /// Its layers as Keras would list them, with outputs for `batch_size` samples.
    pub fn summary(&self, batch_size: i64) -> Vec<LayerSummary> {
        let mut lines = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            for &read in &node.reads {
                lines.extend(self.input_line(node, number, read, batch_size));
            }
            let width = node.layer.spec().width();
            let is_top = number + 1 == self.nodes.len();
            let sequence = match node.reads[..] {
                [Read::Last(_)] if is_top => false,
                _ => node.outputs_read || is_top,
            };
            let output = match sequence {
                true => vec![batch_size, node.steps, width],
                false => vec![batch_size, width],
            };
            let (name, kind) = (node.name.clone(), node.layer.spec().keras_name());
            lines.push(LayerSummary { name, kind, output, parameters: node.parameters() });
        }
        lines
    }

    /// The line of what comes before `node`, which is number `number`: an input, or a vector repeated.
    fn input_line(
        &self,
        node: &Node,
        number: usize,
        read: Read,
        rows: i64,
    ) -> Option<LayerSummary> {
        let is_top = number + 1 == self.nodes.len();
        let (name, kind) = match read {
            Read::Source => ("source", "Input"),
            Read::DecoderInput => ("decoder_input", "Input"),
            Read::Last(_) if !is_top => ("repeat_vector", "RepeatVector"),
            Read::Last(_) | Read::Outputs(_) => return None,
        };
        let output = vec![rows, node.steps, self.width(read)];
        Some(LayerSummary { name: name.to_owned(), kind, output, parameters: Vec::new() })
    }
}

impl Node {
    /// Its parameters.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        self.layer.spec().parameters(&self.name)
    }
}

/// One layer as `seqlab summary` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSummary {
    /// Its name, the first part of its parameters' names.
    pub name: String,
    /// Keras's name for its kind.
    pub kind: &'static str,
    /// Its output's shape for a batch, B first.
    pub output: Vec<i64>,
    /// Its parameters.
    pub parameters: Vec<ParameterSpec>,
}
