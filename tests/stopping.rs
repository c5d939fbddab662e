//! Early stopping, restored weights, and learning rates that go by a metric: each replica by itself, as
//! alone, and over any resume.

mod common;
#[path = "common/keeper.rs"]
mod keeper;
#[path = "common/training.rs"]
mod training;

use std::sync::atomic::AtomicBool;

use common::{Csv, Lab, json};
use keeper::Keeper;
use seqlab::config::presets;
use seqlab::config::{
    CheckpointEvery, Config, CurveMetric, Direction, Dtype, EngineChoice, LearningRateSchedule,
};
use seqlab::run::curves::CurveRow;
use seqlab::run::manifest::{BEST, RESTORED, TRAINING, WEIGHTS};
use seqlab::tensor::device::{download, host};
use seqlab::train::checkpoint;
use seqlab::train::trainer::{Outcome, Trainer};

/// A small model with steps so large that its losses rise and fall. An epoch has four steps and a row
/// three, so that rows end within epochs.
fn jumpy() -> Config {
    Config {
        vocab: 9,
        id_max: 7,
        units: 4,
        epochs: 12,
        replicas: 3,
        log_every: Some(3),
        validate_every: Some(1),
        validation_samples: 20,
        evaluation_samples: 20,
        checkpoint_every: CheckpointEvery::Never,
        learning_rate: 3.0,
        ..presets::find("echo").unwrap().config
    }
}

/// Stops after two validated rows without gain.
fn stopping(config: Config) -> Config {
    Config {
        early_stopping: Some(CurveMetric::ValLoss),
        early_stopping_mode: Some(Direction::Min),
        early_stopping_patience: Some(2),
        restore_best_weights: Some(true),
        ..config
    }
}

/// Halves the learning rate after two rows in which the loss did not fall by 0.01.
fn plateau(config: Config) -> Config {
    Config {
        learning_rate_schedule: LearningRateSchedule::Plateau,
        plateau_metric: Some(CurveMetric::Loss),
        plateau_mode: Some(Direction::Min),
        plateau_patience: Some(2),
        plateau_factor: Some(0.5),
        plateau_min_delta: Some(0.01),
        final_learning_rate: Some(0.2),
        warmup_steps: Some(5),
        ..config
    }
}

/// Both, each alone and together, on both engines, without and with clipping.
fn experiments() -> Vec<(String, Config)> {
    let mut all = Vec::new();
    for (name, config) in [
        ("stopping", stopping(jumpy())),
        // No row is validated, so that only the loss ends what is trained at a time.
        ("plateau", Config { validate_every: None, ..plateau(jumpy()) }),
        ("both", stopping(plateau(jumpy()))),
    ] {
        for engine in [EngineChoice::Fused, EngineChoice::Libtorch] {
            for global_clipnorm in [None, Some(0.5)] {
                let config = Config { engine, global_clipnorm, ..config.clone() };
                config.validate().unwrap();
                all.push((format!("{name}, {engine}, clipped at {global_clipnorm:?}"), config));
            }
        }
    }
    all
}

/// Trains in sessions of `steps` steps each, every one a trainer of its own. Returns the files of the
/// last checkpoint, the weights that the training ends with, and every row.
fn in_sessions(config: &Config, steps: i64) -> (Vec<Option<Vec<u8>>>, Vec<f64>, String) {
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
            let last = checkpoint::newest(&folder).unwrap().whole.unwrap();
            let file = |name| std::fs::read(last.path.join(name)).ok();
            let files = [WEIGHTS, TRAINING, BEST, RESTORED].map(file).into();
            rows.iter_mut().for_each(|row| row.seconds = 0.0);
            let stopped: Vec<_> = (0..3).map(|replica| trainer.stopping(replica)).collect();
            let weights = download(trainer.parameters.flat()).unwrap();
            return (files, weights, format!("{} {stopped:?} {means:?} {rows:?}", trainer.step));
        }
    }
}

#[test]
fn a_training_that_stops_early_may_be_cut_after_any_step() {
    for (name, config) in experiments() {
        let whole = in_sessions(&config, i64::MAX);
        // Four steps are an epoch.
        for steps in [1, 4, 5] {
            let (files, weights, told) = in_sessions(&config, steps);
            assert_eq!(told, whole.2, "{name}, {steps}");
            assert!(files == whole.0 && weights == whole.1, "{name}, {steps}");
        }
    }
}

/// The rows of replica `k`.
fn of_replica(rows: &[CurveRow], k: usize) -> Vec<CurveRow> {
    rows.iter().filter(|row| row.replica == k).cloned().collect()
}

/// Where a replica with these rows stops, and its best row, by the rule in plain words.
fn stop_by_hand(rows: &[CurveRow]) -> (Option<i64>, i64) {
    let validated = rows.iter().filter_map(|row| Some((row.val_loss?, row.step)));
    let (mut best, mut best_step, mut without_gain) = (f64::INFINITY, 0, 0);
    for (val_loss, step) in validated {
        without_gain += 1;
        if val_loss < best {
            (best, best_step, without_gain) = (val_loss, step, 0);
        }
        if without_gain == 2 {
            return (Some(step), best_step);
        }
    }
    (None, best_step)
}

#[test]
fn every_replica_stops_at_its_own_row_and_has_its_own_best_weights() {
    for engine in [EngineChoice::Fused, EngineChoice::Libtorch] {
        for restore_best_weights in [None, Some(true)] {
            let config = Config { engine, restore_best_weights, ..stopping(jumpy()) };
            let (trainer, rows) = training::train(&config, host());
            let mut ends = Vec::new();
            for k in 0..3 {
                let own = of_replica(&rows, k);
                let (stopped, best_step) = stop_by_hand(&own);
                let told = trainer.stopping(k).unwrap();
                assert_eq!((told.stopped_at_step, told.best_step), (stopped, best_step), "{k}");
                assert_eq!(own.last().unwrap().step, stopped.unwrap_or(48), "{k}");
                ends.push(stopped.unwrap_or(48));

                // The weights are those of a training that has but these steps.
                let steps = if restore_best_weights.is_some() { best_step } else { ends[k] };
                let mut short = Trainer::new(&config, host()).unwrap();
                let stop = AtomicBool::new(false);
                let folder = tempfile::tempdir().unwrap();
                let folder = folder.path().join("checkpoint");
                let mut keeper = Keeper { folder: &folder, stop: &stop, left: steps, rows: vec![] };
                short.run(&mut keeper, &stop).unwrap();
                let saved = checkpoint::newest(&folder).unwrap().whole.unwrap();
                saved.load_weights(checkpoint::Which::Last, &short.parameters, 0).unwrap();
                let [got, expected] = [&trainer, &short].map(|trainer| weights(trainer, k));
                assert_eq!(got, expected, "{engine}, {restore_best_weights:?}, replica {k}");
            }
            assert_eq!(trainer.step, *ends.iter().max().unwrap());
            ends.dedup();
            assert!(ends.len() == 3 && trainer.step < 48, "take another seed: {ends:?}");
        }
    }
}

/// Replica `k`'s weights, as bits.
fn weights(trainer: &Trainer, k: usize) -> Vec<u64> {
    let parts = trainer.parameters.split(trainer.parameters.flat()).unwrap();
    let numbers = parts.iter().flat_map(|part| download(&part.get(k as i64)).unwrap());
    numbers.map(f64::to_bits).collect()
}

#[test]
fn a_replica_stops_and_slows_down_as_it_does_alone() {
    for dtype in [Dtype::Float32, Dtype::Float64] {
        for (name, config) in experiments() {
            // libtorch multiplies replicas together, and rounds otherwise.
            let exact = config.engine == EngineChoice::Fused;
            let config = Config { dtype, ..config };
            let (together, rows) = training::train(&config, host());
            for k in 0..3 {
                let alone = Config { seed: config.seed + k as i64, replicas: 1, ..config.clone() };
                let (solo, expected) = training::train(&alone, host());
                let steps = |rows: &[CurveRow]| rows.iter().map(|row| row.step).collect::<Vec<_>>();
                let own = of_replica(&rows, k);
                if exact {
                    let timeless = |rows: &[CurveRow]| -> Vec<CurveRow> {
                        let row =
                            |row: &CurveRow| CurveRow { seconds: 0.0, replica: 0, ..row.clone() };
                        rows.iter().map(row).collect()
                    };
                    assert_eq!(timeless(&own), timeless(&expected), "{name}, {k}");
                    assert_eq!(weights(&together, k), weights(&solo, 0), "{name}, {k}");
                } else if dtype == Dtype::Float64 {
                    assert_eq!(steps(&own), steps(&expected), "{name}, {k}");
                    assert_eq!(
                        together.stopping(k).map(|s| s.best_step),
                        solo.stopping(0).map(|s| s.best_step)
                    );
                }
            }
        }
    }
}

#[test]
fn learning_rates_fall_by_each_replica_s_own_loss() {
    for engine in [EngineChoice::Fused, EngineChoice::Libtorch] {
        let config = Config { engine, validate_every: None, ..plateau(jumpy()) };
        let (_, rows) = training::train(&config, host());
        let mut falls = Vec::new();
        for k in 0..3 {
            let own = of_replica(&rows, k);
            let (mut rate, mut best, mut without_gain) = (3.0, f64::INFINITY, 0);
            for row in &own {
                let warm_up = (row.step as f64 / 5.0).min(1.0);
                assert!((row.learning_rate - rate * warm_up).abs() < 1e-15, "{row:?}");
                without_gain += 1;
                if row.loss < best - 0.01 {
                    (best, without_gain) = (row.loss, 0);
                } else if without_gain >= 2 && rate > 0.2 {
                    (rate, without_gain) = (f64::max(rate * 0.5, 0.2), 0);
                    falls.push((k, row.step));
                }
            }
        }
        let of = |k: usize| {
            falls.iter().filter(|fall| fall.0 == k).map(|fall| fall.1).collect::<Vec<_>>()
        };
        assert!(
            of(0) != of(1) && of(1) != of(2) && !of(0).is_empty(),
            "take another seed: {falls:?}"
        );
    }
}

/// The binary's words for [`jumpy`] and [`stopping`].
const STOPPING: &str = "echo --vocab 9 --units 4 --epochs 12 --log-every 3 --validate-every 1 \
    --validation-samples 20 --evaluation-samples 20 --lr 3 --early-stopping val_loss \
    --early-stopping-mode min --early-stopping-patience 2";

#[test]
fn a_run_that_stopped_says_so_everywhere_and_stays_so() {
    let lab = Lab::new();
    let output = lab.command(&format!("train {STOPPING} --replicas 3 --out run")).output().unwrap();
    let (told, printed) =
        (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    let summary = json(&lab.read("run/summary.json"));
    for (k, replica) in summary["replicas"].as_array().unwrap().iter().enumerate() {
        let stopping = &replica["early_stopping"];
        let rows = Csv::curves(&lab, "run").replica(k);
        let last = rows.column("step").last().unwrap().to_string();
        assert_eq!(stopping["stopped_at_step"].to_string(), last);
        let says =
            format!("replica {k} (seed {}) stops early at step {last}: its best val_loss, ", k + 1);
        assert!(told.contains(&says), "{told}");
        assert!(told.contains(&format!(", was at step {}\n", stopping["best_step"])), "{told}");
    }
    assert!(printed.contains("stopped at step  best at step"), "{printed}");
    let steps = summary["steps"].to_string();
    let finished = format!("run: finished, stopped early after step {steps}, and stays so\n");
    assert_eq!(lab.run("resume run"), finished);
    let says =
        format!("--epochs 20: the run stopped early after step {steps}, and stays so\nhint: ");
    lab.refuses(
        2,
        "resume run --epochs 20",
        &[&says, "--early-stopping-patience N` trains one with"],
    );
}

#[test]
fn a_replica_that_stopped_stays_so_while_others_go_on() {
    let lab = Lab::new();
    let training = STOPPING.replace("--epochs 12", "--restore-best-weights true");
    let whole = format!("{training} --replicas 3 --epochs 12");
    lab.train(&whole, "whole");
    let stops: Vec<i64> = json(&lab.read("whole/summary.json"))["replicas"]
        .as_array()
        .unwrap()
        .iter()
        .map(|replica| replica["early_stopping"]["stopped_at_step"].as_i64().unwrap())
        .collect();
    let last = (*stops.iter().max().unwrap() - 1) / 12 * 3;
    assert!(stops.iter().any(|step| *step < 4 * last), "take another seed: {stops:?}");
    // No row is there only because the run ended.
    for epochs in (3..=last).step_by(3) {
        let short = format!("{training} --replicas 3 --epochs {epochs}");
        lab.train(&short, "run");
        lab.run("resume run --epochs 12 --quiet");
        lab.same_run("run", "whole");
        std::fs::remove_dir_all(lab.path("run")).unwrap();
    }
}

#[test]
fn what_is_evaluated_is_the_best_model_where_that_is_restored() {
    let lab = Lab::new();
    let stops = STOPPING.replace("--log-every 3", "--log-every 4");
    lab.train(&format!("{stops} --restore-best-weights true"), "run");
    let stopping = &json(&lab.read("run/summary.json"))["replicas"][0]["early_stopping"];
    let best = stopping["best_step"].as_i64().unwrap();
    assert!(best % 4 == 0 && best < stopping["stopped_at_step"].as_i64().unwrap(), "{stopping}");
    let plain = stops.split(" --early-stopping ").next().unwrap();
    lab.train(&plain.replace("--epochs 12", &format!("--epochs {}", best / 4)), "short");
    assert_eq!(lab.read("run/predictions.csv"), lab.read("short/predictions.csv"));
    let restored = lab.bytes(&lab.file("run", "checkpoint/restored.safetensors"));
    assert!(restored == lab.bytes(&lab.file("short", "checkpoint/weights.safetensors")));
    let [run, short] = ["run", "short"].map(|run| {
        let evaluated = json(&lab.run(&format!("evaluate {run} --json")));
        assert_eq!(evaluated, json(&lab.read(&format!("{run}/summary.json")))["replicas"]);
        (
            evaluated[0]["evaluation"].clone(),
            lab.run(&format!("predict {run} --source '1 2 3 4 5 6'")),
        )
    });
    assert_eq!(run, short);
}

#[test]
fn what_cannot_be_or_would_do_nothing_is_refused() {
    let lab = Lab::new();
    for (flags, says) in [
        ("--early-stopping val_loss", "--early-stopping-mode (not given): expected a value"),
        (
            "--early-stopping val_loss --early-stopping-mode min --early-stopping-patience 2",
            "--early-stopping val_loss: expected loss or accuracy, or --validate-every, which fills",
        ),
        (
            "--early-stopping loss --early-stopping-mode min --early-stopping-patience 500",
            "--early-stopping-patience 500: expected at most 499, the rows of curves.csv with loss after",
        ),
        ("--restore-best-weights true", "expected nothing: it applies to early stopping on loss, "),
        ("--plateau-patience 3", "it applies to learning-rate schedule plateau only"),
        ("--lr-schedule plateau", "--plateau-metric (not given): expected a value"),
        (
            "--lr-schedule plateau --plateau-metric loss --plateau-mode min --plateau-patience 3 \
             --final-learning-rate 0.001",
            "--final-learning-rate 0.001: expected less than --learning-rate 0.001: the learning rate",
        ),
    ] {
        lab.refuses(2, &format!("train echo --out run {flags}"), &[says]);
    }
}
