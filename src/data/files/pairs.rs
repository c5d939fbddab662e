//! A file of pairs, read and cut into tokens.

use std::io::Read;
use std::path::Path;

use super::fields::{BadRow, Fields};
pub use super::pair_rows::{Column, PairRows, PairsFormat};
use super::reader::{Rows, Unread};
pub use super::side::{MOST, Side};
use super::tokens::{self, Tokenizer};
use crate::base::error::UserError;
use crate::config::{BadLines, Tokens};
use crate::files::checksum::Checksum;

/// The bad lines that are kept to be shown at most.
const SHOWN: usize = 8;

/// The pairs from which [`guess`] tells what their tokens are.
const GUESSED_FROM: usize = 1000;

/// The pairs of a file: row i of one side and row i of the other.
#[derive(Debug)]
pub struct Pairs {
    /// What is read.
    pub source: Side,
    /// What is to be said.
    pub target: Side,
    /// The file.
    pub file: Checksum,
    /// The lines that are left out.
    pub skipped: Skipped,
    /// Pairs that do not stand in the line behind the one before, each with its line.
    jumps: Vec<(usize, u64)>,
}

/// Lines that are no pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many records they are.
    pub count: u64,
    /// The first few of them.
    pub first: Vec<BadRow>,
}

impl Pairs {
    /// Reads the pairs of the file `path`.
    ///
    /// # Errors
    /// If the file cannot be read, has not the columns of `format`, or no pair; where bad lines are not
    /// to be skipped, if a line is no pair of texts of 1 to [`MOST`] tokens each.
    pub fn read(
        path: &Path,
        format: &PairsFormat,
        source: &Tokenizer,
        target: &Tokenizer,
    ) -> Result<Self, UserError> {
        Self::collect(Rows::open(path, format.separator)?, format, source, target)
    }

    /// Reads the pairs of what `input` gives, which messages call `name`.
    ///
    /// # Errors
    /// As [`Pairs::read`].
    pub fn parse(
        name: &str,
        input: impl Read,
        format: &PairsFormat,
        source: &Tokenizer,
        target: &Tokenizer,
    ) -> Result<Self, UserError> {
        Self::collect(Rows::new(name, input, format.separator)?, format, source, target)
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.source.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.source.is_empty()
    }

    /// The line of the file that pair `i` stands in, from 1.
    pub fn line(&self, i: usize) -> u64 {
        let behind = self.jumps.partition_point(|&(pair, _)| pair <= i);
        let (pair, line) = self.jumps[behind - 1];
        line + (i - pair) as u64
    }

    fn collect<R: Read>(
        rows: Rows<R>,
        format: &PairsFormat,
        source: &Tokenizer,
        target: &Tokenizer,
    ) -> Result<Self, UserError> {
        let mut rows = PairRows::new(rows, format)?;
        let (mut sources, mut targets) = (Side::default(), Side::default());
        let mut jumps = Vec::new();
        let skipped = each(&mut rows, format.bad_lines, usize::MAX, |rows, fields| {
            let taken = sources.take(rows.source(fields), source);
            let taken = taken.map_err(|e| rows.bad_source(fields, &e)).and_then(|()| {
                let taken = targets.take(rows.target(fields), target);
                taken.map_err(|e| rows.bad_target(fields, &e))
            });
            if taken.is_err() {
                sources.drop_taken();
                targets.drop_taken();
                return taken;
            }
            let (pair, line) = (sources.len(), rows.rows().line());
            if jumps.last().is_none_or(|&(p, l)| l + (pair - p) as u64 != line) {
                jumps.push((pair, line));
            }
            sources.keep();
            targets.keep();
            Ok(())
        })?;
        sources.finish();
        targets.finish();
        let file = rows.rows().identity();
        Ok(Self { source: sources, target: targets, file, skipped, jumps })
    }
}

/// What the tokens of the sources and of the targets of `path` most likely are, by its first pairs.
///
/// # Errors
/// As [`Pairs::read`], as far as it is read.
pub fn guess(path: &Path, format: &PairsFormat) -> Result<(Tokens, Tokens), UserError> {
    guess_of(Rows::open(path, format.separator)?, format)
}

fn guess_of<R: Read>(rows: Rows<R>, format: &PairsFormat) -> Result<(Tokens, Tokens), UserError> {
    let mut rows = PairRows::new(rows, format)?;
    let (mut sources, mut targets) = (Vec::new(), Vec::new());
    each(&mut rows, format.bad_lines, GUESSED_FROM, |rows, fields| {
        sources.push(rows.source(fields).to_owned());
        targets.push(rows.target(fields).to_owned());
        Ok(())
    })?;
    let guess = |texts: &[String]| tokens::guess(texts.iter().map(String::as_str));
    Ok((guess(&sources), guess(&targets)))
}

/// Hands `most` lines to `take`, which may find them bad too. Bad ones are skipped, if that is wanted.
fn each<R: Read>(
    rows: &mut PairRows<R>,
    bad_lines: BadLines,
    most: usize,
    mut take: impl FnMut(&PairRows<R>, &Fields) -> Result<(), BadRow>,
) -> Result<Skipped, UserError> {
    let (mut skipped, mut fields, mut taken) = (Skipped::default(), Fields::default(), 0);
    while taken < most {
        let bad = match rows.next(&mut fields) {
            Ok(false) => break,
            Ok(true) => take(rows, &fields).err(),
            Err(Unread::Row(bad)) => Some(bad),
            Err(Unread::File(error)) => return Err(error),
        };
        match bad {
            None => taken += 1,
            Some(bad) if bad_lines == BadLines::Refuse => {
                return Err(bad.in_file(rows.rows().name()));
            }
            Some(bad) => skipped.add(bad),
        }
    }
    if taken == 0 { Err(skipped.none(rows.rows().name())) } else { Ok(skipped) }
}

impl Skipped {
    fn add(&mut self, bad: BadRow) {
        self.count += 1;
        if self.first.len() < SHOWN {
            self.first.push(bad);
        }
    }

    /// That nothing else is in the file `name`.
    fn none(&self, name: &str) -> UserError {
        let none = format!("{name}: no pair in it");
        match self.first.first() {
            None => UserError::usage(format!("{none}, nothing but the header"))
                .hint("add lines with a source and a target"),
            Some(BadRow { line, what, hint, .. }) => {
                UserError::usage(format!("{none}; line {line}, for one: {what}")).hint(hint)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::{describe, status};
    use crate::config::{Normalization, Separator};

    fn format() -> PairsFormat {
        PairsFormat {
            source: Column::Number(1),
            target: Column::Number(2),
            header: false,
            separator: Separator::Tab,
            bad_lines: BadLines::Refuse,
        }
    }

    fn named(source: &str, target: &str) -> PairsFormat {
        let [source, target] = [source, target].map(|name| Column::Name(name.to_owned()));
        PairsFormat { source, target, header: true, separator: Separator::Comma, ..format() }
    }

    fn numbered(source: usize, target: usize) -> PairsFormat {
        let [source, target] = [source, target].map(Column::Number);
        PairsFormat { source, target, ..format() }
    }

    const CHARACTERS: (Tokens, Tokens) = (Tokens::Characters, Tokens::Characters);

    fn tokenizers(tokens: (Tokens, Tokens)) -> (Tokenizer, Tokenizer) {
        let new = |tokens| Tokenizer::new(tokens, Normalization::None);
        (new(tokens.0), new(tokens.1))
    }

    fn parse(
        text: &str,
        format: &PairsFormat,
        tokens: (Tokens, Tokens),
    ) -> Result<Pairs, UserError> {
        let (source, target) = tokenizers(tokens);
        Pairs::parse("f", text.as_bytes(), format, &source, &target)
    }

    /// What is said of `text`.
    fn said(text: &str, format: &PairsFormat, tokens: (Tokens, Tokens)) -> String {
        told(parse(text, format, tokens).map(|_| ()).unwrap_err())
    }

    fn told(error: UserError) -> String {
        let error = error.into();
        assert_eq!(status(&error), 2);
        describe(&error)
    }

    /// The texts of all pairs, with their lines.
    fn texts(pairs: &Pairs, tokens: (Tokens, Tokens)) -> Vec<(u64, String, String)> {
        let (source, target) = tokenizers(tokens);
        let text =
            |i| (pairs.line(i), pairs.source.text(i, &source), pairs.target.text(i, &target));
        (0..pairs.len()).map(text).collect()
    }

    fn expected(pairs: &[(u64, &str, &str)]) -> Vec<(u64, String, String)> {
        let owned = |&(line, a, b): &(u64, &str, &str)| (line, a.to_owned(), b.to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn pairs_are_the_chosen_columns() {
        for (text, format, pairs) in [
            ("a\tb c\nd\te\n", format(), [(1, "a", "b c"), (2, "d", "e")]),
            ("b c\ta\ne\td\n", numbered(2, 1), [(1, "a", "b c"), (2, "d", "e")]),
            ("a\t\tb c\t\nd\tx\te\n", numbered(1, 3), [(1, "a", "b c"), (2, "d", "e")]),
            ("x,t,s\n,\"b c\",a\n,e,d\n", named("s", "t"), [(2, "a", "b c"), (3, "d", "e")]),
        ] {
            let read = parse(text, &format, CHARACTERS).unwrap();
            assert_eq!(texts(&read, CHARACTERS), expected(&pairs), "{text}");
            assert_eq!(read.file.bytes, text.len() as u64);
            assert_eq!(read.skipped, Skipped::default());
        }
        let format = PairsFormat { header: true, ..numbered(2, 3) };
        let read = parse("x\ts\tt\n\ta\tb\n", &format, CHARACTERS).unwrap();
        assert_eq!(texts(&read, CHARACTERS), expected(&[(2, "a", "b")]));
    }

    #[test]
    fn tokens_are_numbered_as_they_appear() {
        let tokens = (Tokens::Words, Tokens::Ids);
        let read = parse("a b a\t3 03\nc  b\t4\n", &format(), tokens).unwrap();
        let row = |i| read.source.row(i).collect::<Vec<_>>();
        assert_eq!([row(0), row(1)], [vec![0, 1, 0], vec![2, 1]]);
        assert_eq!([read.source.tokens(), read.target.tokens()], [3, 2]);
        assert_eq!(texts(&read, tokens), expected(&[(1, "a b a", "3 3"), (2, "c b", "4")]));
    }

    #[test]
    fn lines_with_other_columns_are_refused() {
        let (two, three, four) = (format(), numbered(1, 3), named("s", "t"));
        let comma = PairsFormat { separator: Separator::Comma, ..format() };
        for (text, format, says, hint) in [
            (
                "a\tb\né b\n",
                &two,
                "line 2, column 4: no tab: expected a source and a target with a tab between them",
                "if something else stands between columns: --separator (comma, semicolon)",
            ),
            (
                "a\tb\té\n",
                &two,
                "line 1, column 5: 3 columns: expected 2, a source and a target",
                "keep the two that are meant: cut -f 1,2 f > NEW; or name all in a first line, with \
                 --header true",
            ),
            (
                "a,b,c\n",
                &comma,
                "line 1, column 5: 3 columns: expected 2, a source and a target",
                "a text that has the separator in it is written in double quotes; where there are \
                 other columns, name all in a first line, with --header true",
            ),
            (
                "a\tb\n",
                &three,
                "line 1, column 4: 2 columns: expected at least 3 columns",
                "if something else stands between columns: --separator (comma, semicolon)",
            ),
            (
                "x,s,t\na,b\n",
                &four,
                "line 2, column 4: 2 columns: expected 3 columns, as the header has",
                "if something else stands between columns: --separator (tab, semicolon)",
            ),
            (
                "x,s,t\na,b,c,d\n",
                &four,
                "line 2, column 7: 4 columns: expected 3, as the header has",
                "a text that has the separator in it is written in double quotes",
            ),
        ] {
            assert_eq!(said(text, format, CHARACTERS), format!("error: f, {says}\nhint: {hint}"));
        }
    }

    #[test]
    fn texts_without_tokens_or_of_too_many_are_refused() {
        let words = (Tokens::Words, Tokens::Words);
        let most = format!("é\t{}\n", "x".repeat(MOST));
        assert_eq!(parse(&most, &format(), CHARACTERS).unwrap().target.length(0), MOST);
        for (text, tokens, says) in [
            ("\tb\n", CHARACTERS, "column 1: source: empty: expected a text"),
            ("é\t\n", CHARACTERS, "column 3: target: empty: expected a text"),
            (" \tb\n", words, "column 1: source: white space alone: expected a text"),
            ("é\t\u{3000} \n", words, "column 3: target: white space alone: expected a text"),
            (
                &most.replace('\n', "x\n"),
                CHARACTERS,
                "column 3: target: 10001 tokens: expected at most 10000",
            ),
            (
                "é\t3 x\n",
                (Tokens::Characters, Tokens::Ids),
                "column 3: target: 'x' is no whole number, of at most 64 bits with its sign",
            ),
        ] {
            let hint = "complete it, or leave such lines out: --bad-lines skip";
            let expected = format!("error: f, line 1, {says}\nhint: {hint}");
            assert_eq!(said(text, &format(), tokens), expected);
        }
    }

    #[test]
    fn a_column_has_to_be_there() {
        let unnamed = PairsFormat { header: false, ..named("s", "t") };
        let header = PairsFormat { header: true, ..format() };
        for (text, format, says) in [
            (
                "src,t\na,b\n",
                named("scr", "t"),
                "f, line 1: no column 'scr'\nhint: the columns are 'src', 't'",
            ),
            (
                "source,t\na,b\n",
                named("sorce", "t"),
                "f, line 1: no column 'sorce'\nhint: did you mean 'source'?",
            ),
            (
                "s,t\na,b\n",
                unnamed,
                "column 's' of f: the file has no header that names it\nhint: give the column's \
                 number, or --header true if the first line names it",
            ),
            (
                "s\na\n",
                header,
                "f, line 1: 1 columns: expected a column 2\nhint: choose one that there is, by its \
                 number or its name",
            ),
            (
                "a\tb\n",
                numbered(0, 1),
                "column 0: expected a number from 1\nhint: the first is column 1",
            ),
        ] {
            assert_eq!(said(text, &format, CHARACTERS), format!("error: {says}"));
        }
    }

    #[test]
    fn bad_lines_are_skipped_and_counted_if_that_is_wanted() {
        let format = PairsFormat { bad_lines: BadLines::Skip, ..format() };
        let text = "x\na\tb\n\nc\td\n\te\nf\tg\n".to_owned() + &"no\n".repeat(9) + "h\ti";
        let read = parse(&text, &format, CHARACTERS).unwrap();
        let pairs = [(2, "a", "b"), (4, "c", "d"), (6, "f", "g"), (16, "h", "i")];
        assert_eq!(texts(&read, CHARACTERS), expected(&pairs));
        assert_eq!((read.skipped.count, read.skipped.first.len()), (12, SHOWN));
        let lines: Vec<u64> = read.skipped.first.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [1, 3, 5, 7, 8, 9, 10, 11]);
        // The tokens of what is skipped are none of the file's.
        let half = parse("new\t \na\tb\n", &format, (Tokens::Characters, Tokens::Words)).unwrap();
        assert_eq!((half.source.tokens(), half.line(0)), (1, 2));
    }

    #[test]
    fn a_file_without_pairs_is_refused() {
        let skip = PairsFormat { bad_lines: BadLines::Skip, ..format() };
        assert_eq!(
            said("a\nb\n", &skip, CHARACTERS),
            "error: f: no pair in it; line 1, for one: no tab: expected a source and a target with a \
             tab between them\nhint: if something else stands between columns: --separator (comma, \
             semicolon)"
        );
        assert_eq!(
            said("s,t\n", &named("s", "t"), CHARACTERS),
            "error: f: no pair in it, nothing but the header\nhint: add lines with a source and a \
             target"
        );
    }

    #[test]
    fn what_is_wrong_with_the_file_is_refused_also_where_lines_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let skip = PairsFormat { bad_lines: BadLines::Skip, ..format() };
        let (source, target) = tokenizers(CHARACTERS);
        let told = told(Pairs::read(folder.path(), &skip, &source, &target).unwrap_err());
        assert!(told.ends_with(": Is a directory: expected a file"), "{told}");
    }

    #[test]
    fn tokens_are_guessed_from_the_first_pairs_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "one\t1 2\n".repeat(GUESSED_FROM) + "no pair").unwrap();
        assert_eq!(guess(&path, &format()).unwrap(), (Tokens::Characters, Tokens::Ids));
        std::fs::write(&path, "one\t1 2\n".repeat(GUESSED_FROM - 1) + "no pair").unwrap();
        let error = told(guess(&path, &format()).unwrap_err());
        assert!(error.contains("f, line 1000, column 8: no tab"), "{error}");
    }
}
