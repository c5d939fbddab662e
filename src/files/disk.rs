//! Changes to files that a crash leaves either undone or done.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// What a file is called, at the end, until it is whole.
pub const ASIDE: &str = "partial";

/// What changes files. A test has one that fails.
pub trait Disk {
    /// Makes a directory whose parent is there.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Writes a new file.
    ///
    /// # Errors
    /// The system's, also if something of this name is there; part of it may have been written.
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

/// Writes a file that is, also after a crash, either what it was before or whole. Another process may
/// do the same at the same time; one of the two is there afterwards.
///
/// # Errors
/// The system's. The file is then mostly what it was before.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = write_aside(disk, path, bytes)?;
    put(disk, &aside, path)
}

/// Writes what is to become the file `path` under a name of its own beside it, which is returned.
///
/// # Errors
/// The system's. Nothing is left then, if that can be helped.
pub fn write_aside(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let mut n = 0;
    loop {
        let aside = path.with_extension(format!("{n}.{ASIDE}"));
        match disk.write(&aside, bytes).and_then(|()| disk.sync(&aside)) {
            Ok(()) => return Ok(aside),
            // Another process's, or what one that was killed left.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => n += 1,
            Err(e) => {
                let _ = disk.remove(&aside);
                return Err(e);
            }
        }
    }
}

/// Makes the file `aside` the file `path`.
///
/// # Errors
/// The system's.
pub fn put(disk: &dyn Disk, aside: &Path, path: &Path) -> io::Result<()> {
    let renamed = disk.rename(aside, path);
    if renamed.is_err() {
        let _ = disk.remove(aside);
    }
    renamed?;
    disk.sync(parent(path))
}

/// Makes the directory `path` and those above it that are not there, so that they survive a crash.
///
/// # Errors
/// The system's.
pub fn create_dirs(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !is_there(path)).collect();
    for path in missing.into_iter().rev() {
        match disk.create_dir(path) {
            // Another process may have been faster. A file, or a link to nothing, is in the way.
            Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(Errno::NOTDIR.into()),
            made => made?,
        }
        disk.sync(parent(path))?;
    }
    Ok(())
}

/// Whether the directory `path` is there; an empty path is where the process is.
pub fn is_there(path: &Path) -> bool {
    path == Path::new("") || path.is_dir()
}

/// The directory that `path` is in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."))
}
