//! A training that is asked to end does so soon.

mod common;

use std::cell::Cell;
use std::fs;

use common::{Csv, Lab};

/// Steps of about a tenth of a second, nearly all of it in the dense layer.
const LONG_STEPS: &str = "train reverse --units 4 --vocab 100000 --batch-size 128 --log-every 1 \
                          --epochs 100 --evaluation-samples 1 --device cpu --quiet --out run";

/// The step of the last whole row of a `curves.csv`.
fn last_step(curves: &str) -> Option<f64> {
    let whole = curves.rsplit_once('\n')?.0;
    whole.lines().last()?.split(',').nth(3)?.parse().ok()
}

#[test]
fn a_signal_waits_for_no_more_than_a_few_steps() {
    let lab = Lab::new();
    let curves = lab.path("run/curves.csv");
    let seen = Cell::new(0.0);
    let output = lab.signal("-TERM", LONG_STEPS, || {
        let text = fs::read_to_string(&curves).unwrap_or_default();
        seen.set(last_step(&text).unwrap_or_default());
        seen.get() >= 1.0
    });
    assert_eq!(output.status.code(), Some(143));
    // `resume` goes on with the same device, whatever else `auto` might take by then.
    let manifest = lab.read(&lab.file("run", "checkpoint/manifest.json"));
    assert!(manifest.contains("\"device\": \"cpu\","), "{manifest}");
    let done = Csv::curves(&lab, "run").numbers("step").pop().unwrap();
    assert!(done - seen.get() <= 16.0, "{} steps after the signal", done - seen.get());
}

#[test]
fn a_checkpoint_every_second_comes_about_as_often() {
    let lab = Lab::new();
    let manifests = || {
        let all = fs::read_dir(lab.path("run/checkpoint")).into_iter().flatten().flatten();
        all.filter(|entry| entry.path().join("manifest.json").exists()).count()
    };
    let arguments = format!("{LONG_STEPS} --checkpoint-every 1s --keep-checkpoints 100");
    let output = lab.signal("-TERM", &arguments, || manifests() >= 2);
    assert_eq!(output.status.code(), Some(143));
    let steps = fs::read_dir(lab.path("run/checkpoint")).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.trim_start_matches("step-").parse::<i64>().unwrap()
    });
    let mut steps: Vec<f64> = steps.map(|step| step as f64).collect();
    steps.sort_by(f64::total_cmp);
    let curves = Csv::curves(&lab, "run");
    let at = curves.numbers("step").iter().position(|step| *step == steps[1]).unwrap();
    let seconds = curves.numbers("seconds")[at];
    assert!(seconds < 5.0, "the second came after {seconds} s");
}
