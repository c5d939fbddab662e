//! `import` of weights that `export` wrote, and that PyTorch and Keras changed.

use std::fs;

use tch::{Kind, Tensor};

use crate::common::{Lab, json};
use crate::python::python;
use crate::{MODELS, blocks, pairs, source, training};
use seqlab::run::run_dir::RunDir;

/// Sources that an imported model is asked.
const ASKED: usize = 50;

/// The trained weights of `run`, by their names, those of one replica.
fn weights(lab: &Lab, run: &str, replica: i64) -> Vec<(String, Tensor)> {
    let file = |name: &str| lab.path(&lab.file(run, name));
    let restored = file("checkpoint/restored.safetensors");
    let last = file("checkpoint/weights.safetensors");
    let trained = if restored.exists() { restored } else { last };
    let mut all = Tensor::read_safetensors(trained).unwrap();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.into_iter().map(|(name, of)| (name, of.narrow(0, replica, 1))).collect()
}

/// What `run` answers to sources of its own kind.
fn predicted(lab: &Lab, run: &str, replica: i64) -> String {
    let (_, config) = RunDir::open(&lab.path(run)).unwrap();
    let lines: Vec<String> = (0..ASKED).map(|n| source(&config, n)).collect();
    lab.run_with_input(&format!("predict {run} --replica {replica}"), &lines.join("\n"))
}

/// Exports and imports the model of one case, both ways.
fn there_and_back(lab: &Lab, case: &str, arguments: &str) {
    let run = format!("{case}.run");
    lab.train(&training(arguments), &run);
    let replica = i64::from(case == "second-replica");
    let before = weights(lab, &run, replica);
    let said = predicted(lab, &run, replica);
    for format in ["pytorch", "keras"] {
        let (model, back) = (format!("{case}.{format}"), format!("{case}.{format}.back"));
        lab.run(&format!("export {run} --format {format} --replica {replica} --out {model}"));
        let file = format!("{model}/model.safetensors");
        lab.run(&format!("import {run} --format {format} --weights {file} --out {back} --quiet"));
        let after = weights(lab, &back, 0);
        assert_eq!(before.len(), after.len());
        for ((name, of), (same, found)) in before.iter().zip(&after) {
            assert_eq!((name, of.kind(), of.size()), (same, found.kind(), found.size()));
            // What is exported is float32.
            let exported = of.to_kind(Kind::Float).to_kind(of.kind());
            assert!(exported == *found, "{case}, {format}: {name}");
        }
        assert_eq!(predicted(lab, &back, 0), said, "{case}, {format}");
    }
}

#[test]
fn what_is_exported_and_imported_is_the_same_model() {
    let lab = Lab::new();
    let [backwards, classes] = pairs();
    lab.write("words.tsv", backwards);
    lab.write("classes.tsv", classes);
    let (some, others) = MODELS.split_at(MODELS.len() / 2);
    let all = |cases: &[(&str, &str)]| {
        cases.iter().for_each(|(case, arguments)| there_and_back(&lab, case, arguments));
    };
    std::thread::scope(|scope| {
        scope.spawn(|| all(some));
        all(others);
    });
}

/// What a line of numbers says, or of anything else nothing.
fn numbers(line: &str) -> Option<Vec<f64>> {
    line.split_whitespace().map(|number| number.parse().ok()).collect()
}

/// Whether `predict` says `line` where the other program says `said`.
fn agrees(line: &str, said: &str, are_numbers: bool) -> bool {
    let (Some(a), Some(b), true) = (numbers(line), numbers(said), are_numbers) else {
        return line == said;
    };
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4)
}

/// Imports what `check.py` made of the exported model of every case, and finds that seqlab answers with it what the other
/// program does.
pub fn import_what_was_moved(lab: &Lab, cases: &[&str], format: &str) {
    for case in cases {
        let back = format!("{case}.{format}");
        lab.run(&format!(
            "import {case}.run --format {format} --weights {case}/trained.safetensors --out {back} \
             --quiet"
        ));
        let sources = lab.read(&format!("{case}/sources.txt"));
        let predicted = lab.run_with_input(&format!("predict {back}"), &sources);
        let said = lab.read(&format!("{case}/said.txt"));
        assert_eq!(predicted.lines().count(), said.lines().count(), "{format}, {case}");
        let sure = predicted.lines().zip(said.lines()).filter(|(_, said)| *said != "~");
        let of_numbers = case.starts_with("numbers");
        let other = sure.clone().filter(|(line, said)| !agrees(line, said, of_numbers));
        assert_eq!(other.count(), 0, "{format}, {case}");
        assert!(sure.count() > 900, "{format}, {case}: too many ties");
        // It is another model than the one that was exported.
        let before = lab.read(&format!("{case}/predicted.txt"));
        assert_ne!(predicted, before, "{format}, {case}");
    }
}

/// A lab with the run `run`, exported to `pytorch` and `keras`.
fn exported(arguments: &str) -> Lab {
    let lab = Lab::new();
    lab.train(&training(arguments), "run");
    for format in ["pytorch", "keras"] {
        lab.run(&format!("export run --format {format} --out {format}"));
    }
    lab
}

/// The import of the exported weights to `out`.
fn import(format: &str, model: &str, out: &str) -> String {
    format!("import {model} --format {format} --weights {format}/model.safetensors --out {out}")
}

#[test]
fn weights_that_are_not_the_models_are_refused_before_anything_is_written() {
    let lab = exported("reverse SMALL");
    lab.train(&training("reverse SMALL").replace("--units 5", "--units 6"), "wide");
    lab.train(&training("reverse SMALL --attention general"), "attends");
    lab.write("pickle.pt", b"PK\x03\x04archive");
    lab.write("weights.h5", b"\x89HDF\r\n\x1a\n");
    let file = |name: &str, format: &str| {
        format!("import run --format {format} --weights {name} --out new")
    };
    for (arguments, says) in [
        (
            import("pytorch", "wide", "new"),
            "error: --weights pytorch/model.safetensors: decoder.bias_hh_l0: shape [20], expected [24]\n\
             hint: the sizes of the model are those of its config.toml\n",
        ),
        (
            import("keras", "attends", "new"),
            "attention.kernel not found: expected F32 of shape [5, 5]\nhint: the file has decoder.bias",
        ),
        (
            file("pytorch/model.safetensors", "keras"),
            "decoder.bias not found: expected F32 of shape [20]",
        ),
        (file("pickle.pt", "pytorch"), "pickle.pt: is a zip archive"),
        (
            file("weights.h5", "keras"),
            "hint: save(\"trained.safetensors\") of the exported model.py",
        ),
        (file("none", "keras"), "--weights none: cannot be read: No such file"),
        (import("keras", "run", "run"), "holds a run already"),
        (import("keras", "runn", "new"), "hint: did you mean 'run'?"),
        (import("keras", "revers", "new"), "hint: did you mean 'reverse'?"),
        (
            "import --format keras --weights keras/model.safetensors --out new".to_owned(),
            "required",
        ),
    ] {
        lab.refuses(2, &arguments, &[says]);
    }
    // Of another program's float64 nothing is rounded in silence.
    let all = Tensor::read_safetensors(lab.path("keras/model.safetensors")).unwrap();
    let double: Vec<_> = all.iter().map(|(name, of)| (name, of.to_kind(Kind::Double))).collect();
    Tensor::write_safetensors(&double, lab.path("double.safetensors")).unwrap();
    let says = ["decoder.bias: dtype F64, expected F32", "hint: convert the weights to float32"];
    lab.refuses(2, &file("double.safetensors", "keras"), &says);
}

#[test]
fn an_imported_run_is_finished_and_says_that_nothing_was_trained() {
    let lab = exported("reverse SMALL");
    let told = lab.run(&import("pytorch", "run", "runs/back"));
    assert!(told.ends_with("runs/back: the weights of pytorch/model.safetensors\n"), "{told}");
    assert_eq!(lab.files("runs/back"), lab.files("run"));
    assert_eq!(lab.read("runs/back/curves.csv"), "");
    let summary = json(&lab.read("runs/back/summary.json"));
    assert_eq!(summary["imported"]["file"], "pytorch/model.safetensors");
    assert_eq!((&summary["imported"]["format"], &summary["steps"]), (&"pytorch".into(), &0.into()));
    assert!(summary["replicas"][0]["train_loss"].is_null());
    // The weights are the run's, so what they come to is, too.
    let evaluated = json(&lab.read("run/summary.json"))["replicas"][0]["evaluation"].clone();
    assert_eq!(summary["replicas"][0]["evaluation"], evaluated);
    assert_eq!(json(&lab.run("evaluate runs/back --json")), summary["replicas"]);
    assert_eq!(lab.read("runs/back/predictions.csv"), lab.read("run/predictions.csv"));
    assert_eq!(lab.run("summary runs/back --json"), lab.run("summary run --json"));

    let imported =
        "runs/back: its weights were imported from pytorch/model.safetensors, not trained";
    let on = "train --config runs/back/config.toml --init-from runs/back` trains on from them";
    lab.refuses(2, "resume runs/back", &[imported, on]);
    lab.refuses(2, "resume runs/back --epochs 9", &[imported]);
    lab.refuses(2, "report runs", &["runs: holds no finished run", "--html shows imported runs"]);
    lab.copy("run", "runs/trained");
    assert!(lab.run("report runs").contains("Imported, not trained: back.\n"));
    lab.run("report runs --html");
    assert!(lab.read("runs/report.html").contains("imported from pytorch/model.safetensors"));
    lab.train("--config runs/back/config.toml --init-from runs/back", "on");
    lab.run(&(import("keras", "runs/back", "runs/back") + " --force"));
    assert_eq!(json(&lab.read("runs/back/summary.json"))["imported"]["format"], "keras");
}

#[test]
fn a_model_is_imported_without_its_run_or_its_data() {
    let lab = exported("reverse SMALL --replicas 2");
    let config = lab.run(&format!("train {} --dry-run", training("reverse SMALL")));
    lab.write("model.toml", config);
    lab.run(&import("keras", "--config model.toml", "alone"));
    let same = |a: &str, b: &str| {
        let [a, b] = [a, b].map(|run| lab.run(&format!("predict {run} --source '3 5 7 11 13 17'")));
        assert_eq!(a, b);
    };
    same("run", "alone");

    let lab = Lab::new();
    lab.write("words.tsv", &pairs()[0]);
    lab.train(&training("--train words.tsv --units 5 --epochs 1"), "run");
    lab.run("export run --format pytorch --out pytorch");
    fs::remove_file(lab.path("words.tsv")).unwrap();
    let output = lab.command(&import("pytorch", "run", "back")).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("note: the model is not evaluated, since the run's data"), "{told}");
    let summary = json(&lab.read("back/summary.json"));
    assert!(summary["replicas"][0]["evaluation"].is_null());
    for name in ["data.json", "source-vocabulary.txt", "target-vocabulary.txt"] {
        assert_eq!(lab.read(&format!("back/{name}")), lab.read(&format!("run/{name}")));
    }
    let ask = |run: &str| lab.run(&format!("predict {run} --source abcd"));
    assert_eq!(ask("run"), ask("back"));
}

#[test]
fn the_examples_of_training_further_run_as_they_stand() {
    let lab = Lab::new();
    lab.train(&training("reverse SMALL"), "runs/my-reverse");
    let examples = blocks("python").split_off(3);
    let import = blocks("sh").swap_remove(1);
    let formats = [("pytorch", "torch, safetensors"), ("keras", "jax, keras, safetensors")];
    assert_eq!((examples.len(), import.lines().count()), (formats.len(), formats.len()));
    for ((example, line), (format, modules)) in examples.iter().zip(import.lines()).zip(formats) {
        let Some(mut python) = python(modules) else {
            println!("skipped: no Python imports {modules}");
            continue;
        };
        lab.run(&format!("export runs/my-reverse --format {format} --out models/{format}"));
        let output = python.args(["-c", example]).current_dir(lab.path(".")).output().unwrap();
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{example}\n{wrong}");
        lab.run(line.strip_prefix("scripts/seqlab ").unwrap());
    }
}
