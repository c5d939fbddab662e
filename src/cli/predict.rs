//! The flags of `seqlab predict`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::search::SearchArgs;
use super::values::{device, replica, which, whole};
use crate::commands::{self, WIDEST};
use crate::config::DeviceChoice;

#[derive(Debug, Args)]
pub(super) struct PredictArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Ids separated by spaces, or a question such as 12+3 (addition) [default: standard input, one
    /// source a line; a line that is none is reported and answered by an empty one]
    #[arg(long, allow_hyphen_values = true)]
    source: Option<String>,
    /// File of sources, one a line, in place of standard input; of a series, the file to go on with
    #[arg(long, value_name = "FILE", conflicts_with = "source")]
    source_file: Option<PathBuf>,
    /// Which replica of the run predicts
    #[arg(
        long,
        value_name = "K",
        default_value = "0",
        allow_negative_numbers = true,
        value_parser = replica(),
        conflicts_with = "ensemble"
    )]
    replica: i64,
    /// The weights where val_loss was lowest, not the last; of a run with --validate-every
    #[arg(long)]
    best: bool,
    #[command(flatten)]
    search: SearchArgs,
    /// Print a table with the N best targets of each source, their log-probabilities and scores
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = whole("n_best", 1, WIDEST)
    )]
    n_best: Option<i64>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: DeviceChoice,
}

impl PredictArgs {
    /// Does it; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let Self { run, source, source_file, replica, best, search, n_best, device } = self;
        let input = io::stdin();
        let prompt = input.is_terminal() && io::stderr().is_terminal();
        let (which, decoding) = (which(best), search.decoding(n_best)?);
        let what = commands::Predict { run, source, source_file, replica, which, decoding, device };
        commands::predict(&what, &mut input.lock(), prompt, out)
    }
}
