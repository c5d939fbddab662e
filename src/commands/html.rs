//! `seqlab report --html`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::error::UserError;
use crate::base::input::shown;
use crate::files::directory::Directory;
use crate::files::disk;
use crate::reports::html::Page;

/// What to show, and where.
pub struct Html {
    /// A run's directory, or one of runs.
    pub runs: PathBuf,
    /// Whether changed experiments, too, stand beside the curve that was published of their preset.
    pub published_curves: bool,
    /// The file to write; `None`: `report.html` in the directory.
    pub page: Option<PathBuf>,
}

/// Writes the page of runs, whose path goes to `out`.
///
/// # Errors
/// If there is no run, one is damaged, or the page cannot be written.
pub fn html(what: &Html, out: &mut dyn Write) -> Result<()> {
    let text = Page::read(&what.runs, what.published_curves)?.html()?;
    let page = what.page.clone().unwrap_or_else(|| what.runs.join("report.html"));
    let folder = page.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let written = Directory::open(folder)
        .and_then(|directory| disk::replace(&directory, &page, text.as_bytes()));
    written.map_err(|e| UserError::usage(format!("cannot write {}: {e}", shown(&page))))?;
    writeln!(out, "{}", shown(&page))?;
    Ok(())
}
