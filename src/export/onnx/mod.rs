//! ONNX: `model.onnx`, or of a model with a decoder `encoder.onnx` and `decoder_step.onnx`.
//!
//! Inside a graph sequences are `(T, B, width)`, as ONNX's LSTM has them; what goes in and comes out has the batch
//! first. Everything is float32.

mod graph;
mod proto;
mod translation;

use anyhow::{Result, ensure};
use prost::Message;

use super::NamedFile;
use super::about::{About, Ports};
use super::weights::Weights;
use crate::config::Config;
use crate::model::Model;
use graph::Graph;
use translation::Part;

/// The largest file that readers of protobuf take, in bytes.
const MOST_BYTES: usize = i32::MAX as usize;

/// The files of the model that `config` describes, with `weights`; what goes in and comes out of each is added to
/// `about`.
///
/// # Errors
/// If the model is too large for the format.
pub fn files(config: &Config, weights: &Weights, about: &mut About) -> Result<Vec<NamedFile>> {
    let model = Model::new(config);
    let parts = match model.decoder().contains(&true) {
        true => vec![(Part::Encoder, "encoder"), (Part::DecoderStep, "decoder_step")],
        false => vec![(Part::Whole, "model")],
    };
    let mut files = Vec::new();
    for (part, name) in parts {
        let graph: Graph = translation::graph(&model, config, weights, part);
        let (proto, [inputs, outputs]) = graph.finish(name);
        let (file, bytes) = (format!("{name}.onnx"), proto.encoded_len());
        ensure!(bytes <= MOST_BYTES, "{file}: {bytes} bytes are more than ONNX's {MOST_BYTES}");
        files.push((file.clone(), proto.encode_to_vec()));
        about.models.push(Ports { file, inputs, outputs });
    }
    Ok(files)
}
