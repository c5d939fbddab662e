//! An LSTM as ONNX's operator: its weights, laid out for it.

use super::Answer;
use crate::config::GateActivation;
use crate::export::onnx::graph::{Graph, Value, floats, int, text, texts};
use crate::export::onnx::proto::AttributeProto;
use crate::export::weights::{Weight, Weights};
use crate::model::layers::lstm::Lstm;

/// Where ONNX has Keras's gates i, f, g and o: it calls g "c" and has the order i, o, f, c.
const GATES: [usize; 4] = [0, 3, 1, 2];

/// Adds the LSTM `layer`, called `name`, which reads the vectors `x` `(T, B, I)` from the states h and c `start`, each
/// `(B, H)`, or from zero. Steps of a row behind its `lengths` `(B)` leave its state as it is; their outputs are zero.
pub fn add(
    graph: &mut Graph,
    (name, layer): (&str, &Lstm),
    weights: &Weights,
    x: &str,
    lengths: Option<&Value>,
    start: Option<[Value; 2]>,
) -> Answer {
    let units = layer.units as usize;
    let mut weight =
        |input: &str, weight: Weight| graph.weight(&format!("{name}.{input}"), &weight);
    let w = weight("W", by_gates(weights.of(name, "kernel"), units));
    let r = weight("R", by_gates(weights.of(name, "recurrent_kernel"), units));
    let b = weight("B", biases(weights.of(name, "bias"), units));
    let first_axis = graph.whole(&[0]);
    let start = start.map(|states| {
        states.map(|state| graph.add("Unsqueeze", &[&state, &first_axis], Vec::new()))
    });
    let [h, c] = start.unwrap_or_default();
    let lengths = lengths.map_or("", |lengths| lengths);
    let inputs = [x, &w, &r, &b, lengths, &h, &c];
    let [all, h, c] = graph.add_many("LSTM", &inputs, attributes(layer));
    // One direction: an axis of length 1.
    let direction = graph.whole(&[1]);
    let sequence = graph.add("Squeeze", &[&all, &direction], Vec::new());
    let last = [h, c].map(|state| graph.add("Squeeze", &[&state, &first_axis], Vec::new()));
    Answer { sequence, last: Some(last) }
}

fn attributes(layer: &Lstm) -> Vec<AttributeProto> {
    let direction = if layer.backwards { "reverse" } else { "forward" };
    let mut all = vec![int("hidden_size", layer.units), text("direction", direction)];
    if layer.gate_activation == GateActivation::HardSigmoid {
        all.push(texts("activations", &["HardSigmoid", "Tanh", "Tanh"]));
        all.push(floats("activation_alpha", &[0.2]));
        all.push(floats("activation_beta", &[0.5]));
    }
    all
}

/// A kernel `(I, 4H)` as `(1, 4H, I)`, its gates in ONNX's order.
fn by_gates(kernel: &Weight, units: usize) -> Weight {
    let rows = kernel.transposed();
    let inputs = rows.shape[1];
    let gate = |gate: usize| &rows.values[gate * units * inputs..][..units * inputs];
    let values = GATES.map(gate).concat();
    Weight { shape: vec![1, 4 * units, inputs], values }
}

/// The bias `(4H)` as `(1, 8H)`: that of what is read, and none of what was said.
fn biases(bias: &Weight, units: usize) -> Weight {
    let gate = |gate: usize| &bias.values[gate * units..][..units];
    let values = [GATES.map(gate).concat(), vec![0.0; 4 * units]].concat();
    Weight { shape: vec![1, 8 * units], values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gates_of_one_unit_are_in_onnxs_order() {
        // Gates i, f, g, o in the columns.
        let kernel =
            Weight { shape: vec![2, 4], values: vec![1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0] };
        let found = by_gates(&kernel, 1);
        assert_eq!(found.shape, [1, 4, 2]);
        // Rows i, o, f, c.
        assert_eq!(found.values, [1.0, 10.0, 4.0, 40.0, 2.0, 20.0, 3.0, 30.0]);
        let bias = biases(&Weight::vector(vec![1.0, 2.0, 3.0, 4.0]), 1);
        assert_eq!(bias.shape, [1, 8]);
        assert_eq!(bias.values, [1.0, 4.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn units_of_a_gate_stay_together() {
        let bias = biases(&Weight::vector((0..8).map(|n| n as f32).collect()), 2);
        assert_eq!(bias.values[..8], [0.0, 1.0, 6.0, 7.0, 2.0, 3.0, 4.0, 5.0]);
    }
}
