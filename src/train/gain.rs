//! Whether a metric still gains.

use crate::config::{CurveMetric, Direction};
use crate::run::curves::CurveRow;

/// What a training goes by: a metric, and how long it may go without a gain.
///
/// Values that gain on the best so far, with the smallest gain Δ:
///
/// ```text
/// min   value < best − Δ
/// max   value > best + Δ
/// ```
///
/// The first value always gains. So do Keras's `EarlyStopping` and `ReduceLROnPlateau` (`monitor`,
/// `mode`, `patience`, `min_delta`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// The column of `curves.csv`.
    pub metric: CurveMetric,
    /// Which way it gains.
    pub direction: Direction,
    /// Δ.
    pub min_delta: f64,
    /// Values without gain, one after the other, that are too many.
    pub patience: i64,
}

/// One replica's values so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Seen {
    /// The best of them.
    pub best: Option<f64>,
    /// How many without gain came after it.
    pub without_gain: i64,
}

impl Rule {
    /// The value that `row` has for it.
    pub fn value(&self, row: &CurveRow) -> Option<f64> {
        match self.metric {
            CurveMetric::Loss => Some(row.loss),
            CurveMetric::Accuracy => row.accuracy,
            CurveMetric::ValLoss => row.val_loss,
            CurveMetric::ValAccuracy => row.val_accuracy,
            CurveMetric::ValSequenceAccuracy => row.val_sequence_accuracy,
        }
    }

    /// Takes `value` as the new best if it gains, and says whether it does.
    pub fn gains(&self, seen: &mut Seen, value: f64) -> bool {
        let gains = seen.best.is_none_or(|best| match self.direction {
            Direction::Min => value < best - self.min_delta,
            Direction::Max => value > best + self.min_delta,
        });
        if gains {
            *seen = Seen { best: Some(value), without_gain: 0 };
        }
        gains
    }

    /// Counts a value without gain, and says whether that is one too many.
    pub fn waits(&self, seen: &mut Seen) -> bool {
        seen.without_gain += 1;
        seen.without_gain >= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(direction: Direction, min_delta: f64) -> Rule {
        Rule { metric: CurveMetric::Loss, direction, min_delta, patience: 2 }
    }

    /// Which of `values` gain.
    fn gains<const N: usize>(rule: Rule, values: [f64; N]) -> [bool; N] {
        let mut seen = Seen::default();
        values.map(|value| rule.gains(&mut seen, value))
    }

    #[test]
    fn the_first_value_gains_and_then_what_is_better_by_more_than_the_least() {
        let falling = [3.0, 2.5, 2.5, 2.25, 2.0, 2.75];
        assert_eq!(
            gains(rule(Direction::Min, 0.0), falling),
            [true, true, false, true, true, false]
        );
        // 2.25 and 2.0 are compared with 2.5, the best so far.
        assert_eq!(
            gains(rule(Direction::Min, 0.25), falling),
            [true, true, false, false, true, false]
        );
        let rising = falling.map(|value| -value);
        for min_delta in [0.0, 0.25] {
            let (min, max) = (rule(Direction::Min, min_delta), rule(Direction::Max, min_delta));
            assert_eq!(gains(max, rising), gains(min, falling));
        }
        assert_eq!(
            gains(rule(Direction::Max, 0.0), falling),
            [true, false, false, false, false, false]
        );
    }

    #[test]
    fn what_comes_without_gain_is_counted_until_it_is_too_much() {
        let rule = rule(Direction::Min, 0.0);
        let mut seen = Seen { best: Some(1.0), without_gain: 0 };
        assert!(!rule.waits(&mut seen) && rule.waits(&mut seen));
        assert_eq!(seen, Seen { best: Some(1.0), without_gain: 2 });
        assert!(rule.gains(&mut seen, 0.5));
        assert_eq!(seen, Seen { best: Some(0.5), without_gain: 0 });
    }
}
