//! What a handful of measured numbers tells about where they come from.

use std::fmt;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The probability that an interval leaves out on each side.
const TAIL: f64 = 0.025;

/// Independent measurements of one thing, summed up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many.
    pub n: usize,
    /// Mean.
    pub mean: f64,
    /// Standard deviation of the population, estimated with n − 1; one number tells none.
    pub sd: Option<f64>,
    /// 95 % confidence interval of the mean: mean ± t · sd / √n, t of n − 1 degrees of freedom
    /// (Student 1908).
    pub confidence_95: Option<[f64; 2]>,
    /// 95 % prediction interval of one more number from the same normal distribution:
    /// mean ± t · sd · √(1 + 1/n).
    pub prediction_95: Option<[f64; 2]>,
    /// Median.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
}

impl Distribution {
    /// The distribution of `values`; `None` if there are none or one is not finite.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len();
        if n == 0 || values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (sorted[0], sorted[n - 1]);
        let (mean, sd) = mean_and_sd(values)?;
        let around = |scale: f64| sd.map(|sd| [-1.0, 1.0].map(|side| mean + side * scale * sd));
        let t = if n > 1 { student_t(n - 1) } else { 0.0 };
        Some(Self {
            n,
            mean,
            sd,
            confidence_95: around(t / (n as f64).sqrt()),
            prediction_95: around(t * (1.0 + 1.0 / n as f64).sqrt()),
            median: (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0,
            min,
            max,
        })
    }

    /// [`Distribution::of`] losses, none of which is below 0.
    pub fn of_losses(values: &[f64]) -> Option<Self> {
        Self::of(values).map(|all| all.bounded(0.0, f64::INFINITY))
    }

    /// [`Distribution::of`] shares: accuracies and the like, from 0 to 1.
    pub fn of_shares(values: &[f64]) -> Option<Self> {
        Self::of(values).map(|all| all.bounded(0.0, 1.0))
    }

    /// [`Distribution::of`] shares in per cent, from 0 to 100.
    pub fn of_percents(values: &[f64]) -> Option<Self> {
        Self::of(values).map(|all| all.bounded(0.0, 100.0))
    }

    /// The distribution of numbers that cannot lie below `low` or above `high`: an interval that a
    /// few of them draw further ends there. What is cut off could hold neither their mean nor another
    /// of them, so that the interval holds it as often as before.
    fn bounded(self, low: f64, high: f64) -> Self {
        let cut = |interval: [f64; 2]| interval.map(|end| end.clamp(low, high));
        Self {
            confidence_95: self.confidence_95.map(cut),
            prediction_95: self.prediction_95.map(cut),
            ..self
        }
    }

    /// The mean's standard error, sd / √n.
    pub fn standard_error(&self) -> Option<f64> {
        self.sd.map(|sd| sd / (self.n as f64).sqrt())
    }

    /// How many standard errors of the difference the mean lies above that of `other`
    /// (Welch 1947). Zero where the means are the same; `None` where no error is known or both are
    /// zero and the means differ.
    pub fn standard_errors_above(&self, other: &Self) -> Option<f64> {
        let difference = self.mean - other.mean;
        let error = self.standard_error()?.hypot(other.standard_error()?);
        if difference == 0.0 { Some(0.0) } else { (error > 0.0).then(|| difference / error) }
    }
}

/// The mean of finite `values` and, of several, the standard deviation of the population, estimated with n − 1;
/// `None` if there are none.
pub fn mean_and_sd(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len();
    let min = values.iter().copied().reduce(f64::min)?;
    let max = values.iter().copied().reduce(f64::max)?;
    // Rounding must not put the mean of equal numbers beside them.
    let mean = (values.iter().sum::<f64>() / n as f64).clamp(min, max);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((mean, (n > 1).then(|| (squares / (n - 1) as f64).sqrt())))
}

/// Mean ± standard deviation.
impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&figure(self.mean))?;
        self.sd.map_or(Ok(()), |sd| write!(f, " ± {}", figure(sd)))
    }
}

/// `x` with four decimals, or as a power of ten where nobody would count the digits.
pub fn figure(x: f64) -> String {
    if x.abs() < 1e6 { format!("{x:.4}") } else { format!("{x:.2e}") }
}

/// The t that a Student variable of so many degrees of freedom stays within with 95 %.
fn student_t(freedom: usize) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom as f64) {
        Ok(t) => t.inverse_cdf(1.0 - TAIL),
        Err(e) => unreachable!("scale and freedom are above 0: {e}"),
    }
}

/// How often something happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proportion {
    /// How often it did.
    pub right: u64,
    /// Out of how many.
    pub tried: u64,
    /// Wilson's 95 % interval of the probability (1927).
    pub wilson_95: [f64; 2],
}

impl Proportion {
    /// `right` of `tried`; nothing tried tells nothing, and the interval is all there is.
    pub fn new(right: u64, tried: u64) -> Self {
        if tried == 0 {
            return Self { right, tried, wilson_95: [0.0, 1.0] };
        }
        let z = Normal::standard().inverse_cdf(1.0 - TAIL);
        let (n, p) = (tried as f64, right as f64 / tried as f64);
        let middle = p + z * z / (2.0 * n);
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let end = |x: f64| (x / (1.0 + z * z / n)).clamp(0.0, 1.0);
        // At the ends themselves rounding would leave a little.
        let low = if right == 0 { 0.0 } else { end(middle - half) };
        let high = if right == tried { 1.0 } else { end(middle + half) };
        Self { right, tried, wilson_95: [low, high] }
    }

    /// Its share; `None` where nothing was tried.
    pub fn share(&self) -> Option<f64> {
        (self.tried > 0).then(|| self.right as f64 / self.tried as f64)
    }
}

/// The 95 % interval of the mean of independent proportions, from the distances of each one's share to the
/// ends of its own interval (method of variance estimates recovery; Zou and Donner 2008). `None` if there are
/// none, or nothing was tried of one.
pub fn mean_95(proportions: &[Proportion]) -> Option<[f64; 2]> {
    let n = proportions.len() as f64;
    let shares: Option<Vec<f64>> = proportions.iter().map(Proportion::share).collect();
    let shares = shares.filter(|shares| !shares.is_empty())?;
    let mean = shares.iter().sum::<f64>() / n;
    let apart = |side: usize| {
        let square = |(p, share): (&Proportion, &f64)| (p.wilson_95[side] - share).powi(2);
        proportions.iter().zip(&shares).map(square).sum::<f64>().sqrt() / n
    };
    Some([mean - apart(0), mean + apart(1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{got}, not {expected}");
    }

    /// Against the printed table of the t distribution.
    #[test]
    fn intervals_are_student_s() {
        for (n, t) in [(2, 12.706_204_736), (3, 4.302_652_730), (10, 2.262_157_163)] {
            let values: Vec<f64> = (0..n).map(f64::from).collect();
            let all = Distribution::of(&values).unwrap();
            let n = f64::from(n);
            close(all.mean, (n - 1.0) / 2.0);
            close(all.sd.unwrap(), (n * (n + 1.0) / 12.0).sqrt());
            let half = t * all.sd.unwrap();
            for (sign, side) in [(-1.0, 0), (1.0, 1)] {
                close(all.confidence_95.unwrap()[side], all.mean + sign * half / n.sqrt());
                let wider = half * (1.0 + 1.0 / n).sqrt();
                close(all.prediction_95.unwrap()[side], all.mean + sign * wider);
            }
        }
    }

    #[test]
    fn the_middle_and_the_ends_do_not_depend_on_the_order() {
        let odd = Distribution::of(&[3.0, -1.0, 10.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (3.0, -1.0, 10.0));
        let even = Distribution::of(&[4.0, 1.0, 2.0, 8.0]).unwrap();
        assert_eq!((even.median, even.min, even.max), (3.0, 1.0, 8.0));
    }

    #[test]
    fn one_number_has_no_spread_and_equal_ones_have_none_either() {
        let one = Distribution::of(&[0.3]).unwrap();
        assert_eq!((one.mean, one.sd, one.prediction_95), (0.3, None, None));
        let equal = Distribution::of(&[0.1; 7]).unwrap();
        assert_eq!((equal.mean, equal.sd), (0.1, Some(0.0)));
        assert_eq!(equal.prediction_95, Some([0.1, 0.1]));
        assert_eq!(Distribution::of(&[]), None);
        assert_eq!(Distribution::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn no_interval_holds_what_cannot_be() {
        let few = [0.9, 1.0];
        let wide = Distribution::of(&few).unwrap();
        assert!(wide.confidence_95.unwrap()[1] > 1.0 && wide.prediction_95.unwrap()[0] < 0.0);
        let shares = Distribution::of_shares(&few).unwrap();
        assert_eq!(shares.prediction_95, Some([0.0, 1.0]));
        assert_eq!(shares.confidence_95, Some([wide.confidence_95.unwrap()[0], 1.0]));
        let losses = Distribution::of_losses(&[0.1, 4.0]).unwrap();
        assert_eq!(losses.confidence_95.unwrap()[0], 0.0);
        assert!(losses.confidence_95.unwrap()[1] > 26.0);
        assert_eq!((shares.mean, shares.sd), (wide.mean, wide.sd));
    }

    #[test]
    fn a_distribution_is_shown_as_its_mean_and_deviation() {
        let shown = |values: &[f64]| Distribution::of(values).unwrap().to_string();
        assert_eq!(shown(&[1.0, 3.0]), "2.0000 ± 1.4142");
        assert_eq!(shown(&[0.5]), "0.5000");
        assert_eq!(shown(&[5.5e31]), "5.50e31");
    }

    #[test]
    fn the_distance_of_means_is_in_standard_errors_of_their_difference() {
        let of = |values: &[f64]| Distribution::of(values).unwrap();
        // Standard errors 3 and 4: 5 together.
        let (a, b) = (of(&[0.0, 6.0]), of(&[9.0, 17.0]));
        close(b.standard_errors_above(&a).unwrap(), 2.0);
        close(a.standard_errors_above(&b).unwrap(), -2.0);
        assert_eq!(a.standard_errors_above(&a), Some(0.0));
        let constant = |x: f64| of(&[x, x]);
        assert_eq!(constant(1.0).standard_errors_above(&constant(1.0)), Some(0.0));
        assert_eq!(constant(1.0).standard_errors_above(&constant(2.0)), None);
        assert_eq!(of(&[1.0]).standard_errors_above(&a), None);
    }

    /// Newcombe's example (1998): 81 of 263.
    #[test]
    fn proportions_have_wilson_s_interval() {
        let [low, high] = Proportion::new(81, 263).wilson_95;
        assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5, "{low} {high}");
        assert_eq!(Proportion::new(0, 10).wilson_95[0], 0.0);
        assert_eq!(Proportion::new(10, 10).wilson_95[1], 1.0);
        assert!(Proportion::new(10, 10).wilson_95[0] > 0.7);
        assert_eq!(Proportion::new(0, 0).wilson_95, [0.0, 1.0]);
    }

    #[test]
    fn the_interval_of_a_mean_of_proportions_shrinks_with_their_number() {
        let one = Proportion::new(45, 450);
        let [low, high] = mean_95(std::slice::from_ref(&one)).unwrap();
        close(low, one.wilson_95[0]);
        close(high, one.wilson_95[1]);
        let [below, above] = mean_95(&vec![one; 4]).unwrap();
        close(0.1 - below, (0.1 - low) / 2.0);
        close(above - 0.1, (high - 0.1) / 2.0);
        assert_eq!(mean_95(&[]), None);
        assert_eq!(mean_95(&[Proportion::new(0, 0)]), None);
    }
}
