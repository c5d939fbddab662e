//! The learning rate of every optimiser step.

use std::f64::consts::PI;

use crate::config::{Config, LearningRateSchedule};

/// With N steps in a run, the first w of them warm-up, update n (from 0) has the learning rate
///
/// ```text
/// warm-up       lr · (n + 1)/w                         where n < w
/// constant      lr
/// cosine        end + (lr − end) · (1 + cos πp)/2      p = (n − w)/(N − w)
/// exponential   lr · (end/lr)ᵖ
/// plateau       lr, which is a replica's own and falls as its metric says
/// ```
///
/// Cosine is that of Loshchilov and Hutter (2017, arXiv 1608.03983) without restarts; it and
/// exponential are optax's `cosine_decay_schedule` and `exponential_decay` over the N − w steps.
/// Warm-up follows Goyal et al. (2017, arXiv 1706.02677); no update has the rate 0.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    kind: LearningRateSchedule,
    start: f64,
    end: f64,
    warmup: i64,
    steps: i64,
}

impl Schedule {
    /// The schedule of a validated configuration, whose run has so many `steps`.
    pub fn new(config: &Config, steps: i64) -> Self {
        Self {
            kind: config.learning_rate_schedule,
            start: config.learning_rate,
            end: config.final_learning_rate.unwrap_or(0.0),
            warmup: config.warmup_steps.unwrap_or(0),
            steps,
        }
    }

    /// The learning rate of the update before which `step` were done; after the last it stays.
    pub fn at(&self, step: i64) -> f64 {
        let &Self { kind, start, end, warmup, steps } = self;
        if step < warmup {
            return start * ((step + 1) as f64 / warmup as f64);
        }
        // Also after the 0/0 of a run that is all warm-up, p is 1.
        let p = ((step - warmup) as f64 / (steps - warmup) as f64).min(1.0);
        match kind {
            LearningRateSchedule::Constant | LearningRateSchedule::Plateau => start,
            LearningRateSchedule::Cosine => end + (start - end) * (1.0 + (PI * p).cos()) / 2.0,
            LearningRateSchedule::Exponential => start * (end / start).powf(p),
        }
    }
}

/// Each replica's learning rate, and which replicas have stopped learning.
#[derive(Debug, Clone)]
pub struct Rates {
    /// A replica's own where its learning rate was lowered.
    schedules: Vec<Schedule>,
    stopped: Vec<bool>,
}

impl Rates {
    /// The same `schedule` for each of `replicas` replicas, all of which learn.
    pub fn new(schedule: Schedule, replicas: i64) -> Self {
        let replicas = replicas as usize;
        Self { schedules: vec![schedule; replicas], stopped: vec![false; replicas] }
    }

    /// The learning rate of a replica in the update before which `step` were done; `None`: it does
    /// not learn.
    pub fn at(&self, step: i64, replica: usize) -> Option<f64> {
        (!self.stopped[replica]).then(|| self.schedules[replica].at(step))
    }

    /// Gives a replica another learning rate to go on from.
    pub fn lower(&mut self, replica: usize, learning_rate: f64) {
        self.schedules[replica].start = learning_rate;
    }

    /// From here on the replica learns nothing: neither its weights nor what the optimiser keeps of
    /// them change.
    pub fn stop(&mut self, replica: usize) {
        self.stopped[replica] = true;
    }

    /// Whether each replica has stopped.
    pub fn stopped(&self) -> &[bool] {
        &self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    /// A schedule from 0.1 over 20 steps, and its rates.
    fn rates(kind: LearningRateSchedule, end: Option<f64>, warmup: Option<i64>) -> Vec<f64> {
        let config = Config {
            learning_rate: 0.1,
            learning_rate_schedule: kind,
            final_learning_rate: end,
            warmup_steps: warmup,
            ..presets::find("echo").unwrap().config
        };
        let schedule = Schedule::new(&config, 20);
        (0..22).map(|step| schedule.at(step)).collect()
    }

    fn close(one: f64, other: f64) {
        assert!((one - other).abs() <= 1e-15, "{one} is not {other}");
    }

    #[test]
    fn constant_is_the_learning_rate_itself() {
        assert_eq!(rates(LearningRateSchedule::Constant, None, None), [0.1; 22]);
    }

    #[test]
    fn cosine_starts_and_ends_flat_with_the_mean_between() {
        for (end, least) in [(None, 0.0), (Some(0.02), 0.02)] {
            let rates = rates(LearningRateSchedule::Cosine, end, None);
            close(rates[0], 0.1);
            close(rates[5], least + (0.1 - least) * (1.0 + 0.5f64.sqrt()) / 2.0);
            close(rates[10], (0.1 + least) / 2.0);
            close(rates[19], least + (0.1 - least) * (1.0 - (PI / 20.0).cos()) / 2.0);
            assert!(rates[..21].is_sorted_by(|one, next| one > next));
            assert_eq!(rates[20..], [least; 2]);
        }
    }

    #[test]
    fn exponential_falls_by_one_factor_a_step() {
        let rates = rates(LearningRateSchedule::Exponential, Some(0.001), None);
        assert_eq!(rates[0], 0.1);
        close(rates[10], 0.01);
        for pair in rates[..21].windows(2) {
            close(pair[1] / pair[0], 0.01f64.powf(0.05));
        }
        close(rates[20], 0.001);
        assert_eq!(rates[21], rates[20]);
    }

    #[test]
    fn warm_up_rises_to_the_learning_rate_and_the_rest_of_the_run_is_the_schedule_s() {
        for (kind, end, middle) in [
            (LearningRateSchedule::Constant, None, 0.1),
            (LearningRateSchedule::Cosine, None, 0.05),
            (LearningRateSchedule::Exponential, Some(0.001), 0.01),
        ] {
            let rates = rates(kind, end, Some(4));
            for (rate, expected) in rates.iter().zip([0.025, 0.05, 0.075, 0.1, 0.1]) {
                close(*rate, expected);
            }
            close(rates[12], middle);
        }
    }

    #[test]
    fn a_run_may_be_all_warm_up() {
        for (kind, end, after) in [
            (LearningRateSchedule::Constant, None, 0.1),
            (LearningRateSchedule::Cosine, None, 0.0),
            (LearningRateSchedule::Exponential, Some(0.001), 0.001),
        ] {
            let rates = rates(kind, end, Some(20));
            close(rates[0], 0.005);
            assert_eq!(rates[19], 0.1);
            rates[20..].iter().for_each(|&rate| close(rate, after));
        }
    }
}
