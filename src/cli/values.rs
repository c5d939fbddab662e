//! What flags take: numbers within a range, devices, which weights.

use crate::base::input::quoted;
use crate::config::{self, DeviceChoice, Invalid};
use crate::train::checkpoint::Which;

/// The whole number `text`, for `flag`, which takes those from `low` to `high`.
pub(super) fn whole(
    flag: &'static str,
    low: i64,
    high: i64,
) -> impl Fn(&str) -> Result<i64, Invalid> + Clone {
    move |text| {
        let number = text.parse();
        number.map_err(|_| {
            Invalid::new(flag, quoted(text), format!("a whole number from {low} to {high}"))
        })
    }
}

/// Which weights are meant.
pub(super) fn which(best: bool) -> Which {
    if best { Which::Best } else { Which::Last }
}

/// As [`whole`], for the flag of a field.
pub(super) fn number(field: &'static str) -> impl Fn(&str) -> Result<i64, Invalid> + Clone {
    let (low, high) = config::range(field);
    whole(field, low, high)
}

/// As [`whole`], for the number of a replica.
pub(super) fn replica() -> impl Fn(&str) -> Result<i64, Invalid> + Clone {
    whole("replica", 0, config::range("replicas").1 - 1)
}

/// The exponent `text` of a length.
pub(super) fn length_penalty(text: &str) -> Result<f64, Invalid> {
    let alpha = text.parse().ok().filter(|alpha| (0.0..=10.0).contains(alpha));
    alpha.ok_or_else(|| Invalid::new("length_penalty", quoted(text), "a number from 0 to 10"))
}

/// The device `text`.
pub(super) fn device(text: &str) -> Result<DeviceChoice, Invalid> {
    let invalid = |_| Invalid::new("device", quoted(text), DeviceChoice::EXPECTED);
    text.parse().map_err(invalid)
}
