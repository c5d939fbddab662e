//! The flags of `seqlab export`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::values::{replica, which};
use crate::base::error::UserError;
use crate::commands::{self, ExportFormat, ModelFormat};

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// onnx, pytorch, keras: the trained model; tensorboard: event files of the curves, a run for each
    /// replica, for their mean and its deviation
    #[arg(
        long,
        value_name = "FORMAT",
        value_parser = PossibleValuesParser::new(["onnx", "pytorch", "keras", "tensorboard"])
    )]
    format: String,
    /// Directory to write, a new or an empty one
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Which replica of the run is the model [default: 0]
    #[arg(
        long,
        value_name = "K",
        allow_negative_numbers = true,
        value_parser = replica()
    )]
    replica: Option<i64>,
    /// The weights where val_loss was lowest, not the last; of a run with --validate-every
    #[arg(long)]
    best: bool,
}

impl ExportArgs {
    /// Does it; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        commands::export(&self.what()?, out)
    }

    /// What is to be exported.
    ///
    /// # Errors
    /// A flag that the format has no use for.
    fn what(self) -> Result<commands::Export, UserError> {
        let Self { run, format, out, replica, best } = self;
        let model = |kind| {
            let (replica, which) = (replica.unwrap_or(0), which(best));
            ExportFormat::Model { kind, replica, which }
        };
        let format = match format.as_str() {
            "onnx" => model(ModelFormat::Onnx),
            "pytorch" => model(ModelFormat::PyTorch),
            "keras" => model(ModelFormat::Keras),
            _ => {
                let idle = [("--replica", replica.is_some()), ("--best", best)];
                if let Some((flag, _)) = idle.into_iter().find(|(_, given)| *given) {
                    let error = format!("{flag}: is for models, and tensorboard has curves");
                    return Err(UserError::usage(error).hint(format!("leave {flag} out")));
                }
                ExportFormat::Curves
            }
        };
        Ok(commands::Export { run, out, format })
    }
}
