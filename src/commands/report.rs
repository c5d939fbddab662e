//! `seqlab report`.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::reproduction::Reproduction;

/// Writes `report.md` and `report.json` from the runs in the directory `path`, and prints the table
/// to `out`, or, with `json`, what `report.json` says.
///
/// # Errors
/// If there is no finished run, one is damaged, or the report cannot be written.
pub fn report(path: &Path, json: bool, out: &mut dyn Write) -> Result<()> {
    let found = Reproduction::read(path)?;
    found.write(path)?;
    if json {
        write!(out, "{}", found.json()?)?;
        return Ok(());
    }
    writeln!(out, "{}", found.table())?;
    writeln!(out, "{}: report.md report.json", path.display())?;
    Ok(())
}
