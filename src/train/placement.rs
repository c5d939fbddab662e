//! Which device `auto` takes: the one whose steps are estimated, or measured, to be shorter.

use std::time::{Duration, Instant};

use anyhow::Result;
use tch::Device;

use crate::base::error::UserError;
use crate::base::rng::Purpose;
use crate::config::{Config, DeviceChoice, EngineChoice, GateActivation};
use crate::engine::fused::{block_count, split};
use crate::model::Model;
use crate::tensor::cpp::graph;
use crate::tensor::cpp::lstm::MOST_TOGETHER;
use crate::tensor::device::{self, Chosen};
use crate::train::memory;
use crate::train::trainer::Trainer;

/// Multiplications with their additions that a core does in a second.
const CORE: f64 = 6e10;
/// The share of a core that each further one adds: 16 did the work of 4 to 8.
const FURTHER_CORE: f64 = 0.4;
/// Seconds that a core spends on a step of a replica besides multiplying.
const CORE_STEP: f64 = 8e-6;

// A GPU's figures are those of an H200 and an H100 with 16 cores beside them and libtorch 2.11: results/cuda.

/// Multiplications that a GPU does in a second, where there are enough at a time.
const GPU: f64 = 4e12;
/// Seconds that a kernel of a GPU takes to be launched, with what libtorch does on the host for it.
const LAUNCH: f64 = 14e-6;
/// Seconds that it takes within a CUDA graph.
const RECORDED_LAUNCH: f64 = 1.7e-6;
/// Seconds of a time step in the kernels of our own, there and back: of any, and for each unit, which waits for
/// the weights of all others.
const OWN_STEP: f64 = 5e-6;
const OWN_UNIT: f64 = 0.42e-6;
/// Kernels of a step besides those of its time steps: upload, loss, optimiser.
const LAUNCHES: f64 = 35.0;
/// Kernels of a time step, there and back, with each of the gates. An LSTM of more than [`MOST_TOGETHER`] units has
/// kernels of its own as well, which no GPU has been timed with: these are more than it takes.
const LAUNCHES_HARD_SIGMOID: f64 = 42.0;
const LAUNCHES_SIGMOID: f64 = 28.0;
/// How many launches a layer of cuDNN's takes as long as; it has some 25, and more to do for each.
const LAUNCHES_CUDNN: f64 = 75.0;

/// Estimates that differ by more than this factor are believed; others are measured.
const CLEAR: f64 = 10.0;

/// Seconds of an evaluation on the CPU that are worth the start of a GPU.
const LONG: f64 = 3.0;

/// Steps before those that are timed, so that these are replayed where they can be, and how long those take
/// at least.
const WARM_UP: usize = 6;
const TIMED: Duration = Duration::from_millis(200);

/// Seconds of a training step on either device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepSeconds {
    /// On the CPU, by the fused engine.
    pub cpu: f64,
    /// On a GPU, by libtorch.
    pub gpu: f64,
}

impl StepSeconds {
    /// By the sizes of the validated `config`, for a CPU of `cores` cores and this build.
    pub fn estimate(config: &Config, cores: usize) -> Self {
        Self::estimate_for(config, cores, graph::BUILT)
    }

    /// The same for a build that has kernels of its own and records steps as CUDA graphs, or has not. How many
    /// kernels a time step launches was counted for every preset.
    fn estimate_for(config: &Config, cores: usize, recorded: bool) -> Self {
        let model = split::model(config);
        let (replicas, rows) = (config.replicas as f64, config.batch_size as f64);
        let (forward, time_steps) = forward(&model);
        // The backward pass has a product for what is read and one for the weights.
        let work = 3.0 * forward * rows;
        let shares = block_count(&model, config.batch_size as usize).max(model.parts());
        let helpers = (replicas * shares as f64).min(cores as f64) - 1.0;
        let layers = model.costs().filter(|costs| costs.sequential_steps > 0.0).count() as f64;
        let sigmoid = config.gate_activation == GateActivation::Sigmoid;
        let launches = match (sigmoid, config.replicas) {
            (true, 1) => LAUNCHES_CUDNN * layers,
            (true, _) => LAUNCHES_SIGMOID * time_steps,
            (false, _) => LAUNCHES_HARD_SIGMOID * time_steps,
        };
        let launch = if recorded { RECORDED_LAUNCH } else { LAUNCH };
        let cudnn = sigmoid && config.replicas == 1;
        let own = recorded && !cudnn && config.units <= MOST_TOGETHER;
        let recurrences = match own {
            true => time_steps * (OWN_STEP + OWN_UNIT * config.units as f64),
            false => launches * launch,
        };
        Self {
            cpu: replicas * (work / CORE + CORE_STEP) / (1.0 + FURTHER_CORE * helpers),
            gpu: replicas * work / GPU + LAUNCHES * launch + recurrences,
        }
    }

    /// Whether one is that much shorter that there is nothing to measure.
    fn is_clear(self) -> bool {
        self.cpu.max(self.gpu) > CLEAR * self.cpu.min(self.gpu)
    }

    /// The faster device, and why it is; `how` they were found.
    fn faster(self, how: &str) -> Result<Chosen, UserError> {
        let choice = if self.gpu < self.cpu { DeviceChoice::Cuda(0) } else { DeviceChoice::Cpu };
        Ok(Chosen { note: Some(self.note(how)), ..device::choose(choice)? })
    }

    /// The same in words; a device with infinitely many seconds cannot do a step.
    fn note(self, how: &str) -> String {
        let [cpu, gpu] = [self.cpu, self.gpu].map(milliseconds);
        match self.cpu.max(self.gpu).is_finite() {
            true => format!("a step is {how} to take {cpu} on the CPU and {gpu} on the GPU"),
            false if self.cpu < self.gpu => {
                format!("a step is {how} to take {cpu} on the CPU and cannot be done on the GPU")
            }
            false => {
                format!("a step is {how} to take {gpu} on the GPU and cannot be done on the CPU")
            }
        }
    }
}

/// Multiplications of a row on its way through the model, and time steps that wait for others.
fn forward(model: &Model) -> (f64, f64) {
    let (work, steps): (Vec<f64>, Vec<f64>) =
        model.costs().map(|costs| (costs.multiplications, costs.sequential_steps)).unzip();
    (work.iter().sum(), steps.iter().sum())
}

fn milliseconds(seconds: f64) -> String {
    let digits = if seconds < 1e-3 { 3 } else { 1 };
    format!("{:.digits$} ms", 1e3 * seconds)
}

/// The device that `choice` asks for to train the validated `config`; where that is `auto` and there is
/// a GPU, the faster one by an estimate.
///
/// # Errors
/// If the GPU asked for cannot be used.
pub fn estimated(config: &Config, choice: DeviceChoice) -> Result<Chosen, UserError> {
    match open(config, choice) {
        Some(choice) => device::choose(choice),
        None => StepSeconds::estimate(config, device::cores()).faster("estimated"),
    }
}

/// The same where a training is about to begin: an estimate that is not clear is corrected by timing
/// some steps on both.
///
/// # Errors
/// As [`estimated`], and those of [`step_seconds`] where neither can do a step.
pub fn measured(config: &Config, choice: DeviceChoice) -> Result<Chosen> {
    let estimate = StepSeconds::estimate(config, device::cores());
    if open(config, choice).is_some() || estimate.is_clear() {
        return Ok(estimated(config, choice)?);
    }
    let seconds = |choice| step_seconds(config, device::choose(choice)?.device);
    // What does not fit into the memory of the one may fit into that of the other.
    match [DeviceChoice::Cpu, DeviceChoice::Cuda(0)].map(seconds) {
        [Err(_), Err(error)] => Err(error),
        both => {
            let [cpu, gpu] = both.map(|seconds| seconds.unwrap_or(f64::INFINITY));
            Ok(StepSeconds { cpu, gpu }.faster("measured")?)
        }
    }
}

/// What `choice` comes to for the evaluation of `samples` samples a replica: where it is `auto`, the CPU
/// unless that takes longer than a GPU to start.
pub fn evaluation(config: &Config, choice: DeviceChoice, samples: usize) -> DeviceChoice {
    let (forward, _) = forward(&Model::new(config));
    let seconds = config.replicas as f64 * samples as f64 * forward / CORE;
    match choice {
        DeviceChoice::Auto if seconds < LONG => DeviceChoice::Cpu,
        choice => choice,
    }
}

/// What is to be chosen without a comparison; `None` where there is one to make.
fn open(config: &Config, choice: DeviceChoice) -> Option<DeviceChoice> {
    let auto = choice == DeviceChoice::Auto && device::gpus() > 0;
    match config.engine {
        _ if !auto => Some(choice),
        EngineChoice::Fused => Some(DeviceChoice::Cpu),
        EngineChoice::Libtorch => Some(DeviceChoice::Cuda(0)),
        EngineChoice::Auto => None,
    }
}

/// Seconds of a training step on `device`, by some steps of models that are thrown away. They are done
/// as in a training, which does many at a time where that is faster.
///
/// # Errors
/// Those of [`memory::check`] and [`Trainer::blank`], and libtorch's.
pub fn step_seconds(config: &Config, device: Device) -> Result<f64> {
    memory::check(config, device)?;
    device::set_threads(1);
    let mut trainer = Trainer::blank(config, device)?;
    device::set_threads(device::threads(config));
    let task = trainer.task().clone();
    let size = task.samples_per_epoch().min(config.batch_size as usize);
    let batch = task.epoch(&config.seeds(), Purpose::Training, 0).batch(0..size);
    let mut steps = |enough: &dyn Fn(usize) -> bool| -> Result<usize> {
        let mut done = 0;
        while !enough(done) {
            done += trainer.learn_again(&batch)?;
        }
        // Waits until the device has done them.
        trainer.parameters.finite()?;
        Ok(done)
    };
    steps(&|done| done >= WARM_UP)?;
    let begin = Instant::now();
    let done = steps(&|done| done > 0 && begin.elapsed() >= TIMED)?;
    Ok(begin.elapsed().as_secs_f64() / done as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    fn preset(name: &str, replicas: i64) -> Config {
        Config { replicas, ..presets::find(name).unwrap().config }
    }

    /// By libtorch's operations, launched one by one.
    fn unrecorded(config: &Config, cores: usize) -> StepSeconds {
        StepSeconds::estimate_for(config, cores, false)
    }

    fn gpu_is_faster(name: &str, replicas: i64) -> bool {
        let StepSeconds { cpu, gpu } = unrecorded(&preset(name, replicas), 2);
        gpu < cpu
    }

    #[test]
    fn small_models_stay_on_the_cpu_and_many_replicas_go_to_a_gpu() {
        for preset in presets::all() {
            // One step of that reads 400 ids.
            let large = preset.name == "reverse-400-40";
            assert!(large || !gpu_is_faster(preset.name, 1), "{}", preset.name);
            assert!(gpu_is_faster(preset.name, 4096), "{}", preset.name);
        }
        assert!(!gpu_is_faster("echo", 64) && !gpu_is_faster("partial-echo-2", 2));
        assert!(gpu_is_faster("reverse", 16) && gpu_is_faster("partial-echo-4", 8));
        let echo = unrecorded(&preset("echo", 1), 2);
        assert!(echo.is_clear() && echo.gpu / echo.cpu > 50.0, "{echo:?}");
    }

    /// Kernels of a step: launched by an H200 for one replica with hard gates; operations counted on a
    /// CPU for several with sigmoid ones.
    #[test]
    fn launches_are_those_that_were_counted() {
        for (name, hard, sigmoid) in [
            ("echo", 287.0, 206.0),
            ("partial-echo-2", 344.0, 238.0),
            ("partial-echo-4", 429.0, 294.0),
            ("reverse", 426.0, 296.0),
            ("echo-lag", 244.0, 172.0),
            ("echo-current", 73.0, 64.0),
            ("addition-3", 502.0, 344.0),
        ] {
            for (gate_activation, replicas, counted) in
                [(GateActivation::HardSigmoid, 1, hard), (GateActivation::Sigmoid, 2, sigmoid)]
            {
                let config =
                    Config { gate_activation, units: 1, vocab: 12, ..preset(name, replicas) };
                let launches = unrecorded(&config, 2).gpu / LAUNCH;
                let off = launches / counted;
                assert!((0.93..1.07).contains(&off), "{name}: {launches} of {counted}");
            }
        }
    }

    /// The CPU's figures are those of several processors; and here its steps were timed one by one, which
    /// is slower than a training.
    #[test]
    fn estimates_lie_near_what_was_measured_on_an_h200() {
        let measured = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/results/cuda/auto.csv"));
        let cores = 16;
        for line in measured.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let gate_activation = match fields[2] {
                "sigmoid" => GateActivation::Sigmoid,
                _ => GateActivation::HardSigmoid,
            };
            let config =
                Config { gate_activation, ..preset(fields[0], fields[1].parse().unwrap()) };
            let [cpu, gpu] = [5, 6].map(|field| fields[field].parse::<f64>().unwrap() / 1e3);
            let estimate = unrecorded(&config, cores);
            assert!((0.6..1.35).contains(&(estimate.gpu / gpu)), "{line}: {estimate:?}");
            assert!((0.15..1.5).contains(&(estimate.cpu / cpu)), "{line}: {estimate:?}");
            let right = (estimate.gpu < estimate.cpu) == (gpu < cpu);
            assert!(right || !estimate.is_clear(), "{line}: {estimate:?}");
        }
    }

    #[test]
    fn estimates_lie_near_what_was_measured_of_recorded_steps() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/results/cuda/h100-steps.csv");
        let measured = std::fs::read_to_string(path).unwrap();
        let mut compared = 0;
        for line in measured.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [name, replicas, gates, recorded, by, ms, _] = fields[..] else { panic!("{line}") };
            let config = preset(name, replicas.parse().unwrap());
            // The measurement had its own kernels for any number of units, and also left them out.
            let in_program = match (gates, replicas, config.units <= MOST_TOGETHER) {
                ("sigmoid", "1", _) => "cuDNN",
                (_, _, true) => "own",
                (_, _, false) => "operations",
            };
            if recorded != "yes" || by != in_program {
                continue;
            }
            let gate_activation = match gates {
                "sigmoid" => GateActivation::Sigmoid,
                _ => GateActivation::HardSigmoid,
            };
            let estimate =
                StepSeconds::estimate_for(&Config { gate_activation, ..config }, 16, true);
            let ratio = estimate.gpu / (ms.parse::<f64>().unwrap() / 1e3);
            assert!((0.35..1.6).contains(&ratio), "{line}: {estimate:?}");
            compared += 1;
        }
        assert!(compared >= 14, "{compared} rows");
    }

    #[test]
    fn more_of_everything_takes_longer() {
        let base = preset("reverse", 4);
        let before = StepSeconds::estimate(&base, 2);
        for larger in [
            Config { replicas: 8, ..base.clone() },
            Config { units: 256, ..base.clone() },
            Config { n_in: 12, ..base.clone() },
            Config { batch_size: 64, ..base.clone() },
        ] {
            let after = StepSeconds::estimate(&larger, 2);
            assert!(after.cpu > before.cpu && after.gpu > before.gpu, "{larger:?}");
        }
        assert!(StepSeconds::estimate(&base, 16).cpu < before.cpu);
        let words = before.faster("estimated").map(|chosen| chosen.note.unwrap_or_default());
        assert!(words.is_err() || words.unwrap().starts_with("a step is estimated to take "));
    }

    #[test]
    fn a_device_that_cannot_do_a_step_is_told() {
        let note = |cpu, gpu| StepSeconds { cpu, gpu }.note("measured");
        assert_eq!(
            note(2e-3, 5e-4),
            "a step is measured to take 2.0 ms on the CPU and 0.500 ms on the GPU"
        );
        let on_cpu = "a step is measured to take 2.0 ms on the CPU and cannot be done on the GPU";
        assert_eq!(note(2e-3, f64::INFINITY), on_cpu);
        let on_gpu = "a step is measured to take 2.0 ms on the GPU and cannot be done on the CPU";
        assert_eq!(note(f64::INFINITY, 2e-3), on_gpu);
    }

    #[test]
    fn small_evaluations_use_the_cpu_and_what_was_asked_for_stands() {
        let of = |choice, samples| evaluation(&preset("reverse", 1), choice, samples);
        assert_eq!(of(DeviceChoice::Auto, 2_000), DeviceChoice::Cpu);
        assert_eq!(of(DeviceChoice::Auto, 1_000_000), DeviceChoice::Auto);
        assert_eq!(of(DeviceChoice::Cuda(1), 1), DeviceChoice::Cuda(1));
    }

    #[test]
    fn a_step_is_measured_by_steps_that_leave_nothing() {
        let config = Config { units: 4, ..preset("echo", 2) };
        let seconds = step_seconds(&config, device::host()).unwrap();
        assert!(seconds > 0.0 && seconds < 1.0, "{seconds}");
    }
}
