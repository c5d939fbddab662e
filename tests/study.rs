//! Recipes, through the program: `reproduce --recipe` and the report of its runs.

mod common;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use common::{Lab, json};
use seqlab::resolve::Recipe;
use serde_json::Value;

const RECIPE: &str = r#"title = "Words backwards"
data = "made by this test"
notes = "Of *made* words."
runs = ["one", "two"]

[files]
train = "train/{}.tsv"
validation = "dev/{}.tsv"
test = "test/{}.tsv"

[config]
source_tokens = "characters"
target_tokens = "words"
units = 12
embedding = 8
batch_size = 8
epochs = 25
checkpoint_every = 20
early_stopping = "val_sequence_accuracy"
early_stopping_mode = "max"
early_stopping_patience = 25
restore_best_weights = true
replicas = 2

[[published]]
name = "theirs"
source = "A. Nobody 2020"
beside = "mean"
macro_wer = 150
[published.wer]
one = 200
two = 0.0

[[published]]
name = "their vote"
source = "A. Nobody 2020"
beside = "ensemble"
macro_per = 99.5
[published.wer]
one = 200.0
"#;

const REPRODUCE: &str = "reproduce --recipe two.toml --data data --out";

/// Words of two to four of `letters`, and the same backwards letter by letter.
fn backwards(letters: &[&str], count: usize, first: usize) -> String {
    let mut lines = String::new();
    for n in first..first + count {
        let letter = |place: usize| letters[(n / 5 + n * place * place + place) % letters.len()];
        let word: Vec<&str> = (0..2 + n % 3).map(letter).collect();
        let back: Vec<&str> = word.iter().rev().copied().collect();
        writeln!(lines, "{}\t{}", word.concat(), back.join(" ")).unwrap();
    }
    lines
}

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("two.toml", RECIPE);
    for (name, letters) in [("one", ["a", "b", "c"]), ("two", ["x", "é", "z"])] {
        for (part, count, first) in [("train", 100, 0), ("dev", 20, 300), ("test", 30, 400)] {
            lab.write(&format!("data/{part}/{name}.tsv"), backwards(&letters, count, first));
        }
    }
    lab
}

/// Both files of a report, without how long trainings took.
fn report(lab: &Lab, out: &str) -> [String; 2] {
    let timeless = |line: &str| match line.split_once(" steps each in ") {
        Some((before, after)) => format!("{before}{}\n", after.split_once(" s;").unwrap().1),
        None => format!("{line}\n"),
    };
    ["report.md", "report.json"].map(|file| {
        let text = lab.read(&format!("{out}/{file}"));
        let is_time = |line: &str| {
            line.starts_with("Training took ")
                || line.trim_start().starts_with("\"train_seconds\":")
        };
        text.lines().filter(|line| !is_time(line)).map(timeless).collect()
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn close(got: &Value, expected: f64) {
    let got = got.as_f64().unwrap();
    assert!((got - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{got}, not {expected}");
}

/// `key` of the evaluation of each replica of the finished run `run`, in per cent.
fn rates(lab: &Lab, run: &str, key: &str) -> Vec<f64> {
    let summary = json(&lab.read(&format!("{run}/summary.json")));
    let replicas = summary["replicas"].as_array().unwrap();
    replicas.iter().map(|of| 100.0 * of["evaluation"][key].as_f64().unwrap()).collect()
}

/// What the interval says of the published figure beside it.
fn expected_verdict(interval: &Value, figure: f64) -> &'static str {
    let [low, high] = [0, 1].map(|i| interval[i].as_f64().unwrap());
    match () {
        () if high < figure - 0.005 => "better",
        () if low > figure + 0.005 => "worse",
        () => "within",
    }
}

#[test]
fn a_recipe_is_trained_and_reported_beside_what_was_published() {
    let lab = lab();
    let printed = lab.run(&format!("{REPRODUCE} all"));
    assert!(printed.ends_with("all: report.md report.json\n"), "{printed}");
    assert!(printed.starts_with("A quick look, no result: fewer than 10 replicas: one, two."));
    let study = json(&lab.read("all/report.json"));
    let runs = study["runs"].as_array().unwrap();
    let mut of_seeds = Vec::new();
    for (run, name) in runs.iter().zip(["one", "two"]) {
        let directory = format!("all/{name}");
        assert_eq!(run["name"], name);
        assert_eq!(run["samples"], 30);
        let right = rates(&lab, &directory, "sequence_accuracy");
        let wrong: Vec<f64> = right.iter().map(|right| 100.0 - right).collect();
        let figures = &run["figures"];
        close(&figures["wer"]["mean"], mean(&wrong));
        close(&figures["wer"]["sd"], (wrong[0] - wrong[1]).abs() / 2f64.sqrt());
        let symbols = rates(&lab, &directory, "symbol_error_rate");
        close(&figures["per"]["mean"], mean(&symbols));
        // The file is what the command prints.
        let printed = lab.run(&format!("evaluate {directory} --ensemble --json"));
        assert_eq!(lab.read(&format!("{directory}/ensemble.json")), printed);
        let together = json(&printed)[0]["evaluation"].clone();
        let right = together["sequence_accuracy"].as_f64().unwrap();
        close(&figures["ensemble"]["wer"], 100.0 * (1.0 - right));
        let symbols = together["symbol_error_rate"].as_f64().unwrap();
        close(&figures["ensemble"]["per"], 100.0 * symbols);
        let theirs = &figures["published"][0]["wer"];
        let figure = theirs["figure"].as_f64().unwrap();
        let interval = &figures["wer"]["confidence_95"];
        assert_eq!(theirs["verdict"], expected_verdict(interval, figure), "{run}");
        of_seeds.push(wrong);
    }
    let average = &study["average"];
    assert_eq!(average["complete"], true);
    let of_seed: Vec<f64> = (0..2).map(|k| mean(&[of_seeds[0][k], of_seeds[1][k]])).collect();
    close(&average["figures"]["wer"]["mean"], mean(&of_seed));
    close(&average["figures"]["wer"]["sd"], (of_seed[0] - of_seed[1]).abs() / 2f64.sqrt());
    assert_eq!(average["figures"]["published"][0]["wer"]["figure"], 150.0);
    assert_eq!(runs[0]["figures"]["published"][1]["wer"]["verdict"], "better");
    assert_eq!(runs[1]["figures"]["published"][1]["wer"], Value::Null);

    let text = lab.read("all/report.md");
    for says in [
        "# Words backwards\n",
        "\nOf \\*made\\* words.\n",
        "| theirs (beside the mean) | their vote (beside the ensemble) |\n",
        "| 200.00 better | 200.00 better |\n",
        "| mean of all 2 |",
        "\n- theirs: A. Nobody 2020\n",
        "\nTo be had: made by this test.\n",
        "scripts/seqlab train --train DATA/train/one.tsv --validation DATA/dev/one.tsv --test ",
        " --units 12 --seed 1 --replicas 2 --out OUT/one\n",
    ] {
        assert!(text.contains(says), "no {says:?} in {text}");
    }
}

#[test]
fn the_command_of_a_run_trains_it() {
    let lab = lab();
    lab.write("two.toml", RECIPE.replace("epochs = 25", "epochs = 2"));
    lab.run(&format!("{REPRODUCE} all one --seed 3 --replicas 3 --quiet"));
    let study = json(&lab.read("all/report.json"));
    let command = study["runs"][0]["command"].as_str().unwrap();
    let command = command.replace("DATA", "data").replace("OUT", "again");
    lab.run(command.strip_prefix("scripts/seqlab ").unwrap());
    fs::remove_file(lab.path("all/one/ensemble.json")).unwrap();
    lab.same_run("all/one", "again/one");
}

#[cfg(unix)]
#[test]
fn a_killed_study_goes_on_to_the_same_report() {
    let lab = lab();
    lab.run(&format!("{REPRODUCE} whole"));
    let again = format!("{REPRODUCE} cut");
    let rows = |run: &str, bytes: u64| {
        let curves = lab.path(&format!("cut/{run}/curves.csv"));
        move || fs::metadata(&curves).is_ok_and(|file| file.len() > bytes)
    };
    lab.signal("-KILL", &again, rows("one", 300));
    let output = lab.signal("-INT", &again, rows("two", 300));
    assert_eq!(output.status.code(), Some(130));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("resuming") || stderr.contains("from the beginning"), "{stderr}");
    assert!(lab.path("cut/one/ensemble.json").exists());
    assert!(!lab.path("cut/two/summary.json").exists());
    lab.run("report cut");
    assert!(lab.read("cut/report.md").contains("\nNot finished: two.\n"));
    let output = lab.command(&again).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("[1/1]\n"), "{stderr}");
    assert!(stderr.contains("\nresuming custom after step "), "{stderr}");
    for run in ["one", "two"] {
        lab.same_run(&format!("whole/{run}"), &format!("cut/{run}"));
    }
    assert!(report(&lab, "cut") == report(&lab, "whole"), "{}", lab.read("cut/report.md"));

    // What is lost is made again, and from what is there.
    fs::remove_file(lab.path("cut/one/ensemble.json")).unwrap();
    lab.run("report cut");
    assert!(lab.read("cut/report.md").contains("\nReplicas together not evaluated: one.\n"));
    lab.run(&again);
    assert!(report(&lab, "cut") == report(&lab, "whole"));
    fs::remove_file(lab.path("cut/report.md")).unwrap();
    let printed = lab.run("report cut --json");
    assert_eq!(printed, lab.read("cut/report.json"));
    assert!(report(&lab, "cut") == report(&lab, "whole"));
    // A run that goes on is another, which nobody has evaluated.
    lab.refuses(2, "report cut --published-curves", &["--published-curves: is for published"]);
    lab.run("train --config cut/one/config.toml --out cut/one --force --quiet --epochs 1");
    assert!(!lab.path("cut/one/ensemble.json").exists());
    lab.refuses(2, "report cut", &["one: is no run of the recipe: epochs is 1, but was 25"]);
    lab.refuses(2, &again, &["cut/one: holds a run with another configuration: epochs is 1"]);
}

#[test]
fn a_part_of_a_study_says_what_is_missing() {
    let lab = lab();
    lab.write("two.toml", RECIPE.replace("epochs = 25", "epochs = 1"));
    lab.run(&format!("{REPRODUCE} some two --replicas 1"));
    let text = lab.read("some/report.md");
    assert!(text.contains("\nNot begun: one.\n") && text.contains("| mean of these 1 |"), "{text}");
    let study = json(&lab.read("some/report.json"));
    let average = &study["average"]["figures"];
    // Of the same run, not of all; and one seed has no interval.
    assert_eq!(average["published"][0]["wer"]["figure"], 0.0);
    assert_eq!(average["published"][0]["wer"]["verdict"], Value::Null);
    assert!(!lab.path("some/two/ensemble.json").exists());
    assert!(!text.contains("not evaluated"), "{text}");
}

#[test]
fn files_that_are_missing_are_named_before_anything_is_trained() {
    let lab = lab();
    fs::remove_file(lab.path("data/dev/two.tsv")).unwrap();
    fs::remove_file(lab.path("data/test/one.tsv")).unwrap();
    fs::create_dir(lab.path("data/test/one.tsv")).unwrap();
    let says = [
        "error: --data data: lacks files\n  data/test/one.tsv: Is a directory",
        "\n  data/dev/two.tsv: No such file",
        "\nhint: the data are to be had: made by this test\n",
    ];
    lab.refuses(2, &format!("{REPRODUCE} all"), &says);
    lab.refuses(2, "reproduce --recipe two.toml --data nowhere --out all", &["and 1 others"]);
    // One that cannot be read as pairs, behind one that can.
    fs::remove_dir(lab.path("data/test/one.tsv")).unwrap();
    lab.write("data/test/one.tsv", "ab\tb a\n");
    lab.write("data/dev/two.tsv", "ab\n");
    lab.refuses(2, &format!("{REPRODUCE} all"), &["run two: ", "data/dev/two.tsv, line 1"]);
}

#[test]
fn what_is_no_recipe_or_not_for_it_is_refused() {
    let lab = lab();
    for (from, to, says) in [
        ("units = 12", "unit = 12", "bad.toml, line 14, column 1: unknown field `unit`"),
        ("units = 12", "units = -1", "bad.toml, line 14, column 1: units = -1: expected"),
        ("title", "titel", "bad.toml, line 1, column 1: unknown field `titel`"),
        ("two = 0.0", "tow = 0.0", "bad.toml, line 32, column 1: wer: tow is none of the runs"),
        (
            "epochs = 25",
            "epochs = 25\nsamples = 7",
            "run one: bad.toml, line 18, column 1: samples = 7: expected 100, as data/train/one.tsv",
        ),
        ("epochs = 25", "task = 'echo'", "bad.toml, line 17, column 1: task: expected pairs"),
    ] {
        assert!(RECIPE.contains(from), "{from}");
        lab.write("bad.toml", RECIPE.replacen(from, to, 1));
        lab.refuses(2, "reproduce --recipe bad.toml --data data --out all", &["error: ", says]);
    }
    for (arguments, says) in [
        ("--recipe two.toml --out all", "--data"),
        ("--data data --out all", "--recipe"),
        ("--recipe two.toml --data data --out all --quick", "--quick"),
        ("--recipe two.toml --data data --out all tow", "run tow: expected one or two"),
        ("--recipe none.toml --data data --out all", "--recipe none.toml: cannot be read"),
        ("--recipe data --data data --out all", "--recipe data: cannot be read: Is a directory"),
        ("--out all ecko", "hint: did you mean 'echo'?"),
    ] {
        lab.refuses(2, &format!("reproduce {arguments}"), &["error: ", says]);
    }
    lab.write("two.toml", RECIPE.replace("epochs = 25", "epochs = 1"));
    lab.run(&format!("{REPRODUCE} all two --replicas 1"));
    lab.refuses(2, "reproduce echo --out all", &["--out all: holds the runs of a recipe"]);
    lab.write("two.toml", RECIPE);
    lab.refuses(2, &format!("{REPRODUCE} all"), &["--out all: holds the runs of another recipe"]);
    lab.write("two.toml", RECIPE.replace("epochs = 25", "epochs = 1"));
    let says = ["all/two: holds a run with another configuration: seed is 1, but was 2 here"];
    lab.refuses(2, &format!("{REPRODUCE} all --replicas 1 --seed 2"), &says);
    // One that was damaged.
    lab.write("all/two/ensemble.json", "[]");
    lab.refuses(1, "report all", &["all/two/ensemble.json is damaged"]);
}

#[test]
fn the_recipes_of_the_project_train() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let text = fs::read_to_string(root.join("sigmorphon-2020.toml")).unwrap();
    let recipe = Recipe::parse("r.toml", text.as_bytes()).unwrap();
    assert_eq!((recipe.runs.len(), recipe.published.len()), (15, 4));
    for column in &recipe.published {
        let rates: Vec<f64> = column.wer.values().copied().collect();
        assert_eq!(rates.len(), 15, "{}", column.name);
        let published = column.macro_wer.unwrap();
        // That of the best submissions is of one of them.
        let close = (mean(&rates) - published).abs() < 0.0051;
        assert!(close || column.name == "best submission", "{}: {}", column.name, mean(&rates));
    }
    let lab = Lab::new();
    let mut short = text;
    for (long, quick) in [
        ("\nepochs = 32\n", "\nepochs = 1\n"),
        ("\nvalidate_every = 4\n", "\nvalidate_every = 1\n"),
    ] {
        assert!(short.contains(long), "{long}");
        short = short.replace(long, quick);
    }
    lab.write("short.toml", short);
    for (part, first) in [("train", 0), ("dev", 100), ("test", 200)] {
        let words = backwards(&["하", "나", "a"], 40, first);
        lab.write(&format!("data/{part}/kor_{part}.tsv"), words);
    }
    lab.run("reproduce --recipe short.toml --data data --out all kor --replicas 2 --quiet");
    let vocabulary = lab.read("all/kor/source-vocabulary.txt");
    assert_eq!(vocabulary.lines().count(), 4 + 4, "{vocabulary}");
}

#[test]
fn weights_that_were_imported_are_no_run_of_a_study() {
    let lab = lab();
    let short = RECIPE.replace("epochs = 25", "epochs = 2").replace("replicas = 2", "replicas = 1");
    lab.write(
        "two.toml",
        short.replace("early_stopping_patience = 25", "early_stopping_patience = 2"),
    );
    lab.run(&format!("{REPRODUCE} all one --quiet"));
    lab.run("export all/one --format pytorch --out model");
    fs::rename(lab.path("all/one"), lab.path("run")).unwrap();
    lab.run("import run --format pytorch --weights model/model.safetensors --out all/one --quiet");
    let says =
        "all/one: its weights were imported from model/model.safetensors, not trained\nhint: ";
    lab.refuses(2, &format!("{REPRODUCE} all one"), &[says]);
    lab.refuses(2, "report all", &[says]);
}
