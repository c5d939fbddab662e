//! h or c of an LSTM, or of a part of its units, before, between and after its time steps.

use std::ops::Range;

use crate::kernels::float::Real;
use crate::model::layers::pass::Buffers;
use crate::model::layers::rows::Axis;

/// The states of N rows over T steps.
#[derive(Debug)]
pub struct States<F> {
    /// U: those of the layer, or of the part.
    units: usize,
    /// N · U: the numbers of a state of all rows.
    n: usize,
    backwards: bool,
    /// `(T + 1, N, U)`: the initial state, set by the caller, then that after each step; for a layer
    /// that reads backwards that after each step in the order of the source, and at the very end the
    /// initial state.
    values: Vec<F>,
    /// `(T, N, U)`: the state before each step where rows have lengths of their own, for there
    /// `values` has other rows beside it; empty where they have not.
    before: Vec<F>,
    /// `(N, U)`: each row's state after its last step, where rows have lengths of their own and end
    /// at different steps.
    last: Vec<F>,
}

/// Numbers of [`States`] of `steps` steps a row: of its `values`, `before` and `last`.
pub fn numbers(steps: i64, units: i64, ragged: bool, backwards: bool) -> [i64; 3] {
    let (before, last) = (ragged, ragged && !backwards);
    [(steps + 1) * units, i64::from(before) * steps * units, i64::from(last) * units]
}

/// Where the numbers of `rows` lie, `width` each.
pub fn scaled(rows: Range<usize>, width: usize) -> Range<usize> {
    rows.start * width..rows.end * width
}

impl<F: Real> States<F> {
    /// Those of `rows` rows.
    pub fn new(units: usize, rows: usize, backwards: bool, buffers: &mut Buffers) -> Self {
        let [values, before, last] = [(); 3].map(|()| buffers.take());
        Self { units, n: rows * units, backwards, values, before, last }
    }

    /// Where the initial state begins.
    fn start(&self) -> usize {
        if self.backwards { self.values.len() - self.n } else { 0 }
    }

    /// The initial state, `(N, U)`.
    pub fn initial(&mut self) -> &mut [F] {
        let start = self.start();
        &mut self.values[start..start + self.n]
    }

    /// The state after each of the steps of `axis`.
    pub fn outputs(&self, rows: usize) -> &[F] {
        let first = if self.backwards { 0 } else { self.n };
        &self.values[first..first + rows * self.units]
    }

    /// The state of the rows of step `t` before it, and where to write that after it.
    pub fn around(&mut self, axis: &Axis, t: usize) -> (&[F], &mut [F]) {
        let (n, now) = (self.n, scaled(axis.at(t), self.units));
        if !self.before.is_empty() {
            self.gather(axis, t);
            let shift = if self.backwards { 0 } else { n };
            let after = &mut self.values[now.start + shift..now.end + shift];
            return (&self.before[now], after);
        }
        let (first, second) = self.values[now.start..now.end + n].split_at_mut(n);
        if self.backwards { (second, first) } else { (first, second) }
    }

    /// The state of the rows of step `t` before it, once it has run.
    pub fn before(&self, axis: &Axis, t: usize) -> &[F] {
        let now = scaled(axis.at(t), self.units);
        if !self.before.is_empty() {
            return &self.before[now];
        }
        let shift = if self.backwards { self.n } else { 0 };
        &self.values[now.start + shift..now.end + shift]
    }

    /// Copies the state before step `t` to where it lies side by side: that after the step before,
    /// and the initial one of rows that begin here.
    fn gather(&mut self, axis: &Axis, t: usize) {
        let (n, now) = (self.n, scaled(axis.at(t), self.units));
        let before = &mut self.before[now];
        let earlier = match (self.backwards, t) {
            (true, t) if t + 1 < axis.steps() => &self.values[scaled(axis.at(t + 1), self.units)],
            (false, 1..) => {
                let start = n + axis.at(t - 1).start * self.units;
                &self.values[start..start + before.len()]
            }
            _ => &[],
        };
        let start = if self.backwards { self.values.len() - n } else { 0 };
        let initial = &self.values[start + earlier.len()..start + before.len()];
        before[..earlier.len()].copy_from_slice(earlier);
        before[earlier.len()..].copy_from_slice(initial);
    }

    /// Notes each row's last state, once all steps have run.
    pub fn end(&mut self, axis: &Axis) {
        for (row, last) in self.last.chunks_exact_mut(self.units).enumerate() {
            let Some(place) = axis.places(row).last() else { continue };
            let from = self.n + place * self.units;
            last.copy_from_slice(&self.values[from..from + self.units]);
        }
    }

    /// The state after the last step, `(N, U)`.
    pub fn last(&self) -> &[F] {
        match (self.backwards, self.last.is_empty()) {
            (true, _) => &self.values[..self.n],
            (false, true) => &self.values[self.values.len() - self.n..],
            (false, false) => &self.last,
        }
    }

    /// Makes the last state the initial one. Rows have no lengths of their own.
    pub fn carry(&mut self) {
        let (last, start) =
            (if self.backwards { 0 } else { self.values.len() - self.n }, self.start());
        self.values.copy_within(last..last + self.n, start);
    }

    /// The state before every step of `axis`, but of the recurrence's first steps where they are
    /// `left_out`, side by side; and where the other steps are stored, in rows.
    pub fn all_before(&self, axis: &Axis, left_out: bool) -> (&[F], Range<usize>) {
        let total = axis.total();
        let rows = match (left_out, self.backwards) {
            (false, _) => 0..total,
            (true, false) => axis.at(0).end..total,
            (true, true) => 0..axis.at(axis.steps() - 1).start,
        };
        let numbers = scaled(rows.clone(), self.units);
        if !self.before.is_empty() {
            return (&self.before[numbers], rows);
        }
        let shift = if self.backwards { self.n } else { 0 };
        (&self.values[numbers.start + shift..numbers.end + shift], rows)
    }
}
