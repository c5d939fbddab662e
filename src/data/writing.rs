//! How people write sequences.

use crate::config::Dtype;

/// A way to write the sequences of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Ids separated by spaces.
    Ids,
    /// For people: in task addition `12+3`, and `15` for its answer.
    Own,
}

/// Numbers as the CSV files hold them: with as few digits as tell them from all others of `dtype`.
pub fn spaced_numbers(numbers: &[f64], dtype: Dtype) -> String {
    let text = |&number: &f64| match dtype {
        Dtype::Float32 => format!("{:?}", number as f32),
        Dtype::Float64 => format!("{number:?}"),
    };
    numbers.iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Ids as the CSV files hold them.
pub fn spaced(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
}

/// `text` without the end of its line.
pub fn line(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// A field of a delimited file, in quotes where it could be taken for several.
pub fn field(text: &str) -> String {
    match text.contains([',', ';', '\t', '"']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
