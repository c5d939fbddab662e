//! What holds of every parser whatever the bytes; the fuzz targets check it too.

#![allow(dead_code)]

use seqlab::config::presets;
use seqlab::config::{CheckpointEvery, Config, DeviceChoice, Dtype};
use seqlab::data::sources::{Lines, Reads, Source};
use seqlab::model::Model;
use seqlab::reports::reproduction::{Experiment, Reproduction};
use seqlab::resolve;
use seqlab::run::curves;
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
        let found = Reproduction { experiments: vec![experiment], unfinished: Vec::new() };
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
    let reads = Reads::new(config);
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
