//! Adam, on the flat parameter buffer.

use std::ops::Range;

use tch::{Kind, TchError, Tensor};

use crate::config::Config;
use crate::kernels::float::{Real, widest};
use crate::kernels::simd::prefetch_to_write;
use crate::kernels::thread_pool::ThreadPool;
use crate::optim::learning_rate::Schedule;
use crate::tensor::device;
use crate::tensor::parameters::Parameters;
use crate::tensor::slices::slice_mut;

/// Numbers that one thread updates at a time.
const PART: usize = 1 << 14;

/// Adam (Kingma and Ba, 2015) as Keras writes it, with ε outside the bias correction:
///
/// ```text
/// m ← β₁m + (1 − β₁)g        v ← β₂v + (1 − β₂)g²        t ← t + 1
/// θ ← θ − lr · √(1 − β₂ᵗ)/(1 − β₁ᵗ) · m / (√v + ε)
/// ```
///
/// with the schedule's lr for that update. PyTorch corrects v before it adds ε, which makes early
/// steps differ.
#[derive(Debug)]
pub struct Adam {
    schedule: Schedule,
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    global_clipnorm: Option<f64>,
    /// t: updates done.
    pub step: i64,
    /// First moment m, laid out as [`Parameters::flat`].
    pub m: Tensor,
    /// Second moment v, laid out as [`Parameters::flat`].
    pub v: Tensor,
}

impl Adam {
    /// An optimiser of `parameters` that has done none of so many `steps`.
    ///
    /// # Errors
    /// libtorch's, above all when memory is short.
    pub fn new(config: &Config, steps: i64, parameters: &Parameters) -> Result<Self, TchError> {
        let zeros = || parameters.flat().f_zeros_like();
        Ok(Self {
            schedule: Schedule::new(config, steps),
            beta_1: config.beta_1,
            beta_2: config.beta_2,
            epsilon: config.epsilon,
            global_clipnorm: config.global_clipnorm,
            step: 0,
            m: zeros()?,
            v: zeros()?,
        })
    }

    /// Moves `parameters` along the gradient they hold. Where clipping is on, returns the norm
    /// `(R)` of each replica's gradient before it was clipped.
    ///
    /// # Errors
    /// libtorch's.
    pub fn update(
        &mut self,
        parameters: &Parameters,
        pool: &ThreadPool,
    ) -> Result<Option<Tensor>, TchError> {
        let norm = self.global_clipnorm.map(|most| clip(parameters, most)).transpose()?;
        match (device::is_host(self.m.device()), self.m.kind()) {
            (false, _) => self.update_by_operations(parameters)?,
            (true, Kind::Double) => self.update_in_one_pass::<f64>(parameters, pool)?,
            (true, _) => self.update_in_one_pass::<f32>(parameters, pool)?,
        }
        Ok(norm)
    }

    /// Whether an update needs the whole gradient before it begins.
    pub fn clips(&self) -> bool {
        self.global_clipnorm.is_some()
    }

    /// Counts an update, which is the caller's to apply to every parameter.
    pub fn begin<F: Real>(&mut self) -> Update<F> {
        let rate = self.count();
        Update {
            weights: [F::from_f64(1.0 - self.beta_1), F::from_f64(1.0 - self.beta_2)],
            epsilon_and_rate: [F::from_f64(self.epsilon), F::from_f64(rate)],
        }
    }

    /// The learning rate of update `step`, from 1.
    pub fn learning_rate(&self, step: i64) -> f64 {
        self.schedule.at(step - 1)
    }

    /// Counts an update and returns its step size, lr · √(1 − β₂ᵗ)/(1 − β₁ᵗ).
    fn count(&mut self) -> f64 {
        self.step += 1;
        let t = self.step as f64;
        self.learning_rate(self.step) * (1.0 - self.beta_2.powf(t)).sqrt()
            / (1.0 - self.beta_1.powf(t))
    }

    /// Where the parameters, their moments and their gradient lie, in the order of
    /// [`Parameters::flat`].
    ///
    /// # Errors
    /// If they are not numbers of type `F` on the CPU.
    pub fn memory<F: Real>(&mut self, parameters: &Parameters) -> Result<Memory<F>, TchError> {
        let n = self.m.numel();
        // SAFETY: the slices are gone before anything else is done with the tensors.
        let start = |of: &Tensor| unsafe { slice_mut(of, 0, n).map(<[F]>::as_mut_ptr) };
        Ok(Memory {
            theta: start(parameters.flat())?,
            m: start(&self.m)?,
            v: start(&self.v)?,
            gradient: start(parameters.gradient())?,
            n,
        })
    }

    /// The update as libtorch operations, on any device.
    fn update_by_operations(&mut self, parameters: &Parameters) -> Result<(), TchError> {
        let rate = self.count();
        let gradient = parameters.gradient();
        let _ = self.m.f_lerp_(gradient, 1.0 - self.beta_1)?;
        let _ = self.v.f_lerp_(&gradient.f_square()?, 1.0 - self.beta_2)?;
        let change = self.m.f_div(&self.v.f_sqrt()?.f_add_scalar_(self.epsilon)?)?;
        let _ = parameters.flat().shallow_clone().f_sub_(&change.f_mul_scalar(rate)?)?;
        Ok(())
    }

    /// The update on the CPU, every number read and written once.
    fn update_in_one_pass<F: Real>(
        &mut self,
        parameters: &Parameters,
        pool: &ThreadPool,
    ) -> Result<(), TchError> {
        let update = self.begin();
        let memory = self.memory::<F>(parameters)?;
        // SAFETY: the optimiser and the parameters are the caller's for so long.
        let mut all = unsafe { memory.share(0..memory.n) };
        let mut parts = Vec::new();
        while !all.gradient.is_empty() {
            parts.push(all.take(PART.min(all.gradient.len())));
        }
        pool.each(&mut parts, |ParameterSlice { theta, m, v, gradient }| {
            update.apply(theta, m, v, gradient)
        });
        Ok(())
    }
}

/// Where n parameters, their moments and their gradient lie. They stay there as long as the
/// [`Parameters`] and the [`Adam`] they are of.
#[derive(Debug, Clone, Copy)]
pub struct Memory<F> {
    theta: *mut F,
    m: *mut F,
    v: *mut F,
    gradient: *mut F,
    n: usize,
}

// SAFETY: it is plain memory; whoever makes slices of it promises that no two clash.
unsafe impl<F: Send> Send for Memory<F> {}
// SAFETY: as above.
unsafe impl<F: Sync> Sync for Memory<F> {}

impl<F> Memory<F> {
    /// The parameters at `range`.
    ///
    /// # Safety
    /// They outlive the slice, and nobody writes to them meanwhile.
    pub unsafe fn weights<'a>(&self, range: &Range<usize>) -> &'a [F] {
        assert!(range.start <= range.end && range.end <= self.n);
        // SAFETY: within the buffer; the caller's promise.
        unsafe { std::slice::from_raw_parts(self.theta.add(range.start), range.len()) }
    }

    /// The parameters at `range` with their moments and gradient.
    ///
    /// # Safety
    /// They outlive the share, and nobody else reads or writes them meanwhile.
    pub unsafe fn share<'a>(&self, range: Range<usize>) -> ParameterSlice<'a, F> {
        assert!(range.start <= range.end && range.end <= self.n);
        // SAFETY: within the buffers, which are distinct; the caller's promise.
        let part = |buffer: *mut F| unsafe {
            std::slice::from_raw_parts_mut(buffer.add(range.start), range.len())
        };
        ParameterSlice {
            theta: part(self.theta),
            m: part(self.m),
            v: part(self.v),
            gradient: part(self.gradient),
        }
    }
}

/// Some parameters with their moments and gradient, all of one length.
pub struct ParameterSlice<'a, F> {
    /// The parameters.
    pub theta: &'a mut [F],
    /// Their first moment.
    pub m: &'a mut [F],
    /// Their second moment.
    pub v: &'a mut [F],
    /// The gradient.
    pub gradient: &'a mut [F],
}

impl<'a, F> ParameterSlice<'a, F> {
    /// Takes the first `n` of them off.
    pub fn take(&mut self, n: usize) -> Self {
        fn front<'a, F>(numbers: &mut &'a mut [F], n: usize) -> &'a mut [F] {
            let (front, rest) = std::mem::take(numbers).split_at_mut(n);
            *numbers = rest;
            front
        }
        Self {
            theta: front(&mut self.theta, n),
            m: front(&mut self.m, n),
            v: front(&mut self.v, n),
            gradient: front(&mut self.gradient, n),
        }
    }
}

/// One update of Adam.
#[derive(Debug, Clone, Copy)]
pub struct Update<F> {
    weights: [F; 2],
    epsilon_and_rate: [F; 2],
}

impl<F: Real> Update<F> {
    /// Updates parameters and their moments m and v by their gradient.
    pub fn apply(&self, theta: &mut [F], m: &mut [F], v: &mut [F], gradient: &[F]) {
        adam(theta, m, v, gradient, self.weights, self.epsilon_and_rate);
    }
}

widest! {
    /// Adam's update of every number.
    adam<F: Real>(
        theta: &mut [F], m: &mut [F], v: &mut [F], gradient: &[F],
        weights: [F; 2], epsilon_and_rate: [F; 2],
    ) by adam_body
}

#[inline(always)]
fn adam_body<F: Real>(
    theta: &mut [F],
    m: &mut [F],
    v: &mut [F],
    gradient: &[F],
    [weight_1, weight_2]: [F; 2],
    [epsilon, rate]: [F; 2],
) {
    for first in (0..theta.len()).step_by(CHUNK) {
        let chunk = first..theta.len().min(first + CHUNK);
        let (theta, m, v) =
            (&mut theta[chunk.clone()], &mut m[chunk.clone()], &mut v[chunk.clone()]);
        for line in (0..CHUNK).step_by(64 / size_of::<F>()) {
            for numbers in [theta.as_ptr(), m.as_ptr(), v.as_ptr()] {
                prefetch_to_write(numbers.wrapping_add(AHEAD + line));
            }
        }
        for (((theta, m), v), &g) in theta.iter_mut().zip(m).zip(v).zip(&gradient[chunk]) {
            *m = *m + (g - *m) * weight_1;
            *v = *v + (g * g - *v) * weight_2;
            *theta = *theta - rate * *m / (v.sqrt() + epsilon);
        }
    }
}

/// Numbers that are asked for at a time.
const CHUNK: usize = 64;

/// How many numbers ahead an update asks for: other threads have read the parameters, and to take
/// these back one by one would cost more than the arithmetic.
const AHEAD: usize = 256;

/// Scales every replica's gradient g by min(1, `most` / ‖g‖₂), the norm taken over all of its
/// parameters, and returns ‖g‖₂ `(R)`. A norm that is not finite stays what it is.
fn clip(parameters: &Parameters, most: f64) -> Result<Tensor, TchError> {
    let mut parts = parameters.split(parameters.gradient())?;
    let squares: Result<Vec<_>, _> = parts
        .iter()
        .map(|part| {
            part.f_flatten(1, -1)?.f_square()?.f_sum_dim_intlist(
                [-1].as_slice(),
                false,
                None::<Kind>,
            )
        })
        .collect();
    let norm = Tensor::f_stack(&squares?, 0)?
        .f_sum_dim_intlist([0].as_slice(), false, None::<Kind>)?
        .f_sqrt()?;
    let scale = norm.f_reciprocal()?.f_mul_scalar(most)?.f_clamp_max(1.0)?;
    for part in &mut parts {
        let mut shape = vec![1; part.dim()];
        shape[0] = parameters.replicas();
        let _ = part.f_mul_(&scale.f_view(shape.as_slice())?)?;
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LearningRateSchedule;
    use crate::config::presets;
    use crate::model::Model;

    #[test]
    fn one_pass_and_operations_agree() {
        let pool = ThreadPool::new(2);
        let config = Config {
            units: 3,
            replicas: 2,
            warmup_steps: Some(2),
            learning_rate_schedule: LearningRateSchedule::Cosine,
            ..presets::all().swap_remove(0).config
        };
        for (kind, tolerance) in [(Kind::Double, 1e-15), (Kind::Float, 1e-7)] {
            let mut results = Vec::new();
            for one_pass in [true, false] {
                let specs = Model::new(&config).parameters();
                let parameters = Parameters::zeros(specs, 2, kind, device::host()).unwrap();
                let mut adam = Adam::new(&config, 4, &parameters).unwrap();
                for step in 1..=5 {
                    let n = parameters.flat().numel() as i64;
                    let gradient = Tensor::arange(n, (kind, device::host())) * 0.01 * step - 3.0;
                    parameters.gradient().shallow_clone().copy_(&gradient);
                    match (one_pass, kind) {
                        (false, _) => adam.update_by_operations(&parameters).unwrap(),
                        (true, Kind::Double) => {
                            adam.update_in_one_pass::<f64>(&parameters, &pool).unwrap()
                        }
                        (true, _) => adam.update_in_one_pass::<f32>(&parameters, &pool).unwrap(),
                    }
                }
                results.push(parameters.flat().copy());
            }
            let error = (&results[0] - &results[1]).abs().max().double_value(&[]);
            assert!(error <= tolerance, "{kind:?}: {error:e}");
        }
    }
}
