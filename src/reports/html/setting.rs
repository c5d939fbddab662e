//! What differs between the configurations of runs.

use anyhow::Result;
use toml::Table;

use super::example::shortened;
use crate::config::{Config, FIELDS, Field, written};
use crate::resolve;

/// What stands where a field does not apply.
const NOTHING: &str = "–";

/// The fields that differ, and what they are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// Their names.
    pub names: Vec<&'static str>,
    /// The values of each configuration.
    pub rows: Vec<Vec<Setting>>,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    /// As one writes it.
    pub text: String,
    /// Whether most of the configurations have it.
    pub usual: bool,
}

impl Settings {
    /// Those in which `configs` differ.
    ///
    /// # Errors
    /// None that a valid configuration can have.
    pub(super) fn differing(configs: &[&Config]) -> Result<Self> {
        let tables: Result<Vec<Table>> = configs.iter().map(resolve::table).collect();
        let tables = tables?;
        let mut settings = Self { names: Vec::new(), rows: vec![Vec::new(); configs.len()] };
        let presets = configs.iter().map(|of| of.preset.clone()).collect();
        settings.add("preset", presets);
        for field in FIELDS {
            settings.add(field.name, tables.iter().map(|of| value(field, of)).collect());
        }
        Ok(settings)
    }

    /// Takes the field `name` in, unless it has the same value everywhere.
    fn add(&mut self, name: &'static str, texts: Vec<String>) {
        if texts.iter().all(|text| *text == texts[0]) {
            return;
        }
        self.names.push(name);
        let times = |text: &String| texts.iter().filter(|other| *other == text).count();
        let times: Vec<usize> = texts.iter().map(times).collect();
        for ((row, text), times) in self.rows.iter_mut().zip(&texts).zip(times) {
            let usual = 2 * times > texts.len();
            row.push(Setting { text: shortened(text), usual });
        }
    }
}

/// What `field` is in a configuration.
fn value(field: &Field, of: &Table) -> String {
    let default = || field.left_out.filter(|_| field.silent && field.applies(of));
    of.get(field.name).map(written).unwrap_or_else(|| default().unwrap_or(NOTHING).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    fn texts(settings: &Settings, row: usize) -> Vec<&str> {
        settings.rows[row].iter().map(|setting| setting.text.as_str()).collect()
    }

    #[test]
    fn nothing_is_shown_but_what_differs() {
        let config = presets::find("echo").unwrap().config;
        let wide = Config { units: 32, dropout: 0.5, ..config.clone() };
        let clipped = Config { global_clipnorm: Some(1.0), ..config.clone() };
        let all = Settings::differing(&[&config, &wide, &clipped]).unwrap();
        assert_eq!(all.names, ["units", "dropout", "global_clipnorm"]);
        assert_eq!(texts(&all, 0), ["16", "0", "–"]);
        assert_eq!(texts(&all, 1), ["32", "0.5", "–"]);
        assert_eq!(texts(&all, 2), ["16", "0", "1.0"]);
        let usual: Vec<bool> = all.rows[1].iter().map(|setting| setting.usual).collect();
        assert_eq!(usual, [false, false, true]);
        assert_eq!(Settings::differing(&[&wide]).unwrap().names, [""; 0]);
    }
}
