//! `seqlab predict`.

use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use anyhow::Result;

use super::trained::Trained;
use crate::base::error::UserError;
use crate::config::DeviceChoice;
use crate::data::sources::{Lines, Reads, Source};
use crate::run::progress;
use crate::run::run_dir::RunDir;
use crate::train::checkpoint::Which;
use crate::train::evaluate::rows_at_once;
use crate::train::placement;

/// What to predict, and with what.
#[derive(Debug)]
pub struct Predict {
    /// The run's directory.
    pub run: PathBuf,
    /// The one source; otherwise they are read one a line.
    pub source: Option<String>,
    /// Which replica of the run predicts.
    pub replica: i64,
    /// Which weights.
    pub which: Which,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// Predicts the target of every source, each from the zero state; prints one line a source to `out`, written
/// as the source is. Sources that are not given are read from `input`, with a prompt where somebody is typing
/// them, and answered as they come.
///
/// # Errors
/// If the run is missing or damaged, the model cannot read a source, the device cannot be used, or
/// memory is short. Lines of `input` that the model cannot read are reported one by one, with an
/// empty line in `out`; the error comes at the end.
pub fn predict(
    what: &Predict,
    input: &mut dyn Read,
    prompt: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let &Predict { replica, which, device, .. } = what;
    let (run, config) = RunDir::open(&what.run)?;
    if !(0..config.replicas).contains(&replica) {
        let error = format!("--replica {replica}: expected 0 to {}", config.replicas - 1);
        return Err(UserError::usage(error).into());
    }
    let reads = Reads::new(&config);
    let device = placement::evaluation(&config, device, 1);
    let trained = Trained::load(&run, config, Some(replica), which, device)?;
    if trained.diverged.contains(&true) {
        let error = format!("--replica {replica}: has diverged, and predicts nothing");
        return Err(UserError::failure(error).into());
    }
    let Some(source) = &what.source else {
        return answer(&trained, Lines::new(reads.clone(), input), &reads, prompt, out);
    };
    let source = reads.parse(source.as_bytes());
    let source = source.map_err(|e| UserError::usage(format!("--source: {e}")))?;
    writeln!(out, "{}", reads.task().target(&trained.predict(&[&source.ids])?, source.writing))?;
    Ok(())
}

/// Answers `lines` of what the model `reads` as they come, with a prompt where that is asked for.
fn answer(
    trained: &Trained,
    mut lines: Lines<impl Read>,
    reads: &Reads,
    prompt: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let unreadable = |e| UserError::usage(format!("standard input, {e}"));
    let most = rows_at_once(&trained.config);
    let mut out = BufWriter::new(out);
    let (mut all, mut bad) = (0, 0);
    if prompt {
        progress::say(format!("type {reads}, one source a line; Ctrl-D ends"));
    }
    loop {
        if prompt {
            progress::prompt();
        }
        let batch = lines.batch(most).map_err(unreadable)?;
        if batch.is_empty() {
            break;
        }
        let sources: Vec<&[i64]> = batch.iter().flatten().map(|source| &source.ids[..]).collect();
        let predicted = trained.predict(&sources)?;
        let mut targets = predicted.chunks_exact(trained.config.n_out as usize);
        for line in &batch {
            all += 1;
            match line {
                Ok(Source { writing, .. }) => {
                    let target = targets.next().unwrap_or_default();
                    writeln!(out, "{}", reads.task().target(target, *writing))?
                }
                Err(error) => {
                    bad += 1;
                    // Line n of what is printed is the answer to line n of what is read.
                    writeln!(out)?;
                    out.flush()?;
                    progress::say(format!("error: standard input, {error}"));
                }
            }
        }
        out.flush()?;
    }
    if prompt {
        progress::say("");
    }
    if bad == 0 {
        return Ok(());
    }
    let error =
        format!("standard input: {bad} of {all} lines are no sources, answered by empty ones");
    Err(UserError::usage(error).into())
}
