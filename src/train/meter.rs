//! Running means of what training reports, gathered without waiting for the device.

use std::iter::once;

use anyhow::Result;
use tch::Tensor;

use crate::base::error::UserError;
use crate::engine::Scored;
use crate::model::losses::{MOST_METRICS, Metric, Score, Scores, Values};
use crate::tensor::device;

/// Batches whose scores may wait on the device before they are fetched, in one transfer.
pub const PENDING: usize = 256;

/// Means over a stretch of batches, weighted by their samples, as Keras takes them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Means {
    /// The loss.
    pub loss: f64,
    /// Of the loss's metrics.
    pub values: Values,
    /// Norm of the gradient before clipping, where it is clipped.
    pub grad_norm: Option<f64>,
}

/// Scores of the batches since the last row and since the start of the epoch.
#[derive(Debug)]
pub struct Meter {
    seeds: Vec<u64>,
    /// How many metrics the loss has.
    metrics: usize,
    /// The step of the last batch that was counted, from 1.
    step: i64,
    pending: Vec<Pending>,
    /// Means of rows that have ended and were not taken yet.
    rows: Vec<Vec<Option<Means>>>,
    row: Vec<Sums>,
    epoch: Vec<Sums>,
    /// Replica by replica.
    diverged: Vec<Option<Divergence>>,
    /// Which replicas have stopped: no batch of theirs counts.
    stopped: Vec<bool>,
}

/// Where a replica stopped computing with numbers.
#[derive(Debug, Clone, PartialEq)]
struct Divergence {
    /// The step, from 1, that it showed in.
    step: i64,
    /// What was not finite.
    what: String,
    /// Whether a row has told it.
    told: bool,
}

#[derive(Debug)]
struct Pending {
    /// `(R)` each: loss, metrics and, with clipping, gradient norm.
    scores: Vec<Tensor>,
    samples: f64,
    starts_epoch: bool,
    /// Whether a row ends with it.
    ends_row: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    score: Score,
    grad_norm: Option<f64>,
    samples: f64,
}

impl Sums {
    fn means(&self) -> Means {
        let Score { loss, values } = self.score.over(self.samples);
        Means { loss, values, grad_norm: self.grad_norm.map(|sum| sum / self.samples) }
    }
}

impl Meter {
    /// A meter of the replicas with these seeds and of a loss with these metrics, before the first step.
    pub fn new(seeds: &[u64], metrics: &[Metric]) -> Self {
        let sums = vec![Sums::default(); seeds.len()];
        Self {
            seeds: seeds.to_vec(),
            metrics: metrics.len(),
            step: 0,
            pending: Vec::new(),
            rows: Vec::new(),
            row: sums.clone(),
            epoch: sums,
            diverged: vec![None; seeds.len()],
            stopped: vec![false; seeds.len()],
        }
    }

    /// Counts nothing more of the replica, which has no further row, and keeps its means since the
    /// epoch began.
    pub fn stop(&mut self, replica: usize) {
        self.stopped[replica] = true;
        self.row[replica] = Sums::default();
    }

    /// Adds a batch of `samples` samples a replica. Waits for the device once in [`PENDING`] batches.
    ///
    /// # Errors
    /// If no replica is left whose loss and gradient are finite (noticed when they are fetched), and
    /// libtorch's.
    pub fn add(&mut self, scored: Scored, samples: usize, starts_epoch: bool) -> Result<()> {
        let samples = samples as f64;
        match scored.scores {
            Scores::Host(scores) => {
                self.begin_batch(starts_epoch);
                let norms = scored.grad_norm.map(|norm| device::download(&norm)).transpose()?;
                for (replica, score) in scores.into_iter().enumerate() {
                    let norm = norms.as_ref().map(|norms| norms[replica]);
                    self.count(replica, score, norm, samples);
                }
                self.anyone_left()
            }
            Scores::Device(score) => {
                let mut scores = vec![score.loss.f_detach()?];
                scores.extend(score.metrics.into_iter().chain(scored.grad_norm));
                self.pending.push(Pending { scores, samples, starts_epoch, ends_row: false });
                if self.pending.len() < PENDING { Ok(()) } else { self.fetch() }
            }
        }
    }

    /// Ends a row with the last batch. Does not wait for the device.
    pub fn end_row(&mut self) {
        match self.pending.last_mut() {
            Some(batch) => batch.ends_row = true,
            None => self.close_row(),
        }
    }

    /// Means of each replica over the batches of every row that has ended since the last call, as far
    /// as scores were fetched. Those of a replica that diverged in the row are NaN; `None` is one that
    /// had before, or has stopped.
    pub fn take_rows(&mut self) -> Vec<Vec<Option<Means>>> {
        std::mem::take(&mut self.rows)
    }

    fn close_row(&mut self) {
        let mut means = Vec::new();
        let replicas = self.row.iter_mut().zip(&mut self.diverged).zip(&self.stopped);
        for ((sums, diverged), &stopped) in replicas {
            let sums = std::mem::take(sums);
            means.push(match diverged {
                None => (!stopped).then(|| sums.means()),
                Some(divergence) if divergence.told => None,
                Some(divergence) => {
                    divergence.told = true;
                    let grad_norm = sums.grad_norm.map(|_| f64::NAN);
                    Some(Means { loss: f64::NAN, values: [f64::NAN; MOST_METRICS], grad_norm })
                }
            });
        }
        self.rows.push(means);
    }

    /// Means of each replica over the batches since the epoch began; `None` where it has diverged.
    ///
    /// # Errors
    /// As [`Meter::add`].
    pub fn epoch(&mut self) -> Result<Vec<Option<Means>>> {
        self.fetch()?;
        let all = self.epoch.iter().zip(&self.diverged);
        Ok(all.map(|(sums, diverged)| diverged.is_none().then(|| sums.means())).collect())
    }

    /// The step after which each replica had diverged, as far as scores were fetched.
    pub fn diverged(&self) -> Vec<Option<i64>> {
        self.diverged.iter().map(|of| of.as_ref().map(|of| of.step)).collect()
    }

    /// Notes which replicas' weights are not finite after the last step.
    ///
    /// # Errors
    /// As [`Meter::add`].
    pub fn check(&mut self, finite: &[bool]) -> Result<()> {
        self.fetch()?;
        for (replica, _) in finite.iter().enumerate().filter(|&(_, &finite)| !finite) {
            self.diverges(replica, "weights are not finite");
        }
        self.anyone_left()
    }

    /// What the rows that have not ended depend on, as many numbers a replica: its sums since the last
    /// row, then since the epoch began, each loss, metrics, gradient norm and samples; the step after
    /// which it had diverged, or 0; whether a row has told that.
    ///
    /// # Errors
    /// As [`Meter::add`].
    pub fn sums(&mut self) -> Result<Vec<f64>> {
        self.fetch()?;
        let metrics = self.metrics;
        let numbers = |s: &Sums| {
            let values = s.score.values.into_iter().take(metrics);
            once(s.score.loss).chain(values).chain([s.grad_norm.unwrap_or_default(), s.samples])
        };
        let mut all = Vec::new();
        for ((row, epoch), diverged) in self.row.iter().zip(&self.epoch).zip(&self.diverged) {
            all.extend(numbers(row).chain(numbers(epoch)));
            let divergence = diverged.as_ref();
            all.push(divergence.map_or(0.0, |divergence| divergence.step as f64));
            all.push(f64::from(divergence.is_some_and(|divergence| divergence.told)));
        }
        Ok(all)
    }

    /// Goes on from the sums that [`Meter::sums`] gave after `step` steps; `clipped`: whether there
    /// are norms among them.
    pub fn restore(&mut self, step: i64, sums: &[f64], clipped: bool) {
        let metrics = self.metrics;
        let read = |numbers: &[f64]| {
            let (norm, samples) = (numbers[1 + metrics], numbers[2 + metrics]);
            let grad_norm = (clipped && samples > 0.0).then_some(norm);
            Sums { score: score(numbers[..=metrics].iter().copied()), grad_norm, samples }
        };
        self.step = step;
        let divergence = |numbers: &[f64]| {
            let what = "loss or gradient not finite".to_owned();
            (numbers[0] > 0.0).then_some(Divergence {
                step: numbers[0] as i64,
                what,
                told: numbers[1] > 0.0,
            })
        };
        let each = 3 + metrics;
        let of = || sums.chunks_exact(2 * each + 2);
        self.row = of().map(|numbers| read(&numbers[..each])).collect();
        self.epoch = of().map(|numbers| read(&numbers[each..2 * each])).collect();
        self.diverged = of().map(|numbers| divergence(&numbers[2 * each..])).collect();
    }

    /// Fetches all pending scores in one transfer.
    ///
    /// # Errors
    /// As [`Meter::add`].
    pub fn fetch(&mut self) -> Result<()> {
        let Some(columns) = self.pending.first().map(|batch| batch.scores.len()) else {
            return Ok(());
        };
        let tensors: Vec<&Tensor> = self.pending.iter().flat_map(|batch| &batch.scores).collect();
        let values = device::download(&Tensor::f_stack(&tensors, 0)?)?;
        let (replicas, metrics) = (self.seeds.len(), self.metrics);
        let pending = std::mem::take(&mut self.pending);
        for (batch, scores) in pending.into_iter().zip(values.chunks_exact(columns * replicas)) {
            self.begin_batch(batch.starts_epoch);
            for replica in 0..replicas {
                let column = |column: usize| scores[column * replicas + replica];
                let score = score((0..=metrics).map(column));
                let norm = (columns > 1 + metrics).then(|| column(1 + metrics));
                self.count(replica, score, norm, batch.samples);
            }
            if batch.ends_row {
                self.anyone_left()?;
                self.close_row();
            }
        }
        self.anyone_left()
    }

    /// Goes on to the next batch that is to be counted.
    fn begin_batch(&mut self, starts_epoch: bool) {
        self.step += 1;
        if starts_epoch {
            let learning =
                self.epoch.iter_mut().zip(&self.stopped).filter(|(_, stopped)| !**stopped);
            learning.for_each(|(sums, _)| *sums = Sums::default());
        }
    }

    /// Adds one replica's score of the batch, unless it has stopped.
    fn count(&mut self, replica: usize, score: Score, grad_norm: Option<f64>, samples: f64) {
        if self.stopped[replica] {
            return;
        }
        if !score.loss.is_finite() {
            self.diverges(replica, format!("loss {}", score.loss));
        } else if let Some(norm) = grad_norm.filter(|norm| !norm.is_finite()) {
            self.diverges(replica, format!("gradient norm {norm}"));
        }
        for sums in [&mut self.row[replica], &mut self.epoch[replica]] {
            sums.score.add(&score, samples);
            if let Some(norm) = grad_norm {
                *sums.grad_norm.get_or_insert(0.0) += norm * samples;
            }
            sums.samples += samples;
        }
    }

    fn diverges(&mut self, replica: usize, what: impl Into<String>) {
        let (step, what) = (self.step, what.into());
        self.diverged[replica].get_or_insert(Divergence { step, what, told: false });
    }

    /// # Errors
    /// If every replica has diverged.
    fn anyone_left(&self) -> Result<()> {
        let last =
            self.diverged.iter().enumerate().max_by_key(|(_, of)| of.as_ref().map(|of| of.step));
        match last {
            Some((replica, Some(divergence))) if self.diverged.iter().all(Option::is_some) => {
                Err(diverged(divergence, replica, self.seeds[replica], self.seeds.len()))
            }
            _ => Ok(()),
        }
    }
}

/// What a loss and the values of its metrics, in their order, are.
fn score(numbers: impl Iterator<Item = f64>) -> Score {
    let mut score = Score::default();
    let places = once(&mut score.loss).chain(&mut score.values);
    places.zip(numbers).for_each(|(place, number)| *place = number);
    score
}

/// The error that ends a training whose last replica stopped computing with numbers.
fn diverged(of: &Divergence, replica: usize, seed: u64, replicas: usize) -> anyhow::Error {
    let Divergence { step, what, .. } = of;
    let last = if replicas > 1 { ", the last of the replicas" } else { "" };
    let message =
        format!("training diverged: {what} at step {step}, replica {replica} (seed {seed}){last}");
    UserError::failure(message)
        .hint("lower --learning-rate, or bound the gradient with --global-clipnorm 1")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::losses::BatchScore;
    use crate::model::losses::cross_entropy::METRICS;

    /// Three replicas after two batches, the second replica diverged with the second batch.
    fn meter() -> Meter {
        let mut meter = Meter::new(&[5, 6, 7], &METRICS);
        for (starts_epoch, losses) in [(true, [1.0, 2.0, 0.1]), (false, [0.3, f64::INFINITY, 4.0])]
        {
            let score = |loss| Score { loss, values: [0.25] };
            let scores = Scores::Host(losses.map(score).to_vec());
            meter.add(Scored { scores, grad_norm: None }, 3, starts_epoch).unwrap();
        }
        meter
    }

    /// The means of a row that ends here.
    fn row(meter: &mut Meter) -> Vec<Option<Means>> {
        meter.end_row();
        let [row] = meter.take_rows().try_into().unwrap();
        row
    }

    /// What a meter says from here on.
    fn told(mut meter: Meter) -> String {
        let diverged = meter.diverged();
        let rows = [row(&mut meter), row(&mut meter)];
        format!("{diverged:?} {:?} {rows:?}", meter.epoch().unwrap())
    }

    /// A batch of two replicas with these losses, scored where the model computes.
    fn on_device(losses: [f64; 2]) -> Scored {
        let (loss, metrics) = (Tensor::from_slice(&losses), vec![Tensor::from_slice(&[0.5, 0.5])]);
        Scored { scores: Scores::Device(BatchScore { loss, metrics }), grad_norm: None }
    }

    #[test]
    fn rows_that_end_on_the_device_are_told_with_the_next_fetch() {
        let mut meter = Meter::new(&[5, 6], &METRICS);
        for (n, losses) in [[1.0, 2.0], [3.0, f64::NAN], [5.0, 1.0], [7.0, 1.0]].iter().enumerate()
        {
            meter.add(on_device(*losses), 1, n == 0).unwrap();
            if n != 2 {
                meter.end_row();
            }
        }
        assert!(meter.take_rows().is_empty());
        meter.fetch().unwrap();
        let losses = |row: &Vec<Option<Means>>| {
            let losses = row.iter().map(|means| means.map(|means| means.loss));
            format!("{:?}", losses.collect::<Vec<_>>())
        };
        let rows: Vec<String> = meter.take_rows().iter().map(losses).collect();
        assert_eq!(rows, ["[Some(1.0), Some(2.0)]", "[Some(3.0), Some(NaN)]", "[Some(6.0), None]"]);
    }

    #[test]
    fn rows_from_before_the_last_replica_diverged_are_told() {
        let mut meter = Meter::new(&[5, 6], &METRICS);
        for losses in [[1.0, 2.0], [f64::NAN, f64::NAN], [1.0, 1.0]] {
            meter.add(on_device(losses), 1, false).unwrap();
            meter.end_row();
        }
        let error = meter.fetch().unwrap_err().to_string();
        assert!(error.contains("loss NaN at step 2"), "{error}");
        assert_eq!(meter.take_rows().len(), 1);
    }

    #[test]
    fn a_meter_goes_on_from_its_sums() {
        for rows in 0..3 {
            let [mut one, mut other] = [meter(), meter()];
            for meter in [&mut one, &mut other] {
                (0..rows).for_each(|_| drop(row(meter)));
            }
            let mut restored = Meter::new(&[5, 6, 7], &METRICS);
            restored.restore(2, &one.sums().unwrap(), false);
            assert_eq!(told(restored), told(other), "after {rows} rows");
        }
    }

    #[test]
    fn a_replica_that_diverged_has_one_row_of_nan() {
        let mut meter = meter();
        assert_eq!(meter.diverged(), [None, Some(2), None]);
        let told = row(&mut meter);
        assert!(told[1].unwrap().loss.is_nan() && told[0].unwrap().loss == 0.65);
        let told = row(&mut meter);
        assert!(told[1].is_none() && told[0].is_some());
        let error = meter.check(&[false, true, false]).unwrap_err().to_string();
        assert!(error.contains("replica 2 (seed 7), the last of the replicas"), "{error}");
    }
}
