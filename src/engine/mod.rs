//! What computes a training step's scores and gradients, and what models answer.
//!
//! Which engine, how many threads and which dtype is chosen here. Uses models, the optimiser, batches and
//! `kernels`; knows no training loop and no file.

pub mod fused;
pub mod libtorch;

pub mod pace;

use std::rc::Rc;

use anyhow::Result;
use tch::{Device, TchError, Tensor};

use crate::base::error::UserError;
use crate::config::{Config, EngineChoice};
use crate::data::batch::{Batch, Sequences};
use crate::data::loader::Step;
use crate::engine::libtorch::{Libtorch, LibtorchInference};
use crate::engine::pace::Pace;
use crate::model::layers::dropout::Masks;
use crate::model::losses::Scores;
use crate::model::network::{Network, State};
use crate::optim::optimizer::Optimizer;
use crate::tensor::device;
use crate::tensor::parameters::Parameters;

/// The engine that `choice` comes to on `device`.
///
/// # Errors
/// If it does not compute there.
pub fn choose(choice: EngineChoice, device: Device) -> Result<EngineChoice, UserError> {
    match (choice, device::is_host(device)) {
        (EngineChoice::Auto | EngineChoice::Fused, true) => Ok(EngineChoice::Fused),
        (EngineChoice::Auto | EngineChoice::Libtorch, _) => Ok(EngineChoice::Libtorch),
        (EngineChoice::Fused, false) => {
            let device = device::name(device);
            let error =
                UserError::usage(format!("--engine fused: computes on a CPU, not {device}"));
            Err(error.hint("give --device cpu, or leave --engine out"))
        }
    }
}

/// The engine that `chosen` names, with its threads, for models of a validated configuration in the
/// dtype of `parameters`. `network` is the same model with these parameters.
///
/// # Errors
/// If memory is short.
pub fn new(
    chosen: EngineChoice,
    config: &Config,
    parameters: &Parameters,
    network: &Rc<Network>,
    device: Device,
) -> Result<Box<dyn Engine>, TchError> {
    if chosen == EngineChoice::Fused {
        return fused::engine(config, parameters);
    }
    Ok(Box::new(Libtorch::new(config, network, device)))
}

/// The inference of models of a validated configuration with these `parameters`, by the engine that would
/// train them, or on a GPU by libtorch. `network` is the same models. Answers end with the id `end`, if
/// they do.
///
/// # Errors
/// If `parameters` are not those of the configuration's model.
pub fn inference<'a>(
    config: &'a Config,
    parameters: &'a Parameters,
    network: &'a Network,
    device: Device,
    end: Option<i64>,
) -> Result<Box<dyn Inference + 'a>, TchError> {
    if device::is_host(device) && config.engine != EngineChoice::Libtorch {
        return fused::inference(config, parameters, end);
    }
    Ok(Box::new(LibtorchInference::new(config, network, device)))
}

/// What models answer to a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// `(R, B, Tout)` ids, or `(R, B, Tout, features)` numbers. What is behind an id that ends an answer
    /// does not count.
    pub answers: Sequences,
    /// Each replica's mean loss against the targets, as far as they are answered; none where answers
    /// have no loss.
    pub losses: Vec<f64>,
}

/// Answers sources, free-running: a decoder is fed a zero vector first, or the model's start id, and then
/// what it answers, as the configuration's feedback says.
pub trait Inference {
    /// Answers the sources of `batch`, each from the zero state or, where it `goes_on`, from the state
    /// in which the same row of the batch before ended. The decoder input is not looked at, and the
    /// targets only to score the answers.
    ///
    /// # Errors
    /// libtorch's, and rows that go on where there were not as many.
    fn answer(&mut self, batch: &Batch, goes_on: bool) -> Result<Answers>;
}

/// What a step told.
#[derive(Debug)]
pub struct Scored {
    /// The batch's scores, before the update.
    pub scores: Scores,
    /// Each replica's norm of the gradient, `(R)` of the weights' dtype, where it is clipped.
    pub grad_norm: Option<Tensor>,
}

/// What steps came to.
#[derive(Debug)]
pub struct StepResults {
    /// Step by step.
    pub scored: Vec<Scored>,
    /// The state after the last, through which no gradient flows.
    pub state: State,
}

/// Learns from batches.
pub trait Engine {
    /// How many steps [`Engine::learn`] had best be given at a time, as things stand now.
    fn steps_at_a_time(&self) -> usize;

    /// How many threads it has.
    fn pace(&self) -> &Pace;

    /// Why its steps take longer than they should, if anything failed that it can do without.
    fn failure(&self) -> Option<&str> {
        None
    }

    /// Has the next steps take dropout masks from `masks` instead of from the replicas' seeds.
    fn set_masks(&mut self, masks: Masks);

    /// Does `steps`, at least one, all of one size: scores the batch, whose ids are below V, and
    /// moves `parameters` along the gradient of the loss, as `optimizer` has it; the last gradient is
    /// left in them. Parameters and what the optimiser keeps of them are the engine's from here on, which
    /// may have them elsewhere, until [`Engine::settle`]. The first step starts from `state`, and so does each other from what the one
    /// before it left, if that is carried. Does not wait for the device, unless to upload ids that
    /// are on the host.
    ///
    /// # Errors
    /// libtorch's, more steps at a time than it can do, and uploaded ids where they are wanted on the host.
    fn learn(
        &mut self,
        parameters: &mut Parameters,
        optimizer: &mut Optimizer,
        steps: &[Step],
        state: State,
    ) -> Result<StepResults, TchError>;

    /// Gives parameters, gradient and the optimiser's slots back, as the steps so far left them. They may be
    /// changed before the next step.
    ///
    /// # Errors
    /// libtorch's.
    fn settle(
        &mut self,
        parameters: &mut Parameters,
        optimizer: &mut Optimizer,
    ) -> Result<(), TchError> {
        let _ = (parameters, optimizer);
        Ok(())
    }

    /// Has the layers computed in `parts` parts, or by rows with 1, whatever their sizes; before the first step.
    fn divide(&mut self, parts: usize) {
        let _ = parts;
    }
}
