//! Beam search as a way to answer batches.

use anyhow::Result;
use tch::Device;

use super::beam::Search;
use crate::config::Config;
use crate::data::batch::Batch;
use crate::engine::libtorch::Reader;
use crate::engine::{Answers, Inference};
use crate::model::network::Network;

/// Answers with the best hypotheses of a search, which have no loss: they are no probability of the
/// target. An ensemble answers as one replica.
pub struct Searching<'a> {
    search: &'a Search,
    reader: Reader<'a>,
}

impl<'a> Searching<'a> {
    /// Has `search` go through what `network` says, the models of the validated `config` on `device`.
    pub fn new(
        search: &'a Search,
        config: &'a Config,
        network: &'a Network,
        device: Device,
    ) -> Self {
        Self { search, reader: Reader::new(config, network, device) }
    }
}

impl Inference for Searching<'_> {
    fn answer(&mut self, batch: &Batch, goes_on: bool) -> Result<Answers> {
        let &mut Self { search, ref mut reader } = self;
        let (found, _) = reader
            .read(batch, goes_on, |network, source, state| search.run(network, source, state))?;
        Ok(Answers { answers: found.best()?.into(), losses: Vec::new() })
    }
}
