//! `seqlab sweep`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::Result;

use super::experiments::{self, Experiment};
use super::place::{check_place, new_directory};
use super::report::{Report, report};
use super::signals::Stop;
use super::workers::{self, Outcome};
use crate::base::error::{UserError, describe};
use crate::base::input::{self, shown};
use crate::base::shell;
use crate::reports::sweep::{PLAN, plan_in};
use crate::resolve::{Plan, Sweep};
use crate::run::progress::say;
use crate::run::run_dir::write_whole;
use crate::tensor::device;

/// The most runs at a time.
pub const MOST_JOBS: i64 = 1024;

/// What to plan and where.
pub struct SweepPlan {
    /// The sweep's file.
    pub file: PathBuf,
    /// The directory of its runs.
    pub out: PathBuf,
}

/// Which runs of a sweep to train.
pub enum Tasks {
    /// That of this number.
    One(i64),
    /// All that are not finished, at most so many at a time.
    All(i64),
    /// Those that standard input names, as a process does that trains [`Tasks::All`].
    Asked,
}

/// What to train of a sweep.
pub struct SweepRun {
    /// The sweep's directory.
    pub path: PathBuf,
    /// Which of its runs.
    pub tasks: Tasks,
    /// CPU threads of a run, at most; `None`: all cores, or a fair share of them.
    pub threads: Option<i64>,
    /// Whether to print neither progress nor result.
    pub quiet: bool,
}

/// Writes the list of a sweep's runs into a new directory, or makes the list that is there longer. Its
/// name goes to `out`.
///
/// # Errors
/// A sweep that cannot be read, a combination that cannot be trained, and another plan in the
/// directory.
pub fn sweep_plan(what: &SweepPlan, out: &mut dyn Write) -> Result<()> {
    let (file, path) = (shown(&what.file), &what.out);
    let unreadable = |e| UserError::usage(format!("cannot read {file}: {e}"));
    let bytes = input::read(&what.file, input::CONFIG).map_err(unreadable)?;
    let plan = Sweep::parse(&file, &bytes)?.plan()?;
    match plan_in(path)? {
        None => check_place(path)?,
        Some(before) if plan.begins_with(&before) => {}
        Some(_) => {
            let place = shown(&path.join(PLAN));
            let error = format!("--out {}: holds the plan of another sweep, {place}", shown(path));
            let hint = "give another --out; a random sweep can be given more samples";
            return Err(UserError::usage(error).hint(hint).into());
        }
    }
    write_whole(&new_directory(path)?, &path.join(PLAN), &plan.text())?;
    let (runs, different) = (plan.runs(), plan.different());
    let same = if different < runs { format!(", {different} different") } else { String::new() };
    writeln!(out, "{}: {runs} runs{same}", shown(&path.join(PLAN)))?;
    say(format!("train them with: {}", command("run", path, &["--all"])));
    Ok(())
}

/// The command of a user's for the sweep in `path`.
fn command(name: &str, path: &Path, flags: &[&str]) -> String {
    let mut words = vec!["sweep".as_ref(), name.as_ref(), path.as_os_str()];
    words.extend(flags.iter().map(AsRef::<std::ffi::OsStr>::as_ref));
    shell::command(&words)
}

/// The plan in the directory `path`.
fn plan(path: &Path) -> Result<Plan> {
    let none = || {
        let error = UserError::usage(format!("{}: no sweep: it has no {PLAN}", shown(path)));
        error.hint("give the directory that sweep plan --out wrote")
    };
    Ok(plan_in(path)?.ok_or_else(none)?)
}

/// Trains runs of a sweep that are not finished, or goes on with them. The result of a single one
/// goes to `out`.
///
/// # Errors
/// A directory without a plan, and those of the runs.
pub fn sweep_run(what: &SweepRun, out: &mut dyn Write) -> Result<ExitCode> {
    let plan = plan(&what.path)?;
    if let Some(threads) = what.threads {
        device::use_cores(threads as usize);
    }
    match what.tasks {
        Tasks::One(number) => one(what, &plan, number, out),
        Tasks::All(jobs) => all(what, &plan, jobs as usize, out),
        Tasks::Asked => {
            let stop = Stop::on_signal()?;
            let train = |number| {
                let nowhere = &mut std::io::sink();
                experiments::train_one(what.experiment(&plan, number)?, &stop.now, true, nowhere)
            };
            workers::work(&stop, train, out)
        }
    }
}

impl SweepRun {
    /// The directory and the configuration of a run.
    fn experiment(&self, plan: &Plan, number: usize) -> Result<Experiment> {
        Ok((self.path.join(Plan::name(number)), plan.config(number)?))
    }

    /// The run, if it is not finished.
    fn unfinished(&self, plan: &Plan, number: usize) -> Result<Option<Experiment>> {
        Ok(experiments::missing(vec![self.experiment(plan, number)?])?.pop())
    }
}

/// Trains the run `number`.
fn one(what: &SweepRun, plan: &Plan, number: i64, out: &mut dyn Write) -> Result<ExitCode> {
    let last = plan.runs() - 1;
    let known = usize::try_from(number).ok().filter(|number| *number <= last);
    let Some(number) = known else {
        let error = format!("--task {number}: expected a whole number from 0 to {last}");
        return Err(UserError::usage(error).into());
    };
    let Some(experiment) = what.unfinished(plan, number)? else {
        if !what.quiet {
            say(format!("{}: finished", shown(&what.path.join(Plan::name(number)))));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let stop = Stop::on_signal()?;
    let done = experiments::train_one(experiment, &stop.now, what.quiet, out)?;
    Ok(if done { ExitCode::SUCCESS } else { stop.status() })
}

/// Trains all runs, `jobs` at a time.
fn all(what: &SweepRun, plan: &Plan, jobs: usize, out: &mut dyn Write) -> Result<ExitCode> {
    let mut tally = Tally { total: plan.runs(), finished: 0, failed: Vec::new() };
    let mut left = Vec::new();
    for number in 0..tally.total {
        match what.unfinished(plan, number) {
            Ok(None) => tally.finished += 1,
            Ok(Some(_)) => left.push(number),
            Err(e) => tally.failed.push((number, describe(&e))),
        }
    }
    let stop = Stop::on_signal()?;
    let jobs = jobs.min(left.len().max(1));
    let threads = what.threads.map_or((device::cores() / jobs).max(1), |threads| threads as usize);
    let told = |number, outcome| tally.note(number, outcome, what.quiet);
    workers::train_all(&what.path, left, (jobs, threads), &stop.now, told)?;
    tally.tell_failures();
    let Tally { total, finished, .. } = tally;
    if finished + tally.failed.len() < total && stop.now.load(Ordering::Relaxed) {
        say(format!("{finished} of {total} runs are finished, the states of the others saved"));
        say("hint: the same command goes on with what is not finished");
        return Ok(stop.status());
    }
    if let Some(error) = tally.error() {
        return Err(error.into());
    }
    if !what.quiet {
        writeln!(out, "{total} runs finished")?;
        say(format!("compare them with: {}", command("report", &what.path, &[])));
    }
    Ok(ExitCode::SUCCESS)
}

/// What became of the runs of a sweep.
struct Tally {
    total: usize,
    finished: usize,
    /// Numbers of runs, and why they cannot be trained.
    failed: Vec<(usize, String)>,
}

impl Tally {
    /// Notes what became of the run `number`, and tells how many are done.
    fn note(&mut self, number: usize, outcome: Outcome, quiet: bool) {
        let word = match outcome {
            Outcome::Finished => {
                self.finished += 1;
                "finished"
            }
            Outcome::Failed(why) => {
                self.failed.push((number, why));
                "failed"
            }
            Outcome::Interrupted => return,
        };
        if !quiet {
            let (done, total) = (self.finished + self.failed.len(), self.total);
            say(format!("[{done}/{total}] {} {word}", Plan::name(number)));
        }
    }

    /// Tells why runs failed, in the order of the plan.
    fn tell_failures(&mut self) {
        self.failed.sort();
        for (number, why) in &self.failed {
            say(format!("{}:", Plan::name(*number)));
            why.lines().for_each(|line| say(format!("  {line}")));
        }
    }

    /// That runs failed, if some did.
    fn error(&self) -> Option<UserError> {
        let names: Vec<String> = self.failed.iter().map(|(run, _)| Plan::name(*run)).collect();
        let (count, total) = (names.len(), self.total);
        let error = format!("{count} of {total} runs failed: {}", names.join(", "));
        let hint = "the same command tries them again";
        (count > 0).then(|| UserError::failure(error).hint(hint))
    }
}

/// Writes the report of the sweep in `path` into its directory, and prints its tables to `out`, or
/// JSON.
///
/// # Errors
/// A directory without a plan, and those of [`report`].
pub fn sweep_report(path: &Path, json: bool, out: &mut dyn Write) -> Result<()> {
    plan(path)?;
    report(&Report { runs: path.to_owned(), published_curves: false, json }, out)
}

/// Prints a script for `sbatch` to `out`: a job array with a job for each run of the sweep in
/// `path`.
///
/// # Errors
/// A directory without a plan.
pub fn sweep_slurm(path: &Path, out: &mut dyn Write) -> Result<()> {
    let last = plan(path)?.runs() - 1;
    let run = command("run", path, &["--task"]);
    writeln!(
        out,
        "{SLURM_HEAD}#SBATCH --array=0-{last}\n\n{run} \"$SLURM_ARRAY_TASK_ID\" &\n{SLURM_TAIL}"
    )?;
    Ok(())
}

/// The script up to the number of jobs.
const SLURM_HEAD: &str = "\
#!/bin/bash
# A job for each run of a sweep. Time, partition, GPUs, cores and memory are flags of sbatch, such as
# --time=1:00:00 --partition=NAME --gpus-per-task=1 --cpus-per-task=4 --mem=4G --output=FILE.
# Two minutes before its time is up a run saves its state, and its job is queued again to go on with it.
#SBATCH --job-name=seqlab-sweep
#SBATCH --ntasks=1
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
";

/// The script behind the command, which runs beside it: so Bash hands the signal on at once.
const SLURM_TAIL: &str = "\
run=$!
trap 'kill -TERM \"$run\"' TERM
wait \"$run\"
status=$?
# The signal ended that wait, not the run.
while kill -0 \"$run\" 2>/dev/null; do
    wait \"$run\"
    status=$?
done
job=${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}
# A job that was cancelled, which is told by the same signal, is to stay so.
if [ \"$status\" -eq 143 ] && [ \"$(squeue --noheader --format=%T --job=\"$job\")\" = RUNNING ]; then
    scontrol requeue \"$job\"
fi
exit \"$status\"";
