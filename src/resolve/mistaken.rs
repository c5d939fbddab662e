//! Files that may be something else than what they are read as.

use std::path::Path;

use super::given::Given;
use crate::base::error::UserError;
use crate::base::input::{quoted, shown};
use crate::config::{Config, Decimal, FIELDS, Missing};
use crate::data::files::numbers::number;
use crate::data::files::series::format;
use crate::data::files::table::{Look, TableFormat, look};

/// A series, as the first rows of a file look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SeriesLike {
    /// Columns below their names, of which some hold numbers.
    Numbers,
    /// A source and a target column below their names, and both hold numbers.
    TwoOfNumbers,
    /// Lines of one field.
    Tokens,
}

/// The same error of the file `--train`, which could not be read as pairs, with what else the file may
/// be, unless the user said that it holds pairs.
pub(super) fn instead_of_pairs(given: &Given, config: &Config, error: UserError) -> UserError {
    let train = Path::new(config.train.as_deref().unwrap_or_default());
    let like = (!says_pairs(given)).then(|| series_like(config, train)).flatten();
    let file = shown(train);
    match like {
        None => error,
        Some(SeriesLike::Tokens) => error.or_hint(format!(
            "if it is a series of words: --series {file} --series-tokens words (with data: \
             --series-tokens words)"
        )),
        Some(_) => error.or_hint(format!(
            "if it is a series of numbers: --series {file} (with data: --task series)"
        )),
    }
}

/// The same error of the file `--series`, which could not be read as numbers, with what else the file may
/// be.
pub(super) fn instead_of_numbers(config: &Config, error: UserError) -> UserError {
    let series = Path::new(config.series.as_deref().unwrap_or_default());
    let Ok(looks) = look(series, format(config, series)) else { return error };
    let of_words = |look: &&Look| look.numbers == 0 && look.others > 0;
    let chosen = |look: &&Look| config.targets.as_ref().is_none_or(|list| *list == look.name);
    match (looks.iter().filter(of_words).find(chosen), looks.len()) {
        (Some(Look { name, .. }), _) if config.targets.is_some() => error.or_hint(format!(
            "if the column is a series of words: --series-tokens words --targets {}",
            quoted(name)
        )),
        (Some(_), 1) => {
            error.or_hint("if it is a text, a series of words or ids: --series-tokens words or ids")
        }
        _ => error,
    }
}

/// What is to be said of a file that can be read as what it is taken for, but looks like something else: a
/// note and a hint.
pub fn note(given: &Given) -> Option<[String; 2]> {
    let config = given.partial().ok()?;
    match (&config.train, &config.series) {
        (Some(train), _) if !says_pairs(given) => note_of_pairs(&config, Path::new(train)),
        (None, Some(series)) if config.series_tokens.is_none() => {
            note_of_numbers(&config, Path::new(series))
        }
        _ => None,
    }
}

/// [`note`] of columns of numbers below their names that are read as pairs.
fn note_of_pairs(config: &Config, train: &Path) -> Option<[String; 2]> {
    let file = shown(train);
    (series_like(config, train)? == SeriesLike::TwoOfNumbers).then(|| {
        [
            format!(
                "note: {file} is read as pairs, its first line too, but looks like columns of numbers \
                 below their names"
            ),
            format!(
                "hint: --series {file} (with data: --task series) reads a series; --header true leaves \
                 the first line out; --task pairs says that all lines are pairs"
            ),
        ]
    })
}

/// [`note`] of a series whose first line, which is to name columns, holds numbers alone.
fn note_of_numbers(config: &Config, series: &Path) -> Option<[String; 2]> {
    let (format, file) = (format(config, series), shown(series));
    let looks = look(series, format).ok()?;
    looks.iter().all(|look| number(&look.name, format.decimal).is_ok()).then(|| {
        [
            format!("note: the first line of {file}, which is to name the columns, holds numbers"),
            "hint: put a line with the columns' names above it; if the numbers are ids: \
             --series-tokens ids"
                .to_owned(),
        ]
    })
}

/// Whether the user says that the file holds pairs: by the task, or by what only pairs have.
fn says_pairs(given: &Given) -> bool {
    let of_pairs = FIELDS.iter().filter(|field| {
        field.name != "train" && field.scope.is_some_and(|scope| scope.words == ["pairs"])
    });
    given.is_from_user("task") || of_pairs.into_iter().any(|field| given.is_from_user(field.name))
}

/// What the file `path`, which `config` says how to cut, looks like.
fn series_like(config: &Config, path: &Path) -> Option<SeriesLike> {
    let (separator, decimal) = (config.separator_of(path), Decimal::Point);
    let looks = look(path, TableFormat { separator, decimal, missing: Missing::Refuse }).ok()?;
    let named = |look: &&Look| !look.name.is_empty() && number(&look.name, decimal).is_err();
    let numbers = looks.iter().filter(named).filter(|look| look.has_numbers()).count();
    match (looks.len(), numbers) {
        (2, 2) => Some(SeriesLike::TwoOfNumbers),
        (_, 1..) => Some(SeriesLike::Numbers),
        (1, 0) => Some(SeriesLike::Tokens),
        _ => None,
    }
}
