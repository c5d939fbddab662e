//! Threads that share the items of a job.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::thread::{self, Builder, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// The most parts that work is divided into by [`ThreadPool::each_part`]; more would cost small models, whose lists of
/// parts have room for so many.
pub const MOST_PARTS: usize = 8;

/// How long an idle thread watches for the next job before it sleeps: longer than what lies between
/// two jobs of a step, shorter than anything a user would notice as load.
const PATIENCE: Duration = Duration::from_micros(60);

/// A fixed number of threads, the caller's among them, of which a job has all or the first few.
///
/// A job costs no lock and no allocation, and few cache lines pass between cores for it: to a worker its hand,
/// on which it is told the job too, and back how many items it has done. Items are dealt out to the threads in turn, the same in
/// every job of so many, so that a thread finds in its cache what it left there; whoever is through
/// takes over what others have left, one item at a time, so that a thread which the system has put
/// aside holds up no more than the item it is at.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<(Thread, Option<JoinHandle<()>>)>,
}

/// A thread's work on an item; the pointer is valid until all items are done.
type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Looks for something between two looks at the clock.
const LOOKS: usize = 16;

/// On cache lines of its own: processors fetch two at a time.
#[repr(align(128))]
struct Apart<T>(T);

/// What is dealt out to a thread.
struct Hand {
    /// Which of the items nobody has taken yet: the first in the lowest [`ITEM_BITS`], the one behind the last
    /// in as many, and above them the number of the job.
    left: AtomicU64,
    /// Points at the caller's reference to the job.
    work: AtomicPtr<&'static Job<'static>>,
}

/// Bits of an item's number in a hand. What they leave to a job's is so much that none comes round again while a
/// thread, which the system may put aside, is taking an item.
const ITEM_BITS: u32 = 18;

/// The most items of a job that are dealt out.
const MOST: usize = (1 << ITEM_BITS) - 1;

/// The last number of a job.
const LAST_JOB: u32 = u32::MAX >> (2 * ITEM_BITS - 32);

impl Hand {
    fn new() -> Self {
        Self { left: AtomicU64::new(0), work: AtomicPtr::new(std::ptr::null_mut()) }
    }

    fn deal(&self, job: u32, items: usize, work: &&'static Job<'static>) {
        self.work.store(std::ptr::from_ref(work).cast_mut(), Ordering::Relaxed);
        // Release: whoever sees the items sees the work, and what the caller wrote before.
        let left = u64::from(job) << (2 * ITEM_BITS) | (items as u64) << ITEM_BITS;
        self.left.store(left, Ordering::Release);
    }

    /// The job, the first item left and the one behind the last.
    fn read(left: u64) -> (u32, usize, usize) {
        let (first, end) = (left as usize & MOST, (left >> ITEM_BITS) as usize & MOST);
        ((left >> (2 * ITEM_BITS)) as u32, first, end)
    }

    fn job(&self) -> u32 {
        // Acquire: how many threads the job has is seen.
        Self::read(self.left.load(Ordering::Acquire)).0
    }

    /// Takes the first or, as another thread, the last, if they are of `job`.
    fn take(&self, job: u32, own: bool) -> Option<usize> {
        let rest = |left: u64| {
            let (of, first, end) = Self::read(left);
            let after = if own { left + 1 } else { left.wrapping_sub(1 << ITEM_BITS) };
            (of == job && first < end).then_some(after)
        };
        // Acquire: what the caller wrote before the items is seen.
        let before = self.left.fetch_update(Ordering::AcqRel, Ordering::Relaxed, rest).ok()?;
        let (_, first, end) = Self::read(before);
        Some(if own { first } else { end - 1 })
    }
}

struct Shared {
    /// Each thread's, the caller's first.
    hands: Vec<Apart<Hand>>,
    /// Items that workers have done, of all jobs so far.
    finished: Apart<AtomicUsize>,
    /// Threads that a job has. Written while there is none.
    active: AtomicUsize,
    asleep: Vec<Apart<AtomicBool>>,
    end: AtomicBool,
    /// The first panic of a job's item.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl ThreadPool {
    /// A pool of `threads` threads, or of as many as can be had.
    pub fn new(threads: usize) -> Self {
        let helpers = threads.saturating_sub(1);
        let shared = Arc::new(Shared {
            hands: (0..=helpers).map(|_| Apart(Hand::new())).collect(),
            finished: Apart(AtomicUsize::new(0)),
            active: AtomicUsize::new(1),
            asleep: (0..helpers).map(|_| Apart(AtomicBool::new(false))).collect(),
            end: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let start = |index| {
            let shared = Arc::clone(&shared);
            let worker = Builder::new().name(format!("seqlab-{}", index + 1));
            worker.spawn(move || shared.work(index)).ok()
        };
        let workers = (0..helpers).map_while(start);
        let workers = workers.map(|handle| (handle.thread().clone(), Some(handle))).collect();
        let mut pool = Self { shared, workers };
        pool.employ(threads);
        pool
    }

    /// Threads that a job has.
    pub fn threads(&self) -> usize {
        self.shared.active.load(Ordering::Relaxed)
    }

    /// Gives the jobs to come the first `threads` threads, or all where there are no more; the others
    /// sleep.
    pub fn employ(&mut self, threads: usize) {
        let threads = threads.clamp(1, self.workers.len() + 1);
        self.shared.active.store(threads, Ordering::Relaxed);
    }

    /// Calls `work` with every item, each on one of the threads, and returns when all are done.
    ///
    /// # Panics
    /// If `work` does.
    pub fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        self.each_with(&mut vec![(); self.threads()], items, |(), item| work(item));
    }

    /// [`ThreadPool::each`] with something of its own for every thread.
    ///
    /// # Panics
    /// If `work` does, or `own` is fewer than the threads.
    pub fn each_with<O: Send, T: Send>(
        &self,
        own: &mut [O],
        items: &mut [T],
        work: impl Fn(&mut O, &mut T) + Sync,
    ) {
        assert!(own.len() >= self.threads(), "one for every thread");
        if self.threads() == 1 || !(2..=MOST).contains(&items.len()) {
            let own = &mut own[0];
            return items.iter_mut().for_each(|item| work(own, item));
        }
        struct ItemsPtr<T>(*mut T);
        // SAFETY: every item is handed to one thread alone.
        unsafe impl<T: Send> Sync for ItemsPtr<T> {}
        let (n, own, items) =
            (items.len(), ItemsPtr(own.as_mut_ptr()), ItemsPtr(items.as_mut_ptr()));
        let (own, items) = (&own, &items);
        // SAFETY: below n, and each index is taken once; a thread does one item after the other.
        self.run(n, &|thread, item| unsafe {
            work(&mut *own.0.add(thread), &mut *items.0.add(item));
        });
    }

    /// Calls `work` with every item and its number, each on one of the threads, and returns when all are
    /// done. Items of one number have the same thread in every such call of as many. Nothing is allocated.
    ///
    /// # Panics
    /// If `work` does, or there are more than [`MOST_PARTS`] items.
    pub fn each_part<T: Send>(
        &self,
        items: impl Iterator<Item = T>,
        work: impl Fn(usize, T) + Sync,
    ) {
        let mut items = items.enumerate();
        if self.threads() == 1 {
            return items.for_each(|(number, item)| work(number, item));
        }
        let mut parts: [_; MOST_PARTS] = std::array::from_fn(|_| items.next());
        assert!(items.next().is_none(), "at most {MOST_PARTS} parts");
        let n = parts.iter().flatten().count();
        self.each(&mut parts[..n], |part| {
            if let Some((number, item)) = part.take() {
                work(number, item);
            }
        });
    }

    fn run(&self, n: usize, job: &Job<'_>) {
        let shared = &*self.shared;
        // SAFETY: it is followed only for an item of this job, and this call outlasts them all.
        let job: &'static Job<'static> = unsafe { std::mem::transmute(job) };
        let (threads, number) = (self.threads(), (shared.hands[0].0.job() + 1) & LAST_JOB);
        // No job is under way: nobody else changes it.
        let before = shared.finished.0.load(Ordering::Relaxed);
        for (thread, Apart(hand)) in shared.hands.iter().enumerate() {
            // A thread without work learns the number of the job all the same, lest an old one come
            // round again.
            let own = if thread < threads { (n + threads - 1 - thread) / threads } else { 0 };
            hand.deal(number, own, &job);
        }
        // With that of `sleep`: either a worker sees the items or is woken.
        fence(Ordering::SeqCst);
        let asleep = shared.asleep.iter().map(|Apart(asleep)| asleep).zip(&self.workers);
        for (asleep, (worker, _)) in asleep.take(threads - 1) {
            if asleep.load(Ordering::Relaxed) && asleep.swap(false, Ordering::SeqCst) {
                worker.unpark();
            }
        }
        let mut own = 0;
        while shared.take(0) {
            own += 1;
        }
        let begin = Instant::now();
        // Acquire: what workers wrote is seen.
        let done = || shared.finished.0.load(Ordering::Acquire).wrapping_sub(before) + own == n;
        while !done() && !spin_until(done) {
            if begin.elapsed() > PATIENCE {
                thread::yield_now();
            }
        }
        let panic = shared.panic.lock().map_or(None, |mut panic| panic.take());
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

/// Threads that are left to the program for other work than sharing items.
const SPARE: usize = 2;

/// The stack that OpenMP's threads ask for where nothing else is said.
const STACK: usize = 8 << 20;

/// How many of `threads` threads, the caller's among them, the system would let the process have now:
/// it may limit how many there are, and their memory. Found out by starting them.
pub fn startable(threads: usize) -> usize {
    startable_by(threads, |work| Builder::new().stack_size(STACK).spawn(work))
}

/// The same where `spawn` starts a thread.
fn startable_by(
    threads: usize,
    spawn: impl Fn(Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>,
) -> usize {
    let others = threads.saturating_sub(1);
    if others == 0 {
        return 1;
    }
    // Held until all are there, so that they are there at the same time.
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock();
    let start = |_| {
        let gate = Arc::clone(&gate);
        spawn(Box::new(move || drop(gate.lock()))).ok()
    };
    let started: Vec<_> = (0..others + SPARE).map_while(start).collect();
    drop(held);
    let found = started.len();
    for thread in started {
        let _ = thread.join();
    }
    1 + found.saturating_sub(SPARE)
}

/// Whether `done` soon says so.
fn spin_until(done: impl Fn() -> bool) -> bool {
    (0..LOOKS).any(|_| {
        std::hint::spin_loop();
        done()
    })
}

impl Shared {
    /// The job that thread `thread` has items of, unless it is `seen`.
    fn waiting(&self, thread: usize, seen: u32) -> Option<u32> {
        // All items of a job are dealt out when it begins: no other hand has to be watched.
        let job = self.hands[thread].0.job();
        (job != seen && thread < self.active.load(Ordering::Relaxed)).then_some(job)
    }

    /// Does one item as thread `thread`, if any is left.
    fn take(&self, thread: usize) -> bool {
        // Nothing of a job that this thread has not been dealt its own items of. While the job lasts,
        // the number of threads is what it was when they were dealt.
        let own = &self.hands[thread].0;
        let (number, threads) = (own.job(), self.active.load(Ordering::Relaxed));
        if thread >= threads {
            return false;
        }
        let mut hands = (thread..threads).chain(0..thread);
        let take = |of: usize| Some(self.hands[of].0.take(number, of == thread)? * threads + of);
        let Some(item) = hands.find_map(take) else {
            return false;
        };
        // SAFETY: the job of the item just taken, which is not done.
        let job = unsafe { *own.work.load(Ordering::Relaxed) };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(thread, item)))
            && let Ok(mut first) = self.panic.lock()
        {
            first.get_or_insert(panic);
        }
        if thread > 0 {
            self.finished.0.fetch_add(1, Ordering::Release);
        }
        true
    }

    /// What a worker does until the pool ends.
    fn work(&self, index: usize) {
        let (thread, mut seen, mut idle) = (index + 1, 0, Instant::now());
        while !self.end.load(Ordering::Relaxed) {
            if let Some(job) = self.waiting(thread, seen) {
                seen = job;
                while self.take(thread) {
                    idle = Instant::now();
                }
            } else if !spin_until(|| self.waiting(thread, seen).is_some())
                && idle.elapsed() > PATIENCE
            {
                self.sleep(index, seen);
                idle = Instant::now();
            }
        }
    }

    /// Sleeps until a job comes that is not `seen`.
    fn sleep(&self, index: usize, seen: u32) {
        let Apart(asleep) = &self.asleep[index];
        asleep.store(true, Ordering::Relaxed);
        // With that of `run`.
        fence(Ordering::SeqCst);
        while asleep.load(Ordering::SeqCst) {
            if self.waiting(index + 1, seen).is_some() || self.end.load(Ordering::SeqCst) {
                asleep.store(false, Ordering::SeqCst);
                return;
            }
            thread::park();
        }
    }
}

impl Drop for ThreadPool {
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

impl std::fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ThreadPool({} threads)", self.threads())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_done_once_by_whatever_number_of_threads() {
        for threads in [0, 1, 2, 5] {
            let pool = ThreadPool::new(threads);
            for n in [0, 1, 2, 3, 100] {
                // Some jobs find the workers awake, some asleep.
                for pause in [0, 0, 200] {
                    thread::sleep(Duration::from_micros(pause));
                    let mut items = vec![0; n];
                    pool.each(&mut items, |item| *item += 1);
                    assert_eq!(items, vec![1; n], "{threads} threads");
                }
            }
        }
    }

    #[test]
    fn every_part_is_done_once_under_its_number() {
        for threads in [1, 2, 5] {
            let pool = ThreadPool::new(threads);
            for n in [0, 1, 2, 3, MOST_PARTS] {
                let mut parts = vec![0; n];
                pool.each_part(parts.iter_mut(), |number, part| *part += number + 1);
                assert_eq!(parts, (1..=n).collect::<Vec<_>>(), "{threads} threads");
            }
        }
    }

    #[test]
    fn threads_that_the_system_refuses_are_not_counted() {
        for (wanted, limit, expected) in
            [(0, 9, 1), (1, 0, 1), (4, 99, 4), (4, 3 + SPARE, 4), (4, 2 + SPARE, 3), (4, 1, 1)]
        {
            let (there, most) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
            let found = startable_by(wanted, |work| {
                if there.load(Ordering::SeqCst) == limit {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                most.fetch_max(there.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let there = Arc::clone(&there);
                thread::Builder::new().spawn(move || {
                    work();
                    there.fetch_sub(1, Ordering::SeqCst);
                })
            });
            assert_eq!(found, expected, "{wanted} of {limit}");
            assert!(there.load(Ordering::SeqCst) == 0, "all have ended");
        }
        assert_eq!(startable(2), 2);
    }

    #[test]
    fn a_thread_begins_with_its_own_items_in_every_job() {
        let pool = ThreadPool::new(2);
        for _ in 0..1000 {
            // Neither thread goes on to what the other has left.
            let both = std::sync::Barrier::new(2);
            let mut own = [Vec::new(), Vec::new()];
            pool.each_with(&mut own, &mut [0, 1], |own, item| {
                own.push(*item);
                both.wait();
            });
            assert_eq!(own, [[0], [1]]);
        }
    }

    #[test]
    fn a_job_has_as_many_threads_as_are_employed() {
        let mut pool = ThreadPool::new(3);
        for (asked, given) in [(1, 1), (3, 3), (2, 2), (99, 3), (0, 1), (2, 2)].repeat(200) {
            pool.employ(asked);
            assert_eq!(pool.threads(), given);
            let mut own = vec![0; given];
            let mut items = [0; 7];
            pool.each_with(&mut own, &mut items, |own, item| {
                *own += 1;
                *item += 1;
            });
            assert_eq!((items, own.iter().sum()), ([1; 7], 7), "{given} threads");
        }
    }

    #[test]
    fn what_one_thread_leaves_the_others_do() {
        let (pool, done) = (ThreadPool::new(3), AtomicUsize::new(0));
        let mut items: Vec<usize> = (0..100).collect();
        pool.each(&mut items, |item| {
            let begin = Instant::now();
            while *item == 0 && done.load(Ordering::SeqCst) < 99 {
                assert!(begin.elapsed() < Duration::from_secs(60), "nobody does the rest");
                thread::yield_now();
            }
            done.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(done.into_inner(), 100);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_team_whole() {
        let pool = ThreadPool::new(3);
        let mut items = [0, 1, 2, 3];
        let job = || pool.each(&mut items, |item| assert_ne!(*item, 2, "item two"));
        assert!(catch_unwind(AssertUnwindSafe(job)).is_err());
        pool.each(&mut items, |item| *item = 7);
        assert_eq!(items, [7; 4]);
    }
}
