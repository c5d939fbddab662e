//! `seqlab predict`.

use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::decoding::Decoding;
use super::trained::{Trained, check_replica, recorded};
use crate::base::error::UserError;
use crate::base::input::{self, quoted, shown};
use crate::config::DeviceChoice;
use crate::data::sources::{Lines, Reads, Source};
use crate::data::task::LastSource;
use crate::run::progress;
use crate::run::run_dir::RunDir;
use crate::train::checkpoint::Which;
use crate::train::decode::{Hypothesis, Search};
use crate::train::placement;

/// What to predict, and with what.
#[derive(Debug)]
pub struct Predict {
    /// The run's directory.
    pub run: PathBuf,
    /// The one source; otherwise they are read one a line.
    pub source: Option<String>,
    /// The file of sources one a line, in place of the input.
    pub source_file: Option<PathBuf>,
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
    let task = recorded(&run, &config)?;
    // A series goes on with the end of a file, of which other tasks read every line.
    let series = what.source_file.as_deref().and_then(|path| task.last_source(path)).transpose()?;
    let file = what.source_file.as_deref().filter(|_| series.is_none());
    let file = file.map(open).transpose()?;
    let reads = Reads::new(&config, task);
    decoding.check(&config, reads.task())?;
    let device = placement::evaluation(&config, device, 1);
    let alone = (!decoding.ensemble).then_some(replica);
    let trained = Trained::load(&run, config, alone, which, device)?;
    alone.map_or(Ok(()), |replica| trained.check_replica(replica))?;
    if let Some(LastSource::Numbers(source)) = &series {
        let numbers = trained.predict_numbers(&[source])?;
        write!(out, "{}", reads.task().target_lines(&numbers, ','))?;
        return Ok(());
    }
    let search = decoding.search(&trained, reads.task())?;
    let n_best = decoding.n_best.map(|n| n as usize);
    let from = what.source_file.as_ref().map(|path| path.display().to_string());
    let from = from.unwrap_or("standard input".to_owned());
    let answers = Answers { input: from.clone(), trained: &trained, reads: &reads, search, n_best };
    let last = series.and_then(|last| match last {
        LastSource::Numbers(_) => None,
        LastSource::Text(text) => Some(text),
    });
    let place = if last.is_some() { from } else { "--source".to_owned() };
    let Some(source) = last.as_ref().or(what.source.as_ref()) else {
        return match file {
            Some(file) => answer(&answers, Lines::new(reads.clone(), file), false, out),
            None => answer(&answers, Lines::new(reads.clone(), input), prompt, out),
        };
    };
    let source = reads.parse(source.as_bytes());
    let source = source.map_err(|e| UserError::usage(format!("{place}: {e}")))?;
    tell_unknown(&place, &source);
    write!(out, "{}{}", answers.header(), answers.of(&[(1, &source)])?.concat())?;
    Ok(())
}

/// The file of sources `path`.
fn open(path: &Path) -> Result<impl Read, UserError> {
    let unreadable =
        |e| UserError::usage(format!("--source-file {}: cannot be read: {e}", shown(path)));
    input::open(path, u64::MAX).map_err(unreadable)
}

/// What answers sources, and how.
struct Answers<'a> {
    /// Where the sources are from, for messages.
    input: String,
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
            let text = |numbers: &[f64]| self.reads.task().target_numbers(numbers) + "\n";
            return Ok(targets.map(text).collect());
        }
        let ids: Vec<&[i64]> = sources.iter().map(|(_, source)| &source.ids[..]).collect();
        let task = self.reads.task();
        let text = |ids: &[i64], source: &Source| task.target(task.before_end(ids), source.writing);
        let Some(search) = &self.search else {
            let predicted = self.trained.predict(&ids, task.end())?;
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

/// Says which tokens of `source`, at `place`, the model does not know.
fn tell_unknown(place: &str, source: &Source) {
    if source.unknown.is_empty() {
        return;
    }
    let mut tokens: Vec<String> = Vec::new();
    for token in &source.unknown {
        let token = format!("'{}'", quoted(token));
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    let are = if tokens.len() == 1 { "is" } else { "are" };
    progress::say(format!("{place}: {} {are} unknown to the model", tokens.join(", ")));
}

/// Gives `answers` to `lines` as they come, with a prompt where that is asked for.
fn answer(
    answers: &Answers<'_>,
    mut lines: Lines<impl Read>,
    prompt: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let unreadable = |e| UserError::usage(format!("{}, {e}", answers.input));
    let hypotheses = answers.search.as_ref().map_or(1, |search| search.width);
    let most = answers.trained.rows_at_once(hypotheses);
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
                Ok(source) => {
                    tell_unknown(&format!("{}, line {all}", answers.input), source);
                    write!(out, "{}", answered.next().unwrap_or_default())?;
                }
                Err(error) => {
                    bad += 1;
                    // Line n of what is printed is the answer to line n of what is read.
                    write!(out, "{}", answers.none(all))?;
                    out.flush()?;
                    progress::say(format!("error: {}, {error}", answers.input));
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
        format!("{}: {bad} of {all} lines are no sources, answered by empty ones", answers.input);
    Err(UserError::usage(error).into())
}
