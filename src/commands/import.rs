//! `seqlab import`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context, Result};

use super::session::{Evaluated, evaluate, summary_of, trainer_of, width};
use crate::base::error::{UserError, describe};
use crate::base::input::{self, shown};
use crate::config::{Config, DeviceChoice};
use crate::data::task::Task;
use crate::export::given::{Expected, Given};
use crate::export::weights::Weights;
use crate::export::{keras, pytorch};
use crate::files::checksum::Checksum;
use crate::files::disk;
use crate::reports::tables;
use crate::run::curves::PredictionRow;
use crate::run::progress::say;
use crate::run::run_dir::RunDir;
use crate::run::summary::{Imported, ReplicaSummary, Summary};
use crate::tensor::device;
use crate::tensor::parameters::Parameters;
use crate::train::checkpoint::save;
use crate::train::trainer::Trainer;

/// Weights that another program has, and the run to make of them.
#[derive(Debug)]
pub struct Import {
    /// The model whose weights they are.
    pub model: ModelOf,
    /// Whose names and layouts they have.
    pub format: WeightsFormat,
    /// Their file.
    pub weights: PathBuf,
    /// The directory of the new run.
    pub out: PathBuf,
    /// Whether to replace a run that is there.
    pub force: bool,
    /// Whether to print no result.
    pub quiet: bool,
}

/// What says what a model is.
#[derive(Debug)]
pub enum ModelOf {
    /// A run, whose vocabularies or scaling the new one has too.
    Run(PathBuf),
    /// A validated configuration.
    Config(Box<Config>),
}

/// Whose names and layouts weights have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightsFormat {
    /// A state dict.
    PyTorch,
    /// Those of the script that `export` writes.
    Keras,
}

/// Makes a finished run of the weights of one replica, without curves. The result of its evaluation goes to `out`.
///
/// # Errors
/// If the weights are not exactly those of the model, there is something at the place to write, or it cannot be written.
pub fn import(what: &Import, out: &mut dyn Write) -> Result<()> {
    let begin = Instant::now();
    RunDir::check(&what.out, what.force)?;
    let Model { config, records, of } = what.model()?;
    let (weights, imported) = what.read(&config)?;
    let (task, has_data) = task(&config, of.as_ref())?;
    let device = device::choose(DeviceChoice::Cpu)?;
    let mut trainer = trainer_of(&config, &device, || Ok(task))?;
    set(&trainer.parameters, &weights)?;
    let mut predictions = Vec::new();
    let (replicas, examples) = match has_data {
        true => evaluated(&trainer, &mut predictions)?,
        false => (vec![not_evaluated(&config)], Vec::new()),
    };
    let (name, startup_seconds) = (device::name(device::host()), begin.elapsed().as_secs_f64());
    // No step was trained here, and there is no curve.
    let summary = summary_of(&trainer, name, startup_seconds, Checksum::of(b""), replicas);
    let summary = Summary { imported: Some(imported), ..summary };
    // Everything comes before the directory counts as a run: one that is not finished could be trained on.
    RunDir::create(&what.out, &config, what.force, |run| {
        match &records {
            Some(records) => write_records(run, records)?,
            None => run.write_record(trainer.task())?,
        }
        save(run.disk(), &run.checkpoint_path(), &mut trainer, Checksum::of(b""))?;
        write_predictions(run, predictions)?;
        run.write_summary(&summary)
    })?;
    if what.quiet {
        return Ok(());
    }
    if has_data {
        let examples = tables::predictions(&examples, &config.seeds(), width());
        let results = tables::results(&summary.replicas, &[], config.vocab);
        write!(out, "{examples}\n{results}\n")?;
    }
    writeln!(out, "{}: the weights of {}", shown(&what.out), shown(&what.weights))?;
    Ok(())
}

/// The model that weights are of.
struct Model {
    /// Its configuration, of one replica.
    config: Config,
    /// What the run knows of its data, by the names of its files.
    records: Option<Vec<(&'static str, Vec<u8>)>>,
    /// The run.
    of: Option<RunDir>,
}

impl Import {
    fn model(&self) -> Result<Model> {
        let alone = |config| Config { replicas: 1, ..config };
        match &self.model {
            ModelOf::Config(config) => {
                Ok(Model { config: alone((**config).clone()), records: None, of: None })
            }
            ModelOf::Run(path) => {
                let (run, config) = RunDir::open(path)?;
                let records = Some(run.records()?);
                Ok(Model { config: alone(config), records, of: Some(run) })
            }
        }
    }

    /// The weights of the model that `config` describes, and what their file is.
    fn read(&self, config: &Config) -> Result<(Weights, Imported)> {
        let file = shown(&self.weights);
        let most = Expected::of(config).most_bytes();
        let bytes = input::read(&self.weights, most)
            .map_err(|e| UserError::usage(format!("--weights {file}: cannot be read: {e}")))?;
        let given = Given { shown: &file, bytes: &bytes };
        let (weights, format) = match self.format {
            WeightsFormat::PyTorch => (pytorch::read(config, &given)?, "pytorch"),
            WeightsFormat::Keras => (keras::read(config, &given)?, "keras"),
        };
        let (format, checksum) = (format.to_owned(), Checksum::of(&bytes));
        Ok((weights, Imported { file, format, checksum }))
    }
}

/// The task of `config`, of the run `of` if there is one, and whether it has its data: the files that a run was trained
/// on may be gone.
fn task(config: &Config, of: Option<&RunDir>) -> Result<(Task, bool)> {
    let Some(run) = of else { return Ok((Task::load(config)?, true)) };
    match run.check_files().and_then(|()| Ok(Task::load(config)?)) {
        Ok(task) => Ok((task, true)),
        Err(error) => {
            say("note: the model is not evaluated, since the run's data are not what they were");
            describe(&error).lines().for_each(say);
            Ok((Task::recorded(config, &|name| run.record(name), None)?, false))
        }
    }
}

/// Gives the one replica its weights.
fn set(parameters: &Parameters, weights: &Weights) -> Result<()> {
    let places = parameters.split(parameters.flat())?;
    for (spec, mut place) in parameters.specs().iter().zip(places) {
        let values = tch::Tensor::f_from_slice(&weights.named(&spec.name).values)?;
        let values = values.f_view(place.size().as_slice())?;
        device::fill(&mut place, &values)?;
    }
    Ok(())
}

/// What the model comes to. Nothing is written yet that an interruption would leave behind.
fn evaluated(trainer: &Trainer, predictions: &mut Vec<PredictionRow>) -> Result<Evaluated> {
    let add = |row| {
        predictions.push(row);
        Ok(())
    };
    evaluate(trainer, &[None], &AtomicBool::new(false), add)
}

fn not_evaluated(config: &Config) -> ReplicaSummary {
    ReplicaSummary {
        seed: config.seed as u64,
        diverged_at_step: None,
        early_stopping: None,
        train_loss: None,
        train_accuracy: None,
        evaluation: None,
    }
}

fn write_records(run: &RunDir, records: &[(&'static str, Vec<u8>)]) -> Result<()> {
    for (name, bytes) in records {
        let path = run.path().join(name);
        let written = disk::replace(run.disk(), &path, bytes);
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn write_predictions(run: &RunDir, predictions: Vec<PredictionRow>) -> Result<()> {
    let mut file = run.predictions()?;
    predictions.into_iter().try_for_each(|row| file.add(row))?;
    file.sync().map(drop)
}
