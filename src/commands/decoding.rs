//! How a run's answers are searched, as flags of `evaluate` and `predict` say.

use super::trained::Trained;
use crate::base::error::UserError;
use crate::config::Config;
use crate::data::task::Task;
use crate::run::progress::say;
use crate::train::decode::Search;

/// The most hypotheses of a source.
pub const WIDEST: i64 = 1024;

/// How answers are searched.
#[derive(Debug, Clone, Copy, Default)]
pub struct Decoding {
    /// Hypotheses of a source that are kept after every step.
    pub beam_width: Option<i64>,
    /// The exponent of the length that log-probabilities are divided by.
    pub length_penalty: Option<f64>,
    /// Hypotheses of a source that are shown.
    pub n_best: Option<i64>,
    /// Whether all replicas answer together.
    pub ensemble: bool,
}

impl Decoding {
    /// Checks it for `task`, that of a run with this configuration.
    ///
    /// # Errors
    /// What is impossible, or has no effect.
    pub(super) fn check(&self, config: &Config, task: &Task) -> Result<(), UserError> {
        let asked = [
            ("--beam-width", self.beam_width.is_some()),
            ("--n-best", self.n_best.is_some()),
            ("--ensemble", self.ensemble),
            ("--length-penalty", self.length_penalty.is_some()),
        ];
        if let Some((flag, _)) = asked.into_iter().find(|(_, asked)| *asked && config.vocab == 0) {
            let error =
                format!("{flag}: is for ids, and the run has numbers (--loss {})", config.loss);
            return Err(UserError::usage(error).hint(format!("leave {flag} out")));
        }
        let width = self.width();
        if let Some(n) = self.n_best.filter(|n| *n > width) {
            let error = format!("--n-best {n}: expected at most the --beam-width, {width}");
            return Err(UserError::usage(error).hint(format!("give --beam-width {n}")));
        }
        if self.ensemble && config.replicas == 1 {
            let error = "--ensemble: the run has one replica, which answers alike without it";
            let hint = "train --replicas N trains several side by side";
            return Err(UserError::usage(error).hint(hint));
        }
        self.check_length_penalty(config, task)
    }

    fn check_length_penalty(&self, config: &Config, task: &Task) -> Result<(), UserError> {
        let Some(alpha) = self.length_penalty else { return Ok(()) };
        let idle = |why: String, hint: &str| {
            let error = format!("--length-penalty {alpha}: has no effect, {why}");
            Err(UserError::usage(error).hint(hint))
        };
        if task.end().is_none() {
            let Config { task, n_out, .. } = config;
            let why = format!("every target of {task} has {n_out} ids");
            return idle(why, "leave it out; it is for targets of different lengths");
        }
        match self.width() {
            1 => idle("where there is one hypothesis".to_owned(), "give --beam-width 2 or more"),
            _ => Ok(()),
        }
    }

    /// K.
    pub(super) fn width(&self) -> i64 {
        self.beam_width.or(self.n_best).unwrap_or(1)
    }

    /// The search of `trained`, which holds all replicas that are asked, for answers to `task`;
    /// `None`: they are decoded as in training's validation. Tells of replicas that an ensemble goes
    /// without.
    ///
    /// # Errors
    /// If no replica is left.
    pub(super) fn search(
        &self,
        trained: &Trained,
        task: &Task,
    ) -> Result<Option<Search>, UserError> {
        let asked = self.beam_width.is_some() || self.n_best.is_some() || self.ensemble;
        let ensemble = self.ensemble.then(|| voters(trained)).transpose()?;
        let search = || Search {
            width: self.width(),
            length_penalty: self.length_penalty.unwrap_or(0.0),
            end: task.end(),
            ensemble,
        };
        Ok(asked.then(search))
    }
}

/// The replicas that have not diverged.
fn voters(trained: &Trained) -> Result<Vec<i64>, UserError> {
    let (out, left): (Vec<i64>, Vec<i64>) =
        (0..trained.config.replicas).partition(|&k| trained.diverged[k as usize]);
    if left.is_empty() {
        return Err(UserError::failure("--ensemble: every replica has diverged"));
    }
    for k in out {
        say(format!("replica {k} has diverged; the ensemble goes without it"));
    }
    Ok(left)
}
