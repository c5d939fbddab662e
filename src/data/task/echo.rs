//! Echo: read a window of a random sequence, say its first ids again.

use std::ops::RangeInclusive;

use super::checks::{check_target, check_window};
use super::epoch::Draw;
use super::kind::Kind;
use super::random::{ids, sequence};
use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Invalid};

/// Stride-one windows of one fresh random sequence an epoch. The target of a window is its first
/// `n_out` ids: all of it for the whole echo, fewer for the partial echo.
#[derive(Debug)]
pub(super) struct Echo {
    ids: RangeInclusive<i64>,
    length: usize,
    n_in: usize,
}

impl Kind for Echo {
    fn check(config: &Config) -> Result<(), Invalid> {
        check_window(config, config.n_in)?;
        check_target(config)
    }

    fn new(config: &Config) -> Self {
        let length = config.length.unwrap_or(0) as usize;
        Self { ids: ids(config), length, n_in: config.n_in as usize }
    }

    fn samples_per_epoch(&self) -> usize {
        (self.length + 1).saturating_sub(self.n_in)
    }

    fn is_read_in_order(&self) -> bool {
        true
    }

    fn ids_of_an_epoch(&self) -> usize {
        self.length
    }

    fn epoch(&self, seed: u64, purpose: Purpose, epoch: u64) -> Draw<'_> {
        let sequence = sequence(Stream::new(seed, purpose), epoch, &self.ids, self.length);
        Draw::Ids(Box::new(move |index, source, target| {
            source.copy_from_slice(&sequence[index..index + source.len()]);
            target.copy_from_slice(&sequence[index..index + target.len()]);
            [source.len(), target.len()]
        }))
    }
}
