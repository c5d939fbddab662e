//! Recipes: TOML files that say what a study trains, on which files, and what others published.
//!
//! ```toml
//! title = "Words backwards in two alphabets"
//! data = "where the data are had"
//! notes = "what a reader of the figures has to know"    # may be left out
//! runs = ["latin", "greek"]
//!
//! [files]                              # in the directory of the data; {} is the name of a run
//! train = "train/{}.tsv"
//! validation = "dev/{}.tsv"            # may be left out: some pairs to train on are held out
//! test = "test/{}.tsv"
//!
//! [config]                             # fields of a configuration, the same for all runs
//! units = 64
//!
//! [[published]]                        # any number of columns of published figures
//! name = "baseline"
//! source = "who published them, and where"
//! beside = "mean"                      # of the seeds; or "ensemble"
//! macro_wer = 12.5                     # with equal weights for all runs; may be left out
//! macro_per = 4.0
//! wer = { latin = 10.0, greek = 15.0 } # of some runs or all; word error rates in per cent
//! per = { latin = 4.0 }                # symbol error rates, likewise
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use serde::{Deserialize, Serialize};
use toml::de::DeTable;
use toml::{Spanned, Table};

use super::given::{Given, at, misread, section, text_of};
use super::{changes, resolve_for_training, table};
use crate::base::error::UserError;
use crate::base::input::quoted;
use crate::base::shell;
use crate::base::spelling::nearest;
use crate::config::{Config, alternatives, field, written};

/// The most runs of a recipe.
const RUNS: usize = 1_000;
/// Runs that a message names.
const SHOWN: usize = 30;
/// The most columns of published figures.
const COLUMNS: usize = 20;
/// The most characters of a run's or a column's name.
const NAME: usize = 64;
/// The most characters of any other text.
const TEXT: usize = 2_000;
/// The largest error rate, in per cent: a wrong answer may be longer than what was expected.
const RATE: f64 = 10_000.0;

/// What stands for the name of a run in the pattern of a file.
const RUN: &str = "{}";
/// The task of its runs.
const PAIRS: &str = "pairs";
/// Fields that name files.
const OF_FILES: [&str; 4] = ["train", "validation", "test", "series"];
/// Fields in which a run of the recipe may differ from it.
const OF_RUNS: [&str; 2] = ["seed", "replicas"];

/// What a study trains and what was published of it.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// What the study is called.
    pub title: String,
    /// Where the data are had.
    pub data: String,
    /// What a reader of its figures has to know; empty if there is nothing.
    pub notes: String,
    /// Names of the runs, each of one directory.
    pub runs: Vec<String>,
    /// Columns of published figures.
    pub published: Vec<Published>,
    /// Fields with the patterns of their files.
    files: Vec<(&'static str, String)>,
    /// The fields that all runs have.
    given: Given,
}

/// Figures that somebody published, in per cent.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// What the column is called.
    pub name: String,
    /// Who published them, and where.
    pub source: String,
    /// What is judged by them.
    pub beside: Beside,
    /// The mean word error rate over all runs.
    pub macro_wer: Option<f64>,
    /// The mean symbol error rate over all runs.
    pub macro_per: Option<f64>,
    /// Word error rates by run.
    pub wer: BTreeMap<String, f64>,
    /// Symbol error rates by run.
    pub per: BTreeMap<String, f64>,
}

/// What is judged by a published figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beside {
    /// The mean of single models over seeds.
    Mean,
    /// All seeds together, as one model.
    Ensemble,
}

/// A recipe as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    title: Spanned<String>,
    data: Spanned<String>,
    notes: Option<Spanned<String>>,
    runs: Spanned<Vec<Spanned<String>>>,
    files: Patterns,
    config: Table,
    #[serde(default)]
    published: Vec<Figures>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patterns {
    train: Spanned<String>,
    validation: Option<Spanned<String>>,
    test: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    name: Spanned<String>,
    source: Spanned<String>,
    beside: Beside,
    macro_wer: Option<Spanned<f64>>,
    macro_per: Option<Spanned<f64>>,
    #[serde(default)]
    wer: Rates,
    #[serde(default)]
    per: Rates,
}

/// Error rates by run.
type Rates = BTreeMap<Spanned<String>, Spanned<f64>>;

impl Recipe {
    /// The recipe in `bytes`; `file` is what messages call it.
    ///
    /// # Errors
    /// The first thing that is no recipe's, with its place.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let reader = Reader { file, text: text_of(file, bytes)? };
        let wrong = |e: toml::de::Error| misread(file, reader.text, &e);
        let written: Written = toml::from_str(reader.text).map_err(wrong)?;
        let places = DeTable::parse(reader.text).map_err(wrong)?.into_inner();
        let runs = reader.runs(&written.runs)?;
        let files = reader.files(&written.files, runs.len())?;
        let given = reader.config(written.config, &places)?;
        if written.published.len() > COLUMNS {
            let error = format!("{file}: published: expected at most {COLUMNS} of them");
            return Err(UserError::usage(error).into());
        }
        let columns = written.published.iter().map(|column| reader.published(column, &runs));
        let mut published: Vec<Published> = Vec::new();
        for (column, of) in columns.zip(&written.published) {
            let column = column?;
            if published.iter().any(|before| before.name == column.name) {
                return Err(reader.at(&of.name, "name: there is another of this name").into());
            }
            published.push(column);
        }
        let notes = written.notes.map(|notes| reader.short("notes", &notes, TEXT)).transpose()?;
        Ok(Self {
            title: reader.short("title", &written.title, TEXT)?,
            data: reader.short("data", &written.data, TEXT)?,
            notes: notes.unwrap_or_default(),
            runs,
            published,
            files,
            given,
        })
    }

    /// The runs called `names`, in the order of the recipe; all if there are none.
    ///
    /// # Errors
    /// A name that is no run's.
    pub fn chosen(&self, names: &[String]) -> Result<Vec<&str>, UserError> {
        let known = || self.runs.iter().map(String::as_str);
        if let Some(name) = names.iter().find(|name| !self.runs.contains(name)) {
            let expected = match self.runs.len() {
                ..=SHOWN => alternatives(&known().collect::<Vec<_>>()),
                more => format!("one of the recipe's {more} runs"),
            };
            let error = UserError::usage(format!("run {}: expected {expected}", quoted(name)));
            return Err(match nearest(name, known()) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error,
            });
        }
        Ok(known().filter(|run| names.is_empty() || names.iter().any(|name| name == run)).collect())
    }

    /// The files of `run` in the directory `data`, each with its field.
    pub fn files(&self, run: &str, data: &Path) -> Vec<(&'static str, PathBuf)> {
        let file = |(field, pattern): &(&'static str, String)| {
            (*field, data.join(pattern.replace(RUN, run)))
        };
        self.files.iter().map(file).collect()
    }

    /// Whether it gives the field `name` to its runs.
    pub fn gives(&self, name: &str) -> bool {
        self.given.has(name)
    }

    /// The configuration of `run` on the directory `data`, with what `flags` say, a text a field.
    ///
    /// # Errors
    /// A file that cannot be read, and what no run can have.
    pub fn config(&self, run: &str, data: &Path, flags: &Table) -> Result<Config> {
        let mut flags = flags.clone();
        for (field, path) in self.files(run, data) {
            let Some(path) = path.to_str() else {
                let error = format!("--data {}: expected a path in UTF-8", data.display());
                return Err(UserError::usage(error).into());
            };
            flags.insert(field.to_owned(), path.into());
        }
        resolve_for_training(self.given.clone().with_flags(&flags)?)
    }

    /// Finds out whether `config` is that of `run`, but for its seeds and where the data lie.
    ///
    /// # Errors
    /// If it is not: what is another.
    pub fn check(&self, run: &str, config: &Config) -> Result<()> {
        let now = table(config)?;
        let mut whole = now.clone();
        let fields = self.given.fields.clone().into_iter();
        whole.extend(fields.filter(|(name, _)| !OF_RUNS.contains(&name.as_str())));
        let whole: Config = whole.try_into().map_err(|e: toml::de::Error| anyhow!("{e}"))?;
        if let Some(changes) = changes(&whole, config)? {
            return Err(anyhow!("is no run of the recipe: {changes} there"));
        }
        for field in ["train", "validation", "test"] {
            let expected = self.files.iter().find(|(of, _)| *of == field);
            let expected = expected.map(|(_, pattern)| pattern.replace(RUN, run));
            let found = now.get(field).and_then(|path| path.as_str());
            let same = match (&expected, found) {
                (Some(expected), Some(found)) => Path::new(found).ends_with(expected),
                (expected, found) => expected.is_none() && found.is_none(),
            };
            if !same {
                let [expected, found] =
                    [expected.as_deref(), found].map(|path| path.unwrap_or("none"));
                return Err(anyhow!(
                    "is no run of the recipe: {field} is {}, but {} there",
                    quoted(found),
                    quoted(expected)
                ));
            }
        }
        Ok(())
    }

    /// The command that trains `run` as `config` says; `DATA` and `OUT` stand for directories.
    pub fn command(&self, run: &str, config: &Config) -> String {
        let mut words: Vec<String> = Vec::new();
        for (field, path) in self.files(run, Path::new("DATA")) {
            words.extend([format!("--{field}"), path.display().to_string()]);
        }
        let fields = self.given.fields.iter();
        for (name, value) in fields.filter(|(name, _)| !OF_RUNS.contains(&name.as_str())) {
            words.extend(field(name).map(|field| field.flag()));
            words.push(self::written(value));
        }
        let Config { seed, replicas, .. } = config;
        words.extend([
            "--seed".into(),
            seed.to_string(),
            "--replicas".into(),
            replicas.to_string(),
        ]);
        words.extend(["--out".into(), format!("OUT/{run}")]);
        let words: Vec<String> = words.iter().map(|word| shell::quoted(word.as_ref())).collect();
        format!("scripts/seqlab train {}", words.join(" "))
    }
}

/// What is read, for messages.
struct Reader<'a> {
    file: &'a str,
    text: &'a str,
}

impl Reader<'_> {
    /// `message` about `value`, behind its place.
    fn at<T>(&self, value: &Spanned<T>, message: impl std::fmt::Display) -> UserError {
        at(self.file, self.text, value, message)
    }

    /// The text `value` of `key`, of at most so many characters.
    fn short(&self, key: &str, value: &Spanned<String>, most: usize) -> Result<String, UserError> {
        let text = value.get_ref().trim();
        match text.chars().count() {
            0 => Err(self.at(value, format!("{key}: expected some text"))),
            n if n > most => {
                let message = format!("{key}: {n} characters: expected at most {most}");
                Err(self.at(value, message))
            }
            _ => Ok(text.to_owned()),
        }
    }

    /// The names of the runs.
    fn runs(&self, list: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<String>, UserError> {
        let count = list.get_ref().len();
        if !(1..=RUNS).contains(&count) {
            return Err(self.at(list, format!("runs: {count} names: expected 1 to {RUNS}")));
        }
        let mut runs: Vec<String> = Vec::new();
        for name in list.get_ref() {
            let text = name.get_ref();
            let letters = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let is_name = text.chars().all(letters) && !text.starts_with('-');
            if !is_name || !(1..=NAME).contains(&text.len()) {
                let expected = format!(
                    "expected the name of a directory: 1 to {NAME} of a-z, A-Z, 0-9, - and _"
                );
                return Err(self.at(name, format!("runs: {}: {expected}", quoted(text))));
            }
            if runs.contains(text) {
                return Err(self.at(name, format!("runs: {text}: expected each name once")));
            }
            runs.push(text.clone());
        }
        Ok(runs)
    }

    /// The patterns of the files.
    fn files(
        &self,
        patterns: &Patterns,
        runs: usize,
    ) -> Result<Vec<(&'static str, String)>, UserError> {
        let Patterns { train, validation, test } = patterns;
        let all =
            [("train", Some(train)), ("validation", validation.as_ref()), ("test", Some(test))];
        let mut files = Vec::new();
        for (field, pattern) in all.into_iter().filter_map(|(f, p)| Some((f, p?))) {
            let text = self.short(field, pattern, TEXT)?;
            if Path::new(&text).is_absolute() {
                let message = format!("{field}: expected a path in the directory of the data");
                return Err(self.at(pattern, message));
            }
            if runs > 1 && field != "validation" && !text.contains(RUN) {
                let message = format!("{field}: expected {RUN}, for the name of a run");
                return Err(self.at(pattern, message));
            }
            files.push((field, text));
        }
        Ok(files)
    }

    /// The fields of the section `config`, which stands at `places`.
    fn config(&self, fields: Table, places: &DeTable<'_>) -> Result<Given, UserError> {
        let nowhere = DeTable::default();
        let own = section(places, "config").unwrap_or(&nowhere);
        let given = Given::new(self.file, self.text, fields, own);
        if let Some(name) = OF_FILES.into_iter().find(|name| given.has(name)) {
            return Err(given.at(name, format!("{name}: expected files in the section `files`")));
        }
        if given.has("preset") {
            return Err(given.at("preset", "preset: expected the fields themselves".to_owned()));
        }
        given.check()?;
        if given.fields.get("task").is_some_and(|task| task.as_str() != Some(PAIRS)) {
            let message = format!("task: expected {PAIRS}, which the files of a recipe hold");
            return Err(given.at("task", message));
        }
        Ok(given)
    }

    /// A column of published figures of `runs`.
    fn published(&self, column: &Figures, runs: &[String]) -> Result<Published, UserError> {
        let rate = |key: &str, rate: &Spanned<f64>| match *rate.get_ref() {
            x if (0.0..=RATE).contains(&x) => Ok(x),
            x => Err(self.at(rate, format!("{key} {x}: expected per cent, 0 or more"))),
        };
        let of_runs = |key: &str, rates: &Rates| {
            let mut found = BTreeMap::new();
            for (run, value) in rates {
                if !runs.contains(run.get_ref()) {
                    let name = quoted(run.get_ref());
                    return Err(self.at(run, format!("{key}: {name} is none of the runs")));
                }
                found.insert(run.get_ref().clone(), rate(key, value)?);
            }
            Ok(found)
        };
        let of_all = |key, value: &Option<Spanned<f64>>| {
            value.as_ref().map(|value| rate(key, value)).transpose()
        };
        Ok(Published {
            name: self.short("name", &column.name, NAME)?,
            source: self.short("source", &column.source, TEXT)?,
            beside: column.beside,
            macro_wer: of_all("macro_wer", &column.macro_wer)?,
            macro_per: of_all("macro_per", &column.macro_per)?,
            wer: of_runs("wer", &column.wer)?,
            per: of_runs("per", &column.per)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"title = "Two"
data = "made here"
runs = ["one", "two"]
[files]
train = "train/{}.tsv"
test = "test/{}.tsv"
[config]
units = 4
learning_rate = 1
normalization = "nfd"
[[published]]
name = "baseline"
source = "nobody"
beside = "mean"
macro_wer = 12
[published.wer]
one = 10.5
two = 13
"#;

    fn complaint(from: &str, to: &str) -> String {
        assert!(WHOLE.contains(from), "{from}");
        let text = WHOLE.replacen(from, to, 1);
        format!("{:#}", Recipe::parse("r.toml", text.as_bytes()).unwrap_err())
    }

    #[test]
    fn a_recipe_says_what_is_trained_and_what_was_published() {
        let recipe = Recipe::parse("r.toml", WHOLE.as_bytes()).unwrap();
        assert_eq!(recipe.chosen(&[]).unwrap(), ["one", "two"]);
        assert_eq!(recipe.chosen(&["two".to_owned()]).unwrap(), ["two"]);
        let says = recipe.chosen(&["tow".to_owned()]).unwrap_err().to_string();
        assert_eq!(says, "run tow: expected one or two");
        let files = recipe.files("two", Path::new("d"));
        let expected = [("train", "d/train/two.tsv"), ("test", "d/test/two.tsv")];
        assert_eq!(files, expected.map(|(field, path)| (field, PathBuf::from(path))));
        assert_eq!(recipe.published[0].wer["two"], 13.0);
        assert_eq!(recipe.published[0].macro_wer, Some(12.0));
        assert!(recipe.gives("units") && !recipe.gives("seed"));
    }

    #[test]
    fn whatever_is_no_recipe_s_is_told_with_its_line() {
        for (from, to, says) in [
            ("units = 4", "unit = 4", "r.toml, line 8, column 1: unknown field `unit`"),
            ("units = 4", "units = 'a'", "r.toml, line 8, column 1: units = 'a': expected a whole"),
            ("units = 4", "train = 'a'", "r.toml, line 8, column 1: train: expected files in"),
            ("units = 4", "task = 'echo'", "r.toml, line 8, column 1: task: expected pairs"),
            ("units = 4", "preset = 'echo'", "r.toml, line 8, column 1: preset: expected"),
            ("title", "titel", "r.toml, line 1, column 1: unknown field `titel`"),
            (
                "beside = \"mean\"",
                "beside = \"sum\"",
                "r.toml, line 14, column 10: unknown variant",
            ),
            ("test/{}", "test/all", "r.toml, line 6, column 8: test: expected {}"),
            ("train/{}", "/train/{}", "r.toml, line 5, column 9: train: expected a path in"),
            ("\"two\"]", "\"../two\"]", "r.toml, line 3, column 16: runs: ../two: expected the"),
            ("\"two\"]", "\"one\"]", "r.toml, line 3, column 16: runs: one: expected each"),
            ("[\"one\", \"two\"]", "[]", "r.toml, line 3, column 8: runs: 0 names: expected 1 to"),
            ("two = 13", "tow = 13", "r.toml, line 18, column 1: wer: tow is none of the runs"),
            ("two = 13", "two = -1", "r.toml, line 18, column 7: wer -1: expected per cent"),
            ("macro_wer = 12", "macro_wer = nan", "column 13: macro_wer NaN: expected per cent"),
            ("data = \"made here\"", "data = \"\"", "line 2, column 8: data: expected some text"),
            ("data = \"made here\"\n", "", "missing field `data`"),
        ] {
            let found = complaint(from, to);
            assert!(found.contains(says), "{says}\nin {found}");
        }
    }
}
