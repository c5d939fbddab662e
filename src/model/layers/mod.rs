//! Layer kinds, a folder each: what one is (`mod.rs`: sizes, weights, buffers, no tensor), its pass of
//! the fused engine (`fused.rs`: slices and explicit equations) and the same as libtorch operations
//! (`torch.rs`). None knows a model or a task.
//!
//! To add a kind, add its folder and a line in `kinds!` below.

pub mod attention;
pub mod bidirectional;
pub mod dense;
pub mod embedding;
pub mod lstm;

pub mod dropout;
pub mod pass;
pub mod rows;
pub mod twin;

use tch::TchError;

use crate::kernels::blocks::Parts;
use crate::kernels::float::Real;
use crate::model::Node;
use crate::tensor::parameters::{Init, ParameterSpec, Parameters};
use dropout::MaskSpec;
use pass::Pass;
use twin::Twin;

/// A layer's sizes, weights and costs; it holds no weights.
pub trait Spec {
    /// Keras's name for the kind.
    fn keras_name(&self) -> &'static str;

    /// The width of its outputs.
    fn width(&self) -> i64;

    /// Whether it takes ids as one-hot vectors of V numbers.
    fn ids_are_vectors(&self) -> bool {
        true
    }

    /// Its trainable weights.
    fn weights(&self) -> Vec<Weight>;

    /// The same as the parameters of a layer called `name`.
    fn parameters(&self, name: &str) -> Vec<ParameterSpec> {
        let weights = self.weights().into_iter();
        weights.map(|w| ParameterSpec::new(name, w.name, &w.shape, w.init)).collect()
    }

    /// How `count` parts share its outputs.
    fn parts(&self, count: usize) -> Parts {
        Parts::new(self.width() as usize, count)
    }

    /// What its parts exchange where it is `node`; `None` if it cannot be computed in several.
    fn exchange(&self, node: &Node) -> Option<Exchange> {
        let _ = node;
        None
    }

    /// The lengths of the buffers of its pass for one row of a batch, in the order in which the
    /// pass takes them.
    fn buffers(&self, node: &Node) -> Vec<i64>;

    /// The lengths of further buffers, which its pass uses again for each row.
    fn scratch(&self, node: &Node) -> Vec<i64> {
        let _ = node;
        Vec::new()
    }

    /// The masks that it has in training.
    fn masks(&self) -> Vec<MaskSpec> {
        Vec::new()
    }

    /// What `steps` time steps of it cost.
    fn costs(&self, steps: i64) -> Costs;
}

/// A weight of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// The last part of its parameter's name.
    pub name: &'static str,
    /// Its shape for one replica.
    pub shape: Vec<i64>,
    /// Its initialiser.
    pub init: Init,
    /// Whether the backward pass reads a transposed copy.
    pub transposed: bool,
    /// What each part has of it, where the layer is computed in several.
    pub division: Division,
}

/// What each part of a layer has of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Division {
    /// Of so many blocks of columns, each a column for every unit, those of the part's units.
    Columns(usize),
    /// The rows of the units that the part has of the layer below.
    Rows,
    /// The first part has all of it.
    Whole,
}

impl Weight {
    /// Its columns as a matrix.
    pub fn columns(&self) -> usize {
        self.shape.last().map_or(1, |&columns| columns as usize)
    }

    /// How many numbers it has; a float, since products of sizes could overflow.
    pub fn count(&self) -> f64 {
        self.shape.iter().map(|&n| n as f64).product()
    }
}

/// What two parts of a layer exchange in a training step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exchange {
    /// Numbers that pass from one to the other, for one row of a batch.
    pub numbers: f64,
    /// How often they wait for each other.
    pub waits: f64,
}

/// What a layer's time steps cost, for one row of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// Multiplications of a forward pass.
    pub multiplications: f64,
    /// Time steps that have to wait for the one before.
    pub sequential_steps: f64,
    /// Numbers that libtorch's graph keeps for the backward pass.
    pub kept: f64,
    /// Numbers that exist for a moment beside those.
    pub temporary: f64,
    /// Numbers that a forward pass without a graph holds at a time.
    pub inference: f64,
}

/// Declares the kinds.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident in $folder:ident,)+) => {
        /// A layer of any kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Layer {
            $($(#[$doc])* $kind($folder::$kind),)+
        }

        $(impl From<$folder::$kind> for Layer {
            fn from(layer: $folder::$kind) -> Self {
                Self::$kind(layer)
            }
        })+

        impl Layer {
            /// The names of the kinds.
            pub const KINDS: &[&str] = &[$(stringify!($kind)),+];

            /// The name of its kind.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => stringify!($kind),)+
                }
            }

            /// What it is.
            pub fn spec(&self) -> &dyn Spec {
                match self {
                    $(Self::$kind(layer) => layer,)+
                }
            }

            /// Its pass, for `rows` rows of a batch.
            pub fn pass<F: Real>(&self, node: &Node, rows: usize) -> Box<dyn Pass<F>> {
                let buffers = &mut pass::Buffers::new(self.spec(), node, rows);
                match self {
                    $(Self::$kind(layer) => Box::new($folder::fused::pass(layer, node, rows, buffers)),)+
                }
            }

            /// Itself as libtorch operations, with the parameters called `name.…`.
            ///
            /// # Errors
            /// If their numbers of axes are not the layer's, or memory is short.
            ///
            /// # Panics
            /// If there are none.
            pub fn twin(&self, parameters: &Parameters, name: &str) -> Result<Box<dyn Twin>, TchError> {
                Ok(match self {
                    $(Self::$kind(layer) => Box::new($folder::torch::twin(layer, parameters, name)?),)+
                })
            }
        }
    };
}

kinds! {
    /// The weighted mean of an encoder's outputs for every output of a decoder.
    Attention in attention,
    /// The concatenated outputs of two layers that read in opposite directions.
    Bidirectional in bidirectional,
    /// y = activation(x·kernel + bias) at every step.
    Dense in dense,
    /// A trained vector for every id.
    Embedding in embedding,
    /// A long short-term memory layer.
    Lstm in lstm,
}
