//! Texts cut into tokens, and put together again.

use std::borrow::Cow;

use caseless::Caseless;
use unicode_normalization::{UnicodeNormalization, is_nfc, is_nfd};
use unicode_segmentation::UnicodeSegmentation;

use crate::base::input::quoted;
use crate::config::{Normalization, Tokens};

/// What makes tokens of a text. No token is empty or has a line feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokenizer {
    tokens: Tokens,
    normalization: Normalization,
}

impl Tokenizer {
    /// One that normalises a text and then cuts it into `tokens`.
    pub const fn new(tokens: Tokens, normalization: Normalization) -> Self {
        Self { tokens, normalization }
    }

    /// What the tokens are.
    pub fn tokens(&self) -> Tokens {
        self.tokens
    }

    /// Hands out the tokens of `text`, a line, one after the other. Ids are written as numbers are: the
    /// token of `007` is `7`.
    ///
    /// # Errors
    /// If it has a line feed; of ids, if what stands between white space is no whole number.
    pub fn each(&self, text: &str, take: &mut dyn FnMut(&str)) -> Result<(), String> {
        self.cut(text, take)
    }

    /// [`Tokenizer::each`], compiled for `take`.
    pub(super) fn cut(&self, text: &str, mut take: impl FnMut(&str)) -> Result<(), String> {
        if text.contains('\n') {
            return Err("a text of several lines: expected one".to_owned());
        }
        let text = self.normalized(text);
        match self.tokens {
            Tokens::Characters => each_character(&text, take),
            // Of ASCII only a carriage return with a line feed are one grapheme.
            Tokens::Graphemes if text.is_ascii() => each_character(&text, take),
            Tokens::Graphemes => text.graphemes(true).for_each(take),
            Tokens::Words => text.split_whitespace().for_each(take),
            Tokens::Ids => {
                for word in text.split_whitespace() {
                    take(&id(word)?);
                }
            }
        }
        Ok(())
    }

    /// The text that has these tokens: words and ids with a space between them.
    pub fn join<'a>(&self, tokens: impl Iterator<Item = &'a str>) -> String {
        let between = match self.tokens {
            Tokens::Characters | Tokens::Graphemes => "",
            Tokens::Words | Tokens::Ids => " ",
        };
        let mut text = String::new();
        for (i, token) in tokens.enumerate() {
            text.push_str(if i > 0 { between } else { "" });
            text.push_str(token);
        }
        text
    }

    /// `text` normalised; itself where that changes nothing.
    pub fn normalized<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.normalization {
            Normalization::None => text.into(),
            Normalization::Nfc if text.is_ascii() || is_nfc(text) => text.into(),
            Normalization::Nfc => text.nfc().collect(),
            Normalization::Nfd if text.is_ascii() || is_nfd(text) => text.into(),
            Normalization::Nfd => text.nfd().collect(),
            Normalization::Casefold if !text.is_ascii() => {
                // Decomposed first, as the Unicode Standard has it (section 3.13, D145): U+0345 folds
                // to a letter.
                text.nfd().default_case_fold().nfc().collect()
            }
            Normalization::Casefold if text.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                text.to_ascii_lowercase().into()
            }
            Normalization::Casefold => text.into(),
        }
    }
}

fn each_character(text: &str, mut take: impl FnMut(&str)) {
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (character, behind) = rest.split_at(first.len_utf8());
        take(character);
        rest = behind;
    }
}

/// Digits that are a number whatever they are.
const FEW: usize = 18;

/// The whole number `word`, written as such.
fn id(word: &str) -> Result<Cow<'_, str>, String> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    if digits && word.len() <= FEW && (!word.starts_with('0') || word == "0") {
        return Ok(word.into());
    }
    match number(word) {
        Some(number) => Ok(number.to_string().into()),
        None => {
            Err(format!("'{}' is no whole number, of at most 64 bits with its sign", quoted(word)))
        }
    }
}

/// The whole number that `token` is.
pub(super) fn number(token: &str) -> Option<i64> {
    token.parse().ok()
}

/// What the tokens of such texts most likely are: ids if they are whole numbers, in one of them two or
/// more; words if most have white space between others; otherwise characters. Blank texts do not count.
pub fn guess<'a>(texts: impl Iterator<Item = &'a str>) -> Tokens {
    let (mut all, mut spaced, mut ids) = (0, 0, true);
    for text in texts.map(str::trim).filter(|text| !text.is_empty()) {
        all += 1;
        spaced += usize::from(text.contains(char::is_whitespace));
        ids = ids && text.split_whitespace().all(|word| number(word).is_some());
    }
    match spaced {
        1.. if ids => Tokens::Ids,
        _ if 2 * spaced > all => Tokens::Words,
        _ => Tokens::Characters,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::select;

    const TOKENS: [Tokens; 4] = [Tokens::Characters, Tokens::Graphemes, Tokens::Words, Tokens::Ids];
    const NORMALIZATIONS: [Normalization; 4] =
        [Normalization::None, Normalization::Nfc, Normalization::Nfd, Normalization::Casefold];

    fn cut(tokenizer: Tokenizer, text: &str) -> Result<Vec<String>, String> {
        let mut tokens = Vec::new();
        tokenizer.each(text, &mut |token| tokens.push(token.to_owned()))?;
        Ok(tokens)
    }

    #[test]
    fn a_text_is_cut_into_what_is_asked_for() {
        for (tokens, text, expected) in [
            (Tokens::Characters, "a e\u{301}", vec!["a", " ", "e", "\u{301}"]),
            (
                Tokens::Graphemes,
                "a e\u{301}👩\u{200d}🚀\r",
                vec!["a", " ", "e\u{301}", "👩\u{200d}🚀", "\r"],
            ),
            (Tokens::Graphemes, "ab\r", vec!["a", "b", "\r"]),
            (Tokens::Words, " one\u{3000}two  three", vec!["one", "two", "three"]),
            (Tokens::Ids, "0 12\t-7 007 +5", vec!["0", "12", "-7", "7", "5"]),
            (Tokens::Words, " \t", vec![]),
        ] {
            let tokenizer = Tokenizer::new(tokens, Normalization::None);
            assert_eq!(cut(tokenizer, text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_id_is_told() {
        let ids = Tokenizer::new(Tokens::Ids, Normalization::None);
        for word in ["x\u{1b}", "1.5", "٣", "99999999999999999999"] {
            let told = cut(ids, &format!("3 {word} 4")).unwrap_err();
            let shown = quoted(word);
            assert_eq!(
                told,
                format!("'{shown}' is no whole number, of at most 64 bits with its sign")
            );
        }
        assert_eq!(cut(ids, "9223372036854775807").unwrap(), ["9223372036854775807"]);
        for tokens in TOKENS {
            let told = cut(Tokenizer::new(tokens, Normalization::None), "1\n2").unwrap_err();
            assert_eq!(told, "a text of several lines: expected one");
        }
    }

    #[test]
    fn normalization_is_unicode_s() {
        for (normalization, text, expected) in [
            (Normalization::None, "É한", "É한"),
            (Normalization::Nfc, "E\u{301}\u{1112}\u{1161}\u{11ab}", "É한"),
            (Normalization::Nfd, "É한", "E\u{301}\u{1112}\u{1161}\u{11ab}"),
            (Normalization::Casefold, "Straße ΣΊΣΥΦΟΣ É", "strasse σίσυφοσ é"),
            (Normalization::Casefold, "AbC", "abc"),
            // U+0345 is set behind the accent before it becomes a letter.
            (Normalization::Casefold, "\u{3b1}\u{345}\u{301}", "\u{3ac}\u{3b9}"),
        ] {
            let tokenizer = Tokenizer::new(Tokens::Characters, normalization);
            assert_eq!(tokenizer.normalized(text), expected, "{text}");
        }
    }

    #[test]
    fn tokens_are_guessed_from_texts() {
        for (texts, expected) in [
            (vec!["3 1 4", "1", " 5 "], Tokens::Ids),
            (vec!["31", "42"], Tokens::Characters),
            (vec!["3 1", "x"], Tokens::Characters),
            (vec!["a b", "c d", "e"], Tokens::Words),
            (vec!["3 1", "c d", "1 x"], Tokens::Words),
            (vec!["a b", "c "], Tokens::Characters),
            (vec!["", "a b", " "], Tokens::Words),
            (vec![], Tokens::Characters),
        ] {
            assert_eq!(guess(texts.iter().copied()), expected, "{texts:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn what_is_put_together_is_cut_into_the_same(
            text in "[\\PC \\t\\r]{0,40}",
            numbers in proptest::collection::vec(any::<i64>(), 0..5),
            tokens in select(TOKENS.to_vec()),
            normalization in select(NORMALIZATIONS.to_vec()),
        ) {
            let tokenizer = Tokenizer::new(tokens, normalization);
            let text = match tokens {
                Tokens::Ids => numbers.iter().map(i64::to_string).collect::<Vec<_>>().join("  "),
                _ => text,
            };
            let cut_once = cut(tokenizer, &text).unwrap();
            let joined = tokenizer.join(cut_once.iter().map(String::as_str));
            prop_assert_eq!(cut(tokenizer, &joined).unwrap(), cut_once.clone());
            prop_assert!(cut_once.iter().all(|token| !token.is_empty()));
            if matches!(tokens, Tokens::Characters | Tokens::Graphemes) {
                prop_assert_eq!(joined, tokenizer.normalized(&text));
            }
        }
    }
}
