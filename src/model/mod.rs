//! Models: graphs of layers, defined once for every engine, and the same as libtorch operations.
//!
//! A [`Model`] holds neither weights (`tensor::parameters`) nor state: whoever runs it hands in the
//! state of its stateful layers and gets the next, and `train::trainer` decides whether to carry it on.
//! Only a decoder input, which training alone has, shows a model its target.
//!
//! Uses `tensor` and `kernels`; knows no optimiser, no engine and no data.

mod families;
pub mod summary;

pub mod network;

pub mod layers;
pub mod losses;

use crate::tensor::parameters::ParameterSpec;
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
}

impl Node {
    /// Its parameters.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        self.layer.spec().parameters(&self.name)
    }
}
