//! Keras: `model.safetensors`, the weights as Keras has them, and `model.py`, which builds the models, sets the weights and
//! saves them; and the way back, from such a file to the weights.
//!
//! Keras's own `.weights.h5` is no such file: it is HDF5, and its names are those of layers in the order in which a script
//! made them, so that nobody but that script can tell what is what.

use anyhow::Result;

use super::NamedFile;
use super::given::{Expected, Given};
use super::weights::Weights;
use crate::base::error::UserError;
use crate::config::Config;

/// The script.
const SCRIPT: &str = include_str!("model.py");

/// How Keras's weights become a file that [`read`] takes.
const SAVED_BY: &str = "save(\"trained.safetensors\") of the exported model.py writes one";

/// The files of a model with `weights`.
///
/// # Errors
/// None that weights can have.
pub fn files(weights: &Weights) -> Result<Vec<NamedFile>> {
    let bytes = weights.to_safetensors()?;
    Ok(vec![("model.py".to_owned(), SCRIPT.into()), ("model.safetensors".to_owned(), bytes)])
}

/// The weights of the model that `config` describes, in `file`.
///
/// # Errors
/// If it has not exactly these, or other shapes or types, or numbers that are not finite.
pub fn read(config: &Config, file: &Given<'_>) -> Result<Weights, UserError> {
    file.read(&Expected::of(config), SAVED_BY)
}
