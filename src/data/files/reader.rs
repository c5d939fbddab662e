//! Files of records, a line each, read once from beginning to end, whatever is in them.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use super::fields::{BadRow, Fields, Uncut, closing, position, utf8};
use crate::base::error::UserError;
use crate::base::input;
use crate::config::Separator;
use crate::files::checksum::{Checksum, Running};

/// The bytes of a line at most.
pub const LONGEST: usize = 1 << 20;

/// Bytes that are read at once, at least, where there are so many.
const BLOCK: usize = 1 << 18;

/// Why there is no record.
#[derive(Debug)]
pub enum Unread {
    /// A line is bad; reading can go on behind it.
    Row(BadRow),
    /// The file cannot be read.
    File(UserError),
}

impl Unread {
    /// The error that it is where bad lines are refused, about the file `name`.
    pub fn refused(self, name: &str) -> UserError {
        match self {
            Self::Row(bad) => bad.in_file(name),
            Self::File(error) => error,
        }
    }
}

impl From<UserError> for Unread {
    fn from(error: UserError) -> Self {
        Self::File(error)
    }
}

/// The records of a text file in UTF-8, a line each. A line ends with a line feed, which the last one
/// may lack. A carriage return before it belongs to the end of the line and not to its last field; a byte
/// order mark at the beginning of the file belongs to nothing.
#[derive(Debug)]
pub struct Rows<R = io::Take<File>> {
    name: String,
    input: R,
    separator: Separator,
    /// The length of the file, if it has one.
    length: Option<u64>,
    /// What is read ahead: the bytes from `start` to `end` are the next ones.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    read: Running,
    /// Lines begun so far.
    line: u64,
    /// Whether the last words that were read do not end the line.
    is_within_line: bool,
}

/// Whole words of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words<'a> {
    /// The number of the line, from 1.
    pub line: u64,
    /// Whether they are its first ones.
    pub are_first: bool,
    /// The words, with the white space between them.
    pub text: &'a str,
}

impl Rows {
    /// The records of the regular file `path`.
    ///
    /// # Errors
    /// If it is not there, is a directory, a pipe or a device, cannot be read, is empty, or is not UTF-8
    /// by its first bytes.
    pub fn open(path: &Path, separator: Separator) -> Result<Self, UserError> {
        let name = path.display().to_string();
        let opened = input::open(path, u64::MAX).and_then(|file| {
            let file = file.into_inner();
            let length = file.metadata()?.len();
            // One more than it has: so it is seen to grow.
            Ok((file.take(length.saturating_add(1)), length))
        });
        let (file, length) = opened.map_err(|e| match e.kind() {
            ErrorKind::InvalidData => {
                cannot_read(&name, &e).hint("what is read more than once has to be a file")
            }
            _ => cannot_read(&name, &e),
        })?;
        Self::begin(name, file, separator, Some(length))
    }
}

impl<R: Read> Rows<R> {
    /// The records of what `input` gives, which messages call `name`.
    ///
    /// # Errors
    /// If it cannot be read, is empty, or is not UTF-8 by its first bytes.
    pub fn new(name: impl Into<String>, input: R, separator: Separator) -> Result<Self, UserError> {
        Self::begin(name.into(), input, separator, None)
    }

    fn begin(
        name: String,
        input: R,
        separator: Separator,
        length: Option<u64>,
    ) -> Result<Self, UserError> {
        let buffer = vec![0; LONGEST + BLOCK];
        let (read, start, end, line) = (Running::default(), 0, 0, 0);
        let is_within_line = false;
        let mut rows =
            Self { name, input, separator, length, buffer, start, end, read, line, is_within_line };
        rows.pass_mark()?;
        Ok(rows)
    }

    /// What messages call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the line that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// What was read so far: of the file if there are no more records.
    pub fn identity(&self) -> Checksum {
        self.read.so_far()
    }

    /// Reads the next record into `fields`; `false` if there is none.
    ///
    /// # Errors
    /// If the line is bad, in which case the next call reads the one behind it; or if the file cannot be
    /// read or has another length than at the beginning.
    pub fn next(&mut self, fields: &mut Fields) -> Result<bool, Unread> {
        if self.start == self.end && !self.fill()? {
            return Ok(false);
        }
        self.line += 1;
        let Some(end) = self.end_of_line(0)? else {
            self.pass_line()?;
            return Err(Unread::Row(self.too_long()));
        };
        let line = without_return(&self.ahead()[..end]);
        let cut = fields.cut(self.line, line, self.separator);
        let last = match cut {
            Err(Uncut::Open(_)) => self.end_of_quoted(end)?,
            _ => None,
        };
        let bad = match cut {
            Ok(()) => None,
            Err(Uncut::Bad(bad)) => Some(bad),
            Err(Uncut::Open(at)) => Some(self.open_quote(at, last.map(|last| last.line))),
        };
        // The rest of a record of several lines is no record of its own.
        let end = last.as_ref().map_or(end, |last| last.end);
        self.line = last.as_ref().map_or(self.line, |last| last.line);
        self.start = self.end.min(self.start + end + 1);
        bad.map_or(Ok(true), |bad| Err(Unread::Row(bad)))
    }

    /// Reads on to the end of the line, which may have nothing in it; of one that is longer than
    /// [`LONGEST`] bytes, to the end of a word. `None` at the end of the file.
    ///
    /// # Errors
    /// As [`Rows::next`]; and a word that is longer than [`LONGEST`] bytes.
    pub fn next_words(&mut self) -> Result<Option<Words<'_>>, Unread> {
        if self.start == self.end && !self.fill()? {
            return Ok(None);
        }
        let are_first = !self.is_within_line;
        self.line += u64::from(are_first);
        let whole = self.end_of_line(0)?;
        let white = |ahead: &[u8]| ahead[..LONGEST].iter().rposition(u8::is_ascii_whitespace);
        let Some(length) = whole.or_else(|| white(self.ahead())) else {
            let what = format!("a word of more than {LONGEST} bytes");
            let hint = "is it a text file, with white space between its words?".to_owned();
            return Err(Unread::Row(BadRow { line: self.line, column: None, what, hint }));
        };
        self.is_within_line = whole.is_none();
        let words = self.start..self.start + length;
        self.start = self.end.min(words.end + 1);
        let text = utf8(self.line, &self.buffer[words]).map_err(|bad| {
            let column = bad.column.filter(|_| are_first);
            Unread::Row(BadRow { column, ..bad })
        })?;
        Ok(Some(Words { line: self.line, are_first, text }))
    }

    /// Leaves out a byte order mark.
    fn pass_mark(&mut self) -> Result<(), UserError> {
        while self.end < 4 && self.fill()? {}
        let utf = match self.ahead() {
            [0xef, 0xbb, 0xbf, ..] => {
                self.start = 3;
                None
            }
            [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
            _ => None,
        };
        if let Some(utf) = utf {
            let hint = format!("convert it: iconv -f {utf} -t UTF-8 {} > NEW", self.name);
            let what = format!("{}, line 1, column 1: {utf}: expected UTF-8", self.name);
            return Err(UserError::usage(what).hint(hint));
        }
        if self.start == self.end {
            let what = format!("{}: an empty file: expected lines of text", self.name);
            return Err(UserError::usage(what).hint("was it written to its end?"));
        }
        Ok(())
    }

    /// What is read ahead.
    fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads on, which takes at most [`LONGEST`] bytes ahead; `false` at the end of the file.
    fn fill(&mut self) -> Result<bool, UserError> {
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = &mut self.buffer[self.end..];
        let read = loop {
            match self.input.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let read = read.and_then(|n| self.read.write_all(&room[..n]).map(|()| n));
        let read = read.map_err(|e| cannot_read(&self.name, &e))?;
        self.end += read;
        let so_far = self.read.so_far().bytes;
        match self.length {
            Some(length) if so_far > length || (read == 0 && so_far < length) => {
                Err(self.changed(length, so_far))
            }
            _ => Ok(read > 0),
        }
    }

    /// How many of the bytes ahead come before the end of the line that the byte `from` of them is in:
    /// before a line feed or the end of the file. `None` if they are more than [`LONGEST`].
    fn end_of_line(&mut self, from: usize) -> Result<Option<usize>, UserError> {
        let mut searched = from;
        loop {
            let ahead = self.ahead();
            if let Some(i) = position(&ahead[searched..], b'\n') {
                return Ok(Some(searched + i).filter(|&end| end <= LONGEST));
            }
            searched = ahead.len();
            if searched > LONGEST {
                return Ok(None);
            }
            if !self.fill()? {
                return Ok(Some(searched));
            }
        }
    }

    /// Leaves out what is left of the line.
    fn pass_line(&mut self) -> Result<(), UserError> {
        loop {
            if let Some(i) = position(self.ahead(), b'\n') {
                self.start += i + 1;
                return Ok(());
            }
            self.start = self.end;
            if !self.fill()? {
                return Ok(());
            }
        }
    }

    /// Where the record ends whose first line ends at byte `end` of those ahead, within a quoted field;
    /// `None` if its quote is not closed at all, but was left open: then the next quote of the file is
    /// one that opens another field, or there is none within [`LONGEST`] bytes.
    fn end_of_quoted(&mut self, mut end: usize) -> Result<Option<Last>, UserError> {
        let mut line = self.line;
        while end < self.ahead().len() {
            let begin = end + 1;
            let Some(next) = self.end_of_line(begin)? else { return Ok(None) };
            (line, end) = (line + 1, next);
            let text = without_return(&self.ahead()[begin..end]);
            if let Some(quote) = closing(text, 0) {
                let behind = text.get(quote + 1);
                let closes = behind.is_none_or(|&byte| Some(byte) == quoting(self.separator));
                return Ok(closes.then_some(Last { line, end }));
            }
        }
        Ok(None)
    }

    fn too_long(&self) -> BadRow {
        BadRow {
            line: self.line,
            column: None,
            what: format!("more than {LONGEST} bytes: expected a line of text"),
            hint: "is it a text file, with a line for each record?".to_owned(),
        }
    }

    /// That the quote at byte `at` of those ahead is not closed in its line, but in `last`, if at all.
    fn open_quote(&self, at: usize, last: Option<u64>) -> BadRow {
        let (what, hint) = match last {
            Some(last) => (
                format!("a quoted field that goes on to line {last}: expected its end in its line"),
                "write it without line breaks: every record is a line",
            ),
            None => (
                "a quote that is not closed: expected one more \" in the line".to_owned(),
                "close it; a field that begins with a quote is written \"\"\"like this\"",
            ),
        };
        let column = Some(super::fields::column(self.ahead(), at));
        BadRow { line: self.line, column, what, hint: hint.to_owned() }
    }

    fn changed(&self, length: u64, read: u64) -> UserError {
        let read = if read > length { "more".to_owned() } else { read.to_string() };
        let what = format!("{length} bytes at first, then {read}");
        UserError::usage(format!("{} changed while it was read: {what}", self.name))
            .hint("wait until it is written to its end, or read a copy")
    }
}

/// The last line of a record of several.
#[derive(Debug, Clone, Copy)]
struct Last {
    /// Its number.
    line: u64,
    /// The bytes ahead before its end.
    end: usize,
}

/// The byte that ends a field in a file where fields may be quoted.
fn quoting(separator: Separator) -> Option<u8> {
    match separator {
        Separator::Tab => None,
        Separator::Comma => Some(b','),
        Separator::Semicolon => Some(b';'),
    }
}

/// `line` without the carriage return of its end.
fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn cannot_read(name: &str, error: &io::Error) -> UserError {
    UserError::usage(format!("cannot read {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::base::error::{describe, status};

    /// Records, and what is said of the lines that are none.
    type Told = Vec<Result<Vec<String>, String>>;

    fn all<R: Read>(rows: &mut Rows<R>) -> Result<Told, UserError> {
        let (mut read, mut fields) = (Vec::new(), Fields::default());
        loop {
            read.push(match rows.next(&mut fields) {
                Ok(true) => Ok(fields.iter().map(str::to_owned).collect()),
                Ok(false) => return Ok(read),
                Err(Unread::Row(bad)) => Err(describe(&bad.in_file("f").into())),
                Err(Unread::File(error)) => return Err(error),
            });
        }
    }

    fn parse(bytes: &[u8], separator: Separator) -> Told {
        all(&mut Rows::new("f", bytes, separator).unwrap()).unwrap()
    }

    fn fields<const N: usize>(fields: [&str; N]) -> Result<Vec<String>, String> {
        Ok(fields.map(str::to_owned).to_vec())
    }

    /// The complaint of an error with a fix.
    fn said(error: UserError) -> String {
        let error = error.into();
        assert_eq!(status(&error), 2);
        describe(&error)
    }

    fn refused(bytes: &[u8]) -> String {
        said(Rows::new("f", bytes, Separator::Tab).unwrap_err())
    }

    #[test]
    fn a_line_is_a_record_whatever_ends_it() {
        let read = [fields(["a", "b"]), fields(["c", ""])];
        for text in ["a\tb\nc\t", "a\tb\r\nc\t\r\n", "\u{feff}a\tb\nc\t\n"] {
            assert_eq!(parse(text.as_bytes(), Separator::Tab), read, "{text:?}");
        }
        assert_eq!(parse("a\rb\r\r\n".as_bytes(), Separator::Tab), [fields(["a\rb\r"])]);
    }

    #[test]
    fn bad_lines_are_told_and_the_next_is_read() {
        let read = parse(b"a\n\nb\0\nc\n\xff\n", Separator::Tab);
        assert_eq!([&read[0], &read[3]], [&fields(["a"]), &fields(["c"])]);
        for (i, says) in [
            (1, "line 2, column 1: an empty line: expected fields\nhint: take empty lines out"),
            (2, "line 3, column 2: a NUL: expected text in UTF-8\nhint: text has none; a file in"),
            (4, "line 5, column 1: byte 1 (0xff) is not UTF-8\nhint: convert it, for instance: "),
        ] {
            let told = read[i].as_ref().unwrap_err();
            assert!(told.starts_with(&format!("error: f, {says}")), "{told}");
        }
    }

    #[test]
    fn a_quoted_line_break_is_told_from_a_quote_left_open() {
        let broken = "error: f, line 1, column 3: a quoted field that goes on to line 3: expected \
                      its end in its line\nhint: write it without line breaks: every record is a \
                      line";
        let open = "error: f, line 1, column 3: a quote that is not closed: expected one more \" \
                    in the line\nhint: close it; a field that begins with a quote is written \
                    \"\"\"like this\"";
        let last = fields(["z"]);
        for text in ["é,\"b\nx,y\n\"\"\",c\nz\n", "é,\"b\r\n\r\n\"\r\nz"] {
            let read = parse(text.as_bytes(), Separator::Comma);
            assert_eq!(read, [Err(broken.to_owned()), last.clone()], "{text:?}");
        }
        for text in ["é,\"b\nx,\"y\"\nz\n", "é,\"b\nx,y\nz"] {
            let read = parse(text.as_bytes(), Separator::Comma);
            assert_eq!(read.len(), 3, "{text:?}");
            assert_eq!([&read[0], &read[2]], [&Err(open.to_owned()), &last]);
        }
        assert_eq!(parse(b"\"a\n\"\n", Separator::Tab), [fields(["\"a"]), fields(["\""])]);
    }

    #[test]
    fn an_endless_line_takes_no_memory_and_is_one_bad_line() {
        let long = vec![b'x'; 100 << 20];
        let end = b"\na\n";
        let input = long.as_slice().chain(&end[..]);
        let mut rows = Rows::new("f", input, Separator::Tab).unwrap();
        let read = all(&mut rows).unwrap();
        let says = "error: f, line 1: more than 1048576 bytes: expected a line of text\n\
                    hint: is it a text file, with a line for each record?";
        assert_eq!(read, [Err(says.to_owned()), fields(["a"])]);
        assert_eq!(rows.buffer.len(), LONGEST + BLOCK);
        let most = [&long[..LONGEST], end].concat();
        assert_eq!(parse(&most, Separator::Comma)[1], fields(["a"]));
        assert_eq!(parse(&most[..LONGEST], Separator::Comma).len(), 1);
        assert!(parse(&long[..LONGEST + 1], Separator::Comma)[0].is_err());
        let longer = parse(&[&long[..LONGEST + 1], end].concat(), Separator::Comma);
        assert_eq!(longer, read);
        // Quotes that a megabyte does not close.
        let open = [b"\"".as_slice(), &b"x\n".repeat(LONGEST), b"\"\n"].concat();
        assert_eq!(parse(&open, Separator::Comma).len(), LONGEST + 1);
    }

    #[test]
    fn what_is_read_in_small_pieces_is_the_same() {
        /// A byte at a time.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = buffer.len().min(1);
                self.0.read(&mut buffer[..n])
            }
        }
        let text = "\u{feff}a,\"b\"\r\n\"c\n\",é\n\"\"\"\",d".as_bytes();
        let mut rows = Rows::new("f", Slow(text), Separator::Comma).unwrap();
        let read = all(&mut rows).unwrap();
        assert_eq!(read, parse(text, Separator::Comma));
        assert_eq!([&read[0], &read[2]], [&fields(["a", "b"]), &fields(["\"", "d"])]);
        assert_eq!(rows.line(), 4);
        let checksum = Checksum::of(text);
        assert_eq!((rows.identity(), checksum.bytes), (checksum, text.len() as u64));
    }

    #[test]
    fn lines_go_over_the_end_of_the_buffer() {
        let line = "0123456789é\t".repeat(700);
        let text = format!("{line}\n").repeat(400);
        let expected: Vec<String> = line.split('\t').map(str::to_owned).collect();
        let read = parse(text.as_bytes(), Separator::Tab);
        assert!(read.len() == 400 && read.iter().all(|row| row.as_ref() == Ok(&expected)));
    }

    #[test]
    fn other_encodings_and_empty_files_are_refused() {
        let says = "error: f, line 1, column 1: UTF-16: expected UTF-8\n\
                    hint: convert it: iconv -f UTF-16 -t UTF-8 f > NEW";
        assert_eq!(refused(b"\xff\xfea\0\n\0"), says);
        assert_eq!(refused(b"\xfe\xff\0a"), says);
        assert_eq!(refused(b"\xff\xfe\0\0a\0\0\0"), says.replace("UTF-16", "UTF-32"));
        let says = "error: f: an empty file: expected lines of text\n\
                    hint: was it written to its end?";
        assert_eq!(refused(b""), says);
        assert_eq!(refused("\u{feff}".as_bytes()), says);
    }

    #[test]
    fn only_a_regular_file_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let told = |name: &str| {
            let path = folder.path().join(name);
            let told = said(Rows::open(&path, Separator::Tab).unwrap_err());
            told.replace(&path.display().to_string(), "f")
        };
        let missing = "error: cannot read f: No such file or directory (os error 2)";
        assert_eq!(told("missing"), missing);
        let directory = "error: cannot read f: Is a directory: expected a file";
        assert_eq!(told(""), directory);
        #[cfg(unix)]
        {
            let pipe = folder.path().join("pipe");
            std::process::Command::new("mkfifo").arg(pipe).status().unwrap();
            let says = "error: cannot read f: no regular file but a pipe or a device\n\
                        hint: what is read more than once has to be a file";
            assert_eq!(told("pipe"), says);
        }
    }

    #[test]
    fn a_file_that_changes_its_length_meanwhile_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let text = "a\tb\n".repeat(LONGEST);
        let after = |change: &dyn Fn(&File)| {
            fs::write(&path, &text).unwrap();
            let mut rows = Rows::open(&path, Separator::Tab).unwrap();
            rows.next(&mut Fields::default()).unwrap();
            change(&File::options().append(true).open(&path).unwrap());
            all(&mut rows).map(|read| read.len())
        };
        assert_eq!(after(&|_| ()).unwrap(), LONGEST - 1);
        let told = |change| said(after(change).unwrap_err()).replace(path.to_str().unwrap(), "f");
        let hint = "hint: wait until it is written to its end, or read a copy";
        assert_eq!(
            told(&|file| file.set_len(2_000_002).unwrap()),
            format!(
                "error: f changed while it was read: 4194304 bytes at first, then 2000002\n{hint}"
            )
        );
        assert_eq!(
            told(&|mut file| file.write_all(b"more").unwrap()),
            format!(
                "error: f changed while it was read: 4194304 bytes at first, then more\n{hint}"
            )
        );
    }
}
