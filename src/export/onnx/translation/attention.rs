//! An attention: what the encoder makes of its outputs for it, once, and its step of the decoder.

use super::{Answer, BATCH, SOURCE_STEPS, Translation};
use crate::export::about::Dim;
use crate::export::onnx::graph::{Kind, Value, int, ints};
use crate::export::onnx::proto::DataType;
use crate::model::layers::attention::{Attention, ScoreMode};
use crate::model::{Node, Read};

impl Translation<'_> {
    /// Makes what an attention looks at outputs.
    pub fn memory(&mut self, node: &Node, layer: &Attention) {
        let Some(&Read::Outputs(encoder)) = node.reads.get(1) else { return };
        let sequence = self.answers[encoder].sequence.clone();
        let memory = self.swapped(&sequence);
        let shape = |width| [BATCH, SOURCE_STEPS, Dim::Size(width)];
        let is = "every output of the encoder";
        self.graph.output(&memory, "memory", Kind::Float, &shape(layer.keys), is);
        if layer.score == ScoreMode::Additive {
            let keys = self.product(&memory, &node.name, "key_kernel");
            let is = "what its scores are made of";
            self.graph.output(&keys, "memory.keys", Kind::Float, &shape(layer.queries), is);
        }
        if let Some(lengths) = self.lengths.clone() {
            let mask = self.mask(&memory, &lengths);
            let (shape, is) = ([BATCH, SOURCE_STEPS], "which of them are no padding");
            self.graph.output(&mask, "memory.mask", Kind::Bool, &shape, is);
        }
    }

    /// Which steps of `memory` `(B, Tin, He)` are within `lengths` `(B)`: `(B, Tin)`.
    fn mask(&mut self, memory: &str, lengths: &str) -> Value {
        let slice = vec![int("start", 1), int("end", 2)];
        let steps = self.graph.add("Shape", &[memory], slice);
        let no_axes = self.graph.whole(&[0]);
        let steps = self.graph.add("Squeeze", &[&steps, &no_axes], Vec::new());
        let (zero, one) = (self.graph.scalar(0), self.graph.scalar(1));
        let steps = self.graph.add("Range", &[&zero, &steps, &one], Vec::new());
        let to = DataType::Int64 as i64;
        let lengths = self.graph.add("Cast", &[lengths], vec![int("to", to)]);
        let last_axis = self.graph.whole(&[1]);
        let lengths = self.graph.add("Unsqueeze", &[&lengths, &last_axis], Vec::new());
        self.graph.add("Less", &[&steps, &lengths], Vec::new())
    }

    /// Adds a step of an attention: its query is `(1, B, Hd)`, what it looks at `(B, Tin, He)`.
    pub fn attention(&mut self, node: &Node, layer: &Attention) -> Answer {
        let outputs = self.vectors(node);
        let query = self.swapped(&outputs);
        let shape = [BATCH, SOURCE_STEPS, Dim::Size(layer.keys)];
        let is = "the encoder's";
        let memory = self.graph.input("memory", Kind::Float, &shape, is);
        let scores = self.scores(node, layer, &query, &memory);
        let scores = if self.model.ragged { self.without_padding(&scores) } else { scores };
        let weights = self.graph.add("Softmax", &[&scores], vec![int("axis", -1)]);
        let context = self.graph.add("MatMul", &[&weights, &memory], Vec::new());
        let both = self.graph.add("Concat", &[&context, &query], vec![int("axis", -1)]);
        let step = self.graph.whole(&[1]);
        let of_step = self.graph.add("Squeeze", &[&weights, &step], Vec::new());
        let (name, is) = (format!("{}.weights", node.name), "how much of each source step is seen");
        self.graph.output(&of_step, &name, Kind::Float, &[BATCH, SOURCE_STEPS], is);
        Answer { sequence: self.swapped(&both), last: None }
    }

    /// The scores `(B, 1, Tin)` of `query` `(B, 1, Hd)` with what is looked at.
    fn scores(&mut self, node: &Node, layer: &Attention, query: &str, memory: &str) -> Value {
        let query = match layer.score {
            ScoreMode::Dot => query.to_owned(),
            ScoreMode::General => self.product(query, &node.name, "kernel"),
            ScoreMode::Additive => return self.additive(node, layer, query),
        };
        let keys = self.graph.add("Transpose", &[memory], vec![ints("perm", &[0, 2, 1])]);
        self.graph.add("MatMul", &[&query, &keys], Vec::new())
    }

    /// scale · tanh(q·query_kernel + k·key_kernel), of which the encoder has the second product.
    fn additive(&mut self, node: &Node, layer: &Attention, query: &str) -> Value {
        let query = self.product(query, &node.name, "query_kernel");
        let shape = [BATCH, SOURCE_STEPS, Dim::Size(layer.queries)];
        let keys = self.graph.input("memory.keys", Kind::Float, &shape, "the encoder's");
        let sum = self.graph.add("Add", &[&query, &keys], Vec::new());
        let terms = self.graph.add("Tanh", &[&sum], Vec::new());
        let scale = self.weights.of(&node.name, "scale");
        let column = scale.clone().reshaped(&[scale.values.len(), 1]);
        let column = self.graph.weight(&format!("{}.scale", node.name), &column);
        let scores = self.graph.add("MatMul", &[&terms, &column], Vec::new());
        self.graph.add("Transpose", &[&scores], vec![ints("perm", &[0, 2, 1])])
    }

    /// `scores` `(B, 1, Tin)`, those of padding −∞.
    fn without_padding(&mut self, scores: &str) -> Value {
        let is = "the encoder's";
        let mask = self.graph.input("memory.mask", Kind::Bool, &[BATCH, SOURCE_STEPS], is);
        let step = self.graph.whole(&[1]);
        let mask = self.graph.add("Unsqueeze", &[&mask, &step], Vec::new());
        let least = self.graph.numbers(&[f32::NEG_INFINITY]);
        self.graph.add("Where", &[&mask, scores, &least], Vec::new())
    }
}
