//! Copies of weights with rows and columns exchanged, for the backward pass.
//!
//! A gradient dx = dy · Wᵀ of few rows is a product as fast as the forward one if Wᵀ lies in memory
//! row by row. A copy is made once a step and read at every time step and by every block. It is
//! stored by panels, one for each share of the weight's rows (`gradient`).

use crate::kernels::float::Real;
use crate::model::Model;
use crate::model::layers::Weight;

/// One replica's transposed weights.
#[derive(Debug)]
pub struct Transposed<F> {
    /// Node by node, a copy of each weight; empty where none is kept.
    pub nodes: Vec<Vec<Vec<F>>>,
}

impl<F: Real> Transposed<F> {
    /// Zeros, for the weights of a replica of `model`.
    pub fn new(model: &Model) -> Self {
        let copy = |weight: &Weight| {
            let kept = if weight.transposed { weight.count() as usize } else { 0 };
            vec![F::default(); kept]
        };
        let nodes = model.nodes.iter().map(|node| node.layer.spec().weights());
        Self { nodes: nodes.map(|weights| weights.iter().map(copy).collect()).collect() }
    }
}

/// Bytes of a replica's [`Transposed`], for numbers of `number` bytes.
pub fn bytes(model: &Model, number: f64) -> f64 {
    let weights = model.nodes.iter().flat_map(|node| node.layer.spec().weights());
    let copied = weights.filter(|weight| weight.transposed);
    number * copied.map(|weight| weight.count()).sum::<f64>()
}
