//! The published experiments: what they train and what was published.

use serde::Serialize;

use crate::config::{
    Attention, Config, DecoderStart, Family, Feedback, GateActivation, LearningRateSchedule,
    TaskKind,
};

/// A published figure, or the range of several runs of the same script.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// Smallest.
    pub low: f64,
    /// Largest.
    pub high: f64,
}

impl std::fmt::Display for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = if self.low == self.high {
            format!("{}", self.low)
        } else {
            format!("{}–{}", self.low, self.high)
        };
        f.pad(&text)
    }
}

/// Epochs between the losses of a published curve.
pub const CURVE_EVERY: i64 = 250;

/// What the notebook prints for `partial-echo-2`.
const PARTIAL_ECHO_2: [f64; 20] = [
    3.8996, 3.0983, 2.6107, 1.8789, 1.9074, 2.0884, 1.6594, 1.7970, 1.3525, 1.3176, 1.1246, 0.9714,
    1.1233, 0.8686, 0.3903, 0.5007, 0.3501, 0.3696, 0.3066, 0.3368,
];

/// What the notebook prints for `partial-echo-4`.
const PARTIAL_ECHO_4: [f64; 20] = [
    3.6320, 2.9323, 2.4213, 2.4369, 2.1717, 2.0979, 2.1899, 2.0553, 2.0192, 1.8303, 1.8308, 1.7297,
    1.6563, 1.6828, 1.6940, 4.2849, 3.7389, 3.2624, 3.2066, 2.8951,
];

/// A published experiment.
#[derive(Debug, Clone, Serialize)]
pub struct Preset {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// Its configuration.
    pub config: Config,
    /// Loss of the last epoch as Keras logs it: the mean over batches, each before its update.
    pub loss: Option<Published>,
    /// Token accuracy of the last epoch, likewise.
    pub accuracy: Option<Published>,
    /// Where the figures come from, with sequences right of sequences tried where published.
    pub source: &'static str,
}

impl Preset {
    /// The losses of every [`CURVE_EVERY`]th epoch, where these were published.
    pub fn curve(&self) -> &'static [f64] {
        match self.name {
            "partial-echo-2" => &PARTIAL_ECHO_2,
            "partial-echo-4" => &PARTIAL_ECHO_4,
            _ => &[],
        }
    }
}

/// Every published experiment, in the order in which `seqlab list` shows them.
pub fn all() -> Vec<Preset> {
    vec![
        Preset {
            name: "echo",
            about: "stateful LSTM echoes every step",
            config: Config { preset: "echo".into(), ..echo() },
            loss: one(1.7123),
            accuracy: one(1.0),
            source: "notebook",
        },
        partial_echo("partial-echo-2", 2, 150, (0.3368, 0.9286)),
        partial_echo("partial-echo-4", 4, 300, (2.8951, 0.3929)),
        partial_echo_4_tuned(),
        Preset {
            name: "reverse",
            about: "teacher-forced encoder-decoder, first 3 of 6 ids reversed",
            config: reverse(),
            loss: range(0.6344, 0.6460),
            accuracy: range(0.7954, 0.7968),
            source: "notebook; 100 of 100 and 98 of 100 exact",
        },
        Preset {
            name: "echo-tutorial",
            about: "as echo, with the tutorial's sizes",
            config: Config {
                preset: "echo-tutorial".into(),
                id_max: 99,
                n_in: 5,
                n_out: 5,
                units: 20,
                batch_size: 7,
                ..echo()
            },
            loss: range(1.57, 1.74),
            accuracy: one(1.0),
            source: "tutorial; 21 of 21 windows exact",
        },
        Preset {
            name: "echo-current",
            about: "LSTM echoes the one id it sees",
            config: Config {
                preset: "echo-current".into(),
                id_max: 99,
                n_in: 1,
                n_out: 1,
                units: 15,
                stateful: false,
                return_sequences: Some(false),
                batch_size: 1,
                ..echo()
            },
            loss: range(0.0785, 0.0927),
            accuracy: one(1.0),
            source: "tutorial",
        },
        Preset {
            name: "echo-lag",
            about: "stateful LSTM says the id before the last of a window",
            config: Config { preset: "echo-lag".into(), n_in: 5, batch_size: 5, ..lag() },
            loss: range(0.126, 0.239),
            accuracy: range(0.95, 1.0),
            source: "tutorial; 20 of 20 exact",
        },
        Preset {
            name: "echo-lag-no-context",
            about: "the same, one id a sample: meant to fail, no gradient crosses a batch",
            config: Config {
                preset: "echo-lag-no-context".into(),
                n_in: 1,
                batch_size: 6,
                ..lag()
            },
            loss: range(4.58, 4.62),
            accuracy: range(0.0, 0.04),
            source: "tutorial",
        },
        Preset {
            name: "padded-echo",
            about: "RepeatVector encoder-decoder, first 2 of 5 ids, then zeros",
            config: padded_echo(),
            loss: None,
            accuracy: None,
            source: "tutorial; 23.1 % exact",
        },
        Preset {
            name: "padded-echo-attention",
            about: "the same by an encoder-decoder with attention",
            config: padded_echo_attention(),
            loss: None,
            accuracy: None,
            source: "tutorial; 95.7 % exact, by a layer of its own",
        },
        Preset {
            name: "reverse-400-40",
            about: "teacher-forced encoder-decoder with attention, first 40 of 400 ids reversed",
            config: reverse_400_40(),
            loss: None,
            accuracy: None,
            source: "seqlab; a reader of the tutorial asks for it",
        },
        addition("addition-2", 2, 55, (4_500, 500)),
        addition("addition-3", 3, 100, (45_000, 5_000)),
    ]
}

/// The preset called `name`.
pub fn find(name: &str) -> Option<Preset> {
    all().into_iter().find(|preset| preset.name == name)
}

/// The names of all presets.
pub fn names() -> Vec<&'static str> {
    all().into_iter().map(|preset| preset.name).collect()
}

fn one(figure: f64) -> Option<Published> {
    range(figure, figure)
}

fn range(low: f64, high: f64) -> Option<Published> {
    Some(Published { low, high })
}

/// `echo`, which the other windows of one sequence are variations of.
fn echo() -> Config {
    Config {
        preset: "echo".into(),
        task: TaskKind::Echo,
        vocab: 100,
        id_min: 0,
        // The notebook draws below V − 1: its last class never occurs.
        id_max: 98,
        length: Some(25),
        n_in: 6,
        n_out: 6,
        family: Family::Lstm,
        units: 16,
        stateful: true,
        return_sequences: Some(true),
        gate_activation: GateActivation::HardSigmoid,
        batch_size: 5,
        epochs: 500,
        ..Config::blank()
    }
}

fn partial_echo(name: &'static str, n_out: i64, units: i64, published: (f64, f64)) -> Preset {
    Preset {
        name,
        about: if n_out == 2 {
            "stateful RepeatVector encoder-decoder, first 2 of 5 ids"
        } else {
            "stateful RepeatVector encoder-decoder, first 4 of 5 ids"
        },
        config: Config {
            preset: name.into(),
            n_in: 5,
            n_out,
            family: Family::RepeatVector,
            units,
            return_sequences: None,
            batch_size: 21,
            epochs: 5_000,
            ..echo()
        },
        loss: one(published.0),
        accuracy: one(published.1),
        source: if n_out == 2 {
            "notebook; its tutorial .024–.041 / .976–1"
        } else {
            "notebook"
        },
    }
}

/// `partial-echo-4` with nothing changed but the learning rate.
fn partial_echo_4_tuned() -> Preset {
    let name = "partial-echo-4-tuned";
    let preset = partial_echo(name, 4, 300, (0.0, 0.0));
    Preset {
        about: "the same with another learning rate",
        config: Config {
            learning_rate: 1.6e-2,
            learning_rate_schedule: LearningRateSchedule::Cosine,
            warmup_steps: Some(500),
            ..preset.config
        },
        loss: None,
        accuracy: None,
        source: "seqlab; the notebook asks \"Longer sequences?\"",
        ..preset
    }
}

fn lag() -> Config {
    Config {
        task: TaskKind::Lag,
        id_max: 99,
        n_out: 1,
        lag: Some(1),
        units: 50,
        return_sequences: Some(false),
        epochs: 2_000,
        ..echo()
    }
}

fn reverse() -> Config {
    Config {
        preset: "reverse".into(),
        task: TaskKind::Reverse,
        vocab: 51,
        // 0 is the decoder's start id.
        id_min: 1,
        id_max: 50,
        length: None,
        samples: Some(100_000),
        n_in: 6,
        n_out: 3,
        family: Family::TeacherForced,
        units: 128,
        stateful: false,
        return_sequences: None,
        feedback: Some(Feedback::Softmax),
        batch_size: 32,
        epochs: 1,
        log_every: Some(25),
        ..echo()
    }
}

/// One fresh sample a step, as the tutorial's calls of `fit`.
fn padded_echo() -> Config {
    Config {
        preset: "padded-echo".into(),
        task: TaskKind::PaddedEcho,
        vocab: 50,
        id_max: 49,
        length: None,
        samples: Some(1),
        n_in: 5,
        n_out: 5,
        echoed: Some(2),
        family: Family::RepeatVector,
        units: 150,
        stateful: false,
        return_sequences: None,
        batch_size: 1,
        epochs: 5_000,
        log_every: Some(20),
        ..echo()
    }
}

/// The tutorial's layer attends with the state before a step, not with the output of the step.
fn padded_echo_attention() -> Config {
    Config {
        preset: "padded-echo-attention".into(),
        vocab: 51,
        // 0 is the decoder's start id.
        id_min: 1,
        id_max: 50,
        family: Family::TeacherForced,
        attention: Attention::Additive,
        feedback: Some(Feedback::Softmax),
        ..padded_echo()
    }
}

/// Without attention, everything that is said of 400 ids has to pass through one state.
fn reverse_400_40() -> Config {
    Config {
        preset: "reverse-400-40".into(),
        samples: Some(3_200),
        n_in: 400,
        n_out: 40,
        units: 64,
        bidirectional: true,
        embedding: 32,
        attention: Attention::General,
        feedback: Some(Feedback::Argmax),
        decoder_start: DecoderStart::Id,
        gate_activation: GateActivation::Sigmoid,
        epochs: 40,
        learning_rate: 2e-3,
        learning_rate_schedule: LearningRateSchedule::Cosine,
        global_clipnorm: Some(1.0),
        log_every: None,
        ..reverse()
    }
}

fn addition(
    name: &'static str,
    digits: i64,
    epochs: i64,
    (samples, held_out): (i64, i64),
) -> Preset {
    Preset {
        name,
        about: if digits == 2 {
            "RepeatVector encoder-decoder adds two numbers of up to 2 digits"
        } else {
            "RepeatVector encoder-decoder adds two numbers of up to 3 digits"
        },
        config: Config {
            preset: name.into(),
            task: TaskKind::Addition,
            // Ten digits, + and the space.
            vocab: 12,
            id_max: 11,
            length: None,
            samples: Some(samples),
            n_in: 2 * digits + 1,
            n_out: digits + 1,
            family: Family::RepeatVector,
            units: 128,
            stateful: false,
            return_sequences: None,
            batch_size: 32,
            epochs,
            validation_samples: held_out.min(2_000),
            evaluation_samples: held_out,
            ..echo()
        },
        loss: None,
        accuracy: one(0.99),
        source: "Keras's example addition_rnn",
    }
}
