//! What makes a training stop early.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread::Builder;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::low_level::exit;

use crate::base::error::UserError;
use crate::run::progress::say;

/// Whether the user, or the system, asked for an end.
pub(super) struct Stop {
    /// Set as soon as they did.
    pub now: Arc<AtomicBool>,
    signal: Arc<AtomicI32>,
}

impl Stop {
    /// One that SIGINT and SIGTERM set. The second of them ends the process at once.
    ///
    /// # Errors
    /// The system's.
    pub fn on_signal() -> Result<Self> {
        let stop = Self { now: Arc::default(), signal: Arc::default() };
        let (now, first) = (Arc::clone(&stop.now), Arc::clone(&stop.signal));
        let mut signals =
            Signals::new([SIGINT, SIGTERM]).context("cannot handle SIGINT and SIGTERM")?;
        let watch = move || {
            for signal in signals.forever() {
                // Not by `now`, which a worker's end of input sets as well.
                if first.swap(signal, Ordering::Relaxed) != 0 {
                    exit(status(signal).into());
                }
                now.store(true, Ordering::Release);
                say("interrupted: finishing the step; once more ends at once");
            }
        };
        Builder::new().name("signals".to_owned()).spawn(watch).map_err(no_thread)?;
        // A file that reaches its size limit is then an error of the write, not the end.
        flag::register(SIGXFSZ, Arc::default()).context("cannot handle SIGXFSZ")?;
        Ok(stop)
    }

    /// Whether a signal has come.
    pub fn by_signal(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// The exit status of a process that was asked to end.
    pub fn status(&self) -> ExitCode {
        ExitCode::from(status(self.signal.load(Ordering::Relaxed)))
    }
}

/// That the thread which waits for signals could not be started, for `reason`.
fn no_thread(reason: std::io::Error) -> UserError {
    let error = UserError::failure(format!("cannot start a thread: {reason}"));
    error.hint("end other programs, or raise the limit on processes (ulimit -u)")
}

/// What a shell tells of a process that the signal ended.
fn status(signal: i32) -> u8 {
    128 + signal as u8
}
