//! The training loop.

use std::iter::Peekable;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use tch::{Device, TchError, Tensor};

use crate::config::{Config, EngineChoice};
use crate::curves::CurveRow;
use crate::device;
use crate::engine::{self, Engine, Learnt, Libtorch, Scored};
use crate::error::Interrupted;
use crate::evaluate::Evaluator;
use crate::feed::{Feeding, Ids, Source, Step};
use crate::fused;
use crate::loss::Scores;
use crate::meter::{Means, Meter};
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

    /// A logging point was reached: one row a replica. That of one that has diverged is of NaN, and its
    /// last.
    ///
    /// # Errors
    /// End the training.
    fn rows(&mut self, rows: Vec<CurveRow>) -> Result<()>;
}

/// How a training ended.
#[derive(Debug)]
pub enum Outcome {
    /// All epochs are done; each replica's means over the last, `None` where it has diverged.
    Finished(Vec<Option<Means>>),
    /// It was asked to stop.
    Interrupted,
}

/// R models in training, and the recurrent state they carry.
pub struct Trainer {
    config: Config,
    seeds: Vec<u64>,
    task: Task,
    device: Device,
    /// What computes the steps.
    pub chosen: EngineChoice,
    /// CPU threads of a step.
    pub threads: usize,
    /// How batches reach the models: ahead of their use where that is another device than the host.
    pub feeding: Feeding,
    /// The models' weights.
    pub parameters: Parameters,
    network: Rc<Network>,
    engine: Box<dyn Engine>,
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
        let chosen = engine::choose(config.engine, device)?;
        let seeds = config.seeds();
        let specs = Model::new(config).parameters();
        let kind = network::kind(config.dtype);
        let mut parameters = Parameters::zeros(specs, config.replicas, kind, device)?;
        parameters.initialise(&seeds)?;
        let network = Rc::new(Network::new(config, &parameters)?);
        let fused = chosen == EngineChoice::Fused;
        let threads = if fused { fused::threads(config) } else { device::threads(config) };
        let team = Rc::new(Team::new(threads));
        let engine: Box<dyn Engine> = if fused {
            fused::engine(config, &parameters, team)?
        } else {
            Box::new(Libtorch { network: Rc::clone(&network), device, team })
        };
        Ok(Self {
            task: Task::new(config),
            device,
            chosen,
            threads,
            feeding: if device::is_host(device) { Feeding::Direct } else { Feeding::Ahead },
            network,
            engine,
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

    /// Trains to the end of the last epoch, or until `stop` is set. Where batches are fed
    /// [`Feeding::Ahead`], it waits for the device only to log and at the end.
    ///
    /// # Errors
    /// The divergence of every replica, the observer's errors and libtorch's.
    pub fn run(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
        let start = Instant::now();
        let source = Source::new(&self.config, self.epoch);
        let mut feed = source.feed(self.feeding, self.device)?.peekable();
        loop {
            if go_on(stop).is_err() {
                return Ok(Outcome::Interrupted);
            }
            let steps = self.stretch(&mut feed)?;
            if steps.is_empty() {
                break;
            }
            let scored = self.learn_steps(&steps)?;
            for (step, scored) in steps.iter().zip(scored) {
                self.step += 1;
                self.samples += step.ids.size() as i64;
                self.meter.add(scored, step.ids.size(), step.starts_epoch)?;
                observer.step();
                if self.row_is_due(self.step, self.epoch, step.ends_epoch) {
                    match self.rows(start, stop) {
                        Err(error) if error.is::<Interrupted>() => return Ok(Outcome::Interrupted),
                        rows => observer.rows(rows?)?,
                    }
                }
                self.epoch += i64::from(step.ends_epoch);
            }
        }
        self.check_weights()?;
        Ok(Outcome::Finished(self.meter.epoch()?))
    }

    /// The next steps, as many as the engine takes at a time before the models are wanted.
    fn stretch(
        &self,
        feed: &mut Peekable<impl Iterator<Item = Result<Step>>>,
    ) -> Result<Vec<Step>> {
        let mut steps: Vec<Step> = Vec::new();
        let (mut number, mut epoch, mut rows) = (self.step, self.epoch, self.rows_written);
        while steps.len() < self.engine.steps_at_a_time() {
            let size = steps.last().map(|step| step.ids.size());
            let fits = |next: &Result<Step>| match (next, size) {
                (Ok(next), Some(size)) => next.ids.size() == size,
                _ => true,
            };
            let Some(step) = feed.next_if(fits).transpose()? else { break };
            number += 1;
            let row_is_due = self.row_is_due(number, epoch, step.ends_epoch);
            rows += i64::from(row_is_due);
            epoch += i64::from(step.ends_epoch);
            steps.push(step);
            if row_is_due && self.validation_is_due(rows) {
                break;
            }
        }
        Ok(steps)
    }

    /// The step after which each replica had diverged; the others go on without it.
    pub fn diverged(&self) -> Vec<Option<i64>> {
        self.meter.diverged()
    }

    /// Finds weights that the last update made useless, before any loss tells.
    fn check_weights(&mut self) -> Result<()> {
        self.meter.check(&self.parameters.finite()?)
    }

    /// One optimiser step: scores `batch`, whose ids are below V, and then learns from it. Returns
    /// the scores and, with clipping, the gradient's norm `(R)`. Waits for the device only to
    /// upload the batch.
    ///
    /// # Errors
    /// libtorch's.
    pub fn learn(&mut self, batch: &Batch) -> Result<(Scores, Option<Tensor>), TchError> {
        let ids = Ids::Host(batch.clone());
        let step = Step { ids, starts_epoch: false, ends_epoch: false };
        let scored = self.learn_steps(&[step])?.pop();
        self.step += 1;
        self.samples += batch.size as i64;
        let Scored { scores, grad_norm } = scored.ok_or_else(no_step)?;
        Ok((scores, grad_norm))
    }

    /// Learns from `steps`, at least one and as many as the engine takes, all of one size.
    fn learn_steps(&mut self, steps: &[Step]) -> Result<Vec<Scored>, TchError> {
        let first = steps.first().ok_or_else(no_step)?;
        let carried = self.carried.take().filter(|_| !first.starts_epoch);
        let zeros = || self.network.zero_state(first.ids.size() as i64);
        let state = carried.map_or_else(zeros, Ok)?;
        let Learnt { scored, state } =
            self.engine.learn(&mut self.parameters, &mut self.adam, steps, state)?;
        self.carried = self.config.stateful.then_some(state);
        Ok(scored)
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

    /// Whether a row is due after step `step` (from 1) of epoch `epoch` (from 0).
    fn row_is_due(&self, step: i64, epoch: i64, ends_epoch: bool) -> bool {
        let last = ends_epoch && epoch + 1 == self.config.epochs;
        last || self.config.log_every.map_or(ends_epoch, |every| step % every == 0)
    }

    /// Whether the models are validated for row `row`, from 1.
    fn validation_is_due(&self, row: i64) -> bool {
        self.config.validate_every.is_some_and(|every| row % every == 0)
    }

    fn rows(&mut self, start: Instant, stop: &AtomicBool) -> Result<Vec<CurveRow>> {
        self.rows_written += 1;
        let validation: Option<Vec<Evaluation>> = if self.validation_is_due(self.rows_written) {
            self.check_weights()?;
            let samples = self.config.validation_samples as usize;
            Some(self.evaluator().run(Purpose::Validation, samples, |_| go_on(stop))?)
        } else {
            None
        };
        let means = self.meter.take_row()?;
        let seconds = (start.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        let row = |(replica, means): (usize, &Option<Means>)| {
            let means = means.as_ref()?;
            let validation = validation.as_ref().filter(|_| !means.loss.is_nan());
            let validation = validation.map(|all| &all[replica]);
            Some(CurveRow {
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
                learning_rate: self.adam.learning_rate(self.step),
                grad_norm: means.grad_norm,
                seconds,
            })
        };
        Ok(means.iter().enumerate().filter_map(row).collect())
    }
}

fn no_step() -> TchError {
    TchError::Shape("no step to do".to_owned())
}

/// Nothing, or that `stop` is set.
///
/// # Errors
/// [`Interrupted`].
pub fn go_on(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::Relaxed) { Err(Interrupted.into()) } else { Ok(()) }
}
