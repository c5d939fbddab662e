//! A dense layer.

pub mod fused;
pub mod torch;

use super::{Costs, Division, Exchange, Spec, Weight};
use crate::kernels::blocks::Parts;
use crate::model::Node;
use crate::tensor::parameters::Init;

/// y = activation(x·kernel + bias) at every step: kernel `(I, O)`, Glorot uniform, and bias `(O)`,
/// zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dense {
    /// I: the width of what it reads.
    pub inputs: i64,
    /// O: the width of its outputs.
    pub units: i64,
    /// What its outputs pass through.
    pub activation: Activation,
}

impl Dense {
    /// The parts of its outputs: one where the loss reads them.
    fn parts_of_outputs(&self, node: &Node) -> Parts {
        self.parts(if node.outputs_read { node.parts } else { 1 })
    }

    /// How many terms of the outputs have a buffer: where these are in one part, they hold the first term
    /// themselves.
    fn terms(&self, node: &Node) -> usize {
        if self.parts_of_outputs(node).count() > 1 { node.parts } else { node.parts - 1 }
    }
}

/// What the outputs of a dense layer pass through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Linear,
    /// The hyperbolic tangent; for a layer whose outputs another layer reads.
    Tanh,
}

impl Spec for Dense {
    fn keras_name(&self) -> &'static str {
        "Dense"
    }

    fn width(&self) -> i64 {
        self.units
    }

    fn weights(&self) -> Vec<Weight> {
        let &Self { inputs, units, .. } = self;
        let (kernel, bias) = (vec![inputs, units], vec![units]);
        vec![
            Weight {
                name: "kernel",
                shape: kernel,
                init: Init::GlorotUniform,
                transposed: true,
                division: Division::Rows,
            },
            Weight {
                name: "bias",
                shape: bias,
                init: Init::Zeros,
                transposed: false,
                division: Division::Whole,
            },
        ]
    }

    fn exchange(&self, node: &Node) -> Option<Exchange> {
        // Outputs that the loss reads are one thread's; of others the other's half of the terms and of the gradient
        // passes.
        let numbers = (node.steps * self.units) as f64;
        Some(Exchange { numbers, waits: if node.outputs_read { 4.0 } else { 2.0 } })
    }

    fn buffers(&self, node: &Node) -> Vec<i64> {
        let mut all = Vec::new();
        for units in self.parts_of_outputs(node).ranges() {
            let outputs = node.steps * units.len() as i64;
            // Where no layer reads the outputs, the loss replaces them by their gradient.
            all.extend([outputs, if node.outputs_read { outputs } else { 0 }]);
        }
        all.extend(vec![node.steps * self.units; self.terms(node)]);
        all
    }

    fn costs(&self, steps: i64) -> Costs {
        let (steps, inputs, units) = (steps as f64, self.inputs as f64, self.units as f64);
        Costs {
            multiplications: steps * inputs * units,
            sequential_steps: 0.0,
            kept: match self.activation {
                Activation::Linear => 0.0,
                Activation::Tanh => 2.0 * steps * units,
            },
            // Logits and their gradients.
            temporary: 4.0 * steps * units,
            // Logits and probabilities.
            inference: 2.0 * steps * (inputs + units),
        }
    }
}
