//! Waves: read the beginning of a sine, say how it goes on.

use std::f64::consts::TAU;
use std::ops::Range;

use rand::RngExt;

use super::checks::{check_numbers, no_ids};
use super::epoch::Draw;
use super::kind::{Follows, GivenNumber, Kind};
use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Features, Invalid};

/// The amplitudes that are drawn.
const AMPLITUDES: Range<f64> = 0.5..1.0;

/// The frequencies, in periods a time step.
const FREQUENCIES: Range<f64> = 1.0 / 32.0..1.0 / 8.0;

/// Independent samples: every feature is a·sin(2πft + φ) with an amplitude, a frequency and a phase of
/// its own, each uniform. A source has it at t = 0 to n_in − 1, its target the first features at the
/// n_out steps that follow.
#[derive(Debug)]
pub(super) struct Waves {
    /// Samples in an epoch.
    samples: usize,
    features: Features,
}

impl Kind for Waves {
    fn check(config: &Config) -> Result<(), Invalid> {
        check_numbers(config)?;
        let Features { source, target } = features(config);
        if target > source {
            let invalid = Invalid::new("features_out", target, format!("1 to {source}"));
            return Err(invalid.because(", the waves that are read (--features-in)"));
        }
        Ok(())
    }

    fn new(config: &Config) -> Self {
        Self { samples: config.samples.unwrap_or(0) as usize, features: features(config) }
    }

    /// A preset's ids go, whatever they were.
    fn follow(_: &GivenNumber<'_>, _: &Config) -> Vec<Follows> {
        no_ids()
    }

    fn samples_per_epoch(&self) -> usize {
        self.samples
    }

    fn fixes(&self, field: &str) -> bool {
        field == "vocab"
    }

    /// Sample i of the epoch is drawn at position `epoch · samples + i` of the stream.
    fn epoch(&self, seed: u64, purpose: Purpose, epoch: u64) -> Draw<'_> {
        let stream = Stream::new(seed, purpose);
        let first = epoch.wrapping_mul(self.samples as u64);
        let Features { source: read, target: said } = self.features;
        let [read, said] = [read, said].map(|features| features as usize);
        Draw::Numbers(Box::new(move |index, source, target| {
            let mut generator = stream.at(first + index as u64);
            let steps = [source.len() / read, target.len() / said];
            for feature in 0..read {
                let amplitude = generator.random_range(AMPLITUDES);
                let frequency = generator.random_range(FREQUENCIES);
                let phase = generator.random_range(0.0..TAU);
                let at = |t: usize| amplitude * (TAU * frequency * t as f64 + phase).sin();
                (0..steps[0]).for_each(|t| source[t * read + feature] = at(t));
                if feature < said {
                    (0..steps[1]).for_each(|t| target[t * said + feature] = at(steps[0] + t));
                }
            }
            steps
        }))
    }
}

/// The numbers of a time step.
fn features(config: &Config) -> Features {
    config.features().unwrap_or(Features::OF_IDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;
    use crate::data::task::Task;

    #[test]
    fn a_target_goes_on_as_its_source_with_the_first_features() {
        let config = Config {
            task: crate::config::TaskKind::Waves,
            loss: crate::config::LossKind::Mse,
            features_in: Some(3),
            features_out: Some(2),
            samples: Some(4),
            n_in: 5,
            n_out: 3,
            ..presets::find("reverse").unwrap().config
        };
        let task = Task::new(&config);
        let batch = task.epoch(&[7, 8], Purpose::Training, 2).batch(1..4);
        let (source, target) = (batch.source.numbers(), batch.target.numbers());
        assert_eq!((source.len(), target.len()), (2 * 3 * 5 * 3, 2 * 3 * 3 * 2));
        for row in 0..6 {
            for feature in 0..2 {
                let read = (0..5).map(|t| source[(row * 5 + t) * 3 + feature]);
                let said = (0..3).map(|t| target[(row * 3 + t) * 2 + feature]);
                let wave: Vec<f64> = read.chain(said).collect();
                // x(t + 1) + x(t − 1) = 2 cos(2πf) x(t) of every sine.
                let [a, b, c] = [wave[0], wave[1], wave[2]];
                let twice_cos = (a + c) / b;
                let limits = [2.0 * (TAU / 8.0).cos() - 1e-9, 2.0 * (TAU / 32.0).cos() + 1e-9];
                assert!(twice_cos >= limits[0] && twice_cos <= limits[1], "{wave:?}");
                for three in wave.windows(3) {
                    assert!((three[0] + three[2] - twice_cos * three[1]).abs() < 1e-9, "{wave:?}");
                }
                assert!(wave.iter().all(|x| x.abs() <= 1.0));
            }
        }
        // What a decoder is fed begins with zeros.
        let fed = batch.decoder_input.unwrap();
        for (fed, target) in fed.numbers().chunks(6).zip(target.chunks(6)) {
            assert_eq!((&fed[..2], &fed[2..]), (&[0.0, 0.0][..], &target[..4]));
        }
        // A replica is what it is alone.
        let alone = task.epoch(&[8], Purpose::Training, 2).batch(1..4);
        assert_eq!(alone.target.numbers(), &target[target.len() / 2..]);
    }
}
