//! What computes a training step's scores and gradients.

use std::rc::Rc;

use tch::{Device, TchError};

use crate::config::EngineChoice;
use crate::device;
use crate::error::UserError;
use crate::feed::Ids;
use crate::loss::{Scores, score};
use crate::network::{Network, State};
use crate::parameters::Parameters;

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

/// Scores a batch and computes the gradient of its loss.
pub trait Engine {
    /// Scores a batch of `ids` below V and leaves the gradient of the loss in `parameters`.
    /// Returns the scores and the state after the batch, through which no gradient flows. Does
    /// not wait for the device, unless to upload ids that are on the host.
    ///
    /// # Errors
    /// libtorch's, and uploaded ids where they are wanted on the host.
    fn learn(
        &mut self,
        parameters: &mut Parameters,
        ids: &Ids,
        state: State,
    ) -> Result<(Scores, State), TchError>;
}

/// libtorch's operations and automatic differentiation, on any device.
pub struct Libtorch {
    /// The model.
    pub network: Rc<Network>,
    /// Where it computes.
    pub device: Device,
}

impl Engine for Libtorch {
    fn learn(
        &mut self,
        parameters: &mut Parameters,
        ids: &Ids,
        state: State,
    ) -> Result<(Scores, State), TchError> {
        let batch = ids.on_device(self.device)?;
        let decoder_input = batch.decoder_input.as_ref();
        let (logits, next) = self.network.forward(&batch.source, decoder_input, &state)?;
        let score = score(&logits, &batch.target)?;
        // Replicas share no parameter, so the gradient of the sum is each one's own.
        parameters.backward(&score.loss.f_sum(logits.kind())?)?;
        Ok((Scores::Device(score), next.detach()?))
    }
}
