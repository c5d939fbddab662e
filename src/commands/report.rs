//! `seqlab report`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;

use crate::base::input::shown;
use crate::reports::reproduction::Reproduction;

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
/// the JSON.
///
/// # Errors
/// If there is no finished run, one is damaged, or the report cannot be written.
pub fn report(what: &Report, out: &mut dyn Write) -> Result<()> {
    let Report { runs, published_curves, json } = what;
    let found = Reproduction::read(runs, *published_curves)?;
    found.write(runs)?;
    if *json {
        write!(out, "{}", found.json()?)?;
        return Ok(());
    }
    writeln!(out, "{}", found.table())?;
    writeln!(out, "{}: report.md report.json", shown(runs))?;
    Ok(())
}
