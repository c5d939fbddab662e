//! Orthonormal rows, the same bits for any number of threads.

use anyhow::Result;

use crate::kernels::float::{Real, widest};
use crate::kernels::product::{Matrix, Onto, Order, multiply, panel};
use crate::kernels::thread_pool::ThreadPool;
use crate::kernels::transpose::transpose;

/// Called with the number of values just drawn or multiplications just done; an error ends the
/// work.
pub type Watch<'a> = dyn Fn(f64) -> Result<()> + Sync + 'a;

/// The most rows of a matrix that one thread orthonormalises row by row. With more rows that would
/// wait for memory: every row is read again for each row after it.
pub const ONE_BY_ONE: usize = 1024;

/// Rows of a larger matrix whose projections onto all rows before them are subtracted together.
const PANEL: usize = 128;

/// Rows that a thread multiplies by a panel at a time, and rows of a panel that it subtracts from
/// at a time: enough to use what a product loads from memory often.
const SHARE: usize = 64;

/// Rows whose projections are subtracted from a panel at a time: few enough for the columns that a
/// product reads again to stay in the cache.
const DEPTH: usize = 64;

/// Makes the rows of `values` orthonormal, keeping the span of the first k for every k. This is
/// `q · sign(diag r)` of the QR decomposition that Keras takes, in an order of additions that
/// depends on neither the number of threads nor a LAPACK.
///
/// # Errors
/// Those of `watch`, which is called with numbers that sum to rows² · columns.
pub fn orthonormalise(
    values: &mut [f64],
    columns: usize,
    pool: &ThreadPool,
    watch: &Watch<'_>,
) -> Result<()> {
    let rows = values.len() / columns;
    let most = columns * if rows > ONE_BY_ONE { PANEL } else { rows };
    for first in (0..values.len()).step_by(most) {
        let (earlier, rest) = values.split_at_mut(first);
        let end = most.min(rest.len());
        let panel = &mut rest[..end];
        // Once leaves rounding errors that grow with the rows' dependence; twice is enough.
        for _ in 0..2 {
            project_panel_out(earlier, panel, columns, pool, watch)?;
        }
        one_by_one(panel, columns, watch)?;
    }
    Ok(())
}

/// Subtracts from the rows of `panel` their projections onto the rows of `earlier`, which are
/// orthonormal.
fn project_panel_out(
    earlier: &[f64],
    panel: &mut [f64],
    columns: usize,
    pool: &ThreadPool,
    watch: &Watch<'_>,
) -> Result<()> {
    let rows = panel.len() / columns;
    let across = in_panels(panel, columns);
    let across = Matrix::in_panels(&across, rows);
    // Negated, since products are added.
    let mut overlaps = vec![0.0; earlier.len() / columns * rows];
    let at_a_time = SHARE * pool.threads();
    let some = earlier.chunks(at_a_time * columns).zip(overlaps.chunks_mut(at_a_time * rows));
    for (earlier, overlaps) in some {
        let shares = earlier.chunks(SHARE * columns).zip(overlaps.chunks_mut(SHARE * rows));
        pool.each(&mut shares.collect::<Vec<_>>(), |(earlier, overlaps)| {
            multiply(Matrix::new(earlier, columns), across, overlaps, Onto::Nothing, Order::Up);
            overlaps.iter_mut().for_each(|overlap| *overlap = -*overlap);
        });
        watch(overlaps.len() as f64 * columns as f64 / 2.0)?;
    }
    for (earlier, overlaps) in earlier.chunks(DEPTH * columns).zip(overlaps.chunks(DEPTH * rows)) {
        let (earlier, factors) = (Matrix::new(earlier, columns), Matrix::new(overlaps, rows));
        let shares = panel.chunks_mut(SHARE * columns).enumerate();
        pool.each(&mut shares.collect::<Vec<_>>(), |(share, panel)| {
            let factors = factors.transposed().rows(*share * SHARE, panel.len() / columns);
            multiply(factors, earlier, panel, Onto::Sum, Order::Up);
        });
        watch(overlaps.len() as f64 * columns as f64 / 2.0)?;
    }
    Ok(())
}

/// The transpose of `rows`, stored by panels.
fn in_panels(rows: &[f64], columns: usize) -> Vec<f64> {
    let mut across = vec![0.0; rows.len()];
    let most = panel::<f64>() * columns;
    for (rows, panel) in rows.chunks(most).zip(across.chunks_mut(most)) {
        transpose(rows, columns, panel);
    }
    across
}

/// Gram–Schmidt, twice for each row. A row's second time is done together with the first of the row
/// after it, so that the rows before them are read once for both.
fn one_by_one(values: &mut [f64], columns: usize, watch: &Watch<'_>) -> Result<()> {
    for done in 0..values.len() / columns {
        let (earlier, rest) = values.split_at_mut(done * columns);
        let (row, later) = rest.split_at_mut(columns);
        let next = later.get_mut(..columns);
        match next {
            Some(next) => project_out_of_two(earlier, [row, next]),
            None => earlier.chunks_exact(columns).for_each(|other| project_out(other, row)),
        }
        let norm = dot(row, row).sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
        if let Some(next) = later.get_mut(..columns) {
            project_out(row, next);
        }
        watch((2 * done + 1) as f64 * columns as f64)?;
    }
    Ok(())
}

/// Subtracts from `row` its projection onto `other`.
fn project_out(other: &[f64], row: &mut [f64]) {
    subtract(dot(row, other), other, row);
}

/// Subtracts from two rows their projections onto the rows of `earlier`, one after the other.
fn project_out_of_two(earlier: &[f64], [row, next]: [&mut [f64]; 2]) {
    let mut last: Option<(&[f64], [f64; 2])> = None;
    for other in earlier.chunks_exact(row.len()) {
        let overlaps = match last {
            None => [dot(row, other), dot(next, other)],
            Some((last, overlaps)) => {
                let mut sums = [[0.0; LANES]; 2];
                subtract_and_sum(last, overlaps, other, [row, next], &mut sums);
                [total(&sums[0], row, other), total(&sums[1], next, other)]
            }
        };
        last = Some((other, overlaps));
    }
    if let Some((last, overlaps)) = last {
        subtract(overlaps[0], last, row);
        subtract(overlaps[1], last, next);
    }
}

/// Interleaved sums of a dot product, which the compiler keeps in vector registers.
const LANES: usize = 8;

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    for (x, y) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    total(&sums, a, b)
}

/// The dot product of `a` and `b`, given the `sums` of all full chunks of `LANES` numbers.
fn total(sums: &[f64; LANES], a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (a.chunks_exact(LANES).remainder(), b.chunks_exact(LANES).remainder());
    let tail: f64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + tail
}

fn subtract(overlap: f64, other: &[f64], row: &mut [f64]) {
    row.iter_mut().zip(other).for_each(|(x, y)| *x -= overlap * y);
}

widest! {
    /// Subtracts `overlaps` times `last` from the two `rows`, and adds to `sums` the dot products
    /// of the results with `other`, over full chunks of `LANES` numbers.
    subtract_and_sum<F: Real>(
        last: &[F],
        overlaps: [F; 2],
        other: &[F],
        rows: [&mut [F]; 2],
        sums: &mut [[F; LANES]; 2],
    ) by subtract_and_sum_body
}

#[inline(always)]
fn subtract_and_sum_body<F: Real>(
    last: &[F],
    overlaps: [F; 2],
    other: &[F],
    [row, next]: [&mut [F]; 2],
    sums: &mut [[F; LANES]; 2],
) {
    let [mut first, mut second] = *sums;
    let ((row, row_end), (next, next_end)) =
        (row.as_chunks_mut::<LANES>(), next.as_chunks_mut::<LANES>());
    let ((last, last_end), (other, _)) = (last.as_chunks::<LANES>(), other.as_chunks::<LANES>());
    for (((x, w), y), z) in row.iter_mut().zip(next).zip(last).zip(other) {
        *x = std::array::from_fn(|lane| x[lane] - overlaps[0] * y[lane]);
        *w = std::array::from_fn(|lane| w[lane] - overlaps[1] * y[lane]);
        for lane in 0..LANES {
            first[lane] += x[lane] * z[lane];
            second[lane] += w[lane] * z[lane];
        }
    }
    for ((x, w), y) in row_end.iter_mut().zip(next_end).zip(last_end) {
        *x = *x - overlaps[0] * *y;
        *w = *w - overlaps[1] * *y;
    }
    *sums = [first, second];
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rand_distr::StandardNormal;

    use super::*;
    use crate::base::rng::{Purpose, Stream};

    fn gaussian(rows: usize, columns: usize) -> Vec<f64> {
        let mut generator = Stream::new(rows as u64, Purpose::Weights).at(1);
        (0..rows * columns).map(|_| generator.sample(StandardNormal)).collect()
    }

    fn orthonormal(mut values: Vec<f64>, columns: usize, threads: usize) -> Vec<f64> {
        orthonormalise(&mut values, columns, &ThreadPool::new(threads), &|_| Ok(())).unwrap();
        values
    }

    /// Row by row, with nothing read or done together.
    fn plain(mut values: Vec<f64>, columns: usize) -> Vec<f64> {
        for done in 0..values.len() / columns {
            let (earlier, rest) = values.split_at_mut(done * columns);
            let row = &mut rest[..columns];
            for _ in 0..2 {
                for other in earlier.chunks_exact(columns) {
                    let overlap = plain_dot(row, other);
                    row.iter_mut().zip(other).for_each(|(x, y)| *x -= overlap * y);
                }
            }
            let norm = plain_dot(row, row).sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
        values
    }

    fn plain_dot(a: &[f64], b: &[f64]) -> f64 {
        let mut sums = [0.0; 8];
        let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
        let tail: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
        for (x, y) in a8.zip(b8) {
            for lane in 0..8 {
                sums[lane] += x[lane] * y[lane];
            }
        }
        sums.iter().sum::<f64>() + tail
    }

    /// Initial weights of that many units are those of every result that was published with them.
    #[test]
    fn rows_taken_one_by_one_have_the_bits_of_the_plain_order() {
        for (rows, columns) in
            [(1, 1), (1, 4), (2, 8), (3, 12), (7, 28), (8, 9), (50, 200), (301, 1204)]
        {
            let expected = plain(gaussian(rows, columns), columns);
            let got = orthonormal(gaussian(rows, columns), columns, 2);
            assert!(got.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{rows}");
        }
    }

    #[test]
    fn rows_of_a_large_matrix_are_orthonormal_and_the_same_for_any_number_of_threads() {
        let (rows, columns) = (ONE_BY_ONE + 70, ONE_BY_ONE + 77);
        let q = orthonormal(gaussian(rows, columns), columns, 1);
        assert!(q == orthonormal(gaussian(rows, columns), columns, 3));
        let row = |i: usize| &q[i * columns..][..columns];
        for (i, j) in (0..rows).flat_map(|i| [0, i / 2, i, rows - 1].map(|j| (i, j))) {
            let expected = f64::from(u8::from(i == j));
            let product = dot(row(i), row(j));
            assert!((product - expected).abs() < 1e-13, "rows {i} and {j}: {product}");
        }
        // The same matrix but for rounding.
        let largest = plain(gaussian(rows, columns), columns)
            .iter()
            .zip(&q)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(largest < 1e-12, "{largest:e}");
    }

    #[test]
    fn work_ends_where_whoever_watches_says_so_and_is_told_whole() {
        for rows in [300, ONE_BY_ONE + 1] {
            let (told, columns) = (std::sync::Mutex::new(0.0), rows + 3);
            let watch = |numbers: f64| {
                *told.lock().unwrap() += numbers;
                Ok(())
            };
            orthonormalise(&mut gaussian(rows, columns), columns, &ThreadPool::new(2), &watch)
                .unwrap();
            let all = (rows * rows * columns) as f64;
            assert!((told.into_inner().unwrap() / all - 1.0).abs() < 1e-9);
            let enough = |_| anyhow::bail!("enough");
            let mut values = gaussian(rows, columns);
            assert!(orthonormalise(&mut values, columns, &ThreadPool::new(2), &enough).is_err());
        }
    }
}
