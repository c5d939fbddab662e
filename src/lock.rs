//! Keeps a second process from what one process writes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::disk::parent;
use crate::error::UserError;

/// A file that holds its process's number, locked until this is dropped or the process ends, however
/// it ends. Where the file system knows no locks, it keeps nobody out.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Locks the file `path`.
    ///
    /// # Errors
    /// If another process has locked it, whose number is told, or it cannot be made.
    pub fn acquire(path: &Path) -> Result<Self> {
        let context = || format!("cannot lock {}", path.display());
        loop {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).open(path);
            let mut file = file.with_context(context)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(held(path).into()),
                Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(e)) => return Err(e).with_context(context),
            }
            // Whoever held it may just have removed it; then it keeps nobody out any more.
            if is_at(&file, path) {
                file.set_len(0).with_context(context)?;
                writeln!(file, "{}", std::process::id()).with_context(context)?;
                return Ok(Self { path: path.to_owned(), file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn held(path: &Path) -> UserError {
    let run = parent(path).display();
    let holder = fs::read_to_string(path).unwrap_or_default();
    let holder = match holder.trim().parse::<u32>() {
        Ok(process) => format!("process {process}"),
        Err(_) => "another process".to_owned(),
    };
    UserError::failure(format!("{run}: {holder} is writing this run"))
        .hint("wait for it to end, or stop it; it saves its state")
}

/// Whether `path` still names `file`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |one: fs::Metadata, other: fs::Metadata| {
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    file.metadata().and_then(|one| Ok(same(one, fs::symlink_metadata(path)?))).unwrap_or(false)
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_keeps_others_out_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        // What a process that was killed left is no lock.
        fs::write(&path, "1 and more").unwrap();
        let lock = Lock::acquire(&path).unwrap();
        let error = format!("{:#}", Lock::acquire(&path).unwrap_err());
        assert!(error.contains(&format!("process {} is writing", std::process::id())), "{error}");
        drop(lock);
        assert!(!path.exists());
        drop(Lock::acquire(&path).unwrap());
    }

    #[test]
    fn a_lock_leaves_another_in_its_place_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = Lock::acquire(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let other = Lock::acquire(&path).unwrap();
        drop(lock);
        assert!(path.exists() && Lock::acquire(&path).is_err());
        drop(other);
    }
}
