//! Lag: read a random sequence window by window, say the id that came `lag` steps before the last.

use std::ops::RangeInclusive;

use super::checks::check_window;
use super::epoch::Draw;
use super::kind::Kind;
use super::random::{ids, sequence};
use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Invalid};

/// Sequence s of `length` ids → samples `s[t−n_in+1 ..= t]` with target `s[t−lag]`, for every
/// t from max(n_in, lag) to length−1 (0-based).
#[derive(Debug)]
pub(super) struct Lag {
    ids: RangeInclusive<i64>,
    length: usize,
    lag: usize,
    /// The time t of sample 0. The tutorial's first sample is t = n_in, not n_in − 1.
    first: usize,
}

impl Kind for Lag {
    fn check(config: &Config) -> Result<(), Invalid> {
        check_window(config, config.n_in.max(config.lag.unwrap_or(0)) + 1)?;
        if config.n_out == 1 {
            return Ok(());
        }
        let why = ", the one id that task lag asks for";
        Err(Invalid::new("n_out", config.n_out, "1").because(why))
    }

    fn new(config: &Config) -> Self {
        let size = |value: Option<i64>| value.unwrap_or(0) as usize;
        let (length, lag) = (size(config.length), size(config.lag));
        Self { ids: ids(config), length, lag, first: lag.max(config.n_in as usize) }
    }

    fn samples_per_epoch(&self) -> usize {
        self.length.saturating_sub(self.first)
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
            let t = self.first + index;
            source.copy_from_slice(&sequence[t + 1 - source.len()..=t]);
            target[0] = sequence[t - self.lag];
            [source.len(), target.len()]
        }))
    }
}
