//! The directory that a run leaves behind.

mod place;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::base::error::UserError;
use crate::base::input::{self, if_there};
use crate::base::shell;
use crate::base::spelling::nearest;
use crate::config::Config;
use crate::data::task::{RECORDS, Task};
use crate::files::checksum::Checksum;
use crate::files::directory::Directory;
use crate::files::disk::{self, Disk};
use crate::resolve::{self, Given};
use crate::run::curves::{self, Beginning, CsvFile, CurveRow, PredictionRow};
use crate::run::ensemble::Ensemble;
use crate::run::lock::Lock;
use crate::run::summary::Summary;

pub use place::Place;
use place::is_aside;

/// What a run writes. `config.toml` is what makes a directory a run.
const FILES: [&str; 4] = ["config.toml", "curves.csv", "predictions.csv", "summary.json"];
/// What the replicas come to together, once that was asked for.
const ENSEMBLE: &str = "ensemble.json";
const CHECKPOINT: &str = "checkpoint";
/// The curves once more for TensorBoard, if that was asked for.
const EVENTS: &str = "tensorboard";
const LOCK: &str = "lock";

/// A run's directory.
#[derive(Debug)]
pub struct RunDir {
    directory: Arc<Directory>,
    /// The lock of the one process that may write to it.
    lock: Option<Lock>,
}

impl RunDir {
    /// Makes the first of `runs/NAME`, `runs/NAME-2`, … that does not exist yet.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn claim(name: &str) -> Result<PathBuf> {
        let runs = Path::new("runs");
        let unusable = |path: &Path, e: &std::io::Error| {
            let error = UserError::usage(format!("cannot make {}: {e}", path.display()));
            error.hint("--out DIR writes elsewhere")
        };
        let directory = Directory::create(runs).map_err(|e| unusable(runs, &e))?;
        let numbered = (2..).map(|n| format!("{name}-{n}"));
        for name in std::iter::once(name.to_owned()).chain(numbered) {
            let path = runs.join(name);
            match directory.create_dir(&path) {
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                made => {
                    made.and_then(|()| directory.sync(runs)).map_err(|e| unusable(&path, &e))?;
                    return Ok(path);
                }
            }
        }
        unreachable!("there is always a next number")
    }

    /// Checks that [`RunDir::create`] could make a run at `path`; changes nothing.
    ///
    /// # Errors
    /// If something is there already.
    pub fn check(path: &Path, force: bool) -> Result<()> {
        let what = match Self::place(path)? {
            Place::Free => return Ok(()),
            Place::Run if force => return Self::at(path)?.written().map(drop),
            Place::Run => return Err(Self::at(path)?.in_the_way().into()),
            Place::Other(what) => what,
        };
        let error = UserError::usage(format!("--out {}: {what}", path.display()));
        Err(error.hint("give a new or an empty directory").into())
    }

    /// A new run at `path` with `config`, which no other process may write, and its `curves.csv`. With
    /// `force`, an existing run is removed first; files that no run wrote stay. Before the directory
    /// counts as the new run, `first` writes into it what that cannot do without.
    ///
    /// # Errors
    /// If something is there already, another process is writing it, or the directory cannot be
    /// written; and those of `first`.
    pub fn create(
        path: &Path,
        config: &Config,
        force: bool,
        first: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<(Self, CsvFile<CurveRow>)> {
        let unusable = |e: std::io::Error| unusable(path, &e);
        // Before a lock is written into something else.
        Self::check(path, force)?;
        let directory = Directory::create(path).map_err(unusable)?;
        let run = Self::new(directory).locked().map_err(|error| match error.downcast() {
            Ok(io) => unusable(io).into(),
            Err(error) => error,
        })?;
        // Another process may have been faster.
        Self::check(path, force)?;
        let (disk, file) = (run.disk(), run.config_path());
        let old = run.written()?;
        // What may fail comes first, so that a full disk does not destroy the old run.
        let new = disk::write_aside(disk, &file, text(config)?.as_bytes()).map_err(unusable)?;
        // The old config.toml is replaced last: until then the rest still counts as a run.
        old.iter().try_for_each(|old| disk.remove(old)).map_err(unusable)?;
        first(&run)?;
        disk::put(disk, &new, &file).map_err(unusable)?;
        let refused = || UserError::usage(format!("--out {}: cannot be written", path.display()));
        let curves = CsvFile::create(&run.directory, &run.curves_path()).with_context(refused)?;
        Ok((run, curves))
    }

    /// Why no other run is made here.
    fn in_the_way(&self) -> UserError {
        let shown = self.path().display();
        if self.directory.has(&self.summary_path()).unwrap_or(true) {
            let error = UserError::usage(format!("--out {shown}: holds a run already"));
            return error.hint("give another directory, or --force to replace the run");
        }
        let error = UserError::usage(format!("--out {shown}: holds a run that is not finished"));
        error.hint(format!("`{}` goes on with it", self.resume_command()))
    }

    fn new(directory: Directory) -> Self {
        Self { directory: Arc::new(directory), lock: None }
    }

    fn at(path: &Path) -> Result<Self> {
        let directory = Directory::open(path);
        Ok(Self::new(directory.with_context(|| format!("cannot read {}", path.display()))?))
    }

    /// The same, locked against writing by other processes.
    fn locked(self) -> Result<Self> {
        let lock = Lock::acquire(Arc::clone(&self.directory), &self.path().join(LOCK))?;
        Ok(Self { lock: Some(lock), ..self })
    }

    /// The run at `path`, with its configuration.
    ///
    /// # Errors
    /// If there is none, or its configuration is damaged.
    pub fn open(path: &Path) -> Result<(Self, Config)> {
        let shown = path.display();
        let none = UserError::usage(format!("{shown}: no run: it has no config.toml"));
        let given = "give the directory that train --out wrote";
        let found = if_there(path.metadata()).with_context(|| format!("cannot read {shown}"))?;
        if found.is_none_or(|found| !found.is_dir()) {
            let near = near(path).map(|near| format!("did you mean '{near}'?"));
            return Err(none.hint(near.as_deref().unwrap_or(given)).into());
        }
        let run = Self::at(path)?;
        if run.has(&run.config_path())? {
            let config = run.read_config()?;
            return Ok((run, config));
        }
        let begin = format!("no training has begun there; give it to train --out, or {given}");
        let free = run.place_here()? == Place::Free;
        Err(none.hint(if free { &begin } else { given }).into())
    }

    /// Whether the directory `path` is a run's: it has a `config.toml`.
    pub fn is_at(path: &Path) -> bool {
        path.join(FILES[0]).symlink_metadata().is_ok()
    }

    /// Whether anything is called `path`, one of the run's own.
    fn has(&self, path: &Path) -> Result<bool> {
        self.directory.has(path).with_context(|| format!("cannot read {}", path.display()))
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
        // The lock's last holder may have changed it.
        let config = run.read_config()?;
        Ok((run, config))
    }

    /// Makes the run an unfinished one of `config`.
    ///
    /// # Errors
    /// If a file cannot be removed or written.
    pub fn reopen(&self, config: &Config) -> Result<()> {
        // The summary first: a run with one counts as finished.
        let mut old = vec![self.summary_path(), self.ensemble_path(), self.predictions_path()];
        let aside = self.names()?.into_iter().filter(|name| is_aside(name));
        old.extend(aside.map(|name| self.path().join(name)));
        for path in old {
            self.remove(&path)?;
        }
        if self.read_config()? != *config {
            write_whole(self.disk(), &self.config_path(), &text(config)?)?;
        }
        Ok(())
    }

    /// The command that goes on with the run.
    pub fn resume_command(&self) -> String {
        shell::command(&["resume".as_ref(), operand(self.path()).as_ref()])
    }

    /// The command that trains its configuration from the beginning, into a new directory.
    pub fn again_command(&self) -> String {
        let config = operand(&self.config_path());
        shell::command(&["train".as_ref(), "--config".as_ref(), config.as_ref()])
    }

    /// Removes `path`, one of the run's own, if it is there.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove(&self, path: &Path) -> Result<()> {
        let removed = if_there(self.disk().remove(path)).map(drop);
        removed.with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Finds out whether what this process writes is still the run: its directory, its lock, its
    /// `config.toml` and `curves`.
    ///
    /// # Errors
    /// If one of them was moved, removed or replaced, or that cannot be found out.
    pub fn check_in_place(&self, curves: &CsvFile<CurveRow>) -> Result<()> {
        let shown = || format!("cannot read {}", self.path().display());
        if !self.directory.is_in_place().with_context(shown)? {
            let hint = "if it was moved, resume it where it is now";
            return Err(replaced(self.path()).hint(hint).into());
        }
        let locked = self.lock.as_ref().map_or(Ok(true), Lock::is_in_place);
        self.require(&self.path().join(LOCK), locked)?;
        self.require(&self.config_path(), self.directory.has(&self.config_path()))?;
        self.require(&self.curves_path(), curves.is_in_place(&self.directory))
    }

    /// Finds out whether what an evaluation leaves is there: `predictions` and the checkpoints.
    ///
    /// # Errors
    /// As [`RunDir::check_in_place`].
    pub fn check_evaluated(&self, predictions: &CsvFile<PredictionRow>) -> Result<()> {
        self.require(&self.predictions_path(), predictions.is_in_place(&self.directory))?;
        // What cannot be looked at is not missing.
        let saved = self.directory.has(&self.checkpoint_path()).unwrap_or(true);
        self.require(&self.checkpoint_path(), Ok(saved))
    }

    /// Fails unless what has the name `path` is still what the process writes.
    fn require(&self, path: &Path, in_place: std::io::Result<bool>) -> Result<()> {
        if in_place.with_context(|| format!("cannot read {}", path.display()))? {
            return Ok(());
        }
        let resume = self.resume_command();
        let hint = format!("put it back, and `{resume}` goes on from the last checkpoint");
        Err(replaced(path).hint(hint).into())
    }

    /// What its files are opened in.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What changes its files.
    pub fn disk(&self) -> &dyn Disk {
        &*self.directory
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// `config.toml`.
    pub fn config_path(&self) -> PathBuf {
        self.path().join(FILES[0])
    }

    /// `curves.csv`.
    pub fn curves_path(&self) -> PathBuf {
        self.path().join(FILES[1])
    }

    /// `predictions.csv`.
    pub fn predictions_path(&self) -> PathBuf {
        self.path().join(FILES[2])
    }

    /// `summary.json`.
    pub fn summary_path(&self) -> PathBuf {
        self.path().join(FILES[3])
    }

    /// `ensemble.json`.
    pub fn ensemble_path(&self) -> PathBuf {
        self.path().join(ENSEMBLE)
    }

    /// `checkpoint`.
    pub fn checkpoint_path(&self) -> PathBuf {
        self.path().join(CHECKPOINT)
    }

    /// `tensorboard`.
    pub fn events_path(&self) -> PathBuf {
        self.path().join(EVENTS)
    }

    /// Makes `tensorboard`, in which whoever trains the run keeps event files.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn begin_events(&self) -> Result<()> {
        let path = self.events_path();
        let made = self.disk().create_dir(&path).and_then(|()| self.disk().sync(self.path()));
        made.with_context(|| format!("cannot make {}", path.display()))
    }

    /// Whether the run keeps event files.
    ///
    /// # Errors
    /// If `tensorboard` is no directory, or cannot be looked at.
    pub fn has_events(&self) -> Result<bool> {
        let path = self.events_path();
        let found = if_there(self.directory.names(&path));
        Ok(found.with_context(|| format!("cannot read {}", path.display()))?.is_some())
    }

    /// Writes `summary.json`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_summary(&self, summary: &Summary) -> Result<()> {
        write_whole(
            self.disk(),
            &self.summary_path(),
            &(serde_json::to_string_pretty(summary)? + "\n"),
        )
    }

    /// `summary.json`, which a run has once it is finished. `config` is that of `config.toml`.
    ///
    /// # Errors
    /// If it is damaged, or the run ended with another configuration.
    pub fn read_summary(&self, config: &Config) -> Result<Option<Summary>> {
        let path = self.summary_path();
        if !self.has(&path)? {
            return Ok(None);
        }
        let bytes = self.read(&path, input::SUMMARY)?;
        let damaged = |e| anyhow!("{} is damaged: {e}", path.display());
        let summary = Summary::parse(&bytes).map_err(damaged)?;
        if let Some(then) = &summary.config {
            self.check_config(config, then, &path)?;
        }
        Ok(Some(summary))
    }

    /// The same of a run that is to have been trained here.
    ///
    /// # Errors
    /// Also if its weights were imported.
    pub fn read_training(&self, config: &Config) -> Result<Option<Summary>> {
        let summary = self.read_summary(config)?;
        let Some(imported) = summary.as_ref().and_then(|summary| summary.imported.as_ref()) else {
            return Ok(summary);
        };
        let (path, from) = (operand(self.path()), input::quoted(&imported.file));
        let error =
            format!("{}: its weights were imported from {from}, not trained", path.display());
        let run = shell::quoted(path.as_ref());
        let hint = format!("`{} --init-from {run}` trains on from them", self.again_command());
        Err(UserError::usage(error).hint(hint).into())
    }

    /// Writes `ensemble.json`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_ensemble(&self, ensemble: &Ensemble) -> Result<()> {
        write_whole(self.disk(), &self.ensemble_path(), &ensemble.text()?)
    }

    /// `ensemble.json`, if it is there.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn read_ensemble(&self) -> Result<Option<Ensemble>> {
        let path = self.ensemble_path();
        if !self.has(&path)? {
            return Ok(None);
        }
        let bytes = self.read(&path, input::SUMMARY)?;
        let damaged = |e| anyhow!("{} is damaged: {e}", path.display());
        Ok(Some(Ensemble::parse(&bytes).map_err(damaged)?))
    }

    /// Finds out whether `config`, that of `config.toml`, is what it was when `saved` was written with
    /// `then`, but for what changes no number of a run.
    ///
    /// # Errors
    /// If it is not: what was changed.
    pub fn check_config(&self, config: &Config, then: &Config, saved: &Path) -> Result<()> {
        let Some(changes) = resolve::changes(then, config)? else { return Ok(()) };
        let (file, saved) = (self.config_path(), saved.display());
        let error = format!("{}: {changes} when {saved} was written", file.display());
        let hint = format!("put it back; `{}` trains the changed one", self.again_command());
        Err(UserError::usage(error).hint(hint).into())
    }

    /// The rows of `curves.csv`: of the finished run that `summary` is of, or so far.
    ///
    /// # Errors
    /// As [`RunDir::check_curves`], and if they are damaged.
    pub fn read_curves(&self, summary: Option<&Summary>) -> Result<Vec<CurveRow>> {
        summary.map_or(Ok(()), |summary| self.check_curves(summary))?;
        curves::read(&self.directory, &self.curves_path())
    }

    /// Finds out whether `curves.csv` is what it was when `summary` was written.
    ///
    /// # Errors
    /// If it is not, or cannot be read.
    pub fn check_curves(&self, summary: &Summary) -> Result<()> {
        let check = |expected| curves::check(&self.directory, &self.curves_path(), expected);
        summary.curves.map_or(Ok(()), check)
    }

    /// The first `bytes` bytes of `curves.csv`; touches nothing.
    ///
    /// # Errors
    /// As [`Beginning::check`].
    pub fn beginning(&self, bytes: u64, crc32: Option<u32>) -> Result<Beginning> {
        Beginning::check(&self.directory, &self.curves_path(), bytes, crc32)
    }

    /// `curves.csv` with what comes after its `beginning` cut off.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn go_on(&self, beginning: Beginning) -> Result<CsvFile<CurveRow>> {
        CsvFile::go_on(&self.directory, beginning)
    }

    /// An empty `predictions.csv`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn predictions(&self) -> Result<CsvFile<PredictionRow>> {
        CsvFile::create(&self.directory, &self.predictions_path())
    }

    /// The first rows of the CSV file `path` in the run's directory, at most `most`; none if it is not there.
    ///
    /// # Errors
    /// If it cannot be read or has other columns.
    pub fn first_rows<Row: DeserializeOwned>(&self, path: &Path, most: usize) -> Result<Vec<Row>> {
        if !self.has(path)? {
            return Ok(Vec::new());
        }
        curves::first(&self.directory, path, most)
    }

    /// The names of the directories in the run's, sorted.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn folders(&self) -> Result<Vec<OsString>> {
        let mut names = self.names()?;
        names.retain(|name| self.directory.names(&self.path().join(name)).is_ok());
        names.sort();
        Ok(names)
    }

    /// Writes what the run knows of the data of `task`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_record(&self, task: &Task) -> Result<()> {
        let write =
            |(name, text): (&str, String)| write_whole(self.disk(), &self.path().join(name), &text);
        task.record().into_iter().try_for_each(write)
    }

    /// The file `name` of what it knows of its data.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn record(&self, name: &str) -> Result<Vec<u8>> {
        self.read(&self.path().join(name), input::RECORD)
    }

    /// What the run knows of its tokens or columns: the content of files of its directory, by their names.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn vocabularies(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        self.records_of(&RECORDS[1..])
    }

    /// All that it knows of its data: the content of files of its directory, by their names.
    ///
    /// # Errors
    /// If one cannot be read.
    pub fn records(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        self.records_of(&RECORDS)
    }

    fn records_of(&self, names: &[(&'static str, &str)]) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let mut found = Vec::new();
        for (name, _) in names {
            if self.has(&self.path().join(name))? {
                found.push((*name, self.record(name)?));
            }
        }
        Ok(found)
    }

    /// Finds out whether the files that the run reads its data from are what they were when it began.
    ///
    /// # Errors
    /// The first that is not, or cannot be read.
    pub fn check_files(&self) -> Result<()> {
        let path = self.path().join(RECORDS[0].0);
        if !self.has(&path)? {
            return Ok(());
        }
        let damaged = |e| UserError::failure(format!("{} is damaged: {e}", path.display()));
        let data: Data = serde_json::from_slice(&self.record(RECORDS[0].0)?).map_err(damaged)?;
        let hint =
            format!("put it back as it was; `{}` trains on what it is now", self.again_command());
        for DataFile { path, bytes, crc32 } in data.files {
            let shown = input::shown(&path);
            let unread = |e| UserError::usage(format!("{shown}: cannot be read: {e}"));
            let now = Checksum::of_file(&path).map_err(|e| unread(e).hint(&hint))?;
            if now != (Checksum { bytes, crc32 }) {
                let error = format!(
                    "{shown}: was changed since the run began: expected {bytes} bytes with CRC-32 \
                     {crc32:08x}, found {} with {:08x}",
                    now.bytes, now.crc32
                );
                return Err(UserError::usage(error).hint(&hint).into());
            }
        }
        Ok(())
    }

    /// The bytes of `file`, one of the run's own, at most `most`.
    ///
    /// # Errors
    /// If it cannot be read, is longer, or no regular file.
    fn read(&self, file: &Path, most: u64) -> Result<Vec<u8>> {
        let bytes = self.directory.read(file, most);
        bytes.with_context(|| format!("cannot read {}", file.display()))
    }

    fn names(&self) -> Result<Vec<OsString>> {
        let names = self.directory.names(self.path());
        names.with_context(|| format!("cannot read {}", self.path().display()))
    }
}

/// The files that a run reads its data from.
#[derive(Debug, Deserialize)]
struct Data {
    files: Vec<DataFile>,
}

/// One of them, with its checksum.
#[derive(Debug, Deserialize)]
struct DataFile {
    path: PathBuf,
    bytes: u64,
    crc32: u32,
}

/// What a training says of what it writes and is no longer there.
fn replaced(path: &Path) -> UserError {
    let what = "it was moved, removed or replaced during the training";
    UserError::failure(format!("cannot write {}: {what}", path.display()))
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

/// The run beside `path` whose name is as good as spelled like it, if nothing is there.
pub fn near(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let holder = disk::parent(path);
    let names = Directory::open(holder).and_then(|directory| directory.names(holder)).ok()?;
    let mut names: Vec<String> = names.into_iter().filter_map(|of| of.into_string().ok()).collect();
    names.retain(|of| RunDir::is_at(&holder.join(of)));
    names.sort();
    let near = nearest(name, names.iter().map(String::as_str))?;
    Some(input::shown(&path.with_file_name(near)))
}

/// `path`, written so that no command line parses it as a flag.
fn operand(path: &Path) -> PathBuf {
    let flag = path.as_os_str().as_encoded_bytes().starts_with(b"-");
    if flag { Path::new(".").join(path) } else { path.to_owned() }
}

/// No run has begun: another directory is all it takes.
fn unusable(path: &Path, error: &std::io::Error) -> UserError {
    UserError::usage(format!("--out {}: cannot be written: {error}", path.display()))
}

/// Writes a file that is, also after a crash, either what it was before or whole.
///
/// # Errors
/// If it cannot be written.
pub fn write_whole(disk: &dyn Disk, path: &Path, text: &str) -> Result<()> {
    let written = disk::replace(disk, path, text.as_bytes());
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The text of `config.toml`.
fn text(config: &Config) -> Result<String> {
    toml::to_string(config).context("the configuration cannot be written as TOML")
}
