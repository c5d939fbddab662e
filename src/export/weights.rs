//! The weights of one replica, as other programs take them.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};

/// Weights by their names, such as `encoder.kernel`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Weights(pub BTreeMap<String, Weight>);

/// A vector or a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Its length, or its rows and columns.
    pub shape: Vec<usize>,
    /// Its numbers, row by row.
    pub values: Vec<f32>,
}

impl Weights {
    /// The weight `name` of the layer `layer`.
    ///
    /// # Panics
    /// If there is none: weights are those of the model that they are exported with.
    pub fn of(&self, layer: &str, name: &str) -> &Weight {
        self.named(&format!("{layer}.{name}"))
    }

    /// The weight called `name`.
    ///
    /// # Panics
    /// As [`Weights::of`].
    pub fn named(&self, name: &str) -> &Weight {
        self.0.get(name).unwrap_or_else(|| unreachable!("there is no {name}"))
    }

    /// The bytes of a safetensors file of them.
    ///
    /// # Errors
    /// None that weights can have: names differ, and shapes are those of the numbers.
    pub fn to_safetensors(&self) -> anyhow::Result<Vec<u8>> {
        let bytes: Vec<Vec<u8>> = self.0.values().map(Weight::bytes).collect();
        let views = self.0.iter().zip(&bytes).map(|((name, weight), bytes)| {
            Ok((name, TensorView::new(Dtype::F32, weight.shape.clone(), bytes)?))
        });
        Ok(safetensors::serialize(views.collect::<anyhow::Result<Vec<_>>>()?, None)?)
    }
}

impl Weight {
    /// A vector.
    pub fn vector(values: Vec<f32>) -> Self {
        Self { shape: vec![values.len()], values }
    }

    /// A matrix with rows for columns.
    ///
    /// # Panics
    /// If it is none.
    pub fn transposed(&self) -> Self {
        let &[rows, columns] = &self.shape[..] else { unreachable!("a vector has no rows") };
        let column = |j: usize| (0..rows).map(move |i| self.values[i * columns + j]);
        Self { shape: vec![columns, rows], values: (0..columns).flat_map(column).collect() }
    }

    /// Adds the numbers of `other`, which has the same shape. Zeros change nothing, not even the sign of a zero.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.values.iter_mut().zip(&other.values).filter(|(_, x)| **x != 0.0) {
            *sum += more;
        }
    }

    /// The same numbers in another shape.
    pub fn reshaped(self, shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), ..self }
    }

    /// Its numbers as little-endian bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_matrix_has_its_columns_as_rows() {
        let matrix = Weight { shape: vec![2, 3], values: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        let expected = Weight { shape: vec![3, 2], values: vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0] };
        assert_eq!(matrix.transposed(), expected);
    }

    #[test]
    fn zeros_that_are_added_change_no_bit() {
        let mut sum = Weight::vector(vec![-0.0, 1.0]);
        sum.add(&Weight::vector(vec![0.0, 0.5]));
        assert_eq!(sum.bytes(), Weight::vector(vec![-0.0, 1.5]).bytes());
    }

    #[test]
    fn safetensors_have_names_shapes_and_numbers() {
        let weight = Weight { shape: vec![1, 2], values: vec![0.5, -2.0] };
        let weights = Weights(BTreeMap::from([("dense.kernel".to_owned(), weight)]));
        let bytes = weights.to_safetensors().unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = read.tensor("dense.kernel").unwrap();
        assert_eq!((tensor.shape(), tensor.dtype()), (&[1, 2][..], Dtype::F32));
        assert_eq!(tensor.data(), [0.5_f32.to_le_bytes(), (-2.0_f32).to_le_bytes()].concat());
    }
}
