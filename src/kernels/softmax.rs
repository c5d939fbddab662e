//! Softmax of rows, and its gradient.

use crate::kernels::float::{Real, widest};
use crate::kernels::rows::{most, reduce};

widest! {
    /// Replaces every row of `columns` numbers by its softmax.
    softmax<F: Real>(rows: &mut [F], columns: usize) by softmax_body
}

#[inline(always)]
fn softmax_body<F: Real>(rows: &mut [F], columns: usize) {
    for row in rows.chunks_exact_mut(columns) {
        // No exponential of what is left is above 1.
        let most = most(row);
        row.iter_mut().for_each(|x| *x = (*x - most).exp());
        let factor = F::from(1.0) / reduce(row, F::from(0.0), |a, b| a + b);
        row.iter_mut().for_each(|x| *x = *x * factor);
    }
}

widest! {
    /// Replaces the gradient of `softmaxes`, rows of `columns` numbers, by that of what they are the
    /// softmax of: y ⊙ (dy − Σ y ⊙ dy).
    softmax_gradient<F: Real>(softmaxes: &[F], gradient: &mut [F], columns: usize)
    by softmax_gradient_body
}

#[inline(always)]
fn softmax_gradient_body<F: Real>(softmaxes: &[F], gradient: &mut [F], columns: usize) {
    let rows = gradient.chunks_exact_mut(columns).zip(softmaxes.chunks_exact(columns));
    for (gradient, softmax) in rows {
        gradient.iter_mut().zip(softmax).for_each(|(dy, &y)| *dy = y * *dy);
        let sum = reduce(gradient, F::from(0.0), |a, b| a + b);
        gradient.iter_mut().zip(softmax).for_each(|(dy, &y)| *dy = *dy - y * sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, salt: usize, spread: f64) -> Vec<f64> {
        let number = |i: usize| ((i * 389 + salt * 57 + 11) % 201) as f64 / 100.0 - 1.0;
        (0..len).map(|i| spread * number(i)).collect()
    }

    /// One row, from the formulas.
    fn exact(x: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let sum: f64 = x.iter().map(|x| x.exp()).sum();
        let y: Vec<f64> = x.iter().map(|x| x.exp() / sum).collect();
        let mean: f64 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
        let dx = y.iter().zip(dy).map(|(y, dy)| y * (dy - mean)).collect();
        (y, dx)
    }

    fn is_exact<F: Real>(bound: f64) {
        for columns in [1, 2, 3, 15, 16, 17, 40] {
            for spread in [0.5, 8.0, 60.0] {
                let (x, dy) = (numbers(3 * columns, 1, spread), numbers(3 * columns, 2, 1.0));
                let real = |x: &[f64]| x.iter().map(|&x| F::from_f64(x)).collect::<Vec<F>>();
                let (mut y, mut dx) = (real(&x), real(&dy));
                softmax(&mut y, columns);
                softmax_gradient(&y, &mut dx, columns);
                let rows = x.chunks_exact(columns).zip(dy.chunks_exact(columns));
                let (exact_y, exact_dx): (Vec<_>, Vec<_>) =
                    rows.map(|(x, dy)| exact(x, dy)).unzip();
                for (got, exact) in [(y, exact_y), (dx, exact_dx)] {
                    for (&got, exact) in got.iter().zip(exact.concat()) {
                        let error = (Into::<f64>::into(got) - exact).abs();
                        assert!(error <= bound, "{columns} columns, spread {spread}: {error:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn softmax_and_its_gradient_are_the_formulas() {
        is_exact::<f64>(1e-15);
        is_exact::<f32>(5e-6);
    }

    #[test]
    fn scores_of_any_size_give_finite_numbers() {
        let mut row = [-1e30f32, 1e30, 0.0];
        softmax(&mut row, 3);
        assert_eq!(row[1], 1.0);
        assert!(row[0] < 2e-38 && row[2] < 2e-38, "{row:?}");
    }

    #[test]
    fn what_is_not_a_number_shows() {
        for place in [0, 1, 16, 17] {
            let mut row = [0.5f32; 18];
            row[place] = f32::NAN;
            softmax(&mut row, 18);
            assert!(row.iter().all(|x| x.is_nan()), "{place}: {row:?}");
        }
    }

    #[test]
    fn vector_instructions_change_no_bit() {
        let single = |salt| numbers(75, salt, 3.0).iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let (mut wide, mut plain) = (single(1), single(1));
        softmax(&mut wide, 25);
        softmax_body(&mut plain, 25);
        assert_eq!(wide, plain);
        let (mut d_wide, mut d_plain) = (single(2), single(2));
        softmax_gradient(&wide, &mut d_wide, 25);
        softmax_gradient_body(&plain, &mut d_plain, 25);
        assert_eq!(d_wide, d_plain);
    }
}
