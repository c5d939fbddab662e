//! The flags of `seqlab evaluate`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::search::SearchArgs;
use super::values::{device, which, whole};
use crate::base::error::UserError;
use crate::commands;
use crate::config::{DeviceChoice, MANY, within};

#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Fresh samples a replica, rounded up to whole sequences; at most those held out (addition)
    /// [default: as after training]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = whole("samples", 1, MANY)
    )]
    samples: Option<i64>,
    /// File of data to evaluate on in place of the run's own, all of it (pairs, series)
    #[arg(long, value_name = "FILE", conflicts_with = "samples")]
    test: Option<PathBuf>,
    /// The weights where val_loss was lowest, not the last; of a run with --validate-every
    #[arg(long)]
    best: bool,
    #[command(flatten)]
    search: SearchArgs,
    /// Print JSON: the `replicas` list of summary.json with this evaluation, or
    /// with --ensemble its seeds and evaluation
    #[arg(long)]
    json: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: DeviceChoice,
}

impl EvaluateArgs {
    /// Does it; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let Self { run, samples, test, best, search, json, device } = self;
        if let Some(samples) = samples {
            within("samples", samples, 1, MANY).map_err(UserError::usage)?;
        }
        let (which, decoding) = (which(best), search.decoding(None)?);
        let what = commands::Evaluate { run, samples, test, which, decoding, device, json };
        commands::evaluate(&what, out)
    }
}
