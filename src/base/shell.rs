//! Commands that a user can give to a shell as they are printed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The command that calls this program as it was called, with other arguments.
pub fn command(arguments: &[&OsStr]) -> String {
    let program = std::env::args_os().next().filter(|name| !name.is_empty());
    let program = program.unwrap_or_else(|| OsString::from("seqlab"));
    let words = std::iter::once(program.as_os_str()).chain(arguments.iter().copied());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

/// `word` as a shell reads it back: between quotes unless nothing in it means anything to one, and
/// with escapes where it is no text that a terminal shows.
pub fn quoted(word: &OsStr) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    match word.to_str() {
        Some(text) if !text.is_empty() && text.bytes().all(plain) => text.to_owned(),
        Some(text) if is_shown(text) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => {
            format!("$'{}'", word.as_bytes().iter().map(|&byte| escaped(byte)).collect::<String>())
        }
    }
}

/// Whether every character of `text` shows as itself.
fn is_shown(text: &str) -> bool {
    let others = text.replace(['\'', '"', '\\'], "");
    others.escape_debug().eq(others.chars())
}

/// `byte` between `$'` and `'`.
fn escaped(byte: u8) -> String {
    match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).into(),
        _ => format!("\\x{byte:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn words_that_mean_nothing_to_a_shell_stay_as_they_are() {
        for word in ["resume", "runs/echo-2", "./-x", "--config", "/a/b_c.toml"] {
            assert_eq!(quoted(word.as_ref()), word);
        }
        assert_eq!(quoted("runs/my run é ü".as_ref()), "'runs/my run é ü'");
        assert_eq!(quoted("it's".as_ref()), r"'it'\''s'");
    }

    #[test]
    fn what_a_terminal_does_not_show_is_escaped() {
        assert_eq!(quoted("a\n\u{1b}[2J'".as_ref()), r"$'a\x0a\x1b[2J\''");
        assert_eq!(quoted("\u{202e}".as_ref()), r"$'\xe2\x80\xae'");
        assert_eq!(quoted(OsStr::from_bytes(b"\xff")), r"$'\xff'");
    }

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let words: [&[u8]; 8] = [
            b"",
            b"a b",
            b"$HOME `x` \"*\" ~ !",
            b"it's \\",
            b"\xff \n'",
            b"~",
            b"#a",
            "é\u{301}".as_bytes(),
        ];
        for word in words {
            let script = format!("printf %s {}", quoted(OsStr::from_bytes(word)));
            match Command::new("bash").arg("-c").arg(&script).output() {
                Ok(output) => assert_eq!(output.stdout, word, "{script}"),
                Err(_) => eprintln!("skipped: there is no bash"),
            }
        }
    }
}
