//! Progress of a training, on standard error.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::base::input::printable;
use crate::base::statistics::{Distribution, figure};
use crate::data::epochs::Epochs;
use crate::run::curves::{Column, CurveRow, TRAINING, VALIDATION};

/// Prints a line on standard error, [`printable`]. Nobody reading there is no reason to end a run.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}", printable(&line.to_string()));
}

/// Asks for a line on standard error, where it is typed behind the question.
pub fn prompt() {
    let _ = write!(std::io::stderr(), "> ");
}

/// Time between lines where standard error is no terminal.
const PAUSE: Duration = Duration::from_secs(10);

/// One bar on a terminal, a line now and then elsewhere, or nothing.
pub struct Progress {
    epochs: i64,
    /// Steps that were done before.
    first: i64,
    steps: i64,
    /// The figures of the last validation.
    validation: String,
    shown: Shown,
}

enum Shown {
    Nothing,
    Bar(ProgressBar),
    Lines { start: Instant, last: Instant },
}

impl Shown {
    /// `bar` on a terminal.
    fn new(quiet: bool, bar: impl FnOnce() -> ProgressBar) -> Self {
        if quiet {
            Self::Nothing
        } else if std::io::stderr().is_terminal() {
            Self::Bar(bar())
        } else {
            let now = Instant::now();
            Self::Lines { start: now, last: now }
        }
    }
}

impl Progress {
    /// Progress of a training of `epochs` that goes on after `first` steps.
    pub fn new(epochs: &Epochs, first: i64, quiet: bool) -> Self {
        let steps = epochs.steps();
        let shown = Shown::new(quiet, || {
            let bar = ProgressBar::new(steps as u64).with_position(first as u64);
            let template = "{bar:24} {msg}  {speed} steps/s, {eta} left";
            let style =
                ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
            bar.set_style(style.with_key(
                "speed",
                |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                    let _ = write!(out, "{:.0}", state.per_sec());
                },
            ));
            bar.reset_eta();
            bar
        });
        Self { epochs: epochs.count, first, steps, validation: String::new(), shown }
    }

    /// A step was done.
    pub fn step(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.inc(1);
        }
    }

    /// Rows were logged, of each logging point one a replica.
    pub fn rows(&mut self, rows: &[CurveRow]) {
        if matches!(self.shown, Shown::Nothing) {
            return;
        }
        // One that has diverged has no loss.
        let last = rows.iter().filter(|row| !row.loss.is_nan()).max_by_key(|row| row.step);
        let (Some(row), Some(figures)) = (last, self.figures(rows)) else { return };
        let message = format!("epoch {}/{}  {figures}", row.epoch, self.epochs);
        match &mut self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_message(message),
            Shown::Lines { start, last } => {
                if last.elapsed() >= PAUSE {
                    *last = Instant::now();
                    let speed = (row.step - self.first) as f64 / start.elapsed().as_secs_f64();
                    let left = (self.steps - row.step) as f64 / speed;
                    say(format!(
                        "{message}  step {}/{}  {speed:.0} steps/s, {left:.0} s left",
                        row.step, self.steps
                    ));
                }
            }
        }
    }

    /// Means over the replicas that have not diverged, at the last step of `rows`, with those of the last
    /// validation; `None` if all have.
    fn figures(&mut self, rows: &[CurveRow]) -> Option<String> {
        let mean = |value: fn(&CurveRow) -> Option<f64>| {
            let left = rows.iter().filter(|row| !row.loss.is_nan());
            let known = left.filter_map(|row| Some((row.step, value(row)?)));
            let last = known.clone().map(|(step, _)| step).max()?;
            let values: Vec<f64> =
                known.filter(|known| known.0 == last).map(|known| known.1).collect();
            Some(figure(Distribution::of(&values)?.mean))
        };
        let shown = |columns: &[Column]| {
            let known = columns.iter().filter_map(|(name, value)| Some((name, mean(*value)?)));
            let figures: Vec<String> = known.map(|(name, mean)| format!("{name} {mean}")).collect();
            (!figures.is_empty()).then(|| figures.join("  "))
        };
        let training = shown(&TRAINING)?;
        if let Some(validation) = shown(&VALIDATION) {
            self.validation = format!("  {validation}");
        }
        Some(training + &self.validation)
    }

    /// Prints a line beside the progress, unless all is to be quiet.
    pub fn note(&self, line: impl std::fmt::Display) {
        match &self.shown {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.suspend(|| say(line)),
            Shown::Lines { .. } => say(line),
        }
    }

    /// The training ended; what is printed next starts on a clean line.
    pub fn end(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// How long weights may be drawn before anything is said of it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Progress of the drawing of initial weights, by many threads, where it takes its time.
pub struct Drawing {
    quiet: bool,
    begin: Instant,
    told: Mutex<Told>,
}

struct Told {
    /// Of the work, from 0 to 1.
    done: f64,
    /// Once it has begun to be shown.
    shown: Option<Shown>,
}

impl Drawing {
    /// Progress of work that begins now.
    pub fn new(quiet: bool) -> Self {
        let told = Mutex::new(Told { done: 0.0, shown: None });
        Self { quiet, begin: Instant::now(), told }
    }

    /// A part of the whole work was done.
    pub fn add(&self, part: f64) {
        let Ok(mut told) = self.told.lock() else { return };
        told.done += part;
        let (done, so_far) = (told.done, self.begin.elapsed());
        if so_far < PATIENCE {
            return;
        }
        let line = format!(
            "drawing the initial weights: {:.0} %, {:.0} s left",
            100.0 * done,
            so_far.as_secs_f64() * (1.0 - done) / done
        );
        let first = told.shown.is_none();
        match told.shown.get_or_insert_with(|| Shown::new(self.quiet, ProgressBar::new_spinner)) {
            Shown::Nothing => {}
            Shown::Bar(bar) => bar.set_message(line),
            Shown::Lines { last, .. } => {
                if first || last.elapsed() >= PAUSE {
                    *last = Instant::now();
                    say(line);
                }
            }
        }
    }

    /// The work ended; what is printed next starts on a clean line.
    pub fn end(&self) {
        if let Ok(told) = self.told.lock()
            && let Some(Shown::Bar(bar)) = &told.shown
        {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    #[test]
    fn the_last_validation_is_shown_until_the_next() {
        let config = presets::find("echo").unwrap().config;
        let mut progress = Progress::new(&Epochs::of(&config), 0, true);
        let row = |loss: f64, val_loss: Option<f64>| CurveRow {
            replica: 0,
            seed: 1,
            epoch: 1,
            step: 4,
            samples: 20,
            loss,
            accuracy: Some(0.5),
            val_loss,
            val_accuracy: val_loss.map(|_| 0.25),
            val_sequence_accuracy: None,
            learning_rate: 0.1,
            grad_norm: None,
            seconds: 0.1,
        };
        let mut figures = |rows: &[CurveRow]| progress.figures(rows);
        assert_eq!(figures(&[row(1.0, None)]).unwrap(), "loss 1.0000  accuracy 0.5000");
        let validated = [row(1.0, Some(2.0)), row(3.0, Some(4.0)), row(f64::NAN, None)];
        let validation = "val_loss 3.0000  val_accuracy 0.2500";
        let shown = format!("loss 2.0000  accuracy 0.5000  {validation}");
        assert_eq!(figures(&validated).unwrap(), shown);
        assert!(figures(&[row(9.0, None)]).unwrap().ends_with(validation));
        assert_eq!(figures(&[row(f64::NAN, None)]), None);
    }
}
