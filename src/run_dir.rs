//! The directory that a run leaves behind.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use crate::config::Config;
use crate::curves::{self, CurveRow};
use crate::disk::{self, Real};
use crate::error::UserError;
use crate::lock::Lock;
use crate::resolve::Given;
use crate::summary::Summary;
use crate::{input, resolve, shell};

/// What a run writes. `config.toml` is what makes a directory a run.
const FILES: [&str; 4] = ["config.toml", "curves.csv", "predictions.csv", "summary.json"];
const CHECKPOINT: &str = "checkpoint";
const LOCK: &str = "lock";

/// A run's directory.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Of the one process that may write to it.
    _lock: Option<Lock>,
}

impl RunDir {
    /// Makes the first of `runs/NAME`, `runs/NAME-2`, … that does not exist yet.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn claim(name: &str) -> Result<PathBuf> {
        let runs = Path::new("runs");
        fs::create_dir_all(runs).context("cannot make the directory runs")?;
        let numbered = (2..).map(|n| format!("{name}-{n}"));
        for name in std::iter::once(name.to_owned()).chain(numbered) {
            let path = runs.join(name);
            match fs::create_dir(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                made => {
                    made.with_context(|| format!("cannot make the directory {}", path.display()))?;
                    return Ok(path);
                }
            }
        }
        unreachable!("there is always a next number")
    }

    /// Finds out whether [`RunDir::create`] could make a run at `path`, and touches nothing.
    ///
    /// # Errors
    /// If something is there already.
    pub fn check(path: &Path, force: bool) -> Result<()> {
        let shown = path.display();
        let run = Self::at(path);
        if path.exists() && !path.is_dir() {
            return Err(UserError::usage(format!("--out {shown}: is no directory")).into());
        }
        if run.config_path().exists() {
            if force {
                return Ok(());
            }
            return Err(run.in_the_way().into());
        }
        let other = |entry: std::io::Result<fs::DirEntry>| {
            entry.map_or(true, |entry| entry.file_name() != LOCK)
        };
        if path.exists() && fs::read_dir(path).map_err(|e| unusable(path, &e))?.any(other) {
            let error = UserError::usage(format!("--out {shown}: holds files that are no run's"));
            return Err(error.hint("give a new or an empty directory").into());
        }
        Ok(())
    }

    /// A new run at `path` with `config`, which no other process may write. With `force`, a run that
    /// is there is removed first; what no run wrote stays.
    ///
    /// # Errors
    /// If something is there already, another process is writing it, or the directory cannot be
    /// written.
    pub fn create(path: &Path, config: &Config, force: bool) -> Result<Self> {
        let unusable = |e: std::io::Error| unusable(path, &e);
        let run = Self::at(path);
        // Before a lock is written into something else.
        Self::check(path, force)?;
        fs::create_dir_all(path).map_err(unusable)?;
        let run = run.locked().map_err(|error| match error.downcast() {
            Ok(io) => unusable(io).into(),
            Err(error) => error,
        })?;
        // Another process may have been faster.
        Self::check(path, force)?;
        run.clear().map_err(unusable)?;
        let text = text(config)?;
        disk::replace(&Real, &run.config_path(), text.as_bytes()).map_err(unusable)?;
        Ok(run)
    }

    /// Why no other run is made here.
    fn in_the_way(&self) -> UserError {
        let shown = self.path.display();
        if fs::symlink_metadata(self.summary_path()).is_ok() {
            let error = UserError::usage(format!("--out {shown}: holds a run already"));
            return error.hint("give another directory, or --force to replace the run");
        }
        let error = UserError::usage(format!("--out {shown}: holds a run that is not finished"));
        error.hint(format!("`{}` goes on with it", self.resume_command()))
    }

    fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
    }

    /// The same, which from now on no other process may write.
    fn locked(self) -> Result<Self> {
        let _lock = Some(Lock::acquire(&self.path.join(LOCK))?);
        Ok(Self { _lock, ..self })
    }

    /// The run at `path`, with its configuration.
    ///
    /// # Errors
    /// If there is none, or its configuration is damaged.
    pub fn open(path: &Path) -> Result<(Self, Config)> {
        let run = Self::at(path);
        let file = run.config_path();
        if fs::symlink_metadata(&file).is_err() {
            let error =
                UserError::usage(format!("{}: no run: it has no config.toml", path.display()));
            return Err(error.hint("give the directory that train --out wrote").into());
        }
        let config = run.read_config()?;
        Ok((run, config))
    }

    fn read_config(&self) -> Result<Config> {
        let file = self.config_path();
        let bytes = self.read(&file, input::CONFIG)?;
        let config = resolve::parse(&file.display().to_string(), &bytes).and_then(resolve::resolve);
        let damaged = |e: anyhow::Error| UserError::failure(format!("{e:#}"));
        Ok(config.map_err(damaged)?)
    }

    /// The same, to go on with it; no other process may write it meanwhile.
    ///
    /// # Errors
    /// Also if another process is writing it.
    pub fn open_to_write(path: &Path) -> Result<(Self, Config)> {
        let (run, _) = Self::open(path)?;
        let run = run.locked()?;
        // Whoever held the lock may have changed it.
        let config = run.read_config()?;
        Ok((run, config))
    }

    /// Makes the run an unfinished one of `config`.
    ///
    /// # Errors
    /// If a file cannot be removed or written.
    pub fn reopen(&self, config: &Config) -> Result<()> {
        // The summary first: only without it is the run known as one that is not finished.
        for path in [self.summary_path(), self.predictions_path()] {
            match fs::remove_file(&path) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                removed => {
                    removed.with_context(|| format!("cannot remove {}", path.display()))?;
                }
            }
        }
        if self.read_config()? != *config {
            write_whole(&self.config_path(), &text(config)?)?;
        }
        Ok(())
    }

    /// The command that goes on with the run.
    pub fn resume_command(&self) -> String {
        shell::command(&["resume".as_ref(), operand(&self.path).as_ref()])
    }

    /// The command that trains its configuration from the beginning, into a new directory.
    pub fn again_command(&self) -> String {
        let config = operand(&self.config_path());
        shell::command(&["train".as_ref(), "--config".as_ref(), config.as_ref()])
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
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
        write_whole(&self.summary_path(), &(serde_json::to_string_pretty(summary)? + "\n"))
    }

    /// `summary.json`, which a run has once it is finished.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn read_summary(&self) -> Result<Option<Summary>> {
        let path = self.summary_path();
        if fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        let bytes = self.read(&path, input::SUMMARY)?;
        let damaged = |e| anyhow!("{} is damaged: {e}", path.display());
        Summary::parse(&bytes).map(Some).map_err(damaged)
    }

    /// The rows of `curves.csv`.
    ///
    /// # Errors
    /// If it cannot be read, is damaged, or lies outside the run's directory.
    pub fn read_curves(&self) -> Result<Vec<CurveRow>> {
        let path = self.curves_path();
        let inside = input::inside(&self.path, &path);
        inside.with_context(|| format!("cannot read {}", path.display()))?;
        curves::read(&path)
    }

    /// The bytes of `file`, one of the run's own, at most `most`.
    ///
    /// # Errors
    /// If it cannot be read, is longer, no regular file, or lies outside the run's directory.
    fn read(&self, file: &Path, most: u64) -> Result<Vec<u8>> {
        let bytes = input::read_inside(&self.path, file, most);
        bytes.with_context(|| format!("cannot read {}", file.display()))
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

/// What the TOML file `path` that a user named says.
///
/// # Errors
/// If it cannot be read or is no TOML.
pub fn read_given(path: &Path) -> Result<Given> {
    let shown = path.display().to_string();
    let bytes = input::read(path, input::CONFIG)
        .map_err(|e| UserError::usage(format!("cannot read {shown}: {e}")))?;
    resolve::parse(&shown, &bytes)
}

/// `path` spelled so that no command line takes it for a flag.
fn operand(path: &Path) -> PathBuf {
    let flag = path.as_os_str().as_encoded_bytes().starts_with(b"-");
    if flag { Path::new(".").join(path) } else { path.to_owned() }
}

/// A directory that the user chose badly, or a failure of the disk.
fn unusable(path: &Path, error: &std::io::Error) -> UserError {
    let message = format!("--out {}: cannot be written: {error}", path.display());
    match error.kind() {
        ErrorKind::NotADirectory
        | ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidInput => UserError::usage(message),
        _ => UserError::failure(message),
    }
}

/// Writes a file that is, also after a crash, either what it was before or whole.
///
/// # Errors
/// If it cannot be written.
pub fn write_whole(path: &Path, text: &str) -> Result<()> {
    let written = disk::replace(&Real, path, text.as_bytes());
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The text of `config.toml`.
fn text(config: &Config) -> Result<String> {
    toml::to_string(config).context("the configuration cannot be written as TOML")
}
