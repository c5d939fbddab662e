//! Beam search as a way to answer batches.

use anyhow::Result;
use tch::{Device, TchError, Tensor};

use super::beam::Search;
use crate::config::Config;
use crate::data::batch::Batch;
use crate::data::loader::UploadedBatch;
use crate::engine::{Answers, Inference};
use crate::model::layers::twin::{Input, Mask};
use crate::model::network::{Network, State};
use crate::tensor::device;

/// Answers with the best hypotheses of a search, which have no loss: they are no probability of the
/// target. An ensemble answers as one replica.
pub struct Searching<'a> {
    search: &'a Search,
    config: &'a Config,
    network: &'a Network,
    device: Device,
    /// After the batch before, of stateful models.
    state: Option<State>,
}

impl<'a> Searching<'a> {
    /// Has `search` go through what `network` says, the models of the validated `config` on `device`.
    pub fn new(
        search: &'a Search,
        config: &'a Config,
        network: &'a Network,
        device: Device,
    ) -> Self {
        Self { search, config, network, device, state: None }
    }
}

impl Inference for Searching<'_> {
    fn answer(&mut self, batch: &Batch, goes_on: bool) -> Result<Answers> {
        let _guard = tch::no_grad_guard();
        let &mut Self { search, config, network, device, .. } = self;
        let uploaded = UploadedBatch::of(batch, device, device::kind(config.dtype))?;
        // Every replica of an ensemble reads the same.
        let of_each = |batch: &Tensor| of_each(batch, network.replicas());
        let steps = of_each(&uploaded.source)?;
        let valid = uploaded.valid.as_ref();
        let mask = valid.map(|valid| Mask::new(&of_each(&valid.source)?)).transpose()?;
        let state = self.state.take().filter(|_| goes_on);
        let state = state.map_or_else(|| network.zero_state(batch.size as i64), Ok)?;
        let (found, next) = search.run(network, Input::new(&steps, mask.as_ref()), &state)?;
        self.state = config.stateful.then_some(next);
        Ok(Answers { answers: found.best()?.into(), losses: Vec::new() })
    }
}

/// `batch` `(1 or R, B, …)` for each of so many replicas.
fn of_each(batch: &Tensor, replicas: i64) -> Result<Tensor, TchError> {
    let mut size = batch.size();
    size[0] = replicas;
    batch.f_expand(size, false)
}
