//! From the command to the first step: initial weights, and threads that the system refuses.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Lab, PROGRAM, json};

/// Initial weights that take seconds on any machine.
const LARGE: &str = "train reverse --units 3000 --device cpu --out run";

#[cfg(unix)]
#[test]
fn a_signal_ends_the_drawing_of_weights_and_leaves_no_run() {
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let lab = Lab::new();
        let mut command = Command::new(PROGRAM);
        command.args(LARGE.split(' ')).current_dir(lab.path(".")).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let told = lines.next().unwrap();
        assert!(told.starts_with("drawing the initial weights: "), "{told}");
        let mut kill = Command::new("kill");
        assert!(kill.args([signal, &child.id().to_string()]).status().unwrap().success());
        let asked = Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(status));
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        let last = lines.last().unwrap();
        assert_eq!(last, "interrupted before the first step; nothing was written");
        assert!(!lab.path("run").exists());
    }
}

/// Runs `seqlab` as a user of its own, one that can read what this one can, with so many threads at
/// the most; nothing where that cannot be done.
fn limited(lab: &Lab, user: u32, threads: usize, arguments: &str) -> Option<Output> {
    let as_user = format!(
        "--reuid {user} --regid {user} --clear-groups --inh-caps=+dac_override --ambient-caps=+dac_override"
    );
    let run = |program: &str, arguments: &str| {
        let mut command = Command::new("setpriv");
        command.args(as_user.split(' ')).arg("prlimit").arg(format!("--nproc={threads}"));
        command.arg(program).args(arguments.split(' ')).current_dir(lab.path("."));
        command.env("CUDA_VISIBLE_DEVICES", "-1").output()
    };
    let can = run("true", "").is_ok_and(|output| output.status.success());
    can.then(|| run(PROGRAM, arguments).unwrap())
}

/// Large enough for libtorch to share the evaluation among its threads.
const SHARED: &str = "--units 64 --samples 64 --evaluation-samples 2000 --out run";

#[test]
fn threads_that_the_system_refuses_are_done_without() {
    for (limit, threads, engine) in
        [(12, 8, "fused"), (10, 8, "fused"), (6, 8, "libtorch"), (4, 64, "fused"), (2, 8, "fused")]
    {
        let lab = Lab::new();
        lab.train(
            &format!("reverse {} --engine {engine} --threads 1", SHARED.replace(" --out run", "")),
            "alone",
        );
        let arguments = format!("train reverse {SHARED} --engine {engine} --threads {threads}");
        let Some(output) = limited(&lab, 61_234, limit, &arguments) else {
            println!("skipped: there is no setpriv, or no right to use it");
            return;
        };
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{limit}: {stderr}");
        assert!(!lab.path("run/lock").exists());
        let used = json(&lab.read("run/summary.json"))["threads"].as_i64().unwrap();
        assert!((1..=limit as i64).contains(&used), "{used} threads of {limit}");
        let refused = used < threads;
        assert_eq!(stderr.contains("as the system refuses more"), refused, "{stderr}");
        if engine == "fused" {
            assert_eq!(lab.bytes("run/predictions.csv"), lab.bytes("alone/predictions.csv"));
        }
        for command in ["evaluate run", "doctor"] {
            let output = limited(&lab, 61_234, limit, command).unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(0), "{command}: {stderr}");
        }
    }
}

#[test]
fn more_threads_than_cores_are_told_of() {
    let lab = Lab::new();
    let arguments = "train echo --epochs 1 --evaluation-samples 20 --threads 200 --out run";
    let output = lab.command(arguments).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let cores = seqlab::tensor::device::cores();
    let told = stderr.contains(&format!("threads: 200, more than the {cores} cores"));
    assert_eq!(told, cores < 200, "{stderr}");
}

#[test]
fn where_not_even_signals_can_be_waited_for_an_error_says_so() {
    let lab = Lab::new();
    let Some(output) = limited(&lab, 61_235, 1, &format!("train reverse {SHARED}")) else {
        println!("skipped: there is no setpriv, or no right to use it");
        return;
    };
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: cannot start a thread: "), "{stderr}");
    assert!(stderr.contains("hint: ") && stderr.contains("ulimit -u"), "{stderr}");
    assert!(!lab.path("run").exists());
}
