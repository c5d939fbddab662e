//! The layout of a file of weights: safetensors that do not match it exactly are refused.

use safetensors::{Dtype, SafeTensors};

use crate::config;
use crate::tensor::parameters::ParameterSpec;

/// The longest header, in bytes: about a hundred for each parameter, and metadata.
const HEADER: u64 = 1 << 20;

/// The weights of R replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Name and shape `(R, …Keras's shape)` of each.
    tensors: Vec<(String, Vec<usize>)>,
    dtype: Dtype,
}

impl Layout {
    /// Those of `replicas` replicas of a model with these parameters.
    pub fn new(specs: &[ParameterSpec], replicas: i64, dtype: config::Dtype) -> Self {
        let tensor = |spec: &ParameterSpec| {
            let shape = std::iter::once(replicas).chain(spec.shape.iter().copied());
            (spec.name.clone(), shape.map(|n| n as usize).collect())
        };
        let dtype = match dtype {
            config::Dtype::Float32 => Dtype::F32,
            config::Dtype::Float64 => Dtype::F64,
        };
        Self { tensors: specs.iter().map(tensor).collect(), dtype }
    }

    /// The longest file that can hold them, in bytes.
    pub fn most_bytes(&self) -> u64 {
        let count = |shape: &[usize]| {
            shape.iter().fold(1u64, |product, &n| product.saturating_mul(n as u64))
        };
        let numbers = self.tensors.iter().map(|(_, shape)| count(shape));
        let numbers = numbers.fold(0u64, u64::saturating_add);
        let bytes = numbers.saturating_mul(self.dtype.bitsize() as u64 / 8);
        bytes.saturating_add(8 + HEADER)
    }

    /// The tensors in `bytes`, a safetensors file.
    ///
    /// # Errors
    /// If they are no safetensors file, or names, shapes or dtype of its tensors differ.
    pub fn read<'a>(&self, bytes: &'a [u8]) -> Result<SafeTensors<'a>, String> {
        let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
        if length > HEADER {
            return Err(format!("a header of {length} bytes: expected at most {HEADER}"));
        }
        let stored = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        for (name, expected) in &self.tensors {
            let found = stored.tensor(name).map_err(|_| format!("`{name}` not found"))?;
            if found.shape() != expected {
                return Err(format!("{name}: shape {:?}, expected {expected:?}", found.shape()));
            }
            if found.dtype() != self.dtype {
                let (found, expected) = (found.dtype(), self.dtype);
                return Err(format!("{name}: dtype {found}, expected {expected}"));
            }
        }
        if stored.len() != self.tensors.len() {
            let (found, expected) = (stored.len(), self.tensors.len());
            return Err(format!("{found} tensors, expected {expected}"));
        }
        Ok(stored)
    }
}
