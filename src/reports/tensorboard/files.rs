//! The event files of a run, which grow with its rows.

use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{head, names, records};
use crate::files::directory::Directory;
use crate::files::disk::Disk;
use crate::run::curves::CurveRow;

/// What the file of a run in TensorBoard is called, which knows an event file by this word in its name.
const FILE: &str = "events.out.tfevents.0.seqlab";

/// One for each replica and, where there are several, for their mean and one standard deviation on either side of it,
/// each in a folder of its own. They are closed between writes: a run may have more of them than a process has files.
#[derive(Debug)]
pub struct EventFiles<'a> {
    directory: &'a Directory,
    /// The folder of all.
    path: PathBuf,
    replicas: usize,
    /// What is not in a file yet, in the order of their names.
    waiting: Vec<(String, Vec<u8>)>,
}

impl<'a> EventFiles<'a> {
    /// Those in the folder `path`, which is `directory` or in it, of a run of so many replicas that has these `rows` so
    /// far. Whatever was in them is replaced.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn begin(
        directory: &'a Directory,
        path: &Path,
        replicas: usize,
        rows: &[CurveRow],
    ) -> Result<Self> {
        let waiting = names(replicas).into_iter().map(|name| (name, head())).collect();
        let mut files = Self { directory, path: path.to_owned(), replicas, waiting };
        for (name, _) in &files.waiting {
            files.empty(name).with_context(|| files.cannot_write(name))?;
        }
        files.add(rows);
        files.flush()?;
        Ok(files)
    }

    /// Makes the file of `name` an empty one.
    fn empty(&self, name: &str) -> std::io::Result<()> {
        match self.directory.create_dir(&self.path.join(name)) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            made => made?,
        }
        self.directory.open_or_create(&self.file(name))?.set_len(0)
    }

    /// Adds rows, all that their logging points have.
    pub fn add(&mut self, rows: &[CurveRow]) {
        for (waiting, (_, more)) in self.waiting.iter_mut().zip(records(rows, self.replicas)) {
            waiting.1.extend(more);
        }
    }

    /// Brings all rows so far to the files.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn flush(&mut self) -> Result<()> {
        let mut waiting = std::mem::take(&mut self.waiting);
        for (name, bytes) in waiting.iter_mut().filter(|(_, bytes)| !bytes.is_empty()) {
            let opened = self.directory.open_to_write(&self.file(name));
            let written = opened.and_then(|mut file| {
                file.seek(SeekFrom::End(0))?;
                file.write_all(bytes)
            });
            written.with_context(|| self.cannot_write(name))?;
            bytes.clear();
        }
        self.waiting = waiting;
        Ok(())
    }

    /// Waits until all rows so far would survive a crash.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn sync(&mut self) -> Result<()> {
        self.flush()?;
        for (name, _) in &self.waiting {
            let synced = self.directory.sync(&self.file(name));
            synced.with_context(|| self.cannot_write(name))?;
        }
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name).join(FILE)
    }

    fn cannot_write(&self, name: &str) -> String {
        format!("cannot write {}", self.file(name).display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(replica: usize, step: i64) -> CurveRow {
        CurveRow::of_loss(replica, step, (replica + 1) as f64 / step as f64)
    }

    /// The content of all files below `path`.
    fn content(path: &Path) -> Vec<Vec<u8>> {
        names(2).iter().map(|name| std::fs::read(path.join(name).join(FILE)).unwrap()).collect()
    }

    #[test]
    fn rows_by_and_by_are_the_rows_at_once_also_after_a_beginning_anew() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        let rows: Vec<CurveRow> = (1..=6).flat_map(|step| [row(0, step), row(1, step)]).collect();
        let path = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (once, some) = (path("once"), path("some"));
        EventFiles::begin(&directory, &once, 2, &rows).unwrap().sync().unwrap();
        let mut files = EventFiles::begin(&directory, &some, 2, &[]).unwrap();
        files.add(&rows[..8]);
        files.flush().unwrap();
        // Steps 3 and 4 came after the last checkpoint, and half a record.
        std::fs::write(some.join("replica-1").join(FILE), b"torn").unwrap();
        let mut files = EventFiles::begin(&directory, &some, 2, &rows[..4]).unwrap();
        rows[4..].chunks(4).for_each(|rows| files.add(rows));
        files.sync().unwrap();
        assert!(content(&some) == content(&once));
    }
}
