//! Replicas: replica k of seed s is the model that seed s + k trains alone, and none knows of
//! another.

#[path = "common/training.rs"]
mod training;

use rand::RngExt;
use seqlab::base::rng::{Purpose, Stream};
use seqlab::config::presets;
use seqlab::config::{Config, Dtype, TaskKind};
use seqlab::data::task::Task;
use seqlab::run::curves::CurveRow;
use seqlab::run::summary::Evaluation;
use seqlab::tensor::device::{download, host};
use seqlab::train::trainer::Trainer;
use tch::Tensor;

const SEED: i64 = 11;
const REPLICAS: i64 = 3;

/// Every preset, small, without and with clipping, its steps large enough to learn something.
fn experiments(dtype: Dtype) -> Vec<Config> {
    let small = |config: Config| {
        let vocab = if config.task == TaskKind::Addition { 12 } else { 9 };
        let id_max = config.id_max - config.vocab + vocab;
        let samples = config.samples.map(|_| 50);
        let log_every = config.log_every.map(|_| 2);
        let units = 5;
        let warmup_steps = config.warmup_steps.map(|_| 2);
        let sizes = Config { vocab, id_max, samples, units, log_every, warmup_steps, ..config };
        Config { seed: SEED, replicas: REPLICAS, epochs: 5, learning_rate: 0.02, dtype, ..sizes }
    };
    let both = |config: Config| {
        [None, Some(0.1)].map(|global_clipnorm| Config { global_clipnorm, ..config.clone() })
    };
    let all: Vec<Config> = presets::all().into_iter().flat_map(|p| both(small(p.config))).collect();
    assert!(all.iter().all(|config| config.validate().is_ok()));
    all
}

/// What replica `k` is when it is alone.
fn alone(config: &Config, k: i64) -> Config {
    Config { seed: config.seed + k, replicas: 1, ..config.clone() }
}

fn name(config: &Config, k: i64) -> String {
    let clipped = if config.global_clipnorm.is_some() { ", clipped" } else { "" };
    format!("{}{clipped}, replica {k}", config.preset)
}

fn train(config: &Config) -> (Trainer, Vec<CurveRow>) {
    training::train(config, host())
}

/// Replica `k`'s weights, parameter by parameter.
fn weights(trainer: &Trainer, k: i64) -> Vec<f64> {
    let parts = trainer.parameters.split(trainer.parameters.flat()).unwrap();
    parts.iter().flat_map(|part| download(&part.get(k)).unwrap()).collect()
}

fn bits(numbers: &[f64]) -> Vec<u64> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// Predictions of one replica: sources with what was said, sorted.
type Said = Vec<(Vec<i64>, Vec<i64>)>;

fn evaluate(trainer: &Trainer, config: &Config) -> (Vec<Evaluation>, Vec<Said>) {
    let mut predictions = vec![Said::new(); config.replicas as usize];
    let each = |p: seqlab::train::evaluate::Prediction<'_>| {
        predictions[p.replica].push((p.source.ids().to_vec(), p.predicted.ids().to_vec()));
        Ok(())
    };
    let evaluations = trainer.evaluator().run(Purpose::Evaluation, 120, each).unwrap();
    predictions.iter_mut().for_each(|of| of.sort());
    (evaluations, predictions)
}

/// ‖a − b‖ / ‖b‖.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

#[test]
fn initial_weights_are_bit_for_bit_those_of_the_own_seed() {
    for dtype in [Dtype::Float32, Dtype::Float64] {
        for config in experiments(dtype) {
            let together = Trainer::new(&config, host()).unwrap();
            for k in 0..REPLICAS {
                let solo = Trainer::new(&alone(&config, k), host()).unwrap();
                let (got, expected) = (weights(&together, k), weights(&solo, 0));
                assert_eq!(bits(&got), bits(&expected), "{}", name(&config, k));
            }
            assert_ne!(weights(&together, 0), weights(&together, 1));
        }
    }
}

fn check_curves(dtype: Dtype, bound: f64) {
    for config in experiments(dtype) {
        let (together, rows) = train(&config);
        let untrained = Trainer::new(&config, host()).unwrap();
        for k in 0..REPLICAS {
            let (solo, expected) = train(&alone(&config, k));
            let what = name(&config, k);
            let error = distance(&weights(&together, k), &weights(&solo, 0));
            assert!(error <= bound, "{what}: weights differ by {error:e}");
            assert!(distance(&weights(&together, k), &weights(&untrained, k)) > 1e-2, "{what}");

            let got: Vec<_> = rows.iter().filter(|row| row.replica as i64 == k).collect();
            assert_eq!(got.len(), expected.len(), "{what}");
            for (got, expected) in got.into_iter().zip(&expected) {
                let place = |row: &CurveRow| (row.seed, row.epoch, row.step, row.samples);
                assert_eq!(place(got), place(expected), "{what}");
                let close = |a: f64, b: f64| (a - b).abs() <= bound * b.abs().max(1e-3);
                let what = format!("{what}: {got:?}, alone {expected:?}");
                assert!(close(got.loss, expected.loss), "{what}");
                assert!(close(got.accuracy.unwrap(), expected.accuracy.unwrap()), "{what}");
                assert_eq!(got.grad_norm.is_some(), config.global_clipnorm.is_some(), "{what}");
                let norms = got.grad_norm.zip(expected.grad_norm);
                assert!(norms.is_none_or(|(a, b)| close(a, b)), "{what}");
            }
        }
    }
}

#[test]
fn a_replica_trains_as_it_does_alone_in_float64() {
    check_curves(Dtype::Float64, 1e-10);
}

#[test]
fn a_replica_trains_as_it_does_alone_in_float32() {
    check_curves(Dtype::Float32, 1e-4);
}

#[test]
fn a_replica_is_evaluated_as_it_is_alone() {
    for config in experiments(Dtype::Float64) {
        let (together, _) = train(&config);
        let (evaluations, predictions) = evaluate(&together, &config);
        for k in 0..REPLICAS {
            let solo = alone(&config, k);
            let (expected, predicted) = evaluate(&train(&solo).0, &solo);
            let (k, what) = (k as usize, name(&config, k));
            assert_eq!(predictions[k], predicted[0], "{what}");
            let (got, expected) = (&evaluations[k], &expected[0]);
            assert!((got.loss.unwrap() - expected.loss.unwrap()).abs() <= 1e-10, "{what}");
            assert_eq!(
                Evaluation { loss: None, ..got.clone() },
                Evaluation { loss: None, ..expected.clone() }
            );
            assert!(got.samples >= 120, "{what}");
        }
        assert_ne!(predictions[0], predictions[1], "{}", config.preset);
    }
}

/// What replica 1 does in `steps` steps after `change` was made to replica 0's weights: scores,
/// gradient norms, weights and predictions.
fn neighbour_of(config: &Config, change: impl Fn(&mut Tensor)) -> (Vec<u64>, Vec<f64>) {
    let mut trainer = Trainer::new(config, host()).unwrap();
    for part in trainer.parameters.split(trainer.parameters.flat()).unwrap() {
        change(&mut part.get(0));
    }
    let task = Task::new(config);
    let seeds = config.seeds();
    let epoch = task.epoch(&seeds, Purpose::Training, 0);
    let mut numbers = Vec::new();
    for step in 0..6 {
        let batch = config.batch_size as usize;
        let first = step * batch % task.samples_per_epoch();
        let (scores, norm) = trainer.learn(&epoch.batch(first..first + batch)).unwrap();
        let score = scores.fetch().unwrap()[1];
        numbers.extend([score.loss, score.values[0]]);
        numbers.extend(norm.map(|norm| norm.double_value(&[1])));
    }
    numbers.extend(weights(&trainer, 1));
    let (evaluations, predictions) = evaluate(&trainer, config);
    numbers.extend(predictions[1].iter().flat_map(|(_, ids)| ids).map(|&id| id as f64));
    numbers.push(evaluations[1].loss.unwrap());
    (bits(&numbers), weights(&trainer, 0))
}

#[test]
fn no_replica_notices_what_happens_to_another() {
    for config in experiments(Dtype::Float32) {
        let config = Config { samples: config.samples.map(|_| 192), ..config };
        let (untouched, of_0) = neighbour_of(&config, |_| ());
        let mut generator = Stream::new(0, Purpose::Evaluation).at(0);
        let noise: Vec<f64> = (0..4096).map(|_| generator.random_range(-3.0..3.0)).collect();
        let (disturbed, changed) = neighbour_of(&config, |part| {
            let noise = Tensor::from_slice(&noise[..part.numel()]).view_as(part);
            let _ = part.g_add_(&noise.to_kind(part.kind()));
        });
        assert_ne!(of_0, changed);
        assert_eq!(untouched, disturbed, "{}: other weights", name(&config, 1));
        let (beside_nan, of_0) = neighbour_of(&config, |part| {
            let _ = part.fill_(f64::NAN);
        });
        assert!(of_0.iter().all(|x| x.is_nan()));
        assert_eq!(untouched, beside_nan, "{}: weights that are NaN", name(&config, 1));
    }
}
