//! The directory that a run leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::UserError;
use crate::evaluate::Evaluation;
use crate::resolve;

/// What a run writes. `config.toml` is what makes a directory a run.
const FILES: [&str; 4] = ["config.toml", "curves.csv", "predictions.csv", "summary.json"];
const CHECKPOINT: &str = "checkpoint";

/// `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The preset that the run started from, or `custom`.
    pub preset: String,
    /// Optimiser steps of each replica.
    pub steps: i64,
    /// Wall time of the training loop alone.
    pub train_seconds: f64,
    /// Wall time from the start of the process to the first step.
    pub startup_seconds: f64,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// CPU threads of an operation.
    pub threads: i64,
    /// Of seqlab and what it is built on.
    pub versions: BTreeMap<String, String>,
    /// The commit that seqlab was built from.
    pub git_commit: String,
    /// Each replica's result.
    pub replicas: Vec<ReplicaSummary>,
}

/// One replica's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaSummary {
    /// Its own seed.
    pub seed: u64,
    /// Mean over the batches of the last epoch, each scored before its update.
    pub loss: Option<f64>,
    /// Token accuracy, likewise.
    pub accuracy: Option<f64>,
    /// On fresh sequences.
    pub evaluation: Evaluation,
}

/// A run's directory.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The first of `runs/NAME`, `runs/NAME-2`, … that does not exist.
    pub fn free(name: &str) -> PathBuf {
        let numbered = (2..).map(|n| Path::new("runs").join(format!("{name}-{n}")));
        let mut candidates = std::iter::once(Path::new("runs").join(name)).chain(numbered);
        candidates.find(|path| !path.exists()).unwrap_or_default()
    }

    /// A new run at `path` with `config`. With `force`, a run that is there is removed first; what
    /// no run wrote stays.
    ///
    /// # Errors
    /// If something is there already, or the directory cannot be written.
    pub fn create(path: &Path, config: &Config, force: bool) -> Result<Self> {
        let run = Self { path: path.to_owned() };
        let shown = path.display();
        let unusable =
            |e: std::io::Error| UserError::usage(format!("--out {shown}: cannot be written: {e}"));
        if path.exists() && !path.is_dir() {
            return Err(UserError::usage(format!("--out {shown}: is no directory")).into());
        }
        let entries = if path.exists() { fs::read_dir(path).map_err(unusable)?.count() } else { 0 };
        if run.config_path().exists() {
            if !force {
                let error = UserError::usage(format!("--out {shown}: holds a run already"));
                return Err(error
                    .hint("give another directory, or --force to replace the run")
                    .into());
            }
            run.clear().map_err(unusable)?;
        } else if entries > 0 {
            let error = UserError::usage(format!("--out {shown}: holds files that are no run's"));
            return Err(error.hint("give a new or an empty directory").into());
        }
        fs::create_dir_all(path).map_err(unusable)?;
        let text =
            toml::to_string(config).context("the configuration cannot be written as TOML")?;
        write_whole(&run.config_path(), &text).map_err(unusable)?;
        Ok(run)
    }

    /// The run at `path`, with its configuration.
    ///
    /// # Errors
    /// If there is none, or its configuration is damaged.
    pub fn open(path: &Path) -> Result<(Self, Config)> {
        let run = Self { path: path.to_owned() };
        let file = run.config_path();
        if !file.is_file() {
            let error =
                UserError::usage(format!("{}: no run: it has no config.toml", path.display()));
            return Err(error.hint("give the directory that train --out wrote").into());
        }
        let config = read_config(&file)?;
        Ok((run, config))
    }

    /// `config.toml`.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(FILES[0])
    }

    /// `curves.csv`.
    pub fn curves_path(&self) -> PathBuf {
        self.path.join(FILES[1])
    }

    /// `predictions.csv`.
    pub fn predictions_path(&self) -> PathBuf {
        self.path.join(FILES[2])
    }

    /// `summary.json`.
    pub fn summary_path(&self) -> PathBuf {
        self.path.join(FILES[3])
    }

    /// `checkpoint`.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.path.join(CHECKPOINT)
    }

    /// Writes `summary.json`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_summary(&self, summary: &Summary) -> Result<()> {
        let path = self.summary_path();
        let text = serde_json::to_string_pretty(summary)? + "\n";
        write_whole(&path, &text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// `summary.json`, which a run has once it is finished.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn read_summary(&self) -> Result<Option<Summary>> {
        let path = self.summary_path();
        if !path.exists() {
            return Ok(None);
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let summary = serde_json::from_str(&text);
        summary.map(Some).with_context(|| format!("{} is damaged", path.display()))
    }

    fn clear(&self) -> std::io::Result<()> {
        if self.checkpoint_path().exists() {
            fs::remove_dir_all(self.checkpoint_path())?;
        }
        // config.toml last: until then what is left is still known as a run.
        for file in FILES.iter().rev().map(|file| self.path.join(file)).filter(|file| file.exists())
        {
            fs::remove_file(file)?;
        }
        Ok(())
    }
}

/// The configuration in the TOML file `path`.
///
/// # Errors
/// If it cannot be read or is no valid configuration.
pub fn read_config(path: &Path) -> Result<Config> {
    resolve::resolve(read_table(path)?).with_context(|| path.display().to_string())
}

/// The TOML file `path`.
///
/// # Errors
/// If it cannot be read or is no TOML.
pub fn read_table(path: &Path) -> Result<toml::Table> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|e| UserError::usage(format!("cannot read {shown}: {e}")))?;
    text.parse().map_err(|e| UserError::usage(format!("{shown}: {e}")).into())
}

/// Writes a file that is either not there or whole.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    fs::write(&partial, text)?;
    fs::rename(partial, path)
}
