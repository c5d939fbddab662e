//! Files that somebody else may have made or damaged: of a bounded length, and nothing but regular
//! files.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::width::cut;

/// The longest `config.toml`, in bytes; one that `train` writes has about a thousand.
pub const CONFIG: u64 = 1 << 20;
/// The longest `manifest.json`, in bytes.
pub const MANIFEST: u64 = 1 << 20;
/// The longest `summary.json`, in bytes: some 200 for each of the most replicas, and as many again.
pub const SUMMARY: u64 = 1 << 25;
/// The longest `curves.csv`, in bytes: some ten million rows.
pub const CURVES: u64 = 1 << 30;
/// The most bytes of a file in which a run keeps what it knows of its data.
pub const RECORD: u64 = 1 << 28;

/// The bytes of a line of a parser's message at most: enough for the names of all fields.
const LINE: usize = 1200;
/// Its lines at most.
const LINES: usize = 12;

/// The columns of foreign text that a message quotes at most.
const QUOTED: usize = 80;
/// Its characters at most: there may be any number of combining marks in a column.
const CHARACTERS: usize = 4 * QUOTED;

/// The regular file `path`, of at most `most` bytes, to be read.
///
/// # Errors
/// If it is not there, is longer, or is a directory, pipe or device.
pub fn open(path: &Path, most: u64) -> io::Result<io::Take<File>> {
    // To open a pipe is to wait for a writer: what is there is asked before, and again of what was
    // opened.
    check(&fs::metadata(path)?, most)?;
    bounded(File::open(path)?, most)
}

/// The regular file `file`, of at most `most` bytes, to be read.
///
/// # Errors
/// As [`open`].
pub fn bounded(file: File, most: u64) -> io::Result<io::Take<File>> {
    check(&file.metadata()?, most)?;
    // One more than allowed of a file that grows meanwhile, for `whole` to notice.
    Ok(file.take(most.saturating_add(1)))
}

fn check(found: &Metadata, most: u64) -> io::Result<()> {
    if found.is_dir() {
        return Err(is_a_directory());
    }
    if !found.is_file() {
        return Err(no_regular_file());
    }
    if found.len() > most { Err(too_long(found.len(), most)) } else { Ok(()) }
}

/// The bytes of the regular file `path`, at most `most`.
///
/// # Errors
/// As [`open`], and those of reading.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    whole(open(path, most)?, most)
}

/// The bytes of `file`, which [`bounded`] has made one of at most `most`.
///
/// # Errors
/// Those of reading, and if it has grown.
pub fn whole(mut file: io::Take<File>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let length = bytes.len() as u64;
    if length > most { Err(too_long(length, most)) } else { Ok(bytes) }
}

/// What is said of a directory where a file is expected.
pub fn is_a_directory() -> io::Error {
    io::Error::new(ErrorKind::IsADirectory, "Is a directory: expected a file")
}

/// What is said of what is neither a file nor a directory.
pub fn no_regular_file() -> io::Error {
    invalid("no regular file but a pipe or a device")
}

/// What was found, or nothing where nothing is. Every other error stays one: what cannot be looked at
/// may be there.
///
/// # Errors
/// Those of `found` but [`ErrorKind::NotFound`].
pub fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

fn too_long(length: u64, most: u64) -> io::Error {
    let message = format!("{length} bytes: expected at most {most}");
    io::Error::new(ErrorKind::FileTooLarge, message)
}

/// An error of what is in a file, or of what it is.
pub fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message.into())
}

/// `text` fit for a terminal: what would move its cursor, change its colours or show other characters in
/// another order than they have is escaped, line ends too.
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    text.chars().for_each(|character| push(&mut shown, character));
    shown
}

/// The name of a file, [`printable`].
pub fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// Appends a character as [`printable`] shows it.
fn push(shown: &mut String, character: char) {
    if is_control(character) {
        shown.extend(character.escape_debug());
    } else {
        shown.push(character);
    }
}

/// Whether a character is no mark on paper but tells a terminal what to do: the control characters, and
/// of Unicode's those that end a line, set the direction of writing or stand for nothing.
fn is_control(character: char) -> bool {
    let format = matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    format || character.is_control()
}

/// `text` fit for a message: [`printable`], and no more of it than helps.
pub fn quoted(text: &str) -> String {
    let beginning: String = text.chars().take(CHARACTERS).collect();
    let shown = printable(&beginning);
    let kept = cut(&shown, QUOTED);
    if kept.len() == shown.len() && beginning.len() == text.len() {
        return shown;
    }
    kept.to_owned() + "…"
}

/// The message of a parser, which may show a line of what it read: every line [`printable`] and cut to
/// what helps.
pub fn clipped(message: &str) -> String {
    let lines = message.trim_end().lines();
    lines.take(LINES).map(clip).collect::<Vec<_>>().join("\n")
}

/// The beginning of a line.
fn clip(line: &str) -> String {
    let mut shown = String::new();
    for character in line.chars() {
        if shown.len() >= LINE {
            return shown + "…";
        }
        push(&mut shown, character);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_short_and_moves_no_cursor() {
        assert_eq!(quoted("a\u{1b}[2J\0"), "a\\u{1b}[2J\\0");
        assert_eq!(quoted(&"é".repeat(100)), "é".repeat(QUOTED) + "…");
        assert_eq!(quoted(&"é".repeat(QUOTED)), "é".repeat(QUOTED));
        assert_eq!(quoted(&"e\u{301}".repeat(100)), "e\u{301}".repeat(QUOTED) + "…");
        assert_eq!(quoted(&"한".repeat(41)), "한".repeat(QUOTED / 2) + "…");
        let marks = quoted(&("e".to_owned() + &"\u{301}".repeat(1000)));
        assert_eq!((marks.chars().count(), marks.ends_with('…')), (CHARACTERS + 1, true));
        assert_eq!(quoted(&"\0".repeat(100)), "\\0".repeat(QUOTED / 2) + "…");
        let long = "x".repeat(1_000_000);
        let clipped = clipped(&format!("one\n {long}\n\u{1b}three\n{}", "more\n".repeat(99)));
        let lines: Vec<&str> = clipped.lines().collect();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[1], format!(" {}…", "x".repeat(LINE - 1)));
        assert_eq!([lines[0], lines[2]], ["one", "\\u{1b}three"]);
    }

    #[test]
    fn what_is_printed_keeps_its_order_and_its_line() {
        for plain in ["a b-c_1.csv", "\"it's\\\"", "é e\u{301} 日本 👩\u{200d}🚀", "שלום"]
        {
            assert_eq!(printable(plain), plain);
        }
        for (text, shown) in [
            ("one\r\n\ttwo", "one\\r\\n\\ttwo"),
            ("\u{9b}2J\u{7f}\u{7}", "\\u{9b}2J\\u{7f}\\u{7}"),
            ("gnp\u{202e}.exe\u{2066}", "gnp\\u{202e}.exe\\u{2066}"),
            ("\u{2028}\u{feff}\u{200b}\u{e0041}", "\\u{2028}\\u{feff}\\u{200b}\\u{e0041}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn a_file_is_read_up_to_the_length_that_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read(&path, 4).unwrap_err().to_string(), "5 bytes: expected at most 4");
        assert_eq!(read(&path, u64::MAX).unwrap(), b"12345");
    }
}
