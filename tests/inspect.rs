//! `inspect`: what a model computes on the way to its answers, beside loops and the engine's own layers.

mod common;
#[path = "common/models.rs"]
mod models;

use std::collections::BTreeMap;

use common::{Csv, Lab, PARTIAL, files};
use models::{layers_of, with_more_layers};
use rand::RngExt;
use safetensors::SafeTensors;
use seqlab::base::rng::{Purpose, Stream};
use seqlab::config::{Config, Dtype, Feedback, presets};
use seqlab::model::Model;
use seqlab::model::layers::twin::Input;
use seqlab::model::network::Network;
use seqlab::tensor::device::{download, host, upload};
use seqlab::tensor::parameters::Parameters;
use seqlab::train::evaluate::until;
use seqlab::train::inspection::{Inspection, inspect};
use tch::Tensor;

const SEQUENCES: &str = "source,step,unit,value";
const STATE: &str = "source,unit,value";
const WEIGHTS: &str = "source,target_step,source_step,target_token,source_token,weight";
const PREDICTIONS: &str = "source,source_text,predicted_text,source_steps,target_steps";

/// A run with attention, of two replicas.
const ATTENTION: &str = "reverse --units 4 --samples 64 --evaluation-samples 8 --attention additive \
                         --bidirectional true --dtype float64 --replicas 2";
const SOURCES: [&str; 3] = ["3 1 4 1 5 9", "2 6 5 3 5 8", "9 9 9 9 9 9"];

/// One that differ in length, as do their targets.
const RAGGED: &str = "reverse --units 4 --samples 64 --evaluation-samples 8 --attention dot --id-min 1 \
                      --n-in-min 2 --n-out 5 --n-out-min 2";

fn close(a: &[f64], b: &[f64], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-12, "{what}: {a}, {b}");
    }
}

/// The weights of replica 0 under their names.
fn weights(lab: &Lab) -> BTreeMap<String, Vec<f64>> {
    let bytes = lab.bytes(&lab.file("run", "checkpoint/weights.safetensors"));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |data: &[u8], replicas: usize| {
        let all = data.chunks_exact(8).map(|eight| f64::from_le_bytes(eight.try_into().unwrap()));
        all.take(data.len() / 8 / replicas).collect()
    };
    let tensors = file.tensors().into_iter();
    tensors.map(|(name, of)| (name, numbers(of.data(), of.shape()[0]))).collect()
}

/// Outputs h of an LSTM of `units` for `ids`, step by step, and its last cell: Keras's equations in loops,
/// with hard sigmoid gates.
fn lstm(
    weights: &BTreeMap<String, Vec<f64>>,
    name: &str,
    units: usize,
    ids: impl Iterator<Item = usize>,
) -> (Vec<Vec<f64>>, Vec<f64>) {
    let of = |weight: &str| &weights[&format!("{name}.{weight}")];
    let (kernel, recurrent, bias) = (of("kernel"), of("recurrent_kernel"), of("bias"));
    let gate = |x: f64| (0.2 * x + 0.5).clamp(0.0, 1.0);
    let (mut h, mut c, mut all) = (vec![0.0; units], vec![0.0; units], Vec::new());
    for id in ids {
        let z: Vec<f64> = (0..4 * units)
            .map(|j| {
                let before: f64 = (0..units).map(|i| h[i] * recurrent[i * 4 * units + j]).sum();
                kernel[id * 4 * units + j] + before + bias[j]
            })
            .collect();
        for u in 0..units {
            let [i, f, g, o] = [0, 1, 2, 3].map(|block| z[block * units + u]);
            c[u] = gate(f) * c[u] + gate(i) * g.tanh();
            h[u] = gate(o) * c[u].tanh();
        }
        all.push(h.clone());
    }
    (all, c)
}

/// The numbers of source `source` in a CSV file.
fn values(csv: &Csv, column: &str, source: usize) -> Vec<f64> {
    let of = csv.numbers("source").into_iter().zip(csv.numbers(column));
    of.filter(|(of, _)| *of == source as f64).map(|(_, value)| value).collect()
}

#[test]
fn states_are_those_of_an_lstm_in_loops() {
    let lab = Lab::with_run(ATTENTION);
    let printed = lab.run_with_input("inspect run --out inside", &SOURCES.join("\n"));
    let mut paths: Vec<&str> = printed.lines().map(|path| &path["inside/".len()..]).collect();
    paths.sort();
    assert_eq!(paths, files(&lab.path("inside")));
    let layers = ["encoder.forward", "encoder.backward", "encoder", "decoder"];
    let of = |layer| {
        [("return_sequences", SEQUENCES), ("return_state.h", STATE), ("return_state.c", STATE)].map(
            |(what, header)| Csv::parse(&lab.read(&format!("inside/{layer}.{what}.csv")), header),
        )
    };
    assert_eq!(paths.len(), 3 * layers.len() + 2, "{paths:?}");
    let [forward, backward, both, decoder] = layers.map(of);
    let weights = weights(&lab);
    for (source, text) in SOURCES.iter().enumerate() {
        let ids: Vec<usize> = text.split(' ').map(|id| id.parse().unwrap()).collect();
        let (of_forward, c) = lstm(&weights, "encoder.forward", 4, ids.iter().copied());
        close(&values(&forward[0], "value", source), &of_forward.concat(), "forward");
        close(&values(&forward[1], "value", source), &of_forward[5], "forward h");
        close(&values(&forward[2], "value", source), &c, "forward c");
        let (mut of_backward, c) = lstm(&weights, "encoder.backward", 4, ids.into_iter().rev());
        of_backward.reverse();
        close(&values(&backward[0], "value", source), &of_backward.concat(), "backward");
        close(&values(&backward[1], "value", source), &of_backward[0], "backward h");
        close(&values(&backward[2], "value", source), &c, "backward c");
        let joined: Vec<f64> =
            of_forward.iter().zip(&of_backward).flat_map(|(a, b)| [&a[..], b].concat()).collect();
        close(&values(&both[0], "value", source), &joined, "both");
        let h = [&of_forward[5][..], &of_backward[0]].concat();
        close(&values(&both[1], "value", source), &h, "both h");
        let said = values(&decoder[0], "value", source);
        assert_eq!(said.len(), 3 * 8);
        close(&values(&decoder[1], "value", source), &said[2 * 8..], "decoder h");
    }
    let rows = both[0].only(&["source", "step", "unit"]);
    let expected = |s, t, u| format!("{s} {t} {u}");
    let all = (0..3).flat_map(|s| (0..6).flat_map(move |t| (0..8).map(move |u| expected(s, t, u))));
    assert_eq!(rows, all.collect::<Vec<_>>());
}

#[test]
fn attention_of_each_step_sums_to_one_beside_what_is_read_and_said() {
    let lab = Lab::with_run(ATTENTION);
    for (k, name) in [(0, "first"), (1, "second")] {
        let inspect = format!("inspect run --replica {k} --out {name}");
        lab.run_with_input(&inspect, &SOURCES.join("\n"));
        let answers =
            lab.run_with_input(&format!("predict run --replica {k}"), &SOURCES.join("\n"));
        let predictions = Csv::parse(&lab.read(&format!("{name}/predictions.csv")), PREDICTIONS);
        assert_eq!(predictions.column("predicted_text"), answers.lines().collect::<Vec<_>>());
        assert_eq!(predictions.column("source_text"), SOURCES);
        assert_eq!(predictions.only(&["source", "source_steps", "target_steps"])[2], "2 6 3");
        let csv = Csv::parse(&lab.read(&format!("{name}/attention.weights.csv")), WEIGHTS);
        for (source, (text, answer)) in SOURCES.iter().zip(answers.lines()).enumerate() {
            let weights = values(&csv, "weight", source);
            assert_eq!(weights.len(), 3 * 6);
            weights.chunks(6).for_each(|step| close(&[step.iter().sum()], &[1.0], "sum"));
            let rows = csv.only(&["target_step", "target_token", "source_step", "source_token"]);
            for (n, row) in rows[source * 18..][..18].iter().enumerate() {
                let (target, place) = (n / 6, n % 6);
                let [said, read] = [(answer, target), (*text, place)]
                    .map(|(text, place)| text.split(' ').nth(place).unwrap());
                assert_eq!(*row, format!("{target} {said} {place} {read}"));
            }
        }
    }
    let weights = |run| lab.read(&format!("{run}/attention.weights.csv"));
    assert_ne!(weights("first"), weights("second"));
    // One source alone, and the same replica as the run of its seed.
    lab.run(&format!("inspect run --out alone --source '{}'", SOURCES[0]));
    // libtorch's products of one row may differ from those of several in the last bit.
    let [first, alone] = ["first", "alone"].map(|run| Csv::parse(&weights(run), WEIGHTS));
    close(&values(&alone, "weight", 0), &values(&first, "weight", 0), "alone");
    let seed = ATTENTION.replace("--replicas 2", "--seed 2");
    lab.train(&seed, "solo");
    lab.run_with_input("inspect solo --out of-seed", &SOURCES.join("\n"));
    let names = files(&lab.path("second"));
    names.iter().for_each(|name| {
        let [a, b] = ["second", "of-seed"].map(|run| lab.read(&format!("{run}/{name}")));
        let numbers = |text: &str| -> Vec<f64> {
            let lines = text.lines().skip(1).map(|line| line.rsplit_once(',').unwrap().1);
            lines.map(|number| number.parse().unwrap()).collect()
        };
        close(&numbers(&a), &numbers(&b), name);
    });
}

/// The shape and the numbers of an array of NumPy's.
fn npy(bytes: &[u8]) -> (String, Vec<f64>) {
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let (header, numbers) =
        bytes[10..].split_at(usize::from(bytes[8]) + 256 * usize::from(bytes[9]));
    let header = String::from_utf8(header.to_vec()).unwrap();
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let numbers = match header.contains("'<f8'") {
        true => {
            numbers.chunks_exact(8).map(|x| f64::from_le_bytes(x.try_into().unwrap())).collect()
        }
        false => {
            assert!(header.contains("'<f4'"), "{header}");
            let four = numbers.chunks_exact(4);
            four.map(|x| f64::from(f32::from_le_bytes(x.try_into().unwrap()))).collect()
        }
    };
    (shape.to_owned(), numbers)
}

#[test]
fn both_formats_have_the_same_numbers_and_padding_is_in_none() {
    for (training, sources) in
        [(ATTENTION, SOURCES.join("\n")), (RAGGED, "3 1 4\n2 6\n9 9 9 9 9 9\n1 2 3 4 5".to_owned())]
    {
        let lab = Lab::with_run(training);
        lab.run_with_input("inspect run --out csv", &sources);
        lab.run_with_input("inspect run --out npy --format npy", &sources);
        let index = Csv::parse(&lab.read("csv/predictions.csv"), PREDICTIONS);
        assert_eq!(lab.read("csv/predictions.csv"), lab.read("npy/predictions.csv"));
        let lengths: Vec<usize> = sources.lines().map(|line| line.split(' ').count()).collect();
        let steps = |name: &str| -> Vec<usize> {
            index.numbers(name).into_iter().map(|steps| steps as usize).collect()
        };
        assert_eq!(steps("source_steps"), lengths);
        for name in files(&lab.path("csv")).iter().filter(|name| *name != "predictions.csv") {
            let base = name.strip_suffix(".csv").unwrap();
            let (shape, numbers) = npy(&lab.bytes(&format!("npy/{base}.npy")));
            let shape: Vec<usize> =
                shape.split_terminator(',').map(|size| size.trim().parse().unwrap()).collect();
            assert_eq!(shape[0], lengths.len());
            assert_eq!(shape.iter().product::<usize>(), numbers.len());
            let there: Vec<f64> = numbers.iter().copied().filter(|x| !x.is_nan()).collect();
            let text = lab.read(&format!("csv/{name}"));
            let csv = Csv::parse(&text, text.lines().next().unwrap());
            let column = if base == "attention.weights" { "weight" } else { "value" };
            let shown = csv.numbers(column);
            assert!(shown.iter().zip(&there).all(|(a, b)| *a as f32 == *b as f32), "{name}");
            let along = if base.starts_with("encoder") { "source_steps" } else { "target_steps" };
            let count: usize = match base {
                "attention.weights" => steps("source_steps")
                    .iter()
                    .zip(steps("target_steps"))
                    .map(|(a, b)| a * b)
                    .sum(),
                _ if base.contains("return_state") => numbers.len(),
                _ => steps(along).iter().sum::<usize>() * shape[2],
            };
            assert_eq!((shown.len(), there.len()), (count, count), "{name}");
        }
    }
}

#[test]
fn what_is_read_and_said_is_in_the_task_s_own_writing() {
    let lab = Lab::with_run("addition-2 --units 4 --samples 40 --epochs 1 --evaluation-samples 20");
    lab.run("inspect run --source 12+3 --out inside");
    let rows = Csv::parse(&lab.read("inside/predictions.csv"), PREDICTIONS);
    let answer = lab.run("predict run --source 12+3");
    assert_eq!(
        rows.only(&["source_text", "predicted_text"])[0],
        format!("12+3 {}", answer.trim_end())
    );
    assert!(!files(&lab.path("inside")).iter().any(|name| name.contains("attention")));
}

#[test]
fn what_cannot_be_inspected_is_refused_before_anything_is_written() {
    let lab = Lab::with_run(PARTIAL);
    lab.write("there/file", "");
    lab.write("file", "");
    let good = "inspect run --source '1 2 3 4 5'";
    for (command, says) in [
        (
            format!("{good} --out there"),
            "error: --out there: holds files already\nhint: give a new",
        ),
        (format!("{good} --out file"), "error: --out file: is no directory\nhint: give a new"),
        (format!("{good} --out run"), "error: --out run: holds files already\n"),
        (format!("{good} --out file/below"), "error: --out file/below: "),
        ("inspect run --source '1 2' --out new".into(), "--source: 2 ids: the model reads 5\n"),
        ("inspect run --source 'x' --out new".into(), "--source: 'x' is no id: expected whole"),
        (format!("{good} --out new --replica 1"), "error: --replica 1: expected 0 to 0\n"),
        (format!("{good} --out new --best"), "error: --best: no row of run was validated\n"),
        (format!("{good} --out new --format xls"), "--format xls: expected csv or npy"),
        ("inspect none --source 1 --out new".into(), "none: no run"),
        (good.into(), "--out"),
    ] {
        lab.refuses(2, &command, &[says]);
    }
    for (input, says) in [
        ("", "error: standard input: no source\nhint: give one a line\n"),
        ("1 2 3 4 5\n1 2 3 4 five\n", "error: standard input, line 2: 'five' is no id"),
        (&"1 2 3 4 5\n".repeat(65_537), "standard input: more than 65536 sources\nhint: "),
    ] {
        lab.refuses_input(2, "inspect run --out new", input, &[says]);
    }
    std::fs::create_dir(lab.path("empty")).unwrap();
    lab.run(&format!("{good} --out empty"));
}

const REPLICAS: i64 = 3;
const ROWS: i64 = 2;

/// A model of each family, with other layers too.
fn configs() -> Vec<Config> {
    let small = |name| {
        let config = presets::find(name).unwrap().config;
        let length = config.length.map(|_| 12);
        let sizes = Config { vocab: 4, units: 3, n_in: 3, n_out: 3, length, ..config };
        Config { stateful: false, replicas: REPLICAS, dtype: Dtype::Float64, ..sizes }
    };
    let presets = ["echo", "partial-echo-2", "reverse"];
    presets.iter().flat_map(|name| with_more_layers(&small(name))).collect()
}

/// The numbers of replica k and row b of `tensor` `(T, R, B, width)`, step by step.
fn of_row(tensor: &Tensor, k: i64, b: i64) -> Vec<f64> {
    download(&tensor.select(1, k).select(1, b)).unwrap()
}

/// Compares every layer that depends on the source alone with [`Network::encode`], and every step of a
/// decoder with [`Network::step`], fed what was predicted.
fn compare(network: &Network, source: Input<'_>, found: &Inspection, what: &str) {
    let zero = network.zero_state(ROWS).unwrap();
    let (mut outputs, _) = network.encode(source, &zero).unwrap();
    let node = |name: &str| network.nodes().iter().position(|node| node.name == name).unwrap();
    let at = |step: usize| -> Vec<i64> { found.predicted.iter().map(|ids| ids[step]).collect() };
    let steps = if network.has_decoder() { network.output_steps() as usize } else { 1 };
    for step in 0..steps {
        if network.has_decoder() {
            let before =
                step.checked_sub(1).map(|before| upload(&at(before), &[REPLICAS, ROWS, 1], host()));
            let before = before.transpose().unwrap();
            let fed = before.as_ref().map_or(Input::Zeros(ROWS), |ids| Input::Ids(ids, None));
            let _ = network.step(fed, &mut outputs).unwrap();
        }
        for (k, b) in (0..REPLICAS).flat_map(|k| (0..ROWS).map(move |b| (k, b))) {
            let row = (k * ROWS + b) as usize;
            for layer in &found.layers {
                let (number, all) = (node(&layer.name), &layer.sequences);
                let output = outputs.node(number).unwrap();
                let (range, upto) = match network.decoder()[number] {
                    true => (step..step + 1, step + 1),
                    false => (0..all.steps, all.steps),
                };
                let got: Vec<f64> = range.flat_map(|t| all.at(t, row).to_vec()).collect();
                let what = format!("{what}: {}", layer.name);
                close(&got, &of_row(&output.outputs, k, b), &what);
                let last = output.last.as_ref().unwrap();
                for (got, state) in layer.last(row, upto).iter().zip([&last.h, &last.c]) {
                    close(got, &of_row(&state.unsqueeze(0), k, b), &what);
                }
            }
            let Some(attention) = &found.attention else { continue };
            let alpha = attention.weights.at(step, row);
            let both = of_row(&outputs.node(node("attention")).unwrap().outputs, k, b);
            let top =
                found.layers.iter().rfind(|layer| !network.decoder()[node(&layer.name)]).unwrap();
            let width = top.sequences.width;
            let mean =
                |u| (0..alpha.len()).map(|j| alpha[j] * top.sequences.at(j, row)[u]).sum::<f64>();
            close(&both[..width], &(0..width).map(mean).collect::<Vec<_>>(), "the context");
        }
    }
}

#[test]
fn every_model_shows_what_its_layers_compute_and_an_end_ends_it() {
    for config in configs() {
        let specs = Model::new(&config).parameters();
        let kind = seqlab::tensor::device::kind(config.dtype);
        let mut parameters = Parameters::zeros(specs, REPLICAS, kind, host()).unwrap();
        parameters.initialise(&config.seeds(), 1, &|_| Ok(())).unwrap();
        let network = Network::new(&config, &parameters).unwrap();
        let mut random = Stream::new(3, Purpose::Training).at(0);
        let ids: Vec<i64> = (0..REPLICAS * ROWS * 3).map(|_| random.random_range(0..4)).collect();
        let ids = upload(&ids, &[REPLICAS, ROWS, 3], host()).unwrap();
        let zero = network.zero_state(ROWS).unwrap();
        let what = layers_of(&config);
        let source = Input::Ids(&ids, None);
        let of = |end| inspect(&network, Some(Feedback::Argmax), end, source, &zero).unwrap().0;
        let found = of(None);
        assert_eq!(found.predicted.len() as i64, REPLICAS * ROWS);
        let names: Vec<&str> = found.layers.iter().map(|layer| &layer.name[..]).collect();
        let with_states = |name: &&str| {
            ["lstm", "encoder", "decoder"].iter().any(|kind| name.starts_with(kind))
                && !name.contains("embedding")
        };
        let all = network.nodes().iter().map(|node| &node.name[..]);
        assert_eq!(names, all.filter(with_states).collect::<Vec<_>>());
        tch::no_grad(|| compare(&network, source, &found, &what));
        let end = found.predicted[0][0];
        let ended: Vec<_> = found.predicted.iter().map(|ids| until(ids, end).to_vec()).collect();
        assert_eq!(of(Some(end)).predicted, ended, "{what}");
    }
}
