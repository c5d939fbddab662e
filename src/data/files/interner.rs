//! Tokens numbered in the order in which they appear.

use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

/// Of each different token one copy. A number is below 2³²: so many tokens are more than memory holds.
#[derive(Debug, Default)]
pub(super) struct Interner {
    texts: Texts,
    /// The numbers of tokens of one character, by code point as far as there are any; [`NONE`] for none.
    characters: Vec<u32>,
    /// Those of the others.
    others: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// No number.
const NONE: u32 = u32::MAX;

/// The characters that are looked up by their code points: those of two bytes in UTF-16.
const CHARACTERS: usize = 1 << 16;

impl Interner {
    /// How many different tokens there are.
    pub(super) fn len(&self) -> usize {
        self.texts.ends.len()
    }

    /// The token `number`.
    pub(super) fn token(&self, number: usize) -> &str {
        self.texts.get(number)
    }

    /// The number of `token`, the next one if it is the first like this.
    pub(super) fn number(&mut self, token: &str) -> u32 {
        let Some(place) = code_point(token) else { return self.of_text(token) };
        match self.characters.get(place) {
            Some(&number) if number != NONE => number,
            _ => self.add_character(place, token),
        }
    }

    /// Forgets all tokens but the first `length`.
    pub(super) fn truncate(&mut self, length: usize) {
        while self.len() > length {
            let number = self.len() - 1;
            let token = self.texts.get(number);
            match code_point(token) {
                Some(place) => self.characters[place] = NONE,
                None => {
                    let hash = self.hasher.hash_one(token);
                    let same = |&other: &u32| other as usize == number;
                    if let Ok(found) = self.others.find_entry(hash, same) {
                        found.remove();
                    }
                }
            }
            self.texts.pop();
        }
    }

    /// Forgets how to find numbers; what is numbered stays.
    pub(super) fn finish(&mut self) {
        self.characters = Vec::new();
        self.others = HashTable::new();
        self.texts.text.shrink_to_fit();
        self.texts.ends.shrink_to_fit();
    }

    fn add_character(&mut self, place: usize, token: &str) -> u32 {
        if place >= self.characters.len() {
            self.characters.resize(place + 1, NONE);
        }
        self.characters[place] = self.texts.push(token);
        self.characters[place]
    }

    fn of_text(&mut self, token: &str) -> u32 {
        let Self { texts, others, hasher, .. } = self;
        let text = |number: &u32| texts.get(*number as usize);
        let hash = |text: &str| hasher.hash_one(text);
        let found =
            others.entry(hash(token), |other| text(other) == token, |other| hash(text(other)));
        match found {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(free) => *free.insert(texts.push(token)).get(),
        }
    }
}

/// The code point of `token`, if it is one character below [`CHARACTERS`].
fn code_point(token: &str) -> Option<usize> {
    if let [byte @ ..0x80] = token.as_bytes() {
        return Some(usize::from(*byte));
    }
    let mut characters = token.chars();
    let first = characters.next()? as usize;
    (first < CHARACTERS && characters.as_str().is_empty()).then_some(first)
}

/// Texts, one behind the other.
#[derive(Debug, Default)]
struct Texts {
    text: String,
    /// Where every [`STRIDE`]th begins.
    starts: Vec<usize>,
    /// Where each ends, counted from the last one of these.
    ends: Vec<u32>,
}

/// Texts between two whose places are whole numbers: of some megabytes each at most, as lines are.
const STRIDE: usize = 64;

impl Texts {
    fn get(&self, i: usize) -> &str {
        let base = self.starts[i / STRIDE];
        let start = if i.is_multiple_of(STRIDE) { 0 } else { self.ends[i - 1] };
        &self.text[base + start as usize..base + self.ends[i] as usize]
    }

    /// Adds one; returns its number.
    fn push(&mut self, text: &str) -> u32 {
        let number = self.ends.len();
        if number.is_multiple_of(STRIDE) {
            self.starts.push(self.text.len());
        }
        self.text.push_str(text);
        self.ends.push((self.text.len() - self.starts[number / STRIDE]) as u32);
        number as u32
    }

    /// Takes the last one away.
    fn pop(&mut self) {
        if let Some(last) = self.ends.len().checked_sub(1) {
            self.text.truncate(self.text.len() - self.get(last).len());
            self.ends.truncate(last);
            self.starts.truncate(last.div_ceil(STRIDE));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Different tokens of every kind.
    fn tokens() -> Vec<String> {
        let character = |code| char::from_u32(code).unwrap().to_string();
        let token = |i| match i % 4 {
            0 => format!("word {i}"),
            1 => character(0x4e00 + i),
            2 => character(0x1f300 + i),
            _ => character(i) + "\u{301}",
        };
        (0..1000).map(token).collect()
    }

    #[test]
    fn every_token_has_one_number_in_order_of_appearance() {
        let (mut interner, tokens) = (Interner::default(), tokens());
        for _ in 0..2 {
            assert!(tokens.iter().map(|token| interner.number(token)).eq(0..1000));
        }
        interner.finish();
        assert_eq!(interner.len(), 1000);
        assert!(tokens.iter().enumerate().all(|(i, token)| interner.token(i) == token));
    }

    #[test]
    fn the_last_tokens_can_be_forgotten() {
        let tokens = tokens();
        for kept in [0, 1, 63, 64, 65, 500] {
            let mut interner = Interner::default();
            tokens.iter().for_each(|token| _ = interner.number(token));
            interner.truncate(kept);
            assert_eq!(
                (interner.len(), interner.texts.starts.len()),
                (kept, kept.div_ceil(STRIDE))
            );
            // Of those behind, each has the number that is free next, whichever comes first.
            let again = tokens[..kept].iter().chain(tokens[kept..].iter().rev());
            assert!(again.map(|token| interner.number(token)).eq(0..1000));
            assert_eq!(interner.token(kept), tokens[999]);
        }
    }
}
