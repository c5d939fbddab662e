//! One side of pairs: sequences of tokens, held in little memory.

use super::interner::Interner;
use super::tokens::Tokenizer;

/// The tokens of a sequence at most.
pub const MOST: usize = 10_000;

/// Rows whose beginnings are one number; those between are found from the lengths.
const STRIDE: usize = 64;

/// Sequences of tokens, a row each. A token is held as its number in order of appearance: so early rows
/// need fewer bytes for it than late ones, and no row is ever rewritten.
#[derive(Debug, Default)]
pub struct Side {
    interner: Interner,
    /// The numbers of the first rows, all below 2⁸.
    narrow: Vec<u8>,
    /// Of the rows behind them, all below 2¹⁶.
    middle: Vec<u16>,
    /// Of those behind these.
    wide: Vec<u32>,
    lengths: Vec<u16>,
    /// Where every [`STRIDE`]th row begins, counted in tokens from the first row on.
    starts: Vec<usize>,
    /// The numbers of the row that is taken.
    row: Vec<u32>,
    /// The tokens of all rows but this.
    kept: usize,
}

impl Side {
    /// How many sequences there are.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// How many tokens sequence `row` has.
    pub fn length(&self, row: usize) -> usize {
        usize::from(self.lengths[row])
    }

    /// The tokens of sequence `row` as numbers, in their order.
    pub fn row(&self, row: usize) -> impl Iterator<Item = usize> + '_ {
        let start = self.start(row);
        let (narrow, middle) = (self.narrow.len(), self.middle.len());
        let length = self.length(row);
        let narrow_part = part(&self.narrow, Some(start), length);
        let middle_part = part(&self.middle, start.checked_sub(narrow), length);
        let wide_part = part(&self.wide, start.checked_sub(narrow + middle), length);
        // All of it is in one of them.
        let narrow = narrow_part.iter().map(|&number| usize::from(number));
        let middle = middle_part.iter().map(|&number| usize::from(number));
        narrow.chain(middle).chain(wide_part.iter().map(|&number| number as usize))
    }

    /// How many different tokens there are.
    pub fn tokens(&self) -> usize {
        self.interner.len()
    }

    /// The token `number`, counted in order of appearance.
    pub fn token(&self, number: usize) -> &str {
        self.interner.token(number)
    }

    /// Sequence `row` as text, as `tokenizer`, which has cut it, puts it together.
    pub fn text(&self, row: usize, tokenizer: &Tokenizer) -> String {
        tokenizer.join(self.row(row).map(|number| self.token(number)))
    }

    /// Takes `text` as the next sequence, to be kept or not.
    ///
    /// # Errors
    /// If it has no token, or more than [`MOST`], or is none of such tokens.
    pub(super) fn take(&mut self, text: &str, tokenizer: &Tokenizer) -> Result<(), String> {
        let (row, interner) = (&mut self.row, &mut self.interner);
        row.clear();
        tokenizer.cut(text, |token| row.push(interner.number(token)))?;
        match row.len() {
            0 => Err("white space alone: expected a text".to_owned()),
            1..=MOST => Ok(()),
            n => Err(format!("{n} tokens: expected at most {MOST}")),
        }
    }

    /// Forgets what was taken last, and the tokens that came with it.
    pub(super) fn drop_taken(&mut self) {
        self.row.clear();
        self.interner.truncate(self.kept);
    }

    /// Keeps what was taken last.
    pub(super) fn keep(&mut self) {
        self.kept = self.interner.len();
        if self.lengths.len().is_multiple_of(STRIDE) {
            self.starts.push(self.narrow.len() + self.middle.len() + self.wide.len());
        }
        self.lengths.push(self.row.len() as u16);
        let most = self.row.iter().copied().max().unwrap_or(0);
        let numbers = self.row.iter().copied();
        // A row behind a wide one is wide too, or it would not be found.
        if most <= u32::from(u8::MAX) && self.middle.is_empty() && self.wide.is_empty() {
            self.narrow.extend(numbers.map(|number| number as u8));
        } else if most <= u32::from(u16::MAX) && self.wide.is_empty() {
            self.middle.extend(numbers.map(|number| number as u16));
        } else {
            self.wide.extend(numbers);
        }
    }

    /// Gives back what only adding needs.
    pub(super) fn finish(&mut self) {
        self.interner.finish();
        self.narrow.shrink_to_fit();
        self.middle.shrink_to_fit();
        self.wide.shrink_to_fit();
        self.lengths.shrink_to_fit();
        self.starts.shrink_to_fit();
        self.row = Vec::new();
    }

    /// Where sequence `row` begins, counted in tokens from the first row on.
    fn start(&self, row: usize) -> usize {
        let known = row / STRIDE;
        let between = &self.lengths[known * STRIDE..row];
        self.starts[known] + between.iter().map(|&length| usize::from(length)).sum::<usize>()
    }
}

/// `length` of the `numbers` from `start` on; none if it is not among them.
fn part<T>(numbers: &[T], start: Option<usize>, length: usize) -> &[T] {
    let start = start.filter(|&start| start < numbers.len());
    start.map_or(&[], |start| &numbers[start..start + length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Normalization, Tokens};

    const WORDS: Tokenizer = Tokenizer::new(Tokens::Words, Normalization::None);

    fn push(side: &mut Side, text: &str) {
        side.take(text, &WORDS).unwrap();
        side.keep();
    }

    /// Rows of one to seven tokens, among which ever more different ones come.
    fn rows() -> Vec<Vec<String>> {
        let token = |i: usize| format!("t{}", if i.is_multiple_of(3) { i } else { i % 50 });
        (0..60_000).map(|i| (0..1 + i % 7).map(|k| token(i * 4 + k)).collect()).collect()
    }

    #[test]
    fn rows_are_what_they_were_however_many_tokens_there_are() {
        let (rows, mut side) = (rows(), Side::default());
        rows.iter().for_each(|row| push(&mut side, &row.join(" ")));
        side.finish();
        assert_eq!(
            [side.narrow.is_empty(), side.middle.is_empty(), side.wide.is_empty()],
            [false; 3]
        );
        assert!(side.tokens() > 1 << 16 && side.len() == rows.len());
        for (i, row) in rows.iter().enumerate() {
            assert_eq!((side.length(i), side.text(i, &WORDS)), (row.len(), row.join(" ")), "{i}");
        }
    }

    #[test]
    fn a_row_may_need_the_widest_numbers_at_once() {
        let mut side = Side::default();
        let many: Vec<String> = (0..MOST).map(|i| format!("{i}")).collect();
        ["a b", &many.join(" "), "b"].iter().for_each(|text| push(&mut side, text));
        assert_eq!([side.narrow.len(), side.middle.len()], [2, MOST + 1]);
        assert_eq!(side.row(0).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(side.row(1).map(|number| side.token(number)).collect::<Vec<_>>(), many);
        assert_eq!(side.row(2).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn what_is_not_kept_leaves_no_token() {
        let mut side = Side::default();
        push(&mut side, "a b");
        for text in ["b c dd", "", &"e ".repeat(MOST + 1)] {
            let _ = side.take(text, &WORDS);
            side.drop_taken();
            assert_eq!((side.len(), side.tokens()), (1, 2));
        }
        side.drop_taken();
        push(&mut side, "dd a");
        assert_eq!([side.text(0, &WORDS), side.text(1, &WORDS)], ["a b", "dd a"]);
        assert_eq!(side.row(1).collect::<Vec<_>>(), [2, 0]);
    }
}
