//! Where a sequence is in a block of rows.

use std::ops::Range;

use crate::model::layers::rows::Rows;

/// Where the numbers of a sequence are among those of a block.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    rows: &'a Rows,
    /// Its row of the target.
    pub row: usize,
    /// Tout and Tin, of the longest sequences.
    most: [usize; 2],
    /// Its own.
    pub steps: [usize; 2],
}

impl<'a> Place<'a> {
    /// That of the sequence whose target is row `row`, where the longest have `most` steps.
    pub fn new(rows: &'a Rows, row: usize, most: [usize; 2]) -> Self {
        let steps = [rows.target.length(row), rows.source.length(rows.source_row[row])];
        Self { rows, row, most, steps }
    }

    /// Every sequence of `rows`.
    pub fn all(rows: &'a Rows, most: [usize; 2]) -> impl Iterator<Item = Self> {
        (0..rows.target.rows()).map(move |row| Self::new(rows, row, most))
    }

    /// Where its steps are among those of the decoder.
    pub fn target(self) -> impl Iterator<Item = usize> + use<'a> {
        self.rows.target.places(self.row)
    }

    /// Where its steps are among those of the encoder.
    pub fn source(self) -> impl Iterator<Item = usize> + use<'a> {
        self.rows.source.places(self.rows.source_row[self.row])
    }

    /// Where its numbers are among those of all pairs of steps.
    pub fn pairs(self) -> Range<usize> {
        let ([steps, source_steps], first) = (self.steps, self.row * self.most[0] * self.most[1]);
        first..first + steps * source_steps
    }

    /// Where its values are, of `width` numbers.
    pub fn values(self, width: usize) -> Range<usize> {
        let first = self.row * self.most[1] * width;
        first..first + self.steps[1] * width
    }
}
