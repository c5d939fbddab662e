//! The epochs of a run in steps, samples and rows.

use crate::config::{Config, Invalid, MANY};
use crate::data::task::Task;

/// The epochs of a run. Only its task knows how many samples they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epochs {
    /// How many there are.
    pub count: i64,
    /// Samples in each.
    samples: i64,
    batch_size: i64,
    log_every: Option<i64>,
}

impl Epochs {
    /// Those of a run of `task`, which is that of `config`.
    pub fn new(config: &Config, task: &Task) -> Self {
        let &Config { epochs: count, batch_size, log_every, .. } = config;
        Self { count, samples: task.samples_per_epoch() as i64, batch_size, log_every }
    }

    /// The same where no task is at hand.
    pub fn of(config: &Config) -> Self {
        Self::new(config, &Task::new(config))
    }

    /// Optimiser steps in one.
    pub fn steps_per_epoch(&self) -> i64 {
        (self.samples + self.batch_size - 1) / self.batch_size
    }

    /// Optimiser steps in all.
    pub fn steps(&self) -> i64 {
        self.count * self.steps_per_epoch()
    }

    /// Epochs finished after `step` steps, and batches done of the next epoch.
    pub fn done(&self, step: i64) -> (i64, i64) {
        (step / self.steps_per_epoch(), step % self.steps_per_epoch())
    }

    /// Samples that each replica has seen after `step` steps.
    pub fn samples_seen(&self, step: i64) -> i64 {
        let (epochs, batches) = self.done(step);
        epochs * self.samples + batches * self.batch_size
    }

    /// Logging points in the first `step` steps: one in `log_every` steps or an epoch, and one at the
    /// end of the run.
    pub fn rows_due(&self, step: i64) -> i64 {
        let every = self.log_every.unwrap_or(self.steps_per_epoch());
        let closing = step == self.steps() && step % every != 0;
        step / every + i64::from(closing)
    }

    /// Checks that a run can have them. The last batch of an epoch may be smaller, unless all have
    /// to be `whole`.
    ///
    /// # Errors
    /// If batches have to be whole and the batch size does not divide the samples, or there are too
    /// many epochs.
    pub fn check(&self, whole: bool) -> Result<(), Invalid> {
        let &Self { count, samples, batch_size, .. } = self;
        if whole && samples % batch_size != 0 {
            let expected = format!(
                "a divisor of the {samples} samples of an epoch: {}",
                first_divisors(samples)
            );
            return Err(Invalid::new("batch_size", batch_size, expected));
        }
        if count.checked_mul(samples).is_none_or(|total| total > i64::MAX / 2) {
            let invalid = Invalid::new("epochs", count, "fewer");
            return Err(invalid.because(", for so many samples each"));
        }
        Ok(())
    }
}

/// The smallest divisors of `n`, as many as a message can hold.
fn first_divisors(n: i64) -> String {
    const SHOWN: usize = 12;
    let divisors = (1..=n.min(MANY)).filter(|d| n % d == 0).take(SHOWN);
    let divisors: Vec<String> = divisors.map(|d| d.to_string()).collect();
    divisors.join(", ") + if divisors.len() == SHOWN { ", …" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    #[test]
    fn epochs_have_the_published_number_of_steps() {
        let of = |preset: presets::Preset| Epochs::of(&preset.config).steps_per_epoch();
        let steps: Vec<_> = presets::all().into_iter().map(of).collect();
        assert_eq!(steps, [4, 1, 1, 1, 3125, 3, 25, 4, 4, 1, 1, 100, 141, 1407]);
    }

    #[test]
    fn steps_come_to_samples_and_rows() {
        let reverse = presets::find("reverse").unwrap().config;
        let config =
            Config { samples: Some(10), batch_size: 4, epochs: 2, log_every: Some(4), ..reverse };
        let epochs = Epochs::of(&config);
        assert_eq!((epochs.steps_per_epoch(), epochs.steps()), (3, 6));
        // The last batch of an epoch has two samples; the run ends between two rows.
        let seen =
            [0, 1, 2, 3, 4, 5, 6].map(|step| (epochs.samples_seen(step), epochs.rows_due(step)));
        assert_eq!(seen, [(0, 0), (4, 0), (8, 0), (10, 0), (14, 1), (18, 1), (20, 2)]);
        assert_eq!(epochs.done(5), (1, 2));
    }
}
