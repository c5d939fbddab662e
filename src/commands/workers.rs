//! Runs of a sweep side by side: processes of this program, each of which trains one run after the
//! other.
//!
//! A worker reads numbers of runs from its standard input, a line each, and answers each with a line
//! of JSON on standard output. The end of its standard input tells it to save the state of its run and
//! to end: when this process wants to end, and when it was killed.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};
use std::time::Duration;
use std::vec::IntoIter;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::signals::Stop;
use crate::base::error;

/// How often it is looked whether the user asked for an end.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It is trained and evaluated.
    Finished,
    /// Its state is saved.
    Interrupted,
    /// Why it cannot be trained.
    Failed(String),
}

/// Workers and what they share.
struct Pool<'a> {
    /// The directory of the sweep.
    path: &'a Path,
    /// CPU threads of each.
    threads: usize,
    /// Runs that nobody has begun.
    queue: Mutex<IntoIter<usize>>,
    /// The standard input of each.
    inputs: Vec<Mutex<Option<ChildStdin>>>,
    stop: &'a AtomicBool,
}

/// A process and its answers.
struct Worker {
    process: Child,
    answers: BufReader<ChildStdout>,
}

/// Trains `runs` of the sweep in the directory `path`, at most `jobs` at a time with `threads` CPU
/// threads each, and calls `told` with what became of each, as it comes. Ends early, with all states
/// saved, when `stop` is set.
///
/// # Errors
/// If no thread can be started.
pub(super) fn train_all(
    path: &Path,
    runs: Vec<usize>,
    (jobs, threads): (usize, usize),
    stop: &AtomicBool,
    mut told: impl FnMut(usize, Outcome),
) -> Result<()> {
    let inputs = (0..jobs).map(|_| Mutex::default()).collect();
    let pool = &Pool { path, threads, queue: Mutex::new(runs.into_iter()), inputs, stop };
    let (teller, outcomes) = channel();
    thread::scope(|scope| {
        for k in 0..jobs {
            let teller = teller.clone();
            let started = Builder::new().spawn_scoped(scope, move || pool.serve(k, &teller));
            // One is enough to come to the end.
            if let (0, Err(e)) = (k, started) {
                return Err(anyhow!(e).context("cannot start a thread"));
            }
        }
        drop(teller);
        loop {
            match outcomes.recv_timeout(PAUSE) {
                Ok((run, outcome)) => told(run, outcome),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if stop.load(Ordering::Relaxed) {
                pool.inputs.iter().for_each(|input| drop(locked(input).take()));
            }
        }
    })
}

impl Pool<'_> {
    /// Has the worker number `k` train one run after the other.
    fn serve(&self, k: usize, teller: &Sender<(usize, Outcome)>) {
        let mut worker = None;
        while let Some(run) = self.next() {
            let outcome = self.train(k, run, &mut worker);
            if teller.send((run, outcome)).is_err() {
                break;
            }
        }
        self.end(k, worker);
    }

    fn next(&self) -> Option<usize> {
        if self.stop.load(Ordering::Relaxed) { None } else { locked(&self.queue).next() }
    }

    /// Has the worker number `k`, which is started if it is not there, train `run`.
    fn train(&self, k: usize, run: usize, worker: &mut Option<Worker>) -> Outcome {
        if worker.is_none() {
            match self.start(k) {
                Ok(started) => *worker = Some(started),
                Err(e) => return Outcome::Failed(error::describe(&e)),
            }
        }
        let answer = worker.as_mut().and_then(|worker| self.ask(k, run, worker));
        if let Some(answer @ (Outcome::Finished | Outcome::Failed(_))) = answer {
            return answer;
        }
        // It ends, or has ended.
        let status = self.end(k, worker.take());
        match answer {
            Some(answer) if self.stop.load(Ordering::Relaxed) => answer,
            _ => Outcome::Failed(format!("error: its process ended early, {status}")),
        }
    }

    fn start(&self, k: usize) -> Result<Worker> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        // It gives advice in the words that this process was called by.
        let name = std::env::args_os().next().unwrap_or_else(|| OsString::from("seqlab"));
        command.arg0(name).args(["sweep", "run", "--all", "--worker", "--threads"]);
        command.arg(self.threads.to_string()).arg("--").arg(self.path);
        // In a group of its own Ctrl-C does not reach it: the end of its input does.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("cannot start a process")?;
        *locked(&self.inputs[k]) = process.stdin.take();
        let answers = process.stdout.take().context("a process without standard output")?;
        Ok(Worker { process, answers: BufReader::new(answers) })
    }

    /// What the worker answers to `run`; `None` if it has ended.
    fn ask(&self, k: usize, run: usize, worker: &mut Worker) -> Option<Outcome> {
        match &mut *locked(&self.inputs[k]) {
            Some(input) => writeln!(input, "{run}").and_then(|()| input.flush()).ok()?,
            None => return Some(Outcome::Interrupted),
        }
        let mut answer = String::new();
        worker.answers.read_line(&mut answer).ok()?;
        serde_json::from_str(&answer).ok()
    }

    /// Ends the worker number `k`, if there is one. Returns how it ended.
    fn end(&self, k: usize, worker: Option<Worker>) -> String {
        drop(locked(&self.inputs[k]).take());
        let status = worker.map(|mut worker| worker.process.wait());
        status.map_or("no process".to_owned(), |status| match status {
            Ok(status) => status.to_string(),
            Err(e) => e.to_string(),
        })
    }
}

/// What `mutex` holds. Nothing that is done with it can leave it half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The worker's side: has `train` do what is asked on standard input, until that ends, and answers to
/// `out`. `train` returns false if `stop` was set meanwhile.
///
/// # Errors
/// If standard output cannot be written, or no thread can be started.
pub(super) fn work(
    stop: &Stop,
    mut train: impl FnMut(usize) -> Result<bool>,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    for run in asked(Arc::clone(&stop.now))? {
        let outcome = match train(run) {
            Ok(true) => Outcome::Finished,
            Ok(false) => Outcome::Interrupted,
            Err(e) => Outcome::Failed(error::describe(&e)),
        };
        writeln!(out, "{}", serde_json::to_string(&outcome)?)?;
        out.flush()?;
        if outcome == Outcome::Interrupted {
            break;
        }
    }
    Ok(if stop.by_signal() { stop.status() } else { ExitCode::SUCCESS })
}

/// The numbers on standard input, as they come. At its end `stop` is set.
fn asked(stop: Arc<AtomicBool>) -> Result<Receiver<usize>> {
    let (sender, receiver) = channel();
    let read = move || {
        let lines = std::io::stdin().lines().map_while(Result::ok);
        for run in lines.map_while(|line| line.parse().ok()) {
            if sender.send(run).is_err() {
                break;
            }
        }
        stop.store(true, Ordering::Release);
    };
    Builder::new().spawn(read).context("cannot start a thread")?;
    Ok(receiver)
}
