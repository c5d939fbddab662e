//! Runs that are killed at any moment, resumed, perhaps killed again, and then compared with the run
//! that nobody killed. Meanwhile directories are moved, removed and made anew, and links put in the
//! place of files. `scripts/soak` does the same many more times.

#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Lab, PROGRAM, tree};
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

/// Experiments that `reproduce` trains one after the other.
const REPRODUCED: &str =
    "reproduce echo echo-tutorial echo-lag-no-context --replicas 2 --device cpu";

/// Kills in the suite; `CRASH_KILLS` asks for more.
const KILLS: usize = 15;

/// Kills of one run, at most.
const AGAIN: usize = 4;

const PRECIOUS: &str = "nobody's but mine\n";

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
    let ended = output.status.code();
    assert!(ended.is_none_or(|status| status == 0), "{about}: {ended:?} {stderr}");
    ended.is_none()
}

/// What was done.
#[derive(Default)]
struct Tally {
    rounds: usize,
    kills: usize,
    reproduced: usize,
    displaced: usize,
    linked: usize,
}

/// Kills, and what else happens to runs.
struct Attack {
    lab: Lab,
    random: ChaCha8Rng,
    /// Kills in all.
    wanted: usize,
    done: Tally,
}

impl Attack {
    /// A moment of something that takes so long: now and then in its first second, in which the files of a
    /// run are made.
    fn moment(&mut self, took: Duration) -> Duration {
        let first = took.min(Duration::from_secs(1));
        let longest = if self.random.random_range(0..3) == 0 { first } else { took.mul_f64(1.1) };
        longest.mul_f64(self.random.random_range(0.0..1.0))
    }

    /// Kills `command`, which takes so long alone, again and again, and lets it end. `after` sees what each
    /// kill left and says what goes on with it.
    fn kill(
        &mut self,
        mut command: String,
        took: Duration,
        after: impl Fn(&mut Self, &str) -> String,
    ) {
        for _ in 0..AGAIN {
            if self.done.kills >= self.wanted {
                break;
            }
            let moment = self.moment(took);
            if !killed(start(&self.lab, &command), moment, &command) {
                return;
            }
            self.done.kills += 1;
            command = after(self, &command);
        }
        self.lab.run(&command);
    }

    /// The run `which` of [`RUNS`] that nobody kills, trained the first time that it is asked for: how it is
    /// trained, where it is, and how long it took.
    fn whole(&self, which: usize, took: &mut [Option<Duration>]) -> (String, String, Duration) {
        let training = format!("{} --evaluation-samples 60 --device cpu", RUNS[which]);
        let reference = format!("whole{which}");
        let took = *took[which].get_or_insert_with(|| {
            let begin = Instant::now();
            self.lab.train(&training, &reference);
            begin.elapsed()
        });
        (training, reference, took)
    }

    /// Kills a training, and with `links` puts one in the place of some file each time.
    fn train(&mut self, training: &str, reference: &str, took: Duration, links: bool) {
        self.kill(format!("train {training} --out run --quiet"), took, |attack, command| {
            // Before there is a config.toml there is no run that could be resumed.
            if !attack.lab.path("run/config.toml").exists() {
                return command.to_owned();
            }
            if links {
                attack.link();
            }
            "resume run --quiet".to_owned()
        });
        self.lab.same_run("run", reference);
        fs::remove_dir_all(self.lab.path("run")).unwrap();
    }

    /// Moves away or removes the directory of a training and has it made anew, by a training that is
    /// killed, while the first goes on.
    fn displace(&mut self, training: &str, reference: &str, took: Duration) {
        let mut first = start(&self.lab, &format!("train {training} --out run --quiet"));
        let run = self.lab.path("run");
        while !run.join("config.toml").exists() {
            assert_eq!(first.try_wait().unwrap(), None, "ended too early");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(self.moment(took));
        let moved = self.random.random_range(0..2) == 0;
        if moved {
            fs::rename(&run, self.lab.path("moved")).unwrap();
        }
        // What is written meanwhile stands in the way of one removal.
        while run.exists() {
            let _ = fs::remove_dir_all(&run);
        }
        self.done.displaced += 1;
        self.train(training, reference, took, false);
        let output = first.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        // It may have been at its end.
        let ended = output.status.success() || stderr.starts_with("error: cannot ");
        assert!(ended, "{:?} {stderr}", output.status);
        if moved {
            self.lab.run("resume moved --quiet");
            self.lab.same_run("moved", reference);
            fs::remove_dir_all(self.lab.path("moved")).unwrap();
        }
    }

    /// Has the unfinished `run` resumed with a link out of it in the place of something, which is put back
    /// unless a file of the run took the place of the link.
    fn link(&mut self) {
        const PLACES: [&str; 9] = [
            "curves.csv",
            "config.toml",
            "predictions.csv",
            "summary.json",
            "lock",
            "config.0.partial",
            "summary.0.partial",
            "checkpoint",
            "checkpoint/partial",
        ];
        let lab = &self.lab;
        let path = lab.path("run").join(PLACES[self.random.random_range(0..PLACES.len())]);
        let target = ["precious", "precious.d", "nothing"][self.random.random_range(0..3)];
        if !path.parent().unwrap().exists() {
            return;
        }
        let kept = lab.path("kept");
        let had = fs::rename(&path, &kept).is_ok();
        symlink(lab.path(target), &path).unwrap();
        let output = lab.command("resume run --quiet").output().unwrap();
        let about = format!("{} -> {target}: {output:?}", path.display());
        assert_eq!(lab.read("precious"), PRECIOUS, "{about}");
        assert_eq!(tree(&lab.path("precious.d")).len(), 1, "{about}");
        assert!(!lab.path("nothing").exists(), "{about}");
        let refused = String::from_utf8_lossy(&output.stderr).starts_with("error: ");
        assert!(output.status.success() || refused, "{about}");
        if path.is_symlink() {
            fs::remove_file(&path).unwrap();
            if had {
                fs::rename(&kept, &path).unwrap();
            }
        } else if had {
            remove(&kept);
        }
        self.done.linked += 1;
    }

    /// Kills `reproduce`, which the same command goes on with.
    fn reproduce(&mut self, took: &mut Option<Duration>) {
        let took = *took.get_or_insert_with(|| {
            let begin = Instant::now();
            self.lab.run(&format!("{REPRODUCED} --out whole"));
            begin.elapsed()
        });
        let command = format!("{REPRODUCED} --out all");
        self.kill(command, took, |_, command| command.to_owned());
        for experiment in ["echo", "echo-tutorial", "echo-lag-no-context"] {
            // Of a process that was killed when it had written all: it keeps nobody out.
            let _ = fs::remove_file(self.lab.path(&format!("all/{experiment}/lock")));
            self.lab.same_run(&format!("all/{experiment}"), &format!("whole/{experiment}"));
        }
        assert!(
            self.lab.path("all/report.md").exists() && self.lab.path("all/report.json").exists()
        );
        fs::remove_dir_all(self.lab.path("all")).unwrap();
        self.done.reproduced += 1;
    }
}

fn remove(path: &Path) {
    match path.is_dir() {
        true => fs::remove_dir_all(path).unwrap(),
        false => fs::remove_file(path).unwrap(),
    }
}

#[test]
fn a_run_that_is_killed_at_any_moment_is_resumed_to_what_it_would_have_been() {
    let wanted = std::env::var("CRASH_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let seed = std::env::var("CRASH_SEED").map_or(1, |seed| seed.parse().unwrap());
    let random = ChaCha8Rng::seed_from_u64(seed);
    let mut attack = Attack { lab: Lab::new(), random, wanted, done: Tally::default() };
    attack.lab.write("precious", PRECIOUS);
    attack.lab.write("precious.d/precious", PRECIOUS);
    let (mut whole, mut reproduced) = ([None; RUNS.len()], None);
    while attack.done.kills < wanted {
        let which = attack.done.rounds % RUNS.len();
        let (training, reference, took) = attack.whole(which, &mut whole);
        match attack.done.rounds % 5 {
            0 | 1 => attack.train(&training, &reference, took, false),
            2 => attack.displace(&training, &reference, took),
            3 => attack.train(&training, &reference, took, true),
            _ => attack.reproduce(&mut reproduced),
        }
        attack.done.rounds += 1;
    }
    let Tally { rounds, kills, reproduced, displaced, linked } = attack.done;
    println!(
        "{kills} kills of {rounds} runs of {} kinds, seed {seed}; {reproduced} of the runs by reproduce, \
         {displaced} in the place of one whose directory was moved or removed meanwhile; {linked} links in \
         the place of files: all runs equal to those that nobody touched, nothing written where a link led",
        (RUNS.len() + 1).min(rounds),
    );
}
