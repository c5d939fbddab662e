//! Padded echo: read a random sequence, say its first ids again, and zeros behind them.

use std::ops::RangeInclusive;

use super::epoch::Draw;
use super::kind::Kind;
use super::random::{fill, ids};
use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Invalid};

/// Independent samples: a source of random ids; the target is the first `echoed` of them, then zeros.
#[derive(Debug)]
pub(super) struct PaddedEcho {
    ids: RangeInclusive<i64>,
    /// Samples in an epoch.
    samples: usize,
    echoed: usize,
}

impl Kind for PaddedEcho {
    fn check(config: &Config) -> Result<(), Invalid> {
        let &Config { n_in, n_out, .. } = config;
        let (echoed, most) = (config.echoed.unwrap_or(0), n_in.min(n_out));
        if echoed <= most {
            return Ok(());
        }
        let invalid = Invalid::new("echoed", echoed, format!("1 to {most}"));
        Err(invalid.because(", the ids that source (--n-in) and target (--n-out) have"))
    }

    fn new(config: &Config) -> Self {
        let [samples, echoed] = [config.samples, config.echoed].map(|n| n.unwrap_or(0) as usize);
        Self { ids: ids(config), samples, echoed }
    }

    fn samples_per_epoch(&self) -> usize {
        self.samples
    }

    /// Sample i of the epoch is drawn at position `epoch · samples + i` of the stream.
    fn epoch(&self, seed: u64, purpose: Purpose, epoch: u64) -> Draw<'_> {
        let stream = Stream::new(seed, purpose);
        let first = epoch.wrapping_mul(self.samples as u64);
        Draw::Ids(Box::new(move |index, source, target| {
            fill(&mut stream.at(first + index as u64), &self.ids, source);
            target[..self.echoed].copy_from_slice(&source[..self.echoed]);
            [source.len(), target.len()]
        }))
    }
}
