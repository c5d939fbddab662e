//! Weights that another program wrote, which are taken only if they are exactly those of a model.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};

use super::weights::{Weight, Weights};
use crate::base::error::UserError;
use crate::base::input::{clipped, quoted};
use crate::base::spelling::nearest;
use crate::config::Config;
use crate::model::Model;
use crate::tensor::parameters::ParameterSpec;

/// The most bytes of a file besides its numbers: names, shapes, and what the other program says of them.
const HEADER: u64 = 1 << 20;

/// The shapes of the weights that a file is to have, by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(pub BTreeMap<String, Vec<usize>>);

/// A file of weights.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// What messages call it.
    pub shown: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

impl Expected {
    /// Those of one replica of the model that `config` describes, under Keras's names.
    pub fn of(config: &Config) -> Self {
        let shape = |spec: &ParameterSpec| spec.shape.iter().map(|&n| n as usize).collect();
        let specs = Model::new(config).parameters();
        Self(specs.into_iter().map(|spec| (spec.name.clone(), shape(&spec))).collect())
    }

    /// The shape of the weight `name`.
    ///
    /// # Panics
    /// If there is none.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.0.get(name).cloned().unwrap_or_else(|| unreachable!("there is no {name}"))
    }

    /// The most bytes of a file that has them, each perhaps twice.
    pub fn most_bytes(&self) -> u64 {
        let numbers = self.0.values().map(|shape| shape.iter().product::<usize>() as u64);
        numbers.sum::<u64>().saturating_mul(2 * size_of::<f32>() as u64).saturating_add(HEADER)
    }
}

impl Given<'_> {
    /// Its weights: safetensors of float32 with the names and shapes that are `expected`. Hints say what such a file is
    /// `saved_by`.
    ///
    /// # Errors
    /// If it is something else, or has weights that are missing, unknown or not finite: the first is named, with what was
    /// expected and found.
    pub fn read(&self, expected: &Expected, saved_by: &str) -> Result<Weights, UserError> {
        let stored = SafeTensors::deserialize(self.bytes);
        let stored = stored.map_err(|error| self.unreadable(&error, saved_by))?;
        let mut weights = Weights::default();
        for (name, shape) in &expected.0 {
            let found = stored.tensor(name).map_err(|_| self.missing(name, shape, &stored))?;
            weights.0.insert(name.clone(), self.weight(name, shape, &found)?);
        }
        match stored.names().into_iter().filter(|name| !expected.0.contains_key(*name)).min() {
            Some(unknown) => Err(self.unknown(unknown, expected)),
            None => Ok(weights),
        }
    }

    /// The weight `name`, which is to have the shape `shape`.
    fn weight(
        &self,
        name: &str,
        shape: &[usize],
        found: &TensorView<'_>,
    ) -> Result<Weight, UserError> {
        if found.dtype() != Dtype::F32 {
            let error = self.refused(format!("{name}: dtype {}, expected F32", found.dtype()));
            return Err(error.hint("convert the weights to float32 before they are saved"));
        }
        if found.shape() != shape {
            let error = format!("{name}: shape {:?}, expected {shape:?}", found.shape());
            return Err(self
                .refused(error)
                .hint("the sizes of the model are those of its config.toml"));
        }
        let (numbers, _) = found.data().as_chunks();
        let values: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => {
                Err(self.refused(format!("{name}: holds {value}, expected finite numbers")))
            }
            None => Ok(Weight { shape: shape.to_vec(), values }),
        }
    }

    fn refused(&self, why: impl std::fmt::Display) -> UserError {
        UserError::usage(format!("--weights {}: {why}", self.shown))
    }

    fn unreadable(&self, error: &SafeTensorError, saved_by: &str) -> UserError {
        let what = match self.bytes {
            [b'P', b'K', ..] => {
                "is a zip archive, such as torch.save and model.save write".to_owned()
            }
            [b'\x89', b'H', b'D', b'F', ..] => "is HDF5, such as save_weights writes".to_owned(),
            _ => clipped(&error.to_string()),
        };
        self.refused(format!("{what}: expected safetensors")).hint(saved_by)
    }

    /// Why there is no weight `name`, which would have the shape `shape`, in `stored`.
    fn missing(&self, name: &str, shape: &[usize], stored: &SafeTensors<'_>) -> UserError {
        let error = self.refused(format!("{name} not found: expected F32 of shape {shape:?}"));
        let mut names = stored.names();
        names.sort_unstable();
        match nearest(name, names.iter().copied()) {
            Some(near) => {
                error.hint(format!("did you mean '{}'? It has to be called {name}", quoted(near)))
            }
            None => error.hint(format!("the file has {}", some(&names))),
        }
    }

    /// Why the weight `name` is not taken.
    fn unknown(&self, name: &str, expected: &Expected) -> UserError {
        let error = format!("`{}` is no weight of the model", quoted(name));
        let names: Vec<&str> = expected.0.keys().map(String::as_str).collect();
        self.refused(error).hint(format!("it has {}", some(&names)))
    }
}

/// Names that a message lists at most.
const LISTED: usize = 8;

/// Some of `names`, in words.
fn some(names: &[&str]) -> String {
    let listed: Vec<String> = names.iter().take(LISTED).map(|name| quoted(name)).collect();
    let more = names.len().saturating_sub(LISTED);
    match (listed.is_empty(), more) {
        (true, _) => "none".to_owned(),
        (false, 0) => listed.join(", "),
        (false, more) => format!("{} and {more} more", listed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        let shapes = [("dense.bias", vec![2]), ("dense.kernel", vec![1, 2])];
        Expected(shapes.map(|(name, shape)| (name.to_owned(), shape)).into())
    }

    /// A file of weights, of which each has a shape and the same number everywhere.
    fn file(weights: &[(&str, &[usize], f32)]) -> Vec<u8> {
        let weight = |(name, shape, value): &(&str, &[usize], f32)| {
            let values = vec![*value; shape.iter().product()];
            ((*name).to_owned(), Weight { shape: shape.to_vec(), values })
        };
        Weights(weights.iter().map(weight).collect()).to_safetensors().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Weights, String> {
        let given = Given { shown: "w", bytes };
        given
            .read(&expected(), "save() writes one")
            .map_err(|error| crate::base::error::describe(&error.into()))
    }

    const BIAS: (&str, &[usize], f32) = ("dense.bias", &[2], 1.0);
    const KERNEL: (&str, &[usize], f32) = ("dense.kernel", &[1, 2], 0.5);

    #[test]
    fn exactly_the_weights_of_the_model_are_taken() {
        let weights = read(&file(&[BIAS, KERNEL])).unwrap();
        assert_eq!(weights.of("dense", "kernel").values, [0.5, 0.5]);
        assert_eq!(weights.0.len(), 2);
    }

    #[test]
    fn what_is_wrong_with_a_weight_is_told_by_its_name() {
        let float64 = TensorView::new(Dtype::F64, vec![2], &[0; 16]).unwrap();
        let float64 = safetensors::serialize([("dense.bias", float64)], None).unwrap();
        for (bytes, says) in [
            (
                file(&[BIAS]),
                "dense.kernel not found: expected F32 of shape [1, 2]\nhint: the file has dense.bias",
            ),
            (
                file(&[BIAS, ("m.dense.kernel", &[1, 2], 0.5)]),
                "hint: did you mean 'm.dense.kernel'? It has to be called dense.kernel",
            ),
            (
                file(&[BIAS, ("dense.kernel", &[2, 1], 0.5)]),
                "dense.kernel: shape [2, 1], expected [1, 2]",
            ),
            (
                file(&[("dense.bias", &[2], f32::NAN), KERNEL]),
                "dense.bias: holds NaN, expected finite numbers",
            ),
            (
                file(&[BIAS, KERNEL, ("more", &[1], 0.0)]),
                "`more` is no weight of the model\nhint: it has dense.bias, dense.kernel",
            ),
            (float64, "dense.bias: dtype F64, expected F32"),
            (
                b"PK\x03\x04".to_vec(),
                "is a zip archive, such as torch.save and model.save write: expected safetensors\nhint: save() writes one",
            ),
            (b"\x89HDF\r\n".to_vec(), "is HDF5, such as save_weights writes: expected safetensors"),
            (b"".to_vec(), ": expected safetensors\nhint: save() writes one"),
        ] {
            let error = read(&bytes).unwrap_err();
            assert!(error.starts_with("error: --weights w: ") && error.contains(says), "{error}");
        }
    }
}
