//! When a replica's training ends before its last epoch.

use super::gain::{Rule, Seen};
use crate::config::Config;

/// Keras's `EarlyStopping`, for every replica by itself: after `patience` values of the metric without
/// gain, one after the other, the replica stops.
#[derive(Debug, Clone, PartialEq)]
pub struct EarlyStopping {
    /// What it goes by.
    pub rule: Rule,
    /// Whether the model of a replica is in the end the one that was best.
    pub restores: bool,
    replicas: Vec<Replica>,
}

/// Where a replica stands.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Replica {
    seen: Seen,
    best_step: i64,
    stopped: Option<i64>,
}

/// Numbers of a replica in [`EarlyStopping::numbers`].
const NUMBERS: usize = 4;

impl EarlyStopping {
    /// That of a validated configuration, if it has it, before the first row.
    pub fn new(config: &Config) -> Option<Self> {
        let rule = Rule {
            metric: config.early_stopping?,
            direction: config.early_stopping_mode?,
            min_delta: config.early_stopping_min_delta.unwrap_or(0.0),
            patience: config.early_stopping_patience?,
        };
        let restores = config.restore_best_weights == Some(true);
        Some(Self { rule, restores, replicas: vec![Replica::default(); config.replicas as usize] })
    }

    /// Takes the value of a row at `step` of a replica that has not stopped. Says whether it is the best
    /// so far.
    pub fn observe(&mut self, replica: usize, value: f64, step: i64) -> bool {
        let own = &mut self.replicas[replica];
        let gains = self.rule.gains(&mut own.seen, value);
        if gains {
            own.best_step = step;
        } else if self.rule.waits(&mut own.seen) {
            own.stopped = Some(step);
        }
        gains
    }

    /// The step after which the replica stopped, if it has.
    pub fn stopped(&self, replica: usize) -> Option<i64> {
        self.replicas[replica].stopped
    }

    /// The best value of a replica and the step of its row, if there was one.
    pub fn best(&self, replica: usize) -> Option<(f64, i64)> {
        let own = &self.replicas[replica];
        own.seen.best.map(|best| (best, own.best_step))
    }

    /// Where every replica stands, as many numbers each: the best value, NaN if there is none, its
    /// step, the values without gain since, and the step after which it stopped, or 0.
    pub fn numbers(&self) -> Vec<f64> {
        let of = |replica: &Replica| {
            let Replica { seen: Seen { best, without_gain }, best_step, stopped } = *replica;
            let steps = [best_step, without_gain, stopped.unwrap_or(0)].map(|n| n as f64);
            [best.unwrap_or(f64::NAN), steps[0], steps[1], steps[2]]
        };
        self.replicas.iter().flat_map(of).collect()
    }

    /// Goes on from where [`EarlyStopping::numbers`] says.
    pub fn restore(&mut self, numbers: &[f64]) {
        let replicas = self.replicas.iter_mut().zip(numbers.as_chunks::<NUMBERS>().0);
        for (replica, &[best, best_step, without_gain, stopped]) in replicas {
            let best = Some(best).filter(|best| !best.is_nan());
            *replica = Replica {
                seen: Seen { best, without_gain: without_gain as i64 },
                best_step: best_step as i64,
                stopped: (stopped > 0.0).then_some(stopped as i64),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CurveMetric, Direction, presets};

    fn stopping(patience: i64, replicas: i64) -> EarlyStopping {
        let config = Config {
            early_stopping: Some(CurveMetric::ValLoss),
            early_stopping_mode: Some(Direction::Min),
            early_stopping_patience: Some(patience),
            replicas,
            ..presets::find("echo").unwrap().config
        };
        EarlyStopping::new(&config).unwrap()
    }

    /// The row, from 1, at which a replica stops, and its best one.
    fn stops(patience: i64, values: &[f64]) -> (Option<i64>, i64) {
        let mut stopping = stopping(patience, 1);
        for (row, &value) in (1..).zip(values) {
            stopping.observe(0, value, row);
            if stopping.stopped(0).is_some() {
                break;
            }
        }
        (stopping.stopped(0), stopping.best(0).unwrap().1)
    }

    #[test]
    fn a_replica_stops_after_so_many_rows_without_gain() {
        let values = [3.0, 2.0, 2.5, 1.0, 1.5, 1.0, 1.25, 0.5];
        assert_eq!(stops(1, &values), (Some(3), 2));
        assert_eq!(stops(2, &values), (Some(6), 4));
        assert_eq!(stops(3, &values), (Some(7), 4));
        assert_eq!(stops(4, &values), (None, 8));
    }

    #[test]
    fn every_replica_goes_by_its_own_values_and_goes_on_from_its_numbers() {
        let values = [[3.0, 1.0], [4.0, 2.0], [2.0, 3.0], [2.5, 0.5], [2.25, 0.0]];
        for cut in 0..values.len() {
            let mut stopping = stopping(2, 2);
            for (row, values) in (1..).zip(&values) {
                for (replica, &value) in values.iter().enumerate() {
                    if stopping.stopped(replica).is_none() {
                        stopping.observe(replica, value, row);
                    }
                }
                if row as usize == cut {
                    let mut again = self::stopping(2, 2);
                    again.restore(&stopping.numbers());
                    assert_eq!(again, stopping);
                    stopping = again;
                }
            }
            assert_eq!([0, 1].map(|k| stopping.stopped(k)), [Some(5), Some(3)], "{cut}");
            assert_eq!([0, 1].map(|k| stopping.best(k)), [Some((2.0, 3)), Some((1.0, 1))]);
        }
    }
}
