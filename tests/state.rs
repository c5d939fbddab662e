//! Recurrent state: who carries it, where it is reset, and that neither gradients nor evaluations
//! pass through it. And free running, which sees nothing but the source.

#[path = "common/training.rs"]
mod training;

use rand::RngExt;
use seqlab::base::rng::{Purpose, Stream};
use seqlab::config::presets;
use seqlab::config::{Config, Dtype, EngineChoice, Family, Feedback};
use seqlab::data::batch::Batch;
use seqlab::data::task::Task;
use seqlab::engine::libtorch::{free_running, most_probable};
use seqlab::model::layers::twin::Input;
use seqlab::model::layers::twin::LstmState;
use seqlab::model::network::{Network, State};
use seqlab::run::curves::CurveRow;
use seqlab::run::summary::Evaluation;
use seqlab::tensor::device::{download, host, upload};
use seqlab::train::trainer::Trainer;
use tch::Tensor;

/// The preset, small; several batches an epoch.
fn small(name: &str) -> Config {
    let config = presets::find(name).unwrap().config;
    let id_max = config.id_max - config.vocab + 7;
    let samples = config.samples.map(|_| 12);
    let batch_size = if config.length.is_some() { config.batch_size.min(7) } else { 4 };
    let sizes = Config { vocab: 7, id_max, units: 4, samples, batch_size, ..config };
    let config = Config { dtype: Dtype::Float64, replicas: 2, epochs: 3, log_every: None, ..sizes };
    // Large steps, so that what a step changes is not lost in rounding.
    let config = Config { learning_rate: 0.05, evaluation_samples: 50, ..config };
    assert_eq!(config.validate(), Ok(()));
    config
}

/// Each on both engines.
fn on_engines<const N: usize>(configs: [Config; N]) -> Vec<Config> {
    let engines = [EngineChoice::Fused, EngineChoice::Libtorch];
    let on = |config: &Config| engines.map(|engine| Config { engine, ..config.clone() });
    configs.iter().flat_map(on).collect()
}

fn stateful() -> Vec<Config> {
    on_engines(["echo", "echo-lag", "partial-echo-2"].map(small))
}

fn stateless() -> Vec<Config> {
    let unstateful = |name| Config { stateful: false, ..small(name) };
    on_engines([small("reverse"), unstateful("echo"), unstateful("partial-echo-2")])
}

fn all() -> Vec<Config> {
    stateful().into_iter().chain(stateless()).collect()
}

fn new(config: &Config) -> Trainer {
    Trainer::new(config, host()).unwrap()
}

/// The batches of an epoch.
fn batches(config: &Config, purpose: Purpose, number: u64) -> Vec<Batch> {
    let (task, seeds) = (Task::new(config), config.seeds());
    let (epoch, samples) = (task.epoch(&seeds, purpose, number), task.samples_per_epoch());
    let size = config.batch_size as usize;
    (0..samples).step_by(size).map(|first| epoch.batch(first..samples.min(first + size))).collect()
}

fn training(config: &Config, number: u64) -> Vec<Batch> {
    batches(config, Purpose::Training, number)
}

fn bits(tensor: &Tensor) -> Vec<u64> {
    download(tensor).unwrap().into_iter().map(f64::to_bits).collect()
}

fn state_bits(state: &State) -> Vec<u64> {
    state.0.iter().flat_map(|layer| [bits(&layer.h), bits(&layer.c)].concat()).collect()
}

/// Everything that a trainer has learnt.
fn learnt(trainer: &Trainer) -> Vec<u64> {
    let optimizer = &trainer.optimizer;
    let all = [trainer.parameters.flat()].into_iter().chain(&optimizer.slots);
    all.flat_map(bits).chain([optimizer.step as u64]).collect()
}

/// A state with other tensors below it, of numbers that `number` makes of the old ones.
fn rebuilt(state: &State, mut number: impl FnMut(f64) -> f64) -> State {
    let mut again = |tensor: &Tensor| {
        let numbers: Vec<f64> = download(tensor).unwrap().into_iter().map(&mut number).collect();
        Tensor::from_slice(&numbers).view_as(tensor)
    };
    State(state.0.iter().map(|s| LstmState { h: again(&s.h), c: again(&s.c) }).collect())
}

fn source(batch: &Batch) -> Tensor {
    upload(batch.source.ids(), &[batch.replicas as i64, batch.size as i64, -1], host()).unwrap()
}

fn predict(model: &Network, source: &Tensor, state: &State) -> (Tensor, State) {
    tch::no_grad(|| free_running(model, None, Input::Ids(source, None), state)).unwrap()
}

fn run(config: &Config) -> (Trainer, Vec<CurveRow>) {
    training::train(config, host())
}

/// All epochs, the state reset before those batches of an epoch that `reset` names.
fn by_hand(config: &Config, reset: impl Fn(usize) -> bool) -> Trainer {
    let mut trainer = new(config);
    for number in 0..config.epochs {
        for (i, batch) in training(config, number as u64).iter().enumerate() {
            if reset(i) {
                trainer.carried = None;
            }
            trainer.learn(batch).unwrap();
        }
    }
    trainer
}

#[test]
fn state_is_carried_through_an_epoch_and_reset_before_the_next() {
    for config in stateful() {
        assert!(training(&config, 0).len() > 1 && config.epochs > 1, "{}", config.preset);
        let trained = learnt(&run(&config).0);
        assert_eq!(trained, learnt(&by_hand(&config, |i| i == 0)), "{}", config.preset);
        assert_ne!(trained, learnt(&by_hand(&config, |_| true)), "{}: unused", config.preset);
        assert_ne!(trained, learnt(&by_hand(&config, |_| false)), "{}: not reset", config.preset);
    }
}

#[test]
fn a_model_that_is_not_stateful_starts_every_batch_from_zero() {
    for config in stateless() {
        let mut trainer = new(&config);
        for batch in training(&config, 0) {
            trainer.learn(&batch).unwrap();
            assert!(trainer.carried.is_none(), "{}", config.preset);
        }
        let trained = learnt(&run(&config).0);
        assert_eq!(trained, learnt(&by_hand(&config, |_| true)), "{}", config.preset);
        assert_eq!(trained, learnt(&by_hand(&config, |_| false)), "{}", config.preset);
    }
}

#[test]
fn no_state_is_a_state_of_zeros() {
    for config in all() {
        let batch = &training(&config, 0)[0];
        let (mut none, mut zeros) = (new(&config), new(&config));
        let zero = zeros.evaluator().network.zero_state(config.batch_size).unwrap();
        assert!(state_bits(&zero).iter().all(|&bits| bits == 0));
        zeros.carried = Some(rebuilt(&zero, |x| x));
        none.learn(batch).unwrap();
        zeros.learn(batch).unwrap();
        assert_eq!(learnt(&none), learnt(&zeros), "{}", config.preset);
    }
}

/// Two windows of n ids, one after the other, are one of 2n.
#[test]
fn row_i_of_a_batch_continues_row_i_of_the_batch_before() {
    let config = small("echo");
    let trainer = new(&config);
    let model = trainer.evaluator().network;
    let mut generator = Stream::new(8, Purpose::Evaluation).at(0);
    let (rows, steps) = (config.replicas * config.batch_size, config.n_in);
    let ids: Vec<i64> = (0..rows * 2 * steps).map(|_| generator.random_range(0..7)).collect();
    let whole = upload(&ids, &[config.replicas, config.batch_size, 2 * steps], host()).unwrap();
    let zero = model.zero_state(config.batch_size).unwrap();
    let forward = |source: &Tensor, state: &State| {
        model.forward(Input::Ids(source, None), None, state).unwrap()
    };
    let (expected, last) = forward(&whole, &zero);
    let (first, carried) = forward(&whole.narrow(2, 0, steps), &zero);
    let (second, end) = forward(&whole.narrow(2, steps, steps), &carried);
    let difference = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
    assert!(difference(&Tensor::cat(&[first, second.shallow_clone()], 1), &expected) <= 1e-14);
    assert!(difference(&end.0[0].h, &last.0[0].h) <= 1e-14);
    assert!(difference(&end.0[0].c, &last.0[0].c) <= 1e-14);
    // From zero, or from another row's state, the second window is something else.
    let rolled =
        carried.0.iter().map(|s| LstmState { h: s.h.roll([1], [1]), c: s.c.roll([1], [1]) });
    for other in [zero, State(rolled.collect())] {
        let (other, _) = forward(&whole.narrow(2, steps, steps), &other);
        assert!(difference(&other, &second) > 1e-3);
    }
}

/// The gradient with the carried state is the gradient with the same numbers as constants.
#[test]
fn no_gradient_crosses_a_batch() {
    for config in stateful() {
        let mut trainer = new(&config);
        let epoch = training(&config, 0);
        trainer.learn(&epoch[0]).unwrap();
        let carried = trainer.carried.as_ref().unwrap();
        for layer in &carried.0 {
            assert!(!layer.h.requires_grad() && !layer.c.requires_grad(), "{}", config.preset);
        }
        let constants = rebuilt(carried, |x| x);
        let mut other = new(&config);
        other.parameters.flat().shallow_clone().copy_(trainer.parameters.flat());
        other.carried = Some(constants);
        let [(here, _), (there, _)] =
            [&mut trainer, &mut other].map(|t| t.learn(&epoch[1]).unwrap());
        let gradient = |trainer: &Trainer| bits(trainer.parameters.gradient());
        assert_eq!(gradient(&trainer), gradient(&other), "{}", config.preset);
        assert_eq!(here.fetch().unwrap(), there.fetch().unwrap(), "{}", config.preset);
    }
}

#[test]
fn called_twice_and_reset_a_model_repeats_its_numbers() {
    for config in stateful() {
        let trainer = new(&config);
        let model = trainer.evaluator().network;
        let source = source(&training(&config, 0)[0]);
        let round = || {
            let zero = model.zero_state(config.batch_size).unwrap();
            let (first, state) = predict(model, &source, &zero);
            let (second, state) = predict(model, &source, &state);
            (bits(&first), bits(&second), state_bits(&state))
        };
        let (first, second, state) = round();
        assert_ne!(first, second, "{}: the state does nothing", config.preset);
        assert_eq!((first, second, state), round(), "{}", config.preset);
    }
}

#[test]
fn free_running_depends_on_the_source_alone() {
    for feedback in [Feedback::Softmax, Feedback::Argmax] {
        let config = Config { feedback: Some(feedback), ..small("reverse") };
        let trainer = run(&config).0;
        let model = trainer.evaluator().network;
        let batch = &training(&config, 9)[0];
        let predict = |source: &Tensor, state: &State| {
            tch::no_grad(|| free_running(model, Some(feedback), Input::Ids(source, None), state))
                .unwrap()
        };
        let (source, none) = (source(batch), State(Vec::new()));
        let expected = bits(&predict(&source, &none).0);
        // Neither what was computed before nor a state plays a part.
        let fed = upload(batch.decoder_input.as_ref().unwrap().ids(), &[2, 4, -1], host()).unwrap();
        let _ =
            model.forward(Input::Ids(&source, None), Some(Input::Ids(&fed, None)), &none).unwrap();
        let other = LstmState { h: source.ones_like(), c: source.ones_like() };
        assert_eq!(bits(&predict(&source, &State(vec![other])).0), expected);
        // Every id of the source does.
        for t in 0..config.n_in {
            let changed = source.copy();
            let mut place = changed.select(2, t);
            place.copy_(&(place.remainder(6) + 1));
            assert_ne!(bits(&predict(&changed, &none).0), expected, "id {t}");
        }
    }
}

#[test]
fn a_forced_decoder_sees_its_inputs_up_to_the_step_it_answers() {
    let config = small("reverse");
    let trainer = new(&config);
    let model = trainer.evaluator().network;
    let batch = &training(&config, 0)[0];
    let fed = upload(batch.decoder_input.as_ref().unwrap().ids(), &[2, 4, -1], host()).unwrap();
    let none = State(Vec::new());
    let logits = |fed: &Tensor| {
        let source = source(batch);
        let fed = Some(Input::Ids(fed, None));
        model.forward(Input::Ids(&source, None), fed, &none).unwrap().0
    };
    let before = logits(&fed);
    for changed in 0..config.n_out {
        let other = fed.copy();
        let mut place = other.select(2, changed);
        place.copy_(&(place.remainder(6) + 1));
        let after = logits(&other);
        for t in 0..config.n_out {
            let same = bits(&before.select(1, t)) == bits(&after.select(1, t));
            assert_eq!(same, t < changed, "input {changed}, answer {t}");
        }
    }
}

/// Predictions of one replica: sources with what was said, sorted.
type Said = Vec<(Vec<i64>, Vec<i64>)>;

/// What the evaluator reports, and what it hands out.
fn evaluate(trainer: &Trainer, samples: usize) -> (Vec<Evaluation>, Vec<Said>) {
    let mut said = vec![Said::new(); 2];
    let evaluations = trainer.evaluator().run(Purpose::Evaluation, samples, |p| {
        said[p.replica].push((p.source.ids().to_vec(), p.predicted.ids().to_vec()));
        Ok(())
    });
    said.iter_mut().for_each(|of| of.sort());
    (evaluations.unwrap(), said)
}

/// The same without the evaluator, a batch and a number at a time.
fn evaluate_by_hand(
    config: &Config,
    trainer: &Trainer,
    samples: usize,
) -> (Vec<Evaluation>, Vec<Said>) {
    let model = trainer.evaluator().network;
    let (epochs, size) = Task::new(config).fresh_set(Purpose::Evaluation, samples);
    let config = Config { samples: config.samples.map(|_| size as i64), ..config.clone() };
    let mut said = vec![Said::new(); 2];
    let (mut tokens, mut right, mut whole, mut loss) = ([0; 2], [0; 2], [0; 2], [0.0; 2]);
    for number in 0..epochs {
        let mut carried = None;
        for batch in batches(&config, Purpose::Evaluation, number) {
            let zero = model.zero_state(batch.size as i64).unwrap();
            let state = carried.take().filter(|_| config.stateful).unwrap_or(zero);
            let (probabilities, next) = predict(model, &source(&batch), &state);
            carried = Some(next);
            let ids = most_probable(&probabilities).unwrap();
            let (n_in, n_out) = (config.n_in as usize, config.n_out as usize);
            for row in 0..2 * batch.size {
                let (k, b) = (row / batch.size, row % batch.size);
                let expected = &batch.target.ids()[row * n_out..(row + 1) * n_out];
                let got = &ids[row * n_out..(row + 1) * n_out];
                let source = &batch.source.ids()[row * n_in..(row + 1) * n_in];
                said[k].push((source.to_vec(), got.to_vec()));
                tokens[k] += n_out;
                right[k] += expected.iter().zip(got).filter(|(a, b)| a == b).count();
                whole[k] += usize::from(expected == got);
                for (t, &id) in expected.iter().enumerate() {
                    let p = probabilities.double_value(&[k as i64, t as i64, b as i64, id]);
                    loss[k] -= p.max(1e-7).ln();
                }
            }
        }
    }
    said.iter_mut().for_each(|of| of.sort());
    let evaluation = |k: usize| Evaluation {
        samples: said[k].len(),
        token_accuracy: Some(right[k] as f64 / tokens[k] as f64),
        sequence_accuracy: Some(whole[k] as f64 / said[k].len() as f64),
        loss: Some(loss[k] / tokens[k] as f64),
        ..Evaluation::default()
    };
    ((0..2).map(evaluation).collect(), said)
}

#[test]
fn an_evaluation_carries_state_as_training_does_and_counts_what_is_right() {
    for config in all() {
        let trainer = run(&Config { epochs: 8, ..config.clone() }).0;
        let (got, said) = evaluate(&trainer, 50);
        let (expected, said_by_hand) = evaluate_by_hand(&config, &trainer, 50);
        assert_eq!(said, said_by_hand, "{}", config.preset);
        for (got, expected) in got.iter().zip(&expected) {
            assert!(
                (got.loss.unwrap() - expected.loss.unwrap()).abs() < 1e-12,
                "{}",
                config.preset
            );
            let counts = |e: &Evaluation| Evaluation { loss: None, ..e.clone() };
            assert_eq!(counts(got), counts(expected), "{}", config.preset);
            assert!(
                (0.05..1.0).contains(&got.token_accuracy.unwrap()),
                "{}: {got:?}",
                config.preset
            );
        }
    }
}

/// Samples are cut into several batches, and sequences into several groups that are read side by
/// side: the more there is of a sample, the smaller they are.
#[test]
fn an_evaluation_of_more_than_fits_at_once_is_no_other() {
    let wide = Config { vocab: 20_000, ..small("echo") };
    for (config, samples) in [(small("reverse"), 5000), (wide, 80)] {
        let trainer = new(&config);
        let (got, said) = evaluate(&trainer, samples);
        let (expected, said_by_hand) = evaluate_by_hand(&config, &trainer, samples);
        assert_eq!(said, said_by_hand, "{}", config.preset);
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!((got.samples, got.token_accuracy), (samples, expected.token_accuracy));
            assert!(
                (got.loss.unwrap() - expected.loss.unwrap()).abs() < 1e-12,
                "{}",
                config.preset
            );
        }
    }
}

#[test]
fn evaluating_between_two_batches_changes_nothing() {
    for config in all() {
        let (mut plain, mut evaluated) = (new(&config), new(&config));
        for number in 0..2 {
            for batch in training(&config, number) {
                plain.learn(&batch).unwrap();
                evaluated.learn(&batch).unwrap();
                let before = evaluated.carried.as_ref().map(state_bits);
                evaluate(&evaluated, 30);
                assert_eq!(evaluated.carried.as_ref().map(state_bits), before, "{}", config.preset);
            }
        }
        assert_eq!(learnt(&plain), learnt(&evaluated), "{}", config.preset);
        assert_eq!((plain.step, plain.samples), (evaluated.step, evaluated.samples));
    }
}

#[test]
fn validating_changes_no_other_column() {
    for config in all() {
        // A row a step: validation falls between batches whose state is carried.
        let config = Config { log_every: Some(1), validation_samples: 30, ..config };
        let (plain, rows) = run(&config);
        let (validated, with) = run(&Config { validate_every: Some(2), ..config.clone() });
        assert_eq!(learnt(&plain), learnt(&validated), "{}", config.preset);
        let last = |trainer: &Trainer| trainer.carried.as_ref().map(state_bits);
        assert_eq!(last(&plain), last(&validated), "{}", config.preset);
        assert_eq!(rows.len(), with.len());
        for (row, with) in rows.into_iter().zip(with) {
            assert_eq!(row.val_loss, None);
            assert_eq!(with.val_loss.is_some(), with.step % 2 == 0, "{}", config.preset);
            assert_eq!(with.val_accuracy.is_some(), with.val_sequence_accuracy.is_some());
            let (val_loss, val_accuracy, val_sequence_accuracy) = (None, None, None);
            let without = CurveRow { val_loss, val_accuracy, val_sequence_accuracy, ..with };
            assert_eq!(row, CurveRow { seconds: row.seconds, ..without }, "{}", config.preset);
        }
    }
}

#[test]
fn families_without_state_hand_none_on() {
    let config = small("reverse");
    assert_eq!(config.family, Family::TeacherForced);
    assert!(new(&config).evaluator().network.zero_state(3).unwrap().0.is_empty());
}
