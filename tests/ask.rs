//! What a finished run is asked: `evaluate` and `predict`.

mod common;

use common::{Csv, Lab, json};

/// Learns a little, and has a validation of the very samples that it is evaluated on: those held out.
const SUMS: &str = "addition-2 --units 8 --samples 96 --evaluation-samples 40 --validation-samples \
                    40 --epochs 2 --validate-every 1 --lr 0.01";

fn summary(lab: &Lab) -> serde_json::Value {
    json(&lab.read("run/summary.json"))
}

#[test]
fn an_evaluation_says_the_loss_of_what_it_evaluated() {
    let lab = Lab::with_run(SUMS);
    let curves = Csv::curves(&lab, "run");
    let evaluated = json(&lab.run("evaluate run --json"))[0].clone();
    assert_eq!(evaluated, summary(&lab)["replicas"][0]);
    let loss = evaluated["evaluation"]["loss"].as_f64().unwrap();
    assert_eq!(curves.numbers("val_loss")[1], loss);
    assert_eq!(curves.numbers("loss")[1], evaluated["train_loss"].as_f64().unwrap());
    assert_ne!(curves.numbers("loss")[1], loss, "says nothing");

    for printed in [lab.run("evaluate run"), lab.run("resume run --epochs 3")] {
        let header = "seed  train loss  train accuracy  fresh samples  eval loss  token accuracy";
        assert!(printed.contains(header), "{printed}");
    }
    let printed = lab.run("evaluate run --samples 20");
    let loss = &json(&lab.run("evaluate run --samples 20 --json"))[0]["evaluation"]["loss"];
    assert!(printed.contains(&format!("  {:.4}", loss.as_f64().unwrap())), "{printed}");
}

#[test]
fn a_summary_from_before_evaluations_had_a_loss_is_read() {
    let lab = Lab::with_run(SUMS);
    let now = lab.read("run/summary.json");
    let loss = now.lines().find(|line| line.contains("\"loss\"")).unwrap();
    let before = now.replace(&format!("{loss}\n"), "");
    let before = before.replace("\"train_loss", "\"loss").replace("\"train_accuracy", "\"accuracy");
    assert_ne!(before, now);
    lab.write("run/summary.json", before);
    let evaluated = json(&lab.run("evaluate run --json"));
    assert_eq!(evaluated, json(&now)["replicas"]);
    lab.run("report .");
}
