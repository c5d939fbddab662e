//! `reproduce` and `report`.

mod common;

use std::fs;

use common::{Csv, Lab, files, json};
use serde_json::Value;

const REPRODUCE: &str = "reproduce echo-current echo --replicas 2 --out all";

/// What `reproduce` prints on standard error, where progress goes.
fn progress(lab: &Lab, arguments: &str) -> String {
    let output = lab.command(arguments).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    stderr
}

/// The experiments of `all/report.json` and their names.
fn experiments(lab: &Lab) -> (Vec<Value>, Vec<String>) {
    experiments_of(lab, "all")
}

fn experiments_of(lab: &Lab, directory: &str) -> (Vec<Value>, Vec<String>) {
    let report = json(&lab.read(&format!("{directory}/report.json")));
    let experiments = report["experiments"].as_array().unwrap().clone();
    let names = experiments.iter().map(|e| e["name"].as_str().unwrap().to_owned()).collect();
    (experiments, names)
}

fn close(got: &Value, expected: f64) {
    let got = got.as_f64().unwrap();
    assert!((got - expected).abs() <= 1e-5 * expected.abs(), "{got}, not {expected}");
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn reproduce_trains_each_experiment_and_reports_what_the_runs_say() {
    let lab = Lab::new();
    let printed = lab.run(REPRODUCE);
    assert!(printed.ends_with("all: report.md report.json\n"), "{printed}");
    assert!(printed.starts_with("A quick look, no result: fewer than 10 replicas of echo, "));

    let (experiments, names) = experiments(&lab);
    assert_eq!(names, ["echo", "echo-current"], "in the order of the presets");
    for (experiment, name) in experiments.iter().zip(names) {
        let run = files(&lab.path(&format!("all/{name}")));
        assert!(run.contains(&"summary.json".to_owned()) && run.len() >= 7, "{run:?}");
        let summary = json(&lab.read(&format!("all/{name}/summary.json")));
        let of = |key: &str| -> Vec<f64> {
            let replicas = summary["replicas"].as_array().unwrap();
            replicas.iter().map(|replica| replica[key].as_f64().unwrap()).collect()
        };
        let measured = &experiment["measured"];
        close(&measured["loss"]["mean"], mean(&of("train_loss")));
        close(
            &measured["loss"]["sd"],
            (of("train_loss")[0] - of("train_loss")[1]).abs() / 2f64.sqrt(),
        );
        close(&measured["accuracy"]["max"], of("train_accuracy")[0].max(of("train_accuracy")[1]));
        let curves = Csv::curves(&lab, &format!("all/{name}"));
        let late: Vec<f64> = (0..2)
            .map(|k| {
                let curve = curves.replica(k);
                let losses = curve.numbers("loss");
                mean(&losses[losses.len() - 20..])
            })
            .collect();
        close(&measured["late_loss"]["mean"], mean(&late));
        assert_eq!(measured["sequences"]["tried"].as_i64().unwrap() % 4_000, 0);

        let row = printed.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        assert!(row.contains(experiment["published"]["loss"]["verdict"].as_str().unwrap()));
    }
    assert_eq!(experiments[0]["reference"]["loss"]["distribution"]["n"], 20);
    assert_eq!(experiments[1]["reference"], Value::Null);
    assert_eq!(experiments[0]["command"], "scripts/seqlab train echo --replicas 2 --out DIR/echo");
    let text = lab.read("all/report.md");
    assert!(text.contains("\n### echo-current\n") && text.contains("seeds 1 to 2,"), "{text}");
}

#[test]
fn what_is_finished_is_not_trained_again_and_what_is_not_is() {
    let lab = Lab::new();
    assert!(progress(&lab, REPRODUCE).contains("[2/2]"));
    let before = lab.bytes("all/echo/curves.csv");
    let report = lab.bytes("all/report.md");
    fs::remove_file(lab.path("all/echo-current/summary.json")).unwrap();
    lab.run("report all");
    assert!(lab.read("all/report.md").contains("\nNot finished: echo-current.\n"));
    let again = progress(&lab, REPRODUCE);
    assert!(
        again.contains("[1/1]") && again.contains("resuming echo-current after step 12500"),
        "{again}"
    );
    assert!(!progress(&lab, REPRODUCE).contains("training"));
    // With its seconds: it is the same file.
    assert!(lab.bytes("all/echo/curves.csv") == before);
    // The same result, but for the time it took.
    let timeless = |text: &[u8]| {
        let text = String::from_utf8(text.to_vec()).unwrap();
        let lines = text.lines().filter(|line| !line.contains(" steps each in "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(timeless(&lab.bytes("all/report.md")), timeless(&report));
}

#[test]
fn report_makes_the_same_files_again() {
    let lab = Lab::new();
    lab.run(REPRODUCE);
    let files = ["all/report.md", "all/report.json"];
    let before = files.map(|file| lab.bytes(file));
    files.iter().for_each(|file| fs::remove_file(lab.path(file)).unwrap());
    lab.run("report all");
    assert!(files.map(|file| lab.bytes(file)) == before);
}

#[test]
fn replicas_are_those_of_their_own_seeds() {
    let lab = Lab::new();
    lab.run("reproduce echo --replicas 2 --base-seed 5 --out all");
    lab.train("echo --seed 6", "solo");
    let timeless = |rows: Vec<Vec<String>>| -> Vec<Vec<String>> {
        rows.into_iter().map(|row| row[1..row.len() - 1].to_vec()).collect()
    };
    let of = |run| Csv::curves(&lab, run);
    assert_eq!(timeless(of("all/echo").replica(1).rows), timeless(of("solo").rows));
}

#[test]
fn another_run_in_the_place_of_an_experiment_stays_as_it_is() {
    let lab = Lab::new();
    lab.run("reproduce echo --replicas 2 --out all");
    let says = ["all/echo: holds a run with another configuration", "hint: give another --out"];
    lab.refuses(2, "reproduce echo --replicas 3 --out all", &says);
    lab.refuses(2, "reproduce --base-seed 4 --replicas 2 --out all", &says);
    lab.write("notes/echo/mine.txt", "mine");
    lab.refuses(2, "reproduce echo --replicas 2 --out notes", &["notes/echo: no run"]);
}

#[test]
fn what_is_no_run_is_told() {
    let lab = Lab::new();
    lab.write("empty/readme", "");
    lab.refuses(2, "report empty", &["empty: holds no finished run", "hint: give a directory"]);
    lab.refuses(2, "report nowhere", &["cannot read nowhere"]);
    lab.refuses(2, "reproduce --out all --replicas 0", &["--replicas 0"]);
    lab.refuses(2, "reproduce no-such --out all", &["no-such"]);
    lab.run("reproduce echo --replicas 2 --out all");
    let curves = lab.read("all/echo/curves.csv");
    lab.write("all/echo/curves.csv", &curves[..curves.len() - 30]);
    lab.refuses(1, "report all", &["all/echo/curves.csv"]);
    lab.write("all/echo/curves.csv", &curves);
    lab.write("all/echo/summary.json", "{");
    lab.refuses(1, "report all", &["all/echo/summary.json"]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_reproduction_goes_on_with_what_is_missing() {
    let lab = Lab::new();
    let arguments = "reproduce echo partial-echo-2 --replicas 2 --out all";
    let curves = lab.path("all/partial-echo-2/curves.csv");
    let stop = |signal, status, rows: usize| {
        let output =
            lab.signal(signal, arguments, || fs::read(&curves).is_ok_and(|text| text.len() > rows));
        assert_eq!(output.status.code(), Some(status));
        String::from_utf8(output.stderr).unwrap()
    };
    let stderr = stop("-INT", 130, 500);
    assert!(stderr.contains("hint: the same command goes on"), "{stderr}");
    assert!(lab.path("all/echo/summary.json").exists());
    assert!(!lab.path("all/partial-echo-2/summary.json").exists());
    let rows = fs::read(&curves).unwrap();
    let again = stop("-TERM", 143, rows.len() + 500);
    assert!(!again.contains("ing echo "), "{again}");
    assert!(again.contains("resuming partial-echo-2 after step "), "{again}");
    assert!(fs::read(&curves).unwrap().starts_with(&rows), "it went on");
}

#[test]
fn a_report_sets_lengths_beside_sizes() {
    let lab = Lab::new();
    let small = "train partial-echo-2 --evaluation-samples 20 --quiet";
    for (run, flags) in [
        ("a", "--n-out 1 --units 1 --epochs 2"),
        ("b", "--n-out 3 --units 1 --epochs 2"),
        ("c", "--n-out 3 --units 2 --epochs 1"),
        // Always right: there is one id to say.
        ("d", "--n-out 1 --units 2 --epochs 1 --id-min 3 --id-max 3 --learning-rate 1"),
    ] {
        lab.run(&format!("{small} {flags} --out study/{run}"));
    }
    lab.run("report study");
    let report = lab.read("study/report.md");
    let (experiments, _) = experiments_of(&lab, "study");
    let exact = |run: usize| {
        let mean = &experiments[run]["measured"]["sequence_accuracy"]["mean"];
        format!("{:.4}", mean.as_f64().unwrap())
    };
    assert_eq!(exact(3), "1.0000");
    let table = format!(
        "| ids | 1 units, 2 epochs | 2 units, 1 epochs |\n| --- | --- | --- |\n\
         | 1 | {} | **1.0000** |\n| 3 | {} | {} |\n",
        exact(0),
        exact(1),
        exact(2)
    );
    assert!(report.contains(&table), "{table}\nis not in\n{report}");
    assert!(report.contains("Exact sequences of `partial-echo-2` by"), "{report}");

    fs::remove_dir_all(lab.path("study/a")).unwrap();
    fs::remove_dir_all(lab.path("study/d")).unwrap();
    lab.run("report study");
    assert!(!lab.read("study/report.md").contains("| ids |"), "one length alone");
}
