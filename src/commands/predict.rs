//! `seqlab predict`.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::Result;

use super::trained::Trained;
use crate::config::{Config, DeviceChoice};
use crate::curves::spaced;
use crate::error::UserError;
use crate::evaluate::rows_at_once;
use crate::run_dir::RunDir;

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
    let mut sources = Vec::new();
    if let Some(line) = source {
        sources.push(parse(line, &config).map_err(|e| UserError::usage(format!("--source: {e}")))?);
    } else {
        for (i, line) in input.lines().enumerate() {
            let number = i + 1;
            let line =
                line.map_err(|e| UserError::usage(format!("standard input, line {number}: {e}")))?;
            let ids = parse(&line, &config);
            sources.push(
                ids.map_err(|e| UserError::usage(format!("standard input, line {number}: {e}")))?,
            );
        }
    }
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

/// The ids of a source in `line`, separated by white space.
fn parse(line: &str, config: &Config) -> Result<Vec<i64>, String> {
    let last = config.vocab - 1;
    let id = |word: &str| match word.parse::<i64>() {
        Err(_) => Err(format!("'{word}' is no id: expected whole numbers from 0 to {last}")),
        Ok(id) if !(0..=last).contains(&id) => {
            Err(format!("id {id} is outside the vocabulary, 0 to {last}"))
        }
        Ok(id) => Ok(id),
    };
    let ids: Vec<i64> = line.split_whitespace().map(id).collect::<Result<_, _>>()?;
    if ids.len() as i64 != config.n_in {
        return Err(format!("{} ids: the model reads {}", ids.len(), config.n_in));
    }
    Ok(ids)
}
