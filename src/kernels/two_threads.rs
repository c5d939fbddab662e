//! What two threads get of the processor at the moment.
//!
//! It may change by the minute: the system moves threads between cores that share a cache and cores that
//! do not, and other programs want the cores too.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::kernels::thread_pool::ThreadPool;

/// What two threads of this program get of the processor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TwoThreads {
    /// Time of a loop of arithmetic on both at once over its time on one alone: 1 where each has a core,
    /// 2 where both have one.
    pub slowdown: f64,
    /// Time until one of them sees what the other has written, in ns.
    pub cache_line_ns: f64,
    /// Time of a job of a [`ThreadPool`] with an item for each that is no work, in ns.
    pub job_ns: f64,
}

impl TwoThreads {
    /// Measures it within some tenths of a second; `None` where the process has one core, or the system
    /// refuses a second thread.
    pub fn measure() -> Option<Self> {
        let cores = thread::available_parallelism().map_or(1, |n| n.get());
        let pool = ThreadPool::new(cores.min(2));
        (pool.threads() == 2).then(|| {
            // The longest loops come first: meanwhile the system gives each thread a core.
            let slowdown = slowdown(&pool);
            Self { slowdown, cache_line_ns: cache_line_ns(&pool), job_ns: job_ns(&pool) }
        })
    }
}

/// The most tries.
const TRIES: usize = 15;

/// When no other try begins: on a busy machine a try may take a hundred times as long.
const ENOUGH: Duration = Duration::from_millis(100);

/// Draws in a loop, which takes about 2 ms: short enough for one of some to be left undisturbed.
const DRAWS: usize = 1_000_000;

/// Loops of each thread in a try: together longer than the slices of time that the system deals out to
/// programs, lest each find time between those of another.
const LOOPS: usize = 4;

/// Times that a cache line passes in a try.
const PASSES: usize = 1_000;

/// Jobs in a try.
const JOBS: usize = 200;

/// Looks at what the other thread writes before the core is offered to it: more than any cache line
/// takes, and soon enough where both have one core.
const LOOKS: usize = 1_024;

/// On a cache line of its own: processors fetch two at a time.
#[repr(align(128))]
struct Line(AtomicUsize);

fn slowdown(pool: &ThreadPool) -> f64 {
    let alone = |_| nanoseconds(|| arithmetic(&mut 1));
    // The shortest is the one that no other program has disturbed.
    let alone = (0..TRIES).map(alone).fold(f64::INFINITY, f64::min);
    let loops = |number: &mut u64| (0..LOOPS).for_each(|_| arithmetic(number));
    let both = median_of_tries(|| nanoseconds(|| pool.each(&mut [1, 2], loops)));
    both / (LOOPS as f64 * alone)
}

/// Draws from a xorshift generator (Marsaglia 2003): no memory, and no step before the last is done.
fn arithmetic(number: &mut u64) {
    let mut x = *number;
    for _ in 0..DRAWS {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    *number = black_box(x);
}

fn cache_line_ns(pool: &ThreadPool) -> f64 {
    let tries = sorted_tries(|| {
        let line = Line(AtomicUsize::new(0));
        let play = |first: &mut usize| {
            for pass in (*first..PASSES).step_by(2) {
                wait_until(|| line.0.load(Ordering::Acquire) == pass);
                line.0.store(pass + 1, Ordering::Release);
            }
        };
        nanoseconds(|| pool.each(&mut [0, 1], play)) / PASSES as f64
    });
    // Other programs make it longer, and nothing shorter.
    tries[0]
}

fn job_ns(pool: &ThreadPool) -> f64 {
    median_of_tries(|| {
        let begun = Line(AtomicUsize::new(0));
        let job = |number| {
            pool.each(&mut [0, 1], |thread| match thread {
                // Else it would have done the other's item as well before the other saw it.
                0 => wait_until(|| begun.0.load(Ordering::Acquire) == number),
                _ => begun.0.store(number, Ordering::Release),
            });
        };
        nanoseconds(|| (1..=JOBS).for_each(job)) / JOBS as f64
    })
}

fn wait_until(done: impl Fn() -> bool) {
    // No pause between two looks: on some processors it takes longer than what is measured.
    while !(0..LOOKS).any(|_| done()) {
        thread::yield_now();
    }
}

fn nanoseconds(work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_secs_f64() * 1e9
}

fn median_of_tries(attempt: impl FnMut() -> f64) -> f64 {
    let tries = sorted_tries(attempt);
    tries[tries.len() / 2]
}

/// One try, and more while there is time.
fn sorted_tries(mut attempt: impl FnMut() -> f64) -> Vec<f64> {
    let begin = Instant::now();
    let mut found = vec![attempt()];
    while found.len() < TRIES && begin.elapsed() < ENOUGH {
        found.push(attempt());
    }
    found.sort_by(f64::total_cmp);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_positive_and_finite() {
        let pool = ThreadPool::new(2);
        assert_eq!(pool.threads(), 2);
        for number in [slowdown(&pool), cache_line_ns(&pool), job_ns(&pool)] {
            assert!(number > 0.0 && number.is_finite(), "{number}");
        }
    }

    #[test]
    fn one_core_is_not_measured() {
        let cores = thread::available_parallelism().map_or(1, |n| n.get());
        assert_eq!(TwoThreads::measure().is_some(), cores > 1);
    }

    #[test]
    fn the_median_is_of_so_many_tries_or_of_those_that_there_was_time_for() {
        let mut tries = (0..TRIES).rev().map(|n| n as f64);
        assert_eq!(median_of_tries(|| tries.next().unwrap_or(f64::NAN)), (TRIES / 2) as f64);
        assert_eq!(tries.next(), None);
        let mut slow = 0;
        let attempt = || {
            thread::sleep(ENOUGH);
            slow += 1;
            7.0
        };
        assert_eq!((median_of_tries(attempt), slow), (7.0, 1));
    }
}
