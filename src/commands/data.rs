//! `seqlab data`.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::Write;

use anyhow::Result;

use crate::base::input::printable;
use crate::base::rng::Purpose;
use crate::config::{Config, SeriesTokens, TaskKind, Tokens};
use crate::data::files::corpus::{Corpus, Language};
use crate::data::files::scaling::Scale;
use crate::data::files::series::Series;
use crate::data::files::token_series::TokenSeries;
use crate::data::files::vocabulary::{FIRST, UNKNOWN};
use crate::data::files::windows::{Width, Windows};
use crate::resolve;

/// Tokens of a vocabulary that are shown.
const TOKENS: usize = 60;
/// Pairs or windows that are shown.
const PAIRS: usize = 5;

/// Shows what a training by `config` reads of its files.
///
/// # Errors
/// A file that cannot be read.
pub fn data(config: &Config, out: &mut dyn Write) -> Result<()> {
    let mut text = String::new();
    match config.task {
        TaskKind::Series if config.series_tokens.is_some() => tokens(config, &mut text)?,
        TaskKind::Series => series(config, &mut text)?,
        _ => pairs(config, &mut text)?,
    }
    writeln!(text, "\nfound, and overridden by these flags of train:")?;
    for (name, value) in resolve::found(config)? {
        writeln!(text, "  --{} {value}", name.replace('_', "-"))?;
    }
    write!(out, "{text}")?;
    Ok(())
}

/// The windows of a series, and how its columns are scaled.
fn series(config: &Config, text: &mut String) -> Result<()> {
    let series = Series::read(config)?;
    let file = &series.file;
    let (path, bytes) = (printable(&file.path.display().to_string()), file.checksum.bytes);
    writeln!(text, "{path}: {} rows, {bytes} bytes, {} missing values", file.rows, file.missing)?;
    windows(&series.windows, "rows", text)?;
    for (name, scales) in [("read", &series.scaling.inputs), ("forecast", &series.scaling.targets)]
    {
        for Scale { column, mean, deviation } in scales {
            let constant = if series.constant().contains(column) { ", constant" } else { "" };
            let column = printable(column);
            writeln!(
                text,
                "{name}: {column}, in the training part {mean:.6} on average, standard deviation \
                 {deviation:.6}{constant}"
            )?;
        }
    }
    Ok(())
}

/// How many windows of a series are used for what, of `noun` each.
fn windows(windows: &Windows, noun: &str, text: &mut String) -> Result<()> {
    let Width { n_in, n_out } = windows.width;
    let [training, validation, evaluation] = windows.counts();
    writeln!(
        text,
        "windows of {n_in} {noun} and the {n_out} after them: {training} to train on, {validation} to \
         validate on, {evaluation} to evaluate on",
    )?;
    Ok(())
}

/// The tokens of a series, its vocabulary, and the first windows.
fn tokens(config: &Config, text: &mut String) -> Result<()> {
    let series = TokenSeries::read(config)?;
    let file = &series.file;
    let (path, bytes) = (printable(&file.path.display().to_string()), file.checksum.bytes);
    let layout = match &config.targets {
        Some(column) => format!("column {}", printable(column)),
        None => "a text".to_owned(),
    };
    writeln!(text, "{path}: {layout}, {} tokens, {bytes} bytes", file.tokens)?;
    windows(&series.windows, "tokens", text)?;
    let kind = config.series_tokens.map(SeriesTokens::tokens);
    language("training", &series.language, kind, text)?;
    let share = 100.0 * series.share_of_most_frequent();
    let token = shown_token(&file.most_frequent);
    writeln!(text, "the most frequent of them: {token}, {share:.1} % of the training part")?;
    for (part, purpose) in [("validation", Purpose::Validation), ("test", Purpose::Evaluation)] {
        let unknown = series.unknown(purpose);
        if unknown > 0 {
            writeln!(
                text,
                "tokens of the {part} part that are unknown to the training: {unknown}"
            )?;
        }
    }
    writeln!(text, "the first windows:")?;
    for &first in series.windows.of(Purpose::Training).iter().take(PAIRS) {
        let [source, target] = series.texts(first).map(|text| printable(&text));
        writeln!(text, "  {source}  →  {target}")?;
    }
    Ok(())
}

/// The pairs of a corpus.
fn pairs(config: &Config, text: &mut String) -> Result<()> {
    let corpus = Corpus::read(config)?;
    for file in &corpus.files {
        let skipped = match file.skipped {
            0 => String::new(),
            lines => format!(", {lines} lines left out"),
        };
        let (path, bytes) = (printable(&file.path.display().to_string()), file.checksum.bytes);
        writeln!(text, "{path}: {} pairs, {bytes} bytes{skipped}", file.pairs)?;
    }
    parts(config, &corpus, text)?;
    language("source", &corpus.languages.source, config.source_tokens, text)?;
    language("target", &corpus.languages.target, config.target_tokens, text)?;
    repeated(&corpus, text)?;
    first(&corpus, text)
}

/// The three parts, with their lengths and what they have that the training has not.
fn parts(config: &Config, corpus: &Corpus, text: &mut String) -> Result<()> {
    let parts = [
        ("to train on", Purpose::Training),
        ("to validate on", Purpose::Validation),
        ("to evaluate on", Purpose::Evaluation),
    ];
    for (name, purpose) in parts {
        if purpose == Purpose::Evaluation && !corpus.has_test() {
            let why = match config.test_fraction {
                Some(fraction) => format!("--test-fraction is {fraction}"),
                None => "no --test and no --test-fraction is given".to_owned(),
            };
            writeln!(text, "{name}: the same, as {why}")?;
            continue;
        }
        let part = corpus.part(purpose);
        let [source, target] = part.longest();
        let mean = |side: usize| {
            let tokens: usize = (0..part.len()).map(|pair| part.lengths(pair)[side]).sum();
            tokens as f64 / part.len().max(1) as f64
        };
        write!(
            text,
            "{name}: {} pairs; tokens of a source {:.1} on average and {source} at most, of a target \
             {:.1} and {target}",
            part.len(),
            mean(0),
            mean(1),
        )?;
        let unknown = |ids: &mut dyn Iterator<Item = i64>| ids.filter(|id| *id == UNKNOWN).count();
        let source: usize = (0..part.len()).map(|pair| unknown(&mut part.source(pair))).sum();
        let target: usize = (0..part.len()).map(|pair| unknown(&mut part.target(pair))).sum();
        if source + target > 0 {
            write!(text, "; unknown to the training: {source} of sources, {target} of targets")?;
        }
        writeln!(text)?;
    }
    Ok(())
}

/// What the tokens are, and which there are.
fn language(
    name: &str,
    language: &Language,
    tokens: Option<Tokens>,
    text: &mut String,
) -> Result<()> {
    let vocabulary = &language.vocabulary;
    let all = vocabulary.len() as i64 - FIRST;
    let kind = tokens.map(|tokens| tokens.to_string()).unwrap_or_default();
    let shown = (FIRST..vocabulary.len() as i64).take(TOKENS);
    let shown: Vec<String> = shown.map(|id| shown_token(vocabulary.token(id))).collect();
    let more = if all as usize > TOKENS { " …" } else { "" };
    writeln!(text, "{name} tokens: {kind}, {all} different: {}{more}", shown.join(" "))?;
    Ok(())
}

/// A token as the terminal shows it.
fn shown_token(token: &str) -> String {
    if token.chars().all(char::is_whitespace) { format!("{token:?}") } else { printable(token) }
}

/// Pairs that are there twice, sources with several targets, and those of two parts.
fn repeated(corpus: &Corpus, text: &mut String) -> Result<()> {
    let part = corpus.part(Purpose::Training);
    let mut targets: HashMap<Vec<i64>, HashSet<Vec<i64>>> = HashMap::new();
    let mut twice = 0;
    for pair in 0..part.len() {
        let of_source = targets.entry(part.source(pair).collect()).or_default();
        twice += usize::from(!of_source.insert(part.target(pair).collect()));
    }
    let several = targets.values().filter(|targets| targets.len() > 1).count();
    writeln!(
        text,
        "of those to train on: {twice} are there before, {several} sources have several targets"
    )?;
    for warning in corpus.warnings() {
        writeln!(text, "{warning}")?;
    }
    Ok(())
}

/// The first pairs, as tokens.
fn first(corpus: &Corpus, text: &mut String) -> Result<()> {
    let part = corpus.part(Purpose::Training);
    writeln!(text, "the first of them, as tokens:")?;
    let tokens = |language: &Language, ids: &mut dyn Iterator<Item = i64>| {
        let tokens = ids.map(|id| shown_token(language.vocabulary.token(id)));
        tokens.collect::<Vec<_>>().join(" ")
    };
    for pair in 0..part.len().min(PAIRS) {
        let source = tokens(&corpus.languages.source, &mut part.source(pair));
        let target = tokens(&corpus.languages.target, &mut part.target(pair));
        writeln!(text, "  {source}  →  {target}")?;
    }
    Ok(())
}
