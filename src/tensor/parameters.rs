//! All trainable numbers of a model in one flat buffer, and their gradient in another.

use std::cmp::Reverse;
use std::ops::Range;

use anyhow::Result;
use rand::RngExt;
use rand_distr::StandardNormal;
use tch::{Device, Kind, TchError, Tensor};

use crate::base::rng::{Purpose, Stream};
use crate::kernels::thread_pool::ThreadPool;
use crate::tensor::device;
use crate::tensor::orthogonal::{ONE_BY_ONE, Watch, orthonormalise};

/// A parameter's name, shape and initialiser, for one replica.
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
    /// (Glorot and Bengio, 2010). Both fans of a vector are its length, as in Keras.
    GlorotUniform,
    /// Uniform on ±0.05.
    Uniform,
    /// The orthonormal rows that Gram–Schmidt makes of Gaussian ones (Saxe et al., 2014), for
    /// matrices with at least as many columns as rows.
    Orthogonal,
    /// Zero, but 1 in the second quarter: the forget gate's (Jozefowicz et al., 2015).
    UnitForgetBias,
    /// Zero.
    Zeros,
}

/// One replica's parameter to be initialised.
#[derive(Debug, Clone, Copy)]
struct Initial {
    /// Its index among the model's parameters.
    position: usize,
    replica: usize,
    stream: Stream,
    init: Init,
    /// 1 for a vector.
    rows: usize,
    columns: usize,
    /// Both of Glorot's fans together.
    fans: usize,
}

impl Initial {
    fn new(spec: &ParameterSpec, position: usize, replica: usize, seed: u64) -> Self {
        let columns = spec.shape.last().copied().unwrap_or(1);
        let (rows, columns) = ((spec.count() / columns) as usize, columns as usize);
        let stream = Stream::new(seed, Purpose::Weights);
        let fans = if spec.shape.len() == 1 { 2 * columns } else { rows + columns };
        Self { position, replica, stream, init: spec.init, rows, columns, fans }
    }

    fn count(&self) -> usize {
        self.rows * self.columns
    }

    /// Whether all threads share it, instead of each thread drawing another parameter.
    fn is_large(&self) -> bool {
        self.rows > ONE_BY_ONE
    }

    /// Values to draw, and multiplications.
    fn work(&self) -> f64 {
        let orthogonal = if self.init == Init::Orthogonal { self.rows as f64 } else { 0.0 };
        (1.0 + orthogonal) * self.count() as f64
    }

    /// The values, row-major.
    fn values(&self, pool: &ThreadPool, watch: &Watch<'_>) -> Result<Vec<f64>> {
        let mut generator = self.stream.at(self.position as u64);
        let mut values = vec![0.0; self.count()];
        let mut fill = |draw: &mut dyn FnMut() -> f64| {
            values.chunks_mut(AT_A_TIME).try_for_each(|some| {
                some.fill_with(&mut *draw);
                watch(some.len() as f64)
            })
        };
        match self.init {
            Init::GlorotUniform => {
                let limit = (6.0 / self.fans as f64).sqrt();
                fill(&mut || generator.random_range(-limit..limit))?;
            }
            Init::Uniform => fill(&mut || generator.random_range(-0.05..0.05))?,
            Init::Orthogonal => {
                fill(&mut || generator.sample(StandardNormal))?;
                orthonormalise(&mut values, self.columns, pool, watch)?;
            }
            Init::UnitForgetBias => values[self.columns / 4..self.columns / 2].fill(1.0),
            Init::Zeros => {}
        }
        Ok(values)
    }
}

/// Values that are drawn between two calls of [`Watch`].
const AT_A_TIME: usize = 1 << 16;

/// Work below which starting threads does not pay.
const LITTLE: f64 = 1e7;

/// Bytes that [`Parameters::initialise`] takes beside the parameters themselves: the values drawn
/// at the same time, in float64, and one parameter again as a tensor.
pub fn drawing_bytes(specs: &[ParameterSpec], replicas: i64, threads: usize) -> f64 {
    let draws = specs.iter().map(|spec| Initial::new(spec, 0, 0, 0));
    let (large, mut small): (Vec<_>, Vec<_>) = draws.partition(Initial::is_large);
    small.sort_by_key(|draw| Reverse(draw.count()));
    let bytes = |draw: &Initial| 8.0 * draw.count() as f64;
    let large = large.iter().map(|draw| 2.0 * bytes(draw)).fold(0.0, f64::max);
    let each = small.iter().flat_map(|draw| std::iter::repeat_n(draw, replicas as usize));
    let together: f64 = each.take(threads).map(bytes).sum();
    large.max(together + small.first().map_or(0.0, bytes))
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
    /// If there is not enough memory for the parameters and their gradient.
    pub fn zeros(
        specs: Vec<ParameterSpec>,
        replicas: i64,
        kind: Kind,
        device: Device,
    ) -> Result<Self, TchError> {
        let mut counts = specs.iter().map(|spec| spec.count().checked_mul(replicas));
        let total = counts.try_fold(0_i64, |sum, count| sum.checked_add(count?));
        let total = total.ok_or_else(|| TchError::Shape("too many parameters".to_owned()))?;
        let flat = Tensor::f_zeros([total], (kind, device))?;
        let gradient = flat.f_zeros_like()?;
        let mut parameters = Self { specs, replicas, flat, gradient, leaves: Vec::new() };
        let values = parameters.split(&parameters.flat)?;
        for (value, gradient) in values.iter().zip(parameters.split(&parameters.gradient)?) {
            parameters.leaves.push(leaf(value, &gradient)?);
        }
        Ok(parameters)
    }

    /// Draws every parameter, with up to `threads` threads; replica k's depend on `seeds[k]` alone.
    /// `watch` is called with the fraction of the work that was just done.
    ///
    /// # Errors
    /// Those of `watch`, which end the work, and a shortage of memory.
    pub fn initialise(&mut self, seeds: &[u64], threads: usize, watch: &Watch<'_>) -> Result<()> {
        let of = |(position, spec)| {
            let replicas = seeds.iter().enumerate();
            replicas.map(move |(replica, &seed)| Initial::new(spec, position, replica, seed))
        };
        let mut draws: Vec<Initial> = self.specs.iter().enumerate().flat_map(of).collect();
        let work: f64 = draws.iter().map(Initial::work).sum();
        let watch = |done: f64| watch(done / work);
        // Those drawn at the same time then take about equally long.
        draws.sort_by(|a, b| b.work().total_cmp(&a.work()));
        let (large, small): (Vec<_>, Vec<_>) = draws.into_iter().partition(Initial::is_large);
        let (pool, alone) =
            (ThreadPool::new(if work < LITTLE { 1 } else { threads }), ThreadPool::new(1));
        for draw in large {
            self.set(&draw, &draw.values(&pool, &watch)?)?;
        }
        for some in small.chunks(pool.threads()) {
            let mut drawn: Vec<_> = some.iter().map(|draw| (draw, Ok(Vec::new()))).collect();
            pool.each(&mut drawn, |(draw, values)| *values = draw.values(&alone, &watch));
            for (draw, values) in drawn {
                self.set(draw, &values?)?;
            }
        }
        Ok(())
    }

    fn set(&self, draw: &Initial, values: &[f64]) -> Result<(), TchError> {
        let parameter = &self.split(&self.flat)?[draw.position];
        let mut target = parameter.f_select(0, draw.replica as i64)?;
        let values = Tensor::f_from_slice(values)?.f_view(target.size().as_slice())?;
        device::fill(&mut target, &values)
    }

    /// The specs of the parameters, in order.
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
    /// If `buffer` is smaller than the parameters.
    pub fn split(&self, buffer: &Tensor) -> Result<Vec<Tensor>, TchError> {
        let mut offset = 0;
        let part = |spec: &ParameterSpec| {
            let count = spec.count() * self.replicas;
            let part = buffer.f_narrow(0, offset, count)?;
            offset += count;
            let shape = std::iter::once(self.replicas).chain(spec.shape.iter().copied());
            part.f_view(shape.collect::<Vec<_>>().as_slice())
        };
        self.specs.iter().map(part).collect()
    }

    /// Whether all parameters of each replica are finite. Waits for the device.
    pub fn finite(&self) -> Result<Vec<bool>, TchError> {
        let finite = |part: &Tensor| part.f_isfinite()?.f_flatten(1, -1)?.f_all_dim(1, false);
        let parts = self.split(&self.flat)?;
        let finite = parts.iter().map(finite).collect::<Result<Vec<_>, _>>()?;
        let finite = device::download(&Tensor::f_stack(&finite, 0)?.f_all_dim(0, false)?)?;
        Ok(finite.into_iter().map(|finite| finite != 0.0).collect())
    }

    /// Where the parameter called `name` of replica `replica` lies in [`Parameters::flat`]; `None`
    /// if the model has no such parameter.
    pub fn range(&self, name: &str, replica: usize) -> Option<Range<usize>> {
        let found = self.specs.iter().position(|spec| spec.name == name)?;
        let count = |spec: &ParameterSpec| spec.count() as usize;
        let before: usize = self.specs[..found].iter().map(count).sum();
        let (replicas, count) = (self.replicas as usize, count(&self.specs[found]));
        let start = before * replicas + replica * count;
        Some(start..start + count)
    }

    /// Every parameter of every replica, in the order of [`Parameters::flat`]: the replica, and where
    /// it lies there.
    pub fn ranges(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let replicas = self.replicas as usize;
        let each = self.specs.iter().flat_map(move |spec| {
            (0..replicas).map(move |replica| (replica, spec.count() as usize))
        });
        each.scan(0, |start, (replica, count)| {
            let range = *start..*start + count;
            *start = range.end;
            Some((replica, range))
        })
    }

    /// Copies replica `replica`'s part of `from` to `to`, both laid out as [`Parameters::flat`].
    ///
    /// # Errors
    /// libtorch's.
    pub fn copy_replica(&self, replica: usize, from: &Tensor, to: &Tensor) -> Result<(), TchError> {
        for (_, range) in self.ranges().filter(|(of, _)| *of == replica) {
            let part = |of: &Tensor| of.f_narrow(0, range.start as i64, range.len() as i64);
            device::fill(&mut part(to)?, &part(from)?)?;
        }
        Ok(())
    }

    /// Computes the gradient of the sum of all `losses`.
    ///
    /// # Errors
    /// If `losses` depend on no parameter, or memory is short.
    pub fn backward(&mut self, losses: &Tensor) -> Result<(), TchError> {
        let _ = self.gradient.f_zero_()?;
        losses.f_sum(losses.kind())?.f_backward()
    }

    /// The same by fewer operations, each of which is a launch on a GPU. A CPU takes longer, since the gradients of all
    /// parameters are there at the same time.
    ///
    /// # Errors
    /// As [`Parameters::backward`].
    pub fn backward_in_few_launches(&mut self, losses: &Tensor) -> Result<(), TchError> {
        let found = Tensor::f_run_backward(&[losses], &self.leaves, false, false)?;
        let parts = found.into_iter().zip(&self.leaves).map(|(gradient, leaf)| {
            // Of a parameter that no loss depends on there is none.
            let gradient = if gradient.defined() { gradient } else { leaf.f_zeros_like()? };
            gradient.f_reshape([-1])
        });
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        let _ = Tensor::f_cat_out(&self.gradient, &parts, 0)?;
        Ok(())
    }
}

/// A leaf of the autograd graph in the memory of `value`, with its gradient in that of `gradient`.
fn leaf(value: &Tensor, gradient: &Tensor) -> Result<Tensor, TchError> {
    let leaf = value.f_detach()?.f_set_requires_grad(true)?;
    // `grad` exists, and its memory can be replaced, only after a first backward pass.
    leaf.f_sum(value.kind())?.f_backward()?;
    leaf.f_grad()?.f_set_data(gradient)?;
    Ok(leaf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix or a vector drawn with a seed.
    fn drawn<const AXES: usize>(init: Init, shape: [i64; AXES], seed: u64) -> Vec<f64> {
        let spec = ParameterSpec::new("layer", "weight", &shape, init);
        Initial::new(&spec, 1, 0, seed).values(&ThreadPool::new(1), &|_| Ok(())).unwrap()
    }

    #[test]
    fn orthogonal_rows_are_orthonormal_and_keep_the_gaussian_directions() {
        let (rows, columns) = (7, 28);
        let q = drawn(Init::Orthogonal, [7, 28], 3);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for i in 0..rows {
            for j in 0..rows {
                let product = dot(&q[i * columns..][..columns], &q[j * columns..][..columns]);
                let expected = f64::from(u8::from(i == j));
                assert!((product - expected).abs() < 1e-14, "rows {i} and {j}: {product}");
            }
        }
        let mut generator = Stream::new(3, Purpose::Weights).at(1);
        let first: Vec<f64> = (0..columns).map(|_| generator.sample(StandardNormal)).collect();
        let norm = dot(&first, &first).sqrt();
        assert!(q[..columns].iter().zip(&first).all(|(q, g)| (q - g / norm).abs() < 1e-14));
    }

    /// Small and large ones, alone and among others, by one thread and by three.
    #[test]
    fn a_replica_is_drawn_alike_beside_others_and_by_any_number_of_threads() {
        let large = ONE_BY_ONE as i64 + 1;
        let specs = vec![
            ParameterSpec::new("a", "kernel", &[3, 500], Init::GlorotUniform),
            ParameterSpec::new("a", "recurrent_kernel", &[125, 500], Init::Orthogonal),
            ParameterSpec::new("a", "bias", &[500], Init::UnitForgetBias),
            ParameterSpec::new("b", "recurrent_kernel", &[large, large], Init::Orthogonal),
        ];
        let [together, alone] = [(&[5, 6][..], 3), (&[6], 1)].map(|(seeds, threads)| {
            let (specs, replicas) = (specs.clone(), seeds.len() as i64);
            let mut parameters =
                Parameters::zeros(specs, replicas, Kind::Double, device::host()).unwrap();
            parameters.initialise(seeds, threads, &|_| Ok(())).unwrap();
            let parts = parameters.split(parameters.flat()).unwrap();
            let last = parts.iter().map(|part| part.select(0, replicas - 1));
            last.map(|part| device::download(&part).unwrap()).collect::<Vec<_>>()
        });
        assert!(together == alone);
        assert!(together.concat().iter().all(|x| x.is_finite()));
    }

    #[test]
    fn glorot_fills_its_range_evenly() {
        let matrix = (drawn(Init::GlorotUniform, [100, 64], 0), 164.0);
        let vector = (drawn(Init::GlorotUniform, [6400], 0), 2.0 * 6400.0);
        for (draw, fans) in [matrix, vector] {
            let limit = (6.0f64 / fans).sqrt();
            assert!(draw.iter().all(|x| x.abs() <= limit));
            let mean = draw.iter().sum::<f64>() / draw.len() as f64;
            let variance = draw.iter().map(|x| x * x).sum::<f64>() / draw.len() as f64;
            assert!(mean.abs() < 4.0 * limit / (3.0 * draw.len() as f64).sqrt());
            assert!((variance / (limit * limit / 3.0) - 1.0).abs() < 0.05);
        }
    }

    #[test]
    fn only_the_forget_gate_is_biased() {
        let bias = drawn(Init::UnitForgetBias, [1, 8], 0);
        assert_eq!(bias, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
