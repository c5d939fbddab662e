//! `seqlab report`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;

use crate::base::error::UserError;
use crate::base::input::shown;
use crate::reports::reproduction::Reproduction;
use crate::reports::study::{Study, recipe_in};
use crate::reports::sweep::{Sweep, plan_in};

/// What to report.
pub struct Report {
    /// A directory of runs.
    pub runs: PathBuf,
    /// Whether changed experiments, too, stand beside the curve that was published of their preset.
    pub published_curves: bool,
    /// Whether to print what `report.json` says.
    pub json: bool,
}

/// The files of most reports.
const FILES: &str = "report.md report.json";

/// Writes `report.md` and `report.json` from runs into their directory, and prints the table to
/// `out`, or the JSON. Where the directory has a recipe or the plan of a sweep, it is the report of that.
///
/// # Errors
/// If there is no finished run, one is damaged, or the report cannot be written.
pub fn report(what: &Report, out: &mut dyn Write) -> Result<()> {
    let Report { runs, published_curves, .. } = what;
    if runs.is_file() {
        let error = UserError::usage(format!("{}: is a file", shown(runs)));
        return Err(error.hint("give the directory of the runs").into());
    }
    if let Some((recipe, _)) = recipe_in(runs)? {
        what.check_curves("a recipe's")?;
        let study = Study::read(runs, &recipe)?;
        study.write(runs)?;
        return what.tell(&study.json()?, &study.table(), FILES, out);
    }
    if let Some(plan) = plan_in(runs)? {
        what.check_curves("a sweep's")?;
        let sweep = Sweep::read(runs, &plan)?;
        sweep.write(runs)?;
        let files = format!("{FILES} runs.csv curves.csv");
        return what.tell(&sweep.json()?, &sweep.table(), &files, out);
    }
    let found = Reproduction::read(runs, *published_curves)?;
    found.write(runs)?;
    what.tell(&found.json()?, &found.table(), FILES, out)
}

impl Report {
    /// Refuses published curves beside runs that are `whose`.
    fn check_curves(&self, whose: &str) -> Result<(), UserError> {
        if !self.published_curves {
            return Ok(());
        }
        let error =
            format!("--published-curves: is for published experiments, not for {whose} runs");
        Err(UserError::usage(error).hint("leave it out"))
    }

    /// Prints what was written into `files`.
    fn tell(&self, json: &str, table: &str, files: &str, out: &mut dyn Write) -> Result<()> {
        if self.json {
            write!(out, "{json}")?;
            return Ok(());
        }
        writeln!(out, "{table}")?;
        writeln!(out, "{}: {files}", shown(&self.runs))?;
        Ok(())
    }
}
