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
