//! `resume`: a run that was cut comes to what it would have come to without the cut.

mod common;
#[path = "common/keeper.rs"]
mod keeper;
#[path = "common/models.rs"]
mod models;

use std::fs;
use std::sync::atomic::AtomicBool;

use common::{Csv, ECHO, Lab, json};
use keeper::Keeper;
use models::{layers_of, with_more_layers};
use seqlab::config::presets;
use seqlab::config::{CheckpointEvery, Config, EngineChoice, OptimizerKind};
use seqlab::model::network::State;
use seqlab::tensor::device::{download, host};
use seqlab::train::checkpoint;
use seqlab::train::trainer::{Outcome, Trainer};

/// The preset, small; several batches an epoch.
fn small(name: &str) -> Config {
    let config = presets::find(name).unwrap().config;
    let addition = name == "addition-2";
    let vocab = if addition { config.vocab } else { 9 };
    Config {
        vocab,
        id_max: config.id_max - config.vocab + vocab,
        units: 4,
        samples: config.samples.map(|_| 14),
        batch_size: if config.length.is_some() { config.batch_size.min(7) } else { 4 },
        epochs: 3,
        replicas: 3,
        log_every: Some(3),
        validate_every: Some(2),
        validation_samples: 20,
        evaluation_samples: 20,
        global_clipnorm: Some(0.5),
        checkpoint_every: CheckpointEvery::Never,
        learning_rate: 0.01,
        ..config
    }
}

fn bits(numbers: &[f64]) -> Vec<u64> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

fn tensor(tensor: &tch::Tensor) -> Vec<u64> {
    bits(&download(tensor).unwrap())
}

fn state(state: &Option<State>) -> Vec<u64> {
    let layers = state.iter().flat_map(|state| &state.0);
    layers.flat_map(|layer| [tensor(&layer.h), tensor(&layer.c)].concat()).collect()
}

/// Trains in sessions of `steps` steps each, every one a trainer of its own. Returns everything that
/// comes out, as bits, but for times.
fn in_sessions(config: &Config, steps: i64) -> Vec<Vec<u64>> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("checkpoint");
    let mut rows = Vec::new();
    loop {
        let mut trainer = Trainer::new(config, host()).unwrap();
        if let Some(saved) = checkpoint::newest(&folder).unwrap().whole {
            saved.restore(&mut trainer).unwrap();
            rows.truncate(saved.manifest.curves_bytes as usize);
        }
        let stop = AtomicBool::new(false);
        let mut keeper = Keeper { folder: &folder, stop: &stop, left: steps, rows };
        let outcome = trainer.run(&mut keeper, &stop).unwrap();
        rows = keeper.rows;
        if let Outcome::Finished(means) = outcome {
            let flat = [trainer.parameters.flat()].into_iter().chain(&trainer.optimizer.slots);
            let mut all: Vec<_> = flat.map(tensor).collect();
            all.push(state(&trainer.carried));
            let (best, weights) = trainer.best.as_ref().unwrap();
            all.extend([vec![best.step as u64, best.val_loss.to_bits()], tensor(weights)]);
            all.push(means.iter().flatten().flat_map(|m| bits(&[m.loss, m.values[0]])).collect());
            rows.iter_mut().for_each(|row| row.seconds = 0.0);
            all.push(format!("{rows:?}").bytes().map(u64::from).collect());
            return all;
        }
    }
}

#[test]
fn every_family_may_be_cut_between_any_two_steps() {
    for name in ["echo", "partial-echo-2", "reverse", "echo-lag", "echo-current", "addition-2"] {
        // Without clipping the fused engine does several steps of a replica before the next
        // replica.
        for (engine, global_clipnorm) in [
            (EngineChoice::Fused, Some(0.5)),
            (EngineChoice::Fused, None),
            (EngineChoice::Libtorch, Some(0.5)),
        ] {
            for config in with_more_layers(&small(name)) {
                let config = Config { engine, global_clipnorm, ..config };
                config.validate().unwrap();
                let whole = in_sessions(&config, i64::MAX);
                for steps in [1, 2, 5] {
                    let what = format!("{name}: {}, {engine}, {steps}", layers_of(&config));
                    assert!(in_sessions(&config, steps) == whole, "{what}");
                }
            }
        }
    }
}

#[test]
fn every_optimizer_may_be_cut_between_any_two_steps() {
    for (optimizer, momentum, nesterov) in [
        (OptimizerKind::AdamW, None, None),
        (OptimizerKind::RmsProp, None, None),
        (OptimizerKind::RmsProp, Some(0.9), None),
        (OptimizerKind::Sgd, None, None),
        (OptimizerKind::Sgd, Some(0.9), Some(true)),
    ] {
        for engine in [EngineChoice::Fused, EngineChoice::Libtorch] {
            let weight_decay = Some(0.1);
            let config = Config { optimizer, momentum, nesterov, weight_decay, ..small("echo") };
            let config = Config { engine, global_clipnorm: None, ..config };
            config.validate().unwrap();
            let whole = in_sessions(&config, i64::MAX);
            for steps in [1, 2, 5] {
                let what = format!("{optimizer}, momentum {momentum:?}, {engine}, {steps}");
                assert!(in_sessions(&config, steps) == whole, "{what}");
            }
        }
    }
}

#[test]
fn a_finished_run_says_so_and_can_be_extended() {
    let lab = Lab::with_run(&format!("{ECHO} --replicas 2 --validate-every 1 --warmup-steps 3"));
    let before = common::tree(&lab.path("run"));
    assert_eq!(lab.run("resume run"), "run: finished, all 2 epochs; --epochs N goes on to N\n");
    assert_eq!(lab.run("resume run --epochs 2 --quiet"), "");
    assert!(common::tree(&lab.path("run")) == before);
    let printed = lab.run("resume run --epochs 5");
    assert!(printed.contains("20 steps in "), "{printed}");
    let five = ECHO.replace("--epochs 2", "--epochs 5");
    lab.train(&format!("{five} --replicas 2 --validate-every 1 --warmup-steps 3"), "whole");
    lab.same_run("run", "whole");
    lab.refuses(
        2,
        "resume run --epochs 4",
        &["--epochs 4: expected at least the 5 that are begun"],
    );
    lab.refuses(2, "resume run --epochs 0", &["--epochs 0: expected"]);
}

#[test]
fn masks_go_on_where_they_were() {
    let lab = Lab::new();
    for engine in ["fused", "libtorch"] {
        let training = |epochs| {
            format!(
                "reverse --units 4 --samples 90 --evaluation-samples 20 --replicas 2 \
                 --log-every 3 --engine {engine} --dropout 0.3 --recurrent-dropout 0.2 \
                 --epochs {epochs}"
            )
        };
        let [run, whole] = ["run", "whole"].map(|name| format!("{name}-{engine}"));
        lab.train(&training(2), &run);
        lab.run(&format!("resume {run} --epochs 4 --quiet"));
        lab.train(&training(4), &whole);
        lab.same_run(&run, &whole);
    }
}

#[test]
fn a_replica_that_has_diverged_stays_so() {
    let lab = Lab::new();
    let training = "echo --units 4 --lr 1e37 --seed 7 --replicas 4 --evaluation-samples 40";
    lab.train(&format!("{training} --epochs 20"), "whole");
    let curves = lab.read("whole/curves.csv");
    let diverged: Vec<&str> = curves.lines().filter(|row| row.contains("NaN")).collect();
    assert!((1..4).contains(&diverged.len()), "take another learning rate: {diverged:?}");
    let epoch = |row: &str| row.split(',').nth(2).unwrap().parse::<i64>().unwrap();
    let first = epoch(diverged[0]);
    // Before it diverges, with the row that tells it, and later.
    for epochs in [first - 1, first, first + 1] {
        lab.train(&format!("{training} --epochs {epochs}"), "run");
        lab.run("resume run --epochs 20 --quiet");
        lab.same_run("run", "whole");
        fs::remove_dir_all(lab.path("run")).unwrap();
    }
}

#[test]
fn when_a_divergence_is_noted_does_not_depend_on_checkpoints() {
    let echo = presets::find("echo").unwrap().config;
    let noted = |checkpoint_every| {
        let config = Config { replicas: 2, epochs: 5, checkpoint_every, ..echo.clone() };
        let (folder, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
        let folder = folder.path().join("checkpoint");
        let mut trainer = Trainer::new(&config, host()).unwrap();
        // The weights of an id that not every batch has.
        let kernel = trainer.parameters.range("lstm.kernel", 0).unwrap();
        let row =
            trainer.parameters.flat().narrow(0, kernel.start as i64 + 17 * 4 * config.units, 1);
        let _ = row.shallow_clone().fill_(f64::INFINITY);
        let mut keeper = Keeper { folder: &folder, stop: &stop, left: -1, rows: Vec::new() };
        trainer.run(&mut keeper, &stop).unwrap();
        trainer.diverged()
    };
    let never = noted(CheckpointEvery::Never);
    assert!(matches!(never[..], [Some(2..), None]), "take another id: {never:?}");
    assert_eq!(noted(CheckpointEvery::Steps(1)), never);
}

#[test]
fn what_would_not_be_the_longer_run_is_not_extended() {
    let lab = Lab::with_run(&format!("{ECHO} --lr-schedule cosine"));
    let says =
        ["--epochs 3: with learning_rate_schedule cosine every step's", "hint: leave it out, or `"];
    lab.refuses(2, "resume run --epochs 3", &says);
    lab.train(&format!("{ECHO} --log-every 3"), "odd");
    let says = ["--epochs 3: the last row of curves.csv, at step 8, is there because", "hint: "];
    lab.refuses(2, "resume odd --epochs 3", &says);
}

/// The run without its end, as if it had been killed between the last checkpoint and the summary.
fn unfinish(lab: &Lab, run: &str) {
    fs::remove_file(lab.path(run).join("summary.json")).unwrap();
    fs::remove_file(lab.path(run).join("predictions.csv")).unwrap();
}

const KEPT: &str = "echo --epochs 3 --evaluation-samples 40 --replicas 2 --log-every 1 \
                    --checkpoint-every 5 --keep-checkpoints 9";

#[test]
fn rows_after_the_checkpoint_are_cut_off_and_a_damaged_checkpoint_is_passed_over() {
    let lab = Lab::with_run(KEPT);
    let curves = lab.read("run/curves.csv");
    for (damage, left) in [(0, 12), (1, 10), (2, 5)] {
        lab.copy("run", "cut");
        unfinish(&lab, "cut");
        lab.write("cut/curves.csv", format!("{curves}0,1,4,13,6"));
        for step in &["step-000000012", "step-000000010"][..damage] {
            lab.write(&format!("cut/checkpoint/{step}/weights.safetensors"), "damaged");
        }
        let output = lab.command("resume cut").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        assert!(stderr.contains(&format!("resuming echo after step {left} on cpu")), "{stderr}");
        assert_eq!(stderr.matches("is passed over").count(), damage, "{stderr}");
        lab.same_run("cut", "run");
        fs::remove_dir_all(lab.path("cut")).unwrap();
    }
}

#[test]
fn the_last_checkpoints_are_kept() {
    let lab = Lab::with_run(KEPT);
    let names = |run: &str| {
        let all = fs::read_dir(lab.path(run).join("checkpoint")).unwrap();
        let mut all: Vec<_> = all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    };
    assert_eq!(names("run"), ["step-000000005", "step-000000010", "step-000000012"]);
    lab.train(&KEPT.replace("--keep-checkpoints 9", ""), "two");
    assert_eq!(names("two"), ["step-000000010", "step-000000012"]);
    lab.train(&KEPT.replace("5 --keep-checkpoints 9", "never"), "never");
    assert_eq!(names("never"), ["step-000000012"]);
    lab.same_run("never", "run");
}

#[test]
fn without_a_checkpoint_a_run_begins_again() {
    let lab = Lab::with_run(KEPT);
    for kept in ["curves.csv", ""] {
        lab.copy("run", "cut");
        unfinish(&lab, "cut");
        fs::remove_dir_all(lab.path("cut/checkpoint")).unwrap();
        if kept.is_empty() {
            fs::remove_file(lab.path("cut/curves.csv")).unwrap();
        }
        lab.run("resume cut");
        lab.same_run("cut", "run");
        fs::remove_dir_all(lab.path("cut")).unwrap();
    }
    fs::remove_dir_all(lab.path("run/checkpoint")).unwrap();
    lab.refuses(1, "resume run --epochs 9", &["run: holds no checkpoint to go on from"]);
}

#[test]
fn what_does_not_belong_together_is_not_resumed() {
    let lab = Lab::with_run(KEPT);
    unfinish(&lab, "run");
    let config = lab.read("run/config.toml");
    lab.write("run/config.toml", config.replace("learning_rate = 0.001", "learning_rate = 0.01"));
    let says = ["run/config.toml: learning_rate is 0.01, but was 0.001 when ", "hint: put it back"];
    lab.refuses(2, "resume run", &says);
    lab.write("run/config.toml", &config);
    let curves = lab.read("run/curves.csv");
    for cut in [0, 100, curves.len() - 1] {
        lab.write("run/curves.csv", &curves[..cut]);
        lab.refuses(1, "resume run", &["run/curves.csv is damaged: its first "]);
    }
    fs::remove_file(lab.path("run/curves.csv")).unwrap();
    lab.refuses(1, "resume run", &["cannot open run/curves.csv"]);
    lab.refuses(2, "resume nowhere", &["nowhere: no run"]);
}

#[test]
fn the_best_weights_are_those_of_the_lowest_validation_loss() {
    let lab = Lab::new();
    // Steps so large that it gets worse again.
    let training = "echo --vocab 5 --units 4 --epochs 12 --lr 3 --replicas 2 --validate-every 1 \
                    --validation-samples 40 --evaluation-samples 20 --log-every 4";
    lab.train(training, "run");
    let manifest = json(&lab.read(&lab.file("run", "checkpoint/manifest.json")));
    let best = &manifest["position"]["best"];
    let curves = Csv::curves(&lab, "run");
    let losses = curves.numbers("val_loss");
    let means: Vec<f64> = losses.chunks(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
    let lowest = means.iter().copied().fold(f64::INFINITY, f64::min);
    let row = means.iter().position(|mean| *mean == lowest).unwrap();
    assert_eq!(best["val_loss"].as_f64(), Some(lowest));
    assert_eq!(best["step"], 4 * (row as i64 + 1));
    assert!(row + 1 < means.len(), "the last is the best: {means:?}");
    let epochs = format!("--epochs {}", row + 1);
    lab.train(&training.replace("--epochs 12", &epochs), "short");
    assert!(
        lab.bytes(&lab.file("run", "checkpoint/best.safetensors"))
            == lab.bytes(&lab.file("short", "checkpoint/weights.safetensors"))
    );
}

#[cfg(unix)]
#[test]
fn an_interruption_while_a_row_is_validated_leaves_the_row_to_the_next_sitting() {
    let lab = Lab::new();
    // The one row is at the end, and its validation takes some time.
    let training = "echo --units 4 --replicas 2 --epochs 1 --validate-every 1 --evaluation-samples 20 \
                    --validation-samples 400000 --checkpoint-every 4";
    lab.train(training, "whole");
    let arguments = format!("train {training} --device cpu --quiet --out run");
    let output = lab.signal("-INT", &arguments, || {
        let begun = lab.path("run/curves.csv").exists();
        std::thread::sleep(std::time::Duration::from_millis(100));
        begun
    });
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lab.read("run/curves.csv"), "");
    let manifest = json(&lab.read(&lab.file("run", "checkpoint/manifest.json")));
    assert_eq!([&manifest["position"]["step"], &manifest["position"]["rows"]], [4, 0]);
    lab.run("resume run");
    let config = lab.read("run/config.toml").replace("\"cpu\"", "\"auto\"");
    lab.write("run/config.toml", config);
    for name in ["curves.csv", "predictions.csv", "checkpoint/weights.safetensors"] {
        let [one, other] = ["run", "whole"].map(|run| match name {
            "curves.csv" => common::timeless(&lab.read(&lab.file(run, name))),
            name => lab.bytes(&lab.file(run, name)),
        });
        assert!(one == other, "{name}");
    }
    let best = |run| lab.bytes(&lab.file(run, "checkpoint/best.safetensors"));
    assert!(best("run") == best("whole"));
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_at_once() {
    let lab = Lab::new();
    let mut command = std::process::Command::new(common::PROGRAM);
    let training = "train echo --units 4 --replicas 20 --epochs 1 --evaluation-samples 1000000";
    command.args(training.split(' ')).args(["--out", "run"]).current_dir(lab.path("."));
    // Stopped, it gets both at once when it goes on.
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    while !lab.path("run/predictions.csv").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for signal in ["-STOP", "-INT", "-TERM", "-CONT"] {
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args([signal, &child.id().to_string()]).status().unwrap().success());
    }
    let status = child.wait().unwrap().code().unwrap();
    assert!([130, 143].contains(&status), "{status}");
    // The lock of a process that ended so keeps nobody out.
    let mut command = lab.command("resume run");
    let output = command.timeout(std::time::Duration::from_secs(2)).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("resuming echo after step 4 "), "{stderr}");
}

#[cfg(unix)]
#[test]
fn two_processes_never_write_one_run() {
    let lab = Lab::new();
    let mut command = std::process::Command::new(common::PROGRAM);
    let training = "train echo --units 4 --epochs 1000000000 --quiet --device cpu --out run";
    command.args(training.split(' ')).current_dir(lab.path("."));
    let mut child = command.spawn().unwrap();
    while fs::read(lab.path("run/curves.csv")).map_or(true, |text| text.is_empty()) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let held = format!("error: run: process {} is writing this run\nhint: ", child.id());
    for arguments in ["resume run", "train echo --out run --force", "resume run --epochs 5"] {
        lab.fails(1, arguments, &[&held]);
    }
    lab.fails(2, "train echo --out run", &["holds a run that is not finished"]);
    child.kill().unwrap();
    child.wait().unwrap();
    lab.run("resume run --epochs 3");
    assert!(!lab.path("run/lock").exists());
}
