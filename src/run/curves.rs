//! The CSV files of a run: the only module that knows the CSV library.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::base::error::UserError;
use crate::base::input::{self, clipped};
use crate::files::checksum::{Checksum, Running};
use crate::files::directory::Directory;
use crate::files::disk::{Disk, parent};

/// A row of `curves.csv`: one replica at one logging point. `None` is written as nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurveRow {
    /// k.
    pub replica: usize,
    /// The replica's own seed.
    pub seed: u64,
    /// The epoch that the row ends in, from 1.
    pub epoch: i64,
    /// Optimiser steps done.
    pub step: i64,
    /// Training samples seen.
    pub samples: i64,
    /// Mean over the batches since the row before, each scored before its update.
    pub loss: f64,
    /// Token accuracy, likewise; `None` where the loss has no such metric.
    pub accuracy: Option<f64>,
    /// Free-running loss on fresh samples.
    pub val_loss: Option<f64>,
    /// Free-running token accuracy on fresh samples.
    pub val_accuracy: Option<f64>,
    /// Share of fresh sequences that are right as a whole.
    pub val_sequence_accuracy: Option<f64>,
    /// The learning rate of the last update before the row.
    pub learning_rate: f64,
    /// Mean norm of the gradient before clipping, where it is clipped.
    pub grad_norm: Option<f64>,
    /// Wall time in the training loop, in seconds.
    pub seconds: f64,
}

impl CurveRow {
    /// The columns of `curves.csv` but for the last, `seconds`.
    pub const TIMELESS: [&str; 12] = [
        "replica",
        "seed",
        "epoch",
        "step",
        "samples",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "val_sequence_accuracy",
        "learning_rate",
        "grad_norm",
    ];

    /// What it has in them, as `curves.csv` says it.
    ///
    /// # Errors
    /// None that a row can have.
    pub fn timeless(&self) -> Result<Vec<String>> {
        let mut row = gather(false);
        row.serialize(self)?;
        let text = String::from_utf8(row.into_inner().map_err(|e| e.into_error())?)?;
        Ok(text.split(',').take(Self::TIMELESS.len()).map(str::to_owned).collect())
    }
}

/// A column of `curves.csv` that is shown while training.
pub type Column = (&'static str, fn(&CurveRow) -> Option<f64>);

/// Of training, in the order in which they are shown; a run has a loss and perhaps the others.
pub const TRAINING: [Column; 2] =
    [("loss", |row| Some(row.loss)), ("accuracy", |row| row.accuracy)];

/// Of validation, likewise.
pub const VALIDATION: [Column; 2] =
    [("val_loss", |row| row.val_loss), ("val_accuracy", |row| row.val_accuracy)];

/// A row of `predictions.csv`: one sequence as text, there of ids or numbers separated by spaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictionRow {
    /// k.
    pub replica: usize,
    /// What the model read.
    pub source: String,
    /// What it should have said.
    pub expected: String,
    /// What it said.
    pub predicted: String,
    /// Whether that is the same; `None` for numbers.
    pub correct: Option<bool>,
}

/// The rows of the `curves.csv` at `path` in `run`.
///
/// # Errors
/// If it cannot be read or has other columns; the line is named.
pub fn read(run: &Directory, path: &Path) -> Result<Vec<CurveRow>> {
    let context = || format!("cannot read {}", path.display());
    let file = run.open_file(path).and_then(|file| input::bounded(file, input::CURVES));
    let file = file.with_context(context)?;
    parse(file).map_err(|e| anyhow!(e)).with_context(context)
}

/// The first rows of the CSV file at `path` in `run`, at most `most`.
///
/// # Errors
/// If it cannot be read or has other columns; the line is named.
pub fn first<Row: DeserializeOwned>(run: &Directory, path: &Path, most: usize) -> Result<Vec<Row>> {
    let context = || format!("cannot read {}", path.display());
    let file = run.open_file(path).and_then(|file| input::bounded(file, input::CURVES));
    let mut rows = csv::Reader::from_reader(file.with_context(context)?);
    let rows = rows.deserialize().take(most);
    let row = |row: csv::Result<Row>| row.map_err(|e| anyhow!(clipped(&e.to_string())));
    rows.map(row).collect::<Result<_>>().with_context(context)
}

/// Finds out whether the `curves.csv` at `path` in `run` is `expected`, all of it.
///
/// # Errors
/// If it is not, or cannot be read.
pub fn check(run: &Directory, path: &Path, expected: Checksum) -> Result<()> {
    let mut found = Running::default();
    let read = run.open_file(path).and_then(|file| {
        // One more than expected, of a file that is longer.
        std::io::copy(&mut file.take(expected.bytes.saturating_add(1)), &mut found)
    });
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if found.so_far() == expected {
        return Ok(());
    }
    let error = format!("{} is damaged: it is not what the run wrote", path.display());
    Err(not_the_run_s(error))
}

/// The `error` that a `curves.csv` is another than it was, with what to do about it.
fn not_the_run_s(error: String) -> anyhow::Error {
    let hint = "put the run's own curves.csv back, or train anew with train --config";
    UserError::failure(error).hint(hint).into()
}

/// The rows of the text that `source` gives.
///
/// # Errors
/// If it cannot be read, has other columns, or numbers that no run has; the line is named. Also if the
/// last row is torn.
pub fn parse(source: impl Read) -> Result<Vec<CurveRow>, String> {
    let mut rows = Vec::new();
    let mut file = csv::Reader::from_reader(LastByte { source, last: b'\n' });
    for row in file.deserialize::<CurveRow>() {
        let row = row.map_err(|e| clipped(&e.to_string()))?;
        if row.epoch < 1 || row.step < 1 || row.samples < 1 {
            let at = rows.len() + 1;
            return Err(format!("row {at}: epoch, step and samples: expected numbers from 1"));
        }
        rows.push(row);
    }
    // Of half a number nobody can tell.
    if file.into_inner().last != b'\n' {
        return Err("the last row has no end: it was not written to its end".to_owned());
    }
    Ok(rows)
}

/// What `source` gives, and the last byte of it so far.
struct LastByte<R> {
    source: R,
    last: u8,
}

impl<R: Read> Read for LastByte<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.source.read(buffer)?;
        if let Some(&last) = buffer[..n].last() {
            self.last = last;
        }
        Ok(n)
    }
}

/// Bytes of rows that are gathered before they are written.
const GATHERED: usize = 1 << 16;

/// A CSV file of `Row`s, with a header. It is written in whole rows.
#[derive(Debug)]
pub struct CsvFile<Row> {
    path: PathBuf,
    file: File,
    /// What is in the file.
    written: Running,
    /// Rows that are not in the file yet.
    rows: csv::Writer<Vec<u8>>,
    of: PhantomData<Row>,
}

/// The beginning of a CSV file, found to be what it was.
#[derive(Debug)]
pub struct Beginning {
    path: PathBuf,
    /// `None` if there need be none.
    file: Option<File>,
    found: Running,
}

impl Beginning {
    /// The first `bytes` bytes of the file at `path` in `run`, to be written; of no bytes there need be
    /// none. Nothing is changed.
    ///
    /// # Errors
    /// If it is not there, is not the run's alone, or is shorter, or no row ends there, or the bytes have
    /// not the checksum `crc32`, if that is known.
    pub fn check(run: &Directory, path: &Path, bytes: u64, crc32: Option<u32>) -> Result<Self> {
        let (shown, mut found) = (path.display(), Running::default());
        let mut file = match run.open_to_write(path) {
            Err(e) if e.kind() == ErrorKind::NotFound && bytes == 0 => {
                return Ok(Self { path: path.to_owned(), file: None, found });
            }
            opened => opened.with_context(|| format!("cannot open {shown}"))?,
        };
        let read = std::io::copy(&mut (&mut file).take(bytes), &mut found);
        let whole = read.and_then(|read| Ok(read == bytes && ends_row(&mut file, bytes)?));
        let whole = whole.with_context(|| format!("cannot read {shown}"))?;
        if !whole || crc32.is_some_and(|crc32| crc32 != found.so_far().crc32) {
            return Err(not_the_run_s(format!(
                "{shown} is damaged: its first {bytes} bytes are not the checkpoint's rows"
            )));
        }
        Ok(Self { path: path.to_owned(), file: Some(file), found })
    }
}

/// Whether a row ends after `bytes` bytes of `file`, which has as many, or none is begun.
fn ends_row(file: &mut File, bytes: u64) -> std::io::Result<bool> {
    let mut last = *b"\n";
    if bytes > 0 {
        file.seek(SeekFrom::Start(bytes - 1))?;
        file.read_exact(&mut last)?;
    }
    Ok(last == *b"\n")
}

impl<Row: Serialize> CsvFile<Row> {
    /// An empty file at `path` in `run`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(run: &Directory, path: &Path) -> Result<Self> {
        let created = run.open_or_create(path).and_then(|file| {
            file.set_len(0)?;
            run.sync(parent(path))?;
            Ok(file)
        });
        let file = created.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self::new(path, file, Running::default()))
    }

    /// The file with what comes after its `beginning` in `run` cut off.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn go_on(run: &Directory, beginning: Beginning) -> Result<Self> {
        let Beginning { path, file, found } = beginning;
        let Some(mut file) = file else { return Self::create(run, &path) };
        let cut = file.set_len(found.so_far().bytes).and_then(|()| file.seek(SeekFrom::End(0)));
        cut.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self::new(&path, file, found))
    }

    /// Whether it still has its name in `run`.
    ///
    /// # Errors
    /// If that cannot be found out.
    pub fn is_in_place(&self, run: &Directory) -> std::io::Result<bool> {
        run.holds(&self.path, &self.file)
    }

    fn new(path: &Path, file: File, written: Running) -> Self {
        let (path, rows) = (path.to_owned(), gather(written.so_far().bytes == 0));
        Self { path, file, written, rows, of: PhantomData }
    }

    /// Appends `row`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, row: Row) -> Result<()> {
        self.rows
            .serialize(row)
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        if self.rows.get_ref().len() >= GATHERED { self.flush() } else { Ok(()) }
    }

    /// Brings all rows so far to the file, at once.
    ///
    /// # Errors
    /// If the file cannot be written. No part of a row is left then, if that can be helped.
    pub fn flush(&mut self) -> Result<()> {
        let rows = std::mem::replace(&mut self.rows, gather(false)).into_inner();
        let rows = rows.map_err(|e| e.into_error());
        let written = rows.and_then(|rows| {
            self.file.write_all(&rows)?;
            self.written.write_all(&rows)
        });
        let bytes = self.written.so_far().bytes;
        if written.is_err() {
            let _ = self.file.set_len(bytes);
        }
        // A checkpoint before the first row leaves the header to that row.
        self.rows = gather(bytes == 0);
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Waits until all rows so far would survive a crash. Returns what the file is.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn sync(&mut self) -> Result<Checksum> {
        self.flush()?;
        let synced = self.file.sync_all();
        synced.with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(self.written.so_far())
    }
}

#[cfg(test)]
impl CurveRow {
    /// For tests: the row of a replica after so many steps of one sample each, with nothing but a loss.
    pub fn of_loss(replica: usize, step: i64, loss: f64) -> Self {
        Self {
            replica,
            seed: 1,
            epoch: 1,
            step,
            samples: step,
            loss,
            accuracy: None,
            val_loss: None,
            val_accuracy: None,
            val_sequence_accuracy: None,
            learning_rate: 0.1,
            grad_norm: None,
            seconds: 0.0,
        }
    }
}

/// `rows` of any text as CSV.
///
/// # Errors
/// The first of theirs.
pub fn records(rows: impl IntoIterator<Item = Result<Vec<String>>>) -> Result<String> {
    let mut text = gather(false);
    rows.into_iter().try_for_each(|row| anyhow::Ok(text.write_record(row?)?))?;
    Ok(String::from_utf8(text.into_inner().map_err(|e| e.into_error())?)?)
}

/// A place for rows, of a file whose header is to come or not.
fn gather(header: bool) -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().has_headers(header).from_writer(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::writing::spaced;

    /// A directory and the path of a file in it.
    fn place() -> (tempfile::TempDir, Directory, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (run, path) = (Directory::open(folder.path()).unwrap(), folder.path().join("file"));
        (folder, run, path)
    }

    fn text<Row: Serialize>(rows: Vec<Row>) -> String {
        let (_folder, run, path) = place();
        let mut file = CsvFile::create(&run, &path).unwrap();
        // Checkpoints come before the first row, and between rows.
        assert_eq!(file.sync().unwrap(), Checksum::of(b""));
        for row in rows {
            file.add(row).unwrap();
            file.sync().unwrap();
        }
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn curves_are_written_exactly_so() {
        let row = CurveRow {
            replica: 1,
            seed: 8,
            epoch: 2,
            step: 50,
            samples: 1600,
            loss: 0.5,
            accuracy: Some(1.0),
            val_loss: None,
            val_accuracy: None,
            val_sequence_accuracy: None,
            learning_rate: 0.001,
            grad_norm: None,
            seconds: 0.25,
        };
        let validated = CurveRow {
            val_loss: Some(0.125),
            val_accuracy: Some(0.75),
            val_sequence_accuracy: Some(0.0),
            grad_norm: Some(2.5),
            ..row.clone()
        };
        assert_eq!(
            text(vec![row, validated]),
            "replica,seed,epoch,step,samples,loss,accuracy,val_loss,val_accuracy,\
             val_sequence_accuracy,learning_rate,grad_norm,seconds\n\
             1,8,2,50,1600,0.5,1.0,,,,0.001,,0.25\n\
             1,8,2,50,1600,0.5,1.0,0.125,0.75,0.0,0.001,2.5,0.25\n"
        );
    }

    #[test]
    fn rows_are_read_as_they_were_written() {
        let row = CurveRow {
            replica: 0,
            seed: 7,
            epoch: 1,
            step: 4,
            samples: 20,
            loss: 0.1 + 0.2,
            accuracy: Some(1.0 / 3.0),
            val_loss: None,
            val_accuracy: Some(1e-300),
            val_sequence_accuracy: None,
            learning_rate: 0.001,
            grad_norm: Some(2.5),
            seconds: 0.25,
        };
        let (_folder, run, path) = place();
        std::fs::write(&path, text(vec![row.clone(), row.clone()])).unwrap();
        assert_eq!(read(&run, &path).unwrap(), vec![row.clone(), row]);
        std::fs::write(&path, "replica,seed\n0,x\n").unwrap();
        let error = format!("{:#}", read(&run, &path).unwrap_err());
        assert!(error.contains(&path.display().to_string()), "{error}");
    }

    #[test]
    fn a_file_goes_on_where_it_is_cut() {
        let row = |source: &str| PredictionRow {
            replica: 0,
            source: source.to_owned(),
            expected: String::new(),
            predicted: String::new(),
            correct: Some(true),
        };
        let (_folder, run, path) = place();
        let mut file = CsvFile::create(&run, &path).unwrap();
        file.add(row("1")).unwrap();
        let Checksum { bytes, crc32 } = file.sync().unwrap();
        file.add(row("2")).unwrap();
        file.flush().unwrap();
        let whole = std::fs::read(&path).unwrap();
        // Another row, torn.
        std::fs::write(&path, [&whole[..], b"0,3"].concat()).unwrap();
        let beginning = Beginning::check(&run, &path, bytes, Some(crc32)).unwrap();
        let mut file = CsvFile::go_on(&run, beginning).unwrap();
        file.add(row("2")).unwrap();
        assert_eq!(file.sync().unwrap(), Checksum::of(&whole));
        assert!(std::fs::read(&path).unwrap() == whole);
        check(&run, &path, Checksum::of(&whole)).unwrap();
        let damaged =
            |bytes, crc32| Beginning::check(&run, &path, bytes, crc32).unwrap_err().to_string();
        for bytes in [bytes - 1, whole.len() as u64 + 1, u64::MAX] {
            assert!(damaged(bytes, None).contains(" is damaged: "));
        }
        assert!(damaged(bytes, Some(crc32 ^ 1)).contains(" are not the checkpoint's rows"));
        assert!(check(&run, &path, Checksum { bytes, crc32 }).is_err());
        assert!(std::fs::read(&path).unwrap() == whole);
    }

    #[test]
    fn predictions_are_written_exactly_so() {
        let row = PredictionRow {
            replica: 0,
            source: spaced(&[3, 14, 15]),
            expected: spaced(&[14, 3]),
            predicted: spaced(&[14, 9]),
            correct: Some(false),
        };
        assert_eq!(
            text(vec![row]),
            "replica,source,expected,predicted,correct\n0,3 14 15,14 3,14 9,false\n"
        );
    }
}
