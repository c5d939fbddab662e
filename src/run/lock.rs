//! Keeps other processes from writing what one process writes.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::base::error::UserError;
use crate::files::directory::Directory;
use crate::files::disk::Disk;

/// The most bytes of a process's number.
const NUMBER: u64 = 20;

/// A directory and a file in it with this process's number, both locked until this is dropped or
/// the process ends, in whatever way. The directory's lock holds even if the file is removed; the
/// file's is for systems that cannot lock directories. Without locks in the file system there is no
/// protection.
#[derive(Debug)]
pub struct Lock {
    directory: Arc<Directory>,
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Locks `directory` and the file `path` in it.
    ///
    /// # Errors
    /// If another process, whose number is named, has locked it, or the file cannot be made.
    pub fn acquire(directory: Arc<Directory>, path: &Path) -> Result<Self> {
        let context = || format!("cannot lock {}", path.display());
        // Not every system lets a directory be locked.
        if let Err(TryLockError::WouldBlock) = directory.handle().try_lock() {
            return Err(held(&directory, path).into());
        }
        loop {
            let file = directory.open_or_create(path).with_context(context)?;
            if !try_lock(&file).with_context(context)? {
                return Err(held(&directory, path).into());
            }
            // Its holder may just have removed it: a removed file protects nothing.
            if directory.holds(path, &file).with_context(context)? {
                let lock = Self { directory, path: path.to_owned(), file };
                lock.write_number().with_context(context)?;
                return Ok(lock);
            }
        }
    }

    fn write_number(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        writeln!(&self.file, "{}", std::process::id())
    }

    /// Whether its file is still the one that was locked.
    ///
    /// # Errors
    /// The system's.
    pub fn is_in_place(&self) -> io::Result<bool> {
        self.directory.holds(&self.path, &self.file)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_in_place().unwrap_or(false) {
            let _ = self.directory.remove(&self.path);
        }
        let _ = self.directory.handle().unlock();
    }
}

/// Whether the file `path` in `directory` is what a process that was killed may have left: its number,
/// or nothing.
pub fn is_left(directory: &Directory, path: &Path) -> bool {
    let number = |byte: &u8| byte.is_ascii_digit() || *byte == b'\n';
    directory.read(path, NUMBER).is_ok_and(|bytes| bytes.iter().all(number))
}

/// Locks `file`, where that is supported. Returns `false` if another process has locked it.
fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => Ok(true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

fn held(directory: &Directory, path: &Path) -> UserError {
    let run = directory.path().display();
    let holder = directory.read(path, NUMBER).unwrap_or_default();
    let holder = String::from_utf8_lossy(&holder);
    let holder = match holder.trim().parse::<u32>() {
        Ok(process) => format!("process {process}"),
        Err(_) => "another process".to_owned(),
    };
    UserError::failure(format!("{run}: {holder} is writing this run"))
        .hint("wait for it to end, or stop it; it saves its state")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn acquire(folder: &tempfile::TempDir) -> Result<Lock> {
        let directory = Directory::open(folder.path()).unwrap();
        Lock::acquire(Arc::new(directory), &folder.path().join("lock"))
    }

    fn refused(folder: &tempfile::TempDir) -> String {
        format!("{:#}", acquire(folder).unwrap_err())
    }

    #[test]
    fn a_lock_keeps_others_out_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        // What a process that was killed left is no lock.
        fs::write(&path, "1 and more").unwrap();
        let lock = acquire(&folder).unwrap();
        let error = refused(&folder);
        assert!(error.contains(&format!("process {} is writing", std::process::id())), "{error}");
        assert!(lock.is_in_place().unwrap());
        drop(lock);
        assert!(!path.exists());
        drop(acquire(&folder).unwrap());
    }

    #[test]
    fn a_lock_whose_file_is_gone_keeps_others_out_and_knows_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = acquire(&folder).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!lock.is_in_place().unwrap());
        let error = refused(&folder);
        assert!(error.contains("another process is writing"), "{error}");
        // Another file in its place is not its own to remove.
        fs::write(&path, "").unwrap();
        drop(lock);
        assert!(path.exists());
    }

    #[test]
    fn a_file_that_is_locked_keeps_others_out_where_directories_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = fs::File::create(folder.path().join("lock")).unwrap();
        file.lock().unwrap();
        let error = refused(&folder);
        assert!(error.contains("another process is writing"), "{error}");
    }
}
