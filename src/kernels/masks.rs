//! Numbers times a mask, element by element.

use crate::kernels::float::{Real, widest};

widest! {
    /// `out` = `x` ⊙ `mask`.
    mask<F: Real>(x: &[F], mask: &[F], out: &mut [F]) by mask_body
}
widest! {
    /// Adds `x` ⊙ `mask` to `out`.
    add_masked<F: Real>(x: &[F], mask: &[F], out: &mut [F]) by add_masked_body
}
widest! {
    /// Replaces `x` by `x` ⊙ `mask`.
    mask_in_place<F: Real>(x: &mut [F], mask: &[F]) by mask_in_place_body
}

#[inline(always)]
fn mask_body<F: Real>(x: &[F], mask: &[F], out: &mut [F]) {
    out.iter_mut().zip(x).zip(mask).for_each(|((out, &x), &mask)| *out = x * mask);
}

#[inline(always)]
fn add_masked_body<F: Real>(x: &[F], mask: &[F], out: &mut [F]) {
    out.iter_mut().zip(x).zip(mask).for_each(|((out, &x), &mask)| *out += x * mask);
}

#[inline(always)]
fn mask_in_place_body<F: Real>(x: &mut [F], mask: &[F]) {
    x.iter_mut().zip(mask).for_each(|(x, &mask)| *x = *x * mask);
}
