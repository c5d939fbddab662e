//! Sweeps: TOML files that say which configurations are to be trained and compared.
//!
//! ```toml
//! method = "random"        # or "grid": every combination
//! samples = 20             # runs of a random sweep; a longer one begins with the shorter one
//! seed = 1                 # of a random sweep; 1 where it is left out
//! metric = "val_loss"      # what runs are compared by; val_loss where it is left out
//!
//! [base]                   # fields that all runs have, as a file for train --config has them
//! preset = "echo"
//! validate_every = 1
//! replicas = 3             # seeds of every run
//!
//! [fields]                 # fields with the values to try
//! units = [8, 16, 32]
//! learning_rate = { from = 1e-4, to = 1e-1, log = true }   # a grid's range has a count as well
//! ```

mod axis;
mod plan;

use anyhow::{Context, Result};
use serde::Deserialize;
use toml::de::DeTable;
use toml::{Spanned, Table, Value};

use super::given::{Given, TextPlace, at, misread, section, text_of};
use super::resolve_for_training;
use crate::base::error::UserError;
use crate::base::input::quoted;
use crate::base::spelling::nearest;
use crate::config::{Alters, Config, CurveMetric, FIELDS, field, written};
use axis::Axis;
pub use plan::Plan;

/// The most runs of a sweep.
pub const RUNS: usize = 10_000;

/// What a sweep trains.
#[derive(Debug, Clone)]
pub struct Sweep {
    metric: CurveMetric,
    method: Method,
    /// Of what is drawn at random.
    seed: u64,
    /// How many combinations there are.
    runs: usize,
    base: Given,
    /// In the order of the file, each with its place there.
    axes: Vec<(Axis, TextPlace)>,
}

/// Which combinations of values are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    /// All of them, the values of the last field changing first.
    Grid,
    /// Some, each value drawn by itself.
    Random,
}

/// A sweep as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    method: Method,
    samples: Option<Spanned<i64>>,
    seed: Option<Spanned<i64>>,
    metric: Option<Spanned<CurveMetric>>,
    base: Table,
    fields: Spanned<Table>,
}

impl Sweep {
    /// The sweep in the TOML file `bytes`; `file` is what messages call it.
    ///
    /// # Errors
    /// If it is none, with the place.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let text = text_of(file, bytes)?;
        let wrong = |e: toml::de::Error| misread(file, text, &e);
        let written: Written = toml::from_str(text).map_err(wrong)?;
        let places = DeTable::parse(text).map_err(wrong)?.into_inner();
        let nowhere = DeTable::default();
        let own = section(&places, "base").unwrap_or(&nowhere);
        let base = Given::new(file, text, written.base.clone(), own);
        base.check()?;
        let metric = written.metric.as_ref();
        if let Some(training) = metric.filter(|metric| !metric.get_ref().needs_validation()) {
            let message = format!(
                "metric = {}: expected val_loss, val_accuracy or val_sequence_accuracy: training's \
                 own would choose the run that knows its data by heart",
                training.get_ref()
            );
            return Err(at(file, text, training, message).into());
        }
        let metric = metric.map_or(CurveMetric::ValLoss, |metric| *metric.get_ref());
        let axes = Reader { file, text, base: &base }.axes(&written, &places)?;
        let (runs, seed) = Reader { file, text, base: &base }.runs(&written, &axes)?;
        Ok(Self { metric, method: written.method, seed, runs, base, axes })
    }

    /// The list of its runs.
    ///
    /// # Errors
    /// A combination that no run can have, or that cannot be compared with others.
    pub fn plan(&self) -> Result<Plan> {
        let run = |number: usize| {
            let values = self.values(number);
            let config = self.config(&values).with_context(|| about(number, &values))?;
            Ok((values, config))
        };
        let runs: Result<Vec<_>> = (0..self.runs).map(run).collect();
        Plan::new(self.metric, runs?)
    }

    /// The values of the run `number`, in the order of the fields.
    fn values(&self, number: usize) -> Vec<(&'static str, Value)> {
        let mut left = number;
        let value = |(axis, _): &(Axis, TextPlace)| {
            let value = match self.method {
                Method::Random => axis.draw(self.seed, number),
                Method::Grid => {
                    let values = axis.grid();
                    let value = values[left % values.len()].clone();
                    left /= values.len();
                    value
                }
            };
            (axis.field.name, value)
        };
        // The last field changes first.
        let mut values: Vec<(&str, Value)> = self.axes.iter().rev().map(value).collect();
        values.reverse();
        values
    }

    /// The configuration with these values.
    fn config(&self, values: &[(&'static str, Value)]) -> Result<Config> {
        let places = self.axes.iter().map(|(_, place)| *place);
        let values = values.iter().zip(places);
        let swept = values.map(|((name, value), place)| (*name, value.clone(), place)).collect();
        let given = self.base.clone().with_swept(swept);
        let config = resolve_for_training(given.clone())?;
        let metric = self.metric;
        if metric != CurveMetric::ValLoss && config.has_numbers() {
            let error = given.complaint(format!("metric = {metric}: numbers have none"));
            return Err(error.hint("leave it out: val_loss it is").into());
        }
        if config.validate_every.is_none() {
            let error = "validate_every (not given): expected 1 or more: runs are compared by what \
                         is validated";
            return Err(given.complaint(error).hint("add validate_every = 1 to [base]").into());
        }
        let idle = config.idle().into_iter().find(|idle| idle.field == "validate_every");
        idle.map_or(Ok(config), |idle| Err(given.blame(idle).into()))
    }
}

/// Which run an error is about.
fn about(number: usize, values: &[(&str, Value)]) -> String {
    let values: Vec<String> =
        values.iter().map(|(name, value)| format!("{name} = {}", written(value))).collect();
    format!("run {number} ({})", quoted(&values.join(", ")))
}

/// What is read, for messages.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    base: &'a Given,
}

impl Reader<'_> {
    /// The fields that are swept, in the order of the file.
    fn axes(&self, written: &Written, places: &DeTable<'_>) -> Result<Vec<(Axis, TextPlace)>> {
        let fields = written.fields.get_ref();
        if fields.is_empty() {
            let message = "fields: expected at least one field with the values to try";
            return Err(at(self.file, self.text, &written.fields, message).into());
        }
        let own = section(places, "fields").into_iter().flatten();
        let mut starts: Vec<_> =
            own.map(|(name, _)| (name.span().start, name.get_ref().to_string())).collect();
        starts.sort();
        let axis = |(start, name): (usize, String)| {
            let place = TextPlace::of(self.text, start);
            let error =
                |message| UserError::usage(format!("{}: {message}", place.within(self.file)));
            let axis = self.axis(&name, &fields[&name], written.method);
            let unknown = || nearest(&name, FIELDS.iter().map(|field| field.name));
            match (axis, field(&name)) {
                (Ok(axis), _) => Ok((axis, place)),
                (Err(message), None) => Err(match unknown() {
                    Some(near) => error(message).hint(format!("did you mean `{near}`?")),
                    None => error(message),
                }
                .into()),
                (Err(message), Some(_)) => Err(error(message).into()),
            }
        };
        starts.into_iter().map(axis).collect()
    }

    /// The values `value` of the field `name`, or what is wrong with them.
    fn axis(&self, name: &str, value: &Value, method: Method) -> Result<Axis, String> {
        let field = match field(name) {
            Some(field) => field,
            None if name == "preset" => return Err("preset: expected one, in [base]".to_owned()),
            None => return Err(format!("unknown field `{}`", quoted(name))),
        };
        if self.base.has(name) {
            return Err(format!("{name}: expected in [base] or in [fields], not in both"));
        }
        if field.alters == Alters::Nothing {
            return Err(format!("{name}: expected in [base]: it changes no number of a run"));
        }
        Axis::new(field, value, method, RUNS)
    }

    /// How many runs there are, and the seed of what is drawn.
    fn runs(&self, written: &Written, axes: &[(Axis, TextPlace)]) -> Result<(usize, u64)> {
        let Written { method, samples, seed, fields, .. } = written;
        match (method, samples) {
            (Method::Random, Some(samples)) => {
                let seed = self.whole("seed", seed.as_ref(), 0, i64::MAX)?.unwrap_or(1);
                let runs = self.whole("samples", Some(samples), 1, RUNS as i64)?.unwrap_or(1);
                Ok((runs as usize, seed as u64))
            }
            (Method::Random, None) => {
                let error = format!("{}: samples (not given): expected 1 to {RUNS}", self.file);
                Err(UserError::usage(error).hint("samples = 20 makes 20 runs").into())
            }
            (Method::Grid, _) => {
                for (name, value) in [("samples", samples), ("seed", seed)] {
                    if let Some(value) = value {
                        let found = value.get_ref();
                        let message =
                            format!("{name} = {found}: expected nothing with method grid");
                        return Err(at(self.file, self.text, value, message).into());
                    }
                }
                let counts = axes.iter().map(|(axis, _)| axis.grid().len());
                let runs = counts.fold(1, usize::saturating_mul);
                if runs > RUNS {
                    let message = format!("fields: {runs} runs: expected at most {RUNS}");
                    let error = at(self.file, self.text, fields, message);
                    return Err(error.hint("method = \"random\" tries some of them").into());
                }
                Ok((runs, 0))
            }
        }
    }

    /// The whole number `value` of `name`, if it is there.
    fn whole(
        &self,
        name: &str,
        value: Option<&Spanned<i64>>,
        low: i64,
        high: i64,
    ) -> Result<Option<i64>, UserError> {
        let Some(value) = value else { return Ok(None) };
        let number = *value.get_ref();
        if (low..=high).contains(&number) {
            return Ok(Some(number));
        }
        let message = format!("{name} = {number}: expected a whole number from {low} to {high}");
        Err(at(self.file, self.text, value, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: &str = "method = 'grid'\n[base]\npreset = 'echo'\nepochs = 2\n\
                        validate_every = 1\n[fields]\nunits = [8, 4]\nlearning_rate = [0.1, 0.01]\n";
    const RANDOM: &str = "method = 'random'\nsamples = 5\n[base]\npreset = 'echo'\n\
                          validate_every = 1\n[fields]\nunits = { from = 2, to = 64, log = true }\n\
                          vocab = [50, 60]\n";

    fn plan(text: &str) -> Result<Plan> {
        Sweep::parse("s.toml", text.as_bytes())?.plan()
    }

    #[test]
    fn a_grid_has_every_combination_the_last_field_first() {
        let plan = plan(GRID).unwrap();
        let shown: Vec<String> = (0..plan.runs()).map(|run| plan.values(run).join(" ")).collect();
        assert_eq!(shown, ["8 0.1", "8 0.01", "4 0.1", "4 0.01"]);
        let config = plan.config(2).unwrap();
        assert_eq!((config.units, config.learning_rate, config.epochs), (4, 0.1, 2));
    }

    #[test]
    fn a_longer_random_plan_begins_with_the_shorter_one() {
        let short = plan(RANDOM).unwrap();
        let more = |seed| format!("seed = {seed}\n{}", RANDOM.replace("= 5", "= 9"));
        let long = plan(&more(1)).unwrap();
        assert!(long.begins_with(&short) && !short.begins_with(&long));
        assert!(!plan(&more(2)).unwrap().begins_with(&short));
        // A further field leaves the others as they are.
        let wider = plan(&format!("{RANDOM}batch_size = [2, 4, 5]\n")).unwrap();
        for run in 0..5 {
            assert_eq!(wider.values(run)[..2], short.values(run)[..]);
            // What follows a field that is swept.
            let config = short.config(run).unwrap();
            assert_eq!(config.id_max, config.vocab - 2);
        }
    }

    #[test]
    fn fields_of_the_base_that_a_value_makes_meaningless_go() {
        let both = GRID.replace(
            "units = [8, 4]",
            "family = ['lstm', 'repeat_vector']\nn_out = [6]\nn_in = [6]\n",
        );
        let plan = plan(&both.replace("epochs = 2", "epochs = 2\nreturn_sequences = true"));
        let plan = plan.unwrap();
        let of = |run| plan.config(run).unwrap().return_sequences;
        assert_eq!((of(0), of(3)), (Some(true), None));
    }

    #[test]
    fn what_is_no_sweep_is_told_with_its_line_and_run() {
        for (from, to, says) in [
            ("units", "unit", "s.toml, line 7, column 1: unknown field `unit`"),
            ("method = 'grid'", "method = 'gird'", "s.toml, line 1, column 10: unknown variant"),
            ("method = 'grid'", "metod = 'grid'", "s.toml, line 1, column 1: unknown field"),
            ("epochs = 2", "units = 2", "s.toml, line 7, column 1: units: expected in [base] or"),
            ("epochs = 2", "epochs = 'a'", "s.toml, line 4, column 1: epochs = 'a': expected a"),
            ("units = [8, 4]", "threads = [1, 2]", "line 7, column 1: threads: expected in [base]"),
            ("units = [8, 4]", "preset = ['echo']", "line 7, column 1: preset: expected one, in"),
            ("units = [8, 4]", "units = 8", "s.toml, line 7, column 1: units = 8: expected a list"),
            (
                "units = [8, 4]",
                "units = [8, 0]",
                "run 2 (units = 0, learning_rate = 0.1): s.toml, line 7, column 1: units = 0: expected",
            ),
            (
                "units = [8, 4]",
                "lag = [1]",
                "run 0 (lag = 1, learning_rate = 0.1): s.toml, line 7, column 1: lag = 1: expected no",
            ),
            (
                "units = [8, 4]",
                "validation_samples = [10]\nn_in = [7]\nvalidate_every = [1, 9]",
                "validate_every: expected in [base] or",
            ),
            ("validate_every = 1", "", "s.toml: validate_every (not given): expected 1 or more"),
            ("validate_every = 1", "validate_every = 3", "validate_every = 3: expected 1 to 2"),
            (
                "method = 'grid'",
                "method = 'grid'\nseed = 1",
                "line 2, column 8: seed = 1: expected",
            ),
            ("method = 'grid'", "method = 'random'", "s.toml: samples (not given): expected 1 to"),
            (
                "method = 'grid'",
                "method = 'random'\nsamples = 0",
                "s.toml, line 2, column 11: samples = 0: expected a whole number from 1 to 10000",
            ),
            (
                "method = 'grid'",
                "method = 'grid'\nmetric = 'loss'",
                "s.toml, line 2, column 10: metric = loss: expected val_loss, val_accuracy or",
            ),
            (
                "units = [8, 4]",
                "units = { from = 1, to = 9000, count = 9000 }",
                "fields: 18000 runs: expected at most 10000",
            ),
            ("units = [8, 4]\nlearning_rate = [0.1, 0.01]", "", "fields: expected at least one"),
        ] {
            assert!(GRID.contains(from), "{from}");
            let found = format!("{:#}", plan(&GRID.replacen(from, to, 1)).unwrap_err());
            assert!(found.contains(says), "{says}\nis not in\n{found}");
        }
        let waves = "method = 'grid'\nmetric = 'val_accuracy'\n[base]\npreset = 'reverse'\n\
                     task = 'waves'\nloss = 'mse'\nfamily = 'repeat_vector'\nvalidate_every = 1\n\
                     [fields]\nunits = [2]\n";
        let found = format!("{:#}", plan(waves).unwrap_err());
        assert!(found.contains("metric = val_accuracy: numbers have none"), "{found}");
    }
}
