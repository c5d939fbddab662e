//! A directory of runs as one page of HTML that needs no other file: a table, curves, and more of each run.
//!
//! The only module that knows HTML. [`Page::read`] gathers what `page.html` shows. `page.css`, `page.js` and uPlot, which
//! draws the curves where scripts run, are written into the page.

mod attention;
mod axis;
mod chart;
mod curve;
mod example;
mod figure;
mod run;
mod setting;

use std::path::{Path, PathBuf};

use anyhow::Result;
use askama::Template;

use crate::base::error::UserError;
use crate::base::input::{printable, shown};
use crate::config::presets;
use crate::reports::reproduction::{Reproduction, directories};
use crate::run::run_dir::RunDir;
use attention::Map;
use chart::Chart;
use figure::Heading;
use run::Run;
use setting::Settings;

/// uPlot's script, and its style.
const UPLOT: [&str; 2] =
    [include_str!("uplot/uPlot.iife.min.js"), include_str!("uplot/uPlot.min.css")];
/// The page's own.
const OWN: [&str; 2] = [include_str!("page.js"), include_str!("page.css")];

/// The page of some runs.
#[derive(Debug, Template)]
#[template(path = "page.html")]
pub struct Page {
    /// The directory's name.
    title: String,
    runs: Vec<Run>,
    /// Of the table of runs.
    headings: Vec<Heading>,
    charts: Vec<Chart>,
    /// What keeps published figures from being reproduced, a sentence each.
    caveats: Vec<String>,
    /// Published figures beside measured ones, the first row a header; empty without any.
    published: Vec<Vec<String>>,
    /// An independent implementation's, likewise.
    references: Vec<Vec<String>>,
    /// What differs between the configurations.
    settings: Settings,
    /// What the script draws, as JSON.
    data: String,
}

impl Page {
    /// The page of the run in the directory `path`, or of the runs right below it. With `curves`, changed
    /// experiments, too, stand beside the curve that was published of their preset.
    ///
    /// # Errors
    /// If there is no run, or one is damaged.
    pub fn read(path: &Path, curves: bool) -> Result<Self> {
        let found = run_directories(path)?;
        let runs: Result<Vec<Run>> = found.iter().map(|run| Run::read(run, curves)).collect();
        let mut runs = runs?;
        if runs.is_empty() {
            let error = UserError::usage(format!("{}: holds no run", shown(path)));
            let hint =
                "give a run's directory, or one of runs, such as seqlab reproduce --out wrote";
            return Err(error.hint(hint).into());
        }
        let names = presets::names();
        runs.sort_by_key(|run| {
            names.iter().position(|of| *of == run.preset()).unwrap_or(usize::MAX)
        });
        Self::new(name(path), runs)
    }

    fn new(title: String, mut runs: Vec<Run>) -> Result<Self> {
        let configs: Vec<_> = runs.iter().map(|run| &run.config).collect();
        let settings = Settings::differing(&configs)?;
        let experiments = runs.iter_mut().filter_map(|run| run.experiment.take()).collect();
        let all = Reproduction::of(experiments);
        let references = all.reference_rows(printable);
        let published = all.published();
        let charts = chart::charts(&runs);
        let has_figures = !published.experiments.is_empty();
        Ok(Self {
            title,
            headings: figure::used(&mut runs),
            caveats: if has_figures {
                sentences(&published.caveats(printable))
            } else {
                Vec::new()
            },
            published: if has_figures { published.verdicts(printable) } else { Vec::new() },
            references,
            settings,
            data: in_script(&chart::json(&charts, &runs)?),
            charts,
            runs,
        })
    }

    /// The page's text.
    ///
    /// # Errors
    /// None that a page from [`Page::read`] can have.
    pub fn html(&self) -> Result<String> {
        Ok(self.render()?)
    }

    /// Runs that are not finished.
    fn unfinished(&self) -> usize {
        self.runs.iter().filter(|run| !run.finished).count()
    }

    fn has_examples(&self) -> bool {
        self.runs.iter().any(|run| !run.examples.is_empty())
    }

    /// Whether the predictions of the run with this `index` are seen at once: those of the first run with any.
    fn opens(&self, index: &usize) -> bool {
        self.runs.iter().position(|run| !run.examples.is_empty()) == Some(*index)
    }

    fn has_maps(&self) -> bool {
        self.runs.iter().any(|run| !run.maps.is_empty())
    }
}

/// The directory `path`, if it is a run's, or those of the runs right below it.
fn run_directories(path: &Path) -> Result<Vec<PathBuf>> {
    if RunDir::is_at(path) {
        return Ok(vec![path.to_owned()]);
    }
    directories(path)
}

/// The name of the directory `path`.
fn name(path: &Path) -> String {
    // The path may end in dots.
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    whole.file_name().map_or_else(|| shown(path), |name| shown(Path::new(name)))
}

/// What stands between the empty lines of `text`.
fn sentences(text: &str) -> Vec<String> {
    text.split("\n\n").filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// `json` as the content of a script element, which nothing in it ends.
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_ends_no_script() {
        let json = serde_json::to_string("</script><!-- <b>").unwrap();
        let safe = in_script(&json);
        assert!(!safe.contains('<'), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), "</script><!-- <b>");
    }

    #[test]
    fn a_directory_has_a_name_however_it_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs");
        std::fs::create_dir(&path).unwrap();
        assert_eq!(name(&path.join(".")), "runs");
        assert_eq!(name(Path::new("/")), "/");
    }
}
