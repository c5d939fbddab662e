//! The flags of `seqlab sweep`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgGroup, Args, Subcommand};

use super::values::{number, whole};
use crate::base::error::UserError;
use crate::commands::{self, MOST_JOBS, SweepPlan, SweepRun, Tasks};
use crate::config::{range, within};
use crate::resolve::RUNS;

#[derive(Debug, Args)]
pub(super) struct SweepArgs {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the numbered list of a sweep's runs, each checked as train does
    Plan(PlanArgs),
    /// Train a run of the list, or all; what is finished is skipped, what was begun goes on
    Run(RunArgs),
    /// Print a script for sbatch: a job array with a job for each run
    Slurm(PathArgs),
    /// Compare the runs: which is best in validation, and what each field did
    Report(ReportArgs),
}

#[derive(Debug, Args)]
struct PlanArgs {
    /// TOML file with the method (grid or random), a base, and fields with the values to try
    #[arg(value_name = "SWEEP")]
    sweep: PathBuf,
    /// Directory of the list and of all runs: a new or an empty one, or that of a list to make longer
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["task", "all"])))]
struct RunArgs {
    /// Directory of the sweep
    #[arg(value_name = "DIR")]
    path: PathBuf,
    /// Number of the run in the list, from 0
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = whole("task", 0, RUNS as i64 - 1)
    )]
    task: Option<i64>,
    /// All runs that are not finished
    #[arg(long)]
    all: bool,
    /// Runs at a time, each in a process of its own [default: 1]
    #[arg(
        long,
        value_name = "J",
        requires = "all",
        conflicts_with = "task",
        allow_negative_numbers = true,
        value_parser = whole("jobs", 1, MOST_JOBS)
    )]
    jobs: Option<i64>,
    /// Not all, but those whose numbers standard input gives: answer each with a line, and end with the input
    #[arg(long, hide = true, requires = "all", conflicts_with = "jobs")]
    worker: bool,
    /// CPU threads of a run, at most [default: all cores, with --jobs a J-th of them]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = number("threads")
    )]
    threads: Option<i64>,
    /// Print neither progress nor result
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct PathArgs {
    /// Directory of the sweep
    #[arg(value_name = "DIR")]
    path: PathBuf,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// Directory of the sweep
    #[arg(value_name = "DIR")]
    path: PathBuf,
    /// Print JSON: what report.json says
    #[arg(long)]
    json: bool,
}

impl SweepArgs {
    /// Does what they say; what it prints as its result goes to `out`.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<ExitCode> {
        match self.command {
            Action::Plan(PlanArgs { sweep, out: path }) => {
                commands::sweep_plan(&SweepPlan { file: sweep, out: path }, out)?
            }
            Action::Run(args) => return args.run(out),
            Action::Slurm(PathArgs { path }) => commands::sweep_slurm(&path, out)?,
            Action::Report(ReportArgs { path, json }) => commands::sweep_report(&path, json, out)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl RunArgs {
    fn run(self, out: &mut dyn Write) -> Result<ExitCode> {
        let Self { path, task, worker, jobs, threads, quiet, .. } = self;
        let (fewest, most) = range("threads");
        for (flag, value, most) in [("jobs", jobs, MOST_JOBS), ("threads", threads, most)] {
            if let Some(value) = value {
                within(flag, value, fewest, most).map_err(UserError::usage)?;
            }
        }
        let tasks = match task {
            Some(number) => Tasks::One(number),
            None if worker => Tasks::Asked,
            None => Tasks::All(jobs.unwrap_or(1)),
        };
        commands::sweep_run(&SweepRun { path, tasks, threads, quiet }, out)
    }
}
