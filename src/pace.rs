//! How many threads share a step, and how many steps are done at a time: by the time that steps take.
//! Results depend on neither.

use std::fmt;
use std::time::Duration;

/// What is done at a time takes about so long at the most, so that a training asked to end does.
const AT_A_TIME: Duration = Duration::from_millis(80);

/// The most steps at a time: more gain nothing.
pub const MOST_STEPS: usize = 64;

/// How long a number of threads is tried at a time: several turns of a scheduler, so that the mean
/// tells what other programs take away.
const TRY: Duration = Duration::from_millis(10);

/// How often each is tried, in turns, before one is chosen.
const TRIES: usize = 2;

/// What passes between two trials: at first, and once the choice has stood again and again; or so many
/// times as long as a trial takes, where that is longer.
const REST: [(Duration, u32); 2] = [(Duration::from_millis(100), 4), (Duration::from_secs(2), 32)];

/// How much less time another number of threads has to take to be chosen.
const GAIN: f64 = 0.98;

/// How much longer or shorter than before steps have to take for a trial ahead of its time.
const CHANGE: f64 = 1.3;

/// Chooses a number of threads, again and again: two threads may be faster than one now and slower a
/// minute later, where the system moves them to cores that share no cache or other programs want the
/// cores.
#[derive(Debug)]
pub struct Pace {
    /// The numbers to choose among, ascending.
    choices: Vec<usize>,
    /// Which of them was chosen.
    chosen: usize,
    /// Steps that each of them did.
    done: Vec<usize>,
    /// Seconds that a step took last; `None` before the first.
    step: Option<f64>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The first step, which fills caches.
    Begin,
    /// Some choices are tried in turns.
    Trial(Trial),
    /// The chosen one goes on.
    Rest {
        /// What it took so far.
        spent: Spent,
        /// What it took lately.
        lately: Spent,
        /// Seconds that a step took in the trial.
        step: f64,
        /// How long it goes on before the next trial.
        until: Duration,
    },
}

/// Steps and the time they took.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    steps: usize,
    time: Duration,
}

impl Spent {
    fn add(&mut self, steps: usize, time: Duration) {
        self.steps += steps;
        self.time += time;
    }

    /// Seconds a step.
    fn step(self) -> f64 {
        self.time.as_secs_f64() / self.steps as f64
    }
}

/// Some choices that are tried one after the other, [`TRIES`] times.
#[derive(Debug)]
struct Trial {
    /// Which, and what each took.
    tried: Vec<(usize, Spent)>,
    /// The one that is tried now.
    now: usize,
    /// What it took this time.
    window: Spent,
    /// How often all were tried.
    rounds: usize,
    /// What passed since the trial before.
    rest: Duration,
}

impl Trial {
    fn new(choices: impl Iterator<Item = usize>, rest: Duration) -> Self {
        let tried = choices.map(|choice| (choice, Spent::default())).collect();
        Self { tried, now: 0, window: Spent::default(), rounds: 0, rest }
    }

    /// Counts steps. Returns whether that was the last.
    fn took(&mut self, steps: usize, time: Duration) -> bool {
        self.window.add(steps, time);
        if self.window.time < TRY {
            return false;
        }
        let Spent { steps, time } = std::mem::take(&mut self.window);
        self.tried[self.now].1.add(steps, time);
        self.now = (self.now + 1) % self.tried.len();
        self.rounds += usize::from(self.now == 0);
        // Of long steps one tells enough.
        self.rounds == TRIES || self.rounds > 0 && self.tried.iter().all(|(_, all)| all.steps == 1)
    }

    /// The best, which `chosen` is unless another is clearly better, with its seconds a step, and the
    /// time that all took.
    fn result(&self, chosen: usize) -> (usize, f64, Duration) {
        let of = |choice| self.tried.iter().find(|(tried, _)| *tried == choice);
        let before = of(chosen).map_or(f64::INFINITY, |(_, spent)| spent.step());
        let all = self.tried.iter().map(|(choice, spent)| (*choice, spent.step()));
        let best = all.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((chosen, before));
        let (best, step) = if best.1 < before * GAIN { best } else { (chosen, before) };
        (best, step, self.tried.iter().map(|(_, spent)| spent.time).sum())
    }
}

impl Pace {
    /// One that chooses among `choices` threads, ascending, the last of which is the first guess.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(choices: Vec<usize>) -> Self {
        assert!(!choices.is_empty(), "a number of threads");
        let (chosen, done) = (choices.len() - 1, vec![0; choices.len()]);
        Self { choices, chosen, done, step: None, phase: Phase::Begin }
    }

    /// The number of threads that most steps so far had.
    pub fn mostly(&self) -> usize {
        let all = self.done.iter().zip(&self.choices);
        all.max_by_key(|(done, _)| **done).map_or(1, |(_, &threads)| threads)
    }

    /// Which of the choices the next steps have.
    fn now(&self) -> usize {
        match &self.phase {
            Phase::Trial(trial) => trial.tried[trial.now].0,
            _ => self.chosen,
        }
    }

    /// How many threads the next steps have.
    pub fn threads(&self) -> usize {
        self.choices[self.now()]
    }

    /// How many steps may be done at a time now.
    pub fn steps(&self) -> usize {
        let most = match &self.phase {
            Phase::Trial(trial) => TRY.saturating_sub(trial.window.time),
            _ => AT_A_TIME,
        };
        let steps = self.step.map_or(1.0, |step| most.as_secs_f64() / step);
        (steps.ceil() as usize).clamp(1, MOST_STEPS)
    }

    /// Notes that `steps` steps, at least one, took `time` with [`Pace::threads`] threads.
    pub fn took(&mut self, steps: usize, time: Duration) {
        let now = self.now();
        self.done[now] += steps;
        self.step = Some(time.as_secs_f64() / steps as f64);
        if self.choices.len() == 1 {
            return;
        }
        match &mut self.phase {
            Phase::Begin => {
                // The first guess first.
                let all = (0..self.choices.len()).rev();
                self.phase = Phase::Trial(Trial::new(all, Duration::ZERO));
            }
            Phase::Trial(trial) => {
                if trial.took(steps, time) {
                    let (best, step, took) = trial.result(self.chosen);
                    let [first, last] = REST.map(|(rest, times)| rest.max(times * took));
                    let stands = best == self.chosen;
                    let until = if stands { (2 * trial.rest).clamp(first, last) } else { first };
                    let (spent, lately) = (Spent::default(), Spent::default());
                    self.chosen = best;
                    self.phase = Phase::Rest { spent, lately, step, until };
                }
            }
            Phase::Rest { spent, lately, step, until } => {
                spent.add(steps, time);
                lately.add(steps, time);
                let mut due = spent.time >= *until;
                if lately.time >= REST[0].0 {
                    let change = std::mem::take(lately).step() / *step;
                    due |= !(1.0 / CHANGE..CHANGE).contains(&change);
                }
                if due {
                    let near = self.chosen.saturating_sub(1)..=self.chosen + 1;
                    let near = near.filter(|choice| *choice < self.choices.len());
                    self.phase = Phase::Trial(Trial::new(near, *until));
                }
            }
        }
    }
}

/// What it chooses among.
impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.choices.as_slice() {
            [few] => write!(f, "{few}"),
            [few, most] => write!(f, "{few} or {most}, whichever is faster"),
            [few, .., most] => write!(f, "{few} to {most}, as many as are fastest"),
            [] => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs for `seconds` on a machine where a step takes `step(threads, seconds passed)` seconds.
    /// Returns the time a step and the longest time without a chance to end.
    fn run(pace: &mut Pace, seconds: f64, step: impl Fn(usize, f64) -> f64) -> (f64, f64) {
        let (mut passed, mut steps, mut longest) = (0.0, 0, 0.0_f64);
        while passed < seconds {
            let (threads, n) = (pace.threads(), pace.steps());
            let time = (0..n).map(|_| step(threads, passed)).sum::<f64>();
            longest = longest.max(time);
            pace.took(n, Duration::from_secs_f64(time));
            passed += time;
            steps += n;
        }
        (passed / steps as f64, longest)
    }

    #[test]
    fn the_faster_of_two_is_found_and_asking_costs_little() {
        for (one, two) in [(1e-3, 0.6e-3), (1e-3, 1.8e-3), (3e-5, 9e-5), (0.1, 0.06), (0.1, 0.3)] {
            let mut pace = Pace::new(vec![1, 2]);
            let step = |threads, _| if threads == 1 { one } else { two };
            run(&mut pace, 100.0 * f64::max(one, two), step);
            let (mean, _) = run(&mut pace, 3.0_f64.max(200.0 * two), step);
            assert!(mean < 1.03 * f64::min(one, two), "{one} and {two}: {mean}");
            assert_eq!(pace.mostly(), if one < two { 1 } else { 2 });
        }
    }

    #[test]
    fn a_change_of_the_machine_is_followed() {
        // Slow for the first three seconds of ten, fast for the rest.
        let step = |threads, passed: f64| match (threads, passed % 10.0 < 3.0) {
            (1, _) => 1.0e-3,
            (_, true) => 1.8e-3,
            (_, false) => 0.7e-3,
        };
        let mut pace = Pace::new(vec![1, 2]);
        let (mean, _) = run(&mut pace, 60.0, step);
        let best = 10.0 / (3.0 / 1.0e-3 + 7.0 / 0.7e-3);
        assert!(mean < 1.08 * best, "{mean}, at best {best}");
    }

    #[test]
    fn a_noisy_machine_costs_less_than_a_wrong_choice() {
        // Two threads lose a turn of the scheduler now and then, on the whole a third of the time.
        let mut state = 1_u32;
        let mut noise = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state) / f64::from(u32::MAX)
        };
        let mut pace = Pace::new(vec![1, 2]);
        let (mut passed, mut steps) = (0.0, 0);
        while passed < 20.0 {
            let (threads, n) = (pace.threads(), pace.steps());
            let lost = |_| if noise() < 0.15 { 4e-3 } else { 0.0 };
            let own = if threads == 1 { 1e-3 } else { 0.7e-3 };
            let lost: f64 = (0..n).map(lost).filter(|_| threads == 2).sum();
            let time = own * n as f64 + lost;
            pace.took(n, Duration::from_secs_f64(time));
            (passed, steps) = (passed + time, steps + n);
        }
        let mean = passed / steps as f64;
        assert!(mean < 1.06e-3, "{mean}");
    }

    #[test]
    fn of_many_threads_as_many_are_taken_as_help() {
        let choices = vec![1, 2, 4, 8, 16];
        for best in [1, 4, 16] {
            let mut pace = Pace::new(choices.clone());
            let off = |threads: usize| (threads as f64 / f64::from(best)).log2().abs();
            run(&mut pace, 5.0, |threads, _| 1e-3 * (1.0 + 0.3 * off(threads)));
            assert_eq!(pace.choices[pace.chosen], best as usize);
        }
    }

    #[test]
    fn what_is_done_at_a_time_is_short_or_one_step() {
        for step in [1e-6, 1e-3, 0.05, 3.0] {
            for choices in [vec![2], vec![1, 2]] {
                let mut pace = Pace::new(choices);
                let (_, longest) = run(&mut pace, 100.0 * step, |_, _| step);
                assert!(longest <= 0.1_f64.max(step), "{step}: {longest}");
            }
        }
        let mut pace = Pace::new(vec![2]);
        assert_eq!(pace.steps(), 1, "nothing is known yet");
        pace.took(1, Duration::from_nanos(1));
        assert_eq!(pace.steps(), MOST_STEPS);
    }
}
