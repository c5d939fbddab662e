//! Runs that are killed at any moment, resumed, perhaps killed again, and then compared with the run
//! that nobody killed. `scripts/soak` does the same many more times.

#![cfg(unix)]

mod common;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Lab, PROGRAM};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Small runs of every family, engine and kind of checkpoint, each with something special.
const RUNS: [&str; 8] = [
    "echo --epochs 300 --checkpoint-every 7 --log-every 3",
    "echo --epochs 100 --replicas 8 --checkpoint-every 3 --validate-every 20 --validation-samples 40",
    "partial-echo-2 --units 8 --epochs 600 --checkpoint-every 50 --global-clipnorm 0.5",
    "partial-echo-4 --units 6 --epochs 300 --replicas 3 --checkpoint-every 20 --validate-every 50 \
     --validation-samples 42",
    "reverse --units 8 --samples 8000 --batch-size 16 --log-every 7 --checkpoint-every 11 --replicas 2",
    "echo-lag --units 6 --epochs 150 --checkpoint-every 9 --engine libtorch --replicas 2",
    "addition-2 --units 8 --samples 400 --batch-size 16 --epochs 12 \
     --checkpoint-every 13 --replicas 2 --keep-checkpoints 1",
    "echo-lag-no-context --units 6 --epochs 200 --checkpoint-every 10 --dtype float64 \
     --lr-schedule cosine --warmup-steps 30",
];

/// Kills in the suite; `CRASH_KILLS` asks for more.
const KILLS: usize = 12;

fn start(lab: &Lab, arguments: &str) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(arguments.split_whitespace()).current_dir(lab.path("."));
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of the process for so long, then kills it. Whether it was killed.
fn killed(mut child: Child, after: Duration, about: &str) -> bool {
    let start = Instant::now();
    while start.elapsed() < after {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Before there is a config.toml there is no run that could be resumed.
    let ended = output.status.code();
    assert!(ended.is_none_or(|status| status == 0), "{about}: {ended:?} {stderr}");
    ended.is_none()
}

#[test]
fn a_run_that_is_killed_at_any_moment_is_resumed_to_what_it_would_have_been() {
    let wanted = std::env::var("CRASH_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let seed = std::env::var("CRASH_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let lab = Lab::new();
    let mut whole = [None; RUNS.len()];
    let (mut kills, mut resumed, mut again) = (0, 0, 0);
    for round in 0.. {
        let which = round % RUNS.len();
        let training = format!("{} --evaluation-samples 60 --device cpu", RUNS[which]);
        let reference = format!("whole{which}");
        let took = *whole[which].get_or_insert_with(|| {
            let begin = Instant::now();
            lab.train(&training, &reference);
            begin.elapsed()
        });
        let mut command = format!("train {training} --out run");
        let before = kills;
        loop {
            if kills - before > 3 || kills >= wanted {
                lab.run(&format!("{command} --quiet"));
                break;
            }
            // Now and then in the few milliseconds in which the files of a run are made.
            let longest = if random.random_range(0..10) == 0 { 0.1 } else { 1.1 };
            let after = took.mul_f64(random.random_range(0.0..longest));
            if !killed(start(&lab, &command), after, &command) {
                break;
            }
            kills += 1;
            if lab.path("run/config.toml").exists() {
                command = "resume run".to_owned();
            }
        }
        if command == "resume run" {
            resumed += 1;
            again += usize::from(kills > before + 1);
        }
        lab.same_run("run", &reference);
        fs::remove_dir_all(lab.path("run")).unwrap();
        if kills >= wanted {
            println!(
                "{kills} kills of {} runs of {} kinds, seed {seed}: {resumed} resumed, {again} of them \
                 more than once, all equal to the run that nobody killed",
                round + 1,
                RUNS.len().min(round + 1),
            );
            return;
        }
    }
}
