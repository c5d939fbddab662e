//! The models' arithmetic, in float64: against loops written from Keras's equations, and the
//! gradient against the slope of the loss.

#[path = "common/models.rs"]
mod models;

use std::cell::Cell;

use models::{layers_of, with_more_layers};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use seqlab::base::rng::{Purpose, Stream};
use seqlab::config::presets;
use seqlab::config::{Attention, Config, Dtype, EngineChoice, Family, Feedback, GateActivation};
use seqlab::data::batch::{Batch, Sequences};
use seqlab::engine::libtorch::free_running;
use seqlab::model::layers::Spec;
use seqlab::model::layers::dropout::{Dropout, Masks, StepMasks};
use seqlab::model::layers::lstm::torch;
use seqlab::model::layers::lstm::{InputKind, Lstm};
use seqlab::model::layers::twin::LstmState;
use seqlab::model::layers::twin::{Input, Twin};
use seqlab::model::losses::Target;
use seqlab::model::losses::cross_entropy::torch as loss;
use seqlab::model::network::{Network, State};
use seqlab::tensor::device::{download, host, upload};
use seqlab::tensor::parameters::Parameters;
use seqlab::train::trainer::Trainer;
use tch::{Kind, Tensor};

const REPLICAS: i64 = 2;
/// Where the hard sigmoid bends.
const KINK: f64 = 2.5;

/// A small model of each family, the LSTM with every output and with the last only, with each gate
/// activation.
fn models() -> Vec<Config> {
    let small = |name: &str, n_in, n_out| Config {
        vocab: 5,
        id_max: 4,
        units: 3,
        batch_size: 2,
        n_in,
        n_out,
        dtype: Dtype::Float64,
        replicas: REPLICAS,
        ..presets::find(name).unwrap().config
    };
    let families = [
        small("echo", 4, 4),
        small("echo-lag", 4, 1),
        small("partial-echo-2", 4, 3),
        small("reverse", 4, 3),
    ];
    let gates = [GateActivation::HardSigmoid, GateActivation::Sigmoid];
    let with =
        |config: &Config| gates.map(|gate_activation| Config { gate_activation, ..config.clone() });
    // Threads of libtorch's that wait for each other are slow on a busy machine.
    tch::set_num_threads(1);
    let [echo, _, repeat, forced] = families.clone();
    let more = [echo, Config { stateful: false, ..repeat }, forced];
    let more = more.iter().flat_map(|config| with_more_layers(config).split_off(1));
    // With one of the gates each.
    let more = more.zip(gates.into_iter().cycle());
    let more = more.map(|(config, gate_activation)| Config { gate_activation, ..config });
    families.iter().flat_map(with).chain(more).collect()
}

fn name(config: &Config) -> String {
    format!("{} of {}, {}", layers_of(config), config.preset, config.gate_activation)
}

fn copy(state: &LstmState) -> LstmState {
    LstmState { h: state.h.copy(), c: state.c.copy() }
}

/// Uniform numbers on ±`limit`.
fn random(generator: &mut ChaCha8Rng, shape: &[i64], limit: f64) -> Tensor {
    let count = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|_| generator.random_range(-limit..limit)).collect();
    Tensor::from_slice(&values).view(shape)
}

fn random_ids(generator: &mut ChaCha8Rng, config: &Config, steps: i64) -> Vec<i64> {
    let count = config.replicas * config.batch_size * steps;
    (0..count).map(|_| generator.random_range(0..config.vocab)).collect()
}

/// A model with random weights, biases and state, and a batch for it.
struct Case {
    trainer: Trainer,
    batch: Batch,
    state: State,
}

impl Case {
    /// A case where no hard-sigmoid gate is near a kink, though some lie beyond.
    fn new(config: &Config) -> Self {
        for seed in 0..1000 {
            let case = Self::draw(config, seed);
            let reference = Reference::new(config, &case.trainer.parameters);
            for k in 0..REPLICAS as usize {
                reference.all_logits(k, &case.batch, &case.state);
            }
            let smooth = config.gate_activation == GateActivation::Sigmoid;
            let bent = reference.saturated.get() > 0 && reference.nearest_kink.get() > 1e-3;
            if smooth || bent {
                return case;
            }
        }
        panic!("no case away from the kinks for {}", name(config));
    }

    fn draw(config: &Config, seed: u64) -> Self {
        let mut generator = Stream::new(seed, Purpose::Evaluation).at(0);
        let trainer = Trainer::new(config, host()).unwrap();
        let mut flat = trainer.parameters.flat().shallow_clone();
        flat.copy_(&random(&mut generator, &flat.size(), 1.5));
        let zero = trainer.evaluator().network.zero_state(config.batch_size).unwrap();
        let mut like = |t: &Tensor| random(&mut generator, &t.size(), 0.9);
        let random_state = |s: &LstmState| LstmState { h: like(&s.h), c: like(&s.c) };
        let state = State(zero.0.iter().map(random_state).collect());
        let forced = config.family == Family::TeacherForced;
        let mut ids = |steps| random_ids(&mut generator, config, steps);
        let batch = Batch {
            replicas: config.replicas as usize,
            size: config.batch_size as usize,
            source: ids(config.n_in).into(),
            decoder_input: forced.then(|| ids(config.n_out).into()),
            target: ids(config.n_out).into(),
            lengths: None,
        };
        Self { trainer, batch, state }
    }

    fn ids(&self, ids: &[i64]) -> Tensor {
        upload(ids, &[self.batch.replicas as i64, self.batch.size as i64, -1], host()).unwrap()
    }

    /// Logits `(R, Tout, B, V)` and the state behind them.
    fn forward(&self) -> (Tensor, State) {
        self.with_inputs(|source, fed| {
            let model = self.trainer.evaluator().network;
            model.forward(source, fed, &self.state).unwrap()
        })
    }

    /// The same with the dropout masks of the first step of a training with `config`.
    fn forward_training(&self, config: &Config) -> (Tensor, State) {
        let masks = Masks::Drawn(config.seeds());
        self.with_inputs(|source, fed| {
            let model = self.trainer.evaluator().network;
            let masks = StepMasks { masks: &masks, step: 0 };
            let masks = model.masks(source.rows().unwrap(), masks).unwrap();
            model.forward_training(source, fed, &self.state, &masks).unwrap()
        })
    }

    fn with_inputs<T>(&self, run: impl FnOnce(Input<'_>, Option<Input<'_>>) -> T) -> T {
        let fed = self.batch.decoder_input.as_ref().map(|fed| self.ids(fed.ids()));
        let source = self.ids(self.batch.source.ids());
        let fed = fed.as_ref().map(|fed| Input::Ids(fed, None));
        tch::no_grad(|| run(Input::Ids(&source, None), fed))
    }

    /// Each replica's loss in training.
    fn losses(&self, config: &Config) -> Vec<f64> {
        let score = loss::score(
            &self.forward_training(config).0,
            Target { steps: &self.ids(self.batch.target.ids()), valid: None },
            0.0,
        )
        .unwrap();
        download(&score.loss).unwrap()
    }
}

/// Rows.
type Matrix = Vec<Vec<f64>>;
/// Vectors h and c of one row.
type Memory = (Vec<f64>, Vec<f64>);

/// Keras's equations in loops over plain numbers.
struct Reference<'a> {
    config: &'a Config,
    parameters: &'a Parameters,
    /// Least distance of any gate from a kink of the hard sigmoid.
    nearest_kink: Cell<f64>,
    /// Gates beyond a kink.
    saturated: Cell<usize>,
}

impl<'a> Reference<'a> {
    fn new(config: &'a Config, parameters: &'a Parameters) -> Self {
        Self { config, parameters, nearest_kink: Cell::new(f64::INFINITY), saturated: Cell::new(0) }
    }

    /// The rows of parameter `name` of replica `k`.
    fn weight(&self, k: usize, name: &str) -> Matrix {
        let value = self.parameters.leaf(name).get(k as i64);
        let columns = *value.size().last().unwrap() as usize;
        download(&value).unwrap().chunks_exact(columns).map(<[f64]>::to_vec).collect()
    }

    fn gate(&self, x: f64) -> f64 {
        self.nearest_kink.set(self.nearest_kink.get().min((x.abs() - KINK).abs()));
        self.saturated.set(self.saturated.get() + usize::from(x.abs() > KINK));
        match self.config.gate_activation {
            GateActivation::HardSigmoid if x < -KINK => 0.0,
            GateActivation::HardSigmoid if x > KINK => 1.0,
            GateActivation::HardSigmoid => 0.2 * x + 0.5,
            GateActivation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        }
    }

    /// Every output and the last state.
    fn lstm(&self, k: usize, layer: &str, inputs: &[Vec<f64>], memory: Memory) -> (Matrix, Memory) {
        let weight = |name| self.weight(k, &format!("{layer}.{name}"));
        let (w, u, b) = (weight("kernel"), weight("recurrent_kernel"), &weight("bias")[0]);
        let units = u.len();
        let (mut h, mut c) = memory;
        let mut outputs = Vec::new();
        for x in inputs {
            // Blocks of the columns: input gate, forget gate, candidate, output gate.
            let z = |block: usize, unit: usize| {
                let column = block * units + unit;
                dot(x, &w, column) + dot(&h, &u, column) + b[column]
            };
            let step = |unit: usize| {
                let (i, f) = (self.gate(z(0, unit)), self.gate(z(1, unit)));
                let c = f * c[unit] + i * z(2, unit).tanh();
                (self.gate(z(3, unit)) * c.tanh(), c)
            };
            (h, c) = (0..units).map(step).unzip();
            outputs.push(h.clone());
        }
        (outputs, (h, c))
    }

    fn dense(&self, k: usize, x: &[f64]) -> Vec<f64> {
        let (w, b) = (self.weight(k, "dense.kernel"), &self.weight(k, "dense.bias")[0]);
        (0..b.len()).map(|column| dot(x, &w, column) + b[column]).collect()
    }

    /// What the dense layer reads for the decoder's output `query`, after the encoder's outputs `keys`.
    fn attend(&self, k: usize, query: &[f64], keys: &Matrix) -> Vec<f64> {
        let weight = |name: &str| self.weight(k, &format!("attention.{name}"));
        let times = |x: &[f64], matrix: &Matrix| -> Vec<f64> {
            (0..matrix[0].len()).map(|column| dot(x, matrix, column)).collect()
        };
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let score = |key: &Vec<f64>| match self.config.attention {
            Attention::None => unreachable!(),
            Attention::Dot => product(query, key),
            Attention::General => product(&times(query, &weight("kernel")), key),
            Attention::Additive => {
                let (q, k) =
                    (times(query, &weight("query_kernel")), times(key, &weight("key_kernel")));
                let tanhs: Vec<f64> = q.iter().zip(&k).map(|(q, k)| (q + k).tanh()).collect();
                product(&tanhs, &weight("scale")[0])
            }
        };
        let weights = softmax(&keys.iter().map(score).collect::<Vec<_>>());
        let context = times(&weights, keys);
        let (kernel, bias) = (
            self.weight(k, "attention_output.kernel"),
            &self.weight(k, "attention_output.bias")[0],
        );
        let sums = times(&[context, query.to_vec()].concat(), &kernel);
        sums.iter().zip(bias).map(|(sum, bias)| (sum + bias).tanh()).collect()
    }

    /// What the dense layer reads for each of the decoder's `outputs`.
    fn attended(&self, k: usize, outputs: Matrix, keys: &Matrix) -> Matrix {
        match self.config.attention {
            Attention::None => outputs,
            _ => outputs.iter().map(|query| self.attend(k, query, keys)).collect(),
        }
    }

    fn one_hot(&self, ids: &[i64]) -> Matrix {
        let one =
            |&id: &i64| (0..self.config.vocab).map(|v| f64::from(u8::from(v == id))).collect();
        ids.iter().map(one).collect()
    }

    fn zeros(&self) -> Memory {
        let zeros = vec![0.0; self.config.units as usize];
        (zeros.clone(), zeros)
    }

    /// The vectors that ids stand for: rows of the table `embedding`, or of the identity.
    fn vectors(&self, k: usize, embedding: &str, ids: &[i64]) -> Matrix {
        match self.config.embedding {
            0 => self.one_hot(ids),
            _ => {
                let table = self.weight(k, &format!("{embedding}.embeddings"));
                ids.iter().map(|&id| table[id as usize].clone()).collect()
            }
        }
    }

    /// A stack of LSTMs on `x`, which start from `memories`. Returns the highest one's outputs and each
    /// one's last state.
    fn stack(
        &self,
        k: usize,
        name: &str,
        mut x: Matrix,
        memories: Vec<Memory>,
    ) -> (Matrix, Vec<Memory>) {
        let mut last = Vec::new();
        for (layer, memory) in memories.into_iter().enumerate() {
            let name = if layer == 0 { name.to_owned() } else { format!("{name}_{}", layer + 1) };
            let (outputs, memory) = match self.config.bidirectional && name.starts_with("encoder") {
                false => self.lstm(k, &name, &x, memory),
                true => self.both_ways(k, &name, &x),
            };
            (x, last) = (outputs, [last, vec![memory]].concat());
        }
        (x, last)
    }

    /// Two LSTMs on `x` from zero, the second from its last step to its first.
    fn both_ways(&self, k: usize, name: &str, x: &Matrix) -> (Matrix, Memory) {
        let mut turned = x.clone();
        turned.reverse();
        let forward = self.lstm(k, &format!("{name}.forward"), x, self.zeros());
        let mut backward = self.lstm(k, &format!("{name}.backward"), &turned, self.zeros());
        backward.0.reverse();
        let join = |(a, b): (Vec<f64>, Vec<f64>)| [a, b].concat();
        let outputs = forward.0.into_iter().zip(backward.0).map(join).collect();
        let ((h, c), (backward_h, backward_c)) = (forward.1, backward.1);
        (outputs, (join((h, backward_h)), join((c, backward_c))))
    }

    /// The encoder's states that no batch has left.
    fn fresh(&self) -> Vec<Memory> {
        vec![self.zeros(); self.config.layers as usize]
    }

    /// The logits of one row's every step and, layer by layer, the state it leaves.
    fn logits(
        &self,
        k: usize,
        source: &[i64],
        fed: &[i64],
        state: &[Memory],
    ) -> (Matrix, Vec<Memory>) {
        let layers = self.config.layers as usize;
        let x = self.vectors(k, "source_embedding", source);
        let (outputs, next) = match self.config.family {
            Family::Lstm => {
                let (outputs, memory) = self.stack(k, "lstm", x, state.to_vec());
                let all = self.config.return_sequences == Some(true);
                let outputs = if all { outputs } else { outputs[outputs.len() - 1..].to_vec() };
                (outputs, memory)
            }
            Family::RepeatVector => {
                // A bidirectional encoder's is not carried.
                let (before, of_decoder) = state.split_at(state.len() - layers);
                let start = if before.is_empty() { self.fresh() } else { before.to_vec() };
                let (_, encoder) = self.stack(k, "encoder", x, start);
                let code = encoder[layers - 1].0.clone();
                let repeated = vec![code; self.config.n_out as usize];
                let (outputs, decoder) = self.stack(k, "decoder", repeated, of_decoder.to_vec());
                let carried = if before.is_empty() { Vec::new() } else { encoder };
                (outputs, [carried, decoder].concat())
            }
            Family::TeacherForced => {
                let (keys, encoder) = self.stack(k, "encoder", x, self.fresh());
                let fed = self.vectors(k, "decoder_embedding", fed);
                let (outputs, _) = self.stack(k, "decoder", fed, encoder);
                (self.attended(k, outputs, &keys), Vec::new())
            }
        };
        (outputs.iter().map(|h| self.dense(k, h)).collect(), next)
    }

    /// Of every row of replica `k`.
    fn all_logits(&self, k: usize, batch: &Batch, state: &State) -> Vec<(Matrix, Vec<Memory>)> {
        let row = |b: usize| {
            let row = k * batch.size + b;
            let of = |ids: &[i64]| {
                let width = ids.len() / (batch.replicas * batch.size);
                ids[row * width..(row + 1) * width].to_vec()
            };
            let place = |t: &Tensor| download(&t.get(k as i64).get(b as i64)).unwrap();
            let state: Vec<Memory> = state.0.iter().map(|s| (place(&s.h), place(&s.c))).collect();
            let fed = batch.decoder_input.as_ref().map(Sequences::ids).map(of).unwrap_or_default();
            self.logits(k, &of(batch.source.ids()), &fed, &state)
        };
        (0..batch.size).map(row).collect()
    }

    /// The probabilities that a free-running decoder puts out for one row.
    fn free_run(&self, k: usize, source: &[i64]) -> Matrix {
        let x = self.vectors(k, "source_embedding", source);
        let (keys, mut memory) = self.stack(k, "encoder", x, self.fresh());
        let table =
            (self.config.embedding > 0).then(|| self.weight(k, "decoder_embedding.embeddings"));
        let width =
            if self.config.embedding > 0 { self.config.embedding } else { self.config.vocab };
        let mut input = vec![0.0; width as usize];
        let mut all = Vec::new();
        for _ in 0..self.config.n_out {
            let (outputs, next) = self.stack(k, "decoder", vec![input], memory);
            let outputs = self.attended(k, outputs, &keys);
            let probabilities = softmax(&self.dense(k, &outputs[0]));
            let fed = match self.config.feedback {
                Some(Feedback::Argmax) => self.one_hot(&[argmax(&probabilities)]).remove(0),
                _ => probabilities.clone(),
            };
            input = match &table {
                Some(table) => (0..width as usize).map(|column| dot(&fed, table, column)).collect(),
                None => fed,
            };
            all.push(probabilities);
            memory = next;
        }
        all
    }
}

fn dot(x: &[f64], matrix: &[Vec<f64>], column: usize) -> f64 {
    x.iter().zip(matrix).map(|(x, row)| x * row[column]).sum()
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let sum: f64 = x.iter().map(|x| x.exp()).sum();
    x.iter().map(|x| x.exp() / sum).collect()
}

fn argmax(x: &[f64]) -> i64 {
    (0..x.len()).max_by(|&a, &b| x[a].total_cmp(&x[b])).unwrap() as i64
}

fn assert_close(got: &[f64], expected: &[f64], bound: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        // Written so that NaN fails too.
        assert!((got - expected).abs() <= bound, "{what}, entry {i}: {got} is not {expected}");
    }
}

#[test]
fn logits_and_state_are_what_kerass_equations_give() {
    for config in models() {
        let case = Case::new(&config);
        let (logits, next) = case.forward();
        let (r, t, b, v) = logits.size4().unwrap();
        assert_eq!([r, t, b, v], [REPLICAS, config.n_out, config.batch_size, config.vocab]);
        let reference = Reference::new(&config, &case.trainer.parameters);
        for k in 0..r {
            let rows = reference.all_logits(k as usize, &case.batch, &case.state);
            for (row, (expected, memory)) in rows.into_iter().enumerate() {
                let what = format!("{}, replica {k}, row {row}", name(&config));
                let row = row as i64;
                let got = download(&logits.get(k).select(1, row)).unwrap();
                assert_close(&got, &expected.concat(), 1e-12, &what);
                assert_eq!(next.0.len(), memory.len(), "{what}");
                for (got, (h, c)) in next.0.iter().zip(memory) {
                    let place = |t: &Tensor| download(&t.get(k).get(row)).unwrap();
                    assert_close(&place(&got.h), &h, 1e-12, &format!("{what}: h"));
                    assert_close(&place(&got.c), &c, 1e-12, &format!("{what}: c"));
                }
            }
        }
    }
}

#[test]
fn free_running_feeds_zeros_and_then_what_was_put_out() {
    for config in models().into_iter().filter(|c| c.family == Family::TeacherForced) {
        for feedback in [Feedback::Softmax, Feedback::Argmax] {
            let config = Config { feedback: Some(feedback), ..config.clone() };
            let case = Case::new(&config);
            let source = case.ids(case.batch.source.ids());
            let model = case.trainer.evaluator().network;
            let said =
                || free_running(model, Some(feedback), Input::Ids(&source, None), &case.state);
            let (probabilities, _) = tch::no_grad(said).unwrap();
            let reference = Reference::new(&config, &case.trainer.parameters);
            for (row, source) in
                case.batch.source.ids().chunks_exact(config.n_in as usize).enumerate()
            {
                let (k, b) = (row / case.batch.size, row % case.batch.size);
                let got = download(&probabilities.get(k as i64).select(1, b as i64)).unwrap();
                let expected = reference.free_run(k, source).concat();
                assert_close(&got, &expected, 1e-12, &format!("{} {feedback}", name(&config)));
            }
        }
    }
}

/// Every entry of every parameter: nudged to either side, the loss of its own replica moves as the
/// gradient says and the other's does not move at all.
#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    const NUDGE: f64 = 1e-5;
    for config in models() {
        let mut case = Case::new(&config);
        let flat = case.trainer.parameters.flat().shallow_clone();
        let whole = case.losses(&config);
        let mut slopes = Vec::new();
        for entry in 0..flat.size()[0] {
            let mut place = flat.narrow(0, entry, 1);
            let value = place.double_value(&[0]);
            let mut at = |value: f64| {
                let _ = place.fill_(value);
                case.losses(&config)
            };
            let (up, down) = (at(value + NUDGE), at(value - NUDGE));
            assert_eq!(at(value), whole);
            let moved: Vec<usize> = (0..up.len()).filter(|&k| up[k] != down[k]).collect();
            assert!(moved.len() < 2, "{}: entry {entry} moves both replicas", name(&config));
            let slope: f64 = up.iter().zip(&down).map(|(up, down)| up - down).sum();
            slopes.push(slope / (2.0 * NUDGE));
        }

        for engine in [EngineChoice::Libtorch, EngineChoice::Fused] {
            let config = Config { engine, ..config.clone() };
            case.trainer = Trainer::new(&config, host()).unwrap();
            case.trainer.parameters.flat().shallow_clone().copy_(&flat);
            case.trainer.carried = Some(State(case.state.0.iter().map(copy).collect()));
            case.trainer.learn(&case.batch).unwrap();
            let gradient = download(case.trainer.parameters.gradient()).unwrap();
            for (entry, (gradient, slope)) in gradient.iter().zip(&slopes).enumerate() {
                let bound = 1e-9 + 1e-7 * slope.abs();
                let what = format!("{}, {engine}: entry {entry}", name(&config));
                assert!((gradient - slope).abs() <= bound, "{what}: {gradient} for slope {slope}");
            }
        }
        // A parameter that nothing depends on would pass so far.
        let parameters = &case.trainer.parameters;
        let parts = parameters.split(parameters.gradient()).unwrap();
        for (spec, part) in parameters.specs().iter().zip(parts) {
            for k in 0..REPLICAS {
                let largest = part.get(k).abs().max().double_value(&[]);
                let what = format!("{}: {}, replica {k}", name(&config), spec.name);
                assert!(largest > 1e-7, "{what} has no gradient");
            }
        }
    }
}

#[test]
fn looking_ids_up_is_the_product_with_their_one_hot_vectors() {
    for replicas in [1, 3] {
        let (vocab, units, batch, steps) = (6, 2, 4, 5);
        let mut generator = Stream::new(1, Purpose::Evaluation).at(0);
        let gate_activation = GateActivation::Sigmoid;
        let (reads, dropout) = (InputKind::Ids, Dropout::default());
        let layer =
            Lstm { inputs: vocab, reads, backwards: false, units, gate_activation, dropout };
        let specs = layer.parameters("lstm");
        let parameters = Parameters::zeros(specs, replicas, Kind::Double, host()).unwrap();
        let mut flat = parameters.flat().shallow_clone();
        flat.copy_(&random(&mut generator, &flat.size(), 1.0));
        let lstm = torch::twin(&layer, &parameters, "lstm").unwrap();
        let count = replicas * batch * steps;
        let ids: Vec<i64> = (0..count).map(|_| generator.random_range(0..vocab)).collect();
        let ids = upload(&ids, &[replicas, batch, steps], host()).unwrap();
        let projected = lstm.project(&Input::Ids(&ids, None), None).unwrap();
        assert_eq!(projected.size(), [steps, replicas, batch, 4 * units]);
        for t in 0..steps {
            let one_hot = ids.select(2, t).one_hot(vocab).to_kind(Kind::Double);
            let expected = lstm.project(&Input::Repeated(&one_hot, 1), None).unwrap();
            let difference = (projected.get(t) - expected.get(0)).abs().max().double_value(&[]);
            assert!(difference <= 1e-15, "{replicas} replicas, step {t}: {difference:e}");
        }
    }
}

/// A repeat-vector model without more layers.
fn repeats_one_code(config: &Config) -> bool {
    config.family == Family::RepeatVector
        && (config.layers, config.embedding, config.bidirectional) == (1, 0, false)
}

#[test]
fn repeating_a_vectors_projection_is_feeding_it_at_every_step() {
    for config in models().into_iter().filter(repeats_one_code) {
        let case = Case::new(&config);
        let parameters = &case.trainer.parameters;
        let Config { vocab, units, gate_activation, .. } = config;
        let layer = |name, inputs, reads| {
            let dropout = Dropout::default();
            let layer = Lstm { inputs, reads, backwards: false, units, gate_activation, dropout };
            torch::twin(&layer, parameters, name).unwrap()
        };
        let (encoder, decoder) = (
            layer("encoder", vocab, InputKind::Ids),
            layer("decoder", units, InputKind::OneVector),
        );
        let source = case.ids(case.batch.source.ids());
        let code = encoder.run(&[Input::Ids(&source, None)], Some(&case.state.0[0])).unwrap();
        let code = code.last.unwrap().h;
        let mut state = case.state.0[1].shallow_clone();
        for _ in 0..config.n_out {
            let step = [Input::Repeated(&code, 1)];
            state = decoder.run(&step, Some(&state)).unwrap().last.unwrap();
        }
        let (_, next) = case.forward();
        let expected = [download(&state.h).unwrap(), download(&state.c).unwrap()].concat();
        let got = &next.0[1];
        let got = [download(&got.h).unwrap(), download(&got.c).unwrap()].concat();
        assert_close(&got, &expected, 1e-15, &name(&config));
    }
}

#[test]
fn a_score_is_the_mean_cross_entropy_and_the_share_of_right_ids() {
    let (replicas, steps, batch, vocab) = (2usize, 3usize, 2usize, 4usize);
    let mut generator = Stream::new(2, Purpose::Evaluation).at(0);
    let shape = [replicas, steps, batch, vocab].map(|n| n as i64);
    let logits = random(&mut generator, &shape, 4.0);
    let numbers = download(&logits).unwrap();
    let at =
        |r: usize, t: usize, b: usize| &numbers[((r * steps + t) * batch + b) * vocab..][..vocab];
    // Replica 0 has one id right, replica 1 all but one: no mix of them is either.
    let mut target = vec![0; replicas * batch * steps];
    let (mut loss, mut accuracy) = (vec![0.0; replicas], vec![0.0; replicas]);
    for r in 0..replicas {
        for t in 0..steps {
            for b in 0..batch {
                let best = argmax(at(r, t, b));
                let right = ((t, b) == (2, 1)) == (r == 0);
                let id = if right { best } else { (best + 1 + b as i64) % vocab as i64 };
                target[(r * batch + b) * steps + t] = id;
                let share = 1.0 / (steps * batch) as f64;
                loss[r] -= softmax(at(r, t, b))[id as usize].ln() * share;
                accuracy[r] += f64::from(u8::from(right)) * share;
            }
        }
    }
    let target = upload(&target, &[replicas as i64, batch as i64, -1], host()).unwrap();
    let score = loss::score(&logits, Target { steps: &target, valid: None }, 0.0).unwrap();
    assert_close(&download(&score.loss).unwrap(), &loss, 1e-14, "loss");
    assert_close(&download(&score.metrics[0]).unwrap(), &accuracy, 1e-15, "accuracy");
    assert_eq!(score.metrics[0].kind(), Kind::Double);
}

#[test]
fn teacher_forcing_without_decoder_inputs_is_an_error() {
    let config = models().into_iter().find(|c| c.family == Family::TeacherForced).unwrap();
    let case = Case::new(&config);
    let model = Network::new(&config, &case.trainer.parameters).unwrap();
    let source = case.ids(case.batch.source.ids());
    let error = model.forward(Input::Ids(&source, None), None, &case.state).unwrap_err();
    assert!(error.to_string().contains("decoder inputs"), "{error}");
}
