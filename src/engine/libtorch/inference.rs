//! Inference by libtorch's operations, on any device.

use anyhow::Result;
use tch::{Device, TchError, Tensor};

use super::greedy::free_running;
use super::reader::Reader;
use crate::config::Config;
use crate::data::batch::{Batch, Sequences};
use crate::engine::{Answers, Inference};
use crate::model::losses::Target;
use crate::model::network::Network;
use crate::tensor::device;

/// Inference by libtorch's operations.
pub struct LibtorchInference<'a> {
    config: &'a Config,
    network: &'a Network,
    reader: Reader<'a>,
}

impl<'a> LibtorchInference<'a> {
    /// That of `network`, the models of the validated `config`, on `device`.
    pub fn new(config: &'a Config, network: &'a Network, device: Device) -> Self {
        Self { config, network, reader: Reader::new(config, network, device) }
    }
}

impl Inference for LibtorchInference<'_> {
    fn answer(&mut self, batch: &Batch, goes_on: bool) -> Result<Answers> {
        let &mut Self { config, network, ref mut reader } = self;
        let (answers, batch) = reader.read(batch, goes_on, |network, source, state| {
            free_running(network, config.feedback, source, state)
        })?;
        let target = first_steps(&batch.target, config.n_out)?;
        let valid = batch.valid.as_ref();
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
