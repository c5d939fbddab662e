//! How the numbers of a series are made small: by the mean and the deviation of the training part,
//! which a run keeps.

use crate::base::input::quoted;

/// One column's.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// The column's name.
    pub column: String,
    /// What is taken off.
    pub mean: f64,
    /// What the rest is divided by, above 0.
    pub deviation: f64,
}

/// Those of all columns of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    /// Of the columns that are read.
    pub inputs: Vec<Scale>,
    /// Of those that are forecast.
    pub targets: Vec<Scale>,
}

/// The first line of the text of a [`Scaling`].
const HEADER: [&str; 4] = ["role", "mean", "deviation", "column"];

/// What the text calls columns that are read and those that are forecast.
const ROLES: [&str; 2] = ["input", "target"];

impl Scale {
    /// By the mean and the deviation (of the whole, not of a sample of it) of `values`, those that are
    /// NaN left out; a column that is constant is divided by 1.
    pub fn of(column: &str, values: &[f64]) -> Self {
        let there = || values.iter().copied().filter(|value| !value.is_nan());
        let count = there().count().max(1) as f64;
        let mean = there().sum::<f64>() / count;
        let square = there().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
        let deviation = square.sqrt();
        let first = there().next().unwrap_or(0.0);
        // The mean of equal numbers need not be one of them, by rounding.
        let (mean, deviation) = match there().all(|value| value == first) {
            true => (first, 1.0),
            false if deviation < f64::from(f32::MIN_POSITIVE) => (mean, 1.0),
            false => (mean, deviation),
        };
        Self { column: column.to_owned(), mean, deviation }
    }

    /// The number that a model reads for `value`.
    pub fn to_model(&self, value: f64) -> f64 {
        (value - self.mean) / self.deviation
    }

    /// The value that the number of a model stands for.
    pub fn to_file(&self, number: f64) -> f64 {
        number * self.deviation + self.mean
    }
}

/// `values`, time step by time step a number for each of `scales`, each by `change` of its own.
pub fn scaled(values: &[f64], scales: &[Scale], change: fn(&Scale, f64) -> f64) -> Vec<f64> {
    values.iter().zip(scales.iter().cycle()).map(|(value, scale)| change(scale, *value)).collect()
}

impl Scaling {
    /// A line for each column, in the order in which the model has them, below a header; between its
    /// fields are tabs, and the name comes last.
    pub fn to_text(&self) -> String {
        let mut text = HEADER.join("\t") + "\n";
        for (role, scales) in ROLES.into_iter().zip([&self.inputs, &self.targets]) {
            for Scale { column, mean, deviation } in scales {
                text += &format!("{role}\t{mean:?}\t{deviation:?}\t{column}\n");
            }
        }
        text
    }

    /// The inverse of [`Scaling::to_text`].
    ///
    /// # Errors
    /// The first line that is none of it, or no column.
    pub fn from_text(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|e| format!("no UTF-8: {e}"))?;
        let mut lines = text.split_terminator('\n');
        if lines.next() != Some(&HEADER.join("\t")) {
            return Err(format!("line 1: expected {}, tabs between them", HEADER.join(", ")));
        }
        let mut scaling = Self { inputs: Vec::new(), targets: Vec::new() };
        for (line, number) in lines.zip(2..) {
            let (role, scale) = scale(line).map_err(|e| format!("line {number}: {e}"))?;
            match role {
                0 if scaling.targets.is_empty() => scaling.inputs.push(scale),
                0 => return Err(format!("line {number}: an input behind the targets")),
                _ => scaling.targets.push(scale),
            }
        }
        if scaling.inputs.is_empty() || scaling.targets.is_empty() {
            return Err("expected a line for every input and every target".to_owned());
        }
        Ok(scaling)
    }
}

/// The number of the role in [`ROLES`], and the scale, that `line` has.
fn scale(line: &str) -> Result<(usize, Scale), String> {
    let fields: Vec<&str> = line.splitn(4, '\t').collect();
    let [role, mean, deviation, column] = fields[..] else {
        return Err(format!("{} fields: expected {}", fields.len(), HEADER.len()));
    };
    let number = |text: &str| {
        let finite = text.parse::<f64>().ok().filter(|number| number.is_finite());
        finite.ok_or_else(|| format!("'{}' is no number", quoted(text)))
    };
    let Some(place) = ROLES.iter().position(|word| *word == role) else {
        return Err(format!("'{}': expected {}", quoted(role), ROLES.join(" or ")));
    };
    let (mean, deviation) = (number(mean)?, number(deviation)?);
    if deviation <= 0.0 {
        return Err(format!("deviation {deviation}: expected a number above 0"));
    }
    Ok((place, Scale { column: column.to_owned(), mean, deviation }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_column_is_scaled_by_its_mean_and_deviation() {
        let scale = Scale::of("x", &[1.0, f64::NAN, 3.0, 5.0]);
        assert_eq!((scale.mean, scale.deviation), (3.0, (8.0_f64 / 3.0).sqrt()));
        assert_eq!(scale.to_file(scale.to_model(4.5)), 4.5);
        let two = [scale, Scale { column: "y".to_owned(), mean: 1.0, deviation: 2.0 }];
        assert_eq!(scaled(&[3.0, 5.0, 3.0, 1.0], &two, Scale::to_model), [0.0, 2.0, 0.0, 0.0]);
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        for value in [0.0, 0.1, -1e30] {
            let scale = Scale::of("x", &[value; 10]);
            assert_eq!((scale.mean, scale.deviation), (value, 1.0));
        }
        assert_eq!(Scale::of("x", &[0.0, 1e-300]).deviation, 1.0);
        assert_eq!(Scale::of("x", &[]).deviation, 1.0);
    }

    #[test]
    fn what_is_no_scaling_is_told_by_its_line() {
        let text = |lines: &str| format!("role\tmean\tdeviation\tcolumn\n{lines}");
        let says = |lines: &str| Scaling::from_text(text(lines).as_bytes()).unwrap_err();
        let input = "input\t1.0\t2.0\tx\n";
        assert_eq!(Scaling::from_text(b"x").unwrap_err()[..6], *"line 1");
        assert!(Scaling::from_text(b"\xff").unwrap_err().starts_with("no UTF-8"));
        assert_eq!(says("input\t1.0\t2.0\n"), "line 2: 3 fields: expected 4");
        assert_eq!(says("in\t1.0\t2.0\tx\n"), "line 2: 'in': expected input or target");
        assert_eq!(says("input\tx\t2.0\tx\n"), "line 2: 'x' is no number");
        assert_eq!(says("input\t1.0\tinf\tx\n"), "line 2: 'inf' is no number");
        assert!(says("input\t1.0\t0.0\tx\n").starts_with("line 2: deviation 0: expected"));
        assert!(says(input).starts_with("expected a line for every"));
        let late = says(&format!("target\t1.0\t2.0\tx\n{input}"));
        assert_eq!(late, "line 3: an input behind the targets");
    }

    proptest! {
        // No files of failed cases.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_text_is_read_as_it_was_written(
            columns in prop::collection::vec(("[^\n]{0,5}", -1e30..1e30, 1e-30..1e30), 2..6),
            inputs in 1..6_usize,
        ) {
            let scale = |(column, mean, deviation): (String, f64, f64)| Scale { column, mean, deviation };
            let mut all: Vec<Scale> = columns.into_iter().map(scale).collect();
            let targets = all.split_off(inputs.min(all.len() - 1));
            let scaling = Scaling { inputs: all, targets };
            prop_assert_eq!(Scaling::from_text(scaling.to_text().as_bytes()), Ok(scaling));
        }
    }
}
