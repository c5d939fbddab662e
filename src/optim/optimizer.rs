//! The optimiser of a training, on the flat parameter buffer.

use std::ops::Range;

use tch::{Kind, TchError, Tensor};

use super::clipping::clip;
use super::decay::weight_decay;
use super::memory::{Memory, ParameterSlice};
use super::rule::{Rule, Update};
use crate::config::Config;
use crate::kernels::float::Real;
use crate::kernels::thread_pool::ThreadPool;
use crate::optim::learning_rate::{Rates, Schedule};
use crate::tensor::parameters::Parameters;

/// Numbers that one thread updates at a time.
const PART: usize = 1 << 14;

/// Moves weights along their gradient by a [`Rule`], with each replica's learning rate.
#[derive(Debug)]
pub struct Optimizer {
    /// Each replica's learning rate.
    pub rates: Rates,
    rule: Rule,
    weight_decay: f64,
    global_clipnorm: Option<f64>,
    /// t: updates done.
    pub step: i64,
    /// What the rule keeps of every weight, as [`Optimizer::slot_names`] calls it, each `(R · P)`
    /// of the weights' dtype and laid out as [`Parameters::flat`].
    pub slots: Vec<Tensor>,
}

/// An update as libtorch operations take it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The stretches of [`Parameters::flat`] that it moves.
    pub ranges: Vec<Range<usize>>,
    /// Of each, the rule's step size and the part of every weight that its decay takes off.
    pub factors: Vec<f64>,
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
            rates: Rates::new(Schedule::new(config, steps), parameters.replicas()),
            rule,
            weight_decay: weight_decay(config),
            global_clipnorm: config.global_clipnorm,
            step: 0,
            slots: rule.slots().iter().map(zeros).collect::<Result<_, _>>()?,
        })
    }

    /// The names of its slots in checkpoints.
    pub fn slot_names(&self) -> &'static [&'static str] {
        self.rule.slots()
    }

    /// Moves `parameters`, on the CPU, along the gradient they hold. Where clipping is on, returns the norm
    /// `(R)` of each replica's gradient before it was clipped.
    ///
    /// # Errors
    /// libtorch's.
    pub fn update(
        &mut self,
        parameters: &Parameters,
        pool: &ThreadPool,
    ) -> Result<Option<Tensor>, TchError> {
        let norm = self.clip(parameters)?;
        match parameters.flat().kind() {
            Kind::Double => self.update_in_one_pass::<f64>(parameters, pool)?,
            _ => self.update_in_one_pass::<f32>(parameters, pool)?,
        }
        Ok(norm)
    }

    /// Clips the gradient, if it is to be. Returns the norm `(R)` before that.
    fn clip(&self, parameters: &Parameters) -> Result<Option<Tensor>, TchError> {
        self.global_clipnorm.map(|most| clip(parameters, most)).transpose()
    }

    /// Counts an update, which is the caller's to do by [`Optimizer::update_by_operations`].
    pub fn plan(&mut self, parameters: &Parameters) -> Plan {
        let stretches = stretches(parameters, &self.begin());
        let factors = stretches.iter().flat_map(|(_, update)| update.factors()).collect();
        Plan { ranges: stretches.into_iter().map(|(range, _)| range).collect(), factors }
    }

    /// [`Optimizer::update`] as libtorch operations, on any device, as [`Optimizer::plan`] has it; what it
    /// needs of the host is in `factors`, float64 on the device, two of each range, so that the same operations
    /// serve every update of these `ranges`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn update_by_operations(
        &self,
        parameters: &Parameters,
        ranges: &[Range<usize>],
        factors: &Tensor,
    ) -> Result<Option<Tensor>, TchError> {
        let norm = self.clip(parameters)?;
        let factors = factors.f_to_kind(parameters.flat().kind())?.f_unbind(0)?;
        for (range, factors) in ranges.iter().zip(factors.chunks_exact(2)) {
            let part = |of: &Tensor| of.f_narrow(0, range.start as i64, range.len() as i64);
            let mut slots = self.slots.iter().map(part).collect::<Result<Vec<_>, _>>()?;
            let (mut theta, gradient) = (part(parameters.flat())?, part(parameters.gradient())?);
            let [rate, decayed] = factors else { continue };
            if self.weight_decay > 0.0 {
                let decay = theta.f_mul(decayed)?;
                let _ = theta.f_sub_(&decay)?;
            }
            self.rule.apply_by_operations(rate, &mut theta, &mut slots, &gradient)?;
        }
        Ok(norm)
    }

    /// The most that a replica's gradient may have as its norm, if it is clipped: then an update needs the
    /// whole gradient before it begins.
    pub fn clipnorm(&self) -> Option<f64> {
        self.global_clipnorm
    }

    /// Counts an update, which is the caller's to apply to every parameter of each replica; `None` is one
    /// that has stopped.
    pub fn begin(&mut self) -> Vec<Option<Update>> {
        self.step += 1;
        let mut last: Option<(f64, Update)> = None;
        let update = |replica| {
            let rate = self.learning_rate(self.step, replica)?;
            let same = last.filter(|(of, _)| *of == rate);
            let new = || (rate, Update::new(self.rule, self.weight_decay, rate, self.step));
            last = Some(same.unwrap_or_else(new));
            last.map(|(_, update)| update)
        };
        (0..self.rates.stopped().len()).map(update).collect()
    }

    /// The learning rate of a replica in update `step`, from 1, unless it has stopped.
    pub fn learning_rate(&self, step: i64, replica: usize) -> Option<f64> {
        self.rates.at(step - 1, replica)
    }

    /// Where the parameters, their slots and their gradient lie, in the order of
    /// [`Parameters::flat`].
    ///
    /// # Errors
    /// If they are not numbers of type `F` on the CPU.
    pub fn memory<F: Real>(&mut self, parameters: &Parameters) -> Result<Memory<F>, TchError> {
        Memory::new(parameters, &self.slots)
    }

    /// The update on the CPU, every number read and written once.
    fn update_in_one_pass<F: Real>(
        &mut self,
        parameters: &Parameters,
        pool: &ThreadPool,
    ) -> Result<(), TchError> {
        let updates = self.begin();
        let memory = self.memory::<F>(parameters)?;
        let mut parts = Vec::new();
        for (range, update) in stretches(parameters, &updates) {
            // SAFETY: the optimiser and the parameters are the caller's for so long, and no two
            // stretches overlap.
            let of_it = unsafe { memory.parts(range, PART) };
            parts.extend(of_it.into_iter().map(|part| (update, part)));
        }
        pool.each(&mut parts, |(update, ParameterSlice { theta, slots, gradient })| {
            update.apply(theta, slots, gradient)
        });
        Ok(())
    }
}

/// The stretches of the flat buffer that one update is for, with it: one over all of it where every
/// replica has the same, none of a replica that has none.
fn stretches(parameters: &Parameters, updates: &[Option<Update>]) -> Vec<(Range<usize>, Update)> {
    let mut stretches: Vec<(Range<usize>, Update)> = Vec::new();
    for (replica, range) in parameters.ranges() {
        let Some(update) = updates[replica] else { continue };
        match stretches.last_mut() {
            Some((last, of)) if last.end == range.start && *of == update => last.end = range.end,
            _ => stretches.push((range, update)),
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;
    use crate::config::{LearningRateSchedule, OptimizerKind};
    use crate::model::Model;
    use crate::tensor::device;

    /// Every rule, with and without what it may have besides.
    fn rules() -> Vec<Config> {
        let config = Config {
            units: 3,
            replicas: 2,
            warmup_steps: Some(2),
            learning_rate: 0.03,
            learning_rate_schedule: LearningRateSchedule::Cosine,
            ..presets::all().swap_remove(0).config
        };
        let of = |optimizer| Config { optimizer, ..config.clone() };
        let (adam, rmsprop, sgd) =
            (of(OptimizerKind::Adam), of(OptimizerKind::RmsProp), of(OptimizerKind::Sgd));
        let momentum = Some(0.8);
        vec![
            Config { weight_decay: Some(0.5), ..rmsprop.clone() },
            Config { momentum, ..rmsprop },
            Config { momentum, weight_decay: Some(0.1), ..sgd.clone() },
            Config { momentum, nesterov: Some(true), ..sgd.clone() },
            of(OptimizerKind::AdamW),
            adam,
            sgd,
        ]
    }

    /// The weights after some updates.
    fn updated(config: &Config, kind: Kind, one_pass: bool) -> Tensor {
        let pool = ThreadPool::new(2);
        let specs = Model::new(config).parameters();
        let parameters = Parameters::zeros(specs, 2, kind, device::host()).unwrap();
        let n = parameters.flat().numel() as i64;
        let numbers = Tensor::arange(n, (kind, device::host())) * 0.01 - 3.0;
        parameters.flat().shallow_clone().copy_(&numbers.sin());
        let mut optimizer = Optimizer::new(config, 4, &parameters).unwrap();
        for step in 1..=5 {
            parameters.gradient().shallow_clone().copy_(&(&numbers * step));
            match (one_pass, kind) {
                (false, _) => {
                    let Plan { ranges, factors } = optimizer.plan(&parameters);
                    let factors = Tensor::from_slice(&factors);
                    optimizer
                        .update_by_operations(&parameters, &ranges, &factors)
                        .map(drop)
                        .unwrap()
                }
                (true, Kind::Double) => {
                    optimizer.update_in_one_pass::<f64>(&parameters, &pool).unwrap()
                }
                (true, _) => optimizer.update_in_one_pass::<f32>(&parameters, &pool).unwrap(),
            }
        }
        parameters.flat().copy()
    }

    #[test]
    fn one_pass_and_operations_agree() {
        for config in rules() {
            for (kind, tolerance) in [(Kind::Double, 2e-15), (Kind::Float, 1e-6)] {
                let [one, other] = [true, false].map(|pass| updated(&config, kind, pass));
                let error = (one - other).abs().max().double_value(&[]);
                assert!(error <= tolerance, "{} {kind:?}: {error:e}", config.optimizer);
            }
        }
    }

    /// Processors take many times as long over subnormal numbers.
    #[test]
    fn moments_without_a_gradient_end_at_zero() {
        for config in rules() {
            let config = Config { beta_2: 0.9, momentum: config.momentum.map(|_| 0.9), ..config };
            let (pool, specs) = (ThreadPool::new(1), Model::new(&config).parameters());
            let parameters = Parameters::zeros(specs, 2, Kind::Float, device::host()).unwrap();
            let _ = parameters.gradient().shallow_clone().fill_(1e-3);
            let mut optimizer = Optimizer::new(&config, 1000, &parameters).unwrap();
            for _ in 0..1000 {
                optimizer.update_in_one_pass::<f32>(&parameters, &pool).unwrap();
                let _ = parameters.gradient().shallow_clone().zero_();
            }
            for (slot, name) in optimizer.slots.iter().zip(optimizer.slot_names()) {
                let largest = slot.abs().max().double_value(&[]);
                assert_eq!(largest, 0.0, "{name} of {}", config.optimizer);
            }
        }
    }
}
