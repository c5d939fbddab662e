//! A directory that is known by what it is, whatever its name comes to mean: a run's, or one of runs.
//! Everything in it is opened, made, renamed and removed here, and nothing else than what has the
//! name: no symbolic link is followed, no pipe or device opened.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::base::input::{self, if_there};
use crate::files::disk::{self, Disk, parent};

/// A directory. Paths of what is in it begin with its own.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: File,
}

impl Directory {
    /// The directory `path`. A symbolic link to it is the user's choice, and followed.
    ///
    /// # Errors
    /// If it is not there, or is none.
    pub fn open(path: &Path) -> io::Result<Self> {
        let handle = fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { path: path.to_owned(), handle: handle.into() })
    }

    /// The same, made if it is not there, with those above it, so that they survive a crash.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let above = path.ancestors().skip(1).find(|above| disk::is_there(above));
        if let (Some(above), false) = (above, path.is_dir()) {
            let above = if above == Path::new("") { Path::new(".") } else { above };
            disk::create_dirs(&Self::open(above)?, path)?;
        }
        Self::open(path)
    }

    /// Its path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is locked by.
    pub fn handle(&self) -> &File {
        &self.handle
    }

    /// Whether its path still leads to it.
    ///
    /// # Errors
    /// The system's.
    pub fn is_in_place(&self) -> io::Result<bool> {
        match if_there(std::fs::metadata(&self.path))? {
            Some(there) => Ok(same(&there, &self.handle.metadata()?)),
            None => Ok(false),
        }
    }

    /// Whether `path` is still the name of `file`.
    ///
    /// # Errors
    /// The system's, and if it is the name of something else than a file.
    pub fn holds(&self, path: &Path, file: &File) -> io::Result<bool> {
        match if_there(self.open_file(path))? {
            Some(there) => Ok(same(&there.metadata()?, &file.metadata()?)),
            None => Ok(false),
        }
    }

    /// Whether anything is called `path`, whatever it is.
    ///
    /// # Errors
    /// The system's.
    pub fn has(&self, path: &Path) -> io::Result<bool> {
        let (holder, name) = self.holder(path)?;
        Ok(kind(&holder, name)?.is_some())
    }

    /// The bytes of the regular file `path`, at most `most`.
    ///
    /// # Errors
    /// If it is not there, no regular file, or longer, and those of reading.
    pub fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        input::whole(input::bounded(self.open_file(path)?, most)?, most)
    }

    /// The regular file `path`, to be read.
    ///
    /// # Errors
    /// If it is not there, or no regular file.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let (holder, name) = self.holder(path)?;
        open_in(&holder, name, OFlags::RDONLY)
    }

    /// The regular file `path`, to be read and written where it is.
    ///
    /// # Errors
    /// If it is not there, no regular file, or one that has another name too.
    pub fn open_to_write(&self, path: &Path) -> io::Result<File> {
        self.writable(path, OFlags::RDWR)
    }

    /// The same; it is made, empty, if it is not there.
    ///
    /// # Errors
    /// If it cannot be made, is no regular file, or one that has another name too.
    pub fn open_or_create(&self, path: &Path) -> io::Result<File> {
        self.writable(path, OFlags::RDWR | OFlags::CREATE)
    }

    fn writable(&self, path: &Path, how: OFlags) -> io::Result<File> {
        let (holder, name) = self.holder(path)?;
        let file = open_in(&holder, name, how)?;
        if file.metadata()?.nlink() > 1 {
            return Err(input::invalid("a file with another name (a hard link): expected its own"));
        }
        Ok(file)
    }

    /// The names in the directory `path`, in no order.
    ///
    /// # Errors
    /// If it is not there, or no directory.
    pub fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        if path == self.path {
            return names(&self.handle);
        }
        let (holder, name) = self.holder(path)?;
        names(&open_in(&holder, name, OFlags::DIRECTORY)?)
    }

    /// What holds `path`, and its name there.
    fn holder<'a>(&self, path: &'a Path) -> io::Result<(File, &'a OsStr)> {
        // Relative paths do not name what they begin in.
        let own = if self.path == Path::new(".") { Path::new("") } else { &self.path };
        let inside = path.strip_prefix(own).unwrap_or(Path::new(""));
        let Some(name) = inside.file_name().filter(|_| inside.is_relative()) else {
            let outside = format!("{} is not in {}", path.display(), self.path.display());
            return Err(input::invalid(outside));
        };
        let mut holder = self.handle.try_clone()?;
        for above in parent(inside) {
            holder = open_in(&holder, above, OFlags::DIRECTORY)?;
        }
        Ok((holder, name))
    }
}

impl Disk for Directory {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let (holder, name) = self.holder(path)?;
        Ok(fs::mkdirat(&holder, name, Mode::from_raw_mode(0o777))?)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (holder, name) = self.holder(path)?;
        open_in(&holder, name, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?.write_all(bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        if path == self.path {
            return self.handle.sync_all();
        }
        let (holder, name) = self.holder(path)?;
        let how = match kind(&holder, name)? {
            Some(FileType::Directory) => OFlags::DIRECTORY,
            _ => OFlags::RDONLY,
        };
        open_in(&holder, name, how)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((holder, name), (new_holder, new_name)) = (self.holder(from)?, self.holder(to)?);
        Ok(fs::renameat(&holder, name, &new_holder, new_name)?)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (holder, name) = self.holder(path)?;
        remove(&holder, name)
    }
}

/// Opens what is called `name` in `holder`: a directory if `how` says so, and a regular file
/// otherwise.
fn open_in(holder: &File, name: &OsStr, how: OFlags) -> io::Result<File> {
    let expected = match how.contains(OFlags::DIRECTORY) {
        true => FileType::Directory,
        false => FileType::RegularFile,
    };
    // To open a pipe is to wait for the other end, and a device may act: what is there is asked
    // before, and again of what was opened. What is made anew cannot be there.
    if !how.contains(OFlags::EXCL) {
        kind(holder, name)?.map_or(Ok(()), |found| check(found, expected))?;
    }
    let never = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = File::from(fs::openat(holder, name, how | never, Mode::from_raw_mode(0o666))?);
    check(FileType::from_raw_mode(opened.metadata()?.mode() as _), expected)?;
    Ok(opened)
}

/// What is called `name` in `holder`.
fn kind(holder: &File, name: &OsStr) -> io::Result<Option<FileType>> {
    match fs::statat(holder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn check(found: FileType, expected: FileType) -> io::Result<()> {
    match found {
        _ if found == expected => Ok(()),
        FileType::Symlink => Err(input::invalid(
            "a symbolic link, which is not followed: put there what it leads to",
        )),
        FileType::Directory => Err(input::is_a_directory()),
        _ if expected == FileType::Directory => Err(Errno::NOTDIR.into()),
        _ => Err(input::no_regular_file()),
    }
}

fn names(directory: &File) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Removes what is called `name` in `holder`, a directory with all that is in it.
fn remove(holder: &File, name: &OsStr) -> io::Result<()> {
    if kind(holder, name)? != Some(FileType::Directory) {
        return Ok(fs::unlinkat(holder, name, AtFlags::empty())?);
    }
    let inside = open_in(holder, name, OFlags::DIRECTORY)?;
    names(&inside)?.iter().try_for_each(|name| remove(&inside, name))?;
    Ok(fs::unlinkat(holder, name, AtFlags::REMOVEDIR)?)
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
