//! A GPU computes what the CPU computes. Where there is none, these tests say so and pass.

mod common;
#[path = "common/training.rs"]
mod training;

use std::io::Write;

use common::Lab;
use seqlab::checkpoint;
use seqlab::config::{Config, DeviceChoice, Dtype, EngineChoice, GateActivation};
use seqlab::curves::CurveRow;
use seqlab::device::{self, download, host};
use seqlab::disk::Real;
use seqlab::engine;
use seqlab::error::{USAGE, status};
use seqlab::evaluate::Evaluator;
use seqlab::feed::Feeding;
use seqlab::model::Model;
use seqlab::network::{self, Network};
use seqlab::parameters::Parameters;
use seqlab::presets;
use seqlab::rng::Purpose;
use seqlab::task::Task;
use seqlab::train::Trainer;
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

/// Every preset with a small vocabulary: 20 steps and a few more, two replicas.
fn experiments(dtype: Dtype) -> Vec<Config> {
    let small = |config: Config| {
        let id_max = config.id_max - config.vocab + 12;
        let samples = config.samples.map(|_| 22 * config.batch_size);
        let epochs = (20 + config.steps_per_epoch() - 1) / config.steps_per_epoch();
        let warmup_steps = config.warmup_steps.map(|_| 10);
        let sizes =
            Config { vocab: 12, id_max, units: 24, samples, epochs, warmup_steps, ..config };
        Config { dtype, replicas: 2, log_every: Some(1), global_clipnorm: Some(0.2), ..sizes }
    };
    let all: Vec<Config> = presets::all().into_iter().map(|p| small(p.config)).collect();
    assert!(all.iter().all(|config| config.validate().is_ok()));
    all
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

/// Fails where two trainings differ by more than `bound` in a row or a weight.
fn check_same(trained: [(Trainer, Vec<CurveRow>); 2], bound: f64, about: &str) {
    let [(got, rows), (expected, expected_rows)] = trained;
    assert!(got.step >= 20);
    let close = |a: f64, b: f64| (a - b).abs() <= bound;
    assert_eq!(rows.len(), expected_rows.len());
    for (row, expected) in rows.iter().zip(&expected_rows) {
        let place = |row: &CurveRow| (row.replica, row.seed, row.epoch, row.step, row.samples);
        assert_eq!(place(row), place(expected), "{about}");
        let norms = row.grad_norm.zip(expected.grad_norm);
        let same = close(row.loss, expected.loss) && norms.is_some_and(|(a, b)| close(a, b));
        assert!(same, "{about}: {row:?}, expected {expected:?}");
    }
    let (got, expected) = (weights(&got), weights(&expected));
    assert_eq!(got.len(), expected.len());
    for (i, (&got, &expected)) in got.iter().zip(&expected).enumerate() {
        assert!(close(got, expected), "{about}: weight {i}: {got}, {expected}");
    }
}

/// Trains on the GPU and with the CPU's own engine.
fn check_training(configs: Vec<Config>, bound: f64) {
    let Some(gpu) = gpu() else { return };
    for config in configs {
        assert_eq!(engine::choose(config.engine, host()).unwrap(), EngineChoice::Fused);
        check_same([train(&config, gpu), train(&config, host())], bound, &config.preset);
    }
}

#[test]
fn training_in_float64_agrees_with_the_cpu() {
    check_training(experiments(Dtype::Float64), 1e-9);
}

#[test]
fn training_in_float32_agrees_with_the_cpu() {
    check_training(experiments(Dtype::Float32), 1e-3);
}

/// One replica with sigmoid gates, which cuDNN computes.
fn on_cudnn(dtype: Dtype) -> Vec<Config> {
    let gate_activation = GateActivation::Sigmoid;
    let one = |config| Config { replicas: 1, gate_activation, ..config };
    experiments(dtype).into_iter().map(one).collect()
}

#[test]
fn training_on_cudnn_in_float64_agrees_with_the_cpu() {
    check_training(on_cudnn(Dtype::Float64), 1e-9);
}

#[test]
fn training_on_cudnn_in_float32_agrees_with_the_cpu() {
    // cuDNN multiplies float32 as TF32.
    check_training(on_cudnn(Dtype::Float32), 2e-2);
}

#[test]
fn batches_that_are_uploaded_ahead_are_the_same() {
    let Some(gpu) = gpu() else { return };
    for config in experiments(Dtype::Float64).into_iter().chain(on_cudnn(Dtype::Float64)) {
        let trained = [Feeding::Ahead, Feeding::Direct].map(|feeding| {
            let mut trainer = Trainer::new(&config, gpu).unwrap();
            assert_eq!(trainer.feeding, Feeding::Ahead);
            trainer.feeding = feeding;
            let rows = run(&mut trainer);
            (trainer, rows)
        });
        // Not bit for bit: CUDA may add in another order.
        check_same(trained, 1e-9, &config.preset);
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
    for config in experiments(Dtype::Float64) {
        let (mut trainer, _) = train(&config, gpu);
        let path = folder.path().join(&config.preset);
        checkpoint::save(&Real, &path, &mut trainer, 0).unwrap();
        let specs = Model::new(&config).parameters();
        let kind = network::kind(config.dtype);
        let parameters = Parameters::zeros(specs, config.replicas, kind, host()).unwrap();
        let saved = checkpoint::newest(&path).unwrap().whole.unwrap();
        saved.load_weights(&parameters, 0).unwrap();
        assert_eq!(download(parameters.flat()).unwrap(), weights(&trainer), "{}", config.preset);

        let (network, task) = (Network::new(&config, &parameters).unwrap(), Task::new(&config));
        let here = Evaluator { config: &config, task: &task, network: &network, device: host() };
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
