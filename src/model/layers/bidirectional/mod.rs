//! The outputs of two LSTMs that read the same source in opposite directions, concatenated.

pub mod fused;
pub mod torch;

use std::ops::Range;

use super::{Costs, Exchange, Spec, Weight};
use crate::kernels::blocks::Parts;
use crate::model::Node;

/// The outputs and the last states of two LSTMs, concatenated along the width, the forward one's
/// first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bidirectional {
    /// H of each LSTM.
    pub units: i64,
}

impl Spec for Bidirectional {
    fn keras_name(&self) -> &'static str {
        "Bidirectional"
    }

    fn width(&self) -> i64 {
        2 * self.units
    }

    fn weights(&self) -> Vec<Weight> {
        Vec::new()
    }

    fn exchange(&self, node: &Node) -> Option<Exchange> {
        // A part may have units that are another's of the two layers, and gives their gradient back.
        let outputs = if node.outputs_read { node.steps as f64 } else { 0.0 };
        let numbers = (outputs + 2.0) * self.width() as f64;
        Some(Exchange { numbers, waits: 3.0 })
    }

    fn buffers(&self, node: &Node) -> Vec<i64> {
        let buffers = |units: Range<usize>| {
            let state = units.len() as i64;
            let outputs = if node.outputs_read { node.steps * state } else { 0 };
            [outputs, state, state, outputs, state, state]
        };
        Parts::new(self.width() as usize, node.parts).ranges().flat_map(buffers).collect()
    }

    fn costs(&self, steps: i64) -> Costs {
        let outputs = steps as f64 * self.width() as f64;
        Costs {
            multiplications: 0.0,
            sequential_steps: 0.0,
            kept: outputs,
            temporary: outputs,
            inference: 2.0 * outputs,
        }
    }
}
