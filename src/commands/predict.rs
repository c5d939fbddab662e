//! `seqlab predict`.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::Result;

use super::trained::Trained;
use crate::config::DeviceChoice;
use crate::curves::spaced;
use crate::error::UserError;
use crate::evaluate::rows_at_once;
use crate::run_dir::RunDir;
use crate::sources::Reads;

/// Predicts the target of every source, each from the zero state, with replica `replica` of the run
/// at `path`; prints one line of ids a source to `out`. Reads sources, one a line, from `input`
/// where `source` gives none.
///
/// # Errors
/// A source that the model cannot read, a missing or damaged run, and libtorch's.
pub fn predict(
    path: &Path,
    source: Option<&str>,
    replica: i64,
    device: DeviceChoice,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<()> {
    let (run, config) = RunDir::open(path)?;
    if !(0..config.replicas).contains(&replica) {
        let error = format!("--replica {replica}: expected 0 to {}", config.replicas - 1);
        return Err(UserError::usage(error).into());
    }
    let reads = Reads { vocab: config.vocab, n_in: config.n_in };
    let sources = match source {
        Some(line) => reads.parse(line.as_bytes()).map(|ids| vec![ids]),
        None => reads.lines(input),
    };
    let from = if source.is_some() { "--source: " } else { "standard input, " };
    let sources = sources.map_err(|e| UserError::usage(format!("{from}{e}")))?;
    let trained = Trained::load(&run, config, Some(replica), device)?;
    if trained.diverged.contains(&true) {
        let error = format!("--replica {replica}: has diverged, and predicts nothing");
        return Err(UserError::failure(error).into());
    }
    for batch in sources.chunks(rows_at_once(&trained.config)) {
        let predicted = trained.predict(batch)?;
        for ids in predicted.chunks_exact(predicted.len() / batch.len()) {
            writeln!(out, "{}", spaced(ids))?;
        }
    }
    Ok(())
}
