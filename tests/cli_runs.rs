//! What the commands of `seqlab` do.

mod common;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use common::{Csv, ECHO, FAMILIES, Lab, PARTIAL, PROGRAM, REVERSE, json};
use seqlab::config::Config;
use serde_json::{Value, json};

const RUN: [&str; 7] = [
    "checkpoint/manifest.json",
    "checkpoint/training.safetensors",
    "checkpoint/weights.safetensors",
    "config.toml",
    "curves.csv",
    "predictions.csv",
    "summary.json",
];

/// Few ids, so that even an untrained model is right now and then.
const GUESSING: &str = "partial-echo-2 --vocab 4 --units 4 --epochs 2 --evaluation-samples 100";

fn same_run(lab: &Lab, one: &str, other: &str) {
    lab.same_run(one, other);
}

fn summary(lab: &Lab, run: &str) -> Value {
    json(&lab.read(&format!("{run}/summary.json")))
}

fn config(lab: &Lab, run: &str) -> toml::Table {
    lab.read(&format!("{run}/config.toml")).parse().unwrap()
}

fn close(one: f64, other: f64) {
    assert!((one - other).abs() <= 1e-6 * one.abs().max(1e-3), "{one} is not {other}");
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Mean of the column of the one replica in `steps`, which has a row a step, each weighted by its
/// samples.
fn mean(steps: &Csv, column: &str, rows: std::ops::Range<usize>) -> f64 {
    let (values, samples) = (steps.numbers(column), steps.numbers("samples"));
    let before = |i: usize| if i == 0 { 0.0 } else { samples[i - 1] };
    let total = samples[rows.end - 1] - before(rows.start);
    rows.map(|i| values[i] * (samples[i] - before(i))).sum::<f64>() / total
}

#[test]
fn train_writes_the_files_of_a_run_and_no_other() {
    for training in FAMILIES {
        let lab = Lab::with_run(training);
        assert_eq!(lab.files("run"), RUN, "{training}");
        assert_eq!(fs::read_dir(lab.path(".")).unwrap().count(), 1, "{training}");
        Csv::curves(&lab, "run");
        Csv::predictions(&lab, "run");
        assert!(config(&lab, "run")["epochs"].is_integer());
        assert!(summary(&lab, "run").is_object());
    }
}

#[test]
fn the_configuration_of_a_run_repeats_it() {
    for training in [
        "echo --epochs 3 --units 5 --lr 3e-4 --seed 7 --replicas 2 --dtype float64 --log-every 3 \
         --gate-activation sigmoid --validate-every 2 --validation-samples 20 \
         --evaluation-samples 30 --global-clipnorm 0.05 --beta-1 0.8 --epsilon 1e-8",
        "reverse --units 6 --samples 80 --batch-size 16 --feedback argmax --evaluation-samples 9",
        "echo-lag --units 4 --epochs 2 --lag 2 --vocab 30 --evaluation-samples 20",
        "echo --epochs 2 --lr-schedule exponential --final-learning-rate 1e-5 --warmup-steps 3 \
         --evaluation-samples 20",
        "echo --epochs 1 --optimizer sgd --momentum 0.9 --nesterov true --weight-decay 0.01 \
         --evaluation-samples 20",
        "echo --epochs 1 --optimizer rmsprop --rho 0.8 --epsilon 1e-6 --evaluation-samples 20",
    ] {
        let lab = Lab::with_run(training);
        lab.train("--config run/config.toml", "again");
        same_run(&lab, "run", "again");
    }
}

#[test]
fn flags_override_the_configuration_file() {
    let lab = Lab::with_run(ECHO);
    lab.train("--config run/config.toml --epochs 1 --seed 3", "other");
    let (mut expected, found) = (config(&lab, "run"), config(&lab, "other"));
    expected.insert("epochs".into(), 1.into());
    expected.insert("seed".into(), 3.into());
    assert_eq!(found, expected);
    assert_eq!(Csv::curves(&lab, "other").only(&["seed", "epoch"]), ["3 1"]);
}

#[test]
fn a_flag_takes_what_it_makes_meaningless_out_of_the_configuration_file() {
    let exponential = "--lr-schedule exponential --final-learning-rate 1e-5";
    let lab = Lab::with_run(&format!("{ECHO} {exponential}"));
    lab.train("--config run/config.toml --lr-schedule constant", "other");
    lab.train(ECHO, "constant");
    same_run(&lab, "other", "constant");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    for training in FAMILIES {
        let lab = Lab::with_run(&format!("{training} --seed 5"));
        lab.train(&format!("{training} --seed 5"), "again");
        lab.train(&format!("{training} --seed 6"), "other");
        same_run(&lab, "run", "again");
        let losses = |run| Csv::curves(&lab, run).numbers("loss");
        assert!(losses("run").iter().zip(losses("other")).all(|(a, b)| *a != b));
        for name in ["predictions.csv", "checkpoint/weights.safetensors"] {
            let of = |run| lab.bytes(&lab.file(run, name));
            assert!(of("run") != of("other"), "{training}: {name}");
        }
    }
}

#[test]
fn a_replica_is_the_run_of_its_own_seed() {
    let lab = Lab::with_run(&format!("{ECHO} --seed 5 --replicas 3"));
    lab.train(&format!("{ECHO} --seed 7"), "alone");
    let (third, alone) = (Csv::curves(&lab, "run").replica(2), Csv::curves(&lab, "alone"));
    for column in ["seed", "epoch", "step", "samples"] {
        assert_eq!(third.column(column), alone.column(column));
    }
    for (one, other) in third.numbers("loss").into_iter().zip(alone.numbers("loss")) {
        assert!((one - other).abs() < 1e-4 * other, "{one} {other}");
    }
    let (third, alone) =
        (Csv::predictions(&lab, "run").replica(2), Csv::predictions(&lab, "alone"));
    assert_eq!(third.only(&["source", "expected"]), alone.only(&["source", "expected"]));
}

#[test]
fn curves_have_a_row_for_every_epoch_and_replica() {
    let lab =
        Lab::with_run("echo --units 4 --epochs 3 --replicas 2 --seed 8 --evaluation-samples 1");
    let curves = Csv::curves(&lab, "run");
    assert_eq!(
        curves.only(&["replica", "seed", "epoch", "step", "samples", "learning_rate"]),
        [
            "0 8 1 4 20 0.001",
            "1 9 1 4 20 0.001",
            "0 8 2 8 40 0.001",
            "1 9 2 8 40 0.001",
            "0 8 3 12 60 0.001",
            "1 9 3 12 60 0.001",
        ]
    );
    assert!(curves.numbers("loss").iter().all(|loss| (4.0..5.2).contains(loss)));
    assert!(curves.numbers("accuracy").iter().all(|accuracy| (0.0..0.5).contains(accuracy)));
    let seconds = curves.numbers("seconds");
    assert!(seconds[0] >= 0.0 && seconds.is_sorted());
}

#[test]
fn the_learning_rate_is_that_of_the_last_update_before_the_row() {
    let lab = Lab::new();
    let training = "echo --units 4 --epochs 3 --evaluation-samples 1 --lr 0.1 --warmup-steps 4";
    let check = |flags: &str, rates: &[f64]| {
        for engine in ["fused", "libtorch"] {
            lab.train(&format!("{training} {flags} --engine {engine} --force"), "run");
            let found = Csv::curves(&lab, "run").numbers("learning_rate");
            assert_eq!(found.len(), rates.len(), "{flags}");
            found.into_iter().zip(rates).for_each(|(found, &rate)| close(rate, found));
        }
    };
    let warmup = [0.025, 0.05, 0.075, 0.1];
    let every_step = |after: [f64; 8]| [&warmup[..], &after].concat();
    check("--log-every 1", &every_step([0.1; 8]));
    check("", &[0.1, 0.1, 0.1]);
    let falls = [0, 1, 2, 3, 4, 5, 6, 7].map(f64::from);
    let cosine = falls.map(|n| 0.05 + 0.05 * (n * 22.5).to_radians().cos());
    check("--lr-schedule cosine --log-every 1", &every_step(cosine));
    check("--lr-schedule cosine", &[0.1, cosine[3], cosine[7]]);
    check("--lr-schedule cosine --log-every 5", &[0.1, cosine[5], cosine[7]]);
    let exponential = falls.map(|n| 0.1 * 0.1f64.powf(n / 8.0));
    let flags = "--lr-schedule exponential --final-learning-rate 0.01 --log-every 1";
    check(flags, &every_step(exponential));
}

#[test]
fn missing_values_are_empty() {
    let lab = Lab::with_run(ECHO);
    let curves = Csv::curves(&lab, "run");
    for column in ["val_loss", "val_accuracy", "val_sequence_accuracy", "grad_norm"] {
        assert_eq!(curves.column(column), ["", ""], "{column}");
    }
}

#[test]
fn reverse_logs_every_25_steps_and_at_the_end() {
    let lab = Lab::with_run("reverse --units 4 --samples 1900 --evaluation-samples 1");
    assert_eq!(
        Csv::curves(&lab, "run").only(&["epoch", "step", "samples"]),
        ["1 25 800", "1 50 1600", "1 60 1900"]
    );
}

#[test]
fn log_every_counts_steps_across_epochs_and_a_row_is_the_mean_since_the_row_before() {
    let lab = Lab::new();
    lab.train("reverse --units 4 --epochs 2 --samples 112 --log-every 1", "steps");
    lab.train("reverse --units 4 --epochs 2 --samples 112 --log-every 3", "rows");
    let (steps, rows) = (Csv::curves(&lab, "steps"), Csv::curves(&lab, "rows"));
    let samples = [32, 64, 96, 112, 144, 176, 208, 224];
    assert_eq!(steps.numbers("samples"), samples.map(f64::from));
    assert_eq!(rows.only(&["epoch", "step", "samples"]), ["1 3 96", "2 6 176", "2 8 224"]);
    assert!(steps.numbers("loss").iter().all(|loss| (3.6..4.2).contains(loss)), "about ln 50");
    for column in ["loss", "accuracy"] {
        let found = rows.numbers(column);
        for (found, steps_of_row) in found.into_iter().zip([0..3, 3..6, 6..8]) {
            close(found, mean(&steps, column, steps_of_row));
        }
    }
}

#[test]
fn the_gradient_norm_is_logged_where_it_is_bounded() {
    let lab = Lab::new();
    lab.train(&format!("{ECHO} --global-clipnorm 1000"), "loose");
    lab.train(&format!("{ECHO} --global-clipnorm 1e-6"), "tight");
    let norms = |run| Csv::curves(&lab, run).numbers("grad_norm");
    let (loose, tight) = (norms("loose"), norms("tight"));
    assert!(loose.iter().chain(&tight).all(|norm| (1e-3..1e3).contains(norm)), "before clipping");
    assert_ne!(loose, tight);
}

#[test]
fn validation_fills_every_so_many_rows() {
    let lab = Lab::with_run(
        "echo --vocab 4 --units 4 --epochs 4 --replicas 2 --validate-every 2 \
         --validation-samples 60 --evaluation-samples 60",
    );
    for k in [0, 1] {
        let curves = Csv::curves(&lab, "run").replica(k);
        for column in ["val_loss", "val_accuracy", "val_sequence_accuracy"] {
            let filled: Vec<bool> = curves.column(column).iter().map(|c| !c.is_empty()).collect();
            assert_eq!(filled, [false, true, false, true], "{column}");
        }
        for row in [1, 3] {
            let value = |column| curves.column(column)[row].parse::<f64>().unwrap();
            assert!((0.5..3.0).contains(&value("val_loss")));
            let (token, exact) = (value("val_accuracy"), value("val_sequence_accuracy"));
            assert!(exact <= token && token < 1.0 && token > 0.0);
            close((token * 360.0).round(), token * 360.0);
            close((exact * 60.0).round(), exact * 60.0);
        }
        let evaluated = &summary(&lab, "run")["replicas"][k]["evaluation"]["token_accuracy"];
        let validated: f64 = curves.column("val_accuracy")[3].parse().unwrap();
        assert_ne!(*evaluated, validated, "other samples of the same model");
    }
}

#[test]
fn validation_does_not_change_the_training() {
    for training in FAMILIES {
        let lab = Lab::with_run(training);
        lab.train(&format!("{training} --validate-every 1 --validation-samples 30"), "watched");
        for column in ["loss", "accuracy"] {
            let of = |run| Csv::curves(&lab, run).numbers(column);
            assert_eq!(of("run"), of("watched"), "{training}");
        }
        assert!(lab.bytes("run/predictions.csv") == lab.bytes("watched/predictions.csv"));
    }
}

#[test]
fn the_summary_has_the_documented_keys() {
    let lab = Lab::with_run(&format!("{ECHO} --replicas 2 --seed 3 --threads 1"));
    let summary = summary(&lab, "run");
    let documented = [
        "config",
        "curves",
        "device",
        "engine",
        "git_commit",
        "machine",
        "preset",
        "replicas",
        "startup_seconds",
        "steps",
        "threads",
        "train_seconds",
        "versions",
    ];
    assert_eq!(keys(&summary), documented);
    assert_eq!(
        ["preset", "steps", "device", "engine", "threads"].map(|key| &summary[key]),
        [&json!("echo"), &json!(8), &json!("cpu"), &json!("fused"), &json!(1)]
    );
    assert!(summary["train_seconds"].as_f64().unwrap() > 0.0);
    assert!(summary["startup_seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!(summary["versions"]["libtorch"], "2.13.0");
    assert_eq!(summary["versions"]["seqlab"], env!("CARGO_PKG_VERSION"));
    let replicas = summary["replicas"].as_array().unwrap();
    assert_eq!(replicas.iter().map(|r| r["seed"].as_i64().unwrap()).collect::<Vec<_>>(), [3, 4]);
    for replica in replicas {
        assert_eq!(keys(replica), ["evaluation", "seed", "train_accuracy", "train_loss"]);
        let evaluation = &replica["evaluation"];
        assert_eq!(keys(evaluation), ["loss", "samples", "sequence_accuracy", "token_accuracy"]);
    }
}

#[test]
fn the_summary_s_loss_and_accuracy_are_the_means_over_the_last_epoch() {
    for (training, last) in [
        ("echo --units 4 --epochs 3 --replicas 2", 8..12),
        ("reverse --units 4 --epochs 2 --samples 80 --replicas 2", 3..6),
    ] {
        let lab = Lab::with_run(&format!("{training} --log-every 1 --evaluation-samples 1"));
        let (curves, summary) = (Csv::curves(&lab, "run"), summary(&lab, "run"));
        for k in [0, 1] {
            let steps = curves.replica(k);
            assert_eq!(steps.rows.len(), last.end);
            for column in ["loss", "accuracy"] {
                let found = summary["replicas"][k][format!("train_{column}")].as_f64().unwrap();
                close(found, mean(&steps, column, last.clone()));
            }
        }
    }
}

#[test]
fn a_row_an_epoch_is_what_the_summary_says() {
    let lab = Lab::with_run(ECHO);
    let (curves, summary) = (Csv::curves(&lab, "run"), summary(&lab, "run"));
    for column in ["loss", "accuracy"] {
        let figure = &summary["replicas"][0][format!("train_{column}")];
        close(curves.numbers(column)[1], figure.as_f64().unwrap());
    }
}

#[test]
fn evaluation_takes_whole_sequences_of_windows() {
    for (training, samples) in [
        ("echo --epochs 1 --evaluation-samples 50", 60),
        ("echo-lag-no-context --units 4 --epochs 1 --evaluation-samples 49", 72),
        ("partial-echo-2 --units 4 --epochs 1 --evaluation-samples 42", 42),
        ("reverse --units 4 --samples 32 --evaluation-samples 50", 50),
    ] {
        let lab = Lab::with_run(training);
        assert_eq!(summary(&lab, "run")["replicas"][0]["evaluation"]["samples"], samples);
        assert_eq!(Csv::predictions(&lab, "run").rows.len(), samples, "{training}");
    }
}

#[test]
fn the_evaluation_is_that_of_the_predictions() {
    let lab = Lab::with_run(&format!("{GUESSING} --replicas 2"));
    let summary = summary(&lab, "run");
    for k in [0, 1] {
        let predictions = Csv::predictions(&lab, "run").replica(k);
        let (mut tokens, mut right, mut exact) = (0, 0, 0);
        for row in &predictions.rows {
            let [_, source, expected, predicted, correct] = &row[..] else { panic!("{row:?}") };
            assert_eq!(*expected, source.split(' ').take(2).collect::<Vec<_>>().join(" "));
            assert_eq!(predicted.split(' ').count(), 2);
            assert_eq!(*correct, (expected == predicted).to_string());
            let pairs = expected.split(' ').zip(predicted.split(' '));
            right += pairs.filter(|(one, other)| one == other).count();
            tokens += 2;
            exact += usize::from(expected == predicted);
        }
        let evaluation = &summary["replicas"][k]["evaluation"];
        assert_eq!(evaluation["samples"], predictions.rows.len());
        let (token, sequence) =
            (right as f64 / tokens as f64, exact as f64 / predictions.rows.len() as f64);
        assert!(0.0 < sequence && sequence < token && token < 1.0, "says nothing");
        assert_eq!(evaluation["token_accuracy"], token);
        assert_eq!(evaluation["sequence_accuracy"], sequence);
    }
}

#[test]
fn evaluate_repeats_the_evaluation_of_the_summary() {
    for training in FAMILIES.into_iter().chain([GUESSING]) {
        let lab = Lab::with_run(&format!("{training} --replicas 2"));
        let replicas = json(&lab.run("evaluate run --json"));
        assert_eq!(replicas, summary(&lab, "run")["replicas"], "{training}");
    }
}

#[test]
fn evaluate_takes_another_number_of_samples() {
    let lab = Lab::with_run(GUESSING);
    let before = summary(&lab, "run")["replicas"][0].clone();
    let after = json(&lab.run("evaluate run --samples 300 --json"))[0].clone();
    assert_eq!(after["evaluation"]["samples"], 315);
    assert_ne!(after["evaluation"]["token_accuracy"], before["evaluation"]["token_accuracy"]);
    assert_eq!([&after["seed"], &after["train_loss"]], [&before["seed"], &before["train_loss"]]);
    assert_eq!(summary(&lab, "run")["replicas"][0], before);
}

#[test]
fn an_addition_learns_its_questions_and_is_evaluated_on_those_held_out() {
    let lab = Lab::with_run(
        "addition-2 --n-out 2 --samples 45 --evaluation-samples 10 --units 32 --batch-size 15 \
         --epochs 60 --lr 0.01 --validate-every 20 --validation-samples 10",
    );
    let curves = Csv::curves(&lab, "run");
    let (loss, accuracy) = (curves.numbers("loss"), curves.numbers("accuracy"));
    assert!(loss[59] < 0.5 * loss[0], "{loss:?}");
    assert!(accuracy[59] > accuracy[0] + 0.2, "{accuracy:?}");
    let predictions = Csv::predictions(&lab, "run");
    assert_eq!(predictions.rows.len(), 10);
    for (source, expected) in
        predictions.column("source").iter().zip(predictions.column("expected"))
    {
        let ids: Vec<u32> = source.split(' ').map(|id| id.parse().unwrap()).collect();
        let answer = expected.replace(" 11", "").replace(' ', "");
        assert_eq!(ids[1], 10, "{source}");
        assert_eq!(answer.parse::<u32>().unwrap(), ids[0] + ids[2], "{source}");
    }
    // The last row's validation has read the same ten.
    let evaluation = json(&lab.run("evaluate run --samples 10 --json"))[0]["evaluation"].clone();
    assert_eq!(evaluation, summary(&lab, "run")["replicas"][0]["evaluation"]);
    assert_eq!(curves.column("val_accuracy")[59], evaluation["token_accuracy"].to_string());
}

#[test]
fn evaluate_prints_a_line_for_every_replica() {
    let lab = Lab::with_run(&format!("{GUESSING} --replicas 2 --seed 41"));
    let summary = summary(&lab, "run");
    let printed = lab.run("evaluate run");
    let lines: Vec<&str> = printed.lines().skip(1).collect();
    assert_eq!(lines.len(), 3, "two replicas and their mean: {printed}");
    for (line, replica) in lines.iter().zip(summary["replicas"].as_array().unwrap()) {
        let four = |value: &Value| format!("{:.4}", value.as_f64().unwrap());
        let evaluation = &replica["evaluation"];
        let expected = [
            replica["seed"].to_string(),
            four(&replica["train_loss"]),
            four(&replica["train_accuracy"]),
            evaluation["samples"].to_string(),
            four(&evaluation["loss"]),
            four(&evaluation["token_accuracy"]),
            four(&evaluation["sequence_accuracy"]),
        ];
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn predict_says_what_the_predictions_file_says() {
    for training in [REVERSE, "echo-current --units 6 --epochs 2 --evaluation-samples 25"] {
        let lab = Lab::with_run(training);
        let predictions = Csv::predictions(&lab, "run");
        let sources = predictions.column("source").join("\n");
        let printed = lab.run_with_input("predict run", &sources);
        assert_eq!(printed.lines().collect::<Vec<_>>(), predictions.column("predicted"));
        assert!(printed.ends_with('\n'));
    }
}

#[test]
fn predict_answers_more_sources_than_fit_at_once() {
    let lab = Lab::with_run(REVERSE);
    let source = |i: usize| format!("{} {} {} 1 2 3\n", i % 50 + 1, i / 50 % 50 + 1, i / 2500 + 1);
    let sources: Vec<String> = (0..9000).map(source).collect();
    let printed = lab.run_with_input("predict run", &sources.concat());
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), sources.len());
    let later = lab.run_with_input("predict run", &sources[8000..8010].concat());
    assert_eq!(later.lines().collect::<Vec<_>>(), lines[8000..8010]);
}

#[test]
fn a_stateful_model_is_evaluated_on_whole_batches() {
    let lab = Lab::new();
    let reverse = "reverse --family repeat_vector --stateful true --samples 64 --units 4";
    lab.train(&format!("{reverse} --evaluation-samples 50 --validate-every 1"), "run");
    assert_eq!(summary(&lab, "run")["replicas"][0]["evaluation"]["samples"], 64);
}

#[test]
fn predict_takes_a_source_as_an_argument_or_sources_as_lines() {
    for (training, sources, width) in [
        (REVERSE, ["1 2 3 4 5 6", "50 49 48 47 46 45", "9 9 9 9 9 9"], 3),
        (ECHO, ["0 1 2 3 4 5", "99 98 97 96 95 94", "7 7 7 7 7 7"], 6),
        (PARTIAL, ["0 1 2 3 4", "99 98 97 96 95", "7 7 7 7 7"], 2),
    ] {
        let lab = Lab::with_run(training);
        let printed = lab.run_with_input("predict run", &(sources.join("\n") + "\n"));
        let alone = sources.map(|source| lab.run(&format!("predict run --source '{source}'")));
        assert_eq!(printed, alone.concat(), "{training}");
        assert!(printed.lines().all(|line| line.split(' ').count() == width), "{printed}");
    }
}

#[test]
fn predict_is_generous_about_white_space_and_content_with_nothing() {
    let lab = Lab::with_run(REVERSE);
    let plain = lab.run_with_input("predict run", "1 2 3 4 5 6\n");
    assert_eq!(lab.run_with_input("predict run", "  1\t2 3  4 5 6 \r\n"), plain);
    assert_eq!(lab.run_with_input("predict run", ""), "");
}

#[test]
fn predict_uses_the_replica_that_is_asked_for() {
    let lab = Lab::with_run(&format!("{REVERSE} --replicas 3"));
    let all = Csv::predictions(&lab, "run");
    let sources = all.replica(1).column("source").join("\n");
    let mut answers = Vec::new();
    for k in 0..3 {
        answers.push(lab.run_with_input(&format!("predict run --replica {k}"), &sources));
    }
    assert_eq!(answers[1].lines().collect::<Vec<_>>(), all.replica(1).column("predicted"));
    assert!(answers[0] != answers[1] && answers[1] != answers[2] && answers[0] != answers[2]);
    assert_eq!(lab.run_with_input("predict run", &sources), answers[0]);
}

#[test]
fn the_engine_is_the_one_asked_for_or_the_one_for_the_device() {
    let lab = Lab::new();
    let cases = [
        ("", "auto", "fused"),
        ("--engine auto", "auto", "fused"),
        ("--engine fused", "fused", "fused"),
        ("--engine libtorch", "libtorch", "libtorch"),
    ];
    for (i, (flag, asked, used)) in cases.into_iter().enumerate() {
        let run = format!("run{i}");
        lab.train(&format!("{ECHO} {flag}"), &run);
        assert_eq!(config(&lab, &run)["engine"].as_str(), Some(asked));
        assert_eq!(summary(&lab, &run)["engine"], used);
        let printed = lab.run(&format!("summary echo {flag}"));
        let first = printed.lines().next().unwrap();
        assert!(first.ends_with(&format!(", engine {used}")), "{first}");
    }
}

#[test]
fn engines_give_the_same_curves() {
    for training in FAMILIES {
        let lab = Lab::with_run(&format!("{training} --global-clipnorm 0.1 --engine libtorch"));
        lab.train(&format!("{training} --global-clipnorm 0.1 --engine fused"), "fused");
        let [libtorch, fused] = ["run", "fused"].map(|run| Csv::curves(&lab, run));
        let place = ["replica", "seed", "epoch", "step", "samples", "learning_rate"];
        assert_eq!(libtorch.only(&place), fused.only(&place));
        for column in ["loss", "grad_norm"] {
            for (one, other) in libtorch.numbers(column).into_iter().zip(fused.numbers(column)) {
                assert!((one - other).abs() <= 1e-4 * one, "{training}: {one}, {other}");
            }
        }
    }
}

#[test]
fn a_configuration_from_before_there_were_engines_and_schedules_still_trains() {
    let lab = Lab::with_run(ECHO);
    let mut old = config(&lab, "run");
    assert!(old.remove("engine").is_some() && old.remove("learning_rate_schedule").is_some());
    lab.write("old.toml", old.to_string());
    lab.train("--config old.toml", "again");
    same_run(&lab, "run", "again");
}

#[test]
fn force_replaces_a_run_and_nothing_else() {
    let lab = Lab::with_run(ECHO);
    lab.write("run/notes.txt", "mine");
    lab.train(PARTIAL, "fresh");
    lab.train(&format!("{PARTIAL} --force"), "run");
    assert_eq!(lab.read("run/notes.txt"), "mine");
    fs::remove_file(lab.path("run/notes.txt")).unwrap();
    same_run(&lab, "run", "fresh");
}

#[test]
fn force_leaves_nothing_of_the_old_run_beside_a_new_one_that_fails() {
    let lab = Lab::with_run(ECHO);
    lab.fails(1, "train echo --lr 3e38 --out run --force --quiet", &["training diverged"]);
    assert_eq!(lab.files("run"), ["config.toml", "curves.csv"]);
}

#[test]
fn runs_go_to_a_new_directory_named_after_the_preset() {
    let lab = Lab::new();
    for expected in ["runs/echo", "runs/echo-2", "runs/echo-3"] {
        assert!(!lab.path(expected).exists());
        let printed = lab.run("train echo --units 2 --epochs 1 --evaluation-samples 1");
        assert!(printed.contains(&format!("\n{expected}: config.toml ")), "{printed}");
        assert_eq!(lab.files(expected), RUN);
    }
}

#[test]
fn an_empty_directory_and_parents_that_are_missing_are_fine() {
    let lab = Lab::new();
    fs::create_dir(lab.path("empty")).unwrap();
    lab.train(ECHO, "empty");
    lab.train(ECHO, "some/where/new");
    same_run(&lab, "empty", "some/where/new");
}

#[test]
fn train_reports_examples_and_results() {
    let lab = Lab::new();
    let output = lab.command(&format!("train {ECHO} --out run")).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert!(
        stderr.starts_with("training echo on cpu") && stderr.contains("writing run"),
        "{stderr}"
    );
    let first = &Csv::predictions(&lab, "run").rows[0];
    assert!(first[1..4].iter().all(|ids| stdout.contains(ids)), "{stdout}");
    let loss = summary(&lab, "run")["replicas"][0]["train_loss"].as_f64().unwrap();
    assert!(stdout.contains(&format!("{loss:.4}")) && stdout.contains("8 steps in"), "{stdout}");
}

#[test]
fn divergence_ends_the_run_and_leaves_the_curve_so_far() {
    let lab = Lab::new();
    let training = "train echo --epochs 50 --lr 3e38 --seed 7 --replicas 2 --log-every 1 \
                    --out run --quiet";
    let says = [
        "error: training diverged: loss ",
        " at step 2, replica 1 (seed 8), the last of the replicas\nhint: ",
        "--learning",
    ];
    lab.fails(1, training, &says);
    assert_eq!(lab.files("run"), ["config.toml", "curves.csv"]);
    let curves = Csv::curves(&lab, "run");
    assert_eq!(curves.only(&["replica", "step"]), ["0 1", "1 1"]);
    assert!(curves.numbers("loss").iter().all(|loss| loss.is_finite()));
    let config = config(&lab, "run");
    assert_eq!(config["learning_rate"].as_float(), Some(3e38));
    assert_eq!(config["epochs"].as_integer(), Some(50));
    lab.run("summary --config run/config.toml");
}

#[test]
fn a_replica_that_diverges_ends_alone() {
    let lab = Lab::new();
    let training = "train echo --units 4 --epochs 20 --lr 1e37 --evaluation-samples 40";
    let together = format!("{training} --seed 7 --replicas 4 --out study/run");
    let stderr = String::from_utf8(lab.command(&together).output().unwrap().stderr).unwrap();
    let (curves, summary) = (Csv::curves(&lab, "study/run"), summary(&lab, "study/run"));
    let predictions = Csv::predictions(&lab, "study/run").only(&["replica"]);
    let evaluated = lab.run("evaluate study/run");
    lab.run("report study");
    let ensemble = "predict study/run --ensemble --source '1 2 3 4 5 6'";
    let ensemble = lab.command(ensemble).output().unwrap();
    assert_eq!(ensemble.status.code(), Some(0));
    let [answer, warnings] = [ensemble.stdout, ensemble.stderr];
    assert_eq!(answer.iter().filter(|byte| **byte == b' ').count(), 5, "{answer:?}");
    let warnings = String::from_utf8(warnings).unwrap();
    let mut diverged = 0;
    for k in 0..4 {
        let of = |row: &&Vec<String>| row[0] == k.to_string();
        let rows: Vec<&Vec<String>> = curves.rows.iter().filter(of).collect();
        let figures = &summary["replicas"][k];
        let told = format!("replica {k} (seed {}) has diverged by step", 7 + k);
        let predict = format!("predict study/run --replica {k} --source '1 2 3 4 5 6'");
        assert_eq!(predictions.contains(&k.to_string()), figures["diverged_at_step"].is_null());
        let left_out = format!("replica {k} has diverged; the ensemble goes without it\n");
        assert_eq!(warnings.contains(&left_out), !figures["diverged_at_step"].is_null());
        if let Some(step) = figures["diverged_at_step"].as_i64() {
            diverged += 1;
            assert!(
                figures["train_loss"].is_null() && figures["evaluation"].is_null(),
                "{figures}"
            );
            let (last, before) = rows.split_last().unwrap();
            assert!(rows.len() < 20 && last[5..7] == ["NaN", "NaN"], "{last:?}");
            assert!(before.iter().all(|row| row[5] != "NaN"), "one row tells it");
            assert!(
                (step - 1) / 4 == (last[3].parse::<i64>().unwrap() - 1) / 4,
                "{step}: {last:?}"
            );
            assert!(stderr.contains(&told), "{stderr}");
            assert!(evaluated.contains(&format!("diverged at step {step}")), "{evaluated}");
            lab.refuses(1, &predict, &[&format!("--replica {k}: has diverged")]);
        } else {
            assert!(!stderr.contains(&told), "{stderr}");
            lab.run(&predict);
            assert!(figures["evaluation"]["samples"].as_i64().unwrap() >= 40);
            let alone = format!("alone-{k}");
            lab.run(&format!("{training} --seed {} --out {alone} --quiet", 7 + k));
            let alone = Csv::curves(&lab, &alone).rows;
            assert_eq!(rows.len(), alone.len());
            for (row, alone) in rows.iter().zip(&alone) {
                assert_eq!(row[1..12], alone[1..12], "replica {k} as it is alone");
            }
        }
    }
    assert!((1..4).contains(&diverged), "{diverged} of 4: take another learning rate");
    let report = lab.read("study/report.md");
    let says = format!("{diverged} of the replicas diverged; the figures are those of the others.");
    assert!(report.contains(&says), "{report}");
}

#[test]
fn weights_that_the_last_update_made_useless_are_no_success() {
    let lab = Lab::new();
    let training =
        "train partial-echo-2 --units 4 --epochs 1 --lr 3e38 --beta-2 0 --validate-every 1";
    lab.fails(1, &format!("{training} --out run --quiet"), &["training diverged"]);
    assert!(!lab.read("run/curves.csv").contains("NaN"));
}

/// A run that would go on for hours, when its curve has some rows and `signal` was sent to it.
#[cfg(unix)]
fn stopped_by(signal: &str, lab: &Lab) -> std::process::Output {
    let training = "train echo --units 4 --epochs 1000000000 --log-every 3";
    stopped_when(signal, lab, training, |lab| {
        let curves = fs::read_to_string(lab.path("run/curves.csv"));
        curves.unwrap_or_default().lines().count() > 3
    })
}

/// `training` into the directory `run`, when `ready` was true and `signal` was sent to it.
#[cfg(unix)]
fn stopped_when(
    signal: &str,
    lab: &Lab,
    training: &str,
    ready: impl Fn(&Lab) -> bool,
) -> std::process::Output {
    lab.signal(signal, &format!("{training} --device cpu --out run"), || ready(lab))
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_saved() {
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let lab = Lab::new();
        let output = stopped_by(signal, &lab);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(output.stdout.is_empty() && !stderr.contains("panicked"), "{stderr}");

        assert_eq!(lab.files("run"), RUN[..5]);
        let manifest =
            json(&lab.read(&lab.file("run", "checkpoint/manifest.json")))["position"].clone();
        let saved = format!(
            "interrupted after step {}; state saved in run\nresume with: {PROGRAM} resume run\n",
            manifest["step"]
        );
        assert!(stderr.ends_with(&saved), "{stderr}");
        let curves = Csv::curves(&lab, "run");
        let expected: Vec<f64> = (1..=curves.rows.len()).map(|row| 3.0 * row as f64).collect();
        assert_eq!(curves.numbers("step"), expected);
        let step = manifest["step"].as_f64().unwrap();
        assert!((0.0..3.0).contains(&(step - expected[expected.len() - 1])));

        let replicas = json(&lab.run("evaluate run --samples 20 --json"));
        assert_eq!(replicas[0]["evaluation"]["samples"], 20);
        let figures = [&replicas[0]["train_loss"], &replicas[0]["train_accuracy"]];
        assert_eq!(figures, [&Value::Null, &Value::Null]);
        lab.run("predict run --source '1 2 3 4 5 6'");
    }
}

#[cfg(unix)]
#[test]
fn a_run_that_is_interrupted_while_it_is_evaluated_keeps_what_it_learnt() {
    let lab = Lab::new();
    let training = "train echo --units 4 --replicas 20 --epochs 1 --evaluation-samples 1000000";
    let output =
        stopped_when("-INT", &lab, training, |lab| lab.path("run/predictions.csv").exists());
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(lab.files("run"), RUN[..5]);
    lab.run("evaluate run --samples 20");
}

#[cfg(unix)]
#[test]
fn a_killed_run_leaves_whole_rows() {
    let lab = Lab::new();
    assert_eq!(stopped_by("-KILL", &lab).status.code(), None);
    assert_eq!(lab.files("run"), ["config.toml", "curves.csv", "lock"]);
    let steps = Csv::curves(&lab, "run").numbers("step");
    assert!(steps.iter().enumerate().all(|(row, step)| *step == 3.0 * (row + 1) as f64));
    let says =
        ["error: run/checkpoint: holds no checkpoint\nhint: ", "resume run` trains it to its end"];
    lab.refuses(1, "evaluate run", &says);
    lab.refuses(2, "train echo --out run", &["holds a run that is not finished"]);
}

#[test]
fn list_shows_every_preset_with_its_published_numbers() {
    let printed = Lab::new().run("list");
    for (preset, numbers) in [
        ("echo", ["lstm", "16", "1.7123", "1"]),
        ("partial-echo-2", ["repeat_vector", "150", "0.3368", "0.9286"]),
        ("partial-echo-4", ["repeat_vector", "300", "2.8951", "0.3929"]),
        ("reverse", ["teacher_forced", "128", "0.6344–0.646", "0.7954–0.7968"]),
        ("echo-tutorial", ["lstm", "20", "1.57–1.74", "1"]),
        ("echo-current", ["lstm", "15", "0.0785–0.0927", "1"]),
        ("echo-lag", ["lstm", "50", "0.126–0.239", "0.95–1"]),
        ("echo-lag-no-context", ["lstm", "50", "4.58–4.62", "0–0.04"]),
        ("padded-echo", ["repeat_vector", "150", "23.1", "exact"]),
        ("padded-echo-attention", ["teacher_forced", "150", "95.7", "exact,"]),
        ("reverse-400-40", ["teacher_forced", "64", "-", "seqlab;"]),
        ("addition-2", ["repeat_vector", "128", "-", "0.99"]),
        ("addition-3", ["repeat_vector", "128", "-", "0.99"]),
    ] {
        let mut lines = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|words| words.first() == Some(&preset)).unwrap();
        assert!(numbers.iter().all(|number| line.contains(number)), "{line:?}");
    }
}

#[test]
fn summary_shows_shapes_and_parameter_counts() {
    let lab = Lab::new();
    for (preset, total) in
        [("echo-tutorial", "11,780"), ("partial-echo-2", "346,300"), ("reverse", "190,899")]
    {
        let printed = lab.run(&format!("summary {preset}"));
        let total = format!("\ntotal parameters: {total}\nmemory to train: about 0.");
        assert!(printed.contains(&total) && printed.ends_with(" GiB\n"), "{printed}");
    }
    let printed = lab.run("summary echo");
    let rows: Vec<String> =
        printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let lstm = rows.iter().position(|row| row.starts_with("lstm ")).unwrap();
    assert_eq!(
        rows[lstm..lstm + 7],
        [
            "lstm LSTM (5, 6, 16) 7,488",
            "kernel (100, 64) 6,400",
            "recurrent_kernel (16, 64) 1,024",
            "bias (64) 64",
            "dense Dense (5, 6, 100) 1,700",
            "kernel (16, 100) 1,600",
            "bias (100) 100",
        ]
    );
    let printed = lab.run("summary echo --units 4 --vocab 10");
    assert!(printed.contains("(10, 16)") && printed.contains("parameters: 290\n"), "{printed}");
    assert_eq!(fs::read_dir(lab.path(".")).unwrap().count(), 0);
}

#[test]
fn summary_shows_more_layers_as_keras_would() {
    let lab = Lab::new();
    let lines = |flags: &str| -> Vec<String> {
        let printed = lab.run(&format!("summary reverse --units 8 --vocab 11 {flags}"));
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let layer = |line: &&str| !line.starts_with(' ') && line.contains('(');
        printed.lines().filter(layer).map(words).collect()
    };
    assert_eq!(
        lines("--embedding 3"),
        [
            "source Input (32, 6) 0",
            "source_embedding Embedding (32, 6, 3) 33",
            "encoder LSTM (32, 8) 384",
            "decoder_input Input (32, 3) 0",
            "decoder_embedding Embedding (32, 3, 3) 33",
            "decoder LSTM (32, 3, 8) 384",
            "dense Dense (32, 3, 11) 99",
        ]
    );
    assert_eq!(
        lines("--layers 2"),
        [
            "source Input (32, 6, 11) 0",
            "encoder LSTM (32, 6, 8) 640",
            "encoder_2 LSTM (32, 8) 544",
            "decoder_input Input (32, 3, 11) 0",
            "decoder LSTM (32, 3, 8) 640",
            "decoder_2 LSTM (32, 3, 8) 544",
            "dense Dense (32, 3, 11) 99",
        ]
    );
    assert_eq!(
        lines("--bidirectional true"),
        [
            "source Input (32, 6, 11) 0",
            "encoder Bidirectional (32, 16) 1,280",
            "decoder_input Input (32, 3, 11) 0",
            "decoder LSTM (32, 3, 16) 1,792",
            "dense Dense (32, 3, 11) 187",
        ]
    );
    assert_eq!(
        lines("--attention dot")[3..],
        [
            "decoder LSTM (32, 3, 8) 640",
            "attention Attention (32, 3, 16) 0",
            "attention_output Dense (32, 3, 8) 136",
            "dense Dense (32, 3, 11) 99",
        ]
    );
    let additive = lines("--attention additive --bidirectional true");
    assert_eq!(additive[1], "encoder Bidirectional (32, 6, 16) 1,280");
    assert_eq!(additive[4], "attention AdditiveAttention (32, 3, 32) 528");
    let printed = lab.run("summary reverse --bidirectional true");
    assert!(printed.contains("  forward.kernel ") && printed.contains("  backward.bias "));
}

#[test]
fn more_layers_are_trained_evaluated_resumed_and_asked() {
    let lab = Lab::new();
    let flags = "--layers 2 --bidirectional true --embedding 3 --attention general \
                 --gate-activation sigmoid";
    lab.train(&format!("{REVERSE} {flags} --log-every 3 --epochs 2"), "run");
    let config = lab.read("run/config.toml");
    let lines = ["layers = 2", "bidirectional = true", "embedding = 3", "attention = \"general\""];
    for line in lines {
        assert!(config.contains(&format!("\n{line}\n")), "{config}");
    }
    lab.run("evaluate run --samples 20");
    lab.run("resume run --epochs 3 --quiet");
    lab.train(&format!("{REVERSE} {flags} --log-every 3 --epochs 3"), "whole");
    let weights = |run| lab.bytes(&lab.file(run, "checkpoint/weights.safetensors"));
    assert!(weights("run") == weights("whole"), "a resumed run has other weights");
    let said = lab.run("predict run --source '1 2 3 4 5 6'");
    assert!(!said.is_empty());
}

#[test]
fn layers_that_are_not_asked_for_leave_no_trace_in_a_run() {
    let lab = Lab::with_run(&format!("{ECHO} --layers 1 --embedding 0 --attention none"));
    let config = lab.read("run/config.toml");
    for field in ["layers", "bidirectional", "embedding", "attention"] {
        assert!(!config.contains(field), "{config}");
    }
}

#[test]
fn an_encoder_that_reads_both_ways_is_refused_where_there_is_none_or_it_cannot_go_on() {
    let lab = Lab::new();
    let none = "--bidirectional true: expected false: an encoder reads both ways, and family lstm has none";
    lab.refuses(2, "train echo --bidirectional true", &[none]);
    let stateful =
        "stateful true of preset partial-echo-2: expected false: what reads a source backwards";
    lab.refuses(2, "train partial-echo-2 --bidirectional true", &[stateful]);
}

#[test]
fn attention_is_refused_where_no_decoder_is_fed_the_target() {
    let lab = Lab::new();
    for (preset, family) in [("echo", "lstm"), ("partial-echo-2", "repeat_vector")] {
        let says = format!(
            "--attention dot: expected none: attention is a decoder's, fed the target, over its \
             encoder's outputs (--family teacher_forced), and family {family} has none"
        );
        lab.refuses(2, &format!("train {preset} --attention dot"), &[&says]);
    }
}

#[test]
fn doctor_finds_this_machine_fit() {
    let output = Command::new(PROGRAM).arg("doctor").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let libtorch = printed.lines().find(|line| line.starts_with("libtorch ")).unwrap();
    assert!(libtorch.contains(" 2.13.0, "), "{printed}");
    assert!(printed.contains("cpu       ok: ") && !printed.contains("FAILED"), "{printed}");
    for line in ["threads ", "cores ", "cuda "] {
        assert!(printed.contains(&format!("\n{line}")), "{printed}");
    }
    let several = seqlab::tensor::device::cores() > 1;
    assert_eq!(printed.contains("a cache line passes in "), several, "{printed}");
}

#[test]
fn doctor_s_json_has_what_two_threads_get() {
    let found: Value = serde_json::from_str(&Lab::new().run("doctor --json")).unwrap();
    let cores = seqlab::tensor::device::cores();
    assert_eq!(found["cores"], cores);
    if cores == 1 {
        assert!(found["two_threads"].is_null(), "{found}");
        return;
    }
    for number in ["slowdown", "cache_line_ns", "job_ns"] {
        assert!(found["two_threads"][number].as_f64().unwrap() > 0.0, "{found}");
    }
}

#[test]
fn the_version_names_libtorch_and_the_commit() {
    let lab = Lab::with_run(ECHO);
    let printed = lab.run("--version");
    let start = format!("seqlab {} (commit ", env!("CARGO_PKG_VERSION"));
    let rest = printed.strip_prefix(&start).unwrap_or_else(|| panic!("{printed}"));
    let (commit, rest) = rest.split_once(", libtorch ").unwrap();
    assert!(rest.starts_with("2.13.0, rustc ") && rest.ends_with(")\n"), "{printed}");
    assert_eq!(summary(&lab, "run")["git_commit"], commit);
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "HEAD"]);
    let checkout = fs::exists(concat!(env!("CARGO_MANIFEST_DIR"), "/.git")).unwrap();
    if checkout && git.output().is_ok_and(|output| output.status.success()) {
        let hash = commit.strip_suffix("-dirty").unwrap_or(commit);
        assert!(hash.len() >= 7 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{commit}");
    } else {
        assert_eq!(commit, "unknown");
    }
}

#[test]
fn every_command_has_help() {
    let lab = Lab::new();
    let all = lab.run("--help");
    let commands = ["list", "train", "resume", "reproduce", "report", "evaluate", "predict"];
    let others = ["summary", "doctor", "export", "completions", "man", "sweep"];
    for command in commands.into_iter().chain(others) {
        let usage = format!("\nUsage: seqlab {command}");
        assert!(lab.run(&format!("{command} --help")).contains(&usage), "{command}");
        assert!(all.contains(&format!("\n  {command} ")), "{command}");
    }
}

#[test]
fn curves_are_exported_for_tensorboard() {
    let lab = Lab::new();
    lab.run("train echo --epochs 3 --evaluation-samples 20 --replicas 2 --out run");
    let told = lab.run("export run --format tensorboard --out board");
    assert_eq!(told, "tensorboard --logdir board\n");
    let folders = ["mean minus sd", "mean plus sd", "mean", "replica-0", "replica-1"];
    assert_eq!(
        lab.files("board"),
        folders.map(|name| format!("{name}/events.out.tfevents.0.seqlab"))
    );
    let file = lab.bytes("board/replica-1/events.out.tfevents.0.seqlab");
    let has = |text: &str| file.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(has("brain.Event:2") && has("loss/training") && !has("loss/validation"));
    lab.refuses(2, "export run --format tensorboard --out board", &["holds files already"]);
    lab.refuses(2, "export run --format csv --out other", &["csv"]);
    lab.refuses(2, "export none --format tensorboard --out other", &["none"]);
}

#[test]
fn shells_complete_commands_and_flags() {
    let lab = Lab::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = lab.run(&format!("completions {shell}"));
        assert!(script.contains("reproduce") && script.contains("batch-size"), "{shell}");
    }
    lab.refuses(2, "completions sh", &["sh: expected"]);
    let bash = Command::new("bash").arg("--version").output();
    if !bash.is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no bash");
        return;
    }
    lab.write("complete.sh", lab.run("completions bash"));
    let typed = "source complete.sh; COMP_WORDS=(seqlab tr); COMP_CWORD=1; \
                 _seqlab seqlab tr seqlab; echo ${COMPREPLY[@]}";
    let output = Command::new("bash").args(["-c", typed]).current_dir(lab.path(".")).output();
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "train\n");
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let lab = Lab::new();
    lab.run("man share/man1");
    let train = lab.read("share/man1/seqlab-train.1");
    assert!(train.contains(".TH seqlab-train 1") && train.contains("early"), "{train}");
    let pages = lab.files("share/man1");
    assert!(pages.len() >= 14 && pages.iter().any(|page| page == "seqlab.1"), "{pages:?}");
    lab.write("file", "x");
    lab.refuses(2, "man file", &["error: cannot write file: "]);
}

#[test]
fn a_dry_run_checks_everything_and_writes_nothing() {
    let lab = Lab::new();
    let flags = "echo --units 5 --epochs 2 --evaluation-samples 20 --replicas 2";
    let printed = lab.run(&format!("train {flags} --dry-run"));
    assert!(!lab.path("runs").exists());
    lab.run(&format!("train {flags} --out run"));
    assert_eq!(printed, lab.read("run/config.toml"));
    let before = lab.files(".");
    lab.refuses(2, &format!("train {flags} --dry-run --out run"), &["run: "]);
    let begun = lab.run(&format!("train {flags} --dry-run --init-from run --out other"));
    assert_eq!(begun, printed);
    let refused = format!("train {flags} --units 6 --dry-run --init-from run");
    lab.refuses(2, &refused.replace("--units 5 ", ""), &["--init-from run: "]);
    lab.write("bad.tsv", "one column\n");
    lab.refuses(2, "train --train bad.tsv --dry-run", &["bad.tsv, line 1"]);
    let after: Vec<String> = lab.files(".").into_iter().filter(|file| file != "bad.tsv").collect();
    assert_eq!(after, before);
}

#[test]
fn every_field_of_the_configuration_has_a_flag() {
    let lab = Lab::new();
    let help = lab.run("train --help");
    // It names all fields that it knows.
    let error = toml::from_str::<Config>("no_such_field = 1").unwrap_err().to_string();
    let fields: Vec<&str> =
        error.split('`').skip(3).step_by(2).filter(|field| *field != "preset").collect();
    assert!(fields.len() > 25, "{error}");
    for field in fields {
        let flag = format!("--{} ", field.replace('_', "-"));
        assert!(help.contains(&flag), "{flag}");
    }
    assert!(help.contains("--lr"));
}

/// A pipe that nobody reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_stops_is_no_error() {
    let lab = Lab::with_run(REVERSE);
    for arguments in [
        "list",
        "--help",
        "summary echo",
        "doctor",
        "evaluate run",
        "train echo --epochs 1 --evaluation-samples 1 --out other",
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(arguments.split(' ')).current_dir(lab.path("."));
        let output = command.stdout(closed_pipe()).stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments}: {stderr}");
        assert!(!stderr.contains("error") && !stderr.contains("panicked"), "{arguments}: {stderr}");
    }
    assert_eq!(lab.files("other"), RUN);
}

#[test]
fn a_reader_of_messages_that_stops_does_not_end_the_run() {
    let lab = Lab::new();
    for (arguments, status) in
        [("train echo --epochs 1 --evaluation-samples 1 --out run", 0), ("evaluate none", 2)]
    {
        let mut command = Command::new(PROGRAM);
        command.args(arguments.split(' ')).current_dir(lab.path("."));
        let done = command.stdout(Stdio::null()).stderr(closed_pipe()).status().unwrap();
        assert_eq!(done.code(), Some(status), "{arguments}");
    }
    assert_eq!(lab.files("run"), RUN);
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let mut full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert!(full.write_all(b"x").is_err());
    let output = Command::new(PROGRAM).arg("list").stdout(full).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(
        stderr,
        "error: cannot write standard output: No space left on device (os error 28)\n"
    );
}
