//! The fields of a configuration, each declared here and nowhere else.
//!
//! A new field is an entry in the section under which `config.toml` and `--help` are to have it:
//!
//! ```text
//! /// What it means: its documentation, and the help of its flag.
//! name: Type = default => takes: Whole(0, 9), alters: Run;
//! ```
//!
//! Without a default every file has to give the field, so that old runs could not be read. Behind the
//! arrow is, in any order, what a field of that type (its `FieldKind`) does not have by itself:
//!
//! - `takes`: which numbers, of an `i64` from 1 to [`MANY`], of an `f64` above 0.
//! - `scope`: whom it is for. Others cannot have an `Option`; their preset's or file's gives way.
//!   `needed`: they cannot do without.
//! - `depends`: that `validate.rs` or a task says which numbers, by what other fields are.
//! - `silent`: that files leave it out where it is at its default, as those of before it did; with
//!   `left_out`.
//! - `alters`: that with another value it is still the same experiment (`Run`), or the same run
//!   (`Nothing`).
//! - `value`: what help calls a number; `alias`: a second name of the flag; `left_out`: what holds
//!   where nothing is given, if help cannot tell it from the presets.
//!
//! From this follow the struct, what is read from files and flags, `--help`, checks and their messages,
//! and whether `resume` and reports take a changed configuration for another one. The test
//! `tests/fields.rs` goes through them all.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::declare::Alters::{Nothing, Run};
use super::declare::Takes::{Fraction, Whole};
use super::declare::{self, COUNT, Field, MANY, Scope, configuration, only_for};
use super::{
    Attention, BadLines, CUSTOM, CheckpointEvery, CurveMetric, Decimal, DecoderStart, DeviceChoice,
    Direction, Dtype, EngineChoice, Family, Feedback, GateActivation, LearningRateSchedule,
    LossKind, Missing, Normalization, OptimizerKind, Separator, SeriesTokens, TaskKind, Tokens,
    presets,
};

/// What Adam alone has.
const OF_ADAM: Option<Scope> = only_for("optimizers", "optimizer", &["adam", "adamw"]);

/// For pairs read from files.
const PAIRS: Option<Scope> = only_for("task", "task", &["pairs"]);

/// For pairs and series read from files.
const FILES: Option<Scope> = only_for("tasks", "task", &["pairs", "series"]);

/// For a series read from a file.
const SERIES: Option<Scope> = only_for("task", "task", &["series"]);

/// For sequences of numbers.
const OF_NUMBERS: Option<Scope> = only_for("losses", "loss", &["mse", "mae"]);

/// For a learning rate that is lowered where a metric no longer gains.
const PLATEAU: Option<Scope> =
    only_for("learning-rate schedule", "learning_rate_schedule", &["plateau"]);

/// For trainings that may end before their last epoch.
const STOPPING: Option<Scope> = only_for("early stopping on", "early_stopping", CurveMetric::WORDS);

configuration! {
    "Data" {
        /// What the model learns.
        task: TaskKind;
        /// V: ids are below it; 0 where there are numbers (waves).
        vocab: i64 => takes: Whole(0, MANY), depends: true;
        /// Smallest id in sequences.
        id_min: i64 => takes: Whole(0, MANY - 1), depends: true, value: "ID";
        /// Largest id in sequences; follows --vocab.
        id_max: i64 => takes: Whole(0, MANY - 1), depends: true, value: "ID";
        /// Ids in the sequence that an epoch's windows are cut from (echo, lag).
        length: Option<i64> = None
            => scope: only_for("tasks", "task", &["echo", "lag"]), needed: true, depends: true;
        /// Samples in an epoch (reverse, padded_echo, waves), or those trained on in every epoch
        /// (addition, pairs, series).
        samples: Option<i64> = None
            => takes: Whole(1, COUNT),
            scope: only_for("tasks", "task", &["reverse", "padded_echo", "addition", "waves", "pairs", "series"]),
            needed: true;
        /// Ids in a source; follows --n-out (addition).
        n_in: i64;
        /// Ids in a target; follows --n-in where the LSTM answers every step.
        n_out: i64;
        /// Ids in the shortest source, where sources have uniform lengths up to --n-in (reverse).
        n_in_min: Option<i64> = None
            => takes: Whole(1, MANY), scope: only_for("task", "task", &["reverse"]),
            left_out: Some("--n-in");
        /// Ids in the shortest target, where targets have uniform lengths up to --n-out, each with
        /// id 0 as its end (reverse); with --n-in-min.
        n_out_min: Option<i64> = None
            => takes: Whole(2, MANY), scope: only_for("task", "task", &["reverse"]),
            left_out: Some("--n-out");
        /// Numbers in a time step of a source (mse, mae).
        features_in: Option<i64> = None => scope: OF_NUMBERS, silent: true, left_out: Some("1");
        /// Numbers in a time step of a target (mse, mae).
        features_out: Option<i64> = None => scope: OF_NUMBERS, silent: true, left_out: Some("1");
        /// Ids at the head of a source that its target repeats; zeros follow them (padded_echo).
        echoed: Option<i64> = None
            => takes: Whole(1, MANY), scope: only_for("task", "task", &["padded_echo"]), needed: true;
        /// How many steps before the last source id the target lies (lag).
        lag: Option<i64> = None => scope: only_for("task", "task", &["lag"]), needed: true;
    }
    "Data from files" {
        /// File with a pair of source and target in every line, to train on; makes the task pairs.
        train: Option<String> = None
            => scope: PAIRS, needed: true, silent: true, value: "FILE", left_out: Some("none");
        /// File of pairs to validate on.
        validation: Option<String> = None
            => scope: PAIRS, silent: true, value: "FILE", left_out: Some("a part of --train");
        /// File of pairs to evaluate the trained model on.
        test: Option<String> = None
            => scope: PAIRS, silent: true, value: "FILE", left_out: Some("the pairs validated on");
        /// Share of the pairs of --train that are held out for validation, by --split-seed, all pairs
        /// of a source in the same part; or of the rows of --series, those behind the training part.
        validation_fraction: Option<f64> = None
            => takes: Fraction, scope: FILES, silent: true, left_out: Some("0.1 without --validation");
        /// Share of the pairs of --train, or of the rows of --series, its last ones, that are held
        /// out for evaluation; 0: it is evaluated on what is validated on.
        test_fraction: Option<f64> = None
            => takes: Fraction, scope: FILES, silent: true, left_out: Some("0, of --series 0.1");
        /// Seed of what is held out, the same for all replicas.
        split_seed: Option<i64> = None
            => takes: Whole(0, COUNT), scope: PAIRS, silent: true, left_out: Some("1");
        /// Column of the sources: its number from 1, or its name in the header.
        source_column: Option<String> = None
            => scope: PAIRS, silent: true, value: "COLUMN", left_out: Some("1");
        /// Column of the targets.
        target_column: Option<String> = None
            => scope: PAIRS, silent: true, value: "COLUMN", left_out: Some("2");
        /// Whether the first line of each file names the columns.
        header: Option<bool> = None
            => scope: PAIRS, silent: true, left_out: Some("true where a column is named, otherwise false");
        /// What stands between columns.
        separator: Option<Separator> = None
            => scope: FILES, silent: true, left_out: Some("comma for .csv, otherwise tab");
        /// What the tokens of a source are.
        source_tokens: Option<Tokens> = None
            => scope: PAIRS, needed: true, silent: true, left_out: Some("found from the file");
        /// What the tokens of a target are.
        target_tokens: Option<Tokens> = None
            => scope: PAIRS, needed: true, silent: true, left_out: Some("found from the file");
        /// What is done to every text before it is cut into tokens.
        normalization: Option<Normalization> = None => scope: PAIRS, silent: true, left_out: Some("none");
        /// What is done with lines that cannot be read.
        bad_lines: Option<BadLines> = None => scope: PAIRS, silent: true, left_out: Some("refuse");
        /// The vocabulary of the sources, where --vocab is that of the targets.
        source_vocab: Option<i64> = None
            => scope: PAIRS, needed: true, silent: true, left_out: Some("found from the file");
    }
    "Series from a file" {
        /// File with a time step in every line below its header, some of whose columns of numbers
        /// are to be forecast from --n-in steps for --n-out steps; makes the task series.
        series: Option<String> = None
            => scope: SERIES, needed: true, silent: true, value: "FILE", left_out: Some("none");
        /// What the tokens of --series are, where it has no numbers: with --targets of one column,
        /// each row a token; without, of a text without header, with white space between tokens.
        series_tokens: Option<SeriesTokens> = None
            => scope: SERIES, silent: true, left_out: Some("none: numbers");
        /// Columns that are read, by the header's names, with commas between them.
        inputs: Option<String> = None
            => scope: SERIES, silent: true, value: "COLUMNS",
            left_out: Some("all that hold numbers");
        /// Columns that are forecast, likewise.
        targets: Option<String> = None
            => scope: SERIES, silent: true, value: "COLUMNS", left_out: Some("the inputs");
        /// What stands before the decimals of a number; a comma needs another --separator.
        decimal: Option<Decimal> = None => scope: SERIES, silent: true, left_out: Some("point");
        /// What is done where a value is missing.
        missing: Option<Missing> = None => scope: SERIES, silent: true, left_out: Some("refuse");
    }
    "Model" {
        /// Architecture.
        family: Family;
        /// LSTM units.
        units: i64;
        /// Whether a batch continues the state of the one before; reset every epoch (lstm,
        /// repeat_vector).
        stateful: bool = false
            => scope: only_for("families", "family", &["lstm", "repeat_vector"]);
        /// Whether the LSTM answers every step or only the last (lstm).
        return_sequences: Option<bool> = None
            => scope: only_for("family", "family", &["lstm"]), needed: true;
        /// LSTMs on top of each other, each of which reads every output of the one below.
        layers: i64 = 1 => takes: Whole(1, 64), silent: true, left_out: Some("1");
        /// Whether the encoder reads the source both ways (repeat_vector, teacher_forced); a
        /// teacher-forced decoder then has twice the units; not with --stateful.
        bidirectional: bool = false
            => scope: only_for("families", "family", &["repeat_vector", "teacher_forced"]),
            silent: true, left_out: Some("false");
        /// Width of trained vectors that ids are read as; 0: a row of the kernel each.
        embedding: i64 = 0 => takes: Whole(0, MANY), silent: true, left_out: Some("0");
        /// How the decoder's outputs are compared with the encoder's, whose weighted mean the dense
        /// layer then reads besides (teacher_forced).
        attention: Attention = Attention::None
            => scope: only_for("family", "family", &["teacher_forced"]),
            silent: true, left_out: Some("none");
        /// Share of the numbers that every LSTM reads that is zeroed in training, the others scaled up:
        /// Keras's, the same at every step of a sequence.
        dropout: f64 = 0.0 => takes: Fraction, silent: true, left_out: Some("0");
        /// The same of the h that enters an LSTM's recurrent product.
        recurrent_dropout: f64 = 0.0 => takes: Fraction, silent: true, left_out: Some("0");
        /// What the gates pass through.
        gate_activation: GateActivation;
        /// What the decoder is fed free-running, where no target is given to it (teacher_forced).
        feedback: Option<Feedback> = None
            => scope: only_for("family", "family", &["teacher_forced"]), needed: true;
        /// What it is fed first there: zeros, as the tutorial does, or the id that it is fed first in
        /// training; zeros in place of an embedding are nothing that it was trained on
        /// (teacher_forced).
        decoder_start: DecoderStart = DecoderStart::Zeros
            => scope: only_for("family", "family", &["teacher_forced"]),
            silent: true, left_out: Some("zeros");
    }
    "Training" {
        /// What training makes small: cross_entropy of ids, or the mean squared or absolute error of
        /// numbers.
        loss: LossKind = LossKind::CrossEntropy
            => silent: true, left_out: Some("cross_entropy");
        /// The part ε of every target in training that is spread evenly over all V ids; validation
        /// and evaluation have the plain loss (cross_entropy).
        label_smoothing: Option<f64> = None
            => takes: Fraction, scope: only_for("loss", "loss", &["cross_entropy"]), silent: true,
            left_out: Some("0");
        /// Samples in a batch of one replica.
        batch_size: i64;
        /// Passes over fresh data, or over the same in a new order (addition, pairs, series).
        epochs: i64 => takes: Whole(1, COUNT);
        /// What moves the weights along the gradient, as Keras writes it.
        optimizer: OptimizerKind = OptimizerKind::Adam => silent: true, left_out: Some("adam");
        /// Step size; Keras's own default for sgd is 0.01.
        learning_rate: f64 = 1e-3 => alias: Some("lr");
        /// How the learning rate changes from step to step.
        learning_rate_schedule: LearningRateSchedule = LearningRateSchedule::Constant
            => alias: Some("lr-schedule");
        /// Where the schedule ends (cosine, exponential), or below which it never falls (plateau).
        final_learning_rate: Option<f64> = None
            => scope: only_for(
                "learning-rate schedules",
                "learning_rate_schedule",
                &["cosine", "exponential", "plateau"]
            ),
            depends: true,
            left_out: Some("0 for cosine and plateau");
        /// Column of curves.csv that the learning rate is lowered by, each replica's by its own
        /// (plateau).
        plateau_metric: Option<CurveMetric> = None
            => scope: PLATEAU, needed: true, silent: true, left_out: Some("none");
        /// Whether that metric gains by falling or by rising (plateau).
        plateau_mode: Option<Direction> = None
            => scope: PLATEAU, needed: true, silent: true, left_out: Some("none");
        /// Rows with the metric, one after the other, without gain after which the learning rate is
        /// lowered (plateau).
        plateau_patience: Option<i64> = None
            => takes: Whole(1, COUNT), scope: PLATEAU, needed: true, silent: true, value: "ROWS",
            left_out: Some("none");
        /// What the learning rate is then multiplied by (plateau).
        plateau_factor: Option<f64> = None
            => takes: Fraction, scope: PLATEAU, silent: true, left_out: Some("0.1");
        /// A change of the metric that is no larger is no gain (plateau).
        plateau_min_delta: Option<f64> = None
            => scope: PLATEAU, silent: true, left_out: Some("0");
        /// Rows with the metric after the learning rate was lowered of which only the last counts
        /// (plateau).
        plateau_cooldown: Option<i64> = None
            => takes: Whole(1, COUNT), scope: PLATEAU, silent: true, value: "ROWS",
            left_out: Some("0");
        /// Steps in which the learning rate first rises linearly.
        warmup_steps: Option<i64> = None => takes: Whole(1, COUNT), depends: true, value: "STEPS";
        /// Adam's decay of the gradient's mean.
        beta_1: f64 = 0.9 => takes: Fraction, scope: OF_ADAM;
        /// Adam's decay of the squared gradient's mean.
        beta_2: f64 = 0.999 => takes: Fraction, scope: OF_ADAM;
        /// The ε of adam, adamw and rmsprop, where Keras adds it.
        epsilon: f64 = 1e-7
            => scope: only_for("optimizers", "optimizer", &["adam", "adamw", "rmsprop"]);
        /// RMSprop's decay of the squared gradient's mean.
        rho: Option<f64> = None
            => takes: Fraction, scope: only_for("optimizer", "optimizer", &["rmsprop"]),
            left_out: Some("0.9 for rmsprop");
        /// How much of an update the next one repeats (rmsprop, sgd).
        momentum: Option<f64> = None
            => takes: Fraction, scope: only_for("optimizers", "optimizer", &["rmsprop", "sgd"]),
            left_out: Some("0");
        /// Whether momentum is Nesterov's (sgd).
        nesterov: Option<bool> = None
            => scope: only_for("optimizer", "optimizer", &["sgd"]), left_out: Some("false");
        /// The part of every weight, biases too, that an update takes off beside the gradient's
        /// step, times the learning rate.
        weight_decay: Option<f64> = None
            => takes: Fraction, left_out: Some("0.004 for adamw, otherwise 0");
        /// Scale a replica's whole gradient down to this norm, and log the norm.
        global_clipnorm: Option<f64> = None => left_out: Some("off");
        /// Element type of weights and arithmetic.
        dtype: Dtype = Dtype::Float32;
    }
    "Early stopping" {
        /// Column of curves.csv by which a replica's training ends before its last epoch.
        early_stopping: Option<CurveMetric> = None => silent: true, left_out: Some("off");
        /// Whether that metric gains by falling or by rising.
        early_stopping_mode: Option<Direction> = None
            => scope: STOPPING, needed: true, silent: true, left_out: Some("none");
        /// Rows with the metric, one after the other, without gain after which the replica stops.
        early_stopping_patience: Option<i64> = None
            => takes: Whole(1, COUNT), scope: STOPPING, needed: true, silent: true, value: "ROWS",
            left_out: Some("none");
        /// A change of the metric that is no larger is no gain.
        early_stopping_min_delta: Option<f64> = None
            => scope: STOPPING, silent: true, left_out: Some("0");
        /// Whether the trained model of each replica is the one at its best row instead of its last,
        /// stopped early or not.
        restore_best_weights: Option<bool> = None
            => scope: STOPPING, silent: true, left_out: Some("false");
    }
    "Seeds" {
        /// Seed of the first replica; replica k has this plus k.
        seed: i64 = 1
            => takes: Whole(0, i64::MAX - 1), depends: true, alters: Run, alias: Some("base-seed");
        /// Independent models trained side by side.
        replicas: i64 = 1 => takes: Whole(1, 65_536), alters: Run;
    }
    "Curves and evaluation" {
        /// Steps between rows of curves.csv; a row an epoch where nothing says.
        log_every: Option<i64> = None => takes: Whole(1, COUNT), alters: Run, value: "STEPS";
        /// Fill the validation columns of every so many rows.
        validate_every: Option<i64> = None
            => takes: Whole(1, COUNT), alters: Run, value: "ROWS", left_out: Some("never");
        /// Samples behind a row's validation columns, the same for every row; with --validate-every;
        /// at most --evaluation-samples, which it follows (addition).
        validation_samples: i64 = 2_000 => alters: Run;
        /// Fresh samples that the trained model is evaluated on; so many are held out (addition).
        evaluation_samples: i64 = 2_000 => alters: Run;
    }
    "Computation" {
        /// auto, cpu, cuda or cuda:N; auto: the faster one by the sizes, the CPU where no GPU can be
        /// used.
        device: DeviceChoice = DeviceChoice::Auto => alters: Nothing;
        /// What computes steps and evaluations; auto: fused on a CPU, libtorch on a GPU.
        engine: EngineChoice = EngineChoice::Auto => alters: Run;
        /// CPU threads.
        threads: Option<i64> = None
            => takes: Whole(1, 1024), alters: Nothing,
            left_out: Some("as many as are measured to be fastest");
    }
    "Saving" {
        /// Save the state every so many steps, or so much time (30s, 5m, 1h), or never but at the
        /// end.
        checkpoint_every: CheckpointEvery = CheckpointEvery::Seconds(30) => alters: Nothing;
        /// Checkpoints to keep, the last ones.
        keep_checkpoints: i64 = 2 => alters: Nothing;
    }
}

/// The field called `name`.
pub fn field(name: &str) -> Option<Field> {
    FIELDS.iter().copied().find(|field| field.name == name)
}

/// The whole numbers that the field `name` takes, from the first to the second.
pub fn range(name: &str) -> (i64, i64) {
    match field(name).map(|field| field.takes) {
        Some(Whole(low, high)) => (low, high),
        _ => unreachable!("{name} is declared as a whole number"),
    }
}

/// A value that a file gives.
fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use toml::{Table, Value};

    use super::*;
    use crate::config::Takes;

    /// The values that a field takes, or some of them.
    fn examples(field: &Field) -> Vec<Value> {
        match field.takes {
            Takes::Whole(low, high) => vec![low.into(), high.into()],
            Takes::Positive => vec![1e-30.into(), 1e30.into()],
            Takes::Fraction => vec![0.0.into(), 0.999.into()],
            Takes::TrueOrFalse => vec![false.into(), true.into()],
            Takes::Word(words) => words.iter().map(|&word| word.into()).collect(),
            Takes::Text => vec!["a.tsv".into(), "b".into()],
            Takes::Device => vec!["auto".into(), "cuda:3".into()],
            Takes::CheckpointEvery => vec!["never".into(), 100.into(), "5m".into()],
        }
    }

    #[test]
    fn a_file_has_the_fields_in_their_order_and_every_value_that_they_take() {
        let mut text = "preset = \"custom\"\n".to_owned();
        for field in FIELDS {
            for example in examples(field) {
                assert_eq!(field.check(&example), Ok(()), "{} {example}", field.name);
                let text_of = declare::written;
                let read = field.read(&text_of(&example));
                assert_eq!(
                    read.map(|read| text_of(&read)),
                    Ok(text_of(&example)),
                    "{}",
                    field.name
                );
                let last = |field| examples(field).pop().unwrap();
                let others = FIELDS.iter().map(|f| (f.name.to_owned(), last(f)));
                let mut table: Table = others.collect();
                table.insert(field.name.to_owned(), example);
                table.insert("preset".to_owned(), "custom".into());
                let config: Config = table.clone().try_into().unwrap();
                // The least that it takes is its default, unless that is none.
                if field.silent && !field.optional && table[field.name] == examples(field)[0] {
                    table.remove(field.name);
                }
                assert_eq!(Table::try_from(&config).unwrap(), table, "{}", field.name);
                text = toml::to_string(&config).unwrap();
            }
        }
        let keys: Vec<&str> = text.lines().map(|line| line.split(" = ").next().unwrap()).collect();
        let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(keys[1..], names);
    }

    #[test]
    fn what_a_field_goes_by_takes_the_words_that_it_names() {
        for scope in FIELDS.iter().filter_map(|field| field.scope) {
            let Takes::Word(words) = field(scope.selector).unwrap().takes else {
                panic!("{} takes no words", scope.selector)
            };
            assert!(scope.words.iter().all(|word| words.contains(word)), "{scope:?}");
        }
    }

    #[test]
    fn what_a_flag_and_a_file_say_is_read_alike() {
        let says = |name: &str, text: &str| match field(name).unwrap().read(text) {
            Ok(value) => value.to_string(),
            Err(invalid) => invalid.to_string(),
        };
        assert_eq!(says("units", "12"), "12");
        for text in ["1e3", "1_000", "1.5", "many", "", "99999999999999999999"] {
            let expected = format!("--units {text}: expected a whole number from 1 to 1000000");
            assert_eq!(says("units", text), expected);
        }
        assert_eq!(says("learning_rate", "1e-3"), "0.001");
        assert_eq!(says("stateful", "1"), "--stateful 1: expected true or false");
        assert_eq!(says("dtype", "f32"), "--dtype f32: expected float32 or float64");
        assert_eq!(says("device", "gpu"), "--device gpu: expected auto, cpu, cuda or cuda:N");
        let wrong = field("units").unwrap().check(&Value::Float(2.0)).unwrap_err();
        assert_eq!(wrong.to_string(), "--units 2.0: expected a whole number from 1 to 1000000");
    }

    #[test]
    fn what_a_file_leaves_out_is_the_default_or_missing() {
        let missing = |text: &str| toml::from_str::<Config>(text).unwrap_err().message().to_owned();
        assert_eq!(missing(""), "missing field `task`");
        assert_eq!(missing("task = 'echo'\nvocab = 9"), "missing field `id_min`");
        assert!(
            missing("unit = 4").starts_with("unknown field `unit`, expected one of `preset`, ")
        );
        let required = "task = 'echo'\nvocab = 0\nid_min = 0\nid_max = 0\nn_in = 0\nn_out = 0\n\
                        family = 'lstm'\nunits = 0\ngate_activation = 'hard_sigmoid'\n\
                        batch_size = 0\nepochs = 0\n";
        assert_eq!(toml::from_str::<Config>(required), Ok(Config::blank()));
    }
}
