//! Word and phone error rates as the SIGMORPHON 2020 shared task on pronunciations has them, computed
//! from text by code of its own, beside what an evaluation counts of ids.
//!
//! A word is wrong unless its phones are exactly the gold ones; the phone error rate is the sum of the
//! words' edit distances over the sum of the gold lengths. Both are per cents with two decimals; those
//! of several languages are averaged with equal weights.
//!
//! Checked against the organisers' scorer (repository sigmorphon/2020, task1/evaluation/evaluate.py and
//! evallib.py of commit 0909852): both rates of 2,000 random files, FILES below among them. WER was the
//! same in all, and so was PER by [`published_distance`], to the last digit that is printed. By the
//! definition, PER is sometimes higher: their table of distances begins with 1 in all cells of its first
//! row and column, where the distance is the number of tokens, so that any number of phones that are
//! missing or too many before a word's first counts as one. (It also keeps distances in a byte.)

mod common;

use std::collections::HashMap;

use common::Lab;
use proptest::collection::vec;
use proptest::prelude::*;
use seqlab::train::score::{Scoring, Tally};
use serde_json::Value;

const END: i64 = 0;
const UNKNOWN: i64 = 9;
const SCORING: Scoring = Scoring { end: Some(END), unknown: Some(UNKNOWN), is_text: true };

/// Files of gold phones and answers, with the WER and the PER that the organisers' scorer printed.
const FILES: [(&str, &str, &str); 3] = [
    ("a b c\ta b c\nd e\td a\nf\tf g\na\t\nb a b\ta b\n", "80.00", "40.00"),
    ("a b\ta c b\nb c d\tb d\nk l m n\tk m l n\nx y\tx y\n", "75.00", "36.36"),
    ("a b c d\td\nb c\ta a a b c\nc c c\tc c c\n", "66.67", "22.22"),
];

/// Phones of a gold and an answered word.
type Word<'a> = [Vec<&'a str>; 2];

fn words(file: &str) -> Vec<Word<'_>> {
    file.lines().map(word).collect()
}

fn word(line: &str) -> Word<'_> {
    let (gold, said) = line.split_once('\t').unwrap();
    [gold, said].map(|text| text.split_whitespace().collect())
}

/// The fewest insertions, deletions and substitutions that make `a` into `b`: by the first of each.
fn distance(a: &[&str], b: &[&str]) -> usize {
    fn of(a: &[&str], b: &[&str], known: &mut HashMap<(usize, usize), usize>) -> usize {
        let ([first, rest @ ..], [said, others @ ..]) = (a, b) else { return a.len() + b.len() };
        if let Some(distance) = known.get(&(a.len(), b.len())) {
            return *distance;
        }
        let substituted = usize::from(first != said) + of(rest, others, known);
        let distance = substituted.min(1 + of(rest, b, known)).min(1 + of(a, others, known));
        known.insert((a.len(), b.len()), distance);
        distance
    }
    of(a, b, &mut HashMap::new())
}

/// The same where any number of phones missing or too many at the very beginning counts as one.
fn published_distance(a: &[&str], b: &[&str]) -> usize {
    let without = |from: usize| 1 + distance(&a[from..], b);
    let instead = |from: usize| 1 + distance(a, &b[from..]);
    let one_less = (1..=a.len()).map(without).chain((1..=b.len()).map(instead)).min();
    distance(a, b).min(one_less.unwrap_or(usize::MAX))
}

/// WER and PER by `distance`, in per cent.
fn rates(words: &[Word<'_>], distance: fn(&[&str], &[&str]) -> usize) -> [f64; 2] {
    let wrong = words.iter().filter(|[gold, said]| gold != said).count();
    let edits: usize = words.iter().map(|[gold, said]| distance(gold, said)).sum();
    let length: usize = words.iter().map(|[gold, _]| gold.len()).sum();
    [wrong as f64 / words.len() as f64, edits as f64 / length as f64].map(|rate| 100.0 * rate)
}

/// WER and PER that an evaluation says of these ids, of targets with their ends beside answers.
fn evaluated(rows: &[[Vec<i64>; 2]]) -> [f64; 2] {
    let mut tally = Tally::new(SCORING);
    rows.iter().for_each(|[expected, predicted]| tally.add(expected, predicted));
    let evaluation = tally.evaluation();
    let exact = evaluation.sequence_accuracy.unwrap();
    [1.0 - exact, evaluation.symbol_error_rate.unwrap()].map(|rate| 100.0 * rate)
}

/// Phones as ids from 1, with the end.
fn ids(phones: &[&str]) -> Vec<i64> {
    let id = |phone: &&str| i64::from(phone.as_bytes()[0]);
    phones.iter().map(id).chain([END]).collect()
}

/// A word's ids with the end, and a model's answer, which may have no room for its own end.
fn row() -> impl Strategy<Value = [Vec<i64>; 2]> {
    let phone = || prop_oneof![4 => 1..4i64, 1 => Just(UNKNOWN)];
    (vec(phone(), 1..8), vec(phone(), 0..8), any::<bool>(), 1..10usize).prop_map(
        |(gold, said, alike, room)| {
            let said = if alike { gold.clone() } else { said };
            let said = said.into_iter().chain([END, 1]).take(room).collect();
            [gold.into_iter().chain([END]).collect(), said]
        },
    )
}

/// What is written of ids, where nobody knows the phones that `unknown` stands for.
fn written(ids: &[i64], unknown: &'static str) -> Vec<&'static str> {
    let phone = |id: &i64| match *id {
        1 => "a",
        2 => "b",
        3 => "t͡ʃ",
        _ => unknown,
    };
    ids.iter().take_while(|id| **id != END).map(phone).collect()
}

fn assert_same(found: [f64; 2], expected: [f64; 2]) {
    let same = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9);
    assert!(same, "{found:?} is not {expected:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn an_evaluation_s_error_rates_are_the_shared_task_s(rows in vec(row(), 1..12)) {
        let word = |[gold, said]: &[Vec<i64>; 2]| [written(gold, "ʘ"), written(said, "?")];
        let words: Vec<Word<'_>> = rows.iter().map(word).collect();
        assert_same(evaluated(&rows), rates(&words, distance));
    }

    #[test]
    fn the_published_distance_is_never_more_and_zero_for_the_same_words(
        [gold, said] in row(),
    ) {
        let [gold, said] = [written(&gold, "ʘ"), written(&said, "?")];
        let (published, whole) = (published_distance(&gold, &said), distance(&gold, &said));
        prop_assert!(published <= whole && (published == 0) == (gold == said));
    }
}

#[test]
fn the_organisers_scorer_printed_these_figures() {
    let printed = |rates: [f64; 2]| rates.map(|rate| format!("{rate:.2}"));
    for (k, (file, wer, per)) in FILES.into_iter().enumerate() {
        let words = words(file);
        assert_eq!(printed(rates(&words, published_distance)), [wer, per], "{file}");
        let rows: Vec<[Vec<i64>; 2]> =
            words.iter().map(|word| [ids(&word[0]), ids(&word[1])]).collect();
        assert_same(evaluated(&rows), rates(&words, distance));
        // In the last, three phones are missing and three too many before a word's first.
        let definition = if k == 2 { "66.67" } else { per };
        assert_eq!(printed(evaluated(&rows)), [wer, definition], "{file}");
    }
}

/// Source, target, answer, and whether it is right.
fn cells(row: &str) -> [&str; 4] {
    row.split(',').collect::<Vec<_>>().try_into().unwrap()
}

/// What is written of a run, on disk and on the terminal, is what its predictions come to.
#[test]
fn a_run_s_predictions_have_the_rates_of_its_summary() {
    let lab = Lab::with_run(
        "reverse --units 16 --n-in-min 3 --n-out 5 --n-out-min 3 --samples 320 --epochs 2 \
         --evaluation-samples 60 --replicas 2",
    );
    let predictions = lab.read("run/predictions.csv");
    let summary: Value = serde_json::from_str(&lab.read("run/summary.json")).unwrap();
    let printed = lab.run("evaluate run");
    for (k, replica) in ["0,", "1,"].into_iter().enumerate() {
        let rows = predictions.lines().filter_map(|line| line.strip_prefix(replica));
        let word = |row| {
            let [_, gold, said, _] = cells(row);
            [gold, said].map(|text| text.split_whitespace().collect())
        };
        let words: Vec<Word<'_>> = rows.map(word).collect();
        assert_eq!(words.len(), 60);
        let found = &summary["replicas"][k]["evaluation"];
        let figure = |of: &str| found[of].as_f64().unwrap();
        let rate = figure("symbol_error_rate");
        let found = [1.0 - figure("sequence_accuracy"), rate].map(|rate| 100.0 * rate);
        assert_same(found, rates(&words, distance));
        let line = printed.lines().nth(1 + k).unwrap();
        assert!(rate > 0.0 && line.ends_with(&format!("  {rate:.4}")), "{printed}");
    }
    assert!(printed.lines().next().unwrap().ends_with("exact sequences  symbol error rate"));
    assert!(!printed.contains("alike") && !summary.to_string().contains("most_frequent"));
    let ensemble = lab.run("evaluate run --ensemble");
    assert!(ensemble.contains("exact sequences  symbol error rate\n"), "{ensemble}");
}
