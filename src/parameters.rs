//! All trainable numbers of a model in one flat buffer, and their gradient in another.

use std::ops::Range;

use rand::RngExt;
use rand_distr::StandardNormal;
use tch::{Device, Kind, TchError, Tensor};

use crate::device;
use crate::rng::{Purpose, Stream};

/// What a parameter is called, how large it is and how it starts, for one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterSpec {
    /// `layer.weight`, the weight under Keras's name.
    pub name: String,
    /// Keras's shape.
    pub shape: Vec<i64>,
    /// Keras's initialiser.
    pub init: Init,
}

impl ParameterSpec {
    /// A parameter of `layer`.
    pub fn new(layer: &str, weight: &str, shape: &[i64], init: Init) -> Self {
        Self { name: format!("{layer}.{weight}"), shape: shape.to_vec(), init }
    }

    /// Numbers in it.
    pub fn count(&self) -> i64 {
        self.shape.iter().product()
    }
}

/// Keras's initialisers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// Uniform on ±√(6 / (rows + columns)), the fans of the whole matrix
    /// (Glorot and Bengio, 2010).
    GlorotUniform,
    /// The orthonormal rows that Gram–Schmidt makes of Gaussian ones (Saxe et al., 2014), for
    /// matrices with at least as many columns as rows.
    Orthogonal,
    /// Zero, but 1 in the second quarter: the forget gate's (Jozefowicz et al., 2015).
    UnitForgetBias,
    /// Zero.
    Zeros,
}

impl Init {
    /// The numbers of a `rows × columns` matrix (bias: one row), row-major.
    fn draw(self, rows: usize, columns: usize, stream: Stream, position: u64) -> Vec<f64> {
        let mut generator = stream.at(position);
        let mut values = vec![0.0; rows * columns];
        match self {
            Self::GlorotUniform => {
                let limit = (6.0 / (rows + columns) as f64).sqrt();
                values.fill_with(|| generator.random_range(-limit..limit));
            }
            Self::Orthogonal => {
                values.fill_with(|| generator.sample(StandardNormal));
                orthonormalise(&mut values, columns);
            }
            Self::UnitForgetBias => values[columns / 4..columns / 2].fill(1.0),
            Self::Zeros => {}
        }
        values
    }
}

/// Makes the rows of `values` orthonormal, keeping the span of the first k for every k. This is
/// `q · sign(diag r)` of the QR decomposition that Keras takes, in an order of additions that
/// depends on neither the number of threads nor a LAPACK.
fn orthonormalise(values: &mut [f64], columns: usize) {
    for done in 0..values.len() / columns {
        let (earlier, rest) = values.split_at_mut(done * columns);
        let row = &mut rest[..columns];
        // Once leaves errors as large as the rows were close to each other; twice is enough.
        for _ in 0..2 {
            for other in earlier.chunks_exact(columns) {
                let overlap = dot(row, other);
                row.iter_mut().zip(other).for_each(|(x, y)| *x -= overlap * y);
            }
        }
        let norm = dot(row, row).sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
}

/// Dot product in eight interleaved sums, which the compiler can keep in vector registers.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a8.zip(b8) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + tail
}

/// The parameters of R replicas: parameter by parameter, and replica by replica within each.
#[derive(Debug)]
pub struct Parameters {
    specs: Vec<ParameterSpec>,
    replicas: i64,
    flat: Tensor,
    gradient: Tensor,
    leaves: Vec<Tensor>,
}

impl Parameters {
    /// Parameters of `replicas` replicas, all zero.
    ///
    /// # Errors
    /// libtorch's, above all when memory is short.
    pub fn zeros(
        specs: Vec<ParameterSpec>,
        replicas: i64,
        kind: Kind,
        device: Device,
    ) -> Result<Self, TchError> {
        let total: i64 = specs.iter().map(|spec| spec.count() * replicas).sum();
        let flat = Tensor::f_zeros([total], (kind, device))?;
        let gradient = flat.f_zeros_like()?;
        let mut parameters = Self { specs, replicas, flat, gradient, leaves: Vec::new() };
        let values = parameters.split(&parameters.flat)?;
        for (value, gradient) in values.iter().zip(parameters.split(&parameters.gradient)?) {
            parameters.leaves.push(leaf(value, &gradient)?);
        }
        Ok(parameters)
    }

    /// Draws every parameter afresh; replica k's depend on `seeds[k]` alone.
    ///
    /// # Errors
    /// libtorch's.
    pub fn initialise(&mut self, seeds: &[u64]) -> Result<(), TchError> {
        for (position, place) in self.split(&self.flat)?.into_iter().enumerate() {
            let spec = &self.specs[position];
            let (columns, rows) = spec.shape.split_last().map_or((1, &[][..]), |(c, r)| (*c, r));
            let rows = rows.iter().product::<i64>() as usize;
            for (replica, &seed) in seeds.iter().enumerate() {
                let stream = Stream::new(seed, Purpose::Weights);
                let values = spec.init.draw(rows, columns as usize, stream, position as u64);
                let mut place = place.f_select(0, replica as i64)?;
                let values = Tensor::f_from_slice(&values)?.f_view(place.size().as_slice())?;
                device::fill(&mut place, &values)?;
            }
        }
        Ok(())
    }

    /// What the parameters are.
    pub fn specs(&self) -> &[ParameterSpec] {
        &self.specs
    }

    /// R.
    pub fn replicas(&self) -> i64 {
        self.replicas
    }

    /// All numbers, `(R · P)`; the leaves that models compute with are views of it.
    pub fn flat(&self) -> &Tensor {
        &self.flat
    }

    /// The gradient that [`Parameters::backward`] left, `(R · P)`, laid out as [`Parameters::flat`].
    pub fn gradient(&self) -> &Tensor {
        &self.gradient
    }

    /// The parameter called `name`, `(R, …Keras's shape)`, a leaf of the autograd graph.
    ///
    /// # Panics
    /// If the model has no such parameter.
    pub fn leaf(&self, name: &str) -> Tensor {
        let found = self.specs.iter().position(|spec| spec.name == name);
        self.leaves[found.unwrap_or_else(|| unreachable!("no parameter {name}"))].shallow_clone()
    }

    /// Every parameter's part of a buffer laid out as [`Parameters::flat`], `(R, …Keras's shape)`.
    ///
    /// # Errors
    /// libtorch's, if `buffer` is smaller than the parameters.
    pub fn split(&self, buffer: &Tensor) -> Result<Vec<Tensor>, TchError> {
        let mut offset = 0;
        let part = |spec: &ParameterSpec| {
            let count = spec.count() * self.replicas;
            let place = buffer.f_narrow(0, offset, count)?;
            offset += count;
            let shape = std::iter::once(self.replicas).chain(spec.shape.iter().copied());
            place.f_view(shape.collect::<Vec<_>>().as_slice())
        };
        self.specs.iter().map(part).collect()
    }

    /// Whether all parameters of each replica are finite. Waits for the device.
    ///
    /// # Errors
    /// libtorch's.
    pub fn finite(&self) -> Result<Vec<bool>, TchError> {
        let finite = |part: &Tensor| part.f_isfinite()?.f_flatten(1, -1)?.f_all_dim(1, false);
        let parts = self.split(&self.flat)?;
        let finite = parts.iter().map(finite).collect::<Result<Vec<_>, _>>()?;
        let finite = device::download(&Tensor::f_stack(&finite, 0)?.f_all_dim(0, false)?)?;
        Ok(finite.into_iter().map(|finite| finite != 0.0).collect())
    }

    /// Where the parameter called `name` of replica `replica` lies in [`Parameters::flat`]; nothing
    /// if the model has no such parameter.
    pub fn range(&self, name: &str, replica: usize) -> Option<Range<usize>> {
        let found = self.specs.iter().position(|spec| spec.name == name)?;
        let count = |spec: &ParameterSpec| spec.count() as usize;
        let before: usize = self.specs[..found].iter().map(count).sum();
        let (replicas, count) = (self.replicas as usize, count(&self.specs[found]));
        let start = before * replicas + replica * count;
        Some(start..start + count)
    }

    /// Computes the gradient of the scalar `loss`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn backward(&mut self, loss: &Tensor) -> Result<(), TchError> {
        let _ = self.gradient.f_zero_()?;
        loss.f_backward()
    }
}

/// A leaf of the autograd graph with the memory of `value`, whose gradient has that of `gradient`.
fn leaf(value: &Tensor, gradient: &Tensor) -> Result<Tensor, TchError> {
    let leaf = value.f_detach()?.f_set_requires_grad(true)?;
    // Only a first gradient makes a `grad` whose memory can be exchanged.
    leaf.f_sum(value.kind())?.f_backward()?;
    leaf.f_grad()?.f_set_data(gradient)?;
    Ok(leaf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orthogonal_rows_are_orthonormal_and_keep_the_gaussian_directions() {
        let (rows, columns) = (7, 28);
        let stream = Stream::new(3, Purpose::Weights);
        let q = Init::Orthogonal.draw(rows, columns, stream, 1);
        for i in 0..rows {
            for j in 0..rows {
                let product = dot(&q[i * columns..][..columns], &q[j * columns..][..columns]);
                let expected = f64::from(u8::from(i == j));
                assert!((product - expected).abs() < 1e-14, "rows {i} and {j}: {product}");
            }
        }
        let mut generator = stream.at(1);
        let first: Vec<f64> = (0..columns).map(|_| generator.sample(StandardNormal)).collect();
        let norm = dot(&first, &first).sqrt();
        assert!(q[..columns].iter().zip(&first).all(|(q, g)| (q - g / norm).abs() < 1e-14));
    }

    #[test]
    fn glorot_fills_its_range_evenly() {
        let draw = Init::GlorotUniform.draw(100, 64, Stream::new(0, Purpose::Weights), 0);
        let limit = (6.0f64 / 164.0).sqrt();
        assert!(draw.iter().all(|x| x.abs() <= limit));
        let mean = draw.iter().sum::<f64>() / draw.len() as f64;
        let variance = draw.iter().map(|x| x * x).sum::<f64>() / draw.len() as f64;
        assert!(mean.abs() < 4.0 * limit / (3.0 * draw.len() as f64).sqrt());
        assert!((variance / (limit * limit / 3.0) - 1.0).abs() < 0.05);
    }

    #[test]
    fn only_the_forget_gate_is_biased() {
        let bias = Init::UnitForgetBias.draw(1, 8, Stream::new(0, Purpose::Weights), 2);
        assert_eq!(bias, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
