//! `manifest.json` of a checkpoint: where the training stood, and what the other files have to be.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use anyhow::{Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

use crate::base::input::clipped;
use crate::config::{Config, DeviceChoice};
use crate::data::epochs::Epochs;
use crate::files::checksum::Checksum;

/// The layout that this version writes and reads.
pub const FORMAT: u32 = 2;

/// What a checkpoint is called until it is whole.
pub const PARTIAL: &str = "partial";

/// A checkpoint's file that says what the others are.
pub const MANIFEST: &str = "manifest.json";
/// A checkpoint's file of weights.
pub const WEIGHTS: &str = "weights.safetensors";
/// Its file of everything else that training goes on from.
pub const TRAINING: &str = "training.safetensors";
/// Its file of the best weights by validation, where there was one.
pub const BEST: &str = "best.safetensors";
/// Its file of each replica's weights at its own best row, where these are to be restored.
pub const RESTORED: &str = "restored.safetensors";

/// Whether a checkpoint's directory may be called so.
pub fn is_checkpoint(name: &OsStr) -> bool {
    name == PARTIAL || name.to_str().is_some_and(|name| name.starts_with("step-"))
}

/// Whether a checkpoint's file may be called so.
pub fn is_file(name: &OsStr) -> bool {
    [MANIFEST, WEIGHTS, TRAINING, BEST, RESTORED].iter().any(|file| name == *file)
}

/// What `manifest.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the layout: [`FORMAT`].
    pub format: u32,
    /// Where the training stood.
    pub position: Position,
    /// The bytes of `curves.csv` then.
    pub curves_bytes: u64,
    /// Their CRC-32; `None` in checkpoints from before it was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curves_crc32: Option<u32>,
    /// Every other file of the checkpoint, by name.
    pub files: BTreeMap<String, Checksum>,
    /// The run's configuration.
    pub config: Config,
    /// CRC-32 of this manifest as JSON without spaces, with 0 here.
    pub crc32: u32,
}

/// Where a training stands, beside its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Epochs finished.
    pub epoch: i64,
    /// Batches done of the epoch after them.
    pub batch: i64,
    /// Optimiser steps done.
    pub step: i64,
    /// Samples seen by each replica.
    pub samples: i64,
    /// Logging points in `curves.csv`.
    pub rows: i64,
    /// Wall time of the training loop, all sessions together.
    pub seconds: f64,
    /// Where it was computed, which `auto` stays with; `None` in checkpoints from before it was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceChoice>,
    /// The lowest validation loss so far.
    pub best: Option<Best>,
    /// Whose weights the training began with; `None` if they were drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<InitFrom>,
}

/// Weights of another run that a training began with. It does not need that run any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitFrom {
    /// The run's directory, as it was given.
    pub run: String,
    /// The step whose weights they were.
    pub step: i64,
    /// CRC-32 of their file.
    pub weights_crc32: u32,
}

/// Where the mean validation loss of all replicas was lowest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Optimiser steps done.
    pub step: i64,
    /// The loss.
    pub val_loss: f64,
}

impl Position {
    /// The place in a run of `epochs` after `step` steps, 0 to all.
    pub fn at(epochs: &Epochs, step: i64) -> Self {
        let (epoch, batch) = epochs.done(step);
        let (samples, rows) = (epochs.samples_seen(step), epochs.rows_due(step));
        Self {
            epoch,
            batch,
            step,
            samples,
            rows,
            seconds: 0.0,
            device: None,
            best: None,
            init_from: None,
        }
    }
}

impl Manifest {
    /// A manifest with its own checksum, beside a `curves.csv` that is `curves` so far.
    ///
    /// # Errors
    /// None that a validated configuration and finite numbers can have.
    pub fn new(
        config: &Config,
        position: Position,
        curves: Checksum,
        files: BTreeMap<String, Checksum>,
    ) -> Result<Self> {
        let mut manifest = Self {
            format: FORMAT,
            position,
            curves_bytes: curves.bytes,
            curves_crc32: Some(curves.crc32),
            files,
            config: config.clone(),
            crc32: 0,
        };
        manifest.crc32 = manifest.checksum()?;
        Ok(manifest)
    }

    /// The text of the file.
    ///
    /// # Errors
    /// As [`Manifest::new`].
    pub fn text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The manifest that `text` is, if it is one that [`Manifest::text`] wrote.
    ///
    /// # Errors
    /// If it is of another format, damaged, or of no possible run.
    pub fn parse(text: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let unreadable = |e: serde_json::Error| anyhow!(clipped(&e.to_string()));
        let Head { format } = serde_json::from_slice(text).map_err(unreadable)?;
        ensure!(format == FORMAT, "format {format}; this version reads format {FORMAT}");
        let manifest: Self = serde_json::from_slice(text).map_err(unreadable)?;
        ensure!(manifest.checksum()? == manifest.crc32, "its checksum is another");
        manifest.config.validate()?;
        manifest.position.check(&Epochs::of(&manifest.config))?;
        let known = |name: &String| [WEIGHTS, TRAINING, BEST, RESTORED].contains(&name.as_str());
        let files = &manifest.files;
        ensure!(files.keys().all(known), "it names a file that no checkpoint has");
        for name in [WEIGHTS, TRAINING] {
            ensure!(files.contains_key(name), "it does not name {name}");
        }
        let best = manifest.position.best.is_some();
        ensure!(
            files.contains_key(BEST) == best,
            "{BEST} and the best loss do not belong together"
        );
        let restores = manifest.config.restore_best_weights == Some(true);
        ensure!(restores || !files.contains_key(RESTORED), "no weights of its run are restored");
        Ok(manifest)
    }

    fn checksum(&self) -> Result<u32> {
        let unsealed = Self { crc32: 0, ..self.clone() };
        Ok(crc32fast::hash(&serde_json::to_vec(&unsealed)?))
    }
}

impl Position {
    /// Whether a run of `epochs` can stand here.
    fn check(&self, epochs: &Epochs) -> Result<()> {
        let &Self { step, rows, seconds, device, best, .. } = self;
        ensure!((0..=epochs.steps()).contains(&step), "step {step} is none of the run's");
        let there = Self::at(epochs, step);
        // A row that was being validated when the training was interrupted is still to come.
        ensure!((there.rows - 1..=there.rows).contains(&rows) && rows >= 0, "{rows} rows");
        ensure!(seconds >= 0.0, "{seconds} seconds");
        let init_from = self.init_from.clone();
        let possible = Self { rows, seconds, device, best, init_from, ..there };
        ensure!(*self == possible, "its epoch, batch and samples are not those of step {step}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        let config = presets::find("echo").unwrap().config;
        let best = Some(Best { step: 4, val_loss: 0.1 + 0.2 });
        let position =
            Position { seconds: 1.0 / 3.0, best, ..Position::at(&Epochs::of(&config), 7) };
        let files = [WEIGHTS, TRAINING, BEST].map(|name| (name.to_owned(), Checksum::of(b"x")));
        Manifest::new(&config, position, Checksum::of(b"rows"), files.into()).unwrap()
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let manifest = manifest();
        assert_eq!(Manifest::parse(manifest.text().unwrap().as_bytes()).unwrap(), manifest);
        let Position { epoch, batch, step, samples, rows, .. } = manifest.position;
        assert_eq!([epoch, batch, step, samples, rows], [1, 3, 7, 35, 1]);
    }

    #[test]
    fn one_from_before_the_curve_had_a_checksum_is_read() {
        let mut old = Manifest { curves_crc32: None, ..manifest() };
        old.crc32 = old.checksum().unwrap();
        let text = old.text().unwrap();
        assert!(!text.contains("curves_crc32"), "{text}");
        assert_eq!(Manifest::parse(text.as_bytes()).unwrap(), old);
    }

    #[test]
    fn what_no_run_can_be_at_is_refused_also_with_the_right_checksum() {
        let refused = |change: fn(&mut Manifest)| {
            let mut manifest = manifest();
            change(&mut manifest);
            manifest.crc32 = manifest.checksum().unwrap();
            Manifest::parse(manifest.text().unwrap().as_bytes()).unwrap_err().to_string()
        };
        assert_eq!(refused(|m| m.format = 1), "format 1; this version reads format 2");
        assert!(refused(|m| m.position.step = i64::MAX).contains("none of the run's"));
        assert!(refused(|m| m.position.step = -1).contains("none of the run's"));
        assert!(refused(|m| m.position.samples += 1).contains("not those of step 7"));
        assert!(refused(|m| m.position.epoch = i64::MIN).contains("not those of step 7"));
        assert!(refused(|m| m.position.rows = 3).contains("3 rows"));
        assert!(refused(|m| m.config.epochs = i64::MAX).contains("--epochs"));
        assert!(refused(|m| m.position.best = None).contains("do not belong"));
        assert!(
            refused(|m| m.files.retain(|name, _| name != WEIGHTS))
                .contains("does not name weights")
        );
        let elsewhere = |m: &mut Manifest| {
            m.files.insert("../config.toml".to_owned(), Checksum::of(b""));
        };
        assert!(refused(elsewhere).contains("no checkpoint has"));
    }

    proptest! {
        #[test]
        fn one_changed_byte_is_noticed_or_changes_nothing(at: prop::sample::Index, byte: u8) {
            let manifest = manifest();
            let mut text = manifest.text().unwrap().into_bytes();
            let at = at.index(text.len());
            text[at] = byte;
            if let Ok(read) = Manifest::parse(&text) {
                prop_assert_eq!(read, manifest);
            }
        }
    }
}
