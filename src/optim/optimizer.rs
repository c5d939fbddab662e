//! The optimiser of a training, on the flat parameter buffer.

use tch::{Kind, TchError, Tensor};

use super::clipping::clip;
use super::memory::{Memory, ParameterSlice};
use super::rule::{Rule, Update};
use crate::config::Config;
use crate::kernels::float::Real;
use crate::kernels::thread_pool::ThreadPool;
use crate::optim::learning_rate::Schedule;
use crate::tensor::device;
use crate::tensor::parameters::Parameters;

/// Numbers that one thread updates at a time.
const PART: usize = 1 << 14;

/// Moves weights along their gradient by a [`Rule`], with the schedule's learning rate.
#[derive(Debug)]
pub struct Optimizer {
    schedule: Schedule,
    rule: Rule,
    global_clipnorm: Option<f64>,
    /// t: updates done.
    pub step: i64,
    /// What the rule keeps of every weight, as [`Optimizer::slot_names`] calls it, each `(R · P)`
    /// of the weights' dtype and laid out as [`Parameters::flat`].
    pub slots: Vec<Tensor>,
}

impl Optimizer {
    /// An optimiser of `parameters` that has done none of so many `steps`.
    ///
    /// # Errors
    /// libtorch's, above all when memory is short.
    pub fn new(config: &Config, steps: i64, parameters: &Parameters) -> Result<Self, TchError> {
        let rule = Rule::new(config);
        let zeros = |_: &&str| parameters.flat().f_zeros_like();
        Ok(Self {
            schedule: Schedule::new(config, steps),
            rule,
            global_clipnorm: config.global_clipnorm,
            step: 0,
            slots: rule.slots().iter().map(zeros).collect::<Result<_, _>>()?,
        })
    }

    /// The names of its slots in checkpoints.
    pub fn slot_names(&self) -> &'static [&'static str] {
        self.rule.slots()
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
        let flat = parameters.flat();
        match (device::is_host(flat.device()), flat.kind()) {
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
    pub fn begin(&mut self) -> Update {
        self.step += 1;
        Update::new(self.rule, self.learning_rate(self.step), self.step)
    }

    /// The learning rate of update `step`, from 1.
    pub fn learning_rate(&self, step: i64) -> f64 {
        self.schedule.at(step - 1)
    }

    /// Where the parameters, their slots and their gradient lie, in the order of
    /// [`Parameters::flat`].
    ///
    /// # Errors
    /// If they are not numbers of type `F` on the CPU.
    pub fn memory<F: Real>(&mut self, parameters: &Parameters) -> Result<Memory<F>, TchError> {
        Memory::new(parameters, &self.slots)
    }

    /// The update as libtorch operations, on any device.
    fn update_by_operations(&mut self, parameters: &Parameters) -> Result<(), TchError> {
        let mut theta = parameters.flat().shallow_clone();
        self.begin().apply_by_operations(&mut theta, &mut self.slots, parameters.gradient())
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
        let mut parts = unsafe { memory.parts(PART) };
        pool.each(&mut parts, |ParameterSlice { theta, slots, gradient }| {
            update.apply(theta, slots, gradient)
        });
        Ok(())
    }
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
                let mut optimizer = Optimizer::new(&config, 4, &parameters).unwrap();
                for step in 1..=5 {
                    let n = parameters.flat().numel() as i64;
                    let gradient = Tensor::arange(n, (kind, device::host())) * 0.01 * step - 3.0;
                    parameters.gradient().shallow_clone().copy_(&gradient);
                    match (one_pass, kind) {
                        (false, _) => optimizer.update_by_operations(&parameters).unwrap(),
                        (true, Kind::Double) => {
                            optimizer.update_in_one_pass::<f64>(&parameters, &pool).unwrap()
                        }
                        (true, _) => {
                            optimizer.update_in_one_pass::<f32>(&parameters, &pool).unwrap()
                        }
                    }
                }
                results.push(parameters.flat().copy());
            }
            let error = (&results[0] - &results[1]).abs().max().double_value(&[]);
            assert!(error <= tolerance, "{kind:?}: {error:e}");
        }
    }
}
