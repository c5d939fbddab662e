//! The configuration of a run: what `config.toml` holds and what the flags of `train` set.
//!
//! Fields are declared in `fields.rs`. Uses `base` alone, and names no tensor, no task and no flag.

pub mod presets;

mod checkpoints;
mod declare;
mod fields;
mod validate;

use std::fmt;
use std::path::Path;

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
        /// Say the target of a source as the lines of a file have them.
        Pairs = "pairs",
        /// Say how the numbers of a file go on, or its tokens.
        Series = "series",
    }
}

words! {
    /// What the tokens of a text are; `crate::data::files::tokens` cuts it into them.
    Tokens {
        /// Unicode scalar values.
        Characters = "characters",
        /// User-perceived characters: extended grapheme clusters.
        Graphemes = "graphemes",
        /// What stands between white space.
        Words = "words",
        /// Whole numbers between white space.
        Ids = "ids",
    }
}

words! {
    /// What the tokens of a series are.
    SeriesTokens {
        /// Whole numbers from 0.
        Ids = "ids",
        /// What stands between white space.
        Words = "words",
    }
}

impl SeriesTokens {
    /// The same of any text.
    pub fn tokens(self) -> Tokens {
        match self {
            Self::Ids => Tokens::Ids,
            Self::Words => Tokens::Words,
        }
    }
}

words! {
    /// What is done to a text before it is cut into tokens.
    Normalization {
        /// Nothing.
        None = "none",
        /// Unicode's canonical composition.
        Nfc = "nfc",
        /// Unicode's canonical decomposition: a Hangul syllable becomes its letters.
        Nfd = "nfd",
        /// Case folding, composed: capitals and small letters are the same.
        Casefold = "casefold",
    }
}

words! {
    /// What stands between the columns of a file.
    Separator {
        /// A tab; quotes are characters like others.
        Tab = "tab",
        /// A comma, as in CSV files: a field in double quotes may hold commas.
        Comma = "comma",
        /// A semicolon, likewise.
        Semicolon = "semicolon",
    }
}

words! {
    /// What stands before the decimals of a number in a file.
    Decimal {
        /// A point: 1.5.
        Point = "point",
        /// A comma: 1,5.
        Comma = "comma",
    }
}

words! {
    /// What is done where a series lacks a value; `crate::data::files::gaps` defines each.
    Missing {
        /// The first of them is an error.
        Refuse = "refuse",
        /// The value before it stands in for it.
        Previous = "previous",
        /// A straight line between the values beside it does.
        Interpolate = "interpolate",
        /// Windows in which a value is missing are left out.
        SkipWindows = "skip_windows",
    }
}

words! {
    /// What is done with lines of a file that cannot be read.
    BadLines {
        /// The first of them is an error.
        Refuse = "refuse",
        /// They are left out and counted.
        Skip = "skip",
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
    /// What a free-running decoder is fed first.
    DecoderStart {
        /// A vector of zeros, as the tutorial does.
        Zeros = "zeros",
        /// The id that it is fed first in training.
        Id = "id",
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
    /// What computes training steps and evaluations.
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

/// The first input of a teacher-forced decoder in training, an id that no sequence contains.
pub const START_ID: i64 = 0;

/// The same of texts, whose padding is 0.
pub const TEXT_START: i64 = 1;

/// The `preset` of a configuration that started from none.
pub const CUSTOM: &str = "custom";

impl Config {
    /// What `fields` say; everything else is at its default, or nothing that a run can have.
    ///
    /// # Errors
    /// A field of another type.
    pub fn partial(fields: &toml::Table) -> Result<Self, toml::de::Error> {
        let Ok(mut all) = toml::Table::try_from(Self::blank()) else {
            unreachable!("every field is one of TOML")
        };
        all.extend(fields.clone());
        all.try_into()
    }

    /// The seed of each replica.
    pub fn seeds(&self) -> Vec<u64> {
        (0..self.replicas).map(|k| (self.seed + k) as u64).collect()
    }

    /// The ids of a source are below it.
    pub fn vocab_of_sources(&self) -> i64 {
        self.source_vocab.unwrap_or(self.vocab)
    }

    /// Whether sequences are of numbers, not of ids.
    pub fn has_numbers(&self) -> bool {
        match self.task {
            TaskKind::Waves => true,
            TaskKind::Series => self.series_tokens.is_none(),
            _ => false,
        }
    }

    /// Whether ids are those of a vocabulary of tokens, of which the first stand for none.
    pub fn has_vocabulary(&self) -> bool {
        self.task == TaskKind::Pairs || self.series_tokens.is_some()
    }

    /// The id that a decoder is fed first in training.
    pub fn start_id(&self) -> i64 {
        if self.has_vocabulary() { TEXT_START } else { START_ID }
    }

    /// What stands between the columns of the file `path`.
    pub fn separator_of(&self, path: &Path) -> Separator {
        let is_csv = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv"));
        let by_name = if is_csv { Separator::Comma } else { Separator::Tab };
        self.separator.unwrap_or(by_name)
    }

    /// Whether samples have lengths of their own.
    pub fn has_lengths(&self) -> bool {
        self.n_in_min.is_some() || self.task == TaskKind::Pairs
    }

    /// The numbers of a time step, where the loss is one on numbers; `None`: sequences are of ids.
    pub fn features(&self) -> Option<Features> {
        let of = |features: Option<i64>| features.unwrap_or(1);
        let features = Features { source: of(self.features_in), target: of(self.features_out) };
        (self.loss != LossKind::CrossEntropy).then_some(features)
    }
}
