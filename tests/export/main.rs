//! `export` of trained models: what onnxruntime, PyTorch and Keras answer with them is what seqlab answers, also once they
//! have changed the weights and `import` has taken them back.

#[path = "../common/mod.rs"]
mod common;
mod import;
#[path = "../common/python.rs"]
mod python;

use std::fs;
use std::path::Path;

use common::{Lab, json};
use python::python;
use seqlab::config::Config;
use seqlab::data::loader::no_padding;
use seqlab::data::sources::Reads;
use seqlab::data::task::Task;
use seqlab::engine::libtorch::free_running;
use seqlab::model::Model;
use seqlab::model::layers::twin::{Input, Mask};
use seqlab::model::network::Network;
use seqlab::run::run_dir::RunDir;
use seqlab::tensor::device::host;
use seqlab::tensor::parameters::Parameters;
use seqlab::train::inspection::inspect;
use tch::{Kind, Tensor};

/// Sources that every model is asked.
const ROWS: usize = 1000;

const SMALL: &str = "--units 5 --samples 320 --epochs 3 --lr 0.03 --evaluation-samples 8";
const RAGGED: &str = "--id-min 1 --n-in-min 2 --n-out 5 --n-out-min 2";

/// Trainings by the names of their cases: every family, with what it may have.
const MODELS: [(&str, &str); 15] = [
    ("every-step", "echo --epochs 9 --evaluation-samples 40 --lr 0.03"),
    ("last-step", "echo-lag --units 4 --layers 2 --epochs 40 --evaluation-samples 40 --lr 0.03"),
    (
        "repeated",
        "partial-echo-2 --units 8 --layers 2 --epochs 90 --evaluation-samples 42 --lr 0.03",
    ),
    (
        "repeated-both-ways",
        "addition-2 SMALL --bidirectional true --layers 2 --embedding 3 \
         --gate-activation sigmoid",
    ),
    ("fed-softmax", "reverse SMALL --layers 2 --embedding 3"),
    ("fed-argmax", "reverse SMALL --feedback argmax"),
    ("fed-argmax-embedded", "reverse SMALL --feedback argmax --embedding 3"),
    (
        "second-replica",
        "reverse SMALL --decoder-start id --feedback argmax --attention general --dtype float64 \
         --replicas 2",
    ),
    ("started", "reverse SMALL --decoder-start id --attention additive"),
    (
        "lengths",
        "reverse SMALL RAGGED --attention additive --bidirectional true --layers 2 --embedding 3 \
         --gate-activation sigmoid",
    ),
    ("lengths-dot", "reverse SMALL RAGGED --attention dot --feedback argmax --bidirectional true"),
    (
        "numbers",
        "reverse SMALL --task waves --loss mse --attention dot --n-in 6 --n-out 3 --features-in 2 \
         --features-out 2",
    ),
    (
        "numbers-last",
        "echo SMALL --task waves --loss mse --return-sequences false --stateful false --n-in 6 \
         --n-out 1",
    ),
    ("words", "--train words.tsv --units 5 --epochs 5 --lr 0.03"),
    ("classes", "--train classes.tsv --units 5 --epochs 5 --lr 0.03"),
];

fn training(arguments: &str) -> String {
    arguments.replace("SMALL", SMALL).replace("RAGGED", RAGGED)
}

/// The n-th of numbers that look random, below `below`.
fn drawn(n: usize, below: usize) -> usize {
    let mixed = (n as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33) as usize % below
}

/// A word of two to six letters.
fn word(n: usize) -> String {
    let letters = ["a", "b", "c", "d", "é", "ß"];
    (0..2 + drawn(n, 5)).map(|place| letters[drawn(7 * n + place, 6)]).collect()
}

/// Words with the same backwards, and with their first letters.
fn pairs() -> [String; 2] {
    let words: Vec<String> = (0..90).map(word).collect();
    let back = |word: &String| word.chars().rev().map(|c| format!("{c} ")).collect::<String>();
    let first = |word: &String| word.chars().next().unwrap();
    let backwards = words.iter().map(|word| format!("{word}\t{}\n", back(word).trim()));
    let classes = words.iter().map(|word| format!("{word}\t{}\n", first(word)));
    [backwards.collect(), classes.collect()]
}

/// A source of the model of `config`, as `predict` reads it.
fn source(config: &Config, n: usize) -> String {
    if config.source_tokens.is_some() {
        return word(n + 1000);
    }
    let steps = match config.n_in_min {
        Some(least) => least as usize + drawn(n, (config.n_in - least + 1) as usize),
        None => config.n_in as usize,
    };
    let number = |place: usize| match config.features() {
        Some(_) => format!("{}", drawn(97 * n + place, 2001) as f64 / 1000.0 - 1.0),
        None => {
            let ids = (config.id_max - config.id_min + 1) as usize;
            format!("{}", config.id_min as usize + drawn(97 * n + place, ids))
        }
    };
    let width = config.features().map_or(1, |features| features.source as usize);
    (0..steps * width).map(number).collect::<Vec<_>>().join(" ")
}

/// Makes the folder `case` what `check.py` reads of the run `case.run`.
fn expect(lab: &Lab, case: &str, replica: i64) {
    let (run, config) = RunDir::open(&lab.path(&format!("{case}.run"))).unwrap();
    let lines: Vec<String> = (0..ROWS).map(|n| source(&config, n)).collect();
    lab.write(&format!("{case}/sources.txt"), lines.join("\n") + "\n");
    let ask = format!("predict {case}.run --replica {replica}");
    let predicted = lab.run_with_input(&ask, &lines.join("\n"));
    lab.write(&format!("{case}/predicted.txt"), predicted);

    let task = Task::recorded(&config, &|name| run.record(name), None).unwrap();
    let reads = Reads::new(&config, task);
    let (network, config) = network(lab, case, &config, replica);
    let (steps, lengths) = sources(&config, &reads, &lines);
    let valid = lengths.as_ref().map(|lengths| {
        let longest = steps.size()[1];
        no_padding(&lengths.view([1, -1, 1]), longest).unwrap()
    });
    let mask = valid.map(|valid| Mask::new(&valid).unwrap());
    let of_replica = steps.unsqueeze(0);
    let input = Input::new(&of_replica, mask.as_ref());
    let zero = network.zero_state(ROWS as i64).unwrap();
    let rows_first = |of: Tensor| of.get(0).transpose(0, 1).contiguous();
    let _guard = tch::no_grad_guard();
    let (answers, next) = free_running(&network, config.feedback, input, &zero).unwrap();
    let mut expected = vec![("answers", rows_first(answers))];
    if config.stateful {
        let (again, _) = free_running(&network, config.feedback, input, &next).unwrap();
        expected.push(("again", rows_first(again)));
    }
    let inspected = inspect_attention(&network, &config, input);
    expected.extend(inspected.map(|weights| ("attention", weights)));
    let lengths = lengths.map(|lengths| ("lengths", lengths.to_kind(Kind::Int)));
    expected.extend(lengths);
    let single = if config.features().is_some() { Kind::Float } else { Kind::Int64 };
    expected.push(("source", steps.to_kind(single)));
    Tensor::write_safetensors(&expected, lab.path(&format!("{case}/expected.safetensors")))
        .unwrap();
}

/// The replica's trained model in float64, with the configuration that it has alone.
fn network(lab: &Lab, case: &str, config: &Config, replica: i64) -> (Network, Config) {
    let config = Config { replicas: 1, ..config.clone() };
    let specs = Model::new(&config).parameters();
    let parameters = Parameters::zeros(specs, 1, Kind::Double, host()).unwrap();
    let file = |name: &str| lab.path(&lab.file(&format!("{case}.run"), name));
    let restored = file("checkpoint/restored.safetensors");
    let last = file("checkpoint/weights.safetensors");
    let trained = if restored.exists() { restored } else { last };
    for (name, values) in Tensor::read_safetensors(trained).unwrap() {
        let mut place = parameters.leaf(&name);
        tch::no_grad(|| place.copy_(&values.narrow(0, replica, 1)));
    }
    (Network::new(&config, &parameters).unwrap(), config)
}

/// The sources as tensors `(B, Tin, …)`, and their lengths `(B)` where they vary.
fn sources(config: &Config, reads: &Reads, lines: &[String]) -> (Tensor, Option<Tensor>) {
    let read: Vec<_> = lines.iter().map(|line| reads.parse(line.as_bytes()).unwrap()).collect();
    if let Some(features) = config.features() {
        let numbers: Vec<f64> = read.iter().flat_map(|source| source.numbers.clone()).collect();
        let shape = [ROWS as i64, -1, features.source];
        // What a model in float32 reads.
        let single = Tensor::from_slice(&numbers).to_kind(Kind::Float);
        return (single.view(shape).to_kind(Kind::Double), None);
    }
    let longest = read.iter().map(|source| source.ids.len()).max().unwrap();
    let padded: Vec<i64> = read
        .iter()
        .flat_map(|source| {
            let padding = std::iter::repeat_n(0, longest - source.ids.len());
            source.ids.iter().copied().chain(padding)
        })
        .collect();
    let lengths: Vec<i64> = read.iter().map(|source| source.ids.len() as i64).collect();
    let steps = Tensor::from_slice(&padded).view([ROWS as i64, -1]);
    (steps, config.has_lengths().then(|| Tensor::from_slice(&lengths)))
}

/// The weights of the attention `(B, Tout, Tin)`, of a model that has one.
fn inspect_attention(network: &Network, config: &Config, input: Input<'_>) -> Option<Tensor> {
    let zero = network.zero_state(ROWS as i64).unwrap();
    config.features().is_none().then_some(())?;
    let (found, _) = inspect(network, config.feedback, None, input, &zero).unwrap();
    let weights = found.attention?.weights;
    let steps = config.n_out as usize;
    let of_row = |row: usize| {
        (0..steps).flat_map({
            let weights = &weights;
            move |step| weights.at(step, row).to_vec()
        })
    };
    let all: Vec<f64> = (0..ROWS).flat_map(of_row).collect();
    Some(Tensor::from_slice(&all).view([ROWS as i64, steps as i64, -1]))
}

/// A lab with every model, exported in all formats, and what seqlab says with them. Returns the names.
fn models() -> (Lab, Vec<&'static str>) {
    let lab = Lab::new();
    let [backwards, classes] = pairs();
    lab.write("words.tsv", backwards);
    lab.write("classes.tsv", classes);
    for (case, arguments) in MODELS {
        lab.train(&training(arguments), &format!("{case}.run"));
        let replica = i64::from(case == "second-replica");
        expect(&lab, case, replica);
    }
    (lab, MODELS.map(|(case, _)| case).into())
}

/// Exports every model to `CASE/exported` in `format`.
fn export(lab: &Lab, format: &str) {
    for (case, _) in MODELS {
        let _ = fs::remove_dir_all(lab.path(&format!("{case}/exported")));
        let replica = if case == "second-replica" { "--replica 1" } else { "" };
        lab.run(&format!("export {case}.run --format {format} --out {case}/exported {replica}"));
    }
}

#[test]
fn exported_models_answer_as_seqlab_does() {
    let formats = [
        ("onnx", "onnx, onnxruntime, safetensors"),
        ("pytorch", "torch, safetensors"),
        ("keras", "jax, keras, safetensors"),
    ];
    let found = formats.map(|(format, modules)| (format, modules, python(modules)));
    if found.iter().all(|(_, _, python)| python.is_none()) {
        println!("skipped: no Python has onnxruntime, torch or keras; scripts/test installs some");
        return;
    }
    let (lab, cases) = models();
    for (format, modules, python) in found {
        let Some(mut python) = python else {
            println!("skipped: no Python imports {modules}");
            continue;
        };
        export(&lab, format);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/check.py");
        let folders = cases.iter().map(|case| lab.path(case));
        let output = python.arg(script).arg(format).args(folders).output().unwrap();
        let [said, wrong] = [output.stdout, output.stderr].map(|of| String::from_utf8(of).unwrap());
        println!("{format}\n{said}");
        assert!(output.status.success(), "{format}\n{said}{wrong}");
        assert_eq!(said.lines().count(), cases.len());
        if format != "onnx" {
            import::import_what_was_moved(&lab, &cases, format);
        }
    }
}

#[test]
fn a_model_lies_beside_what_says_how_it_is_asked() {
    let lab = Lab::new();
    let [backwards, _] = pairs();
    lab.write("words.tsv", backwards);
    lab.train(&training("--train words.tsv --units 5 --epochs 1 --replicas 2"), "run");
    let told = lab.run("export run --format onnx --replica 1 --out onnx");
    let names = [
        "encoder.onnx",
        "decoder_step.onnx",
        "model.json",
        "source-vocabulary.txt",
        "target-vocabulary.txt",
    ];
    assert_eq!(told, names.map(|name| format!("onnx/{name}\n")).concat());
    for name in &names[3..] {
        assert_eq!(lab.read(&format!("onnx/{name}")), lab.read(&format!("run/{name}")));
    }
    let about = json(&lab.read("onnx/model.json"));
    assert_eq!((about["replica"].as_i64(), about["seed"].as_i64()), (Some(1), Some(2)));
    assert_eq!(about["end"].as_i64(), Some(2));
    let inputs = about["models"][0]["inputs"].as_array().unwrap();
    let names: Vec<&str> = inputs.iter().map(|port| port["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["source", "source_lengths"]);
    assert_eq!(inputs[0]["shape"], serde_json::json!(["batch", "source_steps"]));
    for format in ["pytorch", "keras"] {
        let told = lab.run(&format!("export run --format {format} --out {format}"));
        assert!(told.starts_with(&format!("{format}/model.py\n{format}/model.safetensors\n")));
        assert!(json(&lab.read(&format!("{format}/model.json")))["models"].is_null());
    }
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let lab = Lab::new();
    lab.train(&training("reverse SMALL --dtype float64"), "run");
    lab.refuses(2, "export run --format onnx --replica 1 --out new", &["--replica 1: expected 0"]);
    lab.refuses(2, "export run --format onnx --best --out new", &["--best", "--validate-every 1"]);
    lab.refuses(2, "export run --format onnx --out run", &["holds files already"]);
    lab.refuses(2, "export none --format keras --out new", &["none"]);
    for flag in ["--replica 0", "--best"] {
        let flags = format!("export run --format tensorboard {flag} --out new");
        lab.refuses(2, &flags, &["tensorboard has curves", "leave --"]);
    }
    let output = lab.command("export run --format pytorch --out new").output().unwrap();
    let notes = "note: the run's float64 weights are exported as float32\n\
                 note: nn.LSTM has no hard sigmoid gates; model.py computes them step by step\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), notes);
}

/// The blocks of `language` in README's section on exported models.
fn blocks(language: &str) -> Vec<String> {
    let readme = include_str!("../../README.md");
    let heading = "The model in other programs\n";
    let section = readme.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_of_exported_models_run_as_they_stand() {
    let lab = Lab::new();
    lab.train(&training("reverse SMALL"), "runs/my-reverse");
    for line in blocks("sh")[0].lines() {
        let command = line.split('#').next().unwrap().trim();
        lab.run(command.strip_prefix("scripts/seqlab ").unwrap());
    }
    let predicted = lab.run("predict runs/my-reverse --source '3 5 7 11 13 17'");
    // Those that train further come after them.
    let examples = &blocks("python")[..3];
    for (example, modules) in examples.iter().zip(["onnxruntime", "torch, safetensors", "keras"]) {
        let Some(mut python) = python(modules) else {
            println!("skipped: no Python imports {modules}");
            continue;
        };
        let output = python.args(["-c", example]).current_dir(lab.path(".")).output().unwrap();
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{example}\n{wrong}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.split_whitespace().collect::<Vec<_>>().join(" ") + "\n", predicted);
    }
}
