//! Whether a published figure is what the program gives.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::statistics::Distribution;
use crate::config::presets::Published;

/// Published figures have four decimals; each stands for all numbers that round to it.
const ROUNDING: f64 = 5e-5;

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Good {
    /// A loss.
    Low,
    /// An accuracy.
    High,
}

/// What was measured, seen from what was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A published figure lies among the measured ones, or inside their 95 % prediction interval.
    Reproduced,
    /// What was measured is better.
    Better,
    /// What was measured is worse.
    Worse,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Reproduced => "reproduced",
            Self::Better => "better",
            Self::Worse => "worse",
        })
    }
}

/// A published figure beside what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Smallest published figure.
    pub low: f64,
    /// Largest published figure.
    pub high: f64,
    /// Whether it was reproduced.
    pub verdict: Verdict,
    /// From the measured mean to the nearest published figure, in standard deviations of the
    /// measured ones, above 0 where the published one is larger; `None` where they have none.
    pub distance: Option<f64>,
}

/// Judges a published figure by what was measured.
pub fn judge(published: Published, measured: &Distribution, good: Good) -> Judged {
    let Published { low, high } = published;
    let meets = |[from, to]: [f64; 2]| from <= high + ROUNDING && to >= low - ROUNDING;
    let reproduced =
        meets([measured.min, measured.max]) || measured.prediction_95.is_some_and(meets);
    let below = measured.mean < low;
    let verdict = match (reproduced, below == (good == Good::Low)) {
        (true, _) => Verdict::Reproduced,
        (false, true) => Verdict::Better,
        (false, false) => Verdict::Worse,
    };
    let gap = measured.mean.clamp(low, high) - measured.mean;
    let distance = match measured.sd {
        Some(sd) if sd > 0.0 => Some(gap / sd),
        _ => (gap == 0.0).then_some(0.0),
    };
    Judged { low, high, verdict, distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(low: f64, high: f64, measured: &[f64], good: Good) -> (Verdict, Option<f64>) {
        let measured = Distribution::of(measured).unwrap();
        let Judged { verdict, distance, .. } = judge(Published { low, high }, &measured, good);
        (verdict, distance)
    }

    #[test]
    fn a_figure_among_the_measured_ones_is_reproduced() {
        // Far outside the interval of the many, but one replica went there.
        let mut measured = [1.0; 30];
        measured[0] = 2.0;
        for figure in [1.0, 1.5, 2.0] {
            assert_eq!(judged(figure, figure, &measured, Good::Low).0, Verdict::Reproduced);
        }
        assert_eq!(judged(2.5, 2.5, &measured, Good::Low).0, Verdict::Better);
    }

    #[test]
    fn a_figure_inside_the_prediction_interval_is_reproduced() {
        // Mean 2, sd 1, t of 2 degrees of freedom 4.3027: 2 ± 4.968.
        let measured = [1.0, 2.0, 3.0];
        for (figure, verdict) in [
            (6.96, Verdict::Reproduced),
            (6.98, Verdict::Better),
            (-2.96, Verdict::Reproduced),
            (-2.98, Verdict::Worse),
        ] {
            let (found, distance) = judged(figure, figure, &measured, Good::Low);
            assert_eq!(found, verdict, "{figure}");
            assert!((distance.unwrap() - (figure - 2.0)).abs() < 1e-12);
        }
    }

    #[test]
    fn more_is_better_for_an_accuracy_and_worse_for_a_loss() {
        let measured = [0.5, 0.51, 0.52, 0.53, 0.54];
        assert_eq!(judged(0.9, 0.9, &measured, Good::High).0, Verdict::Worse);
        assert_eq!(judged(0.9, 0.9, &measured, Good::Low).0, Verdict::Better);
        assert_eq!(judged(0.1, 0.1, &measured, Good::High).0, Verdict::Better);
        assert_eq!(judged(0.1, 0.1, &measured, Good::Low).0, Verdict::Worse);
    }

    #[test]
    fn constant_replicas_reproduce_what_rounds_to_them_and_nothing_else() {
        let measured = [1.0; 10];
        assert_eq!(judged(1.0, 1.0, &measured, Good::High), (Verdict::Reproduced, Some(0.0)));
        assert_eq!(judged(0.99996, 0.99996, &measured, Good::High).0, Verdict::Reproduced);
        assert_eq!(judged(0.9999, 0.9999, &measured, Good::High), (Verdict::Better, None));
        assert_eq!(judged(1.5, 1.5, &measured, Good::High), (Verdict::Worse, None));
    }

    #[test]
    fn two_replicas_predict_a_wide_interval_and_one_none() {
        // Mean 1, sd √2, t of one degree of freedom 12.706: 1 ± 22.01.
        for (figure, verdict) in [(22.9, Verdict::Reproduced), (23.1, Verdict::Better)] {
            assert_eq!(judged(figure, figure, &[0.0, 2.0], Good::Low).0, verdict);
        }
        assert_eq!(judged(1.1, 1.1, &[1.0], Good::Low), (Verdict::Better, None));
        assert_eq!(judged(1.0, 1.0, &[1.0], Good::Low), (Verdict::Reproduced, Some(0.0)));
    }

    #[test]
    fn of_a_range_the_nearest_end_counts() {
        let measured = [4.0, 5.0, 6.0, 5.0, 5.0];
        let sd = 0.5_f64.sqrt();
        for (low, high, verdict, gap) in [
            (1.0, 2.0, Verdict::Worse, -3.0),
            (8.0, 9.0, Verdict::Better, 3.0),
            (4.5, 9.0, Verdict::Reproduced, 0.0),
            (5.5, 9.0, Verdict::Reproduced, 0.5),
        ] {
            let (found, distance) = judged(low, high, &measured, Good::Low);
            assert_eq!(found, verdict, "{low} to {high}");
            assert!((distance.unwrap() - gap / sd).abs() < 1e-12);
        }
    }
}
