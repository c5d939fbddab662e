//! The flags of `seqlab resume`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::values::{device, number};
use crate::commands;
use crate::config::DeviceChoice;

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Epochs of the whole run, to go on with one that is finished [default: the run's]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = number("epochs"))]
    epochs: Option<i64>,
    /// auto, cpu, cuda or cuda:N [default: the run's]
    #[arg(long, value_name = "DEVICE", value_parser = device)]
    device: Option<DeviceChoice>,
    /// Print neither progress nor result
    #[arg(long, short)]
    quiet: bool,
}

impl ResumeArgs {
    /// Does it; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<ExitCode> {
        let Self { run, epochs, device, quiet } = self;
        commands::resume(&commands::Resume { run, epochs, device, quiet }, out)
    }
}
