//! Where a run may be made, what `--force` replaces, and several programs at one run or report.

#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{ECHO, Lab, PROGRAM, json};
use seqlab::run::run_dir::{Place, RunDir};
use seqlab::train::checkpoint;

#[test]
fn force_leaves_the_directory_of_another_program_alone() {
    let lab = Lab::new();
    lab.write("mine/checkpoint/model.bin", "mine");
    // What a user may have written for --config: all that a configuration needs, and no more.
    lab.train(ECHO, "run");
    let by_hand = lab.read("run/config.toml").replace("epsilon = ", "# epsilon = ");
    assert!(by_hand.contains("# epsilon"), "{by_hand}");
    for config in ["[server]\nport = 80\n", "", "\0", "preset = 'echo'\n", &by_hand] {
        lab.write("mine/config.toml", config);
        for force in ["", "--force"] {
            let says = ["error: --out mine: its config.toml is not that of a run: ", "\nhint: "];
            lab.refuses(2, &format!("train echo --out mine {force}"), &says);
        }
    }
}

#[test]
fn force_refuses_what_no_run_wrote_among_its_files_before_it_removes_any() {
    let lab = Lab::with_run(ECHO);
    let checkpoint = "checkpoint/step-000000008";
    for (removed, written, told) in [
        ("", "checkpoint/model.bin", "checkpoint/model.bin"),
        ("", "checkpoint/mine/weights.safetensors", "checkpoint/mine"),
        ("", &format!("{checkpoint}/model.bin"), &format!("{checkpoint}/model.bin")),
        (
            &format!("{checkpoint}/manifest.json"),
            &format!("{checkpoint}/manifest.json/mine"),
            &format!("{checkpoint}/manifest.json"),
        ),
        ("summary.json", "summary.json/mine", "summary.json"),
        ("curves.csv", "curves.csv/mine", "curves.csv"),
        ("", "curves.csv", "curves.csv"),
        ("", "summary.json", "summary.json"),
    ] {
        lab.copy("run", "changed");
        if !removed.is_empty() {
            fs::remove_file(lab.path("changed").join(removed)).unwrap();
        }
        lab.write(&format!("changed/{written}"), "mine");
        let says = format!("error: changed/{told}: is not what a run wrote: ");
        lab.refuses(2, "train echo --out changed --force", &[&says, "\nhint: move it away"]);
        fs::remove_dir_all(lab.path("changed")).unwrap();
    }
}

#[test]
fn force_refuses_a_link_among_the_files_of_a_run() {
    let lab = Lab::with_run(ECHO);
    lab.write("precious/mine", "mine");
    for name in ["curves.csv", "checkpoint"] {
        fs::rename(lab.path("run").join(name), lab.path("kept")).unwrap();
        symlink("../precious", lab.path("run").join(name)).unwrap();
        let says = [&*format!("error: run/{name}: is not what a run wrote: a symbolic link")];
        lab.refuses(2, "train echo --out run --force", &says);
        fs::remove_file(lab.path("run").join(name)).unwrap();
        fs::rename(lab.path("kept"), lab.path("run").join(name)).unwrap();
    }
    lab.train(&format!("{ECHO} --force"), "run");
}

#[test]
fn every_run_that_is_kept_here_is_known_as_one() {
    let results = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let runs = common::files(&results)
        .into_iter()
        .filter_map(|file| file.strip_suffix("/config.toml").map(|run| results.join(run)));
    let places: Vec<_> = runs.map(|run| RunDir::place(&run).unwrap()).collect();
    assert!(places.len() > 30 && places.iter().all(|place| *place == Place::Run), "{places:?}");
}

#[test]
fn a_lock_of_another_program_is_no_run_s() {
    let lab = Lab::new();
    lab.write("mine/lock", "held by me\n");
    for force in ["", "--force"] {
        let says = ["error: --out mine: holds files that are no run's\nhint: "];
        lab.refuses(2, &format!("train echo --out mine {force}"), &says);
    }
}

/// What a run that was stopped while its first files were written may have left.
const BEGUN: [&[&str]; 5] = [
    &[],
    &["lock"],
    &["lock", "config.partial"],
    &["lock", "config.0.partial"],
    &["config.0.partial", "config.1.partial"],
];

#[test]
fn a_run_that_was_stopped_before_it_had_a_configuration_is_begun_again() {
    let lab = Lab::new();
    lab.train(ECHO, "whole");
    for begun in BEGUN {
        let begin = |run: &str| {
            fs::create_dir_all(lab.path(run)).unwrap();
            begun.iter().for_each(|name| lab.write(&format!("{run}/{name}"), "1"));
        };
        begin("run");
        for command in ["resume run", "evaluate run"] {
            let says = ["error: run: no run: it has no config.toml\nhint: no training has begun"];
            lab.refuses(2, command, &says);
        }
        lab.train(ECHO, "run");
        lab.same_run("run", "whole");
        fs::remove_dir_all(lab.path("run")).unwrap();
        begin("run");
        lab.train(&format!("{ECHO} --force"), "run");
        lab.same_run("run", "whole");
        fs::remove_dir_all(lab.path("run")).unwrap();
    }
}

#[test]
fn reproduce_goes_on_whatever_a_kill_left_of_an_experiment() {
    let lab = Lab::new();
    let reproduce = "reproduce echo --replicas 2 --out all";
    lab.run(reproduce);
    lab.copy("all/echo", "whole");
    for begun in BEGUN.into_iter().chain([&["config.toml"][..], &["config.toml", "curves.csv"]]) {
        fs::remove_dir_all(lab.path("all/echo")).unwrap();
        fs::create_dir_all(lab.path("all/echo")).unwrap();
        for name in begun {
            match fs::read(lab.path("whole").join(name)) {
                Ok(bytes) => lab.write(&format!("all/echo/{name}"), bytes),
                Err(_) => lab.write(&format!("all/echo/{name}"), "1"),
            }
        }
        lab.run(reproduce);
        lab.same_run("all/echo", "whole");
    }
}

#[test]
fn a_link_that_leads_nowhere_is_no_place_for_a_run() {
    let lab = Lab::new();
    symlink("nowhere", lab.path("link")).unwrap();
    symlink("loop", lab.path("loop")).unwrap();
    for link in ["link", "loop"] {
        for force in ["", "--force"] {
            let says = format!("error: --out {link}: is no directory\nhint: ");
            let train = format!("train echo --out {link} {force}");
            let output = lab.command(&train).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.starts_with(&says), "{stderr}");
        }
        for train in ["train echo --out", "reproduce echo --out"] {
            let output = lab.command(&format!("{train} {link}/run")).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{stderr}");
            assert!(stderr.starts_with(&format!("error: --out {link}/run: cannot")), "{stderr}");
        }
    }
    assert!(!lab.path("nowhere").exists());
}

/// A process that ends with this.
struct Background(Child);

impl Background {
    fn start(lab: &Lab, arguments: &str) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(arguments.split_whitespace()).current_dir(lab.path("."));
        Self(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Waits until the path in `lab` is there.
    fn until(&mut self, lab: &Lab, path: &str) {
        let start = Instant::now();
        while !lab.path(path).exists() {
            assert!(start.elapsed() < Duration::from_secs(120), "no {path}");
            assert_eq!(self.0.try_wait().unwrap(), None, "ended too early");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_training_always_has_a_whole_checkpoint_once_it_has_one() {
    let lab = Lab::new();
    let training = "train echo --units 4 --epochs 1000000000 --quiet --device cpu --out run \
                    --checkpoint-every 1 --keep-checkpoints 1";
    let mut training = Background::start(&lab, training);
    training.until(&lab, "run/checkpoint/step-000000001");
    let mut steps = Vec::new();
    let start = Instant::now();
    while steps.len() < 500 || start.elapsed() < Duration::from_secs(3) {
        let found = checkpoint::newest(&lab.path("run/checkpoint")).unwrap();
        assert!(found.damaged.is_empty(), "{:?}", found.damaged);
        steps.push(found.whole.unwrap().manifest.position.step);
    }
    assert!(steps.is_sorted(), "{steps:?}");
    assert!(steps.first() != steps.last(), "nothing was replaced: {steps:?}");
}

#[test]
fn reports_that_are_made_at_the_same_time_are_whole() {
    let lab = Lab::new();
    lab.train(ECHO, "all/one");
    lab.run("report all");
    let names = ["all/report.json", "all/report.md"];
    let before = names.map(|name| lab.bytes(name));
    for _ in 0..4 {
        let reports: Vec<_> = (0..4).map(|_| Background::start(&lab, "report all")).collect();
        for mut report in reports {
            let status = report.0.wait().unwrap();
            assert_eq!(status.code(), Some(0));
        }
        json(&lab.read("all/report.json"));
        assert!(names.map(|name| lab.bytes(name)) == before);
    }
    assert_eq!(fs::read_dir(lab.path("all")).unwrap().count(), 3);
}

#[test]
fn a_run_that_loses_a_file_while_it_is_evaluated_is_not_finished() {
    for name in ["config.toml", "curves.csv", "predictions.csv", "checkpoint"] {
        let lab = Lab::new();
        let training = "train echo --units 4 --replicas 4 --epochs 1 --quiet --device cpu \
                        --evaluation-samples 60000 --out run";
        let mut training = Background::start(&lab, training);
        training.until(&lab, "run/predictions.csv");
        let path = lab.path("run").join(name);
        if name == "checkpoint" {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        assert_eq!(training.0.wait().unwrap().code(), Some(1), "{name}");
        let mut stderr = String::new();
        let pipe = training.0.stderr.as_mut().unwrap();
        std::io::Read::read_to_string(pipe, &mut stderr).unwrap();
        let says = format!("error: cannot write run/{name}: it was moved, removed or replaced");
        assert!(stderr.starts_with(&says), "{stderr}");
        assert!(!lab.path("run/summary.json").exists());
    }
}
