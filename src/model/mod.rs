//! Models: graphs of layers, defined once for every engine, and the same as libtorch operations.
//!
//! A [`Model`] holds neither weights (`tensor::parameters`) nor state: the caller passes in the
//! state of its stateful layers and gets the next, and `train::trainer` decides whether to carry it
//! on. A model sees its target only as the decoder input of training.
//!
//! As in `tensor`, every libtorch operation can fail, above all for want of memory; sections of
//! errors say what else can go wrong.
//!
//! Uses `tensor` and `kernels`; knows no optimiser, no engine and no data.

mod families;
pub mod summary;

pub mod network;

pub mod masks;

pub mod layers;
pub mod losses;

use crate::config::Features;
use crate::kernels::thread_pool::MOST_PARTS;
use crate::tensor::parameters::ParameterSpec;
use layers::{Costs, Layer};
use losses::Loss;

/// Layers and what each of them reads: only layers before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// From the source up. The loss is computed from the outputs of the last one.
    pub nodes: Vec<Node>,
    /// The ids of a source are below it; 0 for numbers.
    pub source_vocab: i64,
    /// V: those of a target are below it; 0 for numbers.
    pub vocab: i64,
    /// The id that a decoder is fed first in inference; `None`: zeros in its place.
    pub start: Option<i64>,
    /// The numbers of a time step; `None` for ids.
    pub features: Option<Features>,
    /// The loss that training minimises.
    pub loss: Loss,
    /// Whether samples have lengths of their own.
    pub ragged: bool,
}

/// A layer of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name, the first part of its parameters' names.
    pub name: String,
    /// Its kind and sizes.
    pub layer: Layer,
    /// What it reads.
    pub reads: Vec<Read>,
    /// Its initial state, if it has a state.
    pub start: Start,
    /// T: its time steps, or the most of them where samples have lengths of their own.
    pub steps: i64,
    /// Whose time steps these are.
    pub along: Along,
    /// Whether samples have lengths of their own.
    pub ragged: bool,
    /// Whether another layer reads all its outputs.
    pub outputs_read: bool,
    /// In how many parts the fused engine computes it.
    pub parts: usize,
}

/// What a layer reads; nodes by their number in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// The source's ids or numbers.
    Source,
    /// The decoder input's ids or numbers: in training the target shifted right, in inference the model's own
    /// outputs.
    DecoderInput,
    /// Every output of a node.
    Outputs(usize),
    /// The last output of a node, the same at every step.
    Last(usize),
}

/// Whose time steps a layer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Along {
    /// The source's.
    Source,
    /// The target's.
    Target,
}

/// The initial state of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Zero.
    Zero,
    /// The last state of the batch before, or zero.
    Carried,
    /// The last state of a node, by its number.
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
        (along, steps): (Along, i64),
    ) -> usize {
        for read in &reads {
            if let &Read::Outputs(node) = read {
                self.nodes[node].outputs_read = true;
            }
        }
        let (name, layer) = (name.to_owned(), layer.into());
        let (ragged, outputs_read, parts) = (self.ragged, false, 1);
        self.nodes.push(Node {
            name,
            layer,
            reads,
            start,
            steps,
            along,
            ragged,
            outputs_read,
            parts,
        });
        self.nodes.len() - 1
    }

    /// The same with every layer computed in `parts` parts; in fewer where a layer has fewer units, and in
    /// one where a layer cannot be divided.
    pub fn in_parts(mut self, parts: usize) -> Self {
        let divisible = |node: &Node| node.layer.spec().exchange(node).is_some();
        let top = self.nodes.len() - 1;
        let widths = self.nodes[..top].iter().map(|node| node.layer.spec().width() as usize);
        let parts = match self.nodes.iter().all(divisible) {
            true => widths.min().map_or(1, |least| parts.clamp(1, least.min(MOST_PARTS))),
            false => 1,
        };
        self.nodes.iter_mut().for_each(|node| node.parts = parts);
        self
    }

    /// In how many parts its layers are computed.
    pub fn parts(&self) -> usize {
        self.nodes.last().map_or(1, |top| top.parts)
    }

    /// The width of what `read` names; V for ids.
    pub fn width(&self, read: Read) -> i64 {
        match read {
            Read::Source => self.features.map_or(self.source_vocab, |features| features.source),
            Read::DecoderInput => self.features.map_or(self.vocab, |features| features.target),
            Read::Outputs(node) | Read::Last(node) => self.nodes[node].layer.spec().width(),
        }
    }

    /// Tout: the time steps of its outputs.
    pub fn output_steps(&self) -> i64 {
        self.nodes.last().map_or(0, |top| top.steps)
    }

    /// The width of its outputs.
    pub fn output_width(&self) -> usize {
        self.nodes.last().map_or(0, |top| top.layer.spec().width() as usize)
    }

    /// The most time steps along `along`.
    pub fn steps(&self, along: Along) -> i64 {
        let nodes = self.nodes.iter().filter(|node| node.along == along);
        nodes.map(|node| node.steps).max().unwrap_or(0)
    }

    /// Whose time steps its outputs are.
    pub fn outputs_along(&self) -> Along {
        self.nodes.last().map_or(Along::Target, |top| top.along)
    }

    /// The numbers of the nodes whose state is carried from one batch to the next.
    pub fn carried(&self) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(_, node)| node.start == Start::Carried).map(|(number, _)| number)
    }

    /// For each node, whether it reads the decoder input, directly or through others: in inference
    /// these nodes run step by step.
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
