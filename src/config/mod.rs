//! The configuration of a run: what `config.toml` holds and what the flags of `train` set.
//!
//! Fields are declared in `fields.rs`. Uses `base` alone, and names no tensor, no task and no flag.

pub mod presets;

mod checkpoints;
mod declare;
mod fields;
mod validate;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::input::quoted;
pub use checkpoints::CheckpointEvery;
pub use declare::{Alters, Field, MANY, Takes, alternatives, written};
pub use fields::{Config, FIELDS, field, range};
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

        impl Default for $name {
            /// The first.
            fn default() -> Self {
                [$(Self::$variant),+][0]
            }
        }

        impl declare::FieldKind for $name {
            const TAKES: Takes = Takes::Word(Self::WORDS);
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
        /// Say the first `echoed` of `n_in` ids again, and zeros behind them.
        PaddedEcho = "padded_echo",
        /// Say the sum of two numbers, all of them written as characters.
        Addition = "addition",
        /// Say how sines go on, in numbers.
        Waves = "waves",
    }
}

impl TaskKind {
    /// Whether its sequences are of numbers, not of ids.
    pub fn has_numbers(self) -> bool {
        self == Self::Waves
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
    /// How a decoder's outputs are compared with the encoder's, whose weighted mean the dense layer
    /// then reads besides.
    Attention {
        /// Not at all.
        None = "none",
        /// By their product (Luong et al., 2015).
        Dot = "dot",
        /// By the product with a matrix between them (Luong et al., 2015).
        General = "general",
        /// By a layer with tanh (Bahdanau et al., 2015).
        Additive = "additive",
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
        /// The numbers that it has said, for losses on numbers.
        Values = "values",
    }
}

words! {
    /// What training makes small; `crate::model::losses` defines each.
    LossKind {
        /// Categorical cross-entropy, against ids.
        CrossEntropy = "cross_entropy",
        /// The mean squared error, against numbers.
        Mse = "mse",
        /// The mean absolute error, against numbers.
        Mae = "mae",
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
        /// By a factor at every row where a metric has not gained for some rows.
        Plateau = "plateau",
    }
}

words! {
    /// A column of `curves.csv` that a training may go by.
    CurveMetric {
        /// The loss in training.
        Loss = "loss",
        /// The token accuracy in training.
        Accuracy = "accuracy",
        /// The loss in validation.
        ValLoss = "val_loss",
        /// The token accuracy in validation.
        ValAccuracy = "val_accuracy",
        /// The share of validated sequences that are right as a whole.
        ValSequenceAccuracy = "val_sequence_accuracy",
    }
}

impl CurveMetric {
    /// Whether only rows that are validated have it.
    pub fn needs_validation(self) -> bool {
        !matches!(self, Self::Loss | Self::Accuracy)
    }
}

words! {
    /// In which direction a metric gains.
    Direction {
        /// The less the better.
        Min = "min",
        /// The more the better.
        Max = "max",
    }
}

words! {
    /// What moves the weights; `crate::optim` defines each.
    OptimizerKind {
        /// Adam.
        Adam = "adam",
        /// Adam with a weight decay unless told otherwise.
        AdamW = "adamw",
        /// RMSprop.
        RmsProp = "rmsprop",
        /// Gradient descent.
        Sgd = "sgd",
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

/// How many numbers a time step has, where sequences are of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Of a source.
    pub source: i64,
    /// Of a target.
    pub target: i64,
}

impl Features {
    /// Where a time step is an id.
    pub const OF_IDS: Self = Self { source: 1, target: 1 };
}

/// The `preset` of a configuration that started from none.
pub const CUSTOM: &str = "custom";

impl Config {
    /// The seed of each replica.
    pub fn seeds(&self) -> Vec<u64> {
        (0..self.replicas).map(|k| (self.seed + k) as u64).collect()
    }

    /// The numbers of a time step, where the loss is one on numbers; `None`: sequences are of ids.
    pub fn features(&self) -> Option<Features> {
        let of = |features: Option<i64>| features.unwrap_or(1);
        let features = Features { source: of(self.features_in), target: of(self.features_out) };
        (self.loss != LossKind::CrossEntropy).then_some(features)
    }
}
