//! The files of a run while it is written: nothing else is written in their place, and what happens
//! to them meanwhile is noticed.

#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{ECHO, Lab, PROGRAM, tree};

const PRECIOUS: &str = "nobody's but mine\n";

/// Trains for long, with many rows and a checkpoint now and then.
const LONG: &str = "echo --units 4 --epochs 1000000000 --evaluation-samples 20 \
                    --checkpoint-every 1000 --quiet --device cpu";

/// A lab with an unfinished run `run` that has a checkpoint in its middle, and files of somebody
/// else's.
fn unfinished() -> Lab {
    let lab = Lab::with_run(&format!("{ECHO} --checkpoint-every 4"));
    fs::remove_file(lab.path("run/summary.json")).unwrap();
    fs::remove_file(lab.path("run/predictions.csv")).unwrap();
    fs::remove_dir_all(lab.path("run/checkpoint/step-000000008")).unwrap();
    lab.write("precious", PRECIOUS);
    lab.write("precious.d/step-000000004/precious", PRECIOUS);
    lab.copy("run", "whole");
    lab
}

/// Runs a command that only waiting for ever can keep from its end; its exit status and errors.
fn ends(lab: &Lab, arguments: &str) -> (Option<i32>, String) {
    let output = lab.command(arguments).timeout(Duration::from_secs(60)).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Makes the run whole again but for its file or directory `name`, in whose place is `what`.
fn put(lab: &Lab, what: &str, name: &str) {
    fs::remove_dir_all(lab.path("run")).unwrap();
    lab.copy("whole", "run");
    let path = lab.path("run").join(name);
    match fs::symlink_metadata(&path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(&path).unwrap(),
        Ok(_) => fs::remove_file(&path).unwrap(),
        Err(_) => {}
    }
    match what {
        "link" => symlink("../precious", &path).unwrap(),
        "link to nothing" => symlink("../nothing", &path).unwrap(),
        "link to a directory" => symlink(lab.path("precious.d"), &path).unwrap(),
        "hard link" => fs::hard_link(lab.path("precious"), &path).unwrap(),
        _ => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
    }
}

fn precious_is_whole(lab: &Lab, about: &str) {
    assert_eq!(lab.read("precious"), PRECIOUS, "{about}");
    assert!(!lab.path("nothing").exists(), "{about}");
    let inside = tree(&lab.path("precious.d"));
    assert_eq!(inside.len(), 2, "{about}: {:?}", inside.keys());
    assert_eq!(lab.read("precious.d/step-000000004/precious"), PRECIOUS, "{about}");
}

#[test]
fn resume_writes_through_no_link_and_into_no_pipe() {
    let lab = unfinished();
    for name in ["curves.csv", "lock", "checkpoint", "checkpoint/step-000000004", "config.toml"] {
        for what in ["link", "link to nothing", "link to a directory", "hard link", "pipe"] {
            if what == "hard link" && name == "config.toml" {
                continue; // It is only read.
            }
            put(&lab, what, name);
            let about = format!("{what} as {name}");
            let (status, stderr) = ends(&lab, "resume run --quiet");
            precious_is_whole(&lab, &about);
            assert_eq!(status, Some(1), "{about}: {stderr}");
            assert!(stderr.contains(&format!("run/{name}")), "{about}: {stderr}");
        }
    }
}

#[test]
fn what_resume_makes_takes_the_place_of_a_link_and_leaves_alone_where_it_leads() {
    let lab = unfinished();
    for name in ["predictions.csv", "summary.partial", "config.partial", "config.0.partial"]
        .into_iter()
        .chain(["summary.0.partial", "checkpoint/partial"])
    {
        for what in ["link", "link to nothing", "link to a directory", "hard link", "pipe"] {
            put(&lab, what, name);
            let about = format!("{what} as {name}");
            let (status, stderr) = ends(&lab, "resume run --quiet --epochs 3");
            precious_is_whole(&lab, &about);
            assert_eq!(status, Some(0), "{about}: {stderr}");
            let files = lab.files("run");
            assert!(!files.iter().any(|name| name.contains("partial")), "{about}: {files:?}");
            assert!(lab.read("run/predictions.csv").ends_with('\n'), "{about}");
        }
    }
}

#[test]
fn a_run_without_a_checkpoint_begins_again_in_no_other_file() {
    let lab = unfinished();
    for what in ["link", "link to nothing", "hard link", "pipe"] {
        put(&lab, what, "curves.csv");
        fs::remove_dir_all(lab.path("run/checkpoint")).unwrap();
        let (status, stderr) = ends(&lab, "resume run --quiet");
        precious_is_whole(&lab, what);
        assert_eq!(status, Some(1), "{what}: {stderr}");
        assert!(stderr.starts_with("error: cannot open run/curves.csv: "), "{what}: {stderr}");
    }
}

/// A training that goes on until something stops it.
struct Training(Option<Child>);

impl Training {
    /// Starts one in `run` and waits until `ready`, which looks at `run`.
    fn start(lab: &Lab, arguments: &str, ready: impl Fn(&Path) -> bool) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["train", "--out", "run"]).args(arguments.split_whitespace());
        command.current_dir(lab.path(".")).stderr(Stdio::piped());
        let mut training = Self(Some(command.spawn().unwrap()));
        let start = Instant::now();
        while !ready(&lab.path("run")) {
            assert!(start.elapsed() < Duration::from_secs(120), "nothing happened");
            let ended = training.0.as_mut().unwrap().try_wait().unwrap();
            assert_eq!(ended, None, "ended too early");
            std::thread::sleep(Duration::from_millis(5));
        }
        training
    }

    /// Waits for its end, which comes soon, by itself.
    fn end(mut self) -> Output {
        let start = Instant::now();
        let child = self.0.as_mut().unwrap();
        while child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(120), "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether the run has rows.
fn has_rows(run: &Path) -> bool {
    fs::read(run.join("curves.csv")).is_ok_and(|rows| !rows.is_empty())
}

/// Whether the run has a checkpoint.
fn is_saved(run: &Path) -> bool {
    let names = fs::read_dir(run.join("checkpoint")).into_iter().flatten().flatten();
    names.into_iter().any(|name| name.file_name().to_string_lossy().starts_with("step-"))
}

fn stopped(output: &Output, says: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let says = format!("error: cannot write {says}: it was moved, removed or replaced");
    assert!(stderr.starts_with(&says) && stderr.contains("\nhint: "), "{says} in {stderr}");
}

#[test]
fn a_training_whose_directory_was_made_anew_writes_nothing_into_the_other_run() {
    let lab = Lab::new();
    let old = Training::start(&lab, LONG, is_saved);
    // All at once: what comes after it is another's from its first moment.
    fs::rename(lab.path("run"), lab.path("gone")).unwrap();
    lab.train(ECHO, "run");
    stopped(&old.end(), "run");
    lab.train(ECHO, "other");
    lab.same_run("run", "other");
}

#[test]
fn a_training_whose_directory_was_removed_ends() {
    let lab = Lab::new();
    let training = Training::start(&lab, LONG, is_saved);
    while lab.path("run").exists() {
        let _ = fs::remove_dir_all(lab.path("run"));
    }
    // Whatever it misses first.
    let output = training.end();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: cannot ") && stderr.contains(" run"), "{stderr}");
    assert!(!lab.path("run").exists());
}

#[test]
fn a_training_ends_when_a_file_of_its_run_is_removed_or_replaced() {
    // Also where the next checkpoint is far away.
    for (every, ready) in [("1000", is_saved as fn(&Path) -> bool), ("never", has_rows)] {
        for name in ["curves.csv", "config.toml", "lock"] {
            let lab = Lab::new();
            let long = LONG.replace("1000 ", &format!("{every} "));
            let training = Training::start(&lab, &long, ready);
            fs::remove_file(lab.path("run").join(name)).unwrap();
            if name == "lock" {
                lab.write("run/lock", "1\n");
            }
            stopped(&training.end(), &format!("run/{name}"));
        }
    }
}
