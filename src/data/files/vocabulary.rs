//! Which id stands for which token.

use std::collections::HashMap;

use super::tokens::number;
use crate::base::input::quoted;
use crate::config::TEXT_START;

/// The id of what follows a sequence that is shorter than others.
pub const PADDING: i64 = 0;
/// The id that a decoder reads before it has said anything.
pub const START: i64 = TEXT_START;
/// The id that ends a sequence.
pub const END: i64 = 2;
/// The id of every token that the vocabulary lacks.
pub const UNKNOWN: i64 = 3;
/// The id of the first token.
pub const FIRST: i64 = 4;

/// How the ids before [`FIRST`] are written. A token may be written alike; it has an id of its own.
const NAMES: [&str; FIRST as usize] = ["<padding>", "<start>", "<end>", "<unknown>"];

/// Tokens, each with its id, from [`FIRST`] on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    tokens: Vec<Box<str>>,
    ids: HashMap<Box<str>, i64>,
}

impl Vocabulary {
    /// The vocabulary of these tokens, which may come more than once. They are in the order of their
    /// code points, or, if all are whole numbers, of their values.
    pub fn new<'a>(tokens: impl Iterator<Item = &'a str>) -> Self {
        let mut tokens: Vec<&str> = tokens.collect();
        tokens.sort_unstable();
        tokens.dedup();
        if tokens.iter().all(|token| number(token).is_some()) {
            tokens.sort_by_key(|token| number(token));
        }
        let ids = tokens.iter().zip(FIRST..).map(|(&token, id)| (token.into(), id)).collect();
        Self { tokens: tokens.into_iter().map(Box::from).collect(), ids }
    }

    /// How many ids there are, with those before [`FIRST`].
    pub fn len(&self) -> usize {
        NAMES.len() + self.tokens.len()
    }

    /// Whether it has no token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The id of `token`, [`UNKNOWN`] if it has none.
    pub fn id(&self, token: &str) -> i64 {
        self.ids.get(token).copied().unwrap_or(UNKNOWN)
    }

    /// The token `id`; what stands for one before [`FIRST`]; that of [`UNKNOWN`] for what is no id.
    pub fn token(&self, id: i64) -> &str {
        let place = usize::try_from(id).unwrap_or(usize::MAX);
        match NAMES.get(place) {
            Some(name) => name,
            None => self.tokens.get(place - NAMES.len()).map_or(NAMES[UNKNOWN as usize], |t| t),
        }
    }

    /// As a file: a token a line, the token `id` in line `id` + 1.
    pub fn to_text(&self) -> String {
        let tokens = self.tokens.iter().map(|token| &**token);
        NAMES.into_iter().chain(tokens).flat_map(|token| [token, "\n"]).collect()
    }

    /// The vocabulary whose [`Vocabulary::to_text`] is `bytes`.
    ///
    /// # Errors
    /// If it is none; the line is named.
    pub fn from_text(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let before = &bytes[..e.valid_up_to()];
            let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
            format!("line {line}: not UTF-8")
        })?;
        let whole = text.strip_suffix('\n');
        let mut lines =
            whole.ok_or("the last line has no end: it was not written to its end")?.split('\n');
        for (i, name) in NAMES.iter().enumerate() {
            let line = lines.next().unwrap_or_default();
            if line != *name {
                return Err(format!("line {}: '{}': expected {name}", i + 1, quoted(line)));
            }
        }
        let mut read = Self { tokens: Vec::new(), ids: HashMap::new() };
        for (token, id) in lines.zip(FIRST..) {
            if token.is_empty() {
                return Err(format!("line {}: empty: expected a token", id + 1));
            }
            if let Some(other) = read.ids.insert(token.into(), id) {
                let token = quoted(token);
                return Err(format!("line {}: '{token}' is in line {} too", id + 1, other + 1));
            }
            read.tokens.push(token.into());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const HEAD: &str = "<padding>\n<start>\n<end>\n<unknown>\n";

    fn vocabulary(tokens: &[&str]) -> Vocabulary {
        Vocabulary::new(tokens.iter().copied())
    }

    #[test]
    fn tokens_are_numbered_in_order_whatever_theirs_was() {
        let letters = vocabulary(&["b", "é", "a", " ", "b", "\u{10348}", "\u{ff5e}", "B"]);
        assert_eq!(letters.to_text(), format!("{HEAD} \nB\na\nb\né\n\u{ff5e}\n\u{10348}\n"));
        let numbers = vocabulary(&["10", "9", "-3", "0", "9"]);
        assert_eq!(numbers.to_text(), format!("{HEAD}-3\n0\n9\n10\n"));
        let mixed = vocabulary(&["10", "9", "x"]);
        assert_eq!(mixed.to_text(), format!("{HEAD}10\n9\nx\n"));
        assert_eq!(vocabulary(&[]).to_text(), HEAD);
        assert!(vocabulary(&[]).is_empty() && !letters.is_empty());
    }

    #[test]
    fn ids_and_tokens_are_each_other_s() {
        let words = vocabulary(&["b", "a", "<start>"]);
        assert_eq!(words.len(), 7);
        for (id, token) in [(4, "<start>"), (5, "a"), (6, "b")] {
            assert_eq!((words.id(token), words.token(id)), (id, token));
        }
        assert_eq!([words.id("c"), words.id("<end>"), words.id("")], [UNKNOWN; 3]);
        let special = [PADDING, START, END, UNKNOWN].map(|id| words.token(id));
        assert_eq!(special, ["<padding>", "<start>", "<end>", "<unknown>"]);
        assert_eq!([-1, 7, i64::MAX].map(|id| words.token(id)), ["<unknown>"; 3]);
    }

    #[test]
    fn what_is_no_vocabulary_is_refused_with_its_line() {
        for (text, says) in [
            (b"".to_vec(), "the last line has no end: it was not written to its end"),
            (
                format!("{HEAD}a\nb").into(),
                "the last line has no end: it was not written to its end",
            ),
            (b"<padding>\n<start>\n".to_vec(), "line 3: '': expected <end>"),
            (HEAD.replace("<end>", "</s>\u{1b}").into(), "line 3: '</s>\\u{1b}': expected <end>"),
            (HEAD.replace('\n', "\r\n").into(), "line 1: '<padding>\\r': expected <padding>"),
            (format!("{HEAD}a\n\nb\n").into(), "line 6: empty: expected a token"),
            (format!("{HEAD}a\nb\na\n").into(), "line 7: 'a' is in line 5 too"),
            ([HEAD.as_bytes(), b"a\n\xff\n"].concat(), "line 6: not UTF-8"),
        ] {
            assert_eq!(Vocabulary::from_text(&text).unwrap_err(), says);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn vocabularies_are_read_as_they_were_written(tokens in vec("[^\n]{1,3}|[0-9]{1,2}", 0..20)) {
            let written = Vocabulary::new(tokens.iter().map(String::as_str));
            let text = written.to_text();
            let read = Vocabulary::from_text(text.as_bytes()).unwrap();
            prop_assert_eq!(&read, &written);
            for (line, id) in text.strip_suffix('\n').unwrap().split('\n').zip(0..) {
                prop_assert_eq!(read.token(id), line);
                prop_assert!(id < FIRST || read.id(line) == id);
            }
        }
    }

    #[test]
    fn tokens_that_look_like_line_ends_are_kept() {
        let tokens = [" ", "\r", "\u{b}", "\u{85}", "\u{2028}", "\u{2029}", "\u{feff}"];
        let read = Vocabulary::from_text(vocabulary(&tokens).to_text().as_bytes()).unwrap();
        assert_eq!(read.len(), NAMES.len() + tokens.len());
        assert!(tokens.iter().all(|token| read.token(read.id(token)) == *token));
    }
}
