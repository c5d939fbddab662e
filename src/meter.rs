//! Running means of what training reports, gathered without waiting for the device.

use std::fmt::Display;

use anyhow::Result;
use tch::Tensor;

use crate::device;
use crate::error::UserError;
use crate::loss::{Score, Scores};

/// Batches whose scores may wait on the device before they are fetched, in one transfer.
pub const PENDING: usize = 256;

/// Means over a stretch of batches, weighted by their samples, as Keras takes them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Means {
    /// Cross-entropy.
    pub loss: f64,
    /// Token accuracy.
    pub accuracy: f64,
    /// Norm of the gradient before clipping, where it is clipped.
    pub grad_norm: Option<f64>,
}

/// Scores of the batches since the last row and since the start of the epoch.
#[derive(Debug)]
pub struct Meter {
    seeds: Vec<u64>,
    /// The step of the last batch that was counted, from 1.
    step: i64,
    pending: Vec<Pending>,
    row: Vec<Sums>,
    epoch: Vec<Sums>,
}

#[derive(Debug)]
struct Pending {
    /// `(R)` each: loss, accuracy and, with clipping, gradient norm.
    scores: Vec<Tensor>,
    samples: f64,
    starts_epoch: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    loss: f64,
    accuracy: f64,
    grad_norm: Option<f64>,
    samples: f64,
}

impl Sums {
    fn means(&self) -> Means {
        Means {
            loss: self.loss / self.samples,
            accuracy: self.accuracy / self.samples,
            grad_norm: self.grad_norm.map(|sum| sum / self.samples),
        }
    }
}

impl Meter {
    /// A meter of the replicas with these seeds, before the first step.
    pub fn new(seeds: &[u64]) -> Self {
        let sums = vec![Sums::default(); seeds.len()];
        Self { seeds: seeds.to_vec(), step: 0, pending: Vec::new(), row: sums.clone(), epoch: sums }
    }

    /// Adds a batch of `samples` samples a replica. Waits for the device once in [`PENDING`] batches.
    ///
    /// # Errors
    /// If the loss of a batch was not finite (noticed when it is fetched), and libtorch's.
    pub fn add(
        &mut self,
        scores: Scores,
        grad_norm: Option<Tensor>,
        samples: usize,
        starts_epoch: bool,
    ) -> Result<()> {
        let samples = samples as f64;
        match scores {
            Scores::Host(scores) => {
                self.begin_batch(starts_epoch);
                let norms = grad_norm.map(|norm| device::download(&norm)).transpose()?;
                for (replica, score) in scores.into_iter().enumerate() {
                    let norm = norms.as_ref().map(|norms| norms[replica]);
                    self.count(replica, score, norm, samples)?;
                }
                Ok(())
            }
            Scores::Device(score) => {
                let mut scores = vec![score.loss.f_detach()?, score.accuracy];
                scores.extend(grad_norm);
                self.pending.push(Pending { scores, samples, starts_epoch });
                if self.pending.len() < PENDING { Ok(()) } else { self.fetch() }
            }
        }
    }

    /// Means of each replica over the batches since the last call.
    ///
    /// # Errors
    /// As [`Meter::add`].
    pub fn take_row(&mut self) -> Result<Vec<Means>> {
        self.fetch()?;
        let means = self.row.iter().map(Sums::means).collect();
        self.row.fill(Sums::default());
        Ok(means)
    }

    /// Means of each replica over the batches since the epoch began.
    ///
    /// # Errors
    /// As [`Meter::add`].
    pub fn epoch(&mut self) -> Result<Vec<Means>> {
        self.fetch()?;
        Ok(self.epoch.iter().map(Sums::means).collect())
    }

    /// Every replica's sums since the last row, then since the epoch began: each loss, accuracy,
    /// gradient norm and samples, `(R, 8)`.
    ///
    /// # Errors
    /// As [`Meter::add`].
    pub fn sums(&mut self) -> Result<Vec<f64>> {
        self.fetch()?;
        let numbers = |s: &Sums| [s.loss, s.accuracy, s.grad_norm.unwrap_or_default(), s.samples];
        let both = self.row.iter().zip(&self.epoch);
        Ok(both.flat_map(|(row, epoch)| [numbers(row), numbers(epoch)]).flatten().collect())
    }

    /// Goes on from the sums that [`Meter::sums`] gave after `step` steps; `clipped`: whether there
    /// are norms among them.
    pub fn restore(&mut self, step: i64, sums: &[f64], clipped: bool) {
        let read = |numbers: &[f64]| Sums {
            loss: numbers[0],
            accuracy: numbers[1],
            grad_norm: (clipped && numbers[3] > 0.0).then_some(numbers[2]),
            samples: numbers[3],
        };
        self.step = step;
        self.row = sums.chunks_exact(8).map(|numbers| read(&numbers[..4])).collect();
        self.epoch = sums.chunks_exact(8).map(|numbers| read(&numbers[4..])).collect();
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
        let replicas = self.seeds.len();
        let pending = std::mem::take(&mut self.pending);
        for (batch, scores) in pending.into_iter().zip(values.chunks_exact(columns * replicas)) {
            self.begin_batch(batch.starts_epoch);
            for replica in 0..replicas {
                let column = |column: usize| scores[column * replicas + replica];
                let score = Score { loss: column(0), accuracy: column(1) };
                let norm = (columns > 2).then(|| column(2));
                self.count(replica, score, norm, batch.samples)?;
            }
        }
        Ok(())
    }

    /// Goes on to the next batch that is to be counted.
    fn begin_batch(&mut self, starts_epoch: bool) {
        self.step += 1;
        if starts_epoch {
            self.epoch.fill(Sums::default());
        }
    }

    /// Adds one replica's score of the batch.
    fn count(
        &mut self,
        replica: usize,
        score: Score,
        grad_norm: Option<f64>,
        samples: f64,
    ) -> Result<()> {
        if !score.loss.is_finite() {
            let loss = format!("loss {}", score.loss);
            return Err(diverged(loss, self.step, replica, self.seeds[replica]));
        }
        for sums in [&mut self.row[replica], &mut self.epoch[replica]] {
            sums.loss += score.loss * samples;
            sums.accuracy += score.accuracy * samples;
            if let Some(norm) = grad_norm {
                *sums.grad_norm.get_or_insert(0.0) += norm * samples;
            }
            sums.samples += samples;
        }
        Ok(())
    }
}

/// The error that ends a training whose `what` stopped being finite.
pub fn diverged(what: impl Display, step: i64, replica: usize, seed: u64) -> anyhow::Error {
    let message =
        format!("training diverged: {what} at step {step}, replica {replica} (seed {seed})");
    UserError::failure(message)
        .hint("lower --learning-rate, or bound the gradient with --global-clipnorm 1")
        .into()
}
