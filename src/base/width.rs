//! How much room text takes on a terminal, where a character is what its reader takes for one.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// The columns of `text`, which has no control characters: none for a combining mark, two for an
/// ideograph or a syllable of Hangul, composed or not.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// `text` with as many spaces behind it as fill up `columns` columns.
pub fn padded(text: &str, columns: usize) -> String {
    text.to_owned() + &" ".repeat(columns.saturating_sub(width(text)))
}

/// What a reader takes for the characters of `text`: Unicode's extended grapheme clusters.
pub fn graphemes(text: &str) -> Vec<&str> {
    text.graphemes(true).collect()
}

/// The longest beginning of `text` in at most `columns` columns that splits none of its [`graphemes`].
pub fn cut(text: &str, columns: usize) -> &str {
    let (mut end, mut left) = (0, columns);
    for grapheme in text.graphemes(true) {
        let Some(rest) = left.checked_sub(width(grapheme)) else { break };
        left = rest;
        end += grapheme.len();
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ㅎ, ㅏ and ㄴ, which make one syllable.
    const HAN: &str = "\u{1112}\u{1161}\u{11ab}";

    #[test]
    fn text_is_as_wide_as_a_terminal_shows_it() {
        for (text, columns) in [
            ("", 0),
            ("abc", 3),
            ("e\u{301}a\u{330}\u{306}", 2),
            ("日本", 4),
            ("한", 2),
            (HAN, 2),
            ("t͡ʃ", 2),
            ("…", 1),
        ] {
            assert_eq!(width(text), columns, "{text}");
            assert_eq!(width(&padded(text, 6)), 6, "{text}");
        }
        assert_eq!(padded("日本", 6), "日本  ");
        assert_eq!(padded("abc", 2), "abc");
    }

    #[test]
    fn no_character_is_cut_in_two() {
        let text = format!("e\u{301}{HAN}日👩\u{200d}🚀a");
        let beginnings: Vec<&str> = (0..9).map(|columns| cut(&text, columns)).collect();
        let [e, han, day, rocket] =
            [3, 3 + HAN.len(), 6 + HAN.len(), 17 + HAN.len()].map(|end| &text[..end]);
        assert_eq!(beginnings, ["", e, e, han, han, day, day, rocket, &text]);
        assert_eq!(graphemes(&text), ["e\u{301}", HAN, "日", "👩\u{200d}🚀", "a"]);
    }
}
