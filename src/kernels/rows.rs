//! Rows of a matrix added up.

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
