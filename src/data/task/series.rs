//! Series: read some time steps of a file's numbers, say the next ones.

use std::path::Path;

use super::LEAVE_OUT;
use super::checks::{check_loss_of_numbers, check_numbers, no_ids};
use super::epoch::Draw;
use super::kind::{Follows, GivenNumber, Kind, LastSource, Record};
use super::records::{RECORDS, data_record};
use super::windows::{Samples, about, check_parts, check_stateless, check_windows};
use crate::base::error::UserError;
use crate::base::rng::Purpose;
use crate::config::{Config, Decimal, Features, Invalid, NOT_GIVEN, Separator};
use crate::data::files::scaling::Scaling;
use crate::data::files::series::{Series, format, last_source};
use crate::data::files::table;

/// The files of a run's directory that hold what it knows of its data.
const DATA: &str = RECORDS[0].0;
const SCALING: &str = RECORDS[3].0;

/// Windows of a series: a source is `n_in` time steps of the input columns, its target the `n_out` that
/// follow of the target columns, both scaled by the training part.
#[derive(Debug)]
pub(super) struct Forecast {
    config: Config,
    data: Data,
    /// Windows that are trained on, validated on and evaluated on.
    samples: Samples,
}

/// What is known of the data.
#[derive(Debug)]
enum Data {
    /// Sizes alone.
    Sizes,
    /// How numbers are scaled.
    Scaling(Scaling),
    /// All.
    Series(Box<Series>),
}

impl Kind for Forecast {
    fn check(config: &Config) -> Result<(), Invalid> {
        check_numbers(config)?;
        check_columns(config)?;
        Self::check_files(config)?;
        check_stateless(config)
    }

    fn check_files(config: &Config) -> Result<(), Invalid> {
        check_loss_of_numbers(config)?;
        check_parts(config)?;
        let comma = config.decimal == Some(Decimal::Comma);
        let file = Path::new(config.series.as_deref().unwrap_or_default());
        if comma && format(config, file).separator == Separator::Comma {
            let why = ", since commas separate columns; or --separator semicolon or tab";
            return Err(Invalid::new("decimal", Decimal::Comma, "point").because(why));
        }
        Ok(())
    }

    fn new(config: &Config) -> Self {
        Self { config: config.clone(), data: Data::Sizes, samples: Samples::of(config) }
    }

    fn load(config: &Config) -> Result<Self, UserError> {
        let series = Series::read(config)?;
        check_windows(config, &series.windows)
            .map_err(|invalid| UserError::usage(invalid).hint(LEAVE_OUT))?;
        Ok(Self { data: Data::Series(Box::new(series)), ..Self::new(config) })
    }

    fn recorded(
        config: &Config,
        record: &Record<'_>,
        test: Option<&Path>,
    ) -> Result<Self, UserError> {
        let damaged = |e: String| UserError::failure(format!("{SCALING} of the run: {e}"));
        let text = record(SCALING).map_err(|e| damaged(format!("{e:#}")))?;
        let scaling = Scaling::from_text(&text).map_err(damaged)?;
        let Features { source, target } = config.features().unwrap_or(Features::OF_IDS);
        if (scaling.inputs.len(), scaling.targets.len()) != (source as usize, target as usize) {
            let expected = format!("expected {source} inputs and {target} targets");
            return Err(damaged(expected));
        }
        let known = Self::new(config);
        let Some(test) = test else {
            return Ok(Self { data: Data::Scaling(scaling), ..known });
        };
        let series = Series::of_test(config, scaling, test)?;
        let samples = Samples::of_test(&series.windows);
        Ok(Self { data: Data::Series(Box::new(series)), samples, ..known })
    }

    fn record(&self) -> Vec<(&'static str, String)> {
        let Data::Series(series) = &self.data else { return Vec::new() };
        let data = data_record(&[&series.file], series.windows.counts());
        vec![(SCALING, series.scaling.to_text()), (DATA, data)]
    }

    fn about(&self) -> Vec<String> {
        let Data::Series(series) = &self.data else { return Vec::new() };
        let missing = match (series.file.missing, self.config.missing.unwrap_or_default()) {
            (0, _) => String::new(),
            (values, how) => format!("; {values} missing values ({how})"),
        };
        let constant = series.constant();
        let constant = match constant.is_empty() {
            true => String::new(),
            false => format!("; constant in training, and not scaled: {}", constant.join(", ")),
        };
        vec![about(&series.windows) + &missing + &constant]
    }

    fn follow(_: &GivenNumber<'_>, _: &Config) -> Vec<Follows> {
        no_ids()
    }

    fn samples_per_epoch(&self) -> usize {
        self.samples.count(Purpose::Training)
    }

    fn held_out(&self, purpose: Purpose) -> Option<usize> {
        Some(self.samples.count(purpose))
    }

    fn fixes(&self, field: &str) -> bool {
        field == "vocab"
    }

    /// The order of the epoch's windows, a number of half the size each.
    fn ids_of_an_epoch(&self) -> usize {
        self.samples_per_epoch() / 2
    }

    /// See [`Samples::epoch`]. Of a task that knows sizes alone all numbers are zero, which is as good for
    /// measuring how long a step takes.
    fn epoch(&self, seed: u64, purpose: Purpose, epoch: u64) -> Draw<'_> {
        let Data::Series(series) = &self.data else {
            let Features { source: read, target: said } =
                self.config.features().unwrap_or(Features::OF_IDS);
            return Draw::Numbers(Box::new(move |_, source, target| {
                [source.len() / read as usize, target.len() / said as usize]
            }));
        };
        let first = self.samples.epoch(&series.windows, (seed, purpose, epoch));
        let steps = [self.config.n_in as usize, self.config.n_out as usize];
        Draw::Numbers(Box::new(move |index, source, target| {
            let first = first(index);
            source.copy_from_slice(series.source(first));
            target.copy_from_slice(series.target(first));
            steps
        }))
    }

    fn scaling(&self) -> Option<&Scaling> {
        match &self.data {
            Data::Sizes => None,
            Data::Scaling(scaling) => Some(scaling),
            Data::Series(series) => Some(&series.scaling),
        }
    }

    fn last_known(&self, purpose: Purpose, index: usize) -> Option<Vec<f64>> {
        let Data::Series(series) = &self.data else { return None };
        Some(series.last_known(self.samples.first(&series.windows, purpose, index)))
    }

    fn last_source(&self, path: &Path) -> Option<Result<LastSource, UserError>> {
        let read = last_source(&self.config, self.scaling()?, path);
        Some(read.map(LastSource::Numbers))
    }
}

/// The lists of columns are some, of so many as the features say.
fn check_columns(config: &Config) -> Result<(), Invalid> {
    let Features { source, target } = config.features().unwrap_or(Features::OF_IDS);
    for (field, list, features, found) in [
        ("inputs", &config.inputs, "features_in", source),
        ("targets", &config.targets, "features_out", target),
    ] {
        let Some(list) = list else {
            let why = format!(": task {} needs it", config.task);
            return Err(Invalid::new(field, NOT_GIVEN, "a value").because(why));
        };
        let names = table::names(list)
            .map_err(|e| Invalid::new(field, list, "names of columns").because(format!(": {e}")))?;
        if names.len() as i64 != found {
            let invalid = Invalid::new(features, found, names.len().to_string());
            return Err(invalid.because(format!(", the columns of --{field}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LossKind, TaskKind, presets};
    use crate::data::task::Task;

    /// A series of 0, 1, 2, … of which 9 windows are trained on, 5 of 10 validated on and 10 evaluated on.
    fn forecast() -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let rows = (0..32).map(|row| format!("{row}\n"));
        std::fs::write(&path, "a\n".to_owned() + &rows.collect::<String>()).unwrap();
        let config = Config {
            task: TaskKind::Series,
            loss: LossKind::Mse,
            series: Some(path.to_str().unwrap().to_owned()),
            inputs: Some("a".to_owned()),
            targets: Some("a".to_owned()),
            validation_fraction: Some(0.3),
            test_fraction: Some(0.3),
            samples: Some(9),
            validation_samples: 5,
            evaluation_samples: 10,
            n_in: 3,
            n_out: 1,
            vocab: 0,
            id_min: 0,
            id_max: 0,
            ..presets::find("reverse").unwrap().config
        };
        (folder, config)
    }

    /// The target rows of a set, in its order.
    fn rows(task: &Task, seed: u64, purpose: Purpose, epoch: u64, samples: usize) -> Vec<i64> {
        let batch = task.epoch(&[seed], purpose, epoch).batch(0..samples);
        let text = |number: &f64| task.target_numbers(&[*number]).parse::<f64>().unwrap().round();
        batch.target.numbers().iter().map(|number| text(number) as i64).collect()
    }

    #[test]
    fn an_epoch_is_one_pass_in_an_order_of_its_own() {
        let (_folder, config) = forecast();
        let task = Task::load(&config).unwrap();
        let training = |seed, epoch| rows(&task, seed, Purpose::Training, epoch, 9);
        let mut sorted = training(1, 0);
        sorted.sort_unstable();
        assert_eq!(sorted, (3..12).collect::<Vec<i64>>());
        assert_eq!(training(1, 0), training(1, 0));
        assert_ne!(training(1, 0), training(1, 1));
        assert_ne!(training(1, 0), training(2, 0));
        // A replica is what it is alone.
        let both = task.epoch(&[1, 2], Purpose::Training, 0).batch(0..9);
        let alone = task.epoch(&[2], Purpose::Training, 0).batch(0..9);
        assert_eq!(&both.source.numbers()[27..], alone.source.numbers());
    }

    #[test]
    fn what_is_held_out_is_in_the_order_of_time_and_evenly_chosen() {
        let (_folder, config) = forecast();
        let task = Task::load(&config).unwrap();
        assert_eq!(task.fresh_set(Purpose::Validation, 100), (1, 5));
        assert_eq!(rows(&task, 1, Purpose::Validation, 0, 5), [12, 14, 16, 18, 20]);
        assert_eq!(task.fresh_set(Purpose::Evaluation, 100), (1, 10));
        let evaluated = rows(&task, 1, Purpose::Evaluation, 0, 10);
        assert_eq!(evaluated, (22..32).collect::<Vec<i64>>());
        // What came last before row 14.
        let last = task.last_known(Purpose::Validation, 1).unwrap();
        assert_eq!(task.target_numbers(&last).parse::<f64>().unwrap().round(), 13.0);
    }

    #[test]
    fn a_run_s_record_is_all_that_it_takes_to_scale() {
        let (folder, config) = forecast();
        let task = Task::load(&config).unwrap();
        let record = task.record();
        let content = |name: &str| -> anyhow::Result<Vec<u8>> {
            let file = record.iter().find(|(file, _)| *file == name);
            Ok(file.map_or_else(Vec::new, |(_, text)| text.clone().into_bytes()))
        };
        let data = content(DATA).unwrap();
        let data: serde_json::Value = serde_json::from_slice(&data).unwrap();
        assert_eq!((&data["training"], &data["files"][0]["rows"]), (&9.into(), &32.into()));
        assert!(task.about()[0].starts_with("9 windows to train on, 10 to validate on, 10 to"));

        let path = folder.path().join("t.csv");
        let known = Task::recorded(&config, &content, None).unwrap();
        assert_eq!(known.scaling(), task.scaling());
        let Some(Ok(LastSource::Numbers(source))) = known.last_source(&path) else { panic!() };
        let text = known.source_numbers(&source);
        let values = text.split(' ').map(|word| word.parse::<f64>().unwrap().round());
        assert_eq!(values.collect::<Vec<f64>>(), [29.0, 30.0, 31.0]);
        let whole = Task::recorded(&config, &content, Some(&path)).unwrap();
        assert_eq!(whole.held_out(Purpose::Evaluation), Some(29));
        assert_eq!(rows(&whole, 1, Purpose::Evaluation, 0, 29), (3..32).collect::<Vec<i64>>());
        let lines = whole.target_lines(&source, ',');
        assert_eq!((lines.lines().next(), lines.lines().count()), (Some("a"), 4));
        let wider = Config { features_in: Some(2), ..config };
        let error = Task::recorded(&wider, &content, None).unwrap_err().to_string();
        assert_eq!(error, "scaling.tsv of the run: expected 2 inputs and 1 targets");
    }

    #[test]
    fn a_file_that_is_not_as_the_configuration_says_is_refused() {
        let (_folder, config) = forecast();
        for (config, says) in [
            (
                Config { samples: Some(8), ..config.clone() },
                "--samples 8: expected 9, the windows of",
            ),
            (
                Config { validation_samples: 11, ..config.clone() },
                "--validation-samples 11: expected 1 to 10, the windows of the validation part",
            ),
            (
                Config { evaluation_samples: 11, ..config.clone() },
                "--evaluation-samples 11: expected 1 to 10, the windows of the test part",
            ),
        ] {
            assert!(Task::load(&config).unwrap_err().to_string().starts_with(says), "{says}");
        }
    }

    #[test]
    fn sizes_that_do_not_fit_together_are_refused() {
        let (_folder, config) = forecast();
        assert_eq!(Forecast::check(&config), Ok(()));
        let text = |text: &str| Some(text.to_owned());
        for (config, says) in [
            (Config { inputs: text("a,a"), ..config.clone() }, "--inputs a,a: expected names of"),
            (Config { inputs: text("a,b"), ..config.clone() }, "--features-in 1: expected 2, the"),
            (
                Config { targets: text("a,b"), ..config.clone() },
                "--features-out 1: expected 2, the",
            ),
            (
                Config { decimal: Some(Decimal::Comma), ..config.clone() },
                "--decimal comma: expected",
            ),
            (
                Config { validation_fraction: Some(0.0), ..config.clone() },
                "--validation-fraction 0",
            ),
            (
                Config { test_fraction: Some(0.7), ..config.clone() },
                "--test-fraction 0.7: expected",
            ),
            (Config { stateful: true, ..config.clone() }, "--stateful true: expected false"),
            (Config { vocab: 5, ..config.clone() }, "--vocab 5: expected 0, since task series"),
            (Config { loss: LossKind::CrossEntropy, ..config.clone() }, "--loss cross_entropy: "),
        ] {
            let told = Forecast::check(&config).unwrap_err().to_string();
            assert!(told.starts_with(says), "{told}, not {says}");
        }
    }
}
