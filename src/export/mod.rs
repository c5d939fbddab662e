//! Trained models in the formats of other programs, a folder each: from a model's graph of layers and the weights of
//! one replica to the content of files, and where other programs train on, from such a file to weights.
//!
//! Uses `model` and `config`; knows no run, no task and no tensor.

pub mod keras;
pub mod onnx;
pub mod pytorch;

pub mod about;
pub mod given;
pub mod weights;

/// The content of a file, behind its name.
pub type NamedFile = (String, Vec<u8>);
