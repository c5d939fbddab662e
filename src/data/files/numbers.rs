//! Numbers as files have them written.

use crate::config::Decimal;

/// What stands for a missing value, besides nothing: as other programs write it.
/// Infinite numbers and NaN are missing values, too.
const MISSING: [&str; 7] = ["na", "n/a", "null", "none", "-", ".", "?"];

/// What a field holds that is no number of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing, or what stands for a missing value.
    Missing,
    /// A number that would be one with the other decimal mark.
    OtherDecimal,
    /// A number that float32 has not.
    OutOfRange,
    /// A date or a time.
    Date,
    /// Other text.
    Text,
}

/// The number in `field`, white space around it left out.
///
/// # Errors
/// If it is none, or not within float32.
pub fn number(field: &str, decimal: Decimal) -> Result<f64, Wrong> {
    let field = field.trim_matches([' ', '\t', '\u{a0}']);
    let read = |decimal: Decimal| match decimal {
        Decimal::Point => field.parse::<f64>().ok(),
        Decimal::Comma if field.contains('.') => None,
        Decimal::Comma => field.replacen(',', ".", 1).parse().ok(),
    };
    match read(decimal) {
        Some(number) if number.abs() <= f64::from(f32::MAX) => Ok(number),
        // Infinite by its digits, not by its name.
        Some(_) if field.bytes().any(|byte| byte.is_ascii_digit()) => Err(Wrong::OutOfRange),
        Some(_) => Err(Wrong::Missing),
        None if field.is_empty() || MISSING.contains(&field.to_lowercase().as_str()) => {
            Err(Wrong::Missing)
        }
        None if read(other(decimal)).is_some() => Err(Wrong::OtherDecimal),
        None if is_date(field) => Err(Wrong::Date),
        None => Err(Wrong::Text),
    }
}

fn other(decimal: Decimal) -> Decimal {
    match decimal {
        Decimal::Point => Decimal::Comma,
        Decimal::Comma => Decimal::Point,
    }
}

/// Whether `field` is digits with what stands between those of dates and times.
fn is_date(field: &str) -> bool {
    let part = |c: char| c.is_ascii_digit() || "-/:. TZ+".contains(c);
    let digits = field.bytes().filter(u8::is_ascii_digit).count();
    digits >= 3 && field.starts_with(|c: char| c.is_ascii_digit()) && field.chars().all(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decimal::{Comma, Point};

    #[test]
    fn numbers_are_read_with_their_decimal_mark() {
        for (field, value) in [
            ("1.5", 1.5),
            (" -2 ", -2.0),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("+3.", 3.0),
            ("7\u{a0}", 7.0),
        ] {
            assert_eq!(number(field, Point), Ok(value), "{field}");
        }
        for (field, value) in [("1,5", 1.5), ("-2", -2.0), ("1,5e3", 1500.0)] {
            assert_eq!(number(field, Comma), Ok(value), "{field}");
        }
        assert_eq!(number("3.4028234e38", Point), Ok(3.402_823_4e38));
    }

    #[test]
    fn what_is_no_number_is_told_apart() {
        use Wrong::{Date, Missing, OtherDecimal, OutOfRange, Text};
        for (field, decimal, wrong) in [
            ("", Point, Missing),
            ("  ", Point, Missing),
            ("NA", Point, Missing),
            ("nan", Point, Missing),
            ("-NaN", Point, Missing),
            ("-Inf", Comma, Missing),
            ("1,5", Point, OtherDecimal),
            ("1.5", Comma, OtherDecimal),
            ("1e39", Point, OutOfRange),
            ("-1e999", Point, OutOfRange),
            ("2024-01-31", Point, Date),
            ("31.12.2024", Point, Date),
            ("2024-01-31T12:00:00Z", Comma, Date),
            ("12:30", Point, Date),
            ("1.234,5", Point, Text),
            ("1,234.5", Comma, Text),
            ("north", Point, Text),
            ("0x10", Point, Text),
        ] {
            assert_eq!(number(field, decimal), Err(wrong), "{field}");
        }
    }
}
