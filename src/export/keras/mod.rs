//! Keras: `model.safetensors`, the weights as Keras has them, and `model.py`, which builds the models and sets them.

use anyhow::Result;

use super::NamedFile;
use super::weights::Weights;

/// The script.
const SCRIPT: &str = include_str!("model.py");

/// The files of a model with `weights`.
///
/// # Errors
/// None that weights can have.
pub fn files(weights: &Weights) -> Result<Vec<NamedFile>> {
    let bytes = weights.to_safetensors()?;
    Ok(vec![("model.py".to_owned(), SCRIPT.into()), ("model.safetensors".to_owned(), bytes)])
}
