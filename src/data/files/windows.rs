//! How a series is cut into parts, in time, and these into windows.

use std::ops::Range;

use crate::base::error::UserError;
use crate::base::rng::Purpose;
use crate::config::Config;

/// The shares that are held out where nothing is said.
const HELD_OUT: f64 = 0.1;

/// The rows that are trained on, those behind them that are validated on, and the last ones, which are
/// evaluated on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Trained on.
    pub training: Range<usize>,
    /// Validated on.
    pub validation: Range<usize>,
    /// Evaluated on; `None` where that is what is validated on.
    pub test: Option<Range<usize>>,
}

/// How many time steps a window has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Width {
    /// Of its source.
    pub n_in: usize,
    /// Of its target, which comes next.
    pub n_out: usize,
}

impl Parts {
    /// Those of so many rows, of which the shares `validation` and `test` are held out. A share above 0
    /// may come to no row.
    pub fn of(rows: usize, [validation, test]: [f64; 2]) -> Self {
        let share = |of: f64| ((of * rows as f64).round() as usize).min(rows);
        let first_of_test = rows - share(test);
        let first = first_of_test - share(validation).min(first_of_test);
        let test = (test > 0.0).then_some(first_of_test..rows);
        Self { training: 0..first, validation: first..first_of_test, test }
    }

    /// Those of so many rows by `config`.
    pub fn by(config: &Config, rows: usize) -> Self {
        Self::of(rows, shares(config))
    }

    /// What is trained on, validated on and evaluated on, which may be the same.
    pub fn used(&self) -> [Option<Range<usize>>; 3] {
        let evaluated = self.test.as_ref().unwrap_or(&self.validation);
        [&self.training, &self.validation, evaluated].map(|part| Some(part.clone()))
    }

    /// All of them, in the order of time.
    pub fn all(&self) -> [Range<usize>; 3] {
        let end = self.validation.end;
        let test = self.test.clone().unwrap_or(end..end);
        [self.training.clone(), self.validation.clone(), test]
    }
}

/// The shares of a series that `config` holds out for validation and for evaluation.
pub fn shares(config: &Config) -> [f64; 2] {
    [config.validation_fraction, config.test_fraction].map(|share| share.unwrap_or(HELD_OUT))
}

impl Width {
    /// The first rows of the windows that belong to `part`: all rows of their targets are in it. Their
    /// sources may begin in what comes before, as a forecaster would have it; so nothing that is trained
    /// on reaches into a later part.
    pub fn windows(self, part: &Range<usize>) -> Range<usize> {
        let first = part.start.saturating_sub(self.n_in);
        let end = (part.end + 1).saturating_sub(self.n_in + self.n_out);
        first..end.max(first)
    }

    /// The rows of the source of the window that begins with row `first`.
    pub fn source(self, first: usize) -> Range<usize> {
        first..first + self.n_in
    }

    /// The rows of its target.
    pub fn target(self, first: usize) -> Range<usize> {
        let first = first + self.n_in;
        first..first + self.n_out
    }
}

/// The windows of a series that are trained on, validated on and evaluated on.
#[derive(Debug)]
pub struct Windows {
    /// How long each is.
    pub width: Width,
    /// Their first rows.
    firsts: [Vec<u32>; 3],
}

/// That no window is whole in a part of a series.
#[derive(Debug)]
pub struct NoWindow {
    part: &'static str,
    /// The part's rows.
    rows: usize,
    width: Width,
}

impl Windows {
    /// The windows in each of `parts` that is asked for, as far as the one with this first row
    /// `is_whole`.
    ///
    /// # Errors
    /// The first part that has none.
    pub fn cut(
        config: &Config,
        parts: [Option<Range<usize>>; 3],
        is_whole: impl Fn(Width, usize) -> bool,
    ) -> Result<Self, NoWindow> {
        let width = Width { n_in: config.n_in as usize, n_out: config.n_out as usize };
        let names = ["training", "validation", "test"];
        let mut firsts = [const { Vec::new() }; 3];
        for ((asked, firsts), part) in parts.into_iter().zip(&mut firsts).zip(names) {
            let Some(asked) = asked else { continue };
            let whole = width.windows(&asked).filter(|first| is_whole(width, *first));
            firsts.extend(whole.map(|first| first as u32));
            if firsts.is_empty() {
                return Err(NoWindow { part, rows: asked.len(), width });
            }
        }
        Ok(Self { width, firsts })
    }

    /// The first rows of those for `purpose`.
    pub fn of(&self, purpose: Purpose) -> &[u32] {
        &self.firsts[place(purpose)]
    }

    /// How many are trained on, validated on and evaluated on.
    pub fn counts(&self) -> [usize; 3] {
        self.firsts.each_ref().map(Vec::len)
    }
}

/// The place among the three parts of what is for `purpose`.
pub fn place(purpose: Purpose) -> usize {
    match purpose {
        Purpose::Validation => 1,
        Purpose::Evaluation => 2,
        _ => 0,
    }
}

impl NoWindow {
    /// The same of the file `name`, which has so many rows, `noun` in words.
    pub fn in_file(&self, name: &str, all: usize, noun: &str) -> UserError {
        let &Self { part, rows, width: Width { n_in, n_out } } = self;
        let error = format!(
            "{name}: no window of {n_in} + {n_out} {noun} (--n-in, --n-out) is in the {part} part, \
             {rows} of its {all} {noun}"
        );
        UserError::usage(error).hint(
            "lower --n-in or --n-out, choose other shares (--validation-fraction, --test-fraction), or \
             give a longer series",
        )
    }
}

/// How many of the first rows lack something, for every number of rows: of any rows, in no time.
#[derive(Debug)]
pub struct Lacking(Vec<u32>);

impl Lacking {
    /// Of rows of `width` numbers each, NaN where one is missing.
    pub fn of(numbers: &[f64], width: usize) -> Self {
        let mut lacking = 0;
        let counted = numbers.chunks_exact(width).map(|row| {
            lacking += u32::from(row.iter().any(|number| number.is_nan()));
            lacking
        });
        Self(std::iter::once(0).chain(counted).collect())
    }

    /// Whether none of `rows` lacks anything.
    pub fn is_whole(&self, rows: Range<usize>) -> bool {
        self.0[rows.start] == self.0[rows.end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_follow_each_other() {
        let parts = Parts::of(10, [0.2, 0.1]);
        assert_eq!(parts.all(), [0..7, 7..9, 9..10]);
        assert_eq!(Parts::of(10, [0.1, 0.0]).all(), [0..9, 9..10, 10..10]);
        assert_eq!(Parts::of(1, [0.6, 0.6]).all(), [0..0, 0..0, 0..1]);
    }

    #[test]
    fn what_is_validated_on_is_evaluated_on_only_where_no_share_is_held_out_for_it() {
        assert_eq!(Parts::of(10, [0.2, 0.0]).used()[2], Some(8..10));
        assert_eq!(Parts::of(10, [0.2, 0.04]).used()[2], Some(10..10));
    }

    #[test]
    fn a_row_with_something_missing_lacks_it() {
        let n = f64::NAN;
        let lacking = Lacking::of(&[1.0, 2.0, n, 3.0, n, n, 4.0, 5.0], 2);
        assert!(lacking.is_whole(0..1) && lacking.is_whole(3..4) && lacking.is_whole(1..1));
        assert!(!lacking.is_whole(0..2) && !lacking.is_whole(2..4));
    }

    proptest! {
        // No files of failed cases.
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn windows_belong_to_the_part_of_all_their_target(
            rows in 0..60_usize,
            shares in (0.0..0.5, 0.0..0.5),
            width in (1..8_usize, 1..8_usize),
        ) {
            let parts = Parts::of(rows, [shares.0, shares.1]);
            let width = Width { n_in: width.0, n_out: width.1 };
            let mut expected = [const { Vec::new() }; 3];
            for first in 0..rows {
                let target = width.target(first);
                let inside = |part: &Range<usize>| part.start <= target.start && target.end <= part.end;
                if let Some(part) = parts.all().iter().position(inside) {
                    expected[part].push(first);
                }
            }
            for (part, expected) in parts.all().iter().zip(expected) {
                prop_assert_eq!(width.windows(part).collect::<Vec<_>>(), expected);
            }
            for first in width.windows(&parts.training) {
                prop_assert!(width.target(first).end <= parts.validation.start);
            }
        }
    }
}
