//! `seqlab report`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;

use crate::base::error::UserError;
use crate::base::input::shown;
use crate::reports::reproduction::Reproduction;
use crate::reports::study::{Study, recipe_in};

/// What to report.
pub struct Report {
    /// A directory of runs.
    pub runs: PathBuf,
    /// Whether changed experiments, too, stand beside the curve that was published of their preset.
    pub published_curves: bool,
    /// Whether to print what `report.json` says.
    pub json: bool,
}

/// Writes `report.md` and `report.json` from runs into their directory, and prints the table to `out`, or
/// the JSON. Where the directory has a recipe, it is the report of that.
///
/// # Errors
/// If there is no finished run, one is damaged, or the report cannot be written.
pub fn report(what: &Report, out: &mut dyn Write) -> Result<()> {
    let Report { runs, published_curves, .. } = what;
    if let Some((recipe, _)) = recipe_in(runs)? {
        if *published_curves {
            let error = "--published-curves: is for published experiments, not for a recipe's runs";
            return Err(UserError::usage(error).hint("leave it out").into());
        }
        let study = Study::read(runs, &recipe)?;
        study.write(runs)?;
        return tell(what, &study.json()?, &study.table(), out);
    }
    let found = Reproduction::read(runs, *published_curves)?;
    found.write(runs)?;
    tell(what, &found.json()?, &found.table(), out)
}

/// Prints what was written.
fn tell(what: &Report, json: &str, table: &str, out: &mut dyn Write) -> Result<()> {
    if what.json {
        write!(out, "{json}")?;
        return Ok(());
    }
    writeln!(out, "{table}")?;
    writeln!(out, "{}: report.md report.json", shown(&what.runs))?;
    Ok(())
}
