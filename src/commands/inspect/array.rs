//! A file with numbers of every source: CSV in long form, or an array of NumPy's.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::npy::NpyFile;
use crate::config::Dtype;
use crate::files::directory::Directory;
use crate::run::curves::CsvFile;

/// How arrays are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A row for each number, behind what it is the number of.
    Csv,
    /// NumPy's: one array, the first axis of which is the sources; NaN where a source has no such step.
    Npy,
}

/// What an array has besides the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Steps and units.
    Sequences,
    /// Units.
    State,
    /// Steps of the target and of the source.
    Weights,
}

/// A file to be made.
#[derive(Debug)]
pub(super) struct New {
    pub layout: Layout,
    pub dtype: Dtype,
    pub sources: usize,
    /// The most lines of a source.
    pub steps: usize,
    /// The most numbers of a line.
    pub width: usize,
}

/// The numbers of one source.
#[derive(Debug)]
pub(super) struct Array<'a> {
    /// Its number, from 0.
    pub source: usize,
    /// A line for each step, or the one state.
    pub lines: Vec<&'a [f64]>,
    /// Of weights, what the model reads, step by step.
    pub source_tokens: Vec<String>,
    /// Likewise, what it says.
    pub target_tokens: Vec<String>,
}

/// A file of arrays.
#[derive(Debug)]
pub(super) struct ArrayFile {
    path: PathBuf,
    layout: Layout,
    dtype: Dtype,
    to: To,
}

#[derive(Debug)]
enum To {
    Csv(Box<CsvFile<Row>>),
    Npy(NpyFile),
}

impl ArrayFile {
    /// The empty file `name`, without its ending, in `directory`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(directory: &Directory, name: &str, format: Format, new: &New) -> Result<Self> {
        let &New { layout, dtype, sources, steps, width } = new;
        let place = |ending: &str| directory.path().join(format!("{name}.{ending}"));
        let (path, to) = match format {
            Format::Csv => {
                let path = place("csv");
                let file = CsvFile::create(directory, &path)?;
                (path, To::Csv(Box::new(file)))
            }
            Format::Npy => {
                let path = place("npy");
                let shape = match layout {
                    Layout::State => vec![sources, width],
                    Layout::Sequences | Layout::Weights => vec![sources, steps, width],
                };
                let file = NpyFile::create(directory, &path, dtype, &shape)?;
                (path, To::Npy(file))
            }
        };
        Ok(Self { path, layout, dtype, to })
    }

    /// Adds the numbers of the next source.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, array: &Array<'_>) -> Result<()> {
        let file = match &mut self.to {
            To::Csv(file) => file,
            To::Npy(file) => return file.add(&array.lines),
        };
        for (step, line) in array.lines.iter().enumerate() {
            for (place, &value) in line.iter().enumerate() {
                let value = Value::new(value, self.dtype);
                file.add(row(self.layout, array, (step, place), value))?;
            }
        }
        Ok(())
    }

    /// Brings all of it to the file. Returns its path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self) -> Result<PathBuf> {
        match self.to {
            To::Csv(mut file) => file.flush()?,
            To::Npy(file) => file.finish()?,
        }
        Ok(self.path)
    }
}

/// A number of a run's dtype, written as such.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
enum Value {
    Float32(f32),
    Float64(f64),
}

impl Value {
    fn new(value: f64, dtype: Dtype) -> Self {
        match dtype {
            Dtype::Float32 => Self::Float32(value as f32),
            Dtype::Float64 => Self::Float64(value),
        }
    }
}

/// A row of a CSV file.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Row {
    Sequences(SequenceRow),
    State(StateRow),
    Weights(WeightRow),
}

#[derive(Debug, Serialize)]
struct SequenceRow {
    source: usize,
    step: usize,
    unit: usize,
    value: Value,
}

#[derive(Debug, Serialize)]
struct StateRow {
    source: usize,
    unit: usize,
    value: Value,
}

#[derive(Debug, Serialize)]
struct WeightRow {
    source: usize,
    target_step: usize,
    source_step: usize,
    target_token: String,
    source_token: String,
    weight: Value,
}

/// The row of the number at `(step, place)`.
fn row(layout: Layout, array: &Array<'_>, (step, place): (usize, usize), value: Value) -> Row {
    let source = array.source;
    match layout {
        Layout::Sequences => Row::Sequences(SequenceRow { source, step, unit: place, value }),
        Layout::State => Row::State(StateRow { source, unit: place, value }),
        Layout::Weights => Row::Weights(WeightRow {
            source,
            target_step: step,
            source_step: place,
            target_token: array.target_tokens[step].clone(),
            source_token: array.source_tokens[place].clone(),
            weight: value,
        }),
    }
}
