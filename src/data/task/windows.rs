//! What tasks have in common whose samples are windows of a series in a file.

use rand::seq::SliceRandom;

use super::checks::check_shares;
use crate::base::rng::{Purpose, Stream};
use crate::config::{Config, Invalid};
use crate::data::files::windows::{Windows, place, shares};

/// How many windows are trained on, validated on and evaluated on, of those that there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Samples([usize; 3]);

impl Samples {
    /// Those of `config`.
    pub(super) fn of(config: &Config) -> Self {
        let &Config { samples, validation_samples, evaluation_samples, .. } = config;
        let samples = [samples.unwrap_or(0), validation_samples, evaluation_samples];
        Self(samples.map(|n| n as usize))
    }

    /// All windows that are evaluated on, and no others.
    pub(super) fn of_test(windows: &Windows) -> Self {
        Self([0, 0, windows.of(Purpose::Evaluation).len()])
    }

    /// How many are for `purpose`.
    pub(super) fn count(&self, purpose: Purpose) -> usize {
        self.0[place(purpose)]
    }

    /// The first row of window `index` of those that are evaluated for `purpose`.
    pub(super) fn first(&self, windows: &Windows, purpose: Purpose, index: usize) -> u32 {
        let windows = windows.of(purpose);
        windows[index * windows.len() / self.count(purpose)]
    }

    /// The first row of every sample of an epoch: training windows in an order that (seed, epoch)
    /// determines; of the others as many as are asked for, in the order of time, evenly over their part.
    pub(super) fn epoch<'a>(
        &'a self,
        windows: &'a Windows,
        (seed, purpose, epoch): (u64, Purpose, u64),
    ) -> impl Fn(usize) -> u32 + 'a {
        let order = (purpose == Purpose::Training).then(|| {
            let mut order = windows.of(purpose).to_vec();
            order.shuffle(&mut Stream::new(seed, purpose).at(epoch));
            order
        });
        move |index| match &order {
            Some(order) => order[index],
            None => self.first(windows, purpose, index),
        }
    }
}

/// How many of `windows` are for what, for people.
pub(super) fn about(windows: &Windows) -> String {
    let [training, validation, evaluation] = windows.counts();
    format!(
        "{training} windows to train on, {validation} to validate on, {evaluation} to evaluate on"
    )
}

/// The parts that are held out are some, and leave one.
pub(super) fn check_parts(config: &Config) -> Result<(), Invalid> {
    if config.validation_fraction == Some(0.0) {
        let why = ": some rows have to be validated on";
        return Err(Invalid::new("validation_fraction", 0.0, "a number above 0").because(why));
    }
    check_shares(shares(config))
}

/// No state is carried from window to window.
pub(super) fn check_stateless(config: &Config) -> Result<(), Invalid> {
    if !config.stateful {
        return Ok(());
    }
    let why = ": no window of task series continues another, in an epoch's order";
    Err(Invalid::new("stateful", true, "false").because(why))
}

/// There are as many `windows` as `config` says, or enough.
///
/// # Errors
/// The first value that is not so.
pub fn check_windows(config: &Config, windows: &Windows) -> Result<(), Invalid> {
    let [training, validation, evaluation] = windows.counts().map(|n| n as i64);
    let samples = config.samples.unwrap_or(0);
    if samples != training {
        let why = ", the windows of the training part";
        return Err(Invalid::new("samples", samples, training.to_string()).because(why));
    }
    for (field, found, most, part) in [
        ("validation_samples", config.validation_samples, validation, "validation"),
        ("evaluation_samples", config.evaluation_samples, evaluation, "test"),
    ] {
        if found > most {
            let why = format!(", the windows of the {part} part");
            return Err(Invalid::new(field, found, format!("1 to {most}")).because(why));
        }
    }
    Ok(())
}
