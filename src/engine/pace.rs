//! How many threads share a step, and how many steps are done at a time: by the time that steps take.
//! Results depend on neither.

use std::fmt;
use std::time::Duration;

/// What is done at a time takes about so long at the most, so that a training asked to end does; and as long as that,
/// for of many replicas each has to come into a core's cache first.
const AT_A_TIME: Duration = Duration::from_millis(400);

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

/// What a trial's results count in the next.
const MEMORY: f64 = 0.5;

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
    /// What is known of each of them: old trials count less and less.
    known: Vec<Spent>,
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
    Rest(Rest),
}

/// Steps and the seconds they took.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    steps: f64,
    seconds: f64,
}

impl Spent {
    fn add(&mut self, more: Spent) {
        self.steps += more.steps;
        self.seconds += more.seconds;
    }

    fn times(self, weight: f64) -> Self {
        Self { steps: weight * self.steps, seconds: weight * self.seconds }
    }

    /// Seconds a step; those of no step are endless.
    fn step(self) -> f64 {
        if self.steps > 0.0 { self.seconds / self.steps } else { f64::INFINITY }
    }

    fn lasts(self, time: Duration) -> bool {
        self.seconds >= time.as_secs_f64()
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

    /// Counts steps. Returns whether those were the last.
    fn took(&mut self, spent: Spent) -> bool {
        self.window.add(spent);
        if !self.window.lasts(TRY) {
            return false;
        }
        self.tried[self.now].1.add(std::mem::take(&mut self.window));
        self.now = (self.now + 1) % self.tried.len();
        self.rounds += usize::from(self.now == 0);
        // Of long steps one tells enough.
        let long = || self.tried.iter().all(|(_, spent)| spent.steps <= 1.0);
        self.rounds == TRIES || self.rounds > 0 && long()
    }
}

/// The time between two trials.
#[derive(Debug)]
struct Rest {
    /// What the chosen number took so far.
    spent: Spent,
    /// What it took lately.
    lately: Spent,
    /// How long it goes on.
    until: Duration,
}

/// The best of `all`, which is `chosen` unless another is clearly better.
fn best(chosen: usize, all: impl Iterator<Item = (usize, Spent)> + Clone) -> usize {
    let step = |choice| all.clone().find(|(tried, _)| *tried == choice).map(|(_, s)| s.step());
    let before = step(chosen).unwrap_or(f64::INFINITY);
    let least = all.clone().min_by(|a, b| a.1.step().total_cmp(&b.1.step()));
    least.filter(|(_, spent)| spent.step() < before * GAIN).map_or(chosen, |(choice, _)| choice)
}

impl Pace {
    /// One that chooses among `choices` threads, ascending, the last of which is the first guess.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(choices: Vec<usize>) -> Self {
        assert!(!choices.is_empty(), "a number of threads");
        let (chosen, done) = (choices.len() - 1, vec![0; choices.len()]);
        let known = vec![Spent::default(); choices.len()];
        Self { choices, chosen, done, known, step: None, phase: Phase::Begin }
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
            Phase::Trial(trial) => TRY.as_secs_f64() - trial.window.seconds,
            _ => AT_A_TIME.as_secs_f64(),
        };
        let steps = self.step.map_or(1.0, |step| most / step);
        (steps.ceil() as usize).clamp(1, MOST_STEPS)
    }

    /// Notes that `steps` steps, at least one, took `time` with [`Pace::threads`] threads.
    pub fn took(&mut self, steps: usize, time: Duration) {
        let now = self.now();
        self.done[now] += steps;
        let took = Spent { steps: steps as f64, seconds: time.as_secs_f64() };
        self.step = Some(took.step());
        if self.choices.len() == 1 {
            return;
        }
        self.phase = match std::mem::replace(&mut self.phase, Phase::Begin) {
            // The first guess first.
            Phase::Begin => Phase::Trial(Trial::new((0..self.choices.len()).rev(), Duration::ZERO)),
            Phase::Trial(mut trial) => match trial.took(took) {
                false => Phase::Trial(trial),
                true => Phase::Rest(self.judge(&trial)),
            },
            Phase::Rest(rest) => self.rest(rest, took),
        };
    }

    /// Chooses by what is known after `trial`.
    fn judge(&mut self, trial: &Trial) -> Rest {
        let this = trial.tried.iter().copied();
        for (choice, spent) in this.clone() {
            self.known[choice] = self.known[choice].times(MEMORY);
            self.known[choice].add(spent);
        }
        let all = this.clone().map(|(choice, _)| (choice, self.known[choice]));
        let by_all = best(self.chosen, all);
        // A trial that tells something else than those before is soon followed by another.
        let stands = by_all == self.chosen && best(self.chosen, this.clone()) == self.chosen;
        let seconds = this.map(|(_, spent)| spent.seconds).sum();
        let [first, last] =
            REST.map(|(rest, times)| rest.max(times * Duration::from_secs_f64(seconds)));
        let until = if stands { (2 * trial.rest).clamp(first, last) } else { first };
        self.chosen = by_all;
        Rest { spent: Spent::default(), lately: Spent::default(), until }
    }

    /// Goes on with `rest` after steps that `took` so much, or tries the choices beside the chosen one.
    fn rest(&mut self, mut rest: Rest, took: Spent) -> Phase {
        rest.spent.add(took);
        rest.lately.add(took);
        let known = &mut self.known[self.chosen];
        let mut due = rest.spent.lasts(rest.until);
        if rest.lately.lasts(REST[0].0) {
            let lately = std::mem::take(&mut rest.lately);
            let change = lately.step() / known.step();
            if !(1.0 / CHANGE..CHANGE).contains(&change) {
                // What was known is of another time.
                (due, rest.spent, *known) = (true, lately, Spent::default());
            }
        }
        if !due {
            return Phase::Rest(rest);
        }
        known.add(rest.spent);
        let near = self.chosen.saturating_sub(1)..=self.chosen + 1;
        let near = near.filter(|choice| *choice < self.choices.len());
        Phase::Trial(Trial::new(near, rest.until))
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
                assert!(longest <= AT_A_TIME.as_secs_f64() + step, "{step}: {longest}");
            }
        }
        let mut pace = Pace::new(vec![2]);
        assert_eq!(pace.steps(), 1, "nothing is known yet");
        pace.took(1, Duration::from_nanos(1));
        assert_eq!(pace.steps(), MOST_STEPS);
    }
}
