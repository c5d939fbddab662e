//! Which rows of a batch a block has, and how many time steps each of them has.
//!
//! What a layer stores of a block it stores step by step, without padding: of step t the first n_t
//! rows, those that have so many steps, for the longest come first.

use std::ops::Range;

use crate::model::Along;

/// The rows of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// By the lengths of their sources.
    pub source: Axis,
    /// By those of their targets.
    pub target: Axis,
    /// For each row of `target`, which row of `source` it is.
    pub source_row: Vec<usize>,
}

/// Rows in the order of their lengths, with their time steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Axis {
    /// Which row of the replica's batch each is, the longest first.
    pub order: Vec<usize>,
    /// Where each step begins in what is stored, in rows, and where the last one ends.
    offsets: Vec<usize>,
}

impl Axis {
    /// The rows in `order`, all of `steps` steps.
    fn uniform(order: Vec<usize>, steps: usize) -> Self {
        let offsets = (0..=steps).map(|t| t * order.len()).collect();
        Self { order, offsets }
    }

    /// Makes these the rows in the order of `lengths`, of which there is one for each row of
    /// the replica's batch.
    fn sort(&mut self, lengths: &[i64]) {
        let Self { order, offsets } = self;
        order.sort_by_key(|&row| std::cmp::Reverse(lengths[row]));
        offsets.clear();
        offsets.push(0);
        let mut rows = order.len();
        for t in 0.. {
            while rows > 0 && lengths[order[rows - 1]] <= t {
                rows -= 1;
            }
            if rows == 0 {
                break;
            }
            offsets.push(offsets[t as usize] + rows);
        }
    }

    /// N.
    pub fn rows(&self) -> usize {
        self.order.len()
    }

    /// The time steps of the longest row.
    pub fn steps(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Rows of all steps.
    pub fn total(&self) -> usize {
        self.offsets[self.steps()]
    }

    /// Where the rows of step `t` are stored.
    pub fn at(&self, t: usize) -> Range<usize> {
        self.offsets[t]..self.offsets[t + 1]
    }

    /// How many time steps row `row` has.
    pub fn length(&self, row: usize) -> usize {
        self.places(row).count()
    }

    /// Where each step of row `row` is stored.
    pub fn places(&self, row: usize) -> impl Iterator<Item = usize> {
        let steps = (0..self.steps()).map(|t| self.at(t));
        steps.take_while(move |step| row < step.len()).map(move |step| step.start + row)
    }
}

impl Rows {
    /// Rows `rows` of a batch whose sources and targets all have so many steps.
    pub fn uniform(rows: Range<usize>, [source, target]: [usize; 2]) -> Self {
        Self {
            source: Axis::uniform(rows.clone().collect(), source),
            target: Axis::uniform(rows.clone().collect(), target),
            source_row: (0..rows.len()).collect(),
        }
    }

    /// The rows in `order` of a replica's batch in inference: sources with these `lengths`, or else all
    /// of so many steps. Targets all have so many steps, for how long they should be is not known, and
    /// the order of the sources.
    pub fn answered(
        order: &[usize],
        lengths: Option<&[i64]>,
        [source, target]: [usize; 2],
    ) -> Self {
        let mut source = Axis::uniform(order.to_vec(), source);
        if let Some(lengths) = lengths {
            source.sort(lengths);
        }
        let target = Axis::uniform(source.order.clone(), target);
        Self { source, target, source_row: (0..order.len()).collect() }
    }

    /// Makes these `rows` of the replica's batch, whose sources and targets have so many steps.
    pub fn sort(&mut self, rows: &[usize], source: &[i64], target: &[i64]) {
        for (axis, lengths) in [(&mut self.source, source), (&mut self.target, target)] {
            axis.order.clear();
            axis.order.extend(rows);
            axis.sort(lengths);
        }
        let place = |row| self.source.order.iter().position(|other| other == row).unwrap_or(0);
        self.source_row.clear();
        self.source_row.extend(self.target.order.iter().map(place));
    }

    /// The time steps along `along`.
    pub fn along(&self, along: Along) -> &Axis {
        match along {
            Along::Source => &self.source,
            Along::Target => &self.target,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_lengths_are_stored_step_by_step() {
        let rows = Rows::uniform(3..6, [4, 2]);
        assert_eq!((rows.source.rows(), rows.source.steps(), rows.source.total()), (3, 4, 12));
        assert_eq!((rows.target.at(1), rows.target.places(2).count()), (3..6, 2));
        assert_eq!((rows.source.order, rows.source_row), (vec![3, 4, 5], vec![0, 1, 2]));
    }

    #[test]
    fn the_longest_rows_come_first_and_no_padding_is_stored() {
        let mut rows = Rows::uniform(0..4, [9, 9]);
        let (source, target) = ([2, 7, 1, 3, 2], [1, 9, 4, 2, 4]);
        rows.sort(&[0, 2, 3, 4], &source, &target);
        assert_eq!(rows.source.order, [3, 0, 4, 2]);
        assert_eq!(rows.source.offsets, [0, 4, 7, 8]);
        assert_eq!((0..4).map(|row| rows.source.length(row)).collect::<Vec<_>>(), [3, 2, 2, 1]);
        assert_eq!(rows.target.order, [2, 4, 3, 0]);
        assert_eq!((rows.target.steps(), rows.target.total()), (4, 11));
        assert_eq!(rows.source_row, [3, 2, 0, 1]);
        rows.sort(&[1], &source, &target);
        assert_eq!((rows.source.rows(), rows.source.steps(), rows.source.total()), (1, 7, 7));
    }

    #[test]
    fn in_inference_targets_have_the_order_of_the_sources_and_one_length() {
        let rows = Rows::answered(&[1, 3, 4], Some(&[9, 2, 9, 5, 3]), [9, 4]);
        assert_eq!(
            (&rows.source.order[..], &rows.source.offsets[..]),
            (&[3, 4, 1][..], &[0, 3, 6, 8, 9, 10][..])
        );
        assert_eq!((rows.target.order, rows.target.offsets), (vec![3, 4, 1], vec![0, 3, 6, 9, 12]));
        assert_eq!(rows.source_row, [0, 1, 2]);
        let rows = Rows::answered(&[1, 3], None, [2, 1]);
        assert_eq!(rows, Rows { source: Axis::uniform(vec![1, 3], 2), ..rows.clone() });
    }
}
