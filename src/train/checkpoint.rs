//! Weights, optimiser and recurrent state on disk.
//!
//! `checkpoint/` of a run holds the newest checkpoints, each a directory named after its step, such
//! as `step-000001200`:
//!
//! | file | content |
//! | --- | --- |
//! | `weights.safetensors` | every parameter `(R, …Keras's shape)` under its name |
//! | `best.safetensors` | the same where the mean validation loss was lowest, if there was validation |
//! | `restored.safetensors` | the same of each replica at its own best row, with `restore_best_weights` |
//! | `training.safetensors` | the optimiser's slots, such as Adam's `adam.m` and `adam.v`, each `(R · P)`; the carried state `state.N.h` and `state.N.c` `(R, B, H)`, if any; `sums` `(R, 8 + 2 · metrics)` of the rows to come, see [`Meter::sums`](crate::train::meter::Meter::sums); `early_stopping` and `plateau` `(R, 4)`, if the run has them, see [`EarlyStopping::numbers`](crate::train::early_stopping::EarlyStopping::numbers) and [`Plateau::numbers`](crate::train::plateau::Plateau::numbers) |
//! | `manifest.json` | [`Manifest`]: where the training stood, the configuration, and a checksum of every file |
//!
//! It is written as `partial`, synced to the disk and then renamed; only then are older ones
//! removed. A checkpoint is whole if its manifest is and every file matches it. Loading executes
//! nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};
use tch::{Kind, Tensor};

use crate::base::error::UserError;
use crate::base::input::{self, if_there};
use crate::config;
use crate::files::checksum::Checksum;
use crate::files::directory::Directory;
use crate::files::disk::{Disk, parent};
use crate::run::manifest::{BEST, MANIFEST, Manifest, PARTIAL, RESTORED, TRAINING, WEIGHTS};
use crate::tensor::device;
use crate::tensor::parameters::{ParameterSpec, Parameters};
use crate::train::trainer::Trainer;
use crate::train::weights::Layout;

/// The memory that writing a checkpoint takes, in copies of all weights, where the optimiser has so
/// many `slots`: the file of weights, and the slots and their file.
pub fn copies(slots: usize) -> usize {
    1 + 2 * slots
}

/// Saves the state of `trainer` as the newest checkpoint in the directory `path`, which is created
/// if missing. `curves` is the checksum of `curves.csv` so far. As many checkpoints as the
/// configuration says are kept.
///
/// # Errors
/// If a file cannot be written; earlier checkpoints are then still there. If a loss is not finite,
/// or memory is short.
pub fn save(disk: &dyn Disk, path: &Path, trainer: &mut Trainer, curves: Checksum) -> Result<()> {
    let files = contents(trainer)?;
    let checksums = files.iter().map(|(name, bytes)| (name.to_string(), Checksum::of(bytes)));
    let checksums = checksums.collect();
    let (config, position) = (trainer.config(), trainer.position());
    let step = position.step;
    let manifest = Manifest::new(config, position, curves, checksums)?.text()?;

    match disk.create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => {
            attempt("make", path, made)?;
            attempt("sync", parent(path), disk.sync(parent(path)))?;
        }
    }
    let partial = path.join(PARTIAL);
    attempt("remove", &partial, if_there(disk.remove(&partial)).map(drop))?;
    // The manifest last: without it a checkpoint is not whole.
    let files = files.iter().map(|(name, bytes)| (*name, bytes.as_slice()));
    let files = files.chain([(MANIFEST, manifest.as_bytes())]);
    let target = path.join(free_name(path, step)?);
    let named = write_all(disk, &partial, files)
        .and_then(|()| attempt("rename", &partial, disk.rename(&partial, &target)));
    if named.is_err() {
        let _ = disk.remove(&partial);
    }
    named?;
    attempt("sync", path, disk.sync(path))?;

    for old in names(path)?.into_iter().skip(config.keep_checkpoints as usize) {
        let old = path.join(old.name);
        attempt("remove", &old, disk.remove(&old))?;
    }
    Ok(())
}

/// Creates the directory `path` with these files, and syncs all but its own name.
fn write_all<'a>(
    disk: &dyn Disk,
    path: &Path,
    files: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<()> {
    attempt("make", path, disk.create_dir(path))?;
    for (name, bytes) in files {
        let file = path.join(name);
        attempt("write", &file, disk.write(&file, bytes))?;
        attempt("sync", &file, disk.sync(&file))?;
    }
    attempt("sync", path, disk.sync(path))
}

fn attempt(what: &str, path: &Path, done: io::Result<()>) -> Result<()> {
    done.with_context(|| format!("cannot {what} {}", path.display()))
}

/// What the rows to come depend on, a row a replica.
fn sums(trainer: &mut Trainer) -> Result<Tensor> {
    let sums = trainer.sums()?;
    by_replica(&sums, trainer)
}

/// `numbers`, a row a replica.
fn by_replica(numbers: &[f64], trainer: &Trainer) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(numbers)?.f_view([trainer.config().replicas, -1])?)
}

/// Where what goes by a metric stands, by the name of its tensor.
fn decisions(trainer: &Trainer) -> Vec<(&'static str, Vec<f64>)> {
    let stopping = trainer.early_stopping.as_ref();
    let stopping = stopping.map(|stopping| ("early_stopping", stopping.numbers()));
    let plateau = trainer.plateau.as_ref().map(|plateau| ("plateau", plateau.numbers()));
    stopping.into_iter().chain(plateau).collect()
}

/// The files of a checkpoint, without its manifest.
fn contents(trainer: &mut Trainer) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let sums = sums(trainer)?;
    let trainer = &*trainer;
    let parameters = &trainer.parameters;
    let named = |flat: &Tensor| -> Result<Vec<(String, Tensor)>> {
        let names = parameters.specs().iter().map(|spec| spec.name.clone());
        Ok(names.zip(parameters.split(flat)?).collect())
    };
    let optimizer = &trainer.optimizer;
    let slots = optimizer.slot_names().iter().zip(&optimizer.slots);
    let slots = slots.map(|(name, slot)| ((*name).to_owned(), slot.shallow_clone()));
    let mut training: Vec<_> = slots.chain([("sums".to_owned(), sums)]).collect();
    for (i, state) in trainer.carried.iter().flat_map(|state| &state.0).enumerate() {
        training.push((format!("state.{i}.h"), state.h.shallow_clone()));
        training.push((format!("state.{i}.c"), state.c.shallow_clone()));
    }
    for (name, numbers) in decisions(trainer) {
        training.push((name.to_owned(), by_replica(&numbers, trainer)?));
    }
    let mut files =
        vec![(WEIGHTS, serialise(named(parameters.flat())?)?), (TRAINING, serialise(training)?)];
    if let Some((_, weights)) = &trainer.best {
        files.push((BEST, serialise(named(weights)?)?));
    }
    if let Some(weights) = &trainer.to_restore {
        files.push((RESTORED, serialise(named(weights)?)?));
    }
    Ok(files)
}

/// The name of a checkpoint's directory; ordered as in training.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    step: i64,
    /// How many checkpoints were made at the same step before.
    again: u32,
    name: String,
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("step-")?;
        let (step, again) = digits.split_once('.').unwrap_or((digits, "0"));
        Some(Self { step: step.parse().ok()?, again: again.parse().ok()?, name: name.to_owned() })
    }
}

/// The checkpoint names in the directory `path`, the newest first; none if it does not exist.
fn names(path: &Path) -> Result<Vec<Name>> {
    let found = if_there(Directory::open(parent(path)).and_then(|run| run.names(path)));
    let found = found.with_context(|| format!("cannot read {}", path.display()))?;
    let found = found.unwrap_or_default();
    let mut names: Vec<Name> =
        found.iter().filter_map(|name| name.to_str().and_then(Name::parse)).collect();
    names.sort();
    names.reverse();
    Ok(names)
}

/// The name of the next checkpoint in the directory `path`, at `step`.
fn free_name(path: &Path, step: i64) -> Result<String> {
    let last = names(path)?.into_iter().find(|name| name.step == step);
    Ok(match last {
        None => format!("step-{step:09}"),
        Some(last) => format!("step-{step:09}.{}", last.again.saturating_add(1)),
    })
}

/// A checkpoint that is whole.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its directory.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    files: BTreeMap<String, Vec<u8>>,
}

/// Which weights of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those at its step.
    Last,
    /// Those where the mean validation loss of all replicas was lowest.
    Best,
    /// Those of each replica at its own best row, which the trained model has in the end; of a run
    /// that restores them.
    Restored,
}

impl Which {
    fn file(self) -> &'static str {
        match self {
            Self::Last => WEIGHTS,
            Self::Best => BEST,
            Self::Restored => RESTORED,
        }
    }
}

/// What [`newest`] found.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest that is whole; `None` if there is none at all, not even a damaged one.
    pub whole: Option<Checkpoint>,
    /// The directories of newer ones, with what is wrong with each. All of them could be read.
    pub damaged: Vec<(PathBuf, anyhow::Error)>,
}

/// The newest whole checkpoint in the directory `path`.
///
/// # Errors
/// If one cannot be read, since it may be whole. If all are damaged: what is wrong with the newest.
pub fn newest(path: &Path) -> Result<Found> {
    loop {
        let names = names(path).map_err(|error| unreadable(path, error))?;
        let mut found = newest_of(path, &names)?;
        // One that another process is just replacing by its next is not damaged.
        if !found.damaged.is_empty() && self::names(path)? != names {
            continue;
        }
        if found.whole.is_none() && !found.damaged.is_empty() {
            return Err(found.damaged.swap_remove(0).1.context("no whole checkpoint"));
        }
        return Ok(found);
    }
}

/// The first that is whole of the checkpoints `names` in the directory `path`, and those before it.
fn newest_of(path: &Path, names: &[Name]) -> Result<Found> {
    let mut found = Found::default();
    for name in names {
        let directory = path.join(&name.name);
        match Checkpoint::read(&directory) {
            Ok(whole) => return Ok(Found { whole: Some(whole), ..found }),
            Err(error) if is_damage(&error) => found.damaged.push((directory, error)),
            Err(error) => return Err(unreadable(&directory, error)),
        }
    }
    Ok(found)
}

fn unreadable(path: &Path, error: anyhow::Error) -> anyhow::Error {
    let shown = path.display();
    let failure = UserError::failure(format!("{shown} cannot be looked at"));
    error.context(failure.hint("nothing was changed: the same command goes on once it can be read"))
}

/// Whether reading a checkpoint failed because of its content or a missing file. One that could not
/// be read may be whole.
fn is_damage(error: &anyhow::Error) -> bool {
    let failed = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    failed.is_none_or(|e| matches!(e.kind(), ErrorKind::NotFound | ErrorKind::FileTooLarge))
}

impl Checkpoint {
    /// The checkpoint in the directory `path`.
    ///
    /// # Errors
    /// If it is not whole; the file is named.
    fn read(path: &Path) -> Result<Self> {
        // `RUN/checkpoint/step-N`.
        let run = parent(parent(path));
        let file = path.join(MANIFEST);
        let text = read(run, &file, input::MANIFEST)?;
        let manifest = Manifest::parse(&text).with_context(|| damaged(&file))?;
        let mut files = BTreeMap::new();
        for (name, expected) in &manifest.files {
            let file = path.join(name);
            let bytes = read(run, &file, expected.bytes)?;
            let found = Checksum::of(&bytes);
            if found.bytes != expected.bytes {
                let (found, expected) = (found.bytes, expected.bytes);
                return Err(anyhow!("{found} bytes, expected {expected}").context(damaged(&file)));
            }
            ensure!(found == *expected, "{}: its checksum is another", damaged(&file));
            files.insert(name.clone(), bytes);
        }
        Ok(Self { path: path.to_owned(), manifest, files })
    }

    /// The step whose weights these are, if it has them.
    pub fn step(&self, which: Which) -> Option<i64> {
        let position = &self.manifest.position;
        match which {
            Which::Last => Some(position.step),
            Which::Restored => self.files.contains_key(RESTORED).then_some(position.step),
            Which::Best => position.best.map(|best| best.step),
        }
    }

    /// Checks that its weights are those of `replicas` replicas of a model with these parameters.
    ///
    /// # Errors
    /// If they are not; what differs is named.
    pub fn check_weights(
        &self,
        which: Which,
        specs: &[ParameterSpec],
        replicas: i64,
        dtype: config::Dtype,
    ) -> Result<()> {
        self.tensors(which.file(), &Layout::new(specs, replicas, dtype)).map(drop)
    }

    /// The tensors of a file of weights with this layout.
    fn tensors(&self, name: &str, layout: &Layout) -> Result<SafeTensors<'_>> {
        let read = layout.read(self.bytes(name));
        read.map_err(|e| anyhow!("{}: {e}", of_another(&self.path.join(name))))
    }

    /// Loads the weights into `parameters`: those of every replica or, where `parameters` are one
    /// replica's, of replica `replica` alone.
    ///
    /// # Errors
    /// If they do not fit `parameters`.
    pub fn load_weights(&self, which: Which, parameters: &Parameters, replica: i64) -> Result<()> {
        self.load_into(which, parameters, parameters.flat(), replica)
    }

    /// Loads the weights into `parameters`: each replica's own, or those of the one that there is into
    /// all. They take on the dtype of `parameters`.
    ///
    /// # Errors
    /// If they do not fit `parameters`.
    pub fn load_each(&self, which: Which, parameters: &Parameters) -> Result<()> {
        let config::Config { replicas, dtype, .. } = self.manifest.config;
        let layout = Layout::new(parameters.specs(), replicas, dtype);
        let stored = self.tensors(which.file(), &layout)?;
        for (spec, mut place) in parameters.specs().iter().zip(parameters.split(parameters.flat())?)
        {
            let value = tensor(&stored.tensor(&spec.name)?)?.f_expand_as(&place)?;
            device::fill(&mut place, &value)?;
        }
        Ok(())
    }

    /// What the file of these weights is.
    pub fn checksum(&self, which: Which) -> Option<Checksum> {
        self.manifest.files.get(which.file()).copied()
    }

    /// Restores the state of the training in `trainer`, which has the same configuration and has
    /// not trained yet.
    ///
    /// # Errors
    /// If the checkpoint is of another training.
    pub fn restore(&self, trainer: &mut Trainer) -> Result<()> {
        self.load_weights(Which::Last, &trainer.parameters, 0)?;
        let file = self.path.join(TRAINING);
        self.restore_training(trainer).with_context(|| of_another(&file))?;
        if let Some(best) = self.manifest.position.best {
            let weights = trainer.parameters.flat().f_zeros_like()?;
            self.load_into(Which::Best, &trainer.parameters, &weights, 0)?;
            trainer.best = Some((best, weights));
        }
        if self.files.contains_key(RESTORED) {
            let weights = trainer.parameters.flat().f_zeros_like()?;
            self.load_into(Which::Restored, &trainer.parameters, &weights, 0)?;
            trainer.to_restore = Some(weights);
        }
        Ok(())
    }

    fn restore_training(&self, trainer: &mut Trainer) -> Result<()> {
        let stored = SafeTensors::deserialize(self.bytes(TRAINING))?;
        let names = trainer.optimizer.slot_names();
        for (name, slot) in names.iter().zip(&mut trainer.optimizer.slots) {
            fill(&stored, name, slot)?;
        }
        trainer.carried = None;
        if stored.tensor("state.0.h").is_ok() {
            let mut state = trainer.zero_state()?;
            for (i, state) in state.0.iter_mut().enumerate() {
                fill(&stored, &format!("state.{i}.h"), &mut state.h)?;
                fill(&stored, &format!("state.{i}.c"), &mut state.c)?;
            }
            trainer.carried = Some(state);
        }
        let mut sums = sums(trainer)?;
        fill(&stored, "sums", &mut sums)?;
        self.restore_decisions(&stored, trainer)?;
        trainer.restore(&self.manifest.position, &device::download(&sums)?);
        Ok(())
    }

    /// Restores what goes by a metric, before the training goes on by it.
    fn restore_decisions(&self, stored: &SafeTensors<'_>, trainer: &mut Trainer) -> Result<()> {
        for (name, numbers) in decisions(trainer) {
            let mut place = by_replica(&numbers, trainer)?;
            fill(stored, name, &mut place)?;
            let numbers = device::download(&place)?;
            match (&mut trainer.early_stopping, &mut trainer.plateau) {
                (Some(stopping), _) if name == "early_stopping" => stopping.restore(&numbers),
                (_, Some(plateau)) => plateau.restore(&numbers),
                _ => {}
            }
        }
        Ok(())
    }

    /// The weights that the run's model has where its last are meant: restored ones, if it restores.
    pub fn trained(&self) -> Which {
        if self.files.contains_key(RESTORED) { Which::Restored } else { Which::Last }
    }

    /// Loads a file of weights into `flat`, which is laid out like `parameters`.
    fn load_into(
        &self,
        which: Which,
        parameters: &Parameters,
        flat: &Tensor,
        replica: i64,
    ) -> Result<()> {
        let config::Config { replicas, dtype, .. } = self.manifest.config;
        let stored =
            self.tensors(which.file(), &Layout::new(parameters.specs(), replicas, dtype))?;
        for (spec, mut place) in parameters.specs().iter().zip(parameters.split(flat)?) {
            let value = tensor(&stored.tensor(&spec.name)?)?;
            device::fill(&mut place, &value.f_narrow(0, replica, parameters.replicas())?)?;
        }
        Ok(())
    }

    fn bytes(&self, name: &str) -> &[u8] {
        self.files.get(name).map_or(&[], Vec::as_slice)
    }
}

fn damaged(file: &Path) -> String {
    format!("{} is damaged", file.display())
}

fn of_another(file: &Path) -> String {
    format!("{} is of another run", file.display())
}

fn read(run: &Path, file: &Path, most: u64) -> Result<Vec<u8>> {
    let bytes = Directory::open(run).and_then(|run| run.read(file, most));
    bytes.with_context(|| format!("cannot read {}", file.display()))
}

/// Copies the stored tensor `name` into `place`.
fn fill(stored: &SafeTensors<'_>, name: &str, place: &mut Tensor) -> Result<()> {
    let value = tensor(&stored.tensor(name).with_context(|| name.to_owned())?)?;
    let (found, expected) = (value.size(), place.size());
    ensure!(found == expected, "{name}: shape {found:?}, expected {expected:?}");
    same_kind(name, &value, place)?;
    Ok(device::fill(place, &value)?)
}

fn same_kind(name: &str, found: &Tensor, expected: &Tensor) -> Result<()> {
    let [found, expected] = [found, expected].map(|tensor| match tensor.kind() {
        Kind::Double => config::Dtype::Float64,
        _ => config::Dtype::Float32,
    });
    ensure!(found == expected, "{name}: {found}, expected {expected}");
    Ok(())
}

/// `tensors` as a safetensors file.
fn serialise(tensors: Vec<(String, Tensor)>) -> Result<Vec<u8>> {
    let stored = tensors.into_iter().map(|(name, tensor)| Ok((name, Stored::new(&tensor)?)));
    let stored = stored.collect::<Result<Vec<_>>>()?;
    Ok(safetensors::serialize(stored, None)?)
}

/// A tensor's bytes on the host.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn new(tensor: &Tensor) -> Result<Self> {
        let (dtype, width) = match tensor.kind() {
            Kind::Double => (Dtype::F64, 8),
            _ => (Dtype::F32, 4),
        };
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        let mut bytes = vec![0; tensor.numel() * width];
        device::to_host(tensor)?.f_copy_data_u8(&mut bytes, tensor.numel())?;
        Ok(Self { dtype, shape, bytes })
    }
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// A stored tensor, on the host.
fn tensor(view: &TensorView<'_>) -> Result<Tensor> {
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        other => anyhow::bail!("dtype {other:?}, expected F32 or F64"),
    };
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
}
