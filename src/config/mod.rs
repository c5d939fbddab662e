//! The configuration of a run: what `config.toml` holds and what the flags of `train` set.

pub mod presets;

mod checkpoints;
mod fields;
mod validate;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::input::quoted;
pub use checkpoints::CheckpointEvery;
pub use fields::{FIELDS, Field, MANY, alternatives, field, range};
pub use validate::{Invalid, NOT_GIVEN, within};

/// Defines an enum of words that are spelled alike in TOML, on the command line and in messages.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every word, in order of definition.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words! {
    /// What the model learns; `crate::data::task` defines each.
    TaskKind {
        /// Say the first `n_out` ids of a window of `n_in` again.
        Echo = "echo",
        /// Say the id `lag` steps before the last one.
        Lag = "lag",
        /// Say the first `n_out` of `n_in` ids in reverse order.
        Reverse = "reverse",
        /// Say the sum of two numbers, all of them written as characters.
        Addition = "addition",
    }
}

words! {
    /// The model's architecture; `crate::model` defines each.
    Family {
        /// LSTM → dense.
        Lstm = "lstm",
        /// LSTM → RepeatVector → LSTM → dense.
        RepeatVector = "repeat_vector",
        /// Encoder LSTM, whose state starts a decoder LSTM that is fed the target.
        TeacherForced = "teacher_forced",
    }
}

words! {
    /// Keras's `recurrent_activation`: what the input, forget and output gates pass through.
    GateActivation {
        /// clip(0.2x + 0.5, 0, 1), Keras's default up to 2.2.
        HardSigmoid = "hard_sigmoid",
        /// 1 / (1 + e⁻ˣ), Keras's default since 2.3.
        Sigmoid = "sigmoid",
    }
}

words! {
    /// What a free-running decoder is fed after its first step.
    Feedback {
        /// The vector of output probabilities, as the tutorial does.
        Softmax = "softmax",
        /// The most probable id.
        Argmax = "argmax",
    }
}

words! {
    /// How the learning rate changes from step to step; `crate::optim::learning_rate` defines each.
    LearningRateSchedule {
        /// Not at all.
        Constant = "constant",
        /// Along half a cosine from `learning_rate` to `final_learning_rate`.
        Cosine = "cosine",
        /// By one factor a step from `learning_rate` to `final_learning_rate`.
        Exponential = "exponential",
    }
}

words! {
    /// Element type of weights and arithmetic.
    Dtype {
        /// 32 bits.
        Float32 = "float32",
        /// 64 bits.
        Float64 = "float64",
    }
}

words! {
    /// What computes the training steps.
    EngineChoice {
        /// `fused` on a CPU, `libtorch` elsewhere.
        Auto = "auto",
        /// libtorch's operations and automatic differentiation, on any device.
        Libtorch = "libtorch",
        /// Fused steps with explicit gradients, on a CPU.
        Fused = "fused",
    }
}

/// Which device to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// A GPU where one can be used and is estimated to be faster (`crate::train::placement`), otherwise the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

impl DeviceChoice {
    /// The words that are choices.
    pub const EXPECTED: &'static str = "auto, cpu, cuda or cuda:N";
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> String {
        choice.to_string()
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;
    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

impl std::str::FromStr for DeviceChoice {
    type Err = String;
    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => word
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| format!("device '{}': expected {}", quoted(word), Self::EXPECTED)),
        }
    }
}

/// Everything that determines a run. `None` means that the field does not apply to the task or
/// family, or that the option is off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The preset that the run started from, or `custom`.
    #[serde(default = "custom")]
    pub preset: String,

    /// What the model learns.
    pub task: TaskKind,
    /// V: ids are below it, and so many are the outputs' classes.
    pub vocab: i64,
    /// Smallest id that sequences contain.
    pub id_min: i64,
    /// Largest id that sequences contain.
    pub id_max: i64,
    /// Ids in the random sequence that an epoch's windows are cut from (echo, lag).
    pub length: Option<i64>,
    /// Samples in an epoch (reverse); how many are trained on, the same in every epoch (addition).
    pub samples: Option<i64>,
    /// Tin: ids in a source.
    pub n_in: i64,
    /// Tout: ids in a target.
    pub n_out: i64,
    /// How many steps before the last source id the target lies (lag).
    pub lag: Option<i64>,

    /// The model's architecture.
    pub family: Family,
    /// H: units of every LSTM.
    pub units: i64,
    /// Whether row i of a batch continues row i of the batch before; the state is zero at the
    /// start of every epoch (lstm, repeat_vector).
    #[serde(default)]
    pub stateful: bool,
    /// Whether the dense layer sees every step's output or only the last (lstm).
    pub return_sequences: Option<bool>,
    /// What the LSTMs' gates pass through.
    pub gate_activation: GateActivation,
    /// What the free-running decoder is fed (teacher_forced).
    pub feedback: Option<Feedback>,

    /// B: samples in a batch of one replica.
    pub batch_size: i64,
    /// Passes over fresh data, one new sequence each (echo, lag) or `samples` samples (reverse), or
    /// over the same samples in a new order (addition).
    pub epochs: i64,
    /// Adam's step size, where the schedule starts after any warm-up.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// How the learning rate changes from step to step.
    #[serde(default = "learning_rate_schedule")]
    pub learning_rate_schedule: LearningRateSchedule,
    /// Where the schedule ends (cosine, exponential); `None`: 0 (cosine).
    pub final_learning_rate: Option<f64>,
    /// Optimiser steps in which the learning rate first rises linearly.
    pub warmup_steps: Option<i64>,
    /// Adam's decay of the gradient's running mean.
    #[serde(default = "beta_1")]
    pub beta_1: f64,
    /// Adam's decay of the squared gradient's running mean.
    #[serde(default = "beta_2")]
    pub beta_2: f64,
    /// Added to the root of the squared gradient's mean, where Keras adds it.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Largest norm of a replica's whole gradient; a longer one is scaled down to it.
    pub global_clipnorm: Option<f64>,
    /// Element type of weights and arithmetic.
    #[serde(default = "dtype")]
    pub dtype: Dtype,

    /// Seed of replica 0; replica k has `seed + k`.
    #[serde(default = "one")]
    pub seed: i64,
    /// R: independent models trained side by side.
    #[serde(default = "one")]
    pub replicas: i64,
    /// Optimiser steps between rows of `curves.csv`; `None`: one row an epoch.
    pub log_every: Option<i64>,
    /// Every so many rows of `curves.csv` have their validation columns filled.
    pub validate_every: Option<i64>,
    /// Samples behind a row's validation columns: never trained on, and the same for every row; at
    /// most `evaluation_samples` (addition).
    #[serde(default = "evaluation_samples")]
    pub validation_samples: i64,
    /// Fresh samples that the trained model is evaluated on; so many are held out (addition).
    #[serde(default = "evaluation_samples")]
    pub evaluation_samples: i64,
    /// Which device to compute on.
    #[serde(default = "device")]
    pub device: DeviceChoice,
    /// What computes the training steps.
    #[serde(default = "engine")]
    pub engine: EngineChoice,
    /// CPU threads; `None`: chosen by size.
    pub threads: Option<i64>,
    /// How often the state is saved, besides at the end.
    #[serde(default = "checkpoint_every")]
    pub checkpoint_every: CheckpointEvery,
    /// So many of the last checkpoints are kept.
    #[serde(default = "keep_checkpoints")]
    pub keep_checkpoints: i64,
}

/// The `preset` of a configuration that started from none.
pub const CUSTOM: &str = "custom";

fn custom() -> String {
    CUSTOM.to_owned()
}
fn learning_rate() -> f64 {
    1e-3
}
fn learning_rate_schedule() -> LearningRateSchedule {
    LearningRateSchedule::Constant
}
fn beta_1() -> f64 {
    0.9
}
fn beta_2() -> f64 {
    0.999
}
fn epsilon() -> f64 {
    1e-7
}
fn engine() -> EngineChoice {
    EngineChoice::Auto
}
fn dtype() -> Dtype {
    Dtype::Float32
}
fn one() -> i64 {
    1
}
fn evaluation_samples() -> i64 {
    2_000
}
fn device() -> DeviceChoice {
    DeviceChoice::Auto
}
fn checkpoint_every() -> CheckpointEvery {
    CheckpointEvery::Seconds(30)
}
fn keep_checkpoints() -> i64 {
    2
}

impl Config {
    /// The seed of each replica.
    pub fn seeds(&self) -> Vec<u64> {
        (0..self.replicas).map(|k| (self.seed + k) as u64).collect()
    }

    /// The same run computed where and saved when `other` is: none of its numbers is another.
    pub fn placed_as(&self, other: &Self) -> Self {
        let Self { device, threads, checkpoint_every, keep_checkpoints, .. } = *other;
        Self { device, threads, checkpoint_every, keep_checkpoints, ..self.clone() }
    }
}

/// Whom a field is for, in words, and whether `task`, `family` and `schedule` are among them; `None`
/// for a field that is for all.
pub fn scope(
    field: &str,
    task: TaskKind,
    family: Family,
    schedule: LearningRateSchedule,
) -> Option<(&'static str, bool)> {
    let draws_samples = matches!(task, TaskKind::Reverse | TaskKind::Addition);
    match field {
        "length" => Some(("tasks echo and lag", !draws_samples)),
        "samples" => Some(("tasks reverse and addition", draws_samples)),
        "lag" => Some(("task lag", task == TaskKind::Lag)),
        "return_sequences" => Some(("family lstm", family == Family::Lstm)),
        "feedback" => Some(("family teacher_forced", family == Family::TeacherForced)),
        "stateful" => Some(("families lstm and repeat_vector", family != Family::TeacherForced)),
        "final_learning_rate" => Some((
            "learning-rate schedules cosine and exponential",
            schedule != LearningRateSchedule::Constant,
        )),
        _ => None,
    }
}
