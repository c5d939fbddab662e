//! What answers of ids score beside the targets that were expected.

use std::collections::HashMap;

use strsim::generic_levenshtein;

use crate::data::task::Task;
use crate::run::summary::Evaluation;

/// In place of an unknown token, which is what nobody says.
const NEVER: i64 = -1;

/// What scores have to know of a task's targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scoring {
    /// The id that ends a target.
    pub end: Option<i64>,
    /// The id of every token of a target that the model does not know. No answer to it is right.
    pub unknown: Option<i64>,
    /// Whether it is counted how often what is said.
    pub is_text: bool,
}

impl Scoring {
    /// That of `task`.
    pub fn of(task: &Task) -> Self {
        Self { end: task.end(), unknown: task.unknown(), is_text: task.is_text() }
    }

    /// Whether the ids that are `predicted` are what was `expected`, up to where each ends.
    pub fn is_right(&self, expected: &[i64], predicted: &[i64]) -> bool {
        let expected = self.before_end(expected);
        expected == self.before_end(predicted) && expected.iter().all(|id| self.is_known(*id))
    }

    /// Insertions, deletions and substitutions of ids that make one into the other, up to where each
    /// ends: the Levenshtein distance.
    fn edits(&self, expected: &[i64], predicted: &[i64]) -> usize {
        if self.is_right(expected, predicted) {
            return 0;
        }
        let expected = self.before_end(expected).iter();
        let sayable = |&id: &i64| if self.is_known(id) { id } else { NEVER };
        let expected: Vec<i64> = expected.map(sayable).collect();
        generic_levenshtein(&expected, &self.before_end(predicted).to_vec())
    }

    fn is_known(&self, id: i64) -> bool {
        self.unknown != Some(id)
    }

    fn before_end<'a>(&self, ids: &'a [i64]) -> &'a [i64] {
        ids.split(|id| self.end == Some(*id)).next().unwrap_or_default()
    }
}

/// Counts of one replica's answers.
#[derive(Debug)]
pub struct Tally {
    scoring: Scoring,
    samples: usize,
    /// Ids expected, with the end.
    tokens: usize,
    right_tokens: usize,
    right_samples: usize,
    /// Ids expected, without the end.
    symbols: usize,
    edits: usize,
    /// Sum over the samples.
    loss: Option<f64>,
    /// Of text, how often each target is expected and predicted.
    expected: HashMap<Vec<i64>, usize>,
    predicted: HashMap<Vec<i64>, usize>,
}

/// What is said most often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MostFrequent<'a> {
    /// Its ids, without the end.
    pub ids: &'a [i64],
    /// In which share of the samples.
    pub share: f64,
}

impl Tally {
    /// Nothing so far.
    pub fn new(scoring: Scoring) -> Self {
        Self {
            scoring,
            samples: 0,
            tokens: 0,
            right_tokens: 0,
            right_samples: 0,
            symbols: 0,
            edits: 0,
            loss: None,
            expected: HashMap::new(),
            predicted: HashMap::new(),
        }
    }

    /// Counts one sample's `expected` ids, to its end and with it, and the `predicted` ones. Of numbers
    /// there are none.
    pub fn add(&mut self, expected: &[i64], predicted: &[i64]) {
        let scoring = self.scoring;
        let pairs = expected.iter().zip(predicted);
        let right = pairs.filter(|&(id, said)| id == said && scoring.is_known(*id)).count();
        self.samples += 1;
        self.tokens += expected.len();
        self.right_tokens += right;
        self.right_samples += usize::from(scoring.is_right(expected, predicted));
        if scoring.end.is_some() {
            self.symbols += scoring.before_end(expected).len();
            self.edits += scoring.edits(expected, predicted);
        }
        if scoring.is_text {
            count(&mut self.expected, scoring.before_end(expected));
            count(&mut self.predicted, scoring.before_end(predicted));
        }
    }

    /// Adds the loss of some samples, summed over them.
    pub fn add_loss(&mut self, loss: f64) {
        *self.loss.get_or_insert(0.0) += loss;
    }

    /// The figures so far, without what is said of text alone.
    pub fn evaluation(&self) -> Evaluation {
        // Numbers are no tokens.
        let share = |right: usize, of: usize| (self.tokens > 0).then(|| right as f64 / of as f64);
        let rate = || self.edits as f64 / self.symbols as f64;
        Evaluation {
            samples: self.samples,
            loss: self.loss.map(|loss| loss / self.samples as f64),
            token_accuracy: share(self.right_tokens, self.tokens),
            sequence_accuracy: share(self.right_samples, self.samples),
            symbol_error_rate: (self.symbols > 0).then(rate),
            ..Evaluation::default()
        }
    }

    /// The most frequent target.
    pub fn most_expected(&self) -> Option<MostFrequent<'_>> {
        self.most_frequent(&self.expected)
    }

    /// The most frequent answer.
    pub fn most_predicted(&self) -> Option<MostFrequent<'_>> {
        self.most_frequent(&self.predicted)
    }

    /// In which share of the samples the answer `ids`, which has no end, would be right; `None` if that
    /// was not counted.
    pub fn accuracy_of(&self, ids: &[i64]) -> Option<f64> {
        let known = ids.iter().all(|id| self.scoring.is_known(*id));
        let right = self.expected.get(ids).filter(|_| known).copied().unwrap_or(0);
        (!self.expected.is_empty()).then(|| right as f64 / self.samples as f64)
    }

    /// The first in order of several that are as frequent.
    fn most_frequent<'a>(&self, counts: &'a HashMap<Vec<i64>, usize>) -> Option<MostFrequent<'a>> {
        let most = counts.iter().max_by(|(a, n), (b, m)| n.cmp(m).then_with(|| b.cmp(a)));
        let (ids, count) = most?;
        Some(MostFrequent { ids, share: *count as f64 / self.samples as f64 })
    }
}

fn count(counts: &mut HashMap<Vec<i64>, usize>, ids: &[i64]) {
    match counts.get_mut(ids) {
        Some(count) => *count += 1,
        None => drop(counts.insert(ids.to_vec(), 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: Scoring = Scoring { end: Some(0), unknown: Some(9), is_text: true };

    fn scored(pairs: &[(&[i64], &[i64])]) -> Tally {
        let mut tally = Tally::new(TEXT);
        pairs.iter().for_each(|(expected, predicted)| tally.add(expected, predicted));
        tally
    }

    #[test]
    fn edits_are_summed_before_they_are_divided() {
        // Two ids less, then one other and one more.
        let tally = scored(&[(&[1, 2, 3, 0], &[1, 0]), (&[4, 0], &[5, 4, 0]), (&[6, 0], &[6, 0])]);
        let evaluation = tally.evaluation();
        assert_eq!(evaluation.symbol_error_rate, Some(3.0 / 5.0));
        assert_eq!(evaluation.token_accuracy, Some(3.0 / 8.0));
        assert_eq!(evaluation.sequence_accuracy, Some(1.0 / 3.0));
    }

    #[test]
    fn targets_without_an_end_have_no_symbol_error_rate() {
        let mut tally = Tally::new(Scoring { end: None, unknown: None, is_text: false });
        tally.add(&[1, 0, 3], &[1, 0, 4]);
        let evaluation = tally.evaluation();
        assert_eq!((evaluation.symbol_error_rate, tally.most_predicted()), (None, None));
        assert_eq!(evaluation.token_accuracy, Some(2.0 / 3.0));
        assert_eq!((evaluation.sequence_accuracy, tally.accuracy_of(&[1])), (Some(0.0), None));
    }

    #[test]
    fn what_nobody_knows_is_never_said_right() {
        let evaluation = scored(&[(&[1, 9, 0], &[1, 9, 0])]).evaluation();
        assert_eq!(evaluation.token_accuracy, Some(2.0 / 3.0));
        assert_eq!(evaluation.sequence_accuracy, Some(0.0));
        assert_eq!(evaluation.symbol_error_rate, Some(0.5));
        assert!(!TEXT.is_right(&[9, 0], &[9, 0]) && TEXT.is_right(&[1, 0], &[1, 0, 9]));
    }

    #[test]
    fn a_target_that_is_longer_than_any_answer_is_wrong_by_what_is_missing() {
        let evaluation = scored(&[(&[1, 2, 3, 4, 0], &[1, 2, 3])]).evaluation();
        assert_eq!(evaluation.token_accuracy, Some(3.0 / 5.0));
        assert_eq!(evaluation.sequence_accuracy, Some(0.0));
        assert_eq!(evaluation.symbol_error_rate, Some(0.25));
        // All of it was said, and there was no room for more.
        let evaluation = scored(&[(&[1, 2, 3, 0], &[1, 2, 3])]).evaluation();
        assert_eq!(evaluation.sequence_accuracy, Some(1.0));
        assert_eq!(evaluation.symbol_error_rate, Some(0.0));
    }

    #[test]
    fn the_most_frequent_is_the_first_of_equals() {
        let tally = scored(&[(&[3, 0], &[2, 0]), (&[1, 0], &[1, 0]), (&[3, 0], &[])]);
        let [expected, predicted] =
            [tally.most_expected(), tally.most_predicted()].map(Option::unwrap);
        assert_eq!((expected.ids, expected.share), (&[3_i64][..], 2.0 / 3.0));
        assert_eq!((predicted.ids, predicted.share), (&[][..], 1.0 / 3.0));
        assert_eq!(tally.accuracy_of(&[3]), Some(2.0 / 3.0));
        assert_eq!(tally.accuracy_of(&[2]), Some(0.0));
        assert_eq!(scored(&[(&[9, 0], &[1, 0])]).accuracy_of(&[9]), Some(0.0));
    }
}
