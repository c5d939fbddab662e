//! Reversed subset: read a random sequence, say its first ids in reverse order.

use std::ops::RangeInclusive;

use rand::RngExt;

use super::END_ID;
use super::checks::check_target;
use super::epoch::Draw;
use super::kind::Kind;
use super::random::{fill, ids};
use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Invalid};

/// Independent samples: a source of random ids, the target is the first of them reversed.
#[derive(Debug)]
pub(super) struct Reverse {
    ids: RangeInclusive<i64>,
    /// Samples in an epoch.
    samples: usize,
    lengths: Option<UniformLengths>,
}

/// Uniform lengths of sources, and those of targets that they tell.
#[derive(Debug)]
struct UniformLengths {
    source: RangeInclusive<usize>,
    /// `None`: all targets have the same length.
    target: Option<RangeInclusive<usize>>,
}

impl UniformLengths {
    fn new(config: &Config) -> Option<Self> {
        let least = config.n_in_min? as usize;
        let target = config.n_out_min.map(|least| least as usize..=config.n_out as usize);
        Some(Self { source: least..=config.n_in as usize, target })
    }

    /// The length of a target to a source of `length` ids: the longer the source the longer the
    /// target, so that it is as uniform as the source's and a model can know it.
    fn of_target(&self, length: usize) -> Option<usize> {
        let count = |range: &RangeInclusive<usize>| range.end() + 1 - range.start();
        let target = self.target.as_ref()?;
        let above = (length - self.source.start()) * count(target) / count(&self.source);
        Some(target.start() + above)
    }
}

impl Kind for Reverse {
    fn check(config: &Config) -> Result<(), Invalid> {
        let Some(least) = config.n_in_min else {
            return match config.n_out_min {
                Some(least) => Err(Invalid::new("n_out_min", least, "--n-in-min as well")
                    .because(": the length of a target follows that of its source")),
                None => check_target(config),
            };
        };
        check_lengths(config, least)
    }

    fn new(config: &Config) -> Self {
        let samples = config.samples.unwrap_or(0) as usize;
        Self { ids: ids(config), samples, lengths: UniformLengths::new(config) }
    }

    fn samples_per_epoch(&self) -> usize {
        self.samples
    }

    fn lengths_vary(&self) -> bool {
        self.lengths.is_some()
    }

    fn end(&self) -> Option<i64> {
        self.lengths.as_ref()?.target.as_ref().map(|_| END_ID)
    }

    /// Sample i of the epoch is drawn at position `epoch · samples + i` of the stream.
    fn epoch(&self, seed: u64, purpose: Purpose, epoch: u64) -> Draw<'_> {
        let stream = Stream::new(seed, purpose);
        let first = epoch.wrapping_mul(self.samples as u64);
        Draw::Ids(Box::new(move |index, source, target| {
            let mut generator = stream.at(first + index as u64);
            let of_source = match &self.lengths {
                Some(lengths) => generator.random_range(lengths.source.clone()),
                None => source.len(),
            };
            let of_target = self.lengths.as_ref().and_then(|l| l.of_target(of_source));
            fill(&mut generator, &self.ids, &mut source[..of_source]);
            // Behind the ids is the end, if targets have lengths of their own.
            let said = of_target.map_or(target.len(), |length| length - 1);
            for (to, from) in target[..said].iter_mut().rev().zip(source.iter()) {
                *to = *from;
            }
            if of_target.is_some() {
                target[said] = END_ID;
            }
            [of_source, of_target.unwrap_or(target.len())]
        }))
    }
}

/// Lengths of sources from `least` on.
fn check_lengths(config: &Config, least: i64) -> Result<(), Invalid> {
    let &Config { n_in, n_out, n_out_min, id_min, .. } = config;
    if least > n_in {
        let invalid = Invalid::new("n_in_min", least, format!("1 to {n_in}"));
        return Err(invalid.because(", the ids of the longest source (--n-in)"));
    }
    let Some(least_out) = n_out_min else {
        let invalid = Invalid::new("n_out", n_out, format!("1 to {least}"));
        return match n_out <= least {
            true => Ok(()),
            false => Err(invalid.because(", the ids of the shortest source (--n-in-min)")),
        };
    };
    if n_out < 2 {
        let invalid = Invalid::new("n_out", n_out, format!("2 to {}", n_in + 1));
        return Err(invalid.because(", an id and the end at least (--n-out-min)"));
    }
    let most = n_out.min(least + 1);
    if !(2..=most).contains(&least_out) {
        let invalid = Invalid::new("n_out_min", least_out, format!("2 to {most}"));
        return Err(invalid.because(
            ", an id and the end at least, and at most --n-out and one more than --n-in-min",
        ));
    }
    if n_out > n_in + 1 {
        let invalid = Invalid::new("n_out", n_out, format!("{least_out} to {}", n_in + 1));
        return Err(invalid.because(", the ids of the longest source (--n-in) and the end"));
    }
    if n_out - least_out > n_in - least {
        let expected = format!("{} to {most}", n_out - (n_in - least));
        let invalid = Invalid::new("n_out_min", least_out, expected);
        return Err(invalid.because(
            ", as many lengths as sources have (--n-in-min to --n-in), which tell those of targets",
        ));
    }
    if id_min <= END_ID {
        let invalid = Invalid::new("id_min", id_min, format!("{} or more", END_ID + 1));
        return Err(invalid.because(", since id 0 ends a target (--n-out-min)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_as_uniform_as_sources_and_never_longer_than_one_more() {
        for (source, target) in
            [(3..=20, 4..=21), (1..=8, 2..=5), (5..=9, 2..=2), (400..=401, 2..=3)]
        {
            let lengths = UniformLengths { source: source.clone(), target: Some(target.clone()) };
            let all: Vec<usize> =
                source.clone().map(|length| lengths.of_target(length).unwrap()).collect();
            assert!(all.iter().zip(source).all(|(target, source)| *target <= source + 1));
            assert!(all.is_sorted() && target.clone().all(|length| all.contains(&length)));
            assert_eq!((all[0], all[all.len() - 1]), (*target.start(), *target.end()));
            let times = |length| all.iter().filter(|of| **of == length).count();
            let [least, most] =
                [all.len() / target.clone().count(), all.len().div_ceil(target.clone().count())];
            assert!(target.into_iter().all(|length| (least..=most).contains(&times(length))));
        }
    }
}
