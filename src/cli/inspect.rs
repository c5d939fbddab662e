//! The flags of `seqlab inspect`.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::values::{device, replica, which};
use crate::commands::{self, Format};
use crate::config::DeviceChoice;

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Ids separated by spaces, or a question such as 12+3 (addition) [default: all lines of standard
    /// input, one source a line]
    #[arg(long, allow_hyphen_values = true)]
    source: Option<String>,
    /// Directory to write, a new or an empty one
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// csv has a row for each number, npy is NumPy's, an array for all sources
    #[arg(long, value_name = "FORMAT", default_value = "csv", value_parser = PossibleValuesParser::new(["csv", "npy"]))]
    format: String,
    /// Which replica of the run is looked into
    #[arg(
        long,
        value_name = "K",
        default_value = "0",
        allow_negative_numbers = true,
        value_parser = replica()
    )]
    replica: i64,
    /// The weights where val_loss was lowest, not the last; of a run with --validate-every
    #[arg(long)]
    best: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: DeviceChoice,
}

impl InspectArgs {
    /// Does it; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let Self { run, source, out: path, format, replica, best, device } = self;
        let format = if format == "npy" { Format::Npy } else { Format::Csv };
        let which = which(best);
        let what = commands::Inspect { run, source, replica, which, out: path, format, device };
        commands::inspect(&what, &mut io::stdin().lock(), out)
    }
}
