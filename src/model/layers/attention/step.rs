//! Attention of one query over the outputs of an encoder where they lie: for a decoder that runs step by
//! step, and would gather them for every step anew.

use super::additive::{Pairs, score_of};
use crate::kernels::float::{Real, widest};
use crate::kernels::rows::reduce;

widest! {
    /// Writes the products of `query` with the rows of `keys` at `places`.
    products<F: Real>(query: &[F], keys: &[F], places: &[usize], scores: &mut [F]) by products_body
}
widest! {
    /// Writes the additive scores of the one query of `pairs` with the keys at `places`; `term` has room
    /// for as many numbers as it has.
    sums<F: Real>(pairs: Pairs<'_, F>, places: &[usize], term: &mut [F], scores: &mut [F])
    by sums_body
}
widest! {
    /// Writes the sum of the rows of `values` at `places`, each multiplied by its weight.
    mean<F: Real>(weights: &[F], values: &[F], places: &[usize], out: &mut [F]) by mean_body
}

#[inline(always)]
fn products_body<F: Real>(query: &[F], keys: &[F], places: &[usize], scores: &mut [F]) {
    let width = query.len();
    for (place, score) in places.iter().zip(scores) {
        *score = product(query, &keys[place * width..][..width]);
    }
}

/// In 16 interleaved sums, which fit into vector registers.
#[inline(always)]
fn product<F: Real>(a: &[F], b: &[F]) -> F {
    let zero = F::from(0.0);
    let (a, b) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest = a.remainder().iter().zip(b.remainder());
    let rest = rest.fold(zero, |sum, (&x, &y)| sum + x * y);
    let mut sums = [zero; 16];
    for (a, b) in a.zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    reduce(&sums, zero, |x, y| x + y) + rest
}

#[inline(always)]
fn sums_body<F: Real>(pairs: Pairs<'_, F>, places: &[usize], term: &mut [F], scores: &mut [F]) {
    let Pairs { queries: query, keys, scale } = pairs;
    let width = query.len();
    for (place, score) in places.iter().zip(scores) {
        *score = score_of(query, &keys[place * width..][..width], scale, term);
    }
}

#[inline(always)]
fn mean_body<F: Real>(weights: &[F], values: &[F], places: &[usize], out: &mut [F]) {
    let width = out.len();
    out.fill(F::from(0.0));
    for (place, &weight) in places.iter().zip(weights) {
        let value = &values[place * width..][..width];
        out.iter_mut().zip(value).for_each(|(sum, &x)| *sum += weight * x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: [usize; 3] = [4, 0, 3];

    fn numbers(len: usize, salt: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 389 + salt * 57 + 11) % 201) as f64 / 100.0 - 1.0).collect()
    }

    #[test]
    fn rows_are_read_where_they_lie() {
        for width in [1, 3, 16, 19, 35] {
            let (query, scale) = (numbers(width, 1), numbers(width, 2));
            let (rows, weights) = (numbers(5 * width, 3), numbers(3, 4));
            let (mut got, mut term, mut out) = ([9.0; 3], vec![9.0; width], vec![9.0; width]);
            let row = |place: usize| &rows[place * width..][..width];
            let of_rows = |term: &dyn Fn(usize, f64) -> f64| {
                let sum = |place| row(place).iter().enumerate().map(|(i, &x)| term(i, x)).sum();
                PLACES.map(sum)
            };
            let check = |got: &[f64], exact: &[f64], what: &str| {
                let close = got.iter().zip(exact).all(|(x, y)| (x - y).abs() < 1e-13);
                assert!(
                    close && got.len() == exact.len(),
                    "{what}, {width}: {got:?}, not {exact:?}"
                );
            };
            products(&query, &rows, &PLACES, &mut got);
            check(&got, &of_rows(&|i, x| query[i] * x), "products");
            let pairs = Pairs { queries: &query, keys: &rows, scale: &scale };
            sums(pairs, &PLACES, &mut term, &mut got);
            check(&got, &of_rows(&|i, x| scale[i] * (query[i] + x).tanh()), "sums");
            mean(&weights, &rows, &PLACES, &mut out);
            let of_column = |i: usize| {
                let terms =
                    PLACES.iter().zip(&weights).map(|(&place, weight)| weight * row(place)[i]);
                terms.sum::<f64>()
            };
            check(&out, &(0..width).map(of_column).collect::<Vec<_>>(), "mean");
        }
    }
}
