//! Every parser of what somebody else may have made: whatever the bytes, it answers or complains in
//! a few lines, and what the program writes it reads as it was.

mod checks;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use safetensors::tensor::TensorView;
use seqlab::config::presets;
use seqlab::config::{Config, DeviceChoice};
use seqlab::data::epochs::Epochs;
use seqlab::data::sources::{Lines, Reads, Source};
use seqlab::data::task::Task;
use seqlab::data::writing::Writing;
use seqlab::files::checksum::Checksum;
use seqlab::resolve::{self, Recipe};
use seqlab::run::curves::{self, CurveRow};
use seqlab::run::ensemble::Ensemble;
use seqlab::run::manifest::{Manifest, Position, TRAINING, WEIGHTS};
use seqlab::run::summary::{Evaluation, Frequent, Imported, ReplicaSummary, Summary};

use checks::{CURVES, ENSEMBLE, NUMBERS, RECIPE, SUMMARY, layout, readable};

/// A parser with a file that it reads.
type Parser = (fn(&[u8]), Vec<u8>);

fn parsers() -> Vec<Parser> {
    vec![
        (checks::config, echo().into()),
        (checks::manifest, manifest().into()),
        (checks::summary, SUMMARY.into()),
        (checks::curves, CURVES.into()),
        (checks::report, [SUMMARY, CURVES].join("\0").into()),
        (checks::weights, stored()),
        (checks::source, "3 14 15 9 2 6\n12+3\n5 3 5 8 9\n".into()),
        (checks::pairs, "the cat\tle chat\n3 1\t\"x\",\"y\"\nab,é\r\n1 2\t3\n".into()),
        (checks::vocabulary, "<padding>\n<start>\n<end>\n<unknown>\n \na\né\n".into()),
        (checks::table, "day,a,b\nx,1,-2.5e3\ny,NA,0.1\r\n".into()),
        (
            checks::scaling,
            "role\tmean\tdeviation\tcolumn\ninput\t1.0\t2.0\tx\ntarget\t1.0\t2.0\tx\n".into(),
        ),
        (checks::recipe, RECIPE.into()),
        (checks::ensemble, ENSEMBLE.into()),
        (checks::device, "cuda:12".into()),
        (checks::checkpoint_every, "30s".into()),
    ]
}

fn manifest() -> String {
    let config = presets::find("echo").unwrap().config;
    let position = Position { seconds: 1.5, ..Position::at(&Epochs::of(&config), 7) };
    let files = [WEIGHTS, TRAINING].map(|name| (name.to_owned(), Checksum::of(name.as_bytes())));
    Manifest::new(&config, position, Checksum::of(b"rows"), files.into()).unwrap().text().unwrap()
}

/// Of 3 ids below 100.
fn reads() -> Reads {
    let config = Config { n_in: 3, ..presets::find("echo").unwrap().config };
    Reads::new(&config, Task::new(&config))
}

fn echo() -> String {
    resolve::table(&presets::find("echo").unwrap().config).unwrap().to_string()
}

/// The names and shapes of [`layout`].
const TENSORS: [(&str, &[usize]); 5] = [
    ("lstm.kernel", &[1, 3, 8]),
    ("lstm.recurrent_kernel", &[1, 2, 8]),
    ("lstm.bias", &[1, 8]),
    ("dense.kernel", &[1, 2, 3]),
    ("dense.bias", &[1, 3]),
];

fn stored() -> Vec<u8> {
    safetensors_of(&TENSORS, safetensors::Dtype::F32)
}

fn safetensors_of(tensors: &[(&str, &[usize])], dtype: safetensors::Dtype) -> Vec<u8> {
    let bytes = vec![0u8; 4096];
    let view = |shape: &[usize]| {
        let length = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        TensorView::new(dtype, shape.to_vec(), &bytes[..length]).unwrap()
    };
    let views = tensors.iter().map(|(name, shape)| (*name, view(shape)));
    safetensors::serialize(views, None).unwrap()
}

/// Something that happens to a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Drop(Index, usize),
    Repeat(Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    // What means something to one parser or another.
    let tokens = [
        "9223372036854775807",
        "-1",
        "1e999",
        "nan",
        "null",
        "[",
        "{",
        "]",
        "}",
        "\"",
        "'",
        ",",
        "\n",
        "\0",
        "=",
        "[[",
        ".",
        ":",
        "18446744073709551616",
        "\u{feff}",
        "💥",
        "#",
    ];
    let token = select(tokens.to_vec()).prop_map(|token| token.as_bytes().to_vec());
    prop_oneof![
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), prop_oneof![token, vec(any::<u8>(), 1..9)])
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<Index>(), 1..40usize).prop_map(|(at, n)| Damage::Drop(at, n)),
        (any::<Index>(), 1..40usize).prop_map(|(at, n)| Damage::Repeat(at, n)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let n = bytes.len();
        if n == 0 {
            return bytes;
        }
        match damage {
            Damage::Flip(at, bit) => bytes[at.index(n)] ^= 1 << bit,
            Damage::Cut(at) => bytes.truncate(at.index(n)),
            Damage::Insert(at, new) => {
                let at = at.index(n);
                bytes.splice(at..at, new.iter().copied());
            }
            Damage::Drop(at, count) => {
                let at = at.index(n);
                bytes.drain(at..n.min(at + count));
            }
            Damage::Repeat(at, count) => {
                let at = at.index(n);
                let part = bytes[at..n.min(at + count)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

/// A number above 0, of any digits.
fn number() -> impl Strategy<Value = f64> {
    (any::<u64>(), -90..20i32).prop_map(|(n, e)| (n | 1) as f64 * 2f64.powi(e))
}

/// A number of few digits: of more, JSON as it is read here may lose the last bit.
fn short() -> impl Strategy<Value = f64> {
    (0..10_000_000u32).prop_map(|n| f64::from(n) / 8.0)
}

fn share() -> impl Strategy<Value = f64> {
    (0..=1024u32).prop_map(|n| f64::from(n) / 1024.0)
}

prop_compose! {
    fn row()(
        (replica, seed) in (0..65_536usize, any::<u64>()),
        (epoch, step, samples) in (1..i64::MAX, 1..i64::MAX, 1..i64::MAX),
        (loss, accuracy) in (any::<f64>(), proptest::option::of(share())),
        (val_loss, val_accuracy, val_sequence_accuracy) in
            (any::<Option<f64>>(), proptest::option::of(share()), proptest::option::of(share())),
        (learning_rate, grad_norm, seconds) in (number(), any::<Option<f64>>(), number()),
    ) -> CurveRow {
        CurveRow { replica, seed, epoch, step, samples, loss, accuracy, val_loss, val_accuracy,
            val_sequence_accuracy, learning_rate, grad_norm, seconds }
    }
}

prop_compose! {
    fn replica()(
        seed in any::<u64>(),
        loss in proptest::option::of(short()),
        accuracy in proptest::option::of(share()),
        (samples, diverged) in (0..2_000_000usize, any::<bool>()),
        (token_accuracy, sequence_accuracy) in (share(), share()),
        symbol_error_rate in proptest::option::of(short()),
        frequent in proptest::option::of(("\\PC{0,9}", share(), share())),
    ) -> ReplicaSummary {
        let train_loss = loss.map(|loss| loss + 1.0);
        let (token_accuracy, sequence_accuracy) = (Some(token_accuracy), Some(sequence_accuracy));
        let frequent = frequent
            .map(|(text, share, target_share)| Frequent { text, share, target_share });
        let evaluation = Evaluation {
            samples,
            token_accuracy,
            sequence_accuracy,
            loss,
            symbol_error_rate,
            most_frequent_target_accuracy: frequent.as_ref().map(|of| of.target_share),
            most_frequent_prediction: frequent,
            ..Evaluation::default()
        };
        let diverged_at_step = diverged.then_some(samples as i64 + 1);
        let evaluation = (!diverged).then_some(evaluation);
        ReplicaSummary {
            seed,
            diverged_at_step,
            early_stopping: None,
            train_loss,
            train_accuracy: accuracy,
            evaluation,
        }
    }
}

/// Valid configurations: presets with some sizes of their own.
fn any_config() -> impl Strategy<Value = Config> {
    let preset = select(presets::all()).prop_map(|preset| preset.config);
    (preset, 1..5_000i64, 1..9i64, 0..i64::MAX / 2, number(), proptest::option::of(1..99i64))
        .prop_map(|(preset, units, replicas, seed, rate, log_every)| Config {
            units,
            replicas,
            seed,
            learning_rate: rate,
            log_every: log_every.or(preset.log_every),
            ..preset
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in vec(any::<u8>(), 0..400)) {
        parsers().iter().for_each(|(parser, _)| parser(&bytes));
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,200}") {
        parsers().iter().for_each(|(parser, _)| parser(text.as_bytes()));
    }

    #[test]
    fn no_damage_makes_a_parser_panic(damages in vec(damage(), 1..4)) {
        for (parser, whole) in parsers() {
            parser(&damaged(whole, &damages));
        }
    }

    #[test]
    fn configurations_are_read_as_they_were_written(config in any_config()) {
        let text = resolve::table(&config).unwrap().to_string();
        let read = resolve::parse("c.toml", text.as_bytes()).and_then(resolve::resolve).unwrap();
        prop_assert_eq!(read, config);
    }

    #[test]
    fn rows_are_read_as_they_were_written(rows in vec(row(), 0..5)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        rows.iter().for_each(|row| writer.serialize(row).unwrap());
        let read = curves::parse(writer.into_inner().unwrap().as_slice()).unwrap();
        // NaN is no number's equal.
        prop_assert_eq!(format!("{read:?}"), format!("{rows:?}"));
    }

    #[test]
    fn summaries_are_read_as_they_were_written(
        replicas in vec(replica(), 0..4),
        steps in 0..i64::MAX,
        texts in vec("\\PC{0,9}", 4),
        seconds in short(),
    ) {
        let text = |i: usize| texts[i].clone();
        let summary = Summary {
            preset: text(0), steps, train_seconds: seconds, startup_seconds: 0.5, device: text(1),
            engine: text(2), machine: text(3), threads: 1, git_commit: text(0),
            versions: BTreeMap::from([(text(1), text(2))]), replicas,
            config: presets::find("echo").map(|preset| preset.config),
            init_from: None,
            imported: Some(Imported {
                file: text(2),
                format: text(3),
                checksum: Checksum::of(text(0).as_bytes()),
            }),
            curves: Some(Checksum::of(text(1).as_bytes())),
        };
        let bytes = serde_json::to_vec_pretty(&summary).unwrap();
        prop_assert_eq!(Summary::parse(&bytes).unwrap(), summary);
    }

    #[test]
    fn sources_are_read_as_they_were_written(ids in vec(0..100i64, 3), space in "[ \t]{1,9}") {
        let line = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(&space);
        let source = Ok(Source { ids, numbers: Vec::new(), writing: Writing::Ids, unknown: Vec::new() });
        prop_assert_eq!(reads().parse(line.as_bytes()), source.clone());
        let lines = format!("{line}\r\n{line}\n");
        let read = Lines::new(reads(), lines.as_bytes()).batch(9).unwrap();
        prop_assert_eq!(read, [source.clone(), source]);
    }

    #[test]
    fn devices_are_read_as_they_were_written(index in any::<usize>()) {
        for device in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(index)] {
            prop_assert_eq!(device.to_string().parse(), Ok(device));
        }
    }
}

#[test]
fn every_whole_file_is_read() {
    assert!(resolve::parse("c.toml", echo().as_bytes()).and_then(resolve::resolve).is_ok());
    assert!(Manifest::parse(&parsers()[1].1).is_ok());
    assert!(Summary::parse(SUMMARY.as_bytes()).is_ok());
    assert_eq!(Recipe::parse("r.toml", RECIPE.as_bytes()).unwrap().runs.len(), 2);
    assert_eq!(Ensemble::parse(ENSEMBLE.as_bytes()).unwrap().seeds, [1, 2]);
    assert_eq!(curves::parse(CURVES.as_bytes()).unwrap().len(), 2);
    assert_eq!(layout().read(&stored()).unwrap().len(), 5);
}

#[test]
fn numbers_that_no_training_has_are_refused() {
    let diverged = SUMMARY.replacen("\"loss\"", "\"diverged_at_step\": 0, \"loss\"", 1);
    let says = "replica 0: diverged_at_step 0: expected 1 or more";
    assert_eq!(Summary::parse(diverged.as_bytes()).unwrap_err(), says);
    let samples = SUMMARY.replace("\"samples\": 2000", "\"samples\": 2000001");
    let says = "replica 0: samples 2000001: expected at most 2000000";
    assert_eq!(Summary::parse(samples.as_bytes()).unwrap_err(), says);
    let rows = CURVES.replace(",8,40,", ",8,-40,");
    let says = "row 2: epoch, step and samples: expected numbers from 1";
    assert_eq!(curves::parse(rows.as_bytes()).unwrap_err(), says);
}

#[test]
fn a_torn_last_row_is_no_row() {
    let says = "the last row has no end: it was not written to its end";
    for torn in [CURVES.trim_end(), &CURVES[..CURVES.len() - 2]] {
        assert_eq!(curves::parse(torn.as_bytes()).unwrap_err(), says);
    }
}

#[test]
fn deep_nesting_is_no_stack_overflow() {
    for open in ["[", "{\"a\":", "a=[", "a={a=", "[[a]]\na.", "a."] {
        let deep = open.repeat(200_000);
        for (parser, whole) in parsers() {
            parser(deep.as_bytes());
            let key = [&whole[..whole.len() - 1], b",\"x\":\nx=", deep.as_bytes()].concat();
            parser(&key);
        }
    }
}

#[test]
fn weights_have_to_be_exactly_those_of_the_model() {
    let complaint = |bytes: &[u8]| layout().read(bytes).unwrap_err();
    let mut other = TENSORS.to_vec();
    other[1] = ("lstm.recurrent_kernel", &[1, 8, 2]);
    let says = "lstm.recurrent_kernel: shape [1, 8, 2], expected [1, 2, 8]";
    assert_eq!(complaint(&safetensors_of(&other, safetensors::Dtype::F32)), says);
    other[1] = ("lstm.kernels", &[1, 2, 8]);
    let says = "`lstm.recurrent_kernel` not found";
    assert_eq!(complaint(&safetensors_of(&other, safetensors::Dtype::F32)), says);
    let more = [&TENSORS[..], &[("more", &[2])]].concat();
    let says = "6 tensors, expected 5";
    assert_eq!(complaint(&safetensors_of(&more, safetensors::Dtype::F32)), says);
    let says = "lstm.kernel: dtype F64, expected F32";
    assert_eq!(complaint(&safetensors_of(&TENSORS, safetensors::Dtype::F64)), says);
}

#[test]
fn a_header_that_lies_costs_no_memory() {
    let with_header =
        |length: u64, header: &str| [&length.to_le_bytes(), header.as_bytes()].concat();
    let huge = r#"{"lstm.kernel":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4000000000000000000]}}"#;
    let overflow = r#"{"lstm.kernel":{"dtype":"F32","shape":[18446744073709551615,18446744073709551615],"data_offsets":[0,4]}}"#;
    for bytes in [
        with_header(u64::MAX, ""),
        with_header(1 << 40, huge),
        with_header(99_999_999, huge),
        with_header(huge.len() as u64, huge),
        with_header(overflow.len() as u64, overflow),
        with_header(0, ""),
        vec![0; 7],
    ] {
        readable(layout().read(&bytes).unwrap_err());
    }
    let says = "a header of 1099511627776 bytes: expected at most 1048576";
    assert_eq!(layout().read(&with_header(1 << 40, huge)).unwrap_err(), says);
    assert_eq!(layout().most_bytes(), 4 * NUMBERS as u64 + 8 + (1 << 20));
}

#[test]
fn an_endless_line_is_not_read_to_its_end() {
    for byte in [b"1", b" ", b"\0"] {
        let mut lines = Lines::new(reads(), Repeat(byte));
        let says = "line 1: more than 1120 bytes: the model reads 3 ids from 0 to 99";
        assert_eq!(lines.batch(9).unwrap(), [Err(says.to_owned())]);
        let says = "line 1: no end within 67108864 bytes: expected lines of text";
        assert_eq!(lines.batch(9).unwrap_err(), says);
    }
    let mut lines = Lines::new(reads(), Repeat(b"1 2 3\n"));
    let source = Source {
        ids: vec![1, 2, 3],
        numbers: Vec::new(),
        writing: Writing::Ids,
        unknown: Vec::new(),
    };
    assert_eq!(lines.batch(4096).unwrap(), vec![Ok(source); 4096]);
}

/// The same bytes for ever.
struct Repeat(&'static [u8]);

impl std::io::Read for Repeat {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let whole = buffer.len() / self.0.len() * self.0.len();
        buffer[..whole]
            .chunks_exact_mut(self.0.len())
            .for_each(|part| part.copy_from_slice(self.0));
        Ok(whole)
    }
}
