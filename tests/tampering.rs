//! Runs whose files cannot be looked at, or were changed by somebody else: nothing is taken for what it
//! is not, and nothing is lost.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Lab, tree};

/// A run with a checkpoint before its last.
const KEPT: &str =
    "echo --units 4 --epochs 3 --evaluation-samples 40 --checkpoint-every 10 --device cpu";

/// The run without its end, as if it had been killed between the last checkpoint and the summary.
fn unfinish(lab: &Lab, run: &str) {
    fs::remove_file(lab.path(run).join("summary.json")).unwrap();
    fs::remove_file(lab.path(run).join("predictions.csv")).unwrap();
}

/// The library that lets looks at files fail, if it can be made here.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn failing(lab: &Lab) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/failing.c");
    let library = lab.path("failing.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
    match compiler.status() {
        Ok(status) => assert!(status.success()),
        Err(_) => {
            println!("skipped: there is no C compiler");
            return None;
        }
    }
    Some(library)
}

/// Lets each look at what is below `of` fail in turn, and finds the run refused and untouched, or
/// resumed to its end.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn every_look_may_fail(of: &str) {
    const ERRORS: [(&str, &str); 2] = [("5", "Input/output error"), ("24", "Too many open files")];
    let lab = Lab::with_run(KEPT);
    let Some(library) = failing(&lab) else { return };
    lab.copy("run", "unfinished");
    unfinish(&lab, "unfinished");
    let before = tree(&lab.path("unfinished"));
    let mut refused = 0;
    for at in 0.. {
        let (number, text) = ERRORS[at % 2];
        lab.copy("unfinished", "cut");
        let mut command = lab.command("resume cut");
        command.env("LD_PRELOAD", &library).env("FAIL_PATH", format!("cut/{of}"));
        command.env("FAIL_WITH", number).env("FAIL_AT", at.to_string());
        let output = command.env("FAIL_TOLD", lab.path("told")).output().unwrap();
        let failed = fs::remove_file(lab.path("told")).is_ok();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let shown = format!("{text} at {at}: {stderr}");
        if output.status.code() == Some(0) {
            lab.same_run("cut", "run");
        } else {
            refused += 1;
            assert_eq!(output.status.code(), Some(1), "{shown}");
            assert!(stderr.starts_with("error: ") && stderr.contains(text), "{shown}");
            assert!(stderr.contains(&format!("cut/{of}")), "{shown}");
            assert!(tree(&lab.path("cut")) == before, "{shown}");
        }
        fs::remove_dir_all(lab.path("cut")).unwrap();
        if !failed {
            println!("{refused} of {at} failures refused");
            break;
        }
    }
    assert!(refused > 10, "{refused}");
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_checkpoint_that_cannot_be_looked_at_is_neither_missing_nor_damaged() {
    every_look_may_fail("checkpoint");
}

#[cfg(unix)]
#[test]
fn what_stands_in_the_place_of_checkpoints_is_no_missing_checkpoint() {
    use std::os::unix::fs::symlink;
    let lab = Lab::with_run(KEPT);
    unfinish(&lab, "run");
    fs::remove_dir_all(lab.path("run/checkpoint")).unwrap();
    lab.write("run/checkpoint", "no directory");
    for command in ["resume run", "evaluate run", "predict run --source '1 2 3 4 5 6'"] {
        lab.refuses(1, command, &["run/checkpoint cannot be looked at: ", "Not a dir", "hint: "]);
    }
    // Links that lead to themselves and to nothing, which have no content that could be compared.
    for target in ["checkpoint", "nothing"] {
        fs::remove_file(lab.path("run/checkpoint")).unwrap();
        symlink(target, lab.path("run/checkpoint")).unwrap();
        let curves = lab.read("run/curves.csv");
        lab.fails(1, "resume run", &["run/checkpoint cannot be looked at: ", "hint: "]);
        assert!(lab.read("run/curves.csv") == curves && !lab.path("run/lock").exists());
        assert!(fs::symlink_metadata(lab.path("run/checkpoint")).unwrap().is_symlink());
    }
}

#[cfg(unix)]
#[test]
fn a_checkpoint_whose_files_are_of_another_kind_is_not_removed() {
    use std::os::unix::fs::symlink;
    let lab = Lab::with_run(KEPT);
    unfinish(&lab, "run");
    let weights = lab.path(&lab.file("run", "checkpoint/weights.safetensors"));
    fs::rename(&weights, lab.path("weights")).unwrap();
    fs::create_dir(&weights).unwrap();
    fs::write(weights.join("notes.txt"), "precious").unwrap();
    lab.refuses(1, "resume run", &["step-000000012 cannot be looked at: ", "Is a directory"]);
    fs::remove_dir_all(&weights).unwrap();
    symlink(lab.path("weights"), &weights).unwrap();
    lab.refuses(1, "resume run", &["step-000000012 cannot be looked at: ", "a symbolic link"]);
    fs::rename(lab.path("weights"), &weights).unwrap();
    lab.run("resume run");
}

#[test]
fn a_report_leaves_out_no_run_that_it_cannot_look_at() {
    let lab = Lab::with_run(KEPT);
    lab.write("notes.txt", "no run");
    lab.run("report .");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("loop", lab.path("loop")).unwrap();
        lab.fails(1, "report .", &["error: cannot read ./loop/config.toml: "]);
    }
}
