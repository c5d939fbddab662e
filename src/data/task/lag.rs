//! Lag: read a random sequence window by window, say the id that came `lag` steps before the last.

use std::ops::RangeInclusive;

use super::{Draw, sequence};
use crate::base::rng::Stream;

/// Sequence s of `length` ids → samples `s[t−n_in+1 ..= t]` with target `s[t−lag]`, for every
/// t from max(n_in, lag) to length−1 (0-based).
#[derive(Debug, Clone)]
pub(super) struct Lag {
    pub ids: RangeInclusive<i64>,
    pub length: usize,
    pub lag: usize,
}

impl Lag {
    /// The time t of sample 0. The tutorial's first sample is t = n_in, not n_in − 1.
    fn first(&self, n_in: usize) -> usize {
        n_in.max(self.lag)
    }

    /// The samples of the stream's sequence number `epoch`; the target is one id.
    pub fn epoch(&self, stream: Stream, epoch: u64) -> Draw<'_> {
        let sequence = sequence(stream, epoch, &self.ids, self.length);
        Box::new(move |index, source, target| {
            let t = self.first(source.len()) + index;
            source.copy_from_slice(&sequence[t + 1 - source.len()..=t]);
            target[0] = sequence[t - self.lag];
        })
    }
}
