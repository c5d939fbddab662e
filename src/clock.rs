//! How long this process has been running.

use std::time::Duration;

/// Time since the operating system started this process, loading libtorch included. `None` where
/// it does not tell.
pub fn since_process_start() -> Option<Duration> {
    // /proc/self/stat: after the name in parentheses, which may hold anything, field 22 (the 20th
    // of the rest) is the start in clock ticks since boot; Linux fixes a user-visible tick at 10 ms.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let ticks: f64 = stat.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(uptime - ticks / 100.0).ok()
}
