//! Dropout: what masks an LSTM has in training, and where they come from.
//!
//! A mask multiplies a vector by 0 with probability p, the rate, and otherwise by 1/(1 − p), number by
//! number (Srivastava et al., 2014). It is the same at every time step of a sequence (Gal and
//! Ghahramani, 2016), as in Keras. A mask is a pure function of the replica's seed, the layer, the
//! optimiser step and the row of the replica's batch: however rows are shared out, and after a resume.

use rand::Rng;

use crate::base::rng::{Purpose, Stream};
use crate::kernels::float::Real;

/// The rates of an LSTM's masks; 0: none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Dropout {
    /// Of what it reads.
    pub input: f64,
    /// Of the h that enters its recurrent product.
    pub recurrent: f64,
}

/// What a mask multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masked {
    /// What a layer reads.
    Input = 0,
    /// The h that enters its recurrent product.
    Recurrent = 1,
}

/// A mask that a layer has in training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskSpec {
    /// What it multiplies.
    pub masked: Masked,
    /// p.
    pub rate: f64,
    /// How many numbers it has for a row.
    pub width: i64,
}

/// Where masks come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Masks {
    /// They are drawn from each replica's seed.
    Drawn(Vec<u64>),
    /// They are given, for one batch.
    Given(Vec<GivenMask>),
}

/// The masks of a batch for one layer, scaled.
#[derive(Debug, Clone, PartialEq)]
pub struct GivenMask {
    /// The layer's number in the model.
    pub node: usize,
    /// What they multiply.
    pub masked: Masked,
    /// B.
    pub rows: usize,
    /// `(R, B, width)`.
    pub values: Vec<f64>,
}

/// The masks of one optimiser step.
#[derive(Debug, Clone, Copy)]
pub struct StepMasks<'a> {
    /// Where they come from.
    pub masks: &'a Masks,
    /// The step, counted from 0.
    pub step: u64,
}

impl<'a> StepMasks<'a> {
    /// Those of a layer, by its number in the model, of a replica.
    pub fn of(self, replica: usize, node: usize) -> LayerMasks<'a> {
        LayerMasks { step: self, replica, node }
    }
}

/// The masks of one optimiser step for a replica's layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerMasks<'a> {
    step: StepMasks<'a>,
    replica: usize,
    node: usize,
}

impl LayerMasks<'_> {
    /// Replaces `mask` by that of row `row` of the replica's batch, of rate `rate`.
    pub fn row<F: Real>(&self, masked: Masked, rate: f64, row: usize, mask: &mut [F]) {
        match self.step.masks {
            Masks::Drawn(seeds) => {
                let layer = 2 * self.node as u64 + masked as u64;
                let stream = Stream::new(seeds[self.replica], Purpose::Dropout);
                draw(&mut stream.part([layer, self.step.step]).at(row as u64), rate, mask);
            }
            Masks::Given(all) => {
                let own = |given: &&GivenMask| (given.node, given.masked) == (self.node, masked);
                let Some(given) = all.iter().find(own) else {
                    return mask.fill(F::from(1.0));
                };
                let first = (self.replica * given.rows + row) * mask.len();
                let numbers = &given.values[first..first + mask.len()];
                mask.iter_mut().zip(numbers).for_each(|(x, &given)| *x = F::from_f64(given));
            }
        }
    }
}

/// Draws a mask.
fn draw<F: Real>(generator: &mut impl Rng, rate: f64, mask: &mut [F]) {
    let kept = F::from_f64(1.0 / (1.0 - rate));
    // As many of 2³² numbers are dropped.
    let dropped = (rate * 2.0_f64.powi(32)).round() as u64;
    for x in mask {
        *x = if u64::from(generator.next_u32()) < dropped { F::default() } else { kept };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [f64; 4] = [0.1, 0.3, 0.5, 0.9];

    /// A mask of `width` numbers.
    fn mask(
        seed: u64,
        [replica, node, row]: [usize; 3],
        masked: Masked,
        step: u64,
        width: usize,
    ) -> Vec<f64> {
        let masks = Masks::Drawn((seed..seed + 3).collect());
        let mut mask = vec![f64::NAN; width];
        let step = StepMasks { masks: &masks, step };
        step.of(replica, node).row(masked, 0.5, row, &mut mask);
        mask
    }

    #[test]
    fn mean_and_variance_are_those_of_the_rate() {
        const ROWS: usize = 4000;
        const WIDTH: usize = 250;
        for rate in RATES {
            let masks = Masks::Drawn(vec![7]);
            let step = StepMasks { masks: &masks, step: 3 };
            let (mut mask, mut all) = ([0.0_f64; WIDTH], Vec::new());
            for row in 0..ROWS {
                step.of(0, 1).row(Masked::Input, rate, row, &mut mask);
                all.extend(mask);
            }
            let n = all.len() as f64;
            assert_eq!(n, 1e6);
            let scale = 1.0 / (1.0 - rate);
            assert!(all.iter().all(|&x| x == 0.0 || x == scale));
            let mean = all.iter().sum::<f64>() / n;
            let squares = all.iter().map(|x| (x - 1.0) * (x - 1.0));
            let (variance, fourth) = (
                squares.clone().sum::<f64>() / n,
                // Of the distribution, around its mean of 1.
                rate + (1.0 - rate) * (scale - 1.0).powi(4),
            );
            let expected = rate / (1.0 - rate);
            let error = (mean - 1.0).abs() / (expected / n).sqrt();
            assert!(error < 4.0, "rate {rate}: mean {mean}, {error} standard errors off");
            let of_variance = ((fourth - expected * expected) / n).sqrt();
            // At a rate of a half every square is 1.
            let error = (variance - expected).abs() / of_variance.max(1e-12);
            assert!(error < 4.0, "rate {rate}: variance {variance}, {error} standard errors off");
        }
    }

    /// In no two of them more columns agree than by chance.
    #[test]
    fn no_two_layers_steps_rows_seeds_or_kinds_share_a_mask() {
        const WIDTH: usize = 4096;
        let mut all = Vec::new();
        for step in [0, 1, 2, 1 << 32] {
            for (seed, node, row) in (0..27).map(|n| (n as u64 / 9, n / 3 % 3, n % 3)) {
                for masked in [Masked::Input, Masked::Recurrent] {
                    all.push(mask(seed, [0, node, row], masked, step, WIDTH));
                }
            }
        }
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                let same = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64;
                // Half of them, give or take 32; there are 23,220 pairs.
                assert!((same - WIDTH as f64 / 2.0).abs() < 6.0 * 32.0, "{same} agree");
            }
        }
    }

    #[test]
    fn a_replica_has_the_masks_of_its_own_seed() {
        for masked in [Masked::Input, Masked::Recurrent] {
            assert_eq!(mask(5, [2, 1, 4], masked, 9, 50), mask(7, [0, 1, 4], masked, 9, 50));
        }
    }

    /// A run that is resumed by another version has to go on with these.
    #[test]
    fn masks_are_what_they_always_were() {
        let drawn = mask(7, [0, 2, 5], Masked::Recurrent, 11, 12);
        assert_eq!(drawn, [0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    fn a_mask_that_is_given_is_that_of_its_row() {
        let given = |masked, first: u8| GivenMask {
            node: 1,
            masked,
            rows: 2,
            values: (first..first + 12).map(f64::from).collect(),
        };
        let masks = Masks::Given(vec![given(Masked::Input, 0), given(Masked::Recurrent, 20)]);
        let step = StepMasks { masks: &masks, step: 0 };
        let mut mask = [0.0_f32; 3];
        let mut row = |replica, node, masked, row| {
            step.of(replica, node).row(masked, 0.5, row, &mut mask);
            mask
        };
        assert_eq!(row(0, 1, Masked::Input, 1), [3.0, 4.0, 5.0]);
        assert_eq!(row(1, 1, Masked::Recurrent, 0), [26.0, 27.0, 28.0]);
        assert_eq!(row(1, 0, Masked::Input, 0), [1.0; 3], "none is given");
    }
}
