//! Nothing in the loop waits for the device, but for what logging asks for. Counted on the CPU,
//! where every transfer goes the way that it goes on a GPU.

#[path = "common/models.rs"]
mod models;
#[path = "common/training.rs"]
mod training;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use models::with_more_layers;
use seqlab::config::presets;
use seqlab::config::{Config, Dtype, EngineChoice};
use seqlab::data::epochs::Epochs;
use seqlab::data::loader::{Batches, Prefetch, STEPS_AT_A_TIME};
use seqlab::data::task::Task;
use seqlab::run::curves::CurveRow;
use seqlab::tensor::device::{Transfers, download, host, set_threads, threads, transfers};
use seqlab::train::meter::PENDING;
use seqlab::train::trainer::{Observer, Outcome, Trainer};
use training::run;

/// Transfers are counted for the whole process, so one test runs at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The preset, small, for `steps` steps on libtorch.
fn small(name: &str, steps: i64) -> Config {
    let config = presets::find(name).unwrap().config;
    let id_max = config.id_max - config.vocab + 7;
    let config = Config { vocab: 7, id_max, units: 3, epochs: 1, ..config };
    let config = Config { engine: EngineChoice::Libtorch, dtype: Dtype::Float64, ..config };
    let config = match config.samples {
        // The last batch of an epoch is smaller than the others.
        Some(_) => Config { batch_size: 4, samples: Some(4 * steps - 1), ..config },
        None => Config { epochs: steps / Epochs::of(&config).steps_per_epoch(), ..config },
    };
    assert_eq!((config.validate(), steps_of(&config)), (Ok(()), steps));
    config
}

/// Steps of the whole training.
fn steps_of(config: &Config) -> i64 {
    Epochs::of(config).steps()
}

/// Every family, with more layers of every kind that it may have, and with and without clipping, one replica and three.
fn all(steps: i64) -> Vec<Config> {
    let mut all = Vec::new();
    for name in ["echo", "partial-echo-2", "reverse"] {
        for replicas in [1, 3] {
            for global_clipnorm in [None, Some(0.1)] {
                all.push(Config { replicas, global_clipnorm, ..small(name, steps) });
            }
        }
        all.extend(with_more_layers(&small(name, steps)).pop());
    }
    all
}

/// What a training leaves, and the transfers it took.
struct Trained {
    rows: Vec<CurveRow>,
    weights: Vec<u64>,
    transfers: Transfers,
}

fn train(config: &Config, prefetch: Prefetch, rows_wait: Duration) -> Trained {
    set_threads(threads(config));
    let mut trainer = Trainer::new(config, host()).unwrap();
    (trainer.prefetch, trainer.rows_wait) = (prefetch, rows_wait);
    let before = transfers();
    let mut rows = run(&mut trainer);
    let after = transfers();
    rows.iter_mut().for_each(|row| row.seconds = 0.0);
    let weights = download(trainer.parameters.flat()).unwrap();
    Trained {
        rows,
        weights: weights.into_iter().map(f64::to_bits).collect(),
        transfers: Transfers {
            blocking: after.blocking - before.blocking,
            queued: after.queued - before.queued,
        },
    }
}

/// Transfers that logging asks for: one a row, more where there are too many steps between two, and
/// one to see that the weights are still numbers.
fn logging(config: &Config) -> u64 {
    let every = config.log_every.unwrap_or(Epochs::of(config).steps_per_epoch());
    let fetches = |steps: i64| (steps as u64).div_ceil(PENDING as u64);
    let (rows, rest) = (steps_of(config) / every, steps_of(config) % every);
    rows as u64 * fetches(every) + fetches(rest) + 1
}

fn check(config: &Config) {
    let [ahead, direct] =
        [Prefetch::On, Prefetch::Off].map(|how| train(config, how, Duration::ZERO));
    let about = format!("{} {:?} {}", config.preset, config.log_every, config.replicas);
    let steps = steps_of(config) as u64;
    let queued = steps.div_ceil(STEPS_AT_A_TIME as u64);
    // Masks are uploaded step by step, and nothing waits for them.
    let masks = if config.dropout > 0.0 { steps } else { 0 };
    let expected = Transfers { blocking: logging(config), queued: queued + masks };
    assert_eq!(ahead.transfers, expected, "{about}");
    // What is saved: the direct way uploads every part of every batch, which shows that it counts.
    let parts = if config.preset == "reverse" { 3 } else { 2 };
    let parts = parts + if config.n_in_min.is_some() { 2 } else { 0 };
    let blocking = logging(config) + steps * parts;
    assert_eq!(direct.transfers, Transfers { blocking, queued: masks }, "{about}");
    assert_eq!(ahead.rows, direct.rows, "{about}");
    assert!(ahead.weights == direct.weights, "{about}");
}

#[test]
fn a_row_is_all_there_is_to_wait_for() {
    let _alone = alone();
    for config in all(12) {
        for log_every in [None, Some(5)] {
            check(&Config { log_every, ..config.clone() });
        }
    }
}

#[test]
fn rows_that_may_wait_are_fetched_together() {
    let _alone = alone();
    for config in all(PENDING as i64 + 44) {
        let config = Config { log_every: Some(1), ..config };
        let [at_once, late] =
            [Duration::ZERO, Duration::MAX].map(|wait| train(&config, Prefetch::On, wait));
        assert_eq!(at_once.transfers.blocking, logging(&config));
        // Two for the rows, one to see that the weights are still numbers.
        assert_eq!(late.transfers.blocking, 3, "{}", config.preset);
        assert_eq!(late.rows, at_once.rows);
        assert!(late.weights == at_once.weights);
    }
}

#[test]
fn long_stretches_without_a_row_are_fetched_seldom() {
    let _alone = alone();
    let all = all(PENDING as i64 + 44);
    for config in all.into_iter().filter(|config| config.replicas > 1) {
        check(&Config { log_every: Some(10_000), ..config });
    }
}

/// Waits until `done`, or a minute.
fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() && start.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(1));
    }
}

#[test]
fn uploads_run_ahead_of_their_use_but_not_away() {
    let _alone = alone();
    let before = transfers().queued;
    let queued = || transfers().queued - before;
    let config = Config { epochs: i64::MAX, ..small("echo", 4) };
    let source = Batches::new(&config, &Task::new(&config), 0);
    let mut feed = source.feed(Prefetch::On, host()).unwrap();
    // Nothing is used: one waits, and the next waits for its place.
    wait_until(|| queued() == 2);
    sleep(Duration::from_millis(50));
    assert_eq!(queued(), 2);
    // One is used, and so there is a place.
    assert!(feed.next().unwrap().is_ok());
    wait_until(|| queued() == 3);
    sleep(Duration::from_millis(50));
    assert_eq!(queued(), 3);
}

/// Asks to stop, or fails, at the third row.
struct Third<'a> {
    rows: usize,
    stop: &'a AtomicBool,
    fail: bool,
}

impl Observer for Third<'_> {
    fn step(&mut self) {}
    fn rows(&mut self, _: Vec<CurveRow>) -> Result<()> {
        self.rows += 1;
        if self.rows == 3 && self.fail {
            bail!("the disk is full");
        }
        self.stop.store(self.rows == 3, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn an_early_end_is_one() {
    let _alone = alone();
    let config = Config { epochs: i64::MAX / 4, log_every: Some(1), ..small("echo", 4) };
    for fail in [false, true] {
        let mut trainer = Trainer::new(&config, host()).unwrap();
        trainer.prefetch = Prefetch::On;
        let stop = AtomicBool::new(false);
        let outcome = trainer.run(&mut Third { rows: 0, stop: &stop, fail }, &stop);
        assert_eq!(trainer.step, 3);
        match outcome {
            Ok(outcome) => assert!(!fail && matches!(outcome, Outcome::Interrupted)),
            Err(error) => assert!(fail && error.to_string() == "the disk is full"),
        }
    }
}

#[test]
fn the_fused_engine_says_that_it_reads_ids_on_the_host() {
    let _alone = alone();
    let config = Config { engine: EngineChoice::Fused, ..small("echo", 4) };
    let mut trainer = Trainer::new(&config, host()).unwrap();
    trainer.prefetch = Prefetch::On;
    let stop = AtomicBool::new(false);
    let error = trainer.run(&mut Third { rows: 0, stop: &stop, fail: false }, &stop).unwrap_err();
    assert!(error.to_string().contains("ids are wanted on the host"), "{error}");
}
