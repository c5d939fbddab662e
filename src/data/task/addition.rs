//! Addition: read "a+b" character by character, say the sum.

use std::collections::{BTreeMap, HashSet};
use std::iter::repeat;
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngExt;
use rand::seq::SliceRandom;

use super::Draw;
use crate::base::input::quoted;
use crate::base::rng::{Purpose, Stream};

/// The id of "+"; those below it are the digits.
const PLUS: i64 = 10;
/// The id of the space that fills up questions and answers.
const SPACE: i64 = 11;

/// The numbers that are added, in the order in which they are written.
type Question = [u32; 2];

/// A fixed set of questions a seed, no two of the same numbers: some are trained on, every epoch in
/// a new order, the others are held out for validation and evaluation.
///
/// A source is "a+b" with spaces behind, written from right to left; its target is the sum with
/// spaces behind.
#[derive(Debug, Clone)]
pub(super) struct Addition {
    /// Most digits of a number.
    pub digits: u32,
    /// Questions that are trained on.
    pub samples: usize,
    /// Questions that are not.
    pub held_out: usize,
    /// The questions of every seed that was asked for, those to train on first.
    pub drawn: Arc<Mutex<BTreeMap<u64, Arc<[Question]>>>>,
}

impl Addition {
    /// Epoch `epoch` of the seed: its training questions in the order that the epoch's position of
    /// the training stream gives, or those held out, always in the same order.
    pub fn epoch(&self, seed: u64, purpose: Purpose, epoch: u64) -> Draw<'_> {
        let all = self.questions(seed);
        let (training, held_out) = all.split_at(self.samples);
        let questions = if purpose == Purpose::Training {
            let mut training = training.to_vec();
            training.shuffle(&mut Stream::new(seed, purpose).at(epoch));
            training
        } else {
            held_out.to_vec()
        };
        Box::new(move |index, source, target| {
            let [a, b] = questions[index];
            write(&format!("{a}+{b}"), source.iter_mut().rev());
            write(&(a + b).to_string(), target.iter_mut());
        })
    }

    /// The questions of `seed`, drawn when they are first asked for.
    fn questions(&self, seed: u64) -> Arc<[Question]> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.entry(seed).or_insert_with(|| self.draw(seed)).clone()
    }

    /// Draws numbers of 1 to `digits` digits, each length as likely, and leaves out a pair that was
    /// there before in either order. What is found late is rare, hence long: a shuffle ends that
    /// order.
    fn draw(&self, seed: u64) -> Arc<[Question]> {
        let mut generator = Stream::new(seed, Purpose::Examples).at(0);
        let count = self.samples + self.held_out;
        let mut seen = HashSet::with_capacity(count);
        let mut questions = Vec::with_capacity(count);
        while questions.len() < count {
            let [a, b] = [(); 2].map(|()| {
                let digits = generator.random_range(1..=self.digits);
                generator.random_range(0..10u32.pow(digits))
            });
            if seen.insert([a.min(b), a.max(b)]) {
                questions.push([a, b]);
            }
        }
        questions.shuffle(&mut generator);
        questions.into()
    }
}

/// The ids of the question `text`, such as `12+3`, for a model that reads `n_in` ids.
///
/// # Errors
/// If it is no sum of two numbers, or one has more digits than the model reads.
pub fn question(text: &str, n_in: usize) -> Result<Vec<i64>, String> {
    let digits = n_in / 2;
    let number = |word: &str| {
        let word = word.trim();
        let digit = |byte: u8| byte.is_ascii_digit();
        let parsed = word.bytes().all(digit).then(|| word.parse::<u32>().ok()).flatten();
        parsed.filter(|_| word.len() <= digits).ok_or_else(|| {
            format!(
                "'{}' is no number: expected 1 to {digits} digits on each side of +",
                quoted(word)
            )
        })
    };
    let (a, b) = text.split_once('+').unwrap_or((text, ""));
    let mut ids = vec![SPACE; n_in];
    write(&format!("{}+{}", number(a)?, number(b)?), ids.iter_mut().rev());
    Ok(ids)
}

/// The text of a question's ids.
pub fn question_text(ids: &[i64]) -> String {
    read(ids.iter().rev())
}

/// The text of an answer's ids.
pub fn answer_text(ids: &[i64]) -> String {
    read(ids.iter())
}

/// The characters of `ids` but for the spaces behind them.
fn read<'a>(ids: impl Iterator<Item = &'a i64>) -> String {
    let character = |&id: &i64| match id {
        PLUS => '+',
        SPACE => ' ',
        digit => u32::try_from(digit).ok().and_then(|d| char::from_digit(d, 10)).unwrap_or('?'),
    };
    ids.map(character).collect::<String>().trim_end().to_owned()
}

/// Writes the ids of `text` and of spaces behind it to `places`.
fn write<'a>(text: &str, places: impl Iterator<Item = &'a mut i64>) {
    for (place, character) in places.zip(text.bytes().chain(repeat(b' '))) {
        *place = match character {
            b' ' => SPACE,
            b'+' => PLUS,
            digit => i64::from(digit - b'0'),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addition(digits: u32, samples: usize, held_out: usize) -> Addition {
        Addition { digits, samples, held_out, drawn: Arc::default() }
    }

    #[test]
    fn a_question_is_written_backwards_and_its_answer_is_not() {
        let mut ids = [0; 7];
        write("12+3", ids.iter_mut().rev());
        assert_eq!(ids, [SPACE, SPACE, SPACE, 3, PLUS, 2, 1]);
        write("905", ids.iter_mut());
        assert_eq!(ids, [9, 0, 5, SPACE, SPACE, SPACE, SPACE]);
    }

    #[test]
    fn questions_and_answers_are_read_as_they_are_written() {
        let ids = question("12+3", 7).unwrap();
        assert_eq!(ids, [SPACE, SPACE, SPACE, 3, PLUS, 2, 1]);
        assert_eq!(question_text(&ids), "12+3");
        assert_eq!(question(" 012 + 003\r\n", 7).unwrap(), ids, "as it is trained on");
        assert_eq!(answer_text(&[1, 5, SPACE, SPACE]), "15");
        assert_eq!(answer_text(&[1, SPACE, PLUS, SPACE]), "1 +", "whatever the model says");
        for (text, word) in [("1+", ""), ("+2", ""), ("12", ""), ("1+2+3", "2+3"), ("1+-2", "-2")] {
            let says = format!("'{word}' is no number: expected 1 to 3 digits on each side of +");
            assert_eq!(question(text, 7).unwrap_err(), says);
        }
        for text in ["1234+1", "0001+1", "1+99999999999999999999", "١+١", "1 2+3"] {
            assert!(question(text, 7).is_err(), "{text}");
        }
    }

    #[test]
    fn questions_are_drawn_once_for_all_clones() {
        let one = addition(2, 30, 20);
        let other = one.clone();
        assert!(Arc::ptr_eq(&one.questions(3), &other.questions(3)));
        assert_ne!(one.questions(3), one.questions(4));
    }

    /// Published results depend on these numbers: a library update must not move them unnoticed.
    #[test]
    fn questions_and_their_order_are_what_they_always_were() {
        let addition = addition(3, 4, 2);
        let questions = [[988, 251], [66, 6], [886, 0], [2, 1], [3, 49], [8, 7]];
        assert_eq!(*addition.questions(7), questions);
        let draw = addition.epoch(7, Purpose::Training, 3);
        let answers = [0, 1, 2, 3].map(|index| {
            let mut target = [0; 4];
            draw(index, &mut [0; 7], &mut target);
            target
        });
        let sums = [[3, SPACE, SPACE, SPACE], [8, 8, 6, SPACE], [7, 2, SPACE, SPACE], [1, 2, 3, 9]];
        assert_eq!(answers, sums);
    }
}
