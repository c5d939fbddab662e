//! Categorical cross-entropy of a softmax, with token accuracy.

pub mod fused;
pub mod torch;
