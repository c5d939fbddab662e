//! The files of a report: `report.json` and `report.md`.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::files::directory::Directory;
use crate::run::run_dir::write_whole;

/// Writes both into the directory `path`.
///
/// # Errors
/// If they cannot be written.
pub(super) fn write(path: &Path, json: &str, markdown: &str) -> Result<()> {
    let context = || format!("cannot write into {}", path.display());
    let directory = Directory::open(path).with_context(context)?;
    for (name, text) in [("report.json", json), ("report.md", markdown)] {
        write_whole(&directory, &path.join(name), text)?;
    }
    Ok(())
}

/// The text of `report.json`.
///
/// # Errors
/// None that a report can have.
pub(super) fn json(report: &impl Serialize) -> Result<String> {
    let mut value = serde_json::to_value(report)?;
    round(&mut value);
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

/// Rounds every number that is no whole one to six significant digits: more would tell the
/// processor's last bits.
fn round(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(round),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(round),
        serde_json::Value::Number(number) if number.is_f64() => {
            let rounded = format!("{:.5e}", number.as_f64().unwrap_or_default()).parse::<f64>();
            *value = rounded.unwrap_or_default().into();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_json_have_six_digits_and_whole_ones_all() {
        let mut value = serde_json::json!({"a": [1.23456789, 1234567890], "b": {"c": 1e-9 / 3.0}});
        round(&mut value);
        assert_eq!(value.to_string(), r#"{"a":[1.23457,1234567890],"b":{"c":3.33333e-10}}"#);
    }
}
