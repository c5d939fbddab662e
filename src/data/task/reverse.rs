//! Reversed subset: read a random sequence, say its first ids in reverse order.

use std::ops::RangeInclusive;

use super::{Draw, Kind, check_target, fill, ids};
use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Invalid};

/// Independent samples: `n_in` random ids, the target is the first `n_out` of them reversed.
#[derive(Debug)]
pub(super) struct Reverse {
    ids: RangeInclusive<i64>,
    /// Samples in an epoch.
    samples: usize,
}

impl Kind for Reverse {
    fn check(config: &Config) -> Result<(), Invalid> {
        check_target(config)
    }

    fn new(config: &Config) -> Self {
        Self { ids: ids(config), samples: config.samples.unwrap_or(0) as usize }
    }

    fn samples_per_epoch(&self) -> usize {
        self.samples
    }

    /// Sample i of the epoch is drawn at position `epoch · samples + i` of the stream.
    fn epoch(&self, seed: u64, purpose: Purpose, epoch: u64) -> Draw<'_> {
        let stream = Stream::new(seed, purpose);
        let first = epoch.wrapping_mul(self.samples as u64);
        Box::new(move |index, source, target| {
            fill(&mut stream.at(first + index as u64), &self.ids, source);
            for (to, from) in target.iter_mut().rev().zip(source.iter()) {
                *to = *from;
            }
        })
    }
}
