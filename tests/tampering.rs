//! Runs whose files cannot be looked at, or were changed by somebody else: nothing is taken for what it
//! is not, and nothing is lost.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Lab, PROGRAM};
use seqlab::files::checksum::Checksum;
use seqlab::run::manifest::Manifest;

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
    // Whether there is a statx, Rust asks with no path at all.
    compiler.args(["-shared", "-fPIC", "-fno-delete-null-pointer-checks", "-o"]);
    compiler.arg(&library).arg(source).arg("-ldl");
    match compiler.status() {
        Ok(status) => assert!(status.success()),
        Err(_) => {
            println!("skipped: there is no C compiler");
            return None;
        }
    }
    Some(library)
}

/// Finds what `resume` said of `cut`, a copy of the unfinished `run`, to be an error that touched
/// nothing, or all of the run.
fn is_refused_or_whole(lab: &Lab, output: &Output, about: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(0) {
        // One that could not be asked whether it is the process's own keeps nobody out.
        let _ = fs::remove_file(lab.path("cut/lock"));
        lab.same_run("cut", "run");
    } else {
        assert_eq!(output.status.code(), Some(1), "{about}: {stderr}");
        assert!(stderr.starts_with("error: "), "{about}: {stderr}");
        // The evaluation may have begun; no checkpoint and no row is lost by that.
        for name in lab.files("unfinished") {
            let [now, then] = ["cut", "unfinished"].map(|run| lab.bytes(&lab.file(run, &name)));
            assert!(now == then, "{about}: {name} was changed: {stderr}");
        }
        lab.run("resume cut");
        lab.same_run("cut", "run");
    }
    fs::remove_dir_all(lab.path("cut")).unwrap();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_run_that_cannot_be_looked_at_is_neither_missing_nor_damaged() {
    const ERRORS: [(&str, &str); 2] = [("5", "Input/output error"), ("24", "Too many open files")];
    let lab = Lab::with_run(KEPT);
    let Some(library) = failing(&lab) else { return };
    lab.copy("run", "unfinished");
    unfinish(&lab, "unfinished");
    let mut refused = 0;
    // One look of three, for the time that it takes.
    for at in (0..).step_by(3) {
        let (number, text) = ERRORS[at % 2];
        lab.copy("unfinished", "cut");
        let mut command = lab.command("resume cut --quiet");
        command.env("LD_PRELOAD", &library).env("FAIL_PATH", "cut");
        command.env("FAIL_WITH", number).env("FAIL_AT", at.to_string());
        let output = command.env("FAIL_TOLD", lab.path("told")).output().unwrap();
        let (about, stderr) = (format!("{text} at {at}"), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            refused += 1;
            assert!(stderr.contains("cut") && stderr.contains(text), "{about}: {stderr}");
        }
        is_refused_or_whole(&lab, &output, &about);
        if fs::remove_file(lab.path("told")).is_err() {
            println!("{refused} of {at} looks refused");
            break;
        }
    }
    assert!(refused > 20, "{refused}");
}

#[cfg(unix)]
#[test]
fn a_run_with_too_many_open_files_is_neither_missing_nor_damaged() {
    let lab = Lab::with_run(KEPT);
    lab.copy("run", "unfinished");
    unfinish(&lab, "unfinished");
    let mut refused = 0;
    for most in 4..16 {
        lab.copy("unfinished", "cut");
        let script = format!("ulimit -n {most}; exec {PROGRAM} resume cut --quiet");
        let output = Command::new("sh").args(["-c", &script]).current_dir(lab.path(".")).output();
        let output = output.unwrap();
        // Too few to load the program.
        if output.status.code() == Some(127) {
            fs::remove_dir_all(lab.path("cut")).unwrap();
            continue;
        }
        refused += usize::from(String::from_utf8_lossy(&output.stderr).contains("Too many open"));
        is_refused_or_whole(&lab, &output, &format!("{most} open files"));
    }
    assert!(refused > 1, "{refused}");
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
        lab.refuses(
            1,
            command,
            &["run/checkpoint cannot be looked at: ", "ot a directory", "hint: "],
        );
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

/// Lets the file `name` of `cut`, a copy of `run`, be `content`, and finds every command of `commands`
/// refusing it.
fn refused(
    lab: &Lab,
    run: &str,
    name: &str,
    content: &[u8],
    commands: &[(i32, &str)],
    says: &[&str],
) {
    lab.copy(run, "runs/cut");
    lab.write(&format!("runs/cut/{name}"), content);
    for (status, command) in commands {
        lab.refuses(*status, command, says);
    }
    fs::remove_dir_all(lab.path("runs/cut")).unwrap();
}

/// What somebody may have made of `curves`, and what a seqlab without checksums took.
fn tampered(curves: &str, foreign: &str) -> Vec<Vec<u8>> {
    let bytes = curves.as_bytes();
    let at = |i: usize, byte: u8| [&bytes[..i], &[byte], &bytes[i + 1..]].concat();
    let digit = curves.rfind(['1', '2', '3', '4', '5', '6', '7', '8']).unwrap();
    let mut nul = vec![0; bytes.len() - 1];
    nul.push(b'\n');
    let mut other = foreign.as_bytes()[..bytes.len().min(foreign.len()) - 1].to_vec();
    other.resize(bytes.len() - 1, b'0');
    other.push(b'\n');
    vec![at(digit, b'9'), at(bytes.len() / 2, 0), nul, other]
}

#[test]
fn a_curve_that_is_not_the_run_s_is_not_gone_on_with() {
    let lab = Lab::with_run(KEPT);
    lab.train(&format!("{KEPT} --seed 8"), "foreign");
    lab.copy("run", "unfinished");
    unfinish(&lab, "unfinished");
    let curves = lab.read("run/curves.csv");
    let says =
        ["error: runs/cut/curves.csv is damaged: ", "hint: put the run's own curves.csv back"];
    for content in tampered(&curves, &lab.read("foreign/curves.csv")) {
        let resume = [(1, "resume runs/cut"), (1, "resume runs/cut --epochs 5")];
        refused(&lab, "unfinished", "curves.csv", &content, &resume, &says);
        let all = [&resume[..], &[(1, "report runs")]].concat();
        refused(&lab, "run", "curves.csv", &content, &all, &says);
    }
    let longer = format!("{curves}{}\n", curves.lines().last().unwrap());
    let finished = [(1, "resume runs/cut"), (1, "report runs")];
    refused(&lab, "run", "curves.csv", longer.as_bytes(), &finished, &says);
    // With its own, all of it works.
    lab.copy("unfinished", "cut");
    lab.run("resume cut");
    lab.same_run("cut", "run");
}

#[test]
fn a_configuration_that_the_run_did_not_have_is_told_and_refused() {
    let lab = Lab::with_run(KEPT);
    lab.copy("run", "unfinished");
    unfinish(&lab, "unfinished");
    let config = lab.read("run/config.toml");
    let source = "predict runs/cut --source '1 2 3 4 5 6'";
    let unfinished = [(2, "resume runs/cut"), (2, "evaluate runs/cut"), (2, source)];
    let finished = [&unfinished[..], &[(2, "report runs")]].concat();
    for (old, new, says) in [
        ("units = 4", "units = 999999", "units is 999999, but was 4 when runs/cut/"),
        ("replicas = 1", "replicas = 65536", "replicas is 65536, but was 1 when runs/cut/"),
        ("float32", "float64", "dtype is \"float64\", but was \"float32\" when runs/cut/"),
        ("hard_sigmoid", "sigmoid", "gate_activation is \"sigmoid\", but was \"hard_sigmoid\""),
        ("seed = 1", "seed = 7", "seed is 7, but was 1 when runs/cut/"),
        ("\nseed", "\nglobal_clipnorm = 1.0\nseed", "global_clipnorm is 1.0, but was none"),
        ("\"echo\"", "\"custom\"", "preset is \"custom\", but was \"echo\""),
    ] {
        let changed = config.replacen(old, new, 1);
        assert_ne!(changed, config, "{old}");
        let says = ["error: runs/cut/config.toml: ", says, "hint: put it back; `"];
        refused(&lab, "run", "config.toml", changed.as_bytes(), &finished, &says);
        refused(&lab, "unfinished", "config.toml", changed.as_bytes(), &unfinished, &says);
    }
    // A finished run has had its epochs; one that is not may be made longer.
    let longer = config.replace("epochs = 3", "epochs = 5");
    let says = ["epochs is 5, but was 3 when runs/cut/summary.json was written"];
    refused(&lab, "run", "config.toml", longer.as_bytes(), &finished, &says);
    lab.write("unfinished/config.toml", &longer);
    lab.run("resume unfinished");
    lab.run("resume run --epochs 5");
    lab.same_run("unfinished", "run");
}

#[test]
fn what_changes_no_number_may_be_edited() {
    let lab = Lab::with_run(KEPT);
    lab.copy("run", "unfinished");
    unfinish(&lab, "unfinished");
    for run in ["run", "unfinished"] {
        let file = format!("{run}/config.toml");
        let config = lab.read(&file).replace("device = \"cpu\"", "device = \"auto\"\nthreads = 1");
        let config = config.replace("checkpoint_every = 10", "checkpoint_every = \"never\"");
        lab.write(&file, format!("# mine\n{}", config.replace("keep_checkpoints = 2", "")));
        lab.run(&format!("evaluate {run}"));
        lab.run(&format!("resume {run}"));
    }
    lab.run("report .");
}

#[test]
fn runs_of_a_seqlab_without_checksums_are_read_and_gone_on_with() {
    let lab = Lab::with_run(KEPT);
    lab.copy("run", "old");
    lab.forget("old", "summary.json", &["config", "curves"]);
    for name in fs::read_dir(lab.path("old/checkpoint")).unwrap() {
        let path = name.unwrap().path().join("manifest.json");
        fs::write(&path, without_checksum(&fs::read_to_string(&path).unwrap())).unwrap();
    }
    assert_eq!(lab.run("evaluate old"), lab.run("evaluate run"));
    assert_eq!(lab.run("resume old"), "old: finished, all 3 epochs; --epochs N goes on to N\n");
    lab.run("report .");
    lab.run("resume old --epochs 5");
    lab.run("resume run --epochs 5");
    // From then on it has them.
    lab.same_run("old", "run");
    let manifest = common::json(&lab.read(&lab.file("old", "checkpoint/manifest.json")));
    let curves = Checksum::of(&lab.bytes("old/curves.csv"));
    assert_eq!(manifest["curves_crc32"], curves.crc32);
}

/// A manifest as it was before it had a checksum of the curve.
fn without_checksum(manifest: &str) -> String {
    let mut old = Manifest::parse(manifest.as_bytes()).unwrap();
    old.curves_crc32 = None;
    old.crc32 = 0;
    old.crc32 = Checksum::of(&serde_json::to_vec(&old).unwrap()).crc32;
    old.text().unwrap()
}
