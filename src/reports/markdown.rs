//! Markdown of foreign text and of tables.

use crate::base::input::printable;

/// What Markdown would take for more than a character.
const MARKUP: &str = "\\`*_[]<>|#&~!$";

/// Foreign `text` as Markdown that shows it as it is.
pub(super) fn escaped(text: &str) -> String {
    let text: Vec<char> = printable(text).chars().collect();
    let is_letter = |i: usize| text.get(i).is_some_and(|c| c.is_alphanumeric());
    let mut escaped = String::new();
    for (i, &character) in text.iter().enumerate() {
        let in_a_word = character == '_' && is_letter(i.wrapping_sub(1)) && is_letter(i + 1);
        escaped.extend((MARKUP.contains(character) && !in_a_word).then_some('\\'));
        escaped.push(character);
    }
    escaped
}

/// Rows as a Markdown table, the first its header.
pub(super) fn pipes(rows: &[Vec<String>]) -> String {
    let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
    let rule = |row: &Vec<String>| format!("|{}\n", " --- |".repeat(row.len()));
    let header = rows.first().map(|row| line(row) + &rule(row));
    header.unwrap_or_default() + &rows.iter().skip(1).map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_no_markup() {
        assert_eq!(escaped("a-b.c x86_64"), "a-b.c x86_64");
        let image = "![x](http://y) | <b>`*_";
        assert_eq!(escaped(image), "\\!\\[x\\](http://y) \\| \\<b\\>\\`\\*\\_");
        assert_eq!(escaped("one\n# two\u{202e}"), "one\\\\n\\# two\\\\u{202e}");
    }
}
