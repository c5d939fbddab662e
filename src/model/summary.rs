//! A model's layers as Keras would list them.

use crate::model::{Model, Node, Read};
use crate::tensor::parameters::ParameterSpec;

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

impl Model {
    /// Its layers, with outputs for `batch_size` samples. Nodes called `layer.part` are one layer.
    pub fn summary(&self, batch_size: i64) -> Vec<LayerSummary> {
        let mut lines: Vec<LayerSummary> = Vec::new();
        let mut parts: Vec<ParameterSpec> = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            for line in node.reads.iter().filter_map(|&read| self.read(number, read, batch_size)) {
                if lines.iter().all(|other| other.name != line.name) {
                    lines.push(line);
                }
            }
            parts.extend(node.parameters());
            if !node.name.contains('.') {
                let (name, kind) = (node.name.clone(), node.layer.spec().keras_name());
                let (output, parameters) = (self.output(number, batch_size), parts.split_off(0));
                lines.push(LayerSummary { name, kind, output, parameters });
            }
        }
        lines
    }

    /// The shape of the outputs of node `number`.
    fn output(&self, number: usize, rows: i64) -> Vec<i64> {
        let node = &self.nodes[number];
        let is_top = number + 1 == self.nodes.len();
        let answers_last = is_top && matches!(node.reads[..], [Read::Last(_)]);
        let width = node.layer.spec().width();
        match (node.outputs_read || is_top) && !answers_last {
            true => vec![rows, node.steps, width],
            false => vec![rows, width],
        }
    }

    /// The line above node `number`, if it reads an input or a repeated vector.
    fn read(&self, number: usize, read: Read, rows: i64) -> Option<LayerSummary> {
        let node: &Node = &self.nodes[number];
        let is_top = number + 1 == self.nodes.len();
        let (name, kind) = match read {
            Read::Source => ("source", "Input"),
            Read::DecoderInput => ("decoder_input", "Input"),
            Read::Last(_) if !is_top => ("repeat_vector", "RepeatVector"),
            Read::Last(_) | Read::Outputs(_) => return None,
        };
        let ids = kind == "Input" && !node.layer.spec().ids_are_vectors();
        let width = if ids { Vec::new() } else { vec![self.width(read)] };
        let output = [vec![rows, node.steps], width].concat();
        Some(LayerSummary { name: name.to_owned(), kind, output, parameters: Vec::new() })
    }
}
