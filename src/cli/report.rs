//! The flags of `seqlab report`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::commands;

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Directory of runs, such as reproduce --out wrote; with --html also that of a run
    #[arg(value_name = "DIR")]
    runs: PathBuf,
    /// Write the runs, finished or not, as one page for a browser that needs no other file, in place of
    /// report.md and report.json
    #[arg(long, conflicts_with = "json")]
    html: bool,
    /// File to write the page to [default: report.html in DIR]
    #[arg(long, value_name = "FILE", requires = "html")]
    out: Option<PathBuf>,
    /// Set changed experiments, too, beside the curve that was published of their preset
    #[arg(long)]
    published_curves: bool,
    /// Print JSON: what report.json says
    #[arg(long)]
    json: bool,
}

impl ReportArgs {
    /// Does it; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        let Self { runs, html, out: page, published_curves, json } = self;
        match html {
            true => commands::html(&commands::Html { runs, published_curves, page }, out),
            false => commands::report(&commands::Report { runs, published_curves, json }, out),
        }
    }
}
