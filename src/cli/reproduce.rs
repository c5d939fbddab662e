//! The flags of `seqlab reproduce`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::values::{device, number};
use crate::commands;
use crate::config::DeviceChoice;

#[derive(Debug, Args)]
pub(super) struct ReproduceArgs {
    /// Published experiments, as `seqlab list` has them, or with --recipe runs of it [default: all]
    #[arg(value_name = "PRESET|RUN")]
    names: Vec<String>,
    /// Train the runs of this recipe in place of them, each with its replicas also evaluated together;
    /// recipes/ has some
    #[arg(long, value_name = "FILE", requires = "data", conflicts_with = "quick")]
    recipe: Option<PathBuf>,
    /// Directory of the recipe's data
    #[arg(long, value_name = "DIR", requires = "recipe")]
    data: Option<PathBuf>,
    /// Seeds of each experiment [default: 10, or 2 with --quick, or the recipe's]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = number("replicas"))]
    replicas: Option<i64>,
    /// Seed of every experiment's first replica; replica k has this plus k [default: 1, or the
    /// recipe's]
    #[arg(
        long,
        visible_alias = "base-seed",
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = number("seed")
    )]
    seed: Option<i64>,
    /// A look within two minutes, no result: 2 replicas, and not the slowest experiments
    #[arg(long)]
    quick: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: DeviceChoice,
    /// Directory of all runs and of the report; experiments that are finished there stay
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print neither progress nor result; the report is written
    #[arg(long, short)]
    quiet: bool,
}

impl ReproduceArgs {
    /// Does it; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<ExitCode> {
        let Self { names, recipe, data, replicas, seed, quick, device, out: path, quiet } = self;
        if let (Some(recipe), Some(data)) = (recipe, data) {
            let runs = names;
            let what =
                commands::Study { recipe, data, runs, replicas, seed, device, out: path, quiet };
            return commands::study(&what, out);
        }
        let (presets, seed) = (names, seed.unwrap_or(1));
        let what = commands::Reproduce { presets, replicas, seed, quick, device, out: path, quiet };
        commands::reproduce(&what, out)
    }
}
