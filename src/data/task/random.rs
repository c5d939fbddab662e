//! Independent uniform ids.

use std::ops::RangeInclusive;

use rand::{Rng, RngExt};

use crate::base::rng::Stream;
use crate::config::Config;

/// The ids that random sequences contain.
pub(super) fn ids(config: &Config) -> RangeInclusive<i64> {
    config.id_min..=config.id_max
}

/// `length` independent uniform ids.
pub(super) fn sequence(
    stream: Stream,
    epoch: u64,
    ids: &RangeInclusive<i64>,
    length: usize,
) -> Vec<i64> {
    let mut sequence = vec![0; length];
    fill(&mut stream.at(epoch), ids, &mut sequence);
    sequence
}

/// Fills `place` with independent uniform ids.
pub(super) fn fill(generator: &mut impl Rng, ids: &RangeInclusive<i64>, place: &mut [i64]) {
    for id in place {
        *id = generator.random_range(ids.clone());
    }
}
