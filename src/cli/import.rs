//! The flags of `seqlab import`.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args};

use super::named::Named;
use crate::commands::{self, Import, ModelOf, WeightsFormat};
use crate::resolve::{self, Given};
use crate::run::run_dir;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("model").required(true).args(["experiment", "config"])))]
pub(super) struct ImportArgs {
    /// What the model is: the run that was exported, or a published experiment
    #[arg(value_name = "PRESET|RUN")]
    experiment: Option<OsString>,
    /// TOML file with the model's configuration, such as train --dry-run prints
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Whose names the weights have, as export writes them: pytorch or keras
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(["pytorch", "keras"]))]
    format: String,
    /// File of the weights, float32 as safetensors, such as `save` of the exported model.py writes
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// Run directory to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace a run that is in the directory
    #[arg(long)]
    force: bool,
    /// Do not print the result
    #[arg(long, short)]
    quiet: bool,
}

impl ImportArgs {
    /// Does it; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        commands::import(&self.what()?, out)
    }

    /// What is to be imported.
    ///
    /// # Errors
    /// If it is not said what the model is.
    fn what(self) -> Result<Import> {
        let model = self.model()?;
        let Self { format, weights, out, force, quiet, .. } = self;
        let format = if format == "keras" { WeightsFormat::Keras } else { WeightsFormat::PyTorch };
        Ok(Import { model, format, weights, out, force, quiet })
    }

    fn model(&self) -> Result<ModelOf> {
        let name = self.experiment.as_deref();
        let given = match name.map(Named::find).transpose()? {
            Some(Named::Run(path)) => return Ok(ModelOf::Run(path.to_owned())),
            Some(Named::Preset(preset)) => Given::preset(preset),
            None => run_dir::read_given(self.config.as_deref().unwrap_or(Path::new("")))?,
        };
        Ok(ModelOf::Config(Box::new(resolve::resolve(given)?)))
    }
}
