//! Copies of weights with rows and columns exchanged, for the backward pass.
//!
//! A gradient dx = dy · Wᵀ of few rows is a product as fast as the forward one if Wᵀ lies in memory
//! row by row. A copy is made once a step and read at every time step and by every block. It is
//! stored by panels, one for each share of the weight's rows (`gradient`).

use super::{PartLayout, WeightLayout};
use crate::kernels::float::Real;
use crate::model::Model;
use crate::model::layers::Weight;

/// The transposed weights of a part of one replica.
#[derive(Debug)]
pub struct Transposed<F> {
    /// Node by node, a copy of each weight; empty where none is kept.
    pub nodes: Vec<Vec<Vec<F>>>,
}

impl<F: Real> Transposed<F> {
    /// Zeros, for the weights of `model` that lie as `part` says.
    pub fn new(model: &Model, part: &PartLayout) -> Self {
        let copy = |(weight, layout): (&Weight, &WeightLayout)| {
            let kept = if weight.transposed { layout.range.len() } else { 0 };
            vec![F::default(); kept]
        };
        let copies = |(weights, layouts): (Vec<Weight>, &Vec<WeightLayout>)| {
            weights.iter().zip(layouts).map(copy).collect()
        };
        let nodes = model.nodes.iter().map(|node| node.layer.spec().weights());
        Self { nodes: nodes.zip(part).map(copies).collect() }
    }
}

/// Bytes of a replica's [`Transposed`], for numbers of `number` bytes.
pub fn bytes(model: &Model, number: f64) -> f64 {
    let weights = model.nodes.iter().flat_map(|node| node.layer.spec().weights());
    let copied = weights.filter(|weight| weight.transposed);
    number * copied.map(|weight| weight.count()).sum::<f64>()
}
