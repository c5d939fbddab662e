//! A trained vector for every id.

pub mod fused;
pub mod torch;

use super::{Costs, Division, Exchange, Spec, Weight};
use crate::kernels::blocks::Parts;
use crate::model::Node;
use crate::tensor::parameters::Init;

/// For every id its row of the table `embeddings` `(V, E)`, which starts uniform on ±0.05.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedding {
    /// V: ids are below it.
    pub vocab: i64,
    /// E: the width of a vector.
    pub units: i64,
}

impl Spec for Embedding {
    fn keras_name(&self) -> &'static str {
        "Embedding"
    }

    fn width(&self) -> i64 {
        self.units
    }

    fn ids_are_vectors(&self) -> bool {
        false
    }

    fn weights(&self) -> Vec<Weight> {
        let (shape, init) = (vec![self.vocab, self.units], Init::Uniform);
        let division = Division::Columns(1);
        vec![Weight { name: "embeddings", shape, init, transposed: false, division }]
    }

    fn exchange(&self, node: &Node) -> Option<Exchange> {
        // The half of the vectors that is the other's.
        let numbers = (node.steps * self.units) as f64 / 2.0;
        Some(Exchange { numbers, waits: 2.0 })
    }

    fn buffers(&self, node: &Node) -> Vec<i64> {
        let parts = Parts::new(self.units as usize, node.parts).ranges();
        parts.flat_map(|units| [node.steps * units.len() as i64; 2]).collect()
    }

    fn costs(&self, steps: i64) -> Costs {
        let outputs = steps as f64 * self.units as f64;
        Costs {
            multiplications: 0.0,
            sequential_steps: 0.0,
            kept: outputs,
            temporary: 2.0 * outputs,
            inference: 2.0 * outputs,
        }
    }
}
