//! The frozen list of a sweep's runs, as a text that people read and that tells when it was changed.

use std::fmt::Write;

use anyhow::{Result, anyhow};
use serde::Deserialize;
use toml::{Table, Value};

use crate::base::error::UserError;
use crate::base::input::quoted;
use crate::config::{Config, CurveMetric, FIELDS, written};
use crate::files::checksum::Checksum;
use crate::resolve::table;

/// What stands above the checksum.
const HEAD: &str = "# The runs of a sweep as `seqlab sweep plan` has listed them. They are not to be \
                    changed: a changed\n# sweep is planned again, in another directory.\ncrc32 = \"";

/// The runs of a sweep, numbered from 0, each with its whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What they are compared by.
    pub metric: CurveMetric,
    /// Names of the fields that are swept.
    pub fields: Vec<String>,
    /// The fields that all runs have alike.
    common: Table,
    /// The others of each run, those that are swept among them.
    own: Vec<Table>,
}

/// A plan as it is written, below its checksum.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    metric: CurveMetric,
    fields: Vec<String>,
    runs: Vec<Table>,
    common: Table,
}

impl Plan {
    /// That of `runs`, each with the values of the same fields and its configuration.
    pub(super) fn new(
        metric: CurveMetric,
        runs: Vec<(Vec<(&'static str, Value)>, Config)>,
    ) -> Result<Self> {
        let first = runs.first().map(|(values, _)| values.as_slice()).unwrap_or_default();
        let fields: Vec<String> = first.iter().map(|(name, _)| (*name).to_owned()).collect();
        let whole = |(values, config): &(Vec<(&str, Value)>, Config)| {
            let mut whole = table(config)?;
            // Also those at a default that files leave out.
            whole.extend(values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
            Ok(whole)
        };
        let whole: Result<Vec<Table>> = runs.iter().map(whole).collect();
        let mut own = whole?;
        let mut common = own.first().cloned().unwrap_or_default();
        common.retain(|name, value| {
            fields.iter().all(|field| field != name)
                && own.iter().all(|run| run.get(name) == Some(value))
        });
        own.iter_mut().for_each(|run| run.retain(|name, _| !common.contains_key(name)));
        Ok(Self { metric, fields, common, own })
    }

    /// The plan in `bytes`; `file` is what messages call it.
    ///
    /// # Errors
    /// If it is none, or was changed.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = |what: &str| {
            let error = UserError::failure(format!("{file} is damaged: {what}"));
            anyhow!(error.hint("sweep plan writes the list of a sweep, into a new directory"))
        };
        let text = str::from_utf8(bytes).map_err(|_| damaged("it is no UTF-8"))?;
        let (crc32, body) = text
            .strip_prefix(HEAD)
            .and_then(|rest| rest.split_once("\"\n"))
            .ok_or_else(|| damaged("it does not begin as a plan does"))?;
        if u32::from_str_radix(crc32, 16) != Ok(Checksum::of(body.as_bytes()).crc32) {
            return Err(damaged("it is not what was written"));
        }
        let Written { metric, fields, runs, common } =
            toml::from_str(body).map_err(|e| damaged(&quoted(e.message())))?;
        let mut own = runs;
        for (number, run) in own.iter_mut().enumerate() {
            if run.remove("run").and_then(|value| value.as_integer()) != Some(number as i64) {
                return Err(damaged(&format!("it has no run {number}")));
            }
        }
        Ok(Self { metric, fields, common, own })
    }

    /// What is written.
    pub fn text(&self) -> String {
        let listed = |run: &Table| {
            let swept = self.fields.iter().map(String::as_str);
            let others = FIELDS.iter().map(|field| field.name).filter(|name| !self.is_swept(name));
            let pairs = swept.chain(others).filter_map(|name| Some((name, run.get(name)?)));
            pairs.map(|(name, value)| format!(", {name} = {}", in_toml(value))).collect::<String>()
        };
        let mut body =
            format!("metric = \"{}\"\nfields = {:?}\nruns = [\n", self.metric, self.fields);
        for (number, run) in self.own.iter().enumerate() {
            let _ = writeln!(body, "  {{ run = {number}{} }},", listed(run));
        }
        body += "]\n\n[common]\n";
        let names = std::iter::once("preset").chain(FIELDS.iter().map(|field| field.name));
        for (name, value) in names.filter_map(|name| Some((name, self.common.get(name)?))) {
            let _ = writeln!(body, "{name} = {}", in_toml(value));
        }
        format!("{HEAD}{:08x}\"\n{body}", Checksum::of(body.as_bytes()).crc32)
    }

    /// How many runs there are.
    pub fn runs(&self) -> usize {
        self.own.len()
    }

    /// How many of them are different.
    pub fn different(&self) -> usize {
        let mut texts: Vec<String> = self.own.iter().map(Table::to_string).collect();
        texts.sort();
        texts.dedup();
        texts.len()
    }

    /// The name of the run's directory.
    pub fn name(run: usize) -> String {
        format!("{run:04}")
    }

    /// The values of the fields that are swept.
    pub fn values(&self, run: usize) -> Vec<String> {
        let value = |name: &String| self.own[run].get(name).map(written).unwrap_or_default();
        self.fields.iter().map(value).collect()
    }

    /// The number that a run has for the field `name`, if it is one.
    pub fn number(&self, run: usize, name: &str) -> Option<f64> {
        let value = self.own[run].get(name)?;
        value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
    }

    /// The configuration of the run.
    ///
    /// # Errors
    /// If it is none that a run can have, as one of another version may be.
    pub fn config(&self, run: usize) -> Result<Config> {
        let invalid = |e: String| UserError::failure(format!("run {run} of the plan: {e}"));
        let config = self.whole(run).try_into::<Config>();
        let config = config.map_err(|e| invalid(quoted(e.message())))?;
        config.validate().map_err(|e| invalid(e.to_string()))?;
        Ok(config)
    }

    /// Whether its first runs are those of `other`, all of them.
    pub fn begins_with(&self, other: &Self) -> bool {
        (self.metric, &self.fields) == (other.metric, &other.fields)
            && other.runs() <= self.runs()
            && (0..other.runs()).all(|run| self.whole(run) == other.whole(run))
    }

    fn is_swept(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field == name)
    }

    fn whole(&self, run: usize) -> Table {
        let mut whole = self.common.clone();
        whole.extend(self.own[run].clone());
        whole
    }
}

/// A value as TOML has it, small numbers as powers of ten.
fn in_toml(value: &Value) -> String {
    match value {
        Value::Float(_) => written(value),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    fn plan() -> Plan {
        let echo = presets::find("echo").unwrap().config;
        let run = |units: i64, dropout: f64| {
            let config = Config { units, dropout, ..echo.clone() };
            (vec![("units", units.into()), ("dropout", dropout.into())], config)
        };
        Plan::new(CurveMetric::ValLoss, vec![run(8, 0.0), run(16, 0.5), run(8, 0.0)]).unwrap()
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let plan = plan();
        let text = plan.text();
        assert_eq!(Plan::parse("plan.toml", text.as_bytes()).unwrap(), plan);
        let list = "\nmetric = \"val_loss\"\nfields = [\"units\", \"dropout\"]\nruns = [\n  \
                    { run = 0, units = 8, dropout = 0.0 },\n  { run = 1, units = 16, dropout = 0.5 },\n  \
                    { run = 2, units = 8, dropout = 0.0 },\n]\n\n[common]\npreset = \"echo\"\n\
                    task = \"echo\"\n";
        assert!(text.contains(list), "{text}");
        let echo = presets::find("echo").unwrap().config;
        assert_eq!(plan.config(0).unwrap(), Config { units: 8, ..echo.clone() });
        assert_eq!(plan.config(1).unwrap(), Config { units: 16, dropout: 0.5, ..echo });
        assert_eq!((plan.runs(), plan.different()), (3, 2));
        assert_eq!(plan.values(1), ["16", "0.5"]);
    }

    #[test]
    fn a_plan_that_was_changed_is_refused() {
        let text = plan().text();
        for (from, to, says) in [
            ("units = 16", "units = 17", "it is not what was written"),
            ("crc32 = \"", "crc32 = \"f", "it is not what was written"),
            ("# The runs", "# Runs", "it does not begin as a plan does"),
        ] {
            let changed = text.replacen(from, to, 1);
            let error = format!("{:#}", Plan::parse("p", changed.as_bytes()).unwrap_err());
            assert_eq!(error, format!("p is damaged: {says}"));
        }
    }
}
