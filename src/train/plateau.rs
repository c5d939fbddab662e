//! When a replica's learning rate is lowered.

use super::gain::{Rule, Seen};
use crate::config::{Config, LearningRateSchedule};

/// Keras's `ReduceLROnPlateau`, for every replica by itself: after `patience` values of the metric
/// without gain, one after the other, the learning rate is multiplied by `factor`, but stays at
/// `least` or above. Of the `cooldown` values after that only the last counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Plateau {
    /// What it goes by.
    pub rule: Rule,
    factor: f64,
    least: f64,
    cooldown: i64,
    replicas: Vec<Replica>,
}

/// Where a replica stands.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Replica {
    seen: Seen,
    /// Values that are still not to be counted.
    cooling: i64,
    learning_rate: f64,
}

/// Numbers of a replica in [`Plateau::numbers`].
const NUMBERS: usize = 4;

impl Plateau {
    /// That of a validated configuration, if it has it, before the first row.
    pub fn new(config: &Config) -> Option<Self> {
        if config.learning_rate_schedule != LearningRateSchedule::Plateau {
            return None;
        }
        let rule = Rule {
            metric: config.plateau_metric?,
            direction: config.plateau_mode?,
            min_delta: config.plateau_min_delta.unwrap_or(0.0),
            patience: config.plateau_patience?,
        };
        let learning_rate = config.learning_rate;
        let replica = Replica { seen: Seen::default(), cooling: 0, learning_rate };
        Some(Self {
            rule,
            factor: config.plateau_factor.unwrap_or(0.1),
            least: config.final_learning_rate.unwrap_or(0.0),
            cooldown: config.plateau_cooldown.unwrap_or(0),
            replicas: vec![replica; config.replicas as usize],
        })
    }

    /// Takes the value of a row of a replica.
    pub fn observe(&mut self, replica: usize, value: f64) {
        let own = &mut self.replicas[replica];
        if own.cooling > 0 {
            own.cooling -= 1;
            own.seen.without_gain = 0;
        }
        if self.rule.gains(&mut own.seen, value) || own.cooling > 0 {
            return;
        }
        if self.rule.waits(&mut own.seen) && own.learning_rate > self.least {
            own.learning_rate = (own.learning_rate * self.factor).max(self.least);
            own.cooling = self.cooldown;
            own.seen.without_gain = 0;
        }
    }

    /// The learning rate that the replica goes on with.
    pub fn learning_rate(&self, replica: usize) -> f64 {
        self.replicas[replica].learning_rate
    }

    /// Where every replica stands, as many numbers each: the best value, NaN if there is none, the
    /// values without gain since, those still not to be counted, and the learning rate.
    pub fn numbers(&self) -> Vec<f64> {
        let of = |&Replica { seen, cooling, learning_rate }: &Replica| {
            let best = seen.best.unwrap_or(f64::NAN);
            [best, seen.without_gain as f64, cooling as f64, learning_rate]
        };
        self.replicas.iter().flat_map(of).collect()
    }

    /// Goes on from where [`Plateau::numbers`] says.
    pub fn restore(&mut self, numbers: &[f64]) {
        let replicas = self.replicas.iter_mut().zip(numbers.as_chunks::<NUMBERS>().0);
        for (replica, &[best, without_gain, cooling, learning_rate]) in replicas {
            let best = Some(best).filter(|best| !best.is_nan());
            let seen = Seen { best, without_gain: without_gain as i64 };
            *replica = Replica { seen, cooling: cooling as i64, learning_rate };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CurveMetric, Direction, presets};

    /// From a learning rate of 1, halved after two values without gain.
    fn plateau(cooldown: Option<i64>, least: Option<f64>) -> Plateau {
        let config = Config {
            learning_rate: 1.0,
            learning_rate_schedule: LearningRateSchedule::Plateau,
            plateau_metric: Some(CurveMetric::Accuracy),
            plateau_mode: Some(Direction::Max),
            plateau_patience: Some(2),
            plateau_factor: Some(0.5),
            plateau_cooldown: cooldown,
            final_learning_rate: least,
            ..presets::find("echo").unwrap().config
        };
        Plateau::new(&config).unwrap()
    }

    /// The learning rate after each of `values`.
    fn rates<const N: usize>(mut plateau: Plateau, values: [f64; N]) -> [f64; N] {
        values.map(|value| {
            plateau.observe(0, value);
            let mut again = self::plateau(None, None);
            again.restore(&plateau.numbers());
            assert_eq!(again.replicas, plateau.replicas);
            plateau.learning_rate(0)
        })
    }

    #[test]
    fn the_learning_rate_falls_after_so_many_rows_without_gain_down_to_the_least() {
        let values = [0.5, 0.5, 0.25, 0.5, 0.5, 0.5, 0.75, 0.5, 0.5];
        let falls = [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125];
        assert_eq!(rates(plateau(None, None), values), falls);
        let least = falls.map(|rate: f64| rate.max(0.3));
        assert_eq!(rates(plateau(None, Some(0.3)), values), least);
    }

    #[test]
    fn rows_after_it_fell_are_not_counted_but_may_gain() {
        let values = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5];
        // As Keras has it, the cooldown's last row counts.
        let falls = [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25];
        assert_eq!(rates(plateau(Some(2), None), values), falls);
        let gained = [0.5, 0.5, 0.5, 0.75, 0.5, 0.5, 0.5];
        assert_eq!(rates(plateau(Some(2), None), gained), [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]);
    }
}
