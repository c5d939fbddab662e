//! `seqlab inspect`.

mod array;
mod npy;

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;

use super::place::{check_place, new_directory};
use super::trained::{Trained, check_replica, recorded};
use crate::base::error::UserError;
use crate::config::DeviceChoice;
use crate::data::sources::{Lines, Reads, Source};
use crate::files::directory::Directory;
use crate::model::Along;
use crate::run::curves::CsvFile;
use crate::run::run_dir::RunDir;
use crate::train::checkpoint::Which;
use crate::train::inspection::{AttentionWeights, Inspection, LayerStates};
use crate::train::placement;
pub use array::Format;
use array::{Array, ArrayFile, Layout, New};

/// The most sources at a time.
const MOST: usize = 1 << 16;

/// What to look into, and where to write what is found.
#[derive(Debug)]
pub struct Inspect {
    /// The run's directory.
    pub run: PathBuf,
    /// The one source; otherwise they are read one a line.
    pub source: Option<String>,
    /// Which replica of the run.
    pub replica: i64,
    /// Which weights.
    pub which: Which,
    /// The directory to write, a new or an empty one.
    pub out: PathBuf,
    /// How arrays are written.
    pub format: Format,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// A row of the `predictions.csv` of an inspection: a source by its number in the other files.
#[derive(Debug, Serialize)]
struct SourceRow {
    source: usize,
    source_text: String,
    predicted_text: String,
    /// Time steps of the source.
    source_steps: usize,
    /// Of what is predicted, with its end if it has one.
    target_steps: usize,
}

/// Writes every hidden state and the last states of each layer that has them, the weights of an
/// attention, and `predictions.csv`, which says what source has which number. Sources that are not
/// given are all lines of `input`. The paths of the files go to `out`.
///
/// # Errors
/// If the run is missing or damaged, the model cannot read a source, there is something at the place to
/// write or it cannot be written, the device cannot be used, or memory is short.
pub fn inspect(what: &Inspect, input: &mut dyn Read, out: &mut dyn Write) -> Result<()> {
    let &Inspect { replica, which, format, device, .. } = what;
    let (run, config) = RunDir::open(&what.run)?;
    check_replica(replica, &config)?;
    if config.features().is_some() {
        let error = UserError::usage(format!("a run of task {} cannot be inspected", config.task));
        return Err(error.hint("inspect shows models that read ids").into());
    }
    check_place(&what.out)?;
    let reads = Reads::new(&config, recorded(&run, &config)?);
    let sources = match &what.source {
        Some(source) => {
            let source = reads.parse(source.as_bytes());
            vec![source.map_err(|e| UserError::usage(format!("--source: {e}")))?]
        }
        None => all(Lines::new(reads.clone(), input))?,
    };
    let device = placement::evaluation(&config, device, 1);
    let trained = Trained::load(&run, config, Some(replica), which, device)?;
    trained.check_replica(replica)?;
    let directory = new_directory(&what.out)?;
    let mut files = Files { directory: &directory, trained: &trained, format, arrays: Vec::new() };
    let path = what.out.join("predictions.csv");
    let mut index = CsvFile::create(&directory, &path)?;
    let most = trained.rows_at_once(1);
    let mut number = 0;
    for batch in sources.chunks(most) {
        let ids: Vec<&[i64]> = batch.iter().map(|source| &source.ids[..]).collect();
        let found = trained.inspect(&ids, reads.task().end())?;
        for (row, source) in batch.iter().enumerate() {
            let told = Told { number, row, source, found: &found, reads: &reads };
            files.add(&told, sources.len())?;
            index.add(told.row())?;
            number += 1;
        }
    }
    index.flush()?;
    writeln!(out, "{}", path.display())?;
    for array in files.arrays {
        writeln!(out, "{}", array.finish()?.display())?;
    }
    Ok(())
}

/// The sources of all `lines`.
fn all(mut lines: Lines<impl Read>) -> Result<Vec<Source>, UserError> {
    let unreadable = |e| UserError::usage(format!("standard input, {e}"));
    let mut sources = Vec::new();
    loop {
        let batch = lines.batch(MOST).map_err(unreadable)?;
        if batch.is_empty() {
            break;
        }
        for source in batch {
            sources.push(source.map_err(unreadable)?);
        }
        if sources.len() > MOST {
            let error = format!("standard input: more than {MOST} sources");
            return Err(UserError::usage(error).hint("give them some at a time"));
        }
    }
    if sources.is_empty() {
        return Err(UserError::usage("standard input: no source").hint("give one a line"));
    }
    Ok(sources)
}

/// A source, and row `row` of what was found, which is of it.
struct Told<'a> {
    number: usize,
    row: usize,
    source: &'a Source,
    found: &'a Inspection,
    reads: &'a Reads,
}

impl<'a> Told<'a> {
    fn predicted(&self) -> &'a [i64] {
        &self.found.predicted[self.row]
    }

    /// Its time steps along `along`.
    fn steps(&self, along: Along) -> usize {
        match along {
            Along::Source => self.source.ids.len(),
            Along::Target => self.predicted().len(),
        }
    }

    fn row(&self) -> SourceRow {
        let (task, writing) = (self.reads.task(), self.source.writing);
        let predicted = self.predicted();
        SourceRow {
            source: self.number,
            source_text: task.source(&self.source.ids, writing),
            predicted_text: task.target(task.before_end(predicted), writing),
            source_steps: self.steps(Along::Source),
            target_steps: self.steps(Along::Target),
        }
    }

    /// Every output of a layer and its last states.
    fn states(&self, layer: &'a LayerStates) -> [Array<'a>; 3] {
        let steps = self.steps(layer.along);
        let sequences = (0..steps).map(|step| layer.sequences.at(step, self.row)).collect();
        let [h, c] = layer.last(self.row, steps).map(|state| self.array(vec![state]));
        [self.array(sequences), h, c]
    }

    /// The weights of each step of the target, with what is read and said there.
    fn weights(&self, attention: &'a AttentionWeights) -> Array<'a> {
        let (task, writing, length) =
            (self.reads.task(), self.source.writing, self.steps(Along::Source));
        let line = |step| &attention.weights.at(step, self.row)[..length];
        let read = self.source.ids.chunks(1).map(|id| task.source(id, writing));
        let said = self.predicted().chunks(1).map(|id| task.target(id, writing));
        Array {
            source_tokens: read.collect(),
            target_tokens: said.collect(),
            ..self.array((0..self.steps(Along::Target)).map(line).collect())
        }
    }

    fn array(&self, lines: Vec<&'a [f64]>) -> Array<'a> {
        let (source_tokens, target_tokens) = (Vec::new(), Vec::new());
        Array { source: self.number, lines, source_tokens, target_tokens }
    }
}

/// The files of arrays, in the order in which a source adds to them.
struct Files<'a> {
    directory: &'a Directory,
    trained: &'a Trained,
    format: Format,
    arrays: Vec<ArrayFile>,
}

impl Files<'_> {
    /// Adds what is told of one of so many sources.
    fn add(&mut self, told: &Told<'_>, sources: usize) -> Result<()> {
        if self.arrays.is_empty() {
            self.create(told.found, sources)?;
        }
        let states = told.found.layers.iter().flat_map(|layer| told.states(layer));
        let weights = told.found.attention.iter().map(|attention| told.weights(attention));
        let mut files = self.arrays.iter_mut();
        states.chain(weights).try_for_each(|array| match files.next() {
            Some(file) => file.add(&array),
            None => Ok(()),
        })
    }

    /// Makes the files for what is `found` of each of so many sources.
    fn create(&mut self, found: &Inspection, sources: usize) -> Result<()> {
        let dtype = self.trained.config.dtype;
        let mut create = |name: String, layout, steps, width| {
            let new = New { layout, dtype, sources, steps, width };
            let file = ArrayFile::create(self.directory, &name, self.format, &new)?;
            self.arrays.push(file);
            anyhow::Ok(())
        };
        for LayerStates { name, sequences: all, .. } in &found.layers {
            create(format!("{name}.return_sequences"), Layout::Sequences, all.steps, all.width)?;
            for state in ["h", "c"] {
                create(format!("{name}.return_state.{state}"), Layout::State, 1, all.width)?;
            }
        }
        match &found.attention {
            Some(AttentionWeights { name, weights: all }) => {
                create(format!("{name}.weights"), Layout::Weights, all.steps, all.width)
            }
            None => Ok(()),
        }
    }
}
