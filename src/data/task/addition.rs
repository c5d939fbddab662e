//! Addition: read "a+b" character by character, say the sum.

use std::collections::{BTreeMap, HashSet};
use std::iter::repeat;
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngExt;
use rand::seq::SliceRandom;

use super::checks::check_target;
use super::epoch::Draw;
use super::kind::{Follows, GivenNumber, Kind};
use crate::base::input::quoted;
use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Family, Invalid, MANY, within};

/// The id of "+"; those below it are the digits.
const PLUS: i64 = 10;
/// The id of the space that fills up questions and answers.
const SPACE: i64 = 11;

/// The most digits of a number to add, those of the published experiments.
const DIGITS: i64 = 5;
/// So few different questions that all of them are found at once.
const FEW: i64 = 10_000;

/// The numbers that are added, in the order in which they are written.
type Question = [u32; 2];

/// A fixed set of questions a seed, no two of the same numbers: some are trained on, every epoch in
/// a new order, the others are held out for validation and evaluation.
///
/// A source is "a+b" with spaces behind, written from right to left; its target is the sum with
/// spaces behind.
#[derive(Debug)]
pub(super) struct Addition {
    /// Most digits of a number.
    digits: u32,
    /// Questions that are trained on.
    samples: usize,
    /// Questions that are not.
    held_out: usize,
    /// The questions of every seed that was asked for, those to train on first.
    drawn: Mutex<BTreeMap<u64, Arc<[Question]>>>,
}

impl Kind for Addition {
    fn check(config: &Config) -> Result<(), Invalid> {
        check_target(config)?;
        check_sizes(config)?;
        check_model(config)?;
        check_questions(config)
    }

    fn new(config: &Config) -> Self {
        Self {
            digits: config.n_out as u32 - 1,
            samples: config.samples.unwrap_or(0) as usize,
            held_out: config.evaluation_samples as usize,
            drawn: Mutex::default(),
        }
    }

    fn idle(config: &Config) -> Option<Invalid> {
        let (held_out, more) = (config.evaluation_samples, config.validation_samples);
        let invalid = Invalid::new("validation_samples", more, format!("1 to {held_out}"));
        let why = ", the questions held out (--evaluation-samples)";
        (more > held_out).then(|| invalid.because(why))
    }

    fn follow(given: &GivenNumber<'_>, preset: &Config) -> Vec<Follows> {
        let n_in = given("n_out").map(|n_out| n_out.saturating_mul(2).saturating_sub(1));
        let held_out = given("evaluation_samples");
        let validated = held_out.map(|held_out| held_out.min(preset.validation_samples));
        let n_in = n_in.map(|n_in| ("n_in", n_in, "--n-out"));
        let validated = validated.map(|n| ("validation_samples", n, "--evaluation-samples"));
        n_in.into_iter().chain(validated).collect()
    }

    fn samples_per_epoch(&self) -> usize {
        self.samples
    }

    fn held_out(&self, _: Purpose) -> Option<usize> {
        Some(self.held_out)
    }

    fn fixes(&self, field: &str) -> bool {
        ["vocab", "n_in"].contains(&field)
    }

    fn ids_kept(&self) -> usize {
        self.samples + self.held_out
    }

    /// The training questions in the epoch's order.
    fn ids_of_an_epoch(&self) -> usize {
        self.samples
    }

    /// The seed's training questions in the order that the epoch's position of the training stream
    /// gives, or those held out, always in the same order.
    fn epoch(&self, seed: u64, purpose: Purpose, epoch: u64) -> Draw<'_> {
        let all = self.questions(seed);
        let (training, held_out) = all.split_at(self.samples);
        let questions = if purpose == Purpose::Training {
            let mut training = training.to_vec();
            training.shuffle(&mut Stream::new(seed, purpose).at(epoch));
            training
        } else {
            held_out.to_vec()
        };
        Draw::Ids(Box::new(move |index, source, target| {
            let [a, b] = questions[index];
            write(&format!("{a}+{b}"), source.iter_mut().rev());
            write(&(a + b).to_string(), target.iter_mut());
            [source.len(), target.len()]
        }))
    }

    fn question(&self) -> Option<&'static str> {
        Some("a question such as 1+2")
    }

    /// No ids can be taken for a question.
    fn read(&self, text: &str) -> Option<Result<Vec<i64>, String>> {
        text.contains('+').then(|| question(text, self.digits as usize))
    }

    fn source(&self, ids: &[i64]) -> String {
        read(ids.iter().rev())
    }

    fn target(&self, ids: &[i64]) -> String {
        read(ids.iter())
    }
}

/// Sizes and ids of sums that are written as characters.
fn check_sizes(config: &Config) -> Result<(), Invalid> {
    if !(2..=DIGITS + 1).contains(&config.n_out) {
        let sum = ", a digit more than each of the numbers that task addition adds";
        let invalid = Invalid::new("n_out", config.n_out, format!("2 to {}", DIGITS + 1));
        return Err(invalid.because(sum));
    }
    let source = "so that a source holds two numbers of a digit less than --n-out and a +";
    let ids = "since task addition has the digits as ids 0 to 9, + as 10 and the space as 11";
    for (field, found, expected, why) in [
        ("n_in", config.n_in, 2 * config.n_out - 1, source),
        ("vocab", config.vocab, 12, ids),
        ("id_min", config.id_min, 0, ids),
        ("id_max", config.id_max, 11, ids),
    ] {
        if found != expected {
            let invalid = Invalid::new(field, found, expected.to_string());
            return Err(invalid.because(format!(", {why}")));
        }
    }
    Ok(())
}

/// Models that can add.
fn check_model(config: &Config) -> Result<(), Invalid> {
    if config.family != Family::RepeatVector {
        let why = ": in task addition a sum is shorter than its question (lstm) and no id is \
                   left to start a decoder (teacher_forced)";
        return Err(Invalid::new("family", config.family, "repeat_vector").because(why));
    }
    if config.stateful {
        let why = ": no question of task addition continues another";
        return Err(Invalid::new("stateful", true, "false").because(why));
    }
    Ok(())
}

/// So many different questions are found within a second. They are drawn until there are enough,
/// and the more are there already, the rarer is another: a few thousand are all soon found,
/// but of the half million of 3 digits the last fifth takes longer than the rest.
fn check_questions(config: &Config) -> Result<(), Invalid> {
    let numbers = 10_i64.pow(config.n_out as u32 - 1);
    let different = numbers * (numbers + 1) / 2;
    let soon = if different <= FEW { different } else { different / 5 * 4 };
    let most = soon.min(MANY);
    let held_out = config.evaluation_samples;
    within("evaluation_samples", held_out, 1, most - 1)?;
    match config.samples {
        Some(samples) if samples > most - held_out => {
            let left = format!("1 to {}", most - held_out);
            Err(Invalid::new("samples", samples, left).because(format!(
                ": task addition draws at most {most} questions, of which \
                 --evaluation-samples {held_out} are held out"
            )))
        }
        _ => Ok(()),
    }
}

impl Addition {
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

/// The ids of the question `text`, such as `12+3`, or an error if it is no sum of two numbers of up to
/// `digits` digits.
fn question(text: &str, digits: usize) -> Result<Vec<i64>, String> {
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
    let mut ids = vec![SPACE; 2 * digits + 1];
    write(&format!("{}+{}", number(a)?, number(b)?), ids.iter_mut().rev());
    Ok(ids)
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
        Addition { digits, samples, held_out, drawn: Mutex::default() }
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
        let addition = addition(3, 1, 1);
        let ids = question("12+3", 3).unwrap();
        assert_eq!(ids, [SPACE, SPACE, SPACE, 3, PLUS, 2, 1]);
        assert_eq!(addition.source(&ids), "12+3");
        assert_eq!(question(" 012 + 003\r\n", 3).unwrap(), ids, "as it is trained on");
        assert_eq!(addition.target(&[1, 5, SPACE, SPACE]), "15");
        assert_eq!(addition.target(&[1, SPACE, PLUS, SPACE]), "1 +", "whatever the model says");
        for (text, word) in [("1+", ""), ("+2", ""), ("12", ""), ("1+2+3", "2+3"), ("1+-2", "-2")] {
            let says = format!("'{word}' is no number: expected 1 to 3 digits on each side of +");
            assert_eq!(question(text, 3).unwrap_err(), says);
        }
        for text in ["1234+1", "0001+1", "1+99999999999999999999", "١+١", "1 2+3"] {
            assert!(question(text, 3).is_err(), "{text}");
        }
    }

    #[test]
    fn questions_are_drawn_once() {
        let addition = addition(2, 30, 20);
        assert!(Arc::ptr_eq(&addition.questions(3), &addition.questions(3)));
        assert_ne!(addition.questions(3), addition.questions(4));
    }

    /// Published results depend on these numbers: a library update must not move them unnoticed.
    #[test]
    fn questions_and_their_order_are_what_they_always_were() {
        let addition = addition(3, 4, 2);
        let questions = [[988, 251], [66, 6], [886, 0], [2, 1], [3, 49], [8, 7]];
        assert_eq!(*addition.questions(7), questions);
        let Draw::Ids(draw) = addition.epoch(7, Purpose::Training, 3) else { unreachable!() };
        let answers = [0, 1, 2, 3].map(|index| {
            let mut target = [0; 4];
            draw(index, &mut [0; 7], &mut target);
            target
        });
        let sums = [[3, SPACE, SPACE, SPACE], [8, 8, 6, SPACE], [7, 2, SPACE, SPACE], [1, 2, 3, 9]];
        assert_eq!(answers, sums);
    }
}
