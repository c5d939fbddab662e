//! Early stopping and learning rates that follow a metric of rows.

use anyhow::Result;

use super::{Observer, Stopped, Trainer};
use crate::run::curves::CurveRow;
use crate::run::summary::Stopping;

impl Trainer {
    /// Whether row `row`, from 1, has a metric that early stopping or the learning rate goes by.
    pub(super) fn metric_is_due(&self, row: i64) -> bool {
        let rules = self.early_stopping.iter().map(|stopping| stopping.rule);
        let rules = rules.chain(self.plateau.iter().map(|plateau| plateau.rule));
        rules.into_iter().any(|rule| !rule.metric.needs_validation() || self.validation_is_due(row))
    }

    /// Has early stopping and the learning rate follow the metrics in `rows`.
    pub(super) fn watch(&mut self, rows: &[CurveRow], observer: &mut dyn Observer) -> Result<()> {
        self.check_weights()?;
        let (step, diverged) = (self.step, self.diverged());
        let here = rows.iter().filter(|row| row.step == step);
        for row in here.filter(|row| diverged[row.replica].is_none()) {
            if let Some(plateau) = &mut self.plateau
                && let Some(value) = plateau.rule.value(row)
            {
                plateau.observe(row.replica, value);
            }
            self.watch_for_the_end(row)?;
            self.follow(row.replica);
            if let Some(stopped) = self.stopped(row.replica) {
                observer.stopped(&stopped);
            }
        }
        Ok(())
    }

    /// Has early stopping follow the metric in `row`, and keeps the weights if they are to be restored
    /// and are the best so far.
    fn watch_for_the_end(&mut self, row: &CurveRow) -> Result<()> {
        let Some(stopping) = &mut self.early_stopping else { return Ok(()) };
        let Some(value) = stopping.rule.value(row) else { return Ok(()) };
        let best = stopping.observe(row.replica, value, row.step);
        if best && stopping.restores {
            let flat = self.parameters.flat();
            match &self.to_restore {
                // At the first row all are the best so far.
                None => self.to_restore = Some(flat.f_detach_copy()?),
                Some(kept) => self.parameters.copy_replica(row.replica, flat, kept)?,
            }
        }
        Ok(())
    }

    /// Has the replica learn as early stopping and its learning rate say.
    pub(super) fn follow(&mut self, replica: usize) {
        if let Some(plateau) = &self.plateau {
            self.optimizer.rates.lower(replica, plateau.learning_rate(replica));
        }
        if self.stopped(replica).is_some() {
            self.optimizer.rates.stop(replica);
            self.meter.stop(replica);
        }
    }

    /// What early stopping has come to for the replica, if it is on and there was a row.
    pub fn stopping(&self, replica: usize) -> Option<Stopping> {
        let stopping = self.early_stopping.as_ref()?;
        let ((best, best_step), stopped_at_step) =
            (stopping.best(replica)?, stopping.stopped(replica));
        Some(Stopping { stopped_at_step, best_step, best })
    }

    /// Where the replica stopped early, if it has.
    fn stopped(&self, replica: usize) -> Option<Stopped> {
        let stopping = self.early_stopping.as_ref()?;
        let (step, (best, best_step)) = (stopping.stopped(replica)?, stopping.best(replica)?);
        let (seed, metric) = (self.seeds[replica], stopping.rule.metric);
        Some(Stopped { replica, seed, step, metric, best, best_step })
    }
}
