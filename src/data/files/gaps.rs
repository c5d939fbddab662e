//! Missing values of a series, which are NaN here, and what stands in for them.

use std::ops::Range;

use crate::config::Missing;

/// Fills what is missing in `values`, whose rows fall into `parts`, one behind the other: from earlier
/// parts or the same, never from a later one.
///
/// - `previous`: the value before it.
/// - `interpolate`: what a straight line between the values on both sides has there; where the part
///   ends first, the value before, and where the series begins, the value behind. It looks ahead: a
///   source may so know something of its target.
/// - `refuse` and `skip_windows`: nothing.
///
/// # Errors
/// The first row for which there is no value.
pub fn fill(values: &mut [f64], parts: &[Range<usize>], how: Missing) -> Result<(), usize> {
    if [Missing::Refuse, Missing::SkipWindows].contains(&how) {
        return Ok(());
    }
    for part in parts {
        let mut row = part.start;
        while let Some(gap) = next_gap(values, row..part.end) {
            let before = gap.start.checked_sub(1).map(|row| values[row]);
            let behind =
                (gap.end < part.end && how == Missing::Interpolate).then(|| values[gap.end]);
            let steps = (gap.len() + 1) as f64;
            for (i, value) in values[gap.clone()].iter_mut().enumerate() {
                *value = match (before, behind) {
                    (Some(before), Some(behind)) => {
                        let way = (i + 1) as f64 / steps;
                        before * (1.0 - way) + behind * way
                    }
                    (Some(one), None) | (None, Some(one)) => one,
                    (None, None) => return Err(gap.start),
                };
            }
            row = gap.end;
        }
    }
    Ok(())
}

/// The first rows of `rows`, one after the other, without a value.
fn next_gap(values: &[f64], rows: Range<usize>) -> Option<Range<usize>> {
    let start = rows.start + values[rows.clone()].iter().position(|value| value.is_nan())?;
    let length = values[start..rows.end].iter().take_while(|value| value.is_nan()).count();
    Some(start..start + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: f64 = f64::NAN;

    fn filled(values: &[f64], parts: &[Range<usize>], how: Missing) -> Result<Vec<f64>, usize> {
        let mut values = values.to_vec();
        fill(&mut values, parts, how).map(|()| values)
    }

    #[test]
    fn a_gap_has_the_value_before_or_a_line_through_it() {
        let values = [1.0, N, N, 4.0, N, 6.0, N];
        let previous = filled(&values, std::slice::from_ref(&(0..7)), Missing::Previous);
        assert_eq!(previous.unwrap(), [1.0, 1.0, 1.0, 4.0, 4.0, 6.0, 6.0]);
        let line = filled(&values, std::slice::from_ref(&(0..7)), Missing::Interpolate);
        assert_eq!(line.unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.0]);
        let skipped = filled(&values, std::slice::from_ref(&(0..7)), Missing::SkipWindows).unwrap();
        assert_eq!(skipped.iter().filter(|value| value.is_nan()).count(), 4);
    }

    #[test]
    fn no_part_is_filled_from_a_later_one() {
        let values = [1.0, N, N, N, 9.0, N, 3.0];
        let line = filled(&values, &[0..3, 3..6, 6..7], Missing::Interpolate).unwrap();
        assert_eq!(line, [1.0, 1.0, 1.0, 5.0, 9.0, 9.0, 3.0]);
    }

    #[test]
    fn a_series_that_begins_with_a_gap_has_no_value_before() {
        let values = [N, N, 2.0];
        assert_eq!(filled(&values, std::slice::from_ref(&(0..3)), Missing::Previous), Err(0));
        assert_eq!(
            filled(&values, std::slice::from_ref(&(0..3)), Missing::Interpolate).unwrap(),
            [2.0; 3]
        );
        assert_eq!(filled(&values, &[0..2, 2..3], Missing::Interpolate), Err(0));
    }
}
