//! The batches of a training: drawn when they are needed or, for a GPU, by a separate thread that
//! uploads many at a time, ahead of their use.

use std::borrow::Cow;
use std::iter::once;
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::vec::IntoIter;

use anyhow::{Context, Result, anyhow};
use tch::{Device, Kind, TchError, Tensor};

use crate::base::rng::Purpose;
use crate::config::{Config, Family, Features};
use crate::data::batch::{Batch, Sequences};
use crate::data::epochs::Epochs;
use crate::data::task::Task;
use crate::tensor::cpp::graph::Stream;
use crate::tensor::device;

/// The most steps that are uploaded at a time.
pub const STEPS_AT_A_TIME: usize = 64;

/// About how many ids are uploaded at a time, where [`STEPS_AT_A_TIME`] steps would have more.
const IDS_AT_A_TIME: usize = 1 << 16;

/// Uploads that may wait, besides the one in use and the one being made.
const UPLOADS_AHEAD: usize = 1;

/// A batch's ids, on the host or where the model computes.
#[derive(Debug)]
pub enum Ids {
    /// On the host.
    Host(Batch),
    /// On a device, or being transferred to it.
    Uploaded(UploadedBatch),
}

impl Ids {
    /// B.
    pub fn size(&self) -> usize {
        match self {
            Self::Host(batch) => batch.size,
            Self::Uploaded(batch) => batch.size,
        }
    }

    /// The ids on the host.
    ///
    /// # Errors
    /// If they were uploaded.
    pub fn on_host(&self) -> Result<&Batch, TchError> {
        match self {
            Self::Host(batch) => Ok(batch),
            Self::Uploaded(_) => Err(TchError::Shape("ids are wanted on the host".to_owned())),
        }
    }

    /// The batch on `device`, its numbers of `kind`. Waits for it if it is still on the host.
    ///
    /// # Errors
    /// If `device` is short of memory.
    pub fn on_device(&self, device: Device, kind: Kind) -> Result<UploadedBatch, TchError> {
        match self {
            Self::Host(batch) => UploadedBatch::of(batch, device, kind),
            Self::Uploaded(batch) => Ok(batch.shallow_clone()),
        }
    }
}

/// A [`Batch`] as tensors: ids int64, numbers of the models' dtype.
#[derive(Debug)]
pub struct UploadedBatch {
    /// B.
    pub size: usize,
    /// `(R, B, Tin)` ids, or `(R, B, Tin, features)` numbers.
    pub source: Tensor,
    /// `(R, B, Tout)` or `(R, B, Tout, features)`, for models with a teacher-forced decoder.
    pub decoder_input: Option<Tensor>,
    /// `(R, B, Tout)` or `(R, B, Tout, features)`.
    pub target: Tensor,
    /// Which steps are no padding; `None`: none is.
    pub valid: Option<Valid>,
}

/// Which steps of a batch are no padding.
#[derive(Debug)]
pub struct Valid {
    /// `(R, B, Tin)` bool.
    pub source: Tensor,
    /// `(R, B, Tout)` bool.
    pub target: Tensor,
}

impl UploadedBatch {
    /// `batch` on `device`, its numbers of `kind`. Waits for it.
    ///
    /// # Errors
    /// If `device` is short of memory.
    pub fn of(batch: &Batch, device: Device, kind: Kind) -> Result<Self, TchError> {
        Self::new(batch, kind, |ids| device::upload(ids, &[-1], device))
    }

    /// `batch`, its parts uploaded by `upload` in the order of [`parts`].
    fn new(
        batch: &Batch,
        kind: Kind,
        mut upload: impl FnMut(&[i64]) -> Result<Tensor, TchError>,
    ) -> Result<Self, TchError> {
        let (replicas, size) = (batch.replicas as i64, batch.size as i64);
        let mut sequences = |of: &Sequences| {
            let words = upload(&words(of))?;
            match of {
                Sequences::Ids(_) => words.f_view([replicas, size, -1]),
                &Sequences::Numbers { features, .. } => {
                    let numbers = words.f_view_dtype(Kind::Double)?.f_to_kind(kind)?;
                    numbers.f_view([replicas, size, -1, features as i64])
                }
            }
        };
        let source = sequences(&batch.source)?;
        let target = sequences(&batch.target)?;
        let decoder_input = batch.decoder_input.as_ref().map(sequences).transpose()?;
        let mut valid = |lengths: &[i64], steps: i64| {
            no_padding(&upload(lengths)?.f_view([replicas, size, 1])?, steps)
        };
        let valid = match &batch.lengths {
            Some(lengths) => Some(Valid {
                source: valid(&lengths.source, source.size()[2])?,
                target: valid(&lengths.target, target.size()[2])?,
            }),
            None => None,
        };
        Ok(Self { size: batch.size, source, target, decoder_input, valid })
    }

    /// The same batch by reference.
    fn shallow_clone(&self) -> Self {
        let tensors = self.tensors();
        self.with(tensors.into_iter().map(Tensor::shallow_clone))
    }

    /// Its tensors, always in the same order.
    pub fn tensors(&self) -> Vec<&Tensor> {
        let valid = self.valid.iter().flat_map(|valid| [&valid.source, &valid.target]);
        [&self.source, &self.target].into_iter().chain(&self.decoder_input).chain(valid).collect()
    }

    /// A batch of the same size with `tensors` in the place of its own, in their order.
    ///
    /// # Panics
    /// If they are fewer.
    pub fn with(&self, tensors: impl IntoIterator<Item = Tensor>) -> Self {
        let mut tensors = tensors.into_iter();
        let mut next = || tensors.next().unwrap_or_else(|| unreachable!("as many tensors"));
        let (source, target) = (next(), next());
        let decoder_input = self.decoder_input.as_ref().map(|_| next());
        let valid = self.valid.as_ref().map(|_| Valid { source: next(), target: next() });
        Self { size: self.size, source, target, decoder_input, valid }
    }
}

/// Which of `steps` steps are no padding, `(R, B, T)` bool, of sequences with these lengths,
/// `(R, B, 1)` int64.
///
/// # Errors
/// libtorch's.
pub fn no_padding(lengths: &Tensor, steps: i64) -> Result<Tensor, TchError> {
    Tensor::f_arange(steps, (Kind::Int64, lengths.device()))?.f_lt_tensor(lengths)
}

/// The ids of `of`, or the bits of its numbers, which so travel in the same transfer.
fn words(of: &Sequences) -> Cow<'_, [i64]> {
    match of {
        Sequences::Ids(ids) => Cow::Borrowed(ids),
        Sequences::Numbers { values, .. } => {
            values.iter().map(|value| value.to_bits().cast_signed()).collect()
        }
    }
}

/// What is uploaded of `batch`, part by part.
fn parts(batch: &Batch) -> impl Iterator<Item = Cow<'_, [i64]>> {
    let sequences = [&batch.source, &batch.target].into_iter().chain(&batch.decoder_input);
    let lengths = batch.lengths.iter().flat_map(|lengths| [&lengths.source, &lengths.target]);
    sequences.map(words).chain(lengths.map(|lengths| Cow::Borrowed(lengths.as_slice())))
}

/// What one optimiser step learns from.
#[derive(Debug)]
pub struct Step {
    /// Its number in the training, from 0.
    pub number: u64,
    /// The batch.
    pub ids: Ids,
    /// Whether it is its epoch's first.
    pub starts_epoch: bool,
}

/// How batches reach the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefetch {
    /// One by one, when they are needed, as ids on the host.
    Off,
    /// Drawn by another thread and uploaded many at a time, ahead of their use.
    On,
}

/// The batches of a stretch of epochs, in the order of training.
#[derive(Debug, Clone)]
pub struct Batches {
    task: Task,
    seeds: Vec<u64>,
    kind: Kind,
    batch_size: usize,
    epochs: Range<u64>,
    /// The number of the first step.
    first: u64,
    /// Batches of the first epoch that are left out.
    skipped: usize,
}

impl Batches {
    /// The training batches of a validated configuration and its task, from step `first`, counted
    /// from 0, to the last.
    pub fn new(config: &Config, task: &Task, first: i64) -> Self {
        let (epoch, batch) = Epochs::new(config, task).done(first);
        Self {
            task: task.clone(),
            seeds: config.seeds(),
            kind: device::kind(config.dtype),
            batch_size: config.batch_size as usize,
            epochs: epoch as u64..config.epochs as u64,
            first: first as u64,
            skipped: batch as usize,
        }
    }

    /// All steps, for a model on `device`. They are the same with and without prefetching.
    ///
    /// # Errors
    /// If the thread cannot be started. A step is an error if its upload or that thread fails.
    pub fn feed(
        &self,
        prefetch: Prefetch,
        device: Device,
    ) -> Result<Box<dyn Iterator<Item = Result<Step>> + '_>> {
        Ok(match prefetch {
            Prefetch::Off => Box::new(self.steps().map(Ok)),
            Prefetch::On => Box::new(Ahead::new(self.clone(), device)?),
        })
    }

    /// All steps, drawn on this thread.
    fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        let samples = self.task.samples_per_epoch();
        let batches = self.epochs.clone().flat_map(move |epoch| {
            let data = self.task.epoch(&self.seeds, Purpose::Training, epoch);
            let skipped = if epoch == self.epochs.start { self.skipped } else { 0 };
            let firsts = (0..samples).step_by(self.batch_size).skip(skipped);
            firsts.map(move |first| {
                let last = samples.min(first + self.batch_size);
                (Ids::Host(data.batch(first..last)), first == 0)
            })
        });
        let numbered = (self.first..).zip(batches);
        numbered.map(|(number, (ids, starts_epoch))| Step { number, ids, starts_epoch })
    }
}

/// Steps that another thread draws and uploads, on the stream of the one that made it. Dropped early, it ends
/// that thread.
struct Ahead {
    /// `None` once dropped.
    uploads: Option<Receiver<Result<Vec<Step>, TchError>>>,
    current: IntoIter<Step>,
    /// `None` once it has ended.
    worker: Option<JoinHandle<()>>,
}

impl Ahead {
    fn new(source: Batches, device: Device) -> Result<Self> {
        let (sender, uploads) = sync_channel(UPLOADS_AHEAD);
        let stream = Stream::own(device)?;
        let worker = Builder::new().name("feed".to_owned());
        let worker = worker.spawn(move || {
            if let Err(error) = stream.share() {
                let _ = sender.send(Err(error));
                return;
            }
            draw_ahead(&source, device, &sender);
        });
        let worker = worker.context("cannot start the thread that draws batches")?;
        Ok(Self { uploads: Some(uploads), current: Vec::new().into_iter(), worker: Some(worker) })
    }
}

impl Iterator for Ahead {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Result<Step>> {
        loop {
            if let Some(step) = self.current.next() {
                return Some(Ok(step));
            }
            match self.uploads.as_ref()?.recv() {
                Ok(Ok(steps)) => self.current = steps.into_iter(),
                Ok(Err(error)) => return Some(Err(error.into())),
                // Nothing more comes: the worker is done, or it panicked.
                Err(_) => {
                    let end = self.worker.take()?.join();
                    return end.err().map(|_| Err(anyhow!("the thread that draws batches failed")));
                }
            }
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // Unblocks a worker that waits to send.
        self.uploads = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// Ids or numbers of a step's batch, over all replicas.
pub fn ids_of_a_step(config: &Config) -> i64 {
    let forced = i64::from(config.family == Family::TeacherForced);
    let features = config.features().unwrap_or(Features::OF_IDS);
    let source = config.n_in.saturating_mul(features.source);
    let target = config.n_out.saturating_mul(features.target);
    let ids = source.saturating_add(target.saturating_mul(1 + forced));
    let lengths = if config.has_lengths() { 2 } else { 0 };
    let ids = ids.saturating_add(lengths);
    [config.batch_size, config.replicas].into_iter().fold(ids, i64::saturating_mul)
}

/// The most ids on the host at a time that wait to be used where they are uploaded ahead, including
/// copies.
pub fn ids_ahead(config: &Config) -> f64 {
    let upload = ids_of_a_step(config).max(IDS_AT_A_TIME as i64) as f64;
    // Besides those that wait: the one in use, and three for the one being made (its batches, their
    // concatenation, and its copy as a tensor).
    (UPLOADS_AHEAD + 1 + 3) as f64 * upload
}

/// Draws and uploads the steps of `source`, until there are no more, the receiver is gone or an
/// upload fails.
fn draw_ahead(source: &Batches, device: Device, sender: &SyncSender<Result<Vec<Step>, TchError>>) {
    let mut steps = source.steps();
    while let Some(first) = steps.next() {
        let ids = first.ids.on_host().map_or(1, |batch| parts(batch).map(|part| part.len()).sum());
        let more = (IDS_AT_A_TIME / ids).clamp(1, STEPS_AT_A_TIME) - 1;
        let uploaded =
            upload(once(first).chain(steps.by_ref().take(more)).collect(), device, source.kind);
        let failed = uploaded.is_err();
        if sender.send(uploaded).is_err() || failed {
            return;
        }
    }
}

/// The same steps uploaded to `device`, in one transfer.
fn upload(steps: Vec<Step>, device: Device, kind: Kind) -> Result<Vec<Step>, TchError> {
    let batches: Vec<&Batch> =
        steps.iter().map(|step| step.ids.on_host()).collect::<Result<_, _>>()?;
    let ids: Vec<Cow<'_, [i64]>> = batches.iter().flat_map(|batch| parts(batch)).collect();
    let all = device::upload_ahead(&ids.concat(), device)?;
    // What is computed of them is queued to the same stream.
    let _queue = device::not_recording();
    let mut used = 0;
    let mut view = |ids: &[i64]| {
        let first = used;
        used += ids.len() as i64;
        all.f_narrow(0, first, ids.len() as i64)
    };
    let uploaded = |step: &Step| {
        let ids = UploadedBatch::new(step.ids.on_host()?, kind, &mut view)?;
        Ok(Step { ids: Ids::Uploaded(ids), ..*step })
    };
    steps.iter().map(uploaded).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;
    use crate::config::presets;

    fn preset(name: &str) -> Config {
        Config { replicas: 2, epochs: 2, ..presets::find(name).unwrap().config }
    }

    /// Its parts' ids, its shape, whether it is its epoch's first, and its number.
    fn told(step: Step) -> (Vec<Vec<i64>>, Vec<i64>, bool, u64) {
        let batch = step.ids.on_device(device::host(), Kind::Float).unwrap();
        let tensors = [Some(batch.source), Some(batch.target), batch.decoder_input];
        let ids = tensors.iter().flatten().map(|part| device::download_ids(part).unwrap());
        let shapes = tensors.iter().flatten().flat_map(Tensor::size).collect();
        (ids.collect(), shapes, step.starts_epoch, step.number)
    }

    #[test]
    fn steps_are_the_same_however_they_are_fed() {
        let odd = Config { samples: Some(1000), batch_size: 7, ..preset("reverse") };
        // Too many ids for as many steps at a time.
        let large = Config { samples: Some(20_000), batch_size: 1024, ..preset("reverse") };
        let many = Config { epochs: 70, ..preset("echo") };
        for config in [odd, large, many, preset("partial-echo-4"), preset("echo-lag")] {
            let task = Task::new(&config);
            let epochs = Epochs::new(&config, &task);
            let per_epoch = epochs.steps_per_epoch();
            let mut whole = None;
            for first in [0, 1, per_epoch - 1, per_epoch, 2 * per_epoch - 1, 2 * per_epoch] {
                let source = Batches::new(&config, &task, first);
                let [direct, ahead] = [Prefetch::Off, Prefetch::On].map(|prefetch| {
                    let steps = source.feed(prefetch, device::host()).unwrap();
                    steps.map(|step| told(step.unwrap())).collect::<Vec<_>>()
                });
                assert!(direct == ahead, "{}, step {first}", config.preset);
                let whole = whole.get_or_insert_with(|| direct.clone());
                assert!(direct == whole[first as usize..], "{}, step {first}", config.preset);
                assert_eq!(direct.len() as i64, epochs.steps() - first);
                let numbers = direct.iter().map(|step| step.3 as i64);
                assert!(numbers.eq(first..epochs.steps()));
                let starts = (first..epochs.steps()).map(|number| number % per_epoch == 0);
                assert!(direct.iter().map(|step| step.2).eq(starts));
            }
        }
    }

    /// Fails, rather than hangs, if `work` does not end.
    fn ends(work: impl FnOnce() + Send + 'static) {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            work();
            sender.send(()).unwrap();
        });
        receiver.recv_timeout(Duration::from_secs(60)).unwrap();
    }

    #[test]
    fn a_feed_that_is_dropped_ends_its_thread() {
        for used in [0, 1, STEPS_AT_A_TIME + 1] {
            ends(move || {
                let config = Config { epochs: i64::MAX, ..preset("echo") };
                let source = Batches::new(&config, &Task::new(&config), 0);
                let mut feed = source.feed(Prefetch::On, device::host()).unwrap();
                assert_eq!(feed.by_ref().take(used).filter(Result::is_ok).count(), used);
            });
        }
    }

    #[test]
    fn a_panic_while_drawing_is_an_error() {
        ends(|| {
            // No configuration that was validated has an empty range of ids.
            let config = Config { id_min: 1, id_max: 0, ..preset("echo") };
            let source = Batches::new(&config, &Task::new(&config), 0);
            let mut feed = source.feed(Prefetch::On, device::host()).unwrap();
            let error = feed.next().unwrap().unwrap_err().to_string();
            assert_eq!(error, "the thread that draws batches failed");
            assert!(feed.next().is_none());
        });
    }
}
