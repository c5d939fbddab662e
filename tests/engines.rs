//! The fused engine computes what libtorch does, and the same to the last bit however its work is
//! shared out.

#[path = "common/models.rs"]
mod models;
#[path = "common/training.rs"]
mod training;

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use models::{layers_of, with_more_layers};
use proptest::prelude::*;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use seqlab::base::rng::{Purpose, Stream};
use seqlab::config::presets;
use seqlab::config::{
    Attention, CheckpointEvery, Config, DecoderStart, Dtype, EngineChoice, Family, Feedback,
    GateActivation, LearningRateSchedule, LossKind,
};
use seqlab::data::batch::{Batch, Lengths, Sequences};
use seqlab::data::loader::{Batches, Prefetch};
use seqlab::data::task::Task;
use seqlab::engine::{Answers, inference};
use seqlab::model::Model;
use seqlab::model::layers::twin::LstmState;
use seqlab::model::network::State;
use seqlab::run::curves::CurveRow;
use seqlab::tensor::device::{download, host};
use seqlab::tensor::parameters::ParameterSpec;
use seqlab::train::evaluate::until;
use seqlab::train::trainer::{Observer, Trainer};
use tch::Tensor;

/// Some batches of random ids for models with random weights.
#[derive(Debug, Clone)]
struct Case {
    config: Config,
    /// B of each batch.
    sizes: Vec<usize>,
    seed: u64,
    /// In how many parts the fused engine computes the layers; with 1, threads share rows.
    parts: usize,
}

/// A preset whose model is of the kind that the number names.
fn base(kind: usize, [n_in, n_out]: [i64; 2]) -> Config {
    let (preset, n_in, n_out) = match kind {
        0 => ("echo", n_in, n_in),
        1 => ("echo-lag", n_in, 1),
        2 => ("partial-echo-2", n_in, n_out),
        3 => ("reverse", n_in, 1),
        _ => ("reverse", n_in, n_out),
    };
    let config = presets::find(preset).unwrap().config;
    // With Keras's epsilon Adam turns a gradient of 1e-8 into a whole step, its rounding included.
    let config = Config { n_in, n_out, epsilon: 1e-2, learning_rate: 0.05, ..config };
    // The other families with a task that has lengths.
    match kind {
        3 => {
            Config { family: Family::Lstm, return_sequences: Some(false), feedback: None, ..config }
        }
        4 => Config { family: Family::RepeatVector, feedback: None, ..config },
        _ => config,
    }
}

/// `config` with the loss that the number names; numbers, which no embedding reads, for some.
fn with_loss(config: Config, loss: usize) -> Config {
    let of_numbers = |loss| Config {
        loss,
        features_in: Some(3),
        features_out: Some(2),
        embedding: 0,
        ..config.clone()
    };
    match loss {
        0 => config,
        1 => Config { label_smoothing: Some(0.2), ..config },
        2 => of_numbers(LossKind::Mse),
        _ => of_numbers(LossKind::Mae),
    }
}

fn cases(dtype: Dtype) -> impl Strategy<Value = Case> {
    let lengths = [1..5i64, 1..5];
    let sizes = [1..41i64, 2..41];
    let gates = prop_oneof![Just(GateActivation::Sigmoid), Just(GateActivation::HardSigmoid)];
    let side_by_side = [1..5i64, 1..4];
    let batches = (1..41usize, 1..4usize, any::<prop::sample::Index>(), 1..5usize);
    let models = (0..6usize, any::<prop::sample::Index>(), 0..4usize);
    (models, lengths, sizes, gates, any::<bool>(), side_by_side, batches, any::<u64>()).prop_map(
        move |(model, lengths, sizes, gate_activation, stateful, side_by_side, batches, seed)| {
            let base = base(model.0, lengths);
            let base =
                Config { stateful: stateful && base.family != Family::TeacherForced, ..base };
            let mut bases = with_more_layers(&base);
            let base = with_loss(bases.swap_remove(model.1.index(bases.len())), model.2);
            let [replicas, threads] = side_by_side;
            let config = Config {
                units: sizes[0],
                vocab: sizes[1],
                batch_size: batches.0 as i64,
                gate_activation,
                replicas,
                threads: Some(threads),
                dtype,
                ..base
            };
            let mut sizes = vec![batches.0; batches.1];
            sizes.push(1 + batches.2.index(batches.0));
            Case { config, sizes, seed, parts: batches.3 }
        },
    )
}

fn uniform(generator: &mut ChaCha8Rng, count: i64, limit: f64) -> Vec<f64> {
    (0..count).map(|_| generator.random_range(-limit..limit)).collect()
}

/// Weights of one parameter. In float32 no hard sigmoid comes near a kink, where rounding alone
/// decides about the slope: a bias puts the gate well inside or beyond, and nothing else weighs.
fn weights(generator: &mut ChaCha8Rng, config: &Config, spec: &ParameterSpec) -> Vec<f64> {
    let hard = config.gate_activation == GateActivation::HardSigmoid;
    // Ids choose one row; vectors are multiplied with all.
    let first = ["lstm.", "encoder."].iter().any(|layer| spec.name.starts_with(layer))
        || spec.name.starts_with("decoder.") && config.family == Family::TeacherForced;
    let ids = config.embedding == 0 && config.features().is_none();
    let reads_ids = ids && first && spec.name.ends_with(".kernel");
    let one_row = reads_ids || ["embeddings", "bias"].iter().any(|end| spec.name.ends_with(end));
    let rows = if one_row { 1.0 } else { spec.shape[0] as f64 };
    if hard && config.dtype == Dtype::Float32 && !spec.name.starts_with("dense") {
        let mut values = uniform(generator, spec.count(), 0.4 / rows);
        if spec.name.ends_with("bias") {
            let mut shift = || [-5.0, 0.0, 0.0, 5.0][generator.random_range(0..4)];
            values.iter_mut().for_each(|x| *x += shift());
        }
        return values;
    }
    uniform(generator, spec.count(), 1.5 / rows.sqrt())
}

impl Case {
    fn generator(&self, purpose: Purpose, position: usize) -> ChaCha8Rng {
        Stream::new(self.seed, purpose).at(position as u64)
    }

    /// Models with the case's weights.
    fn trainer(&self, engine: EngineChoice) -> Trainer {
        let config = Config { engine, ..self.config.clone() };
        let mut trainer = Trainer::new(&config, host()).unwrap();
        trainer.divide(self.parts);
        let parameters = &trainer.parameters;
        for (i, (place, spec)) in
            parameters.split(parameters.flat()).unwrap().iter().zip(parameters.specs()).enumerate()
        {
            let mut generator = self.generator(Purpose::Weights, i);
            for k in 0..config.replicas {
                let values = weights(&mut generator, &config, spec);
                place.get(k).copy_(&Tensor::from_slice(&values).view(spec.shape.as_slice()));
            }
        }
        trainer
    }

    /// Batch `number`.
    fn batch(&self, number: usize) -> Batch {
        let Config { replicas, n_in, n_out, vocab, family, .. } = self.config;
        let size = self.sizes[number];
        let mut generator = self.generator(Purpose::Training, number);
        let features = self.config.features();
        let mut all = |steps: i64, features: Option<i64>| {
            let count = replicas * size as i64 * steps;
            match features {
                None => {
                    (0..count).map(|_| generator.random_range(0..vocab)).collect::<Vec<_>>().into()
                }
                Some(n) => {
                    let values = uniform(&mut generator, count * n, 1.0);
                    Sequences::Numbers { values, features: n as usize }
                }
            }
        };
        let [of_source, of_target] = [features.map(|of| of.source), features.map(|of| of.target)];
        let (source, target) = (all(n_in, of_source), all(n_out, of_target));
        let decoder_input = (family == Family::TeacherForced).then(|| all(n_out, of_target));
        let mut lengths = |steps: i64| -> Vec<i64> {
            let count = replicas * size as i64;
            (0..count).map(|_| generator.random_range(1..=steps)).collect()
        };
        let lengths =
            self.config.n_in_min.map(|_| Lengths { source: lengths(n_in), target: lengths(n_out) });
        Batch { replicas: replicas as usize, size, source, decoder_input, target, lengths }
    }

    /// A state for batch `number`.
    fn state(&self, trainer: &Trainer, number: usize) -> State {
        let mut generator = self.generator(Purpose::Evaluation, number);
        let zero = trainer.evaluator().network.zero_state(self.sizes[number] as i64).unwrap();
        let mut like = |t: &Tensor| {
            let values = uniform(&mut generator, t.numel() as i64, 0.9);
            Tensor::from_slice(&values).view(t.size().as_slice()).to_kind(t.kind())
        };
        let random = |s: &LstmState| LstmState { h: like(&s.h), c: like(&s.c) };
        State(zero.0.iter().map(random).collect())
    }

    /// Everything that learning the batches leaves behind, batch by batch. The first batch and one of
    /// another size start from a random state, the others from what was carried.
    fn learn(&self, engine: EngineChoice) -> Vec<Left> {
        let mut trainer = self.trainer(engine);
        let mut all = Vec::new();
        for (number, &size) in self.sizes.iter().enumerate() {
            // What goes on with a batch before it has no lengths.
            let goes_on = self.config.n_in_min.is_none();
            if goes_on && (number == 0 || size != self.sizes[number - 1]) {
                trainer.carried = Some(self.state(&trainer, number));
            }
            let scores = trainer.learn(&self.batch(number)).unwrap().0.fetch().unwrap();
            let mut left = |what: &str, values: Vec<f64>, whole: f64| {
                let scale = values.iter().fold(whole / 10.0, |most, x| most.max(x.abs()));
                all.push(Left { what: format!("batch {number}, {what}"), values, scale });
            };
            left("loss", scores.iter().map(|s| s.loss).collect(), 0.0);
            left("accuracy", scores.iter().map(|s| s.values[0]).collect(), 0.0);
            let parameters = &trainer.parameters;
            let buffers = [("gradient", parameters.gradient()), ("weights", parameters.flat())];
            for (what, buffer) in buffers {
                let whole = buffer.abs().max().double_value(&[]);
                let parts = parameters.split(buffer).unwrap();
                for (part, spec) in parts.iter().zip(parameters.specs()) {
                    left(&format!("{what} of {}", spec.name), download(part).unwrap(), whole);
                }
            }
            for (layer, state) in trainer.carried.iter().flat_map(|s| &s.0).enumerate() {
                for (what, part) in [("h", &state.h), ("c", &state.c)] {
                    left(
                        &format!("{what} of stateful layer {layer}"),
                        download(part).unwrap(),
                        0.0,
                    );
                }
            }
        }
        all
    }
}

impl Case {
    /// The same with a decoder that begins, and is fed, as the number says.
    fn fed(&self, number: u64) -> Case {
        let ids = self.config.features().is_none();
        let feedback = match (ids, number % 2) {
            (false, _) => Feedback::Values,
            (true, 0) => Feedback::Softmax,
            (true, _) => Feedback::Argmax,
        };
        let by_id = ids && (number / 2).is_multiple_of(2);
        let config = Config {
            feedback: (self.config.family == Family::TeacherForced).then_some(feedback),
            decoder_start: if by_id { DecoderStart::Id } else { DecoderStart::Zeros },
            ..self.config.clone()
        };
        Case { config, ..self.clone() }
    }

    /// What the models answer to the batches of `other`. With a state that is carried, a batch goes on
    /// where one of its size before it ended.
    fn answers_to(&self, other: &Case, engine: EngineChoice, end: Option<i64>) -> Vec<Answers> {
        let trainer = self.trainer(engine);
        let (config, network) = (trainer.config(), trainer.evaluator().network);
        let mut model = inference(config, &trainer.parameters, network, host(), end).unwrap();
        let sizes = &other.sizes;
        let answer = |number: usize| {
            let goes_on = config.stateful && number > 0 && sizes[number] == sizes[number - 1];
            let batch = Batch { decoder_input: None, ..other.batch(number) };
            model.answer(&batch, goes_on).unwrap()
        };
        (0..sizes.len()).map(answer).collect()
    }

    /// The same to its own batches.
    fn answers(&self, engine: EngineChoice, end: Option<i64>) -> Vec<Answers> {
        self.answers_to(self, engine, end)
    }
}

/// Fails if losses or numbers are further from the other engine's than `bound`, or ids are not `the_same`.
fn answers_agree(
    fused: &[Answers],
    libtorch: &[Answers],
    bound: f64,
    the_same: bool,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(fused.len(), libtorch.len());
    for (fused, libtorch) in fused.iter().zip(libtorch) {
        prop_assert!(!the_same || fused.answers.ids() == libtorch.answers.ids());
        prop_assert_eq!(fused.answers.ids().len(), libtorch.answers.ids().len());
        let pairs = [
            (&fused.losses[..], &libtorch.losses[..]),
            (fused.answers.numbers(), libtorch.answers.numbers()),
        ];
        for (got, expected) in pairs {
            prop_assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().zip(expected) {
                let error = (got - expected).abs() / (1.0 + expected.abs());
                prop_assert!(error <= bound, "{got}, not {expected}");
            }
        }
    }
    Ok(())
}

/// Some numbers, and what they are.
struct Left {
    what: String,
    values: Vec<f64>,
    /// The largest of them, or a tenth of the largest of all parameters': terms of a small
    /// gradient were larger.
    scale: f64,
}

impl Left {
    /// Fails if a number is further from the other engine's than `bound` times their scale.
    fn check(&self, other: &Left, bound: f64) -> Result<(), TestCaseError> {
        prop_assert_eq!(&self.what, &other.what);
        prop_assert_eq!(self.values.len(), other.values.len(), "{}", self.what);
        for (i, (got, expected)) in self.values.iter().zip(&other.values).enumerate() {
            let error = (got - expected).abs();
            // Written so that NaN fails too.
            prop_assert!(
                error <= bound * other.scale,
                "{}, entry {i}: {got}, not {expected}, at a scale of {:e}",
                self.what,
                other.scale
            );
        }
        Ok(())
    }
}

fn engines_agree(case: &Case, bound: f64) -> Result<(), TestCaseError> {
    let fused = case.learn(EngineChoice::Fused);
    let libtorch = case.learn(EngineChoice::Libtorch);
    prop_assert_eq!(fused.len(), libtorch.len());
    for (fused, libtorch) in fused.iter().zip(&libtorch) {
        // Before the first update nothing but the order of sums differs.
        let first = fused.what.starts_with("batch 0, ") && !fused.what.contains("weights");
        let exact = first && case.config.dtype == Dtype::Float64;
        let bound = if exact { 1e-12 } else { bound };
        // In float32 rounding may decide which of two logits is the larger.
        if case.config.dtype == Dtype::Float64 || !fused.what.ends_with("accuracy") {
            fused.check(libtorch, bound)?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn scores_gradients_weights_and_states_are_libtorchs_in_float64(case in cases(Dtype::Float64)) {
        engines_agree(&case, 1e-10)?;
    }

    #[test]
    fn scores_gradients_weights_and_states_are_libtorchs_in_float32(case in cases(Dtype::Float32)) {
        // Rounding grows from layer to layer.
        engines_agree(&case, if case.config.layers > 1 { 5e-4 } else { 5e-5 })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn answers_and_their_losses_are_libtorchs_in_float64(case in cases(Dtype::Float64)) {
        for number in 0..4 {
            let case = case.fed(number);
            let [fused, libtorch] =
                [EngineChoice::Fused, EngineChoice::Libtorch].map(|engine| case.answers(engine, None));
            answers_agree(&fused, &libtorch, 1e-12, true)?;
        }
    }

    #[test]
    fn losses_of_answers_are_libtorchs_in_float32(case in cases(Dtype::Float32)) {
        // Rounding may decide which id is fed back, but not which probabilities.
        let case = case.fed(0);
        let [fused, libtorch] =
            [EngineChoice::Fused, EngineChoice::Libtorch].map(|engine| case.answers(engine, None));
        answers_agree(&fused, &libtorch, 1e-3, false)?;
    }
}

/// Models with lengths of their own.
fn with_lengths() -> impl Iterator<Item = Case> {
    let all = (3..6).flat_map(|kind| with_more_layers(&base(kind, [4, 3])));
    let all = all.filter(|config| config.n_in_min.is_some()).enumerate();
    all.map(|(number, base)| {
        let sizes = Config { units: 5, vocab: 6, batch_size: 53, replicas: 2, ..base };
        let config = Config { dtype: Dtype::Float64, ..sizes };
        Case { config, sizes: vec![53, 7, 1], seed: number as u64, parts: 1 }.fed(number as u64)
    })
}

#[test]
fn sources_and_targets_may_be_longer_than_those_of_the_training() {
    for case in with_lengths() {
        let n_out = if case.config.n_out == 1 { 1 } else { 5 };
        let long =
            Case { config: Config { n_in: 9, n_out, ..case.config.clone() }, ..case.clone() };
        let [fused, libtorch] = [EngineChoice::Fused, EngineChoice::Libtorch]
            .map(|engine| case.answers_to(&long, engine, None));
        answers_agree(&fused, &libtorch, 1e-12, true).unwrap();
    }
}

/// What comes behind an end is neither scored nor said.
#[test]
fn where_an_answer_ends_changes_neither_what_comes_before_nor_the_loss() {
    for case in with_lengths() {
        let n_out = if case.config.n_out == 1 { 1 } else { 8 };
        let few = Config { vocab: 2, n_out, ..case.config.clone() };
        let case = Case { config: few, ..case };
        let whole = case.answers(EngineChoice::Fused, None);
        let ended = case.answers(EngineChoice::Fused, Some(1));
        for (whole, ended) in whole.iter().zip(&ended) {
            assert_eq!(whole.losses, ended.losses, "{}", layers_of(&case.config));
            let steps = case.config.n_out as usize;
            let rows = whole.answers.ids().chunks(steps).zip(ended.answers.ids().chunks(steps));
            for (whole, ended) in rows {
                assert_eq!(until(whole, 1), until(ended, 1), "{}", layers_of(&case.config));
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_an_answer() {
    for case in several_blocks() {
        let case = Case { sizes: vec![201, 201, 13], ..case.fed(1) };
        let with = |threads| {
            let config = Config { threads: Some(threads), ..case.config.clone() };
            Case { config, ..case.clone() }.answers(EngineChoice::Fused, None)
        };
        let one = with(1);
        assert!(one.iter().all(|answers| answers.losses.iter().all(|loss| loss.is_finite())));
        for threads in [2, 3] {
            assert!(with(threads) == one, "{}, {threads} threads", layers_of(&case.config));
        }
    }
}

#[test]
fn no_rows_have_no_answers_and_none_go_on_that_were_not_there() {
    for case in several_blocks() {
        let trainer = case.trainer(EngineChoice::Fused);
        let (config, network) = (trainer.config(), trainer.evaluator().network);
        let mut model = inference(config, &trainer.parameters, network, host(), None).unwrap();
        let batch = |size| Case { sizes: vec![size], ..case.clone() }.batch(0);
        let one = model.answer(&batch(1), false).unwrap();
        assert_eq!(model.answer(&batch(0), false).unwrap().answers.len(), 0);
        assert!(model.answer(&batch(2), true).is_err());
        assert_eq!(model.answer(&batch(1), false).unwrap(), one);
        let two_models = Batch { replicas: 2, ..batch(3) };
        assert!(model.answer(&two_models, false).is_err());
    }
}

/// Every family and more layers of it in float32, of several blocks with odd sizes; then those in several parts
/// of odd sizes that can be.
fn several_blocks() -> impl Iterator<Item = Case> {
    let gates = [GateActivation::Sigmoid, GateActivation::HardSigmoid];
    let models = || (0..6).flat_map(|kind| with_more_layers(&base(kind, [4, 3])));
    let by_rows = models().flat_map(move |base| gates.map(|gates| (base.clone(), gates, 1)));
    let divisible = models().filter(|base| Model::new(base).in_parts(2).parts() == 2);
    let in_parts = divisible.enumerate().map(move |(number, base)| {
        let parts = [2, 3, 4][number % 3];
        (base, gates[number % 2], parts)
    });
    by_rows.chain(in_parts).enumerate().map(|(number, (base, gate_activation, parts))| {
        let config = Config {
            units: 33,
            vocab: 50,
            batch_size: 41,
            replicas: 3,
            gate_activation,
            engine: EngineChoice::Fused,
            dtype: Dtype::Float32,
            ..base
        };
        Case { config, sizes: vec![41, 41, 13], seed: number as u64, parts }
    })
}

#[test]
fn every_family_can_be_computed_in_parts() {
    let in_parts: Vec<_> = several_blocks().filter(|case| case.parts > 1).collect();
    let has = |of: &dyn Fn(&Config) -> bool| in_parts.iter().any(|case| of(&case.config));
    for family in [Family::Lstm, Family::RepeatVector, Family::TeacherForced] {
        assert!(has(&|config| config.family == family), "{family}");
    }
    for attention in [Attention::Dot, Attention::General, Attention::Additive] {
        assert!(has(&|config| config.attention == attention), "{attention}");
    }
    assert!(has(&|config| config.attention != Attention::None && config.n_in_min.is_some()));
}

fn assert_same_bits(got: &[Left], expected: &[Left], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (got, expected) in got.iter().zip(expected) {
        let bits = |left: &Left| left.values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(got.what == expected.what && bits(got) == bits(expected), "{what}: {}", got.what);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for case in several_blocks() {
        let with = |threads| Config { threads: Some(threads), ..case.config.clone() };
        let learn =
            |threads| Case { config: with(threads), ..case.clone() }.learn(EngineChoice::Fused);
        let one = learn(1);
        for threads in [2, 3, 4, 8] {
            let what =
                format!("{}, {} parts, {threads} threads", layers_of(&case.config), case.parts);
            assert_same_bits(&learn(threads), &one, &what);
        }
    }
}

/// What training on the task's own data from the seed's own weights leaves behind, replica by
/// replica: losses, accuracies, and of the last batch gradient, weights and state.
fn train(config: &Config, parts: usize) -> Vec<Vec<f64>> {
    let mut trainer = Trainer::new(config, host()).unwrap();
    trainer.divide(parts);
    let task = Task::new(config);
    let data = task.epoch(&config.seeds(), Purpose::Training, 0);
    let mut of_replicas = vec![Vec::new(); config.replicas as usize];
    for rows in [0..41, 41..82, 82..95] {
        if rows.len() != 41 {
            trainer.carried = None;
        }
        let scores = trainer.learn(&data.batch(rows)).unwrap().0.fetch().unwrap();
        for (all, score) in of_replicas.iter_mut().zip(scores) {
            all.extend([score.loss, score.values[0]]);
        }
    }
    let parameters = &trainer.parameters;
    let buffers = [parameters.gradient(), parameters.flat()];
    let mut tensors: Vec<Tensor> =
        buffers.into_iter().flat_map(|buffer| parameters.split(buffer).unwrap()).collect();
    for state in trainer.carried.iter().flat_map(|state| &state.0) {
        tensors.extend([state.h.shallow_clone(), state.c.shallow_clone()]);
    }
    for (k, all) in of_replicas.iter_mut().enumerate() {
        tensors.iter().for_each(|tensor| all.extend(download(&tensor.get(k as i64)).unwrap()));
    }
    of_replicas
}

#[test]
fn a_replica_is_bit_for_bit_what_it_is_alone() {
    for case in several_blocks() {
        let length = case.config.length.map(|_| 100);
        let samples = case.config.samples.map(|_| 100);
        let config = Config { id_max: 49, length, samples, ..case.config };
        let together = train(&Config { threads: Some(2), ..config.clone() }, case.parts);
        for (k, together) in together.iter().enumerate() {
            let seed = config.seed + k as i64;
            let config = Config { seed, replicas: 1, threads: Some(1), ..config.clone() };
            let alone = train(&config, case.parts);
            let bits = |all: &[f64]| all.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let what = format!("{}, replica {k}", layers_of(&config));
            assert!(bits(together) == bits(&alone[0]), "{what}");
        }
    }
}

/// The masks of a row do not depend on where its block has it, nor on how many steps it has.
#[test]
fn rows_with_lengths_of_their_own_have_the_same_masks_on_both_engines() {
    let models = with_more_layers(&base(5, [5, 4])).into_iter();
    let models = models.filter(|config| config.dropout > 0.0);
    let attentions = [Attention::None, Attention::Dot, Attention::General, Attention::Additive];
    let models = models
        .flat_map(|config| attentions.map(|attention| Config { attention, ..config.clone() }));
    for (number, config) in models.enumerate() {
        let parts = 1 + number % 3;
        let config = Config {
            n_in_min: Some(1),
            n_out_min: Some(2),
            units: 5,
            batch_size: 41,
            samples: Some(100),
            replicas: 2,
            dtype: Dtype::Float64,
            ..config
        };
        let engines = [EngineChoice::Fused, EngineChoice::Libtorch];
        let [fused, libtorch] =
            engines.map(|engine| train(&Config { engine, ..config.clone() }, parts));
        for (k, (fused, libtorch)) in fused.iter().zip(&libtorch).enumerate() {
            assert_eq!(fused.len(), libtorch.len());
            let far = fused
                .iter()
                .zip(libtorch)
                .position(|(a, b)| (a - b).abs().total_cmp(&1e-10).is_gt());
            assert_eq!(far, None, "{}, {parts} parts, replica {k}", layers_of(&config));
        }
    }
}

/// A training whose epochs end between two steps and, where no state is carried, with a smaller batch.
fn training_of(case: Case) -> Config {
    let samples = 5 * 41 + if case.config.stateful { 0 } else { 13 };
    // Ids of a sequence that are no sample's last.
    let lead = |length| length - Task::new(&case.config).samples_per_epoch() as i64;
    let config = Config {
        id_max: 49,
        length: case.config.length.map(|length| samples + lead(length)),
        samples: case.config.samples.map(|_| samples),
        epochs: 4,
        log_every: Some(3),
        validate_every: Some(3),
        learning_rate_schedule: LearningRateSchedule::Cosine,
        ..case.config
    };
    config.validate().unwrap();
    config
}

/// The bits of everything that a training leaves for the next step.
fn bits_of(trainer: &Trainer) -> Vec<u64> {
    let flat = [trainer.parameters.flat()].into_iter().chain(&trainer.optimizer.slots);
    let mut tensors: Vec<Tensor> = flat.map(Tensor::shallow_clone).collect();
    for state in trainer.carried.iter().flat_map(|state| &state.0) {
        tensors.extend([state.h.shallow_clone(), state.c.shallow_clone()]);
    }
    let numbers = tensors.iter().flat_map(|tensor| download(tensor).unwrap());
    numbers.map(f64::to_bits).collect()
}

#[test]
fn many_steps_at_a_time_are_the_same_as_one_by_one() {
    for case in several_blocks() {
        let unclipped = [(1, 1), (1, 2), (3, 2), (4, 2)].map(|of| (of, None));
        let clipped = [(1, 2), (4, 2)].map(|of| (of, Some(0.05)));
        for ((replicas, threads), global_clipnorm) in unclipped.into_iter().chain(clipped) {
            let config = Config { replicas, threads: Some(threads), ..training_of(case.clone()) };
            let config = Config { global_clipnorm, ..config };
            let [mut together, mut one_by_one] =
                [(); 2].map(|()| Trainer::new(&config, host()).unwrap());
            together.divide(case.parts);
            one_by_one.divide(case.parts);
            training::run(&mut together);
            let source = Batches::new(&config, &Task::new(&config), 0);
            for step in source.feed(Prefetch::Off, host()).unwrap() {
                let step = step.unwrap();
                if step.starts_epoch {
                    one_by_one.carried = None;
                }
                one_by_one.learn(step.ids.on_host().unwrap()).unwrap();
            }
            let what = format!("{} of {}, R = {replicas}", config.family, config.preset);
            assert_eq!(together.step, one_by_one.step, "{what}");
            assert!(bits_of(&together) == bits_of(&one_by_one), "{what}, {threads} threads");
            let last = [&together, &one_by_one].map(|t| download(t.parameters.gradient()).unwrap());
            assert!(last[0] == last[1], "{what}, {threads} threads: the last gradient");
        }
    }
}

#[test]
fn training_replica_by_replica_changes_no_bit() {
    for (number, case) in several_blocks().enumerate() {
        let global_clipnorm = [None, Some(0.05)][number % 2];
        let parts = case.parts;
        let config = Config { replicas: 4, global_clipnorm, ..training_of(case) };
        // Two threads train two of four replicas each; three threads share every step of all four.
        let [by_replica, step_by_step] = [2, 3].map(|threads| {
            let config = Config { threads: Some(threads), ..config.clone() };
            let mut trainer = Trainer::new(&config, host()).unwrap();
            trainer.divide(parts);
            let rows = training::run(&mut trainer);
            let bits = bits_of(&trainer);
            let timeless = |row: CurveRow| CurveRow { seconds: 0.0, ..row };
            (rows.into_iter().map(timeless).collect::<Vec<_>>(), bits)
        });
        let what = format!("{} of {}", config.family, config.preset);
        assert!(by_replica.0.iter().any(|row| row.val_loss.is_some()), "{what}");
        assert_eq!(by_replica.0, step_by_step.0, "{what}");
        assert!(by_replica.1 == step_by_step.1, "{what}: weights, moments or state");
    }
}

/// The rows of a training, and the bits of what each of its checkpoints has.
#[derive(Default)]
struct Seen {
    rows: Vec<CurveRow>,
    saved: Vec<Vec<u64>>,
}

impl Observer for Seen {
    fn step(&mut self) {}

    fn rows(&mut self, rows: Vec<CurveRow>) -> Result<()> {
        self.rows.extend(rows);
        Ok(())
    }

    fn checkpoint(&mut self, trainer: &mut Trainer) -> Result<()> {
        self.saved.push(bits_of(trainer));
        Ok(())
    }
}

/// The engine may have the weights elsewhere while it trains.
#[test]
fn validations_and_checkpoints_see_the_weights_as_they_are() {
    for case in several_blocks().filter(|case| case.parts > 1).step_by(4) {
        let what = layers_of(&case.config);
        let parts = case.parts;
        let every = CheckpointEvery::Steps(4);
        let often =
            Config { validate_every: Some(1), checkpoint_every: every, ..training_of(case) };
        let config = Config { log_every: Some(1), threads: Some(1), ..often };
        let mut trainer = Trainer::new(&config, host()).unwrap();
        trainer.divide(parts);
        let mut seen = Seen::default();
        trainer.run(&mut seen, &AtomicBool::new(false)).unwrap();
        let samples = config.validation_samples as usize;
        let now = trainer.evaluator().run(Purpose::Validation, samples, |_| Ok(())).unwrap();
        let last = &seen.rows[seen.rows.len() - now.len()..];
        for (row, now) in last.iter().zip(&now) {
            assert_eq!((row.step, row.val_loss), (trainer.step, now.loss), "{what}");
        }
        assert_eq!(seen.saved.last(), Some(&bits_of(&trainer)), "{what}");
        assert!(seen.saved.len() > 2 && seen.saved[0] != seen.saved[1], "{what}");
    }
}
