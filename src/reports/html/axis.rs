//! An axis of a drawing.

/// Marks on an axis, about.
const TICKS: f64 = 5.0;

/// What an axis spans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    /// Its beginning.
    pub low: f64,
    /// Its end.
    pub high: f64,
    /// Whether equal distances are equal factors.
    pub logarithmic: bool,
}

impl Axis {
    /// How far along the axis `x` lies, from 0 to 1.
    pub(super) fn place(&self, x: f64) -> f64 {
        let of = |x: f64| if self.logarithmic { x.ln() } else { x };
        let span = of(self.high) - of(self.low);
        if span > 0.0 { ((of(x) - of(self.low)) / span).clamp(0.0, 1.0) } else { 0.5 }
    }

    /// Round numbers on it.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.logarithmic { self.powers() } else { self.multiples() }
    }

    /// Multiples of 1, 2 or 5 times a power of ten.
    fn multiples(&self) -> Vec<f64> {
        let about = (self.high - self.low) / TICKS;
        if !(about > 0.0 && about.is_finite()) {
            return vec![self.low];
        }
        let power = 10f64.powf(about.log10().floor());
        let factors = [1.0, 2.0, 5.0, 10.0];
        let apart = power * factors.into_iter().find(|of| of * power >= about).unwrap_or(10.0);
        let first = (self.low / apart).ceil() as i64;
        let ticks = (first..).map(|n| n as f64 * apart);
        // A division may end a little above the end.
        ticks.take_while(|tick| *tick <= self.high + apart * 1e-9).collect()
    }

    /// Powers of ten and, where there are few, twice and five times these.
    fn powers(&self) -> Vec<f64> {
        let [first, last] = [self.low.log10().floor(), self.high.log10().ceil()].map(|x| x as i32);
        let factors: &[f64] = if self.high / self.low < 1e3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all = (first..=last).flat_map(|n| factors.iter().map(move |of| of * 10f64.powi(n)));
        all.filter(|tick| (self.low..=self.high).contains(tick)).collect()
    }
}

/// `x` to four significant digits: more cannot be seen.
pub(super) fn rounded(x: f64) -> f64 {
    format!("{x:.3e}").parse().unwrap_or(x)
}

/// A tick's number as text.
pub(super) fn label(x: f64) -> String {
    let rounded = rounded(x);
    if rounded == 0.0 || (1e-3..1e6).contains(&rounded.abs()) {
        return grouped(&rounded.to_string());
    }
    format!("{rounded:e}")
}

/// Digits before the point in groups of three.
fn grouped(number: &str) -> String {
    match number.parse::<i64>() {
        Ok(whole) if whole >= 10_000 => crate::reports::tables::thousands(whole),
        _ => number.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64, logarithmic: bool) -> Vec<String> {
        Axis { low, high, logarithmic }.ticks().into_iter().map(label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(labels(0.0, 1.0, false), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(0.0, 20_000.0, false).last().unwrap(), "20,000");
        assert_eq!(labels(1.0, 1.0, false), ["1"]);
        assert_eq!(labels(0.03, 4.5, true), ["0.05", "0.1", "0.2", "0.5", "1", "2"]);
        assert_eq!(labels(1e-5, 1.0, true), ["1e-5", "1e-4", "0.001", "0.01", "0.1", "1"]);
    }

    #[test]
    fn numbers_have_their_place() {
        let axis = Axis { low: 1.0, high: 100.0, logarithmic: true };
        assert_eq!([1.0, 10.0, 100.0, 1e9].map(|x| axis.place(x)), [0.0, 0.5, 1.0, 1.0]);
        let flat = Axis { low: 2.0, high: 2.0, logarithmic: false };
        assert_eq!(flat.place(2.0), 0.5);
    }
}
