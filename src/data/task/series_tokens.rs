//! Series of tokens: read some ids or words of a file, say the next ones.

use std::path::Path;

use serde::Deserialize;

use super::LEAVE_OUT;
use super::checks::check_vocabulary;
use super::epoch::Draw;
use super::kind::{Follows, GivenNumber, Kind, LastSource, Record};
use super::records::{RECORDS, data_record, recorded_vocabulary};
use super::windows::{Samples, about, check_parts, check_stateless, check_windows};
use crate::base::error::UserError;
use crate::base::rng::Purpose;
use crate::config::{Config, Invalid};
use crate::data::files::corpus::Language;
use crate::data::files::token_series::{self, TokenFile, TokenSeries, language, last_tokens};
use crate::data::files::vocabulary::UNKNOWN;
use crate::data::writing::line;

/// The files of a run's directory that hold what it knows of its data.
const DATA: &str = RECORDS[0].0;
const VOCABULARY: &str = RECORDS[4].0;

/// Windows of a series of tokens: a source is `n_in` of them, its target the `n_out` that follow.
#[derive(Debug)]
pub(super) struct Continuation {
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
    /// What the tokens are, and their ids.
    Language(Language),
    /// All.
    Series(Box<TokenSeries>),
}

impl Kind for Continuation {
    fn check(config: &Config) -> Result<(), Invalid> {
        Self::check_files(config)?;
        check_vocabulary(config)?;
        check_stateless(config)
    }

    fn check_files(config: &Config) -> Result<(), Invalid> {
        token_series::check(config)?;
        if config.features().is_some() {
            let why = ": tokens have no differences (--series-tokens)";
            return Err(Invalid::new("loss", config.loss, "cross_entropy").because(why));
        }
        check_parts(config)
    }

    fn new(config: &Config) -> Self {
        Self { config: config.clone(), data: Data::Sizes, samples: Samples::of(config) }
    }

    fn load(config: &Config) -> Result<Self, UserError> {
        let series = TokenSeries::read(config)?;
        check_token_series(config, &series)
            .map_err(|invalid| UserError::usage(invalid).hint(LEAVE_OUT))?;
        Ok(Self { data: Data::Series(Box::new(series)), ..Self::new(config) })
    }

    fn recorded(
        config: &Config,
        record: &Record<'_>,
        test: Option<&Path>,
    ) -> Result<Self, UserError> {
        let language = language(config, recorded_vocabulary(record, VOCABULARY, config.vocab)?);
        let known = Self::new(config);
        let Some(test) = test else {
            return Ok(Self { data: Data::Language(language), ..known });
        };
        let frequent = most_frequent(record)?;
        let series = TokenSeries::of_test(config, language, frequent, test)?;
        let samples = Samples::of_test(&series.windows);
        Ok(Self { data: Data::Series(Box::new(series)), samples, ..known })
    }

    fn record(&self) -> Vec<(&'static str, String)> {
        let Data::Series(series) = &self.data else { return Vec::new() };
        let data = data_record(&[&series.file], series.windows.counts());
        vec![(VOCABULARY, series.language.vocabulary.to_text()), (DATA, data)]
    }

    fn about(&self) -> Vec<String> {
        let Data::Series(series) = &self.data else { return Vec::new() };
        let unknown = [("validation", Purpose::Validation), ("test", Purpose::Evaluation)]
            .map(|(part, purpose)| (part, series.unknown(purpose)))
            .into_iter()
            .filter(|(_, tokens)| *tokens > 0)
            .map(|(part, tokens)| format!("{tokens} tokens of the {part} part"))
            .collect::<Vec<_>>();
        let unknown = match unknown.is_empty() {
            true => String::new(),
            false => format!("; unknown to the training part: {}", unknown.join(", ")),
        };
        vec![about(&series.windows) + &unknown]
    }

    fn follow(_: &GivenNumber<'_>, _: &Config) -> Vec<Follows> {
        Vec::new()
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

    fn unknown(&self) -> Option<i64> {
        Some(UNKNOWN)
    }

    fn is_text(&self) -> bool {
        true
    }

    fn texts(&self, purpose: Purpose, index: usize) -> Option<[String; 2]> {
        let Data::Series(series) = &self.data else { return None };
        Some(series.texts(self.samples.first(&series.windows, purpose, index)))
    }

    /// See [`Samples::epoch`]. Of a task that knows sizes alone all ids are padding, which is as good for
    /// measuring how long a step takes.
    fn epoch(&self, seed: u64, purpose: Purpose, epoch: u64) -> Draw<'_> {
        let steps = [self.config.n_in as usize, self.config.n_out as usize];
        let Data::Series(series) = &self.data else {
            return Draw::Ids(Box::new(move |_, _, _| steps));
        };
        let first = self.samples.epoch(&series.windows, (seed, purpose, epoch));
        Draw::Ids(Box::new(move |index, source, target| {
            let first = first(index);
            let write = |place: &mut [i64], ids: &mut dyn Iterator<Item = i64>| {
                place.iter_mut().zip(ids).for_each(|(place, id)| *place = id);
            };
            write(source, &mut series.source(first));
            write(target, &mut series.target(first));
            steps
        }))
    }

    fn naive_ids(&self, purpose: Purpose, index: usize) -> Option<[i64; 2]> {
        let Data::Series(series) = &self.data else { return None };
        Some(series.naive(self.samples.first(&series.windows, purpose, index)))
    }

    fn last_source(&self, path: &Path) -> Option<Result<LastSource, UserError>> {
        Some(last_tokens(&self.config, path).map(LastSource::Text))
    }

    fn read(&self, text: &str) -> Option<Result<Vec<i64>, String>> {
        let n_in = self.config.n_in as usize;
        let read = self.language()?.ids(line(text));
        Some(read.and_then(|(ids, _)| match ids.len() == n_in {
            true => Ok(ids),
            false => Err(format!("{} tokens: the model reads {n_in}", ids.len())),
        }))
    }

    fn unknown_tokens(&self, text: &str) -> Vec<String> {
        let read = self.language().and_then(|language| language.ids(line(text)).ok());
        read.map_or_else(Vec::new, |(_, unknown)| unknown)
    }

    fn source(&self, ids: &[i64]) -> String {
        self.language().map_or_else(String::new, |language| language.text(ids))
    }

    fn target(&self, ids: &[i64]) -> String {
        Kind::source(self, ids)
    }
}

impl Continuation {
    fn language(&self) -> Option<&Language> {
        match &self.data {
            Data::Sizes => None,
            Data::Language(language) => Some(language),
            Data::Series(series) => Some(&series.language),
        }
    }
}

/// The series is what `config` says of it.
///
/// # Errors
/// The first value that is not so.
pub fn check_token_series(config: &Config, series: &TokenSeries) -> Result<(), Invalid> {
    check_windows(config, &series.windows)?;
    let found = series.language.vocabulary.len() as i64;
    if config.vocab == found {
        return Ok(());
    }
    let why = ", the different tokens of the training part, and 4 that stand for none";
    Err(Invalid::new("vocab", config.vocab, found.to_string()).because(why))
}

/// The most frequent token of the training part of a run that kept `record`.
fn most_frequent(record: &Record<'_>) -> Result<String, UserError> {
    #[derive(Deserialize)]
    struct Kept {
        files: [TokenFile; 1],
    }
    let damaged = |e: String| UserError::failure(format!("{DATA} of the run: {e}"));
    let content = record(DATA).map_err(|e| damaged(format!("{e:#}")))?;
    let Kept { files: [file] } =
        serde_json::from_slice(&content).map_err(|e| damaged(e.to_string()))?;
    Ok(file.most_frequent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Decimal, LossKind, SeriesTokens, TaskKind, presets};
    use crate::data::files::vocabulary::START;
    use crate::data::task::Task;
    use crate::data::writing::Writing;

    /// A series of w0, w1, …, w9, w0, … of which the last part has a word of its own; 16 windows are trained
    /// on, 5 of 9 validated on and 9 evaluated on.
    fn continuation() -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.txt");
        let word = |n| if n == 39 { "new".to_owned() } else { format!("w{}\n", n % 10) };
        std::fs::write(&path, (0..40).map(word).collect::<String>()).unwrap();
        let config = Config {
            task: TaskKind::Series,
            series: Some(path.to_str().unwrap().to_owned()),
            series_tokens: Some(SeriesTokens::Words),
            validation_fraction: Some(0.25),
            test_fraction: Some(0.25),
            samples: Some(16),
            validation_samples: 5,
            evaluation_samples: 9,
            n_in: 3,
            n_out: 2,
            vocab: 14,
            id_min: 4,
            id_max: 13,
            ..presets::find("reverse").unwrap().config
        };
        (folder, config)
    }

    /// The targets of a set, in its order.
    fn targets(task: &Task, (seed, purpose, epoch): (u64, Purpose, u64), n: usize) -> Vec<String> {
        let batch = task.epoch(&[seed], purpose, epoch).batch(0..n);
        batch.target.ids().chunks(2).map(|ids| task.target(ids, Writing::Own)).collect()
    }

    #[test]
    fn windows_are_drawn_as_those_of_numbers_are() {
        let (_folder, config) = continuation();
        let task = Task::load(&config).unwrap();
        let of = |seed, epoch| targets(&task, (seed, Purpose::Training, epoch), 16);
        let mut sorted = of(1, 0);
        assert_eq!(sorted, of(1, 0));
        assert!(sorted != of(1, 1) && sorted != of(2, 0));
        sorted.sort_unstable();
        let mut all: Vec<String> =
            (3..19).map(|n| format!("w{} w{}", n % 10, (n + 1) % 10)).collect();
        all.sort_unstable();
        assert_eq!(sorted, all);
        let fed = task.epoch(&[1], Purpose::Training, 0).batch(0..1).decoder_input.unwrap();
        assert_eq!(fed.ids()[0], START);
        let validated = targets(&task, (1, Purpose::Validation, 0), 5);
        assert_eq!(validated, ["w0 w1", "w1 w2", "w3 w4", "w5 w6", "w7 w8"]);
        let evaluated = targets(&task, (1, Purpose::Evaluation, 0), 9);
        assert_eq!(evaluated[8], "w8 <unknown>");
        let texts = task.texts(Purpose::Evaluation, 8).unwrap();
        assert_eq!(texts, ["w5 w6 w7", "w8 new"]);
        assert_eq!(task.naive_ids(Purpose::Evaluation, 8), Some([4, 11]));
        let about = &task.about()[0];
        assert!(
            about.ends_with("unknown to the training part: 1 tokens of the test part"),
            "{about}"
        );
    }

    #[test]
    fn a_run_s_record_is_all_that_it_takes_to_go_on() {
        let (folder, config) = continuation();
        let record = Task::load(&config).unwrap().record();
        let content = |name: &str| -> anyhow::Result<Vec<u8>> {
            let file = record.iter().find(|(file, _)| *file == name);
            Ok(file.map_or_else(Vec::new, |(_, text)| text.clone().into_bytes()))
        };
        let path = folder.path().join("t.txt");
        let known = Task::recorded(&config, &content, None).unwrap();
        let Some(Ok(LastSource::Text(last))) = known.last_source(&path) else { panic!() };
        assert_eq!(last, "w7 w8 new");
        assert_eq!(known.read(&last), Some(Ok(vec![11, 12, UNKNOWN])));
        assert_eq!(known.unknown_tokens(&last), ["new"]);
        let short = known.read("w7 w8\n").unwrap();
        assert_eq!(short, Err("2 tokens: the model reads 3".to_owned()));
        let whole = Task::recorded(&config, &content, Some(&path)).unwrap();
        assert_eq!(whole.held_out(Purpose::Evaluation), Some(36));
        assert_eq!(whole.naive_ids(Purpose::Evaluation, 0), Some([4, 6]));
        let other = Config { vocab: 15, ..config };
        let error = Task::recorded(&other, &content, None).unwrap_err().to_string();
        assert_eq!(error, "vocabulary.txt of the run: 14 ids, not 15");
    }

    #[test]
    fn what_does_not_fit_the_file_or_each_other_is_refused() {
        let (_folder, config) = continuation();
        assert_eq!(Continuation::check(&config), Ok(()));
        for (config, says) in [
            (Config { stateful: true, ..config.clone() }, "--stateful true: expected false"),
            (Config { id_min: 0, ..config.clone() }, "--id-min 0: expected 4, since ids below it"),
            (Config { vocab: 4, id_max: 3, ..config.clone() }, "--vocab 4: expected 5 or more"),
            (Config { test_fraction: Some(0.8), ..config.clone() }, "--test-fraction 0.8: "),
            (
                Config { loss: LossKind::Mse, ..config.clone() },
                "--loss mse: expected cross_entropy",
            ),
            (
                Config { decimal: Some(Decimal::Comma), ..config.clone() },
                "--decimal comma: expected nothing",
            ),
        ] {
            let told = Continuation::check(&config).unwrap_err().to_string();
            assert!(told.starts_with(says), "{told}, not {says}");
        }
        let told = |config: Config| Task::load(&config).unwrap_err().to_string();
        let wider = told(Config { vocab: 15, id_max: 14, ..config.clone() });
        assert!(
            wider.starts_with("--vocab 15: expected 14, the different tokens of the"),
            "{wider}"
        );
        let more = told(Config { samples: Some(17), ..config.clone() });
        assert!(more.starts_with("--samples 17: expected 16, the windows of"), "{more}");
    }
}
