//! An estimate of the memory that a training takes, from its sizes alone, to refuse one that does
//! not fit before anything is allocated.

mod available;

use tch::Device;

use crate::base::error::UserError;
use crate::base::rng::Purpose;
use crate::config::{Config, EngineChoice, Features};
use crate::data::loader::{ids_ahead, ids_of_a_step};
use crate::data::task::Task;
use crate::engine;
use crate::engine::fused::inference::InferenceCosts;
use crate::engine::fused::{self, split, transposed};
use crate::model::Model;
use crate::model::layers::Costs;
use crate::optim::rule::Rule;
use crate::tensor::device;
use crate::tensor::parameters::drawing_bytes;
use crate::train::checkpoint;
use crate::train::evaluate::{Plan, rows_at_once};
pub use available::available;

/// What the program takes before it trains, most of it libtorch, in bytes.
const PROGRAM: f64 = 130e6;

/// Bytes that a thread takes: the used part of its stack, and what the allocator caches for it.
const THREAD: f64 = 1.2e5;

/// Bytes of an id.
const ID: f64 = 8.0;

/// Bytes of libtorch's graph for a time step of an LSTM, besides its numbers.
const STEP: f64 = 2e4;

const GIB: f64 = (1u64 << 30) as f64;

/// Something that takes memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// What, in words.
    pub what: &'static str,
    /// How much, in bytes.
    pub bytes: f64,
    /// Fields that make it smaller when they are lowered.
    pub fields: &'static [&'static str],
}

/// The host memory of a training at its peak.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The largest first.
    pub shares: Vec<Share>,
}

/// Checks that a training of the validated `config` on `device` fits into the available memory. The
/// memory of a GPU is not checked: there the first allocation too many fails.
///
/// # Errors
/// If it does not, with the largest shares and what to lower, and those of [`engine::choose`].
pub fn check(config: &Config, device: Device) -> Result<(), UserError> {
    let engine = engine::choose(config.engine, device)?;
    Estimate::training(config, engine, device::is_host(device)).check(config, available())
}

/// The sizes that shares are computed from, as floats: no product of them overflows.
struct Sizes<'a> {
    config: &'a Config,
    model: Model,
    /// Bytes of a number.
    number: f64,
    replicas: f64,
    rows: f64,
    units: f64,
    /// The width of the outputs.
    width: f64,
    /// Time steps of the outputs.
    output_steps: f64,
    /// Bytes of all weights.
    weights: f64,
    /// Numbers in the largest weight of one replica.
    largest: f64,
    /// Numbers that the optimiser keeps of a weight.
    slots: usize,
}

impl Estimate {
    /// That of a training of the validated `config` by `engine`. Without `on_host`, the model is on
    /// a device with its own memory, which is not counted.
    pub fn training(config: &Config, engine: EngineChoice, on_host: bool) -> Self {
        let sizes = Sizes::new(config);
        let step = match engine {
            EngineChoice::Fused => sizes.blocks(),
            _ => sizes.graph(),
        };
        // Blocks are kept; a graph is freed after its step.
        let kept = (engine == EngineChoice::Fused).then(|| step.clone());
        let learning = || sizes.moments((2 + sizes.slots) * sizes.copies(engine));
        let evaluation = sizes.evaluation(engine);
        let moments = match on_host {
            true => vec![
                vec![sizes.moments(2), sizes.drawing()],
                vec![learning(), sizes.gradients(engine), step],
                vec![learning(), sizes.checkpoint()].into_iter().chain(kept.clone()).collect(),
                vec![learning(), evaluation].into_iter().chain(kept).collect(),
            ],
            false => vec![vec![sizes.drawing()], vec![sizes.checkpoint()]],
        };
        let total = |shares: &Vec<Share>| shares.iter().map(|share| share.bytes).sum::<f64>();
        let most = moments.into_iter().max_by(|a, b| total(a).total_cmp(&total(b)));
        let mut shares = most.unwrap_or_default();
        shares.push(sizes.data(engine, on_host));
        shares.push(sizes.threads(engine));
        shares.push(Share { what: "the program itself", bytes: PROGRAM, fields: &[] });
        shares.sort_by(|a, b| b.bytes.total_cmp(&a.bytes));
        Self { shares }
    }

    /// All of it, in bytes.
    pub fn bytes(&self) -> f64 {
        self.shares.iter().map(|share| share.bytes).sum()
    }

    /// Checks that it fits into `available` bytes; `None` if that is unknown.
    ///
    /// # Errors
    /// If it does not, with the largest shares and what to lower.
    pub fn check(&self, config: &Config, available: Option<u64>) -> Result<(), UserError> {
        let fits = available.is_none_or(|available| self.bytes() <= available as f64);
        if fits {
            return Ok(());
        }
        let large = || self.shares.iter().filter(|share| share.bytes > self.bytes() / 10.0);
        let names: Vec<String> =
            large().map(|share| format!("{} {}", share.what, gib(share.bytes))).collect();
        let error = UserError::usage(format!(
            "training {} needs about {} of memory, and {} are available: {}",
            config.preset,
            gib(self.bytes()),
            gib(available.unwrap_or_default() as f64),
            names.join(", ")
        ));
        let mut flags: Vec<String> = Vec::new();
        for field in large().flat_map(|share| share.fields).filter(|field| lowers(field, config)) {
            let flag = format!("--{}", field.replace('_', "-"));
            if !flags.contains(&flag) {
                flags.push(flag);
            }
        }
        Err(match flags.is_empty() {
            true => error.hint("end other programs, or train on a machine with more memory"),
            false => error.hint(format!("lower {}", flags.join(", "))),
        })
    }
}

/// Whether `field` can be lowered.
fn lowers(field: &str, config: &Config) -> bool {
    match field {
        "replicas" => config.replicas > 1,
        "layers" => config.layers > 1,
        "embedding" => config.embedding > 1,
        "batch_size" => config.batch_size > 1,
        "length" => config.length.is_some(),
        "samples" => config.samples.is_some(),
        "threads" => config.threads.is_some_and(|threads| threads > 1),
        "vocab" | "n_in" => !Task::new(config).fixes(field),
        _ => true,
    }
}

/// Bytes in GiB, to three digits.
pub fn gib(bytes: f64) -> String {
    let gib = bytes / GIB;
    let digits = if gib < 10.0 { 2 } else { usize::from(gib < 100.0) };
    format!("{gib:.digits$} GiB")
}

impl<'a> Sizes<'a> {
    fn new(config: &'a Config) -> Self {
        let model = Model::new(config);
        let count = |shape: &[i64]| shape.iter().map(|&n| n as f64).product::<f64>();
        let counts: Vec<f64> = model.parameters().iter().map(|spec| count(&spec.shape)).collect();
        let number = match config.dtype {
            crate::config::Dtype::Float32 => 4.0,
            crate::config::Dtype::Float64 => 8.0,
        };
        let replicas = config.replicas as f64;
        Self {
            config,
            number,
            replicas,
            rows: config.batch_size as f64,
            units: config.units as f64,
            width: model.output_width() as f64,
            output_steps: model.output_steps() as f64,
            weights: counts.iter().sum::<f64>() * replicas * number,
            largest: counts.iter().copied().fold(0.0, f64::max),
            slots: Rule::new(config).slots().len(),
            model,
        }
    }

    /// `copies` times the weights (themselves, gradient, the optimiser's slots), and with
    /// validation the best weights.
    fn moments(&self, copies: usize) -> Share {
        let what = match self.slots {
            0 => "weights and gradient",
            _ => "weights, gradient and the optimiser's moments",
        };
        Share {
            what,
            bytes: (copies as f64 + self.best() + self.restored()) * self.weights,
            fields: &["units", "vocab", "replicas", "layers", "embedding"],
        }
    }

    /// How often a step by `engine` has the weights with their gradient and moments: once more where parts of
    /// layers have theirs side by side.
    fn copies(&self, engine: EngineChoice) -> usize {
        let packed = || split::model(self.config).parts() > 1;
        if engine == EngineChoice::Fused && packed() { 2 } else { 1 }
    }

    /// Copies of the best weights: new ones are made before the old ones are freed.
    fn best(&self) -> f64 {
        if self.config.validate_every.is_some() { 2.0 } else { 0.0 }
    }

    /// Copies of the weights that are to be restored, which are copied into one by one.
    fn restored(&self) -> f64 {
        f64::from(self.config.restore_best_weights == Some(true))
    }

    /// Weights as they are drawn, and their copies as tensors.
    fn drawing(&self) -> Share {
        let threads = device::most_threads(self.config);
        let drawn = drawing_bytes(&self.model.parameters(), self.config.replicas, threads);
        // A leaf of the graph starts with a separate gradient.
        let leaf = self.largest * self.replicas * self.number;
        Share {
            what: "drawing the weights",
            bytes: drawn.max(leaf),
            fields: &["units", "vocab", "threads", "embedding"],
        }
    }

    /// What clipping by libtorch's operations needs beside the gradient.
    fn gradients(&self, engine: EngineChoice) -> Share {
        let what = "a weight's gradient";
        let squares = self.config.global_clipnorm.is_some() && engine != EngineChoice::Fused;
        let copies = if squares { 1.0 } else { 0.0 };
        let bytes = copies * self.largest * self.replicas * self.number;
        Share { what, bytes, fields: &["units", "vocab", "replicas", "layers", "embedding"] }
    }

    /// The copies that are written.
    fn checkpoint(&self) -> Share {
        // The best weights are written as well.
        let copies = checkpoint::copies(self.slots) as f64 + self.best() / 2.0 + self.restored();
        let bytes = copies * self.weights;
        Share {
            what: "writing a checkpoint",
            bytes,
            fields: &["units", "vocab", "replicas", "layers", "embedding"],
        }
    }

    /// The activations of a batch, their gradients and copies of weights, as [`fused`] keeps them.
    fn blocks(&self) -> Share {
        let model = split::model(self.config);
        let mut share = self.activations(fused::row_bytes(&model, self.number));
        let rows = self.config.batch_size as usize;
        let blocks = fused::block_bytes(&model, rows, self.number);
        share.bytes += self.replicas * (transposed::bytes(&model, self.number) + blocks);
        share
    }

    /// The same as libtorch's graph keeps them, with the step's temporaries.
    fn graph(&self) -> Share {
        let sum = |of: fn(&Costs) -> f64| self.model.costs().map(|costs| of(&costs)).sum::<f64>();
        let temporary = self.model.costs().map(|costs| costs.temporary).fold(0.0, f64::max);
        let row = (sum(|costs| costs.kept) + temporary) * self.number;
        let kernels = 2.0 * self.largest * self.replicas * self.number;
        let mut share = self.activations(row);
        share.bytes += kernels + STEP * sum(|costs| costs.sequential_steps);
        share
    }

    fn activations(&self, row: f64) -> Share {
        let bytes = self.replicas * self.rows * row;
        let fields = match self.output_steps * self.width > self.units * 8.0 {
            true => &["batch_size", "vocab", "n_out", "replicas", "layers", "embedding"],
            false => &["batch_size", "units", "n_in", "replicas", "layers", "embedding"],
        };
        Share { what: "activations of a batch", bytes, fields }
    }

    /// What is evaluated at once, and the activations that this takes.
    fn evaluation(&self, engine: EngineChoice) -> Share {
        let samples = match self.config.validate_every {
            Some(_) => self.config.evaluation_samples.max(self.config.validation_samples),
            None => self.config.evaluation_samples,
        };
        let set = Task::new(self.config).fresh_set(Purpose::Evaluation, samples as usize);
        let plan = Plan::new(self.config, rows_at_once(self.config, 1, true), set);
        let rows = plan.stride.saturating_mul(plan.side_by_side);
        let activations = match engine {
            EngineChoice::Fused => {
                let costs = InferenceCosts::new(self.config, rows, self.number);
                costs.threads as f64 * THREAD + costs.bytes
            }
            _ => self.replicas * rows as f64 * self.held_in_inference() * self.number,
        };
        let features = self.config.features().unwrap_or(Features::OF_IDS);
        let of = |steps: i64, features: i64| steps as f64 * features as f64;
        let ids = of(self.config.n_in, features.source) + of(self.config.n_out, features.target);
        let ids = 5.0 * ids * ID;
        let sequences = plan.side_by_side as f64 * self.sequence();
        let bytes = activations + self.replicas * (rows as f64 * ids + sequences);
        let fields: &[&str] = match self.config.stateful {
            true => &["batch_size", "units", "vocab", "replicas", "layers", "embedding"],
            false => &["units", "vocab", "n_in", "replicas", "layers", "embedding"],
        };
        Share { what: "evaluation", bytes, fields }
    }

    /// Numbers that libtorch's operations hold of a row in inference: activations without those kept for a
    /// gradient.
    fn held_in_inference(&self) -> f64 {
        // A decoder runs step by step.
        let decoder = self.model.decoder();
        let nodes = self.model.nodes.iter().zip(decoder).enumerate();
        let of_nodes = nodes.map(|(number, (node, decodes))| {
            let top = number + 1 == self.model.nodes.len();
            let (spec, steps) = (node.layer.spec(), if decodes && !top { 1 } else { node.steps });
            let outputs = if top { 0.0 } else { steps as f64 * spec.width() as f64 };
            (spec.costs(steps).inference, outputs)
        });
        let (held, outputs): (Vec<f64>, Vec<f64>) = of_nodes.unzip();
        let largest = |of: &[f64]| of.iter().copied().fold(0.0, f64::max);
        // All layers' outputs are kept to the end; what the largest layer holds has its own.
        largest(&held) + outputs.iter().sum::<f64>() - largest(&outputs)
    }

    /// Bytes of one replica's data of an epoch, from which batches are taken.
    fn sequence(&self) -> f64 {
        let task = Task::new(self.config);
        (task.ids_kept() + task.ids_of_an_epoch()) as f64 * ID
    }

    /// Ids: the data of an epoch, the batches of the current and the next steps, and their copies
    /// as tensors; the carried state.
    fn data(&self, engine: EngineChoice, on_host: bool) -> Share {
        let step = ids_of_a_step(self.config) as f64;
        let ids = match (engine, on_host) {
            (EngineChoice::Fused, _) => step * (1 + fused::most_steps(self.config)) as f64,
            (_, true) => step * 3.0,
            (_, false) => ids_ahead(self.config),
        };
        let width = |node: usize| self.model.nodes[node].layer.spec().width() as f64;
        let state = 4.0 * self.model.carried().map(width).sum::<f64>() * self.number;
        let bytes = ids * ID + self.replicas * (self.sequence() + self.rows * state);
        let fields = &["length", "samples", "batch_size", "n_in", "replicas"];
        Share { what: "data", bytes, fields }
    }

    /// The threads of the pool and of libtorch.
    fn threads(&self, engine: EngineChoice) -> Share {
        let libtorch = device::threads(self.config) as f64 * THREAD;
        let bytes = match engine {
            EngineChoice::Fused => {
                let most = fused::threads(self.config).into_iter().max().unwrap_or(1);
                libtorch + most as f64 * (THREAD + fused::scratch_bytes(&self.model))
            }
            _ => 2.0 * libtorch,
        };
        Share { what: "threads", bytes, fields: &["threads"] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    fn config(preset: &str) -> Config {
        presets::find(preset).unwrap().config
    }

    fn estimate(config: &Config, engine: EngineChoice) -> f64 {
        Estimate::training(config, engine, true).bytes()
    }

    #[test]
    fn the_estimate_grows_with_every_size_and_never_overflows() {
        for engine in [EngineChoice::Fused, EngineChoice::Libtorch] {
            let small = config("reverse");
            let before = estimate(&small, engine);
            assert!(before > PROGRAM && before < 2.0 * PROGRAM, "{before}");
            for larger in [
                Config { units: 5_000, ..small.clone() },
                Config { vocab: 1_000_000, ..small.clone() },
                Config { batch_size: 100_000, ..small.clone() },
                Config { replicas: 5_000, ..small.clone() },
                Config { n_in: 1_000_000, ..small.clone() },
            ] {
                assert!(estimate(&larger, engine) > 2.0 * before, "{larger:?}");
            }
            let many = 1_000_000;
            let huge = Config { units: many, vocab: many, n_in: many, batch_size: many, ..small };
            assert!(estimate(&Config { replicas: 65_536, ..huge }, engine) > 1e20);
        }
    }

    #[test]
    fn long_sources_are_evaluated_few_at_a_time() {
        let long = Config { n_in: 10_000, samples: Some(64), ..config("reverse") };
        let bytes = estimate(&long, EngineChoice::Fused);
        assert!(bytes < 4e9, "{bytes:e}");
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_takes_most_and_what_to_lower() {
        let large = Config { units: 100_000, ..config("reverse") };
        let estimate = Estimate::training(&large, EngineChoice::Fused, true);
        assert!(estimate.check(&large, None).is_ok());
        assert!(estimate.check(&large, Some(u64::MAX)).is_ok());
        assert!(estimate.check(&large, Some(estimate.bytes() as u64 + 1)).is_ok());
        let error = anyhow::Error::from(estimate.check(&large, Some(3 << 30)).unwrap_err());
        let text = crate::base::error::describe(&error);
        for says in [
            "error: training reverse needs about ",
            ", and 3.00 GiB are available: weights, gradient and the optimiser's moments ",
            ", writing a checkpoint ",
            "\nhint: lower --units, --vocab",
        ] {
            assert!(text.contains(says), "{text}");
        }
        assert!(!text.contains("--replicas"), "there is but one: {text}");
    }

    #[test]
    fn sizes_are_told_to_three_digits() {
        let gibs = [0.5, 2.0, 12.345, 1234.5].map(|n| gib(n * GIB));
        assert_eq!(gibs, ["0.50 GiB", "2.00 GiB", "12.3 GiB", "1234 GiB"]);
    }
}
