//! What `seqlab` says: hints that work, errors that name what was given, help that answers.

mod common;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{ECHO, Lab, PROGRAM};

/// What the command between the backquotes of the only hint in `said` is.
fn hinted(said: &str) -> &str {
    let (_, hint) = said.split_once("\nhint: ").unwrap_or_else(|| panic!("no hint: {said}"));
    hint.split('`').nth(1).unwrap_or_else(|| panic!("no command: {said}"))
}

/// Standard error of a command that exits with `status`.
fn said(lab: &Lab, status: i32, arguments: &str) -> String {
    let output = lab.command(arguments).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "seqlab {arguments}\n{stderr}");
    stderr
}

/// Gives a shell in the lab a command that was printed; what it prints.
fn give(lab: &Lab, command: &str) -> String {
    let mut shell = Command::new("bash");
    shell.args(["-c", command]).current_dir(lab.path(".")).env("CUDA_VISIBLE_DEVICES", "-1");
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Makes the run at `run` one that was killed before its end.
fn unfinish(lab: &Lab, run: &str) {
    fs::remove_file(lab.path(run).join("summary.json")).unwrap();
    fs::remove_file(lab.path(run).join("predictions.csv")).unwrap();
}

/// What `train echo --out DIRECTORY` says when it is interrupted, called by the name `program`.
fn interrupted(lab: &Lab, program: &str, directory: &str) -> String {
    let mut train = Command::new(PROGRAM);
    train.arg0(program).current_dir(lab.path(".")).stderr(Stdio::piped());
    train.args(["train", "echo", "--device=cpu", "--epochs=1000000", "--quiet"]);
    let mut child = train.arg(format!("--out={directory}")).spawn().unwrap();
    let rows = lab.path(directory).join("curves.csv");
    while !fs::metadata(&rows).is_ok_and(|file| file.len() > 200) {
        assert_eq!(child.try_wait().unwrap(), None, "ended too early");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut kill = Command::new("kill");
    assert!(kill.args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_interrupted_run_names_the_command_that_goes_on_as_a_shell_reads_it() {
    let lab = Lab::new();
    for directory in ["runs/my run é ü", "it's $HOME \"x\"", "a;b", "-run"] {
        let said = interrupted(&lab, "no/such/seqlab", directory);
        let (_, command) = said.trim_end().rsplit_once("resume with: ").unwrap();
        let run = command.strip_prefix("no/such/seqlab resume ").unwrap();
        let word = give(&lab, &format!("printf %s {run}"));
        assert!(!word.starts_with('-'), "{word}");
        let [named, written] = [word.as_str(), directory].map(|path| lab.path(path).canonicalize());
        assert_eq!(named.unwrap(), written.unwrap());
    }
}

#[test]
fn an_interrupted_run_that_is_trained_again_hints_at_resume() {
    let lab = Lab::new();
    lab.train(ECHO, "'my run'");
    let again = format!("train {ECHO} --out 'my run'");
    let finished = said(&lab, 2, &again);
    assert!(finished.contains("--force") && !finished.contains("resume"), "{finished}");
    unfinish(&lab, "my run");
    let unfinished = said(&lab, 2, &again);
    assert!(unfinished.contains("not finished") && !unfinished.contains("--force"), "{unfinished}");
    give(&lab, hinted(&unfinished));
    assert!(lab.path("my run/summary.json").exists());
}

#[test]
fn what_a_run_without_checkpoints_hints_at_helps() {
    let lab = Lab::new();
    lab.train(ECHO, "'my run'");
    fs::remove_dir_all(lab.path("my run/checkpoint")).unwrap();
    for command in ["evaluate 'my run'", "predict 'my run' --source '1 2 3 4 5 6'"] {
        let finished = said(&lab, 1, command);
        assert!(finished.contains("holds no checkpoint"), "{finished}");
        give(&lab, hinted(&finished));
    }
    give(&lab, hinted(&said(&lab, 1, "resume 'my run' --epochs 3")));
    lab.run("evaluate runs/echo-3");
    unfinish(&lab, "my run");
    give(&lab, hinted(&said(&lab, 1, "evaluate 'my run'")));
    lab.run("evaluate 'my run'");
}

#[test]
fn a_run_that_cannot_go_on_hints_at_a_command_that_trains_it_again() {
    let lab = Lab::new();
    lab.train(&format!("{ECHO} --lr-schedule cosine"), "'my run'");
    give(&lab, hinted(&said(&lab, 2, "resume 'my run' --epochs 9")));
    assert!(lab.read("runs/echo/config.toml").contains("epochs = 9\n"));
    unfinish(&lab, "my run");
    lab.write(
        "my run/config.toml",
        lab.read("my run/config.toml").replace("units = 16", "units = 4"),
    );
    give(&lab, hinted(&said(&lab, 2, "resume 'my run'")));
    let file = lab.file("my run", "checkpoint/manifest.json");
    lab.write(&file, "{}");
    give(&lab, hinted(&said(&lab, 1, "resume 'my run'")));
}
