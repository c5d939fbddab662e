//! `train --tensorboard`: event files that grow with the curve, and say in the end what `export` makes of it.

mod common;
#[path = "common/python.rs"]
mod python;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Csv, Lab, PROGRAM, Tree, timeless, tree};
use python::python;

const RUN: &str = "echo --epochs 9 --evaluation-samples 20 --replicas 2 --validate-every 3 \
                   --validation-samples 20";

/// Finds the event files of `run` to be those that `export` writes of it. Returns them.
fn check(lab: &Lab, run: &str) -> Tree {
    lab.run(&format!("export {run} --format tensorboard --out {run}.exported"));
    let [own, exported] = [format!("{run}/tensorboard"), format!("{run}.exported")]
        .map(|path| tree(&lab.path(&path)));
    let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&own), names(&exported));
    for (name, content) in &own {
        assert!(*content == exported[name], "{name} is not what export writes");
    }
    own
}

#[test]
fn event_files_are_those_of_the_export_also_once_a_run_goes_on() {
    let lab = Lab::new();
    let told = lab.run(&format!("train {RUN} --tensorboard --out run"));
    assert!(told.ends_with("summary.json checkpoint/ tensorboard/\n"), "{told}");
    let files = check(&lab, "run");
    let file = |replica: usize| format!("replica-{replica}/events.out.tfevents.0.seqlab");
    assert!(files[&file(1)].as_ref().unwrap().windows(15).any(|of| of == b"loss/validation"));
    fs::remove_dir_all(lab.path("run.exported")).unwrap();
    lab.run("resume run --epochs 12");
    let more = check(&lab, "run");
    let [before, after] = [&files, &more].map(|files| files[&file(0)].clone().unwrap());
    assert!(after.len() > before.len() && after.starts_with(&before));

    lab.train(RUN, "without");
    assert!(!lab.path("without/tensorboard").exists());
    lab.train(&(RUN.replace("--replicas 2", "--replicas 1") + " --tensorboard"), "alone");
    assert_eq!(check(&lab, "alone").len(), 2);
}

/// Prints the steps and values of a scalar of an event file's folder, a line each.
const READ: &str = "
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
folder, name = sys.argv[1:]
events = EventAccumulator(folder)
events.Reload()
for scalar in events.Scalars(name):
    print(scalar.step, scalar.value)
";

#[test]
fn tensorboard_itself_reads_what_the_curve_says() {
    let Some(mut python) = python("tensorboard") else {
        println!("skipped: no Python has tensorboard; scripts/test installs it");
        return;
    };
    let lab = Lab::new();
    lab.train(&format!("{RUN} --tensorboard"), "run");
    let curve = Csv::curves(&lab, "run").replica(1);
    let folder = lab.path("run/tensorboard/replica-1");
    let output = python.args(["-c", READ]).arg(folder).arg("loss/training").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Vec<[f64; 2]> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.split(' ').map(|of| of.parse().unwrap()).collect::<Vec<_>>())
        .map(|row| row.try_into().unwrap())
        .collect();
    let expected = curve.numbers("step").into_iter().zip(curve.numbers("loss"));
    assert_eq!(found.len(), curve.rows.len());
    for ([step, value], (at, loss)) in found.into_iter().zip(expected) {
        assert_eq!((step, value as f32), (at, loss as f32));
    }
}

/// Starts a command and kills it once the curve of `run` has grown by so many bytes.
fn kill_after(lab: &Lab, arguments: &str, run: &str, bytes: u64) {
    let length = || fs::metadata(lab.path(run).join("curves.csv")).map_or(0, |of| of.len());
    let mut command = Command::new(PROGRAM);
    command.args(arguments.split_whitespace()).current_dir(lab.path("."));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // A run that goes on first cuts its curve.
    let (start, mut least) = (Instant::now(), length());
    while length() < least + bytes {
        least = least.min(length());
        assert_eq!(child.try_wait().unwrap(), None, "ended too early");
        assert!(start.elapsed() < Duration::from_secs(120), "nothing was written");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_run_that_is_killed_and_resumed_has_every_row_once() {
    let lab = Lab::new();
    let training =
        format!("{} --epochs 6000 --checkpoint-every 1000", RUN.replace("--epochs 9", ""));
    kill_after(&lab, &format!("train {training} --tensorboard --out run"), "run", 50_000);
    for _ in 0..2 {
        // Rows that no checkpoint has, and one torn: they come again.
        let file = lab.path("run/tensorboard/mean/events.out.tfevents.0.seqlab");
        fs::write(&file, [fs::read(&file).unwrap(), b"torn".to_vec()].concat()).unwrap();
        kill_after(&lab, "resume run", "run", 50_000);
    }
    lab.run("resume run");
    check(&lab, "run");
    lab.train(&training, "whole");
    let [killed, whole] = ["run", "whole"].map(|run| lab.read(&format!("{run}/curves.csv")));
    assert!(timeless(&killed) == timeless(&whole));
}

#[test]
fn force_removes_event_files_and_nothing_else_in_their_place() {
    let lab = Lab::new();
    lab.train(&format!("{RUN} --tensorboard"), "run");
    lab.copy("run", "mine");
    for (file, says) in [
        ("notes.txt", "mine/tensorboard/notes.txt: is not what a run wrote"),
        ("replica-0/notes.txt", "mine/tensorboard/replica-0/notes.txt: is not what a run wrote"),
    ] {
        lab.write(&format!("mine/tensorboard/{file}"), "mine");
        lab.refuses(2, "train echo --out mine --force", &[says, "hint: move it away"]);
        fs::remove_file(lab.path("mine/tensorboard").join(file)).unwrap();
    }
    lab.run(&format!("train {RUN} --out run --force --quiet"));
    assert!(!lab.path("run/tensorboard").exists());
}

#[cfg(unix)]
#[test]
fn nothing_is_written_through_a_link_in_the_place_of_event_files() {
    let lab = Lab::new();
    lab.train(&format!("{RUN} --tensorboard"), "run");
    lab.write("elsewhere/replica-0/events.out.tfevents.0.seqlab", "precious");
    fs::remove_dir_all(lab.path("run/tensorboard")).unwrap();
    std::os::unix::fs::symlink(lab.path("elsewhere"), lab.path("run/tensorboard")).unwrap();
    lab.refuses(1, "resume run --epochs 12", &["cannot read run/tensorboard: a symbolic link"]);
}
