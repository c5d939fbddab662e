//! A model's layers as ONNX's operators, node by node.

mod attention;
mod lstm;

use super::graph::{Graph, Kind, Value, int, ints};
use crate::config::{Config, Family, Feedback};
use crate::export::about::Dim;
use crate::export::weights::Weights;
use crate::model::layers::Layer;
use crate::model::layers::dense::{Activation, Dense};
use crate::model::layers::embedding::Embedding;
use crate::model::layers::lstm::Lstm;
use crate::model::{Along, Model, Node, Read, Start};

/// Which layers a graph has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of a model without a decoder that is fed its own outputs.
    Whole,
    /// Those that depend on the source alone.
    Encoder,
    /// One time step of the others.
    DecoderStep,
}

/// What a layer puts out.
#[derive(Debug, Clone, Default)]
struct Answer {
    /// `(T, B, width)`.
    sequence: Value,
    /// The last h and c, each `(B, H)`; of layers with a state.
    last: Option<[Value; 2]>,
}

/// Time steps of a source, and its lengths.
const SOURCE_STEPS: Dim = Dim::Named("source_steps");
const BATCH: Dim = Dim::Named("batch");

/// What a state is called, behind the name of its layer.
const STATES: [&str; 2] = ["h", "c"];

/// The graph of a part of `model`, with its `weights`.
pub fn graph(model: &Model, config: &Config, weights: &Weights, part: Part) -> Graph {
    let mut translation = Translation {
        model,
        config,
        weights,
        graph: Graph::default(),
        source: None,
        lengths: None,
        fed: None,
        answers: vec![Answer::default(); model.nodes.len()],
    };
    translation.inputs(part);
    for (number, decodes) in model.decoder().into_iter().enumerate() {
        if part == Part::Whole || decodes == (part == Part::DecoderStep) {
            translation.answers[number] = translation.node(number);
        }
    }
    match part {
        Part::Encoder => translation.handed_on(),
        Part::Whole | Part::DecoderStep => translation.said(part),
    }
    translation.graph
}

/// A graph under construction, and what stands in it for what layers read.
struct Translation<'a> {
    model: &'a Model,
    config: &'a Config,
    weights: &'a Weights,
    graph: Graph,
    /// Ids `(T, B)` or numbers `(T, B, features)`.
    source: Option<Value>,
    /// `(B)`; where sources have lengths of their own.
    lengths: Option<Value>,
    /// Ids `(1, B)` or vectors `(1, B, width)`.
    fed: Option<Value>,
    /// By the numbers of the nodes; empty for those that are not of this part.
    answers: Vec<Answer>,
}

impl Translation<'_> {
    /// Adds what the part is given.
    fn inputs(&mut self, part: Part) {
        if part == Part::DecoderStep {
            self.fed = Some(self.fed());
            return;
        }
        let (kind, shape, is) = match self.model.features {
            None => (Kind::Int64, vec![BATCH, SOURCE_STEPS], "ids"),
            Some(features) => {
                let shape = vec![BATCH, SOURCE_STEPS, Dim::Size(features.source)];
                (Kind::Float, shape, "numbers, as the model reads them")
            }
        };
        let source = self.graph.input("source", kind, &shape, is);
        let axes = if kind == Kind::Int64 { &[1, 0][..] } else { &[1, 0, 2] };
        self.source = Some(self.graph.add("Transpose", &[&source], vec![ints("perm", axes)]));
        if self.model.ragged {
            let is = "time steps of each source; those behind them are padding";
            let lengths = self.graph.input("source_lengths", Kind::Int32, &[BATCH], is);
            self.lengths = Some(lengths);
        }
    }

    /// Adds what a decoder is fed.
    fn fed(&mut self) -> Value {
        let width = self.model.width(Read::DecoderInput);
        let first = match (self.model.start, self.feeds_ids()) {
            (Some(start), true) => format!("first {start}"),
            (None, true) => format!("first {width}, which stands for zeros"),
            (Some(start), false) => format!("first 1 at the place {start} and 0 elsewhere"),
            (None, false) => "first zeros".to_owned(),
        };
        let is = format!("what was said; {first}");
        let fed = match self.feeds_ids() {
            true => self.graph.input("token", Kind::Int64, &[BATCH], &is),
            false => self.graph.input("fed", Kind::Float, &[BATCH, Dim::Size(width)], &is),
        };
        let first_axis = self.graph.whole(&[0]);
        self.graph.add("Unsqueeze", &[&fed, &first_axis], Vec::new())
    }

    /// Whether a decoder is fed ids, not vectors.
    fn feeds_ids(&self) -> bool {
        self.model.features.is_none() && self.config.feedback == Some(Feedback::Argmax)
    }

    /// Adds the node `number`.
    fn node(&mut self, number: usize) -> Answer {
        let node = &self.model.nodes[number];
        match &node.layer {
            Layer::Lstm(layer) => self.lstm(node, layer),
            Layer::Embedding(layer) => self.embedding(node, layer),
            Layer::Bidirectional(_) => self.both(node),
            Layer::Attention(layer) => self.attention(node, layer),
            Layer::Dense(layer) => self.dense(node, layer),
        }
    }

    fn lstm(&mut self, node: &Node, layer: &Lstm) -> Answer {
        let x = self.vectors(node);
        let start = self.start(node);
        // A decoder has every step of its own.
        let lengths = self.lengths.clone().filter(|_| node.along == Along::Source);
        let name = (node.name.as_str(), layer);
        let found = lstm::add(&mut self.graph, name, self.weights, &x, lengths.as_ref(), start);
        if self.goes_on(node) || self.fed.is_some() {
            self.states_out(node, ".next", found.last.clone());
        }
        found
    }

    /// Whether the state of a node is one that the caller may carry on to the next batch.
    fn goes_on(&self, node: &Node) -> bool {
        let carries = self.config.stateful || self.config.family == Family::Lstm;
        carries && node.start == Start::Carried
    }

    /// The initial state of a node; `None`: zero.
    fn start(&mut self, node: &Node) -> Option<[Value; 2]> {
        let is = match node.start {
            Start::From(_) => "the encoder's first, then that of the step before",
            Start::Carried if self.goes_on(node) => "zeros, or that of the batch before",
            Start::Carried | Start::Zero => return None,
        };
        let shape = [BATCH, Dim::Size(node.layer.spec().width())];
        let name = |state| format!("{}.{state}", node.name);
        Some(STATES.map(|state| self.graph.input(&name(state), Kind::Float, &shape, is)))
    }

    /// Makes `last`, a state h and c of a node, outputs.
    fn states_out(&mut self, node: &Node, ending: &str, last: Option<[Value; 2]>) {
        let shape = [BATCH, Dim::Size(node.layer.spec().width())];
        for (state, value) in STATES.into_iter().zip(last.unwrap_or_default()) {
            let (name, is) = (format!("{}.{state}{ending}", node.name), format!("state {state}"));
            self.graph.output(&value, &name, Kind::Float, &shape, &is);
        }
    }

    /// What a node reads as vectors `(T, B, I)`.
    fn vectors(&mut self, node: &Node) -> Value {
        match node.reads[0] {
            Read::Outputs(below) => self.answers[below].sequence.clone(),
            Read::Last(below) => {
                let steps = self.graph.whole(&[node.steps, 1, 1]);
                let once = self.once(below);
                self.graph.add("Expand", &[&once, &steps], Vec::new())
            }
            read => {
                let (steps, ids) = self.read(read);
                if ids { self.rows_of_identity(read, &steps) } else { steps }
            }
        }
    }

    /// The last output of the node `below` as a sequence of one step.
    fn once(&mut self, below: usize) -> Value {
        let [h, _] = self.answers[below].last.clone().unwrap_or_default();
        let first_axis = self.graph.whole(&[0]);
        self.graph.add("Unsqueeze", &[&h, &first_axis], Vec::new())
    }

    /// The source or what a decoder is fed, and whether it is ids.
    fn read(&self, read: Read) -> (Value, bool) {
        let (value, ids) = match read {
            Read::DecoderInput => (&self.fed, self.feeds_ids()),
            _ => (&self.source, self.model.features.is_none()),
        };
        (value.clone().unwrap_or_default(), ids)
    }

    /// For ids `(T, B)` the vectors that they stand for, `(T, B, V)`; zeros for id V.
    fn rows_of_identity(&mut self, read: Read, ids: &str) -> Value {
        let depth = self.graph.scalar(self.model.width(read));
        let off_and_on = self.graph.numbers(&[0.0, 1.0]);
        self.graph.add("OneHot", &[ids, &depth, &off_and_on], vec![int("axis", -1)])
    }

    fn embedding(&mut self, node: &Node, layer: &Embedding) -> Answer {
        let mut table = self.weights.of(&node.name, "embeddings").clone();
        let (steps, ids) = self.read(node.reads[0]);
        if ids && node.reads[0] == Read::DecoderInput {
            // What id V stands for.
            table.shape[0] += 1;
            table.values.extend(std::iter::repeat_n(0.0, layer.units as usize));
        }
        let table = self.graph.weight(&format!("{}.embeddings", node.name), &table);
        let sequence = match ids {
            true => self.graph.add("Gather", &[&table, &steps], Vec::new()),
            // Probabilities of ids: the mean of the vectors, weighted by them.
            false => self.graph.add("MatMul", &[&steps, &table], Vec::new()),
        };
        Answer { sequence, last: None }
    }

    /// Adds the node that joins two layers.
    fn both(&mut self, node: &Node) -> Answer {
        let parts = node.reads.iter().filter_map(|read| match *read {
            Read::Outputs(part) => Some(self.answers[part].clone()),
            _ => None,
        });
        let parts: Vec<Answer> = parts.collect();
        let mut join = |values: Vec<&Value>| {
            let values: Vec<&str> = values.into_iter().map(String::as_str).collect();
            self.graph.add("Concat", &values, vec![int("axis", -1)])
        };
        let sequence = join(parts.iter().map(|part| &part.sequence).collect());
        let last = [0, 1].map(|state| {
            join(parts.iter().filter_map(|part| Some(&part.last.as_ref()?[state])).collect())
        });
        Answer { sequence, last: Some(last) }
    }

    fn dense(&mut self, node: &Node, layer: &Dense) -> Answer {
        let x = match node.reads[0] {
            Read::Last(below) => self.once(below),
            _ => self.vectors(node),
        };
        let product = self.product(&x, &node.name, "kernel");
        let bias = self.weights.of(&node.name, "bias");
        let bias = self.graph.weight(&format!("{}.bias", node.name), bias);
        let sum = self.graph.add("Add", &[&product, &bias], Vec::new());
        let sequence = match layer.activation {
            Activation::Linear => sum,
            Activation::Tanh => self.graph.add("Tanh", &[&sum], Vec::new()),
        };
        Answer { sequence, last: None }
    }

    /// `x` `(…, I)` times the weight `name` `(I, O)` of a layer.
    fn product(&mut self, x: &str, layer: &str, name: &str) -> Value {
        let weight = self.weights.of(layer, name);
        let weight = self.graph.weight(&format!("{layer}.{name}"), weight);
        self.graph.add("MatMul", &[x, &weight], Vec::new())
    }

    /// `value` with its first two axes swapped.
    fn swapped(&mut self, value: &str) -> Value {
        self.graph.add("Transpose", &[value], vec![ints("perm", &[1, 0, 2])])
    }

    /// Makes what a decoder needs of an encoder the outputs.
    fn handed_on(&mut self) {
        for (node, decodes) in self.model.nodes.iter().zip(self.model.decoder()) {
            match (&node.layer, node.start) {
                (Layer::Attention(layer), _) => self.memory(node, layer),
                (_, Start::From(encoder)) if decodes => {
                    self.states_out(node, "", self.answers[encoder].last.clone());
                }
                _ => {}
            }
        }
    }

    /// Makes what the model says outputs.
    fn said(&mut self, part: Part) {
        let top = self.answers.last().map(|top| top.sequence.clone()).unwrap_or_default();
        let (said, name, is) = match self.model.features {
            None => {
                let said = self.graph.add("Softmax", &[&top], vec![int("axis", -1)]);
                (said, "probabilities", "of every id")
            }
            Some(_) => (top, "values", "numbers, as the model says them"),
        };
        let width = Dim::Size(self.model.output_width() as i64);
        let (said, shape) = match part {
            Part::DecoderStep => {
                let first_axis = self.graph.whole(&[0]);
                let said = self.graph.add("Squeeze", &[&said, &first_axis], Vec::new());
                (said, vec![BATCH, width])
            }
            Part::Whole | Part::Encoder => (self.swapped(&said), vec![BATCH, self.steps(), width]),
        };
        self.graph.output(&said, name, Kind::Float, &shape, is);
        self.graph.last_output_first();
    }

    /// The time steps of what the model says.
    fn steps(&self) -> Dim {
        match self.model.outputs_along() {
            Along::Source => SOURCE_STEPS,
            Along::Target => Dim::Size(self.model.output_steps()),
        }
    }
}
