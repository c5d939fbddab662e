//! What the benchmarks measure.

use seqlab::config::Config;
use seqlab::config::presets;

/// The published experiments under the names that `scripts/bench` has for them, and `reverse` with a
/// larger batch.
pub fn experiments() -> Vec<(&'static str, Config)> {
    let preset = |name| presets::find(name).unwrap_or_else(|| unreachable!("{name}")).config;
    vec![
        ("echo", preset("echo")),
        ("partial-echo-2", preset("partial-echo-2")),
        ("partial-echo-4", preset("partial-echo-4")),
        ("reverse-32", preset("reverse")),
        ("reverse-256", Config { batch_size: 256, ..preset("reverse") }),
    ]
}
