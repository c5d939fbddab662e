//! Optimisers and clipping against plain numbers, and the meter that training reports through.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use rand::RngExt;
use seqlab::base::error;
use seqlab::base::rng::{Purpose, Stream};
use seqlab::config::presets;
use seqlab::config::{Config, Dtype, EngineChoice, LearningRateSchedule, OptimizerKind};
use seqlab::data::epochs::Epochs;
use seqlab::data::task::Task;
use seqlab::kernels::thread_pool::ThreadPool;
use seqlab::optim::optimizer::Optimizer;
use seqlab::run::curves::CurveRow;
use seqlab::tensor::device::{download, host};
use seqlab::tensor::parameters::{Init, ParameterSpec, Parameters};
use seqlab::train::meter::Means;
use seqlab::train::trainer::{Observer, Outcome, Trainer};
use tch::Tensor;

const REPLICAS: i64 = 2;

fn echo() -> Config {
    let config = presets::find("echo").unwrap().config;
    Config { dtype: Dtype::Float64, replicas: REPLICAS, ..config }
}

/// A matrix and a bias of two replicas, and random numbers for them.
struct Bench {
    parameters: Parameters,
    optimizer: Optimizer,
    generator: rand_chacha::ChaCha8Rng,
}

impl Bench {
    fn new(config: &Config) -> Self {
        let specs = vec![
            ParameterSpec::new("layer", "kernel", &[3, 2], Init::Zeros),
            ParameterSpec::new("layer", "bias", &[2], Init::Zeros),
        ];
        let kind = seqlab::tensor::device::kind(config.dtype);
        let parameters = Parameters::zeros(specs, REPLICAS, kind, host()).unwrap();
        let optimizer = Optimizer::new(config, Epochs::of(config).steps(), &parameters).unwrap();
        let generator = Stream::new(4, Purpose::Evaluation).at(0);
        let mut bench = Self { parameters, optimizer, generator };
        let start = bench.random(1.0);
        bench.parameters.flat().shallow_clone().copy_(&Tensor::from_slice(&start));
        bench
    }

    fn random(&mut self, limit: f64) -> Vec<f64> {
        let count = self.parameters.flat().numel();
        (0..count).map(|_| self.generator.random_range(-limit..limit)).collect()
    }

    fn update(&mut self, gradient: &[f64]) -> Option<Vec<f64>> {
        self.parameters.gradient().shallow_clone().copy_(&Tensor::from_slice(gradient));
        let norm = self.optimizer.update(&self.parameters, &ThreadPool::new(2)).unwrap();
        norm.map(|norm| download(&norm).unwrap())
    }

    fn weights(&self) -> Vec<f64> {
        download(self.parameters.flat()).unwrap()
    }

    /// `gradient` once every replica's norm is at most `most`.
    fn clipped(&self, gradient: &[f64], most: f64) -> Vec<f64> {
        let scales: Vec<f64> = self.norms(gradient).iter().map(|n| (most / n).min(1.0)).collect();
        let scales = Tensor::from_slice(&scales).unsqueeze(1);
        let parts = self.parameters.split(&Tensor::from_slice(gradient)).unwrap();
        let parts: Vec<Tensor> =
            parts.iter().map(|part| (part.flatten(1, -1) * &scales).flatten(0, -1)).collect();
        download(&Tensor::cat(&parts, 0)).unwrap()
    }

    /// The norm of each replica's part of `numbers`.
    fn norms(&self, numbers: &[f64]) -> Vec<f64> {
        let parts = self.parameters.split(&Tensor::from_slice(numbers)).unwrap();
        let square =
            |k, part: &Tensor| download(&part.get(k)).unwrap().iter().map(|x| x * x).sum::<f64>();
        (0..REPLICAS)
            .map(|k| parts.iter().map(|part| square(k, part)).sum::<f64>().sqrt())
            .collect()
    }
}

/// Adam of one number in plain Rust.
#[derive(Clone, Copy, Default)]
struct Scalar {
    theta: f64,
    m: f64,
    v: f64,
    t: i32,
}

impl Scalar {
    fn moments(&mut self, config: &Config, g: f64) {
        self.t += 1;
        self.m = config.beta_1 * self.m + (1.0 - config.beta_1) * g;
        self.v = config.beta_2 * self.v + (1.0 - config.beta_2) * g * g;
    }

    /// Keras: ε beside the root of v as it is.
    fn keras(&mut self, config: &Config, g: f64) {
        self.moments(config, g);
        let (bias_1, bias_2) = (1.0 - config.beta_1.powi(self.t), 1.0 - config.beta_2.powi(self.t));
        let rate = config.learning_rate * bias_2.sqrt() / bias_1;
        self.theta -= rate * self.m / (self.v.sqrt() + config.epsilon);
    }

    /// What Keras's optimiser of this configuration does.
    fn update(&mut self, config: &Config, g: f64) {
        let lr = config.learning_rate;
        let unless_given = if config.optimizer == OptimizerKind::AdamW { 0.004 } else { 0.0 };
        self.theta -= self.theta * config.weight_decay.unwrap_or(unless_given) * lr;
        let momentum = config.momentum.unwrap_or(0.0);
        match config.optimizer {
            OptimizerKind::Adam | OptimizerKind::AdamW => self.keras(config, g),
            OptimizerKind::RmsProp => {
                let rho = config.rho.unwrap_or(0.9);
                self.v = rho * self.v + (1.0 - rho) * g * g;
                self.m = momentum * self.m + lr * g / (self.v + config.epsilon).sqrt();
                self.theta -= self.m;
            }
            OptimizerKind::Sgd => {
                self.m = momentum * self.m - lr * g;
                let nesterov = config.nesterov == Some(true);
                self.theta += if nesterov { momentum * self.m - lr * g } else { self.m };
            }
        }
    }

    /// What the optimiser keeps of it, in order.
    fn slots(&self, config: &Config) -> Vec<f64> {
        match (config.optimizer, config.momentum) {
            (OptimizerKind::Adam | OptimizerKind::AdamW, _) => vec![self.m, self.v],
            (OptimizerKind::RmsProp, None) => vec![self.v],
            (OptimizerKind::RmsProp, Some(_)) => vec![self.v, self.m],
            (OptimizerKind::Sgd, None) => vec![],
            (OptimizerKind::Sgd, Some(_)) => vec![self.m],
        }
    }

    /// PyTorch: ε beside the root of the corrected v.
    fn pytorch(&mut self, config: &Config, g: f64) {
        self.moments(config, g);
        let (bias_1, bias_2) = (1.0 - config.beta_1.powi(self.t), 1.0 - config.beta_2.powi(self.t));
        let root = (self.v / bias_2).sqrt();
        self.theta -= config.learning_rate * (self.m / bias_1) / (root + config.epsilon);
    }
}

fn worst(got: &[f64], expected: impl IntoIterator<Item = f64>) -> f64 {
    let differences: Vec<f64> = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).collect();
    assert_eq!(differences.len(), got.len());
    // `f64::max` would drop a NaN.
    differences.into_iter().fold(0.0, |worst, x| if x > worst || x.is_nan() { x } else { worst })
}

#[test]
fn adam_is_kerass_formula() {
    let published = echo();
    let settings = [
        published.clone(),
        // So large an ε that its place shows.
        Config { epsilon: 0.1, learning_rate: 0.03, ..published.clone() },
        Config { beta_1: 0.5, beta_2: 0.7, epsilon: 1e-8, ..published },
    ];
    for config in settings {
        let mut bench = Bench::new(&config);
        let start = |theta| Scalar { theta, ..Scalar::default() };
        let mut keras: Vec<Scalar> = bench.weights().into_iter().map(start).collect();
        let mut pytorch = keras.clone();
        for step in 1..=50 {
            let gradient = bench.random(if step % 7 == 0 { 1e-6 } else { 2.0 });
            assert_eq!(bench.update(&gradient), None);
            for (i, &g) in gradient.iter().enumerate() {
                keras[i].keras(&config, g);
                pytorch[i].pytorch(&config, g);
            }
            assert_eq!(bench.optimizer.step, step);
            let error = worst(&bench.weights(), keras.iter().map(|x| x.theta));
            assert!(error <= 1e-12, "ε {}, step {step}: {error:e}", config.epsilon);
        }
        assert!(
            worst(&download(&bench.optimizer.slots[0]).unwrap(), keras.iter().map(|x| x.m))
                <= 1e-14
        );
        assert!(
            worst(&download(&bench.optimizer.slots[1]).unwrap(), keras.iter().map(|x| x.v))
                <= 1e-14
        );
        if config.epsilon == 0.1 {
            let other = worst(&bench.weights(), pytorch.iter().map(|x| x.theta));
            assert!(other > 1e-2, "this test would not notice PyTorch's place of ε");
        }
    }
}

/// A run of 12 steps, 3 of them warm-up, and its learning rates by hand.
fn scheduled() -> (Config, Vec<f64>) {
    let config = Config {
        learning_rate: 0.03,
        learning_rate_schedule: LearningRateSchedule::Cosine,
        final_learning_rate: Some(0.01),
        warmup_steps: Some(3),
        epochs: 3,
        ..echo()
    };
    let cosine = |k: i32| 0.02 + 0.01 * (f64::from(k) * 20.0).to_radians().cos();
    let rates = [0.01, 0.02, 0.03].into_iter().chain((0..9).map(cosine)).collect();
    (config, rates)
}

/// `config` with every optimiser, and with what each may have besides.
fn optimizers(config: &Config) -> Vec<Config> {
    let of = |optimizer| Config { optimizer, ..config.clone() };
    let (adam, adamw) = (of(OptimizerKind::Adam), of(OptimizerKind::AdamW));
    let (rmsprop, sgd) = (of(OptimizerKind::RmsProp), of(OptimizerKind::Sgd));
    let (momentum, nesterov) = (Some(0.8), Some(true));
    vec![
        Config { weight_decay: Some(0.3), ..adam.clone() },
        Config { weight_decay: Some(0.3), ..adamw.clone() },
        // So large an ε that its place shows.
        Config { rho: Some(0.5), epsilon: 0.1, ..rmsprop.clone() },
        Config { momentum, weight_decay: Some(0.3), ..rmsprop.clone() },
        Config { weight_decay: Some(0.3), ..sgd.clone() },
        Config { momentum, ..sgd.clone() },
        Config { momentum, nesterov, weight_decay: Some(0.3), ..sgd.clone() },
        adam,
        adamw,
        rmsprop,
        sgd,
    ]
}

#[test]
fn every_optimizer_is_kerass_formula_with_the_rate_of_the_step() {
    let (config, rates) = scheduled();
    for config in optimizers(&config) {
        for (dtype, global_clipnorm, tolerance) in [
            (Dtype::Float64, None, 1e-13),
            (Dtype::Float64, Some(2.0), 1e-13),
            (Dtype::Float32, None, 1e-5),
        ] {
            let config = Config { dtype, global_clipnorm, ..config.clone() };
            let mut bench = Bench::new(&config);
            let start = |theta| Scalar { theta, ..Scalar::default() };
            let mut keras: Vec<Scalar> = bench.weights().into_iter().map(start).collect();
            for &learning_rate in &rates {
                let gradient = bench.random(2.0);
                bench.update(&gradient);
                let seen =
                    global_clipnorm.map_or(gradient.clone(), |most| bench.clipped(&gradient, most));
                assert_eq!(seen != gradient, global_clipnorm.is_some());
                let now = Config { learning_rate, ..config.clone() };
                keras.iter_mut().zip(&seen).for_each(|(x, &g)| x.update(&now, g));
            }
            let what = format!("{config:?}");
            let error = worst(&bench.weights(), keras.iter().map(|x| x.theta));
            assert!(error <= tolerance, "{error:e}: {what}");
            let slots = keras[0].slots(&config).len();
            assert_eq!(bench.optimizer.slots.len(), slots, "{what}");
            assert_eq!(bench.optimizer.slot_names().len(), slots, "{what}");
            for (i, slot) in bench.optimizer.slots.iter().enumerate() {
                let expected = keras.iter().map(|x| x.slots(&config)[i]);
                let error = worst(&download(slot).unwrap(), expected);
                assert!(error <= tolerance, "slot {i}, {error:e}: {what}");
            }
        }
    }
}

#[test]
fn adam_takes_the_rate_of_the_step() {
    let (config, rates) = scheduled();
    let mut bench = Bench::new(&config);
    let start = |theta| Scalar { theta, ..Scalar::default() };
    let mut keras: Vec<Scalar> = bench.weights().into_iter().map(start).collect();
    for (step, &learning_rate) in rates.iter().enumerate() {
        let gradient = bench.random(2.0);
        bench.update(&gradient);
        let now = Config { learning_rate, ..config.clone() };
        keras.iter_mut().zip(&gradient).for_each(|(x, &g)| x.keras(&now, g));
        assert!(
            (bench.optimizer.learning_rate(bench.optimizer.step, 0).unwrap() - learning_rate).abs()
                <= 1e-16
        );
        let error = worst(&bench.weights(), keras.iter().map(|x| x.theta));
        assert!(error <= 1e-13, "step {}: {error:e}", step + 1);
    }
}

#[test]
fn adam_goes_on_from_the_step_and_moments_it_is_given() {
    let config = scheduled().0;
    let (mut whole, mut rest) = (Bench::new(&config), Bench::new(&config));
    let gradients: Vec<Vec<f64>> = (0..10).map(|_| whole.random(1.0)).collect();
    gradients[..6].iter().for_each(|g| drop(whole.update(g)));
    rest.parameters.flat().shallow_clone().copy_(whole.parameters.flat());
    rest.optimizer.step = whole.optimizer.step;
    for (rest, whole) in rest.optimizer.slots.iter_mut().zip(&whole.optimizer.slots) {
        rest.copy_(whole);
    }
    for gradient in &gradients[6..] {
        whole.update(gradient);
        rest.update(gradient);
    }
    assert_eq!(whole.weights(), rest.weights());
}

#[test]
fn every_replica_is_clipped_by_its_own_whole_norm() {
    let config = Config { global_clipnorm: Some(1.5), ..echo() };
    let mut bench = Bench::new(&config);
    // One replica's gradient is far above the bound, the other's below.
    let mut gradient = bench.random(1.0);
    let parts = bench.parameters.split(&Tensor::from_slice(&gradient)).unwrap();
    let flat: Vec<Tensor> = parts
        .iter()
        .map(|part| {
            let scales = Tensor::from_slice(&[20.0, 0.1]);
            (part.flatten(1, -1) * scales.unsqueeze(1)).flatten(0, -1)
        })
        .collect();
    gradient = download(&Tensor::cat(&flat, 0)).unwrap();
    let norms = bench.norms(&gradient);
    assert!(norms[0] > 10.0 && norms[1] < 0.5);

    let reported = bench.update(&gradient).unwrap();
    assert!(worst(&reported, norms.clone()) <= 1e-13, "the norm reported is that before clipping");
    // After one step m is the clipped gradient times 1 − β₁.
    let seen: Vec<f64> =
        download(&bench.optimizer.slots[0]).unwrap().iter().map(|m| m / 0.1).collect();
    let clipped = bench.norms(&seen);
    assert!(worst(&clipped, [1.5, norms[1]]) <= 1e-12, "{clipped:?}");
    let factors: Vec<f64> = seen.iter().zip(&gradient).map(|(a, b)| a / b).collect();
    let of_0 = factors.iter().filter(|&&f| (f - 1.5 / norms[0]).abs() < 1e-12).count();
    let of_1 = factors.iter().filter(|&&f| (f - 1.0).abs() < 1e-12).count();
    assert_eq!((of_0, of_1), (8, 8), "one factor a replica: {factors:?}");
}

#[test]
fn a_bound_that_is_never_reached_changes_nothing() {
    let (mut free, mut bound) =
        (Bench::new(&echo()), Bench::new(&Config { global_clipnorm: Some(1e6), ..echo() }));
    for _ in 0..5 {
        let gradient = free.random(1.0);
        assert_eq!(free.update(&gradient), None);
        let norms = free.norms(&gradient);
        assert!(worst(&bound.update(&gradient).unwrap(), norms) <= 1e-13);
    }
    assert_eq!(free.weights(), bound.weights());
}

#[test]
fn a_gradient_of_zeros_moves_nothing() {
    for global_clipnorm in [None, Some(1.0)] {
        let mut bench = Bench::new(&Config { global_clipnorm, ..echo() });
        let before = bench.weights();
        let norm = bench.update(&vec![0.0; before.len()]);
        assert_eq!(norm, global_clipnorm.map(|_| vec![0.0; REPLICAS as usize]));
        assert_eq!(bench.weights(), before);
        assert_eq!(bench.optimizer.step, 1);
    }
}

/// Every engine, clipped or not, against one whose optimiser is made anew with each step's rate.
#[test]
fn every_engine_takes_the_rate_of_the_step() {
    let (config, rates) = scheduled();
    for config in optimizers(&config) {
        let [fused, clipped, libtorch] = [
            (EngineChoice::Fused, None),
            (EngineChoice::Fused, Some(0.05)),
            (EngineChoice::Libtorch, None),
        ]
        .map(|(engine, global_clipnorm)| {
            check_rates(&Config { engine, global_clipnorm, ..config.clone() }, &rates)
        });
        assert!(worst(&fused, libtorch) <= 1e-9, "{config:?}");
        assert!(worst(&fused, clipped) > 1e-9, "{config:?}");
    }
}

/// Checks every step of a training; returns the weights after the last.
fn check_rates(config: &Config, rates: &[f64]) -> Vec<f64> {
    let constant = |learning_rate| Config {
        learning_rate,
        learning_rate_schedule: LearningRateSchedule::Constant,
        final_learning_rate: None,
        warmup_steps: None,
        ..config.clone()
    };
    let mut trainer = Trainer::new(config, host()).unwrap();
    let mut by_hand = Trainer::new(&constant(1.0), host()).unwrap();
    let task = Task::new(config);
    let data = task.epoch(&config.seeds(), Purpose::Training, 0);
    for (step, &rate) in rates.iter().enumerate() {
        let batch = data.batch(step..step + config.batch_size as usize);
        trainer.learn(&batch).unwrap();
        let mut optimizer = Optimizer::new(&constant(rate), 1, &by_hand.parameters).unwrap();
        (optimizer.step, optimizer.slots) = (by_hand.optimizer.step, by_hand.optimizer.slots);
        by_hand.optimizer = optimizer;
        by_hand.learn(&batch).unwrap();
        let [got, expected] = [&trainer, &by_hand].map(|t| download(t.parameters.flat()).unwrap());
        let error = worst(&got, expected);
        assert!(error <= 1e-12, "{}, step {}: {error:e}", config.engine, step + 1);
    }
    download(trainer.parameters.flat()).unwrap()
}

/// A run of the reverse task, its last batch smaller than the others.
fn uneven() -> Config {
    let config = presets::find("reverse").unwrap().config;
    let small =
        Config { vocab: 7, id_max: 6, units: 3, samples: Some(10), batch_size: 4, ..config };
    Config { epochs: 3, log_every: None, dtype: Dtype::Float64, replicas: REPLICAS, ..small }
}

#[derive(Default)]
struct Recorder {
    steps: i64,
    rows: Vec<CurveRow>,
    /// Weights that become NaN once so many steps are done.
    spoil: Option<(i64, Vec<Tensor>)>,
}

impl Observer for Recorder {
    fn step(&mut self) {
        self.steps += 1;
        if let Some((step, weights)) = &self.spoil
            && *step == self.steps
        {
            weights.iter().for_each(|part| drop(part.shallow_clone().fill_(f64::NAN)));
        }
    }
    fn rows(&mut self, rows: Vec<CurveRow>) -> Result<()> {
        self.rows.extend(rows);
        Ok(())
    }
}

/// The means of the last epoch.
fn run(trainer: &mut Trainer, recorder: &mut Recorder) -> Result<Vec<Option<Means>>> {
    match trainer.run(recorder, &AtomicBool::new(false))? {
        Outcome::Finished(means) => Ok(means),
        Outcome::Interrupted => panic!("nothing interrupts"),
    }
}

/// A step by hand: its epoch from 0, samples and each replica's loss, accuracy and gradient norm.
struct Step {
    epoch: i64,
    samples: usize,
    scores: Vec<[f64; 3]>,
}

fn steps_by_hand(config: &Config) -> Vec<Step> {
    let mut trainer = Trainer::new(config, host()).unwrap();
    let (task, seeds) = (Task::new(config), config.seeds());
    let size = config.batch_size as usize;
    let mut steps = Vec::new();
    for epoch in 0..config.epochs {
        let data = task.epoch(&seeds, Purpose::Training, epoch as u64);
        for first in (0..task.samples_per_epoch()).step_by(size) {
            let batch = data.batch(first..task.samples_per_epoch().min(first + size));
            let (scores, norm) = trainer.learn(&batch).unwrap();
            let norm = norm.map_or(vec![0.0; seeds.len()], |norm| download(&norm).unwrap());
            let scores = scores.fetch().unwrap().into_iter().zip(norm);
            let scores = scores.map(|(score, norm)| [score.loss, score.values[0], norm]).collect();
            steps.push(Step { epoch, samples: batch.size, scores });
        }
    }
    assert_eq!((trainer.step, trainer.optimizer.step), (steps.len() as i64, steps.len() as i64));
    steps
}

/// Loss, accuracy and norm of replica `k` over `steps`, weighted by samples.
fn mean<'a>(steps: impl IntoIterator<Item = &'a Step>, k: usize) -> [f64; 3] {
    let (mut sums, mut samples) = ([0.0; 3], 0.0);
    for step in steps {
        (0..3).for_each(|i| sums[i] += step.scores[k][i] * step.samples as f64);
        samples += step.samples as f64;
    }
    sums.map(|sum| sum / samples)
}

fn assert_means(got: [f64; 3], expected: [f64; 3], what: &str) {
    assert!(worst(&got, expected) <= 1e-12, "{what}: {got:?} is not {expected:?}");
}

/// Checks rows and the last epoch's means against the steps that each row has to cover.
fn check_run(config: &Config) {
    let steps = steps_by_hand(config);
    let mut trainer = Trainer::new(config, host()).unwrap();
    let mut recorder = Recorder::default();
    let last_epoch = run(&mut trainer, &mut recorder).unwrap();
    assert_eq!(recorder.steps, steps.len() as i64);

    let ends = |i: usize| steps.get(i).is_none_or(|next| next.epoch != steps[i - 1].epoch);
    let due =
        |i: usize| config.log_every.map_or(ends(i), |n| i as i64 % n == 0) || i == steps.len();
    let mut rows = recorder.rows.iter();
    let mut first = 0;
    for i in (1..=steps.len()).filter(|&i| due(i)) {
        for k in 0..REPLICAS as usize {
            let row = rows.next().unwrap();
            assert_eq!((row.replica, row.seed), (k, config.seeds()[k]));
            assert_eq!((row.step, row.epoch), (i as i64, steps[i - 1].epoch + 1));
            assert_eq!(row.samples, steps[..i].iter().map(|s| s.samples as i64).sum::<i64>());
            assert_eq!(row.grad_norm.is_some(), config.global_clipnorm.is_some());
            let got = [row.loss, row.accuracy.unwrap(), row.grad_norm.unwrap_or(0.0)];
            assert_means(got, mean(&steps[first..i], k), &format!("row of step {i}, replica {k}"));
        }
        first = i;
    }
    assert_eq!(rows.next(), None);

    for (k, means) in last_epoch.iter().flatten().enumerate() {
        let expected = mean(steps.iter().filter(|step| step.epoch == config.epochs - 1), k);
        let got = [means.loss, means.values[0], means.grad_norm.unwrap_or(0.0)];
        assert_means(got, expected, &format!("last epoch, replica {k}"));
    }
}

#[test]
fn a_row_holds_the_means_over_the_samples_since_the_row_before() {
    for global_clipnorm in [None, Some(0.05)] {
        let config = Config { global_clipnorm, ..uneven() };
        check_run(&config);
        // Rows that end within an epoch, and that span two.
        check_run(&Config { log_every: Some(2), ..config.clone() });
        check_run(&Config { log_every: Some(4), ..config.clone() });
        check_run(&Config { log_every: Some(100), ..config });
    }
}

#[test]
fn means_cover_more_steps_than_wait_on_the_device() {
    check_run(&Config { samples: Some(601), batch_size: 2, epochs: 2, units: 1, ..uneven() });
}

/// What a training with `config` came to in which the `spoilt` replicas' weights became NaN after
/// `done` steps.
fn run_with_nan(
    config: &Config,
    spoilt: &[i64],
    done: i64,
) -> (Trainer, Recorder, Result<Vec<Option<Means>>>) {
    let mut trainer = Trainer::new(config, host()).unwrap();
    let parts = trainer.parameters.split(trainer.parameters.flat()).unwrap();
    let parts: Vec<Tensor> =
        spoilt.iter().flat_map(|&k| parts.iter().map(move |part| part.get(k))).collect();
    let mut recorder = Recorder::default();
    if done == 0 {
        parts.into_iter().for_each(|mut part| drop(part.fill_(f64::NAN)));
    } else {
        recorder.spoil = Some((done, parts));
    }
    let outcome = run(&mut trainer, &mut recorder);
    (trainer, recorder, outcome)
}

/// Where scores are noticed: at once, in the second row, and after they have been waiting on the
/// device. An engine that hands every step over before the next, so that weights can be spoilt.
fn divergences() -> Vec<(Config, i64)> {
    let long = Config { samples: Some(700), batch_size: 2, units: 1, ..uneven() };
    let all = [(uneven(), 0), (uneven(), 4), (long.clone(), 259), (long, 290)];
    let libtorch = |config| Config { seed: 30, engine: EngineChoice::Libtorch, ..config };
    all.map(|(config, done)| (libtorch(config), done)).to_vec()
}

#[test]
fn a_run_whose_last_replica_diverges_names_the_step_and_the_replica() {
    for (config, done) in divergences() {
        for replicas in [1, REPLICAS] {
            let config = Config { replicas, ..config.clone() };
            let all: Vec<i64> = (0..replicas).collect();
            let (_, recorder, outcome) = run_with_nan(&config, &all, done);
            let failure = outcome.unwrap_err();
            let text = error::describe(&failure);
            let last = if replicas == 1 { "" } else { ", the last of the replicas" };
            let (step, k) = (done + 1, replicas - 1);
            let seed = 30 + k;
            let expected =
                format!("loss NaN at step {step}, replica {k} (seed {seed}){last}\nhint: ");
            assert!(text.contains(&expected), "{text}");
            assert_eq!(error::status(&failure), error::FAILURE);
            assert!(recorder.rows.iter().all(|row| row.loss.is_finite() && row.step <= done));
        }
    }
}

#[test]
fn a_replica_that_diverges_leaves_the_others_as_they_were() {
    for (config, done) in divergences() {
        let (whole, undisturbed, outcome) = run_with_nan(&config, &[], done);
        outcome.unwrap();
        assert_eq!(whole.diverged(), vec![None; REPLICAS as usize]);
        let (trainer, recorder, outcome) = run_with_nan(&config, &[1], done);
        for (k, means) in outcome.unwrap().iter().enumerate() {
            assert_eq!(trainer.diverged()[k], (k == 1).then_some(done + 1));
            assert_eq!(means.is_none(), k == 1);
        }
        let timeless = |row: &CurveRow| format!("{:?}", CurveRow { seconds: 0.0, ..row.clone() });
        let of = |rows: &[CurveRow], which: fn(&&CurveRow) -> bool| -> Vec<String> {
            rows.iter().filter(which).map(timeless).collect()
        };
        let others: fn(&&CurveRow) -> bool = |row| row.replica != 1;
        assert_eq!(of(&recorder.rows, others), of(&undisturbed.rows, others));
        let spoilt: Vec<_> = recorder.rows.iter().filter(|row| row.replica == 1).collect();
        let (last, before) = spoilt.split_last().unwrap();
        assert!(last.loss.is_nan() && last.accuracy.unwrap().is_nan() && last.val_loss.is_none());
        assert!(last.step > done && before.iter().all(|row| row.step <= done));
        assert!(before.iter().all(|row| row.loss.is_finite()));
    }
}
