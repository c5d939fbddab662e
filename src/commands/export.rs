//! `seqlab export`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::place::{check_place, new_directory};
use super::trained::{Trained, check_replica, recorded};
use crate::config::{DeviceChoice, Dtype, GateActivation};
use crate::export::about::About;
use crate::export::{keras, onnx, pytorch};
use crate::files::disk::Disk;
use crate::reports::tensorboard::EventFiles;
use crate::run::progress::say;
use crate::run::run_dir::RunDir;
use crate::train::checkpoint::Which;

/// What to export, and where to.
#[derive(Debug)]
pub struct Export {
    /// The run's directory.
    pub run: PathBuf,
    /// The directory to write, a new or an empty one.
    pub out: PathBuf,
    /// What of the run, and for whom.
    pub format: ExportFormat,
}

/// What of a run is exported.
#[derive(Debug, Clone, Copy)]
pub enum ExportFormat {
    /// The curves, as TensorBoard reads them.
    Curves,
    /// A trained model.
    Model {
        /// In whose format.
        kind: ModelFormat,
        /// Which replica of the run.
        replica: i64,
        /// Which weights.
        which: Which,
    },
}

/// The format of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelFormat {
    /// ONNX's graphs.
    Onnx,
    /// A state dict, and a module that loads it.
    PyTorch,
    /// Weights, and a script that builds the models with them.
    Keras,
}

/// Writes a run's curves or its trained model in the format of another program.
///
/// # Errors
/// If the run is missing or damaged, there is something at the place to write, or it cannot be written.
pub fn export(what: &Export, out: &mut dyn Write) -> Result<()> {
    match what.format {
        ExportFormat::Curves => curves(what, out),
        ExportFormat::Model { kind, replica, which } => model(what, (kind, replica, which), out),
    }
}

/// Writes a folder for each replica and, where there are several, for their mean and a standard deviation on either
/// side. TensorBoard's command goes to `out`.
fn curves(what: &Export, out: &mut dyn Write) -> Result<()> {
    let (run, config) = RunDir::open(&what.run)?;
    let rows = run.read_curves(run.read_summary(&config)?.as_ref())?;
    check_place(&what.out)?;
    let directory = new_directory(&what.out)?;
    EventFiles::begin(&directory, &what.out, config.replicas as usize, &rows)?.sync()?;
    writeln!(out, "tensorboard --logdir {}", what.out.display())?;
    Ok(())
}

/// Writes the model, `model.json`, and what the run knows of its tokens or columns. The paths go to `out`.
fn model(
    what: &Export,
    (kind, replica, which): (ModelFormat, i64, Which),
    out: &mut dyn Write,
) -> Result<()> {
    let (run, config) = RunDir::open(&what.run)?;
    check_replica(replica, &config)?;
    check_place(&what.out)?;
    let task = recorded(&run, &config)?;
    let trained = Trained::load(&run, config, Some(replica), which, DeviceChoice::Cpu)?;
    trained.check_replica(replica)?;
    let (config, weights) = (&trained.config, trained.weights()?);
    let mut about = About::new(config, replica, trained.step, task.end());
    let mut files = match kind {
        ModelFormat::Onnx => onnx::files(config, &weights, &mut about)?,
        ModelFormat::PyTorch => pytorch::files(config, &weights)?,
        ModelFormat::Keras => keras::files(&weights)?,
    };
    files.push(("model.json".to_owned(), about.to_json()?.into_bytes()));
    files.extend(run.vocabularies()?.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)));
    if config.dtype == Dtype::Float64 {
        say("note: the run's float64 weights are exported as float32");
    }
    let hard = config.gate_activation == GateActivation::HardSigmoid;
    if kind == ModelFormat::PyTorch && hard {
        say("note: nn.LSTM has no hard sigmoid gates; model.py computes them step by step");
    }
    let directory = new_directory(&what.out)?;
    for (name, bytes) in files {
        let path = what.out.join(name);
        let written = directory.write(&path, &bytes);
        written.with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}
