//! `train --init-from`: training that begins with another run's weights.

mod common;

use std::fs;

use common::{ECHO, Lab, json};

/// The weights that `run` has after its last step.
fn weights(lab: &Lab, run: &str) -> Vec<u8> {
    lab.bytes(&lab.file(run, "checkpoint/weights.safetensors"))
}

/// The weights that `run`, of few checkpoints, began with.
fn first(lab: &Lab, run: &str) -> Vec<u8> {
    lab.bytes(&format!("{run}/checkpoint/step-000000000/weights.safetensors"))
}

#[test]
fn a_training_begins_with_the_weights_of_a_run_and_a_new_optimiser() {
    let lab = Lab::new();
    let two = format!("{ECHO} --replicas 2 --validate-every 1 --keep-checkpoints 9");
    lab.train(&two, "source");
    lab.train(&format!("{two} --seed 5 --init-from source"), "run");
    assert!(first(&lab, "run") == weights(&lab, "source"));
    assert!(weights(&lab, "run") != weights(&lab, "source"));
    let manifest = json(&lab.read(&lab.file("source", "checkpoint/manifest.json")));
    let crc32 = &manifest["files"]["weights.safetensors"]["crc32"];
    let init = &json(&lab.read("run/summary.json"))["init_from"];
    assert_eq!(*init, serde_json::json!({"run": "source", "step": 8, "weights_crc32": crc32}));
    let kept = json(&lab.read(&lab.file("run", "checkpoint/manifest.json")));
    assert_eq!(kept["position"]["init_from"], *init);
    let text = lab.read("run/checkpoint/step-000000000/manifest.json");
    assert_eq!(json(&text)["position"]["step"], 0);

    // In another dtype, and with steps of next to nothing, it says what the source says.
    let begun = "--epochs 1 --lr 1e-30 --dtype float64";
    lab.train(
        &format!("{} {begun} --replicas 2 --init-from source", ECHO.replace("--epochs 2 ", "")),
        "wider",
    );
    let evaluated =
        |run: &str| json(&lab.run(&format!("evaluate {run} --json")))[1]["evaluation"].clone();
    assert_eq!(evaluated("wider")["token_accuracy"], evaluated("source")["token_accuracy"]);
}

#[test]
fn one_replica_is_for_all_and_the_best_weights_are_taken_where_asked_for() {
    let lab = Lab::new();
    let source = "echo --vocab 5 --units 4 --epochs 12 --lr 3 --replicas 2 --validate-every 1 \
                  --validation-samples 40 --evaluation-samples 20 --log-every 4";
    lab.train(source, "source");
    let best = lab.bytes(&lab.file("source", "checkpoint/best.safetensors"));
    assert!(best != weights(&lab, "source"), "take another seed");
    lab.train(&source.replace("--replicas 2", ""), "one");
    let training =
        "echo --vocab 5 --units 4 --epochs 1 --evaluation-samples 20 --keep-checkpoints 9";
    lab.train(&format!("{training} --replicas 2 --init-from source --init-best"), "best");
    assert!(first(&lab, "best") == best);
    lab.train(&format!("{training} --init-from one"), "last");
    lab.train(&format!("{training} --replicas 3 --init-from one"), "three");
    // Replica 0 trains as the one that is alone.
    let [three, last] =
        ["three", "last"].map(|run| json(&lab.read(&format!("{run}/summary.json"))));
    assert_eq!(three["replicas"][0], last["replicas"][0]);
    assert_ne!(three["replicas"][1]["train_loss"], last["replicas"][0]["train_loss"]);
}

#[test]
fn a_run_needs_the_other_no_more_even_if_it_ends_at_its_start() {
    let lab = Lab::new();
    lab.train(ECHO, "source");
    lab.train(&format!("{ECHO} --init-from source"), "whole");
    lab.train(&format!("{ECHO} --init-from source --keep-checkpoints 9"), "run");
    fs::remove_dir_all(lab.path("source")).unwrap();
    // As if it had been killed before its first step.
    for name in ["summary.json", "predictions.csv", "curves.csv"] {
        fs::remove_file(lab.path("run").join(name)).unwrap();
    }
    for entry in fs::read_dir(lab.path("run/checkpoint")).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("step-000000000") {
            fs::remove_dir_all(path).unwrap();
        }
    }
    lab.run("resume run --quiet");
    lab.same_run("run", "whole");

    // Killed even before it had its config.toml, it is replaced.
    lab.copy("run/checkpoint", "early/checkpoint");
    lab.refuses(2, &format!("train {ECHO} --out early"), &["holds files that are no run's"]);
    lab.copy("run/checkpoint", "begun/checkpoint");
    fs::copy(lab.path("run/config.toml"), lab.path("begun/config.0.partial")).unwrap();
    lab.train(ECHO, "begun");
}

#[test]
fn what_does_not_fit_is_refused_and_named() {
    let lab = Lab::new();
    lab.train(&format!("{ECHO} --replicas 2"), "source");
    for (flags, says) in [
        ("--units 8 --replicas 2", "lstm.kernel has shape [100, 64] there, but [100, 32] here"),
        ("--layers 2 --replicas 2", "it has no lstm_2.kernel, which has shape [16, 64] here"),
        ("--replicas 3", "it has 2 replicas, expected 1 or the --replicas 3"),
        ("", "it has 2 replicas, expected 1 or the --replicas 1"),
    ] {
        let says = format!("error: --init-from source: {says}\nhint: give ");
        lab.refuses(2, &format!("train {ECHO} {flags} --init-from source --out run"), &[&says]);
    }
    let best = format!("train {ECHO} --replicas 2 --init-from source --init-best --out run");
    lab.refuses(2, &best, &["error: --init-best: no row of source was validated\nhint: "]);
    lab.refuses(2, &format!("train {ECHO} --init-best --out run"), &["--init-from"]);
    lab.refuses(2, &format!("train {ECHO} --init-from nowhere --out run"), &["nowhere: no run"]);
    let diverging = "echo --units 4 --lr 1e37 --seed 7 --replicas 4 --evaluation-samples 40";
    lab.train(&format!("{diverging} --epochs 20"), "spoilt");
    let spoilt = "train echo --units 4 --replicas 4 --init-from spoilt --out run";
    lab.refuses(2, spoilt, &["error: --init-from spoilt: replica ", " has diverged\n"]);
}
