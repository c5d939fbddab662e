//! The outputs of two LSTMs that read the same source in opposite directions, concatenated.

pub mod fused;
pub mod torch;

use super::{Costs, Spec, Weight};
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

    fn buffers(&self, node: &Node) -> Vec<i64> {
        let outputs = if node.outputs_read { node.steps * self.width() } else { 0 };
        let state = self.width();
        vec![outputs, state, state, outputs, state, state]
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
