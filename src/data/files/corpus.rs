//! The pairs of a run: those it trains on, those it validates on and those it is evaluated on, with
//! the vocabularies of the first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::error::UserError;
use crate::base::rng::Purpose;
use crate::config::{BadLines, Config, Normalization, Tokens};
use crate::data::files::pair_rows::{Column, PairsFormat};
use crate::data::files::pairs::Pairs;
use crate::data::files::side::Side;
use crate::data::files::split::Split;
use crate::data::files::tokens::Tokenizer;
use crate::data::files::vocabulary::{UNKNOWN, Vocabulary};
use crate::files::checksum::Checksum;

/// The share of the training file that is validated on where nothing says.
const VALIDATION: f64 = 0.1;

/// What the tokens of sources and targets are, and their ids.
#[derive(Debug, Clone)]
pub struct Languages {
    /// Of sources.
    pub source: Language,
    /// Of targets.
    pub target: Language,
}

/// What the tokens of texts are, and their ids.
#[derive(Debug, Clone)]
pub struct Language {
    /// What cuts a text into them.
    pub tokenizer: Tokenizer,
    /// Their ids.
    pub vocabulary: Vocabulary,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRead {
    /// The field that names it.
    pub field: String,
    /// As the field names it.
    pub path: PathBuf,
    /// Of its bytes.
    #[serde(flatten)]
    pub checksum: Checksum,
    /// Pairs in it.
    pub pairs: u64,
    /// Lines that were left out.
    pub skipped: u64,
}

/// The pairs of a run.
#[derive(Debug)]
pub struct Corpus {
    /// Of the pairs trained on, and of nothing else.
    pub languages: Languages,
    /// Trained on, validated on, evaluated on.
    parts: [Part; 3],
    /// The files, in the order in which they were read.
    pub files: Vec<FileRead>,
}

/// Some pairs of a file.
#[derive(Debug, Default)]
pub struct Part {
    file: Option<Arc<File>>,
    rows: Vec<u32>,
    /// The most tokens of a source and of a target.
    longest: [usize; 2],
}

/// A file's pairs, and the ids of its tokens.
#[derive(Debug)]
struct File {
    pairs: Pairs,
    source: Vec<u32>,
    target: Vec<u32>,
}

impl Corpus {
    /// That of `config`, as far as its fields of files go.
    ///
    /// # Errors
    /// A file that cannot be read, or has no pairs for a part.
    pub fn read(config: &Config) -> Result<Self, UserError> {
        let train = Path::new(config.train.as_deref().unwrap_or_default());
        let tokenizers = tokenizers(config);
        let pairs = read(config, train, &tokenizers)?;
        let mut files = vec![FileRead::of("train", train, &pairs)];
        let split = split(config, &pairs);
        check_parts(config, train, pairs.len(), &split)?;
        let languages = Languages::of(&pairs, &split.training, tokenizers);
        let train = Arc::new(File::new(pairs, &languages));
        let mut other = |field: &str, path: &Option<String>, rows: Vec<u32>| {
            let Some(path) = path.as_deref().map(Path::new) else {
                return Ok(Part::new(&train, rows));
            };
            let (part, file) = Part::whole(config, field, path, &languages)?;
            files.push(file);
            Ok(part)
        };
        let validation = other("validation", &config.validation, split.validation)?;
        let test = other("test", &config.test, split.test)?;
        let training = Part::new(&train, split.training);
        Ok(Self { languages, parts: [training, validation, test], files })
    }

    /// No pairs but those of the file `test`, if there is one, in known languages.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of_test(
        config: &Config,
        languages: Languages,
        test: Option<&Path>,
    ) -> Result<Self, UserError> {
        let read = test.map(|path| Part::whole(config, "test", path, &languages)).transpose()?;
        let (test, file) = read.unzip();
        let parts = [Part::default(), Part::default(), test.unwrap_or_default()];
        Ok(Self { languages, parts, files: file.into_iter().collect() })
    }

    /// The pairs for `purpose`. Where none are kept for the evaluation, they are those validated on.
    pub fn part(&self, purpose: Purpose) -> &Part {
        let [training, validation, test] = &self.parts;
        match purpose {
            Purpose::Training => training,
            Purpose::Evaluation if self.has_test() => test,
            _ => validation,
        }
    }

    /// Whether some pairs are kept for the evaluation alone.
    pub fn has_test(&self) -> bool {
        let [.., test] = &self.parts;
        !test.is_empty()
    }

    /// That the model sees some of what is held out in training, for people: a warning for each part
    /// with sources that are trained on as well.
    pub fn warnings(&self) -> Vec<String> {
        let [_, validation, test] = &self.parts;
        let parts = match self.has_test() {
            true => vec![("validate", validation), ("evaluate", test)],
            false => vec![("validate and evaluate", validation)],
        };
        let count = parts.into_iter().map(|(verb, part)| (verb, self.trained_on(part)));
        let warning = |(verb, pairs)| {
            format!("warning: the sources of {pairs} pairs to {verb} on are trained on as well")
        };
        count.filter(|(_, pairs)| *pairs > 0).map(warning).collect()
    }

    /// How many pairs of `part` have sources that are trained on.
    fn trained_on(&self, part: &Part) -> usize {
        let mut pairs: HashMap<Vec<i64>, usize> = HashMap::new();
        for index in 0..part.len() {
            *pairs.entry(part.source(index).collect()).or_default() += 1;
        }
        let [training, ..] = &self.parts;
        let (mut found, mut source) = (0, Vec::new());
        for index in 0..training.len() {
            source.clear();
            source.extend(training.source(index));
            // Taken out, so that a source that stands there twice counts once.
            found += pairs.remove(source.as_slice()).unwrap_or(0);
        }
        found
    }
}

impl Part {
    /// All pairs of the file `path`, which `field` names.
    fn whole(
        config: &Config,
        field: &str,
        path: &Path,
        languages: &Languages,
    ) -> Result<(Self, FileRead), UserError> {
        let tokenizers = [&languages.source, &languages.target].map(|language| language.tokenizer);
        let pairs = read(config, path, &tokenizers)?;
        let (read, rows) = (FileRead::of(field, path, &pairs), pairs.source.len());
        let file = Arc::new(File::new(pairs, languages));
        Ok((Self::new(&file, (0..rows as u32).collect()), read))
    }

    /// The pairs `rows` of `file`.
    fn new(file: &Arc<File>, rows: Vec<u32>) -> Self {
        let part = Self { file: Some(Arc::clone(file)), rows, longest: [0, 0] };
        let lengths = (0..part.len()).map(|index| part.lengths(index));
        let longest =
            lengths.fold([0, 0], |[source, target], [s, t]| [source.max(s), target.max(t)]);
        Self { longest, ..part }
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Tokens of the source and of the target of pair `index`.
    pub fn lengths(&self, index: usize) -> [usize; 2] {
        self.at(index).map_or([0, 0], |(File { pairs, .. }, row)| {
            [pairs.source.length(row), pairs.target.length(row)]
        })
    }

    /// The most tokens of a source and of a target.
    pub fn longest(&self) -> [usize; 2] {
        self.longest
    }

    /// The ids of the source of pair `index`.
    pub fn source(&self, index: usize) -> impl Iterator<Item = i64> + '_ {
        let at = self.at(index).into_iter();
        at.flat_map(|(file, row)| file.pairs.source.row(row).map(|n| i64::from(file.source[n])))
    }

    /// Those of its target.
    pub fn target(&self, index: usize) -> impl Iterator<Item = i64> + '_ {
        let at = self.at(index).into_iter();
        at.flat_map(|(file, row)| file.pairs.target.row(row).map(|n| i64::from(file.target[n])))
    }

    /// The texts of pair `index`, as they were cut into tokens.
    pub fn texts(&self, index: usize, languages: &Languages) -> Option<[String; 2]> {
        let (File { pairs, .. }, row) = self.at(index)?;
        let source = pairs.source.text(row, &languages.source.tokenizer);
        Some([source, pairs.target.text(row, &languages.target.tokenizer)])
    }

    /// The target that most pairs have, the first of these.
    pub fn most_frequent_target(&self) -> Option<Vec<i64>> {
        let mut counts: HashMap<Vec<i64>, (usize, usize)> = HashMap::new();
        for index in 0..self.len() {
            counts.entry(self.target(index).collect()).or_insert((0, index)).0 += 1;
        }
        let most =
            counts.into_iter().max_by_key(|(_, (count, first))| (*count, usize::MAX - first));
        most.map(|(target, _)| target)
    }

    fn at(&self, index: usize) -> Option<(&File, usize)> {
        Some((self.file.as_deref()?, *self.rows.get(index)? as usize))
    }
}

impl File {
    fn new(pairs: Pairs, languages: &Languages) -> Self {
        let ids = |side: &Side, language: &Language| {
            let ids = (0..side.tokens()).map(|n| language.vocabulary.id(side.token(n)) as u32);
            ids.collect()
        };
        let source = ids(&pairs.source, &languages.source);
        let target = ids(&pairs.target, &languages.target);
        Self { pairs, source, target }
    }
}

impl FileRead {
    fn of(field: &str, path: &Path, pairs: &Pairs) -> Self {
        Self {
            field: field.to_owned(),
            path: path.to_owned(),
            checksum: pairs.file,
            pairs: pairs.source.len() as u64,
            skipped: pairs.skipped.count,
        }
    }
}

impl Languages {
    /// Those of the `rows` of `pairs`.
    fn of(pairs: &Pairs, rows: &[u32], [source, target]: [Tokenizer; 2]) -> Self {
        let language = |side: &Side, tokenizer| {
            let numbers = rows.iter().flat_map(|&row| side.row(row as usize));
            Language::of(tokenizer, numbers, side.tokens(), |number| side.token(number))
        };
        Self { source: language(&pairs.source, source), target: language(&pairs.target, target) }
    }

    /// Those of a run of `config` with these vocabularies.
    pub fn known(config: &Config, source: Vocabulary, target: Vocabulary) -> Self {
        let [of_source, of_target] = tokenizers(config);
        Self {
            source: Language { tokenizer: of_source, vocabulary: source },
            target: Language { tokenizer: of_target, vocabulary: target },
        }
    }
}

impl Language {
    /// That of the tokens with these `numbers`, of `all` that there are.
    pub fn of<'a>(
        tokenizer: Tokenizer,
        numbers: impl Iterator<Item = usize>,
        all: usize,
        token: impl Fn(usize) -> &'a str,
    ) -> Self {
        let mut seen = vec![false; all];
        numbers.for_each(|number| seen[number] = true);
        let tokens = (0..all).filter(|&number| seen[number]).map(token);
        Self { tokenizer, vocabulary: Vocabulary::new(tokens) }
    }

    /// The ids of `text`, and its first token that has none.
    ///
    /// # Errors
    /// If it cannot be cut into tokens: why.
    pub fn ids(&self, text: &str) -> Result<(Vec<i64>, Vec<String>), String> {
        let (mut ids, mut unknown) = (Vec::new(), Vec::new());
        self.tokenizer.each(text, &mut |token| {
            let id = self.vocabulary.id(token);
            if id == UNKNOWN {
                unknown.push(token.to_owned());
            }
            ids.push(id);
        })?;
        Ok((ids, unknown))
    }

    /// The text of `ids`.
    pub fn text(&self, ids: &[i64]) -> String {
        self.tokenizer.join(ids.iter().map(|&id| self.vocabulary.token(id)))
    }
}

/// What cuts sources and targets of `config` into tokens.
fn tokenizers(config: &Config) -> [Tokenizer; 2] {
    let normalization = config.normalization.unwrap_or(Normalization::None);
    let tokens = |tokens: Option<Tokens>| tokens.unwrap_or(Tokens::Characters);
    [config.source_tokens, config.target_tokens].map(|of| Tokenizer::new(tokens(of), normalization))
}

/// How the file `path` is read by `config`.
pub fn format(config: &Config, path: &Path) -> PairsFormat {
    let column = |given: &Option<String>, number: usize| match given {
        Some(text) => match text.parse() {
            Ok(number) if number > 0 => Column::Number(number),
            _ => Column::Name(text.clone()),
        },
        None => Column::Number(number),
    };
    let source = column(&config.source_column, 1);
    let target = column(&config.target_column, 2);
    let named = [&source, &target].iter().any(|column| matches!(column, Column::Name(_)));
    PairsFormat {
        header: config.header.unwrap_or(named),
        separator: config.separator_of(path),
        bad_lines: config.bad_lines.unwrap_or(BadLines::Refuse),
        source,
        target,
    }
}

fn read(
    config: &Config,
    path: &Path,
    [source, target]: &[Tokenizer; 2],
) -> Result<Pairs, UserError> {
    Pairs::read(path, &format(config, path), source, target)
}

/// The shares of the training file that `config` holds out for validation and for evaluation.
pub fn shares(config: &Config) -> [f64; 2] {
    let default = if config.validation.is_none() { VALIDATION } else { 0.0 };
    [config.validation_fraction.unwrap_or(default), config.test_fraction.unwrap_or(0.0)]
}

/// Which pairs of the training file are held out.
fn split(config: &Config, pairs: &Pairs) -> Split {
    let [validation, test] = shares(config);
    if validation == 0.0 && test == 0.0 {
        return Split::none(pairs.source.len());
    }
    Split::drawn(pairs, validation, test, config.split_seed.unwrap_or(1) as u64)
}

/// Every part that is asked for has a pair, of `pairs` in the training file.
fn check_parts(
    config: &Config,
    train: &Path,
    pairs: usize,
    split: &Split,
) -> Result<(), UserError> {
    let (shown, [validation, test]) = (train.display(), shares(config));
    for (field, verb, share, part) in [
        ("test", "evaluate", test, &split.test),
        ("validation", "validate", validation, &split.validation),
    ] {
        if share > 0.0 && part.is_empty() {
            let why = match (share * pairs as f64).round() {
                0.0 => format!("--{field}-fraction {share} of {pairs} pairs comes to none"),
                _ => "it has too few different sources".to_owned(),
            };
            let error = format!("{shown}: no pair is left to {verb} on: {why}");
            let hint = format!("give more pairs, a larger --{field}-fraction, or a file --{field}");
            return Err(UserError::usage(error).hint(hint));
        }
    }
    if split.training.is_empty() {
        let error = "no pair is left to train on: it has too few different sources";
        let hint = "lower --validation-fraction and --test-fraction, or give a file for each";
        return Err(UserError::usage(format!("{shown}: {error}")).hint(hint));
    }
    Ok(())
}
