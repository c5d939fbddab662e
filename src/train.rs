//! The training loop.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use tch::{Device, TchError, Tensor};

use crate::config::{Config, EngineChoice};
use crate::curves::CurveRow;
use crate::device;
use crate::engine::{self, Engine, Libtorch};
use crate::error::Interrupted;
use crate::evaluate::Evaluator;
use crate::fused;
use crate::loss::Scores;
use crate::meter::{Means, Meter, diverged};
use crate::model::Model;
use crate::network::{self, Network, State};
use crate::optim::Adam;
use crate::parameters::Parameters;
use crate::rng::Purpose;
use crate::summary::Evaluation;
use crate::task::{Batch, Task};
use crate::team::Team;

/// What watches a training.
pub trait Observer {
    /// A step was done.
    fn step(&mut self);

    /// A logging point was reached: one row a replica.
    ///
    /// # Errors
    /// End the training.
    fn rows(&mut self, rows: Vec<CurveRow>) -> Result<()>;
}

/// How a training ended.
#[derive(Debug)]
pub enum Outcome {
    /// All epochs are done; each replica's means over the last.
    Finished(Vec<Means>),
    /// It was asked to stop.
    Interrupted,
}

/// R models in training, and the recurrent state they carry.
pub struct Trainer {
    config: Config,
    seeds: Vec<u64>,
    task: Task,
    device: Device,
    /// The models' weights.
    pub parameters: Parameters,
    network: Rc<Network>,
    engine: Box<dyn Engine>,
    team: Rc<Team>,
    /// Their optimiser.
    pub adam: Adam,
    /// What stateful layers hand to the next batch, cut from its gradient; `None`: zeros.
    pub carried: Option<State>,
    /// Epochs finished.
    pub epoch: i64,
    /// Optimiser steps done.
    pub step: i64,
    /// Samples seen by each replica.
    pub samples: i64,
    meter: Meter,
    rows_written: i64,
}

impl Trainer {
    /// Models with fresh weights for a validated configuration.
    ///
    /// # Errors
    /// An engine that does not compute on the device, and libtorch's, above all when memory is
    /// short.
    pub fn new(config: &Config, device: Device) -> Result<Self> {
        let seeds = config.seeds();
        let specs = Model::new(config).parameters();
        let kind = network::kind(config.dtype);
        let mut parameters = Parameters::zeros(specs, config.replicas, kind, device)?;
        parameters.initialise(&seeds)?;
        let network = Rc::new(Network::new(config, &parameters)?);
        let team = Rc::new(Team::new(device::threads(config)));
        let engine: Box<dyn Engine> = match engine::choose(config.engine, device)? {
            EngineChoice::Fused => fused::engine(config, &parameters, Rc::clone(&team))?,
            _ => Box::new(Libtorch { network: Rc::clone(&network), device }),
        };
        Ok(Self {
            task: Task::new(config),
            device,
            network,
            engine,
            team,
            adam: Adam::new(config, &parameters)?,
            parameters,
            carried: None,
            epoch: 0,
            step: 0,
            samples: 0,
            meter: Meter::new(&seeds),
            rows_written: 0,
            config: config.clone(),
            seeds,
        })
    }

    /// Trains to the end of the last epoch, or until `stop` is set.
    ///
    /// # Errors
    /// A loss that is not finite, the observer's errors and libtorch's.
    pub fn run(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
        let start = Instant::now();
        let task = self.task.clone();
        let (samples, batch_size) = (task.samples_per_epoch(), self.config.batch_size as usize);
        let mut last_epoch = Vec::new();
        while self.epoch < self.config.epochs {
            let data = task.epoch(&self.seeds, Purpose::Training, self.epoch as u64);
            self.carried = None;
            for first in (0..samples).step_by(batch_size) {
                if go_on(stop).is_err() {
                    return Ok(Outcome::Interrupted);
                }
                let batch = data.batch(first..samples.min(first + batch_size));
                let (scores, grad_norm) = self.learn(&batch)?;
                self.meter.add(scores, grad_norm, batch.size)?;
                observer.step();
                let ends_epoch = first + batch_size >= samples;
                if self.row_is_due(ends_epoch) {
                    match self.rows(start, stop) {
                        Err(error) if error.is::<Interrupted>() => return Ok(Outcome::Interrupted),
                        rows => observer.rows(rows?)?,
                    }
                }
            }
            self.epoch += 1;
            last_epoch = self.meter.take_epoch()?;
        }
        self.check_weights()?;
        Ok(Outcome::Finished(last_epoch))
    }

    /// Finds weights that the last update made useless, before any loss tells.
    fn check_weights(&self) -> Result<()> {
        let mut finite = vec![true; self.seeds.len()];
        for part in self.parameters.split(self.parameters.flat())? {
            let part = part.f_isfinite()?.f_flatten(1, -1)?.f_all_dim(1, false)?;
            for (all, part) in finite.iter_mut().zip(device::download(&part)?) {
                *all &= part != 0.0;
            }
        }
        match finite.iter().position(|finite| !finite) {
            None => Ok(()),
            Some(k) => Err(diverged("weights are not finite", self.step, k, self.seeds[k])),
        }
    }

    /// One optimiser step: scores `batch`, whose ids are below V, and then learns from it. Returns
    /// the scores and, with clipping, the gradient's norm `(R)`. Does not wait for the device.
    ///
    /// # Errors
    /// libtorch's.
    pub fn learn(&mut self, batch: &Batch) -> Result<(Scores, Option<Tensor>), TchError> {
        let size = batch.size as i64;
        let state = self.carried.take().map_or_else(|| self.network.zero_state(size), Ok)?;
        let (scores, next) = self.engine.learn(&mut self.parameters, batch, state)?;
        let grad_norm = self.adam.update(&self.parameters, &self.team)?;

        self.carried = self.config.stateful.then_some(next);
        self.step += 1;
        self.samples += size;
        Ok((scores, grad_norm))
    }

    /// What evaluates the models as they are now.
    pub fn evaluator(&self) -> Evaluator<'_> {
        Evaluator {
            config: &self.config,
            task: &self.task,
            network: &self.network,
            device: self.device,
        }
    }

    fn row_is_due(&self, ends_epoch: bool) -> bool {
        let last = ends_epoch && self.epoch + 1 == self.config.epochs;
        last || self.config.log_every.map_or(ends_epoch, |every| self.step % every == 0)
    }

    fn rows(&mut self, start: Instant, stop: &AtomicBool) -> Result<Vec<CurveRow>> {
        let means = self.meter.take_row()?;
        self.rows_written += 1;
        let due = self.config.validate_every.is_some_and(|every| self.rows_written % every == 0);
        let validation: Option<Vec<Evaluation>> = if due {
            self.check_weights()?;
            let samples = self.config.validation_samples as usize;
            Some(self.evaluator().run(Purpose::Validation, samples, |_| go_on(stop))?)
        } else {
            None
        };
        let seconds = (start.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        let row = |(replica, means): (usize, &Means)| {
            let validation = validation.as_ref().map(|all| &all[replica]);
            CurveRow {
                replica,
                seed: self.seeds[replica],
                epoch: self.epoch + 1,
                step: self.step,
                samples: self.samples,
                loss: means.loss,
                accuracy: means.accuracy,
                val_loss: validation.map(|v| v.loss),
                val_accuracy: validation.map(|v| v.token_accuracy),
                val_sequence_accuracy: validation.map(|v| v.sequence_accuracy),
                learning_rate: self.config.learning_rate,
                grad_norm: means.grad_norm,
                seconds,
            }
        };
        Ok(means.iter().enumerate().map(row).collect())
    }
}

/// Nothing, or that `stop` is set.
///
/// # Errors
/// [`Interrupted`].
pub fn go_on(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(Interrupted.into()) } else { Ok(()) }
}
