//! Epochs whose batches gather samples of similar length.

use rand::Rng;
use rand::seq::SliceRandom;

/// Batches whose samples are sorted by length together: few enough that an epoch's batches differ from
/// the last one's.
const BATCHES: usize = 100;

/// The numbers of `samples` samples in an order in which every `batch_size` of them, but for the last
/// ones, have similar lengths, by `length`. All of it is random but for that: which samples are
/// together, and when they come.
pub fn order<L: Ord>(
    samples: usize,
    batch_size: usize,
    length: impl Fn(u32) -> L,
    generator: &mut impl Rng,
) -> Vec<u32> {
    let mut all: Vec<u32> = (0..samples as u32).collect();
    all.shuffle(generator);
    let whole = samples / batch_size * batch_size;
    let (batches, rest) = all.split_at_mut(whole);
    for together in batches.chunks_mut(BATCHES * batch_size) {
        together.sort_by_key(|&sample| length(sample));
    }
    let mut batches: Vec<&[u32]> = batches.chunks(batch_size).collect();
    batches.shuffle(generator);
    let mut order = batches.concat();
    order.extend_from_slice(rest);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::{Purpose, Stream};

    #[test]
    fn an_epoch_has_every_sample_once_and_batches_of_similar_length() {
        let length = |sample: u32| u64::from(sample) * 7 % 20;
        let draw = |epoch, samples, batch_size| {
            order(samples, batch_size, length, &mut Stream::new(3, Purpose::Training).at(epoch))
        };
        for (samples, batch_size) in [(1, 1), (1, 8), (7, 8), (8, 8), (9, 8), (5_000, 16)] {
            let mut order = draw(0, samples, batch_size);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..samples as u32), "{samples} by {batch_size}");
        }
        let [first, second] = [0, 1].map(|epoch| draw(epoch, 5_000, 16));
        assert_ne!(first, second);
        let spread = |batch: &[u32]| {
            let lengths = batch.iter().map(|&sample| length(sample));
            lengths.clone().max().unwrap() - lengths.min().unwrap()
        };
        let whole = first.len() / 16 * 16;
        assert!(first[..whole].chunks(16).all(|batch| spread(batch) <= 3));
        // Nor do they come in the order of their lengths.
        let starts: Vec<u64> = first.chunks(16).map(|batch| length(batch[0])).collect();
        assert!(!starts.is_sorted());
    }
}
