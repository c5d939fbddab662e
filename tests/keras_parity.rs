//! Parity with Keras: every recorded case is replayed in float64, alone and as replica 2 of 3.
//!
//! Cases lie in `tests/fixtures/keras` and, if set, under the directory that the environment
//! variable `KERAS_CASES` names. A line a case tells the largest error of each quantity.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use safetensors::SafeTensors;
use seqlab::config::presets;
use seqlab::config::{
    Attention, Config, Dtype, EngineChoice, Family, Feedback, GateActivation, LossKind,
    OptimizerKind,
};
use seqlab::data::batch::{Batch, Lengths, Sequences};
use seqlab::data::loader::UploadedBatch;
use seqlab::engine::libtorch::free_running;
use seqlab::model::Model;
use seqlab::model::layers::dropout::{GivenMask, Masked, Masks, StepMasks};
use seqlab::model::layers::twin::{Input, Mask};
use seqlab::model::network::{Network, State};
use seqlab::tensor::device;
use seqlab::train::trainer::Trainer;
use tch::{Kind, Tensor};

/// Gradients in float64: nothing but rounding may differ.
const GRADIENT: f64 = 1e-10;
/// Loss, final weights and predictions: Keras keeps Adam's hyper-parameters in float32.
const TRAINED: f64 = 5e-6;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for case in case_directories() {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let places = [("alone", 1), ("as replica 2 of 3", 3)];
        // The last computes layers in parts, where they can be.
        let engines =
            [(EngineChoice::Fused, 1), (EngineChoice::Libtorch, 1), (EngineChoice::Fused, 2)];
        for ((place, replicas), how) in places.iter().flat_map(|p| engines.map(|e| (*p, e))) {
            let (engine, parts) = how;
            let name = format!("{name} {place}, {engine}, parts: {parts}");
            let case = case.clone();
            trials.push(Trial::test(name.clone(), move || {
                let failed = |e| Failed::from(format!("{e:#}"));
                let case = Case::load(&case, replicas).map_err(failed)?;
                if Model::new(&case.config).in_parts(parts).parts() != parts {
                    return Ok(());
                }
                let errors = errors(case, engine, parts).map_err(failed)?;
                println!("{name}: {errors}");
                errors.check().map_err(Failed::from)
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// Every directory with a `case.json`, sorted.
fn case_directories() -> Vec<PathBuf> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keras");
    let more = std::env::var_os("KERAS_CASES").map(PathBuf::from);
    let mut cases = Vec::new();
    for root in [Some(fixtures), more].into_iter().flatten() {
        let found = cases.len();
        let entries = fs::read_dir(&root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
        cases.extend(entries.flatten().map(|e| e.path()).filter(|p| p.join("case.json").is_file()));
        assert!(cases.len() > found, "no case in {}", root.display());
        cases[found..].sort();
    }
    cases
}

/// Largest absolute differences from what Keras computed.
#[derive(Default)]
struct Errors {
    loss: f64,
    accuracy: f64,
    probabilities: f64,
    gradients: f64,
    weights: f64,
    predictions: f64,
}

impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "loss {:.1e}, gradients {:.1e}, final weights {:.1e}, predictions {:.1e}",
            self.loss, self.gradients, self.weights, self.predictions
        )
    }
}

impl Errors {
    fn check(&self) -> Result<(), String> {
        let bounds = [
            ("loss", self.loss, TRAINED),
            ("accuracy", self.accuracy, 1e-12),
            ("probabilities before training", self.probabilities, GRADIENT),
            ("gradients", self.gradients, GRADIENT),
            ("final weights", self.weights, TRAINED),
            ("predictions", self.predictions, TRAINED),
        ];
        for (what, error, bound) in bounds {
            if error.is_nan() || error > bound {
                return Err(format!("{what}: error {error:e} is above {bound:e}"));
            }
        }
        Ok(())
    }
}

/// A recorded case.
struct Case {
    config: Config,
    steps: usize,
    batches_per_epoch: usize,
    init: Vec<(String, Tensor)>,
    data: Vec<(String, Tensor)>,
    expected: Vec<(String, Tensor)>,
}

impl Case {
    /// The case in `path`, for the last of `replicas`.
    fn load(path: &Path, replicas: i64) -> Result<Self> {
        let text = fs::read_to_string(path.join("case.json"))?;
        let json: serde_json::Value = serde_json::from_str(&text)?;
        let int = |key: &str| json[key].as_i64().with_context(|| format!("case.json: {key}"));
        // One kind of case has the optimiser's settings by themselves and no fields for more layers.
        let settings = &json["optimizer_settings"];
        let number = |key: &str, of_adam: &str| {
            let found = json[key].as_f64().or(settings[of_adam].as_f64());
            found.with_context(|| format!("case.json: {key}"))
        };
        let (family, preset) = match json["family"].as_str() {
            Some("stateful" | "lstm") => (Family::Lstm, "echo"),
            Some("repeat_vector") => (Family::RepeatVector, "partial-echo-2"),
            Some("teacher_forced") => (Family::TeacherForced, "reverse"),
            other => bail!("case.json: family {other:?}"),
        };
        let optimizer = match json["optimizer"].as_str() {
            None | Some("adam") => OptimizerKind::Adam,
            Some("adamw") => OptimizerKind::AdamW,
            Some("rmsprop") => OptimizerKind::RmsProp,
            Some("sgd") => OptimizerKind::Sgd,
            other => bail!("case.json: optimizer {other:?}"),
        };
        let loss = match json["loss"].as_str() {
            None | Some("categorical_crossentropy") => LossKind::CrossEntropy,
            Some("mse") => LossKind::Mse,
            Some("mae") => LossKind::Mae,
            other => bail!("case.json: loss {other:?}"),
        };
        let numbers = loss != LossKind::CrossEntropy;
        let base = presets::find(preset).context("preset")?.config;
        let config = Config {
            family,
            loss,
            label_smoothing: json["label_smoothing"].as_f64(),
            features_in: json["features_in"].as_i64().filter(|_| numbers),
            features_out: json["features_out"].as_i64().filter(|_| numbers),
            return_sequences: base.return_sequences.map(|every_step| every_step && !numbers),
            vocab: int("vocab")?,
            units: int("units")?,
            batch_size: int("batch")?,
            n_in: int("n_in")?,
            n_out: int("n_out")?,
            stateful: json["stateful"].as_bool().context("case.json: stateful")?,
            gate_activation: match json["gate_activation"].as_str() {
                Some("hard_sigmoid") => GateActivation::HardSigmoid,
                Some("sigmoid") => GateActivation::Sigmoid,
                other => bail!("case.json: gate_activation {other:?}"),
            },
            learning_rate: number("learning_rate", "learning_rate")?,
            optimizer,
            epsilon: match optimizer {
                OptimizerKind::Sgd => 1e-7,
                _ => number("adam_epsilon", "epsilon")?,
            },
            rho: settings["rho"].as_f64(),
            momentum: settings["momentum"].as_f64(),
            nesterov: settings["nesterov"].as_bool(),
            weight_decay: settings["weight_decay"].as_f64(),
            n_in_min: json["lengths"].as_bool().unwrap_or(false).then_some(1),
            embedding: json["embedding"].as_i64().unwrap_or(0),
            layers: json["layers"].as_i64().unwrap_or(1),
            dropout: json["dropout"]["input"].as_f64().unwrap_or(0.0),
            recurrent_dropout: json["dropout"]["recurrent"].as_f64().unwrap_or(0.0),
            bidirectional: json["bidirectional"].as_bool().unwrap_or(false),
            attention: match json["attention"].as_str() {
                None | Some("" | "none") => Attention::None,
                Some("dot") => Attention::Dot,
                Some("general") => Attention::General,
                Some("additive") => Attention::Additive,
                other => bail!("case.json: attention {other:?}"),
            },
            dtype: Dtype::Float64,
            replicas,
            ..base
        };
        Ok(Self {
            config,
            steps: int("steps")? as usize,
            batches_per_epoch: int("batches_per_epoch")? as usize,
            init: read(&path.join("init.safetensors"))?,
            data: read(&path.join("data.safetensors"))?,
            expected: read(&path.join("expected.safetensors"))?,
        })
    }

    fn expect(&self, name: &str) -> Result<&Tensor> {
        find(&self.expected, name)
    }

    /// The case's name of one of our parameters.
    fn weight(&self, parameter: &str) -> String {
        parameter.replace("lstm", "encoder")
    }

    /// The ids or numbers called `name`, `(S, B, T, …)`, of step `step`, as the last of R replicas. The
    /// others get other ones, so that replicas that mix cannot go unseen.
    fn sequences(&self, name: &str, step: usize) -> Result<Sequences> {
        let all = find(&self.data, name)?.get(step as i64);
        if self.config.features().is_some() {
            let features = *all.size().last().context("no axes")? as usize;
            let own: Vec<f64> = Vec::try_from(all.reshape([-1]))?;
            let others = (1..self.config.replicas).flat_map(|k| {
                let other = own.iter().rev().map(move |x| x * k as f64 - 0.5);
                other.collect::<Vec<_>>()
            });
            let values = others.chain(own.iter().copied()).collect();
            return Ok(Sequences::Numbers { values, features });
        }
        let ids: Vec<i64> = Vec::try_from(all.reshape([-1]))?;
        let others = (1..self.config.replicas).flat_map(|k| {
            let other = ids.iter().rev().map(move |id| (id + k) % self.config.vocab);
            other.collect::<Vec<_>>()
        });
        Ok(Sequences::Ids(others.chain(ids.iter().copied()).collect()))
    }

    /// Lengths, likewise.
    fn lengths(&self, name: &str, step: usize) -> Result<Vec<i64>> {
        let own: Vec<i64> = Vec::try_from(find(&self.data, name)?.get(step as i64))?;
        let others = (1..self.config.replicas).flat_map(|_| own.iter().rev().copied());
        Ok(others.chain(own.iter().copied()).collect())
    }

    /// The dropout masks of step `step`, as those of the last of R replicas; the others have other rows'.
    fn dropout(&self, step: usize) -> Result<Masks> {
        let mut all = Vec::new();
        for (node, layer) in Model::new(&self.config).nodes.iter().enumerate() {
            for spec in layer.layer.spec().masks() {
                let what = match spec.masked {
                    Masked::Input => "input",
                    Masked::Recurrent => "recurrent",
                };
                let name = format!("mask.{}.{what}", self.weight(&layer.name));
                let own = find(&self.data, &name)?.get(step as i64);
                let rows = self.config.batch_size;
                ensure!(own.size() == [rows, spec.width], "{name}: shape {:?}", own.size());
                let replicas = (0..self.config.replicas).rev().map(|k| own.roll(k, 0));
                let values = Tensor::stack(&replicas.collect::<Vec<_>>(), 0).reshape([-1]);
                let values = Vec::try_from(values)?;
                all.push(GivenMask { node, masked: spec.masked, rows: rows as usize, values });
            }
        }
        Ok(Masks::Given(all))
    }

    /// The mask of the sources of `batch`.
    fn mask(&self, batch: &Batch) -> Result<Option<Mask>> {
        let batch = UploadedBatch::of(batch, device::host(), Kind::Double)?;
        Ok(batch.valid.map(|valid| Mask::new(&valid.source)).transpose()?)
    }

    /// `source` `(B, Tin, …)` for every replica.
    fn for_each(&self, source: &Tensor) -> Tensor {
        let shape = [vec![self.config.replicas], source.size()].concat();
        source.unsqueeze(0).expand(shape, false)
    }

    fn batch(&self, step: usize) -> Result<Batch> {
        let forced = self.config.family == Family::TeacherForced;
        Ok(Batch {
            replicas: self.config.replicas as usize,
            size: self.config.batch_size as usize,
            source: self.sequences("inputs", step)?,
            decoder_input: match forced {
                true => Some(self.sequences("decoder_inputs", step)?),
                false => None,
            },
            target: self.sequences("targets", step)?,
            lengths: match self.config.n_in_min {
                Some(_) => Some(Lengths {
                    source: self.lengths("source_lengths", step)?,
                    target: self.lengths("target_lengths", step)?,
                }),
                None => None,
            },
        })
    }
}

/// How far a case is from what Keras computed.
fn errors(mut case: Case, engine: EngineChoice, parts: usize) -> Result<Errors> {
    case.config.engine = engine;
    let replicas = case.config.replicas;
    let last = replicas - 1;
    let mut trainer = Trainer::new(&case.config, device::host())?;
    trainer.divide(parts);
    for spec in trainer.parameters.specs() {
        let value = find(&case.init, &case.weight(&spec.name))?;
        ensure!(value.size() == spec.shape, "{}: shape {:?}", spec.name, value.size());
        let leaf = trainer.parameters.leaf(&spec.name);
        tch::no_grad(|| leaf.get(last).copy_(value));
    }

    let probabilities = probabilities_before(&case, &trainer)?;
    let mut errors = Errors { probabilities, ..Errors::default() };
    for step in 0..case.steps {
        if step % case.batches_per_epoch == 0 {
            trainer.carried = None;
        }
        trainer.set_masks(case.dropout(step)?);
        let (scores, _) = trainer.learn(&case.batch(step)?)?;
        let score = scores.fetch()?[last as usize];
        let of = |name: &str, got: f64| -> Result<f64> {
            Ok((got - case.expect(name)?.double_value(&[step as i64])).abs())
        };
        errors.loss = max(errors.loss, of("loss", score.loss)?);
        if case.config.features().is_none() {
            errors.accuracy = max(errors.accuracy, of("accuracy", score.values[0])?);
        }
        if step == 0 {
            let gradients = trainer.parameters.split(trainer.parameters.gradient())?;
            errors.gradients = compare(&case, &trainer, "grad", &gradients)?;
        }
    }
    let finals = trainer.parameters.split(trainer.parameters.flat())?;
    errors.weights = compare(&case, &trainer, "final", &finals)?;
    errors.predictions = tch::no_grad(|| predictions(&case, &trainer))?;
    Ok(errors)
}

/// Largest error of the parameters' `values` `(R, …)` against the tensors `prefix.…`.
fn compare(case: &Case, trainer: &Trainer, prefix: &str, values: &[Tensor]) -> Result<f64> {
    let mut worst = 0.0;
    for (spec, value) in trainer.parameters.specs().iter().zip(values) {
        let expected = case.expect(&format!("{prefix}.{}", case.weight(&spec.name)))?;
        worst = max(worst, difference(&value.get(case.config.replicas - 1), expected));
    }
    Ok(worst)
}

fn probabilities_before(case: &Case, trainer: &Trainer) -> Result<f64> {
    let batch = case.batch(0)?;
    let mask = case.mask(&batch)?;
    let batch = UploadedBatch::of(&batch, device::host(), Kind::Double)?;
    let fed = batch.decoder_input.as_ref().map(|fed| Input::new(fed, None));
    let model = trainer.evaluator().network;
    let zero = model.zero_state(case.config.batch_size)?;
    let dropout = StepMasks { masks: &case.dropout(0)?, step: 0 };
    let source = Input::new(&batch.source, mask.as_ref());
    let dropout = model.masks(case.config.batch_size, dropout)?;
    let (outputs, _) = model.forward_training(source, fed, &zero, &dropout)?;
    let probabilities = samples_first(&model.loss().answers(&outputs)?, case);
    Ok(difference(&probabilities, case.expect("probs0")?))
}

fn predictions(case: &Case, trainer: &Trainer) -> Result<f64> {
    let inputs = find(&case.data, "predict_inputs")?;
    let zero = |model: &Network| model.zero_state(case.config.batch_size);
    let (fed_back, of_source) = match case.config.features() {
        None => (&[Feedback::Softmax, Feedback::Argmax][..], "probs"),
        Some(_) => (&[Feedback::Values][..], "values"),
    };
    let mut worst = 0.0;
    if case.config.family == Family::TeacherForced {
        for &feedback in fed_back {
            let model = trainer.evaluator().network;
            let (source, mask) = (case.for_each(inputs), case.mask(&case.batch(0)?)?);
            let source = Input::new(&source, mask.as_ref());
            let (got, _) = free_running(model, Some(feedback), source, &zero(model)?)?;
            let expected = case.expect(&format!("predict.{feedback}"))?;
            worst = max(worst, difference(&samples_first(&got, case), expected));
        }
    } else {
        let model = trainer.evaluator().network;
        let mut state: State = zero(model)?;
        for batch in 0..inputs.size()[0] {
            let source = case.for_each(&inputs.get(batch));
            let (got, next) = free_running(model, None, Input::new(&source, None), &state)?;
            let expected = case.expect(&format!("predict.{of_source}"))?.get(batch);
            worst = max(worst, difference(&samples_first(&got, case), &expected));
            state = if case.config.stateful { next } else { zero(model)? };
        }
    }
    Ok(worst)
}

/// `(R, T, B, V)` → the last replica's `(B, T, V)`.
fn samples_first(values: &Tensor, case: &Case) -> Tensor {
    values.get(case.config.replicas - 1).transpose(0, 1)
}

fn difference(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.size(), expected.size());
    (got - expected).abs().max().double_value(&[])
}

/// The larger one, or NaN if either is.
fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn find<'a>(tensors: &'a [(String, Tensor)], name: &str) -> Result<&'a Tensor> {
    let found = tensors.iter().find(|(n, _)| n == name);
    found.map(|(_, tensor)| tensor).with_context(|| format!("the case has no tensor {name}"))
}

fn read(path: &Path) -> Result<Vec<(String, Tensor)>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        let kind = match view.dtype() {
            safetensors::Dtype::F64 => Kind::Double,
            safetensors::Dtype::I64 => Kind::Int64,
            other => bail!("{name}: dtype {other:?}"),
        };
        Ok((name, Tensor::f_from_data_size(view.data(), &shape, kind)?))
    };
    SafeTensors::deserialize(&bytes)?.tensors().into_iter().map(tensor).collect()
}
