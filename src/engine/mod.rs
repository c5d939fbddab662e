//! What computes a training step's scores and gradients.
//!
//! Which engine, how many threads and which dtype is chosen here. Uses models, the optimiser, batches and
//! `kernels`; knows no training loop and no file.

pub mod fused;

pub mod pace;

use std::rc::Rc;

use tch::{Device, TchError, Tensor};

use crate::base::error::UserError;
use crate::config::{Config, EngineChoice};
use crate::data::loader::Step;
use crate::engine::pace::Pace;
use crate::kernels::thread_pool::ThreadPool;
use crate::model::layers::dropout::{Masks, StepMasks};
use crate::model::layers::twin::{Input, Mask};
use crate::model::losses::{Scores, Target};
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
    let pool = ThreadPool::new(device::threads(config));
    let pace = Pace::new(vec![pool.threads()]);
    let (network, masks) = (Rc::clone(network), Masks::Drawn(config.seeds()));
    Ok(Box::new(Libtorch { network, device, pool, pace, masks }))
}

/// What a step told.
#[derive(Debug)]
pub struct Scored {
    /// The batch's scores, before the update.
    pub scores: Scores,
    /// Each replica's norm of the gradient, `(R)`, where it is clipped.
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

    /// Has the next steps take dropout masks from `masks` instead of from the replicas' seeds.
    fn set_masks(&mut self, masks: Masks);

    /// Does `steps`, at least one, all of one size: scores the batch, whose ids are below V, and
    /// moves `parameters` along the gradient of the loss, as `optimizer` has it; the last gradient is
    /// left in them. The first step starts from `state`, and so does each other from what the one
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
}

/// libtorch's operations and automatic differentiation, on any device.
pub struct Libtorch {
    /// The model.
    pub network: Rc<Network>,
    /// Where it computes.
    pub device: Device,
    /// The threads of what is not libtorch's.
    pub pool: ThreadPool,
    /// As many as libtorch has.
    pub pace: Pace,
    /// Where dropout masks come from.
    pub masks: Masks,
}

impl Engine for Libtorch {
    fn steps_at_a_time(&self) -> usize {
        1
    }

    fn pace(&self) -> &Pace {
        &self.pace
    }

    fn set_masks(&mut self, masks: Masks) {
        self.masks = masks;
    }

    fn learn(
        &mut self,
        parameters: &mut Parameters,
        optimizer: &mut Optimizer,
        steps: &[Step],
        state: State,
    ) -> Result<StepResults, TchError> {
        let [step] = steps else {
            return Err(TchError::Shape(format!("{} steps at a time, expected 1", steps.len())));
        };
        let batch = step.ids.on_device(self.device, parameters.flat().kind())?;
        let mask = batch.valid.as_ref().map(|valid| Mask::new(&valid.source)).transpose()?;
        let source = Input::new(&batch.source, mask.as_ref());
        let decoder_input = batch.decoder_input.as_ref().map(|steps| Input::new(steps, None));
        let masks = StepMasks { masks: &self.masks, step: step.number };
        let (logits, next) = self.network.forward_training(source, decoder_input, &state, masks)?;
        let valid = batch.valid.as_ref().map(|valid| &valid.target);
        let target = Target { steps: &batch.target, valid };
        let score = self.network.loss().of_tensors(&logits, target)?;
        // Replicas share no parameter, so the gradient of the sum is each one's own.
        parameters.backward(&score.loss.f_sum(logits.kind())?)?;
        let grad_norm = optimizer.update(parameters, &self.pool)?;
        let scored = vec![Scored { scores: Scores::Device(score), grad_norm }];
        Ok(StepResults { scored, state: next.detach()? })
    }
}
