//! Some of a run's predictions.

use anyhow::Result;

use crate::base::input::printable;
use crate::base::width::cut;
use crate::config::Config;
use crate::run::curves::PredictionRow;
use crate::run::run_dir::RunDir;

/// Predictions that are shown of a run.
const SHOWN: usize = 10;

/// The widest sequence that is shown whole, in columns of a terminal.
const WIDEST: usize = 160;

/// A prediction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Example {
    /// The replica's seed, where there are several.
    pub seed: Option<u64>,
    /// What the model read, what it should have said, and what it said.
    pub texts: [String; 3],
    /// Whether it was right; `None` for numbers.
    pub correct: Option<bool>,
}

/// The first predictions in the directory `run`.
///
/// # Errors
/// If they cannot be read.
pub(super) fn read(run: &RunDir, config: &Config) -> Result<Vec<Example>> {
    let rows: Vec<PredictionRow> = run.first_rows(&run.predictions_path(), SHOWN)?;
    let seeds = config.seeds();
    let example = |row: PredictionRow| Example {
        seed: seeds.get(row.replica).copied().filter(|_| seeds.len() > 1),
        texts: [row.source, row.expected, row.predicted].map(|text| shortened(&text)),
        correct: row.correct,
    };
    Ok(rows.into_iter().map(example).collect())
}

/// The beginning of `text`, or all of it.
pub(super) fn shortened(text: &str) -> String {
    let text = printable(text);
    let kept = cut(&text, WIDEST);
    if kept.len() == text.len() { text } else { format!("{kept}…") }
}
