//! Reversed subset: read a random sequence, say its first ids in reverse order.

use std::ops::RangeInclusive;

use super::{Draw, fill};
use crate::base::rng::Stream;

/// Independent samples: `n_in` random ids, the target is the first `n_out` of them reversed.
#[derive(Debug, Clone)]
pub(super) struct Reverse {
    pub ids: RangeInclusive<i64>,
    /// Samples in an epoch.
    pub samples: usize,
}

impl Reverse {
    /// Epoch `epoch`: sample i of it is drawn at position `epoch · samples + i` of the stream.
    pub fn epoch(&self, stream: Stream, epoch: u64) -> Draw<'_> {
        let first = epoch.wrapping_mul(self.samples as u64);
        Box::new(move |index, source, target| {
            fill(&mut stream.at(first + index as u64), &self.ids, source);
            for (to, from) in target.iter_mut().rev().zip(source.iter()) {
                *to = *from;
            }
        })
    }
}
