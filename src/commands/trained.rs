//! A finished run's model, ready to be used.

use std::path::PathBuf;

use anyhow::Result;
use tch::{Device, TchError, Tensor};

use crate::base::error::UserError;
use crate::config::{Config, DeviceChoice};
use crate::data::batch::{Batch, Lengths, Sequences};
use crate::data::epochs::Epochs;
use crate::data::task::Task;
use crate::engine;
use crate::engine::libtorch::Reader;
use crate::export::weights::{Weight, Weights};
use crate::model::Model;
use crate::model::layers::twin::Input;
use crate::model::network::{Network, State};
use crate::resolve;
use crate::run::progress::say;
use crate::run::run_dir::RunDir;
use crate::run::summary::Summary;
use crate::tensor::device;
use crate::tensor::device::Chosen;
use crate::tensor::parameters::{ParameterSpec, Parameters};
use crate::train::checkpoint;
use crate::train::checkpoint::{Checkpoint, Found, Which};
use crate::train::decode::{Hypothesis, Search};
use crate::train::evaluate::{Evaluator, rows_at_once};
use crate::train::inspection::{Inspection, inspect};

/// The newest whole checkpoint of `run`, which is `finished` or not. Damaged ones that are newer are told of.
///
/// # Errors
/// If there is none, or it cannot be read.
pub(super) fn found(run: &RunDir, finished: bool) -> Result<Checkpoint> {
    let path = run.checkpoint_path();
    let Found { whole, damaged } = checkpoint::newest(&path)?;
    warn(&damaged);
    if let Some(whole) = whole {
        return Ok(whole);
    }
    let hint = match finished {
        true => again(run),
        false => format!("`{}` trains it to its end", run.resume_command()),
    };
    let none = UserError::failure(format!("{}: holds no checkpoint", path.display()));
    Err(none.hint(hint).into())
}

/// The task of `run`, as far as it takes to read and to write sequences.
///
/// # Errors
/// If what the run knows of its data is damaged.
pub(super) fn recorded(run: &RunDir, config: &Config) -> Result<Task> {
    Ok(Task::recorded(config, &|name| run.record(name), None)?)
}

/// Why `run`, of this configuration, has no best weights, which `flag` asks for.
pub(super) fn no_best(flag: &str, run: &RunDir, config: &Config) -> UserError {
    let epochs = Epochs::of(config);
    let rows = epochs.rows_due(epochs.steps());
    let hint = match config.validate_every {
        Some(every) if every <= rows => format!("`{}` comes to one", run.resume_command()),
        _ => format!("`{} --validate-every 1` trains it again with them", run.again_command()),
    };
    let error = format!("{flag}: no row of {} was validated", run.path().display());
    UserError::usage(error).hint(hint)
}

/// What helps where a run's weights are lost.
pub(super) fn again(run: &RunDir) -> String {
    format!("`{}` trains it again, in a new directory", run.again_command())
}

/// Finds out whether `run` with `config`, that of its `config.toml`, would have passed through
/// `checkpoint`, as far as fields tell; it may be one of more epochs or fewer. `summary` is the run's, if
/// it has one.
///
/// # Errors
/// If it would not: what differs.
pub(super) fn check_config(
    run: &RunDir,
    config: &Config,
    summary: Option<&Summary>,
    checkpoint: &Checkpoint,
) -> Result<()> {
    let then = Config { epochs: config.epochs, ..checkpoint.manifest.config.clone() };
    if summary.is_none_or(|summary| summary.config.is_none()) {
        return run.check_config(config, &then, &checkpoint.path);
    }
    // It was read with the summary, and is what that says.
    let Some(changes) = resolve::changes(&then, config)? else { return Ok(()) };
    let other = format!("{} is of another run: {changes} there", checkpoint.path.display());
    Err(UserError::failure(other).hint(again(run)).into())
}

/// Tells of damaged checkpoints.
pub(super) fn warn(damaged: &[(PathBuf, anyhow::Error)]) {
    for (path, error) in damaged {
        say(format!("warning: {} is passed over: {error:#}", path.display()));
    }
}

/// Finds out whether a run of this configuration has the replica `k`.
///
/// # Errors
/// If it has not.
pub(super) fn check_replica(k: i64, config: &Config) -> Result<(), UserError> {
    if (0..config.replicas).contains(&k) {
        return Ok(());
    }
    let error = format!("--replica {k}: expected 0 to {}", config.replicas - 1);
    Err(UserError::usage(error))
}

/// A run's model with its trained weights.
pub(super) struct Trained {
    /// The run's configuration, as far as `model` holds its replicas.
    pub config: Config,
    /// The step whose weights these are.
    pub step: i64,
    /// Whether each replica had diverged by then.
    pub diverged: Vec<bool>,
    parameters: Parameters,
    network: Network,
    device: Device,
}

impl Trained {
    /// The model of `run`, trained with `config`: all replicas of it or one.
    ///
    /// # Errors
    /// If the device cannot be used or is short of memory, the checkpoint is missing or damaged, or
    /// it has no such weights.
    pub fn load(
        run: &RunDir,
        mut config: Config,
        replica: Option<i64>,
        which: Which,
        choice: DeviceChoice,
    ) -> Result<Self> {
        let Chosen { device, note } = device::choose(choice)?;
        if let Some(note) = note {
            say(note);
        }
        let specs = Model::new(&config).parameters();
        // Before memory is taken for a model as large as a damaged configuration makes it.
        let summary = run.read_summary(&config)?;
        let checkpoint = found(run, summary.is_some())?;
        check_config(run, &config, summary.as_ref(), &checkpoint)?;
        let which = if which == Which::Last { checkpoint.trained() } else { which };
        let step = checkpoint.step(which).ok_or_else(|| no_best("--best", run, &config))?;
        checkpoint.check_weights(which, &specs, config.replicas, config.dtype)?;
        if let Some(replica) = replica {
            config.seed += replica;
            config.replicas = 1;
        }
        device::set_threads(device::threads(&config));
        let kind = device::kind(config.dtype);
        let parameters = Parameters::zeros(specs, config.replicas, kind, device)?;
        let first = replica.unwrap_or(0);
        checkpoint.load_weights(which, &parameters, first)?;
        let mut diverged: Vec<bool> = parameters.finite()?.iter().map(|finite| !finite).collect();
        let replicas = summary.map(|summary| summary.replicas).unwrap_or_default();
        for (diverged, of) in diverged.iter_mut().zip(replicas.iter().skip(first as usize)) {
            *diverged |= of.diverged_at_step.is_some_and(|diverged| diverged <= step);
        }
        let network = Network::new(&config, &parameters)?;
        Ok(Self { config, step, diverged, parameters, network, device })
    }

    /// Finds out whether it, the replica `k` of its run, has not diverged.
    ///
    /// # Errors
    /// If it has.
    pub fn check_replica(&self, k: i64) -> Result<(), UserError> {
        if self.diverged.contains(&true) {
            let error = format!("--replica {k}: has diverged, and predicts nothing");
            return Err(UserError::failure(error));
        }
        Ok(())
    }

    /// The weights of the one replica, as other programs take them.
    ///
    /// # Errors
    /// libtorch's.
    pub fn weights(&self) -> Result<Weights> {
        let specs = self.parameters.specs().iter();
        let parts = self.parameters.split(self.parameters.flat())?;
        let weight = |(spec, part): (&ParameterSpec, Tensor)| {
            let values = device::download(&part)?.into_iter().map(|value| value as f32);
            let shape = spec.shape.iter().map(|&n| n as usize).collect();
            Ok((spec.name.clone(), Weight { shape, values: values.collect() }))
        };
        Ok(Weights(specs.zip(parts).map(weight).collect::<Result<_>>()?))
    }

    /// What evaluates the model on `task`, by the answers that `search` finds.
    pub fn evaluator<'a>(&'a self, task: &'a Task, search: Option<Search>) -> Evaluator<'a> {
        let &Self { ref config, ref parameters, ref network, device, .. } = self;
        Evaluator { config, task, parameters, network, device, search }
    }

    /// How many sources are answered at a time, with so many hypotheses each.
    pub fn rows_at_once(&self, hypotheses: i64) -> usize {
        rows_at_once(&self.config, hypotheses, device::is_host(self.device))
    }

    /// The ids `(B, Tout)`, row-major, that the one replica predicts for `sources` `(B, Tin)`, each
    /// from the zero state; targets end with the id `end`, if there is one.
    ///
    /// # Errors
    /// If memory is short.
    pub fn predict(&self, sources: &[&[i64]], end: Option<i64>) -> Result<Vec<i64>> {
        Ok(self.answer(self.batch(sources), end)?.ids().to_vec())
    }

    /// `sources` `(B, Tin)` as a batch of one replica.
    fn batch(&self, sources: &[&[i64]]) -> Batch {
        let rows = sources.len();
        let lengths = self.config.has_lengths().then(|| Lengths {
            source: sources.iter().map(|ids| ids.len() as i64).collect(),
            target: vec![1; rows],
        });
        unanswered(rows, padded(sources).into(), vec![0; rows].into(), lengths)
    }

    /// What the one replica answers to the sources of `batch`.
    fn answer(&self, batch: Batch, end: Option<i64>) -> Result<Sequences> {
        if batch.size == 0 {
            return Ok(batch.target);
        }
        let &Self { ref config, ref parameters, ref network, device, .. } = self;
        let mut model = engine::inference(config, parameters, network, device, end)?;
        Ok(model.answer(&batch, false)?.answers)
    }

    /// What `answer` answers to `sources` by libtorch's operations, each from the zero state and every replica to
    /// the same.
    fn read<T>(
        &self,
        sources: &[&[i64]],
        answer: impl FnOnce(&Network, Input<'_>, &State) -> Result<(T, State), TchError>,
    ) -> Result<T> {
        let mut reader = Reader::new(&self.config, &self.network, self.device);
        let (answered, _) = reader.read(&self.batch(sources), false, answer)?;
        Ok(answered)
    }

    /// What the one replica computes while it predicts the targets of `sources` `(B, Tin)`, each from
    /// the zero state; targets end with the id `end`, if there is one.
    ///
    /// # Errors
    /// If memory is short.
    pub fn inspect(&self, sources: &[&[i64]], end: Option<i64>) -> Result<Inspection> {
        self.read(sources, |network, source, state| {
            inspect(network, self.config.feedback, end, source, state)
        })
    }

    /// The numbers `(B, Tout, features)`, row-major, that the one replica predicts for `sources`
    /// `(B, Tin, features)`, each from the zero state.
    ///
    /// # Errors
    /// If memory is short.
    pub fn predict_numbers(&self, sources: &[&[f64]]) -> Result<Vec<f64>> {
        let Some(of) = self.config.features() else { return Ok(Vec::new()) };
        let [read, said] = [of.source, of.target].map(|features| features as usize);
        let source = Sequences::Numbers { values: sources.concat(), features: read };
        let values = vec![0.0; sources.len() * said];
        let target = Sequences::Numbers { values, features: said };
        let batch = unanswered(sources.len(), source, target, None);
        Ok(self.answer(batch, None)?.numbers().to_vec())
    }

    /// The `most` best hypotheses that `search`, of the one replica or of an ensemble, finds for each
    /// of `sources` `(B, Tin)`, each from the zero state.
    ///
    /// # Errors
    /// If memory is short.
    pub fn search(
        &self,
        search: &Search,
        sources: &[&[i64]],
        most: usize,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        if sources.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.read(sources, |network, source, state| search.run(network, source, state));
        Ok(found?.hypotheses(most)?)
    }
}

/// A batch of one replica with so many rows of `source`. The `target` is one time step of each, which nobody looks
/// at.
fn unanswered(
    size: usize,
    source: Sequences,
    target: Sequences,
    lengths: Option<Lengths>,
) -> Batch {
    Batch { replicas: 1, size, source, decoder_input: None, target, lengths }
}

/// `sources`, all as long as the longest of them.
fn padded(sources: &[&[i64]]) -> Vec<i64> {
    let longest = sources.iter().map(|ids| ids.len()).max().unwrap_or(0);
    let padding = |ids: &[i64]| std::iter::repeat_n(0, longest - ids.len());
    sources.iter().flat_map(|ids| ids.iter().copied().chain(padding(ids))).collect()
}
