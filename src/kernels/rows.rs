//! Rows of a matrix added up, and what is made of all numbers of a row.

use crate::kernels::float::{Real, widest};

widest! {
    /// Adds every row of `rows` to `out`.
    sum_rows<F: Real>(out: &mut [F], rows: &[F]) by sum_rows_body
}

#[inline(always)]
fn sum_rows_body<F: Real>(out: &mut [F], rows: &[F]) {
    for row in rows.chunks_exact(out.len()) {
        out.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
    }
}

widest! {
    /// Adds every row of `rows` to the row of the matrix that its id names; `out` holds the
    /// matrix's rows from `first` on, and ids of other rows are passed over.
    scatter<F: Real>(out: &mut [F], columns: usize, first: usize, ids: &[usize], rows: &[F])
    by scatter_body
}

#[inline(always)]
fn scatter_body<F: Real>(out: &mut [F], columns: usize, first: usize, ids: &[usize], rows: &[F]) {
    let here = first..first + out.len() / columns;
    for (id, row) in ids.iter().zip(rows.chunks_exact(columns)) {
        if here.contains(id) {
            let out = &mut out[(id - first) * columns..][..columns];
            out.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
        }
    }
}

widest! {
    /// The same with each row multiplied by its number of `scales`.
    scatter_scaled<F: Real>(
        out: &mut [F], columns: usize, first: usize, ids: &[usize], scales: &[F], rows: &[F],
    )
    by scatter_scaled_body
}

#[inline(always)]
fn scatter_scaled_body<F: Real>(
    out: &mut [F],
    columns: usize,
    first: usize,
    ids: &[usize],
    scales: &[F],
    rows: &[F],
) {
    let here = first..first + out.len() / columns;
    for ((id, &scale), row) in ids.iter().zip(scales).zip(rows.chunks_exact(columns)) {
        if here.contains(id) {
            let out = &mut out[(id - first) * columns..][..columns];
            out.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x * scale);
        }
    }
}

widest! {
    /// Writes which of the numbers of every row of `columns` is the largest, of equal ones the first.
    largest<F: Real>(rows: &[F], columns: usize, places: &mut [usize]) by largest_body
}

#[inline(always)]
fn largest_body<F: Real>(rows: &[F], columns: usize, places: &mut [usize]) {
    for (row, place) in rows.chunks_exact(columns).zip(places) {
        let most = most(row);
        *place = row.iter().position(|&x| x == most).unwrap_or(0);
    }
}

/// Numbers whose squares are added up in their own type, before the sum is taken as float64.
const SQUARES: usize = 4096;

widest! {
    /// Adds the square of every number to `sum`.
    add_squares<F: Real>(sum: &mut f64, numbers: &[F]) by add_squares_body
}

#[inline(always)]
fn add_squares_body<F: Real>(sum: &mut f64, numbers: &[F]) {
    for some in numbers.chunks(SQUARES) {
        let mut runs = [F::default(); 16];
        let chunks = some.chunks_exact(16);
        let rest = chunks.remainder();
        for chunk in chunks {
            runs.iter_mut().zip(chunk).for_each(|(run, &x)| *run += x * x);
        }
        runs.iter_mut().zip(rest).for_each(|(run, &x)| *run += x * x);
        *sum += runs.iter().map(|&run| -> f64 { run.into() }).sum::<f64>();
    }
}

widest! {
    /// Multiplies every number by `scale`.
    scale<F: Real>(numbers: &mut [F], scale: F) by scale_body
}

#[inline(always)]
fn scale_body<F: Real>(numbers: &mut [F], scale: F) {
    numbers.iter_mut().for_each(|x| *x = *x * scale);
}

/// The largest number of a row that has one.
#[inline(always)]
pub fn most<F: Real>(row: &[F]) -> F {
    reduce(row, row[0], |a, b| if b > a { b } else { a })
}

/// `f` over all numbers, in 16 interleaved runs that fit into vector registers.
#[inline(always)]
pub fn reduce<F: Real>(numbers: &[F], start: F, f: impl Fn(F, F) -> F) -> F {
    let mut runs = [start; 16];
    let chunks = numbers.chunks_exact(16);
    let rest = chunks.remainder();
    for chunk in chunks {
        for lane in 0..16 {
            runs[lane] = f(runs[lane], chunk[lane]);
        }
    }
    let of_runs = runs[1..].iter().fold(runs[0], |a, &b| f(a, b));
    rest.iter().fold(of_runs, |a, &b| f(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_numbers_the_first_is_the_largest() {
        for columns in [1, 2, 15, 16, 17, 40] {
            for place in 0..columns {
                let mut rows = vec![-1.0_f32; 3 * columns];
                rows[place] = 2.0;
                rows[2 * columns - 1] = 2.0;
                rows[2 * columns - 1 - place / 2] = 2.0;
                let mut places = [9; 3];
                largest(&rows, columns, &mut places);
                assert_eq!(places, [place, columns - 1 - place / 2, 0]);
            }
        }
    }

    #[test]
    fn numbers_that_are_none_leave_a_place_within_the_row() {
        for place in [0, 1, 17] {
            let mut row = [0.5_f64; 18];
            row[place] = f64::NAN;
            let mut places = [18];
            largest(&row, 18, &mut places);
            assert!(places[0] < 18);
        }
    }
}
