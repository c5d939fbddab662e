//! Rows of curves: when they are due, validated and handed on.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::Result;

use super::{Observer, Trainer, go_on};
use crate::base::error::Interrupted;
use crate::base::rng::Purpose;
use crate::model::losses::Metric;
use crate::run::curves::CurveRow;
use crate::run::manifest::Best;
use crate::run::summary::Evaluation;
use crate::train::meter::Means;

/// What a logging point's rows have in common, and each replica's validation where there was one.
pub(super) struct RowHead {
    epoch: i64,
    step: i64,
    samples: i64,
    seconds: f64,
    validation: Option<Vec<Evaluation>>,
}

impl Trainer {
    /// Whether the models are validated for row `row`, from 1.
    pub(super) fn validation_is_due(&self, row: i64) -> bool {
        self.config.validate_every.is_some_and(|every| row % every == 0)
    }

    /// Ends the rows that are due, if any, and hands them on, or has them wait for others. Returns false,
    /// and leaves them due, if `stop` was set while they were validated.
    pub(super) fn log(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<bool> {
        if self.rows_ended < self.epochs.rows_due(self.step) {
            match self.end_rows(observer, stop) {
                Err(error) if error.is::<Interrupted>() => return Ok(false),
                ended => ended?,
            }
        }
        if !self.waiting.is_empty() && self.handed_on.elapsed() >= self.rows_wait {
            self.hand_on(observer)?;
        }
        Ok(true)
    }

    /// Ends the rows of this logging point.
    fn end_rows(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<()> {
        let validation = if self.validation_is_due(self.rows_ended + 1) {
            self.hand_on(observer)?;
            Some(self.validate(stop)?)
        } else {
            None
        };
        self.meter.end_row();
        self.rows_ended += 1;
        self.waiting.push_back(RowHead {
            epoch: self.epochs.done(self.step - 1).0 + 1,
            step: self.step,
            samples: self.samples,
            seconds: (self.seconds() * 1e3).round() / 1e3,
            validation,
        });
        if self.metric_is_due(self.rows_ended) {
            let rows = self.hand_on(observer)?;
            self.watch(&rows, observer)?;
        }
        Ok(())
    }

    /// Hands on all rows so far, and returns them. Waits for the device.
    pub(super) fn hand_on(&mut self, observer: &mut dyn Observer) -> Result<Vec<CurveRow>> {
        // Rows from before a divergence are handed on all the same.
        let fetched = self.meter.fetch();
        let ended = self.meter.take_rows();
        let points = self.waiting.drain(..ended.len()).collect::<Vec<_>>();
        let rows: Vec<CurveRow> =
            points.iter().zip(&ended).flat_map(|(head, means)| self.rows(head, means)).collect();
        self.handed_on = Instant::now();
        if !rows.is_empty() {
            observer.rows(rows.clone())?;
        }
        fetched.map(|()| rows)
    }

    /// What a validation comes to.
    pub(super) fn validate(&mut self, stop: &AtomicBool) -> Result<Vec<Evaluation>> {
        self.check_weights()?;
        let samples = self.config.validation_samples as usize;
        let found = self.evaluator().run(Purpose::Validation, samples, |_| go_on(stop))?;
        let left = found.iter().zip(self.diverged()).filter(|(_, diverged)| diverged.is_none());
        let losses: Vec<f64> = left.filter_map(|(evaluation, _)| evaluation.loss).collect();
        let val_loss = losses.iter().sum::<f64>() / losses.len() as f64;
        let lowest = self.best.as_ref().map_or(f64::INFINITY, |(best, _)| best.val_loss);
        if val_loss < lowest {
            let weights = self.parameters.flat().f_detach_copy()?;
            self.best = Some((Best { step: self.step, val_loss }, weights));
        }
        Ok(found)
    }

    /// The rows of a logging point, of the replicas that had neither diverged nor stopped before.
    fn rows(&self, head: &RowHead, means: &[Option<Means>]) -> Vec<CurveRow> {
        let loss = self.network.loss();
        let row = |(replica, means): (usize, &Option<Means>)| {
            let means = means.as_ref()?;
            let validation = head.validation.as_ref().filter(|_| !means.loss.is_nan());
            let validation = validation.map(|all| &all[replica]);
            Some(CurveRow {
                replica,
                seed: self.seeds[replica],
                epoch: head.epoch,
                step: head.step,
                samples: head.samples,
                loss: means.loss,
                accuracy: loss.value(Metric::Accuracy, &means.values),
                val_loss: validation.and_then(|v| v.loss),
                val_accuracy: validation.and_then(|v| v.token_accuracy),
                val_sequence_accuracy: validation.and_then(|v| v.sequence_accuracy),
                learning_rate: self.optimizer.learning_rate(head.step, replica)?,
                grad_norm: means.grad_norm,
                seconds: head.seconds,
            })
        };
        means.iter().enumerate().filter_map(row).collect()
    }
}
