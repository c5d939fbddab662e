//! Changes to files that a crash leaves either undone or done.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// What changes files. A test has one that fails.
pub trait Disk {
    /// Makes a directory whose parent is there.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Writes a file, in place of any that is there.
    ///
    /// # Errors
    /// The system's; part of it may have been written.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Waits until a file's content, or the names in a directory, would survive a crash.
    ///
    /// # Errors
    /// The system's.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or a directory another name, all at once.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, or a directory with all that is in it.
    ///
    /// # Errors
    /// The system's; part of it may have been removed.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The system's.
#[derive(Debug)]
pub struct Real;

impl Disk for Real {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(path, bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        // A link to a directory is a file here.
        if fs::symlink_metadata(path)?.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        }
    }
}

/// Writes a file that is, also after a crash, either what it was before or whole.
///
/// # Errors
/// The system's. The file is then mostly what it was before.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let written = disk
        .write(&partial, bytes)
        .and_then(|()| disk.sync(&partial))
        .and_then(|()| disk.rename(&partial, path));
    if written.is_err() {
        let _ = disk.remove(&partial);
    }
    written?;
    disk.sync(parent(path))
}

/// The directory that `path` is in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}
