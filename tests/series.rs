//! Series of numbers from files, through the program: what is read, trained, kept, forecast and refused.

mod common;

use std::f64::consts::TAU;
use std::fmt::Write;

use common::{Csv, Lab, json};

/// The deviation of the noise in a made series.
const NOISE: f64 = 0.3;

/// Independent numbers that are as good as normal, of a generator that will always be the same.
fn noise(count: usize) -> Vec<f64> {
    let mut state = 7_u64;
    let mut uniform = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut normal = || (-2.0 * (1.0 - uniform()).ln()).sqrt() * (TAU * uniform()).cos();
    (0..count).map(|_| NOISE * normal()).collect()
}

/// Two sines and noise about 20, beside the day and a column that means nothing.
fn waves(rows: usize) -> String {
    let mut text = "day,wave,\"other, odd\"\n".to_owned();
    for (t, noise) in noise(rows).iter().enumerate() {
        let at = |period: f64| (TAU * t as f64 / period).sin();
        let wave = 20.0 + at(12.0) + 2.0 * at(31.0) + noise;
        writeln!(text, "2024-{:02}-{:02},{wave:.4},{}", t / 28 % 12 + 1, t % 28 + 1, t % 3)
            .unwrap();
    }
    text
}

/// A training of less than a second on `waves.csv`.
const SMALL: &str = "train --series waves.csv --inputs wave --targets wave --n-in 8 --n-out 2 --units 6 \
                     --epochs 4";

fn lab(rows: usize) -> Lab {
    let lab = Lab::new();
    lab.write("waves.csv", waves(rows));
    lab
}

fn numbers(text: &str) -> Vec<f64> {
    text.split(' ').map(|number| number.parse().unwrap()).collect()
}

#[test]
fn a_forecast_is_as_good_as_the_noise_allows() {
    let lab = lab(4_000);
    lab.run(
        "train --series waves.csv --inputs wave --targets wave --n-in 36 --units 24 --epochs 12 \
         --learning-rate 5e-3 --batch-size 32 --quiet --out run",
    );
    let summary = json(&lab.read("run/summary.json"));
    let forecast = &summary["replicas"][0]["evaluation"]["forecast"];
    let error = |name: &str| forecast[name].as_f64().unwrap();
    // The mean of the last tenth's absolute noise, which nobody can forecast.
    let noise = &noise(4_000)[3_600..];
    let own = noise.iter().map(|noise| noise.abs()).sum::<f64>() / noise.len() as f64;
    assert!(error("mae") < 1.15 * own, "{} and {own}", error("mae"));
    assert!(error("mae") > 0.9 * own && error("naive_mae") > 1.3 * own, "{forecast}");
    assert!(error("rmse") > error("mae") && error("naive_rmse") > error("naive_mae"), "{forecast}");
}

#[test]
fn one_command_trains_on_a_series_and_keeps_what_it_found() {
    let lab = lab(400);
    let printed = lab.run("train --series waves.csv --n-in 8 --n-out 2 --units 6 --epochs 4");
    let config = lab.read("runs/waves/config.toml");
    for line in [
        "task = \"series\"",
        "series = \"waves.csv\"",
        "inputs = 'wave,\"other, odd\"'",
        "targets = 'wave,\"other, odd\"'",
        "features_in = 2",
        "features_out = 2",
        "samples = 311",
        "validation_samples = 39",
        "evaluation_samples = 39",
        "family = \"repeat_vector\"",
        "loss = \"mse\"",
        "vocab = 0",
    ] {
        assert!(config.contains(line), "{line} in {config}");
    }
    let scaling = lab.read("runs/waves/scaling.tsv");
    let wave: Vec<f64> = waves(320)
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1).unwrap().parse().unwrap())
        .collect();
    let mean = wave.iter().sum::<f64>() / 320.0;
    let kept: f64 = scaling.lines().nth(1).unwrap().split('\t').nth(1).unwrap().parse().unwrap();
    assert!((kept - mean).abs() < 1e-9, "{scaling}, {mean}");
    assert!(scaling.lines().nth(2).unwrap().ends_with("\tother, odd"), "{scaling}");

    // What is evaluated is in the file's units, and the last of it is the file's end.
    let rows = Csv::predictions(&lab, "runs/waves").rows;
    let all = waves(400);
    let last: Vec<&str> = all.lines().last().unwrap().split(',').collect();
    let expected = numbers(&rows.last().unwrap()[2]);
    assert_eq!((rows.len(), expected.len()), (39, 4));
    assert!((expected[2] - last[1].parse::<f64>().unwrap()).abs() < 1e-4, "{expected:?}");
    let (mut error, mut naive) = (0.0, 0.0);
    for row in &rows {
        let [source, expected, predicted] = [&row[1], &row[2], &row[3]].map(|text| numbers(text));
        for (i, (expected, predicted)) in expected.iter().zip(&predicted).enumerate() {
            error += (expected - predicted).abs() / 156.0;
            naive += (expected - source[14 + i % 2]).abs() / 156.0;
        }
    }
    let summary = json(&lab.read("runs/waves/summary.json"));
    let forecast = &summary["replicas"][0]["evaluation"]["forecast"];
    for (name, found) in [("mae", error), ("naive_mae", naive)] {
        assert!((forecast[name].as_f64().unwrap() - found).abs() < 1e-4, "{name}: {forecast}");
    }
    assert_eq!(forecast["columns"][1]["column"], "other, odd");
    assert!(printed.contains("naive"), "{printed}");
}

#[test]
fn a_run_goes_on_as_if_it_had_not_ended_and_only_on_the_same_data() {
    let lab = lab(300);
    let rows = SMALL.replace("--epochs 4", "--learning-rate-schedule constant --replicas 2");
    lab.run(&format!("{rows} --epochs 4 --quiet --out whole"));
    lab.run(&format!("{rows} --epochs 1 --quiet --out run"));
    lab.run("resume run --epochs 4 --quiet");
    lab.same_run("whole", "run");
    lab.write("waves.csv", waves(300).replace("20.", "21."));
    lab.refuses(2, "resume run --epochs 5", &["waves.csv: was changed since the run began"]);
    lab.refuses(2, "evaluate run", &["waves.csv: was changed since the run began"]);
}

#[test]
fn a_run_forecasts_without_the_file_it_was_trained_on() {
    let lab = lab(300);
    lab.run(&format!("{SMALL} --quiet --out run"));
    let rows = Csv::predictions(&lab, "run").rows;
    std::fs::rename(lab.path("waves.csv"), lab.path("gone.csv")).unwrap();
    let row = rows.last().unwrap();
    let answer = lab.run(&format!("predict run --source '{}'", row[1]));
    for (got, expected) in numbers(answer.trim()).iter().zip(numbers(&row[3])) {
        assert!((got - expected).abs() < 1e-4, "{answer}, not {}", row[3]);
    }
    // The file but for its last two lines goes on with the last forecast.
    let text = waves(298);
    lab.write("now.csv", &text);
    let lines = lab.run("predict run --source-file now.csv");
    let mut lines = lines.lines();
    assert_eq!(lines.next(), Some("wave"));
    let values: Vec<f64> = lines.map(|line| line.parse().unwrap()).collect();
    assert_eq!(values.len(), 2);
    for (got, expected) in values.iter().zip(numbers(&row[3])) {
        assert!((got - expected).abs() < 1e-4, "{values:?}, not {}", row[3]);
    }
    let told = json(&lab.run("evaluate run --test now.csv --json"));
    assert_eq!(told[0]["evaluation"]["samples"], 298 - 9);
    lab.write("short.csv", "wave\n1\n2\n");
    lab.refuses(2, "predict run --source-file short.csv", &["2 rows: the model reads 8"]);
}

#[test]
fn a_constant_series_divides_by_nothing() {
    let lab = Lab::new();
    lab.write("waves.csv", "wave\n".to_owned() + &"0.1\n".repeat(200));
    lab.run(&format!("{SMALL} --quiet --out run"));
    let summary = json(&lab.read("run/summary.json"));
    let forecast = &summary["replicas"][0]["evaluation"]["forecast"];
    assert_eq!(forecast["naive_mae"], 0.0);
    assert!(forecast["mae"].as_f64().unwrap() < 0.1, "{forecast}");
}

#[test]
fn a_bad_file_is_refused_before_anything_is_written() {
    let lab = lab(100);
    let of = |line: &str| waves(100).replacen("2024-01-03,", &format!("{line}\n2024-01-03,"), 1);
    for (content, says) in [
        (of("x,1\u{2c}5,2"), "line 4: 4 fields, but the header has 3"),
        (of("x,\"1,5\",2"), "line 4, column 'wave': expected a number, found '1,5'"),
        (of("x,nan,2"), "line 4, column 'wave': expected a number, found 'nan', a missing value"),
        (of("x,,2"), "line 4, column 'wave': expected a number, found no value"),
        (of("x,2024-01-01,2"), "found '2024-01-01', a date or a time"),
        (of("x,1e99,2"), "found '1e99', a number out of the range of float32"),
        (of("x,wet,2"), "found the text 'wet'"),
        (of("x,\"1\n2\",2"), "line 4"),
        (of(""), "line 4"),
        (waves(100).replace("wave", "wvae"), "did you mean"),
        (waves(100).replace("day", "wave"), "a second column 'wave'"),
        (waves(100).replace(',', ";"), "--separator semicolon"),
        (waves(10), "no window of 8 + 2 rows"),
        ("day,wave\n".to_owned(), "expected numbers below the header, found none"),
        (String::new(), "an empty file"),
    ] {
        lab.write("waves.csv", content);
        lab.refuses(2, &format!("{SMALL} --out run"), &["waves.csv", says]);
        assert!(!lab.path("run").exists());
    }
    lab.write("waves.csv", waves(100));
    let negative = SMALL.replace("--n-in 8", "--n-in -1");
    let says = "--n-in -1: expected a whole number from 1 to 1000000";
    lab.refuses(2, &format!("{negative} --out run"), &[says]);
    lab.write("waves.csv", of("x,NA,2"));
    for missing in ["previous", "interpolate", "skip_windows"] {
        let printed = lab.run(&format!("{SMALL} --missing {missing} --out {missing}"));
        assert!(!printed.contains("NaN"), "{printed}");
    }
}

#[test]
fn what_is_given_of_a_series_is_checked_before_it_is_read() {
    let lab = lab(100);
    for (flags, says) in [
        (
            "--loss cross_entropy",
            "error: --loss cross_entropy: expected mse or mae: the sequences of",
        ),
        (
            "--validation-fraction 0",
            "error: --validation-fraction 0: expected a number above 0: some",
        ),
        (
            "--validation-fraction 0.6 --test-fraction 0.5",
            "error: --test-fraction 0.5: expected less than 1 together with --validation-fraction 0.6",
        ),
        (
            "--validation-fraction 0.95",
            "error: test_fraction 0.1, the default: expected less than 1 together with",
        ),
    ] {
        lab.refuses(2, &format!("train --series none.csv {flags}"), &[says]);
        lab.refuses(2, &format!("data none.csv --task series {flags}"), &[says]);
    }
    let says = "no window of 8 + 2 rows (--n-in, --n-out) is in the test part, 0 of its 100 rows";
    lab.refuses(2, &format!("{SMALL} --test-fraction 0.001 --out run"), &[says]);
    let shown = lab.run("data waves.csv --task series --n-in 8 --test-fraction 0");
    assert!(shown.contains("10 to validate on, 10 to evaluate on"), "{shown}");
}

#[test]
fn a_value_of_a_file_that_the_series_refutes_is_named_with_its_place() {
    let lab = lab(100);
    lab.write("c.toml", "series = 'waves.csv'\nn_in = 8\nevaluation_samples = 50\n");
    let says = "error: c.toml, line 3, column 1: evaluation_samples = 50: expected 1 to 10, the windows \
                of the test part\nhint: leave it out";
    lab.refuses(2, "train --config c.toml --dry-run", &[says]);
    let whole = lab.run(&format!("{SMALL} --dry-run"));
    lab.write("whole.toml", &whole);
    assert_eq!(lab.run("train --config whole.toml --dry-run"), whole);
    lab.write("waves.csv", waves(99));
    let line = 1 + whole.lines().position(|line| line == "samples = 71").unwrap();
    let says =
        format!("error: whole.toml, line {line}, column 1: samples = 71: expected 70, the win");
    lab.refuses(2, "train --config whole.toml --dry-run", &[&says]);
}

#[test]
fn a_series_of_tokens_that_is_read_as_numbers_is_told() {
    let lab = Lab::new();
    lab.write("notes.txt", "do re mi\nfa sol la\n");
    lab.write("verses.txt", "do re mi\nfa sol\n\nla ti\n");
    lab.write("notes.csv", "day,note\n1,do\n2,re\n".to_owned() + &"3,mi\n".repeat(98));
    lab.write("ids.txt", "7\n100\n12\n".repeat(60));
    let text = "if it is a text, a series of words or ids: --series-tokens words or ids\n";
    let column = "; if the column is a series of words: --series-tokens words --targets note\n";
    let flags = [("notes.txt", text), ("verses.txt", text), ("notes.csv --targets note", column)];
    for (flags, hint) in flags {
        lab.refuses(2, &format!("train --series {flags}"), &["\nhint: ", hint]);
        lab.refuses(2, &format!("data {flags} --task series"), &["\nhint: ", hint]);
    }
    let output = lab.command("train --series ids.txt --dry-run").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let note = "note: the first line of ids.txt, which is to name the columns, holds numbers\nhint: put \
                a line with the columns' names above it; if the numbers are ids: --series-tokens ids\n";
    assert!(said.contains(note) && output.status.success(), "{said}");
    let output =
        lab.command("train --series ids.txt --series-tokens ids --dry-run").output().unwrap();
    assert!(!String::from_utf8(output.stderr).unwrap().contains("note: "));
}
