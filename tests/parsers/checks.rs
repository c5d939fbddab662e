//! What holds of every parser whatever the bytes; the fuzz targets check it too.

#![allow(dead_code)]

use std::path::Path;

use seqlab::config::presets;
use seqlab::config::{BadLines, CheckpointEvery, Config, DeviceChoice, Dtype};
use seqlab::config::{Decimal, Missing, Normalization, Separator, Tokens};
use seqlab::data::files::pairs::{Column, Pairs, PairsFormat};
use seqlab::data::files::reader::Rows;
use seqlab::data::files::scaling::Scaling;
use seqlab::data::files::table::{Table, TableFormat};
use seqlab::data::files::tokens::Tokenizer;
use seqlab::data::files::vocabulary::{FIRST, Vocabulary};
use seqlab::data::sources::{Lines, Reads, Source};
use seqlab::data::task::Task;
use seqlab::model::Model;
use seqlab::reports::reproduction::{Experiment, Reproduction};
use seqlab::resolve::{self, Recipe};
use seqlab::run::curves;
use seqlab::run::ensemble::Ensemble;
use seqlab::run::manifest::Manifest;
use seqlab::run::summary::Summary;
use seqlab::train::memory::Estimate;
use seqlab::train::weights::Layout;

/// A message that a user can read.
pub fn readable<E: std::fmt::Display>(error: E) {
    let text = format!("{error:#}");
    assert!(!text.is_empty() && text.len() < 16_000, "{} bytes: {text:.200}", text.len());
    assert!(!text.contains(['\0', '\x1b']), "{text:?}");
}

pub fn config(bytes: &[u8]) {
    match resolve::parse("c.toml", bytes).and_then(resolve::resolve) {
        Err(error) => readable(error),
        Ok(config) => {
            let engine = config.engine;
            assert!(Estimate::training(&config, engine, true).bytes().is_finite());
            resolve::flags(&config).unwrap();
            let text = resolve::table(&config).unwrap().to_string();
            let again = resolve::parse("c.toml", text.as_bytes()).and_then(resolve::resolve);
            assert_eq!(again.unwrap(), config, "{text}");
        }
    }
}

pub fn recipe(bytes: &[u8]) {
    if let Ok(recipe) = Recipe::parse("r.toml", bytes).map_err(readable) {
        let data = Path::new("data");
        for run in &recipe.runs {
            // It is no way out of the directory.
            assert!(!run.is_empty() && !run.contains(['/', '.']), "{run:?}");
            let files = recipe.files(run, data);
            assert!(files.len() >= 2 && files.iter().all(|(_, path)| path.starts_with(data)));
        }
        for column in &recipe.published {
            assert!(column.wer.keys().all(|run| recipe.runs.contains(run)));
        }
        let _ = recipe.chosen(&["no-such".to_owned()]).map_err(readable);
    }
}

pub fn ensemble(bytes: &[u8]) {
    if let Ok(ensemble) = Ensemble::parse(bytes).map_err(readable) {
        assert_eq!(Ensemble::parse(ensemble.text().unwrap().as_bytes()), Ok(ensemble));
    }
}

pub fn manifest(bytes: &[u8]) {
    let _ = Manifest::parse(bytes).map_err(readable);
}

pub fn summary(bytes: &[u8]) {
    let _ = Summary::parse(bytes).map_err(readable);
}

pub fn curves(bytes: &[u8]) {
    let _ = curves::parse(bytes).map_err(readable);
}

/// Reports on a run with this summary and, behind a zero, these rows.
pub fn report(bytes: &[u8]) {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (summary, rows) = bytes.split_at(end);
    let rows = curves::parse(rows.get(1..).unwrap_or_default());
    let (Ok(summary), Ok(rows)) = (Summary::parse(summary), rows) else { return };
    let config = presets::find("echo").map(|preset| preset.config).unwrap();
    let experiment = Experiment::new("run".to_owned(), &config, &summary, &rows, true);
    if let Ok(experiment) = experiment.map_err(readable) {
        let found = Reproduction {
            experiments: vec![experiment],
            unfinished: Vec::new(),
            imported: Vec::new(),
        };
        found.json().unwrap();
        found.markdown();
    }
}

pub fn weights(bytes: &[u8]) {
    if let Ok(tensors) = layout().read(bytes).map_err(readable) {
        let numbers: usize = tensors.iter().map(|(_, view)| view.data().len() / 4).sum();
        assert_eq!(numbers, NUMBERS);
    }
}

pub fn source(bytes: &[u8]) {
    for preset in ["echo", "addition-2"] {
        sources(&presets::find(preset).unwrap().config, bytes);
    }
}

fn sources(config: &Config, bytes: &[u8]) {
    let reads = Reads::new(config, Task::new(config));
    let good = |source: &Source| {
        source.ids.len() as i64 == config.n_in
            && source.ids.iter().all(|id| (0..config.vocab).contains(id))
    };
    match reads.parse(bytes) {
        Err(error) => readable(error),
        Ok(source) => {
            assert!(good(&source));
            let text = reads.task().source(&source.ids, source.writing);
            assert_eq!(reads.parse(text.as_bytes()), Ok(source), "{text}");
        }
    }
    let mut lines = Lines::new(reads, bytes);
    let mut read = 0;
    loop {
        let batch = lines.batch(2).unwrap();
        if batch.is_empty() {
            break;
        }
        read += batch.len();
        for line in batch {
            match line {
                Err(error) => readable(error),
                Ok(source) => assert!(good(&source)),
            }
        }
    }
    // A last line without an end is one, too.
    assert_eq!(read, bytes.split_inclusive(|&byte| byte == b'\n').count());
}

pub fn pairs(bytes: &[u8]) {
    let tokenizers = [
        Tokenizer::new(Tokens::Characters, Normalization::None),
        Tokenizer::new(Tokens::Graphemes, Normalization::Nfc),
        Tokenizer::new(Tokens::Words, Normalization::Casefold),
        Tokenizer::new(Tokens::Ids, Normalization::Nfd),
    ];
    for separator in [Separator::Tab, Separator::Comma] {
        for (i, tokenizer) in tokenizers.iter().enumerate() {
            let header = i == 1;
            pairs_of(bytes, separator, header, tokenizer);
        }
    }
}

fn pairs_of(bytes: &[u8], separator: Separator, header: bool, tokenizer: &Tokenizer) {
    let [source, target] = [1, 2].map(Column::Number);
    let format = PairsFormat { source, target, header, separator, bad_lines: BadLines::Skip };
    let refusing = PairsFormat { bad_lines: BadLines::Refuse, ..format.clone() };
    let parse = |format| Pairs::parse("f", bytes, format, tokenizer, tokenizer);
    let refused = parse(&refusing).map_err(readable);
    let Ok(read) = parse(&format).map_err(readable) else { return assert!(refused.is_err()) };
    assert_eq!(refused.is_ok(), read.skipped.count == 0);
    assert_eq!((read.len(), read.file.bytes), (read.target.len(), bytes.len() as u64));
    let lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    if separator == Separator::Tab {
        // In no other is a record more than a line.
        assert_eq!(usize::from(header) + read.skipped.count as usize + read.len(), lines.len());
    }
    let mut before = 0;
    for i in 0..read.len() {
        let [source, target] = [&read.source, &read.target].map(|side| {
            let (text, mut tokens) = (side.text(i, tokenizer), side.row(i));
            let mut same =
                |token: &str| assert_eq!(tokens.next().map(|n| side.token(n)), Some(token));
            tokenizer.each(&text, &mut same).unwrap();
            assert_eq!(tokens.next(), None);
            text
        });
        let line = read.line(i);
        assert!(line > before && line <= lines.len() as u64);
        before = line;
        if separator == Separator::Tab && tokenizer.tokens() == Tokens::Characters {
            let mark = if line == 1 { "\u{feff}" } else { "" };
            let line = lines[line as usize - 1];
            let line = line.strip_prefix(mark.as_bytes()).unwrap_or(line);
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            assert_eq!(line, format!("{source}\t{target}").as_bytes());
        }
    }
}

/// The columns `a` and `b` of a table.
pub fn table(bytes: &[u8]) {
    for (separator, decimal) in [
        (Separator::Comma, Decimal::Point),
        (Separator::Semicolon, Decimal::Comma),
        (Separator::Tab, Decimal::Point),
    ] {
        let refusing = TableFormat { separator, decimal, missing: Missing::Refuse };
        let filling = TableFormat { missing: Missing::Previous, ..refusing };
        let names = ["a", "b"].map(str::to_owned);
        let parse = |format| {
            let rows = Rows::new("f", bytes, separator)?;
            Table::of(rows, &names, format)
        };
        let refused = parse(refusing).map_err(readable);
        let Ok(table) = parse(filling).map_err(readable) else {
            assert!(refused.is_err());
            continue;
        };
        let lines = bytes.split_inclusive(|&byte| byte == b'\n').count();
        assert_eq!((table.rows() + 1, table.file.bytes), (lines, bytes.len() as u64));
        let values = || table.columns.iter().flatten();
        assert_eq!(values().count(), 2 * table.rows());
        assert_eq!(refused.is_ok(), values().all(|value| !value.is_nan()));
        assert!(values().all(|value| value.is_nan() || (*value as f32).is_finite()));
    }
}

pub fn scaling(bytes: &[u8]) {
    if let Ok(scaling) = Scaling::from_text(bytes).map_err(readable) {
        assert_eq!(Scaling::from_text(scaling.to_text().as_bytes()), Ok(scaling));
    }
}

pub fn vocabulary(bytes: &[u8]) {
    if let Ok(vocabulary) = Vocabulary::from_text(bytes).map_err(readable) {
        assert_eq!(vocabulary.to_text().as_bytes(), bytes);
        for id in FIRST..vocabulary.len() as i64 {
            assert_eq!(vocabulary.id(vocabulary.token(id)), id);
        }
    }
}

pub fn device(bytes: &[u8]) {
    match String::from_utf8_lossy(bytes).parse::<DeviceChoice>() {
        Err(error) => readable(error),
        Ok(device) => assert_eq!(device.to_string().parse(), Ok(device)),
    }
}

pub fn checkpoint_every(bytes: &[u8]) {
    match String::from_utf8_lossy(bytes).parse::<CheckpointEvery>() {
        Err(error) => readable(error),
        Ok(every) => assert_eq!(every.to_string().parse(), Ok(every)),
    }
}

/// A summary of one replica.
pub const SUMMARY: &str = r#"{"preset": "echo", "steps": 2000, "train_seconds": 0.5,
"startup_seconds": 0.25, "device": "cpu", "engine": "fused", "machine": "a machine", "threads": 2,
"versions": {"seqlab": "0.1.0", "libtorch": "2.13.0"}, "git_commit": "0123abc", "replicas": [
{"seed": 1, "loss": 1.5, "accuracy": 0.75, "evaluation":
{"samples": 2000, "token_accuracy": 0.875, "sequence_accuracy": 0.5}}]}"#;

/// Two runs, and what was published of them.
pub const RECIPE: &str = r#"title = "Two"
data = "made here"
notes = "none"
runs = ["one", "two-2"]
[files]
train = "train/{}.tsv"
validation = "dev.tsv"
test = "test/{}.tsv"
[config]
units = 4
normalization = "nfd"
[[published]]
name = "baseline"
source = "nobody"
beside = "ensemble"
macro_wer = 12
per = { one = 1.5 }
[published.wer]
one = 10.5
two-2 = 13
"#;

/// What two replicas come to together.
pub const ENSEMBLE: &str = r#"[{"ensemble": [1, 2], "evaluation": {"samples": 20, "loss": null,
"token_accuracy": 0.875, "sequence_accuracy": 0.5, "symbol_error_rate": 0.25}}]"#;

/// The rows of one replica.
pub const CURVES: &str = "replica,seed,epoch,step,samples,loss,accuracy,val_loss,val_accuracy,\
val_sequence_accuracy,learning_rate,grad_norm,seconds
0,1,1,4,20,4.5,0.0,,,,0.001,,0.25
0,1,2,8,40,4.25,0.125,4.0,0.5,0.0,0.001,2.5,0.5
";

/// An LSTM of 2 units over 3 ids.
pub fn layout() -> Layout {
    let preset = presets::find("echo").unwrap().config;
    let config = Config { units: 2, vocab: 3, ..preset };
    Layout::new(&Model::new(&config).parameters(), 1, Dtype::Float32)
}

/// The numbers in [`layout`].
pub const NUMBERS: usize = 57;
