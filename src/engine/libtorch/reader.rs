//! Batches as a network reads them, one after another.

use tch::{Device, TchError, Tensor};

use crate::config::Config;
use crate::data::batch::Batch;
use crate::data::loader::UploadedBatch;
use crate::model::layers::twin::{Input, Mask};
use crate::model::network::{Network, State};
use crate::tensor::device;

/// What hands a network the sources of batches, with the state in which it is.
pub struct Reader<'a> {
    config: &'a Config,
    network: &'a Network,
    device: Device,
    /// After the batch before, of stateful models.
    state: Option<State>,
}

impl<'a> Reader<'a> {
    /// One for `network`, the models of the validated `config`, on `device`.
    pub fn new(config: &'a Config, network: &'a Network, device: Device) -> Self {
        Self { config, network, device, state: None }
    }

    /// Has `answer` answer the sources of `batch` by the network, from the zero state or, where it
    /// `goes_on`, from that in which the batch before ended; it also returns the state after the batch.
    /// All replicas read the one source where `batch` is of one replica. Returns the answer with the batch as
    /// it was uploaded. Records no gradient.
    ///
    /// # Errors
    /// libtorch's, and those of `answer`.
    pub fn read<T>(
        &mut self,
        batch: &Batch,
        goes_on: bool,
        answer: impl FnOnce(&Network, Input<'_>, &State) -> Result<(T, State), TchError>,
    ) -> Result<(T, UploadedBatch), TchError> {
        let _guard = tch::no_grad_guard();
        let &mut Self { config, network, device, .. } = self;
        let uploaded = UploadedBatch::of(batch, device, device::kind(config.dtype))?;
        let of_each = |batch: &Tensor| of_each(batch, network.replicas());
        let steps = of_each(&uploaded.source)?;
        let valid = uploaded.valid.as_ref();
        let mask = valid.map(|valid| Mask::new(&of_each(&valid.source)?)).transpose()?;
        let state = self.state.take().filter(|_| goes_on);
        let state = state.map_or_else(|| network.zero_state(batch.size as i64), Ok)?;
        let (answered, next) = answer(network, Input::new(&steps, mask.as_ref()), &state)?;
        self.state = config.stateful.then_some(next);
        Ok((answered, uploaded))
    }
}

/// `batch` `(1 or R, B, …)` for each of so many replicas.
fn of_each(batch: &Tensor, replicas: i64) -> Result<Tensor, TchError> {
    let mut size = batch.size();
    size[0] = replicas;
    batch.f_expand(size, false)
}
