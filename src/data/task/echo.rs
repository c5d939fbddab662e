//! Echo: read a window of a random sequence, say its first ids again.

use std::ops::RangeInclusive;

use super::{Draw, sequence};
use crate::base::rng::Stream;

/// Stride-one windows of one fresh random sequence an epoch. The target of a window is its first
/// `n_out` ids: all of it for the whole echo, fewer for the partial echo.
#[derive(Debug, Clone)]
pub(super) struct Echo {
    pub ids: RangeInclusive<i64>,
    pub length: usize,
}

impl Echo {
    /// The windows of the stream's sequence number `epoch`.
    pub fn epoch(&self, stream: Stream, epoch: u64) -> Draw<'_> {
        let sequence = sequence(stream, epoch, &self.ids, self.length);
        Box::new(move |index, source, target| {
            source.copy_from_slice(&sequence[index..index + source.len()]);
            target.copy_from_slice(&sequence[index..index + target.len()]);
        })
    }
}
