//! A column of `curves.csv` over its steps: the mean of the replicas, and how far they lie apart.

use std::collections::BTreeMap;

use crate::base::statistics::mean_and_sd;
use crate::run::curves::CurveRow;

/// Replicas from which on a band is a standard deviation wide; that of fewer is from the lowest to the highest.
pub(super) const ENOUGH: usize = 5;

/// What the replicas have at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    /// Optimiser steps done.
    pub step: i64,
    /// Mean over the replicas.
    pub mean: f64,
    /// The band's lower end.
    pub low: f64,
    /// The band's upper end.
    pub high: f64,
}

/// The points of a column, by step. What is not finite in a replica is left out.
pub(super) fn points(rows: &[CurveRow], value: fn(&CurveRow) -> Option<f64>) -> Vec<Point> {
    let mut steps: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for row in rows {
        if let Some(value) = value(row).filter(|value| value.is_finite()) {
            steps.entry(row.step).or_default().push(value);
        }
    }
    steps.iter().filter_map(|(step, values)| point(*step, values)).collect()
}

/// The band is mean ± standard deviation, but no further than the lowest and the highest replica: so it stays
/// above 0 where they do.
fn point(step: i64, values: &[f64]) -> Option<Point> {
    let (mean, sd) = mean_and_sd(values)?;
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sd = sd.filter(|_| values.len() >= ENOUGH);
    let [low, high] = sd.map_or([min, max], |sd| [(mean - sd).max(min), (mean + sd).min(max)]);
    Some(Point { step, mean, low, high })
}

/// At most four points of each of `stretches` stretches of `points`, and the ends: those with the lowest and the
/// highest mean, and with the lowest and the highest end of the band. So nothing that stands out is lost.
pub(super) fn thinned(points: &[Point], stretches: usize) -> Vec<Point> {
    if points.len() <= 4 * stretches {
        return points.to_vec();
    }
    let mut kept = vec![0, points.len() - 1];
    for k in 0..stretches {
        let bounds = [k, k + 1].map(|k| k * points.len() / stretches);
        let lowest = |value: fn(&Point) -> f64| {
            (bounds[0]..bounds[1]).min_by(|a, b| value(&points[*a]).total_cmp(&value(&points[*b])))
        };
        kept.extend(lowest(|point| point.mean));
        kept.extend(lowest(|point| -point.mean));
        kept.extend(lowest(|point| point.low));
        kept.extend(lowest(|point| -point.high));
    }
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(|i| points[i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(rows: &[CurveRow]) -> Vec<Point> {
        points(rows, |row| Some(row.loss))
    }

    #[test]
    fn few_replicas_have_a_band_from_the_lowest_to_the_highest() {
        let rows = [
            CurveRow::of_loss(0, 1, 2.0),
            CurveRow::of_loss(1, 1, 6.0),
            CurveRow::of_loss(0, 2, 1.0),
            CurveRow::of_loss(1, 2, f64::NAN),
        ];
        let both = Point { step: 1, mean: 4.0, low: 2.0, high: 6.0 };
        let one = Point { step: 2, mean: 1.0, low: 1.0, high: 1.0 };
        assert_eq!(losses(&rows), [both, one]);
        assert_eq!(points(&rows, |row| row.accuracy), []);
    }

    #[test]
    fn many_have_one_of_a_standard_deviation_that_ends_at_the_replicas() {
        let rows: Vec<CurveRow> = (0..5).map(|k| CurveRow::of_loss(k, 1, 1.0 + k as f64)).collect();
        let sd = 2.5f64.sqrt();
        assert_eq!(losses(&rows), [Point { step: 1, mean: 3.0, low: 3.0 - sd, high: 3.0 + sd }]);
        let far = [0.1, 0.1, 0.1, 0.1, 10.1];
        let rows: Vec<CurveRow> =
            far.iter().enumerate().map(|(k, x)| CurveRow::of_loss(k, 1, *x)).collect();
        assert_eq!(losses(&rows)[0].low, 0.1);
    }

    #[test]
    fn thinning_keeps_the_ends_and_what_stands_out() {
        let flat = |step| Point { step, mean: 1.0, low: 0.5, high: 1.5 };
        let mut all: Vec<Point> = (1..=10_000).map(flat).collect();
        all[1_234].mean = 9.0;
        all[4_321].mean = 0.1;
        all[5_678].low = 0.2;
        all[8_765].high = 7.0;
        let few = thinned(&all, 125);
        assert!(few.len() <= 502, "{}", few.len());
        for i in [0, 1_234, 4_321, 5_678, 8_765, 9_999] {
            assert!(few.contains(&all[i]), "{i}");
        }
        assert!(few.is_sorted_by_key(|point| point.step));
        assert_eq!(thinned(&all[..500], 125), all[..500]);
    }
}
