//! Inference by libtorch's operations, on any device.

use anyhow::Result;
use tch::{Device, TchError, Tensor};

use super::greedy::free_running;
use crate::config::Config;
use crate::data::batch::{Batch, Sequences};
use crate::data::loader::UploadedBatch;
use crate::engine::{Answers, Inference};
use crate::model::layers::twin::{Input, Mask};
use crate::model::losses::Target;
use crate::model::network::{Network, State};
use crate::tensor::device;

/// Inference by libtorch's operations.
pub struct LibtorchInference<'a> {
    config: &'a Config,
    network: &'a Network,
    device: Device,
    /// After the batch before, of stateful models.
    state: Option<State>,
}

impl<'a> LibtorchInference<'a> {
    /// That of `network`, the models of the validated `config`, on `device`.
    pub fn new(config: &'a Config, network: &'a Network, device: Device) -> Self {
        Self { config, network, device, state: None }
    }
}

impl Inference for LibtorchInference<'_> {
    fn answer(&mut self, batch: &Batch, goes_on: bool) -> Result<Answers> {
        let _guard = tch::no_grad_guard();
        let &mut Self { config, network, device, .. } = self;
        let uploaded = UploadedBatch::of(batch, device, device::kind(config.dtype))?;
        let valid = uploaded.valid.as_ref();
        let mask = valid.map(|valid| Mask::new(&valid.source)).transpose()?;
        let source = Input::new(&uploaded.source, mask.as_ref());
        let state = self.state.take().filter(|_| goes_on);
        let state = state.map_or_else(|| network.zero_state(batch.size as i64), Ok)?;
        let (answers, next) = free_running(network, config.feedback, source, &state)?;
        self.state = config.stateful.then_some(next);
        let target = first_steps(&uploaded.target, config.n_out)?;
        let valid = valid.map(|valid| first_steps(&valid.target, config.n_out)).transpose()?;
        let target = Target { steps: &target, valid: valid.as_ref() };
        let losses = device::download(&network.loss().of_answers(&answers, target)?)?;
        Ok(Answers { answers: said(&answers, config)?, losses })
    }
}

/// At most so many time steps of `target` `(R, B, T, …)`: what a model does not say has no loss.
fn first_steps(target: &Tensor, steps: i64) -> Result<Tensor, TchError> {
    let steps = steps.min(target.size()[2]);
    target.f_narrow(2, 0, steps)?.f_contiguous()
}

/// What answers say: of probabilities `(R, Tout, B, V)` the most probable ids `(R, B, Tout)`, of
/// numbers `(R, Tout, B, features)` themselves, `(R, B, Tout, features)`.
fn said(answers: &Tensor, config: &Config) -> Result<Sequences, TchError> {
    let Some(features) = config.features() else { return Ok(most_probable(answers)?.into()) };
    let values = device::download(&answers.f_transpose(1, 2)?.f_contiguous()?)?;
    Ok(Sequences::Numbers { values, features: features.target as usize })
}

/// The most probable ids `(R, B, Tout)`, row-major, of probabilities `(R, Tout, B, V)`.
///
/// # Errors
/// libtorch's.
pub fn most_probable(probabilities: &Tensor) -> Result<Vec<i64>, TchError> {
    device::download_ids(&probabilities.f_argmax(-1, false)?.f_transpose(1, 2)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_target_is_scored_as_far_as_it_is_said() {
        let target = Tensor::arange(12, (tch::Kind::Int64, device::host())).view([1, 2, 6]);
        let first = first_steps(&target, 2).unwrap();
        assert_eq!((first.size(), first.is_contiguous()), (vec![1, 2, 2], true));
        assert_eq!(device::download_ids(&first).unwrap(), [0, 1, 6, 7]);
        assert_eq!(first_steps(&target, 7).unwrap(), target);
    }
}
