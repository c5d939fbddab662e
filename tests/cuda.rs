//! A GPU computes what the CPU computes. Where there is none, these tests say so and pass, after they have
//! compared the CPU's two engines where a GPU would be compared.

mod common;
#[path = "common/models.rs"]
mod models;
#[path = "common/training.rs"]
mod training;

use std::fs;
use std::io::Write;

use assert_cmd::Command;
use common::Lab;
use models::{layers_of, with_more_layers};
use safetensors::SafeTensors;
use seqlab::base::error::{USAGE, status};
use seqlab::base::rng::Purpose;
use seqlab::config::presets;
use seqlab::config::{Config, DeviceChoice, Dtype, EngineChoice, GateActivation};
use seqlab::data::epochs::Epochs;
use seqlab::data::loader::Prefetch;
use seqlab::data::task::Task;
use seqlab::engine;
use seqlab::files::checksum::Checksum;
use seqlab::files::directory::Directory;
use seqlab::files::disk::parent;
use seqlab::model::Model;
use seqlab::model::network::Network;
use seqlab::run::curves::{self, CurveRow};
use seqlab::tensor::device::{self, download, host};
use seqlab::tensor::parameters::Parameters;
use seqlab::train::checkpoint::{self, Which};
use seqlab::train::evaluate::Evaluator;
use seqlab::train::trainer::Trainer;
use tch::{Device, Tensor};
use training::{run, train};

/// The GPU, or a line about why there is none.
fn gpu() -> Option<Device> {
    match device::choose(DeviceChoice::Cuda(0)) {
        Ok(chosen) => Some(chosen.device),
        Err(error) => {
            skip(&error.to_string());
            None
        }
    }
}

/// Tells past libtest, which shows what a passing test prints to nobody.
fn skip(why: &str) {
    let _ = std::io::stderr().write_all(format!("skipped: {why}\n").as_bytes());
}

/// With a CUDA libtorch this needs no card: [`Lab`] lets the program see none.
#[test]
fn doctor_tells_which_of_libtorch_driver_and_gpu_is_missing() {
    let output = Lab::new().command("doctor").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let driver = device::driver_present();
    let (cuda, problem) = match (tch::utils::has_cudart(), driver) {
        (false, _) => ("no", "this build has a libtorch without CUDA"),
        (true, false) => ("yes", "no NVIDIA driver is running"),
        (true, true) => ("yes", "libtorch finds no usable GPU behind the NVIDIA driver"),
    };
    assert!(printed.contains(&format!(", CUDA {cuda}")), "{printed}");
    let missing = format!("cuda      not available: {problem}\n          fix: ");
    assert!(printed.contains(&missing), "{printed}");
    assert_eq!(output.status.success(), !driver, "{printed}");
    if cuda == "no" {
        skip("this libtorch has no CUDA: one of three diagnoses was tried");
    }
}

/// Every preset with a small vocabulary: 20 steps and a few more, two replicas, clipped.
fn experiments(dtype: Dtype) -> Vec<Config> {
    let small = |config: Config| {
        let id_max = config.id_max - config.vocab + 12;
        let samples = config.samples.map(|_| 22 * config.batch_size);
        let each = Epochs::of(&config).steps_per_epoch();
        let epochs = (20 + each - 1) / each;
        let warmup_steps = config.warmup_steps.map(|_| 10);
        let sizes =
            Config { vocab: 12, id_max, units: 24, samples, epochs, warmup_steps, ..config };
        // Threads of libtorch's that wait for each other are slow on a busy machine.
        let sizes = Config { evaluation_samples: 40, threads: Some(1), ..sizes };
        Config { dtype, replicas: 2, log_every: Some(1), global_clipnorm: Some(0.2), ..sizes }
    };
    presets::all().into_iter().map(|p| small(p.config)).collect()
}

/// The small preset of this name.
fn experiment(name: &str, dtype: Dtype) -> Config {
    experiments(dtype).into_iter().find(|config| config.preset == name).unwrap()
}

/// What CUDA may compute in another way than a small experiment, a few steps of it: no clipping, with more
/// units than a block of a kernel has threads, or more ids in a batch than libtorch adds without sorting
/// them first.
fn larger(dtype: Dtype) -> Vec<Config> {
    let [partial, reverse] =
        ["partial-echo-2", "reverse"].map(|name| unclipped(experiment(name, dtype)));
    let samples = |batches: i64| Some(batches * reverse.batch_size);
    let larger = vec![
        Config { units: 150, samples: samples(3), epochs: 2, ..reverse.clone() },
        Config { units: 150, epochs: 6, ..partial.clone() },
        Config { batch_size: 600, samples: samples(50), epochs: 2, ..reverse.clone() },
        Config { replicas: 40, epochs: 6, ..partial },
    ];
    let ids = |config: &Config| config.replicas * config.batch_size * config.n_in;
    assert!(larger.iter().all(|config| config.units > 128 || ids(config) > 3072));
    larger
}

fn unclipped(config: Config) -> Config {
    Config { global_clipnorm: None, ..config }
}

/// One replica with sigmoid gates, which cuDNN computes.
fn on_cudnn(config: Config) -> Config {
    Config { replicas: 1, gate_activation: GateActivation::Sigmoid, ..config }
}

fn weights(trainer: &Trainer) -> Vec<f64> {
    download(trainer.parameters.flat()).unwrap()
}

#[test]
fn initial_weights_are_the_same_on_every_device() {
    let Some(gpu) = gpu() else { return };
    for dtype in [Dtype::Float32, Dtype::Float64] {
        for config in experiments(dtype) {
            let [here, there] =
                [host(), gpu].map(|device| weights(&Trainer::new(&config, device).unwrap()));
            let bits =
                |numbers: Vec<f64>| numbers.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(here), bits(there), "{}", config.preset);
        }
    }
}

/// What a training leaves.
struct Trained {
    rows: Vec<CurveRow>,
    weights: Vec<f64>,
}

impl Trained {
    fn on(config: &Config, device: Device) -> Self {
        assert_eq!(config.validate(), Ok(()), "{config:?}");
        device::set_threads(device::threads(config));
        let (trainer, rows) = train(config, device);
        Self { rows, weights: weights(&trainer) }
    }

    /// What is in the run directory `run`.
    fn read(lab: &Lab, run: &str) -> Self {
        let bytes = lab.bytes(&lab.file(run, "checkpoint/weights.safetensors"));
        let mut tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        let number = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
        let weights = tensors.iter().flat_map(|(_, tensor)| tensor.data().chunks(4).map(number));
        let directory = Directory::open(&lab.path(run)).unwrap();
        let rows = curves::read(&directory, &lab.path(run).join("curves.csv")).unwrap();
        Self { rows, weights: weights.collect() }
    }

    /// Fails where two trainings differ by more than `bound` in a row or a weight.
    fn check(&self, expected: &Self, bound: f64, about: &str) {
        let close = |a: f64, b: f64| (a - b).abs() <= bound;
        assert_eq!(self.rows.len(), expected.rows.len(), "{about}");
        for (row, expected) in self.rows.iter().zip(&expected.rows) {
            let place = |row: &CurveRow| (row.replica, row.seed, row.epoch, row.step, row.samples);
            assert_eq!(place(row), place(expected), "{about}");
            let norms = match (row.grad_norm, expected.grad_norm) {
                (Some(a), Some(b)) => close(a, b),
                (a, b) => a == b,
            };
            let same = close(row.loss, expected.loss) && norms;
            assert!(same, "{about}: {row:?}, expected {expected:?}");
        }
        assert_eq!(self.weights.len(), expected.weights.len(), "{about}");
        for (i, (&got, &expected)) in self.weights.iter().zip(&expected.weights).enumerate() {
            assert!(close(got, expected), "{about}: weight {i}: {got}, {expected}");
        }
    }
}

/// Where libtorch trains: on the CPU, so that a machine without a GPU tries what compares, and on the GPU.
fn libtorchs() -> Vec<Device> {
    [host()].into_iter().chain(gpu()).collect()
}

/// Trains on libtorch and with the CPU's own engine.
fn check_training(configs: impl IntoIterator<Item = Config>, bound: f64) {
    let devices = libtorchs();
    for config in configs {
        let expected =
            Trained::on(&Config { engine: EngineChoice::Fused, ..config.clone() }, host());
        for &device in &devices {
            let config = Config { engine: EngineChoice::Libtorch, ..config.clone() };
            let about = format!("{} on {}", layers_of(&config), device::name(device));
            Trained::on(&config, device).check(&expected, bound, &about);
        }
    }
}

/// Every experiment clipped, some without, and the larger ones.
fn all(dtype: Dtype) -> impl Iterator<Item = Config> {
    let plain =
        ["echo", "partial-echo-2", "reverse"].map(|name| unclipped(experiment(name, dtype)));
    experiments(dtype).into_iter().chain(plain).chain(larger(dtype)).chain(more_layers(dtype))
}

/// What has more layers, of an experiment of each family, and of one whose encoder may read both ways.
fn more_layers(dtype: Dtype) -> Vec<Config> {
    let [echo, partial, reverse] =
        ["echo", "partial-echo-2", "reverse"].map(|name| experiment(name, dtype));
    let stateless = Config { stateful: false, ..partial };
    [echo, stateless, reverse]
        .iter()
        .flat_map(|config| with_more_layers(config).split_off(1))
        .collect()
}

#[test]
fn training_in_float64_agrees_with_the_cpu() {
    check_training(all(Dtype::Float64), 1e-9);
}

#[test]
fn training_on_cudnn_in_float64_agrees_with_the_cpu() {
    check_training(all(Dtype::Float64).map(on_cudnn), 1e-9);
}

#[test]
fn training_in_float32_agrees_with_the_cpu() {
    check_training(all(Dtype::Float32), 1e-5);
}

/// Lets the program see the GPUs that this process sees.
fn with_gpus(mut command: Command) -> Command {
    match std::env::var_os("CUDA_VISIBLE_DEVICES") {
        Some(devices) => command.env("CUDA_VISIBLE_DEVICES", devices),
        None => command.env_remove("CUDA_VISIBLE_DEVICES"),
    };
    command
}

/// Trains by the command line for `epochs`, goes on to the configuration's number if that is larger, and
/// reads the run.
fn by_program(lab: &Lab, config: &Config, device: Device, epochs: i64) -> Trained {
    let (run, device) =
        (format!("run-{}", fs::read_dir(lab.path(".")).unwrap().count()), device::name(device));
    let start = Config { epochs, ..config.clone() };
    lab.write(&format!("{run}.toml"), toml::to_string(&start).unwrap());
    let train = format!("train --config {run}.toml --device {device} --out {run} --quiet");
    let go_on = format!("resume {run} --epochs {} --device {device} --quiet", config.epochs);
    let commands = [train, go_on];
    for words in &commands[..1 + usize::from(epochs < config.epochs)] {
        with_gpus(lab.command(words)).assert().success();
    }
    Trained::read(lab, &run)
}

/// Float32 on cuDNN is tried here alone: it is the program that forbids TF32.
#[test]
fn the_command_line_trains_in_float32_as_the_cpu_does() {
    let lab = Lab::new();
    let devices = libtorchs();
    let small = ["echo", "partial-echo-2", "reverse"].map(|name| experiment(name, Dtype::Float32));
    let cudnn = small.clone().into_iter().chain(larger(Dtype::Float32)).map(on_cudnn);
    for config in cudnn.chain(small.map(unclipped)) {
        let config = Config { epochs: config.epochs.max(2), ..config };
        let fused = Config { engine: EngineChoice::Fused, ..config.clone() };
        let expected = by_program(&lab, &fused, host(), config.epochs);
        for &device in &devices {
            let config = Config { engine: EngineChoice::Libtorch, ..config.clone() };
            let about = format!("{} on {}", config.preset, device::name(device));
            let resumed = by_program(&lab, &config, device, config.epochs / 2);
            resumed.check(&expected, 1e-5, &about);
        }
    }
}

#[test]
fn tf32_is_forbidden_unless_the_user_decides() {
    let lab = Lab::new();
    for (set, expected) in [(None, "no"), (Some("0"), "no"), (Some("1"), "yes")] {
        let mut command = lab.command("doctor");
        command
            .env_remove("NVIDIA_TF32_OVERRIDE")
            .envs(set.map(|set| ("NVIDIA_TF32_OVERRIDE", set)));
        let printed = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert!(printed.contains(&format!(", TF32 {expected}\n")), "{set:?}: {printed}");
    }
}

#[test]
fn batches_that_are_uploaded_ahead_are_the_same() {
    let Some(gpu) = gpu() else { return };
    let all = experiments(Dtype::Float64);
    for config in all.clone().into_iter().map(on_cudnn).chain(all) {
        let [ahead, direct] = [Prefetch::On, Prefetch::Off].map(|prefetch| {
            let mut trainer = Trainer::new(&config, gpu).unwrap();
            assert_eq!(trainer.prefetch, Prefetch::On);
            trainer.prefetch = prefetch;
            let rows = run(&mut trainer);
            Trained { rows, weights: weights(&trainer) }
        });
        // Not bit for bit: CUDA may add in another order.
        ahead.check(&direct, 1e-9, &config.preset);
    }
}

/// More transfers than there is pinned memory to begin with, none waited for before the next.
#[test]
fn what_is_uploaded_ahead_arrives_whole() {
    let Some(gpu) = gpu() else { return };
    let ids = |k: i64| (0..10_000).map(|i| i * 7 + k).collect::<Vec<_>>();
    let there: Vec<Tensor> =
        (0..200).map(|k| device::upload_ahead(&ids(k), gpu).unwrap()).collect();
    for (k, there) in there.iter().enumerate() {
        assert!(!device::is_host(there.device()));
        assert_eq!(device::download_ids(there).unwrap(), ids(k as i64), "transfer {k}");
    }
}

#[test]
fn the_fused_engine_is_refused_on_a_gpu() {
    // The engine asks the device for nothing, so this needs none.
    let error = engine::choose(EngineChoice::Fused, Device::Cuda(0)).unwrap_err().into();
    assert_eq!(status(&error), USAGE);
    assert_eq!(error.to_string(), "--engine fused: computes on a CPU, not cuda:0");
    let Some(gpu) = gpu() else { return };
    for config in experiments(Dtype::Float32) {
        let config = Config { engine: EngineChoice::Fused, ..config };
        assert!(Trainer::new(&config, gpu).is_err());
    }
}

#[test]
fn what_a_gpu_trained_loads_and_evaluates_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let all = experiments(Dtype::Float64).into_iter().chain(more_layers(Dtype::Float64));
    for (number, config) in all.enumerate() {
        let (mut trainer, _) = train(&config, gpu);
        let path = folder.path().join(number.to_string());
        let run = Directory::open(parent(&path)).unwrap();
        checkpoint::save(&run, &path, &mut trainer, Checksum::of(b"")).unwrap();
        let specs = Model::new(&config).parameters();
        let kind = seqlab::tensor::device::kind(config.dtype);
        let parameters = Parameters::zeros(specs, config.replicas, kind, host()).unwrap();
        let saved = checkpoint::newest(&path).unwrap().whole.unwrap();
        saved.load_weights(Which::Last, &parameters, 0).unwrap();
        assert_eq!(download(parameters.flat()).unwrap(), weights(&trainer), "{}", config.preset);

        let (network, task) = (Network::new(&config, &parameters).unwrap(), Task::new(&config));
        let (config, parameters, network, task) = (&config, &parameters, &network, &task);
        let here = Evaluator { config, task, parameters, network, device: host(), search: None };
        let evaluate = |on: &Evaluator<'_>| on.run(Purpose::Evaluation, 100, |_| Ok(())).unwrap();
        for (here, there) in evaluate(&here).iter().zip(&evaluate(&trainer.evaluator())) {
            assert!(
                (here.loss.unwrap() - there.loss.unwrap()).abs() <= 1e-9,
                "{}: {here:?}, {there:?}",
                config.preset
            );
            assert_eq!(here.token_accuracy, there.token_accuracy, "{}", config.preset);
        }
    }
}
