//! The training loop.

mod rows;
mod watch;

use std::collections::VecDeque;
use std::iter::Peekable;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tch::{Device, TchError, Tensor};

use crate::base::error::Interrupted;
use crate::config::{Config, CurveMetric, EngineChoice};
use crate::data::batch::Batch;
use crate::data::epochs::Epochs;
use crate::data::loader::{Batches, Ids, Prefetch, Step};
use crate::data::task::Task;
use crate::engine::pace::Pace;
use crate::engine::{self, Engine, Scored, StepResults};
use crate::model::Model;
use crate::model::layers::dropout::Masks;
use crate::model::losses::Scores;
use crate::model::network::{Network, State};
use crate::optim::optimizer::Optimizer;
use crate::run::curves::CurveRow;
use crate::run::manifest::{Best, InitFrom, Position};
use crate::tensor::cpp::graph::Stream;
use crate::tensor::device;
use crate::tensor::orthogonal::Watch;
use crate::tensor::parameters::Parameters;
use crate::train::early_stopping::EarlyStopping;
use crate::train::evaluate::Evaluator;
use crate::train::meter::{Means, Meter};
use crate::train::plateau::Plateau;
use rows::RowHead;

/// How long rows of a training on another device than the host wait for the next.
const ROWS_WAIT: Duration = Duration::from_millis(50);

/// What watches a training.
pub trait Observer {
    /// A step was done.
    fn step(&mut self);

    /// Logging points were reached: of each, one row a replica. That of one that has diverged is of NaN,
    /// and its last; one that has stopped has none.
    ///
    /// # Errors
    /// End the training.
    fn rows(&mut self, rows: Vec<CurveRow>) -> Result<()>;

    /// A replica stops early; the others go on.
    fn stopped(&mut self, stopped: &Stopped) {
        let _ = stopped;
    }

    /// The training's state is to be saved: at times, at the end, and when it is interrupted.
    ///
    /// # Errors
    /// End the training.
    fn checkpoint(&mut self, trainer: &mut Trainer) -> Result<()> {
        let _ = trainer;
        Ok(())
    }
}

/// How a training ended.
#[derive(Debug)]
pub enum Outcome {
    /// All epochs are done, or every replica has stopped; each one's means over its last epoch, `None`
    /// where it has diverged. Its weights are those that are to be restored, if any.
    Finished(Vec<Option<Means>>),
    /// It was asked to stop.
    Interrupted,
}

/// A replica that stops before the last epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stopped {
    /// k.
    pub replica: usize,
    /// Its own seed.
    pub seed: u64,
    /// Optimiser steps done.
    pub step: i64,
    /// What it went by.
    pub metric: CurveMetric,
    /// The best of it.
    pub best: f64,
    /// The step of that row.
    pub best_step: i64,
}

/// R models in training, and the recurrent state they carry.
pub struct Trainer {
    config: Config,
    seeds: Vec<u64>,
    task: Task,
    epochs: Epochs,
    device: Device,
    /// What computes the steps.
    pub chosen: EngineChoice,
    /// How batches reach the models: ahead of their use where that is another device than the host.
    pub prefetch: Prefetch,
    /// How long rows may wait for the next, so that scores that lie on another device than the host are
    /// fetched together.
    pub rows_wait: Duration,
    /// The models' weights.
    pub parameters: Parameters,
    network: Rc<Network>,
    engine: Box<dyn Engine>,
    /// Their optimiser.
    pub optimizer: Optimizer,
    /// What stateful layers hand to the next batch, cut from its gradient; `None`: zeros.
    pub carried: Option<State>,
    /// Optimiser steps done.
    pub step: i64,
    /// Samples seen by each replica.
    pub samples: i64,
    /// Where the mean validation loss was lowest, and a copy of all weights there, `(R · P)` of their dtype.
    pub best: Option<(Best, Tensor)>,
    /// Whose weights the training began with; `None` if they were drawn.
    pub init_from: Option<InitFrom>,
    /// Which replicas have stopped, if they may.
    pub early_stopping: Option<EarlyStopping>,
    /// Each replica's weights at its best row, `(R · P)` of their dtype, where they are to be restored and
    /// there was a row.
    pub to_restore: Option<Tensor>,
    /// Where learning rates stand, if they go by a metric.
    pub plateau: Option<Plateau>,
    meter: Meter,
    /// Logging points so far.
    rows_ended: i64,
    /// Those whose rows the observer does not have yet.
    waiting: VecDeque<RowHead>,
    /// When it was last given some.
    handed_on: Instant,
    clock: Clock,
    /// The step and the rows of the last checkpoint.
    saved: Option<(i64, i64)>,
}

/// Time spent in the loop, all sessions together.
#[derive(Debug, Default)]
struct Clock {
    before: f64,
    start: Option<Instant>,
}

impl Clock {
    fn seconds(&self) -> f64 {
        self.before + self.start.map_or(0.0, |start| start.elapsed().as_secs_f64())
    }

    fn start(&mut self) {
        self.start = Some(Instant::now());
    }

    fn stop(&mut self) {
        *self = Self { before: self.seconds(), start: None };
    }
}

impl Trainer {
    /// Models with fresh weights for a validated configuration.
    ///
    /// # Errors
    /// As [`Trainer::blank`].
    pub fn new(config: &Config, device: Device) -> Result<Self> {
        let mut trainer = Self::blank(config, device)?;
        trainer.initialise(&|_| Ok(()))?;
        Ok(trainer)
    }

    /// Models for a validated configuration whose weights are all zero.
    ///
    /// # Errors
    /// An engine that does not compute on the device, and libtorch's, above all when memory is
    /// short.
    pub fn blank(config: &Config, device: Device) -> Result<Self> {
        Self::of_task(config, Task::load(config)?, device)
    }

    /// The same for the `task` of the configuration, with its data or without.
    ///
    /// # Errors
    /// As [`Trainer::blank`].
    pub fn of_task(config: &Config, task: Task, device: Device) -> Result<Self> {
        let chosen = engine::choose(config.engine, device)?;
        Stream::own(device)?;
        let seeds = config.seeds();
        let epochs = Epochs::new(config, &task);
        let specs = Model::new(config).parameters();
        let kind = device::kind(config.dtype);
        let parameters = Parameters::zeros(specs, config.replicas, kind, device)?;
        let network = Rc::new(Network::new(config, &parameters)?);
        let meter = Meter::new(&seeds, network.loss().metrics());
        let engine = engine::new(chosen, config, &parameters, &network, device)?;
        Ok(Self {
            task,
            epochs,
            device,
            chosen,
            prefetch: if device::is_host(device) { Prefetch::Off } else { Prefetch::On },
            rows_wait: if device::is_host(device) { Duration::ZERO } else { ROWS_WAIT },
            network,
            engine,
            optimizer: Optimizer::new(config, epochs.steps(), &parameters)?,
            parameters,
            carried: None,
            step: 0,
            samples: 0,
            best: None,
            init_from: None,
            early_stopping: EarlyStopping::new(config),
            to_restore: None,
            plateau: Plateau::new(config),
            meter,
            rows_ended: 0,
            waiting: VecDeque::new(),
            handed_on: Instant::now(),
            clock: Clock::default(),
            saved: None,
            config: config.clone(),
            seeds,
        })
    }

    /// Draws the weights. `watch` is told which part of the work was just done.
    ///
    /// # Errors
    /// Those of `watch`, and libtorch's.
    pub fn initialise(&mut self, watch: &Watch<'_>) -> Result<()> {
        self.parameters.initialise(&self.seeds, device::most_threads(&self.config), watch)
    }

    /// Trains to the end of the last epoch, or until `stop` is set. Where batches are fed
    /// [`Prefetch::On`], it waits for the device only to log, to save its state and at the end.
    ///
    /// # Errors
    /// The divergence of every replica, the observer's errors and libtorch's.
    pub fn run(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
        self.clock.start();
        let outcome = self.steps(observer, stop);
        let settled = self.settle();
        self.clock.stop();
        if outcome.is_err() {
            // What led to a failure is to be seen; of the two errors, the first.
            let _ = self.hand_on(observer);
        }
        let outcome = outcome?;
        settled?;
        Ok(outcome)
    }

    /// Has the engine give the weights and the optimiser's slots back, before anything else reads or writes them.
    fn settle(&mut self) -> Result<(), TchError> {
        self.engine.settle(&mut self.parameters, &mut self.optimizer)
    }

    fn steps(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome> {
        // One that a validation was interrupted at.
        if !self.log(observer, stop)? {
            return self.interrupted(observer);
        }
        let mut saved = Instant::now();
        let source = Batches::new(&self.config, &self.task, self.step);
        let mut feed = source.feed(self.prefetch, self.device)?.peekable();
        while self.any_learns() {
            let steps = self.stretch(&mut feed, stop)?;
            if go_on(stop).is_err() {
                return self.interrupted(observer);
            }
            if steps.is_empty() {
                break;
            }
            let scored = self.learn_steps(&steps)?;
            for (step, scored) in steps.iter().zip(scored) {
                self.step += 1;
                self.samples += step.ids.size() as i64;
                self.meter.add(scored, step.ids.size(), step.starts_epoch)?;
                observer.step();
                if !self.log(observer, stop)? {
                    return self.interrupted(observer);
                }
            }
            if self.config.checkpoint_every.is_due(self.step, saved.elapsed()) {
                self.checkpoint(observer)?;
                saved = Instant::now();
            }
        }
        let finite = self.checkpoint(observer)?;
        self.meter.check(&finite)?;
        let means = self.meter.epoch()?;
        if let Some(weights) = &self.to_restore {
            device::fill(&mut self.parameters.flat().shallow_clone(), weights)?;
        }
        Ok(Outcome::Finished(means))
    }

    /// Whether any replica has neither stopped nor diverged.
    fn any_learns(&self) -> bool {
        let replicas = self.optimizer.rates.stopped().iter().zip(self.diverged());
        replicas.into_iter().any(|(&stopped, diverged)| !stopped && diverged.is_none())
    }

    /// The next steps, as many as the engine takes at a time before the models are wanted, or fewer
    /// once `stop` is set.
    fn stretch(
        &self,
        feed: &mut Peekable<impl Iterator<Item = Result<Step>>>,
        stop: &AtomicBool,
    ) -> Result<Vec<Step>> {
        let mut steps: Vec<Step> = Vec::new();
        let (mut number, mut rows) = (self.step, self.rows_ended);
        while steps.len() < self.engine.steps_at_a_time() && go_on(stop).is_ok() {
            let size = steps.last().map(|step| step.ids.size());
            let fits = |next: &Result<Step>| match (next, size) {
                (Ok(next), Some(size)) => next.ids.size() == size,
                _ => true,
            };
            let Some(step) = feed.next_if(fits).transpose()? else { break };
            steps.push(step);
            number += 1;
            let rows_before = std::mem::replace(&mut rows, self.epochs.rows_due(number));
            let watched =
                rows > rows_before && (self.validation_is_due(rows) || self.metric_is_due(rows));
            if watched || self.config.checkpoint_every.is_due(number, Duration::ZERO) {
                break;
            }
        }
        Ok(steps)
    }

    /// The step after which each replica had diverged; the others go on without it.
    pub fn diverged(&self) -> Vec<Option<i64>> {
        self.meter.diverged()
    }

    fn interrupted(&mut self, observer: &mut dyn Observer) -> Result<Outcome> {
        self.checkpoint(observer)?;
        Ok(Outcome::Interrupted)
    }

    /// Has the state saved, unless that was just done or every replica has diverged. Returns whose weights are
    /// finite: who has diverged is noted where models are looked at and at the end, which does not depend on when
    /// checkpoints are due.
    fn checkpoint(&mut self, observer: &mut dyn Observer) -> Result<Vec<bool>> {
        self.hand_on(observer)?;
        self.settle()?;
        let finite = self.parameters.finite()?;
        if !finite.contains(&true) {
            self.meter.check(&finite)?;
        }
        let here = Some((self.step, self.rows_ended));
        if self.saved != here {
            observer.checkpoint(self)?;
            self.saved = here;
        }
        Ok(finite)
    }

    /// Where the training stands.
    pub fn position(&self) -> Position {
        Position {
            rows: self.rows_ended,
            seconds: self.seconds(),
            device: Some(device::choice(self.device)),
            best: self.best.as_ref().map(|(best, _)| *best),
            init_from: self.init_from.clone(),
            ..Position::at(&self.epochs, self.step)
        }
    }

    /// Wall time in the training loop, in seconds.
    pub fn seconds(&self) -> f64 {
        self.clock.seconds()
    }

    /// The running sums that the next rows are means of; see [`Meter::sums`].
    ///
    /// # Errors
    /// A loss that is not finite, and libtorch's.
    pub fn sums(&mut self) -> Result<Vec<f64>> {
        self.meter.sums()
    }

    /// Goes on from a position of a training with the same configuration and the sums it had. The
    /// tensors are the caller's to restore.
    pub fn restore(&mut self, position: &Position, sums: &[f64]) {
        let &Position { step, samples, rows, seconds, .. } = position;
        (self.step, self.optimizer.step, self.samples, self.rows_ended) =
            (step, step, samples, rows);
        self.init_from = position.init_from.clone();
        self.clock = Clock { before: seconds, start: None };
        self.meter.restore(step, sums, self.config.global_clipnorm.is_some());
        (0..self.seeds.len()).for_each(|replica| self.follow(replica));
        self.saved = Some((step, rows));
    }

    /// Why its steps took longer than they should have, if anything failed that the engine did without.
    pub fn engine_failure(&self) -> Option<&str> {
        self.engine.failure()
    }

    /// How many CPU threads its steps have.
    pub fn pace(&self) -> &Pace {
        self.engine.pace()
    }

    /// What is trained.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is learnt.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// What its epochs come to.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The zero state for batches of the configuration's size, on the device.
    ///
    /// # Errors
    /// libtorch's.
    pub fn zero_state(&self) -> Result<State, TchError> {
        self.network.zero_state(self.config.batch_size)
    }

    /// Finds weights that the last update made useless, before any loss tells.
    fn check_weights(&mut self) -> Result<()> {
        self.settle()?;
        self.meter.check(&self.parameters.finite()?)
    }

    /// One optimiser step: scores `batch`, whose ids are below V, and then learns from it. Returns
    /// the scores and, with clipping, the gradient's norm `(R)`. Waits for the device only to
    /// upload the batch.
    ///
    /// # Errors
    /// libtorch's.
    pub fn learn(&mut self, batch: &Batch) -> Result<(Scores, Option<Tensor>), TchError> {
        let scored = self.learn_steps(&[self.step_from(batch, 0)])?.pop();
        self.settle()?;
        self.step += 1;
        self.samples += batch.size as i64;
        let Scored { scores, grad_norm } = scored.ok_or_else(no_step)?;
        Ok((scores, grad_norm))
    }

    /// As many optimiser steps as the training loop would do at a time now, each from `batch`, whose ids
    /// are below V. Returns how many. Waits for the device only to upload the batch. What the weights come to
    /// may be the engine's alone until [`Trainer::learn`] or [`Trainer::run`] ends.
    ///
    /// # Errors
    /// libtorch's.
    pub fn learn_again(&mut self, batch: &Batch) -> Result<usize, TchError> {
        let steps: Vec<Step> =
            (0..self.engine.steps_at_a_time()).map(|more| self.step_from(batch, more)).collect();
        self.learn_steps(&steps)?;
        self.step += steps.len() as i64;
        self.samples += (steps.len() * batch.size) as i64;
        Ok(steps.len())
    }

    /// Has every layer of the fused engine computed in `parts` parts, or with 1 by rows, whatever its sizes;
    /// before the first step.
    pub fn divide(&mut self, parts: usize) {
        self.engine.divide(parts);
    }

    /// Has the next steps take dropout masks from `masks` instead of from the replicas' seeds.
    pub fn set_masks(&mut self, masks: Masks) {
        self.engine.set_masks(masks);
    }

    /// A step within an epoch, `more` steps from now.
    fn step_from(&self, batch: &Batch, more: usize) -> Step {
        let number = self.step as u64 + more as u64;
        Step { number, ids: Ids::Host(batch.clone()), starts_epoch: false }
    }

    /// Learns from `steps`, at least one and as many as the engine takes, all of one size.
    fn learn_steps(&mut self, steps: &[Step]) -> Result<Vec<Scored>, TchError> {
        let first = steps.first().ok_or_else(no_step)?;
        let carried = self.carried.take().filter(|_| !first.starts_epoch);
        let zeros = || self.network.zero_state(first.ids.size() as i64);
        let state = carried.map_or_else(zeros, Ok)?;
        let StepResults { scored, state } =
            self.engine.learn(&mut self.parameters, &mut self.optimizer, steps, state)?;
        self.carried = self.config.stateful.then_some(state);
        Ok(scored)
    }

    /// What evaluates the models as they are now.
    pub fn evaluator(&self) -> Evaluator<'_> {
        Evaluator {
            config: &self.config,
            task: &self.task,
            parameters: &self.parameters,
            network: &self.network,
            device: self.device,
            search: None,
        }
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
