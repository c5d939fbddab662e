//! The flags of `seqlab summary`.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{ArgGroup, Args};

use super::fields::Fields;
use super::named::Named;
use crate::config::Config;
use crate::engine;
use crate::reports::tables;
use crate::resolve::{self, Given};
use crate::run::run_dir;
use crate::run::run_dir::RunDir;
use crate::tensor::device;
use crate::train::memory::Estimate;
use crate::train::placement;

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["experiment", "config"])))]
pub(super) struct SummaryArgs {
    /// Published experiment, or run directory
    #[arg(value_name = "PRESET|RUN")]
    experiment: Option<OsString>,
    /// TOML file with the configuration, such as a run's config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON: layers, shapes, parameters, and the bytes of memory to train
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    fields: Fields,
}

impl SummaryArgs {
    /// Does it; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let config = self.config()?;
        let device = placement::estimated(&config, config.device)?.device;
        let engine = engine::choose(config.engine, device)?;
        let memory = Estimate::training(&config, engine, device::is_host(device));
        let text = match self.json {
            true => tables::architecture_json(&config, engine, &memory)?,
            false => tables::architecture(&config, engine, &memory),
        };
        Ok(write!(out, "{text}")?)
    }

    fn config(&self) -> Result<Config> {
        let from = match (&self.experiment, &self.config) {
            (Some(name), _) => match Named::find(name)? {
                Named::Preset(preset) => Given::preset(preset),
                Named::Run(path) => {
                    let (run, _) = RunDir::open(path)?;
                    run_dir::read_given(&run.config_path())?
                }
            },
            (None, Some(path)) => run_dir::read_given(path)?,
            (None, None) => Given::default(),
        };
        resolve::resolve(from.with_flags(&self.fields.0)?)
    }
}
