//! `seqlab sweep`: plans, runs one by one and side by side, reports, and what SLURM and Optuna need.

#![cfg(unix)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Csv, Lab, PROGRAM, json};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Six runs of a fraction of a second.
const GRID: &str = r#"method = "grid"

[base]
preset = "echo"
epochs = 3
log_every = 4
validate_every = 1
validation_samples = 40
evaluation_samples = 40
replicas = 2
device = "cpu"

[fields]
units = [4, 6]
learning_rate = { from = 0.001, to = 0.1, log = true, count = 3 }
"#;

const RANDOM: &str = r#"method = "random"
samples = 3
seed = 5
metric = "val_accuracy"

[base]
preset = "echo"
validate_every = 10

[fields]
vocab = { from = 20, to = 40 }
learning_rate = { from = 1e-4, to = 1e-1, log = true }
family = ["lstm", "repeat_vector"]
"#;

/// What a report is written into.
const REPORT: [&str; 4] = ["report.md", "report.json", "runs.csv", "curves.csv"];

/// A lab with the plan of `sweep` in `all`.
fn planned(sweep: &str) -> Lab {
    let lab = Lab::new();
    lab.write("sweep.toml", sweep);
    lab.run("sweep plan sweep.toml --out all");
    lab
}

fn report(lab: &Lab, path: &str) -> [Vec<u8>; 4] {
    lab.run(&format!("sweep report {path}"));
    REPORT.map(|file| lab.bytes(&format!("{path}/{file}")))
}

/// The lines of a plan that list its runs.
fn listed(plan: &str) -> Vec<&str> {
    plan.lines().filter(|line| line.starts_with("  { run = ")).collect()
}

#[test]
fn a_plan_lists_every_run_and_what_all_have_alike() {
    let lab = Lab::new();
    lab.write("sweep.toml", GRID);
    let printed = lab.run("sweep plan sweep.toml --out all");
    assert_eq!(printed, "all/plan.toml: 6 runs\n");
    let plan = lab.read("all/plan.toml");
    let (head, body) = plan.split_once("\nmetric = ").unwrap();
    assert!(head.contains("# The runs of a sweep") && head.contains("crc32 = \""), "{head}");
    let expected = "\"val_loss\"\nfields = [\"units\", \"learning_rate\"]\nruns = [\n  \
                    { run = 0, units = 4, learning_rate = 0.001 },\n  \
                    { run = 1, units = 4, learning_rate = 0.01 },\n  \
                    { run = 2, units = 4, learning_rate = 0.1 },\n  \
                    { run = 3, units = 6, learning_rate = 0.001 },\n  \
                    { run = 4, units = 6, learning_rate = 0.01 },\n  \
                    { run = 5, units = 6, learning_rate = 0.1 },\n]\n\n[common]\n\
                    preset = \"echo\"\ntask = \"echo\"\nvocab = 100\n";
    assert!(body.starts_with(expected), "{body}");
    assert!(body.contains("\nepsilon = 1e-7\n") && body.contains("\nreplicas = 2\n"), "{body}");

    lab.write("random.toml", RANDOM);
    assert_eq!(lab.run("sweep plan random.toml --out drawn"), "drawn/plan.toml: 3 runs\n");
    let plan = lab.read("drawn/plan.toml");
    // What follows the vocabulary is in the list, too.
    let expected = [
        "  { run = 0, vocab = 37, learning_rate = 0.06814, family = \"repeat_vector\", id_max = 35 },",
        "  { run = 1, vocab = 33, learning_rate = 0.008192, family = \"lstm\", id_max = 31, \
         return_sequences = true },",
        "  { run = 2, vocab = 22, learning_rate = 0.0001125, family = \"lstm\", id_max = 20, \
         return_sequences = true },",
    ];
    assert_eq!(listed(&plan), expected);
    assert!(plan.contains("metric = \"val_accuracy\""), "{plan}");
}

#[test]
fn a_plan_stays_and_only_a_random_one_grows() {
    let lab = Lab::new();
    lab.write("sweep.toml", RANDOM);
    lab.run("sweep plan sweep.toml --out all");
    let short = lab.read("all/plan.toml");
    lab.run("sweep plan sweep.toml --out all");
    assert_eq!(lab.read("all/plan.toml"), short);
    lab.write("longer.toml", RANDOM.replace("samples = 3", "samples = 7"));
    lab.run("sweep plan longer.toml --out all");
    let long = lab.read("all/plan.toml");
    let (of_short, of_long) = (listed(&short), listed(&long));
    assert_eq!((of_short.len(), of_long.len()), (3, 7));
    assert_eq!(of_short, of_long[..3]);

    let says = ["error: --out all: holds the plan of another sweep, all/plan.toml\nhint: "];
    lab.refuses(2, "sweep plan sweep.toml --out all", &says);
    for (from, to) in [
        ("seed = 5", "seed = 6"),
        ("val_accuracy", "val_loss"),
        ("validate_every = 10", "validate_every = 10\nunits = 9"),
        ("1e-4", "1e-3"),
    ] {
        let longer = lab.read("longer.toml");
        assert!(longer.contains(from), "{from}");
        lab.write("other.toml", longer.replace(from, to));
        lab.refuses(2, "sweep plan other.toml --out all", &says);
        fs::remove_file(lab.path("other.toml")).unwrap();
    }
    lab.write("notes/mine.txt", "mine");
    lab.refuses(2, "sweep plan sweep.toml --out notes", &["--out notes: holds files already"]);
    lab.write("all/plan.toml", long.replace("run = 1", "run = 2"));
    for command in ["run all --task 0", "run all --all", "slurm all", "report all"] {
        let says = ["error: all/plan.toml is damaged: it is not what was written\nhint: "];
        lab.refuses(1, &format!("sweep {command}"), &says);
    }
}

#[test]
fn what_is_no_sweep_is_refused_with_its_place() {
    let lab = planned(GRID);
    for (from, to, says) in [
        ("units = [4, 6]", "unit = [4, 6]", "bad.toml, line 14, column 1: unknown field `unit`"),
        (
            "units = [4, 6]",
            "units = [4, 0]",
            "run 3 (units = 0, learning_rate = 0.001): bad.toml, line 14, column 1: units = 0: \
             expected a whole number from 1 to 1000000\n",
        ),
        (
            "count = 3",
            "count = 1",
            "bad.toml, line 15, column 1: learning_rate: count = 1: expected how many values",
        ),
        ("from = 0.001", "from = 0", "learning_rate: from = 0: expected a number above 0, with"),
        ("validate_every = 1\n", "", "bad.toml: validate_every (not given): expected 1 or more"),
        ("\"grid\"", "\"bayes\"", "bad.toml, line 1, column 10: unknown variant `bayes`"),
        ("epochs = 3", "epochs = 0", "bad.toml, line 5, column 1: epochs = 0: expected"),
        ("preset = \"echo\"", "train = \"none.tsv\"", "run 0 (units = 4, learning_rate = 0.001): "),
    ] {
        assert!(GRID.contains(from), "{from}");
        lab.write("bad.toml", GRID.replacen(from, to, 1));
        lab.refuses(2, "sweep plan bad.toml --out new", &["error: ", says]);
    }
    for (arguments, says) in [
        ("plan none.toml --out new", "cannot read none.toml"),
        ("plan sweep.toml", "--out"),
        ("run all", "--task"),
        ("run all --task 6", "--task 6: expected a whole number from 0 to 5"),
        ("run all --task x", "--task x: expected a whole number from 0 to 9999"),
        ("run all --all --task 1", "cannot be used with"),
        ("run all --jobs 2 --task 1", "cannot be used with"),
        ("run all --all --jobs 0", "--jobs 0: expected a whole number from 1 to 1024"),
        ("run none --all", "none: no sweep: it has no plan.toml\nhint: give the directory"),
        ("slurm none", "none: no sweep: it has no plan.toml"),
        ("report none", "none: no sweep: it has no plan.toml"),
        ("report all", "all: no run is finished\nhint: "),
        ("run all --job 2", "'--job' found\nhint: did you mean '--jobs'?"),
        ("repor all", "hint: did you mean 'report'?"),
    ] {
        lab.refuses(2, &format!("sweep {arguments}"), &["error: ", says]);
    }
}

#[test]
fn a_task_is_begun_resumed_or_skipped() {
    let long = GRID.replace("epochs = 3", "epochs = 400").replace("log_every = 4\n", "");
    let lab = planned(&long.replace("[base]", "[base]\ncheckpoint_every = 50"));
    let curves = lab.path("all/0001/curves.csv");
    let rows = |bytes: u64| fs::metadata(&curves).is_ok_and(|file| file.len() > bytes);
    let task = "sweep run all --task 1";
    let output = lab.signal("-INT", task, || rows(1_000));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("state saved in all/0001"), "{stderr}");
    let stderr = lab.said(0, task);
    assert!(stderr.contains("resuming echo after step "), "{stderr}");
    let before = lab.bytes("all/0001/curves.csv");
    assert_eq!(lab.said(0, task), "all/0001: finished\n");
    assert!(lab.bytes("all/0001/curves.csv") == before);
    // As train does it.
    lab.run("train --config all/0001/config.toml --out alone --quiet");
    lab.same_run("all/0001", "alone");
    assert!(!lab.path("all/0000").exists());

    // Another run in its place.
    lab.run("train echo --epochs 1 --evaluation-samples 40 --quiet --out all/0002");
    lab.refuses(2, "sweep run all --task 2", &["all/0002: holds a run with another configuration"]);
}

#[test]
fn the_second_process_on_a_task_says_so() {
    let lab = planned(&GRID.replace("epochs = 3", "epochs = 1000000"));
    let mut command = Command::new(PROGRAM);
    command.args(["sweep", "run", "all", "--task", "0", "--quiet"]).current_dir(lab.path("."));
    let mut first = command.spawn().unwrap();
    while fs::read(lab.path("all/0000/curves.csv")).map_or(true, |text| text.is_empty()) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let held = format!("error: all/0000: process {} is writing this run\nhint: ", first.id());
    lab.fails(1, "sweep run all --task 0 --quiet", &[&held]);
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn all_runs_side_by_side_are_those_done_one_by_one() {
    let lab = planned(GRID);
    lab.copy("all", "single");
    let printed = lab.run("sweep run all --all --jobs 2");
    assert_eq!(printed, "6 runs finished\n");
    for task in 0..6 {
        lab.run(&format!("sweep run single --task {task} --threads 1 --quiet"));
        lab.same_run(&format!("all/000{task}"), &format!("single/000{task}"));
    }
    assert!(report(&lab, "all") == report(&lab, "single"));
    // Nothing is left to do, and nothing is done.
    let before = common::tree(&lab.path("all"));
    let stderr = lab.said(0, "sweep run all --all --jobs 3");
    assert!(!stderr.contains("] 000"), "{stderr}");
    assert!(common::tree(&lab.path("all")) == before);
}

#[test]
fn a_run_that_fails_is_told_and_the_others_are_trained() {
    let lab = planned(GRID);
    lab.write("all/0001/mine.txt", "mine");
    lab.copy("all/0001", "all/0004");
    let output = lab.command("sweep run all --all --jobs 2").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("\n0001:\n  error: all/0001: no run"), "{stderr}");
    let end = "error: 2 of 6 runs failed: 0001, 0004\nhint: the same command tries them again\n";
    assert!(stderr.ends_with(end), "{stderr}");
    assert_eq!(stderr.matches(" finished\n").count(), 4, "{stderr}");
    fs::remove_dir_all(lab.path("all/0001")).unwrap();
    fs::remove_dir_all(lab.path("all/0004")).unwrap();
    lab.run("sweep report all");
    assert!(lab.read("all/report.md").contains("\nNot begun: 0001, 0004.\n"));
    assert_eq!(lab.run("sweep run all --all"), "6 runs finished\n");
}

/// The numbers of the processes that are writing runs of the sweep `path`.
fn writers(lab: &Lab, path: &str) -> Vec<String> {
    let locks = (0..6).map(|run| lab.path(&format!("{path}/000{run}/lock")));
    let numbers = locks.filter_map(|lock| Some(fs::read_to_string(lock).ok()?.trim().to_owned()));
    numbers.filter(|number| !number.is_empty()).collect()
}

fn kill(signal: &str, processes: &[String]) {
    if !processes.is_empty() {
        // They may have ended by themselves.
        let mut command = Command::new("kill");
        let _ = command.arg(signal).args(processes).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_signal_is_handed_down_and_a_lost_process_replaced() {
    let long = GRID.replace("epochs = 3", "epochs = 2000").replace("log_every = 4\n", "");
    let lab = planned(&long);
    let begun = |run: &str| {
        let curves = lab.path(&format!("all/{run}/curves.csv"));
        fs::metadata(curves).is_ok_and(|file| file.len() > 1_000)
    };
    let output =
        lab.signal("-TERM", "sweep run all --all --jobs 2", || begun("0000") && begun("0001"));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(143), "{stderr}");
    for run in ["0000", "0001"] {
        assert!(stderr.contains(&format!("state saved in all/{run}")), "{stderr}");
    }
    assert!(
        stderr.ends_with("hint: the same command goes on with what is not finished\n"),
        "{stderr}"
    );
    assert_eq!(writers(&lab, "all"), [""; 0]);

    // A process that is killed fails with its run, and another takes its place.
    let mut command = Command::new(PROGRAM);
    command.args(["sweep", "run", "all", "--all"]).current_dir(lab.path("."));
    let parent = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while writers(&lab, "all").is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(120), "nothing happened");
        std::thread::sleep(Duration::from_millis(5));
    }
    kill("-KILL", &writers(&lab, "all"));
    let output = parent.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("\n0000:\n  error: its process ended early, signal: 9"), "{stderr}");
    assert!(stderr.contains("[6/6] 0005 finished\n"), "{stderr}");
    assert_eq!(lab.run("sweep run all --all"), "6 runs finished\n");
}

/// How often a sweep is killed, unless `SWEEP_KILLS` says.
const KILLS: usize = 6;

#[test]
fn a_sweep_that_is_killed_at_any_moment_has_the_same_report() {
    let kills = std::env::var("SWEEP_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let long = GRID.replace("epochs = 3", "epochs = 300").replace("log_every = 4\n", "");
    let lab = planned(&long.replace("[base]", "[base]\ncheckpoint_every = 30"));
    lab.copy("all", "whole");
    let begin = Instant::now();
    lab.run("sweep run whole --all --jobs 2");
    let (took, expected) = (begin.elapsed(), report(&lab, "whole"));
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut done = 0;
    while done < kills {
        let mut command = Command::new(PROGRAM);
        command.args(["sweep", "run", "all", "--all", "--jobs", "2"]).current_dir(lab.path("."));
        let mut parent = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(took.mul_f64(random.random_range(0.0..1.0) / 2.0));
        let own = [parent.id().to_string()];
        match done % 3 {
            0 => kill("-KILL", &own),
            1 => kill("-TERM", &own),
            _ => kill("-KILL", &[&own[..], &writers(&lab, "all")].concat()),
        }
        done += 1;
        if parent.wait().unwrap().success() {
            fs::remove_dir_all(lab.path("all")).unwrap();
            lab.write("all/plan.toml", lab.bytes("whole/plan.toml"));
        }
    }
    // What an end of its input told to save its state may be at it still.
    let mut tries = 0;
    while lab.command("sweep run all --all --jobs 2 --quiet").output().unwrap().status.code()
        != Some(0)
    {
        tries += 1;
        assert!(tries < 20, "it does not come to its end");
        std::thread::sleep(Duration::from_millis(500));
    }
    let found = report(&lab, "all");
    for (file, (found, expected)) in REPORT.iter().zip(found.iter().zip(&expected)) {
        assert!(found == expected, "{file}: {}", String::from_utf8_lossy(found));
    }
    for run in 0..6 {
        // Of a process that was killed when it had written all: it keeps nobody out.
        let _ = fs::remove_file(lab.path(&format!("all/000{run}/lock")));
        lab.same_run(&format!("all/000{run}"), &format!("whole/000{run}"));
    }
    println!(
        "{done} kills of a sweep of 6 runs, 2 at a time: its report is that of one that nobody killed"
    );
}

#[test]
fn a_report_says_what_the_curves_say() {
    // A learning rate with which one replica, or both, diverge.
    let lab = planned(&GRID.replace("units = [4, 6]", "global_clipnorm = [1.0, 2.0]\nunits = [4]"));
    lab.run("sweep run all --all --jobs 2 --quiet");
    let printed = lab.run("sweep report all");
    assert!(printed.ends_with("\nall: report.md report.json runs.csv curves.csv\n"), "{printed}");
    assert_eq!(lab.run("report all"), printed);
    let sweep = json(&lab.read("all/report.json"));
    let mut means = Vec::new();
    for run in 0..6 {
        let curves = Csv::curves(&lab, &format!("all/000{run}"));
        let best = |k| {
            let losses = curves.replica(k).only(&["val_loss"]);
            let losses = losses.iter().filter_map(|loss| loss.parse::<f64>().ok());
            losses.fold(f64::INFINITY, f64::min)
        };
        let mean = (best(0) + best(1)) / 2.0;
        let found = sweep["runs"][run]["figure"]["mean"].as_f64().unwrap();
        assert!((found - mean).abs() < 1e-5 * mean, "{found} {mean}");
        means.push(mean);
    }
    let ranking = sweep["ranking"].as_array().unwrap();
    let ranking: Vec<usize> = ranking.iter().map(|run| run.as_u64().unwrap() as usize).collect();
    assert!(ranking.windows(2).all(|two| means[two[0]] <= means[two[1]]), "{ranking:?} {means:?}");
    assert_eq!(ranking.len(), 6);
    let best = format!("\nBest: 000{} (global_clipnorm ", ranking[0]);
    assert!(printed.contains(&best), "{printed}");
    let effect = &sweep["effects"][0];
    assert_eq!(
        (&effect["field"], &effect["groups"][1]["value"]),
        (&"global_clipnorm".into(), &"2.0".into())
    );
    let found = effect["groups"][1]["figures"]["mean"].as_f64().unwrap();
    let mean = means[3..].iter().sum::<f64>() / 3.0;
    assert!((found - mean).abs() < 1e-5 * mean, "{found} {mean}");

    let rows = lab.read("all/runs.csv");
    let header = "run,status,global_clipnorm,units,learning_rate,replicas,diverged,val_loss,val_loss_sd,\
                  val_loss_low_95,val_loss_high_95,evaluation_loss,evaluation_token_accuracy,\
                  evaluation_sequence_accuracy";
    let rows = Csv::parse(&rows, header);
    assert_eq!(rows.column("run"), ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(rows.only(&["status", "global_clipnorm", "replicas"])[3], "finished 2.0 2");
    // The joined curves are those of the runs, without their times.
    let joined = lab.read("all/curves.csv");
    let own = String::from_utf8(common::timeless(&lab.read("all/0005/curves.csv"))).unwrap();
    let rows = own.lines().skip(1).map(|row| format!("5,{row}\n")).collect::<String>();
    assert!(joined.ends_with(&rows) && joined.starts_with("run,replica,seed,"), "{joined}");

    lab.refuses(2, "report all --published-curves", &["not for a sweep's runs"]);
    lab.run("train --config all/0000/config.toml --out all/0000 --force --quiet --epochs 1");
    lab.refuses(
        2,
        "sweep report all",
        &["all/0000: is not the plan's: epochs is 1, but was 3 there"],
    );
}

#[test]
fn a_run_that_diverges_is_told_of() {
    let rates = "learning_rate = { from = 0.001, to = 0.1, log = true, count = 3 }";
    let lab =
        planned(&GRID.replace(rates, "learning_rate = [0.01, 3e38]").replace("[4, 6]", "[4]"));
    let output = lab.command("sweep run all --all --quiet").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("0001:\n  error: training diverged: "), "{stderr}");
    lab.run("sweep report all");
    let text = lab.read("all/report.md");
    assert!(text.contains("1 of 2 runs are finished."), "{text}");
    assert!(text.contains("\nNot finished, or diverged in all replicas: 0001.\n"), "{text}");
}

#[test]
fn slurm_is_given_a_script_that_queues_again_what_was_saved() {
    let long = GRID.replace("epochs = 3", "epochs = 1000000");
    let lab = planned(&long);
    let script = lab.run("sweep slurm all");
    let (head, body) = script.split_once("\n\n").unwrap();
    assert!(head.starts_with("#!/bin/bash\n"), "{head}");
    for line in ["--array=0-5", "--requeue", "--signal=B:TERM@120", "--open-mode=append"] {
        assert!(head.contains(&format!("\n#SBATCH {line}")), "{line}: {head}");
    }
    let command = format!("{PROGRAM} sweep run all --task \"$SLURM_ARRAY_TASK_ID\" &\n");
    assert!(body.starts_with(&command), "{body}");

    // Without SLURM: with stand-ins for what the script calls.
    lab.write("script", &script);
    lab.write("bin/squeue", "#!/bin/sh\ncat state\n");
    lab.write("bin/scontrol", "#!/bin/sh\necho \"$@\" >>queued\n");
    for name in ["squeue", "scontrol"] {
        let mut chmod = Command::new("chmod");
        assert!(chmod.arg("+x").arg(lab.path(&format!("bin/{name}"))).status().unwrap().success());
    }
    for (task, state, queued) in [("0", "RUNNING", "requeue 7_0\n"), ("1", "COMPLETING", "")] {
        lab.write("state", state);
        lab.write("queued", "");
        let mut bash = Command::new("bash");
        bash.arg("script").current_dir(lab.path("."));
        let path = format!("{}:{}", lab.path("bin").display(), std::env::var("PATH").unwrap());
        bash.env("PATH", path).env("SLURM_ARRAY_JOB_ID", "7").env("SLURM_ARRAY_TASK_ID", task);
        let mut job = bash.stderr(Stdio::null()).spawn().unwrap();
        let curves = lab.path(&format!("all/000{task}/curves.csv"));
        let begin = Instant::now();
        while fs::read(&curves).map_or(true, |text| text.is_empty()) {
            assert!(begin.elapsed() < Duration::from_secs(120), "nothing happened");
            std::thread::sleep(Duration::from_millis(20));
        }
        kill("-TERM", &[job.id().to_string()]);
        assert_eq!(job.wait().unwrap().code(), Some(143));
        assert_eq!(lab.read("queued"), queued);
        assert!(lab.path(&format!("all/000{task}/checkpoint")).exists());
    }
}

/// What the script `name` prints; `None` if it says that something is missing, in one of these words.
fn script(name: &str, arguments: &[&str], lab: &Lab, missing: &[&str]) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
    let mut command = Command::new(script);
    command.args(arguments).current_dir(lab.path(".")).env("SEQLAB", PROGRAM);
    let output = command.env("CUDA_VISIBLE_DEVICES", "-1").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && missing.iter().any(|words| stderr.contains(words)) {
        eprintln!("skipped: {stderr}");
        return None;
    }
    assert!(output.status.success(), "{name}: {stderr}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn slurm_trains_what_is_trained_without_it() {
    let lab = Lab::new();
    let printed = script("slurm-check", &["work"], &lab, &["SLURM is not installed"]);
    let says = "12 runs by SLURM, one queued again after its time limit";
    assert!(printed.is_none_or(|printed| printed.contains(says)));
}

#[test]
fn optuna_asks_and_is_told() {
    let lab = Lab::new();
    let search = || {
        let missing = ["pip could not install", "no Python from"];
        script("optuna", &["--trials", "3", "--out", "trials"], &lab, &missing)
    };
    let Some(printed) = search() else { return };
    assert!(printed.contains("best of 3 trials: trials/"), "{printed}");
    for trial in 0..3 {
        let summary = json(&lab.read(&format!("trials/{trial}/summary.json")));
        let best = |k: usize| summary["replicas"][k]["early_stopping"]["best"].as_f64().unwrap();
        let mean = format!("val_loss {:.4}\n", (best(0) + best(1)) / 2.0);
        let line = printed.split_inclusive('\n').nth(trial).unwrap();
        assert!(
            line.starts_with(&format!("trials/{trial}: units ")) && line.ends_with(&mean),
            "{line}"
        );
    }
    // The same trials again, none of which is trained.
    let before = lab.bytes("trials/2/curves.csv");
    assert_eq!(search(), Some(printed));
    assert!(lab.bytes("trials/2/curves.csv") == before);
}

#[test]
fn a_run_is_chosen_by_its_number_or_with_all_others() {
    let lab = planned(GRID);
    let says = "error: the following required arguments were not provided: <--task <N>|--all>\n";
    lab.refuses(2, "sweep run all", &[says]);
    lab.refuses(2, "sweep run all --all --task 1", &["cannot be used with"]);
    lab.refuses(2, "sweep run all --task 1 --jobs 2", &["cannot be used with"]);
    let help = lab.run("sweep run --help");
    assert!(help.contains("--all") && !help.contains("--worker"), "{help}");
}

#[test]
fn weights_that_were_imported_are_no_run_of_a_sweep() {
    let lab = planned(&GRID.replace("replicas = 2", "replicas = 1"));
    lab.run("sweep run all --task 0 --quiet");
    lab.run("export all/0000 --format pytorch --out model");
    fs::rename(lab.path("all/0000"), lab.path("run")).unwrap();
    lab.run("import run --format pytorch --weights model/model.safetensors --out all/0000 --quiet");
    let says =
        "all/0000: its weights were imported from model/model.safetensors, not trained\nhint: ";
    lab.refuses(2, "sweep run all --task 0", &[says]);
    lab.fails(2, "sweep report all", &[says]);
    // The others are trained all the same.
    let output = lab.command("sweep run all --all --quiet").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: 1 of 6 runs failed: 0000\n"), "{stderr}");
    assert!(lab.path("all/0005/summary.json").exists());
    fs::remove_dir_all(lab.path("all/0000")).unwrap();
    fs::rename(lab.path("run"), lab.path("all/0000")).unwrap();
    lab.run("sweep report all");
}
