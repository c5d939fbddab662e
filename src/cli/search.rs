//! The flags of how answers are searched.

use clap::Args;

use super::values::{length_penalty, whole};
use crate::base::error::UserError;
use crate::commands::{Decoding, WIDEST};
use crate::config::within;

/// How answers are searched.
#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// Search with a beam of K hypotheses, to which a decoder's ids are fed back, not its softmax; 1
    /// takes the most probable id at every step [default: no search, or predict's --n-best]
    #[arg(
        long,
        value_name = "K",
        allow_negative_numbers = true,
        value_parser = whole("beam_width", 1, WIDEST)
    )]
    beam_width: Option<i64>,
    /// Rank hypotheses by log-probability / length^A, for targets that differ in length: 0 prefers
    /// short ones, 1 is the mean over ids [default: 0]
    #[arg(long, value_name = "A", allow_negative_numbers = true, value_parser = length_penalty)]
    length_penalty: Option<f64>,
    /// All replicas together, as one model: the mean of their log-probabilities is searched
    #[arg(long)]
    ensemble: bool,
}

impl SearchArgs {
    /// How they are searched by a command that may be asked for the `n_best` of them.
    ///
    /// # Errors
    /// A number that is out of its range.
    pub(super) fn decoding(&self, n_best: Option<i64>) -> Result<Decoding, UserError> {
        let &Self { beam_width, length_penalty, ensemble } = self;
        for (flag, value) in [("beam_width", beam_width), ("n_best", n_best)] {
            if let Some(value) = value {
                within(flag, value, 1, WIDEST).map_err(UserError::usage)?;
            }
        }
        Ok(Decoding { beam_width, length_penalty, n_best, ensemble })
    }
}
