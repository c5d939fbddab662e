//! `seqlab predict`.

use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use anyhow::Result;

use super::decoding::Decoding;
use super::trained::{Trained, check_replica};
use crate::base::error::UserError;
use crate::config::DeviceChoice;
use crate::data::sources::{Lines, Reads, Source};
use crate::run::progress;
use crate::run::run_dir::RunDir;
use crate::train::checkpoint::Which;
use crate::train::decode::{Hypothesis, Search};
use crate::train::evaluate::rows_at_once;
use crate::train::placement;

/// What to predict, and with what.
#[derive(Debug)]
pub struct Predict {
    /// The run's directory.
    pub run: PathBuf,
    /// The one source; otherwise they are read one a line.
    pub source: Option<String>,
    /// Which replica of the run predicts, where they do not all together.
    pub replica: i64,
    /// Which weights.
    pub which: Which,
    /// How answers are searched.
    pub decoding: Decoding,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// Predicts the target of every source, each from the zero state; prints one line a source to `out`, written
/// as the source is, or with `n_best` a table with a line for each hypothesis. Sources that are not given are read from `input`, with a prompt where somebody is typing
/// them, and answered as they come.
///
/// # Errors
/// If the run is missing or damaged, the model cannot read a source, the device cannot be used, or
/// memory is short. Lines of `input` that the model cannot read are reported one by one, with an
/// empty answer in `out`; the error comes at the end.
pub fn predict(
    what: &Predict,
    input: &mut dyn Read,
    prompt: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let &Predict { replica, which, decoding, device, .. } = what;
    let (run, config) = RunDir::open(&what.run)?;
    check_replica(replica, &config)?;
    let reads = Reads::new(&config);
    decoding.check(&config, reads.task())?;
    let device = placement::evaluation(&config, device, 1);
    let alone = (!decoding.ensemble).then_some(replica);
    let trained = Trained::load(&run, config, alone, which, device)?;
    alone.map_or(Ok(()), |replica| trained.check_replica(replica))?;
    let search = decoding.search(&trained, reads.task())?;
    let n_best = decoding.n_best.map(|n| n as usize);
    let answers = Answers { trained: &trained, reads: &reads, search, n_best };
    let Some(source) = &what.source else {
        return answer(&answers, Lines::new(reads.clone(), input), prompt, out);
    };
    let source = reads.parse(source.as_bytes());
    let source = source.map_err(|e| UserError::usage(format!("--source: {e}")))?;
    write!(out, "{}{}", answers.header(), answers.of(&[(1, &source)])?.concat())?;
    Ok(())
}

/// What answers sources, and how.
struct Answers<'a> {
    trained: &'a Trained,
    reads: &'a Reads,
    search: Option<Search>,
    /// Hypotheses of a source that are shown, with their scores; `None`: the best alone.
    n_best: Option<usize>,
}

impl Answers<'_> {
    /// What comes before all answers.
    fn header(&self) -> &'static str {
        match self.n_best {
            Some(_) => "line\trank\tlog_probability\tscore\tpredicted\n",
            None => "",
        }
    }

    /// The answer to each of `sources`, which are numbered, in whole lines.
    fn of(&self, sources: &[(usize, &Source)]) -> Result<Vec<String>> {
        if let Some(features) = self.trained.config.features() {
            let numbers: Vec<&[f64]> = sources.iter().map(|(_, s)| &s.numbers[..]).collect();
            let predicted = self.trained.predict_numbers(&numbers)?;
            let targets =
                predicted.chunks_exact((self.trained.config.n_out * features.target) as usize);
            return Ok(targets.map(|numbers| self.reads.task().numbers(numbers) + "\n").collect());
        }
        let ids: Vec<&[i64]> = sources.iter().map(|(_, source)| &source.ids[..]).collect();
        let task = self.reads.task();
        let text = |ids: &[i64], source: &Source| task.target(task.before_end(ids), source.writing);
        let Some(search) = &self.search else {
            let predicted = self.trained.predict(&ids)?;
            let targets = predicted.chunks_exact(self.trained.config.n_out as usize);
            let answers = sources.iter().zip(targets);
            return Ok(answers.map(|((_, source), ids)| text(ids, source) + "\n").collect());
        };
        let found = self.trained.search(search, &ids, self.n_best.unwrap_or(1))?;
        let answer = |(&(number, source), found): (&(usize, &Source), Vec<Hypothesis>)| {
            let line =
                |(rank, Hypothesis { ids, log_probability, score }): (usize, &Hypothesis)| {
                    let target = text(ids, source);
                    match self.n_best {
                        Some(_) => {
                            let rank = rank + 1;
                            format!(
                                "{number}\t{rank}\t{log_probability:.6}\t{score:.6}\t{target}\n"
                            )
                        }
                        None => target + "\n",
                    }
                };
            found.iter().enumerate().map(line).collect()
        };
        Ok(sources.iter().zip(found).map(answer).collect())
    }

    /// The answer to line `number`, which is no source.
    fn none(&self, number: usize) -> String {
        match self.n_best {
            Some(_) => format!("{number}\t\t\t\t\n"),
            None => "\n".to_owned(),
        }
    }
}

/// Gives `answers` to `lines` as they come, with a prompt where that is asked for.
fn answer(
    answers: &Answers<'_>,
    mut lines: Lines<impl Read>,
    prompt: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let unreadable = |e| UserError::usage(format!("standard input, {e}"));
    let hypotheses = answers.search.as_ref().map_or(1, |search| search.width);
    let most = rows_at_once(&answers.trained.config, hypotheses);
    let mut out = BufWriter::new(out);
    let (mut all, mut bad) = (0, 0);
    if prompt {
        progress::say(format!("type {}, one source a line; Ctrl-D ends", answers.reads));
    }
    write!(out, "{}", answers.header())?;
    loop {
        if prompt {
            progress::prompt();
        }
        let batch = lines.batch(most).map_err(unreadable)?;
        if batch.is_empty() {
            break;
        }
        let numbered = batch.iter().zip(all + 1..);
        let sources: Vec<(usize, &Source)> =
            numbered.filter_map(|(line, number)| Some((number, line.as_ref().ok()?))).collect();
        let mut answered = answers.of(&sources)?.into_iter();
        for line in &batch {
            all += 1;
            match line {
                Ok(_) => write!(out, "{}", answered.next().unwrap_or_default())?,
                Err(error) => {
                    bad += 1;
                    // Line n of what is printed is the answer to line n of what is read.
                    write!(out, "{}", answers.none(all))?;
                    out.flush()?;
                    progress::say(format!("error: standard input, {error}"));
                }
            }
        }
        out.flush()?;
    }
    out.flush()?;
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
