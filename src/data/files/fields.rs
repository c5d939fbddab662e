//! A line of a delimited text file, cut into its fields.

use crate::base::error::UserError;
use crate::base::input::quoted;
use crate::config::Separator;

/// What is wrong with a line; the lines around it may be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Its number, from 1.
    pub line: u64,
    /// Where in it, in characters from 1; `None` if all of it is meant.
    pub column: Option<usize>,
    /// What was found, and what was expected.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

impl BadRow {
    /// The same as an error about the file `name`.
    pub fn in_file(&self, name: &str) -> UserError {
        let Self { line, what, hint, .. } = self;
        let column = self.column.map(|column| format!(", column {column}")).unwrap_or_default();
        UserError::usage(format!("{name}, line {line}{column}: {what}")).hint(hint)
    }
}

/// Why a line has no fields.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Uncut {
    /// It is bad whatever follows.
    Bad(BadRow),
    /// The quote at this byte is not closed in it.
    Open(usize),
}

/// The fields of a line. To be used for one line after the other: it keeps its memory.
#[derive(Debug, Default)]
pub struct Fields {
    line: u64,
    /// The line as it is in the file, and behind it the fields in which a doubled quote became one.
    text: String,
    /// The bytes of the line.
    length: usize,
    places: Vec<Place>,
}

/// Where a field is.
#[derive(Debug)]
struct Place {
    /// The byte of the line where it begins, its quote if it has one.
    at: usize,
    /// Its bytes in the text.
    start: usize,
    end: usize,
}

impl Fields {
    /// How many there are; at least one once a line was read.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no line was read.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The field `i`, from 0.
    pub fn get(&self, i: usize) -> Option<&str> {
        self.places.get(i).map(|place| &self.text[place.start..place.end])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.places.iter().map(|place| &self.text[place.start..place.end])
    }

    /// The number of the line, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Where the field `i` begins, in characters from 1; behind the line if it has none.
    pub fn column(&self, i: usize) -> usize {
        let at = self.places.get(i).map_or(self.length, |place| place.at);
        column(self.text.as_bytes(), at)
    }

    /// That the field `i` is bad, or is not there.
    pub fn bad(&self, i: usize, what: impl Into<String>, hint: impl Into<String>) -> BadRow {
        let column = Some(self.column(i));
        BadRow { line: self.line, column, what: what.into(), hint: hint.into() }
    }

    /// Takes the fields of `line`, which ends before its line feed.
    ///
    /// # Errors
    /// If it is no text, is empty, or has a quote out of place.
    pub(super) fn cut(&mut self, number: u64, line: &[u8], by: Separator) -> Result<(), Uncut> {
        self.places.clear();
        self.text.clear();
        self.line = number;
        self.text.push_str(text(number, line).map_err(Uncut::Bad)?);
        self.length = line.len();
        match by {
            Separator::Tab => self.cut_at_tabs(),
            Separator::Comma => return self.cut_quoted(b','),
            Separator::Semicolon => return self.cut_quoted(b';'),
        }
        Ok(())
    }

    fn cut_at_tabs(&mut self) {
        let mut at = 0;
        for field in self.text.split('\t') {
            let end = at + field.len();
            self.places.push(Place { at, start: at, end });
            at = end + 1;
        }
    }

    /// As RFC 4180 has it: a field that begins with a quote ends with one, and what would be a quote in
    /// it is doubled. In other fields quotes are characters like others.
    fn cut_quoted(&mut self, separator: u8) -> Result<(), Uncut> {
        let mut at = 0;
        loop {
            let line = &self.text.as_bytes()[..self.length];
            let end = if line.get(at) == Some(&b'"') {
                let end = closing(line, at + 1).ok_or(Uncut::Open(at))?;
                self.place_quoted(at, end);
                end + 1
            } else {
                let end = position(&line[at..], separator).map_or(self.length, |i| at + i);
                self.places.push(Place { at, start: at, end });
                end
            };
            match self.text.as_bytes()[..self.length].get(end) {
                None => return Ok(()),
                Some(&byte) if byte == separator => at = end + 1,
                Some(_) => return Err(Uncut::Bad(self.behind_quote(end))),
            }
        }
    }

    /// The field between the quotes at the bytes `at` and `end`.
    fn place_quoted(&mut self, at: usize, end: usize) {
        let field = &self.text[at + 1..end];
        if !field.contains('"') {
            self.places.push(Place { at, start: at + 1, end });
            return;
        }
        let field = field.replace("\"\"", "\"");
        let start = self.text.len();
        self.text.push_str(&field);
        self.places.push(Place { at, start, end: self.text.len() });
    }

    fn behind_quote(&self, at: usize) -> BadRow {
        let rest = quoted(&self.text[at..self.length]);
        BadRow {
            line: self.line,
            column: Some(column(self.text.as_bytes(), at)),
            what: format!("expected the end of the quoted field, found '{rest}'"),
            hint: "in a quoted field a quote is written twice: \"\"".to_owned(),
        }
    }
}

/// The place of the quote that closes a field, from the byte `from` on: one that is not doubled.
pub(super) fn closing(line: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + position(&line[from..], b'"')?;
        if line.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        from = at + 2;
    }
}

/// Where `byte` is first.
pub(super) fn position(bytes: &[u8], byte: u8) -> Option<usize> {
    bytes.iter().position(|&other| other == byte)
}

/// `line` as text, of a file whose lines have something in them.
fn text(number: u64, line: &[u8]) -> Result<&str, BadRow> {
    let text = utf8(number, line)?;
    if text.is_empty() {
        let what = "an empty line: expected fields".to_owned();
        let hint = "take empty lines out, also at the end of the file".to_owned();
        return Err(BadRow { line: number, column: Some(1), what, hint });
    }
    Ok(text)
}

/// `line` as text.
pub(super) fn utf8(number: u64, line: &[u8]) -> Result<&str, BadRow> {
    let bad = |at: usize, what: String, hint: &str| {
        let column = Some(column(line, at));
        Err(BadRow { line: number, column, what, hint: hint.to_owned() })
    };
    if line.contains(&0) {
        let at = position(line, 0).unwrap_or_default();
        let hint = "text has none; a file in UTF-16 has many: iconv -f UTF-16 -t UTF-8 FILE > NEW";
        return bad(at, "a NUL: expected text in UTF-8".to_owned(), hint);
    }
    match std::str::from_utf8(line) {
        Ok(text) => Ok(text),
        Err(error) => {
            let at = error.valid_up_to();
            let what = format!("byte {} (0x{:02x}) is not UTF-8", at + 1, line[at]);
            bad(at, what, "convert it, for instance: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW")
        }
    }
}

/// The number, from 1, of the character that begins with the byte `at` of `line`, which is UTF-8 before.
pub(super) fn column(line: &[u8], at: usize) -> usize {
    let begins = |byte: &&u8| **byte & 0xc0 != 0x80;
    line[..at].iter().filter(begins).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(line: &str, by: Separator) -> Result<Vec<String>, Uncut> {
        let mut fields = Fields::default();
        fields.cut(3, line.as_bytes(), by)?;
        Ok(fields.iter().map(str::to_owned).collect())
    }

    fn complaint(line: &[u8], by: Separator) -> (Option<usize>, String) {
        match Fields::default().cut(3, line, by) {
            Err(Uncut::Bad(bad)) => {
                assert!(bad.line == 3 && !bad.hint.is_empty());
                (bad.column, bad.what)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fields_stand_between_separators() {
        for (line, by, fields) in [
            ("a\tb", Separator::Tab, vec!["a", "b"]),
            ("\"a\t\"\tb,\t", Separator::Tab, vec!["\"a", "\"", "b,", ""]),
            ("one", Separator::Comma, vec!["one"]),
            (",a;b,", Separator::Comma, vec!["", "a;b", ""]),
            ("a,b;c", Separator::Semicolon, vec!["a,b", "c"]),
            ("\"a,b\",c", Separator::Comma, vec!["a,b", "c"]),
            ("\"\",\"\"\"\",\"a\"\"b\"", Separator::Comma, vec!["", "\"", "a\"b"]),
            ("5\" x,b\"", Separator::Comma, vec!["5\" x", "b\""]),
            ("\"é\"\"é\",日本", Separator::Comma, vec!["é\"é", "日本"]),
        ] {
            assert_eq!(cut(line, by).unwrap(), fields, "{line}");
        }
    }

    #[test]
    fn what_is_no_line_of_text_is_refused_with_its_column() {
        for (line, column, what) in [
            (&b"\xc3\xa9a\0"[..], 3, "a NUL: expected text in UTF-8"),
            (b"\xc3\xa9\xe9x", 2, "byte 3 (0xe9) is not UTF-8"),
            (b"\xc3", 1, "byte 1 (0xc3) is not UTF-8"),
            (b"", 1, "an empty line: expected fields"),
        ] {
            for by in [Separator::Tab, Separator::Comma] {
                assert_eq!(complaint(line, by), (Some(column), what.to_owned()));
            }
        }
        let says = "expected the end of the quoted field, found 'c'";
        assert_eq!(complaint("é,\"b\"c".as_bytes(), Separator::Comma), (Some(6), says.to_owned()));
        assert_eq!(cut("é,\"b\"\"", Separator::Comma), Err(Uncut::Open(3)));
    }

    #[test]
    fn columns_are_counted_in_characters_of_the_line() {
        let mut fields = Fields::default();
        fields.cut(7, "é,\"a\"\"\",日".as_bytes(), Separator::Comma).unwrap();
        let columns: Vec<usize> = (0..4).map(|i| fields.column(i)).collect();
        assert_eq!(columns, [1, 3, 9, 10]);
        assert_eq!([fields.get(1), fields.get(3)], [Some("a\""), None]);
        let error = fields.bad(2, "no", "do").in_file("f.csv");
        assert_eq!(error.to_string(), "f.csv, line 7, column 9: no");
    }
}
