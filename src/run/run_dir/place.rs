//! What exists at the path of a new run, and which of it a run wrote: only that may be replaced.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::{CHECKPOINT, ENSEMBLE, EVENTS, FILES, LOCK, RunDir};
use crate::base::error::UserError;
use crate::base::input::{self, if_there};
use crate::data::task::RECORDS;
use crate::files::disk::ASIDE;
use crate::resolve;
use crate::run::lock;
use crate::run::manifest;

/// Fields of every run's `config.toml`; a file that a user wrote for `--config` hardly has all of
/// them.
const WRITTEN: [&str; 8] =
    ["preset", "task", "family", "units", "epochs", "dtype", "epsilon", "seed"];

/// What exists at the path of a new run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nothing, an empty directory, or a run that was stopped before it had its `config.toml`, perhaps
    /// with a first checkpoint.
    Free,
    /// A run.
    Run,
    /// Something else: what is wrong with it.
    Other(String),
}

impl RunDir {
    /// What is at `path`.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn place(path: &Path) -> Result<Place> {
        if !path.is_dir() {
            // Creating the directory reports why nothing is there. A dangling link is something.
            let nothing = path.symlink_metadata().is_err();
            let other = Place::Other("is no directory".to_owned());
            return Ok(if nothing { Place::Free } else { other });
        }
        Self::at(path)?.place_here()
    }

    pub(super) fn place_here(&self) -> Result<Place> {
        let names = self.names()?;
        if !names.iter().any(|name| name == FILES[0]) {
            let begun = names.iter().any(|name| is_aside(name));
            let left = |name: &OsString| match name == LOCK {
                true => lock::is_left(&self.directory, &self.path().join(LOCK)),
                // They come just before config.toml takes its name.
                false if name == CHECKPOINT => begun && self.checkpoints().is_ok(),
                false if name == EVENTS => begun && self.events().is_ok(),
                false => is_aside(name),
            };
            return Ok(match names.iter().all(left) {
                true => Place::Free,
                false => Place::Other("holds files that are no run's".to_owned()),
            });
        }
        let other = |e| Place::Other(format!("its config.toml is not that of a run: {e:#}"));
        Ok(self.written_config().map_or_else(other, |()| Place::Run))
    }

    /// Finds out whether `config.toml` is what a run writes.
    fn written_config(&self) -> Result<()> {
        let file = self.config_path();
        let bytes = self.read(&file, input::CONFIG)?;
        let shown = file.display().to_string();
        let given = resolve::parse(&shown, &bytes)?;
        let missing = WRITTEN.into_iter().find(|field| !given.has(field));
        resolve::resolve(given)?;
        match missing {
            None => Ok(()),
            Some(field) => bail!("{shown}: has no {field}"),
        }
    }

    /// All files of the run but `config.toml` and its lock, in an order in which they can be
    /// removed: the rest is always still a run.
    ///
    /// # Errors
    /// If something has the name of a run's file but is none that a run writes.
    pub(super) fn written(&self) -> Result<Vec<PathBuf>> {
        let mut written: Vec<PathBuf> = Vec::new();
        for name in self.names()?.into_iter().filter(|name| is_aside(name)) {
            written.push(self.path().join(name));
        }
        written.extend(self.own(self.ensemble_path(), "[\n  {\n    \"ensemble\": [")?);
        written.extend(self.own(self.summary_path(), "{\n  \"preset\": ")?);
        written.extend(self.own(self.predictions_path(), "replica,source,")?);
        written.extend(self.checkpoints()?);
        written.extend(self.events()?);
        for (name, begins) in RECORDS {
            written.extend(self.own(self.path().join(name), begins)?);
        }
        written.extend(self.own(self.curves_path(), "replica,seed,")?);
        Ok(written)
    }

    /// `path` if it is there and begins so, as far as it goes.
    fn own(&self, path: PathBuf, begins: &str) -> Result<Option<PathBuf>> {
        let unknown = |e| foreign(&path, e);
        let Some(file) = if_there(self.directory.open_file(&path)).map_err(unknown)? else {
            return Ok(None);
        };
        let mut found = Vec::new();
        file.take(begins.len() as u64).read_to_end(&mut found).map_err(unknown)?;
        match begins.as_bytes().starts_with(&found) {
            true => Ok(Some(path)),
            false => Err(foreign(&path, "it begins with something else").into()),
        }
    }

    /// The directory of checkpoints, if it is there, in which nothing else is.
    fn checkpoints(&self) -> Result<Option<PathBuf>> {
        let folder = Inside { is_known: manifest::is_checkpoint, else_it_is: "no checkpoint" };
        let file = Inside { is_known: manifest::is_file, else_it_is: "no file of a checkpoint" };
        self.own_folders(self.checkpoint_path(), &folder, &file)
    }

    /// The directory of event files, if it is there, in which nothing else is.
    fn events(&self) -> Result<Option<PathBuf>> {
        let is_events = |name: &OsStr| name.to_string_lossy().starts_with("events.");
        let folder = Inside { is_known: |_| true, else_it_is: "no folder of event files" };
        let file = Inside { is_known: is_events, else_it_is: "no event file" };
        self.own_folders(self.events_path(), &folder, &file)
    }

    /// `path`, if it is there, in which is nothing but each `folder` with its files, and in these each `file`.
    fn own_folders(
        &self,
        path: PathBuf,
        folder: &Inside,
        file: &Inside,
    ) -> Result<Option<PathBuf>> {
        if !self.directory.has(&path)? {
            return Ok(None);
        }
        for inside in self.known(&path, folder)? {
            for file in self.known(&inside, file)? {
                self.own(file, "")?;
            }
        }
        Ok(Some(path))
    }

    /// The paths of all that is in `path`, whose names are `inside`'s.
    fn known(&self, path: &Path, inside: &Inside) -> Result<Vec<PathBuf>> {
        let names = self.directory.names(path).map_err(|e| foreign(path, e))?;
        let known = names.into_iter().map(|name| match (inside.is_known)(&name) {
            true => Ok(path.join(&name)),
            false => Err(foreign(&path.join(&name), inside.else_it_is).into()),
        });
        known.collect()
    }
}

/// What may be in a directory of a run.
struct Inside {
    is_known: fn(&OsStr) -> bool,
    /// What something of another name is.
    else_it_is: &'static str,
}

/// The error for what prevents removing a run.
fn foreign(path: &Path, what: impl std::fmt::Display) -> UserError {
    UserError::usage(format!("{}: is not what a run wrote: {what}", path.display()))
        .hint("move it away, or give another directory")
}

/// Whether a file of this name was to become one of a run's.
pub(super) fn is_aside(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let of = |file: &&str| name.split('.').next() == file.split('.').next();
    name.ends_with(&format!(".{ASIDE}")) && [FILES[0], FILES[3], ENSEMBLE].iter().any(of)
}
