//! What two layers said that read the same in either direction.

pub mod fused;
pub mod torch;

use super::{Costs, Spec, Weight};
use crate::model::Node;

/// The outputs and the last states of two LSTMs side by side, that of the forward one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bidirectional {
    /// H of either.
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

    fn buffers(&self, node: &Node) -> Vec<i64> {
        let outputs = if node.outputs_read { node.steps * self.width() } else { 0 };
        let state = self.width();
        vec![outputs, state, state, outputs, state, state]
    }

    fn costs(&self, steps: i64) -> Costs {
        let outputs = steps as f64 * self.width() as f64;
        Costs {
            multiplications: 0.0,
            in_turn: 0.0,
            kept: outputs,
            passing: outputs,
            inference: 2.0 * outputs,
        }
    }
}
