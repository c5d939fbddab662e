//! The command line: the only module that knows clap.
//!
//! Uses `commands`, and for flags the fields of the configuration; nobody uses it.

mod data;
mod evaluate;
mod export;
mod import;
mod inspect;
mod predict;
mod report;
mod reproduce;
mod resume;
mod summary;
mod sweep;
mod train;
mod usage;

mod fields;
mod named;
mod search;
mod values;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::base::error::{USAGE, UserError};
use crate::base::input::shown;
use crate::base::versions;
use crate::commands;
use crate::files::directory::Directory;
use crate::reports::tables;
use crate::run::progress::say;
use data::DataArgs;
use evaluate::EvaluateArgs;
use export::ExportArgs;
use import::ImportArgs;
use inspect::InspectArgs;
use predict::PredictArgs;
use report::ReportArgs;
use reproduce::ReproduceArgs;
use resume::ResumeArgs;
use summary::SummaryArgs;
use sweep::SweepArgs;
use train::TrainArgs;

/// Trains LSTM sequence-to-sequence experiments on libtorch, with Keras's numbers.
#[derive(Debug, Parser)]
#[command(name = "seqlab", bin_name = "seqlab", version = versions::LONG, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the published experiments: family, size and published numbers
    List(ListArgs),
    /// Train an experiment, evaluate it and write a run directory
    Train(TrainArgs),
    /// Show what a training reads of files: columns, tokens, lengths, repetitions, the first pairs
    Data(DataArgs),
    /// Go on with a run that was interrupted, to exactly where it would have come
    Resume(ResumeArgs),
    /// Train the published experiments over many seeds and set the published figures beside them
    Reproduce(ReproduceArgs),
    /// Make the report of a directory of runs again, or a page of them for a browser
    Report(ReportArgs),
    /// Train many configurations, on one machine or a cluster, and compare them
    Sweep(SweepArgs),
    /// Evaluate a run on fresh or held-out sequences, free-running: fed what it said itself, never the target
    Evaluate(EvaluateArgs),
    /// Predict targets with a trained run, a line for each source, as it comes
    Predict(PredictArgs),
    /// Write what a trained run computes on the way to its answers: hidden states and attention
    Inspect(InspectArgs),
    /// Write a trained model as ONNX, PyTorch or Keras reads it, or a run's curves as TensorBoard does
    Export(ExportArgs),
    /// Take weights that PyTorch or Keras trained back as a finished run, without curves
    Import(ImportArgs),
    /// Show a model's layers, Keras-layout shapes and parameter counts
    Summary(SummaryArgs),
    /// Check libtorch, CUDA, cuDNN, threads and cores; each failure comes with its fix
    Doctor(DoctorArgs),
    /// Print what has a shell complete commands and flags
    Completions(CompletionsArgs),
    /// Write a manual page for each command
    Man(ManArgs),
}

#[derive(Debug, Args)]
struct CompletionsArgs {
    /// The shell that is to read it
    shell: Shell,
}

#[derive(Debug, Args)]
struct ManArgs {
    /// Directory to write, such as man1 in a folder of MANPATH
    #[arg(value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Measure what two threads get of the processor, print that as JSON, and check nothing
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON: every preset with its configuration and the published figures
    #[arg(long)]
    json: bool,
}

/// Runs the command that the process was called with; what it prints as its result goes to `out`.
///
/// # Errors
/// Those of the command; `crate::base::error` tells what they look like and how to exit.
pub fn run(out: &mut dyn Write) -> Result<ExitCode> {
    let mut grammar = Cli::command();
    let parsed = grammar.try_get_matches_from_mut(std::env::args_os());
    match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli.command.run(out),
        Err(help) if !help.use_stderr() => {
            write!(out, "{}", help.render())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.render().to_string().lines().for_each(say);
            Ok(ExitCode::from(USAGE))
        }
        Err(error) => Err(usage::explain(&error, &grammar).into()),
    }
}

/// Writes a manual page for each command to the directory `folder`.
///
/// # Errors
/// If that cannot be written.
fn manual(folder: &Path) -> Result<(), UserError> {
    let unusable = |e: std::io::Error| {
        UserError::usage(format!("cannot write {}: {e}", shown(folder)))
            .hint("name another directory")
    };
    Directory::create(folder).map_err(unusable)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(unusable)
}

impl Action {
    fn run(self, out: &mut dyn Write) -> Result<ExitCode> {
        match self {
            Self::List(args) => args.run(out)?,
            Self::Train(args) => return args.run(out),
            Self::Data(args) => args.run(out)?,
            Self::Resume(args) => return args.run(out),
            Self::Reproduce(args) => return args.run(out),
            Self::Report(args) => args.run(out)?,
            Self::Sweep(args) => return args.run(out),
            Self::Evaluate(args) => args.run(out)?,
            Self::Predict(args) => args.run(out)?,
            Self::Inspect(args) => args.run(out)?,
            Self::Export(args) => args.run(out)?,
            Self::Import(args) => args.run(out)?,
            Self::Summary(args) => args.run(out)?,
            Self::Doctor(DoctorArgs { json: true }) => commands::doctor_json(out)?,
            Self::Doctor(DoctorArgs { json: false }) => return commands::doctor(out),
            Self::Completions(args) => args.run(out)?,
            Self::Man(ManArgs { out: folder }) => manual(&folder)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl ListArgs {
    fn run(self, out: &mut dyn Write) -> Result<()> {
        let text = if self.json { tables::list_json()? } else { tables::list() };
        Ok(write!(out, "{text}")?)
    }
}

impl CompletionsArgs {
    fn run(self, out: &mut dyn Write) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "seqlab", &mut script);
        Ok(out.write_all(&script)?)
    }
}
