//! A series of tokens read from a file, the words of a text or a column of a table, and its windows.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::corpus::Language;
use super::fields::{BadRow, column};
use super::interner::Interner;
use super::reader::Rows;
use super::series::format;
use super::table::{each_field, names};
use super::tokens::Tokenizer;
use super::vocabulary::{UNKNOWN, Vocabulary};
use super::windows::{Parts, Windows};
use crate::base::error::UserError;
use crate::base::input::{quoted, shown};
use crate::base::rng::Purpose;
use crate::config::{Config, Invalid, Normalization, Separator, Tokens};
use crate::files::checksum::Checksum;

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFile {
    /// The field that names it.
    pub field: String,
    /// As the field names it.
    pub path: PathBuf,
    /// Of its bytes.
    #[serde(flatten)]
    pub checksum: Checksum,
    /// Tokens in it.
    pub tokens: usize,
    /// The most frequent token of the training part, the first of several.
    pub most_frequent: String,
}

/// A series as a model has it.
#[derive(Debug)]
pub struct TokenSeries {
    /// The ids of the tokens of the training part, and of nothing else.
    pub language: Language,
    /// The file.
    pub file: TokenFile,
    /// Its windows.
    pub windows: Windows,
    text: Text,
    /// The ids of the text's different tokens.
    ids: Vec<u32>,
    /// What is trained on, validated on and evaluated on; empty where nobody asks.
    parts: [Range<usize>; 3],
}

impl TokenSeries {
    /// The series of `config`, with the vocabulary of its training part.
    ///
    /// # Errors
    /// A file that cannot be read, or has something in it that is no token; a part without a window.
    pub fn read(config: &Config) -> Result<Self, UserError> {
        let path = Path::new(config.series.as_deref().unwrap_or_default());
        let text = Text::read(config, path)?;
        let parts = Parts::by(config, text.numbers.len());
        let training = text.part(parts.training.clone());
        let token = |number| text.different.token(number);
        let language = Language::of(tokenizer(config), training, text.different.len(), token);
        let most_frequent = text.most_frequent(parts.training.clone());
        Self::cut(config, ("series", path), text, language, most_frequent, parts.used())
    }

    /// The series in the file `path`, all of which is evaluated on, for a model that knows `language`,
    /// of which this is the most frequent token.
    ///
    /// # Errors
    /// As [`TokenSeries::read`].
    pub fn of_test(
        config: &Config,
        language: Language,
        most_frequent: String,
        path: &Path,
    ) -> Result<Self, UserError> {
        let text = Text::read(config, path)?;
        let parts = [None, None, Some(0..text.numbers.len())];
        Self::cut(config, ("test", path), text, language, most_frequent, parts)
    }

    /// The windows of `text` in each of `parts` that is asked for.
    fn cut(
        config: &Config,
        (field, path): (&str, &Path),
        text: Text,
        language: Language,
        most_frequent: String,
        parts: [Option<Range<usize>>; 3],
    ) -> Result<Self, UserError> {
        let tokens = text.numbers.len();
        let windows = Windows::cut(config, parts.clone(), |_, _| true);
        let windows = windows.map_err(|none| none.in_file(&shown(path), tokens, "tokens"))?;
        let (field, path, checksum) = (field.to_owned(), path.to_owned(), text.file);
        let file = TokenFile { field, path, checksum, tokens, most_frequent };
        let different = 0..text.different.len();
        let id = |number| language.vocabulary.id(text.different.token(number)) as u32;
        let ids = different.map(id).collect();
        let parts = parts.map(Option::unwrap_or_default);
        Ok(Self { language, file, windows, text, ids, parts })
    }

    /// The ids that the model reads of the window that begins with row `first`, `(n_in)`.
    pub fn source(&self, first: u32) -> impl Iterator<Item = i64> + '_ {
        self.ids(self.windows.width.source(first as usize))
    }

    /// Those that it is to say, `(n_out)`.
    pub fn target(&self, first: u32) -> impl Iterator<Item = i64> + '_ {
        self.ids(self.windows.width.target(first as usize))
    }

    /// Source and target of this window as the file has them.
    pub fn texts(&self, first: u32) -> [String; 2] {
        let width = self.windows.width;
        let text = |rows: Range<usize>| self.text.joined(rows, &self.language.tokenizer);
        [text(width.source(first as usize)), text(width.target(first as usize))]
    }

    /// The ids that naive forecasts repeat as the target of this window: that of the most frequent token
    /// of the training part, and that of the last token before the target.
    pub fn naive(&self, first: u32) -> [i64; 2] {
        let last = self.source(first).last().unwrap_or(UNKNOWN);
        [self.language.vocabulary.id(&self.file.most_frequent), last]
    }

    /// How many tokens of the part for `purpose` the training part lacks.
    pub fn unknown(&self, purpose: Purpose) -> usize {
        let part = self.parts[super::windows::place(purpose)].clone();
        self.ids(part).filter(|id| *id == UNKNOWN).count()
    }

    /// In which share of the training part its most frequent token stands.
    pub fn share_of_most_frequent(&self) -> f64 {
        let [training, ..] = &self.parts;
        let id = self.language.vocabulary.id(&self.file.most_frequent);
        let count = self.ids(training.clone()).filter(|other| *other == id).count();
        count as f64 / training.len().max(1) as f64
    }

    fn ids(&self, rows: Range<usize>) -> impl Iterator<Item = i64> + '_ {
        self.text.part(rows).map(|number| i64::from(self.ids[number]))
    }
}

/// The last `n_in` tokens of the file `path`, as a line of text, for a model of a run of `config`.
///
/// # Errors
/// As [`TokenSeries::read`], and if the file has fewer tokens.
pub fn last_tokens(config: &Config, path: &Path) -> Result<String, UserError> {
    let text = Text::read(config, path)?;
    let (length, n_in) = (text.numbers.len(), config.n_in as usize);
    if length < n_in {
        let error = format!("{}: {length} tokens: the model reads {n_in}", shown(path));
        return Err(UserError::usage(error));
    }
    Ok(text.joined(length - n_in..length, &tokenizer(config)))
}

/// The language of a run of `config` with this vocabulary.
pub fn language(config: &Config, vocabulary: Vocabulary) -> Language {
    Language { tokenizer: tokenizer(config), vocabulary }
}

/// Finds out whether what `config` says of the file is what a series of tokens has: with `targets` the
/// name of one column, without it nothing of columns.
///
/// # Errors
/// The first field that a series of tokens has no use for, or that is no name of a column.
pub fn check(config: &Config) -> Result<(), Invalid> {
    let Config { inputs, targets, decimal, missing, separator, .. } = config;
    let idle = |field, found: Option<String>, why: &str| {
        let invalid = |found| Invalid::new(field, found, "nothing").because(why);
        found.map(invalid).map_or(Ok(()), Err)
    };
    let why = ": a series of tokens is one column, which is read and goes on (--targets)";
    idle("inputs", inputs.clone(), why)?;
    let why = ": tokens have no decimals (--series-tokens)";
    idle("decimal", decimal.map(|of| of.to_string()), why)?;
    let why = ": a series of tokens lacks none (--series-tokens)";
    idle("missing", missing.map(|of| of.to_string()), why)?;
    let Some(list) = targets else {
        let why = ": without --targets the file is a text, with white space between its tokens";
        return idle("separator", separator.map(|of: Separator| of.to_string()), why);
    };
    let invalid = || Invalid::new("targets", quoted(list), "the name of one column");
    match names(list) {
        Ok(names) if names.len() == 1 => Ok(()),
        Ok(_) => Err(invalid().because(", whose rows are the series of tokens")),
        Err(e) => Err(invalid().because(format!(": {e}"))),
    }
}

/// What the tokens of `config` are.
fn tokenizer(config: &Config) -> Tokenizer {
    Tokenizer::new(config.series_tokens.unwrap_or_default().tokens(), Normalization::None)
}

/// The tokens of a file, in their order.
#[derive(Debug)]
struct Text {
    file: Checksum,
    /// Of each different token one copy.
    different: Interner,
    /// The number of every token among these.
    numbers: Vec<u32>,
}

impl Text {
    /// That of the file `path`, laid out as `config` says: a column of a table, or a text.
    fn read(config: &Config, path: &Path) -> Result<Self, UserError> {
        let mut tokens = Taken::new(tokenizer(config));
        let column = config.targets.as_deref().map(names).transpose();
        let column = column.map_err(|e| UserError::usage(format!("--targets: {e}")))?;
        let file = match column.as_ref().and_then(|names| names.first()) {
            Some(name) => {
                each_field(path, name, format(config, path), |field| tokens.take_field(field))?
            }
            None => tokens.take_text(path)?,
        };
        if tokens.numbers.is_empty() {
            let error = format!("{}: no token in it", shown(path));
            return Err(UserError::usage(error).hint("was it written to its end?"));
        }
        let Taken { mut different, numbers, .. } = tokens;
        different.finish();
        Ok(Self { file, different, numbers })
    }

    fn part(&self, rows: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        self.numbers[rows].iter().map(|number| *number as usize)
    }

    fn joined(&self, rows: Range<usize>, tokenizer: &Tokenizer) -> String {
        tokenizer.join(self.part(rows).map(|number| self.different.token(number)))
    }

    /// The most frequent token of `rows`, the one of several that came first; none of no rows.
    fn most_frequent(&self, rows: Range<usize>) -> String {
        let mut counts = vec![0_usize; self.different.len()];
        self.part(rows).for_each(|number| counts[number] += 1);
        let most = (0..counts.len()).rev().max_by_key(|number| counts[*number]);
        most.map_or_else(String::new, |number| self.different.token(number).to_owned())
    }
}

/// Tokens as they are read.
struct Taken {
    tokenizer: Tokenizer,
    different: Interner,
    numbers: Vec<u32>,
}

impl Taken {
    fn new(tokenizer: Tokenizer) -> Self {
        Self { tokenizer, different: Interner::default(), numbers: Vec::new() }
    }

    /// Takes all words of the file `path`.
    fn take_text(&mut self, path: &Path) -> Result<Checksum, UserError> {
        // Nothing separates its words but white space.
        let mut rows = Rows::open(path, Separator::Tab)?;
        let name = rows.name().to_owned();
        while let Some(words) = rows.next_words().map_err(|e| e.refused(&name))? {
            for word in words.text.split_whitespace() {
                self.take(word).map_err(|(what, hint)| {
                    let at = word.as_ptr().addr() - words.text.as_ptr().addr();
                    let column = words.are_first.then(|| column(words.text.as_bytes(), at));
                    BadRow { line: words.line, column, what, hint }.in_file(&name)
                })?;
            }
        }
        Ok(rows.identity())
    }

    /// Takes a field of a table, which is one token.
    fn take_field(&mut self, field: &str) -> Result<(), (String, String)> {
        let mut words = field.split_whitespace();
        match (words.next(), words.next()) {
            (Some(word), None) => self.take(word),
            (None, _) => Err((
                "expected a token, found none".to_owned(),
                "complete the line, or take it out".to_owned(),
            )),
            (Some(_), Some(_)) => Err((
                format!("expected one token, found several, '{}'", quoted(field.trim())),
                "write something else for the white space in it, such as _".to_owned(),
            )),
        }
    }

    /// Takes a word; otherwise says what is wrong with it, and what helps.
    fn take(&mut self, word: &str) -> Result<(), (String, String)> {
        let Self { tokenizer, different, numbers } = self;
        let hint = "ids are whole numbers from 0; --series-tokens words takes any token, and --targets \
                    COLUMN one column of a table with a header";
        let negative = tokenizer.tokens() == Tokens::Ids && word.starts_with('-');
        let taken = tokenizer.cut(word, |token| numbers.push(different.number(token)));
        taken.map_err(|what| (what, hint.to_owned()))?;
        match negative {
            true => {
                let what = format!("'{}' is negative: expected an id from 0", quoted(word));
                Err((what, hint.to_owned()))
            }
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::base::error::describe;
    use crate::config::{SeriesTokens, TaskKind, presets};

    /// A folder with this file, and a configuration of windows of 3 tokens and the 2 after them.
    fn series(text: &[u8], tokens: SeriesTokens) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, text).unwrap();
        let config = Config {
            task: TaskKind::Series,
            series: Some(path.to_str().unwrap().to_owned()),
            series_tokens: Some(tokens),
            validation_fraction: Some(0.2),
            test_fraction: Some(0.2),
            n_in: 3,
            n_out: 2,
            ..presets::find("reverse").unwrap().config
        };
        (folder, config)
    }

    fn told(text: &[u8], tokens: SeriesTokens, targets: Option<&str>) -> String {
        let (folder, config) = series(text, tokens);
        let config = Config { targets: targets.map(str::to_owned), ..config };
        let error = describe(&TokenSeries::read(&config).unwrap_err().into());
        error.replace(&format!("{}/", folder.path().display()), "")
    }

    const TEXT: &str = "a b  c\n\n\u{a0}a b\tc a a\r\nb d a b c a e b a f";

    #[test]
    fn a_text_is_all_its_words_in_order_and_a_part_has_its_windows() {
        let (_folder, config) = series(TEXT.as_bytes(), SeriesTokens::Words);
        let read = TokenSeries::read(&config).unwrap();
        // 18 tokens: 10 are trained on, 4 validated on, 4 evaluated on.
        assert_eq!((read.file.tokens, read.windows.counts()), (18, [6, 3, 3]));
        assert_eq!(read.texts(0), ["a b c", "a b"]);
        assert_eq!(read.texts(9), ["d a b", "c a"]);
        let vocabulary = read.language.vocabulary.to_text();
        assert!(vocabulary.ends_with("<unknown>\na\nb\nc\nd\n"), "{vocabulary}");
        assert_eq!(read.source(9).collect::<Vec<_>>(), [7, 4, 5]);
        assert_eq!(read.target(13).collect::<Vec<_>>(), [4, UNKNOWN]);
        let unknown = [Purpose::Training, Purpose::Validation, Purpose::Evaluation];
        assert_eq!(unknown.map(|purpose| read.unknown(purpose)), [0, 0, 2]);
        assert_eq!((read.naive(9), read.share_of_most_frequent()), ([4, 5], 0.4));
        assert_eq!(last_tokens(&config, &read.file.path).unwrap(), "b a f");
    }

    #[test]
    fn a_column_of_a_table_has_a_token_in_every_row() {
        let rows: String = (0..20).map(|row| format!("x,{}\n", row % 3)).collect();
        let text = format!("day, id\n{rows}");
        let (_folder, config) = series(text.as_bytes(), SeriesTokens::Ids);
        let config = Config { targets: Some("id".to_owned()), ..config };
        let read = TokenSeries::read(&config).unwrap();
        assert_eq!((read.file.tokens, read.texts(1)), (20, ["1 2 0".into(), "1 2".into()]));
        let other = read.language.clone();
        let test = TokenSeries::of_test(&config, other, "1".to_owned(), &read.file.path).unwrap();
        assert_eq!((test.windows.counts(), test.naive(0)), ([0, 0, 16], [5, 6]));
    }

    #[test]
    fn what_is_no_token_is_refused_with_its_line() {
        let ids = SeriesTokens::Ids;
        for (text, tokens, targets, says) in [
            (&b""[..], ids, None, "an empty file"),
            (b" \n\n", ids, None, "t.csv: no token in it"),
            (b"a\n", ids, Some("a"), "t.csv: no token in it"),
            (b"1 2\n3 -4", ids, None, "line 2, column 3: '-4' is negative: expected an id from 0"),
            (b"1\n\xc3\xa9 x", ids, None, "line 2, column 1: '\u{e9}' is no whole number"),
            (b"1 2.5", ids, None, "line 1, column 3: '2.5' is no whole number"),
            (
                b"a\nb \xff",
                SeriesTokens::Words,
                None,
                "line 2, column 3: byte 3 (0xff) is not UTF-8",
            ),
            (b"1 2 3", ids, None, "no window of 3 + 2 tokens (--n-in, --n-out) is in the training"),
            (b"a,b\n1,2\n1,\n", ids, Some("b"), "line 3, column 'b': expected a token, found none"),
            (b"a,b\n1,2 3\n", ids, Some("b"), "line 2, column 'b': expected one token, found"),
            (b"a,b\n1,2\n", ids, Some("c"), "line 1: no column 'c'"),
            (b"a,b\n1,x\n", ids, Some("b"), "line 2, column 'b': 'x' is no whole number"),
        ] {
            let told = told(text, tokens, targets);
            assert!(told.contains(says) && told.starts_with("error: t.csv"), "{told}, not {says}");
        }
    }

    #[test]
    fn a_line_may_be_longer_than_what_is_read_at_once() {
        let word = |n: usize| format!("w{} ", n % 7);
        let text: String = (0..700_000).map(word).collect();
        let (_folder, config) = series(text.as_bytes(), SeriesTokens::Words);
        let read = TokenSeries::read(&config).unwrap();
        assert_eq!((read.file.tokens, read.language.vocabulary.len()), (700_000, 11));
        assert_eq!(read.texts(699_990), ["w4 w5 w6", "w0 w1"].map(str::to_owned));
        let endless = "x".repeat(2_000_000);
        let error = told(endless.as_bytes(), SeriesTokens::Words, None);
        assert!(error.contains("line 1: a word of more than 1048576 bytes"), "{error}");
    }

    #[test]
    fn fields_that_tokens_have_no_use_for_are_refused() {
        let (_folder, config) = series(b"a", SeriesTokens::Words);
        assert_eq!(check(&config), Ok(()));
        let column = Config { targets: Some("a".to_owned()), ..config.clone() };
        assert_eq!(check(&column), Ok(()));
        let tab = Some(Separator::Tab);
        assert_eq!(check(&Config { separator: tab, ..column.clone() }), Ok(()));
        for (config, says) in [
            (
                Config { inputs: column.targets.clone(), ..column },
                "--inputs a: expected nothing: a",
            ),
            (Config { decimal: Some(Default::default()), ..config.clone() }, "--decimal point: "),
            (Config { missing: Some(Default::default()), ..config.clone() }, "--missing refuse: "),
            (Config { separator: tab, ..config.clone() }, "--separator tab: expected nothing: "),
            (
                Config { targets: Some("a,b".to_owned()), ..config },
                "--targets a,b: expected the name of one column, whose rows are",
            ),
        ] {
            let told = check(&config).unwrap_err().to_string();
            assert!(told.starts_with(says), "{told}, not {says}");
        }
    }
}
