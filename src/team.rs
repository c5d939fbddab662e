//! Threads that share the items of a job.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long an idle thread watches for the next job before it sleeps: longer than what lies between
/// two jobs of a step, shorter than anything a user would notice as load.
const PATIENCE: Duration = Duration::from_micros(60);

/// A fixed number of threads, the caller's among them.
///
/// A job costs no lock and no allocation. Threads take one item at a time, so that one which
/// the system has put aside holds up no more than the item it is at.
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<(Thread, Option<JoinHandle<()>>)>,
}

/// One item's work; the pointer is valid while `unfinished` is not zero.
type Job<'a> = dyn Fn(usize) + Sync + 'a;

struct Shared {
    /// Items nobody has taken yet; item `waiting - 1` is next.
    waiting: AtomicUsize,
    /// Items not yet done.
    unfinished: AtomicUsize,
    /// Points at the caller's reference to the job.
    job: AtomicPtr<&'static Job<'static>>,
    asleep: Vec<AtomicBool>,
    end: AtomicBool,
    /// The first panic of a job's item.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Team {
    /// A team of `threads` threads; of one where more cannot be had.
    pub fn new(threads: usize) -> Self {
        let helpers = threads.saturating_sub(1);
        let shared = Arc::new(Shared {
            waiting: AtomicUsize::new(0),
            unfinished: AtomicUsize::new(0),
            job: AtomicPtr::new(std::ptr::null_mut()),
            asleep: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
            end: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let start = |index| {
            let shared = Arc::clone(&shared);
            let worker = thread::Builder::new().name(format!("seqlab-{}", index + 1));
            worker.spawn(move || shared.work(index)).ok()
        };
        let workers = (0..helpers).map_while(start);
        let workers = workers.map(|handle| (handle.thread().clone(), Some(handle))).collect();
        Self { shared, workers }
    }

    /// Threads in the team.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `work` with every item, each on one of the threads, and returns when all are done.
    ///
    /// # Panics
    /// If `work` does.
    pub fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        if self.workers.is_empty() || items.len() < 2 {
            return items.iter_mut().for_each(work);
        }
        struct Items<T>(*mut T);
        // SAFETY: every item is handed to one thread alone.
        unsafe impl<T: Send> Sync for Items<T> {}
        let (first, n) = (Items(items.as_mut_ptr()), items.len());
        let first = &first;
        // SAFETY: below n, and each index is taken once.
        self.run(n, &|index| work(unsafe { &mut *first.0.add(index) }));
    }

    fn run(&self, n: usize, job: &Job<'_>) {
        let shared = &*self.shared;
        // SAFETY: it is followed only for an item of this job, and this call outlasts them all.
        let job: &'static Job<'static> = unsafe { std::mem::transmute(job) };
        shared.job.store(std::ptr::from_ref(&job).cast_mut(), Ordering::Relaxed);
        shared.unfinished.store(n, Ordering::Relaxed);
        // Sequentially consistent with `asleep`: either a worker sees the items or is woken.
        shared.waiting.store(n, Ordering::SeqCst);
        for (asleep, (worker, _)) in shared.asleep.iter().zip(&self.workers) {
            if asleep.load(Ordering::SeqCst) && asleep.swap(false, Ordering::SeqCst) {
                worker.unpark();
            }
        }
        while shared.take() {}
        let begin = Instant::now();
        while shared.unfinished.load(Ordering::Acquire) > 0 {
            if begin.elapsed() < PATIENCE { std::hint::spin_loop() } else { thread::yield_now() }
        }
        let panic = shared.panic.lock().map_or(None, |mut panic| panic.take());
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Shared {
    /// Does one item, if any is left.
    fn take(&self) -> bool {
        let one_less = |waiting: usize| waiting.checked_sub(1);
        // Acquire: what the caller wrote before the items is seen.
        let Ok(before) = self.waiting.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_less)
        else {
            return false;
        };
        // SAFETY: the job of the item just taken, which is not done.
        let job = unsafe { *self.job.load(Ordering::Relaxed) };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(before - 1)))
            && let Ok(mut first) = self.panic.lock()
        {
            first.get_or_insert(panic);
        }
        self.unfinished.fetch_sub(1, Ordering::Release);
        true
    }

    /// What a worker does until the team ends.
    fn work(&self, index: usize) {
        let mut idle = Instant::now();
        while !self.end.load(Ordering::Relaxed) {
            if self.waiting.load(Ordering::Relaxed) > 0 && self.take() {
                idle = Instant::now();
            } else if idle.elapsed() < PATIENCE {
                std::hint::spin_loop();
            } else {
                self.sleep(index);
                idle = Instant::now();
            }
        }
    }

    fn sleep(&self, index: usize) {
        self.asleep[index].store(true, Ordering::SeqCst);
        while self.asleep[index].load(Ordering::SeqCst) {
            if self.waiting.load(Ordering::SeqCst) > 0 || self.end.load(Ordering::SeqCst) {
                self.asleep[index].store(false, Ordering::SeqCst);
                return;
            }
            thread::park();
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::SeqCst);
        for (worker, handle) in &mut self.workers {
            worker.unpark();
            if let Some(handle) = handle.take() {
                let _ = handle.join();
            }
        }
    }
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Team({} threads)", self.threads())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_by_whatever_number_of_threads() {
        for threads in [0, 1, 2, 5] {
            let team = Team::new(threads);
            for n in [0, 1, 2, 3, 100] {
                // Some jobs find the workers awake, some asleep.
                for pause in [0, 0, 200] {
                    thread::sleep(Duration::from_micros(pause));
                    let mut items = vec![0; n];
                    team.each(&mut items, |item| *item += 1);
                    assert_eq!(items, vec![1; n], "{threads} threads");
                }
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_team_whole() {
        let team = Team::new(3);
        let mut items = [0, 1, 2, 3];
        let job = || team.each(&mut items, |item| assert_ne!(*item, 2, "item two"));
        assert!(catch_unwind(AssertUnwindSafe(job)).is_err());
        team.each(&mut items, |item| *item = 7);
        assert_eq!(items, [7; 4]);
    }
}
