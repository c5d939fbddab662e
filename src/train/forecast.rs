//! How far forecasts of numbers are from what came, in the units of the file, beside the naive forecast:
//! that everything stays as it was last; and how often naive forecasts of tokens are right.

use crate::data::files::scaling::{Scale, Scaling};
use crate::run::summary::{Accuracies, ColumnErrors, ForecastErrors, NaiveAccuracies};
use crate::train::score::{Scoring, Tally};

/// What is added up of one replica's forecasts.
#[derive(Debug, Clone, Default)]
pub struct Errors {
    /// The model's and the naive ones, of each target column.
    columns: Vec<[Sum; 2]>,
}

/// Differences to what came, in the file's units.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: f64,
    absolute: f64,
    squared: f64,
}

impl Sum {
    fn add(&mut self, difference: f64) {
        self.count += 1.0;
        self.absolute += difference.abs();
        self.squared += difference * difference;
    }

    fn with(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            absolute: self.absolute + other.absolute,
            squared: self.squared + other.squared,
        }
    }

    /// The mean absolute difference, and the root of the mean squared one.
    fn means(self) -> [f64; 2] {
        [self.absolute / self.count, (self.squared / self.count).sqrt()]
    }
}

impl Errors {
    /// Adds a target `expected` `(n_out, targets)` beside what was `predicted` and the `last` values
    /// before it `(targets)`, all of them as the model has them.
    pub fn add(&mut self, scaling: &Scaling, expected: &[f64], predicted: &[f64], last: &[f64]) {
        let scales = &scaling.targets;
        self.columns.resize(scales.len(), <[Sum; 2]>::default());
        for (place, (expected, predicted)) in expected.iter().zip(predicted).enumerate() {
            let column = place % scales.len();
            let [model, naive] = &mut self.columns[column];
            let Scale { deviation, .. } = scales[column];
            model.add((predicted - expected) * deviation);
            naive.add((last[column] - expected) * deviation);
        }
    }

    /// What it comes to; `None` if nothing was added.
    pub fn figures(&self, scaling: &Scaling) -> Option<ForecastErrors> {
        let all = |which: usize| {
            let sums = self.columns.iter().map(|sums| sums[which]);
            sums.reduce(Sum::with).filter(|sum| sum.count > 0.0)
        };
        let [mae, rmse] = all(0)?.means();
        let [naive_mae, naive_rmse] = all(1)?.means();
        let column = |(sums, scale): (&[Sum; 2], &Scale)| {
            let [[mae, rmse], [naive_mae, naive_rmse]] = sums.map(Sum::means);
            let column = scale.column.clone();
            ColumnErrors { column, mae, rmse, naive_mae, naive_rmse }
        };
        let columns = match self.columns.len() {
            1 => Vec::new(),
            _ => self.columns.iter().zip(&scaling.targets).map(column).collect(),
        };
        Some(ForecastErrors { mae, rmse, naive_mae, naive_rmse, columns })
    }
}

/// Counts of naive forecasts of tokens: of the most frequent one, and of the last one.
#[derive(Debug)]
pub struct Naive([Tally; 2]);

impl Naive {
    /// Nothing so far.
    pub fn new(scoring: Scoring) -> Self {
        // What is said most often is known.
        let scoring = Scoring { is_text: false, ..scoring };
        Self([Tally::new(scoring), Tally::new(scoring)])
    }

    /// Counts a target `expected` beside `ids`, of which each forecast says its own at every step.
    pub fn add(&mut self, expected: &[i64], ids: [i64; 2]) {
        for (tally, id) in self.0.iter_mut().zip(ids) {
            tally.add(expected, &vec![id; expected.len()]);
        }
    }

    /// What it comes to; `None` if nothing was added.
    pub fn figures(&self) -> Option<NaiveAccuracies> {
        let [most_frequent, last] = self.0.each_ref().map(|tally| {
            let evaluation = tally.evaluation();
            let token_accuracy = evaluation.token_accuracy?;
            let sequence_accuracy = evaluation.sequence_accuracy?;
            Some(Accuracies { token_accuracy, sequence_accuracy })
        });
        Some(NaiveAccuracies { most_frequent: most_frequent?, last: last? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naive_forecasts_say_one_token_and_never_an_unknown_one_right() {
        let mut naive = Naive::new(Scoring { end: None, unknown: Some(3), is_text: true });
        assert_eq!(naive.figures(), None);
        naive.add(&[5, 6], [5, 6]);
        naive.add(&[5, 5], [5, 3]);
        naive.add(&[3, 3], [5, 3]);
        let NaiveAccuracies { most_frequent, last } = naive.figures().unwrap();
        let of = |of: Accuracies| [of.token_accuracy, of.sequence_accuracy];
        assert_eq!([of(most_frequent), of(last)], [[0.5, 1.0 / 3.0], [1.0 / 6.0, 0.0]]);
    }

    fn scale(column: &str, deviation: f64) -> Scale {
        Scale { column: column.to_owned(), mean: 7.0, deviation }
    }

    #[test]
    fn errors_are_in_the_units_of_the_file() {
        let scaling =
            Scaling { inputs: Vec::new(), targets: vec![scale("a", 2.0), scale("b", 10.0)] };
        let mut errors = Errors::default();
        assert_eq!(errors.figures(&scaling), None);
        errors.add(&scaling, &[0.0, 1.0, 0.0, 1.0], &[1.0, 1.0, -3.0, 2.0], &[0.0, 0.5]);
        let found = errors.figures(&scaling).unwrap();
        // a: 2 and 6; b: 0 and 10. Naive: a 0 and 0; b 5 and 5.
        assert_eq!((found.mae, found.rmse), (18.0 / 4.0, (140.0_f64 / 4.0).sqrt()));
        assert_eq!((found.naive_mae, found.naive_rmse), (2.5, (50.0_f64 / 4.0).sqrt()));
        let [a, b] = &found.columns[..] else { panic!("{found:?}") };
        assert_eq!((&*a.column, a.mae, a.rmse, a.naive_mae), ("a", 4.0, 20.0_f64.sqrt(), 0.0));
        assert_eq!((&*b.column, b.mae, b.rmse, b.naive_mae), ("b", 5.0, 50.0_f64.sqrt(), 5.0));
        let one = Scaling { targets: vec![scale("a", 2.0)], ..scaling };
        let mut errors = Errors::default();
        errors.add(&one, &[1.0], &[0.0], &[4.0]);
        let found = errors.figures(&one).unwrap();
        assert_eq!((found.mae, found.naive_mae, found.columns.len()), (2.0, 6.0, 0));
    }
}
