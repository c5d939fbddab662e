//! The values that a sweep gives to a field: some of a list, or of a range.

use rand::RngExt;
use serde::Deserialize;
use toml::Value;

use super::Method;
use crate::base::input::quoted;
use crate::base::rng::{Purpose, Stream};
use crate::config::{Field, Takes};
use crate::files::checksum::Checksum;

/// The largest whole number of a range: larger ones have no f64 of their own.
const LARGEST: i64 = 1 << 53;
/// Significant digits of the numbers of a grid: as many as hide that tenths have no end in binary.
const DIGITS_OF_GRID: usize = 12;
/// Significant digits of a number that is drawn.
const DIGITS_DRAWN: usize = 4;

/// A field and the values to try.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub field: Field,
    values: Values,
}

#[derive(Debug, Clone)]
enum Values {
    List(Vec<Value>),
    Range(Range),
}

/// Numbers from one to another, both among them.
#[derive(Debug, Clone, Copy)]
struct Range {
    from: f64,
    to: f64,
    /// Whether equal factors, not equal differences, are equally far.
    log: bool,
    whole: bool,
}

/// A range as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    from: Value,
    to: Value,
    #[serde(default)]
    log: bool,
    count: Option<i64>,
}

impl Axis {
    /// What `value` says of `field`, for a sweep by `method` of at most `most` runs.
    ///
    /// # Errors
    /// If it says no values that the field takes: what is wrong, beginning with the field's name.
    pub fn new(field: Field, value: &Value, method: Method, most: usize) -> Result<Self, String> {
        let name = field.name;
        let values = match value {
            Value::Array(values) => list(field, values)?,
            Value::Table(range) => {
                let range: Written =
                    range.clone().try_into().map_err(|e: toml::de::Error| wrong(name, &e))?;
                let (limits, count) = (Range::new(field, &range)?, range.count);
                match (method, count) {
                    (Method::Random, None) => Values::Range(limits),
                    (Method::Random, Some(count)) => {
                        return Err(format!(
                            "{name}: count = {count}: expected nothing with method random, which \
                             draws from the whole range"
                        ));
                    }
                    (Method::Grid, Some(count)) if (2..=most as i64).contains(&count) => {
                        Values::List(limits.grid(name, count as usize)?)
                    }
                    (Method::Grid, count) => {
                        let found = count.map_or("(not given)".into(), |n| format!("= {n}"));
                        return Err(format!(
                            "{name}: count {found}: expected how many values a grid has of it, 2 to \
                             {most}"
                        ));
                    }
                }
            }
            value => {
                let found = quoted(&value.to_string());
                return Err(format!(
                    "{name} = {found}: expected a list such as [1, 2], or a range such as \
                     {{ from = 1, to = 2 }}"
                ));
            }
        };
        Ok(Self { field, values })
    }

    /// Its values in a grid, in their order.
    pub fn grid(&self) -> &[Value] {
        match &self.values {
            Values::List(values) => values,
            Values::Range(_) => unreachable!("the ranges of a grid are made lists"),
        }
    }

    /// Its value in the run number `run` of a random sweep: a function of `seed`, the field's name and the
    /// number.
    pub fn draw(&self, seed: u64, run: usize) -> Value {
        let name = Checksum::of(self.field.name.as_bytes()).crc32;
        let stream = Stream::new(seed, Purpose::Sweep).part([name.into(), 0]);
        let mut generator = stream.at(run as u64);
        match &self.values {
            Values::List(values) => {
                values[generator.random_range(0..values.len() as u32) as usize].clone()
            }
            Values::Range(range) => range.drawn(generator.random()),
        }
    }
}

/// The values of a list.
fn list(field: Field, values: &[Value]) -> Result<Values, String> {
    let name = field.name;
    if values.is_empty() {
        return Err(format!("{name} = []: expected at least one value"));
    }
    let mut kept: Vec<Value> = Vec::new();
    for value in values {
        let found = quoted(&value.to_string());
        field.check(value).map_err(|e| format!("{name} = {found}: {}", e.expectation()))?;
        let value = as_field_has_it(field, value);
        if kept.contains(&value) {
            return Err(format!("{name} = {found}: expected each value once"));
        }
        kept.push(value);
    }
    Ok(Values::List(kept))
}

/// `value`, a whole number as a float where the field is one.
fn as_field_has_it(field: Field, value: &Value) -> Value {
    match (field.takes, value) {
        (Takes::Positive | Takes::Fraction, Value::Integer(number)) => (*number as f64).into(),
        (_, value) => value.clone(),
    }
}

/// What is wrong with a range.
fn wrong(name: &str, e: &toml::de::Error) -> String {
    format!("{name}: {}: expected a range such as {{ from = 1, to = 2 }}", quoted(e.message()))
}

impl Range {
    fn new(field: Field, written: &Written) -> Result<Self, String> {
        let (name, Written { from, to, log, .. }) = (field.name, written);
        let whole = match field.takes {
            Takes::Whole(..) => true,
            Takes::Positive | Takes::Fraction => false,
            _ => return Err(format!("{name}: expected a list: only numbers have ranges")),
        };
        let number = |end: &str, value: &Value| {
            let found = quoted(&value.to_string());
            let expected = |what: &str| format!("{name}: {end} = {found}: expected {what}");
            field
                .check(value)
                .map_err(|e| format!("{name}: {end} = {found}: {}", e.expectation()))?;
            match value {
                Value::Integer(n) if n.abs() > LARGEST => {
                    Err(expected(&format!("at most {LARGEST}, or a list")))
                }
                Value::Integer(n) => Ok(*n as f64),
                Value::Float(x) if x.is_finite() => Ok(*x),
                _ => Err(expected("a finite number")),
            }
        };
        let range = Self { from: number("from", from)?, to: number("to", to)?, log: *log, whole };
        if range.from >= range.to {
            return Err(format!("{name}: from = {from}, to = {to}: expected from below to"));
        }
        if range.log && range.from <= 0.0 {
            return Err(format!(
                "{name}: from = {from}: expected a number above 0, with log = true"
            ));
        }
        Ok(range)
    }

    /// So many numbers, equally far from each other.
    fn grid(self, name: &str, count: usize) -> Result<Vec<Value>, String> {
        let last = count as f64 - 1.0;
        let value = |i: usize| match i {
            0 => self.value(self.from, DIGITS_OF_GRID),
            i if i + 1 == count => self.value(self.to, DIGITS_OF_GRID),
            i => self.value(between(self.from, self.to, i as f64 / last, self.log), DIGITS_OF_GRID),
        };
        let values: Vec<Value> = (0..count).map(value).collect();
        if values.windows(2).any(|two| two[0] == two[1]) {
            return Err(format!(
                "{name}: count = {count}: expected fewer, so that no two are the same"
            ));
        }
        Ok(values)
    }

    /// The number that `part`, uniform from 0 to below 1, is.
    fn drawn(self, part: f64) -> Value {
        // So that the first and the last whole number are as likely as the others.
        let more = if self.whole { 0.5 } else { 0.0 };
        let number = between(self.from - more, self.to + more, part, self.log);
        self.value(number, DIGITS_DRAWN)
    }

    /// `number` as a value of the range: whole, or of so many significant digits.
    fn value(self, number: f64, digits: usize) -> Value {
        if self.whole {
            return (number.round().clamp(self.from, self.to) as i64).into();
        }
        let rounded = format!("{number:.*e}", digits - 1).parse().unwrap_or(number);
        rounded.clamp(self.from, self.to).into()
    }
}

/// The number that lies at `part` of the way.
fn between(from: f64, to: f64, part: f64, log: bool) -> f64 {
    if log {
        return (from.ln() * (1.0 - part) + to.ln() * part).exp();
    }
    from * (1.0 - part) + to * part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::field;

    fn axis(name: &str, text: &str, method: Method) -> Result<Axis, String> {
        let table: toml::Table = format!("x = {text}").parse().unwrap();
        Axis::new(field(name).unwrap(), &table["x"], method, 100)
    }

    fn grid(name: &str, text: &str) -> String {
        match axis(name, text, Method::Grid) {
            Ok(axis) => axis.grid().iter().map(Value::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => error,
        }
    }

    #[test]
    fn a_grid_has_the_values_of_a_list_or_equally_far_ones_of_a_range() {
        for (name, text, values) in [
            ("units", "[8, 4]", "8 4"),
            ("learning_rate", "[1, 0.1]", "1.0 0.1"),
            ("units", "{ from = 1, to = 10, count = 4 }", "1 4 7 10"),
            ("units", "{ from = 8, to = 512, log = true, count = 4 }", "8 32 128 512"),
            ("dropout", "{ from = 0.0, to = 0.3, count = 4 }", "0.0 0.1 0.2 0.3"),
            (
                "learning_rate",
                "{ from = 1e-4, to = 1, log = true, count = 5 }",
                "0.0001 0.001 0.01 0.1 1.0",
            ),
            ("family", "['lstm', 'repeat_vector']", "\"lstm\" \"repeat_vector\""),
        ] {
            assert_eq!(grid(name, text), values, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_and_no_range_is_told() {
        for (name, text, says) in [
            ("units", "8", "units = 8: expected a list such as [1, 2], or a range such as"),
            ("units", "[]", "units = []: expected at least one value"),
            ("units", "[8, 'a']", "units = \"a\": expected a whole number from 1 to 1000000"),
            ("units", "[8, 4, 8]", "units = 8: expected each value once"),
            ("learning_rate", "[1.0, 1]", "learning_rate = 1: expected each value once"),
            ("units", "{ from = 1, too = 2 }", "units: unknown field `too`"),
            ("units", "{ from = 1 }", "units: missing field `to`"),
            ("units", "{ from = 1.5, to = 2 }", "units: from = 1.5: expected a whole number from"),
            ("units", "{ from = 2, to = 2, count = 2 }", "units: from = 2, to = 2: expected from"),
            ("dropout", "{ from = 0, to = 1, log = true }", "dropout: from = 0: expected a number"),
            ("dropout", "{ from = 0, to = inf }", "dropout: to = inf: expected a finite number"),
            ("units", "{ from = 1, to = 2 }", "units: count (not given): expected how many values"),
            ("units", "{ from = 1, to = 2, count = 1 }", "units: count = 1: expected how many"),
            ("units", "{ from = 1, to = 3, count = 4 }", "units: count = 4: expected fewer, so"),
            ("family", "{ from = 1, to = 3 }", "family: expected a list: only numbers have ranges"),
            (
                "seed",
                "{ from = 0, to = 9007199254740993 }",
                "seed: to = 9007199254740993: expected",
            ),
        ] {
            let found = grid(name, text);
            assert!(found.starts_with(says), "{says}\nis not the beginning of\n{found}");
        }
        let says = axis("units", "{ from = 1, to = 9, count = 3 }", Method::Random).unwrap_err();
        assert!(
            says.starts_with("units: count = 3: expected nothing with method random"),
            "{says}"
        );
    }

    /// A plan that was made goes on with the same values in every later version.
    #[test]
    fn values_are_drawn_by_seed_number_and_field_alone() {
        let range = "{ from = 1e-4, to = 1e-2, log = true }";
        let rates = axis("learning_rate", range, Method::Random).unwrap();
        let drawn = |axis: &Axis, seed| -> Vec<String> {
            (0..4).map(|run| axis.draw(seed, run).to_string()).collect()
        };
        assert_eq!(drawn(&rates, 1), ["0.007244", "0.002203", "0.00663", "0.000249"]);
        let units = axis("units", "[1, 2, 3, 4, 5, 6, 7, 8]", Method::Random).unwrap();
        assert_eq!(drawn(&units, 1), ["4", "6", "5", "6"]);
        assert_ne!(drawn(&rates, 1), drawn(&rates, 2));
        let final_rates = axis("final_learning_rate", range, Method::Random).unwrap();
        assert_ne!(drawn(&rates, 1), drawn(&final_rates, 1));
    }

    #[test]
    fn every_value_of_a_range_is_about_as_likely() {
        let units = axis("units", "{ from = 3, to = 6 }", Method::Random).unwrap();
        let mut drawn = [0; 4];
        for run in 0..4_000 {
            drawn[units.draw(7, run).as_integer().unwrap() as usize - 3] += 1;
        }
        assert!(drawn.iter().all(|&n| (900..1100).contains(&n)), "{drawn:?}");
        let range = "{ from = 1e-4, to = 1e-2, log = true }";
        let rates = axis("learning_rate", range, Method::Random).unwrap();
        let rates = (0..4_000).map(|run| rates.draw(7, run).as_float().unwrap());
        let below = rates.inspect(|x| assert!((1e-4..=1e-2).contains(x))).filter(|x| *x < 1e-3);
        assert!((1_850..2_150).contains(&below.count()));
    }
}
